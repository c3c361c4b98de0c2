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
	"slices"
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
			cfg.Store = ocsp.StoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
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

// pathPadded is wanted of requests with so much padding.
func pathPadded(n int) func(string) bool {
	return func(text string) bool { return len(text)-len(strings.TrimRight(text, "=")) == n }
}

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

func TestT29PercentEncoded(t *testing.T) {
	r := newPathRig(t, nil)
	der, text := pathRequest(r, pathRich)
	pathOK(r, der, map[string]string{
		"as a query":   "/ocsp/" + url.QueryEscape(text),
		"as a path":    "/ocsp/" + url.PathEscape(text),
		"every letter": "/ocsp/" + pathEscapeAll(text),
		"lower case":   "/ocsp/" + strings.ToLower(pathEscapeAll("M")) + strings.ReplaceAll(pathEscapeAll(text[1:]), "%2F", "%2f"),
	})
}

func TestT30Raw(t *testing.T) {
	r := newPathRig(t, nil)
	der, text := pathRequest(r, pathRich)
	pathOK(r, der, map[string]string{"raw": "/ocsp/" + text})
	httpRun(r, "over the network", func(r *rig) {
		conn := httpDial(r, httpServer(r))
		conn.send("GET /ocsp/%s HTTP/1.1\r\nHost: x\r\n\r\n", text)
		r.requireAnswer(conn.receive(der), xocsp.Good)
	})
	httpRun(r, "many", func(r *rig) {
		for range 200 {
			der, text := pathRequest(r, func(string) bool { return true })
			r.requireAnswer(pathGet(r, "/ocsp/"+text, der), xocsp.Good)
		}
	})
}

func TestT31EscapedPlus(t *testing.T) {
	r := newPathRig(t, nil)
	der, text := pathRequest(r, pathRich)
	pathOK(r, der, map[string]string{
		"%2B":  "/ocsp/" + strings.ReplaceAll(text, "+", "%2B"),
		"%2b":  "/ocsp/" + strings.ReplaceAll(text, "+", "%2b"),
		"some": "/ocsp/" + strings.Replace(text, "+", "%2B", 1),
	})
}

func TestT32EscapedSlashAndPadding(t *testing.T) {
	r := newPathRig(t, nil)
	der, text := pathRequest(r, pathRich)
	pathOK(r, der, map[string]string{
		"%2F":  "/ocsp/" + strings.ReplaceAll(text, "/", "%2F"),
		"%2f":  "/ocsp/" + strings.ReplaceAll(text, "/", "%2f"),
		"%3D":  "/ocsp/" + strings.ReplaceAll(text, "=", "%3D"),
		"%3d":  "/ocsp/" + strings.ReplaceAll(text, "=", "%3d"),
		"some": "/ocsp/" + strings.Replace(strings.Replace(text, "/", "%2F", 1), "=", "%3D", 1),
		"both": "/ocsp/" + strings.ReplaceAll(strings.ReplaceAll(text, "/", "%2F"), "=", "%3D"),
	})
}

func TestT33SpaceForPlus(t *testing.T) {
	r := newPathRig(t, nil)
	der, text := pathRequest(r, pathRich)
	pathOK(r, der, map[string]string{
		"%20":  "/ocsp/" + strings.ReplaceAll(text, "+", "%20"),
		"some": "/ocsp/" + strings.Replace(text, "+", "%20", 1),
	})
	httpRun(r, "literal", func(r *rig) {
		// net/http refuses a space in the request line, but a router may hand one on.
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.URL = &url.URL{Path: "/ocsp/" + strings.ReplaceAll(text, "+", " ")}
		r.requireAnswer(httpAsk(r, req, der), xocsp.Good)
	})
}

