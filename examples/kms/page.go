package main

import (
	"bytes"
	"crypto/x509"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/kmsocsp/ocsp"
)

// page is the KMS as people see it in a browser. Its forms need no JavaScript.
type page struct {
	kms      *kms
	ocsp     http.Handler // answers /ocsp
	sessions *sessions
	now      func() time.Time
}

const (
	sessionCookie = "kms_session"
	pageRows      = 20
)

func newPage(k *kms, ocsp http.Handler, now func() time.Time) *page {
	return &page{kms: k, ocsp: ocsp, now: now, sessions: &sessions{now: now, byHash: map[[32]byte]*session{}}}
}

//go:embed page
var pageFiles embed.FS

var pageTemplates = func() map[string]*template.Template {
	templates := map[string]*template.Template{}
	for _, name := range []string{"login", "list", "certificate", "counters", "error"} {
		templates[name] = template.Must(template.New("layout.html").Funcs(template.FuncMap{
			"utc":  func(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04:05 UTC") },
			"day":  func(t time.Time) string { return t.UTC().Format("2 Jan 2006") },
			"iso":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
			"took": func(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) },
			"why":  func(r ocsp.Reason) string { return reasonWords[r] },
		}).ParseFS(pageFiles, "page/layout.html", "page/parts.html", "page/"+name+".html"))
	}
	return templates
}()

// reasonWords says what reasons mean.
var reasonWords = map[ocsp.Reason]string{
	ocsp.Unspecified:          "no reason given",
	ocsp.KeyCompromise:        "the key may be in other hands",
	ocsp.CACompromise:         "the CA's key may be in other hands",
	ocsp.AffiliationChanged:   "its name or affiliation changed",
	ocsp.Superseded:           "another certificate replaces it",
	ocsp.CessationOfOperation: "it is no longer needed",
	ocsp.PrivilegeWithdrawn:   "a privilege in it was withdrawn",
	ocsp.AACompromise:         "the attribute authority's key may be in other hands",
}

// routes adds the page.
func (p *page) routes(router chi.Router) {
	limit := func(next http.Handler) http.Handler { return http.MaxBytesHandler(next, maxBody) }
	router.Group(func(r chi.Router) {
		r.Use(pageHeaders, http.NewCrossOriginProtection().Handler, limit)
		for _, asset := range []string{"/page/style.css", "/page/live.js", "/page/icon.svg"} {
			r.Get(asset, http.FileServerFS(pageFiles).ServeHTTP)
		}
		r.Get("/login", p.getLogin)
		r.Post("/login", p.postLogin)
		r.Group(func(r chi.Router) {
			r.Use(p.requireSession)
			r.Post("/logout", p.logout)
			r.Get("/", p.list)
			r.Get("/counters", p.counters)
			r.Post("/certificates", p.certify)
			r.Get("/certificates/{uid}", func(w http.ResponseWriter, r *http.Request) { p.certificate(w, r, nil) })
			r.Post("/certificates/{uid}/activate", p.act("It is active now.", change{action: activate}))
			r.Post("/certificates/{uid}/destroy", p.act("It is destroyed.", change{action: destroy}))
			r.Post("/certificates/{uid}/revoke", p.revoke)
		})
	})
}

// pageHeaders lets browsers load and run nothing but what comes from here. The referrer policy is not stricter
// since forms would then be sent with the origin "null", which the cross-origin protection refuses.
func pageHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; " +
				"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
			"X-Frame-Options":              "DENY",
			"X-Content-Type-Options":       "nosniff",
			"Referrer-Policy":              "same-origin",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Cache-Control":                "no-store",
		} {
			w.Header().Set(name, value)
		}
		next.ServeHTTP(w, r)
	})
}

// view is what the layout shows around a page.
type view struct {
	Title    string
	Here     string // the path, if the navigation has it
	Session  bool
	CA       string
	Live     bool // reload by itself
	Counters *countersJSON
	Data     any
}

