package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kmsocsp/ocsp/internal/house"
)

// listOutdated prints which direct dependencies of the modules of this repository are behind. It is
// no check, since it would begin to fail without a change.
func listOutdated() error {
	out, err := exec.Command("git", "ls-files", "--", "go.mod", "*/go.mod").Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for file := range strings.FieldsSeq(string(out)) {
		dir := filepath.Dir(file)
		behind, err := outdated(dir)
		if err != nil {
			return err
		}
		for line := range strings.Lines(behind) {
			fmt.Printf("%s: %s", name(dir), line)
		}
	}
	return nil
}

// outdated returns a line for each direct dependency of the module in a directory that is behind. The
// module of tools has no direct ones: all of its dependencies count.
func outdated(dir string) (_ string, err error) {
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	text, err := house.Go(dir, "mod", "edit", "-json")
	if err == nil {
		err = json.Unmarshal(text, &mod)
	}
	if err != nil {
		return "", err
	}
	var paths []string
	for _, r := range mod.Require {
		if !own(r.Path) && (!r.Indirect || dir == tools) {
			paths = append(paths, r.Path)
		}
	}
	v, err := newView(".", dir)
	if err != nil {
		return "", err
	}
	out, err := v.output(nil, append([]string{
		"list", "-m", "-u", "-e", "-f", "{{with .Error}}{{$.Path}} {{$.Version}}, cannot be looked up" +
			"{{else}}{{with .Update}}{{$.Path}} {{$.Version}}, newest {{.Version}}{{end}}{{end}}",
	}, paths...)...)
	return string(out), errors.Join(err, v.close())
}
