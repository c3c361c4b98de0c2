package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// TestStaplingNeverWaits holds the example of Staple to what it promises: whatever the store or the signer does, a
// handshake takes no time. It gets the staple in hand until that has expired, then none, and a new one soon after
// the fault is over.
func TestStaplingNeverWaits(t *testing.T) {
	t.Parallel()
	caKey, leafKey := ocsptest.NewKey(ocsptest.P256), ocsptest.NewKey(ocsptest.P256)
	for name, test := range map[string]struct {
		fault  ocsptest.Fault
		signer bool // fails, not the store
	}{
		"store fails":  {ocsptest.Fail, false},
		"store hangs":  {ocsptest.Hang, false},
		"signer fails": {ocsptest.Fail, true},
		"signer hangs": {ocsptest.Hang, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, store := ocsptest.NewCA(ocsptest.Options{Signer: caKey}), ocsptest.NewStore()
				leaf := ca.Issue(ocsptest.Options{Signer: leafKey, Name: "kms.example"})
				store.Add(ca.ID, leaf)
				issuer, signer := ca.Issuer(), ocsptest.NewSigner(ca.Key)
				issuer.Signer = signer
				responder, err := ocsp.New(ocsp.Config{
					Issuers: []ocsp.Issuer{issuer}, Store: store,
					Logger: slog.New(slog.DiscardHandler), // of thousands of lines
				})
				require.NoError(t, err)
				setFault := store.SetFault
				if test.signer {
					setFault = signer.SetFault
				}
				s := &stapler{
					responder: responder,
					cert:      tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: leafKey, Leaf: leaf},
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer func() {
					setFault(ocsptest.Healthy)
					cancel()
					require.NoError(t, responder.Close())
				}()
				begin := time.Now()
				require.NoError(t, s.refresh(ctx))
				go s.run(ctx)

				// stapled does a handshake and returns its staple, nil for none.
				stapled := func() *xocsp.Response {
					before := time.Now()
					der := stapleOf(t, s, ca.Certificate)
					require.Zero(t, time.Since(before), "the handshake waited")
					if der == nil {
						return nil
					}
					req := ocsptest.Client{}.Request(ca.Certificate, leaf)
					require.NoError(t, ocsptest.Lint(req, der, ca.Certificate, time.Now()))
					answer, err := xocsp.ParseResponseForCert(der, leaf, ca.Certificate)
					require.NoError(t, err)
					return answer
				}
				first := stapled()
				require.Equal(t, xocsp.Good, first.Status)

				// The staple changes from its refresh point on, long before it expires.
				time.Sleep(first.NextUpdate.Sub(begin) - time.Hour)
				second := stapled()
				require.True(t, second.ThisUpdate.After(first.ThisUpdate), "it was not refreshed")

				// It outlives a fault until its nextUpdate, and no longer.
				setFault(test.fault)
				for time.Until(second.NextUpdate) > time.Hour {
					time.Sleep(time.Hour)
					require.Equal(t, second, stapled())
				}
				time.Sleep(time.Until(second.NextUpdate) - time.Second)
				require.Equal(t, second, stapled())
				time.Sleep(2 * time.Second)
				require.Nil(t, stapled())
				time.Sleep(24 * time.Hour)
				require.Nil(t, stapled())

				setFault(ocsptest.Healthy)
				time.Sleep(2 * time.Minute)
				third := stapled()
				require.NotNil(t, third)
				require.Equal(t, xocsp.Good, third.Status)

				store.Revoke(ca.ID, leaf.SerialNumber, ocsp.KeyCompromise, time.Now())
				time.Sleep(time.Hour)
				require.Equal(t, xocsp.Revoked, stapled().Status)
			})
		})
	}
}

// stapleOf does a handshake with a server that uses a stapler, and returns what was stapled.
func stapleOf(t *testing.T, s *stapler, root *x509.Certificate) []byte {
	clientEnd, serverEnd := net.Pipe()
	server := tls.Server(serverEnd, &tls.Config{GetCertificate: s.GetCertificate})
	served := make(chan error, 1)
	go func() { served <- server.HandshakeContext(t.Context()) }()
	roots := x509.NewCertPool()
	roots.AddCert(root)
	client := tls.Client(clientEnd, &tls.Config{
		RootCAs: roots, ServerName: "kms.example", MaxVersion: tls.VersionTLS12, // no tickets behind the handshake
	})
	require.NoError(t, client.HandshakeContext(t.Context()))
	require.NoError(t, <-served)
	defer func() { _, _ = clientEnd.Close(), serverEnd.Close() }()
	return client.ConnectionState().OCSPResponse
}

