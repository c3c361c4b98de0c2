package ocsp_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// tenant is one of several CAs of a responder.
type tenant struct {
	*ocsptest.CA
	signer *ocsptest.Signer // nil: the responder has the CA's key itself
	issued int64
}

// addTenant adds a CA to the rig, whose key lies in an HSM or not.
func (r *rig) addTenant(name string, hsm bool) *tenant {
	r.Helper()
	c := &tenant{CA: ocsptest.NewCA(ocsptest.Options{Name: name})}
	issuer := c.Issuer()
	if hsm {
		c.signer = ocsptest.NewSigner(c.Key)
		issuer.Signer = c.signer
		r.Cleanup(func() { c.signer.SetFault(ocsptest.Healthy) }) // before the responder is closed
	}
	require.NoError(r, r.responder.SetIssuer(issuer))
	return c
}

// issueTo returns an active certificate of a tenant that nobody has asked about. Only what requests need is in it.
func (r *rig) issueTo(c *tenant) *x509.Certificate {
	c.issued++
	cert := &x509.Certificate{SerialNumber: big.NewInt(c.issued), NotAfter: c.Certificate.NotAfter}
	r.store.Add(c.ID, cert)
	return cert
}

// However many keys hang, and however often their issuers' certificates are asked about, the other issuers' answers
// take no time.
func TestHungSignersDelayNoOtherIssuer(t *testing.T) {
	t.Parallel()
	for _, rate := range []int{20, 200} { // first requests a second for each issuer whose key hangs
		for _, hanging := range []int{1, 3} {
			t.Run(fmt.Sprintf("%d of %d a second", hanging, rate), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, nil)
					var hung []*tenant
					for i := range hanging {
						c := r.addTenant(fmt.Sprintf("Hung CA %d", i), true)
						c.signer.SetFault(ocsptest.Hang)
						hung = append(hung, c)
					}
					others := []*tenant{r.addTenant("HSM CA", true), r.addTenant("Go CA", false), r.addTenant("Other Go CA", false)}
					for i := range 7 * rate {
						for _, c := range hung {
							request := r.client().Request(c.Certificate, r.issueTo(c))
							go r.responder.Respond(context.Background(), request)
						}
						time.Sleep(time.Second / time.Duration(rate)) // on the bubble's clock
						if i%(rate/4) != 0 {
							continue
						}
						begin := time.Now()
						for _, c := range others {
							r.answersAtOnce(c, begin)
						}
					}
					for _, c := range hung {
						require.Equal(t, 16, c.signer.Calls(), "each key has all of MaxConcurrent")
						c.signer.SetFault(ocsptest.Healthy)
					}
					synctest.Wait()
					begin := time.Now()
					for _, c := range hung {
						r.answersAtOnce(c, begin)
					}
				})
			})
		}
	}
}

// answersAtOnce requires that all kinds of signed answers about a tenant's certificates are there at a time.
func (r *rig) answersAtOnce(c *tenant, at time.Time) {
	r.Helper()
	client := r.client()
	query := func(want int, certs ...*x509.Certificate) {
		r.Helper()
		result, err := client.Query(context.Background(), c.Certificate, certs...)
		require.NoError(r, err)
		for _, response := range result.Responses {
			require.Equal(r, want, response.Status)
		}
		require.Zero(r, time.Since(at))
	}
	cert := r.issueTo(c)
	query(xocsp.Good, cert)
	query(xocsp.Good, cert, r.issueTo(c))
	query(xocsp.Unknown, &x509.Certificate{SerialNumber: big.NewInt(1 << 60)})
	client.Nonce = []byte("nonce")
	query(xocsp.Good, cert)
}

// bagSigner is a crypto.Signer that == panics for.
type bagSigner struct {
	crypto.Signer
	_ []byte
}

