package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const doctorUsage = `usage: ocspcheck doctor -issuer ca.pem -cert leaf.pem [flags] [URL]

Sends OCSP requests in the forms that proxies are known to spoil through the URL that clients use, and tells what
is spoilt, by which hop, and the setting that cures it: slashes in a row, escaped and not, + and =, long paths,
POST, HEAD, HTTP/1.0, redirects, caches. Whatever the certificate, requests that have the letters it takes are
found by trying nonces. The URL is by default the one in the certificate.

With -direct, each form that fails is tried there too, which tells a hop's fault from the responder's. Without
it the hops are guessed from what they say of themselves.

Exit status: 0 nothing that a standard requires is broken, 1 something is, 2 wrong usage or no contact. Paths that
are spoilt on the way but put right by the responder are reported as repaired and do not count as broken.

`

// runDoctor executes the doctor mode and returns the exit status.
func runDoctor(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseDoctor(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitPassed
	}
	var d *diagnosis
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, o.timeout)
		defer cancel()
		d, err = examine(ctx, o)
	}
	if err == nil {
		write := d.writeText
		if o.json {
			write = d.writeJSON
		}
		err = write(stdout)
	}
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "ocspcheck doctor:", err)
		return exitUsage
	case d.Counts.Normative > 0:
		return exitFailed
	default:
		return exitPassed
	}
}

// doctorOptions are a command line, parsed.
type doctorOptions struct {
	issuer, cert          *x509.Certificate
	public, direct        *url.URL // direct may be nil
	header                http.Header
	timeout, checkTimeout time.Duration
	json                  bool
}

func parseDoctor(args []string, stderr io.Writer) (*doctorOptions, error) {
	o := &doctorOptions{header: http.Header{}}
	fs := flag.NewFlagSet("ocspcheck doctor", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, doctorUsage)
		fs.PrintDefaults()
	}
	var issuer, cert, direct string
	fs.StringVar(&issuer, "issuer", "", "the CA's certificate `file`; required")
	fs.StringVar(&cert, "cert", "", "`file` of a certificate of that CA that the responder knows; required")
	fs.StringVar(&direct, "direct", "", "the `URL` of the responder itself, beside the proxies")
	fs.Var(headers(o.header), "header", "a `line` such as 'Authorization: Bearer …' for each request; may be repeated")
	fs.DurationVar(&o.timeout, "timeout", 2*time.Minute, "for the whole run")
	fs.DurationVar(&o.checkTimeout, "check-timeout", 10*time.Second, "for one request")
	fs.BoolVar(&o.json, "json", false, "write the report as JSON")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if issuer == "" || cert == "" || fs.NArg() > 1 {
		fs.Usage()
		return nil, errors.New("give -issuer and -cert, and one URL at the most, behind the flags")
	}
	if err := errors.Join(load(issuer, &o.issuer), load(cert, &o.cert)); err != nil {
		return nil, err
	}
	if o.cert.CheckSignatureFrom(o.issuer) != nil {
		return nil, fmt.Errorf("the -issuer %q has not issued the certificate of %q", o.issuer.Subject, o.cert.Subject)
	}
	public := fs.Arg(0)
	if public == "" && len(o.cert.OCSPServer) > 0 {
		public = o.cert.OCSPServer[0]
	}
	if public == "" {
		return nil, errors.New("give a URL: there is none in the certificate")
	}
	var err error
	if o.public, err = parseURL(public); err != nil {
		return nil, err
	}
	if direct != "" {
		if o.direct, err = parseURL(direct); err != nil {
			return nil, fmt.Errorf("-direct: %w", err)
		}
	}
	return o, nil
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err == nil && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "") {
		err = fmt.Errorf("%q is not an http or https URL without a query", text)
	}
	return u, err
}

// doctor is one examination.
type doctor struct {
	*doctorOptions
	asker *asker
	seen  map[string]string   // the products that showed themselves, and how
	spell func(string) string // of GETs, nil as long as none has passed
	done  map[string]*outcome
	given map[string]bool // the signed answers that came from the public URL
}

