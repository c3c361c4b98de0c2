package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/api"
	"github.com/kmsocsp/ocsp/examples/kms/internal/cli"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/page"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// browser is a client of the page that keeps cookies and follows no redirect.
type browser struct {
	*testing.T
	url   string
	http  *http.Client
	clock *ocsptest.Clock
	page  *page.Page
}

// newBrowser serves the page of a KMS, by a clock that stands still.
func newBrowser(t *testing.T, k *kms) *browser {
	t.Helper()
	clock := ocsptest.NewClock(time.Now())
	p := k.newPage(k.handler(), clock.Now)
	router := chi.NewRouter()
	p.Routes(router)
	server := httptest.NewServer(router)
	t.Cleanup(server.Close)
	b := &browser{T: t, url: server.URL, clock: clock, page: p}
	b.http = b.another()
	return b
}

// another returns a client without cookies.
func (b *browser) another() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// do sends a request, with headers given as names and values, and returns the response with the
// body read.
func (b *browser) do(method, path string, form url.Values, header ...string) (*http.Response, string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), method, b.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	res, err := b.http.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	return res, string(text)
}

// get returns a page, which must be there.
func (b *browser) get(path string) string {
	b.Helper()
	res, text := b.do(http.MethodGet, path, nil)
	if res.StatusCode != http.StatusOK {
		b.Fatalf("GET %s: %d to %q, want 200", path, res.StatusCode, res.Header.Get("Location"))
	}
	return text
}

// post sends a form, which must be accepted, and returns where that leads.
func (b *browser) post(path string, form url.Values) string {
	b.Helper()
	res, text := b.do(http.MethodPost, path, form)
	if res.StatusCode != http.StatusSeeOther {
		b.Fatalf("POST %s: %d, want 303\n%s", path, res.StatusCode, text)
	}
	return res.Header.Get("Location")
}

func (b *browser) logIn() {
	b.Helper()
	if to := b.post("/login", url.Values{"token": {b.page.Token}}); to != "/" {
		b.Fatalf("logging in leads to %q", to)
	}
}

func (b *browser) holds(text string, wants ...string) {
	b.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			b.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
}

// routesOf lists the page's routes, with a certificate's uid in them.
func (b *browser) routesOf(uid string) (methods, paths []string) {
	b.Helper()
	router := chi.NewRouter()
	b.page.Routes(router)
	err := chi.Walk(router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		methods, paths = append(methods, method), append(paths, strings.ReplaceAll(route, "{uid}", uid))
		return nil
	})
	if err != nil || len(paths) < 12 {
		b.Fatalf("%d routes, error %v", len(paths), err)
	}
	return methods, paths
}

// publicPath matches the paths that need no session.
var publicPath = regexp.MustCompile(`^/login$|^/page/`)

func TestPageNeedsSession(t *testing.T) {
	k := newKMS(t, nil)
	b := newBrowser(t, k)
	uid := first(t, k).UID
	methods, paths := b.routesOf(uid)
	form := url.Values{"name": {"web"}, "reason": {"superseded"}}
	for i, path := range paths {
		for _, header := range [][]string{
			nil,
			{"Cookie", page.SessionCookie + "="},
			{"Cookie", page.SessionCookie + "=" + k.cfg.Server.Token},
			{"Authorization", "Bearer " + k.cfg.Server.Token}, // is for the API
		} {
			res, text := b.do(methods[i], path, form, header...)
			if publicPath.MatchString(path) {
				continue
			}
			if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/login" || strings.Contains(text, uid) {
				t.Errorf("%s %s with %q: %d to %q", methods[i], path, header, res.StatusCode, res.Header.Get("Location"))
			}
		}
	}
	if o := first(t, k); o.State != ocsp.Active {
		t.Errorf("the certificate is %v", o.State)
	}
}

