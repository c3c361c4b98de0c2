package interop_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBouncyCastle(t *testing.T) {
	java := tool(t, "java", "default-jdk-headless")
	var jars []string
	for name, aptPackage := range map[string]string{"bcprov": "libbcprov-java", "bcpkix": "libbcpkix-java", "bcutil": "libbcutil-java"} {
		jar := filepath.Join("/usr/share/java", name+".jar")
		if _, err := os.Stat(jar); err != nil {
			missing(t, jar, aptPackage)
		}
		jars = append(jars, jar)
	}
	classPath := strings.Join(jars, ":")
	classPath += ":" + compileJava(t, "testdata/Bouncy.java", classPath)
	version := versionOf(t, "", java, "-cp", classPath, "Bouncy")
	prints := map[string]string{"good": "good", "revoked": "revoked 1", "unknown": "unknown"}
	for _, hash := range []string{"sha1", "sha256"} {
		c := client{name: "Bouncy Castle", version: version, options: hash}
		t.Run(hash, func(t *testing.T) {
			eachWorld(t, func(t *testing.T, w *world) {
				w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
					output, status := run(t, java, "-cp", classPath, "Bouncy", w.caFile, l.certFile, w.url, hash)
					require.Zero(t, status, output)
					require.Equal(t, prints[l.name], strings.TrimSpace(output))
				})
			})
		})
	}
}
