// Command faults plants faults into a copy of the source, one at a time, and looks for each with
// the simulation, and then with the stress tests. A seed that fails must not fail without the fault.
// It prints which found what, and how soon, and fails if a fault is not found.
//
//	go run ./simulation/faults [-for 5m] [-only REGEXP]
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
	forFlag  = flag.Duration("for", 5*time.Minute, "how long the simulation looks for a fault")
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
	switch failed, err := look(dir, 5*time.Second); {
	case err != nil:
		return fmt.Errorf("without a fault: %w", err)
	case failed != nil:
		return fmt.Errorf("without a fault: seed %s fails", failed.seed)
	}
	for _, tests := range stress {
		if out, err := goTest(dir, 5*time.Minute, tests...); err != nil {
			return fmt.Errorf("without a fault: %w\n%s", err, out)
		}
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
	restore := func() error { return os.WriteFile(path, text, 0o600) }
	defer restore()
	changed, err := f.plant(string(text))
	if err != nil {
		return "", "", err
	}
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		return "", "", err
	}
	failed, err := look(dir, min(*forFlag, brief))
	if failed == nil && err == nil {
		if by, after, err = runStress(dir); err != nil || by != nothing {
			return by, after, err
		}
		failed, err = look(dir, *forFlag)
	}
	if failed == nil || err != nil {
		return nothing, "", err
	}
	if err := restore(); err != nil {
		return "", "", err
	}
	if out, err := simulate(dir, time.Minute, "-seed", failed.seed); err != nil {
		return "", "", fmt.Errorf("seed %s fails without the fault too: %w\n%s", failed.seed, err, out)
	}
	return "simulation", failed.after, nil
}

// brief is how long the simulation looks before the stress tests do.
const brief = time.Minute

// runStress looks for a fault with the stress tests. It returns the test that failed.
func runStress(dir string) (by, after string, err error) {
	for _, tests := range stress {
		begun := time.Now()
		out, err := goTest(dir, 5*time.Minute, tests...)
		after = time.Since(begun).Round(time.Second).String()
		switch name := testPattern.FindSubmatch(out); {
		case err == nil:
		case name != nil:
			return string(name[1]), after, nil
		case bytes.Contains(out, []byte("WARNING: DATA RACE")):
			return "the race detector", after, nil
		default:
			return "", "", fmt.Errorf("%w\n%s", err, out)
		}
	}
	return nothing, "", nil
}

// stress are the tests that look for what the simulation does not find.
var stress = [][]string{
	{"-race", "./internal/statuses"},
	{"-race", ".", "-run", "^TestStress$|FormerIssuer", "-stress.seeds", "100"},
}

// testPattern is the name of a test that has failed.
var testPattern = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// plant returns the text of the file with the fault.
func (f *fault) plant(text string) (string, error) {
	before, rest, ok := strings.Cut(text, f.after)
	if n := strings.Count(rest, f.old); !ok || n == 0 || f.after == "" && n > 1 {
		return "", fmt.Errorf("%s: %q is there %d times after %q", f.file, f.old, n, f.after)
	}
	return before + f.after + strings.Replace(rest, f.old, f.new, 1), nil
}

// failure is a world that is not as promised.
type failure struct{ seed, after string }

// What the simulation prints of a world that fails, that does not end, and that ends in a panic, in
// a goroutine of its own or in one of the library, which has the seed as a label.
var failurePatterns = []struct {
	*regexp.Regexp
	what string
}{
	{regexp.MustCompile(`seed (\d+), after ([0-9a-zµ.]+):`), ""},
	{regexp.MustCompile(`the world of seed (\d+) does not end`), "no end"},
	{regexp.MustCompile(`panic: seed (\d+):`), "a panic"},
	{regexp.MustCompile(`labels:{"?seed"?: "?(\d+)`), "a panic"},
}

// look runs the simulation until it fails, or for that long. It returns nil if it does not fail.
func look(dir string, limit time.Duration) (*failure, error) {
	begun := time.Now()
	out, err := simulate(dir, limit+5*time.Minute, "-for", limit.String())
	if err == nil {
		return nil, nil
	}
	took := time.Since(begun).Round(time.Second)                  // with the build
	text, _, _ := bytes.Cut(out, []byte("panic: test timed out")) // and all goroutines
	for _, p := range failurePatterns {
		switch match := p.FindSubmatch(text); {
		case match == nil:
		case p.what == "":
			return &failure{seed: string(match[1]), after: string(match[2])}, nil
		default:
			return &failure{string(match[1]), fmt.Sprintf("%s within %v", p.what, took)}, nil
		}
	}
	return nil, fmt.Errorf("%w\n%s", err, out)
}

func simulate(dir string, limit time.Duration, args ...string) ([]byte, error) {
	args = append([]string{"-run", "^TestSimulation$", "-v", "."}, args...)
	return goTest(filepath.Join(dir, "simulation"), limit, args...)
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
