package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const licensesFile = "docs/LICENSES.md"

// allowed has the licences that a dependency of a published module may have: none of them asks
// anything of a host but to keep its notice.
var allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// A license is what the licence files of a module say.
type license struct {
	kinds []string // SPDX identifiers, sorted
	files []string // relative to the module
}

var licenseName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)([-._].*)?$`)

// licenseOf reads the licence files in the directories of the packages of a component that are
// linked, and in those above them.
func licenseOf(c *component) (license, error) {
	var l license
	dirs := map[string]bool{}
	for dir := range c.packages {
		for ; !dirs[dir] && strings.HasPrefix(dir, c.dir); dir = filepath.Dir(dir) {
			dirs[dir] = true
		}
	}
	for dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return l, err
		}
		for _, e := range entries {
			if e.IsDir() || !licenseName.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			file := filepath.Join(dir, e.Name())
			text, err := os.ReadFile(file)
			if err != nil {
				return l, err
			}
			kinds, err := recognize(string(text))
			if err != nil {
				return l, fmt.Errorf("%s: %w", file, err)
			}
			rel, err := filepath.Rel(c.dir, file)
			if err != nil {
				return l, err
			}
			l.kinds, l.files = append(l.kinds, kinds...), append(l.files, filepath.ToSlash(rel))
		}
	}
	if len(l.kinds) == 0 {
		return l, fmt.Errorf("%s %s has no licence file", c.path, c.version)
	}
	slices.Sort(l.kinds)
	slices.Sort(l.files)
	l.kinds = slices.Compact(l.kinds)
	for _, kind := range l.kinds {
		if !slices.Contains(allowed, kind) {
			return l, fmt.Errorf("%s %s: the licence %s is not allowed", c.path, c.version, kind)
		}
	}
	return l, nil
}

// Sentences by which licences are known, in lower case and without punctuation.
var sentences = []struct{ kind, text string }{
	{"Apache-2.0", "apache license version 2 0"},
	{"MIT", "permission is hereby granted free of charge to any person obtaining a copy"},
	{"ISC", "permission to use copy modify and or distribute this software for any purpose with or without fee"},
	{"ISC", "permission to use copy modify and distribute this software for any purpose with or without fee"},
	{"MPL-2.0", "mozilla public license version 2 0"},
	{"EPL", "eclipse public license"},
	{"CDDL", "common development and distribution license"},
	{"GPL", "gnu general public license"},
	{"LGPL", "gnu lesser general public license"},
	{"AGPL", "gnu affero general public license"},
	{"Unlicense", "this is free and unencumbered software"},
	{"CC", "creative commons"},
	{"Commons-Clause", "commons clause"},
	{"BUSL", "business source license"},
	{"SSPL", "server side public license"},
	{"JSON", "shall be used for good not evil"},
}

var notWords = regexp.MustCompile(`[^a-z0-9]+`)

func isGNU(kind string) bool { return strings.HasSuffix(kind, "GPL") }

// recognize returns the kinds of licence that a text has.
func recognize(text string) (kinds []string, err error) {
	words := notWords.ReplaceAllString(strings.ToLower(text), " ")
	for _, s := range sentences {
		// The MPL names the licences of GNU, which may take its place.
		if strings.Contains(words, s.text) && !(slices.Contains(kinds, "MPL-2.0") && isGNU(s.kind)) {
			kinds = append(kinds, s.kind)
		}
	}
	// What a BSD licence says after its second condition tells the two apart.
	for _, part := range strings.Split(words, "redistribution and use in source and binary forms")[1:] {
		if strings.Contains(part, "neither the name") || strings.Contains(part, "may not be used to endorse") {
			kinds = append(kinds, "BSD-3-Clause")
		} else {
			kinds = append(kinds, "BSD-2-Clause")
		}
	}
	if len(kinds) == 0 {
		return nil, errors.New("the licence is not recognized")
	}
	return kinds, nil
}

// writeLicenses writes the list of licences.
func writeLicenses() error {
	text, err := licenseList(".")
	if err != nil {
		return err
	}
	return os.WriteFile(licensesFile, []byte(text), 0o644)
}

// licenseList returns the content of docs/LICENSES.md.
func licenseList(root string) (string, error) {
	linked := map[string]*component{}
	users := map[string][]string{}
	for _, dir := range published {
		all, err := componentsOf(root, dir)
		if err != nil {
			return "", err
		}
		for path, c := range all {
			if own(path) {
				continue
			}
			key := path + " | " + c.version
			if linked[key] == nil {
				linked[key] = c
			}
			maps.Copy(linked[key].packages, c.packages)
			users[key] = append(users[key], name(dir))
		}
	}
	var b strings.Builder
	b.WriteString(licensesHead)
	for _, key := range slices.Sorted(maps.Keys(linked)) {
		l, err := licenseOf(linked[key])
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", key, strings.Join(l.kinds, ", "),
			strings.Join(users[key], ", "))
	}
	return b.String(), nil
}

const licensesHead = `# Licences of dependencies

What the published modules are linked with, on Linux, macOS and Windows, without what only their
tests need. This project has the Apache License 2.0. "make licenses" writes this page from the
licence files in the modules. A test fails if it is out of date, and if a licence is not one of
` + "`Apache-2.0`, `BSD-2-Clause`, `BSD-3-Clause`, `ISC` and `MIT`" + `.

Licences of a part count too: where there are several, all of them apply. Who distributes a program
must pass on their notices: releases of ocspcheck have them in NOTICES.txt.

| Module | Version | Licence | Linked into |
|---|---|---|---|
`
