package ocsp_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// renewed returns a second issuer for the rig's CA: another certificate of the same name and key.
func (r *rig) renewed(id string, opts ocsptest.Options) ocsp.Issuer {
	opts.Signer = r.ca.Key
	issuer := ocsptest.NewCA(opts).Issuer()
	issuer.ID = id
	return issuer
}

func distinguishedName(t *testing.T, name string) []byte {
	t.Helper()
	der, err := asn1.Marshal(pkix.Name{CommonName: name}.ToRDNSequence())
	require.NoError(t, err)
	return der
}

func TestCompromiseOfRenewedCertificate(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		cfg.Issuers = append(cfg.Issuers, r.renewed("renewed", ocsptest.Options{}))
		cfg.Cache.StatusTTL = time.Hour
	})
	require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
	compromised := r.renewed("renewed", ocsptest.Options{})
	compromised.CompromisedAt = r.clock.Now().Add(-time.Hour)
	require.NoError(t, r.responder.SetIssuer(compromised))
	answer := r.status(r.leaf)
	require.Equal(t, xocsp.Revoked, answer.Status, "it is one key, whichever certificate says so")
	require.Equal(t, xocsp.CACompromise, answer.RevocationReason)
	require.Equal(t, compromised.CompromisedAt.UTC(), answer.RevokedAt)
}

func TestRenewedCertificateSigns(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		old := r.renewed("old", ocsptest.Options{NotAfter: r.clock.Now().Add(time.Hour)})
		cfg.Issuers = append([]ocsp.Issuer{old}, cfg.Issuers...)
	})
	require.Equal(t, r.clock.Now().Add(24*time.Hour-time.Second).UTC(), r.status(r.leaf).NextUpdate, "the old certificate's end binds nobody")
	r.clock.Advance(25 * time.Hour)
	require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
}

func TestAliases(t *testing.T) {
	t.Parallel()
	one, two := distinguishedName(t, "one"), distinguishedName(t, "two")
	r := newRig(t, func(r *rig, cfg *ocsp.Config) { cfg.Issuers[0].NameAliases = [][]byte{one, two} })
	ask := func(name []byte) *ocsptest.Result {
		issuer := &x509.Certificate{RawSubject: name, RawSubjectPublicKeyInfo: r.ca.Certificate.RawSubjectPublicKeyInfo}
		return r.post(ocsptest.Client{}.Request(issuer, r.leaf))
	}
	r.requireAnswer(ask(one), xocsp.Good)
	issuer := r.ca.Issuer()
	issuer.NameAliases = [][]byte{two}
	require.NoError(t, r.responder.SetIssuer(issuer))
	r.requireError(xocsp.Unauthorized, ask(one))
	r.requireAnswer(ask(two), xocsp.Good) // Lint looks whether it mirrors "two"

	t.Run("may not make two CAs one", func(t *testing.T) {
		x := ocsptest.NewCA(ocsptest.Options{Name: "X"})
		y := ocsptest.NewCA(ocsptest.Options{Name: "Y", Signer: x.Key})
		first := x.Issuer()
		first.NameAliases = [][]byte{y.Certificate.RawSubject}
		_, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{first, y.Issuer()}, Store: r.store})
		require.ErrorContains(t, err, "NameAliases")
		require.NoError(t, r.responder.SetIssuer(first))
		require.ErrorContains(t, r.responder.SetIssuer(y.Issuer()), "NameAliases")
	})
}

