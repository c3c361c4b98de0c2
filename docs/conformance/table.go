// Command conformance writes the outcome table of docs/CONFORMANCE.md from reports of ocspcheck -json:
// go run ./docs/conformance NAME=report.json...
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

type report struct {
	Results []result `json:"results"`
}

type result struct {
	ID        string `json:"id"`
	Title     string `json:"title"`
	Normative bool   `json:"normative"`
	Verdict   string `json:"verdict"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: conformance NAME=report.json; reports of one name make one column")
	}
	var names []string
	columns := map[string][]result{}
	for _, arg := range args {
		name, file, _ := strings.Cut(arg, "=")
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var r report
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if columns[name] == nil {
			names = append(names, name)
		}
		columns[name] = append(columns[name], r.Results...)
	}
	fmt.Printf("| | case | %s |\n|---|---|%s\n", strings.Join(names, " | "), strings.Repeat("---|", len(names)))
	for _, outcome := range []struct{ label, cell string }{
		{"passed", passed}, {"**failed, normative**", failedNormative}, {"failed, decided", failedDecided}, {"not applicable", notApplicable},
	} {
		line := "| | " + outcome.label + " |"
		for _, name := range names {
			n := 0
			for _, r := range columns[name] {
				if r.cell() == outcome.cell {
					n++
				}
			}
			line += fmt.Sprintf(" %d |", n)
		}
		fmt.Println(line)
	}
	for i, first := range columns[names[0]] {
		line, failed := fmt.Sprintf("| %s | %s |", first.ID, first.Title), false
		for _, name := range names {
			if len(columns[name]) <= i || columns[name][i].ID != first.ID {
				return fmt.Errorf("the reports of %s are about other cases than those of %s", name, names[0])
			}
			line += " " + columns[name][i].cell() + " |"
			failed = failed || columns[name][i].Verdict == "fail"
		}
		if failed {
			fmt.Println(line)
		}
	}
	return nil
}

const (
	passed          = "✓"
	failedNormative = "**fail**"
	failedDecided   = "fail"
	notApplicable   = "–"
)

func (r result) cell() string {
	switch {
	case r.Verdict == "fail" && r.Normative:
		return failedNormative
	case r.Verdict == "fail":
		return failedDecided
	case r.Verdict == "pass":
		return passed
	default:
		return notApplicable
	}
}
