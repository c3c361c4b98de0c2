package ocsptest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/codec"
)

// The fuzz targets about a whole Responder are here and not in package ocsp, whose tests cannot
// both be in it and import this package. OSS-Fuzz builds none that is not in its package, and calls
// a target as a whole for each input. So whatever is expensive is made once.

var fuzzNow = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

// fuzzKey is the same in each process, so that one verifies what another signed.
func fuzzKey(n byte) crypto.Signer {
	return must(ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{n}, 32)))
}

func fuzzSign(n byte, message []byte) []byte {
	return must(crypto.SignMessage(fuzzKey(n), rand.Reader, message, crypto.SHA256))
}

func fuzzOptions(n byte) Options {
	return Options{
		Signer: fuzzKey(n), Serial: big.NewInt(int64(n)),
		NotBefore: fuzzNow.AddDate(-1, 0, 0), NotAfter: fuzzNow.AddDate(1, 0, 0),
	}
}

var (
	fuzzCA   = sync.OnceValue(func() *CA { return NewCA(fuzzOptions(1)) })
	fuzzLeaf = sync.OnceValue(func() *x509.Certificate { return fuzzCA().Issue(fuzzOptions(2)) })

	fuzzRequest = sync.OnceValue(func() []byte {
		return Client{}.Request(fuzzCA().Certificate, fuzzLeaf())
	})
)

// fuzzStore has a record for each certificate.
func fuzzStore(r ocsp.Record) ocsp.CertStoreFunc {
	return func(context.Context, string, *big.Int) (ocsp.Record, error) { return r, nil }
}

func fuzzResponder(store ocsp.CertStore, adjust func(*ocsp.Config)) *ocsp.Responder {
	cfg := ocsp.Config{
		Issuers: []ocsp.Issuer{fuzzCA().Issuer()}, Store: store,
		Now: func() time.Time { return fuzzNow },
	}
	if adjust != nil {
		adjust(&cfg)
	}
	return must(ocsp.New(cfg))
}

// post sends a request, which must get a well-formed answer. It returns the status, and the answer
// if that is a success, which must pass Lint.
func post(t *testing.T, h http.Handler, request []byte) (status xocsp.ResponseStatus, der []byte) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(request)))
	if rec.Code != http.StatusOK {
		t.Fatalf("HTTP status %d", rec.Code)
	}
	der = rec.Body.Bytes()
	status, err := ErrorStatus(der)
	if err != nil {
		t.Fatal(err)
	}
	if status != xocsp.Success {
		return status, nil
	}
	if err := Lint(request, der, fuzzCA().Certificate, fuzzNow); err != nil {
		t.Fatal(err)
	}
	return status, der
}

// fuzzSeeds returns the vectors of folders under testdata, as far as they are there.
func fuzzSeeds(f *testing.F, folders ...string) (list [][]byte) {
	for _, folder := range folders {
		files, _ := filepath.Glob(filepath.Join("..", "testdata", folder, "*.hex"))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			der, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
			if err != nil {
				f.Fatal(err)
			}
			list = append(list, der)
		}
	}
	return list
}

var fuzzHandler = sync.OnceValue(func() http.Handler {
	return fuzzResponder(fuzzStore(ocsp.Record{State: ocsp.Active}), nil).Handler()
})

