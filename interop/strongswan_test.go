package interop_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStrongSwan(t *testing.T) {
	pki := tool(t, "pki", "strongswan-pki libstrongswan-extra-plugins")
	c := client{name: "strongSwan pki", version: versionOf(t, "strongSwan ", pki, "--help"), options: "--verify --online"}
	eachWorld(t, func(t *testing.T, w *world) {
		w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
			output, status := run(t, pki, "--verify", "--online", "--in", l.certFile, "--cacert", w.rootFile)
			require.Contains(t, output, "ocsp response correctly signed by ")
			switch l.name {
			case "good":
				require.Zero(t, status, output)
				require.Contains(t, output, "certificate status is good\n")
				require.Contains(t, output, "certificate not revoked\n")
			case "revoked":
				require.NotZero(t, status, output)
				require.Contains(t, output, "reason: key compromise\n")
				require.Contains(t, output, "certificate untrusted\n")
			case "unknown":
				// It treats unknown as no answer, looks for a CRL, and then trusts the certificate all the same.
				require.Zero(t, status, output)
				require.Contains(t, output, "ocsp response contains no status on our certificate\n")
				require.Contains(t, output, "revocation checking failed\n")
			}
		})
	})
}
