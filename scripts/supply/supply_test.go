package main

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// What a bill of materials names is what is built. The go command answers that twice: the build list
// has the versions, and "go mod why" finds the modules that no package needs, on any platform.
func TestBillsAreTrue(t *testing.T) {
	t.Parallel()
	for _, dir := range append(slices.Clone(published), daemon) {
		t.Run(name(dir), func(t *testing.T) {
			t.Parallel()
			bill, err := newBOM(root, dir, "v1.2.3")
			require.NoError(t, err)
			require.Equal(t, modulePath(dir), bill.Metadata.Component.Name)
			require.Equal(t, "v1.2.3", bill.Metadata.Component.Version)
			named := map[string]string{}
			for _, c := range bill.Components {
				named[c.Name] = c.Version
			}

			v, err := newView(root, dir)
			require.NoError(t, err)
			defer v.close()
			list, err := v.output(nil, "list", "-m", "-f", "{{.Path}} {{.Version}}", "all")
			require.NoError(t, err)
			built := map[string]string{}
			var others []string
			for line := range strings.Lines(string(list)) {
				path, version, _ := strings.Cut(strings.TrimSpace(line), " ")
				switch {
				case path == modulePath(dir):
				case named[path] == "":
					others = append(others, path)
				case own(path):
					built[path] = "v1.2.3"
				default:
					built[path] = version
				}
			}
			require.Equal(t, built, named)

			why, err := v.output(nil, append([]string{"mod", "why", "-m", "-vendor"}, others...)...)
			require.NoError(t, err)
			for block := range strings.SplitSeq(strings.TrimSpace(string(why)), "\n\n") {
				require.Regexp(t, `main module does not need|\.test\n|^# \S+\n\S+/internal/dbtest\n`, block,
					"%s is needed, and not in the bill", dir)
			}
		})
	}
}

