package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// signParts is a signed answer taken apart into elements.
type signParts struct {
	status    []byte
	tbs       [][]byte // responderID, producedAt, responses and perhaps responseExtensions
	algorithm []byte
	signature []byte
	certs     []byte // the whole field, nil for none
}

func signTakeApart(t require.TestingT, der []byte) *signParts {
	outer := derSplit(t, der)
	responseBytes := derSplit(t, derSplit(t, outer[1])[0])
	basic := derSplit(t, derSplit(t, append([]byte{0x30}, responseBytes[1][1:]...))[0]) // into the OCTET STRING
	parts := &signParts{status: outer[0], tbs: derSplit(t, basic[0]), algorithm: basic[1], signature: basic[2]}
	if len(basic) > 3 {
		parts.certs = basic[3]
	}
	return parts
}

func (p *signParts) der() []byte {
	basic := derSeq(derSeq(p.tbs...), p.algorithm, p.signature, p.certs)
	return derSeq(p.status, derTLV(0xa0, derSeq(extBasic, derOctets(basic))))
}

// sign signs the parts anew with ECDSA and SHA-256.
func (p *signParts) sign(t require.TestingT, key crypto.Signer) {
	signature, err := crypto.SignMessage(key, rand.Reader, derSeq(p.tbs...), crypto.SHA256)
	require.NoError(t, err)
	p.signature = derTLV(3, []byte{0}, signature)
}

// single changes the elements of one SingleResponse: certID, status, thisUpdate, nextUpdate and perhaps
// singleExtensions.
func (p *signParts) single(t require.TestingT, n int, change func([][]byte) [][]byte) {
	singles := derSplit(t, p.tbs[2])
	singles[n] = derSeq(change(derSplit(t, singles[n]))...)
	p.tbs[2] = derSeq(singles...)
}

// signDelegated lets a delegate with that certificate sign.
func signDelegated(opts ocsptest.Options) func(*rig, *ocsp.Config) {
	return func(r *rig, cfg *ocsp.Config) {
		cert, key := r.ca.Delegate(opts)
		r.signer = ocsptest.NewSigner(key)
		cfg.Issuers[0].ResponderCertificate, cfg.Issuers[0].Signer = cert, r.signer
	}
}

// signCA makes a CA of that key the rig's.
func signCA(r *rig, cfg *ocsp.Config, opts ocsptest.Options) {
	r.ca = ocsptest.NewCA(opts)
	r.signer = ocsptest.NewSigner(r.ca.Key)
	r.leaf = r.issue()
	cfg.Issuers = []ocsp.Issuer{r.ca.Issuer()}
	cfg.Issuers[0].Signer = r.signer
}

