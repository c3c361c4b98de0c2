package ocsp_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// often is how often an answer is asked for, by GET and by POST: signed, ready, and from the storage.
const often = 5

// requireOften asks often, by GET and POST, and requires the same answer and header fields that fit it each time.
func (r *rig) requireOften(cert *x509.Certificate, status int) (answer *xocsp.Response, octets []byte) {
	r.Helper()
	der := r.request(cert)
	for range often {
		for _, req := range []*http.Request{httpGet(der), httpPost(der)} {
			result := httpAsk(r, req, der)
			answer = r.requireAnswer(result, status)[0]
			if octets == nil {
				octets = result.DER
			}
			require.Equal(r, octets, result.DER)
			sum := sha256.Sum256(result.DER)
			require.Equal(r, `"`+hex.EncodeToString(sum[:])+`"`, result.Header.Get("Etag"))
			require.Equal(r, answer.NextUpdate, cacheDate(r, result.Header, "Expires"))
			require.Equal(r, answer.ThisUpdate, cacheDate(r, result.Header, "Last-Modified"))
			require.Equal(r, strconv.Itoa(len(result.DER)), result.Header.Get("Content-Length"))
		}
	}
	return answer, octets
}

// TestOften follows a certificate's life with an answer that is kept as it is sent at each step.
func TestOften(t *testing.T) {
	t.Parallel()
	for name, ttl := range map[string]time.Duration{"store read": 0, "status trusted": time.Hour} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = ttl })
			changed := func() {
				if ttl > 0 {
					require.NoError(t, r.responder.Invalidate(t.Context(), r.ca.ID, r.leaf.SerialNumber))
				}
			}
			_, first := r.requireOften(r.leaf, xocsp.Good)
			other := r.issue()
			_, octets := r.requireOften(other, xocsp.Good)
			require.NotEqual(t, first, octets)

			r.revoke(r.leaf, ocsp.CertificateHold)
			changed()
			answer, held := r.requireOften(r.leaf, xocsp.Revoked)
			require.Equal(t, xocsp.CertificateHold, answer.RevocationReason)

			r.store.Add(r.ca.ID, r.leaf)
			changed()
			_, released := r.requireOften(r.leaf, xocsp.Good)
			require.NotEqual(t, held, released)

			r.clock.Advance(20 * time.Hour) // past the refresh point
			if ttl > 0 {
				changed()
			}
			answer, renewed := r.requireOften(r.leaf, xocsp.Good)
			require.NotEqual(t, released, renewed)
			require.Equal(t, r.clock.Now().UTC(), answer.ThisUpdate)

			issuer := r.ca.Issuer()
			issuer.CompromisedAt = r.clock.Now()
			require.NoError(t, r.responder.SetIssuer(issuer))
			answer, _ = r.requireOften(r.leaf, xocsp.Revoked)
			require.Equal(t, xocsp.CACompromise, answer.RevocationReason)

			r.responder.RemoveIssuer(r.ca.ID)
			r.requireError(xocsp.Unauthorized, r.post(r.request(r.leaf)))
		})
	}
}

// TestOftenAtOnce asks from several goroutines for certificates that are revoked meanwhile, with answers ready and not: no
// answer is about another certificate, none is older than the store.
func TestOftenAtOnce(t *testing.T) {
	t.Parallel()
	const certificates = 40
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Hour })
	certs := make([]*x509.Certificate, certificates)
	for i := range certs {
		certs[i] = r.issue()
	}
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for round := range 3 * often {
				for i := range certs {
					cert := certs[(i+worker*7)%certificates]
					answer, err := r.glance(ocsptest.Client{}, cert)
					if !assert.NoError(t, err) || !assert.Equal(t, cert.SerialNumber, answer.SerialNumber) {
						return
					}
				}
				if worker == 0 && round%often == 0 {
					for _, cert := range certs[round : round+often] {
						r.revoke(cert, ocsp.KeyCompromise)
						assert.NoError(t, r.responder.Invalidate(context.Background(), r.ca.ID, cert.SerialNumber))
						assert.Equal(t, xocsp.Revoked, r.status(cert).Status)
					}
				}
			}
		})
	}
	all.Wait()
}

// TestOftenFromSignature is about answers that are not cached as they are sent: they are encoded again from their
// signatures, the same, and without another one.
func TestOftenFromSignature(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Hour })
	ocsp.WithoutHotAnswers(r.responder)
	for range 20 {
		cert := r.issue()
		_, first := r.requireOften(cert, xocsp.Good)
		signed := r.signer.Calls()
		for range 3 {
			_, der := r.requireOften(cert, xocsp.Good)
			require.Equal(t, first, der)
		}
		require.Equal(t, signed, r.signer.Calls())
	}
}

// A certificate that was used stays when another gives way, also if what it was used with is gone.
func TestOftenIsUsed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*rig){
		"answer renewed": func(r *rig) { r.clock.Advance(40 * time.Minute) },
		"status changed": func(r *rig) { r.revoke(r.leaf, ocsp.KeyCompromise) },
		"another signer": func(r *rig) { require.NoError(r, r.responder.SetIssuer(r.ca.Issuer())) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Validity, cfg.Cache.MaxEntries = time.Hour, 2 })
			r.status(r.leaf)
			r.status(r.issue())
			r.status(r.leaf) // uses it
			change(r)
			first := r.query(r.leaf).DER
			r.status(r.issue()) // for which the other gives way
			require.Equal(t, first, r.query(r.leaf).DER)
		})
	}
}

// What a caller of Respond gets stays as it is, whatever is asked later.
func TestOftenRespond(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Hour })
	one, two := r.issue(), r.issue()
	var answers, copies [][]byte
	for range often {
		for _, cert := range []*x509.Certificate{one, two} {
			answer := r.responder.Respond(t.Context(), r.request(cert))
			response := r.responder.RespondHTTP(t.Context(), &ocsp.HTTPRequest{Method: http.MethodPost, Body: r.request(cert)})
			answers = append(answers, answer.DER, response.Body)
			copies = append(copies, slices.Clone(answer.DER), slices.Clone(response.Body))
		}
	}
	require.Equal(t, copies, answers)
	for i, der := range answers {
		cert := one
		if i%4 > 1 {
			cert = two
		}
		answer, err := xocsp.ParseResponseForCert(der, cert, r.ca.Certificate)
		require.NoError(t, err)
		require.Equal(t, xocsp.Good, answer.Status)
	}
}