func TestT34DoubleSlash(t *testing.T) {
	r := newPathRig(t, nil)
	server := httpServer(r)
	for i := range 20 {
		httpRun(r, fmt.Sprint(i), func(r *rig) {
			der, text := pathRequest(r, pathDouble)
			r.requireAnswer(pathGet(r, "/ocsp/"+text, der), xocsp.Good)
			conn := httpDial(r, server)
			conn.send("GET /ocsp/%s HTTP/1.1\r\nHost: x\r\n\r\n", text)
			r.requireAnswer(conn.receive(der), xocsp.Good)
		})
	}
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
		"ServeMux":      {mux, 1, padded, 300, 200},
		"gorilla":       {pathClean(r.handler), 1, padded, 300, 200},
		"merging proxy": {pathMerge(r.handler), 0, padded, 300, 200},
		// Without padding the slash may have been lost at the end. Then it is enough not to guess wrong.
		"ServeMux, no padding": {mux, 1, unpadded, 100, 0},
		"path.Clean":           {pathStrip(r.handler), 0, pathDouble, 100, 0},
		"path.Clean, at end":   {pathStrip(r.handler), 0, atEnd, 100, 0},
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

func TestT36EscapedDoubleSlashBehindServeMux(t *testing.T) {
	r := newPathRig(t, nil)
	mux := http.NewServeMux()
	mux.Handle("/ocsp/", r.handler)
	r.handler = mux
	server := httpServer(r)
	for i := range 50 {
		httpRun(r, fmt.Sprint(i), func(r *rig) {
			der, text := pathRequest(r, pathDouble)
			conn := httpDial(r, server)
			conn.send("GET /ocsp/%s HTTP/1.1\r\nHost: x\r\n\r\n", strings.ReplaceAll(text, "/", "%2F"))
			r.requireAnswer(conn.receive(der), xocsp.Good)
		})
	}
}

func TestT37LeadingSlashes(t *testing.T) {
	r := newPathRig(t, nil)
	der, text := pathRequest(r, pathRich)
	targets := map[string]string{}
	for _, lead := range []string{"/", "//", "///", "/ocsp//", "/ocsp///", "//ocsp/", "//ocsp//////", "/ocsp/%2F", "/ocsp%2F%2F"} {
		targets[lead+" raw"] = lead + text
		targets[lead+" escaped"] = lead + url.PathEscape(text)
	}
	pathOK(r, der, targets)
}

func TestT38TrailingSlash(t *testing.T) {
	r := newPathRig(t, nil)
	for padding := range 3 {
		der, text := pathRequest(r, pathPadded(padding))
		bare := strings.TrimRight(text, "=")
		httpRun(r, fmt.Sprint("padding ", padding), func(r *rig) {
			pathOK(r, der, map[string]string{
				"one":               "/ocsp/" + text + "/",
				"two":               "/ocsp/" + text + "//",
				"escaped":           "/ocsp/" + url.PathEscape(text) + "%2F",
				"one, unpadded":     "/ocsp/" + bare + "/",
				"several, unpadded": "/ocsp/" + bare + "////",
			})
		})
	}
}

func TestT39LastLetterSlash(t *testing.T) {
	r := newPathRig(t, nil)
	der, text := pathRequest(r, func(text string) bool { return strings.HasSuffix(text, "/") && !strings.HasSuffix(text, "//") })
	pathOK(r, der, map[string]string{
		"raw":              "/ocsp/" + text,
		"escaped":          "/ocsp/" + url.PathEscape(text),
		"URL-safe":         "/ocsp/" + strings.ReplaceAll(text, "/", "_"),
		"one more":         "/ocsp/" + text + "/",
		"escaped and more": "/ocsp/" + url.PathEscape(text) + "/",
	})
	der, text = pathRequest(r, func(text string) bool { return strings.HasSuffix(text, "//") })
	pathOK(r, der, map[string]string{"two": "/ocsp/" + text})
}

func TestT40URLSafe(t *testing.T) {
	r := newPathRig(t, nil)
	der, _ := pathRequest(r, pathRich)
	pathOK(r, der, map[string]string{
		"padded":   "/ocsp/" + base64.URLEncoding.EncodeToString(der),
		"unpadded": "/ocsp/" + base64.RawURLEncoding.EncodeToString(der),
		"escaped":  "/ocsp/" + pathEscapeAll(base64.URLEncoding.EncodeToString(der)),
	})
}

func TestT41BothAlphabets(t *testing.T) {
	r := newPathRig(t, nil)
	der, text := pathRequest(r, pathRich)
	mixed := strings.Replace(strings.Replace(text, "+", "-", 1), "/", "_", 1)
	require.Contains(t, mixed, "+")
	require.Contains(t, mixed, "/")
	pathOK(r, der, map[string]string{"raw": "/ocsp/" + mixed, "escaped": "/ocsp/" + url.PathEscape(mixed), "with a space": "/ocsp/" + strings.Replace(mixed, "+", "%20", 1)})
}

func TestT42MissingPadding(t *testing.T) {
	r := newPathRig(t, nil)
	for padding := 1; padding <= 2; padding++ {
		der, text := pathRequest(r, pathPadded(padding))
		targets := map[string]string{}
		for kept := range padding {
			targets[fmt.Sprintf("%d of %d", kept, padding)] = "/ocsp/" + text[:len(text)-padding+kept]
		}
		pathOK(r, der, targets)
	}
}

func TestT43WrongPadding(t *testing.T) {
	r := newPathRig(t, nil)
	for padding := range 3 {
		_, text := pathRequest(r, pathPadded(padding))
		bare := strings.TrimRight(text, "=")
		httpRun(r, fmt.Sprint("padding ", padding), func(r *rig) {
			pathMalformed(r, map[string]string{
				"===":            "/ocsp/" + bare + "===",
				"====":           "/ocsp/" + bare + "====",
				"one too many":   "/ocsp/" + text + "=",
				"escaped":        "/ocsp/" + url.QueryEscape(bare+"==="),
				"in the middle":  "/ocsp/" + text[:8] + "=" + text[8:],
				"after a group":  "/ocsp/" + text[:12] + "==" + text[12:],
				"before the end": "/ocsp/" + bare[:len(bare)-1] + "=" + bare[len(bare)-1:],
				"at the start":   "/ocsp/=" + text,
			})
		})
	}
}

// pathStrict refuses what the standards forbid.
func pathStrict(cfg *ocsp.Config) { cfg.Strict = true }

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
	r, strict := newPathRig(t, nil), newPathRig(t, pathStrict)
	der, text := pathRequest(r, pathRich)
	_, forStrict := pathRequest(strict, pathRich)
	places := func(text, white string) map[string]string {
		return map[string]string{
			white + " at the start":       "/ocsp/" + white + text,
			white + " early":              "/ocsp/" + text[:2] + white + text[2:],
			white + " in the middle":      "/ocsp/" + text[:64] + white + text[64:],
			white + " before the padding": "/ocsp/" + strings.TrimRight(text, "=") + white + "==",
			white + " at the end":         "/ocsp/" + text + white,
			white + " and a slash":        "/ocsp/" + text + white + "/",
		}
	}
	for _, lineBreak := range []string{"%0A", "%0a", "%0D%0A", "%0D"} {
		pathOK(r, der, places(text, lineBreak))
		pathMalformed(strict, places(forStrict, lineBreak))
		for _, letters := range []int{1, 64, 76} {
			pathOK(r, der, map[string]string{fmt.Sprintf("%s, lines of %d", lineBreak, letters): "/ocsp/" + pathLines(text, lineBreak, letters)})
		}
	}
	for _, white := range []string{"%09", "%0B", "%0C", "%00", "%C2%85", "%C2%A0", "%E2%80%A8", "%0A%09", "%0A%20"} {
		pathMalformed(r, places(text, white))
	}
	// Slashes that a router took are put back, and an unknown serial is unknown, in lines as without.
	pathOK(r, der, map[string]string{"more slashes": "//ocsp///" + pathLines(text, "%0A", 64)})
	known := newRig(t, nil)
	plain := known.request(&x509.Certificate{SerialNumber: big.NewInt(0x1234567)})
	known.requireAnswer(pathGet(known, "/ocsp/"+pathLines(base64.RawURLEncoding.EncodeToString(plain), "%0A", 64), plain), xocsp.Unknown)
}

