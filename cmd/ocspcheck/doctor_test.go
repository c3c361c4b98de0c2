package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

func (s *scene) doctor(t *testing.T, args ...string) (code int, d diagnosis, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = runDoctor(context.Background(), append([]string{"-issuer", s.issuer, "-cert", s.good, "-json", "-header", authorization}, args...), &out, &errs)
	if out.Len() > 0 {
		require.NoError(t, json.Unmarshal(out.Bytes(), &d), "%s", out.Bytes())
	}
	return code, d, errs.String()
}

// problems returns the checks that each fault breaks.
func (report *diagnosis) problems() map[fault][]string {
	all := map[fault][]string{}
	for _, p := range report.Problems {
		all[p.Fault] = append(all[p.Fault], p.Checks...)
	}
	return all
}

type hop func(http.Handler) http.Handler

// rewriting is a hop that changes the path as it was sent.
func rewriting(change func(path string) string) hop {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			u, err := url.ParseRequestURI(change(req.URL.EscapedPath()))
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			changed := req.Clone(req.Context())
			changed.URL = u
			next.ServeHTTP(w, changed)
		})
	}
}

// answering is a hop that gives some requests an answer of its own.
func answering(which func(*http.Request) bool, own http.HandlerFunc) hop {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if which(req) {
				own(w, req)
				return
			}
			next.ServeHTTP(w, req)
		})
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func inPath(part string) func(*http.Request) bool {
	return func(req *http.Request) bool { return strings.Contains(req.URL.EscapedPath(), part) }
}

func method(name string) func(*http.Request) bool {
	return func(req *http.Request) bool { return req.Method == name }
}

func all(*http.Request) bool { return true }

func escapeAgain(p string) string { return strings.ReplaceAll(p, "%2", "%252") }

// fussy is a responder that repairs nothing.
func fussy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		text := strings.TrimPrefix(req.URL.Path, "/ocsp/")
		der, err := base64.StdEncoding.DecodeString(text)
		if req.Method == http.MethodGet && (err != nil || len(der) < 2 || der[0] != 0x30) {
			malformed(w, req)
			return
		}
		next.ServeHTTP(w, req)
	})
}

func malformed(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/ocsp-response")
	_, _ = w.Write([]byte("\x30\x03\x0a\x01\x01"))
}

var slashRuns = regexp.MustCompile("//+")

func merge(path string) string { return slashRuns.ReplaceAllString(path, "/") }

func decode(path string) string {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return path
	}
	return decoded
}

// recorded is a hop that changes replies.
func recorded(change func(*http.Request, *httptest.ResponseRecorder)) hop {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, req)
			change(req, rec)
			maps.Copy(w.Header(), rec.Header())
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes())
		})
	}
}

// storing is a cache that asks nobody whether it may.
func storing(which func(*http.Request) bool, age string) hop {
	stored := map[string]*httptest.ResponseRecorder{}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			rec := stored[req.Method+req.URL.Path]
			if rec == nil || !which(req) {
				rec = httptest.NewRecorder()
				next.ServeHTTP(rec, req)
				stored[req.Method+req.URL.Path] = rec
			} else {
				w.Header().Set("Age", age)
			}
			maps.Copy(w.Header(), rec.Header())
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes())
		})
	}
}

