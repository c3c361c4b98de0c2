package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const watchUsage = `usage: ocspcheck watch -issuer ca.pem -issue COMMAND -revoke COMMAND [-url URL]... [flags]

Measures how soon a revocation shows. It issues a canary certificate, asks each URL about it by POST
and by GET until all answer good, so that caches store that, revokes it, and asks on. It reports the
time from the end of the -revoke command to the first revoked answer and to the last good one, for
each URL and method. Give the URL that clients use, and with more -url each hop behind it. The
default is all OCSP URLs in the first canary. Signatures are verified.

COMMAND is a command line of the CA. It is split into words at spaces, outside of '…' and "…", and
run without a shell; for one, write sh -c '…'. Placeholders in it:

  {dir}      a new directory, which is removed in the end
  {name}     a new name, such as canary-x3kq5zr2a7mw
  {cert}     {dir}/{name}.pem: -issue writes the certificate there, or else to its output
  {serial}   of -revoke: the serial number in hex; {decimal}: in decimal; {colons}: as 0a:1b
  {output}   of -revoke: the first word of what -issue wrote to its output

A command inherits the environment; put secrets there. All that is shown of a command is the name of
its program and, if it fails, its standard error, without the values of secret variables.

Exit status: 0 all revocations showed, within the bound; 1 one did not; 2 wrong usage, a canary that
was not issued or revoked, or a URL that did not answer good before the revocation. An interrupt
revokes the canary first.

`

// runWatch executes the watch mode and returns the exit status.
func runWatch(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseWatch(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitPassed
	}
	status := exitUsage
	if err == nil {
		status, err = newWatch(o, stdout).serve(ctx, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "ocspcheck watch:", err)
	}
	return status
}

// watchOptions are a command line, parsed.
type watchOptions struct {
	issuer        *x509.Certificate
	issue, revoke command
	urls, methods []string
	header        http.Header

	count                        int // 0 is no limit
	every                        time.Duration
	within                       time.Duration // 0 is no bound
	stop                         bool
	interval, settle             time.Duration
	goodWait, maxWait            time.Duration
	checkTimeout, commandTimeout time.Duration

	json   bool
	listen string
}

// texts is a flag that may be given several times.
type texts []string

func (l *texts) String() string { return "" }

func (l *texts) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func parseWatch(args []string, stderr io.Writer) (*watchOptions, error) {
	o := &watchOptions{header: http.Header{}}
	fs := flag.NewFlagSet("ocspcheck watch", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, watchUsage)
		fs.PrintDefaults()
	}
	var issuer, issue, revoke, methods string
	duration := func(to *time.Duration, name string, value time.Duration, usage string) {
		fs.DurationVar(to, name, value, usage)
	}
	fs.StringVar(&issuer, "issuer", "", "the CA's certificate `file`; required")
	fs.StringVar(&issue, "issue", "", "the `command` that issues a certificate; required")
	fs.StringVar(&revoke, "revoke", "", "the `command` that revokes it; required")
	fs.Var((*texts)(&o.urls), "url",
		"a `URL` to ask (default those in the first canary); may be repeated")
	fs.StringVar(&methods, "methods", "POST,GET", "the `methods` to ask by, separated by commas")
	fs.Var(headers(o.header), "header",
		"a `line` such as 'Authorization: Bearer …' for each request; may be repeated")
	fs.IntVar(&o.count, "count", 1, "how many canaries; 0 goes on until an interrupt")
	duration(&o.every, "every", time.Minute, "from the start of a canary to that of the next")
	duration(&o.within, "within", 0, "the bound: no later request may be answered good, and a "+
		"revoked answer must have come (default no bound)")
	fs.BoolVar(&o.stop, "stop", false, "end with the canary that breaks the bound, at once")
	duration(&o.interval, "interval", 100*time.Millisecond,
		"between two questions to a URL by one method")
	duration(&o.settle, "settle", time.Second,
		"how long to ask on after the bound, the first revoked answer and the last good one")
	duration(&o.goodWait, "good-wait", 15*time.Second, "for good answers about a new canary")
	duration(&o.maxWait, "max-wait", 2*time.Minute, "for revoked answers")
	duration(&o.checkTimeout, "check-timeout", 10*time.Second, "for one request")
	duration(&o.commandTimeout, "command-timeout", 30*time.Second, "for one run of a command")
	fs.BoolVar(&o.json, "json", false, "write a line of JSON for each canary, URL and method")
	fs.StringVar(&o.listen, "listen", "",
		"serve metrics for Prometheus at this `address`, under /metrics")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if issuer == "" || issue == "" || revoke == "" || fs.NArg() > 0 {
		fs.Usage()
		const text = "give -issuer, -issue and -revoke, each URL with -url, and nothing else"
		return nil, errors.New(text)
	}
	o.methods = strings.Split(methods, ",")
	var err, err2 error
	o.issue, err = parseCommand("-issue", issue, issuePlaceholders)
	o.revoke, err2 = parseCommand("-revoke", revoke, revokePlaceholders)
	return o, errors.Join(load(issuer, &o.issuer), err, err2, o.check())
}

