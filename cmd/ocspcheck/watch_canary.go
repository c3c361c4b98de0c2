package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp/ocsptest"
)

// target is a URL, and a method to ask it by.
type target struct {
	url, shown string // shown is without a password
	method     string
}

func (t target) String() string { return fmt.Sprintf("%-4s %s", t.method, t.shown) }

// answer is what came back for a request.
type answer struct {
	sent, arrived time.Time
	status        int       // of x/crypto/ocsp
	produced      time.Time // producedAt
	age           string    // the header field, which caches set
	err           error     // there is no status that a client would believe
}

// ask asks a target once.
func (w *watch) ask(ctx context.Context, t target, c *canary) answer {
	ctx, cancel := context.WithTimeout(ctx, w.checkTimeout)
	defer cancel()
	a := answer{sent: time.Now()}
	client := ocsptest.Client{URL: t.url, Method: t.method, HTTP: w.client, Header: w.header}
	result, err := client.Send(ctx, c.request)
	a.arrived = time.Now()
	switch {
	case ctx.Err() != nil:
		a.err = fmt.Errorf("no answer in %v", w.checkTimeout)
	case err != nil:
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL, which is long
		}
		a.err = fmt.Errorf("no answer: %w", err)
	case result.StatusCode == http.StatusUnauthorized || result.StatusCode == http.StatusForbidden:
		const text = "HTTP status %d: give the credentials it wants with -header"
		a.err = fmt.Errorf(text, result.StatusCode)
	case result.StatusCode != http.StatusOK:
		a.err = fmt.Errorf("HTTP status %d: ocspcheck doctor examines why", result.StatusCode)
	default:
		a.age = result.Header.Get("Age")
		a.err = a.read(result.DER, w, c)
	}
	return a
}

// read reads the answer about the canary and verifies it.
func (a *answer) read(der []byte, w *watch, c *canary) error {
	status, err := ocsptest.ErrorStatus(der)
	if err != nil {
		return errors.New("HTTP status 200, and no OCSP answer")
	}
	if status != xocsp.Success {
		return fmt.Errorf("the OCSP error %s", statusName(status))
	}
	if err := ocsptest.Verify(der, w.issuer); err != nil {
		return err
	}
	responses, err := ocsptest.Parse(der, nil)
	if err != nil {
		return err
	}
	for _, r := range responses {
		if r.SerialNumber.Cmp(c.cert.SerialNumber) != 0 {
			continue
		}
		if end := r.NextUpdate; !end.IsZero() && a.arrived.After(end) {
			return fmt.Errorf("an answer whose nextUpdate was %s", end.UTC().Format(time.RFC3339))
		}
		a.status, a.produced = r.Status, r.ProducedAt
		return nil
	}
	return errors.New("an answer about another certificate")
}

// reason is why an answer is not good, in words.
func (a *answer) reason() string {
	switch {
	case a.err != nil:
		return a.err.Error()
	case a.status == xocsp.Revoked:
		return "it answers revoked"
	default:
		return "it answers unknown"
	}
}

// watchOutcome is what became of a canary at a target.
type watchOutcome string

const (
	showed     watchOutcome = "ok"
	late       watchOutcome = "late"       // the bound is broken
	stillGood  watchOutcome = "good"       // the last answers were good when the time was up
	neverShown watchOutcome = "failed"     // no revoked answer came, and no good one at last
	unanswered watchOutcome = "unanswered" // there was no good answer before the revocation
)

var outcomes = []watchOutcome{showed, late, stillGood, neverShown, unanswered}

// breaks reports whether a revocation did not show as it must.
func (o watchOutcome) breaks() bool { return o == late || o == stillGood || o == neverShown }

// measure is what a target answered about a canary.
type measure struct {
	target
	outcome      watchOutcome
	asked        int
	last         answer
	lastGood     answer    // zero without one
	firstRevoked time.Time // when the first revoked answer arrived; zero without one
}

func (m *measure) add(a answer) {
	m.last = a
	switch {
	case a.err != nil:
	case a.status == xocsp.Good:
		m.lastGood = a
	case a.status == xocsp.Revoked && m.firstRevoked.IsZero():
		m.firstRevoked = a.arrived
	}
}

// good returns how long after the revocation the last request was sent that was answered good. One
// that was sent earlier may be answered from before the revocation.
func (m *measure) good(revocation time.Time) (after time.Duration, ok bool) {
	if m.lastGood.sent.Before(revocation) {
		return 0, false
	}
	return m.lastGood.sent.Sub(revocation), true
}

// revoked returns how long after the revocation the first revoked answer arrived. It is zero if
// that was before the -revoke command ended.
func (m *measure) revoked(revocation time.Time) (after time.Duration, ok bool) {
	return max(0, m.firstRevoked.Sub(revocation)), !m.firstRevoked.IsZero()
}

