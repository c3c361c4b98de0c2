package interop_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// curlInvalidStatus is CURLE_SSL_INVALIDCERTSTATUS.
const curlInvalidStatus = 91

func TestCurl(t *testing.T) {
	curl := tool(t, "curl", "curl")
	c := client{name: "curl", version: versionOf(t, "curl ", curl, "--version"), options: "--cert-status", silent: "reads a stapled answer"}
	eachWorld(t, func(t *testing.T, w *world) {
		w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
			staple, err := w.responder.Staple(t.Context(), l.cert)
			if l.name == "unknown" {
				require.Error(t, err) // Staple does not hand out unknown, so there is nothing to staple
			} else {
				require.NoError(t, err)
			}
			output, status := run(t, curl, "--silent", "--show-error", "--verbose", "--cert-status", "--noproxy", "*",
				"--cacert", w.rootFile, "--http1.1", "https://localhost:"+w.serveTLS(t, l, staple)+"/")
			require.Contains(t, output, "*  SSL certificate verify ok.")
			switch l.name {
			case "good":
				require.Zero(t, status, output)
				require.Contains(t, output, "* SSL certificate status: good (0)")
				require.Contains(t, output, "< HTTP/1.1 404 ") // the handshake is over and HTTP works
			case "revoked":
				require.Equal(t, curlInvalidStatus, status, output)
				require.Contains(t, output, "* SSL certificate revocation reason: keyCompromise (1)")
			case "unknown":
				require.Equal(t, curlInvalidStatus, status, output)
				require.Contains(t, output, "No OCSP response received")
			}
		})
	})
}