func TestT179FaultyIssuers(t *testing.T) {
	t.Parallel()
	ca := ocsptest.NewCA(ocsptest.Options{})
	strange := ocsptest.NewCA(ocsptest.Options{Name: "Strange CA"})
	twin := ocsptest.NewCA(ocsptest.Options{}) // same name, other key
	rsaCA := ocsptest.NewCA(ocsptest.Options{Signer: keys[ocsptest.RSA2048]()})
	edCA := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519})
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	rsa1024, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)

	usage := func(u x509.KeyUsage) func(*x509.Certificate) {
		return func(t *x509.Certificate) { t.KeyUsage = u }
	}
	delegate := func(of *ocsptest.CA, opts ocsptest.Options) func() ocsp.Issuer {
		return func() ocsp.Issuer {
			issuer := ca.Issuer()
			issuer.ResponderCertificate, issuer.Signer = of.Delegate(opts)
			return issuer
		}
	}
	direct := func(opts ocsptest.Options) func() ocsp.Issuer {
		return func() ocsp.Issuer { return ocsptest.NewCA(opts).Issuer() }
	}
	changed := func(of *ocsptest.CA, change func(*ocsp.Issuer)) func() ocsp.Issuer {
		return func() ocsp.Issuer {
			issuer := of.Issuer()
			change(&issuer)
			return issuer
		}
	}
	algorithm := func(of *ocsptest.CA, a x509.SignatureAlgorithm) func() ocsp.Issuer {
		return changed(of, func(i *ocsp.Issuer) { i.SignatureAlgorithm = a })
	}
	for name, test := range map[string]struct {
		issuer func() ocsp.Issuer
		field  string
		fault  string
	}{
		"nil certificate":     {changed(ca, func(i *ocsp.Issuer) { i.Certificate = nil }), "Certificate", "is nil"},
		"empty certificate":   {changed(ca, func(i *ocsp.Issuer) { i.Certificate = &x509.Certificate{} }), "Certificate", "not parsed"},
		"nil signer":          {changed(ca, func(i *ocsp.Issuer) { i.Signer = nil }), "Signer", "is nil"},
		"typed nil signer":    {changed(ca, func(i *ocsp.Issuer) { i.Signer = (*ecdsa.PrivateKey)(nil) }), "Signer", "is nil"},
		"wrong key":           {changed(ca, func(i *ocsp.Issuer) { i.Signer = twin.Key }), "Certificate", "is for another key"},
		"key of another type": {changed(ca, func(i *ocsp.Issuer) { i.Signer = rsaCA.Key }), "Certificate", "is for another key"},
		"wrong opaque key":    {changed(ca, func(i *ocsp.Issuer) { i.Signer = ocsptest.NewSigner(twin.Key) }), "Certificate", "is for another key"},
		"leaf as CA":          {changed(ca, func(i *ocsp.Issuer) { i.Certificate, i.Signer = ca.IssueKey(ocsptest.Options{}) }), "Certificate", "not a CA"},
		"P-224":               {direct(ocsptest.Options{Signer: p224}), "Signer", "P-224"},
		"RSA with 1024 bits":  {direct(ocsptest.Options{Signer: rsa1024}), "Signer", "1024 bits"},
		"SHA-1 with ECDSA":    {algorithm(ca, x509.ECDSAWithSHA1), "SignatureAlgorithm", "cannot safely sign"},
		"SHA-1 with RSA":      {algorithm(rsaCA, x509.SHA1WithRSA), "SignatureAlgorithm", "cannot safely sign"},
		"MD5":                 {algorithm(rsaCA, x509.MD5WithRSA), "SignatureAlgorithm", "cannot safely sign"},
		"RSA with an EC key":  {algorithm(ca, x509.SHA256WithRSA), "SignatureAlgorithm", "cannot safely sign"},
		"PSS with an EC key":  {algorithm(ca, x509.SHA256WithRSAPSS), "SignatureAlgorithm", "cannot safely sign"},
		"ECDSA with RSA":      {algorithm(rsaCA, x509.ECDSAWithSHA256), "SignatureAlgorithm", "cannot safely sign"},
		"ECDSA with Ed25519":  {algorithm(edCA, x509.ECDSAWithSHA256), "SignatureAlgorithm", "cannot safely sign"},
		"algorithm 99":        {algorithm(ca, 99), "SignatureAlgorithm", "cannot safely sign"},
		"responder ID 2":      {changed(ca, func(i *ocsp.Issuer) { i.ResponderID = 2 }), "ResponderID", "use ResponderIDByKey"},
		"name alias":          {changed(ca, func(i *ocsp.Issuer) { i.NameAliases = [][]byte{[]byte("CN=Test CA")} }), "NameAliases", "not the DER"},

		"delegate, wrong key": {func() ocsp.Issuer {
			issuer := delegate(ca, ocsptest.Options{})()
			issuer.Signer = ca.Key
			return issuer
		}, "ResponderCertificate", "is for another key"},
		"delegate, empty":            {changed(ca, func(i *ocsp.Issuer) { i.ResponderCertificate = &x509.Certificate{} }), "ResponderCertificate", "not parsed"},
		"delegate without EKU":       {delegate(ca, ocsptest.Options{Adjust: func(t *x509.Certificate) { t.ExtKeyUsage = nil }}), "ResponderCertificate", "lacks the extended key usage OCSPSigning"},
		"delegate with other EKU":    {delegate(ca, ocsptest.Options{Adjust: func(t *x509.Certificate) { t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }}), "ResponderCertificate", "lacks the extended key usage OCSPSigning"},
		"delegate of another CA":     {delegate(strange, ocsptest.Options{}), "ResponderCertificate", "was issued by"},
		"delegate of a sub-CA":       {delegate(ca.Intermediate(ocsptest.Options{}), ocsptest.Options{}), "ResponderCertificate", "was issued by"},
		"delegate of a CA so called": {delegate(twin, ocsptest.Options{}), "ResponderCertificate", "not signed with the CA's present key"},
		"delegate that is a CA":      {delegate(ca, ocsptest.Options{Adjust: func(t *x509.Certificate) { t.IsCA = true; t.KeyUsage |= x509.KeyUsageCertSign }}), "ResponderCertificate", "is a CA"},
		"delegate that may not sign": {delegate(ca, ocsptest.Options{Adjust: usage(x509.KeyUsageKeyEncipherment)}), "ResponderCertificate", "digitalSignature"},
		"delegate, unknown critical": {delegate(ca, ocsptest.Options{Adjust: func(t *x509.Certificate) {
			t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}}), "ResponderCertificate", "critical extension 1.2.3"},
		"delegate with P-224":         {delegate(ca, ocsptest.Options{Signer: p224}), "Signer", "P-224"},
		"delegate with RSA 1024 bits": {delegate(ca, ocsptest.Options{Signer: rsa1024}), "Signer", "1024 bits"},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := test.issuer()
			check := func(err error) {
				require.ErrorContains(t, err, test.field)
				require.ErrorContains(t, err, test.fault)
			}
			var err error
			require.NotPanics(t, func() {
				_, err = ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: ocsptest.NewStore()})
			})
			check(err)
			require.ErrorContains(t, err, "Issuers[0]")

			r := newRig(t, nil)
			issuer.ID = r.ca.ID
			check(r.responder.SetIssuer(issuer))
			r.requireAnswer(r.post(r.request(r.leaf)), xocsp.Good) // the old one still works
			assert.Equal(t, 1, r.signer.Calls())
		})
	}
	t.Run("the table's frame", func(t *testing.T) { // what the table changes is sound to begin with
		for _, issuer := range []ocsp.Issuer{ca.Issuer(), rsaCA.Issuer(), edCA.Issuer(), delegate(ca, ocsptest.Options{})()} {
			responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: ocsptest.NewStore()})
			require.NoError(t, err)
			require.NoError(t, responder.Close())
		}
	})
}

