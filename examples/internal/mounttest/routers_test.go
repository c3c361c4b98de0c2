package mounttest

import (
	"crypto/subtle"
	"net/http"
	"testing"

	"github.com/gorilla/mux"
	"github.com/julienschmidt/httprouter"
	"github.com/labstack/echo/v5"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// routers are those that have no example of their own. Each has the path with and without the slash at its end.
var routers = map[string]func(h http.Handler) http.Handler{
	"echo": func(h http.Handler) http.Handler {
		router := echo.New()
		router.Any("/ocsp", echo.WrapHandler(h))
		router.Any("/ocsp/*", echo.WrapHandler(h))
		return router
	},
	"httprouter": func(h http.Handler) http.Handler {
		router := httprouter.New()
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			router.Handler(method, "/ocsp", h)
			router.Handler(method, "/ocsp/*request", h)
		}
		return router
	},
	"gorilla, SkipClean": func(h http.Handler) http.Handler {
		router := mux.NewRouter().SkipClean(true)
		router.PathPrefix("/ocsp").Handler(h)
		return router
	},
	"gorilla, Mount": func(h http.Handler) http.Handler { return ocsp.Mount("/ocsp", h, mux.NewRouter()) },
}

// mounted makes an example of a router.
func mounted(router func(http.Handler) http.Handler) NewHandler {
	return func(responder *ocsp.Responder, token string) http.Handler {
		handler := responder.Handler()
		return router(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+token)) != 1 {
				http.Error(w, "unauthorized", http.StatusUnauthorized)
				return
			}
			handler.ServeHTTP(w, r)
		}))
	}
}

func TestRouters(t *testing.T) {
	for name, router := range routers {
		t.Run(name, func(t *testing.T) {
			Run(t, mounted(router))
			Conformance(t, mounted(router))
		})
	}
}

// TestGorillaCleans is why gorilla/mux needs SkipClean or Mount: by itself it redirects what has two slashes in a row, be
// they escaped or not. Who follows gets no other certificate's answer, which is case T35.
func TestGorillaCleans(t *testing.T) {
	results, err := ocsptest.Conformance(t.Context(), newTarget(t, mounted(func(h http.Handler) http.Handler {
		router := mux.NewRouter()
		router.PathPrefix("/ocsp").Handler(h)
		return router
	})))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]ocsptest.Verdict{"T34": ocsptest.NotApplicable, "T35": ocsptest.Passed, "T36": ocsptest.Failed}
	for _, result := range results {
		verdict, ok := want[result.ID]
		if ok && result.Verdict != verdict || !ok && result.Verdict == ocsptest.Failed {
			t.Error(result)
		}
	}
}
