package interop_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	docFile    = "../docs/INTEROP.md"
	tableBegin = "<!-- table: made by go test -args -write -->"
	tableEnd   = "<!-- end of the table -->"
	tableHead  = "| Client | Version | Case | Method | Request in | CertID hash | CertIDs | Nonce, octets | Else in the request | Content-Type |\n" +
		"|---|---|---|---|---|---|---|---|---|---|\n"
)

var write = flag.Bool("write", false, "write what clients sent into "+docFile)

// table collects what was seen on the wire.
var table = newWireTable()

func newWireTable() *wireTable {
	return &wireTable{rows: map[[8]string]*forms{}, versions: map[string]string{}}
}

type wireTable struct {
	mu       sync.Mutex
	cases    int
	partial  bool                 // not all cases of the clients that ran have run
	versions map[string]string    // of the clients that ran
	rows     map[[8]string]*forms // by all cells but the version and "Request in"
}

// forms are how the base64 of a row's paths was written: one request need not show it.
type forms struct {
	where        string
	encoded, raw bool
}

// cut says that not all cases run.
func (w *wireTable) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partial = true
}

func (w *wireTable) add(c client, requests []request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cases++
	w.versions[c.name] = c.version
	if c.silent != "" {
		w.rows[[8]string{c.name, c.options, "–", "–", "–", "–", c.silent, "–"}] = &forms{where: "–"}
	}
	for _, r := range requests {
		row := [8]string{c.name, c.options, r.method, r.hash, fmt.Sprint(r.certs), r.nonce, strings.Join(r.others, ", "), r.contentType}
		if w.rows[row] == nil {
			w.rows[row] = &forms{where: r.where}
		}
		w.rows[row].encoded = w.rows[row].encoded || r.encoded
		w.rows[row].raw = w.rows[row].raw || r.raw
	}
}

// lines returns the table's rows as Markdown, sorted.
func (w *wireTable) lines() []string {
	var lines []string
	for row, form := range maps.All(w.rows) {
		where := form.where
		switch {
		case form.encoded && form.raw:
			where += ", base64 partly percent-encoded"
		case form.encoded:
			where += ", base64 percent-encoded"
		case form.raw:
			where += ", base64 as it is"
		}
		cells := slices.Concat([]string{row[0], w.versions[row[0]], row[1], row[2], where}, row[3:])
		lines = append(lines, "| "+strings.Join(cells, " | ")+" |")
	}
	slices.Sort(lines)
	return lines
}

// The places of cells in a row.
const (
	clientCell  = 0
	versionCell = 1
	whereCell   = 4 // of which one request need not show all
)

func cellsOf(row string) []string {
	return strings.Split(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(row), "| "), " |"), " | ")
}

// keyed maps rows by what they say that depends neither on the client's version nor on chance.
func keyed(rows []string) map[string]string {
	keyed := map[string]string{}
	for _, row := range rows {
		cells := cellsOf(row)
		keyed[strings.Join(slices.Concat(cells[:versionCell], cells[versionCell+1:whereCell], cells[whereCell+1:]), " | ")] = row
	}
	return keyed
}

// contradicted says what is wrong in the rows of a document about the clients that ran, whatever their version. After a
// part of the cases what was not seen does not count.
func (w *wireTable) contradicted(rows []string) (wrong []string) {
	told := keyed(slices.DeleteFunc(slices.Clone(rows), func(row string) bool { return w.versions[cellsOf(row)[clientCell]] == "" }))
	for key, seen := range keyed(w.lines()) {
		row, ok := told[key]
		if ok {
			is, was := cellsOf(seen)[whereCell], cellsOf(row)[whereCell]
			ok = is == was || w.partial && strings.HasPrefix(was, is)
			delete(told, key)
		}
		if !ok {
			wrong = append(wrong, "seen, but not told: "+seen)
		}
	}
	if !w.partial {
		for _, row := range told {
			wrong = append(wrong, "told, but not seen: "+row)
		}
	}
	slices.Sort(wrong)
	return wrong
}

