// Package workflows checks the files in .github: nothing else here runs them.
package workflows

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const root = "../../.."

// The part of a workflow that is checked. Permissions are a scalar or a mapping.
type workflow struct {
	Name        string         `yaml:"name"`
	On          yaml.Node      `yaml:"on"`
	Permissions yaml.Node      `yaml:"permissions"`
	Jobs        map[string]job `yaml:"jobs"`
}

type job struct {
	Uses        string            `yaml:"uses"`
	RunsOn      string            `yaml:"runs-on"`
	Timeout     int               `yaml:"timeout-minutes"`
	Permissions map[string]string `yaml:"permissions"`
	Strategy    struct {
		Matrix map[string][]string `yaml:"matrix"`
	} `yaml:"strategy"`
	Steps []step `yaml:"steps"`
}

type step struct {
	If   string            `yaml:"if"`
	Uses string            `yaml:"uses"`
	Run  string            `yaml:"run"`
	With map[string]string `yaml:"with"`
}

// read returns the workflows by the name of their file, and their texts.
func read(t *testing.T) (map[string]workflow, map[string]string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*"))
	require.NoError(t, err)
	workflows, texts := map[string]workflow{}, map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var w workflow
		require.NoError(t, yaml.Unmarshal(text, &w), file)
		require.NotEmpty(t, w.Jobs, file)
		workflows[filepath.Base(file)], texts[filepath.Base(file)] = w, string(text)
	}
	require.Contains(t, workflows, "test.yml")
	require.Contains(t, workflows, "codeql.yml")
	require.Contains(t, workflows, "scorecard.yml")
	require.Contains(t, workflows, "release.yml")
	require.Contains(t, workflows, "nightly.yml")
	return workflows, texts
}

var (
	pinned = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	usage  = regexp.MustCompile(`(?m)^\s*(?:- )?uses:\s*(\S+)(.*)$`)
)

// Each action is pinned by its digest, with the version beside it, and one digest has one version.
func TestActionsArePinned(t *testing.T) {
	t.Parallel()
	workflows, texts := read(t)
	versions := map[string]string{}
	for file, text := range texts {
		written := usage.FindAllStringSubmatch(text, -1)
		for _, m := range written {
			require.Regexp(t, pinned, m[1], file)
			require.Regexp(t, `^ # v\d+\.\d+\.\d+$`, m[2], "%s: %s", file, m[1])
			repository, digest, _ := strings.Cut(m[1], "@")
			repository = strings.Join(strings.Split(repository, "/")[:2], "/")
			if versions[repository] == "" {
				versions[repository] = digest + m[2]
			}
			require.Equal(t, versions[repository], digest+m[2], "%s is used in two versions", repository)
		}
		count := 0
		for name, j := range workflows[file].Jobs {
			require.Empty(t, j.Uses, "%s: the workflow that %s calls is not looked at here", file, name)
			for _, s := range j.Steps {
				require.NotEqual(t, s.Uses == "", s.Run == "", "%s: %s", file, name)
				if s.Uses != "" {
					count++
				}
			}
		}
		require.Len(t, written, count, file)
	}
	require.NotEmpty(t, versions)
}

// mayWrite has what jobs may write, each with a reason beside it in the file.
var mayWrite = map[string][]string{
	"codeql.yml analyze":     {"security-events"},
	"scorecard.yml analysis": {"id-token", "security-events"},
	"release.yml release":    {"attestations", "contents", "id-token"},
}

