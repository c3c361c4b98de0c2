// Command ocspcheck judges an OCSP responder: it asks what clients ask, and much that they should not, and says
// what is answered wrong, by which section of which standard.
//
//	ocspcheck -issuer ca.pem -cert leaf.pem [-revoked revoked.pem] [flags] [URL]
//	ocspcheck doctor -issuer ca.pem -cert leaf.pem [-direct URL] [flags] [URL]
//	ocspcheck watch -issuer ca.pem -issue COMMAND -revoke COMMAND [-url URL]... [flags]
//
// The second form finds out what the proxies before a responder do to requests; see docs/PROXIES.md.
// The third measures how soon a revocation shows at each URL; see docs/RELIABILITY.md.
//
// The URL is by default the one in the certificate. The exit status is 0 if no normative case failed, 1 if one
// did, and 2 if the command line is wrong or there is no contact. Package ocsptest has the same for Go tests.
package main

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kmsocsp/ocsp/ocsptest"
)

const (
	exitPassed = iota
	exitFailed
	exitUsage
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes a command line and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "doctor" {
		return runDoctor(ctx, args[1:], stdout, stderr)
	}
	if len(args) > 0 && args[0] == "watch" {
		return runWatch(ctx, args[1:], stdout, stderr)
	}
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitPassed
	}
	if err != nil {
		fmt.Fprintln(stderr, "ocspcheck:", err)
		return exitUsage
	}
	if o.list {
		list(stdout)
		return exitPassed
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	results, err := ocsptest.Conformance(ctx, o.target)
	if len(results) > 0 {
		write := writeText
		if o.json {
			write = writeJSON
		}
		if err := write(stdout, o, results); err != nil {
			fmt.Fprintln(stderr, "ocspcheck:", err)
			return exitUsage
		}
	}
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "ocspcheck:", err)
		return exitUsage
	case count(results).Normative > 0:
		return exitFailed
	default:
		return exitPassed
	}
}

// options are a command line, parsed.
type options struct {
	target        ocsptest.Target
	timeout       time.Duration
	json, verbose bool
	list          bool
}

// headers is a flag that may be given several times.
type headers http.Header

func (h headers) String() string { return "" }

func (h headers) Set(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return errors.New("want 'Name: value'")
	}
	http.Header(h).Add(strings.TrimSpace(name), strings.TrimSpace(value))
	return nil
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{target: ocsptest.Target{Header: http.Header{}}}
	fs := flag.NewFlagSet("ocspcheck", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, "usage: ocspcheck -issuer ca.pem -cert leaf.pem [flags] [URL]\n       ocspcheck doctor -issuer ca.pem -cert leaf.pem [-direct URL] [flags] [URL]\n       ocspcheck watch -issuer ca.pem -issue COMMAND -revoke COMMAND [flags]\n\nThe second form examines the proxies before a responder: ocspcheck doctor -h.\nThe third measures how soon revocations show: ocspcheck watch -h.\n\nThe URL is by default the one in the certificate. Certificates are PEM or DER.\nExit status: 0 no normative case failed, 1 one did, 2 wrong usage or no contact.\n\n")
		fs.PrintDefaults()
	}
	var issuer, cert, revoked, foreign, unissued, only string
	fs.StringVar(&issuer, "issuer", "", "the CA's certificate `file`; required")
	fs.StringVar(&cert, "cert", "", "`file` of a certificate of that CA that is not revoked; required")
	fs.StringVar(&revoked, "revoked", "", "`file` of a certificate of that CA that is revoked")
	fs.StringVar(&foreign, "foreign", "", "certificate `file` of another CA that the same responder serves")
	fs.StringVar(&unissued, "unissued", "", "a `serial` number in hex that the CA never issued (default a random one)")
	fs.StringVar(&only, "only", "", "the `cases` to run, separated by commas, such as T1,T35 (default all)")
	fs.Var(headers(o.target.Header), "header", "a `line` such as 'Authorization: Bearer …' for each request; may be repeated")
	fs.BoolVar(&o.target.NonceIgnored, "nonce-ignored", false, "the responder leaves out nonces on purpose")
	fs.DurationVar(&o.timeout, "timeout", 5*time.Minute, "for the whole run")
	fs.DurationVar(&o.target.CaseTimeout, "case-timeout", 20*time.Second, "for one case")
	fs.BoolVar(&o.json, "json", false, "write the report as JSON")
	fs.BoolVar(&o.verbose, "v", false, "show what was sent and what came back for all cases")
	fs.BoolVar(&o.list, "list", false, "list the cases and exit")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if o.list {
		return o, nil
	}
	if issuer == "" || cert == "" || fs.NArg() > 1 {
		fs.Usage()
		return nil, errors.New("give -issuer and -cert, and one URL at the most, behind the flags")
	}
	for _, f := range []struct {
		file string
		to   **x509.Certificate
	}{{issuer, &o.target.Issuer}, {cert, &o.target.Good}, {revoked, &o.target.Revoked}, {foreign, &o.target.Foreign}} {
		if err := load(f.file, f.to); err != nil {
			return nil, err
		}
	}
	return o, o.complete(fs.Arg(0), unissued, only)
}

