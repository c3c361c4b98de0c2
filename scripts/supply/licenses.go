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

// alsoDeployed has more licences that the dependencies of ocspd may have. The MPL asks those who
// change one of its files to publish that file. SQLite is in the public domain.
var alsoDeployed = []string{"MPL-2.0", publicDomain}

const publicDomain = "LicenseRef-public-domain"

// A license is what the licence files of a module say.
type license struct {
	kinds []string // SPDX identifiers, sorted
	files []string // relative to the module
}

var licenseName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)([-._].*)?$`)

// licenseOf returns the licence of a component, which must be allowed, or one of more.
func licenseOf(c *component, more ...string) (license, error) {
	l, err := readLicense(c)
	if err != nil {
		return l, err
	}
	for _, kind := range l.kinds {
		if !slices.Contains(allowed, kind) && !slices.Contains(more, kind) {
			return l, fmt.Errorf("%s %s: the licence %s is not allowed", c.path, c.version, kind)
		}
	}
	return l, nil
}

// readLicense reads the licence files in the directories of the packages of a component that are
// linked, and in those above them.
func readLicense(c *component) (license, error) {
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
			if e.IsDir() || !licenseName.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") ||
				strings.HasSuffix(e.Name(), "-LOGO") { // of a picture
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
	return l, nil
}

// Sentences by which licences are known, in lower case and without punctuation.
var sentences = []struct{ kind, text string }{
	{"Apache-2.0", "apache license version 2 0"},
	{"MIT", "permission is hereby granted free of charge to any person obtaining a copy"},
	{"ISC", "permission to use copy modify and or distribute this software for any purpose with or without fee"},
	{"ISC", "permission to use copy modify and distribute this software for any purpose with or without fee"},
	{"MPL-2.0", "mozilla public license version 2 0"},
	{"FTL", "the freetype license"},
	{publicDomain, "dedicated to the public domain by the authors"},
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
		// These two name the licences of GNU, which may take their place.
		choice := slices.Contains(kinds, "MPL-2.0") || slices.Contains(kinds, "FTL")
		if strings.Contains(words, s.text) && !(choice && isGNU(s.kind)) {
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
	linked, used := licenseTable{}, licenseTable{}
	for _, dir := range append(slices.Clone(published), daemon) {
		all, err := componentsOf(root, dir)
		if err != nil {
			return "", err
		}
		for _, c := range all {
			if _, err := licenseOf(c, mayLink(dir)...); err != nil {
				return "", err
			}
		}
		linked.add(dir, all)
	}
	for _, dir := range slices.Concat(published, unpublished) {
		packages := []string{"-test", "./..."}
		if dir == tools {
			packages = []string{"tool"}
		}
		all, err := componentsOf(root, dir, packages...)
		if err != nil {
			return "", err
		}
		maps.DeleteFunc(all, func(_ string, c *component) bool { return linked[c.row()] != nil })
		used.add(dir, all)
	}
	var b strings.Builder
	for _, part := range []struct {
		head  string
		table licenseTable
	}{{licensesHead, linked}, {licensesUsed, used}} {
		b.WriteString(part.head)
		for _, row := range slices.Sorted(maps.Keys(part.table)) {
			r := part.table[row]
			l, err := readLicense(r.component)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", row, strings.Join(l.kinds, ", "), strings.Join(r.users, ", "))
		}
	}
	return b.String(), nil
}

// mayLink returns the licences that the module in a directory may be linked with, besides those that
// are allowed.
func mayLink(dir string) []string {
	if dir == daemon {
		return alsoDeployed
	}
	return nil
}

// A licenseTable has a row for each version of a module, by its first cells.
type licenseTable map[string]*licenseRow

type licenseRow struct {
	*component
	users []string
}

// add adds the components of the module in a directory, without those of this repository.
func (t licenseTable) add(dir string, all map[string]*component) {
	for path, c := range all {
		if own(path) {
			continue
		}
		if t[c.row()] == nil {
			t[c.row()] = &licenseRow{component: c}
		}
		r := t[c.row()]
		maps.Copy(r.packages, c.packages)
		r.users = append(r.users, name(dir))
	}
}

// row returns the first cells of the row of a component.
func (c *component) row() string { return c.path + " | " + c.version }

const licensesHead = `# Licences of dependencies

What the published modules and the stand-alone server examples/ocspd are linked with, on Linux, macOS
and Windows, without what only their tests need. This project has the Apache License 2.0. "make
licenses" writes this page from the licence files in the modules. A test fails if it is out of date,
and if a licence is not one of ` + "`Apache-2.0`, `BSD-2-Clause`, `BSD-3-Clause`, `ISC` and `MIT`" + `.
What only ocspd is linked with may also be in the public domain, or have the licence ` + "`MPL-2.0`" + `,
which asks those who change one of its files to publish that file.

Licences of a part count too: where there are several, all of them apply. Those who distribute a program
must pass on their notices: releases of ocspcheck have them in NOTICES.txt.

| Module | Version | Licence | Linked into |
|---|---|---|---|
`

const licensesUsed = `
## Not linked into any of these

What tests, the other examples, measurements and tools of this repository use besides.

| Module | Version | Licence | Used by |
|---|---|---|---|
`
