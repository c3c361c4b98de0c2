//go:build !race

package ocsp_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// TestAllocations holds what an answer may allocate. The race detector makes pools forget, so it is not for it.
func TestAllocations(t *testing.T) {
	ca := ocsptest.NewCA(ocsptest.Options{})
	store := ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
		return ocsp.Record{State: ocsp.Active}, nil // a store that allocates nothing itself
	})
	responder := func(ttl time.Duration) *ocsp.Responder {
		r, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Cache: ocsp.CacheOptions{StatusTTL: ttl}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, r.Close()) })
		return r
	}
	plain := ocsptest.Client{Hash: crypto.SHA256}.Request(ca.Certificate, ca.Certificate)
	nonce := ocsptest.Client{Nonce: make([]byte, 32)}.Request(ca.Certificate, ca.Certificate)
	w := &discard{header: http.Header{}}
	content := &body{}
	get := func(h http.Handler) float64 {
		req := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/ocsp/" + base64.StdEncoding.EncodeToString(plain)}, Header: http.Header{}}
		return testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, req) })
	}
	req := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/ocsp"}, Header: http.Header{}, Body: content}
	ask := func(h http.Handler, der []byte) {
		content.Reset(der)
		req.ContentLength = int64(len(der))
		h.ServeHTTP(w, req)
	}
	post := func(h http.Handler, der []byte) float64 {
		return testing.AllocsPerRun(1000, func() { ask(h, der) })
	}
	trusted := responder(time.Hour)
	trusting, reading := trusted.Handler(), responder(0).Handler()
	require.Zero(t, get(trusting))
	require.Zero(t, post(trusting, plain))
	require.LessOrEqual(t, get(reading), 2.0)
	require.LessOrEqual(t, post(reading, plain), 2.0)
	// An answer that is not cached as it is sent is encoded again, with its header values.
	cold := responder(time.Hour)
	ocsp.WithoutHotAnswers(cold)
	require.LessOrEqual(t, post(cold.Handler(), plain), 2.0)
	raw := testing.AllocsPerRun(100, func() {
		_, err := crypto.SignMessage(ca.Key, rand.Reader, plain, crypto.SHA256)
		require.NoError(t, err)
	})
	require.LessOrEqual(t, post(trusting, nonce), raw+8)
}