// render sends a page.
func (p *page) render(w http.ResponseWriter, r *http.Request, code int, name string, v view) {
	v.CA = p.kms.ca.cert.Subject.CommonName
	if v.Session {
		counters := p.kms.counters.snapshot()
		v.Counters = &counters
	}
	var text bytes.Buffer
	if err := pageTemplates[name].Execute(&text, v); err != nil {
		p.kms.logger.ErrorContext(r.Context(), "a page could not be made", "path", r.URL.Path, "error", err)
		http.Error(w, "internal error: see the server's log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(text.Bytes()) // a client that is gone needs no answer
}

// fail says what went wrong.
func (p *page) fail(w http.ResponseWriter, r *http.Request, err error) {
	code, err := p.kms.refusal(r, err)
	p.render(w, r, code, "error", view{Title: http.StatusText(code), Session: true, Data: err.Error()})
}

// sessionID returns what the browser's cookie says.
func sessionID(r *http.Request) string {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return "" // no session has it
	}
	return cookie.Value
}

// requireSession sends browsers that have not logged in to the form for that.
func (p *page) requireSession(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.sessions.valid(sessionID(r)) {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// loginView is the form: with a code from a link, or for the token.
type loginView struct {
	Code  string
	Error string
}

func (p *page) getLogin(w http.ResponseWriter, r *http.Request) {
	if p.sessions.valid(sessionID(r)) {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	p.render(w, r, http.StatusOK, "login", view{Title: "Log in", Data: loginView{Code: r.URL.Query().Get("code")}})
}

func (p *page) postLogin(w http.ResponseWriter, r *http.Request) {
	code, token := r.PostFormValue("code"), r.PostFormValue("token")
	switch {
	case code != "" && p.kms.invitation.take(code, p.now()), sameSecret(token, p.kms.cfg.Server.Token):
		p.sessions.end(sessionID(r))
		http.SetCookie(w, p.cookie(r, p.sessions.begin(), int(sessionLife/time.Second)))
		http.Redirect(w, r, "/", http.StatusSeeOther)
	case code != "":
		p.render(w, r, http.StatusForbidden, "login", view{Title: "Log in", Data: loginView{Error: "The link has been used, or is too old. Use the token."}})
	default:
		p.render(w, r, http.StatusForbidden, "login", view{Title: "Log in", Data: loginView{Error: "That is not the token."}})
	}
}

func (p *page) logout(w http.ResponseWriter, r *http.Request) {
	p.sessions.end(sessionID(r))
	http.SetCookie(w, p.cookie(r, "", -1))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// cookie makes the session's cookie. Behind a proxy for TLS, which says so, browsers are to send it nowhere else.
func (p *page) cookie(r *http.Request, id string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: sessionCookie, Value: id, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}

// certificateView is a certificate in the list and on its own page.
type certificateView struct {
	certificateJSON
	State    ocsp.State
	Reason   ocsp.Reason
	Good     bool
	Possible []ocsp.Reason // to revoke it for
	Activate bool
	Destroy  bool

	Answer ocspAnswer
	News   news
	Error  string
}

func (o object) view() certificateView {
	v := certificateView{certificateJSON: o.json(), State: o.state, Reason: o.reason, Good: o.revokedAt.IsZero()}
	for reason := ocsp.Unspecified; reason <= ocsp.AACompromise; reason++ {
		c, err := revocation(reason.String(), time.Time{}, time.Time{})
		if err == nil && c.action.from(o.state) {
			v.Possible = append(v.Possible, reason)
		}
	}
	v.Activate, v.Destroy = activate.from(o.state), destroy.from(o.state)
	return v
}

// listView is a page of the list of certificates.
type listView struct {
	Rows               []certificateView
	Total, Page, Pages int
	Name, Error        string // of a certificate that could not be issued
}

// Earlier is the page before this one; zero is none.
func (v listView) Earlier() int { return v.Page - 1 }

// Later is the page after this one; zero is none.
func (v listView) Later() int {
	if v.Page == v.Pages {
		return 0
	}
	return v.Page + 1
}

func (p *page) list(w http.ResponseWriter, r *http.Request) {
	p.showList(w, r, http.StatusOK, listView{})
}

// showList shows a page of the certificates, the newest first. A page that is not there is the nearest that is.
func (p *page) showList(w http.ResponseWriter, r *http.Request, code int, v listView) {
	objects, err := p.kms.store.list(r.Context(), kindCertificate)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	slices.Reverse(objects)
	v.Total, v.Pages = len(objects), max(1, (len(objects)+pageRows-1)/pageRows)
	v.Page, _ = strconv.Atoi(r.URL.Query().Get("page")) // no number: the first
	v.Page = min(max(v.Page, 1), v.Pages)
	begin := (v.Page - 1) * pageRows
	for _, o := range objects[begin:min(begin+pageRows, len(objects))] {
		v.Rows = append(v.Rows, o.view())
	}
	p.render(w, r, code, "list", view{Title: "Certificates", Here: "/", Session: true, Data: v})
}

func (p *page) counters(w http.ResponseWriter, r *http.Request) {
	live := r.URL.Query().Get("live") == "1"
	p.render(w, r, http.StatusOK, "counters", view{Title: "Counters", Here: "/counters", Session: true, Live: live})
}

func (p *page) certify(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("name")
	o, key, err := p.kms.certify(r.Context(), name, ocsp.Active)
	if err != nil {
		code, err := p.kms.refusal(r, err)
		p.showList(w, r, code, listView{Name: name, Error: err.Error()})
		return
	}
	text, err := keyPEM(key)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	p.done(w, r, news{uid: o.uid, Notice: "It is issued.", Key: string(text)})
}

// done leads to the certificate's page, which tells the news.
func (p *page) done(w http.ResponseWriter, r *http.Request, n news) {
	p.sessions.tell(sessionID(r), n)
	http.Redirect(w, r, "/certificates/"+n.uid, http.StatusSeeOther)
}

// certificate shows a certificate, with what OCSP says about it now, and the error of what was tried with it.
func (p *page) certificate(w http.ResponseWriter, r *http.Request, failed error) {
	o, err := p.kms.store.get(r.Context(), chi.URLParam(r, "uid"))
	if err == nil && o.kind != kindCertificate {
		err = fmt.Errorf("%w: %s is a %s", errNotFound, o.uid, o.kind)
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	v, code := o.view(), http.StatusOK
	if failed != nil {
		code, failed = p.kms.refusal(r, failed)
		v.Error = failed.Error()
	}
	cert, err := x509.ParseCertificate(o.der)
	if err == nil {
		v.Answer, err = p.ask(r.Context(), cert)
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	v.News = p.sessions.hear(sessionID(r), o.uid)
	v.Certificate = string(certPEM(o.der))
	p.render(w, r, code, "certificate", view{Title: o.name, Session: true, Data: v})
}

// act makes a handler that changes the certificate in the path.
func (p *page) act(notice string, c change) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o, err := p.kms.change(r.Context(), chi.URLParam(r, "uid"), c)
		if err != nil {
			p.certificate(w, r, err)
			return
		}
		p.done(w, r, news{uid: o.uid, Notice: notice})
	}
}

func (p *page) revoke(w http.ResponseWriter, r *http.Request) {
	reason := r.PostFormValue("reason")
	if reason == "" {
		p.certificate(w, r, fmt.Errorf("%w reason: choose one", errInvalid))
		return
	}
	o, err := p.kms.revoke(r.Context(), chi.URLParam(r, "uid"), reason, time.Time{})
	if err != nil {
		p.certificate(w, r, err)
		return
	}
	p.done(w, r, news{uid: o.uid, Notice: "It is revoked: " + reason + "."})
}