func compress(req *http.Request, rec *httptest.ResponseRecorder) {
	if !strings.Contains(req.Header.Get("Accept-Encoding"), "gzip") {
		return
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(rec.Body.Bytes())
	_ = z.Close()
	rec.Body = &b
	rec.Header().Set("Content-Encoding", "gzip")
	rec.Header().Del("Content-Length")
}

// largePost reports whether a body is longer than 4 KiB.
func largePost(req *http.Request) bool { return req.ContentLength > 4096 }

// Each hop has one fault, which the doctor names with the checks that it breaks.
func TestDoctorFaults(t *testing.T) {
	mux := func(next http.Handler) http.Handler {
		m := http.NewServeMux()
		m.Handle("/ocsp", next)
		m.Handle("/ocsp/", next)
		return m
	}
	found := map[fault]bool{}
	for name, test := range map[string]struct {
		hops []hop // the last is the nearest to the responder
		code int
		want map[fault][]string
	}{
		"nothing":         {nil, exitPassed, nil},
		"nothing, fussy":  {[]hop{fussy}, exitPassed, map[fault][]string{faultLeading: {"leading-slash"}}},
		"merges":          {[]hop{rewriting(merge)}, exitPassed, map[fault][]string{faultMerged: {"slash-run"}}},
		"merges, fussy":   {[]hop{rewriting(merge), fussy}, exitFailed, map[fault][]string{faultMerged: {"slashes", "slash-run"}}},
		"decodes, merges": {[]hop{rewriting(func(p string) string { return merge(decode(p)) })}, exitPassed, map[fault][]string{faultMerged: {"slash-run"}, faultEscapedMerged: {"escaped-slash-run"}}},
		"decodes, merges, fussy": {[]hop{rewriting(func(p string) string { return merge(decode(p)) }), fussy}, exitFailed,
			map[fault][]string{faultMerged: {"slashes", "slash-run"}, faultEscapedMerged: {"escaped-slashes", "escaped-slash-run"}}},
		"decodes":       {[]hop{rewriting(decode)}, exitPassed, nil},
		"escapes again": {[]hop{rewriting(escapeAgain)}, exitPassed, nil}, // which the responder undoes
		"escapes again, fussy": {[]hop{rewriting(escapeAgain), fussy}, exitFailed, map[fault][]string{faultLeading: {"leading-slash"},
			faultEscapedAgain: {"get", "slash", "plus", "padding", "escaped-slash", "escaped-plus", "lower-case", "escaped-slashes", "escaped-slash-run"}}},
		"ServeMux":                {[]hop{mux}, exitFailed, map[fault][]string{faultRedirectClean: {"slashes", "slash-run", "leading-slash"}}},
		"refuses //":              {[]hop{answering(inPath("//"), status(404))}, exitFailed, map[fault][]string{faultSlashesRefused: {"slashes", "slash-run", "leading-slash"}}},
		"refuses // at the front": {[]hop{answering(inPath("/ocsp//"), status(400))}, exitPassed, map[fault][]string{faultLeading: {"leading-slash"}}},
		"aborts at /":             {[]hop{answering(inPath("//"), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })}, exitFailed, map[fault][]string{faultNoAnswer: {"slashes", "slash-run", "leading-slash"}}},
		"refuses %2F": {[]hop{answering(func(req *http.Request) bool { return inPath("%2F")(req) || inPath("%2f")(req) }, status(404))}, exitFailed,
			map[fault][]string{faultEscapedRefused: {"get", "plus", "padding", "escaped-slash", "lower-case", "escaped-slashes", "escaped-slash-run"}}},
		"form": {[]hop{rewriting(func(p string) string { return strings.ReplaceAll(p, "+", "%20") }), fussy}, exitFailed,
			map[fault][]string{faultLeading: {"leading-slash"}, faultLetters: {"bare", "plus", "escaped-slash", "escaped-padding", "slashes", "slash-run", "slash-end"}}},
		"https": {[]hop{answering(all, func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "https://"+req.Host+req.URL.EscapedPath(), http.StatusMovedPermanently)
		})}, exitFailed, map[fault][]string{faultRedirectHTTPS: nil}},
		"426": {[]hop{answering(all, status(426))}, exitFailed, map[fault][]string{faultRedirectHTTPS: nil}},
		"404": {[]hop{answering(all, status(404))}, exitFailed, map[fault][]string{faultRefused: nil}},
		"slash at the end": {[]hop{answering(method("POST"), func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, req.URL.Path+"/", http.StatusMovedPermanently)
		})}, exitFailed, map[fault][]string{faultRedirect: {"post", "post-http10", "post-no-host", "post-no-type", "post-chunked", "post-expect", "post-1k", "post-8k", "post-again"}}},
		"255 octets": {[]hop{answering(func(req *http.Request) bool { return len(req.URL.EscapedPath()) > 300 }, status(414))}, exitPassed, map[fault][]string{faultTooLong: {"long", "longer"}}},
		"cut short":  {[]hop{rewriting(func(p string) string { return p[:min(len(p), 300)] })}, exitPassed, map[fault][]string{faultChanged: {"long", "longer"}}},
		"no HEAD":    {[]hop{answering(method("HEAD"), status(405))}, exitFailed, map[fault][]string{faultMethod: {"head"}}},
		"HEAD 401":   {[]hop{answering(method("HEAD"), status(401))}, exitFailed, map[fault][]string{faultAccess: {"head"}}},
		"no 1.0":     {[]hop{answering(func(req *http.Request) bool { return req.ProtoMinor == 0 && req.Host != "" }, status(426))}, exitPassed, map[fault][]string{faultVersion: {"get-http10", "post-http10"}}},
		"Host":       {[]hop{answering(func(req *http.Request) bool { return req.Host == "" }, status(404))}, exitPassed, map[fault][]string{faultHost: {"post-no-host"}}},
		"type":       {[]hop{answering(func(req *http.Request) bool { return req.Method == "POST" && req.Header.Get("Content-Type") == "" }, status(415))}, exitPassed, map[fault][]string{faultType: {"post-no-type"}}},
		"chunks":     {[]hop{answering(func(req *http.Request) bool { return len(req.TransferEncoding) > 0 }, status(411))}, exitFailed, map[fault][]string{faultChunks: {"post-chunked"}}},
		"chunks lost": {[]hop{answering(func(req *http.Request) bool { return len(req.TransferEncoding) > 0 }, malformed)}, exitFailed, map[fault][]string{
			faultOCSP: {"post-chunked"}}},
		"Expect": {[]hop{answering(func(req *http.Request) bool { return req.Header.Get("Expect") != "" }, status(417))}, exitPassed, map[fault][]string{faultExpect: {"post-expect"}}},
		"bodies": {[]hop{answering(largePost, status(413))}, exitPassed, map[fault][]string{faultBodyTooLarge: {"post-8k"}}},
		"502":    {[]hop{answering(largePost, status(502))}, exitPassed, map[fault][]string{faultGateway: {"post-8k"}}},
		"query":  {[]hop{answering(func(req *http.Request) bool { return req.URL.RawQuery != "" }, status(500))}, exitPassed, map[fault][]string{faultRefused: {"query"}}},
		"page": {[]hop{answering(method("POST"), func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<title>Log in</title>")
		})}, exitFailed, map[fault][]string{faultNotOCSP: {"post", "post-http10", "post-no-host", "post-no-type", "post-chunked", "post-expect", "post-1k", "post-8k", "post-again"}}},
		"gzip": {[]hop{recorded(compress)}, exitFailed, map[fault][]string{faultEncoded: {"gzip"}}},
		"headers": {[]hop{recorded(func(_ *http.Request, rec *httptest.ResponseRecorder) { rec.Header().Set("Cache-Control", "private") })}, exitFailed,
			map[fault][]string{faultHeaders: {"cache-headers"}}},
		"stale": {[]hop{recorded(func(_ *http.Request, rec *httptest.ResponseRecorder) { rec.Header().Set("Age", "99999999") })}, exitFailed,
			map[fault][]string{faultStored: {"fresh"}}},
		"stores nonces": {[]hop{storing(method("GET"), "7")}, exitFailed, map[fault][]string{faultStored: {"nonce-stored"}}},
		"stores POST": {[]hop{storing(method("POST"), "7")}, exitFailed, map[fault][]string{
			faultStored: {"post-http10", "post-no-host", "post-no-type", "post-chunked", "post-expect", "post-1k", "post-8k", "post-again"}}},
		"spoils": {[]hop{recorded(func(req *http.Request, rec *httptest.ResponseRecorder) {
			if req.URL.RawQuery != "" {
				rec.Body.Bytes()[rec.Body.Len()-1] ^= 1
			}
		})}, exitPassed, map[fault][]string{faultOther: {"query"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			var chain http.Handler
			s.wrap = func(h http.Handler) http.Handler {
				if chain == nil {
					chain = h
					for _, hop := range slices.Backward(test.hops) {
						chain = hop(chain)
					}
				}
				return chain
			}
			code, d, stderr := s.doctor(t)
			require.Empty(t, stderr)
			got := d.problems()
			for f, checks := range test.want {
				if checks == nil {
					assert.NotEmpty(t, got[f])
					got[f] = nil
				}
			}
			if test.want == nil {
				test.want = map[fault][]string{}
			}
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.code, code)
			for f := range got {
				found[f] = true
				assert.NotEmpty(t, faults[f].title, f)
				assert.NotEmpty(t, faults[f].cause, f)
			}
		})
	}
	for f := range faults {
		if f == faultGone { // see TestDoctorGone
			continue
		}
		assert.True(t, found[f], "no hop has the fault %s", f)
	}
}

