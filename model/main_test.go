package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	t.Parallel()
	const complete = "State-vector 116 byte, depth reached 288, errors: 0\n" +
		"    26255 states, stored\n"
	var r result
	require.True(t, r.parse(complete))
	require.Equal(t, result{states: 26255, complete: true}, r)
	require.True(t, r.ok())
	require.Equal(t, "complete", r.verdict())
	r.mutation = &mutation{}
	require.False(t, r.ok())

	for _, partial := range []string{
		"error: max search depth too small\n", "Interrupted\n",
		"pan: reached -DMEMLIM bound\n", "Warning: Search not completed\n",
	} {
		r = result{}
		require.True(t, r.parse(partial+complete))
		require.False(t, r.complete, partial)
		require.False(t, r.ok())
		require.Equal(t, "stopped", r.verdict())
	}

	r = result{job: job{configuration: configuration{bits: 30}}}
	require.True(t, r.parse("pan:1: assertion violated (a) (at depth 98)\n"+
		"State-vector 116 byte, depth reached 98, errors: 1\n 2.86e+07 states, stored\n"))
	require.Equal(t, int64(28600000), r.states)
	require.Equal(t, "assertion violated (a) (at depth 98)", r.message)
	require.False(t, r.ok())
	r.mutation = &mutation{}
	require.True(t, r.ok())

	require.False(t, r.parse("pan: out of memory\n"))
}

// Each assertion of a model names the claim that it checks.
func TestAssertionsNameClaims(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"process.pml", "feed.pml", "shared.pml", "statuses.pml"} {
		text, err := sources.ReadFile(name)
		require.NoError(t, err)
		for n, line := range strings.Split(string(text), "\n") {
			if strings.Contains(line, "assert(") {
				require.Regexp(t, claimComment, line, "%s:%d", name, n+1)
			}
		}
	}
	_, err := brokenClaim("spin: process.pml:1, Error: assertion violated\n")
	require.Error(t, err)
	_, err = brokenClaim("")
	require.Error(t, err)
}

// The list of mutations is that of the models, and three of them are for CI.
func TestMutationsAreListed(t *testing.T) {
	t.Parallel()
	text := map[string]string{}
	all := ""
	for _, name := range []string{"process", "feed", "shared", "statuses"} {
		b, err := sources.ReadFile(name + ".pml")
		require.NoError(t, err)
		text[name] = string(b)
		all += string(b)
	}
	listed := map[string]bool{"LEASED": true, "PATIENT": true}
	for _, m := range mutations {
		require.False(t, listed[m.define], m.define)
		listed[m.define] = true
		in := text[m.of.model] + text["statuses"]
		require.Regexp(t, `#ifn?def `+m.define+`\b`, in, "its model has no such mutation")
	}
	require.Len(t, cheap, 3)
	require.Subset(t, slices.Collect(maps.Keys(listed)), append(cheap, stated...))
	for _, m := range regexp.MustCompile(`#ifn?def ([A-Z_]+)`).FindAllStringSubmatch(all, -1) {
		require.True(t, listed[m[1]], "%s is in a model, but not in the list", m[1])
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "page.md")
	require.Error(t, report("mutations", "x\n", file))
	page := "a\n<!-- the model writes its mutations here -->\nold\n<!-- end of the mutations -->\nb\n"
	require.NoError(t, os.WriteFile(file, []byte(page), 0o600))
	require.NoError(t, report("mutations", "new\n", file))
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, strings.Replace(page, "old", "new", 1), string(got))
	require.Equal(t, "1,234,005", thousands(1234005))
	require.Equal(t, "0", thousands(0))
}