func TestPageRefusesCrossOrigin(t *testing.T) {
	k := newKMS(t, nil)
	b := newBrowser(t, k)
	b.logIn()
	uid := first(t, k).UID
	methods, paths := b.routesOf(uid)
	form := url.Values{"name": {"web"}, "reason": {"superseded"}, "token": {k.cfg.Server.Token}}
	for i, path := range paths {
		for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "http://evil.example"}, {"Origin", "null"}} {
			if methods[i] != http.MethodPost {
				continue
			}
			if res, _ := b.do(http.MethodPost, path, form, header...); res.StatusCode != http.StatusForbidden || len(res.Cookies()) > 0 {
				t.Errorf("POST %s with %q: %d, want 403", path, header, res.StatusCode)
			}
		}
	}
	if o := first(t, k); o.State != ocsp.Active {
		t.Errorf("the certificate is %v", o.State)
	}
	b.get("/") // is still logged in
}

func TestPageHeaders(t *testing.T) {
	k := newKMS(t, nil)
	b := newBrowser(t, k)
	b.logIn()
	methods, paths := b.routesOf(first(t, k).UID)
	for i, path := range paths {
		if methods[i] != http.MethodGet {
			continue
		}
		res, text := b.do(http.MethodGet, path, nil)
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if !strings.Contains(res.Header.Get(name), want) {
				t.Errorf("%s: %s: %q, want %q", path, name, res.Header.Get(name), want)
			}
		}
		// What the policy would block must not be there: inline styles and scripts, and other
		// hosts.
		if bad := regexp.MustCompile(`style=|<style|<script>| on[a-z]+=|(src|href|action)="(https?:)?//`).FindString(text); bad != "" && strings.HasPrefix(text, "<!doctype") {
			t.Errorf("%s has %q", path, bad)
		}
	}
}

