package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
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

// CertIDs with a name alias are answered.
func TestCertIDsOfAliases(t *testing.T) {
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

// What time alone makes wrong with one issuer keeps no responder from starting, and no other issuer from answering.
func TestT179bTimeIsNoErrorOfNew(t *testing.T) {
	t.Parallel()
	later := time.Hour
	for name, test := range map[string]struct {
		issuer func(ca *ocsptest.CA, now time.Time) ocsp.Issuer
		ca     ocsptest.Options
		begins bool // it is valid an hour later
		finding,
		certificate string
	}{
		"expired CA":       {ca: ocsptest.Options{NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(-1, 0, 0)}, finding: "expired at", certificate: "Certificate"},
		"CA not yet valid": {ca: ocsptest.Options{NotBefore: time.Now().Add(later / 2)}, begins: true, finding: "is not valid before", certificate: "Certificate"},
		"expired delegate": {issuer: func(ca *ocsptest.CA, now time.Time) ocsp.Issuer {
			issuer := ca.Issuer()
			issuer.ResponderCertificate, issuer.Signer = ca.Delegate(ocsptest.Options{NotAfter: now.Add(-time.Second)})
			return issuer
		}, finding: "expired at", certificate: "ResponderCertificate"},
		"delegate that ends now": {issuer: func(ca *ocsptest.CA, now time.Time) ocsp.Issuer {
			issuer := ca.Issuer()
			issuer.ResponderCertificate, issuer.Signer = ca.Delegate(ocsptest.Options{NotAfter: now})
			return issuer
		}, finding: "expired at", certificate: "ResponderCertificate"},
		"delegate three seconds ahead": {issuer: func(ca *ocsptest.CA, now time.Time) ocsp.Issuer {
			issuer := ca.Issuer()
			issuer.ResponderCertificate, issuer.Signer = ca.Delegate(ocsptest.Options{NotBefore: now.Add(3 * time.Second)})
			return issuer
		}, begins: true, finding: "is not valid before", certificate: "ResponderCertificate"},
	} {
		for door, byNew := range map[string]bool{"New": true, "SetIssuer": false} {
			t.Run(name+", "+door, func(t *testing.T) {
				var text bytes.Buffer
				bad := ocsptest.NewCA(test.ca)
				bad.ID = "bad"
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Logger = slog.New(slog.NewTextHandler(&text, nil))
					if test.issuer == nil {
						test.issuer = func(ca *ocsptest.CA, _ time.Time) ocsp.Issuer { return ca.Issuer() }
					}
					if byNew {
						cfg.Issuers = append([]ocsp.Issuer{test.issuer(bad, r.clock.Now())}, cfg.Issuers...)
					}
				})
				if !byNew {
					require.NoError(t, r.responder.SetIssuer(test.issuer(bad, r.clock.Now())))
				}
				require.Equal(t, 1, strings.Count(text.String(), "level=WARN"), text.String())
				for _, want := range []string{"issuer=bad", test.finding, "certificate=" + test.certificate} {
					require.Contains(t, text.String(), want)
				}
				text.Reset()
				r.requireAnswer(r.post(r.request(r.leaf)), xocsp.Good) // of the other issuer
				require.Empty(t, text.String())

				leaf := bad.Issue(ocsptest.Options{})
				r.store.Add(bad.ID, leaf)
				plain, nonce := ocsptest.Client{}.Request(bad.Certificate, leaf), ocsptest.Client{Nonce: make([]byte, 32)}.Request(bad.Certificate, leaf)
				several := ocsptest.Client{}.Request(bad.Certificate, leaf, bad.Issue(ocsptest.Options{}))
				ask := func() {
					for _, request := range [][]byte{plain, nonce, several} {
						r.requireError(xocsp.TryLater, r.post(request))
					}
				}
				ask()
				require.Equal(t, 1, strings.Count(text.String(), "\n"), text.String())
				require.Contains(t, text.String(), "level=WARN")
				require.Contains(t, text.String(), "issuer=bad")
				if test.begins {
					r.clock.Advance(later)
					result := r.post(plain)
					require.NoError(t, ocsptest.Lint(plain, result.DER, bad.Certificate, r.clock.Now()))
					return
				}
				r.clock.Advance(time.Hour - time.Second)
				ask()
				require.Equal(t, 1, strings.Count(text.String(), "\n"), text.String())
				r.clock.Advance(time.Second)
				ask()
				require.Equal(t, 2, strings.Count(text.String(), "\n"), text.String())
			})
		}
	}
}

