// Command faults plants faults into a copy of the source, one at a time, and looks for each with
// the simulation, and then with the stress tests. It prints which found what, and how soon, and
// fails if a fault is not found.
//
//	go run ./simulation/faults [-for 60s] [-only REGEXP]
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

var (
	forFlag  = flag.Duration("for", time.Minute, "how long the simulation looks for a fault")
	onlyFlag = flag.String("only", "", "look for the faults whose names match only")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run() error {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/kmsocsp/ocsp").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	only, err := regexp.Compile(*onlyFlag)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "faults")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := copyTree(dir, strings.TrimSpace(string(root))); err != nil {
		return err
	}
	if found, err := look(dir, 5*time.Second); err != nil || found != "" {
		return fmt.Errorf("without a fault: %s %w", found, err)
	}
	found := map[string]int{}
	total := 0
	var errs []error
	fmt.Println("| planted fault | in | found by | after |\n|---|---|---|---|")
	for i := range faults {
		f := &faults[i]
		if !only.MatchString(f.name) {
			continue
		}
		total++
		by, after, err := f.find(dir)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.name, err))
			by = nothing
		}
		found[by]++
		fmt.Printf("| %s | %s | %s | %s |\n", f.name, f.file, by, after)
	}
	fmt.Printf("\n%d faults: %v\n", total, found)
	if n := found[nothing]; n > 0 {
		errs = append(errs, fmt.Errorf("%d faults were not found", n))
	}
	return errors.Join(errs...)
}

const nothing = "nothing"

// find plants the fault, looks for it, and takes it out.
func (f *fault) find(dir string) (by, after string, err error) {
	path := filepath.Join(dir, f.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	defer os.WriteFile(path, text, 0o600)
	changed, err := f.plant(string(text))
	if err != nil {
		return "", "", err
	}
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		return "", "", err
	}
	if after, err = look(dir, *forFlag); err != nil || after != "" {
		return "simulation", after, err
	}
	begun := time.Now()
	for _, tests := range [][]string{
		{".", "-run", "^TestStress$", "-stress.seeds", "100"}, {"./internal/statuses"},
	} {
		if _, err := goTest(dir, 5*time.Minute, append([]string{"-race"}, tests...)...); err != nil {
			return "stress of " + tests[0], time.Since(begun).Round(time.Second).String(), nil
		}
	}
	return nothing, "", nil
}

// plant returns the text of the file with the fault.
func (f *fault) plant(text string) (string, error) {
	before, rest, ok := strings.Cut(text, f.after)
	if n := strings.Count(rest, f.old); !ok || n == 0 || f.after == "" && n > 1 {
		return "", fmt.Errorf("%s: %q is there %d times after %q", f.file, f.old, n, f.after)
	}
	return before + f.after + strings.Replace(rest, f.old, f.new, 1), nil
}

// afterPattern is what the simulation prints when it fails.
var afterPattern = regexp.MustCompile(`seed \d+, after ([0-9a-zµ.]+):`)

// look runs the simulation until it fails, or for that long. It returns how soon it failed.
func look(dir string, limit time.Duration) (after string, err error) {
	out, err := goTest(filepath.Join(dir, "simulation"), limit+time.Minute,
		"-run", "^TestSimulation$", "-v", ".", "-for", limit.String())
	if err == nil {
		return "", nil
	}
	switch match := afterPattern.FindSubmatch(out); {
	case match != nil:
		return string(match[1]), nil
	case bytes.Contains(out, []byte("panic:")), bytes.Contains(out, []byte("fatal error:")):
		return "a panic", nil
	}
	return "", fmt.Errorf("%w\n%s", err, out)
}

func goTest(dir string, limit time.Duration, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit+5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go",
		append([]string{"test", "-vet=off", "-count=1", "-timeout", limit.String()}, args...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
	return cmd.CombinedOutput()
}

// copyTree copies the source of the root module and of the simulation.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); name != "." && name != "simulation" &&
				(err == nil || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, 0o600)
	})
}
