package mounttest

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	gingzip "github.com/gin-contrib/gzip"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"
	fibercompress "github.com/gofiber/fiber/v3/middleware/compress"
	"github.com/gorilla/handlers"
	"github.com/klauspost/compress/gzhttp"
	"github.com/labstack/echo/v5"
	echomiddleware "github.com/labstack/echo/v5/middleware"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// What becomes of an answer, for a client that sends Accept-Encoding: gzip.
const (
	asItIs     = "as it is"
	compressed = "compressed"
	spoilt     = "spoilt" // the body is not what Content-Encoding says
)

// compressor is middleware that compresses, around a router with the responder.
type compressor struct {
	everything func(h http.Handler) http.Handler // as its documentation starts
	except     func(h http.Handler) http.Handler // with OCSP left out
	answers    string
	identity   string // what becomes of answers that have "Content-Encoding: identity"
	noGzip     string // and of those that have gzhttp's "No-Gzip-Compression"
}

// compressors is docs/PROXIES.md's table.
var compressors = map[string]compressor{
	"gin-contrib/gzip": {
		withGin(gingzip.Gzip(gingzip.DefaultCompression)),
		withGin(gingzip.Gzip(gingzip.DefaultCompression, gingzip.WithExcludedPaths([]string{"/ocsp"}))),
		compressed, spoilt, compressed,
	},
	"chi Compress": {
		withChi(chimiddleware.Compress(5)), withChi(chimiddleware.Compress(5, "text/*")), asItIs, asItIs, asItIs,
	},
	"chi Compress, application/*": {
		withChi(chimiddleware.Compress(5, "application/*")), withChi(chimiddleware.Compress(5, "application/json")),
		compressed, asItIs, compressed,
	},
	"echo Gzip": {
		withEcho(echomiddleware.Gzip()),
		withEcho(echomiddleware.GzipWithConfig(echomiddleware.GzipConfig{Skipper: func(c *echo.Context) bool {
			return strings.HasPrefix(c.Request().URL.Path, "/ocsp")
		}})),
		compressed, compressed, compressed,
	},
	"gorilla/handlers": {
		func(h http.Handler) http.Handler { return handlers.CompressHandler(h) },
		func(h http.Handler) http.Handler {
			return ocsp.Mount("/ocsp", h, handlers.CompressHandler(http.NotFoundHandler()))
		},
		compressed, spoilt, compressed,
	},
	"gzhttp": {
		func(h http.Handler) http.Handler { return gzhttp.GzipHandler(h) },
		func(h http.Handler) http.Handler {
			wrap, err := gzhttp.NewWrapper(gzhttp.ExceptContentTypes([]string{"application/ocsp-response"}))
			if err != nil {
				panic(err)
			}
			return wrap(h)
		},
		compressed, asItIs, asItIs,
	},
	"fiber v3": {
		withFiber(fibercompress.New()),
		withFiber(fibercompress.New(fibercompress.Config{Next: func(c fiber.Ctx) bool { return strings.HasPrefix(c.Path(), "/ocsp") }})),
		asItIs, asItIs, asItIs, // it alone goes by no-transform
	},
}

func withGin(middleware gin.HandlerFunc) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		router := gin.New()
		router.Use(middleware)
		router.Any("/ocsp", gin.WrapH(h))
		router.Any("/ocsp/*request", gin.WrapH(h))
		return router
	}
}

func withChi(middleware func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		router := chi.NewRouter()
		router.Use(middleware)
		router.Mount("/ocsp", h)
		return router
	}
}

func withEcho(middleware echo.MiddlewareFunc) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		router := echo.New()
		router.Use(middleware)
		router.Any("/ocsp", echo.WrapHandler(h))
		router.Any("/ocsp/*", echo.WrapHandler(h))
		return router
	}
}

func withFiber(middleware fiber.Handler) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		app := fiber.New()
		app.Use(middleware)
		app.All("/ocsp", adaptor.HTTPHandler(h))
		app.All("/ocsp/*", adaptor.HTTPHandler(h))
		return adaptor.FiberApp(app)
	}
}

// TestCompressingMiddleware is docs/PROXIES.md about middleware that compresses. Clients that do not send
// Accept-Encoding, as most do not, get the answer as it is from all of them. So does everybody with the middleware's own
// exception for OCSP, and with Mount before it. No header that the responder could send helps with all.
func TestCompressingMiddleware(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	// An RSA delegate's answer is longer than 1,024 octets, from which on gzhttp compresses.
	ca, store := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.RSA2048}), ocsptest.NewStore()
	cert := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, cert)
	issuer := ca.Issuer()
	issuer.ResponderCertificate, issuer.Signer = ca.Delegate(ocsptest.Options{Key: ocsptest.RSA2048})
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = responder.Close() })

	plain := &http.Transport{DisableCompression: true} // sends no Accept-Encoding by itself
	t.Cleanup(plain.CloseIdleConnections)
	// outcome asks about the certificate by GET, with Accept-Encoding: gzip, and requires that the answer says good.
	outcome := func(t *testing.T, serverURL string) string {
		t.Helper()
		der := ocsptest.Client{}.Request(ca.Certificate, cert)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, serverURL+"/ocsp/"+url.PathEscape(base64.StdEncoding.EncodeToString(der)), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", "gzip")
		res, err := plain.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("status %d, error %v", res.StatusCode, err)
		}
		result := asItIs
		if res.Header.Get("Content-Encoding") == "gzip" {
			result = compressed
			unzip, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(unzip); err != nil {
				t.Fatal(err)
			}
		}
		if answer, err := xocsp.ParseResponseForCert(body, cert, ca.Certificate); err != nil || answer.Status != xocsp.Good {
			return spoilt
		}
		return result
	}
	serve := func(t *testing.T, h http.Handler) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return server.URL
	}

	for name, c := range compressors {
		t.Run(name, func(t *testing.T) {
			handler := responder.Handler()
			everything := serve(t, c.everything(handler))
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				client := ocsptest.Client{URL: everything + "/ocsp", Method: method, HTTP: &http.Client{Transport: plain}}
				result, err := client.Query(t.Context(), ca.Certificate, cert)
				if err != nil {
					t.Fatalf("%s without Accept-Encoding: %v", method, err)
				}
				if got := result.Responses[0].Status; got != xocsp.Good || result.Header.Get("Content-Encoding") != "" {
					t.Errorf("%s without Accept-Encoding: status %d, Content-Encoding %q", method, got, result.Header.Get("Content-Encoding"))
				}
			}
			for what, test := range map[string]struct {
				want    string
				handler http.Handler
			}{
				"by default":                 {c.answers, c.everything(handler)},
				"OCSP excepted":              {asItIs, c.except(handler)},
				"Mount before it":            {asItIs, ocsp.Mount("/ocsp", handler, c.everything(handler))},
				"Content-Encoding: identity": {c.identity, c.everything(adding("Content-Encoding", "identity", handler))},
				"No-Gzip-Compression":        {c.noGzip, c.everything(adding(gzhttp.HeaderNoCompression, "1", handler))},
			} {
				if got := outcome(t, serve(t, test.handler)); got != test.want {
					t.Errorf("%s: the answer comes %s, not %s", what, got, test.want)
				}
			}
		})
	}
}

// adding adds a header field to the answers of a handler.
func adding(name, value string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(name, value)
		next.ServeHTTP(w, r)
	})
}