// check checks what the flag package cannot.
func (o *watchOptions) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(o.revoke.words) > 0 && !o.revoke.uses(revokePlaceholders...) {
		const text = "-revoke does not say which certificate: use one of %s"
		wrong(text, strings.Join(revokePlaceholders, ", "))
	}
	for _, url := range o.urls {
		if _, err := parseURL(url); err != nil {
			wrong("-url: %w", err)
		}
	}
	for _, method := range o.methods {
		if method != http.MethodPost && method != http.MethodGet {
			wrong("-methods: %q is neither POST nor GET", method)
		}
	}
	if o.count < 0 || o.within < 0 {
		wrong("-count and -within must not be negative")
	}
	if slices.Min([]time.Duration{
		o.every, o.interval, o.settle, o.goodWait, o.maxWait, o.checkTimeout, o.commandTimeout,
	}) <= 0 {
		wrong("every duration must be above zero")
	}
	if o.stop && o.within == 0 {
		wrong("-stop needs a bound: give -within")
	}
	if o.within > 0 && o.interval > o.within {
		wrong("-interval %v is longer than -within %v: shorten it", o.interval, o.within)
	}
	if o.within >= o.maxWait {
		wrong("-max-wait %v is not longer than -within %v: raise it", o.maxWait, o.within)
	}
	return errors.Join(errs...)
}

// watch is a run.
type watch struct {
	*watchOptions
	run       func(context.Context, command, map[string]string) ([]byte, error)
	client    *http.Client
	metrics   *watchMetrics
	out       io.Writer
	summaries []*summary // of each target; nil before the first canary
}

func newWatch(o *watchOptions, out io.Writer) *watch {
	// Each request has a connection of its own, so that a load balancer spreads them.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives, transport.DisableCompression = true, true
	client := &http.Client{
		Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	metrics := newWatchMetrics(o.within)
	return &watch{watchOptions: o, run: o.runCommand, client: client, metrics: metrics, out: out}
}

// serve serves the metrics, if they are wanted, while it watches.
func (w *watch) serve(ctx context.Context, stderr io.Writer) (status int, err error) {
	if w.listen == "" {
		return w.watch(ctx, stderr)
	}
	address, stop, err := w.metrics.listen(w.listen)
	if err != nil {
		return exitUsage, fmt.Errorf("-listen: %w: choose another address", err)
	}
	defer stop()
	fmt.Fprintf(stderr, "ocspcheck watch: metrics at http://%s/metrics\n", address)
	return w.watch(ctx, stderr)
}

// watch sends canaries until there were enough, or ctx ends. A failure of the first one ends the
// run: the command line is wrong. Later ones are reported and counted.
func (w *watch) watch(ctx context.Context, stderr io.Writer) (status int, err error) {
	var broken, failed bool
	for n := 1; ; n++ {
		begun := time.Now()
		measures, err := w.canary(ctx, n)
		switch {
		case err != nil && n == 1:
			return exitUsage, err
		case err != nil:
			failed = true
			w.metrics.failed()
			fmt.Fprintln(stderr, "ocspcheck watch:", err)
			if err := w.writeFailure(n, err); err != nil {
				return exitUsage, err
			}
		}
		for _, m := range measures {
			broken = broken || m.outcome.breaks()
			failed = failed || m.outcome == unanswered
		}
		if n == w.count || w.stop && broken || !wait(ctx, time.Until(begun.Add(w.every))) {
			break
		}
	}
	if err := w.writeSummary(); err != nil {
		return exitUsage, err
	}
	switch {
	case broken:
		return exitFailed, nil
	case failed:
		return exitUsage, nil
	default:
		return exitPassed, nil
	}
}

// wait waits, and returns false if ctx ends.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