// The log says that a certificate has ended, even if it said a minute ago that the certificate would end.
func TestLogSaysAtOnceThatTheEndIsThere(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(&text, nil))
		cfg.Issuers[0].ResponderCertificate, cfg.Issuers[0].Signer = r.ca.Delegate(ocsptest.Options{NotAfter: r.clock.Now().Add(2 * time.Minute)})
	})
	r.clock.Advance(time.Minute)
	require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
	require.Contains(t, text.String(), "ends soon")
	text.Reset()
	r.clock.Advance(time.Minute)
	for range 3 {
		r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
	}
	require.Equal(t, 1, strings.Count(text.String(), "no certificate of the issuer can sign now"), text.String())
	require.Equal(t, 1, strings.Count(text.String(), "\n"), text.String())
}

// SetIssuer never puts a signer that is not valid now in the place of one that is.
func TestT179bSetIssuerKeepsTheValidSigner(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	delegated := func(opts ocsptest.Options) ocsp.Issuer {
		issuer := r.ca.Issuer()
		issuer.ResponderCertificate, issuer.Signer = r.ca.Delegate(opts)
		return issuer
	}
	now := r.clock.Now()
	past := delegated(ocsptest.Options{Name: "past", NotAfter: now.Add(-time.Minute)})
	future := delegated(ocsptest.Options{Name: "future", NotBefore: now.Add(time.Hour)})
	for want, issuer := range map[string]ocsp.Issuer{
		"ResponderCertificate expired at":          past,
		"ResponderCertificate is not valid before": future,
	} {
		require.ErrorContains(t, r.responder.SetIssuer(issuer), want)
		require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
		require.Nil(t, r.status(r.leaf).Certificate)
	}
	// Under another ID it takes nobody's place. One that is not valid either may be replaced.
	past.ID, future.ID = "other", "other"
	require.NoError(t, r.responder.SetIssuer(past))
	require.NoError(t, r.responder.SetIssuer(future))
	require.NoError(t, r.responder.SetIssuer(past))
	require.Nil(t, r.status(r.leaf).Certificate)
	r.responder.RemoveIssuer(r.ca.ID)
	r.store.Add("other", r.leaf)
	r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
	require.NoError(t, r.responder.SetIssuer(future))
	r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
	r.clock.Advance(time.Hour)
	require.Equal(t, "future", r.status(r.leaf).Certificate.Subject.CommonName)
	require.ErrorContains(t, r.responder.SetIssuer(past), "expired")
}

// signedBy is the name of the delegate that signed.
func signedBy(response *xocsp.Response) string { return response.Certificate.Subject.CommonName }

