package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// git runs git in the working directory.
func git(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)
	out, err := exec.Command("git", args...).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func TestReleaseRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	git(t, "init", "-q")
	for _, version := range []string{"0.1.0", "v0.1", "v01.0.0", "latest", ""} {
		assert.ErrorContains(t, release(version), "use one such as v0.1.0", version)
	}
	require.NoError(t, os.WriteFile("CHANGELOG.md", []byte("# Changelog\n\n## Unreleased\n"), 0o644))
	assert.ErrorContains(t, release("v0.1.0"), "commit them first")
	git(t, "add", ".")
	git(t, "commit", "-qm", "first")
	assert.ErrorContains(t, release("v0.1.0"), `CHANGELOG.md has no heading "## v0.1.0"`)
	git(t, "tag", "ocspsql/pgfeed/v0.1.0")
	assert.ErrorContains(t, release("v0.1.0"), "the tag ocspsql/pgfeed/v0.1.0 exists")
}

// What a release commits is one version everywhere: at the tag a host builds without go.work, also
// one that requires a published module which requires another.
func TestReleaseCommits(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"AUTHOR", "COMMITTER"} {
		t.Setenv("GIT_"+name+"_NAME", "a")
		t.Setenv("GIT_"+name+"_EMAIL", "a@example.com")
	}
	t.Setenv("GOWORK", "off")
	host := filepath.Join("examples", "ocspd")
	for _, dir := range append(slices.Clone(published), host) {
		mod := "module " + root + "/" + filepath.ToSlash(dir) + "\n\ngo 1.26.0\n"
		source := "package " + filepath.Base(dir) + "\n"
		switch dir {
		case ".":
			mod, source = "module "+root+"\n\ngo 1.26.0\n", "package ocsp\n"
		case host:
			mod += "\nreplace (\n\t" + root + " => ../..\n\t" + root + "/ocspsql => ../../ocspsql\n)\n" +
				"\nrequire (\n\t" + root + " v0.0.0\n\t" + root + "/ocspsql v0.0.0\n)\n"
			source = "package main\n\nimport (\n\t_ \"" + root + "\"\n\t_ \"" + root + "/ocspsql\"\n)\n\nfunc main() {}\n"
		default:
			mod += "\nrequire " + root + " v0.0.0\n"
			source += "\nimport _ \"" + root + "\"\n"
		}
		require.NoError(t, os.MkdirAll(dir, 0o755))
		for name, text := range map[string]string{
			"go.mod": mod, "go.sum": "", "a.go": source, "LICENSE": "a",
		} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
	}
	git(t, "init", "-q")
	git(t, "add", ".")
	git(t, "commit", "-qm", "first")

	p, err := publish("v0.1.0")
	require.NoError(t, err)
	defer func() { assert.NoError(t, p.remove()) }()
	require.NoError(t, p.commit([]string{"v0.1.0", "ocspsql/v0.1.0"}))
	assert.Empty(t, git(t, "status", "--porcelain"))
	assert.Equal(t, "ocspsql/v0.1.0\nv0.1.0\n", git(t, "tag", "--points-at", "HEAD"))
	for _, dir := range []string{"ocspsql", host} {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		require.NoError(t, err)
		assert.Contains(t, string(mod), root+" v0.1.0\n", dir)
		assert.NotContains(t, string(mod), "v0.0.0", dir)
	}
	for _, command := range []string{"mod tidy -diff", "build -o " + os.DevNull} {
		cmd := exec.Command("go", strings.Fields(command)...)
		cmd.Dir = host
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, "go %s: %s", command, out)
	}
}

// GitHub starts no workflow for tags of which more than three are pushed at once, and the release
// workflow wants the other modules' tags to be there.
func TestRootTagIsPushedLastAndAlone(t *testing.T) {
	var tags []string
	for _, dir := range published {
		tags = append(tags, strings.TrimPrefix(dir+"/v0.1.0", "./"))
	}
	assert.Equal(t, []string{
		"git push --atomic origin HEAD ocspfasthttp/v0.1.0 ocspotel/v0.1.0 ocspredis/v0.1.0 " +
			"ocspsql/v0.1.0 ocspsql/pgfeed/v0.1.0",
		"git push origin v0.1.0",
	}, pushes(tags))
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