func TestT179aCAWithoutDigitalSignature(t *testing.T) {
	t.Parallel()
	bare := ocsptest.Options{Adjust: func(t *x509.Certificate) { t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign }}
	for name, delegated := range map[string]bool{"CA": false, "delegate": true} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			r := newRig(t, func(r *rig, cfg *ocsp.Config) {
				signCA(r, cfg, bare)
				if delegated {
					signDelegated(ocsptest.Options{})(r, cfg)
				}
				cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			})
			files := signFiles(t, r.ca.Certificate, r.leaf, r.query(r.leaf).DER)
			output := signOpenSSL(t, "ocsp", "-respin", files[2], "-issuer", files[0], "-cert", files[1], "-CAfile", files[0], "-no_nonce")
			assert.Contains(t, output, "Response verify OK")
			if delegated {
				assert.Empty(t, log.String(), "the delegate's key usage is what counts")
				return
			}
			assert.Equal(t, 1, strings.Count(log.String(), "level=WARN"))
			assert.Contains(t, log.String(), "digitalSignature")
		})
	}
	t.Run("ProfileCABF", func(t *testing.T) {
		ca := ocsptest.NewCA(bare)
		_, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: ocsptest.NewStore(), Profile: ocsp.ProfileCABF})
		require.ErrorContains(t, err, "the field Issuers[0].Certificate has a key usage without digitalSignature")
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Profile = ocsp.ProfileCABF })
		issuer := ca.Issuer()
		require.ErrorContains(t, r.responder.SetIssuer(issuer), "digitalSignature")
	})
}

func TestT180DelegateWithoutNoCheck(t *testing.T) {
	t.Parallel()
	t.Run("ProfileCABF", func(t *testing.T) {
		ca := ocsptest.NewCA(ocsptest.Options{})
		issuer := ca.Issuer()
		issuer.ResponderCertificate, issuer.Signer = ca.Delegate(ocsptest.Options{Adjust: withoutNoCheck})
		_, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: ocsptest.NewStore(), Profile: ocsp.ProfileCABF})
		require.ErrorContains(t, err, "the field Issuers[0].ResponderCertificate lacks id-pkix-ocsp-nocheck")
	})
	for name, bare := range map[string]bool{"without": true, "with": false} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			r := newRig(t, func(r *rig, cfg *ocsp.Config) {
				opts := ocsptest.Options{}
				if bare {
					opts.Adjust = func(t *x509.Certificate) { t.ExtraExtensions = nil }
				}
				signDelegated(opts)(r, cfg)
				cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			})
			assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			if !bare {
				assert.Empty(t, log.String())
				return
			}
			assert.Equal(t, 1, strings.Count(log.String(), "level=WARN"))
			assert.Contains(t, log.String(), "nocheck")
		})
	}
}

func TestT181DelegateOfPreviousKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	rolled := ocsptest.NewCA(ocsptest.Options{}) // the CA after its key rollover
	issuer := rolled.Issuer()
	issuer.ResponderCertificate, issuer.Signer = r.ca.Delegate(ocsptest.Options{})
	require.ErrorContains(t, r.responder.SetIssuer(issuer), "ResponderCertificate was not signed with the CA's present key")
	assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)

	issuer.ResponderCertificate, issuer.Signer = rolled.Delegate(ocsptest.Options{})
	require.NoError(t, r.responder.SetIssuer(issuer))
	rolled.ID = r.ca.ID
	certIDAnswer(certIDFor(r, rolled), derIDOf(rolled.Certificate, r.leaf.SerialNumber), xocsp.Good)
}

func TestT182SignerFaults(t *testing.T) {
	t.Parallel()
	// The timeout is of the bubble's clock, so that a busy machine does not run into it.
	run := func(t *testing.T, name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
	for name, test := range map[string]struct {
		fault ocsptest.Fault
		want  xocsp.ResponseStatus
	}{
		"error":       {ocsptest.Fail, xocsp.TryLater},
		"hangs":       {ocsptest.Hang, xocsp.TryLater},
		"wrong bytes": {ocsptest.Wrong, xocsp.TryLater},
		"panics":      {ocsptest.Panic, xocsp.InternalError},
	} {
		run(t, name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Signing.Timeout = 50 * time.Millisecond })
			r.signer.SetFault(test.fault)
			nonce := extWith(r, derNonceExt(make([]byte, 32)))
			for _, request := range [][]byte{r.request(r.leaf), nonce, r.request(r.leaf, r.issue())} {
				begun := time.Now()
				r.requireError(test.want, r.post(request))
				assert.LessOrEqual(t, time.Since(begun), 50*time.Millisecond)
			}
			r.signer.SetFault(ocsptest.Healthy)
			before := r.signer.Calls()
			assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			assert.Equal(t, before+1, r.signer.Calls(), "something of the failure was cached")
			r.requireAnswer(r.post(nonce), xocsp.Good)
		})
	}
	t.Run("short bytes", func(t *testing.T) {
		var signature []byte
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Issuers[0].Signer = ocsp.NewSigner(r.ca.Key.Public(), func(context.Context, []byte, crypto.SignerOpts) ([]byte, error) {
				return signature, nil
			})
		})
		for _, signature = range [][]byte{nil, {}, {0x30}, make([]byte, 64)} {
			r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
		}
	})
	run(t, "NewSigner", func(t *testing.T) {
		var fault atomic.Pointer[error] // a call that was given up on may still read it
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Signing.Timeout = 50 * time.Millisecond
			cfg.Issuers[0].Signer = ocsp.NewSigner(r.ca.Key.Public(), func(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				switch fail := fault.Load(); {
				case fail == nil:
				case errors.Is(*fail, context.DeadlineExceeded):
					<-ctx.Done() // the budget reaches the key
					return nil, ctx.Err()
				default:
					return nil, *fail
				}
				return r.ca.Key.Sign(rand.Reader, digest, opts)
			})
		})
		for _, fail := range []error{ocsptest.ErrInjected, context.DeadlineExceeded} {
			fault.Store(&fail)
			r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
		}
		fault.Store(nil)
		assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)
	})
}