// merged returns the rows to write: those seen, and those that nobody has looked for.
func (w *wireTable) merged(rows []string) []string {
	lines := w.lines()
	seen := keyed(lines)
	for key, row := range keyed(rows) {
		if w.versions[cellsOf(row)[clientCell]] == "" || w.partial && seen[key] == "" {
			lines = append(lines, row)
		}
	}
	slices.Sort(lines)
	return lines
}

// finish checks that what the document says about the clients that ran is what they sent, or writes that into it.
func (w *wireTable) finish() error {
	if len(w.versions) == 0 {
		return nil
	}
	doc, err := os.ReadFile(docFile)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(doc), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s has lost the lines around its table: %q and %q", docFile, tableBegin, tableEnd)
	}
	old = strings.TrimPrefix(strings.TrimSpace(old), strings.TrimSpace(tableHead))
	rows := strings.Split(strings.TrimSpace(old), "\n")
	if !*write {
		if wrong := w.contradicted(rows); len(wrong) > 0 {
			return fmt.Errorf("%s is not true:\n%s\nrun go test -count=1 . -args -write, and read what that changes", docFile, strings.Join(wrong, "\n"))
		}
		return nil
	}
	table := tableHead + strings.Join(w.merged(rows), "\n") + "\n"
	return os.WriteFile(docFile, []byte(before+tableBegin+"\n"+table+tableEnd+after), 0o644)
}

func TestMain(m *testing.M) {
	flag.Parse()
	for _, name := range []string{"test.run", "test.skip"} {
		if flag.Lookup(name).Value.String() != "" {
			table.cut()
		}
	}
	status := m.Run()
	fmt.Printf("interop: %d cases passed, by %d clients: %s\n", table.cases, len(table.versions),
		strings.Join(slices.Sorted(maps.Keys(table.versions)), ", "))
	if status == 0 {
		if err := table.finish(); err != nil {
			fmt.Println(err)
			status = 1
		}
	}
	os.Exit(status)
}

// TestTable: a row that is not true fails, a version that is another does not.
func TestTable(t *testing.T) {
	ask := func(method string, nonce string, encoded bool) request {
		return request{method: method, where: "path", encoded: encoded, hash: "SHA-1", certs: 1, nonce: nonce, contentType: "a/b"}
	}
	row := func(method, where, nonce string) string {
		return "| asker | 1.0 | by default | " + method + " | " + where + " | SHA-1 | 1 | " + nonce + " |  | a/b |"
	}
	const encoded = "path, base64 percent-encoded"
	other := "| other | 1 | x | GET | path | SHA-1 | 1 | none |  | a/b |"
	for name, test := range map[string]struct {
		rows    []string
		partial bool
		wrong   int
	}{
		"true":                {rows: []string{row("GET", encoded, "16"), row("POST", "path", "none"), other}},
		"another nonce":       {rows: []string{row("GET", encoded, "32"), row("POST", "path", "none")}, wrong: 2},
		"another method":      {rows: []string{row("HEAD", encoded, "16"), row("POST", "path", "none")}, wrong: 2},
		"another spelling":    {rows: []string{row("GET", "path, base64 as it is", "16"), row("POST", "path", "none")}, wrong: 1},
		"one too few":         {rows: []string{row("GET", encoded, "16")}, wrong: 1},
		"one too many":        {rows: []string{row("GET", encoded, "16"), row("POST", "path", "none"), row("POST", "path", "16")}, wrong: 1},
		"a part of the cases": {rows: []string{row("GET", encoded, "16"), row("POST", encoded, "none"), row("POST", "path", "16")}, partial: true},
		"a part, not true":    {rows: []string{row("GET", encoded, "16"), row("POST", encoded, "16")}, partial: true, wrong: 1},
		"nothing":             {rows: []string{other}, wrong: 2},
	} {
		t.Run(name, func(t *testing.T) {
			seen := newWireTable()
			seen.partial = test.partial
			seen.add(client{name: "asker", version: "2.0", options: "by default"}, []request{ask("GET", "16", true), ask("POST", "none", false)})
			require.Len(t, seen.contradicted(test.rows), test.wrong, "%q", seen.contradicted(test.rows))
			require.Empty(t, seen.contradicted(seen.merged(test.rows)))
		})
	}
}
