// Command fuzz runs the fuzz targets of all modules, one at a time, and counts:
//
//	go run ./scripts/fuzz [-time 5s] [-run REGEXP]
//	go run ./scripts/fuzz -seeds FOLDER
//
// It runs in the root folder of the tree. It adds the executions to docs/fuzzing.tsv, which has one
// line for each target, Go version and day, writes their sums into docs/RELIABILITY.md, and adds
// entries of the go command's corpus to that of the repository. With -time 0 it writes the sums
// alone. It ends with the first target that fails. The second form writes the corpora for OSS-Fuzz.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"time"
)

func main() {
	limit := flag.Duration("time", 5*time.Second, "how long each target runs")
	only := flag.String("run", "", "run only the targets that `REGEXP` matches")
	seeds := flag.String("seeds", "", "write the corpora as OSS-Fuzz wants them to this `folder`")
	flag.Parse()
	err := errors.New("there are no arguments")
	switch {
	case flag.NArg() > 0:
	case *seeds != "":
		err = writeSeeds(".", *seeds)
	default:
		err = run(*limit, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

func run(limit time.Duration, only string) error {
	selected, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	targets, err := findTargets(".")
	if err != nil {
		return err
	}
	counts, err := readCounts(countsFile)
	if err != nil {
		return err
	}
	for _, t := range targets {
		if limit == 0 || !selected.MatchString(t.String()) {
			continue
		}
		executions, failed := t.fuzz(limit)
		entries := 0
		if failed == nil {
			entries, failed = t.addEntries()
		}
		fmt.Printf("%s: %d executions, %d new corpus entries\n", t, executions, entries)
		counts.add(count{
			target: t.String(), executions: executions, goVersion: runtime.Version(),
			day: time.Now().UTC().Format(time.DateOnly), entries: entries,
		})
		if err := counts.write(countsFile); err != nil {
			return err
		}
		if failed != nil {
			return failed
		}
	}
	return rewriteTable(tableFile, counts.table())
}

// executed matches the lines in which go test reports its progress.
var executed = regexp.MustCompile(`(?m)^fuzz: .*execs: (\d+)`)

// fuzz runs a target. It returns the number of executions, also when one fails.
//
// The go command spends up to a minute on making an interesting input smaller, by default, in which
// it finds no others. A hundred tries are enough here, because addEntries prefers short ones.
func (t target) fuzz(limit time.Duration) (executions int64, err error) {
	out, err := exec.Command("go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$",
		"-fuzztime", limit.String(), "-fuzzminimizetime", "100x", "./"+t.dir).CombinedOutput()
	if reports := executed.FindAllSubmatch(out, -1); len(reports) > 0 {
		executions, _ = strconv.ParseInt(string(reports[len(reports)-1][1]), 10, 64)
	}
	if err != nil {
		return executions, fmt.Errorf("%s: %w\n%s", t, err, bytes.TrimSpace(out))
	}
	if executions == 0 {
		return 0, fmt.Errorf("%s: no executions were reported\n%s", t, bytes.TrimSpace(out))
	}
	return executions, nil
}