// Of the issuers of one name and key, the one that is valid now and ends last signs, whatever the order in which they
// came. It is chosen when the answer is made, and its answers are cached.
func TestSignerIsChosenByTime(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	type life struct{ begins, ends time.Duration }
	lives := map[string]life{
		"one": {-day, day}, "within one": {-day / 2, day / 2}, "two": {day / 2, 3 * day}, "three": {2 * day, 4 * day}, "far": {6 * day, 7 * day},
	}
	wants := []struct {
		at   time.Duration
		want string // "": none
	}{{0, "one"}, {day/2 - time.Second, "one"}, {day / 2, "two"}, {2*day - time.Second, "two"}, {2 * day, "three"}, {4*day - time.Second, "three"}, {4 * day, ""}, {6 * day, "far"}, {7 * day, ""}}
	for name, order := range map[string][]string{
		"in the order of time": {"one", "within one", "two", "three", "far"}, "the other way round": {"far", "three", "two", "within one", "one"},
		"mixed": {"two", "far", "one", "within one", "three"},
	} {
		for door, byNew := range map[string]bool{"New": true, "SetIssuer": false} {
			t.Run(name+", "+door, func(t *testing.T) {
				signers := map[string]*ocsptest.Signer{}
				var later []ocsp.Issuer
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					for _, name := range order {
						issuer := r.ca.Issuer()
						issuer.ID = name
						opts := ocsptest.Options{Name: name, NotBefore: r.clock.Now().Add(lives[name].begins), NotAfter: r.clock.Now().Add(lives[name].ends)}
						var key crypto.Signer
						issuer.ResponderCertificate, key = r.ca.Delegate(opts)
						signers[name] = ocsptest.NewSigner(key)
						issuer.Signer = signers[name]
						later = append(later, issuer)
					}
					cfg.Issuers = later[:1]
					if byNew {
						cfg.Issuers = later
					}
					r.store.Add(order[0], r.leaf)
				})
				for _, issuer := range later[1:] {
					require.NoError(t, r.responder.SetIssuer(issuer))
				}
				begin := r.clock.Now()
				previous := ""
				for _, w := range wants {
					r.clock.Set(begin.Add(w.at))
					if w.want == "" {
						r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
						continue
					}
					result := r.query(r.leaf)
					require.Equal(t, w.want, signedBy(result.Responses[0]), w.at)
					require.Equal(t, result.DER, r.query(r.leaf).DER, "the answer is not cached")
					if w.want != previous {
						require.Equal(t, 1, signers[w.want].Calls(), w.want)
					}
					previous = w.want
					for _, request := range [][]byte{ocsptest.Client{Nonce: make([]byte, 32)}.Request(r.ca.Certificate, r.leaf), r.request(r.leaf, r.leaf)} {
						responses, err := ocsptest.Parse(r.post(request).DER, r.ca.Certificate)
						require.NoError(t, err)
						require.Equal(t, w.want, signedBy(responses[0]))
					}
				}
				require.Zero(t, signers["within one"].Calls())
			})
		}
	}
}

// All that an answer has of its signer follows the choice: the algorithm, the responder ID, the certificates and the
// archive cutoff, which begins with the CA's certificate.
func TestAnswerFollowsTheChosenSigner(t *testing.T) {
	t.Parallel()
	var old, next ocsp.Issuer
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		cfg.Retention = ocsp.RetainForever
		now := r.clock.Now()
		old = r.renewed("old", ocsptest.Options{NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.Add(2 * time.Hour)})
		next = r.renewed("next", ocsptest.Options{NotBefore: now.Add(time.Hour), NotAfter: now.AddDate(1, 0, 0)})
		next.ResponderID, next.EmbedCertificate, next.SignatureAlgorithm = ocsp.ResponderIDByName, true, x509.ECDSAWithSHA384
		cfg.Issuers = []ocsp.Issuer{next, old}
		r.store.Add("old", r.leaf)
	})
	begin := r.clock.Now()
	check := func(ca *x509.Certificate, by x509.SignatureAlgorithm, key, embedded bool, notBefore time.Time) {
		t.Helper()
		for range 2 {
			result, err := r.client().Query(t.Context(), ca, r.leaf)
			require.NoError(t, err)
			response := result.Responses[0]
			require.Equal(t, by, response.SignatureAlgorithm)
			require.Equal(t, key, len(response.ResponderKeyHash) > 0)
			require.Equal(t, embedded, response.Certificate != nil)
			require.Equal(t, notBefore.Unix(), statusArchiveCutoff(t, response).Unix())
		}
	}
	check(old.Certificate, x509.ECDSAWithSHA256, true, false, begin.AddDate(-1, 0, 0))
	r.clock.Advance(time.Hour)
	check(next.Certificate, x509.ECDSAWithSHA384, false, true, begin.Add(time.Hour))
}

