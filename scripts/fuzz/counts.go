package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	countsFile = "docs/fuzzing.tsv"
	tableFile  = "docs/RELIABILITY.md"

	countsHead = "target\texecutions\tgo version\tday\tnew corpus entries"
)

// count is a line of countsFile: what one target did on one day.
type count struct {
	target, goVersion, day string
	executions             int64
	entries                int
}

type counts []count

// readCounts reads the file. One that is missing is empty.
func readCounts(file string) (counts, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list counts
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		if i == 0 {
			if line != countsHead {
				return nil, fmt.Errorf("%s: the first line is %q, not %q", file, line, countsHead)
			}
			continue
		}
		cells := strings.Split(line, "\t")
		if len(cells) != 5 {
			return nil, fmt.Errorf("%s:%d: %d cells", file, i+1, len(cells))
		}
		c := count{target: cells[0], goVersion: cells[2], day: cells[3]}
		var err2 error
		c.executions, err = strconv.ParseInt(cells[1], 10, 64)
		c.entries, err2 = strconv.Atoi(cells[4])
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		list = append(list, c)
	}
	return list, nil
}

// add adds to the line of the same target, Go version and day.
func (list *counts) add(c count) {
	for i := range *list {
		have := &(*list)[i]
		if have.target == c.target && have.goVersion == c.goVersion && have.day == c.day {
			have.executions += c.executions
			have.entries += c.entries
			return
		}
	}
	*list = append(*list, c)
}

func (list counts) write(file string) error {
	slices.SortFunc(list, func(a, b count) int {
		return strings.Compare(a.target+"\t"+a.day+a.goVersion, b.target+"\t"+b.day+b.goVersion)
	})
	var b bytes.Buffer
	fmt.Fprintln(&b, countsHead)
	for _, c := range list {
		fmt.Fprintf(&b, "%s\t%d\t%s\t%s\t%d\n",
			c.target, c.executions, c.goVersion, c.day, c.entries)
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// table returns the sums by target, in Markdown.
func (list counts) table() string {
	sums := map[string]*count{}
	all := count{target: "all"}
	for _, c := range list {
		sum := sums[c.target]
		if sum == nil {
			sum = &count{target: c.target}
			sums[c.target] = sum
		}
		for _, s := range []*count{sum, &all} {
			s.executions += c.executions
			s.entries += c.entries
			if c.day >= s.day {
				s.day, s.goVersion = c.day, c.goVersion
			}
		}
	}
	rows := []*count{&all}
	for _, sum := range sums {
		rows = append(rows, sum)
	}
	slices.SortFunc(rows[1:], func(a, b *count) int { return strings.Compare(a.target, b.target) })
	var b strings.Builder
	b.WriteString("| target | executions | corpus entries added | last run |\n|---|--:|--:|---|\n")
	for _, c := range rows {
		fmt.Fprintf(&b, "| %s | %s | %d | %s, %s |\n",
			c.target, thousands(c.executions), c.entries, c.day, c.goVersion)
	}
	return b.String()
}

// thousands returns a number with commas.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// The table stands between these lines.
const (
	tableBegin = "<!-- make fuzz writes this table from fuzzing.tsv -->\n"
	tableEnd   = "<!-- end of the table -->\n"
)

// withTable returns text with another table.
func withTable(text, table string) (string, error) {
	before, rest, ok := strings.Cut(text, tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("there are no lines %q and %q", tableBegin, tableEnd)
	}
	return before + tableBegin + table + tableEnd + after, nil
}

func rewriteTable(file, table string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	changed, err := withTable(string(text), table)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(changed), 0o644)
}
