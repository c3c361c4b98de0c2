// Package mounttest asks a router example what every mount must be able to answer.
package mounttest

import (
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

const token = "test-token"

// NewHandler is an example's mounting code: it serves the responder below /ocsp to who has the bearer token.
type NewHandler func(responder *ocsp.Responder, token string) http.Handler

// Run tests an example over real HTTP.
func Run(t *testing.T, handler NewHandler) {
	t.Run("query", func(t *testing.T) { testQuery(t, handler) })
	t.Run("token", func(t *testing.T) { testToken(t, handler) })
}

// serve serves the example for a CA of the test's, and returns its URL and a certificate whose request has
// two slashes in a row and a plus sign in base64.
func serve(t *testing.T, handler NewHandler) (ca *ocsptest.CA, cert *x509.Certificate, serverURL string) {
	t.Helper()
	ca, records := ocsptest.NewCA(ocsptest.Options{}), ocsptest.NewStore()
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: records})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler(responder, token))
	t.Cleanup(func() {
		server.Close()
		_ = responder.Close()
	})
	// A serial full of one bits has the slashes; the plus sign takes a short search.
	for serial := int64(0x7fff_ffff_ffff_0000); ; serial++ {
		cert := &x509.Certificate{SerialNumber: big.NewInt(serial)}
		request := base64.StdEncoding.EncodeToString(ocsptest.Client{}.Request(ca.Certificate, cert))
		if strings.Contains(request, "//") && strings.Contains(request, "+") {
			records.Set(ca.ID, cert.SerialNumber, ocsp.Record{State: ocsp.Active})
			return ca, cert, server.URL
		}
	}
}

// respell is a RoundTripper that spells a request's path another way.
type respell func(path string) string

func (f respell) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	escaped := f(req.URL.EscapedPath())
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, err
	}
	req.URL.Path, req.URL.RawPath = path, escaped
	return http.DefaultTransport.RoundTrip(req)
}

func testQuery(t *testing.T, handler NewHandler) {
	ca, cert, serverURL := serve(t, handler)
	for _, test := range []struct {
		name, method, path, want string
		spell                    func(string) string
	}{
		{"POST", "POST", "/ocsp", "/ocsp", nil},
		{"POST with a slash", "POST", "/ocsp/", "/ocsp/", nil},
		{"GET with raw slashes and plus", "GET", "/ocsp", "//", strings.NewReplacer("%2F", "/", "%2B", "+").Replace},
		{"GET with escaped slashes", "GET", "/ocsp", "%2F%2F", nil},
		{"GET with escaped plus", "GET", "/ocsp/", "%2B", strings.NewReplacer("+", "%2B").Replace},
	} {
		t.Run(test.name, func(t *testing.T) {
			var sent string
			client := ocsptest.Client{
				URL:    serverURL + test.path,
				Method: test.method,
				Header: http.Header{"Authorization": {"Bearer " + token}},
				HTTP: &http.Client{Transport: respell(func(path string) string {
					if test.spell != nil {
						path = test.spell(path)
					}
					sent = path
					return path
				}), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
			}
			result, err := client.Query(t.Context(), ca.Certificate, cert)
			if err != nil {
				t.Fatalf("%s %s: %v", test.method, sent, err)
			}
			if !strings.Contains(sent, test.want) {
				t.Errorf("the path %s lacks %s", sent, test.want)
			}
			if got := result.Responses[0].Status; got != xocsp.Good {
				t.Errorf("status %d, want good", got)
			}
		})
	}
}

func testToken(t *testing.T, handler NewHandler) {
	ca, cert, serverURL := serve(t, handler)
	for _, method := range []string{"GET", "POST"} {
		for _, authorization := range []string{"", "Bearer", "Bearer other", token} {
			client := ocsptest.Client{URL: serverURL + "/ocsp", Method: method, Header: http.Header{"Authorization": {authorization}}}
			result, err := client.Send(t.Context(), client.Request(ca.Certificate, cert))
			if err != nil {
				t.Fatal(err)
			}
			if result.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s with Authorization %q: status %d, want 401", method, authorization, result.StatusCode)
			}
		}
	}
}
