package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// names are what the package in a directory declares: "F", "T", "T.method" and "T.field".
func names(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	set, fset := map[string]bool{}, token.NewFileSet()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range parsed.Decls {
			declare(set, d)
		}
	}
	return set
}

func declare(set map[string]bool, d ast.Decl) {
	if f, ok := d.(*ast.FuncDecl); ok {
		name := f.Name.Name
		if f.Recv != nil {
			name = receiver(f.Recv.List[0].Type) + "." + name
		}
		set[name] = true
		return
	}
	for _, s := range d.(*ast.GenDecl).Specs {
		switch s := s.(type) {
		case *ast.ValueSpec:
			for _, n := range s.Names {
				set[n.Name] = true
			}
		case *ast.TypeSpec:
			set[s.Name.Name] = true
			var members *ast.FieldList
			switch u := s.Type.(type) {
			case *ast.StructType:
				members = u.Fields
			case *ast.InterfaceType:
				members = u.Methods
			default:
				continue
			}
			for _, f := range members.List {
				for _, n := range f.Names {
					set[s.Name.Name+"."+n.Name] = true
				}
			}
		}
	}
}

// receiver returns the name of a receiver's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	}
	return e.(*ast.Ident).Name
}

// packages are those that the models name things of. The root package has no prefix, and neither
// do the types of statuses in the comments of its state.
func packages(t *testing.T) map[string]map[string]bool {
	return map[string]map[string]bool{
		"":         names(t, ".."),
		"statuses": names(t, "../internal/statuses"),
		"signed":   names(t, "../internal/signed"),
	}
}

var (
	comment = regexp.MustCompile(`(?s)/\*.*?\*/`)
	dotted  = regexp.MustCompile(`[A-Za-z]\w*(\.[A-Za-z]\w*)+`)
	single  = regexp.MustCompile(`\b[a-z]+[A-Z]\w*\b`)
)

// exists reports whether a name of a comment is declared.
func exists(all map[string]map[string]bool, name string) bool {
	if pkg, rest, _ := strings.Cut(name, "."); all[pkg] != nil {
		return all[pkg][rest]
	}
	if all[""][name] || all["statuses"][name] {
		return true
	}
	for _, set := range all {
		for declared := range set {
			if !strings.Contains(name, ".") && strings.HasSuffix(declared, "."+name) {
				return true // a field or a method, without its type
			}
		}
	}
	return false
}

// modelled returns the names of Go code in the comments of the models.
func modelled(t *testing.T) map[string]bool {
	files, err := fs.Glob(sources, "*.pml")
	require.NoError(t, err)
	require.Len(t, files, 4)
	found := map[string]bool{}
	for _, file := range files {
		text, err := sources.ReadFile(file)
		require.NoError(t, err)
		for _, c := range comment.FindAllString(string(text), -1) {
			for _, name := range dotted.FindAllString(c, -1) {
				if !strings.HasSuffix(name, ".pml") && !strings.HasSuffix(name, ".go") {
					found[name] = true
				}
			}
			for _, name := range single.FindAllString(dotted.ReplaceAllString(c, ""), -1) {
				found[name] = true
			}
		}
	}
	return found
}

// What the models name is in the code.
func TestNamesExist(t *testing.T) {
	t.Parallel()
	all, found := packages(t), modelled(t)
	for name := range found {
		require.True(t, exists(all, name), "a model names %s, which the code does not have", name)
	}
	require.Greater(t, len(found), 40)
	for _, gone := range []string{"statuses.Memory.Gone", "gone.Look", "exchange.gone", "isGone"} {
		require.False(t, exists(all, gone), gone)
	}
}

// notModelled are the functions of statuses that decide nothing about which status is answered.
var notModelled = map[string]string{
	"New": "makes an empty memory", "NewKey": "there is one certificate",
	"Moment.Within": "StatusTTL passes at any time, or by the clock of feed.pml",
	"Memory.Attach": "what is attached to a status is left to the simulation",
	"Memory.Detach": "the same", "Memory.HasRoom": "the same",
	"Read.Done": "its channel is Read.done", "Read.Outlasts": "the patience ends at any time",
}

// Every function that statuses exports has a step in a model, or a reason why not.
func TestStatusesAreModelled(t *testing.T) {
	t.Parallel()
	all, found := packages(t), modelled(t)
	exported := regexp.MustCompile(`^([A-Z]\w*\.)?[A-Z]\w*$`)
	files, err := filepath.Glob("../internal/statuses/*.go")
	require.NoError(t, err)
	functions := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range parsed.Decls {
			if _, ok := d.(*ast.FuncDecl); !ok {
				continue
			}
			set := map[string]bool{}
			declare(set, d)
			for name := range set {
				if exported.MatchString(name) && notModelled[name] == "" {
					functions++
					require.True(t, found["statuses."+name], "no model names statuses.%s", name)
				}
			}
		}
	}
	require.Greater(t, functions, 8)
	for name := range notModelled {
		require.True(t, all["statuses"][name], "statuses has no %s", name)
	}
}