// pathTwice percent-encodes what is percent-encoded already.
func pathTwice(escaped string) string { return strings.ReplaceAll(escaped, "%", "%25") }

func TestT45EncodedTwice(t *testing.T) {
	r, strict := newPathRig(t, nil), newPathRig(t, pathStrict)
	der, text := pathRequest(r, pathRich)
	_, forStrict := pathRequest(strict, pathRich)
	spellings := func(text string) map[string]string {
		return map[string]string{
			"%252B":                  "/ocsp/" + strings.ReplaceAll(text, "+", "%252B"),
			"%252b":                  "/ocsp/" + strings.ReplaceAll(text, "+", "%252b"),
			"%252F":                  "/ocsp/" + strings.ReplaceAll(text, "/", "%252F"),
			"%253D":                  "/ocsp/" + strings.ReplaceAll(text, "=", "%253D"),
			"%2520":                  "/ocsp/" + strings.ReplaceAll(text, "+", "%2520"),
			"as a query":             "/ocsp/" + pathTwice(url.QueryEscape(text)),
			"as a path":              "/ocsp/" + pathTwice(url.PathEscape(text)),
			"every letter":           "/ocsp/" + pathTwice(pathEscapeAll(text)),
			"every letter thus":      "/ocsp/" + pathEscapeAll(url.QueryEscape(text)),
			"%252B beside %2F":       "/ocsp/" + strings.NewReplacer("+", "%252B", "/", "%2F").Replace(text),
			"%252F beside +":         "/ocsp/" + strings.NewReplacer("/", "%252F", "=", "%3D").Replace(text),
			"%252B and + and %2B":    "/ocsp/" + strings.Replace(strings.Replace(text, "+", "%252B", 1), "+", "%2B", 1),
			"one letter":             "/ocsp/" + strings.Replace(text, "+", "%252B", 1),
			"URL-safe, padded":       "/ocsp/" + strings.NewReplacer("+", "-", "/", "_", "=", "%253D").Replace(text),
			"not padded":             "/ocsp/" + strings.NewReplacer("/", "%252F", "=", "").Replace(text),
			"the slash before too":   "/ocsp%252F" + pathTwice(url.QueryEscape(text)),
			"slashes around":         "/ocsp///" + pathTwice(url.QueryEscape(text)) + "//",
			"a slash behind too":     "/ocsp/" + pathTwice(url.QueryEscape(text)) + "%252F",
			"lines":                  "/ocsp/" + strings.ReplaceAll(pathLines(text, "%0A", 64), "+", "%252B"),
			"line breaks too":        "/ocsp/" + pathTwice(url.QueryEscape(pathLines(text, "\r\n", 64))),
			"a prefix with %25":      "/100%25/ocsp/" + pathTwice(url.QueryEscape(text)),
			"a prefix that ends so":  "/100%25/" + strings.ReplaceAll(text, "+", "%252B"),
			"a prefix with %2525":    "/100%2525/" + pathTwice(url.QueryEscape(text)),
			"a prefix with %25 and2": "/%252/%25zz/%25/" + pathTwice(url.QueryEscape(text)),
			"at /":                   "/" + pathTwice(url.QueryEscape(text)),
		}
	}
	pathOK(r, der, spellings(text))
	pathMalformed(strict, spellings(forStrict))
	pathOK(r, der, map[string]string{"once, behind a prefix with %25": "/100%25/ocsp/" + url.QueryEscape(text)})
	pathMalformed(r, map[string]string{
		"three times":      "/ocsp/" + pathTwice(pathTwice(url.QueryEscape(text))),
		"one letter so":    "/ocsp/" + strings.Replace(strings.ReplaceAll(text, "/", "%252F"), "+", "%25252B", 1),
		"a tab":            "/ocsp/" + text[:64] + "%2509" + text[64:],
		"a broken escape":  "/ocsp/" + strings.ReplaceAll(text, "+", "%252"),
		"cut short":        "/ocsp/" + pathTwice(url.QueryEscape(text[:80])),
		"a letter too few": "/ocsp/" + strings.ReplaceAll(text[1:], "+", "%252B"),
		"garbage before":   "/ocsp/AAAA" + pathTwice(url.QueryEscape(text)),
		"too much padding": "/ocsp/" + pathTwice(url.QueryEscape(text+"=")),
	})
	// Slashes are not put back into what was decoded twice.
	_, double := pathRequest(r, func(text string) bool {
		return pathDouble(text) && strings.HasSuffix(text, "==") && strings.Contains(text, "+")
	})
	pathMalformed(r, map[string]string{"a slash lost": "/ocsp/" + strings.ReplaceAll(strings.ReplaceAll(double, "//", "/"), "+", "%252B")})

	t.Run("of no certificate", func(t *testing.T) {
		r := newRig(t, nil)
		unknown := &x509.Certificate{SerialNumber: big.NewInt(0x1234567)}
		once := func(der []byte) string { return pathEscapeAll(base64.StdEncoding.EncodeToString(der)) }
		der := r.request(r.leaf, r.issue())
		r.requireAnswer(pathGet(r, "/ocsp/"+pathTwice(once(der)), der), xocsp.Good, xocsp.Good)
		der = r.request(unknown)
		r.requireAnswer(pathGet(r, "/ocsp/"+once(der), der), xocsp.Unknown)
		r.requireError(xocsp.Malformed, pathGet(r, "/ocsp/"+pathTwice(once(der)), nil))
		r.requireError(xocsp.Malformed, pathGet(r, "/ocsp/"+pathTwice(once(r.request(r.leaf, unknown))), nil))
		foreign := r.client().Request(ocsptest.NewCA(ocsptest.Options{Name: "Foreign"}).Certificate, unknown)
		r.requireError(xocsp.Unauthorized, pathGet(r, "/ocsp/"+once(foreign), nil))
		r.requireError(xocsp.Malformed, pathGet(r, "/ocsp/"+pathTwice(once(foreign)), nil))
	})
	t.Run("two candidates", func(t *testing.T) {
		r := newPathRig(t, nil)
		inner := r.request(r.leaf)
		for fill := range 3 {
			q := derPlain(r)
			// The inner request is the end of the outer one, behind a letter that is a slash.
			q.extensions = [][]byte{derExt(derForeignOID, nil, slices.Concat(make([]byte, fill), []byte{0xff}, inner))}
			outer := q.der()
			if (len(outer)-len(inner))%3 != 0 {
				continue
			}
			text := base64.StdEncoding.EncodeToString(outer)
			require.True(t, strings.HasSuffix(text, "/"+base64.StdEncoding.EncodeToString(inner)))
			r.requireAnswer(pathGet(r, "/ocsp/"+text, outer), xocsp.Good) // decoded once, the first one counts
			pathMalformed(r, map[string]string{"twice": "/ocsp/" + pathTwice(pathEscapeAll(text))})
			return
		}
		require.FailNow(t, "no fill is right")
	})
}