// examine runs all checks and says what they mean.
func examine(ctx context.Context, o *doctorOptions) (*diagnosis, error) {
	asker, err := newAsker(o.issuer, o.cert)
	if err != nil {
		return nil, err
	}
	d := &doctor{doctorOptions: o, asker: asker, seen: map[string]string{}, done: map[string]*outcome{}, given: map[string]bool{}}
	for _, c := range checks {
		d.done[c.id] = c.run(ctx, d, d.public)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("before the end of %q: %w", c.id, err)
		}
		if c.id == "get" {
			if err := d.contact(); err != nil {
				return nil, err
			}
		}
	}
	var outcomes []*outcome
	for _, c := range checks {
		r := d.done[c.id]
		r.check = c
		d.judgeRepair(r)
		if r.problem != nil && o.direct != nil {
			r.direct = c.run(ctx, d, o.direct)
		}
		outcomes = append(outcomes, r)
	}
	return d.diagnose(outcomes), ctx.Err()
}

// contact tells whether there is anything to examine, when a POST and a GET have been tried.
func (d *doctor) contact() error {
	post, get := d.done["post"], d.done["get"]
	if post.verdict != broken || get.verdict != broken || post.problem == nil || get.problem == nil {
		return nil
	}
	switch p := post.problem; {
	case p.kind == noAnswer && get.problem.kind == noAnswer:
		return fmt.Errorf("no contact with %s: %s", d.public.Redacted(), p.words)
	case p.status == http.StatusUnauthorized || p.status == http.StatusForbidden:
		return fmt.Errorf("%s answers with HTTP status %d: give the credentials it wants with -header", d.public.Redacted(), p.status)
	case p.kind == ocspError && get.problem.kind == ocspError:
		return fmt.Errorf("%s answers %s to the simplest requests: give a -cert that it knows", d.public.Redacted(), p.words)
	}
	return nil
}

// judgeRepair tells a hop whose changes the responder undoes, as ours puts back a lost slash
// where there is one place for it, from one whose changes it does not.
func (d *doctor) judgeRepair(r *outcome) {
	if fewer, ok := map[string]string{"slash-run": "slashes", "escaped-slash-run": "escaped-slashes"}[r.check.id]; ok &&
		r.verdict == broken && r.problem.kind == ocspError && d.done[fewer].verdict == passed {
		r.verdict = repaired
	}
}

// verdict is what became of a check.
type verdict string

const (
	passed   verdict = "ok"
	broken   verdict = "broken"
	repaired verdict = "repaired" // spoilt on the way, and in most cases put right by the responder
	noted    verdict = "note"
	skipped  verdict = "skipped"
)

// outcome is what came of a check.
type outcome struct {
	check   *check
	verdict verdict
	detail  string // of notes and skips
	sent    string
	problem *problem // of what is broken
	direct  *outcome // the same check at -direct, if it was tried
}

func skip(reason string) *outcome { return &outcome{verdict: skipped, detail: reason} }

// kind is what a check is about, which decides what a failure means.
type kind int

const (
	aboutPath kind = iota
	aboutLeading
	aboutLength
	aboutMethod
	aboutBody
	aboutVersion
	aboutHost
	aboutExpect
	aboutChunks
	aboutType
	aboutAnswer
)

// check is one form of request.
type check struct {
	id, title, source string
	normative         bool
	kind              kind
	run               func(context.Context, *doctor, *url.URL) *outcome
}

var (
	escapeAll    = strings.NewReplacer("/", "%2F", "+", "%2B", "=", "%3D").Replace
	escapeLower  = strings.NewReplacer("/", "%2f", "+", "%2b", "=", "%3d").Replace
	escapeTwice  = strings.NewReplacer("/", "%252F", "+", "%252B", "=", "%253D").Replace
	keepSlashes  = strings.NewReplacer("+", "%2B", "=", "%3D").Replace
	onlyPlus     = strings.NewReplacer("+", "%2B").Replace
	onlyPadding  = strings.NewReplacer("=", "%3D").Replace
	onlySlashes  = strings.NewReplacer("/", "%2F").Replace
	plusEscaped  = strings.NewReplacer("/", "%2F", "+", "%2B").Replace
	equalEscaped = strings.NewReplacer("/", "%2F", "=", "%3D").Replace
)

