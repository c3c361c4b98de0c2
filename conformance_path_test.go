package ocsp_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// newPathRig makes a rig whose store knows every serial number as good, so that a request which is read wrong
// is answered all the same, and Lint sees that the answer is about another one.
func newPathRig(t *testing.T, adjust func(*ocsp.Config)) *rig {
	t.Helper()
	for {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Store = ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
				return ocsp.Record{State: ocsp.Active}, nil
			})
			if adjust != nil {
				adjust(cfg)
			}
		})
		// The letters before the serial are the CA's. Some CAs would decide for every request what a test wants
		// to vary.
		fixed := base64.StdEncoding.EncodeToString(r.request(r.leaf))[:88]
		if !pathDouble(fixed) && !strings.Contains(fixed, "/M") {
			return r
		}
	}
}

// pathRequest makes a request for a serial number of which nothing is known but that the request's standard
// base64 has the wanted property. Serials have 8 to 20 octets, so every length of padding comes up.
func pathRequest(r *rig, wanted func(text string) bool) (der []byte, text string) {
	r.Helper()
	for range 100_000 {
		der = r.request(&x509.Certificate{SerialNumber: new(big.Int).Lsh(big.NewInt(0x40), 8*uint(7+rand.IntN(13)))})
		serial := der[bytes.LastIndexByte(der, 0x40):]
		for range 8 { // the serial is what the request ends with
			for i := range serial {
				serial[i] = byte(rand.Uint32())
			}
			serial[0] = serial[0]&0x7f | 0x40
			if text = base64.StdEncoding.EncodeToString(der); wanted(text) {
				return der, text
			}
		}
	}
	require.FailNow(r, "no such request")
	return nil, ""
}

// pathRich is wanted of requests in whose base64 every letter that needs care stands at least twice, but no two
// slashes in a row, which some muxes do not pass on.
func pathRich(text string) bool {
	return strings.Count(text, "+") >= 2 && strings.Count(text, "/") >= 2 && strings.HasSuffix(text, "==") && !pathDouble(text)
}

func pathDouble(text string) bool { return strings.Contains(text, "//") }

// pathGet sends a GET with a target as it stands in the request line.
func pathGet(r *rig, target string, der []byte) *ocsptest.Result {
	return httpAsk(r, httptest.NewRequest(http.MethodGet, target, nil), der)
}

// pathOK requires that each target, by its name, is answered.
func pathOK(r *rig, der []byte, targets map[string]string) {
	for name, target := range targets {
		httpRun(r, name, func(r *rig) { r.requireAnswer(pathGet(r, target, der), xocsp.Good) })
	}
}

// pathMalformed requires that each target, by its name, is malformed, and costs no signature.
func pathMalformed(r *rig, targets map[string]string) {
	before := r.signer.Calls()
	for name, target := range targets {
		httpRun(r, name, func(r *rig) { r.requireError(xocsp.Malformed, pathGet(r, target, nil)) })
	}
	assert.Equal(r, before, r.signer.Calls())
}

// pathEscapeAll percent-encodes every letter.
func pathEscapeAll(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// pathClean is what gorilla's router does by default.
func pathClean(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		clean := path.Clean(req.URL.Path)
		if strings.HasSuffix(req.URL.Path, "/") && clean != "/" {
			clean += "/"
		}
		if clean != req.URL.Path {
			http.Redirect(w, req, (&url.URL{Path: clean}).String(), http.StatusMovedPermanently)
			return
		}
		next.ServeHTTP(w, req)
	})
}

// pathMerge is what proxies do that merge slashes without a word.
func pathMerge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for pathDouble(req.URL.Path) {
			req.URL.Path = strings.ReplaceAll(req.URL.Path, "//", "/")
		}
		req.URL.RawPath = ""
		next.ServeHTTP(w, req)
	})
}

// pathStrip is what routers and proxies do that take slashes off the end, such as those that use path.Clean.
func pathStrip(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.URL = &url.URL{Path: path.Clean(req.URL.Path)}
		next.ServeHTTP(w, req)
	})
}