// With the responder's own URL the doctor tells whose fault it is.
func TestDoctorDirect(t *testing.T) {
	s := newScene(t)
	proxy := httptest.NewServer(rewriting(merge)(fussy(s.server.Config.Handler)))
	defer proxy.Close()

	code, d, stderr := s.doctor(t, "-direct", s.server.URL+"/ocsp", proxy.URL+"/ocsp")
	require.Empty(t, stderr)
	assert.Equal(t, exitFailed, code)
	require.Len(t, d.Problems, 1)
	assert.Equal(t, faultMerged, d.Problems[0].Fault)
	assert.True(t, d.Problems[0].Normative)
	assert.False(t, d.Problems[0].Repaired)
	assert.Equal(t, "before the responder, which answers this at "+s.server.URL+"/ocsp", d.Problems[0].Where)

	_, d, _ = s.doctor(t, "-direct", proxy.URL+"/ocsp", proxy.URL+"/ocsp")
	require.Len(t, d.Problems, 1)
	assert.Equal(t, "the responder: the same comes back from "+proxy.URL+"/ocsp", d.Problems[0].Where)
}

// A responder that undoes what a hop does leaves nothing broken, and the fault is told all the same, with the
// settings of the products that showed themselves.
func TestDoctorRepaired(t *testing.T) {
	s := newScene(t)
	s.wrap = func(h http.Handler) http.Handler {
		return recorded(func(_ *http.Request, rec *httptest.ResponseRecorder) { rec.Header().Set("Server", "nginx/1.22.1") })(rewriting(merge)(h))
	}
	code, d, _ := s.doctor(t)
	assert.Equal(t, exitPassed, code)
	require.Len(t, d.Problems, 1)
	p := d.Problems[0]
	assert.True(t, p.Repaired)
	assert.False(t, p.Normative)
	assert.Equal(t, []string{"nginx (Server: nginx/1.22.1)"}, d.Seen)
	assert.Equal(t, []cure{{Proxy: nginx, Setting: nginxPath, Seen: true}}, p.Cures)
	assert.Contains(t, p.Where, "nginx is on the way")

	var out bytes.Buffer
	require.NoError(t, d.writeText(&out))
	assert.Contains(t, out.String(), "repaired normative slash-run ")
	assert.Contains(t, out.String(), "Problem 1: several slashes in a row become one (repaired by the responder, as far as it can)")
	assert.Contains(t, out.String(), "  cure, nginx: proxy_pass without a path")
	assert.Contains(t, out.String(), "0 broken (0 normative, 0 decided), 1 repaired")
}