// signAlgorithms are AlgorithmIdentifiers as the standards spell them: RFC 4055, RFC 5758, RFC 8410, TLS BR 7.1.3.2.
var signAlgorithms = map[x509.SignatureAlgorithm]string{
	x509.SHA256WithRSA:    "300d06092a864886f70d01010b0500",
	x509.SHA256WithRSAPSS: "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120",
	x509.SHA384WithRSAPSS: "304106092a864886f70d01010a3034a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130",
	x509.SHA512WithRSAPSS: "304106092a864886f70d01010a3034a00f300d06096086480165030402030500a11c301a06092a864886f70d010108300d06096086480165030402030500a203020140",
	x509.ECDSAWithSHA256:  "300a06082a8648ce3d040302",
	x509.ECDSAWithSHA384:  "300a06082a8648ce3d040303",
	x509.ECDSAWithSHA512:  "300a06082a8648ce3d040304",
	x509.PureEd25519:      "300506032b6570",
	// What only a configuration asks for.
	x509.SHA384WithRSA: "300d06092a864886f70d01010c0500",
	x509.SHA512WithRSA: "300d06092a864886f70d01010d0500",
}

// signKind is a key and how it signs.
type signKind struct {
	key       ocsptest.KeyType
	algorithm x509.SignatureAlgorithm // in Issuer
	want      x509.SignatureAlgorithm
}

func signKinds(t *testing.T) map[string]signKind {
	kinds := map[string]signKind{
		"RSA-PSS-256": {ocsptest.RSA2048, x509.SHA256WithRSAPSS, x509.SHA256WithRSAPSS},
		"RSA-PSS-384": {ocsptest.RSA2048, x509.SHA384WithRSAPSS, x509.SHA384WithRSAPSS},
		"RSA-PSS-512": {ocsptest.RSA2048, x509.SHA512WithRSAPSS, x509.SHA512WithRSAPSS},
		"RSA-384":     {ocsptest.RSA2048, x509.SHA384WithRSA, x509.SHA384WithRSA},
		"RSA-512":     {ocsptest.RSA2048, x509.SHA512WithRSA, x509.SHA512WithRSA},
	}
	defaults := map[ocsptest.KeyType]x509.SignatureAlgorithm{
		ocsptest.P256: x509.ECDSAWithSHA256, ocsptest.P384: x509.ECDSAWithSHA384, ocsptest.P521: x509.ECDSAWithSHA512,
		ocsptest.RSA2048: x509.SHA256WithRSA, ocsptest.Ed25519: x509.PureEd25519,
	}
	for _, key := range ocsptest.KeyTypes() {
		require.Contains(t, defaults, key)
		kinds[key.String()] = signKind{key, 0, defaults[key]}
	}
	return kinds
}

// signRig is a rig whose answers are signed by a key of that kind, the CA's or a delegate's.
func signRig(t *testing.T, kind signKind, delegated bool) *rig {
	return newRig(t, func(r *rig, cfg *ocsp.Config) {
		if delegated {
			signDelegated(ocsptest.Options{Signer: keys[kind.key]()})(r, cfg)
		} else {
			signCA(r, cfg, ocsptest.Options{Signer: keys[kind.key]()})
		}
		cfg.Issuers[0].SignatureAlgorithm = kind.algorithm
	})
}

// signOpenSSL runs openssl and returns its output. It skips the test where there is none, unless the
// environment says that there must be.
func signOpenSSL(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("OCSP_REQUIRE_TOOLS") == "1" {
			t.Fatal("openssl is not in PATH, and OCSP_REQUIRE_TOOLS=1 requires it: apt-get install openssl")
		}
		t.Skip("openssl is not in PATH: apt-get install openssl, or brew install openssl")
	}
	cmd := exec.CommandContext(t.Context(), "openssl", args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(strings.ToLower(v), "http_proxy=")
	}), "no_proxy=127.0.0.1")
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "openssl %v: %s", args, output)
	return string(output)
}

// signFiles writes files into a folder of the test's own and returns their paths; certificates as PEM.
func signFiles(t *testing.T, contents ...any) (paths []string) {
	dir := t.TempDir()
	for i, content := range contents {
		data, ok := content.([]byte)
		if cert, isCert := content.(*x509.Certificate); isCert {
			data, ok = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), true
		}
		require.True(t, ok)
		path := filepath.Join(dir, fmt.Sprint("file", i))
		require.NoError(t, os.WriteFile(path, data, 0o600))
		paths = append(paths, path)
	}
	return paths
}

