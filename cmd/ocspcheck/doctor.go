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
	case p.status == 0 && get.problem.status == 0:
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