// FuzzHandler: any method, path and body gets a well-formed HTTP and OCSP answer.
func FuzzHandler(f *testing.F) {
	handler, ca := fuzzHandler(), fuzzCA().Certificate
	requests := append(fuzzSeeds(f, "requests", "malformed"), fuzzRequest(),
		Client{Nonce: []byte("n")}.Request(ca, fuzzLeaf(), fuzzLeaf()))
	for _, der := range requests {
		f.Add("POST", "/ocsp", "application/ocsp-request", der)
		f.Add("GET", "/ocsp/"+base64.StdEncoding.EncodeToString(der), "", []byte{})
		f.Add("HEAD", "/"+base64.RawURLEncoding.EncodeToString(der), `"x", W/"y"`, []byte{})
	}
	f.Fuzz(func(t *testing.T, method, path, header string, body []byte) {
		req := &http.Request{
			Method: method, URL: &url.URL{Path: path}, Header: http.Header{}, Body: http.NoBody,
			ContentLength: -1,
		}
		req.Header.Set("Content-Type", header)
		req.Header.Set("If-None-Match", header)
		if method == http.MethodPost {
			req.Body = httptest.NewRequest(method, "/", bytes.NewReader(body)).Body
		}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		switch rec.Code {
		case http.StatusOK:
		case http.StatusNotModified, http.StatusNoContent, http.StatusMethodNotAllowed,
			http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong:
			return
		default:
			t.Fatalf("HTTP status %d", rec.Code)
		}
		if ct := rec.Header().Get("Content-Type"); ct != "application/ocsp-response" {
			t.Fatalf("content type %q", ct)
		}
		if method == http.MethodHead {
			if rec.Body.Len() > 0 {
				t.Fatal("HEAD with a body")
			}
			return
		}
		status, err := ErrorStatus(rec.Body.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if status == xocsp.Success && method == http.MethodPost {
			if err := Lint(body, rec.Body.Bytes(), ca, fuzzNow); err != nil {
				t.Fatal(err)
			}
		}
	})
}

var (
	fuzzRecord        atomic.Pointer[ocsp.Record]
	fuzzRecordHandler = sync.OnceValue(func() http.Handler {
		find := func(context.Context, string, *big.Int) (ocsp.Record, error) {
			return *fuzzRecord.Load(), nil
		}
		return fuzzResponder(ocsp.CertStoreFunc(find), func(c *ocsp.Config) {
			c.Cache.Disabled = true
		}).Handler()
	})
)

// FuzzRecord: a record of the store gets the answer that its state means, or none. Only PreActive
// and Active are good.
func FuzzRecord(f *testing.F) {
	f.Add(uint8(ocsp.Active), uint8(0), int64(0), int64(0), int64(0))
	f.Add(uint8(ocsp.Deactivated), uint8(ocsp.CertificateHold), fuzzNow.Unix()-5, int64(0), int64(0))
	f.Add(uint8(ocsp.Compromised), uint8(0), fuzzNow.Unix()+5, int64(-1), fuzzNow.Unix()+3600)
	f.Add(uint8(ocsp.Destroyed), uint8(ocsp.RemoveFromCRL), int64(-1<<40), int64(1), int64(1<<40))
	f.Fuzz(func(t *testing.T, state, reason uint8, revoked, invalid, notAfter int64) {
		at := func(unix int64) time.Time {
			if unix == 0 {
				return time.Time{}
			}
			return time.Unix(unix, 0)
		}
		r := ocsp.Record{
			State: ocsp.State(state), Reason: ocsp.Reason(reason), RevokedAt: at(revoked),
			InvalidityDate: at(invalid), NotAfter: at(notAfter),
		}
		fuzzRecord.Store(&r)
		status, der := post(t, fuzzRecordHandler(), fuzzRequest())
		if status != xocsp.Success {
			return
		}
		responses, err := Parse(der, fuzzCA().Certificate)
		if err != nil {
			t.Fatal(err)
		}
		good := r.State == ocsp.PreActive || r.State == ocsp.Active
		got := responses[0]
		switch {
		case good && (got.Status != xocsp.Good || revoked != 0 || invalid != 0):
			t.Fatalf("%+v is answered with status %d", r, got.Status)
		case !good && (got.Status != xocsp.Revoked || r.State > ocsp.DestroyedCompromised):
			t.Fatalf("%+v is answered with status %d", r, got.Status)
		case !good && got.RevokedAt.Unix() != min(revoked, got.ThisUpdate.Unix()):
			t.Fatalf("%+v is answered as revoked at %v", r, got.RevokedAt)
		}
	})
}

// valueCache has one value under all keys.
type valueCache []byte

func (v valueCache) Get(context.Context, string) ([]byte, error) {
	return bytes.Clone(v), nil
}
func (valueCache) Put(context.Context, string, []byte, time.Duration) error { return nil }
func (valueCache) Delete(context.Context, ...string) error                  { return nil }

// fuzzRevoked is what the store has where the shared cache has something else.
var fuzzRevoked = ocsp.Record{
	State: ocsp.Deactivated, Reason: ocsp.Superseded, RevokedAt: fuzzNow.Add(-time.Hour),
}

// FuzzRemoteCache: whatever a shared cache has, an answer attests what the store has. That holds of
// a value that the CA's own key signed too, such as an answer of before the revocation.
func FuzzRemoteCache(f *testing.F) {
	for _, record := range []ocsp.Record{fuzzRevoked, {State: ocsp.Active}} {
		r := fuzzResponder(fuzzStore(record), nil)
		answer := r.Respond(context.Background(), fuzzRequest())
		_, basic, err := unmarshal(answer.DER)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(answer.DER, false)
		f.Add([]byte(basic.Data.Raw), true)
		if err := r.Close(); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, value []byte, signed bool) {
		if signed {
			signature := fuzzSign(1, value)
			algorithm := codec.AlgorithmIdentifier(x509.ECDSAWithSHA256)
			value = codec.AppendResponse(nil, value, algorithm, signature, nil)
		}
		r := fuzzResponder(fuzzStore(fuzzRevoked), func(c *ocsp.Config) {
			c.Cache.Remote, c.Cache.MaxEntries = valueCache(value), 1
		})
		status, der := post(t, r.Handler(), fuzzRequest())
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if status != xocsp.Success {
			t.Fatalf("the status is %v", status)
		}
		responses, err := Parse(der, fuzzCA().Certificate)
		if err != nil || responses[0].Status != xocsp.Revoked ||
			!responses[0].RevokedAt.Equal(fuzzRevoked.RevokedAt) {
			t.Fatalf("the answer is %+v, %v", responses, err)
		}
	})
}