func TestT35SlashesMerged(t *testing.T) {
	t.Parallel()
	r := newPathRig(t, nil)
	mux := http.NewServeMux()
	mux.Handle("/ocsp/", r.handler)
	padded := func(text string) bool { return pathDouble(text) && strings.HasSuffix(text, "=") }
	unpadded := func(text string) bool { return pathDouble(text) && !strings.HasSuffix(text, "=") }
	atEnd := func(text string) bool { return strings.HasSuffix(text, "/") }
	for name, mount := range map[string]struct {
		handler   http.Handler
		redirects int // for each request
		wanted    func(string) bool
		requests  int
		answered  int // at least
	}{
		// Where a serial has other slashes too, there is more than one repair and so none.
		"ServeMux":      {mux, 1, padded, 60, 30},
		"gorilla":       {pathClean(r.handler), 1, padded, 60, 30},
		"merging proxy": {pathMerge(r.handler), 0, padded, 60, 30},
		// Without padding the slash may have been lost at the end. Then it is enough not to guess wrong.
		"ServeMux, no padding": {mux, 1, unpadded, 40, 0},
		"path.Clean":           {pathStrip(r.handler), 0, pathDouble, 40, 0},
		"path.Clean, at end":   {pathStrip(r.handler), 0, atEnd, 40, 0},
	} {
		httpRun(r, name, func(r *rig) {
			r.handler = mount.handler
			server := httpServer(r)
			redirects := 0
			server.Client().CheckRedirect = func(_ *http.Request, via []*http.Request) error {
				redirects++
				return nil
			}
			answered := 0
			for range mount.requests {
				der, text := pathRequest(r, mount.wanted)
				result, _ := httpDo(r, server, httptest.NewRequest(http.MethodGet, "/ocsp/"+text, nil), der)
				require.Equal(r, http.StatusOK, result.StatusCode)
				if status, err := ocsptest.ErrorStatus(result.DER); err == nil && status != xocsp.Success {
					r.requireError(xocsp.Malformed, result)
					continue
				}
				// This fails if the answer is about any serial but the one in der.
				r.requireAnswer(result, xocsp.Good)
				answered++
			}
			r.Logf("%d of %d requests that lost slashes were answered", answered, mount.requests)
			require.Equal(r, mount.redirects*mount.requests, redirects)
			require.GreaterOrEqual(r, answered, mount.answered)
		})
	}
}

// pathLines breaks base64 into lines of so many letters.
func pathLines(text, lineBreak string, letters int) string {
	var b strings.Builder
	for len(text) > letters {
		b.WriteString(text[:letters] + lineBreak)
		text = text[letters:]
	}
	return b.String() + text + lineBreak
}

func TestT44LineBreaks(t *testing.T) {
	t.Parallel()
	for _, isStrict := range []bool{false, true} {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Strict = isStrict })
		der := r.request(r.leaf)
		unknown := r.request(&x509.Certificate{SerialNumber: big.NewInt(0x1234567)})
		ask := func(der []byte, lineBreak string) *ocsptest.Result {
			text := base64.RawURLEncoding.EncodeToString(der)
			return pathGet(r, "/ocsp/"+pathLines(text, lineBreak, 64), der)
		}
		r.requireError(xocsp.Malformed, ask(der, "%09"))
		if isStrict {
			r.requireError(xocsp.Malformed, ask(der, "%0A"))
			continue
		}
		r.requireAnswer(ask(der, "%0A"), xocsp.Good)
		r.requireAnswer(ask(unknown, "%0D%0A"), xocsp.Unknown)
	}
}

// pathTwice percent-encodes what is percent-encoded already.
func pathTwice(escaped string) string { return strings.ReplaceAll(escaped, "%", "%25") }

