// Package house measures how the source of this module hangs together: which files name each
// other, how many methods a type has, and what the packages import. The tests of the root package
// hold it to limits, and scripts/house prints its figures.
package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Package is one type-checked package without its tests.
type Package struct {
	Files []*File
	fset  *token.FileSet
	types *types.Package
	info  *types.Info
}

// File is one file of a Package.
type File struct {
	Name   string
	Syntax *ast.File
	Names  map[string]bool // the other files of the package that declare what this one uses
}

// Go runs the go command in a directory, as a user of that module alone would, and returns what it
// prints.
func Go(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out, nil
}

// Load parses and type-checks the package in a directory. The go command lists its files and
// compiles its imports.
func Load(dir string) (*Package, error) {
	out, err := Go(dir, "list", "-f", "{{.ImportPath}}\n{{join .GoFiles \"\\n\"}}", ".")
	if err != nil {
		return nil, err
	}
	lines := strings.Fields(string(out))
	path, names := lines[0], lines[1:]
	out, err = Go(dir, "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".")
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		dep, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[dep] = file
	}

	p := &Package{fset: token.NewFileSet()}
	var syntax []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(p.fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		syntax = append(syntax, f)
		p.Files = append(p.Files, &File{Name: name, Syntax: f, Names: map[string]bool{}})
	}
	p.info = &types.Info{
		Uses: map[*ast.Ident]types.Object{},
		Defs: map[*ast.Ident]types.Object{},
	}
	lookup := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	conf := types.Config{Importer: importer.ForCompiler(p.fset, "gc", lookup)}
	if p.types, err = conf.Check(path, p.fset, syntax, p.info); err != nil {
		return nil, err
	}
	for id, obj := range p.info.Uses {
		if obj.Pkg() != p.types {
			continue
		}
		if from, to := p.file(id.Pos()), p.file(obj.Pos()); from != to {
			from.Names[to.Name] = true
		}
	}
	return p, nil
}

func (p *Package) file(pos token.Pos) *File {
	name := filepath.Base(p.fset.Position(pos).Filename)
	return p.Files[slices.IndexFunc(p.Files, func(f *File) bool { return f.Name == name })]
}

// Knot returns the largest set of files that all reach each other by what they name: its largest
// strongly connected component. None of them can be read, tested or moved without the others.
func (p *Package) Knot() []string {
	reach := map[string]map[string]bool{}
	for _, f := range p.Files {
		reach[f.Name] = map[string]bool{f.Name: true}
	}
	for changed := true; changed; {
		changed = false
		for _, f := range p.Files {
			before := len(reach[f.Name])
			for to := range f.Names {
				for far := range reach[to] {
					reach[f.Name][far] = true
				}
			}
			changed = changed || len(reach[f.Name]) > before
		}
	}
	var largest []string
	for _, f := range p.Files {
		var knot []string
		for to := range reach[f.Name] {
			if reach[to][f.Name] {
				knot = append(knot, to)
			}
		}
		if len(knot) > len(largest) {
			largest = knot
		}
	}
	slices.Sort(largest)
	return largest
}

// Methods returns how many methods a type of the package declares, and in how many files.
func (p *Package) Methods(name string) (methods, files int) {
	obj := p.types.Scope().Lookup(name)
	if obj == nil {
		return 0, 0
	}
	in := map[*File]bool{}
	named := obj.Type().(*types.Named)
	for m := range named.Methods() {
		in[p.file(m.Pos())] = true
	}
	return named.NumMethods(), len(in)
}

// FuncName returns the name of a function as it is called in prose: Name, or Type.Name.
func FuncName(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	switch index := t.(type) { // of a generic type
	case *ast.IndexExpr:
		t = index.X
	case *ast.IndexListExpr:
		t = index.X
	}
	return types.ExprString(t) + "." + d.Name.Name
}

// TypesUsed returns the package's unexported types that some functions name, or that their
// variables have. of picks the functions.
func (p *Package) TypesUsed(of func(file, function string) bool) []string {
	set := map[string]bool{}
	for _, f := range p.Files {
		for _, decl := range f.Syntax.Decls {
			d, ok := decl.(*ast.FuncDecl)
			if !ok || !of(f.Name, FuncName(d)) {
				continue
			}
			ast.Inspect(d, func(n ast.Node) bool {
				id, ok := n.(*ast.Ident)
				if !ok {
					return true
				}
				obj := p.info.ObjectOf(id)
				if obj == nil || obj.Type() == nil {
					return true
				}
				t := obj.Type()
				if pointer, ok := t.(*types.Pointer); ok {
					t = pointer.Elem()
				}
				named, ok := t.(*types.Named)
				if ok && named.Obj().Pkg() == p.types && !named.Obj().Exported() {
					set[named.Obj().Name()] = true
				}
				return true
			})
		}
	}
	return slices.Sorted(maps.Keys(set))
}
