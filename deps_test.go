package ocsp_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/house"
)

const module = house.Module

// goTool runs the go command as a user of this module alone would.
func goTool(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := house.Go(".", args...)
	require.NoError(t, err)
	return out
}

// The root module takes few dependencies, and each by intention.
func TestRequirements(t *testing.T) {
	t.Parallel()
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []any
	}
	require.NoError(t, json.Unmarshal(goTool(t, "mod", "edit", "-json"), &mod))
	require.Empty(t, mod.Replace)
	var direct []string
	for _, r := range mod.Require {
		if !r.Indirect {
			direct = append(direct, r.Path)
		}
	}
	require.ElementsMatch(t, []string{
		"golang.org/x/crypto", "github.com/patrickmn/go-cache", "github.com/stretchr/testify",
	}, direct)
}

// Imports point one way, and nothing that is for tests is linked into a server.
func TestImports(t *testing.T) {
	t.Parallel()
	imports := func(pkg string, flags ...string) map[string]bool {
		set := map[string]bool{}
		for _, line := range strings.Fields(string(goTool(t, append(append([]string{"list"}, flags...), pkg)...))) {
			if first, _, _ := strings.Cut(line, "/"); strings.Contains(first, ".") {
				set[line] = true
			}
		}
		return set
	}
	deps := imports(".", "-deps")
	for path := range deps {
		_, isRoom := house.Rooms[path]
		allowed := path == module || isRoom || path == "github.com/patrickmn/go-cache" ||
			strings.HasPrefix(path, "golang.org/x/crypto/cryptobyte")
		require.True(t, allowed, "package ocsp must not depend on %s", path)
	}
	require.False(t, deps["testing"])
	for path := range imports("./internal/codec", "-deps") {
		require.True(t, path == module+"/internal/codec" || strings.HasPrefix(path, "golang.org/x/crypto/cryptobyte"), "the codec must not depend on %s", path)
	}
	require.Equal(t, map[string]bool{module: true, module + "/internal/hostcall": true}, imports("./ocspconfig", "-f", "{{join .Imports \"\\n\"}}"))
	for path := range imports("./ocsptest", "-f", "{{join .Imports \"\\n\"}}") {
		require.Contains(t, []string{module, module + "/internal/codec", "golang.org/x/crypto/ocsp"}, path, "ocsptest must not import it")
	}
	// Package httptest imports it as of Go 1.27.
	const importsTesting = `{{if not .Standard}}{{$p := .ImportPath}}{{range .Imports}}` +
		`{{if eq . "testing"}}{{$p}} {{end}}{{end}}{{end}}`
	require.Empty(t, strings.TrimSpace(string(goTool(t, "list", "-deps", "-f", importsTesting,
		"./ocsptest"))), "ocsptest needs no testing.TB")
}