func TestT45EncodedTwice(t *testing.T) {
	t.Parallel()
	once := func(der []byte) string { return pathEscapeAll(base64.StdEncoding.EncodeToString(der)) }
	strict := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Strict = true })
	strict.requireError(xocsp.Malformed,
		pathGet(strict, "/ocsp/"+pathTwice(once(strict.request(strict.leaf))), nil))

	r := newRig(t, nil)
	unknown := &x509.Certificate{SerialNumber: big.NewInt(0x1234567)}
	der := r.request(r.leaf)
	r.requireAnswer(pathGet(r, "/ocsp/"+pathTwice(once(der)), der), xocsp.Good)
	der = r.request(r.leaf, r.issue())
	r.requireAnswer(pathGet(r, "/ocsp/"+pathTwice(once(der)), der), xocsp.Good, xocsp.Good)
	der = r.request(unknown)
	r.requireAnswer(pathGet(r, "/ocsp/"+once(der), der), xocsp.Unknown)
	r.requireError(xocsp.Malformed, pathGet(r, "/ocsp/"+pathTwice(once(der)), nil))
	r.requireError(xocsp.Malformed,
		pathGet(r, "/ocsp/"+pathTwice(once(r.request(r.leaf, unknown))), nil))
	other := ocsptest.NewCA(ocsptest.Options{Name: "Foreign"}).Certificate
	foreign := r.client().Request(other, unknown)
	r.requireError(xocsp.Unauthorized, pathGet(r, "/ocsp/"+once(foreign), nil))
	r.requireError(xocsp.Malformed, pathGet(r, "/ocsp/"+pathTwice(once(foreign)), nil))
}

func TestT49QueryIgnored(t *testing.T) {
	t.Parallel()
	r := newPathRig(t, nil)
	der, text := pathRequest(r, pathRich)
	_, other := pathRequest(r, pathRich)
	pathOK(r, der, map[string]string{
		"plain":           "/ocsp/" + text + "?x=1",
		"escaped":         "/ocsp/" + url.PathEscape(text) + "?x=1",
		"empty":           "/ocsp/" + text + "?",
		"another request": "/ocsp/" + text + "?" + other,
		"a path":          "/ocsp/" + text + "?/" + other,
	})
}

func TestT50OnlyInQuery(t *testing.T) {
	t.Parallel()
	r := newPathRig(t, nil)
	_, text := pathRequest(r, pathRich)
	pathMalformed(r, map[string]string{
		"bare":      "/ocsp?" + text,
		"slash":     "/ocsp/?" + text,
		"a value":   "/ocsp?request=" + url.QueryEscape(text),
		"a path":    "/ocsp?/" + text,
		"at root":   "/?" + text,
		"a partial": "/ocsp/" + text[:40] + "?" + text[40:],
	})
}

// pathLong makes a target of exactly so many octets for a request about several certificates.
func pathLong(r *rig, length, certs int) (der []byte, target string) {
	var list []*x509.Certificate
	for i := range certs {
		list = append(list, &x509.Certificate{SerialNumber: big.NewInt(int64(1000 + i))})
	}
	der = r.request(list...)
	text := base64.StdEncoding.EncodeToString(der)
	target = "/" + strings.Repeat("p", length-len(text)-2) + "/" + text
	require.Len(r, target, length)
	return der, target
}

func TestT52LongURL(t *testing.T) {
	t.Parallel()
	const limit = 8 << 10 // the default
	r := newPathRig(t, nil)
	server := httpServer(r)
	for _, test := range []struct{ length, certs int }{{255, 1}, {256, 1}, {300, 2}, {1000, 8}, {4096, 32}, {limit - 1, 32}, {limit, 1}, {limit, 32}} {
		httpRun(r, fmt.Sprintf("%d octets, %d certificates", test.length, test.certs), func(r *rig) {
			der, target := pathLong(r, test.length, test.certs)
			statuses := make([]int, test.certs) // all good
			result, _ := httpDo(r, server, httptest.NewRequest(http.MethodGet, target, nil), der)
			r.requireAnswer(result, statuses...)
			r.requireAnswer(pathGet(r, target+"?"+strings.Repeat("q", limit), der), statuses...)
		})
	}
	httpRun(r, "a nonce of 128 octets", func(r *rig) {
		client := r.client()
		client.Nonce = []byte(strings.Repeat("n", 128))
		der := client.Request(r.ca.Certificate, r.leaf)
		target := httpPath(der)
		require.Greater(r, len(target), 255)
		r.requireAnswer(pathGet(r, target, der), xocsp.Good)
	})
}