func TestStaple(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	alias := ocsptest.NewCA(ocsptest.Options{Name: "alias"})
	roots := x509.NewCertPool()
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		cfg.Issuers[0].NameAliases = [][]byte{alias.Certificate.RawSubject}
		cfg.Nonce, cfg.RequestSigners = ocsp.NonceRequire, roots // for clients
	})
	staple, err := r.responder.Staple(ctx, r.leaf)
	require.NoError(t, err)
	answer, err := xocsp.ParseResponseForCert(staple, r.leaf, r.ca.Certificate)
	require.NoError(t, err)
	require.Equal(t, xocsp.Good, answer.Status)
	require.Equal(t, crypto.SHA1, answer.IssuerHash)

	under := (&ocsptest.CA{Certificate: ocsptest.NewCA(ocsptest.Options{Name: "alias", Signer: r.ca.Key}).Certificate, Key: r.ca.Key}).Issue(ocsptest.Options{})
	r.store.Add(r.ca.ID, under)
	_, err = r.responder.Staple(ctx, under)
	require.NoError(t, err, "a leaf issued under an alias")

	r.revoke(r.leaf, ocsp.KeyCompromise)
	staple, err = r.responder.Staple(ctx, r.leaf)
	require.NoError(t, err)
	answer, err = xocsp.ParseResponseForCert(staple, r.leaf, r.ca.Certificate)
	require.NoError(t, err)
	require.Equal(t, xocsp.Revoked, answer.Status)

	for name, leaf := range map[string]*x509.Certificate{
		"is nil":               nil,
		"no configured issuer": ocsptest.NewCA(ocsptest.Options{}).Issue(ocsptest.Options{}),
		"never issued this":    r.ca.Issue(ocsptest.Options{}),
	} {
		_, err := r.responder.Staple(ctx, leaf)
		require.ErrorContains(t, err, name)
	}
}

func TestNilEd25519Key(t *testing.T) {
	t.Parallel()
	ca := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519})
	issuer := ca.Issuer()
	issuer.Signer = ed25519.PrivateKey(nil)
	_, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: ocsptest.NewStore()})
	require.ErrorContains(t, err, "Signer is nil")
}

// Invalidate must hold off a slow request whatever becomes of its issuer meanwhile.
func TestInvalidateWhileIssuersChange(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*rig){
		"an ID goes": func(r *rig) { r.responder.RemoveIssuer("renewed") },
		"the issuer goes and comes back": func(r *rig) {
			r.responder.RemoveIssuer("renewed")
			r.responder.RemoveIssuer(r.ca.ID)
			require.NoError(r, r.responder.SetIssuer(r.ca.Issuer()))
		},
		"the issuer goes": func(r *rig) {
			r.responder.RemoveIssuer("renewed")
			r.responder.RemoveIssuer(r.ca.ID)
		},
		"the CA has a new key": func(r *rig) {
			issuer := ocsptest.NewCA(ocsptest.Options{}).Issuer()
			issuer.ID = r.ca.ID
			require.NoError(r, r.responder.SetIssuer(issuer))
		},
	} {
		for _, ttl := range []time.Duration{0, time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					signCA(r, cfg, ocsptest.Options{Key: ocsptest.Ed25519})
					r.leaf = r.ca.Issue(ocsptest.Options{Serial: big.NewInt(0x2f002f)}) // with octets that are slashes
					r.store.Add(r.ca.ID, r.leaf)
					cfg.Issuers = append(cfg.Issuers, r.renewed("renewed", ocsptest.Options{}))
					cfg.Cache.StatusTTL = ttl
					cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
						record, err := r.store.FindBySerial(ctx, id, serial)
						<-release
						return record, err
					})
				})
				slow := r.ask(r.request(r.leaf)) // has seen good
				synctest.Wait()
				change(r)
				r.revoke(r.leaf, ocsp.KeyCompromise)
				_ = r.responder.Invalidate(context.Background(), r.ca.ID, r.leaf.SerialNumber) // an error if the ID has gone
				close(release)
				answer := r.responder.Respond(context.Background(), r.request(r.leaf))
				if len(answer.Responses) > 0 {
					require.NotEqual(t, ocsp.Good, answer.Responses[0].Status, name)
				}
				r.requireAnswer(<-slow, xocsp.Revoked)
			})
		}
	}
}

// Of two issuers with one name and key, the one that can sign longest does. When that becomes the one that has been there
// longer, its answers are cached like any other.
func TestOlderSignerTakesOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	set := func(id string, days int) {
		issuer := r.ca.Issuer()
		issuer.ID = id
		issuer.ResponderCertificate, issuer.Signer = r.ca.Delegate(ocsptest.Options{NotAfter: r.clock.Now().AddDate(0, 0, days)})
		require.NoError(t, r.responder.SetIssuer(issuer))
	}
	set(r.ca.ID, 30)
	set("two", 45)
	r.status(r.leaf)
	set("two", 15)
	first := r.query(r.leaf).DER
	r.clock.Advance(time.Minute)
	require.Equal(t, first, r.query(r.leaf).DER, "it was signed anew")
}