// Invalidate deletes from the remote cache what any of the signers may have put there.
func TestInvalidateFindsEverySignersSharedAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := ocsptest.NewRemoteCache()
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Cache.Remote = cache
			now := r.clock.Now()
			cfg.Issuers = nil
			for id, opts := range map[string]ocsptest.Options{"old": {NotAfter: now.Add(2 * time.Hour)}, "next": {NotBefore: now.Add(time.Hour)}} {
				issuer := r.ca.Issuer()
				issuer.ID = id
				issuer.ResponderCertificate, issuer.Signer = r.ca.Delegate(opts)
				cfg.Issuers = append(cfg.Issuers, issuer)
			}
			r.store.Add("old", r.leaf)
		})
		r.query(r.leaf)
		r.settle()
		require.Len(t, cache.Values(), 1)
		r.clock.Advance(time.Hour)
		r.query(r.leaf)
		r.settle()
		require.Len(t, cache.Values(), 2)
		require.NoError(t, r.responder.Invalidate(context.Background(), "old", r.leaf.SerialNumber))
		require.Empty(t, cache.Values())
	})
}

// A planned successor is no reason to warn of the end.
func TestLogIsSilentAboutAnEndWithASuccessor(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		begins time.Duration // after now
		warned bool
	}{"in time": {9 * time.Minute, false}, "too late": {11 * time.Minute, true}} {
		t.Run(name, func(t *testing.T) {
			var text bytes.Buffer
			r := newRig(t, func(r *rig, cfg *ocsp.Config) {
				cfg.Logger = slog.New(slog.NewTextHandler(&text, nil))
				now := r.clock.Now()
				cfg.Issuers = append(cfg.Issuers, r.ca.Issuer())
				cfg.Issuers[0].ResponderCertificate, cfg.Issuers[0].Signer = r.ca.Delegate(ocsptest.Options{NotAfter: now.Add(10 * time.Minute)})
				cfg.Issuers[1].ID = "next"
				cfg.Issuers[1].ResponderCertificate, cfg.Issuers[1].Signer = r.ca.Delegate(ocsptest.Options{NotBefore: now.Add(test.begins)})
			})
			text.Reset()
			require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			require.Equal(t, test.warned, strings.Contains(text.String(), "ends soon"), text.String())
		})
	}
}

// A new signer that is not chosen evicts no answer.
func TestSignerThatIsNotChosenEvictsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	first := r.query(r.leaf).DER
	r.clock.Advance(time.Minute)
	for name, opts := range map[string]ocsptest.Options{
		"ends sooner": {NotAfter: r.clock.Now().Add(time.Hour)}, "has ended": {NotAfter: r.clock.Now().Add(-time.Hour)},
		"begins later": {NotBefore: r.clock.Now().Add(time.Hour)},
	} {
		issuer := r.ca.Issuer()
		issuer.ID = name
		issuer.ResponderCertificate, issuer.Signer = r.ca.Delegate(opts)
		require.NoError(t, r.responder.SetIssuer(issuer))
		require.Equal(t, first, r.query(r.leaf).DER, name)
		require.Equal(t, 1, r.signer.Calls(), name)
	}
}

// After the clock was set back to before a signer's time, the answers of the one before are cached, though there is one of
// the later one.
func TestClockSetBackBeforeTheSigner(t *testing.T) {
	t.Parallel()
	signers := map[string]*ocsptest.Signer{}
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		now := r.clock.Now()
		cfg.Issuers = nil
		for id, opts := range map[string]ocsptest.Options{"old": {NotAfter: now.Add(10 * time.Hour)}, "next": {NotBefore: now, NotAfter: now.Add(20 * time.Hour)}} {
			issuer := r.ca.Issuer()
			issuer.ID = id
			var key crypto.Signer
			opts.Name = id
			issuer.ResponderCertificate, key = r.ca.Delegate(opts)
			signers[id] = ocsptest.NewSigner(key)
			issuer.Signer = signers[id]
			cfg.Issuers = append(cfg.Issuers, issuer)
		}
		r.store.Add("old", r.leaf)
	})
	for _, step := range []struct {
		forward      time.Duration
		by           string
		calls, other int
	}{{0, "next", 1, 0}, {-time.Minute, "old", 1, 1}, {time.Minute, "next", 2, 1}} {
		r.clock.Advance(step.forward)
		for range 3 {
			require.Equal(t, step.by, signedBy(r.status(r.leaf)))
		}
		other := map[string]string{"old": "next", "next": "old"}[step.by]
		require.LessOrEqual(t, signers[step.by].Calls(), step.calls)
		require.Equal(t, step.other, signers[other].Calls())
	}
}