// A key has one budget, whatever is made of it: a call that hangs in an HSM is counted until it returns.
func TestKeyKeepsItsBudget(t *testing.T) {
	t.Parallel()
	again := func(r *rig) crypto.Signer { return r.signer }
	for name, tt := range map[string]struct {
		key    func(*rig) crypto.Signer // the same key
		remove bool                     // the issuer goes before it comes back
		beside bool                     // the issuer stays, and another CA has the key too
	}{
		"the same Signer": {key: again},
		"another Signer": {key: func(r *rig) crypto.Signer {
			return ocsp.NewSigner(r.signer.Public(), func(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				return r.signer.Sign(nil, digest, opts)
			})
		}},
		"a Signer that cannot be compared": {key: func(r *rig) crypto.Signer { return bagSigner{Signer: r.signer} }},
		"removed and added":                {key: again, remove: true},
		"a second CA with the key":         {key: again, beside: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Signing = ocsp.SigningOptions{MaxConcurrent: 2, MaxWaiting: 1}
				})
				require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
				r.addTenant("Beside", true) // so that no issuer is the last
				r.signer.SetFault(ocsptest.Hang)
				for range 2 {
					r.ask(r.request(r.issue()))
				}
				time.Sleep(time.Minute) // on the bubble's clock: the clients have given up, the calls still hang
				require.Equal(t, 3, r.signer.Calls())

				ca := r.ca
				for range 3 {
					issuer := r.ca.Issuer()
					switch {
					case tt.remove:
						r.responder.RemoveIssuer(r.ca.ID)
						r.responder.RemoveIssuer("nobody")
					case tt.beside:
						ca = r.twin("Twin CA")
						issuer = ca.Issuer()
					}
					issuer.Signer = tt.key(r)
					require.NoError(t, r.responder.SetIssuer(issuer))
					leaf := ca.Issue(ocsptest.Options{})
					r.store.Add(ca.ID, leaf)
					begin := time.Now()
					r.requireError(xocsp.TryLater, r.post(r.client().Request(ca.Certificate, leaf)))
					require.Equal(t, 5*time.Second, time.Since(begin), "it has waited for its turn")
					require.Equal(t, 3, r.signer.Calls())
				}

				// A delegate's key is another one, and what it signs need not wait.
				delegated := r.ca.Issuer()
				var key crypto.Signer
				delegated.ResponderCertificate, key = r.ca.Delegate(ocsptest.Options{})
				delegated.Signer = ocsptest.NewSigner(key)
				require.NoError(t, r.responder.SetIssuer(delegated))
				begin := time.Now()
				require.Equal(t, xocsp.Good, r.status(r.issue()).Status)
				require.Zero(t, time.Since(begin))

				// When they return, their places are free.
				r.signer.SetFault(ocsptest.Healthy)
				synctest.Wait()
				issuer := r.ca.Issuer()
				issuer.Signer = tt.key(r)
				require.NoError(t, r.responder.SetIssuer(issuer))
				require.Equal(t, xocsp.Good, r.status(r.issue()).Status)
				require.Zero(t, time.Since(begin))
			})
		})
	}
}

// twin returns another CA with the key of the rig's.
func (r *rig) twin(name string) *ocsptest.CA {
	r.Helper()
	template := *r.ca.Certificate
	template.Subject.CommonName, template.RawSubject = name, nil
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, r.ca.Key.Public(), r.ca.Key)
	require.NoError(r, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(r, err)
	return &ocsptest.CA{ID: name, Certificate: cert, Key: r.ca.Key}
}

// Keys that nobody uses any more leave nothing behind.
func TestBudgetsGoWithTheirKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for i := range 20 {
		issuer := r.ca.Issuer()
		var key crypto.Signer
		issuer.ResponderCertificate, key = r.ca.Delegate(ocsptest.Options{})
		issuer.Signer = ocsptest.NewSigner(key)
		require.NoError(t, r.responder.SetIssuer(issuer))
		require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
		r.responder.RemoveIssuer(r.addTenant(fmt.Sprintf("Passing CA %d", i), true).ID)
	}
	require.Equal(t, 1, ocsp.Lanes(r.responder))
	r.responder.RemoveIssuer(r.ca.ID)
	require.Zero(t, ocsp.Lanes(r.responder))
}

// Nonces keep half of the processors busy at the most, and of a smaller budget their part. Everything else is signed
// meanwhile.
func TestNoncesLeaveRoomForOtherSignatures(t *testing.T) {
	for _, tt := range []struct{ processors, concurrent, want int }{
		{1, 0, 1}, {2, 0, 1}, {3, 0, 1}, {4, 0, 2}, {8, 0, 4}, {64, 0, 12}, {64, 4, 3}, {2, 1, 1}, {2, 2, 1},
	} {
		t.Run(fmt.Sprintf("%d processors, MaxConcurrent %d", tt.processors, tt.concurrent), func(t *testing.T) {
			before := runtime.GOMAXPROCS(tt.processors)
			defer runtime.GOMAXPROCS(before)
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Signing.MaxConcurrent = tt.concurrent
					cfg.Issuers = []ocsp.Issuer{r.ca.Issuer()}
				})
				require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
				taken, giveBack := ocsp.TakeNoncePlaces(r.responder)
				require.Equal(t, tt.want, taken)
				client := r.client()
				client.Nonce, client.NonceOptional = []byte("nonce"), true
				asked := r.ask(client.Request(r.ca.Certificate, r.leaf))
				synctest.Wait()
				require.Empty(t, asked, "a nonce waits")
				begin := time.Now()
				r.status(r.leaf)
				if tt.concurrent != 1 {
					require.Equal(t, xocsp.Good, r.status(r.issue()).Status, "what is cached afterwards does not")
				}
				require.Zero(t, time.Since(begin))
				giveBack()
				nonce, err := ocsptest.ResponseNonce((<-asked).DER)
				require.NoError(t, err)
				require.Equal(t, client.Nonce, nonce)
				require.Zero(t, time.Since(begin))
			})
		})
	}
}
