package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// discard is an http.ResponseWriter that costs nothing, so that what is measured is the handler.
type discard struct {
	header http.Header
	size   int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(b []byte) (int, error) { d.size += len(b); return len(b), nil }

// body is a request body that can be read again.
type body struct{ bytes.Reader }

func (*body) Close() error { return nil }

func benchResponder(b *testing.B, ttl time.Duration) (*ocsptest.CA, *x509.Certificate, *ocsp.Responder) {
	b.Helper()
	ca, store := ocsptest.NewCA(ocsptest.Options{}), ocsptest.NewStore()
	leaf := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, leaf)
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Cache: ocsp.CacheOptions{StatusTTL: ttl}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = responder.Close() })
	return ca, leaf, responder
}

func serve(b *testing.B, handler http.Handler, req *http.Request, request []byte) {
	w := &discard{header: http.Header{}}
	content := &body{}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		if request != nil {
			content.Reset(request)
			req.Body = content
		}
		handler.ServeHTTP(w, req)
	}
	if w.size == 0 {
		b.Fatal("nothing was answered")
	}
}

// BenchmarkHandler compares a cached answer with a handler that writes the same bytes and does nothing else.
func BenchmarkHandler(b *testing.B) {
	ca, leaf, trusting := benchResponder(b, time.Hour)
	request := ocsptest.Client{Hash: crypto.SHA256}.Request(ca.Certificate, leaf)
	der := trusting.Respond(context.Background(), request).DER
	post := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/ocsp"}, Header: http.Header{}, ContentLength: int64(len(request))}
	get := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/ocsp/" + base64.StdEncoding.EncodeToString(request)}, Header: http.Header{}}
	b.Run("static", func(b *testing.B) {
		contentType := []string{"application/ocsp-response"}
		serve(b, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.Copy(io.Discard, req.Body)
			w.Header()["Content-Type"] = contentType
			w.WriteHeader(http.StatusOK)
			_, _ = w.Write(der)
		}), post, request)
	})
	b.Run("cached/POST", func(b *testing.B) { serve(b, trusting.Handler(), post, request) })
	b.Run("cached/GET", func(b *testing.B) { serve(b, trusting.Handler(), get, nil) })

	caRead, leafRead, reading := benchResponder(b, 0)
	request = ocsptest.Client{Hash: crypto.SHA256}.Request(caRead.Certificate, leafRead)
	post.ContentLength = int64(len(request))
	get = &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/ocsp/" + base64.StdEncoding.EncodeToString(request)}, Header: http.Header{}}
	b.Run("cached, store read/POST", func(b *testing.B) { serve(b, reading.Handler(), post, request) })
	b.Run("cached, store read/GET", func(b *testing.B) { serve(b, reading.Handler(), get, nil) })
}

// BenchmarkParse compares the reader with that of x/crypto/ocsp, which keeps less of the request.
func BenchmarkParse(b *testing.B) {
	ca := ocsptest.NewCA(ocsptest.Options{})
	plain := ocsptest.Client{Hash: crypto.SHA256}.Request(ca.Certificate, ca.Certificate)
	nonce := ocsptest.Client{Hash: crypto.SHA256, Nonce: make([]byte, 32)}.Request(ca.Certificate, ca.Certificate)
	for name, der := range map[string][]byte{"plain": plain, "nonce": nonce} {
		b.Run("codec/"+name, func(b *testing.B) {
			var req codec.Request
			b.ReportAllocs()
			for b.Loop() {
				if err := codec.ParseRequest(der, &req, codec.ReadLimits{CertIDs: 32, Extensions: 16}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("x-crypto/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := xocsp.ParseRequest(der); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSign compares an answer that must be signed, here for its nonce, with the signature alone.
func BenchmarkSign(b *testing.B) {
	for _, kind := range []ocsptest.KeyType{ocsptest.P256, ocsptest.RSA2048} {
		ca, store := ocsptest.NewCA(ocsptest.Options{Key: kind}), ocsptest.NewStore()
		leaf := ca.Issue(ocsptest.Options{})
		store.Add(ca.ID, leaf)
		responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Cache: ocsp.CacheOptions{StatusTTL: time.Hour}})
		if err != nil {
			b.Fatal(err)
		}
		request := ocsptest.Client{Nonce: make([]byte, 32)}.Request(ca.Certificate, leaf)
		b.Run(kind.String()+"/raw", func(b *testing.B) {
			b.ReportAllocs()
			message := make([]byte, 200)
			for b.Loop() {
				if _, err := crypto.SignMessage(ca.Key, rand.Reader, message, crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(kind.String()+"/answer", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if responder.Respond(context.Background(), request).Outcome != ocsp.OutcomeSigned {
					b.Fatal("not signed")
				}
			}
		})
		_ = responder.Close()
	}
}