func TestPageLogin(t *testing.T) {
	var logs bytes.Buffer
	k := newKMS(t, nil)
	k.logger = slog.New(slog.NewTextHandler(&logs, nil))
	b := newBrowser(t, k)
	token := k.cfg.Server.Token
	var refusal string
	for _, wrong := range []string{"", "wrong", token + "x", token[1:], strings.ToLower(token), strings.Repeat("x", 10000)} {
		res, text := b.do(http.MethodPost, "/login", url.Values{"token": {wrong}})
		if refusal == "" {
			refusal = text
		}
		if res.StatusCode != http.StatusForbidden || text != refusal || len(res.Cookies()) > 0 {
			t.Errorf("token %.40q: %d, %d cookies; want 403, and the same for all", wrong, res.StatusCode, len(res.Cookies()))
		}
	}
	b.holds(refusal, `role="alert"`, `aria-invalid="true"`, "That is not the token.")
	if res, _ := b.do(http.MethodPost, "/login", url.Values{"a": {strings.Repeat("x", api.MaxBody)}, "token": {token}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("a large form: %d, want 403", res.StatusCode)
	}
	if res, _ := b.do(http.MethodPost, "/login?token="+token, nil); res.StatusCode != http.StatusForbidden {
		t.Errorf("the token in the URL: %d, want 403", res.StatusCode)
	}
	for _, proto := range []string{"http", "https"} {
		res, _ := b.do(http.MethodPost, "/login", url.Values{"token": {token}}, "X-Forwarded-Proto", proto)
		cookies := res.Cookies()
		if len(cookies) != 1 {
			t.Fatalf("%d cookies", len(cookies))
		}
		c := cookies[0]
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.MaxAge <= 0 || c.Secure != (proto == "https") || len(c.Value) < 20 {
			t.Errorf("%s: the cookie is %v", proto, c)
		}
	}
	if res, _ := b.do(http.MethodGet, "/login", nil); res.Header.Get("Location") != "/" {
		t.Error("those who are logged in see the form")
	}
	if to := b.post("/logout", nil); to != "/login" {
		t.Errorf("logging out leads to %q", to)
	}
	if res, _ := b.do(http.MethodGet, "/", nil); res.StatusCode != http.StatusSeeOther {
		t.Errorf("after logging out: %d", res.StatusCode)
	}
	if strings.Contains(logs.String(), token) {
		t.Errorf("logged:\n%s", &logs)
	}
}

func TestPageInvitation(t *testing.T) {
	k := newKMS(t, nil)
	b := newBrowser(t, k)
	link := func() string {
		t.Helper()
		var hints bytes.Buffer
		cli.PrintHints(&hints, k.dir, k.cfg, b.page.Invite(), first(t, k).UID)
		found := regexp.MustCompile(`http://127\.0\.0\.1:8080(/login\?code=(\w+))\n`).FindStringSubmatch(hints.String())
		if found == nil {
			t.Fatalf("no link in\n%s", &hints)
		}
		b.holds(b.get(found[1]), `value="`+found[2]+`"`)
		return found[2]
	}
	refused := func(code string) {
		t.Helper()
		res, text := b.do(http.MethodPost, "/login", url.Values{"code": {code}})
		if res.StatusCode != http.StatusForbidden || !strings.Contains(text, "too old") {
			t.Errorf("code %q: %d, want 403", code, res.StatusCode)
		}
	}
	refused("none") // there is no code yet
	code := link()
	refused(code + "x")
	b.get("/login?code=" + code) // looking at it does not spend it
	b.post("/login", url.Values{"code": {code}})
	b.get("/")
	b.http = b.another()
	refused(code)
	code = link()
	b.clock.Advance(page.InvitationLife + time.Minute) // more than passed since the test began
	refused(code)
	old := link()
	link()
	refused(old)
}

func TestPageSessions(t *testing.T) {
	k := newKMS(t, nil)
	b := newBrowser(t, k)
	gone := func() bool {
		t.Helper()
		res, _ := b.do(http.MethodGet, "/", nil)
		return res.StatusCode == http.StatusSeeOther
	}
	b.logIn()
	b.clock.Advance(page.SessionLife - time.Second)
	if gone() {
		t.Error("the session ends early")
	}
	b.clock.Advance(time.Second)
	if !gone() {
		t.Error("the session does not end")
	}
	b.logIn()
	eldest := b.http
	for range page.MaxSessions {
		b.clock.Advance(time.Second)
		b.http = b.another()
		b.logIn()
	}
	if gone() {
		t.Error("the newest session is gone")
	}
	b.http = eldest
	if !gone() {
		t.Error("the oldest session is still there")
	}
}

var uidInPath = regexp.MustCompile(`^/certificates/([0-9a-f]{16})$`)

// TestPageLife does with a certificate all that can be done.
func TestPageLife(t *testing.T) {
	for _, requireAuth := range []bool{false, true} {
		k := newKMS(t, func(cfg *config.Config) { cfg.OCSP.RequireAuth = requireAuth })
		b := newBrowser(t, k)
		b.logIn()
		path := b.post("/certificates", url.Values{"name": {"web.example"}})
		if !uidInPath.MatchString(path) {
			t.Fatalf("certifying leads to %q", path)
		}
		b.holds(b.get("/"), path, "web.example")
		text := b.get(path)
		b.holds(text, "It is issued.", "BEGIN PRIVATE KEY", `verdict good`, "is not revoked", "signed for this question", "Example KMS CA, the CA; ECDSA-SHA256, verified", "Ask again", "refresh point")
		if again := b.get(path); strings.Contains(again, "PRIVATE KEY") || !strings.Contains(again, "from the cache") {
			t.Errorf("a second look shows\n%s", again)
		}
		if res, text := b.do(http.MethodPost, path+"/destroy", nil); res.StatusCode != http.StatusConflict || !strings.Contains(text, "revoke it first") {
			t.Errorf("destroying an active one: %d", res.StatusCode)
		}
		for _, reason := range []string{"", "bogus", "certificateHold"} {
			if res, text := b.do(http.MethodPost, path+"/revoke", url.Values{"reason": {reason}}); res.StatusCode != http.StatusBadRequest || !strings.Contains(text, `role="alert"`) {
				t.Errorf("reason %q: %d, want 400", reason, res.StatusCode)
			}
		}
		if to := b.post(path+"/revoke", url.Values{"reason": {"superseded"}}); to != path {
			t.Errorf("revoking leads to %q", to)
		}
		b.holds(b.get(path), "It is revoked: superseded.", "verdict revoked", "another certificate replaces it (superseded)", "Revoked since", "Deactivated")
		b.post(path+"/destroy", nil)
		b.holds(b.get(path), "It is destroyed.", "Destroyed", "verdict revoked")
		b.post(path+"/revoke", url.Values{"reason": {"keyCompromise"}})
		b.holds(b.get(path), "DestroyedCompromised", "(keyCompromise)", "Nothing can be done")
		b.holds(b.get("/counters"), "Signatures spared")

		later, _, err := k.Certify(t.Context(), "later", ocsp.PreActive)
		if err != nil {
			t.Fatal(err)
		}
		b.post("/certificates/"+later.UID+"/activate", nil)
		b.holds(b.get("/certificates/"+later.UID), "It is active now.", "Active")
	}
}

func TestPageNotFound(t *testing.T) {
	k := newKMS(t, nil)
	b := newBrowser(t, k)
	b.logIn()
	for _, uid := range []string{"none", "ca", "%3Cscript%3E"} {
		for _, path := range []string{"", "/revoke", "/destroy", "/activate"} {
			method := http.MethodPost
			if path == "" {
				method = http.MethodGet
			}
			if res, text := b.do(method, "/certificates/"+uid+path, url.Values{"reason": {"superseded"}}); res.StatusCode != http.StatusNotFound || strings.Contains(text, "<script>") {
				t.Errorf("%s %s%s: %d, want 404", method, uid, path, res.StatusCode)
			}
		}
	}
}

// TestPageEscapes: names that the API would refuse may come from another program.
func TestPageEscapes(t *testing.T) {
	k := newKMS(t, nil)
	b := newBrowser(t, k)
	b.logIn()
	const attack = `"><script>alert(1)</script><img src=x onerror=alert(2)>`
	o := first(t, k)
	o.UID, o.Name = "0123456789abcdef", attack
	o.Serial.SetInt64(4711)
	if err := k.store.Insert(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	refused, form := b.do(http.MethodPost, "/certificates", url.Values{"name": {attack}})
	if refused.StatusCode != http.StatusBadRequest {
		t.Errorf("issuing it: %d, want 400", refused.StatusCode)
	}
	b.holds(form, `role="alert"`, `aria-invalid="true"`, "invalid name")
	_, login := b.do(http.MethodGet, "/login?code="+url.QueryEscape(attack), nil)
	for _, text := range []string{b.get("/"), b.get("/certificates/" + o.UID), form, login} {
		if strings.Contains(text, "<script>alert") || strings.Contains(text, "<img") {
			t.Errorf("the page runs it:\n%s", text)
		}
	}
	b.http = b.another()
	b.holds(b.get("/login?code="+url.QueryEscape(attack)), "&lt;script&gt;")
}

func TestPagePaging(t *testing.T) {
	k := newKMS(t, nil)
	b := newBrowser(t, k)
	b.logIn()
	if text := b.get("/"); strings.Contains(text, "Page 1 of") {
		t.Error("one page has a pager")
	}
	for n := range 2*page.Rows + 2 {
		if _, _, err := k.Certify(t.Context(), fmt.Sprintf("n%d", n), ocsp.Active); err != nil {
			t.Fatal(err)
		}
	}
	row := regexp.MustCompile(`href="/certificates/`)
	for _, test := range []struct {
		query, want string
		rows        int
	}{
		{"", "Page 1 of 3, 43 certificates", page.Rows},
		{"?page=2", "Page 2 of 3", page.Rows},
		{"?page=3", "Page 3 of 3", 3},
		{"?page=4", "Page 3 of 3", 3},
		{"?page=0", "Page 1 of 3", page.Rows},
		{"?page=-1", "Page 1 of 3", page.Rows},
		{"?page=x", "Page 1 of 3", page.Rows},
		{"?page=99999999999999999999", "Page 3 of 3", 3},
		{"?page=-99999999999999999999", "Page 1 of 3", page.Rows},
	} {
		text := b.get("/" + test.query)
		b.holds(text, test.want)
		if rows := len(row.FindAllString(text, -1)); rows != test.rows {
			t.Errorf("%q: %d rows, want %d", test.query, rows, test.rows)
		}
	}
	b.holds(b.get("/"), ">n41<", `href="/?page=2"`)
	b.holds(b.get("/?page=3"), ">example<", `href="/?page=2"`)
}

func TestPageDisabled(t *testing.T) {
	k := newKMS(t, func(cfg *config.Config) { cfg.OCSP.Enabled = false })
	b := newBrowser(t, k)
	b.logIn()
	text := b.get("/certificates/" + first(t, k).UID)
	b.holds(text, "OCSP is switched off.", "enabled = true", "Revoke")
	if strings.Contains(text, "verdict") {
		t.Error("there is a status")
	}
}

// TestPageErrors: what is no status is not shown as one.
func TestPageErrors(t *testing.T) {
	k := newKMS(t, nil)
	b := newBrowser(t, k)
	b.logIn()
	path := "/certificates/" + first(t, k).UID
	if err := k.responder.Close(); err != nil {
		t.Fatal(err)
	}
	b.holds(b.get(path), "verdict warn", "try later", "an error in place of a status")
	b.holds(b.get("/counters"), "errors")

	other := ocsptest.NewCA(ocsptest.Options{})
	store := ocsptest.NewStore()
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{other.Issuer()}, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = responder.Close() }()
	cert := other.Issue(ocsptest.Options{})
	store.Add(other.ID, cert)
	answer := responder.Respond(t.Context(), ocsptest.Client{}.Request(other.Certificate, cert)).DER
	for _, test := range []struct {
		name, want string
		code       int
		body       []byte
	}{
		{"a proxy's error", "The HTTP status is 502 Bad Gateway.", 502, []byte("x")},
		{"no OCSP answer", "cannot be believed", 200, []byte("x")},
		{"a foreign answer", "cannot be believed", 200, answer},
	} {
		b.page.OCSP = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/ocsp-response")
			w.WriteHeader(test.code)
			_, _ = w.Write(test.body)
		})
		text := b.get(path)
		b.holds(text, "no answer", test.want)
		if strings.Contains(text, "verdict good") {
			t.Errorf("%s is shown as good", test.name)
		}
	}
}

