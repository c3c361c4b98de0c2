// Package page is the example KMS as people see it in a browser. Its forms need no JavaScript.
package page

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
	"github.com/kmsocsp/ocsp/examples/kms/internal/api"
	"github.com/kmsocsp/ocsp/examples/kms/internal/counters"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/examples/kms/internal/keyfile"
)

// Options are what the page needs.
type Options struct {
	API      *api.Handler
	OCSP     http.Handler // answers OCSP requests, below /ocsp
	Disabled bool         // OCSP
	Token    string       // logs in, and passes the OCSP handler's authentication
	Now      func() time.Time
}

// Page is the page, with the browsers that have logged in.
type Page struct {
	Options
	sessions   *sessions
	invitation invitation
}

// SessionCookie is the name of the cookie of a browser that has logged in.
const SessionCookie = "kms_session"

// Rows is the number of certificates on a page of the list.
const Rows = 20

// New returns a page.
func New(o Options) *Page {
	return &Page{Options: o, sessions: &sessions{now: o.Now, byHash: map[[32]byte]*session{}}}
}

// Invite returns the path of a link that logs in once, within the hour.
func (p *Page) Invite() string { return "/login?code=" + p.invitation.renew(p.Now()) }

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

// reasonWords explains the reasons.
var reasonWords = map[ocsp.Reason]string{
	ocsp.Unspecified:          "no reason given",
	ocsp.KeyCompromise:        "the key may be compromised",
	ocsp.CACompromise:         "the CA's key may be compromised",
	ocsp.AffiliationChanged:   "its name or affiliation changed",
	ocsp.Superseded:           "another certificate replaces it",
	ocsp.CessationOfOperation: "it is no longer needed",
	ocsp.PrivilegeWithdrawn:   "a privilege in it was withdrawn",
	ocsp.AACompromise:         "the attribute authority's key may be compromised",
}

// Routes adds the paths of the page to a router.
func (p *Page) Routes(router chi.Router) {
	limit := func(next http.Handler) http.Handler { return http.MaxBytesHandler(next, api.MaxBody) }
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
			r.Post("/certificates/{uid}/activate", p.act("It is active now.", inventory.Change{Action: inventory.Activate}))
			r.Post("/certificates/{uid}/destroy", p.act("It is destroyed.", inventory.Change{Action: inventory.Destroy}))
			r.Post("/certificates/{uid}/revoke", p.revoke)
		})
	})
}

// pageHeaders sets headers that restrict what browsers load and run to this origin. With a stricter
// referrer policy forms would have the origin "null", which the cross-origin protection refuses.
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

// view is the data of the layout.
type view struct {
	Title    string
	Here     string // the path, if the navigation has it
	Session  bool
	CA       string
	Live     bool // reload by itself
	Counters *counters.Snapshot
	Data     any
}

