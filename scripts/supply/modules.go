package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kmsocsp/ocsp/internal/house"
)

// published has the directories of the modules that users import.
var published = []string{".", "ocspfasthttp", "ocspotel", "ocspredis", "ocspsql", "ocspsql/pgfeed"}

// daemon is the directory of a program that is deployed, though nobody imports its module.
const daemon = "examples/ocspd"

// tools is the directory of the module of the programs that scripts run.
const tools = "scripts/tools"

// unpublished has the directories of the modules that are tested here with the published ones.
var unpublished = []string{"bench", "examples", daemon, "interop", tools, "simulation"}

// platforms have the packages that the published modules are built of.
var platforms = []platform{
	{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"},
	{"windows", "amd64"}, {"windows", "arm64"},
}

type platform struct{ os, arch string }

func (p platform) env() []string { return []string{"GOOS=" + p.os, "GOARCH=" + p.arch} }

// name returns what a published module is called for short.
func name(dir string) string {
	if dir == "." {
		return "ocsp"
	}
	return dir
}

// modulePath returns the path of the published module in a directory.
func modulePath(dir string) string {
	if dir == "." {
		return house.Module
	}
	return house.Module + "/" + dir
}

// own reports whether a module is one of this repository's.
func own(path string) bool {
	return path == house.Module || strings.HasPrefix(path, house.Module+"/")
}

// A component is a module of which at least one package is linked into a published module.
type component struct {
	path     string
	version  string          // empty for modules of this repository
	sum      string          // the line of go.sum
	dir      string          // where its source is
	packages map[string]bool // the directories of the packages that are linked
	needs    map[string]bool // the paths of the modules that these import
}

// A view of a published module is what its importers build: without go.work, whose other modules
// would change versions, and with the modules of this repository from the working tree.
type view struct {
	dir string // of the module
	mod string // a copy of go.mod with replace directives, beside a copy of go.sum
}

// newView makes the view of the module in a directory below root. The caller must close it.
func newView(root, dir string) (*view, error) {
	tmp, err := os.MkdirTemp("", "supply")
	if err != nil {
		return nil, err
	}
	v := &view{dir: filepath.Join(root, dir), mod: filepath.Join(tmp, "go.mod")}
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(v.dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(tmp, name), data, 0o644)
		}
		if err != nil {
			return nil, errors.Join(err, v.close())
		}
	}
	edit := []string{"mod", "edit"}
	for _, other := range published {
		if other == dir {
			continue
		}
		abs, err := filepath.Abs(filepath.Join(root, other))
		if err != nil {
			return nil, errors.Join(err, v.close())
		}
		edit = append(edit, "-replace="+modulePath(other)+"="+abs)
	}
	if _, err := house.Go(root, append(edit, v.mod)...); err != nil {
		return nil, errors.Join(err, v.close())
	}
	return v, nil
}

// componentsOf returns the components of the module in a directory below root: of the packages, which
// go list gets as its arguments, or else of what others can use.
func componentsOf(root, dir string, packages ...string) (map[string]*component, error) {
	v, err := newView(root, dir)
	if err != nil {
		return nil, err
	}
	var all map[string]*component
	if len(packages) == 0 {
		packages, err = v.importable()
	}
	if err == nil {
		all, err = v.components(packages...)
	}
	return all, errors.Join(err, v.close())
}

func (v *view) close() error { return os.RemoveAll(filepath.Dir(v.mod)) }

// env returns the environment in which the go command sees the view.
func (v *view) env(more ...string) []string {
	return append(append(os.Environ(), "GOWORK=off", "GOFLAGS=-modfile="+v.mod), more...)
}

// output runs the go command in the view.
func (v *view) output(env []string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = v.dir, v.env(env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: go %s: %w: %s", v.dir, strings.Join(args, " "), err, stderr.Bytes())
	}
	return out, nil
}

// importable returns the packages and programs of the view that others can use. Packages below
// internal count where these import them: some are for tests alone.
func (v *view) importable() ([]string, error) {
	out, err := v.output(nil, "list", "./...")
	if err != nil {
		return nil, err
	}
	var packages []string
	for _, path := range strings.Fields(string(out)) {
		if !strings.Contains(path, "/internal/") && !strings.Contains(path, "/scripts/") {
			packages = append(packages, path)
		}
	}
	return packages, nil
}

// components returns the modules that packages of the view are linked with on any of the platforms,
// by path. The module itself is one of them, the standard library is not.
func (v *view) components(packages ...string) (map[string]*component, error) {
	all := map[string]*component{}
	for _, p := range platforms {
		out, err := v.output(p.env(), append(
			[]string{"list", "-deps", "-json=ImportPath,Imports,Dir,Module"}, packages...)...)
		if err != nil {
			return nil, err
		}
		if err := addPackages(all, out); err != nil {
			return nil, err
		}
	}
	sums, err := os.ReadFile(filepath.Join(v.dir, "go.sum"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(sums)) {
		if f := strings.Fields(line); len(f) == 3 && all[f[0]] != nil && all[f[0]].version == f[1] {
			all[f[0]].sum = f[2]
		}
	}
	for _, c := range all {
		if c.sum == "" && !own(c.path) {
			return nil, fmt.Errorf("%s: go.sum has no line for %s %s", v.dir, c.path, c.version)
		}
	}
	return all, nil
}

// addPackages adds what go list printed of packages to the components.
func addPackages(all map[string]*component, list []byte) error {
	type listed struct {
		ImportPath, Dir string
		Imports         []string
		Module          *struct{ Path, Version, Dir string }
	}
	var packages []listed
	moduleOf := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(list)); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if p.Module != nil { // a package of the standard library has none
			moduleOf[p.ImportPath] = p.Module.Path
			packages = append(packages, p)
		}
	}
	for _, p := range packages {
		c := all[p.Module.Path]
		if c == nil {
			c = &component{
				path: p.Module.Path, dir: p.Module.Dir,
				packages: map[string]bool{}, needs: map[string]bool{},
			}
			if !own(c.path) {
				c.version = p.Module.Version
			}
			all[c.path] = c
		}
		c.packages[p.Dir] = true
		for _, imported := range p.Imports {
			if m := moduleOf[imported]; m != "" && m != c.path {
				c.needs[m] = true
			}
		}
	}
	return nil
}

// sorted returns components in the order of their paths.
func sorted(all map[string]*component) []*component {
	var list []*component
	for _, path := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[path])
	}
	return list
}
