package interop_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// opensslPrints is what the program says about each certificate, after its file's name.
var opensslPrints = map[string]string{
	"good":    ": good\n",
	"revoked": ": revoked\n",
	"unknown": ": unknown\n",
}

func TestOpenSSL(t *testing.T) {
	openssl := tool(t, "openssl", "openssl")
	version := versionOf(t, "OpenSSL", openssl, "version")

	// check asks about certificates. The exit status is 0 whatever the answer says, so the output counts.
	check := func(t *testing.T, w *world, leaves []*leaf, options ...string) string {
		args := append([]string{"ocsp", "-issuer", w.caFile, "-CAfile", w.rootFile, "-url", w.url}, options...)
		if w.intermediate {
			args = append(args, "-verify_other", w.caFile) // the chain from the responder's certificate to the root
		}
		for _, l := range leaves {
			args = append(args, "-cert", l.certFile)
		}
		output, status := run(t, openssl, args...)
		require.Zero(t, status, output)
		require.Contains(t, output, "Response verify OK")
		for _, l := range leaves {
			require.Contains(t, output, l.certFile+opensslPrints[l.name])
			if l.name == "revoked" {
				require.Contains(t, output, "Reason: keyCompromise\n")
				require.Contains(t, output, "Revocation Time: ")
			}
		}
		return output
	}

	for _, hash := range []string{"-sha1", "-sha256", "-sha384", "-sha512"} {
		for _, nonce := range []string{"-nonce", "-no_nonce"} {
			c := client{name: "openssl ocsp", version: version, options: hash + " " + nonce}
			t.Run(hash+nonce, func(t *testing.T) {
				eachWorld(t, func(t *testing.T, w *world) {
					w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
						// The hash goes for the certificates that follow, the nonce for the request.
						output := check(t, w, []*leaf{l}, hash, nonce)
						require.NotContains(t, output, "WARNING: no nonce in response")
					})
				})
			})
		}
	}
	t.Run("several", func(t *testing.T) {
		eachWorld(t, func(t *testing.T, w *world) {
			c := client{name: "openssl ocsp", version: version, options: "several certificates"}
			w.run(t, c, "good, revoked, unknown", func(t *testing.T) { check(t, w, w.leaves()) })
		})
	})
	t.Run("signed request", func(t *testing.T) {
		eachWorld(t, func(t *testing.T, w *world) {
			c := client{name: "openssl ocsp", version: version, options: "-signer"}
			w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
				check(t, w, []*leaf{l}, "-signer", w.good.certFile, "-signkey", w.good.keyFile)
			})
		})
	})
	t.Run("intermediate", func(t *testing.T) {
		eachWorldOf(t, setup{intermediate: true}, func(t *testing.T, w *world) {
			c := client{name: "openssl ocsp", version: version, options: "intermediate CA"}
			w.eachLeaf(t, c, func(t *testing.T, l *leaf) { check(t, w, []*leaf{l}) })
		})
	})
}