// resigned returns an RSA certificate as it is with another hash, by the last octet of the algorithm's OID: 4 is MD5
// and 5 is SHA-1. package x509 makes no such certificates.
func resigned(t *testing.T, cert *x509.Certificate, key crypto.Signer, last byte, hash crypto.Hash) *x509.Certificate {
	t.Helper()
	sha256WithRSA := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11}
	other := append(clone(sha256WithRSA[:8]), last)
	tbs := bytes.Replace(cert.RawTBSCertificate, sha256WithRSA, other, 1)
	require.NotEqual(t, tbs, cert.RawTBSCertificate)
	signature, err := crypto.SignMessage(key, rand.Reader, tbs, hash)
	require.NoError(t, err)
	algorithm := derSeq(derTLV(6, other), derNull)
	cert, err = x509.ParseCertificate(derSeq(tbs, algorithm, derTLV(3, []byte{0}, signature)))
	require.NoError(t, err)
	return cert
}

// A staple is about the CA that signed the leaf, found by the signature where Go verifies it and otherwise by the key
// identifiers. It is never about any one that has the name.
func TestStapleFindsTheIssuerOfOldHashes(t *testing.T) {
	t.Parallel()
	keys := []crypto.Signer{ocsptest.NewKey(ocsptest.RSA2048), ocsptest.NewKey(ocsptest.RSA2048), ocsptest.NewKey(ocsptest.RSA2048)}
	type setup struct {
		cas  []ocsptest.Options // all of the name "Test CA"; the first signs the leaf
		hash crypto.Hash
		last byte
		noID bool   // the leaf has no AuthorityKeyId
		err  string // in the error; "" is a staple about the first
	}
	twoIDs := []ocsptest.Options{{}, {}}
	sameID := func(t *x509.Certificate) { t.SubjectKeyId = []byte{1, 2, 3} }
	for name, test := range map[string]setup{
		"SHA-1, two CAs":                 {cas: twoIDs, hash: crypto.SHA1, last: 5},
		"SHA-1, no AuthorityKeyId":       {cas: twoIDs, hash: crypto.SHA1, last: 5, noID: true},
		"SHA-1, one CA":                  {cas: twoIDs[:1], hash: crypto.SHA1, last: 5, noID: true},
		"SHA-1, two CAs, one SKI":        {cas: []ocsptest.Options{{Adjust: sameID}, {Adjust: sameID}}, hash: crypto.SHA1, last: 5},
		"MD5, two CAs":                   {cas: twoIDs, hash: crypto.MD5, last: 4},
		"MD5, three CAs":                 {cas: []ocsptest.Options{{}, {}, {}}, hash: crypto.MD5, last: 4},
		"MD5, no AuthorityKeyId":         {cas: twoIDs, hash: crypto.MD5, last: 4, noID: true, err: "2 configured issuers have the name \"CN=Test CA\", and none is known to have signed the certificate: its signature cannot be verified (x509: cannot verify signature: insecure algorithm MD5-RSA), and it has no AuthorityKeyId"},
		"MD5, one CA":                    {cas: twoIDs[:1], hash: crypto.MD5, last: 4},
		"MD5, one CA, no AuthorityKeyId": {cas: twoIDs[:1], hash: crypto.MD5, last: 4, noID: true},
		"MD5, two CAs, one SKI":          {cas: []ocsptest.Options{{Adjust: sameID}, {Adjust: sameID}}, hash: crypto.MD5, last: 4, err: "its AuthorityKeyId 010203 is the SubjectKeyId of 2 of them"},
		"SHA-256, two CAs":               {cas: twoIDs, hash: crypto.SHA256, last: 11},
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 { // against an order that happens to be right
				store := ocsptest.NewStore()
				var cas []*ocsptest.CA
				cfg := ocsp.Config{Store: store}
				for i, opts := range test.cas {
					opts.Signer = keys[i]
					ca := ocsptest.NewCA(opts)
					ca.ID = string(rune('a' + i))
					cas = append(cas, ca)
					cfg.Issuers = append([]ocsp.Issuer{ca.Issuer()}, cfg.Issuers...)
				}
				issuing := *cas[0]
				if test.noID {
					without := *issuing.Certificate
					without.SubjectKeyId = nil
					issuing.Certificate = &without
				}
				leaf := issuing.Issue(ocsptest.Options{})
				require.Equal(t, test.noID, len(leaf.AuthorityKeyId) == 0)
				if test.last != 11 {
					leaf = resigned(t, leaf, issuing.Key, test.last, test.hash)
				}
				for _, ca := range cas {
					store.Add(ca.ID, leaf)
				}
				responder, err := ocsp.New(cfg)
				require.NoError(t, err)
				staple, err := responder.Staple(t.Context(), leaf)
				if test.err != "" {
					require.ErrorContains(t, err, test.err)
				} else {
					require.NoError(t, err)
					_, err = xocsp.ParseResponseForCert(staple, leaf, cas[0].Certificate)
					require.NoError(t, err)
				}
				require.NoError(t, responder.Close())
			}
		})
	}
}