// complete checks what the flag package cannot.
func (o *options) complete(url, unissued, only string) error {
	t := &o.target
	for _, cert := range []*x509.Certificate{t.Good, t.Revoked} {
		if cert != nil && cert.CheckSignatureFrom(t.Issuer) != nil {
			return fmt.Errorf("the -issuer %q has not issued the certificate of %q", t.Issuer.Subject, cert.Subject)
		}
	}
	if t.URL = url; url == "" && len(t.Good.OCSPServer) > 0 {
		t.URL = t.Good.OCSPServer[0]
	}
	if t.URL == "" {
		return errors.New("give a URL: there is none in the certificate")
	}
	if unissued != "" {
		serial, ok := new(big.Int).SetString(strings.TrimPrefix(strings.ReplaceAll(unissued, ":", ""), "0x"), 16)
		if !ok {
			return fmt.Errorf("-unissued %q is not hex", unissued)
		}
		t.Unissued = serial
	}
	if only == "" {
		return nil
	}
	ids := strings.Split(only, ",")
	for _, id := range ids {
		if !slices.ContainsFunc(ocsptest.ConformanceCases(), func(c ocsptest.Case) bool { return c.ID == id }) {
			return fmt.Errorf("-only: there is no case %q; see -list", id)
		}
	}
	t.Only = func(c ocsptest.Case) bool { return slices.Contains(ids, c.ID) }
	return nil
}

// load reads a certificate, if there is a file.
func load(file string, to **x509.Certificate) error {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if *to, err = parseCertificate(data); err != nil {
		return fmt.Errorf("%s has no certificate, in PEM or DER: %w", file, err)
	}
	return nil
}

// parseCertificate reads the first certificate in PEM, or one in DER.
func parseCertificate(data []byte) (*x509.Certificate, error) {
	der := data
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if der = block.Bytes; block.Type == "CERTIFICATE" {
			break
		}
	}
	return x509.ParseCertificate(der)
}

func list(w io.Writer) {
	for _, c := range ocsptest.ConformanceCases() {
		fmt.Fprintf(w, "%-4s %-9s %s (%s)\n", c.ID, kindName(c.Normative), c.Title, c.Source)
	}
}

func kindName(normative bool) string {
	if normative {
		return "normative"
	}
	return "decided"
}

// counts is how many cases ended in what.
type counts struct {
	Passed        int `json:"passed"`
	Normative     int `json:"failed_normative"`
	Decided       int `json:"failed_decided"`
	NotApplicable int `json:"not_applicable"`
}

func count(results []ocsptest.CaseResult) (c counts) {
	for _, r := range results {
		switch {
		case r.Verdict == ocsptest.Passed:
			c.Passed++
		case r.Verdict == ocsptest.NotApplicable:
			c.NotApplicable++
		case r.Normative:
			c.Normative++
		default:
			c.Decided++
		}
	}
	return c
}

func writeText(w io.Writer, o *options, results []ocsptest.CaseResult) error {
	var b strings.Builder
	for _, r := range results {
		b.WriteString(r.String())
		b.WriteByte('\n')
		if o.verbose && r.Verdict == ocsptest.Passed && r.Request != "" {
			fmt.Fprintf(&b, "     last sent: %s\n                %x\n     got:       %s\n                %x\n", r.Request, r.Sent, r.Response, r.Got)
		}
	}
	c := count(results)
	fmt.Fprintf(&b, "\n%s: %d cases: %d passed, %d failed (%d normative, %d decided), %d not applicable\n",
		o.target.URL, len(results), c.Passed, c.Normative+c.Decided, c.Normative, c.Decided, c.NotApplicable)
	var missing []string
	if o.target.Revoked == nil {
		missing = append(missing, "-revoked, a certificate that is revoked")
	}
	if o.target.Foreign == nil {
		missing = append(missing, "-foreign, another CA that is served there")
	}
	if c.NotApplicable > 0 && len(missing) > 0 {
		fmt.Fprintf(&b, "more could be judged with %s\n", strings.Join(missing, ", and with "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// report is what -json writes.
type report struct {
	URL     string       `json:"url"`
	Counts  counts       `json:"counts"`
	Results []resultJSON `json:"results"`
}

type resultJSON struct {
	ID        string `json:"id"`
	Title     string `json:"title"`
	Source    string `json:"source"`
	Normative bool   `json:"normative"`
	Verdict   string `json:"verdict"` // pass, fail or n/a
	Detail    string `json:"detail,omitempty"`
	Request   string `json:"request,omitempty"`
	Response  string `json:"response,omitempty"`
	Sent      string `json:"sent,omitempty"` // hex
	Got       string `json:"got,omitempty"`  // hex
}

func writeJSON(w io.Writer, o *options, results []ocsptest.CaseResult) error {
	out := report{URL: o.target.URL, Counts: count(results)}
	for _, r := range results {
		out.Results = append(out.Results, resultJSON{
			ID: r.ID, Title: r.Title, Source: r.Source, Normative: r.Normative, Verdict: r.Verdict.String(), Detail: r.Detail,
			Request: r.Request, Response: r.Response, Sent: hex.EncodeToString(r.Sent), Got: hex.EncodeToString(r.Got),
		})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
