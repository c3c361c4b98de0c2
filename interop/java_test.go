package interop_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// javaPrints is what testdata/Pkix.java prints.
var javaPrints = map[string]string{
	"good":    "good",
	"revoked": "revoked KEY_COMPROMISE",
	"unknown": "UNDETERMINED_REVOCATION_STATUS Certificate's revocation status is unknown",
}

// compileJava compiles a program into a folder, which it returns.
func compileJava(t *testing.T, source, classPath string) string {
	folder := t.TempDir()
	output, status := run(t, tool(t, "javac", "default-jdk-headless"), "-nowarn", "-cp", classPath, "-d", folder, source)
	require.Zero(t, status, output)
	return folder
}

func TestJava(t *testing.T) {
	java := tool(t, "java", "default-jdk-headless")
	version := versionOf(t, "openjdk ", java, "--version")
	classes := compileJava(t, "testdata/Pkix.java", ".")
	for _, method := range []struct{ name, property string }{
		{"GET", "-Dcom.sun.security.ocsp.useget=true"},
		{"POST", "-Dcom.sun.security.ocsp.useget=false"},
	} {
		for _, nonce := range []struct{ name, property string }{
			{"nonce", "-Djdk.security.certpath.ocspNonce=true"},
			{"no nonce", "-Djdk.security.certpath.ocspNonce=false"},
		} {
			c := client{name: "Java PKIXRevocationChecker", version: version, options: method.name + ", " + nonce.name}
			t.Run(c.options, func(t *testing.T) {
				check := func(t *testing.T, w *world) {
					w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
						output, status := run(t, java, "-cp", classes, method.property, nonce.property, "Pkix", w.rootFile, l.chain)
						require.Zero(t, status, output)
						require.Equal(t, javaPrints[l.name], strings.TrimSpace(output))
					})
				}
				eachWorld(t, check)
				t.Run("intermediate", func(t *testing.T) { eachWorldOf(t, setup{intermediate: true}, check) })
			})
		}
	}
}