func TestT53PathOverLimit(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int{"default": 0, "configured": 1000} {
		r := newPathRig(t, func(cfg *ocsp.Config) { cfg.Limits.MaxPathBytes = limit })
		if limit == 0 {
			limit = 8 << 10
		}
		httpRun(r, name, func(r *rig) {
			der, target := pathLong(r, limit, 1)
			r.requireAnswer(pathGet(r, target, der), xocsp.Good)
			signatures := r.signer.Calls()
			_, target = pathLong(r, limit+1, 1)
			httpRefused(r, http.StatusRequestURITooLong, pathGet(r, target, nil), signatures)
			der, text := pathRequest(r, pathRich)
			// Decoded, this one is below the limit; what counts is what was sent.
			escaped := "/" + strings.Repeat("%70", limit/3) + "/" + text
			httpRefused(r, http.StatusRequestURITooLong, pathGet(r, escaped, nil), signatures)
			// So it is where net/url leaves out RawPath, since it would write the path like that itself.
			for _, needed := range []string{"%20", "%0A", "%25"} {
				escaped = "/" + strings.Repeat(needed, (limit-len(text)-2)/3) + "/" + text
				r.requireAnswer(pathGet(r, escaped, der), xocsp.Good)
				signatures = r.signer.Calls()
				escaped = "/" + strings.Repeat(needed, (limit-len(text)-2)/3+1) + "/" + text
				httpRefused(r, http.StatusRequestURITooLong, pathGet(r, escaped, nil), signatures)
			}
			head := httpAsk(r, httptest.NewRequest(http.MethodHead, target, nil), nil)
			require.Equal(r, http.StatusRequestURITooLong, head.StatusCode)
			require.Empty(r, head.DER)
		})
	}
}

