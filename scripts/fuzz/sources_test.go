package main

import (
	"io/fs"
	"slices"
	"strings"
)

// sources is a file system without folders whose names begin with a dot, such as .git.
type sources struct{ fs.FS }

func (s sources) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(s.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return e.IsDir() && strings.HasPrefix(e.Name(), ".")
	}), err
}