func TestT46BadEscape(t *testing.T) {
	r := newPathRig(t, nil)
	reached := false
	handler := r.handler
	r.handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		reached = true
		handler.ServeHTTP(w, req)
	})
	server := httpServer(r)
	for _, escape := range []string{"%ZZ", "%2", "%"} {
		httpRun(r, escape, func(r *rig) {
			conn := httpDial(r, server)
			conn.send("GET /ocsp/%s%s HTTP/1.1\r\nHost: x\r\n\r\n", "MFEw", escape)
			require.Equal(r, http.StatusBadRequest, conn.receive(nil).StatusCode)
		})
	}
	server.Close()
	assert.False(t, reached)
}

func TestT48DotSegments(t *testing.T) {
	r := newPathRig(t, nil)
	_, text := pathRequest(r, func(text string) bool { return !strings.Contains(text, "/M") })
	targets := map[string]string{}
	for _, dots := range []string{"/./", "/../", ".", "..", "%2E%2E", "/%2e/"} {
		for _, at := range []int{1, 4, 40, len(text) - 8} {
			targets[fmt.Sprintf("%s at %d", dots, at)] = "/ocsp/" + text[:at] + dots + text[at:]
		}
	}
	targets["at the end"] = "/ocsp/" + text + "/."
	pathMalformed(r, targets)
}