func TestT189SignatureAlgorithms(t *testing.T) {
	t.Parallel()
	for name, kind := range signKinds(t) {
		for who, delegated := range map[string]bool{"CA": false, "delegate": true} {
			t.Run(name+", "+who, func(t *testing.T) {
				r := signRig(t, kind, delegated)
				result := r.query(r.leaf)
				assert.Equal(t, signAlgorithms[kind.want], hex.EncodeToString(signTakeApart(t, result.DER).algorithm))

				files := signFiles(t, r.ca.Certificate, r.leaf, result.DER, result.Request)
				ca, leaf, response, request := files[0], files[1], files[2], files[3]
				output := signOpenSSL(t, "ocsp", "-respin", response, "-issuer", ca, "-cert", leaf, "-CAfile", ca, "-no_nonce")
				assert.Contains(t, output, "Response verify OK")
				assert.Contains(t, output, leaf+": good")

				server := httptest.NewServer(r.handler)
				defer server.Close()
				output = signOpenSSL(t, "ocsp", "-reqin", request, "-url", server.URL+"/ocsp", "-issuer", ca, "-CAfile", ca, "-resp_text")
				assert.Contains(t, output, "Response verify OK")
				assert.Contains(t, output, "Cert Status: good")
			})
		}
	}
	t.Run("a wrong signature", func(t *testing.T) { // that OpenSSL's approval says something
		r := newRig(t, nil)
		parts := signTakeApart(t, r.query(r.leaf).DER)
		parts.sign(t, ocsptest.NewKey(ocsptest.P256))
		files := signFiles(t, r.ca.Certificate, parts.der())
		signOpenSSL(t, "version")
		output, err := exec.CommandContext(t.Context(), "openssl", "ocsp", "-respin", files[1], "-issuer", files[0], "-CAfile", files[0], "-no_nonce").CombinedOutput()
		require.Error(t, err)
		assert.Contains(t, string(output), "Response Verify Failure")
	})
}

// lintBase is an answer about a good, a revoked and an unknown certificate, with a nonce.
func lintBase(t *testing.T, adjust func(*rig, *ocsp.Config)) (*rig, *ocsptest.Result) {
	r := newRig(t, adjust)
	revoked := r.issue()
	r.revoke(revoked, ocsp.KeyCompromise)
	client := r.client()
	client.Nonce = bytes.Repeat([]byte{5}, 32)
	result, err := client.Query(t.Context(), r.ca.Certificate, r.leaf, revoked, r.ca.Issue(ocsptest.Options{}))
	require.NoError(t, err)
	return r, result
}

// lintTamper makes sure that Lint finds each of the changes to an answer that is signed again, and nothing
// else.
func lintTamper(t *testing.T, finding string, adjust func(*rig, *ocsp.Config), changes map[string]func(*testing.T, *rig, *signParts)) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			r, result := lintBase(t, adjust)
			key := r.ca.Key
			parts := signTakeApart(t, result.DER)
			if parts.certs != nil {
				t.Fatal("use a rig whose CA signs")
			}
			parts.sign(t, key)
			require.NoError(t, lintRun(r, result, parts))
			change(t, r, parts)
			parts.sign(t, key)
			err := lintRun(r, result, parts)
			require.ErrorContains(t, err, finding+":")
			for line := range strings.Lines(err.Error()) {
				assert.Contains(t, line, finding+":")
			}
		})
	}
}

func lintRun(r *rig, result *ocsptest.Result, parts *signParts) error {
	return ocsptest.Lint(result.Request, parts.der(), r.ca.Certificate, r.clock.Now())
}

func TestT190Encoding(t *testing.T) {
	t.Parallel()
	// What Lint demands, T190 to T196, holds for every kind of answer.
	for name, kind := range signKinds(t) {
		for who, delegated := range map[string]bool{"CA": false, "delegate": true} {
			t.Run(name+", "+who, func(t *testing.T) {
				r := signRig(t, kind, delegated)
				revoked, never := r.issue(), r.ca.Issue(ocsptest.Options{})
				r.revoke(revoked, ocsp.KeyCompromise)
				for _, method := range []string{http.MethodGet, http.MethodPost} {
					for _, h := range certIDHashes {
						for _, nonce := range [][]byte{nil, bytes.Repeat([]byte{5}, 32)} {
							client := r.client()
							client.Method, client.Hash, client.Nonce = method, h.hash, nonce
							for cert, status := range map[*x509.Certificate]int{r.leaf: xocsp.Good, revoked: xocsp.Revoked, never: xocsp.Unknown} {
								result, err := client.Query(t.Context(), r.ca.Certificate, cert)
								require.NoError(t, err)
								require.Equal(t, status, result.Responses[0].Status)
							}
						}
					}
				}
			})
		}
	}
	lintTamper(t, "T190", nil, map[string]func(*testing.T, *rig, *signParts){
		"version written out": func(_ *testing.T, _ *rig, p *signParts) {
			p.tbs = slices.Insert(p.tbs, 0, []byte{0xa0, 3, 2, 1, 0})
		},
		"critical FALSE written out": func(_ *testing.T, _ *rig, p *signParts) {
			p.tbs[3] = derTLV(0xa1, derSeq(derExt(derNonceOID, derFalse, derOctets(bytes.Repeat([]byte{5}, 32)))))
		},
		"reason under a wide tag": func(t *testing.T, _ *rig, p *signParts) { // 0xa0 with something behind the ENUMERATED
			p.single(t, 1, func(s [][]byte) [][]byte {
				info := derSplit(t, s[1])
				s[1] = derTLV(0xa1, info[0], derTLV(0xa0, []byte{10, 1, 1}, derNull))
				return s
			})
		},
	})
	t.Run("not even BER", func(t *testing.T) {
		r, result := lintBase(t, nil)
		for name, der := range map[string][]byte{
			"trailing": append(clone(result.DER), 0), "cut": result.DER[:len(result.DER)-1], "nothing": nil, "an error": {0x30, 3, 10, 1, 1},
		} {
			require.Error(t, ocsptest.Lint(result.Request, der, r.ca.Certificate, r.clock.Now()), name)
		}
	})
}

