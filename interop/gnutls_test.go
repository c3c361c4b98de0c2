package interop_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGnuTLSTool(t *testing.T) {
	ocsptool := tool(t, "ocsptool", "gnutls-bin")
	version := versionOf(t, "ocsptool ", ocsptool, "--version")
	for _, nonce := range []bool{true, false} {
		c := client{name: "GnuTLS ocsptool", version: version, options: "--ask"}
		options := []string{"--ask"}
		if nonce {
			c.options, options = "--ask --nonce", append(options, "--nonce")
		}
		t.Run(c.options, func(t *testing.T) {
			eachWorld(t, func(t *testing.T, w *world) {
				w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
					// With --load-trust it does not find a CA that signs itself if the answer names the key (byKey, RFC
					// 6960 section 4.2.1) and carries no certificate, as it may. So that CA is named to it.
					signer := "--load-signer=" + w.caFile
					if w.delegated {
						signer = "--load-trust=" + w.rootFile
					}
					// The output is a file of our own: it deletes it when it fails, even a device.
					output, status := run(t, ocsptool, append(options, "--outfile="+filepath.Join(w.dir, "answer.der"),
						signer, "--load-issuer="+w.caFile, "--load-cert="+l.certFile)...)
					require.Zero(t, status, output)
					require.Contains(t, output, "Certificate Status: "+l.name+"\n")
					require.Contains(t, output, "Verifying OCSP Response: Success.")
					if l.name == "revoked" {
						require.Contains(t, output, "Revocation time: ") // it never prints the reason
					}
				})
			})
		})
	}
}

func TestGnuTLSClient(t *testing.T) {
	gnutls := tool(t, "gnutls-cli", "gnutls-bin")
	c := client{name: "gnutls-cli", version: versionOf(t, "gnutls-cli ", gnutls, "--version"), options: "--ocsp"}
	eachWorld(t, func(t *testing.T, w *world) {
		w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
			output, status := run(t, gnutls, "--ocsp", "--x509cafile="+w.rootFile, "--port="+w.serveTLS(t, l, nil), "localhost")
			if l.name == "revoked" {
				require.NotZero(t, status, output)
				require.Contains(t, output, "*** Certificate was revoked at ")
				return
			}
			// It takes unknown for good: whatever is not revoked is "not revoked" to it.
			require.Zero(t, status, output)
			require.Contains(t, output, "- OCSP server flags certificate not revoked as of ")
			require.Contains(t, output, "*** OCSP: verified 1 certificate(s).")
		})
	})
}
