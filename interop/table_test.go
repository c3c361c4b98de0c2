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
var table = &wireTable{rows: map[[8]string]*forms{}, versions: map[string]string{}}

type wireTable struct {
	mu       sync.Mutex
	cases    int
	versions map[string]string    // of the clients that ran
	rows     map[[8]string]*forms // by all cells but the version and "Request in"
}

// forms are how the base64 of a row's paths was written: one request need not show it.
type forms struct {
	where        string
	encoded, raw bool
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

// finish checks that the document knows all clients that ran, or writes what they sent into it. The rows of
// clients that did not run stay.
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
	kept := map[string][]string{}
	for line := range strings.Lines(old) {
		if cells := strings.Split(line, " | "); len(cells) > 1 {
			name := strings.TrimPrefix(cells[0], "| ")
			kept[name] = append(kept[name], strings.TrimSpace(line))
		}
	}
	if !*write {
		for name := range w.versions {
			if kept[name] == nil {
				return fmt.Errorf("%s has no row about %s: run go test -count=1 . -args -write", docFile, name)
			}
		}
		return nil
	}
	lines := w.lines()
	for name, rows := range kept {
		if w.versions[name] == "" {
			lines = append(lines, rows...)
		}
	}
	slices.Sort(lines)
	table := tableHead + strings.Join(lines, "\n") + "\n"
	return os.WriteFile(docFile, []byte(before+tableBegin+"\n"+table+tableEnd+after), 0o644)
}

func TestMain(m *testing.M) {
	flag.Parse()
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
