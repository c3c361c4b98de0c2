package ocsp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// TestRespondHTTPIsHandler sends the same requests both ways.
func TestRespondHTTPIsHandler(t *testing.T) {
	t.Parallel()
	at := time.Now().Truncate(time.Second)
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		// Ed25519 signs the same twice, so that answers can be compared which are not cached.
		r.ca = ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519})
		r.leaf = r.issue()
		cfg.Issuers = []ocsp.Issuer{r.ca.Issuer()}
		cfg.Limits = ocsp.Limits{MaxRequestBytes: 512, MaxPathBytes: 512}
	})
	r.clock.Set(at)
	der := r.request(r.leaf)
	unknown := r.request(r.ca.Certificate)
	path := "/ocsp/" + base64.StdEncoding.EncodeToString(der)
	first := httptest.NewRecorder()
	r.handler.ServeHTTP(first, httptest.NewRequest(http.MethodGet, path, nil))
	etag, date := first.Header().Get("Etag"), first.Header().Get("Last-Modified")
	for name, test := range map[string]struct {
		req  ocsp.HTTPRequest
		code int
	}{
		"POST":                     {ocsp.HTTPRequest{Method: "POST", Path: "/", Body: der}, 200},
		"POST, unissued":           {ocsp.HTTPRequest{Method: "POST", Path: "/", Body: unknown}, 200},
		"POST, malformed":          {ocsp.HTTPRequest{Method: "POST", Path: "/", Body: der[1:]}, 200},
		"POST, empty":              {ocsp.HTTPRequest{Method: "POST", Path: "/"}, 200},
		"POST, too large":          {ocsp.HTTPRequest{Method: "POST", Path: "/", Body: make([]byte, 513)}, 413},
		"POST, gzip":               {ocsp.HTTPRequest{Method: "POST", Path: "/", Body: der, ContentEncoding: "gzip"}, 415},
		"POST, conditional":        {ocsp.HTTPRequest{Method: "POST", Path: "/", Body: der, IfNoneMatch: etag}, 200},
		"GET":                      {ocsp.HTTPRequest{Method: "GET", Path: path}, 200},
		"GET, none":                {ocsp.HTTPRequest{Method: "GET", Path: "/ocsp/"}, 200},
		"GET, too long":            {ocsp.HTTPRequest{Method: "GET", Path: "/" + strings.Repeat("a", 512)}, 414},
		"GET, sent too long":       {ocsp.HTTPRequest{Method: "GET", Path: "/aaa", RawPath: "/" + strings.Repeat("%61", 171)}, 414},
		"GET, the same":            {ocsp.HTTPRequest{Method: "GET", Path: path, IfNoneMatch: `"other", ` + etag}, 304},
		"GET, other":               {ocsp.HTTPRequest{Method: "GET", Path: path, IfNoneMatch: `"other"`, IfModifiedSince: date}, 200},
		"GET, not modified":        {ocsp.HTTPRequest{Method: "GET", Path: path, IfModifiedSince: date}, 304},
		"HEAD":                     {ocsp.HTTPRequest{Method: "HEAD", Path: path}, 200},
		"HEAD, too long":           {ocsp.HTTPRequest{Method: "HEAD", Path: "/" + strings.Repeat("a", 512)}, 414},
		"OPTIONS":                  {ocsp.HTTPRequest{Method: "OPTIONS", Path: "/"}, 204},
		"PUT":                      {ocsp.HTTPRequest{Method: "PUT", Path: "/"}, 405},
		"a method nobody heard of": {ocsp.HTTPRequest{Method: "BREW", Path: "/"}, 405},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(test.req.Method, "/", bytes.NewReader(test.req.Body))
			req.URL.Path, req.URL.RawPath = test.req.Path, test.req.RawPath
			for name, value := range map[string]string{
				"Content-Encoding": test.req.ContentEncoding, "If-None-Match": test.req.IfNoneMatch, "If-Modified-Since": test.req.IfModifiedSince,
			} {
				if value != "" {
					req.Header.Set(name, value)
				}
			}
			want := httptest.NewRecorder()
			r.handler.ServeHTTP(want, req)
			want.Header().Del("Connection") // is the server's

			got := r.responder.RespondHTTP(context.Background(), &test.req)
			require.Equal(t, test.code, got.StatusCode)
			require.Equal(t, test.code, want.Code)
			require.Equal(t, want.Body.String(), string(got.Body))
			header := http.Header{}
			for name, value := range got.Header() {
				require.NotContains(t, header, name)
				header[name] = []string{value}
			}
			require.Equal(t, want.Header(), header)
			for name := range got.Header() { // a loop may end early
				require.NotEmpty(t, name)
				break
			}
		})
	}
	t.Run("disabled", func(t *testing.T) {
		got := new(ocsp.Responder).RespondHTTP(context.Background(), &ocsp.HTTPRequest{Method: "POST", Body: der})
		require.Equal(t, 404, got.StatusCode)
	})
}
