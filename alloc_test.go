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
	store := ocsp.StoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
		return ocsp.Record{State: ocsp.Active}, nil // a store that allocates nothing itself
	})
	responder := func(ttl time.Duration) http.Handler {
		r, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Cache: ocsp.CacheOptions{StatusTTL: ttl}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, r.Close()) })
		return r.Handler()
	}
	plain := ocsptest.Client{Hash: crypto.SHA256}.Request(ca.Certificate, ca.Certificate)
	nonce := ocsptest.Client{Nonce: make([]byte, 32)}.Request(ca.Certificate, ca.Certificate)
	w := &discard{header: http.Header{}}
	content := &body{}
	get := func(h http.Handler) float64 {
		req := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/ocsp/" + base64.StdEncoding.EncodeToString(plain)}, Header: http.Header{}}
		return testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, req) })
	}
	post := func(h http.Handler, der []byte) float64 {
		req := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/ocsp"}, Header: http.Header{}, ContentLength: int64(len(der)), Body: content}
		return testing.AllocsPerRun(1000, func() {
			content.Reset(der)
			h.ServeHTTP(w, req)
		})
	}
	trusting, reading := responder(time.Hour), responder(0)
	require.LessOrEqual(t, get(trusting), 2.0)
	require.LessOrEqual(t, post(trusting, plain), 2.0)
	require.LessOrEqual(t, get(reading), 4.0)
	require.LessOrEqual(t, post(reading, plain), 4.0)
	raw := testing.AllocsPerRun(100, func() {
		_, err := crypto.SignMessage(ca.Key, rand.Reader, plain, crypto.SHA256)
		require.NoError(t, err)
	})
	require.LessOrEqual(t, post(trusting, nonce), raw+8)
}
