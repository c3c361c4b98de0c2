package interop_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// curlInvalidStatus is CURLE_SSL_INVALIDCERTSTATUS.
const curlInvalidStatus = 91

// curl gets a page from a server whose certificate must come with an answer that says good.
func (w *world) curl(t *testing.T, address string) (output string, status int) {
	output, status = run(t, tool(t, "curl", "curl"), "--silent", "--show-error", "--verbose", "--cert-status", "--noproxy", "*",
		"--cacert", w.rootFile, "--http1.1", "https://"+address+"/")
	require.Contains(t, output, "*  SSL certificate verify ok.")
	return output, status
}

// requireCurlAccepts checks that it took the handshake, and that HTTP works.
func (w *world) requireCurlAccepts(t *testing.T, address string) {
	output, status := w.curl(t, address)
	require.Zero(t, status, output)
	require.Contains(t, output, "* SSL certificate status: good (0)")
	require.Contains(t, output, "< HTTP/1.1 ")
}

func TestCurl(t *testing.T) {
	c := client{name: "curl", version: versionOf(t, "curl ", tool(t, "curl", "curl"), "--version"), options: "--cert-status", silent: "reads a stapled answer"}
	eachWorld(t, func(t *testing.T, w *world) {
		w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
			staple, err := w.responder.Staple(t.Context(), l.cert)
			if l.name == "unknown" {
				require.Error(t, err) // Staple does not hand out unknown, so there is nothing to staple
			} else {
				require.NoError(t, err)
			}
			address := "localhost:" + w.serveTLS(t, l, staple)
			if l.name == "good" {
				w.requireCurlAccepts(t, address)
				return
			}
			output, status := w.curl(t, address)
			require.Equal(t, curlInvalidStatus, status, output)
			want := "No OCSP response received"
			if l.name == "revoked" {
				want = "* SSL certificate revocation reason: keyCompromise (1)"
			}
			require.Contains(t, output, want)
		})
	})
}