// A workflow may do nothing, or read the source, and a job no more than it must. Checkouts leave no
// token behind, nothing that outsiders write is pasted into a script, and every job ends.
func TestPermissionsAreLeast(t *testing.T) {
	t.Parallel()
	workflows, texts := read(t)
	for file, w := range workflows {
		require.False(t, w.Permissions.IsZero(), "%s has no permissions", file)
		var top map[string]string
		require.NoError(t, w.Permissions.Decode(&top), file)
		for what, access := range top {
			require.Equal(t, "contents: read", what+": "+access, file)
		}
		require.NotContains(t, texts[file], "pull_request_target", file)
		require.NotContains(t, texts[file], "secrets.", file)
		for name, j := range w.Jobs {
			require.Positive(t, j.Timeout, "%s: %s", file, name)
			var writes []string
			for what, access := range j.Permissions {
				require.Contains(t, []string{"read", "write"}, access)
				if access == "write" {
					writes = append(writes, what)
				}
			}
			require.ElementsMatch(t, mayWrite[file+" "+name], writes, "%s: %s", file, name)
			for _, s := range j.Steps {
				require.NotContains(t, s.Run, "${{", "%s: %s: use an environment variable", file, name)
				if strings.HasPrefix(s.Uses, "actions/checkout@") {
					require.Equal(t, "false", s.With["persist-credentials"], "%s: %s", file, name)
				}
			}
		}
	}
}

var commands = regexp.MustCompile(`\bmake ([\w-]+)|go run (\./\S+)|((?:scripts/|\.ci/)[\w./-]+)`)

// Each make target, program and script that a workflow runs exists, and the flag of a program, too.
func TestCommandsExist(t *testing.T) {
	t.Parallel()
	workflows, _ := read(t)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	require.NoError(t, err)
	ran := map[string]bool{}
	for file, w := range workflows {
		for _, j := range w.Jobs {
			for _, s := range j.Steps {
				for _, m := range commands.FindAllStringSubmatch(s.Run, -1) {
					ran[m[0]] = true
					switch {
					case m[1] != "":
						require.Regexp(t, `(?m)^`+m[1]+`:`, string(makefile), file)
					case m[2] != "":
						require.FileExists(t, filepath.Join(root, m[2], "main.go"), file)
					default:
						info, err := os.Stat(filepath.Join(root, m[3]))
						require.NoError(t, err, file)
						require.True(t, info.IsDir() || info.Mode()&0o111 != 0, "%s cannot be run", m[3])
					}
				}
			}
		}
	}
	for _, command := range []string{"make check", ".ci/run", "make supply", "make dist"} {
		require.Contains(t, ran, command)
	}
}

// The simulation, the mutations of the model and the planted faults run each night, for as long as
// they take. One that fails keeps no other from running.
func TestNightly(t *testing.T) {
	t.Parallel()
	workflows, _ := read(t)
	nightly := workflows["nightly.yml"]
	var on struct {
		Schedule []struct {
			Cron string `yaml:"cron"`
		} `yaml:"schedule"`
	}
	require.NoError(t, nightly.On.Decode(&on))
	require.Len(t, on.Schedule, 1)
	require.Regexp(t, `^\d+ \d+ \* \* \*$`, on.Schedule[0].Cron)
	proof := nightly.Jobs["proof"]
	require.GreaterOrEqual(t, proof.Timeout, 180)
	var ran []string
	for _, s := range proof.Steps {
		if !strings.HasPrefix(s.Run, "make ") {
			continue
		}
		if ran != nil {
			require.Equal(t, "${{ !cancelled() }}", s.If, s.Run)
		}
		ran = append(ran, s.Run)
	}
	require.Equal(t, []string{"make simulate", "make mutations", "make faults"}, ran)
}

var goLine = regexp.MustCompile(`(?m)^go (\d+\.\d+(?:\.\d+)?)$`)

// modules returns the folders of the repository that have a go.mod, as dependabot names them.
func modules(t *testing.T) (list []string) {
	t.Helper()
	out, err := exec.Command("git", "-C", root, "ls-files", "--", "go.mod", "*/go.mod").Output()
	require.NoError(t, err)
	for _, file := range strings.Fields(string(out)) {
		list = append(list, path.Clean("/"+path.Dir(file)))
	}
	require.Contains(t, list, "/")
	return list
}