// Each product is recognized by what it says of itself, and then its cures are told, and nobody else's.
func TestDoctorNamesProducts(t *testing.T) {
	for name, test := range map[string]struct {
		header, value string
		cures         []string
	}{
		"nginx":     {"Server", "nginx/1.22.1", []string{nginx}},
		"openresty": {"Server", "openresty", []string{nginx}},
		"Apache":    {"Server", "Apache/2.4.62 (Debian)", []string{apache}},
		"HAProxy":   {"Via", "1.1 haproxy", []string{haproxy}},
		"Envoy":     {"Server", "envoy", []string{envoy}},
		"a mesh":    {"X-Envoy-Upstream-Service-Time", "2", []string{envoy}},
		"Traefik":   {"Server", "Traefik", []string{traefik}},
		"Kong":      {"Via", "1.1 kong/3.9.1", []string{kong}},
		"Kong, old": {"X-Kong-Proxy-Latency", "1", []string{kong}},
		"a chain":   {"Via", "1.1 kong/3.9.1, 1.1 haproxy", []string{haproxy, kong}},
		"silence":   {"X-Nothing", "", []string{nginx, apache, haproxy, envoy, traefik, kong, goMux}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.wrap = func(h http.Handler) http.Handler {
				return recorded(func(_ *http.Request, rec *httptest.ResponseRecorder) { rec.Header().Set(test.header, test.value) })(rewriting(merge)(fussy(h)))
			}
			_, d, stderr := s.doctor(t)
			require.Empty(t, stderr)
			i := slices.IndexFunc(d.Problems, func(p diagnosed) bool { return p.Fault == faultMerged })
			require.GreaterOrEqual(t, i, 0)
			var named []string
			for _, c := range d.Problems[i].Cures {
				named = append(named, c.Proxy)
				assert.Equal(t, name != "silence", c.Seen)
				assert.NotEmpty(t, c.Setting)
			}
			assert.Equal(t, test.cures, named)
		})
	}
}

