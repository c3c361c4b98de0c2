package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kmsocsp/ocsp/internal/house"
)

// Bounds of a target's corpus in the repository.
const (
	maxEntries    = 24
	maxEntryBytes = 2048
	maxCandidates = 400 // the shortest
)

// addEntries adds entries of the go command's corpus, which the machine has, to the repository's.
// It runs each by itself. As long as there is room, it adds the one that reaches the most code that
// no other has reached, or has reached that often. How often counts in powers of two. Of two such
// entries it adds the shorter one.
func (t target) addEntries() (added int, err error) {
	have, err := listEntries(t.corpus())
	if err != nil || len(have) >= maxEntries {
		return 0, err
	}
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return 0, err
	}
	candidates, err := listEntries(filepath.Join(
		strings.TrimSpace(string(cache)), "fuzz", house.Module, t.dir, t.name))
	if err != nil || len(candidates) == 0 {
		return 0, err
	}
	r, err := t.newRunner()
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(r.dir) }()
	reached := reach{}
	if err := r.run("^"+t.name+"$", t.dir, reached); err != nil { // the seeds
		return 0, err
	}
	for _, e := range have {
		if err := r.runEntry(e, reached); err != nil {
			return 0, err
		}
	}
	candidates = candidates[:min(len(candidates), maxCandidates)]
	reaches := make([]reach, len(candidates))
	for i, e := range candidates {
		reaches[i] = reach{}
		if err := r.runEntry(e, reaches[i]); err != nil {
			return 0, err
		}
	}
	for ; len(have)+added < maxEntries; added++ {
		best, most := 0, 0
		for i := range reaches {
			if n := reaches[i].without(reached); n > most {
				best, most = i, n
			}
		}
		if most == 0 {
			break
		}
		for p := range reaches[best] {
			reached[p] = true
		}
		if err := os.MkdirAll(t.corpus(), 0o755); err != nil {
			return added, err
		}
		name := filepath.Join(t.corpus(), candidates[best].name)
		if err := os.WriteFile(name, candidates[best].text, 0o644); err != nil {
			return added, err
		}
	}
	return added, nil
}

// entry is a file of a corpus.
type entry struct {
	name string
	text []byte
}

// listEntries returns the entries in a folder that are not too long, the shortest first.
func listEntries(dir string) ([]entry, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, err
	}
	var list []entry
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if len(text) <= maxEntryBytes {
			list = append(list, entry{filepath.Base(file), text})
		}
	}
	slices.SortStableFunc(list, func(a, b entry) int { return len(a.text) - len(b.text) })
	return list, nil
}

// reach is what was reached: blocks of code, each with how often.
type reach map[string]bool

// without returns the size of what is not in other.
func (r reach) without(other reach) (n int) {
	for p := range r {
		if !other[p] {
			n++
		}
	}
	return n
}

// runner runs a test binary that records coverage.
type runner struct {
	target
	dir, binary string // a temporary folder, and the binary in it
}

func (t target) newRunner() (*runner, error) {
	deps, err := exec.Command("go", "list", "-deps", "./"+t.dir).Output()
	if err != nil {
		return nil, err
	}
	var ours []string
	for _, path := range strings.Fields(string(deps)) {
		if path == house.Module || strings.HasPrefix(path, house.Module+"/") {
			ours = append(ours, path)
		}
	}
	r := &runner{target: t}
	if r.dir, err = os.MkdirTemp("", "fuzz"); err != nil {
		return nil, err
	}
	r.binary = filepath.Join(r.dir, "test")
	out, err := exec.Command("go", "test", "-c", "-covermode=count", "-coverpkg",
		strings.Join(ours, ","), "-o", r.binary, "./"+t.dir).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", t, err, out)
	}
	return r, nil
}

// runEntry runs the target with one entry, and adds to what was reached.
func (r *runner) runEntry(e entry, to reach) error {
	corpus := filepath.Join(r.dir, "testdata", "fuzz", r.name)
	if err := os.MkdirAll(corpus, 0o755); err != nil {
		return err
	}
	file := filepath.Join(corpus, e.name)
	if err := os.WriteFile(file, e.text, 0o644); err != nil {
		return err
	}
	defer func() { _ = os.Remove(file) }()
	return r.run("^"+r.name+"$/^"+e.name+"$", r.dir, to)
}

func (r *runner) run(tests, dir string, to reach) error {
	profile := filepath.Join(r.dir, "profile")
	cmd := exec.Command(r.binary, "-test.run", tests, "-test.coverprofile", profile)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s, %s: %w\n%s", r.target, tests, err, out)
	}
	text, err := os.ReadFile(profile)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() { // file:block statements times
		cells := strings.Fields(lines.Text())
		if len(cells) != 3 {
			continue
		}
		times, err := strconv.ParseUint(cells[2], 10, 64)
		if err != nil {
			return err
		}
		if times > 0 {
			to[cells[0]+" "+strconv.Itoa(bits.Len64(times))] = true
		}
	}
	return lines.Err()
}