// TestPageOldAnswer: an answer that is not valid now is no status.
func TestPageOldAnswer(t *testing.T) {
	k := newKMS(t, nil)
	b := newBrowser(t, k)
	for _, by := range []time.Duration{-time.Hour, 48 * time.Hour} {
		b.clock.Set(time.Now().Add(by))
		b.logIn()
		b.holds(b.get("/certificates/"+first(t, k).UID), "no answer", "cannot be believed")
	}
}

// TestPageSigners: the page names who signed where it can, and verifies what x/crypto/ocsp does not
// know.
func TestPageSigners(t *testing.T) {
	for _, test := range []struct {
		want, setting string
		ca            config.CA
	}{
		{"Test CA OCSP Responder, for the CA; ECDSA-SHA256, verified", "", config.CA{KeyType: "ecdsa-p256", Name: "Test CA", Delegated: true}},
		{"Test CA, the CA; SHA256-RSA, verified", "embed_certificate = true", config.CA{KeyType: "rsa-2048", Name: "Test CA"}},
		{"<dd>verified", `signature_algorithm = "SHA256-RSAPSS"`, config.CA{KeyType: "rsa-2048", Name: "Test CA"}},
	} {
		cfg, dir := config.Default(), t.TempDir()
		cfg.CA = test.ca
		writeWith(t, cfg, dir, test.setting)
		k, err := open(t.Context(), dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = k.close() }()
		if _, err := k.ca.IssueFirst(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		b := newBrowser(t, k)
		b.logIn()
		b.holds(b.get("/certificates/"+first(t, k).UID), "verdict good", test.want)
	}
}

// writeWith writes a configuration with a line more in its [ocsp] block.
func writeWith(t *testing.T, cfg config.Config, dir, line string) {
	t.Helper()
	if err := cfg.Write(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, config.File)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, "\n"+line+"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
}
