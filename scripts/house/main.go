// Command house prints how this tree measures up to the goals for its layout:
//
//	go run ./scripts/house [-names] [DIR]
//
// DIR is the root folder of the tree, the present directory if it is left out. To measure an older
// commit, check it out, copy scripts/house/trip into it, and name it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/kmsocsp/ocsp/internal/house"
)

func main() {
	names := flag.Bool("names", false, "print the names of what was counted as well")
	flag.Parse()
	dir := "."
	if flag.NArg() > 0 {
		dir = flag.Arg(0)
	}
	if err := run(dir, *names); err != nil {
		fmt.Fprintln(os.Stderr, "house:", err)
		os.Exit(1)
	}
}

func run(dir string, names bool) error {
	p, err := house.Load(dir)
	if err != nil {
		return err
	}
	tests, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return err
	}
	knot := p.Knot()
	methods, files := p.Methods("Responder")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	row := func(what, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", what, fmt.Sprintf(format, args...))
	}
	row("root: Go files, and tests", "%d, %d", len(p.Files), len(tests))
	row("root: files in one strongly connected component", "%d of %d", len(knot), len(p.Files))
	row("methods of Responder", "%d in %d files", methods, files)
	all := func(string) bool { return true }
	for _, part := range []struct {
		name    string
		folders func(rel string) bool
	}{{"root", isRoot}, {"root, internal, ocspconfig", shipped}, {"module", all}} {
		lines, code, err := countLines(dir, part.folders)
		if err != nil {
			return err
		}
		row("without tests: lines of code, and all lines: "+part.name, "%d, %d", code, lines)
	}
	trips, err := takeTrips(dir)
	if err != nil {
		return err
	}
	for _, t := range trips {
		row("functions that a POST passes, "+t.kind, "%d, of them root %d, in %d files",
			len(t.functions), t.root(), t.files())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if !names {
		return nil
	}
	fmt.Printf("\nknot:\n  %s\n", strings.Join(knot, " "))
	for _, t := range trips {
		fmt.Printf("\nfunctions, %s:\n", t.kind)
		for file, functions := range byFile(t.functions) {
			fmt.Printf("  %s: %s\n", file, strings.Join(functions, " "))
		}
	}
	fmt.Printf("\nunexported types that the functions of the root use, %s:\n  %s\n", trips[0].kind,
		strings.Join(p.TypesUsed(func(file, function string) bool {
			return slices.Contains(trips[0].functions, fn{file, function})
		}), " "))
	return nil
}
