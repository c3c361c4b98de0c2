package ocsptest

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Target is the responder that Conformance is to judge, and what must be known about it. It needs an Issuer, a
// Good certificate and either a Handler or a URL; every other zero field has a default.
type Target struct {
	// Handler is the responder. It is served on a loopback port while the cases run, since many of them are
	// about what happens on the wire. Nil judges what answers at URL.
	Handler http.Handler
	// URL is where the responder is, such as a certificate's OCSPServer. With a Handler it is the path of its
	// mount; zero is "/ocsp".
	URL string
	// HTTP sends the requests. Its redirect policy is not used: a redirect is something to judge. Cases that
	// need a bare connection open one with the dialer and the TLS configuration of its http.Transport, and do not
	// apply to any other kind of RoundTripper. Nil is a client of the suite's own.
	HTTP *http.Client
	// Header goes into each request, such as an Authorization for a guarded endpoint.
	Header http.Header

	// Issuer is the CA to ask about. Required.
	Issuer *x509.Certificate
	// Good is a certificate of the Issuer that is not revoked. Required; only its serial number is used.
	Good *x509.Certificate
	// Revoked is one that is. Nil leaves out what needs it.
	Revoked *x509.Certificate
	// Unissued is a serial number that the Issuer never issued. Nil is a random one of 16 octets.
	Unissued *big.Int
	// Foreign is another CA that the same responder answers for, and that did not issue Good's serial number too.
	// Nil leaves out what needs it.
	Foreign *x509.Certificate

	// NonceIgnored says that the responder answers without the nonce on purpose, as RFC 9919 has it. Zero
	// expects it back, and reports a responder that leaves it out.
	NonceIgnored bool
	// CaseTimeout bounds one case, however many requests it takes. Zero is 20 s.
	CaseTimeout time.Duration
	// Only chooses the cases to run. Nil runs all.
	Only func(Case) bool
	// Now is the clock that answers are judged by. Nil is time.Now.
	Now func() time.Time
}

// Case is one expectation of how a responder answers.
type Case struct {
	// ID is its number in the project's conformance matrix, such as "T35". It is stable.
	ID string
	// Title says what is sent and what must come back.
	Title string
	// Source is where the expectation comes from: the section of a standard, or whose behaviour was the model.
	Source string
	// Normative tells what the source requires from what this project has decided where standards leave room.
	Normative bool
}

// Verdict is what became of a case.
type Verdict uint8

const (
	// Failed means that the responder did something else. It is the zero value.
	Failed Verdict = iota
	// Passed means that every variant of the case was answered as expected.
	Passed
	// NotApplicable means that the case cannot be judged here; CaseResult.Detail says why.
	NotApplicable
)

// String returns "fail", "pass" or "n/a".
func (v Verdict) String() string {
	switch v {
	case Passed:
		return "pass"
	case NotApplicable:
		return "n/a"
	default:
		return "fail"
	}
}

// CaseResult is what came of one case.
type CaseResult struct {
	// Case is the case. Of a failed one, Normative tells whether what was violated is normative: some normative
	// cases also expect what is only decided.
	Case
	Verdict Verdict
	// Detail says in words what was wrong, or why the case does not apply. It is empty for a case that passed.
	Detail string
	// Request and Response say in words what was sent and what came back: in the exchange that failed, or in
	// the last one. They are empty for a case that sent nothing.
	Request, Response string
	// Sent is the OCSP request, or what stood in its place. Got is the body of the answer.
	Sent, Got []byte
}

// String returns a line that tells the verdict and, for a case that failed, lines with what was sent and what
// came back, in words and hex.
func (r CaseResult) String() string {
	kind := "decided"
	if r.Normative {
		kind = "normative"
	}
	s := fmt.Sprintf("%-4s %-4s %-9s %s (%s)", r.ID, r.Verdict, kind, r.Title, r.Source)
	switch r.Verdict {
	case NotApplicable:
		s += "\n     " + r.Detail
	case Failed:
		s += "\n     " + r.Detail
		for _, part := range []struct {
			label, words string
			octets       []byte
		}{{"sent: ", r.Request, r.Sent}, {"got:  ", r.Response, r.Got}} {
			if part.words != "" {
				s += "\n     " + part.label + part.words
			}
			if len(part.octets) > 0 {
				s += "\n           " + hexLine(part.octets)
			}
		}
	}
	return s
}

