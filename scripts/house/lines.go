package main

import (
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// countLines counts the lines of the module's files without tests in some of its folders, and those
// of them that hold more than a comment. Scripts and the tools that only tests use do not count.
func countLines(dir string, folders func(rel string) bool) (lines, code int, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			otherModule := err == nil
			hidden := strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"
			if !isRoot(rel) && (otherModule || hidden || isTool(rel)) {
				return filepath.SkipDir
			}
			return nil
		}
		isSource := filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go")
		if !isSource || !folders(filepath.Dir(rel)) {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines += strings.Count(string(source), "\n")
		code += codeLines(source)
		return nil
	})
	return lines, code, err
}

// isRoot reports whether a folder, relative to the root, is the root.
func isRoot(rel string) bool { return rel == "." }

// isTool reports whether a folder holds what only tests and scripts use.
func isTool(rel string) bool {
	switch filepath.ToSlash(rel) {
	case "scripts", "internal/house", "internal/servers":
		return true
	}
	return false
}

// shipped reports whether a folder holds what the root package is made of, or configures it.
func shipped(rel string) bool {
	first, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
	return isRoot(rel) || first == "internal" && !isTool(rel) || first == "ocspconfig"
}

// codeLines counts the lines on which a token begins or continues.
func codeLines(source []byte) int {
	fset := token.NewFileSet()
	file := fset.AddFile("", -1, len(source))
	var s scanner.Scanner
	s.Init(file, source, nil, 0)
	count, last := 0, 0
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return count
		}
		if tok == token.SEMICOLON && lit == "\n" {
			continue
		}
		first := file.Line(pos)
		end := first + strings.Count(lit, "\n")
		if end > last {
			count += end - max(first, last+1) + 1
			last = end
		}
	}
}
