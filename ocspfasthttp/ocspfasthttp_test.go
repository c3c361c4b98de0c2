package ocspfasthttp_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspfasthttp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// serve serves over a real socket and returns the address.
func serve(t testing.TB, r *ocsp.Responder) string {
	t.Helper()
	return serveOn(t, ocspfasthttp.NewServer(r))
}

func serveOn(t testing.TB, server *ocspfasthttp.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		require.NoError(t, server.Shutdown())
		require.NoError(t, <-ended)
	})
	return listener.Addr().String()
}

func newResponder(t testing.TB, key ocsptest.KeyType) (*ocsptest.CA, *ocsptest.Store, *ocsp.Responder) {
	t.Helper()
	ca, store := ocsptest.NewCA(ocsptest.Options{Key: key}), ocsptest.NewStore()
	r, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return ca, store, r
}

// TestConformance runs the public suite over a socket: no case fails.
func TestConformance(t *testing.T) {
	ca, store, r := newResponder(t, ocsptest.P256)
	good, revoked := ca.Issue(ocsptest.Options{}), ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, good)
	store.Revoke(ca.ID, revoked.SerialNumber, ocsp.KeyCompromise, time.Now())
	results, err := ocsptest.Conformance(t.Context(), ocsptest.Target{
		URL: "http://" + serve(t, r) + "/ocsp", Issuer: ca.Certificate, Good: good, Revoked: revoked,
	})
	require.NoError(t, err)
	require.Greater(t, len(results), 100)
	for _, result := range results {
		if result.Verdict == ocsptest.Failed {
			t.Error(result)
		}
	}
}

// TestCompressHandler is why Handler does not go below fasthttp.CompressHandler: that compresses in spite of no-transform
// where the client sends Accept-Encoding, and for that client alone.
func TestCompressHandler(t *testing.T) {
	ca, store, r := newResponder(t, ocsptest.P256)
	cert := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, cert)
	target := url.PathEscape(base64.StdEncoding.EncodeToString(ocsptest.Client{}.Request(ca.Certificate, cert)))
	for _, test := range []struct {
		compress       bool
		accept, coding string
	}{
		{false, "Accept-Encoding: gzip\r\n", ""},
		{true, "Accept-Encoding: gzip\r\n", "gzip"},
		{true, "", ""},
	} {
		server := ocspfasthttp.NewServer(r)
		if test.compress {
			server.Handler = fasthttp.CompressHandler(server.Handler)
		}
		response, body := exchange(t, serveOn(t, server), "GET /ocsp/"+target+" HTTP/1.1\r\nHost: x\r\n"+test.accept+"\r\n")
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Contains(t, response.Header.Get("Cache-Control"), "no-transform")
		require.Equal(t, test.coding, response.Header.Get("Content-Encoding"))
		if test.coding == "" {
			answers, err := ocsptest.Parse([]byte(body), ca.Certificate)
			require.NoError(t, err)
			require.Equal(t, cert.SerialNumber, answers[0].SerialNumber)
		}
	}
}

// exchange sends octets on a connection of their own and returns the first response.
func exchange(t *testing.T, address, request string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err, "%.80q", request)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response, string(body)
}

// TestFieldsOfOneName requires that a condition, or an encoding, counts in whichever of several fields it stands
// (RFC 9110 section 5.3), here as at net/http's server.
func TestFieldsOfOneName(t *testing.T) {
	ca, store, r := newResponder(t, ocsptest.Ed25519)
	leaf := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, leaf)
	der := string(ocsptest.Client{}.Request(ca.Certificate, leaf))
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	addresses := map[string]string{"ocspfasthttp": serve(t, r), "net/http": server.Listener.Addr().String()}
	get := func(fields string) string {
		return "GET /" + base64.StdEncoding.EncodeToString([]byte(der)) + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n"
	}
	post := func(fields string) string {
		return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", fields, len(der), der)
	}
	first, _ := exchange(t, addresses["net/http"], get(""))
	etag, modified := first.Header.Get("Etag"), first.Header.Get("Last-Modified")
	for name, test := range map[string]struct {
		request string
		code    int
	}{
		"in the second":             {get("If-None-Match: \"x\"\r\nIf-None-Match: " + etag + "\r\n"), 304},
		"in the first":              {get("If-None-Match: " + etag + "\r\nIf-None-Match: \"x\"\r\n"), 304},
		"in the third, weak":        {get("If-None-Match: \"x\", \"y\"\r\nX: z\r\nIF-NONE-MATCH:\r\nif-none-match: \"z\", W/" + etag + "\r\n"), 304},
		"in none":                   {get("If-None-Match: \"x\"\r\nIf-None-Match: \"y\"\r\nIf-Modified-Since: " + modified + "\r\n"), 200},
		"an empty one":              {get("If-None-Match:\r\nIf-Modified-Since: " + modified + "\r\n"), 304},
		"none":                      {get(""), 200},
		"gzip in the second":        {post("Content-Encoding: identity\r\nContent-Encoding: gzip\r\n"), 415},
		"identity":                  {post("Content-Encoding: Identity\r\n"), 200},
		"a condition on a POST":     {post("If-None-Match: " + etag + "\r\n"), 200},
		"an encoding of no content": {get("Content-Encoding: gzip\r\n"), 200},
	} {
		for server, address := range addresses {
			response, _ := exchange(t, address, test.request)
			require.Equal(t, test.code, response.StatusCode, "%s, %s", name, server)
		}
	}
}

