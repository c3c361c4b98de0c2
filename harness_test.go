package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// compact is how rigs keep answers in.
var compact = flag.Bool("compact", false, "the CacheOptions.Compact that the tests use")

// rig is a responder with everything around it under the test's control.
type rig struct {
	*testing.T
	ca        *ocsptest.CA
	signer    *ocsptest.Signer // the CA's key; opaque, so that each signature counts
	store     *ocsptest.Store
	clock     *ocsptest.Clock
	leaf      *x509.Certificate // active
	responder *ocsp.Responder
	handler   http.Handler
	verified  *verified
}

// verified holds the signed answers of a rig that were verified, so that an answer which is cached
// and sent a thousand times is verified once.
type verified struct {
	mu      sync.Mutex
	answers map[[sha256.Size]byte][]*xocsp.Response
}

// keys are private keys, one of each type for the whole process: an RSA key takes 0.1 s to make.
// strangerKeys are others.
var keys, strangerKeys = makeKeys(), makeKeys()

func makeKeys() map[ocsptest.KeyType]func() crypto.Signer {
	keys := map[ocsptest.KeyType]func() crypto.Signer{}
	for _, kind := range ocsptest.KeyTypes() {
		keys[kind] = sync.OnceValue(func() crypto.Signer { return ocsptest.NewKey(kind) })
	}
	return keys
}

// newRig makes a responder for one P-256 CA. adjust, which may be nil, changes the configuration first.
func newRig(t *testing.T, adjust func(*rig, *ocsp.Config)) *rig {
	t.Helper()
	r := &rig{T: t, ca: ocsptest.NewCA(ocsptest.Options{}), store: ocsptest.NewStore(), clock: ocsptest.NewClock(time.Now().Truncate(time.Second)),
		verified: &verified{answers: map[[sha256.Size]byte][]*xocsp.Response{}}}
	r.signer = ocsptest.NewSigner(r.ca.Key)
	r.leaf = r.issue()
	issuer := r.ca.Issuer()
	issuer.Signer = r.signer
	cfg := ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: r.store, Now: r.clock.Now, Cache: ocsp.CacheOptions{Compact: *compact}}
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	if adjust != nil {
		adjust(r, &cfg)
	}
	if cfg.Cache.Disabled {
		cfg.Cache.Compact = false
	}
	var err error
	r.responder, err = ocsp.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		r.store.SetFault(ocsptest.Healthy)
		r.signer.SetFault(ocsptest.Healthy)
		assert.NoError(t, r.responder.Close())
	})
	r.handler = r.responder.Handler()
	return r
}

// issue makes an active certificate.
func (r *rig) issue() *x509.Certificate {
	cert := r.ca.Issue(ocsptest.Options{})
	r.store.Add(r.ca.ID, cert)
	return cert
}

// revoke revokes a certificate now.
func (r *rig) revoke(cert *x509.Certificate, reason ocsp.Reason) {
	r.store.Revoke(r.ca.ID, cert.SerialNumber, reason, r.clock.Now())
}

// breakStore lets the store fail from now on, which has answered nobody lately.
func (r *rig) breakStore() {
	r.store.SetFault(ocsptest.Fail)
	ocsp.QuietStores(r.responder)
}

// client asks the rig's handler by its clock.
func (r *rig) client() ocsptest.Client {
	return ocsptest.Client{Handler: r.handler, Now: r.clock.Now}
}

// query asks about certificates of the rig's CA and requires an answer that passes every standing assertion.
func (r *rig) query(certs ...*x509.Certificate) *ocsptest.Result {
	r.Helper()
	result := r.post(r.request(certs...))
	result.Responses = r.verify(result)
	nonce, err := ocsptest.ResponseNonce(result.DER)
	require.NoError(r, err)
	require.Nil(r, nonce)
	return result
}

// verify requires that a result is a signed answer that passes every standing assertion. Of octets
// that it has verified before as the answer to the same request, it checks the times only.
func (r *rig) verify(result *ocsptest.Result) []*xocsp.Response {
	r.Helper()
	require.Equal(r, http.StatusOK, result.StatusCode)
	require.Equal(r, "application/ocsp-response", result.Header.Get("Content-Type"))
	hash := sha256.New()
	for _, part := range [][]byte{r.ca.Certificate.Raw, result.Request, result.DER} {
		_, _ = fmt.Fprintf(hash, "%d %s", len(part), part)
	}
	now, sum := r.clock.Now(), [sha256.Size]byte(hash.Sum(nil))
	r.verified.mu.Lock()
	responses, ok := r.verified.answers[sum]
	r.verified.mu.Unlock()
	if ok {
		for _, response := range responses {
			require.False(r, response.ProducedAt.After(now.Add(time.Second)), "producedAt is to come")
			require.True(r, response.NextUpdate.After(now), "nextUpdate has passed")
		}
		return responses
	}
	require.NoError(r, ocsptest.Lint(result.Request, result.DER, r.ca.Certificate, now))
	responses, err := ocsptest.Parse(result.DER, r.ca.Certificate)
	require.NoError(r, err)
	r.verified.mu.Lock()
	defer r.verified.mu.Unlock()
	r.verified.answers[sum] = responses
	return responses
}

// glance asks about a certificate and reads what the answer says, without verifying it: for tests
// that ask thousands of times and are about statuses.
func (r *rig) glance(client ocsptest.Client, cert *x509.Certificate) (*xocsp.Response, error) {
	client.Handler = r.handler
	result, err := client.Send(context.Background(), client.Request(r.ca.Certificate, cert))
	if err != nil {
		return nil, err
	}
	return xocsp.ParseResponse(result.DER, nil)
}

// status asks about one certificate.
func (r *rig) status(cert *x509.Certificate) *xocsp.Response {
	r.Helper()
	return r.query(cert).Responses[0]
}

// post sends bytes as a POST body.
func (r *rig) post(body []byte) *ocsptest.Result {
	r.Helper()
	result, err := r.client().Send(context.Background(), body)
	require.NoError(r, err)
	return result
}

// requireError requires that a result is that OCSP error, sent as it must be: status 200, five octets, and
// nothing that lets a cache keep it.
func (r *rig) requireError(want xocsp.ResponseStatus, result *ocsptest.Result) {
	r.Helper()
	require.Equal(r, http.StatusOK, result.StatusCode)
	require.Equal(r, "application/ocsp-response", result.Header.Get("Content-Type"))
	require.Equal(r, []byte{0x30, 3, 10, 1, byte(want)}, result.DER)
	require.Equal(r, "5", result.Header.Get("Content-Length"))
	require.Equal(r, "no-store", result.Header.Get("Cache-Control"))
	require.Empty(r, result.Header.Get("Etag"))
	require.Empty(r, result.Header.Get("Expires"))
}

// request is the DER of a plain request for certificates of the rig's CA.
func (r *rig) request(certs ...*x509.Certificate) []byte {
	return r.client().Request(r.ca.Certificate, certs...)
}

// requireAnswer requires that a result is a signed answer that passes every standing assertion and says that
// of each certificate in turn.
func (r *rig) requireAnswer(result *ocsptest.Result, statuses ...int) []*xocsp.Response {
	r.Helper()
	responses := r.verify(result)
	require.Len(r, responses, len(statuses))
	for i, status := range statuses {
		require.Equal(r, status, responses[i].Status)
	}
	return responses
}

// clone is bytes.Clone, for tables that change requests.
func clone(b []byte) []byte { return bytes.Clone(b) }

// withoutNoCheck leaves id-pkix-ocsp-nocheck out of a delegate's certificate.
func withoutNoCheck(template *x509.Certificate) { template.ExtraExtensions = nil }
