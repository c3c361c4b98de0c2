package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"go.yaml.in/yaml/v3"
)

// Files for operators that name the metrics of /metrics.
const (
	dashboardFile = "../../docs/grafana/ocsp.json"
	rulesFile     = "../../docs/prometheus/ocsp.rules.yml"
	metricsPage   = "../../docs/METRICS.md"
	watchPage     = "../../docs/RELIABILITY.md"
	// What ocspcheck watch exposes; a test there compares.
	watchMetrics = "../../cmd/ocspcheck/testdata/watch.prom"
)

func readDoc(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// grafana is what the checks need of a dashboard.
type grafana struct {
	UID           string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []panel
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Datasource  struct{ UID string }
	Targets     []struct {
		Expr, LegendFormat string
		Datasource         struct{ UID string }
	}
}

func readDashboard(t *testing.T) grafana {
	t.Helper()
	var d grafana
	if err := json.Unmarshal(readDoc(t, dashboardFile), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// checkSchema checks that Grafana's own schema knows each field of the dashboard, and misses none.
func checkSchema(text []byte) error {
	//lint:ignore SA1019 the classic model is the one that every version of Grafana imports
	var strict dashboard.Dashboard
	if err := strict.UnmarshalJSONStrict(text); err != nil && err.Error() != "" { // it returns empty lists of errors
		return err
	}
	return strict.Validate()
}

// TestDashboardImports: Grafana can read the dashboard, which asks the data source that its user
// chooses.
func TestDashboardImports(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	text := readDoc(t, dashboardFile)
	if err := checkSchema(text); err != nil {
		t.Error(err)
	}
	for _, name := range []string{`"gridPos"`, `"schemaVersion"`, `"reduceOptions"`, `"legendFormat"`} {
		if checkSchema(bytes.Replace(text, []byte(name), []byte(`"another"`), 1)) == nil {
			t.Errorf("the schema does not miss %s", name)
		}
	}
	d := readDashboard(t)
	if d.UID == "" || d.SchemaVersion == 0 {
		t.Errorf("uid %q, schemaVersion %d", d.UID, d.SchemaVersion)
	}
	variables := set{}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
	}
	ids := map[int]string{}
	for i, p := range d.Panels {
		if other, ok := ids[p.ID]; ok {
			t.Errorf("%q and %q have the same id", p.Title, other)
		}
		ids[p.ID] = p.Title
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%q is beyond the right edge", p.Title)
		}
		for _, q := range d.Panels[:i] {
			a, b := p.GridPos, q.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%q lies on %q", p.Title, q.Title)
			}
		}
		if (p.Type == "row") != (len(p.Targets) == 0) {
			t.Errorf("%q, a %s, has %d targets", p.Title, p.Type, len(p.Targets))
		}
		for _, target := range p.Targets {
			if p.Datasource.UID != "${datasource}" || target.Datasource.UID != "${datasource}" {
				t.Errorf("%q asks a data source of its own", p.Title)
			}
			for _, used := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				if !variables[used[1]] && used[1] != "__rate_interval" {
					t.Errorf("%q: there is no variable %s", p.Title, used[0])
				}
			}
		}
	}
}

var (
	legendLabel = regexp.MustCompile(`{{ *(\w+) *}}`)
	labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
	alertLabel  = regexp.MustCompile(`\$labels\.(\w+)`)
)

// checkDashboard checks that all that the dashboard asks for is there, and that it shows all OCSP
// metrics.
func checkDashboard(d grafana, e exposition) error {
	var errs []error
	used := ""
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			used += target.Expr
			names, err := e.check(target.Expr)
			errs = append(errs, about(p.Title, err), about(p.Title, checkNames(legendLabel, target.LegendFormat, names, err)))
		}
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		query := labelValues.FindStringSubmatch(v.Definition)
		if query == nil {
			errs = append(errs, fmt.Errorf("variable %s: the query %q is not one of label values", v.Name, v.Definition))
			continue
		}
		names, err := e.check(query[1])
		if err == nil && !names[query[2]] {
			err = fmt.Errorf("there is no label %q", query[2])
		}
		errs = append(errs, about("variable "+v.Name, err))
	}
	for _, name := range append(e.families("ocsp_"), e.families("ocspcheck_")...) {
		if !strings.Contains(used, name) {
			errs = append(errs, fmt.Errorf("no panel shows %s", name))
		}
	}
	return errors.Join(errs...)
}

