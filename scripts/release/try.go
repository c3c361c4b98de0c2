package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// try uses the published modules as importers do: each alone, and each two in both orders. It also
// installs ocspcheck.
func (p *publication) try() error {
	var sets [][]string
	for _, a := range published {
		sets = append(sets, []string{a})
		for _, b := range published {
			if a != b {
				sets = append(sets, []string{a, b})
			}
		}
	}
	errs := make([]error, len(sets)+1)
	var wg sync.WaitGroup
	turns := make(chan struct{}, runtime.NumCPU())
	for i, modules := range sets {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			if err := p.use(modules); err != nil {
				errs[i] = fmt.Errorf("go get %s: %w", strings.Join(modules, ", "), err)
			}
		})
	}
	wg.Wait()
	errs[len(sets)] = p.install()
	failed := len(errs)
	for _, err := range errs {
		if err == nil {
			failed--
		}
	}
	fmt.Printf("%s: %d sets of modules and ocspcheck, %d failed\n", p.version, len(sets), failed)
	return errors.Join(errs...)
}

// install installs ocspcheck and runs it.
func (p *publication) install() error {
	if err := p.run(p.work, "install", root+"/cmd/ocspcheck@"+p.version); err != nil {
		return err
	}
	_, err := output(filepath.Join(p.work, "bin", "ocspcheck"), "-h")
	return err
}

// use gets modules one after the other into an empty module that imports them, tidies it, and builds
// it.
func (p *publication) use(modules []string) error {
	dir, err := os.MkdirTemp(p.work, "importer")
	if err != nil {
		return err
	}
	var program bytes.Buffer
	program.WriteString("package importer\n\nimport (\n")
	for _, module := range modules {
		fmt.Fprintf(&program, "\t_ %q\n", modulePath(module))
	}
	program.WriteString(")\n")
	if err := os.WriteFile(filepath.Join(dir, "importer.go"), program.Bytes(), 0o644); err != nil {
		return err
	}
	steps := [][]string{{"mod", "init", "example.com/importer"}}
	for _, module := range modules {
		steps = append(steps, []string{"get", modulePath(module) + "@" + p.version})
	}
	steps = append(steps, []string{"mod", "tidy"}, []string{"build", "./..."})
	for _, step := range steps {
		if err := p.run(dir, step...); err != nil {
			return err
		}
	}
	return nil
}

// tidyAll tidies every module that go.work names, or reports those that are not tidy. The go command
// alone cannot do that for published modules, whose requirements may be of this working tree.
func tidyAll(diff bool) error {
	p, err := publish("v0.99.0")
	if err != nil {
		return err
	}
	defer func() { _ = p.remove() }()
	list, err := output("go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return err
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	var untidy []string
	for full := range strings.FieldsSeq(list) {
		dir, err := filepath.Rel(here, full)
		if err != nil {
			return err
		}
		copied := filepath.Join(p.tree, dir)
		if !slices.Contains(published, filepath.ToSlash(dir)) {
			if err := p.run(copied, "mod", "tidy"); err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
		}
		for _, name := range []string{"go.mod", "go.sum"} {
			changed, err := tidyFile(filepath.Join(dir, name), filepath.Join(copied, name), diff)
			if err != nil {
				return err
			}
			if changed {
				untidy = append(untidy, filepath.Join(dir, name))
			}
		}
	}
	if diff && len(untidy) > 0 {
		return fmt.Errorf("not tidy: %s: run make tidy", strings.Join(untidy, ", "))
	}
	return nil
}

// tidyFile makes a file like the tidy one, unless dry, and reports whether they differ. What is
// published here is the same in both: its versions differ for the moment alone.
func tidyFile(file, tidy string, dry bool) (changed bool, err error) {
	was, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	is, err := os.ReadFile(tidy)
	if err != nil {
		return false, err
	}
	old := map[string]string{} // a line without its version -> the line
	for line := range strings.Lines(string(was)) {
		if key := ownRequirement(line); key != "" {
			old[key] = line
		}
	}
	var want strings.Builder
	for line := range strings.Lines(string(is)) {
		if key := ownRequirement(line); key != "" {
			if line = old[key]; line == "" && strings.HasSuffix(file, ".mod") {
				return false, fmt.Errorf("%s does not require %s", file, key)
			}
		}
		want.WriteString(line)
	}
	if want.String() == string(was) {
		return false, nil
	}
	if !dry {
		err = os.WriteFile(file, []byte(want.String()), 0o644)
	}
	return true, err
}

// ownRequirement returns the line of a go.mod or go.sum file without its version and hash, if it is
// about a module that is published here, and "" otherwise.
func ownRequirement(line string) string {
	for _, dir := range published {
		path := modulePath(dir)
		rest, ok := strings.CutPrefix(strings.TrimPrefix(strings.TrimSpace(line), "require "), path+" ")
		if ok && strings.HasPrefix(rest, "v") {
			if strings.Contains(rest, "/go.mod ") {
				return path + "/go.mod"
			}
			return path
		}
	}
	return ""
}