// judge sets the outcome by what was answered up to now, and reports whether that is all that there
// is to ask.
func (m *measure) judge(o *watchOptions, revocation time.Time) (done bool) {
	elapsed := m.last.arrived.Sub(revocation)
	first, revoked := m.revoked(revocation)
	last, _ := m.good(revocation)
	if !revoked {
		first = elapsed
	}
	broken := o.within > 0 && max(first, last) > o.within
	good := m.last.err == nil && m.last.status == xocsp.Good
	switch {
	case broken && o.stop:
		m.outcome = late
		return true
	case !revoked && good, revoked && elapsed < last+o.settle:
		m.outcome = stillGood
	case !revoked:
		m.outcome = neverShown
	case broken:
		m.outcome = late
	default:
		m.outcome = showed
	}
	settled := revoked && elapsed >= max(o.within, first, last)+o.settle
	return settled || elapsed >= o.maxWait
}

// canary issues a canary, asks about it, revokes it, and asks on. Without an error it is revoked
// when canary returns. It returns no measures if ctx ends before they are complete.
func (w *watch) canary(ctx context.Context, n int) (measures []*measure, err error) {
	dir, err := os.MkdirTemp("", "ocspcheck")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := w.issueCanary(ctx, dir)
	if err == nil {
		err = w.setTargets(c)
	}
	if err == nil && ctx.Err() == nil {
		measures, err = w.before(ctx, n, c)
	}
	if err != nil || ctx.Err() != nil {
		if c != nil {
			err = errors.Join(err, w.revokeCanary(ctx, c))
		}
		return nil, err
	}
	revocation, err := w.through(ctx, c, measures)
	if err != nil && ctx.Err() != nil { // an interrupt from a terminal also reaches the command
		err = w.revokeCanary(ctx, c)
	}
	if err != nil || ctx.Err() != nil {
		return nil, err
	}
	for _, m := range measures {
		w.metrics.add(m, revocation)
	}
	return measures, w.write(n, c, measures, revocation)
}

// setTargets makes the list of what to ask, when the first canary may have the URLs.
func (w *watch) setTargets(c *canary) error {
	if w.summaries != nil {
		return nil
	}
	urls := w.urls
	if len(urls) == 0 {
		urls = c.cert.OCSPServer // clients may use any of them
	}
	if len(urls) == 0 {
		return errors.New("give -url: there is none in the certificate")
	}
	for _, text := range urls {
		u, err := parseURL(text)
		if err != nil {
			return fmt.Errorf("give -url: one in the certificate is no use: %w", err)
		}
		for _, method := range w.methods {
			t := target{text, u.Redacted(), method}
			w.summaries = append(w.summaries, &summary{target: t})
			w.metrics.register(t)
		}
	}
	return nil
}

// goodAnswers is how many in a row a target must give before the revocation. With two there was a
// request that a cache could answer.
const goodAnswers = 2

// before asks all targets until they answer good. One that does not is unanswered, which for the
// first canary is an error.
func (w *watch) before(ctx context.Context, n int, c *canary) ([]*measure, error) {
	measures := make([]*measure, len(w.summaries))
	errs := make([]error, len(measures))
	var all sync.WaitGroup
	for i, s := range w.summaries {
		m := &measure{target: s.target}
		measures[i] = m
		all.Go(func() {
			begun, inRow := time.Now(), 0
			for {
				m.asked++
				m.last = w.ask(ctx, m.target, c)
				if m.last.err == nil && m.last.status == xocsp.Good {
					inRow++
				} else {
					inRow = 0
				}
				if inRow == goodAnswers {
					return
				}
				if time.Since(begun) >= w.goodWait {
					m.outcome = unanswered
					const text = "%v does not answer good in -good-wait %v: %s"
					errs[i] = fmt.Errorf(text, m.target, w.goodWait, m.last.reason())
					return
				}
				if !wait(ctx, w.interval) {
					return
				}
			}
		})
	}
	all.Wait()
	if n > 1 || ctx.Err() != nil {
		return measures, nil
	}
	return measures, errors.Join(errs...)
}

// through revokes the canary and asks all targets meanwhile and later. It returns when the -revoke
// command has ended.
func (w *watch) through(
	ctx context.Context, c *canary, measures []*measure,
) (revocation time.Time, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	revoked := make(chan struct{})
	var all sync.WaitGroup
	for _, m := range measures {
		if m.outcome == unanswered {
			continue
		}
		all.Go(func() {
			wake := revoked
			for {
				m.asked++
				m.add(w.ask(ctx, m.target, c))
				select {
				case <-revoked:
					if m.judge(w.watchOptions, revocation) {
						return
					}
				default:
				}
				select {
				case <-ctx.Done():
					return
				case <-wake: // ask at once
					wake = nil
				case <-time.After(w.interval):
				}
			}
		})
	}
	err = w.revokeCanary(ctx, c)
	revocation = time.Now()
	if err != nil {
		cancel()
	} else {
		close(revoked)
	}
	all.Wait()
	return revocation, err
}