// Middleware that compresses shows itself nowhere, so its cure is named beside those of the products that do.
func TestDoctorNamesCompressingMiddleware(t *testing.T) {
	for server, want := range map[string][]string{
		"":             {nginx, apache, haproxy, traefik, envoy, goMux},
		"nginx/1.22.1": {nginx, goMux},
	} {
		t.Run(server, func(t *testing.T) {
			s := newScene(t)
			s.wrap = func(h http.Handler) http.Handler {
				return recorded(func(req *http.Request, rec *httptest.ResponseRecorder) {
					compress(req, rec)
					if server != "" {
						rec.Header().Set("Server", server)
					}
				})(h)
			}
			code, d, stderr := s.doctor(t)
			require.Empty(t, stderr)
			assert.Equal(t, exitFailed, code)
			require.Len(t, d.Problems, 1)
			p := d.Problems[0]
			assert.Equal(t, faultEncoded, p.Fault)
			assert.True(t, p.Normative)
			assert.Contains(t, p.Cause, "middleware")
			assert.Equal(t, "a body encoded with gzip", p.Got)
			var named []string
			for _, c := range p.Cures {
				named = append(named, c.Proxy)
				assert.Equal(t, c.Proxy == nginx && server != "", c.Seen)
			}
			assert.Equal(t, want, named)
			assert.Contains(t, p.Cures[len(p.Cures)-1].Setting, "ocsp.Mount before the router and its middleware")
		})
	}
}