// gate is a store whose calls report that they came, and return when they are let go. What they return
// is what the store says then.
type gate struct {
	*ocsptest.Store
	came  chan string
	leave chan struct{}
	once  sync.Once
}

func newGate() *gate {
	return &gate{Store: ocsptest.NewStore(), came: make(chan string, 100), leave: make(chan struct{})}
}

func (g *gate) open() { g.once.Do(func() { close(g.leave) }) }

func (g *gate) FindBySerial(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
	g.came <- id
	<-g.leave
	return g.Store.FindBySerial(ctx, id, serial)
}

// What a request that came before SetIssuer reads from the former store after Invalidate has returned is
// not trusted by others.
func TestFormerStoreIsNotTrustedAfterInvalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		former := newGate()
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Now, cfg.Cache.StatusTTL = nil, time.Hour
			cfg.Issuers[0].Store = former
		})
		defer former.open()
		former.Add(r.ca.ID, r.leaf)
		early := r.ask(r.request(r.leaf))
		synctest.Wait()
		require.Len(t, former.came, 1)
		issuer := r.ca.Issuer()
		issuer.Signer = r.signer
		issuer.Store = r.store // in which the certificate is revoked
		r.revoke(r.leaf, ocsp.KeyCompromise)
		require.NoError(t, r.responder.SetIssuer(issuer))
		require.NoError(t, r.responder.Invalidate(r.Context(), r.ca.ID, r.leaf.SerialNumber))
		former.open()
		<-early
		time.Sleep(time.Second)
		r.says(xocsp.Revoked)
	})
}

// A request that comes after SetIssuer does not join a read of the former store.
func TestFormerStoreIsNotJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		former := newGate()
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Now = nil
			cfg.Timeout, cfg.Cache.StorePatience = 10*time.Second, 7*time.Second
			cfg.Issuers[0].Store = former
		})
		defer former.open()
		former.Add(r.ca.ID, r.leaf)
		r.ask(r.request(r.leaf)) // begins a read
		synctest.Wait()
		r.ask(r.request(r.leaf)) // begins another after 2.5 s
		synctest.Wait()
		issuer := r.ca.Issuer()
		issuer.Signer = r.signer
		issuer.Store = r.store
		r.revoke(r.leaf, ocsp.KeyCompromise)
		require.NoError(t, r.responder.SetIssuer(issuer))
		time.Sleep(time.Second)
		late := r.ask(r.request(r.leaf))
		time.Sleep(4 * time.Second)
		former.open()
		r.clock.Set(time.Now())
		r.requireAnswer(<-late, xocsp.Revoked)
	})
}

// An issuer that joins its authority does not break requests that came before it.
func TestIssuerJoinsUnderARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Now, cfg.Cache.StatusTTL = nil, time.Hour
		})
		r.signer.SetFault(ocsptest.Hang)
		early := make(chan ocsp.Answer, 1)
		go func() { early <- r.responder.Respond(context.Background(), r.request(r.leaf)) }()
		synctest.Wait()
		r.store.Remove(r.ca.ID, r.leaf.SerialNumber)
		r.store.Add("renewed", r.leaf)
		require.NoError(t, r.responder.SetIssuer(r.renewed("renewed", ocsptest.Options{NotAfter: time.Now().AddDate(20, 0, 0)})))
		require.NoError(t, r.responder.Invalidate(r.Context(), r.ca.ID, r.leaf.SerialNumber))
		a := r.responder.Respond(r.Context(), r.request(r.leaf))
		require.Equal(t, "signed", a.Outcome.String(), "%v", a.Err)
		require.Equal(t, "renewed", a.Responses[0].IssuerID)
		r.signer.SetFault(ocsptest.Healthy)
		a = <-early
		require.False(t, a.Outcome.IsError(), "%v", a.Err)
	})
}