func TestT49QueryIgnored(t *testing.T) {
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

func TestT56NotDER(t *testing.T) {
	r := newPathRig(t, nil)
	// Without a slash in the serial there is nothing to repair. The letters before it are the CA's.
	der, _ := pathRequest(r, func(text string) bool { return strings.HasSuffix(text, "==") && !strings.Contains(text[88:], "/") })
	answer := r.post(der)
	r.requireAnswer(answer, xocsp.Good)
	targets := map[string]string{}
	for name, octets := range map[string][]byte{
		"text":            []byte("not DER at all"),
		"zeros":           make([]byte, 60),
		"INTEGER":         {2, 1, 5},
		"empty SEQUENCE":  {0x30, 0},
		"NULLs":           {0x30, 4, 5, 0, 5, 0},
		"half a request":  der[:len(der)/2],
		"no last octet":   der[:len(der)-1],
		"one octet more":  append(clone(der), 0),
		"two requests":    append(clone(der), der...),
		"an answer":       answer.DER,
		"huge length":     {0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 1, 2},
		"no minimal form": append([]byte{0x30, 0x81, der[1]}, der[2:]...),
		"indefinite":      append(append([]byte{0x30, 0x80}, der[2:]...), 0, 0),
	} {
		text := base64.StdEncoding.EncodeToString(octets)
		targets[name] = "/ocsp/" + url.PathEscape(text)
		targets[name+", unpadded"] = "/ocsp/" + strings.TrimRight(text, "=")
	}
	pathMalformed(r, targets)
	t.Run("cut short", pathCutShort)
}

// pathCutShort cuts octets off requests whose serials have slashes. What is missing looks like slashes that
// a router took, but putting them back gives serials that nobody asked about and that were never issued.
func pathCutShort(t *testing.T) {
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

func TestT57GarbageBefore(t *testing.T) {
	r := newPathRig(t, nil)
	_, text := pathRequest(r, func(text string) bool { return !strings.Contains(text, "/M") })
	targets := map[string]string{}
	for _, garbage := range []string{"A", "AA", "AAA", "AAAA", "=", "==", "M", "MM", "MAA", ".", "~"} {
		targets[garbage] = "/ocsp/" + garbage + text
		targets[garbage+" escaped"] = "/ocsp/" + url.QueryEscape(garbage+text)
	}
	pathMalformed(r, targets)
}

// A mount may look like the head of a request that would be as long as the path's rest.
func TestMountThatLooksLikeARequest(t *testing.T) {
	r := newRig(t, nil)
	for octets := 1; octets <= 20; octets++ {
		serial := new(big.Int).Lsh(big.NewInt(0x5a), uint(8*(octets-1)))
		r.store.Set(r.ca.ID, serial, ocsp.Record{State: ocsp.Active})
		der := r.request(&x509.Certificate{SerialNumber: serial})
		for size := byte(0x40); size < 0x60; size++ {
			head := base64.StdEncoding.EncodeToString([]byte{0x30, size, 0x30})
			for _, prefix := range []string{"/" + head + "/", "/" + head + "/M/", "/" + head + "/MEww/"} {
				r.requireAnswer(pathGet(r, prefix+base64.StdEncoding.EncodeToString(der), der), xocsp.Good)
			}
		}
	}
}