func TestStapleRefusesAForeignLeaf(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(r *rig, cfg *ocsp.Config) { signCA(r, cfg, ocsptest.Options{Signer: keys[ocsptest.RSA2048]()}) })
	twin := ocsptest.NewCA(ocsptest.Options{Signer: strangerKeys[ocsptest.RSA2048]()}) // of the same name
	under := func(of *ocsptest.CA, name []byte) *x509.Certificate {
		ca, cert := *of, *of.Certificate
		cert.RawSubject, ca.Certificate = name, &cert
		return ca.Issue(ocsptest.Options{})
	}
	printable := derSeq(derTLV(0x31, derSeq(derOID(2, 5, 4, 3), derTLV(0x0c, []byte("Test CA"))))) // UTF8String
	require.NotEqual(t, printable, r.ca.Certificate.RawSubject)
	for name, test := range map[string]struct {
		leaf *x509.Certificate
		want string
	}{
		"another key":                       {twin.Issue(ocsptest.Options{}), `no configured issuer signed the certificate, though one has the name "CN=Test CA"`},
		"another key, a name that looks so": {under(twin, printable), "no configured issuer has these hashes"},
		"another key, MD5":                  {resigned(t, twin.Issue(ocsptest.Options{}), twin.Key, 4, crypto.MD5), "is the SubjectKeyId of 0 of them"},
		"a name not like it":                {under(r.ca, distinguishedName(t, "Other CA")), "no configured issuer has these hashes"},
		"a name that looks so":              {under(r.ca, printable), `"CN=Test CA", like the CA's name but encoded differently`},
	} {
		t.Run(name, func(t *testing.T) {
			r.store.Add(r.ca.ID, test.leaf)
			_, err := r.responder.Staple(t.Context(), test.leaf)
			require.ErrorContains(t, err, test.want)
		})
	}
	t.Run("NameAliases", func(t *testing.T) {
		issuer := r.ca.Issuer()
		issuer.NameAliases = [][]byte{printable}
		require.NoError(t, r.responder.SetIssuer(issuer))
		for _, leaf := range []*x509.Certificate{under(r.ca, printable), resigned(t, under(r.ca, printable), r.ca.Key, 4, crypto.MD5)} {
			r.store.Add(r.ca.ID, leaf)
			staple, err := r.responder.Staple(t.Context(), leaf)
			require.NoError(t, err)
			answer, err := xocsp.ParseResponseForCert(staple, leaf, r.ca.Certificate)
			require.NoError(t, err)
			require.Equal(t, xocsp.Good, answer.Status)
		}
	})
}

// A CA that changed the string type of its name may issue its delegate under either name.
func TestDelegateUnderANameAlias(t *testing.T) {
	t.Parallel()
	name := derSeq(derTLV(0x31, derSeq(derOID(2, 5, 4, 3), derTLV(0x0c, []byte("Test CA"))))) // UTF8String
	r := newRig(t, nil)
	require.NotEqual(t, name, r.ca.Certificate.RawSubject)
	ca, cert := *r.ca, *r.ca.Certificate
	cert.RawSubject, ca.Certificate = name, &cert
	issuer := r.ca.Issuer()
	issuer.ResponderCertificate, issuer.Signer = ca.Delegate(ocsptest.Options{})

	err := r.responder.SetIssuer(issuer)
	require.ErrorContains(t, err, `the field ResponderCertificate was issued by "CN=Test CA", like the CA's name but encoded differently`)
	require.ErrorContains(t, err, "NameAliases")
	issuer.NameAliases = [][]byte{distinguishedName(t, "another"), name}
	require.NoError(t, r.responder.SetIssuer(issuer))
	require.Equal(t, "Test Responder", signedBy(r.status(r.leaf)))

	require.Empty(t, ocsp.CheckDelegate(issuer, ocsp.ProfilePrivate))
	findings := ocsp.CheckDelegate(issuer, ocsp.ProfileCABF)
	require.Len(t, findings, 1)
	require.True(t, findings[0].Refused)
	require.Equal(t, "TLS BR 7.1.2.8", findings[0].Rule)

	twin := ocsptest.NewCA(ocsptest.Options{}) // the alias does not excuse another key
	twinCert := *twin.Certificate
	twinCert.RawSubject, twin.Certificate = name, &twinCert
	issuer.ResponderCertificate, issuer.Signer = twin.Delegate(ocsptest.Options{})
	require.ErrorContains(t, r.responder.SetIssuer(issuer), "not signed with the CA's present key")
}