// The IDs that an answer names are those of the registry, also when an ID joins before others.
func TestIssuerIDsMove(t *testing.T) {
	var x, y *ocsptest.CA
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		x, y = ocsptest.NewCA(ocsptest.Options{}), r.ca
		first, second := x.Issuer(), y.Issuer()
		first.ID, second.ID = "first", "second"
		r.ca.ID = "second"
		cfg.Issuers = []ocsp.Issuer{first, second}
		cfg.Cache.StatusTTL = time.Hour
	})
	r.store.Add("second", r.leaf)
	a := r.responder.Respond(r.Context(), r.request(r.leaf))
	require.Equal(t, "second", a.Responses[0].IssuerID)
	moved := y.Issuer()
	moved.ID = "first"
	require.NoError(t, r.responder.SetIssuer(moved))
	a = r.responder.Respond(r.Context(), r.request(r.leaf))
	require.Equal(t, "second", a.Responses[0].IssuerID)
}

// heldStore is a store whose calls wait for their records.
type heldStore struct{ calls chan chan ocsp.Record }

func (s *heldStore) FindBySerial(context.Context, string, *big.Int) (ocsp.Record, error) {
	record := make(chan ocsp.Record)
	s.calls <- record
	return <-record, nil
}

// While a read is in flight the issuer is removed and set again, or gets another store. What the
// read returns may be later than the status that the new issuer trusts meanwhile.
func TestAnswerOfAFormerIssuerEndsTrust(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(r *ocsp.Responder, issuer *ocsp.Issuer){
		"removed": func(r *ocsp.Responder, issuer *ocsp.Issuer) { r.RemoveIssuer(issuer.ID) },
		"another store": func(_ *ocsp.Responder, issuer *ocsp.Issuer) {
			issuer.Store = &heldStore{issuer.Store.(*heldStore).calls}
		},
	} {
		for _, several := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, several %t", name, several), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ca := ocsptest.NewCA(ocsptest.Options{})
					leaf := ca.Issue(ocsptest.Options{})
					client := ocsptest.Client{}
					der := client.Request(ca.Certificate, leaf)
					if several {
						der = client.Request(ca.Certificate, leaf, leaf)
					}
					store := &heldStore{make(chan chan ocsp.Record)}
					issuer := ca.Issuer()
					issuer.Store = store
					r, err := ocsp.New(ocsp.Config{
						Issuers: []ocsp.Issuer{issuer}, Timeout: time.Minute,
						Cache: ocsp.CacheOptions{StatusTTL: time.Hour, StorePatience: time.Second},
					})
					require.NoError(t, err)
					defer func() { require.NoError(t, r.Close()) }()
					ask := func() chan int {
						status := make(chan int, 1)
						go func() {
							a := r.Respond(t.Context(), der)
							resp, err := xocsp.ParseResponseForCert(a.DER, leaf, ca.Certificate)
							if assert.NoError(t, err, "%v", a.Err) {
								status <- resp.Status
							} else {
								status <- -1
							}
						}()
						return status
					}
					slow := ask()
					former := <-store.calls
					time.Sleep(5 * time.Second)
					change(r, &issuer)
					require.NoError(t, r.SetIssuer(issuer))

					second := ask()
					record := <-store.calls
					record <- ocsp.Record{State: ocsp.Active}
					require.Equal(t, xocsp.Good, <-second)
					revoked := ocsp.Record{State: ocsp.Compromised, RevokedAt: time.Now()}
					former <- revoked
					go func() {
						for {
							select {
							case record := <-store.calls:
								record <- revoked
							case <-t.Context().Done():
								return
							}
						}
					}()
					require.Equal(t, xocsp.Revoked, <-slow)
					require.Equal(t, xocsp.Revoked, <-ask(), "good is not trusted any more")
				})
			})
		}
	}
}