// fuzzClient signs requests. fuzzSigned is the one request that it has signed.
var (
	fuzzClient = sync.OnceValue(func() *CA { return NewCA(fuzzOptions(3)) })
	fuzzSigned = sync.OnceValue(func() []byte {
		var req codec.Request
		limits := codec.ReadLimits{CertIDs: 1, Extensions: 1}
		if err := codec.ParseRequest(fuzzRequest(), &req, limits); err != nil {
			panic(err)
		}
		req.RequestorName = []byte{0x82, 1, 'x'}
		signature := fuzzSign(3, codec.AppendTBSRequest(nil, &req))
		algorithm := codec.AlgorithmIdentifier(x509.ECDSAWithSHA256)
		req.Signature.Raw = must(asn1.Marshal(struct {
			Algorithm    asn1.RawValue
			Value        asn1.BitString
			Certificates []asn1.RawValue `asn1:"explicit,tag:0"`
		}{
			asn1.RawValue{FullBytes: algorithm},
			asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
			[]asn1.RawValue{{FullBytes: fuzzClient().Certificate.Raw}},
		}))
		return codec.AppendRequest(nil, &req)
	})
	fuzzSignedHandler = sync.OnceValue(func() http.Handler {
		roots := x509.NewCertPool()
		roots.AddCert(fuzzClient().Certificate)
		return fuzzResponder(fuzzStore(fuzzRevoked), func(c *ocsp.Config) {
			c.RequestSigners = roots
		}).Handler()
	})
)

// FuzzSignedRequest: where requests must be signed, nothing is answered but what the client signed.
func FuzzSignedRequest(f *testing.F) {
	f.Add(fuzzSigned())
	for _, der := range fuzzSeeds(f, "requests") {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		status, _ := post(t, fuzzSignedHandler(), der)
		if status != xocsp.Success {
			return
		}
		var got, signed codec.Request
		limits := codec.ReadLimits{CertIDs: 32, Extensions: 16}
		if err := codec.ParseRequest(der, &got, limits); err != nil {
			t.Fatal(err)
		}
		if err := codec.ParseRequest(fuzzSigned(), &signed, limits); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.TBS, signed.TBS) {
			t.Fatalf("answered: %x", der)
		}
	})
}

// fuzzPair is a CA and its delegate with common kinds of keys.
var fuzzPair = sync.OnceValues(func() (ca, delegate *x509.Certificate) {
	rsa := NewCA(Options{Key: RSA2048})
	delegate, _ = rsa.Delegate(Options{Key: P384})
	return rsa.Certificate, delegate
})

// FuzzCertificates: CheckDelegate takes any certificates, and New refuses those that it refuses.
func FuzzCertificates(f *testing.F) {
	delegate, _ := fuzzCA().Delegate(fuzzOptions(4))
	f.Add(fuzzCA().Certificate.Raw, delegate.Raw, false)
	f.Add(fuzzCA().Certificate.Raw, fuzzLeaf().Raw, true)
	ca, delegate := fuzzPair()
	f.Add(ca.Raw, delegate.Raw, true)
	f.Fuzz(func(t *testing.T, ca, delegate []byte, cabf bool) {
		var issuer ocsp.Issuer
		var err error
		if issuer.Certificate, err = x509.ParseCertificate(ca); err != nil {
			return
		}
		if issuer.ResponderCertificate, err = x509.ParseCertificate(delegate); err != nil {
			return
		}
		issuer.Signer = fuzzKey(4)
		profile := ocsp.ProfilePrivate
		if cabf {
			profile = ocsp.ProfileCABF
		}
		refused := false
		for _, finding := range ocsp.CheckDelegate(issuer, profile) {
			refused = refused || finding.Refused
			if finding.Problem == "" || finding.Hint == "" || finding.Rule == "" {
				t.Fatalf("%+v", finding)
			}
		}
		r, err := ocsp.New(ocsp.Config{
			Issuers: []ocsp.Issuer{issuer}, Store: fuzzStore(fuzzRevoked), Profile: profile,
			Now: func() time.Time { return fuzzNow },
		})
		if err != nil {
			return
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if refused {
			t.Fatal("New takes what CheckDelegate refuses")
		}
	})
}

// FuzzLint: the client's readers take any request and answer.
func FuzzLint(f *testing.F) {
	for _, der := range fuzzSeeds(f, "responses") {
		f.Add(fuzzRequest(), der)
	}
	f.Fuzz(func(t *testing.T, request, response []byte) {
		ca := fuzzCA().Certificate
		lintErr := Lint(request, response, ca, fuzzNow)
		status, err := ErrorStatus(response)
		if lintErr == nil && (err != nil || status != xocsp.Success) {
			t.Fatalf("Lint passes what is no answer: %v, %v", status, err)
		}
		_, _ = ResponseNonce(response)
		if _, err := Parse(response, ca); err != nil && lintErr == nil {
			t.Fatalf("Lint passes what cannot be read: %v", err)
		}
	})
}
