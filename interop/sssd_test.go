package interop_test

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"
)

// p11Child checks the certificates of smart cards for SSSD. It checks one that it is given as well, without a card.
const p11Child = "/usr/libexec/sssd/p11_child"

func sssd(t *testing.T, options string) client {
	tool(t, p11Child, "sssd-common")
	return client{name: "SSSD p11_child", version: versionOf(t, "", tool(t, "sssd", "sssd-common"), "--version"), options: options}
}

// verify has p11_child check a certificate, and returns what it says, and its exit status.
func (w *world) verify(t *testing.T, l *leaf, verify string) (output string, status int) {
	trusted := w.rootFile
	if w.intermediate {
		trusted = w.writePEM(t, "ca-db.pem", "CERTIFICATE", w.root.Certificate.Raw, w.ca.Certificate.Raw)
	}
	return run(t, p11Child, "--verification", "--logger=stderr", "--debug-level=9", "--ca_db="+trusted, "--verify="+verify,
		"--certificate="+base64.StdEncoding.EncodeToString(l.cert.Raw))
}

func TestSSSD(t *testing.T) {
	check := func(t *testing.T, s setup, options, verify string) {
		c := sssd(t, options)
		eachWorldOf(t, s, func(t *testing.T, w *world) {
			w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
				output, status := w.verify(t, l, verify)
				require.Contains(t, output, "Nonce in OCSP response is the same as the one used in the request.")
				switch l.name {
				case "good":
					require.Zero(t, status, output)
					require.Contains(t, output, "OCSP check was successful.")
					require.Contains(t, output, "Certificate is valid.")
					return
				case "revoked":
					require.Contains(t, output, "Certificate is revoked [1][keyCompromise].")
				case "unknown":
					require.Contains(t, output, "OCSP check failed with [2][unknown].")
				}
				require.NotZero(t, status, output)
				require.Contains(t, output, "Certificate is NOT valid.")
			})
		})
	}
	for _, digest := range []string{"sha1", "sha256", "sha384", "sha512"} {
		verify := "ocsp_dgst=" + digest
		t.Run(digest, func(t *testing.T) { check(t, setup{embed: true}, verify, verify) })
	}
	t.Run("intermediate", func(t *testing.T) {
		check(t, setup{embed: true, intermediate: true}, "intermediate CA", "ocsp_dgst=sha1")
	})
}

// TestSSSDKnowsNoCA is why the tests above have a CA that signs itself embed its certificate: without that p11_child
// does not find it, though --ca_db has it, and refuses every certificate, even where OCSP is soft.
func TestSSSDKnowsNoCA(t *testing.T) {
	for _, verify := range []string{"ocsp_dgst=sha1", "soft_ocsp"} {
		t.Run(verify, func(t *testing.T) {
			c := sssd(t, verify+", CA's certificate not embedded")
			w := newWorld(t, setup{})
			w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
				output, status := w.verify(t, l, verify)
				require.NotZero(t, status, output)
				require.Contains(t, output, "OCSP_basic_verify() failed to verify OCSP response.")
			})
		})
	}
}