func TestT191ResponderID(t *testing.T) {
	t.Parallel()
	byKey := func(hash []byte) []byte { return derTLV(0xa2, derOctets(hash)) }
	sum := func(data []byte) []byte { h := sha1.Sum(data); return h[:] }
	for name, kind := range map[string]ocsp.ResponderIDKind{"by key": ocsp.ResponderIDByKey, "by name": ocsp.ResponderIDByName} {
		for who, delegated := range map[string]bool{"CA": false, "delegate": true} {
			t.Run(name+", "+who, func(t *testing.T) {
				var signer *x509.Certificate
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					signer = r.ca.Certificate
					if delegated {
						signDelegated(ocsptest.Options{})(r, cfg)
						signer = cfg.Issuers[0].ResponderCertificate
					}
					cfg.Issuers[0].ResponderID = kind
				})
				want := byKey(sum(derKeyBits(signer)))
				if kind == ocsp.ResponderIDByName {
					want = derTLV(0xa1, signer.RawSubject)
				}
				assert.Equal(t, want, signTakeApart(t, r.query(r.leaf).DER).tbs[0])
			})
		}
	}
	lintTamper(t, "T191", nil, map[string]func(*testing.T, *rig, *signParts){
		"other key": func(_ *testing.T, r *rig, p *signParts) { p.tbs[0] = byKey(sum(derKeyBits(r.leaf))) },
		"whole SPKI": func(_ *testing.T, r *rig, p *signParts) {
			p.tbs[0] = byKey(sum(r.ca.Certificate.RawSubjectPublicKeyInfo))
		},
		"19 octets": func(_ *testing.T, r *rig, p *signParts) { p.tbs[0] = byKey(sum(derKeyBits(r.ca.Certificate))[:19]) },
		"SHA-256": func(_ *testing.T, r *rig, p *signParts) {
			p.tbs[0] = byKey(derHash(crypto.SHA256, derKeyBits(r.ca.Certificate)))
		},
		"other name":    func(_ *testing.T, r *rig, p *signParts) { p.tbs[0] = derTLV(0xa1, r.leaf.RawSubject) },
		"tag of none":   func(_ *testing.T, r *rig, p *signParts) { p.tbs[0] = derTLV(0xa3, r.ca.Certificate.RawSubject) },
		"version is v2": func(_ *testing.T, _ *rig, p *signParts) { p.tbs = slices.Insert(p.tbs, 0, []byte{0xa0, 3, 2, 1, 1}) },
		"behind the hash": func(_ *testing.T, r *rig, p *signParts) {
			p.tbs[0] = derTLV(0xa2, derOctets(sum(derKeyBits(r.ca.Certificate))), derNull)
		},
	})
}

func TestT192Times(t *testing.T) {
	t.Parallel()
	single := func(field int, wrap bool, at func(*rig) time.Time) func(*testing.T, *rig, *signParts) {
		return func(t *testing.T, r *rig, p *signParts) {
			p.single(t, 1, func(s [][]byte) [][]byte {
				s[field] = statusTime(at(r))
				if wrap {
					s[field] = derTLV(0xa0, s[field])
				}
				return s
			})
		}
	}
	after := func(d time.Duration) func(*rig) time.Time {
		return func(r *rig) time.Time { return r.clock.Now().Add(d) }
	}
	lintTamper(t, "T192", nil, map[string]func(*testing.T, *rig, *signParts){
		"producedAt in the future":     func(_ *testing.T, r *rig, p *signParts) { p.tbs[1] = statusTime(after(2 * time.Second)(r)) },
		"thisUpdate after producedAt":  single(2, false, after(time.Second)),
		"nextUpdate after the signer":  single(3, true, func(r *rig) time.Time { return r.ca.Certificate.NotAfter.Add(time.Second) }),
		"thisUpdate far in the future": single(2, false, after(23*time.Hour)),
	})
	// With a thisUpdate that leaves room for a nextUpdate before now.
	backdated := func(_ *rig, cfg *ocsp.Config) { cfg.Backdate = time.Hour }
	lintTamper(t, "T154", nil, map[string]func(*testing.T, *rig, *signParts){
		"revoked in the future": func(t *testing.T, r *rig, p *signParts) {
			p.single(t, 1, func(s [][]byte) [][]byte {
				s[1] = derTLV(0xa1, statusTime(after(time.Second)(r)), []byte{0xa0, 3, 10, 1, 1})
				return s
			})
		},
	})
	lintTamper(t, "T177", backdated, map[string]func(*testing.T, *rig, *signParts){
		"runs out now":   single(3, true, after(0)),
		"ran out before": single(3, true, after(-time.Minute)),
	})
	for name, change := range map[string]func(*testing.T, *rig, *signParts){ // two findings each
		"nextUpdate is thisUpdate": single(3, true, after(0)),
		"nextUpdate is earlier":    single(3, true, after(-time.Second)),
		"nextUpdate absent": func(t *testing.T, _ *rig, p *signParts) {
			p.single(t, 1, func(s [][]byte) [][]byte { return s[:3] })
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, result := lintBase(t, nil)
			parts := signTakeApart(t, result.DER)
			change(t, r, parts)
			parts.sign(t, r.ca.Key)
			require.ErrorContains(t, lintRun(r, result, parts), "T192: nextUpdate")
		})
	}
	t.Run("shown later", func(t *testing.T) {
		r, result := lintBase(t, nil)
		r.clock.Advance(24*time.Hour - 2*time.Second)
		require.NoError(t, ocsptest.Lint(result.Request, result.DER, r.ca.Certificate, r.clock.Now()))
		r.clock.Advance(time.Second)
		require.ErrorContains(t, ocsptest.Lint(result.Request, result.DER, r.ca.Certificate, r.clock.Now()), "T177")
	})
}

