package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// summary is what became of all canaries at a target.
type summary struct {
	target
	canaries                    map[watchOutcome]int
	slowestRevoked, slowestGood time.Duration
	revoked, good               bool // whether there was such an answer after a revocation
}

func (s *summary) add(m *measure, revocation time.Time) {
	if s.canaries == nil {
		s.canaries = map[watchOutcome]int{}
	}
	s.canaries[m.outcome]++
	first, revoked := m.revoked(revocation)
	last, good := m.good(revocation)
	s.slowestRevoked, s.revoked = max(s.slowestRevoked, first), s.revoked || revoked
	s.slowestGood, s.good = max(s.slowestGood, last), s.good || good
}

// inWords describes the times of the first revoked answer and of the last good one.
func inWords(first time.Duration, revoked bool, last time.Duration, good bool) string {
	words := "no revoked answer"
	if revoked {
		words = fmt.Sprintf("first revoked answer after %v", first.Round(time.Millisecond))
	}
	if !good {
		return words + ", no good one"
	}
	return fmt.Sprintf("%s, last good one after %v", words, last.Round(time.Millisecond))
}

// measureJSON is a line that -json writes.
type measureJSON struct {
	Canary  int          `json:"canary"`
	Revoked time.Time    `json:"revoked"` // when the -revoke command ended
	Serial  string       `json:"serial"`
	URL     string       `json:"url"`
	Method  string       `json:"method"`
	Outcome watchOutcome `json:"outcome"`
	// FirstRevoked is when the first revoked answer arrived, LastGood when the last request was
	// sent that was answered good: seconds after Revoked. They are null without such an answer.
	FirstRevoked *float64 `json:"first_revoked_seconds"`
	LastGood     *float64 `json:"last_good_seconds"`
	Asked        int      `json:"asked"`
	Detail       string   `json:"detail,omitempty"`
}

// failureJSON is the line of a canary that could not be issued or revoked.
type failureJSON struct {
	Canary int    `json:"canary"`
	Error  string `json:"error"`
}

// detail is what explains an outcome.
func (m *measure) detail(revocation time.Time) string {
	if m.outcome == unanswered || m.outcome == neverShown {
		return m.last.reason()
	}
	if _, ok := m.good(revocation); !ok {
		return ""
	}
	when := "after"
	made := m.lastGood.produced.Sub(revocation)
	if made < 0 {
		made, when = -made, "before"
	}
	made = made.Round(time.Second)
	text := fmt.Sprintf("the good one was produced %v %s the revocation", made, when)
	if m.lastGood.age != "" {
		text += ", and had the Age " + m.lastGood.age
	}
	return text
}

// write reports a canary.
func (w *watch) write(n int, c *canary, measures []*measure, revocation time.Time) error {
	var b strings.Builder
	serial, at := c.values["{serial}"], revocation.UTC()
	if !w.json {
		const text = "canary %d, serial number %s, revoked at %s\n"
		fmt.Fprintf(&b, text, n, serial, at.Format("2006-01-02T15:04:05.000Z"))
	}
	for i, m := range measures {
		w.summaries[i].add(m, revocation)
		first, revoked := m.revoked(revocation)
		last, good := m.good(revocation)
		detail := m.detail(revocation)
		if w.json {
			line := measureJSON{
				Canary: n, Revoked: at, Serial: serial, URL: m.shown, Method: m.method,
				Outcome: m.outcome, Asked: m.asked, Detail: detail,
			}
			if revoked {
				line.FirstRevoked = new(first.Seconds())
			}
			if good {
				line.LastGood = new(last.Seconds())
			}
			if err := json.NewEncoder(&b).Encode(line); err != nil {
				return err
			}
			continue
		}
		if detail != "" {
			detail = "; " + detail
		}
		words := inWords(first, revoked, last, good)
		fmt.Fprintf(&b, "  %-10s %v  %s%s\n", m.outcome, m.target, words, detail)
	}
	_, err := io.WriteString(w.out, b.String())
	return err
}

func (w *watch) writeFailure(n int, failure error) error {
	if !w.json {
		return nil // it is on the standard error
	}
	return json.NewEncoder(w.out).Encode(failureJSON{n, failure.Error()})
}

// writeSummary reports all canaries.
func (w *watch) writeSummary() error {
	if w.json {
		return nil
	}
	var b strings.Builder
	b.WriteByte('\n')
	for _, s := range w.summaries {
		var parts []string
		for _, o := range outcomes {
			if n := s.canaries[o]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, o))
			}
		}
		if len(parts) > 0 {
			words := inWords(s.slowestRevoked, s.revoked, s.slowestGood, s.good)
			const text = "%v  canaries: %s; the slowest: %s\n"
			fmt.Fprintf(&b, text, s.target, strings.Join(parts, ", "), words)
		}
	}
	_, err := io.WriteString(w.out, b.String())
	return err
}
