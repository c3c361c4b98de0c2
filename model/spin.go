package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// limit is when a search stops. Without an error until then it is not complete.
const limit = 2 * time.Minute

// job is one run of a verifier.
type job struct {
	configuration
	mutation *mutation // nil: none
}

// result is what a run reported.
type result struct {
	job
	states   int64
	seconds  float64 // of a processor
	errors   int
	complete bool   // all states were visited, as far as no two had one hash
	broke    string // the claim that did not hold
	message  string // what pan wrote about the error
}

// ok reports whether the run shows what it is to show. A search that was stopped shows nothing.
func (r *result) ok() bool {
	if r.mutation != nil {
		return r.errors > 0
	}
	return r.errors == 0 && r.complete
}

// verdict says what the run has shown.
func (r *result) verdict() string {
	switch {
	case r.errors > 0 && r.mutation != nil:
		return "found: " + cmp.Or(r.broke, r.message)
	case r.errors > 0:
		return "**error**: " + cmp.Or(r.broke, r.message)
	case r.complete && r.bits > 0:
		return "hashed"
	case r.complete:
		return "complete"
	}
	return "stopped"
}

// verifyAll runs jobs, as many at a time as parallel.
func verifyAll(ctx context.Context, jobs []job) ([]result, error) {
	results := make([]result, len(jobs))
	errs := make([]error, len(jobs))
	next := make(chan int)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for i := range next {
				results[i], errs[i] = verify(ctx, jobs[i])
				fmt.Fprintln(os.Stderr, results[i].String())
			}
		})
	}
	for i := range jobs {
		next <- i
	}
	close(next)
	workers.Wait()
	return results, errors.Join(errs...)
}

// String is a line about the run.
func (r *result) String() string {
	name := r.model + ": " + r.name
	if r.mutation != nil {
		name += " " + r.mutation.define
	}
	return fmt.Sprintf("%-50s %12s states %6.1f s  %s",
		name, thousands(r.states), r.seconds, r.verdict())
}

// verify has spin make a verifier, compiles it, and runs it.
func verify(ctx context.Context, j job) (r result, err error) {
	r.job = j
	dir, err := os.MkdirTemp("", "model")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.CopyFS(dir, sources); err != nil {
		return r, err
	}
	file, defines := j.model+".pml", j.defines()
	if _, err := command(ctx, dir, "spin", append(defines, "-a", file)...); err != nil {
		return r, err
	}
	flags := []string{"-O1", "-w", "-DSAFETY", "-DMEMLIM=2500", "-o", "pan", "pan.c"}
	if j.bits > 0 {
		flags = append(flags, "-DBITSTATE")
	}
	if _, err := command(ctx, dir, "gcc", flags...); err != nil {
		return r, err
	}
	args := []string{"-m1000000"}
	if j.bits > 0 {
		args = append(args, fmt.Sprintf("-w%d", j.bits), "-k3")
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pan := exec.CommandContext(limited, filepath.Join(dir, "pan"), args...)
	pan.Dir = dir
	pan.Cancel = func() error { return pan.Process.Signal(os.Interrupt) } // it reports then
	pan.WaitDelay = 5 * time.Second
	output, err := pan.CombinedOutput()
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	if !r.parse(string(output)) {
		return r, fmt.Errorf("%s: pan failed (%w):\n%s", j.name, err, output)
	}
	r.complete = r.complete && limited.Err() == nil
	r.seconds = pan.ProcessState.UserTime().Seconds()
	if strings.HasPrefix(r.message, "invalid end state") {
		r.broke = "every request ends"
	}
	if r.errors > 0 && strings.Contains(r.message, "assertion") {
		replay, err := command(ctx, dir, "spin", append(defines, "-t", "-k", file+".trail", file)...)
		if err != nil && replay == "" {
			return r, err
		}
		r.broke, err = brokenClaim(replay)
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

var (
	panStates  = regexp.MustCompile(`(?m)^\s*([0-9.e+]+) states, stored`)
	panErrors  = regexp.MustCompile(`errors: (\d+)`)
	panMessage = regexp.MustCompile(`(?m)^pan:1: (.*)$`)
	// panPartial is in the output if states were left out.
	panPartial = regexp.MustCompile(
		`Search not completed|max search depth too small|Interrupted|reached -DMEMLIM`)
)

// parse reads what pan writes. It reports whether that is complete.
func (r *result) parse(output string) bool {
	states, failures := panStates.FindStringSubmatch(output), panErrors.FindStringSubmatch(output)
	if states == nil || failures == nil {
		return false
	}
	n, err := strconv.ParseFloat(states[1], 64)
	if err != nil {
		return false
	}
	r.states = int64(n)
	if r.errors, err = strconv.Atoi(failures[1]); err != nil {
		return false
	}
	if m := panMessage.FindStringSubmatch(output); m != nil {
		r.message = m[1]
	}
	r.complete = !panPartial.MatchString(output)
	return true
}

var (
	failedLine   = regexp.MustCompile(`spin: (\w+\.pml):(\d+), Error: assertion violated`)
	claimComment = regexp.MustCompile(`assert\(.*/\* (.*?) \*/`)
)

// brokenClaim returns the comment at the assertion that a replay of the error ends at.
func brokenClaim(replay string) (string, error) {
	m := failedLine.FindStringSubmatch(replay)
	if m == nil {
		return "", fmt.Errorf("the replay has no failed assertion:\n%s", replay)
	}
	text, err := sources.ReadFile(m[1])
	if err != nil {
		return "", err
	}
	lines := strings.Split(string(text), "\n")
	n, err := strconv.Atoi(m[2])
	if err != nil || n < 1 || n > len(lines) {
		return "", fmt.Errorf("%s has no line %s", m[1], m[2])
	}
	comment := claimComment.FindStringSubmatch(lines[n-1])
	if comment == nil {
		return "", fmt.Errorf("%s:%d: the assertion names no claim: %s", m[1], n, lines[n-1])
	}
	return comment[1], nil
}

// command runs a program in a directory, and returns what it writes.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	output, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, output)
	}
	return string(output), err
}
