package main

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/house"
)

const root = "../.."

// names returns the targets of the repository.
func names(t *testing.T) (list []string) {
	t.Helper()
	targets, err := findTargets(root)
	require.NoError(t, err)
	require.NotEmpty(t, targets)
	for _, target := range targets {
		list = append(list, target.String())
	}
	return list
}

// The table in docs/RELIABILITY.md is the sum of the counts, and each target has been counted.
func TestTable(t *testing.T) {
	t.Parallel()
	list, err := readCounts(filepath.Join(root, countsFile))
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(root, tableFile))
	require.NoError(t, err)
	want, err := withTable(string(text), list.table())
	require.NoError(t, err)
	require.Equal(t, want, string(text), "run go run ./scripts/fuzz -time 0")

	var counted []string
	for _, c := range list {
		require.Positive(t, c.executions, c.target)
		if len(counted) == 0 || counted[len(counted)-1] != c.target {
			counted = append(counted, c.target)
		}
	}
	require.Equal(t, names(t), counted)
}

// docs/FUZZING.md names each target beside what it reads, and no other.
func TestParsers(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs", "FUZZING.md"))
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(text), "\n## Parsers\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	named := regexp.MustCompile(`[\w/]+\.Fuzz\w+`).FindAllString(section, -1)
	require.ElementsMatch(t, names(t), named)
}

// The entries of the corpora are few and short, and each corpus is a target's.
func TestCorpora(t *testing.T) {
	t.Parallel()
	targets, err := findTargets(root)
	require.NoError(t, err)
	of := map[string]bool{}
	for _, target := range targets {
		of[target.corpus()] = true
		files, err := filepath.Glob(filepath.Join(root, target.corpus(), "*"))
		require.NoError(t, err)
		entries, err := listEntries(filepath.Join(root, target.corpus()))
		require.NoError(t, err)
		require.Len(t, entries, len(files), "%s has an entry that is too long", target)
	}
	tracked, err := house.Go(root, "list", "-m", "-f", "{{.Dir}}")
	require.NoError(t, err)
	dir := strings.TrimSpace(string(tracked))
	require.NoError(t, filepath.WalkDir(dir, func(file string, _ os.DirEntry, err error) error {
		if path.Base(path.Dir(filepath.ToSlash(file))) == "fuzz" &&
			path.Base(path.Dir(path.Dir(filepath.ToSlash(file)))) == "testdata" {
			rel, err := filepath.Rel(dir, file)
			require.NoError(t, err)
			require.True(t, of[filepath.ToSlash(rel)], "%s is no target's", rel)
		}
		return err
	}))
}

func TestCounts(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "counts")
	list, err := readCounts(file)
	require.NoError(t, err)
	list.add(count{"b.FuzzB", "go1.26", "2026-01-02", 1_000_000, 2})
	list.add(count{"b.FuzzB", "go1.26", "2026-01-02", 234_567, 1})
	list.add(count{"b.FuzzB", "go1.27", "2026-01-03", 1, 0})
	list.add(count{"a.FuzzA", "go1.26", "2026-01-01", 999, 0})
	require.NoError(t, list.write(file))
	again, err := readCounts(file)
	require.NoError(t, err)
	require.Len(t, again, 3)
	require.Equal(t, list, again)
	require.Equal(t, `| target | executions | corpus entries added | last run |
|---|--:|--:|---|
| all | 1,235,567 | 3 | 2026-01-03, go1.27 |
| a.FuzzA | 999 | 0 | 2026-01-01, go1.26 |
| b.FuzzB | 1,234,568 | 3 | 2026-01-03, go1.27 |
`, again.table())
	text, err := withTable("x\n"+tableBegin+"old\n"+tableEnd+"y\n", "new\n")
	require.NoError(t, err)
	require.Equal(t, "x\n"+tableBegin+"new\n"+tableEnd+"y\n", text)
	_, err = withTable("x", "new")
	require.Error(t, err)

	const report = "fuzz: elapsed: 3s, execs: 5 (2/sec), new interesting: 0 (total: 1)\n" +
		"fuzz: elapsed: 6s, execs: 17 (4/sec), new interesting: 0 (total: 1)\nPASS\n"
	found := executed.FindAllStringSubmatch(report, -1)
	require.Equal(t, "17", found[len(found)-1][1])
}

// oss-fuzz/build.sh builds each target once, under its name, with its corpus. It runs in a copy of
// the repository, with a stand-in for the image's script that compiles.
func TestOSSFuzz(t *testing.T) {
	t.Parallel()
	src, out := t.TempDir(), t.TempDir()
	tree := filepath.Join(src, "ocsp")
	require.NoError(t, os.CopyFS(tree, sources{os.DirFS(root)}))
	stub, err := filepath.Abs("testdata")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "bash", "-eu", filepath.Join(tree, "oss-fuzz", "build.sh"))
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "SRC="+src, "OUT="+out, "GOFLAGS=",
		"PATH="+stub+string(os.PathListSeparator)+os.Getenv("PATH"))
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", text)

	built, err := os.ReadDir(out)
	require.NoError(t, err)
	var list, archives []string
	for _, file := range built {
		if strings.HasSuffix(file.Name(), ".zip") {
			archives = append(archives, file.Name())
			continue
		}
		text, err := os.ReadFile(filepath.Join(out, file.Name()))
		require.NoError(t, err)
		dir := strings.TrimPrefix(string(bytes.TrimSpace(text)), house.Module+"/")
		list = append(list, dir+"."+file.Name())
	}
	require.ElementsMatch(t, names(t), list)
	checkSeeds(t, out, archives)

	script, err := os.ReadFile(filepath.Join(root, "oss-fuzz", "build.sh"))
	require.NoError(t, err)
	listed := regexp.MustCompile(`\bFuzz\w+`).FindAllString(string(script), -1)
	require.Len(t, listed, len(list), "a target is listed twice")
}
