package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

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
		return &outcome{verdict: noted, sent: r.sent, detail: "answered: a hop, or the responder, decodes the path once more than HTTP does"}
	}
	r.verdict = passed // refused, as it should be
	r.problem = nil
	return r
}

// post makes a check that sends a POST.
func post(wanted property, m message) func(context.Context, *doctor, *url.URL) *outcome {
	return func(ctx context.Context, d *doctor, at *url.URL) *outcome {
		req, _ := d.asker.find(wanted) // which a POST always finds
		m := m                         // the check may run for several doctors at once
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