func verbatim(text string) string { return text }

// spellings are the ways to write a GET, likeliest first. What is not about the path uses the first that passes.
var spellings = []func(string) string{escapeAll, keepSlashes, onlySlashes, verbatim}

const pathSource = "RFC 6960 section A.1, RFC 3986 section 3.3"

var checks []*check

func init() {
	// In init, since the checks and what they call refer to each other.
	checks = []*check{
		{"post", "POST", "RFC 6960 section A.1", true, aboutMethod, post(letterless, message{})},
		{"get", "GET, percent-encoded", "RFC 6960 section A.1", true, aboutPath, get(rich, escapeAll)},
		{"bare", "GET, nothing escaped", pathSource, true, aboutPath, get(rich, verbatim)},
		{"slash", "GET, / as it is, the rest escaped", pathSource, true, aboutPath, get(rich, keepSlashes)},
		{"plus", "GET, + as it is, the rest escaped", pathSource, true, aboutPath, get(rich, equalEscaped)},
		{"padding", "GET, = as it is, the rest escaped", pathSource, true, aboutPath, get(rich, plusEscaped)},
		{"escaped-slash", "GET, %2F alone", pathSource, true, aboutPath, get(rich, onlySlashes)},
		{"escaped-plus", "GET, %2B alone", pathSource, true, aboutPath, get(rich, onlyPlus)},
		{"escaped-padding", "GET, %3D alone", pathSource, true, aboutPath, get(rich, onlyPadding)},
		{"lower-case", "GET, %2f, %2b and %3d", "RFC 3986 section 2.1", true, aboutPath, get(rich, escapeLower)},
		{"slashes", "GET, // as it is", pathSource, true, aboutPath, get(doubled, verbatim)},
		{"slash-run", "GET, thirty / in a row", pathSource, true, aboutPath, get(slashRun, verbatim)},
		{"slash-end", "GET, / as the last letter", pathSource, true, aboutPath, get(endsInSlash, verbatim)},
		{"escaped-slashes", "GET, %2F%2F", pathSource, true, aboutPath, get(doubled, escapeAll)},
		{"escaped-slash-run", "GET, thirty %2F in a row", pathSource, true, aboutPath, get(slashRun, escapeAll)},
		{"leading-slash", "GET, one more slash before the request, as from a base URL that ends in one", "decided: letsencrypt/boulder#2774", false, aboutLeading, getLeadingSlash},
		{"double-encoded", "GET, percent-encoded twice", "no client should", false, aboutPath, getTwice},
		{"long", "GET of more than 255 octets", "decided: the limit is the client's (RFC 9919 section 6)", false, aboutLength, getSized(300)},
		{"longer", "GET of 4 KiB", "decided", false, aboutLength, getSized(3000)},
		{"query", "GET with a query", "decided", false, aboutPath, getPlain(message{query: "x=1"})},
		{"head", "HEAD", "RFC 9110 section 9.3.2", true, aboutMethod, getPlain(message{method: http.MethodHead})},
		{"get-http10", "GET by HTTP/1.0", "decided: older clients", false, aboutVersion, getPlain(message{version: "1.0"})},
		{"post-http10", "POST by HTTP/1.0", "decided: openssl ocsp sends it", false, aboutVersion, post(letterless, message{version: "1.0"})},
		{"post-no-host", "POST by HTTP/1.0 without a Host", "decided: openssl ocsp before 1.1", false, aboutHost, post(letterless, message{version: "1.0", noHost: true})},
		{"post-no-type", "POST without a Content-Type", "decided: some clients send none", false, aboutType, post(letterless, message{noType: true})},
		{"post-chunked", "POST with a chunked body", "RFC 9112 section 7.1", true, aboutChunks, post(letterless, message{chunked: true})},
		{"post-expect", "POST with Expect: 100-continue", "RFC 9110 section 10.1.1", false, aboutExpect, post(letterless, message{expect: true})},
		{"post-1k", "POST of 1 KiB", "decided", false, aboutBody, post(sized(1000), message{})},
		{"post-8k", "POST of 8 KiB", "decided", false, aboutBody, post(sized(8000), message{})},
		{"gzip", "GET with Accept-Encoding: gzip", "RFC 9919 section 7.2", true, aboutAnswer, getPlain(message{lines: []string{"Accept-Encoding: gzip"}})},
		{"cache-headers", "GET without a nonce: caching headers", "RFC 9919 section 7.2", true, aboutAnswer, cacheHeaders},
		{"fresh", "GET without a nonce: an answer that has not expired", "RFC 9919 section 7.2, RFC 9111 section 4.2", true, aboutAnswer, fresh},
		{"nonce-stored", "GET with a nonce, twice: two answers", "RFC 9111 section 3", true, aboutAnswer, nonceStored},
		{"post-again", "POST of another request: its own answer", "RFC 9111 section 2", true, aboutMethod, post(letterless, message{})},
	}
}