// Traefik names itself nowhere, and its error pages are those of every Go server.
func TestDoctorGoMayBeTraefik(t *testing.T) {
	s := newScene(t)
	s.wrap = func(h http.Handler) http.Handler {
		return answering(func(req *http.Request) bool { return req.URL.RawQuery != "" }, http.NotFound)(rewriting(merge)(h))
	}
	_, d, _ := s.doctor(t)
	i := slices.IndexFunc(d.Problems, func(p diagnosed) bool { return p.Fault == faultMerged })
	require.GreaterOrEqual(t, i, 0)
	var named []string
	for _, c := range d.Problems[i].Cures {
		named = append(named, c.Proxy)
		assert.Equal(t, c.Proxy == goMux, c.Seen)
	}
	assert.Equal(t, []string{traefik, goMux}, named)
	assert.Equal(t, []string{"Go (its error page)"}, d.Seen)
}

// A server that ends on the way is not taken for one that refuses.
func TestDoctorGone(t *testing.T) {
	s := newScene(t)
	s.wrap = func(h http.Handler) http.Handler {
		return answering(method("HEAD"), func(http.ResponseWriter, *http.Request) { _ = s.server.Listener.Close() })(h)
	}
	code, d, _ := s.doctor(t)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, d.problems()[faultGone], "post-chunked")
	var out bytes.Buffer
	require.NoError(t, d.writeText(&out))
	assert.Contains(t, out.String(), "\n  cure: see its log")
}

func TestDoctorNotes(t *testing.T) {
	s := newScene(t)
	s.wrap = func(h http.Handler) http.Handler { return rewriting(decode)(h) }
	code, d, _ := s.doctor(t)
	assert.Equal(t, exitPassed, code)
	assert.Equal(t, 1, d.Counts.Notes, "what is encoded twice is answered")
}

// x/crypto/ocsp reads an answer signed by Ed25519 without verifying it.
func TestDoctorVerifies(t *testing.T) {
	ca, store := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519}), ocsptest.NewStore()
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, responder.Close()) })
	cert := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, cert)
	a, err := newAsker(ca.Certificate, cert)
	require.NoError(t, err)
	req := a.plain()
	result, err := ocsptest.Client{Handler: responder.Handler()}.Send(t.Context(), req.der)
	require.NoError(t, err)
	ex := &exchange{method: http.MethodPost, status: result.StatusCode, header: result.Header, body: result.DER}
	require.Nil(t, a.judge(ex, req))
	ex.body = bytes.Clone(ex.body)
	ex.body[len(ex.body)-1] ^= 1
	p := a.judge(ex, req)
	require.NotNil(t, p)
	assert.Contains(t, p.words, "the signature does not verify")
}

func TestDoctorUsage(t *testing.T) {
	s := newScene(t)
	for want, args := range map[string][]string{
		"no contact with":                {"http://127.0.0.1:1/ocsp"},
		"want 'Name: value'":             {"-header", "nonsense"},
		"one URL at the most":            {"http://a.test/", "http://b.test/"},
		"is not an http or https URL":    {"ftp://a.test/"},
		"-direct: ":                      {"-direct", "/ocsp"},
		"no such file":                   {"-cert", "missing.pem"},
		"has not issued the certificate": {"-issuer", s.good},
		"give a URL":                     {"-cert", s.revoked},
		"deadline exceeded":              {"-timeout", "1ns"},
	} {
		code, _, stderr := s.doctor(t, args...)
		assert.Equal(t, exitUsage, code, want)
		assert.Contains(t, stderr, want)
	}
	var out, errs bytes.Buffer
	assert.Equal(t, exitUsage, run(context.Background(), []string{"doctor", "-issuer", s.issuer, "-cert", s.good}, &out, &errs))
	assert.Contains(t, errs.String(), "give the credentials it wants")
	errs.Reset()
	assert.Equal(t, exitPassed, run(context.Background(), []string{"doctor", "-h"}, &out, &errs))
	assert.Contains(t, errs.String(), "usage: ocspcheck doctor")
	s.wrap = func(http.Handler) http.Handler { return http.HandlerFunc(malformed) }
	_, _, stderr := s.doctor(t)
	assert.Contains(t, stderr, "give a -cert that it knows")
}