// Tests run with the first release of Go that go.mod allows and with the newest, on three systems.
func TestMatrix(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	floor := goLine.FindStringSubmatch(string(mod))[1]
	if strings.Count(floor, ".") == 1 {
		floor += ".0"
	}
	workflows, _ := read(t)
	jobs := workflows["test.yml"].Jobs
	for _, name := range []string{"check", "everything"} {
		require.ElementsMatch(t, []string{floor, "stable"}, jobs[name].Strategy.Matrix["go"], name)
		require.True(t, slices.ContainsFunc(jobs[name].Steps, func(s step) bool {
			return strings.HasPrefix(s.Uses, "actions/setup-go@") && s.With["go-version"] == "${{ matrix.go }}"
		}), name)
	}
	require.ElementsMatch(t, []string{"ubuntu-latest", "macos-latest", "windows-latest"},
		jobs["check"].Strategy.Matrix["os"])
	require.Equal(t, "${{ matrix.os }}", jobs["check"].RunsOn)
}

// What reads tags has them: a checkout brings none by itself, and the API would be compared with none.
func TestTagsAreThere(t *testing.T) {
	t.Parallel()
	workflows, _ := read(t)
	for _, j := range []job{workflows["test.yml"].Jobs["everything"], workflows["release.yml"].Jobs["release"]} {
		require.True(t, slices.ContainsFunc(j.Steps, func(s step) bool {
			return strings.HasPrefix(s.Uses, "actions/checkout@") && s.With["fetch-depth"] == "0"
		}))
	}
	everything, err := os.ReadFile(filepath.Join(root, ".ci", "run"))
	require.NoError(t, err)
	require.Contains(t, string(everything), "apidiff")
	// make test alone takes 12 minutes, and 20 more from empty caches.
	require.GreaterOrEqual(t, workflows["test.yml"].Jobs["everything"].Timeout, 120)
}

// A toolchain that cannot be had is left out, unless continuous integration asks for it: the first
// as well as the newest. The go command here is one that downloads nothing.
func TestToolchainsMustBeThere(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "go"), []byte(`#!/bin/sh
case "$1 $2" in
"list -m") [ -z "$OFFLINE" ] && echo "go 1.99.0" ;;
version*) [ "$GOTOOLCHAIN" != "go$MISSING" ] && [ -z "$OFFLINE" ] ;;
esac
`), 0o755))
	for _, missing := range []string{"MISSING=1.26.0", "MISSING=1.99.0", "OFFLINE=1"} {
		for _, required := range []string{"", "1"} {
			cmd := exec.Command("bash", "scripts/toolchains.sh")
			cmd.Dir = root
			cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
				missing, "OCSP_REQUIRE_TOOLS="+required)
			out, err := cmd.CombinedOutput()
			require.Contains(t, string(out), "cannot be downloaded from here", missing)
			require.Equal(t, required == "", err == nil, "%s: %s", missing, out)
		}
	}
}

// Dependabot updates each module of the repository, and the actions.
func TestDependabot(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, ".github", "dependabot.yml"))
	require.NoError(t, err)
	var config struct {
		Version int `yaml:"version"`
		Updates []struct {
			Ecosystem   string   `yaml:"package-ecosystem"`
			Directory   string   `yaml:"directory"`
			Directories []string `yaml:"directories"`
			Schedule    struct {
				Interval string `yaml:"interval"`
			} `yaml:"schedule"`
		} `yaml:"updates"`
	}
	require.NoError(t, yaml.Unmarshal(text, &config))
	require.Equal(t, 2, config.Version)
	covered := map[string][]string{}
	for _, u := range config.Updates {
		require.NotEmpty(t, u.Schedule.Interval)
		if u.Directory != "" {
			u.Directories = append(u.Directories, u.Directory)
		}
		covered[u.Ecosystem] = append(covered[u.Ecosystem], u.Directories...)
	}
	require.Equal(t, []string{"/"}, covered["github-actions"])
	require.ElementsMatch(t, modules(t), covered["gomod"])
}