// render sends a page.
func (p *Page) render(w http.ResponseWriter, r *http.Request, code int, name string, v view) {
	v.CA = p.API.CA.Subject.CommonName
	if v.Session {
		snapshot := p.API.Counters.Snapshot()
		v.Counters = &snapshot
	}
	var text bytes.Buffer
	if err := pageTemplates[name].Execute(&text, v); err != nil {
		p.API.Logger.ErrorContext(r.Context(), "a page could not be made", "path", r.URL.Path, "error", err)
		http.Error(w, "internal error: see the server's log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(text.Bytes()) // an error means that the client has gone away
}

// fail sends a page with an error.
func (p *Page) fail(w http.ResponseWriter, r *http.Request, err error) {
	code, err := api.Refusal(p.API.Logger, r, err)
	p.render(w, r, code, "error", view{Title: http.StatusText(code), Session: true, Data: err.Error()})
}

// sessionID returns the value of the session cookie.
func sessionID(r *http.Request) string {
	cookie, err := r.Cookie(SessionCookie)
	if err != nil {
		return "" // the ID of no session
	}
	return cookie.Value
}

// requireSession redirects browsers without a session to the login form.
func (p *Page) requireSession(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.sessions.valid(sessionID(r)) {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// loginView is the login form, with the code of a link or a field for the token.
type loginView struct {
	Code  string
	Error string
}

func (p *Page) getLogin(w http.ResponseWriter, r *http.Request) {
	if p.sessions.valid(sessionID(r)) {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	p.render(w, r, http.StatusOK, "login", view{Title: "Log in", Data: loginView{Code: r.URL.Query().Get("code")}})
}

func (p *Page) postLogin(w http.ResponseWriter, r *http.Request) {
	code, token := r.PostFormValue("code"), r.PostFormValue("token")
	switch {
	case code != "" && p.invitation.take(code, p.Now()), api.SameSecret(token, p.Token):
		p.sessions.end(sessionID(r))
		http.SetCookie(w, p.cookie(r, p.sessions.begin(), int(SessionLife/time.Second)))
		http.Redirect(w, r, "/", http.StatusSeeOther)
	case code != "":
		p.render(w, r, http.StatusForbidden, "login", view{Title: "Log in", Data: loginView{Error: "The link has been used, or is too old. Use the token."}})
	default:
		p.render(w, r, http.StatusForbidden, "login", view{Title: "Log in", Data: loginView{Error: "That is not the token."}})
	}
}

func (p *Page) logout(w http.ResponseWriter, r *http.Request) {
	p.sessions.end(sessionID(r))
	http.SetCookie(w, p.cookie(r, "", -1))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// cookie returns the session cookie. It is Secure behind a TLS proxy that sets X-Forwarded-Proto.
func (p *Page) cookie(r *http.Request, id string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: SessionCookie, Value: id, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}

// certificateView is a certificate in the list and on its own page.
type certificateView struct {
	api.Certificate
	State    ocsp.State
	Reason   ocsp.Reason
	Good     bool
	Possible []ocsp.Reason // reasons that it can be revoked for
	Activate bool
	Destroy  bool
	PEM      string

	Answer ocspAnswer
	News   news
	Error  string
}

func newView(o inventory.Object) certificateView {
	v := certificateView{Certificate: api.NewCertificate(o), State: o.State, Reason: o.Reason, Good: o.RevokedAt.IsZero()}
	for reason := ocsp.Unspecified; reason <= ocsp.AACompromise; reason++ {
		c, err := inventory.Revocation(reason.String(), time.Time{}, time.Time{})
		if err == nil && c.Action.AppliesTo(o.Record) {
			v.Possible = append(v.Possible, reason)
		}
	}
	v.Activate, v.Destroy = inventory.Activate.AppliesTo(o.Record), inventory.Destroy.AppliesTo(o.Record)
	return v
}

// listView is a page of the list of certificates.
type listView struct {
	Rows               []certificateView
	Total, Page, Pages int
	Name, Error        string // of a certificate that could not be issued
}

// Earlier returns the number of the page before this one, or zero.
func (v listView) Earlier() int { return v.Page - 1 }

// Later returns the number of the page after this one, or zero.
func (v listView) Later() int {
	if v.Page == v.Pages {
		return 0
	}
	return v.Page + 1
}

func (p *Page) list(w http.ResponseWriter, r *http.Request) {
	p.showList(w, r, http.StatusOK, listView{})
}

// showList shows a page of the certificates, the newest first. A page number out of range shows the
// nearest page.
func (p *Page) showList(w http.ResponseWriter, r *http.Request, code int, v listView) {
	objects, err := p.API.Store.List(r.Context(), inventory.KindCertificate)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	slices.Reverse(objects)
	v.Total, v.Pages = len(objects), max(1, (len(objects)+Rows-1)/Rows)
	v.Page, _ = strconv.Atoi(r.URL.Query().Get("page")) // not a number: the first page
	v.Page = min(max(v.Page, 1), v.Pages)
	begin := (v.Page - 1) * Rows
	for _, o := range objects[begin:min(begin+Rows, len(objects))] {
		v.Rows = append(v.Rows, newView(o))
	}
	p.render(w, r, code, "list", view{Title: "Certificates", Here: "/", Session: true, Data: v})
}

func (p *Page) counters(w http.ResponseWriter, r *http.Request) {
	live := r.URL.Query().Get("live") == "1"
	p.render(w, r, http.StatusOK, "counters", view{Title: "Counters", Here: "/counters", Session: true, Live: live})
}

func (p *Page) certify(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("name")
	o, key, err := p.API.KMS.Certify(r.Context(), name, ocsp.Active)
	if err != nil {
		code, err := api.Refusal(p.API.Logger, r, err)
		p.showList(w, r, code, listView{Name: name, Error: err.Error()})
		return
	}
	text, err := keyfile.EncodeKey(key)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	p.done(w, r, news{uid: o.UID, Notice: "It is issued.", Key: string(text)})
}

// done redirects to the page of the certificate, which shows the news.
func (p *Page) done(w http.ResponseWriter, r *http.Request, n news) {
	p.sessions.setNews(sessionID(r), n)
	http.Redirect(w, r, "/certificates/"+n.uid, http.StatusSeeOther)
}

// certificate shows a certificate, its OCSP answer now, and the error of the last action.
func (p *Page) certificate(w http.ResponseWriter, r *http.Request, failed error) {
	o, err := p.API.Store.Get(r.Context(), chi.URLParam(r, "uid"))
	if err == nil && o.Kind != inventory.KindCertificate {
		err = fmt.Errorf("%w: %s is a %s", inventory.ErrNotFound, o.UID, o.Kind)
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	v, code := newView(o), http.StatusOK
	if failed != nil {
		code, failed = api.Refusal(p.API.Logger, r, failed)
		v.Error = failed.Error()
	}
	cert, err := x509.ParseCertificate(o.DER)
	if err == nil {
		v.Answer, err = p.ask(r.Context(), cert)
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	v.News = p.sessions.takeNews(sessionID(r), o.UID)
	v.PEM = string(keyfile.EncodeCertificate(o.DER))
	p.render(w, r, code, "certificate", view{Title: o.Name, Session: true, Data: v})
}

// act returns a handler that changes the certificate in the path.
func (p *Page) act(notice string, c inventory.Change) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o, err := p.API.KMS.Change(r.Context(), chi.URLParam(r, "uid"), c)
		if err != nil {
			p.certificate(w, r, err)
			return
		}
		p.done(w, r, news{uid: o.UID, Notice: notice})
	}
}

func (p *Page) revoke(w http.ResponseWriter, r *http.Request) {
	reason := r.PostFormValue("reason")
	if reason == "" {
		p.certificate(w, r, fmt.Errorf("%w reason: choose one", inventory.ErrInvalid))
		return
	}
	c, err := inventory.Revocation(reason, time.Time{}, time.Now())
	if err != nil {
		p.certificate(w, r, err)
		return
	}
	p.act("It is revoked: "+reason+".", c)(w, r)
}