func TestT193CertIDs(t *testing.T) {
	t.Parallel()
	singles := func(change func([][]byte) [][]byte) func(*testing.T, *rig, *signParts) {
		return func(t *testing.T, _ *rig, p *signParts) { p.tbs[2] = derSeq(change(derSplit(t, p.tbs[2]))...) }
	}
	certID := func(change func(*rig, *derCertID)) func(*testing.T, *rig, *signParts) {
		return func(t *testing.T, r *rig, p *signParts) {
			p.single(t, 0, func(s [][]byte) [][]byte {
				id := derIDOf(r.ca.Certificate, r.leaf.SerialNumber)
				require.Equal(t, id.der(), s[0])
				change(r, &id)
				s[0] = id.der()
				return s
			})
		}
	}
	lintTamper(t, "T193", nil, map[string]func(*testing.T, *rig, *signParts){
		"one too few":   singles(func(s [][]byte) [][]byte { return s[:2] }),
		"none":          singles(func([][]byte) [][]byte { return nil }),
		"one too many":  singles(func(s [][]byte) [][]byte { return append(s, s[0]) }),
		"other order":   singles(func(s [][]byte) [][]byte { return [][]byte{s[1], s[0], s[2]} }),
		"one twice":     singles(func(s [][]byte) [][]byte { return [][]byte{s[0], s[0], s[2]} }),
		"no parameters": certID(func(_ *rig, id *derCertID) { id.algorithm = derSeq(derSHA1) }),
		"other serial":  certID(func(_ *rig, id *derCertID) { id.serial = []byte{2, 1, 1} }),
		"other hash": certID(func(r *rig, id *derCertID) {
			*id = derIDHashed(r.ca.Certificate, r.leaf.SerialNumber, crypto.SHA256, certIDHashes["SHA-256"].oid)
		}),
	})
}

func TestT194Certificates(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	assert.Nil(t, signTakeApart(t, r.query(r.leaf).DER).certs, "the CA signed")

	var delegate *x509.Certificate
	r = newRig(t, func(r *rig, cfg *ocsp.Config) {
		signDelegated(ocsptest.Options{})(r, cfg)
		delegate = cfg.Issuers[0].ResponderCertificate
	})
	field := func(certs ...*x509.Certificate) []byte {
		var list [][]byte
		for _, cert := range certs {
			list = append(list, cert.Raw)
		}
		return derTLV(0xa0, derSeq(list...))
	}
	result := r.query(r.leaf)
	assert.Equal(t, field(delegate), signTakeApart(t, result.DER).certs)

	leaf, leafKey := r.ca.IssueKey(ocsptest.Options{})
	stranger, strangerKey := ocsptest.NewCA(ocsptest.Options{}).Delegate(ocsptest.Options{})
	for name, test := range map[string]struct {
		certs   []byte
		key     crypto.Signer // that signs, and that the responderID names
		signer  *x509.Certificate
		finding string
	}{
		"without the delegate": {nil, nil, nil, "T196"},
		"the CA's instead":     {field(r.ca.Certificate), nil, nil, "T196"},
		"another delegate's":   {field(stranger), nil, nil, "T194: the issuer did not sign the delegate"},
		"a foreign delegate":   {field(stranger), strangerKey, stranger, "T194: the issuer did not sign the delegate"},
		"no OCSPSigning":       {field(leaf), leafKey, leaf, "T194: the delegate lacks OCSPSigning"},
		"two":                  {field(delegate, r.ca.Certificate), nil, nil, "T194: 2 certificates"},
		"garbage":              {derTLV(0xa0, derSeq(derSeq(derNull))), nil, nil, "T194: the first certificate is not one"},
	} {
		t.Run(name, func(t *testing.T) {
			parts := signTakeApart(t, result.DER)
			parts.certs = test.certs
			if test.key != nil {
				sum := sha1.Sum(derKeyBits(test.signer))
				parts.tbs[0] = derTLV(0xa2, derOctets(sum[:]))
				parts.sign(t, test.key)
			}
			require.ErrorContains(t, lintRun(r, result, parts), test.finding)
		})
	}
}

func TestT195Extensions(t *testing.T) {
	t.Parallel()
	nonce := derNonceExt(bytes.Repeat([]byte{5}, 32))
	cutoff := derExt(derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 6), nil, statusTime(time.Now()))
	response := func(extensions ...[]byte) func(*testing.T, *rig, *signParts) {
		return func(_ *testing.T, _ *rig, p *signParts) { p.tbs[3] = derTLV(0xa1, derSeq(extensions...)) }
	}
	single := func(extensions ...[]byte) func(*testing.T, *rig, *signParts) {
		return func(t *testing.T, _ *rig, p *signParts) {
			p.single(t, 1, func(s [][]byte) [][]byte { return append(s, derTLV(0xa1, derSeq(extensions...))) })
		}
	}
	lintTamper(t, "T195", nil, map[string]func(*testing.T, *rig, *signParts){
		"empty responseExtensions":   response(),
		"empty singleExtensions":     single(),
		"empty certs":                func(_ *testing.T, _ *rig, p *signParts) { p.certs = []byte{0xa0, 2, 0x30, 0} },
		"critical nonce":             response(derExt(derNonceOID, derTrue, derOctets(make([]byte, 32)))),
		"nonce twice":                response(nonce, nonce),
		"nonce in single":            single(nonce),
		"archive cutoff in response": response(nonce, cutoff),
		"critical archive cutoff":    single(derExt(derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 6), derTrue, statusTime(time.Now()))),
		"extended revoke in single":  single(derExt(derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 9), nil, derNull)),
		"reasonCode in single":       single(derExt(derOID(2, 5, 29, 21), nil, []byte{10, 1, 1})),
		"foreign in response":        response(nonce, derExt(derForeignOID, nil, derForeignValue)),
		"foreign in single":          single(derExt(derForeignOID, nil, derForeignValue)),
		"CrlID in single":            single(derExt(derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 3), nil, derSeq())),
		"CertHash in response":       response(nonce, derExt(derOID(1, 3, 36, 8, 3, 13), nil, derSeq())),
	})
}

