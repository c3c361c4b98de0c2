package ocspsql_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/ocspsql/internal/dbtest"
)

// The setting is read when a program starts. MariaDB is not among them: its driver logs in with SHA-1.
func TestFIPSOnly(t *testing.T) {
	for _, kind := range []dbtest.Kind{dbtest.SQLite, dbtest.PostgreSQL} {
		t.Run(string(kind), func(t *testing.T) {
			_ = dbtest.New(t, kind) // skips without a server
			for _, name := range []string{"TestContract", "TestIssue", "TestImport"} {
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+name+"$/^"+string(kind)+"$", "-test.v", "-test.count", "1")
				cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
				output, err := cmd.CombinedOutput()
				require.NoError(t, err, "%s", output)
				require.Contains(t, string(output), "--- PASS: "+name+"/"+string(kind)+" ")
			}
		})
	}
}