// hexLine is hex with an end, for reports that people read.
func hexLine(b []byte) string {
	const most = 512
	if len(b) <= most {
		return hex.EncodeToString(b)
	}
	return fmt.Sprintf("%x… (%d octets)", b[:most], len(b))
}

// Conformance asks a responder what clients ask, and much that they should not, and judges each answer. It
// returns one result for each case, in the order of the matrix. Nothing that the responder sends or fails to
// send makes it panic, hang or grow without bound.
//
// One fault of the responder should fail one case. So a case looks at what it is about; what must hold for all
// answers (T170, T171, T190 to T197 and P1) is checked on every answer of the whole run and reported once.
//
// What needs control over the store, the clock or the signer of the responder cannot be judged from outside and
// is not here: deadlines (T11), failures, revocation under way, cache ageing, signed requests that are
// required. Cases whose outcome is the operator's choice, such as strictness and limits, pass with each
// permitted outcome.
//
// An error means that there is nothing to judge: the Target is incomplete, nobody answers at the URL, or ctx
// ended, in which case the results so far come with it.
func Conformance(ctx context.Context, t Target) ([]CaseResult, error) {
	c, err := newChecker(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("ocsptest: conformance: %w", err)
	}
	defer c.close()
	var results []CaseResult
	for _, test := range conformanceTable() {
		if t.Only != nil && !t.Only(test.Case) {
			continue
		}
		result := c.run(ctx, test)
		if err := ctx.Err(); err != nil {
			return results, fmt.Errorf("ocsptest: conformance: before the end of %s: %w", test.ID, err)
		}
		results = append(results, result)
	}
	return results, nil
}

// ConformanceCases lists the cases that Conformance runs.
func ConformanceCases() []Case {
	var cases []Case
	for _, test := range conformanceTable() {
		cases = append(cases, test.Case)
	}
	return cases
}

// conformanceCase is a case and what it does: nil for passed, a notApplicable or a *failure.
type conformanceCase struct {
	Case
	run func(*probe) error
}

func conformanceTable() []conformanceCase {
	return slices.Concat(httpCases, pathCases, derCases, certIDCases, extensionCases, nonceCases, statusCases, cachingCases, standingCases)
}

const (
	normative = true
	decided   = false
)

// notApplicable is the reason why a case cannot be judged.
type notApplicable string

func (n notApplicable) Error() string { return string(n) }

// failure is what was wrong in an exchange, which may be nil.
type failure struct {
	detail  string
	ex      *exchange
	decided bool // what was violated is not normative, even if the case is
}

func (f *failure) Error() string { return f.detail }

func wrong(ex *exchange, format string, args ...any) error {
	return &failure{detail: fmt.Sprintf(format, args...), ex: ex}
}

// asDecided marks a failure as one of a case's decided part.
func asDecided(err error) error {
	var f *failure
	if errors.As(err, &f) {
		f.decided = true
	}
	return err
}

func (c *checker) run(ctx context.Context, test conformanceCase) CaseResult {
	ctx, cancel := context.WithTimeout(ctx, c.target.CaseTimeout)
	defer cancel()
	p := &probe{checker: c, ctx: ctx}
	result := CaseResult{Case: test.Case}
	err := test.run(p)
	var f *failure
	var n notApplicable
	ex := p.last
	switch {
	case err == nil:
		result.Verdict = Passed
	case errors.As(err, &n):
		result.Verdict, result.Detail = NotApplicable, string(n)
	case errors.As(err, &f):
		result.Detail, ex = f.detail, f.ex
		result.Normative = result.Normative && !f.decided
	default:
		result.Detail = err.Error()
	}
	if ex != nil {
		result.Request, result.Response, result.Sent, result.Got = ex.request(), ex.response(), ex.sent, ex.body
	}
	return result
}

// tally collects the failures among the variants of a case.
type tally struct {
	total  int
	first  *failure
	failed []string
}

func (t *tally) add(what string, err error) {
	t.total++
	var f *failure
	if !errors.As(err, &f) {
		return
	}
	t.failed = append(t.failed, what)
	// A normative failure is the one to report.
	if t.first == nil || t.first.decided && !f.decided {
		t.first = f
	}
}

func (t *tally) err() error {
	if t.first == nil {
		return nil
	}
	f := *t.first
	if t.total > 1 {
		names := t.failed
		if len(names) > 12 {
			names = append(slices.Clone(names[:12]), "…")
		}
		f.detail += fmt.Sprintf(" [%d of %d variants: %s]", len(t.failed), t.total, strings.Join(names, "; "))
	}
	return &f
}
