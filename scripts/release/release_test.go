package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestModulesOfTheTreeArePublishedOrNot(t *testing.T) {
	t.Chdir("../..")
	for _, dir := range published {
		_, replaces, err := goMod(dir)
		require.NoError(t, err)
		assert.Zero(t, replaces, "%s: importers do not see replace directives", dir)
		licence, err := os.ReadFile(filepath.Join(dir, "LICENSE"))
		require.NoError(t, err)
		first, err := os.ReadFile("LICENSE")
		require.NoError(t, err)
		assert.Equal(t, string(first), string(licence), dir)
	}
}

func TestReplaceIsRefused(t *testing.T) {
	p := &publication{version: "v0.99.0", tree: t.TempDir()}
	require.NoError(t, os.WriteFile(filepath.Join(p.tree, "go.mod"),
		[]byte("module "+root+"\n\nreplace example.com/a => ../a\n"), 0o644))
	assert.ErrorContains(t, p.add("."), "go.mod has a replace directive")
}

func TestReleaseRefuses(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	git := func(args ...string) {
		t.Helper()
		args = append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)
		out, err := exec.Command("git", args...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	git("init", "-q")
	for _, version := range []string{"0.1.0", "v0.1", "v01.0.0", "latest", ""} {
		assert.ErrorContains(t, release(version), "use one such as v0.1.0", version)
	}
	require.NoError(t, os.WriteFile("CHANGELOG.md", []byte("# Changelog\n\n## Unreleased\n"), 0o644))
	assert.ErrorContains(t, release("v0.1.0"), "commit them first")
	git("add", ".")
	git("commit", "-qm", "first")
	assert.ErrorContains(t, release("v0.1.0"), `CHANGELOG.md has no heading "## v0.1.0"`)
	git("tag", "ocspsql/pgfeed/v0.1.0")
	assert.ErrorContains(t, release("v0.1.0"), "the tag ocspsql/pgfeed/v0.1.0 exists")
}

func TestTidyFile(t *testing.T) {
	const was = "module m\n\nrequire (\n\t" + root + " v0.1.0\n\texample.com/a v1.0.0\n)\n"
	is := strings.NewReplacer("v0.1.0", "v0.99.0", "v1.0.0", "v1.0.1").Replace(was)
	file, tidy := filepath.Join(t.TempDir(), "go.mod"), filepath.Join(t.TempDir(), "go.mod")
	require.NoError(t, os.WriteFile(file, []byte(was), 0o644))
	require.NoError(t, os.WriteFile(tidy, []byte(is), 0o644))

	for _, dry := range []bool{true, false} {
		changed, err := tidyFile(file, tidy, dry)
		require.NoError(t, err)
		assert.True(t, changed)
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, strings.Replace(was, "v1.0.0", "v1.0.1", 1), string(data))

	changed, err := tidyFile(file, tidy, true)
	require.NoError(t, err)
	assert.False(t, changed, "its own modules differ by the version alone")
}
