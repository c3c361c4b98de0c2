package main

import (
	"archive/zip"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// checkSeeds requires that each corpus of the repository is in an archive of its target's name,
// except for entries that have no seed, and that OSS-Fuzz's adapter takes from each seed the
// arguments that the entry has.
func checkSeeds(t *testing.T, dir string, archives []string) {
	t.Helper()
	targets, err := findTargets(root)
	require.NoError(t, err)
	var want []string
	for _, target := range targets {
		entries, err := listEntries(filepath.Join(root, target.corpus()))
		require.NoError(t, err)
		if len(entries) == 0 {
			continue
		}
		name := target.name + "_seed_corpus.zip"
		want = append(want, name)
		archive, err := zip.OpenReader(filepath.Join(dir, name))
		require.NoError(t, err)
		seeds := 0
		for _, e := range entries {
			args, err := parseEntry(string(e.text))
			require.NoError(t, err)
			if _, ok := args.seed(); !ok {
				continue
			}
			seeds++
			file, err := archive.Open(e.name)
			require.NoError(t, err)
			seed, err := io.ReadAll(file)
			require.NoError(t, err)
			require.Equal(t, args, adapt(seed, len(args.numbers), len(args.texts)), e.name)
		}
		require.NotZero(t, seeds, name)
		require.Len(t, archive.File, seeds, name)
		require.NoError(t, archive.Close())
	}
	require.NotEmpty(t, want)
	require.ElementsMatch(t, want, archives)
}

// adapt takes arguments from an input as OSS-Fuzz's adapter does.
func adapt(seed []byte, numbers, texts int) (a arguments) {
	if numbers > 0 {
		a.numbers = seed[:numbers]
	}
	weights, rest := seed[numbers:numbers+texts], seed[numbers+texts:]
	sum := 0
	for _, w := range weights {
		sum += int(w)
	}
	total := len(rest)
	for i, w := range weights {
		n := total / texts
		if sum > 0 {
			n = total * int(w) / sum
		}
		if i == texts-1 {
			n = len(rest)
		}
		a.texts = append(a.texts, string(rest[:n]))
		rest = rest[n:]
	}
	return a
}

func TestSeed(t *testing.T) {
	t.Parallel()
	const head = "go test fuzz v1\n"
	for entry, want := range map[string]string{
		`[]byte("0\x81")`:                      "\x010\x81",
		`string("")`:                           "\x01",
		`string("ab") bool(true) byte('\xff')`: "\x01\xff\x01ab",
		`int64(-2) byte('\x01')`:               strings.Repeat("\xff", 7) + "\xfe\x01",
		`string("a") string("bcd")`:            "\x01\x02abcd",
		`string("") string("") []byte("") `:    "\x00\x00\x01",
	} {
		args, err := parseEntry(head + strings.ReplaceAll(entry, " ", "\n"))
		require.NoError(t, err)
		seed, ok := args.seed()
		require.True(t, ok, entry)
		require.Equal(t, want, string(seed), entry)
	}
	for _, entry := range []string{"", `[]byte("")`, head + "float64(1)", head + "nil", head + "x"} {
		_, err := parseEntry(entry)
		require.Error(t, err, entry)
	}
	_, ok := arguments{texts: []string{"a", strings.Repeat("b", 700)}}.seed()
	require.False(t, ok)
}