// get makes a check that sends a GET of a request that has a property.
func get(wanted property, spell func(string) string) func(context.Context, *doctor, *url.URL) *outcome {
	return func(ctx context.Context, d *doctor, at *url.URL) *outcome {
		req, ok := d.asker.find(wanted)
		if !ok {
			return skip("no request about this certificate has the letters it takes")
		}
		r := d.send(ctx, at, message{path: "/" + spell(req.text)}, req)
		if r.verdict == passed && d.spell == nil && slices.ContainsFunc(spellings, func(s func(string) string) bool { return s(probeText) == spell(probeText) }) {
			d.spell = spell
		}
		return r
	}
}

// probeText tells spellings from each other.
const probeText = "/+="

func getLeadingSlash(ctx context.Context, d *doctor, at *url.URL) *outcome {
	return d.getSpelt(ctx, at, rich, message{path: "/"})
}

// getPlain makes a check that sends a GET in the spelling that passes.
func getPlain(m message) func(context.Context, *doctor, *url.URL) *outcome {
	return func(ctx context.Context, d *doctor, at *url.URL) *outcome { return d.getSpelt(ctx, at, rich, m) }
}

func getSized(octets int) func(context.Context, *doctor, *url.URL) *outcome {
	return func(ctx context.Context, d *doctor, at *url.URL) *outcome {
		wanted := sized(octets)
		wanted.text = func(text string) bool { return !slashesInRow(text) }
		return d.getSpelt(ctx, at, wanted, message{})
	}
}

// getSpelt sends a GET in the spelling that passes. What m has as path goes before it.
func (d *doctor) getSpelt(ctx context.Context, at *url.URL, wanted property, m message) *outcome {
	if d.spell == nil {
		return skip("no GET passes")
	}
	req, ok := d.asker.find(wanted)
	if !ok {
		return skip("no request about this certificate has the letters it takes")
	}
	m.path += "/" + d.spell(req.text)
	return d.send(ctx, at, m, req)
}

func getTwice(ctx context.Context, d *doctor, at *url.URL) *outcome {
	req, ok := d.asker.find(rich)
	if !ok {
		return skip("no request about this certificate has the letters it takes")
	}
	r := d.send(ctx, at, message{path: "/" + escapeTwice(req.text)}, req)
	if r.verdict == passed {
		return &outcome{verdict: noted, sent: r.sent, detail: "answered: something decodes the path once more than HTTP does"}
	}
	r.verdict = passed // refused, as it should be
	r.problem = nil
	return r
}

// post makes a check that sends a POST.
func post(wanted property, m message) func(context.Context, *doctor, *url.URL) *outcome {
	return func(ctx context.Context, d *doctor, at *url.URL) *outcome {
		req, _ := d.asker.find(wanted) // which a POST always finds
		m.method, m.body = http.MethodPost, req.der
		return d.send(ctx, at, m, req)
	}
}

// send sends a request and judges what comes back.
func (d *doctor) send(ctx context.Context, at *url.URL, m message, req *request) *outcome {
	_, r := d.exchange(ctx, at, m, req)
	return r
}