// TestLikeHandler sends the same octets to this server and to net/http's.
func TestLikeHandler(t *testing.T) {
	ca, store, _ := newResponder(t, ocsptest.Ed25519) // signs the same twice
	leaf := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, leaf)
	r, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Now: func() time.Time { return leaf.NotBefore.Add(time.Hour) }, // max-age stands still
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	der := string(ocsptest.Client{}.Request(ca.Certificate, leaf))
	letters := base64.StdEncoding.EncodeToString([]byte(der))
	fast := serve(t, r)
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	slow := server.Listener.Addr().String()

	const head = " HTTP/1.1\r\nHost: ocsp.test\r\n"
	post := func(fields, body string) string {
		return fmt.Sprintf("POST /ocsp%s%sContent-Length: %d\r\n\r\n%s", head, fields, len(body), body)
	}
	get := func(path, fields string) string { return "GET " + path + head + fields + "\r\n" }
	first, _ := exchange(t, slow, get("/"+letters, ""))
	etag := first.Header.Get("Etag")
	require.NotEmpty(t, etag)
	for name, request := range map[string]string{
		"POST":                post("Content-Type: application/ocsp-request\r\n", der),
		"POST, any type":      post("", der),
		"POST, malformed":     post("", der[1:]),
		"POST, empty":         post("", ""),
		"POST, gzip":          post("Content-Encoding: gzip\r\n", der),
		"POST, chunked":       "POST /" + head + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(der), der),
		"POST, absolute":      "POST http://ocsp.test/ocsp" + strings.Replace(post("", der), "POST /ocsp", "", 1),
		"POST, multipart":     post("Content-Type: multipart/form-data; boundary=x\r\n", der),
		"GET":                 get("/ocsp/"+letters, ""),
		"GET, escaped":        get("/ocsp/"+strings.NewReplacer("/", "%2F", "+", "%2b", "=", "%3D").Replace(letters), ""),
		"GET, slashes":        get("//ocsp///"+letters, ""),
		"GET, dots":           get("/a/../"+letters, ""),
		"GET, query":          get("/"+letters+"?a=b", ""),
		"GET, not an escape":  get("/%zz"+letters, ""),
		"GET, half an escape": get("/"+letters+"%2", ""),
		"POST, not an escape": strings.Replace(post("", der), "/ocsp", "/ocsp/%zz", 1),
		"GET, nothing":        get("/", ""),
		"GET, not modified":   get("/"+letters, "If-None-Match: "+etag+"\r\n"),
		"GET, modified":       get("/"+letters, "If-None-Match: \"x\"\r\n"),
		"GET, in lines":       get("/"+letters[:64]+"%0D%0A"+letters[64:]+"%0A", ""),
		"GET, encoded twice":  get("/"+strings.ReplaceAll(url.QueryEscape(letters), "%", "%25"), ""),
		"GET, long as sent":   get("/"+strings.Repeat("%25", 3000)+"/"+letters, ""),
		"GET, too long":       get("/"+strings.Repeat("a", 9000), ""),
		"HEAD":                "HEAD /" + letters + head + "\r\n",
		"HEAD, too long":      "HEAD /" + strings.Repeat("a", 9000) + head + "\r\n",
		"OPTIONS":             "OPTIONS /" + head + "\r\n",
		"PUT":                 "PUT /" + head + "Content-Length: 0\r\n\r\n",
		"a method of its own": "BREW /" + head + "\r\n",
		"HTTP/1.0":            "GET /" + letters + " HTTP/1.0\r\n\r\n",
		"POST, too large":     post("", strings.Repeat("x", 17<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			want, wantBody := exchange(t, slow, request)
			got, gotBody := exchange(t, fast, request)
			require.Equal(t, want.StatusCode, got.StatusCode)
			if want.StatusCode != http.StatusBadRequest { // net/http says more about it
				require.Equal(t, wantBody, gotBody)
				for _, h := range []http.Header{want.Header, got.Header} {
					h.Del("Connection")
					if h.Get("Date") == "" {
						t.Error("no Date")
					}
					h.Del("Date")
				}
				if want.StatusCode == http.StatusNoContent || want.StatusCode == http.StatusNotModified {
					got.Header.Del("Content-Length")
				}
				require.Equal(t, want.Header, got.Header)
			}
		})
	}
}

// What cannot be read is refused, and the connection ends.
func TestRefusals(t *testing.T) {
	_, _, r := newResponder(t, ocsptest.P256)
	address := serve(t, r)
	for request, code := range map[string]int{
		"GARBAGE\r\n\r\n": http.StatusBadRequest,
		"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 40<<10) + "\r\n\r\n":               http.StatusRequestHeaderFieldsTooLarge,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 1000): http.StatusRequestEntityTooLarge,
	} {
		response, _ := exchange(t, address, request)
		require.Equal(t, code, response.StatusCode, "%.40q", request)
		require.Equal(t, "no-store", response.Header.Get("Cache-Control"))
		require.True(t, response.Close)
	}
}

func TestDisabled(t *testing.T) {
	r := new(ocsp.Responder)
	response, _ := exchange(t, serve(t, r), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.Equal(t, http.StatusNotFound, response.StatusCode)
}