func TestT55Mounts(t *testing.T) {
	t.Parallel()
	r := newPathRig(t, nil)
	serveMux := func(patterns ...string) http.Handler {
		mux := http.NewServeMux()
		for _, pattern := range patterns {
			mux.Handle(pattern, r.handler)
		}
		return mux
	}
	notFound := http.NewServeMux()
	// What has been tested of each encoding on the bare handler must hold through every mount.
	encodings := map[string]func(string) string{
		"T29": url.QueryEscape,
		"T30": func(text string) string { return text },
		"T31": func(text string) string { return strings.ReplaceAll(text, "+", "%2b") },
		"T32": func(text string) string { return strings.ReplaceAll(url.PathEscape(text), "=", "%3D") },
		"T33": func(text string) string { return strings.ReplaceAll(text, "+", "%20") },
	}
	for name, mount := range map[string]struct {
		handler http.Handler
		prefix  string   // before the request
		posts   []string // paths to post to
		cleans  bool     // redirects T34
	}{
		"at /":                             {r.handler, "/", []string{"/"}, false},
		"at /ocsp":                         {r.handler, "/ocsp/", []string{"/ocsp", "/ocsp/"}, false},
		"at /a/b/ocsp":                     {r.handler, "/a/b/ocsp/", []string{"/a/b/ocsp", "/a/b/ocsp/"}, false},
		"at /Market/MFEw/M":                {r.handler, "/Market/MFEw/M/", []string{"/Market/MFEw/M"}, false}, // like base64 of a SEQUENCE
		"StripPrefix":                      {http.StripPrefix("/ocsp", r.handler), "/ocsp/", []string{"/ocsp", "/ocsp/"}, false},
		"StripPrefix with a slash":         {http.StripPrefix("/ocsp/", r.handler), "/ocsp/", []string{"/ocsp/"}, false},
		"StripPrefix of several":           {http.StripPrefix("/a/b/ocsp", r.handler), "/a/b/ocsp/", []string{"/a/b/ocsp", "/a/b/ocsp/"}, false},
		"ServeMux /":                       {serveMux("/"), "/", []string{"/"}, true},
		"ServeMux /ocsp and /ocsp/":        {serveMux("/ocsp", "/ocsp/"), "/ocsp/", []string{"/ocsp", "/ocsp/"}, true},
		"ServeMux /a/b/ocsp/":              {serveMux("/a/b/ocsp/"), "/a/b/ocsp/", []string{"/a/b/ocsp/"}, true},
		"ServeMux wildcard":                {serveMux("GET /ocsp/{request...}", "POST /ocsp"), "/ocsp/", []string{"/ocsp"}, true},
		"Mount /":                          {ocsp.Mount("/", r.handler, notFound), "/", []string{"/"}, false},
		"Mount nothing":                    {ocsp.Mount("", r.handler, nil), "/", []string{"/"}, false},
		"Mount /ocsp":                      {ocsp.Mount("/ocsp", r.handler, notFound), "/ocsp/", []string{"/ocsp", "/ocsp/"}, false},
		"Mount /ocsp/":                     {ocsp.Mount("/ocsp/", r.handler, notFound), "/ocsp/", []string{"/ocsp", "/ocsp/"}, false},
		"Mount /a/b/ocsp":                  {ocsp.Mount("/a/b/ocsp", r.handler, notFound), "/a/b/ocsp/", []string{"/a/b/ocsp", "/a/b/ocsp/"}, false},
		"Mount ocsp":                       {ocsp.Mount("ocsp", r.handler, nil), "/ocsp/", []string{"/ocsp", "/ocsp/"}, false},
		"Mount with StripPrefix":           {ocsp.Mount("/ocsp", http.StripPrefix("/ocsp", r.handler), nil), "/ocsp/", []string{"/ocsp", "/ocsp/"}, false},
		"Mount with StripPrefix and slash": {ocsp.Mount("/ocsp", http.StripPrefix("/ocsp/", r.handler), nil), "/ocsp/", []string{"/ocsp/"}, false},
	} {
		httpRun(r, name, func(r *rig) {
			r.handler = mount.handler
			der, text := pathRequest(r, pathRich)
			for encoding, encode := range encodings {
				httpRun(r, encoding, func(r *rig) {
					r.requireAnswer(pathGet(r, mount.prefix+encode(text), der), xocsp.Good)
				})
			}
			httpRun(r, "T34", func(r *rig) {
				der, text := pathRequest(r, pathDouble)
				result := pathGet(r, mount.prefix+text, der)
				if mount.cleans {
					require.Equal(r, http.StatusTemporaryRedirect, result.StatusCode) // T35 follows it
					return
				}
				r.requireAnswer(result, xocsp.Good)
			})
			for _, target := range mount.posts {
				httpRun(r, "POST "+target, func(r *rig) {
					req := httptest.NewRequest(http.MethodPost, target, strings.NewReader(string(der)))
					r.requireAnswer(httpAsk(r, req, der), xocsp.Good)
				})
			}
		})
	}
	httpRun(r, "beside Mount", func(r *rig) {
		teapot := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
		for prefix, want := range map[string]int{"/ocsp": http.StatusOK, "/other": http.StatusTeapot, "/ocsp2": http.StatusTeapot, "": http.StatusTeapot} {
			der, text := pathRequest(r, pathRich)
			target := prefix + "/" + text
			r.handler = ocsp.Mount("/ocsp", newPathRig(r.T, nil).handler, teapot)
			require.Equal(r, want, pathGet(r, target, der).StatusCode, target)
			r.handler = ocsp.Mount("/ocsp", newPathRig(r.T, nil).handler, nil)
			if want == http.StatusTeapot {
				want = http.StatusNotFound
			}
			require.Equal(r, want, pathGet(r, target, der).StatusCode, target)
		}
	})
}

// TestT56CutShort cuts octets off requests whose serials have slashes. What is missing looks like slashes that
// a router took, but putting them back gives serials that nobody asked about and that were never issued.
func TestT56CutShort(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	answered := 0
	for range 100 {
		der, text := pathRequest(r, func(text string) bool { return strings.Contains(text[88:], "/") })
		whole := pathGet(r, "/ocsp/"+text, der)
		r.requireAnswer(whole, xocsp.Unknown)
		for cut := 1; cut <= 2; cut++ {
			result := pathGet(r, "/ocsp/"+base64.StdEncoding.EncodeToString(der[:len(der)-cut]), nil)
			if status, err := ocsptest.ErrorStatus(result.DER); err == nil && status == xocsp.Success {
				answered++
				continue
			}
			r.requireError(xocsp.Malformed, result)
		}
	}
	assert.Zero(t, answered, "signed answers to 200 requests that were cut short")
}