// A bill depends on the source alone, and each of its references is of a component.
func TestBillIsReproducible(t *testing.T) {
	t.Parallel()
	var texts [2][]byte
	for i := range texts {
		bill, err := newBOM(root, "ocspotel", "v1.2.3")
		require.NoError(t, err)
		texts[i], err = bill.encode()
		require.NoError(t, err)
	}
	require.Equal(t, string(texts[0]), string(texts[1]))

	var bill bom
	require.NoError(t, json.Unmarshal(texts[0], &bill))
	require.Regexp(t, `^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
		bill.SerialNumber)
	refs := map[string]bool{bill.Metadata.Component.Ref: true}
	for _, c := range bill.Components {
		require.False(t, refs[c.Ref])
		refs[c.Ref] = true
	}
	require.Len(t, bill.Dependencies, len(refs))
	for _, d := range bill.Dependencies {
		require.True(t, refs[d.Ref])
		for _, on := range d.DependsOn {
			require.True(t, refs[on], on)
		}
	}
}

// docs/LICENSES.md is up to date, and has allowed licences only.
func TestLicenses(t *testing.T) {
	t.Parallel()
	want, err := licenseList(root)
	require.NoError(t, err)
	have, err := os.ReadFile(filepath.Join(root, licensesFile))
	require.NoError(t, err)
	require.Equal(t, want, string(have), "run make licenses")
	for _, kind := range allowed {
		require.Contains(t, want, "`"+kind+"`")
	}
}

func TestRecognize(t *testing.T) {
	t.Parallel()
	const bsd = "Redistribution and use in source and binary forms, with or without modification"
	for text, kinds := range map[string][]string{
		"Apache License\n  Version 2.0, January 2004":                                   {"Apache-2.0"},
		"Permission is hereby granted, free of charge, to any person obtaining a\ncopy": {"MIT"},
		bsd:                          {"BSD-2-Clause"},
		bsd + ": * Neither the name": {"BSD-3-Clause"},
		"Mozilla Public License Version 2.0, or GNU General Public License":         {"MPL-2.0"},
		"The FreeType License, or the GNU General Public License":                   {"FTL"},
		"Dedicated to the public domain by the authors.":                            {publicDomain},
		"GNU AFFERO GENERAL PUBLIC LICENSE":                                         {"AGPL"},
		"MIT License, with the Commons Clause\n" + bsd + "neither the name, " + bsd: {"Commons-Clause", "BSD-3-Clause", "BSD-2-Clause"},
	} {
		have, err := recognize(text)
		require.NoError(t, err)
		require.Equal(t, kinds, have, text)
	}
	_, err := recognize("All rights reserved.")
	require.Error(t, err)
}

// A licence is refused that is not allowed, not recognized or not there, wherever it applies.
func TestLicensesAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pkg := filepath.Join(dir, "a", "b")
	require.NoError(t, os.MkdirAll(pkg, 0o755))
	c := &component{path: "example.com/a", version: "v1.0.0", dir: dir, packages: map[string]bool{pkg: true}}
	_, err := licenseOf(c)
	require.ErrorContains(t, err, "has no licence file")

	write := func(file, text string) {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	write(filepath.Join(dir, "LICENSE"), "Apache License, Version 2.0")
	l, err := licenseOf(c)
	require.NoError(t, err)
	require.Equal(t, license{[]string{"Apache-2.0"}, []string{"LICENSE"}}, l)

	write(filepath.Join(dir, "a", "COPYING.txt"), "GNU Lesser General Public License")
	_, err = licenseOf(c, alsoDeployed...)
	require.ErrorContains(t, err, "the licence LGPL is not allowed")

	write(filepath.Join(dir, "a", "COPYING.txt"), "Mozilla Public License Version 2.0")
	_, err = licenseOf(c, mayLink("ocspsql")...)
	require.ErrorContains(t, err, "the licence MPL-2.0 is not allowed")
	l, err = licenseOf(c, mayLink(daemon)...)
	require.NoError(t, err)
	require.Equal(t, []string{"Apache-2.0", "MPL-2.0"}, l.kinds)

	write(filepath.Join(dir, "a", "COPYING.txt"), "mine")
	_, err = licenseOf(c)
	require.ErrorContains(t, err, "not recognized")
}

// Each module of the repository is published, or one of those that users do not import.
func TestPublished(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("git", "-C", root, "ls-files", "--", "go.mod", "*/go.mod").Output()
	require.NoError(t, err)
	var modules []string
	for _, file := range strings.Fields(string(out)) {
		dir, _ := filepath.Split(file)
		first, _, _ := strings.Cut(dir, "/")
		switch first {
		case "bench", "examples", "interop", "model", "scripts", "simulation":
		default:
			modules = append(modules, filepath.ToSlash(filepath.Clean(dir)))
		}
	}
	require.ElementsMatch(t, published, modules)

	// The program that tags them has the same list.
	var lists []string
	for _, file := range []string{"modules.go", "../release/main.go"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		_, list, ok := strings.Cut(string(text), "\nvar published = ")
		require.True(t, ok, file)
		list, _, _ = strings.Cut(list, "\n")
		lists = append(lists, list)
	}
	require.Equal(t, lists[0], lists[1])
}

// Without a database nothing is found, which is said, and is an error only where it must be had.
func TestNoDatabase(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil) // 404 for everything
	defer server.Close()
	require.NoError(t, findVulnerabilities(server.URL, false))
	require.ErrorContains(t, findVulnerabilities(server.URL, true), "nothing was checked: "+server.URL+": 404")
}

func TestSame(t *testing.T) {
	t.Parallel()
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	require.NoError(t, os.WriteFile(a, []byte("12345"), 0o644))
	require.NoError(t, os.WriteFile(b, []byte("12345"), 0o644))
	require.NoError(t, same(a, b))
	require.NoError(t, os.WriteFile(b, []byte("12x45"), 0o644))
	require.ErrorContains(t, same(a, b), "equal up to 2")
}

// The notices of ocspcheck have the texts of the modules that it is linked with, and Go's.
func TestNotices(t *testing.T) {
	t.Parallel()
	text, err := notices(root)
	require.NoError(t, err)
	for _, part := range []string{
		"== github.com/kmsocsp/ocsp, LICENSE\n", "== github.com/patrickmn/go-cache v",
		"== golang.org/x/crypto v", "== Go " + runtime.Version() + "\n", "Permission is hereby granted",
	} {
		require.Contains(t, text, part)
	}
	require.NotContains(t, text, "testify")
}

func TestTags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{
			"-C", dir, "-c", "user.name=a", "-c", "user.email=a", "-c", "commit.gpgsign=false",
			"-c", "tag.gpgsign=false",
		}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	write := func(version string) {
		for _, module := range published {
			text := "module " + modulePath(module) + "\n\ngo 1.26\n"
			if module != "." {
				text += "\nrequire " + modulePath(".") + " " + version + "\n"
			}
			require.NoError(t, os.MkdirAll(filepath.Join(dir, module), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, module, "go.mod"), []byte(text), 0o644))
		}
		git("add", ".")
		git("commit", "-q", "-m", version)
	}
	tag := func(version string) {
		for _, module := range published {
			git("tag", "-m", "", strings.TrimPrefix(module+"/"+version, "./"))
		}
	}
	git("init", "-q")
	write("v0.1.0")
	tag("v0.1.0")
	require.NoError(t, checkTags(dir, "v0.1.0"))
	require.ErrorContains(t, checkTags(dir, "v0.2.0"), "git has no refs/tags/v0.2.0")
	tag("v0.2.0")
	require.ErrorContains(t, checkTags(dir, "v0.2.0"), "requires github.com/kmsocsp/ocsp v0.1.0, and not v0.2.0")
	write("v0.3.0")
	require.ErrorContains(t, checkTags(dir, "v0.1.0"), "is on another commit")
}
