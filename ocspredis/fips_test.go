package ocspredis_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// The setting is read when a program starts. The name of a Redis script is a SHA-1, which ended the program before main.
func TestFIPSOnly(t *testing.T) {
	_ = options(t) // skips without a server
	for _, name := range []string{"TestStore", "TestCache", "TestFeed", "TestUpdate", "TestRotation"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+name+"$", "-test.v", "-test.count", "1")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", output)
		require.Contains(t, string(output), "--- PASS: "+name+" ")
	}
}
