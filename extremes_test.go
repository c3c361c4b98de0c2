package ocsp_test

import (
	"bytes"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// What can only be meant as no limit is refused where there must be one.
func TestNewRefusesBoundlessRequests(t *testing.T) {
	t.Parallel()
	ca := ocsptest.NewCA(ocsptest.Options{})
	_, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{ca.Issuer()}, Store: ocsptest.NewStore(),
		Limits: ocsp.Limits{MaxRequestBytes: math.MaxInt32, MaxPathBytes: math.MaxInt32},
	})
	require.ErrorContains(t, err, "the field Limits.MaxRequestBytes is 2147483647: use 1073741824 or less")
	require.ErrorContains(t, err, "the field Limits.MaxPathBytes is 2147483647: use 1073741824 or less")
}

// Elsewhere the greatest numbers there are do what they say.
func TestTheGreatestNumbers(t *testing.T) {
	t.Parallel()
	for _, compact := range []bool{false, true} {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			const seconds = math.MaxInt64 / time.Second * time.Second
			cfg.MaxAge, cfg.Timeout, cfg.Retention = seconds, math.MaxInt64, seconds
			cfg.Cache = ocsp.CacheOptions{StatusTTL: math.MaxInt64, MaxEntries: math.MaxInt, Compact: compact}
			cfg.Signing = ocsp.SigningOptions{MaxConcurrent: math.MaxInt, MaxWaiting: math.MaxInt, Timeout: math.MaxInt64}
			cfg.Limits = ocsp.Limits{MaxRequestBytes: 1 << 30, MaxPathBytes: 1 << 30, MaxCertIDs: math.MaxInt, MaxExtensions: math.MaxInt}
		})
		for range 2 { // signed and cached
			require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			recorder := httptest.NewRecorder()
			req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(r.request(r.leaf, r.issue())))
			req.Header.Set("Content-Type", "application/ocsp-request")
			r.handler.ServeHTTP(recorder, req)
			require.Len(t, must(ocsptest.Parse(recorder.Body.Bytes(), r.ca.Certificate)), 2)
		}
		require.Equal(t, 3, r.signer.Calls())
		require.NoError(t, r.responder.Invalidate(t.Context(), r.ca.ID, r.leaf.SerialNumber))
		r.store.SetFault(ocsptest.Fail)
		r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
	}
}

// Three quarters of many signatures are many.
func TestAShareOfManySignatures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Signing.MaxConcurrent, cfg.Signing.MaxWaiting = math.MaxInt/2, 1
		})
		client := r.client()
		client.Nonce = []byte("nonce")
		r.signer.SetFault(ocsptest.Hang)
		first := r.ask(client.Request(r.ca.Certificate, r.leaf))
		second := r.ask(client.Request(r.ca.Certificate, r.leaf))
		synctest.Wait()
		require.Equal(t, 2, r.signer.Calls())
		r.signer.SetFault(ocsptest.Healthy)
		r.requireAnswer(<-first, xocsp.Good)
		r.requireAnswer(<-second, xocsp.Good)
	})
}

// must returns a value that comes without an error.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
