package main

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/kmsocsp/ocsp"
)

// set is a set of labels' names.
type set map[string]bool

func setOf(names ...string) set {
	s := set{}
	for _, name := range names {
		s[name] = true
	}
	return s
}

// exposition is what there is to ask Prometheus for: the names of the samples that a server
// exposes, and their labels.
type exposition map[string]set

var promql = parser.NewParser(parser.Options{})

// readExposition reads the text that a server sends to Prometheus, which adds the labels of the
// target.
func readExposition(t *testing.T, text string) exposition {
	t.Helper()
	e := exposition{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		sample := line[:strings.LastIndexByte(strings.TrimSpace(line), ' ')]
		metric, err := promql.ParseMetric(sample)
		if err != nil {
			t.Fatalf("%s: %v", sample, err)
		}
		name := metric.Get(model.MetricNameLabel)
		if e[name] == nil {
			e[name] = setOf("job", "instance")
		}
		metric.Range(func(l labels.Label) {
			if l.Name != model.MetricNameLabel {
				e[name][l.Name] = true
			}
		})
	}
	return e
}

// check checks that an expression asks for nothing but what is exposed, and returns the labels that
// its result has.
func (e exposition) check(expr string) (set, error) {
	// Grafana's variables stand in strings, but for this one.
	tree, err := promql.ParseExpr(strings.ReplaceAll(expr, "$__rate_interval", "5m"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	names, err := e.labels(tree)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	return names, nil
}

// labels returns the labels that the result of an expression has.
func (e exposition) labels(node parser.Expr) (set, error) {
	switch node := node.(type) {
	case *parser.NumberLiteral, *parser.StringLiteral:
		return set{}, nil
	case *parser.ParenExpr:
		return e.labels(node.Expr)
	case *parser.MatrixSelector:
		return e.labels(node.VectorSelector)
	case *parser.VectorSelector:
		return e.selected(node)
	case *parser.AggregateExpr:
		return e.aggregated(node)
	case *parser.Call:
		return e.called(node)
	case *parser.BinaryExpr:
		return e.combined(node)
	default:
		return nil, fmt.Errorf("%T is not known here", node)
	}
}

func (e exposition) selected(node *parser.VectorSelector) (set, error) {
	names, ok := e[node.Name]
	if !ok {
		return nil, fmt.Errorf("there is no metric %q", node.Name)
	}
	for _, m := range node.LabelMatchers {
		if m.Name == model.MetricNameLabel {
			continue
		}
		if !names[m.Name] {
			return nil, fmt.Errorf("%s has no label %q", node.Name, m.Name)
		}
		if err := checkValues(m); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func (e exposition) aggregated(node *parser.AggregateExpr) (set, error) {
	names, err := e.labels(node.Expr)
	if err != nil {
		return nil, err
	}
	for _, name := range node.Grouping {
		if !names[name] {
			return nil, fmt.Errorf("%s has no label %q to group by", node.Expr, name)
		}
	}
	if !node.Without {
		return setOf(node.Grouping...), nil
	}
	rest := maps.Clone(names)
	maps.DeleteFunc(rest, func(name string, _ bool) bool { return slices.Contains(node.Grouping, name) })
	return rest, nil
}

func (e exposition) called(node *parser.Call) (set, error) {
	names := set{}
	for _, arg := range node.Args {
		of, err := e.labels(arg)
		if err != nil {
			return nil, err
		}
		maps.Copy(names, of)
	}
	switch node.Func.Name {
	case "histogram_quantile":
		if !names["le"] {
			return nil, fmt.Errorf("%s has lost the label le", node)
		}
		delete(names, "le")
	case "scalar":
		return set{}, nil
	}
	return names, nil
}

func (e exposition) combined(node *parser.BinaryExpr) (set, error) {
	left, err := e.labels(node.LHS)
	if err != nil {
		return nil, err
	}
	right, err := e.labels(node.RHS)
	if err != nil {
		return nil, err
	}
	if node.VectorMatching != nil && (node.VectorMatching.On || len(node.VectorMatching.MatchingLabels)+len(node.VectorMatching.Include) > 0) {
		return nil, errors.New("on, ignoring and group_left are not known here")
	}
	// What is not alike on both sides finds no partner. vector(0) may stand in for what has no
	// labels.
	if node.VectorMatching != nil && !maps.Equal(left, right) {
		return nil, fmt.Errorf("%s: the labels %v on one side, %v on the other", node, left, right)
	}
	return left, nil
}

// values are the values that a label may have.
var values = map[string]func() []string{
	"ocsp_outcome": func() (names []string) {
		for o := ocsp.OutcomeSigned; o <= ocsp.OutcomeUnauthorized; o++ {
			names = append(names, o.String())
		}
		return append(names, "canceled")
	},
	"ocsp_status":          func() []string { return []string{ocsp.Good.String(), ocsp.Revoked.String(), ocsp.Unknown.String()} },
	"ocsp_store_condition": func() []string { return []string{"busy", "silent"} },
	"ocsp_nonce":           func() []string { return []string{"true", "false"} },
	"outcome": func() []string { // of a canary
		return []string{"ok", "late", "good", "failed", "unanswered"}
	},
}

var word = regexp.MustCompile(`^\w+$`)

// checkValues checks that a label may have each value that is asked for: a mistyped one would find
// nothing.
func checkValues(m *labels.Matcher) error {
	known, ok := values[m.Name]
	if !ok {
		return nil
	}
	for value := range strings.SplitSeq(m.Value, "|") {
		if !word.MatchString(value) || !slices.Contains(known(), value) {
			return fmt.Errorf("%s: no such value: %q", m, value)
		}
	}
	return nil
}

// TestPromQLCheck: the checks of this file find what is wrong.
func TestPromQLCheck(t *testing.T) {
	e := exposition{
		"a_total":  setOf("job", "ocsp_outcome"),
		"b_bucket": setOf("job", "le"),
	}
	for expr, want := range map[string]string{
		`sum by (job) (rate(a_total{ocsp_outcome=~"signed|stale"}[$__rate_interval]))`: "",
		`histogram_quantile(0.5, sum without (job) (rate(b_bucket[5m])))`:              "",
		`sum(a_total) / (sum(b_bucket) or vector(0)) > 1`:                              "",
		`a_total / scalar(sum(b_bucket))`:                                              "",
		`sum(`:                                                                         "parse error",
		`rate(c_total[5m])`:                                                            `no metric "c_total"`,
		`a_total{jab="x"}`:                                                             `no label "jab"`,
		`a_total{ocsp_outcome="sined"}`:                                                `no such value: "sined"`,
		`a_total{ocsp_outcome=~"signed|stail"}`:                                        `no such value: "stail"`,
		`sum by (le) (a_total)`:                                                        `no label "le" to group by`,
		`sum by (le) (sum(b_bucket))`:                                                  `no label "le" to group by`,
		`histogram_quantile(0.5, sum by (job) (rate(b_bucket[5m])))`:                   "lost the label le",
		`sum by (job) (a_total) / sum by (le) (b_bucket)`:                              "on the other",
		`a_total * on (job) sum by (job) (b_bucket)`:                                   "not known here",
	} {
		_, err := e.check(expr)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", expr, err, want)
		}
	}
}
