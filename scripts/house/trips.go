package main

import (
	"bufio"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"iter"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kmsocsp/ocsp/internal/house"
)

// requests is how many requests a trip sends. A function counts if each of them passes it, so that
// what a timer runs, or what fills an empty pool, does not.
const requests = 100

// fn is one declared function. What a function literal does counts for the one that encloses it.
type fn struct{ file, name string }

// trip is the way of one kind of request through the module.
type trip struct {
	kind      string
	functions []fn
}

// root returns how many of the functions are declared in the root folder.
func (t trip) root() int {
	n := 0
	for _, f := range t.functions {
		if filepath.Dir(f.file) == "." {
			n++
		}
	}
	return n
}

// files returns how many files declare the functions.
func (t trip) files() int {
	set := map[string]bool{}
	for _, f := range t.functions {
		set[f.file] = true
	}
	return len(set)
}

// takeTrips measures the trips with the program in scripts/house/trip.
func takeTrips(dir string) ([]trip, error) {
	out, err := house.Go(dir, "list", ".", "./internal/...")
	if err != nil {
		return nil, err
	}
	packages := strings.Fields(string(out))
	module := packages[0] + "/"
	packages = slices.DeleteFunc(packages, func(path string) bool {
		rel := strings.TrimPrefix(path, module)
		return path != packages[0] && !shipped(filepath.FromSlash(rel))
	})
	work, err := os.MkdirTemp("", "house")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	// A program writes its counts only if its main package is covered too.
	program := filepath.Join(work, "trip")
	covered := strings.Join(append(packages, module+"scripts/house/trip"), ",")
	_, err = house.Go(dir, "build", "-cover", "-covermode=count", "-coverpkg="+covered,
		"-o", program, "./scripts/house/trip")
	if err != nil {
		return nil, err
	}
	var trips []trip
	for _, kind := range []string{"cached", "read", "cold"} {
		none, err := counts(work, program, kind, 0)
		if err != nil {
			return nil, err
		}
		some, err := counts(work, program, kind, requests)
		if err != nil {
			return nil, err
		}
		passed := map[fn]bool{}
		for b, n := range some {
			file, isOurs := strings.CutPrefix(b.file, module)
			if n-none[b] < requests || !isOurs || strings.HasPrefix(file, "scripts/") {
				continue
			}
			name, err := functionAt(filepath.Join(dir, file), b.line)
			if err != nil {
				return nil, err
			}
			passed[fn{file, name}] = true
		}
		t := trip{kind: kind, functions: slices.Collect(maps.Keys(passed))}
		slices.SortFunc(t.functions, func(a, b fn) int {
			return cmp.Or(strings.Compare(a.file, b.file), strings.Compare(a.name, b.name))
		})
		trips = append(trips, t)
	}
	return trips, nil
}

// block is a run of statements that coverage counts together.
type block struct {
	file, extent string
	line         int
}

// counts runs the program and returns how often each block ran.
func counts(work, program, kind string, n int) (map[block]int, error) {
	data, err := os.MkdirTemp(work, "data")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, kind, fmt.Sprint(n))
	cmd.Env = append(os.Environ(), "GOCOVERDIR="+data, "GOGC=off", "GOMAXPROCS=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("trip %s: %w: %s", kind, err, out)
	}
	profile := filepath.Join(data, "profile")
	_, err = house.Go(work, "tool", "covdata", "textfmt", "-i="+data, "-o="+profile)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(profile)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	result := map[block]int{}
	lines := bufio.NewScanner(f)
	lines.Scan() // the mode
	for lines.Scan() {
		var b block
		var statements, count int
		file, rest, _ := strings.Cut(lines.Text(), ":")
		if _, err := fmt.Sscan(rest, &b.extent, &statements, &count); err != nil {
			return nil, err
		}
		if _, err := fmt.Sscanf(b.extent, "%d.", &b.line); err != nil {
			return nil, err
		}
		b.file = file
		result[b] += count
	}
	return result, lines.Err()
}

// functionAt returns the function of a file that a line is in.
func functionAt(path string, line int) (string, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	for _, decl := range f.Decls {
		d, ok := decl.(*ast.FuncDecl)
		if ok && fset.Position(d.Pos()).Line <= line && line <= fset.Position(d.End()).Line {
			return house.FuncName(d), nil
		}
	}
	return "init", nil // a function literal in a variable's declaration
}

// byFile returns the names of functions, which are sorted, for each file in turn.
func byFile(functions []fn) iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		for len(functions) > 0 {
			var names []string
			file := functions[0].file
			for len(functions) > 0 && functions[0].file == file {
				names = append(names, functions[0].name)
				functions = functions[1:]
			}
			if !yield(file, names) {
				return
			}
		}
	}
}
