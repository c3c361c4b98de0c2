package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// diagnosis is the report of an examination, and what -json writes.
type diagnosis struct {
	URL      string        `json:"url"`
	Direct   string        `json:"direct,omitempty"`
	Seen     []string      `json:"seen"` // products that showed themselves on the way, and how
	Counts   doctorCounts  `json:"counts"`
	Problems []diagnosed   `json:"problems"`
	Checks   []checkReport `json:"checks"`
}

type doctorCounts struct {
	OK        int `json:"ok"`
	Normative int `json:"broken_normative"`
	Decided   int `json:"broken_decided"`
	Repaired  int `json:"repaired"`
	Notes     int `json:"notes"`
	Skipped   int `json:"skipped"`
}

// diagnosed is one fault, with all checks that it broke.
type diagnosed struct {
	Fault     fault    `json:"fault"`
	Title     string   `json:"title"`
	Normative bool     `json:"normative"`
	Repaired  bool     `json:"repaired"` // nothing fails but what the responder cannot put right
	Where     string   `json:"where"`
	Checks    []string `json:"checks"`
	Sent      string   `json:"sent"`
	Got       string   `json:"got"`
	Cause     string   `json:"cause"`
	Cures     []cure   `json:"cures"`
}

type checkReport struct {
	ID        string  `json:"id"`
	Title     string  `json:"title"`
	Source    string  `json:"source"`
	Normative bool    `json:"normative"`
	Verdict   verdict `json:"verdict"`
	Fault     fault   `json:"fault,omitempty"`
	Detail    string  `json:"detail,omitempty"`
	Sent      string  `json:"sent,omitempty"`
	Got       string  `json:"got,omitempty"`
	Direct    string  `json:"direct,omitempty"` // what came of it at -direct
}

// diagnose makes the report of outcomes.
func (d *doctor) diagnose(outcomes []*outcome) *diagnosis {
	report := &diagnosis{URL: d.public.Redacted(), Seen: []string{}, Problems: []diagnosed{}}
	if d.direct != nil {
		report.Direct = d.direct.Redacted()
	}
	for _, product := range slices.Sorted(maps.Keys(d.seen)) {
		report.Seen = append(report.Seen, product+" ("+d.seen[product]+")")
	}
	for _, r := range outcomes {
		line := checkReport{ID: r.check.id, Title: r.check.title, Source: r.check.source, Normative: r.check.normative, Verdict: r.verdict, Detail: r.detail, Sent: r.sent}
		if r.problem != nil {
			line.Got = r.problem.words
			line.Fault = d.faultOf(r)
			report.add(d, r, line.Fault)
		}
		if r.direct != nil {
			line.Direct = string(r.direct.verdict)
			if r.direct.problem != nil {
				line.Direct += ": " + r.direct.problem.words
			}
		}
		report.Checks = append(report.Checks, line)
		report.Counts.add(r)
	}
	return report
}

func (c *doctorCounts) add(r *outcome) {
	switch {
	case r.verdict == passed:
		c.OK++
	case r.verdict == repaired:
		c.Repaired++
	case r.verdict == noted:
		c.Notes++
	case r.verdict == skipped:
		c.Skipped++
	case r.check.normative:
		c.Normative++
	default:
		c.Decided++
	}
}

// add adds an outcome to the problem it belongs to.
func (report *diagnosis) add(d *doctor, r *outcome, f fault) {
	where := d.where(r)
	normative := r.check.normative && r.verdict == broken
	i := slices.IndexFunc(report.Problems, func(p diagnosed) bool { return p.Fault == f && p.Where == where })
	if i < 0 {
		i = len(report.Problems)
		report.Problems = append(report.Problems, diagnosed{
			Fault: f, Title: faults[f].title, Repaired: true, Where: where, Sent: r.sent, Got: r.problem.words, Cause: faults[f].cause, Cures: d.cures(f),
		})
	}
	p := &report.Problems[i]
	p.Checks = append(p.Checks, r.check.id)
	p.Normative = p.Normative || normative
	p.Repaired = p.Repaired && r.verdict == repaired
}

func (report *diagnosis) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(report)
}

func (report *diagnosis) writeText(w io.Writer) error {
	var b strings.Builder
	for _, c := range report.Checks {
		fmt.Fprintf(&b, "%-8s %-9s %-17s %s (%s)\n", c.Verdict, kindName(c.Normative), c.ID, c.Title, c.Source)
		if c.Detail != "" {
			fmt.Fprintf(&b, "         %s\n", c.Detail)
		}
	}
	for i, p := range report.Problems {
		fmt.Fprintf(&b, "\nProblem %d: %s", i+1, p.Title)
		if p.Repaired {
			b.WriteString(" (repaired by the responder, as far as it can)")
		}
		fmt.Fprintf(&b, "\n  breaks: %s\n  where:  %s\n  sent:   %s\n  got:    %s\n  cause:  %s\n", strings.Join(p.Checks, ", "), p.Where, p.Sent, p.Got, p.Cause)
		for _, c := range p.Cures {
			label := "cure"
			if c.Proxy != "" {
				label += ", " + c.Proxy
			}
			fmt.Fprintf(&b, "  %s: %s\n", label, c.Setting)
		}
	}
	if len(report.Seen) > 0 {
		fmt.Fprintf(&b, "\nSeen on the way: %s\n", strings.Join(report.Seen, ", "))
	}
	c := report.Counts
	fmt.Fprintf(&b, "\n%s: %d checks: %d ok, %d broken (%d normative, %d decided), %d repaired, %d notes, %d skipped\n",
		report.URL, len(report.Checks), c.OK, c.Normative+c.Decided, c.Normative, c.Decided, c.Repaired, c.Notes, c.Skipped)
	_, err := io.WriteString(w, b.String())
	return err
}
