package interop_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/ocsptest"
)

// npmFolder installs the packages of testdata/npm/package-lock.json into a folder, beside the programs that use
// them, and returns it and the packages' versions.
func npmFolder(t *testing.T) (folder string, versions map[string]string) {
	npm := tool(t, "npm", "npm")
	folder = t.TempDir()
	require.NoError(t, os.CopyFS(folder, os.DirFS("testdata/npm")))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	cmd.Dir, cmd.WaitDelay = folder, 5*time.Second
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	text, err := os.ReadFile(filepath.Join(folder, "package.json"))
	require.NoError(t, err)
	var manifest struct{ Dependencies map[string]string }
	require.NoError(t, json.Unmarshal(text, &manifest))
	return folder, manifest.Dependencies
}

func TestNPM(t *testing.T) {
	node := tool(t, "node", "nodejs")
	folder, versions := npmFolder(t)
	ask := func(t *testing.T, args ...string) string {
		output, status := run(t, node, append([]string{"--no-deprecation", filepath.Join(folder, args[0])}, args[1:]...)...)
		require.Zero(t, status, output)
		return strings.TrimSpace(output)
	}

	t.Run("ocsp", func(t *testing.T) {
		c := client{name: "npm ocsp", version: versions["ocsp"], options: "check"}
		eachWorld(t, func(t *testing.T, w *world) {
			w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
				output := ask(t, "ocsp.js", w.caFile, l.certFile)
				switch {
				case w.key != ocsptest.RSA2048:
					// It verifies RSA only, so it refuses what an ECDSA key signed, whoever signs it so.
					require.Contains(t, output, "Unknown signature algorithm 1,2,840,10045,4,3,2")
				case l.name == "good":
					require.Contains(t, output, `good {"type":"good"`)
				case l.name == "revoked":
					require.Contains(t, output, "OCSP Status: revoked ")
					require.Contains(t, output, `"revocationReason":"keyCompromise"`)
				default:
					require.Contains(t, output, "OCSP Status: unknown ")
				}
			})
		})
	})
	prints := map[string]string{"good": "good undefined", "revoked": "revoked 1", "unknown": "unknown undefined"}
	for _, nonce := range []string{"true", "false"} {
		c := client{name: "npm easy-ocsp", version: versions["easy-ocsp"], options: "enableNonce: " + nonce}
		t.Run("easy-ocsp "+c.options, func(t *testing.T) {
			eachWorld(t, func(t *testing.T, w *world) {
				w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
					// It takes the URL from a certificate only if that tells the issuer's, too.
					require.Equal(t, prints[l.name], ask(t, "easy-ocsp.js", w.caFile, l.certFile, w.url, nonce))
				})
			})
		})
	}
}