func (d *doctor) exchange(ctx context.Context, at *url.URL, m message, req *request) (*exchange, *outcome) {
	ex := d.roundTrip(ctx, at, m)
	r := &outcome{verdict: passed, sent: ex.line}
	if r.problem = d.asker.judge(ex, req); r.problem != nil {
		r.verdict = broken
		if r.problem.kind == redirect && ex.method == http.MethodGet {
			r.problem.words += d.follow(ctx, at, ex, req)
		}
	}
	if at == d.public {
		d.recognize(ex)
		if r.problem != nil && r.problem.kind == otherAnswer && d.given[string(ex.body)] {
			r.problem.kind, r.problem.words = storedAnswer, "an earlier answer again"+ageOf(ex)
		}
		d.given[string(ex.body)] = true
	}
	return ex, r
}

// follow says what a client gets that goes after a redirect.
func (d *doctor) follow(ctx context.Context, at *url.URL, ex *exchange, req *request) string {
	to, err := at.Parse(ex.header.Get("Location"))
	if err != nil || to.Host != at.Host || to.Scheme != at.Scheme {
		return ""
	}
	root := *at
	root.Path, root.RawPath = "", ""
	next := d.roundTrip(ctx, &root, message{path: to.EscapedPath(), query: to.RawQuery})
	if p := d.asker.judge(next, req); p != nil {
		return "; who follows it gets " + p.words
	}
	return "; who follows it gets an answer"
}

// withoutNonce sends the GET that caches may answer.
func (d *doctor) withoutNonce(ctx context.Context, at *url.URL) (*exchange, *outcome) {
	req := d.asker.plain()
	return d.exchange(ctx, at, message{path: "/" + d.spell(req.text)}, req)
}

func cacheHeaders(ctx context.Context, d *doctor, at *url.URL) *outcome {
	if d.spell == nil {
		return skip("no GET passes")
	}
	ex, r := d.withoutNonce(ctx, at)
	if r.verdict != passed {
		return skip("no answer without a nonce: " + r.problem.words)
	}
	var lost []string
	if age, ok := maxAge(ex.header); !ok || age <= 0 {
		lost = append(lost, fmt.Sprintf("Cache-Control is %q", strings.Join(ex.header.Values("Cache-Control"), ", ")))
	}
	for _, name := range []string{"ETag", "Expires", "Last-Modified"} {
		if ex.header.Get(name) == "" {
			lost = append(lost, "no "+name)
		}
	}
	if len(lost) > 0 {
		r.verdict, r.problem = broken, &problem{kind: headersLost, status: ex.status, words: "an answer, and " + strings.Join(lost, ", ")}
	}
	return r
}

func fresh(ctx context.Context, d *doctor, at *url.URL) *outcome {
	if d.spell == nil {
		return skip("no GET passes")
	}
	ex, r := d.withoutNonce(ctx, at)
	if r.verdict != passed {
		return skip("no answer without a nonce: " + r.problem.words)
	}
	if words := stale(ex, d.asker.nextUpdate(ex), time.Now()); words != "" {
		r.verdict, r.problem = broken, &problem{kind: storedAnswer, status: ex.status, words: words}
	}
	return r
}

func nonceStored(ctx context.Context, d *doctor, at *url.URL) *outcome {
	if d.spell == nil {
		return skip("no GET passes")
	}
	req, ok := d.asker.find(rich)
	if !ok {
		return skip("no request about this certificate has the letters it takes")
	}
	m := message{path: "/" + d.spell(req.text)}
	first, r := d.exchange(ctx, at, m, req)
	if r.verdict != passed {
		return skip("no answer with a nonce: " + r.problem.words)
	}
	if !d.asker.echoes(first, req) {
		return skip("the responder leaves out nonces")
	}
	second, r := d.exchange(ctx, at, m, req)
	if r.verdict == passed && string(first.body) == string(second.body) && second.header.Get("Age") == "" {
		// A signature may be the same twice within a second, whose end is then waited for.
		select {
		case <-time.After(1100 * time.Millisecond):
		case <-ctx.Done():
		}
		second, r = d.exchange(ctx, at, m, req)
	}
	if r.verdict == passed && string(first.body) == string(second.body) {
		r.verdict, r.problem = broken, &problem{kind: storedAnswer, status: second.status, words: "the first answer again" + ageOf(second)}
	}
	return r
}

func ageOf(ex *exchange) string {
	if age := ex.header.Get("Age"); age != "" {
		return ", with Age: " + age
	}
	return ""
}
