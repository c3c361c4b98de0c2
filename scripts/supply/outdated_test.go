package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Of the two direct dependencies one is behind. A directory with the form of a proxy has their versions.
func TestOutdated(t *testing.T) {
	t.Chdir(t.TempDir())
	proxy, err := filepath.Abs("proxy")
	require.NoError(t, err)
	write := func(file, text string) {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	for path, versions := range map[string][]string{"a": {"v1.0.0", "v1.1.0"}, "b": {"v1.0.0"}} {
		at := filepath.Join(proxy, "example.com", path, "@v")
		list := ""
		for _, version := range versions {
			list += version + "\n"
			write(filepath.Join(at, version+".info"), `{"Version":"`+version+`"}`)
			write(filepath.Join(at, version+".mod"), "module example.com/"+path+"\n\ngo 1.26\n")
		}
		write(filepath.Join(at, "list"), list)
	}
	write("m/go.mod", "module example.com/m\n\ngo 1.26\n\nrequire (\n\t"+
		"example.com/a v1.0.0\n\texample.com/b v1.0.0\n)\n")
	write("m/go.sum", "")
	t.Setenv("GOPROXY", "file://"+filepath.ToSlash(proxy))
	t.Setenv("GONOSUMDB", "*")
	t.Setenv("GOMODCACHE", t.TempDir())
	cmd := exec.Command("go", "list", "-mod=mod", "-m", "all") // writes the checksums
	cmd.Dir = "m"
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))

	behind, err := outdated("m")
	require.NoError(t, err)
	require.Equal(t, "example.com/a v1.0.0, newest v1.1.0\n", behind)
}