func TestT196Signature(t *testing.T) {
	t.Parallel()
	// No octet of an answer can change unnoticed. T189 has OpenSSL verify what T190 shows to Go.
	for name, kind := range signKinds(t) {
		t.Run(name, func(t *testing.T) { signFlip(t, kind, false) })
	}
	t.Run("delegate", func(t *testing.T) { signFlip(t, signKind{}, true) })
}

// signFlip flips each octet of an answer and lists the changes that Lint does not find.
func signFlip(t *testing.T, kind signKind, delegated bool) {
	r := signRig(t, kind, delegated)
	result := r.query(r.leaf)
	var missed []string
	for i := range result.DER {
		tampered := clone(result.DER)
		tampered[i] ^= 1
		if ocsptest.Lint(result.Request, tampered, r.ca.Certificate, r.clock.Now()) == nil {
			missed = append(missed, fmt.Sprintf("octet %d, %02x for %02x, after %x", i, tampered[i], result.DER[i], tampered[max(0, i-12):i]))
		}
	}
	assert.Empty(t, missed)
	stranger := ocsptest.NewCA(ocsptest.Options{Signer: strangerKeys[kind.key]()}).Certificate
	require.ErrorContains(t, ocsptest.Lint(result.Request, result.DER, stranger, r.clock.Now()), map[bool]string{false: "T196", true: "T194"}[delegated])
}

func TestT197Clients(t *testing.T) {
	t.Parallel()
	for who, delegated := range map[string]bool{"CA": false, "delegate": true} {
		for _, key := range []ocsptest.KeyType{ocsptest.P256, ocsptest.RSA2048} { // Ed25519 is not known to x/crypto/ocsp
			t.Run(fmt.Sprint(key, ", ", who), func(t *testing.T) {
				r := signRig(t, signKind{key: key}, delegated)
				cert, certKey := r.ca.IssueKey(ocsptest.Options{})
				r.store.Add(r.ca.ID, cert)
				staple, err := r.responder.Staple(t.Context(), cert)
				require.NoError(t, err)
				r.requireAnswer(&ocsptest.Result{
					Request: r.request(cert), DER: staple, StatusCode: http.StatusOK,
					Header: http.Header{"Content-Type": {"application/ocsp-response"}},
				}, xocsp.Good)

				server := httptest.NewUnstartedServer(http.NotFoundHandler())
				server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: certKey, OCSPStaple: staple}}}
				server.StartTLS()
				defer server.Close()
				roots := x509.NewCertPool()
				roots.AddCert(r.ca.Certificate)
				conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{RootCAs: roots})
				require.NoError(t, err)
				state := conn.ConnectionState()
				require.NoError(t, conn.Close())
				response, err := xocsp.ParseResponseForCert(state.OCSPResponse, state.PeerCertificates[0], state.VerifiedChains[0][1])
				require.NoError(t, err)
				assert.Equal(t, xocsp.Good, response.Status)
				assert.Zero(t, cert.SerialNumber.Cmp(response.SerialNumber))

				ca := signFiles(t, r.ca.Certificate)[0]
				output := signOpenSSL(t, "s_client", "-connect", server.Listener.Addr().String(), "-status", "-CAfile", ca, "-verify_return_error")
				assert.Contains(t, output, "OCSP Response Status: successful (0x0)")
				assert.Contains(t, output, "Cert Status: good")

				// OpenSSL's own request, with its nonce, and then without.
				leaf := signFiles(t, cert)[0]
				responder := httptest.NewServer(r.handler)
				defer responder.Close()
				for _, option := range []string{"-nonce", "-no_nonce"} {
					for _, status := range []string{"good", "revoked"} {
						output = signOpenSSL(t, "ocsp", option, "-issuer", ca, "-cert", leaf, "-CAfile", ca, "-url", responder.URL+"/ocsp")
						assert.Contains(t, output, "Response verify OK")
						assert.Contains(t, output, leaf+": "+status)
						assert.NotContains(t, output, "WARNING")
						r.revoke(cert, ocsp.KeyCompromise)
					}
					r.store.Add(r.ca.ID, cert)
				}
			})
		}
	}
	t.Run("no staple", func(t *testing.T) {
		r := newRig(t, nil)
		for name, cert := range map[string]*x509.Certificate{
			"never issued": r.ca.Issue(ocsptest.Options{}), "foreign": ocsptest.NewCA(ocsptest.Options{}).Issue(ocsptest.Options{}),
		} {
			_, err := r.responder.Staple(t.Context(), cert)
			require.Error(t, err, name)
		}
		r.store.SetFault(ocsptest.Fail)
		_, err := r.responder.Staple(t.Context(), r.leaf)
		require.Error(t, err)
	})
}
