package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"io"
	"math/big"
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

func (d *discard) Header() http.Header             { return d.header }
func (d *discard) WriteHeader(int)                 {}
func (d *discard) SetReadDeadline(time.Time) error { return nil }
func (d *discard) Write(b []byte) (int, error)     { d.size += len(b); return len(b), nil }

// body is a request body that can be read again.
type body struct{ bytes.Reader }

func (*body) Close() error { return nil }

// active is a store in memory that allocates nothing: what is measured is the responder.
func active(serials ...*big.Int) ocsp.CertStoreFunc {
	type key [20]byte
	known := map[key]ocsp.Record{}
	for _, serial := range serials {
		var k key
		known[key(serial.FillBytes(k[:]))] = ocsp.Record{State: ocsp.Active}
	}
	return func(_ context.Context, _ string, serial *big.Int) (ocsp.Record, error) {
		var k key
		record, ok := known[key(serial.FillBytes(k[:]))]
		if !ok {
			return record, ocsp.ErrNotFound
		}
		return record, nil
	}
}

func benchResponder(b *testing.B, ca *ocsptest.CA, store ocsp.CertStore, ttl time.Duration) *ocsp.Responder {
	b.Helper()
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Cache: ocsp.CacheOptions{StatusTTL: ttl}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = responder.Close() })
	return responder
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

// headerOf is what a handler answers with, to be sent again.
func headerOf(h http.Handler, req *http.Request) http.Header {
	w := &discard{header: http.Header{}}
	h.ServeHTTP(w, req)
	return w.header
}

// static is a handler that reads the request's body, sets header fields that it has ready, and writes the answer: the
// least that an http.Handler for OCSP can do.
func static(header http.Header, answer []byte) http.Handler {
	type field struct {
		name  string
		value []string
	}
	var fields []field
	for name, value := range header {
		fields = append(fields, field{name, value})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		h := w.Header()
		for _, f := range fields {
			h[f.name] = f.value
		}
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(answer)
	})
}

// BenchmarkHandler compares a cached answer with a static handler that sends the same octets in header and body, and with
// a bare one that sets the content type alone.
func BenchmarkHandler(b *testing.B) {
	ca := ocsptest.NewCA(ocsptest.Options{})
	leaf := ca.Issue(ocsptest.Options{})
	store := active(leaf.SerialNumber)
	trusting, reading := benchResponder(b, ca, store, time.Hour), benchResponder(b, ca, store, 0)
	request := ocsptest.Client{Hash: crypto.SHA256}.Request(ca.Certificate, leaf)
	answer := trusting.Respond(context.Background(), request).DER
	content := &body{}
	content.Reset(request)
	post := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/ocsp"}, Header: http.Header{}, Body: content, ContentLength: int64(len(request))}
	get := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/ocsp/" + base64.StdEncoding.EncodeToString(request)}, Header: http.Header{}, Body: http.NoBody}
	posted, got := headerOf(trusting.Handler(), post), headerOf(trusting.Handler(), get)
	for _, bench := range []struct {
		name      string
		post, get http.Handler
	}{
		{"static", static(posted, answer), static(got, answer)},
		{"bare", static(http.Header{"Content-Type": posted["Content-Type"]}, answer), static(http.Header{"Content-Type": got["Content-Type"]}, answer)},
		{"cached", trusting.Handler(), trusting.Handler()},
		{"read", reading.Handler(), reading.Handler()},
	} {
		b.Run(bench.name+"/POST", func(b *testing.B) { serve(b, bench.post, post, request) })
		b.Run(bench.name+"/GET", func(b *testing.B) { serve(b, bench.get, get, nil) })
	}
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
		ca := ocsptest.NewCA(ocsptest.Options{Key: kind})
		leaf := ca.Issue(ocsptest.Options{})
		responder := benchResponder(b, ca, active(leaf.SerialNumber), time.Hour)
		request := ocsptest.Client{Nonce: make([]byte, 32)}.Request(ca.Certificate, leaf)
		b.Run(kind.String()+"/raw", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sign(b, ca)
			}
		})
		b.Run(kind.String()+"/answer", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				answerSigned(b, responder, request)
			}
		})
	}
}

var tbs = make([]byte, 200) // as long as what is signed of an answer

func sign(b *testing.B, ca *ocsptest.CA) {
	if _, err := crypto.SignMessage(ca.Key, rand.Reader, tbs, crypto.SHA256); err != nil {
		b.Fatal(err)
	}
}

func answerSigned(b *testing.B, responder *ocsp.Responder, request []byte) {
	if a := responder.Respond(context.Background(), request); a.Outcome != ocsp.OutcomeSigned {
		b.Fatal(a.Outcome, a.Err)
	}
}

// BenchmarkMiss tells what a miss costs above the signature, own-ns/op: it takes turns with the signature alone, one by
// one, and the store answers at once.
func BenchmarkMiss(b *testing.B) {
	ca := ocsptest.NewCA(ocsptest.Options{})
	store := ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
		return ocsp.Record{State: ocsp.Active}, nil
	})
	for name, ttl := range map[string]time.Duration{"StatusTTL": time.Hour, "no StatusTTL": 0} {
		b.Run(name, func(b *testing.B) {
			responder := benchResponder(b, ca, store, ttl)
			serial := make([]byte, 16)
			serial[0] = 1
			request := ocsptest.Client{}.Request(ca.Certificate, &x509.Certificate{SerialNumber: new(big.Int).SetBytes(serial)})
			counter := request[len(request)-8:] // the serial's end is the request's
			var own time.Duration
			n := 0
			for b.Loop() {
				n++
				binary.BigEndian.PutUint64(counter, uint64(n))
				begin := time.Now()
				answerSigned(b, responder, request)
				answered := time.Now()
				sign(b, ca)
				own += answered.Sub(begin) - time.Since(answered)
			}
			b.ReportMetric(float64(own.Nanoseconds())/float64(n), "own-ns/op")
		})
	}
}