// families are the metrics that are exposed, by the beginning of their names, without what
// histograms add to the names.
func (e exposition) families(prefix string) (list []string) {
	for name := range e {
		if family, part := strings.CutSuffix(name, "_bucket"); part && strings.HasPrefix(name, prefix) {
			list = append(list, family)
		} else if strings.HasPrefix(name, prefix) && strings.HasSuffix(name, "_total") {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

func about(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// checkNames checks the labels that a text refers to, unless what they are of is wrong already.
func checkNames(reference *regexp.Regexp, text string, names set, err error) error {
	if err != nil {
		return nil
	}
	for _, name := range reference.FindAllStringSubmatch(text, -1) {
		if !names[name[1]] {
			return fmt.Errorf("%q: there is no label %q", text, name[1])
		}
	}
	return nil
}

// alert is an alerting rule of Prometheus.
type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

type rules struct {
	Groups []struct {
		Name  string
		Rules []alert
	}
}

func readRules(t *testing.T) (list []alert) {
	t.Helper()
	var file rules
	decoder := yaml.NewDecoder(bytes.NewReader(readDoc(t, rulesFile)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	if err := decoder.Decode(&file); !errors.Is(err, io.EOF) {
		t.Errorf("more than one document: %v", err)
	}
	for _, group := range file.Groups {
		list = append(list, group.Rules...)
	}
	return list
}

// checkRules checks that all that the alerts ask for and tell is there.
func checkRules(list []alert, e exposition) error {
	var errs []error
	for _, a := range list {
		names, err := e.check(a.Expr)
		errs = append(errs, about(a.Alert, err))
		for _, text := range a.Annotations {
			errs = append(errs, about(a.Alert, checkNames(alertLabel, text, names, err)))
		}
	}
	return errors.Join(errs...)
}

// tableRow is a row of the page's table: a metric, its name in OpenTelemetry, the unit, the labels,
// the meaning.
var tableRow = regexp.MustCompile("(?m)^\\| `(ocsp_\\w+)` \\| `(ocsp\\.[\\w.]+)` \\| (\\w+) \\| ([^|]+) \\| [^|]+ \\|$")

// checkPage checks that the page has each metric with its labels, and no other.
func checkPage(page string, e exposition) error {
	var errs []error
	var told []string
	for _, row := range tableRow.FindAllStringSubmatch(page, -1) {
		name := row[1]
		told = append(told, name)
		want := setOf("job", "instance")
		for _, label := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[4], -1) {
			want[label[1]] = true
		}
		got := e[name]
		if got == nil && e[name+"_bucket"] != nil {
			got = maps.Clone(e[name+"_bucket"])
			delete(got, "le")
		}
		if !maps.Equal(got, want) {
			errs = append(errs, fmt.Errorf("%s has the labels %v, and on the page %v", name, got, want))
		}
	}
	slices.Sort(told)
	if families := e.families("ocsp_"); !slices.Equal(told, families) {
		errs = append(errs, fmt.Errorf("the page has the metrics %v, there are %v", told, families))
	}
	return errors.Join(errs...)
}

// TestDashboard requires that every metric and label on the dashboard, in the alerts and on the
// page is one of /metrics, and that none is missing. It fails when a metric is renamed in one place
// only.
func TestDashboard(t *testing.T) {
	d, alerts, page := readDashboard(t), readRules(t), string(readDoc(t, metricsPage))
	e := readExposition(t, scrape(t))
	maps.Copy(e, readExposition(t, string(readDoc(t, watchMetrics))))
	if err := errors.Join(checkDashboard(d, e), checkRules(alerts, e), checkPage(page, e)); err != nil {
		t.Error(err)
	}
	families, watched := e.families("ocsp_"), e.families("ocspcheck_")
	if len(families) != 6 || len(watched) != 4 || len(alerts) == 0 {
		t.Errorf("metrics %v and %v, %d alerts", families, watched, len(alerts))
	}
	for _, family := range watched {
		if !strings.Contains(string(readDoc(t, watchPage)), "| `"+family+"` |") {
			t.Errorf("%s has no row for %s", watchPage, family)
		}
	}
	names := set{}
	for _, a := range alerts {
		if names[a.Alert] || !strings.Contains(page, "`"+a.Alert+"`") {
			t.Errorf("the alert %s is there twice, or not on the page", a.Alert)
		}
		names[a.Alert] = true
	}

	renamed := set{}
	for _, family := range append(families, watched...) {
		other := exposition{}
		for name, labels := range e {
			if strings.HasPrefix(name, family) {
				name = strings.Replace(name, family, family+"s", 1)
			}
			other[name] = labels
		}
		onPage := strings.HasPrefix(family, "ocsp_")
		if checkDashboard(d, other) == nil || onPage && checkPage(page, other) == nil {
			t.Errorf("nobody hears that %s has another name", family)
		}
		for name := range e[family] {
			renamed[name] = true
		}
		for name := range e[family+"_bucket"] {
			renamed[name] = true
		}
	}
	for label := range renamed {
		other := exposition{}
		for name, labels := range e {
			if labels[label] {
				labels = maps.Clone(labels)
				delete(labels, label)
				labels["new_"+label] = true
			}
			other[name] = labels
		}
		if checkDashboard(d, other) == nil {
			t.Errorf("nobody hears that the label %s has another name", label)
		}
	}
}
