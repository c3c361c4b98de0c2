package ocspfasthttp

import (
	"bytes"
	"context"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// fuzzRig is a responder behind both servers' handlers, and a request to it.
var fuzzRig = sync.OnceValue(func() (rig struct {
	fast    fasthttp.RequestHandler
	plain   http.Handler
	request []byte
}) {
	now := time.Now()
	ca := ocsptest.NewCA(ocsptest.Options{})
	r, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{ca.Issuer()},
		Store: ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
			return ocsp.Record{State: ocsp.Active}, nil
		}),
		Now: func() time.Time { return now },
	})
	if err != nil {
		panic(err)
	}
	rig.fast, rig.plain = Handler(r), r.Handler()
	rig.request = ocsptest.Client{}.Request(ca.Certificate, ca.Issue(ocsptest.Options{}))
	return rig
})

// FuzzUnescape compares with url.PathUnescape.
func FuzzUnescape(f *testing.F) {
	for _, s := range []string{"", "%", "%4", "%4d", "a%2Fb%2f", "%zz", "%%41", "+ %00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := appendUnescaped([]byte("x"), []byte(s))
		want, err := url.PathUnescape(s)
		if ok != (err == nil) || ok && string(got) != "x"+want {
			t.Fatalf("%q is %q, %v; want %q, %v", s, got, ok, want, err)
		}
	})
}

// FuzzSameAnswer: a request that both servers can read gets the same answer from both.
func FuzzSameAnswer(f *testing.F) {
	der := fuzzRig().request
	f.Add("POST", "/", "application/ocsp-request", "", der)
	f.Add("GET", "/"+url.PathEscape(string(der)), "", "*", []byte(nil))
	f.Add("HEAD", "/ocsp/MAA=", "", `W/"x"`, []byte(nil))
	f.Fuzz(func(t *testing.T, method, path, contentType, condition string, body []byte) {
		rig := fuzzRig()
		target := (&url.URL{Path: "/" + path}).EscapedPath()
		plain, err := read(method, target, contentType, condition, body)
		if err != nil {
			return
		}
		rec := httptest.NewRecorder()
		rig.plain.ServeHTTP(rec, plain)
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetHost("host") // or a path that begins with two slashes names one
		ctx.Request.Header.SetMethod(method)
		ctx.Request.SetRequestURI(target)
		ctx.Request.Header.SetContentType(contentType)
		ctx.Request.Header.Set("If-None-Match", condition)
		if method == http.MethodPost {
			ctx.Request.SetBody(body)
		}
		rig.fast(&ctx)
		got := ctx.Response.Body()
		if rec.Code != ctx.Response.StatusCode() ||
			method != http.MethodHead && !bytes.Equal(got, rec.Body.Bytes()) {
			t.Fatalf("%s %s: %d %x, and with net/http %d %x", method, target,
				ctx.Response.StatusCode(), got, rec.Code, rec.Body.Bytes())
		}
	})
}

// read returns a request for net/http. Its error means that a server would not pass it on.
func read(method, target, contentType, condition string, body []byte) (*http.Request, error) {
	req, err := http.NewRequest(method, "http://host"+target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, value := range []string{contentType, condition} {
		for _, c := range []byte(value) {
			if c < ' ' || c > '~' {
				return nil, errors.New("not the value of a header field")
			}
		}
	}
	if method == "" {
		return nil, errors.New("no method")
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("If-None-Match", condition)
	return req, nil
}
