package interop_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// ocspclntPrints is what NSS's ocspclnt prints; it never tells the reason.
var ocspclntPrints = map[string]string{
	"good":    `Check of certificate "good" succeeded.`,
	"revoked": "Peer's Certificate has been revoked.",
	"unknown": "The OCSP server has no status for the certificate.",
}

func TestNSS(t *testing.T) {
	certutil := tool(t, "certutil", "libnss3-tools")
	version := versionOf(t, "", tool(t, "dpkg-query", "dpkg"), "--show", "--showformat=${Version}", "libnss3") // its programs do not say

	// database makes an NSS database that trusts the root and knows the certificates by name.
	database := func(t *testing.T, w *world) string {
		db := "sql:" + w.dir
		all := [][]string{
			{"-N", "--empty-password"},
			{"-A", "-n", "root", "-t", "C,,", "-a", "-i", w.rootFile},
		}
		for _, l := range w.leaves() {
			all = append(all, []string{"-A", "-n", l.name, "-t", ",,", "-a", "-i", l.certFile})
		}
		for _, args := range all {
			output, status := run(t, certutil, append(args, "-d", db)...)
			require.Zero(t, status, output)
		}
		return db
	}

	t.Run("ocspclnt", func(t *testing.T) {
		ocspclnt := tool(t, "ocspclnt", "libnss3-tools")
		c := client{name: "NSS ocspclnt", version: version, options: "-S"}
		eachWorld(t, func(t *testing.T, w *world) {
			db := database(t, w)
			w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
				output, _ := run(t, ocspclnt, "-S", l.name, "-d", db) // its exit status is always 0
				require.Contains(t, output, ocspclntPrints[l.name])
			})
		})
	})
	t.Run("vfychain", func(t *testing.T) {
		vfychain := tool(t, "vfychain", "libnss3-tools")
		c := client{name: "NSS vfychain", version: version, options: "-m ocsp"}
		eachWorld(t, func(t *testing.T, w *world) {
			db := database(t, w)
			w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
				output, status := run(t, vfychain, "-d", db, "-pp", "-u", "1", "-g", "leaf", "-m", "ocsp", "-s", "failIfNoInfo", "-a", l.certFile)
				if l.name == "good" {
					require.Zero(t, status, output)
					require.Contains(t, output, "Chain is good!")
					return
				}
				// It calls unknown revoked, too, after asking again by POST.
				require.NotZero(t, status, output)
				require.Contains(t, output, "ERROR -8180: Peer's Certificate has been revoked.")
			})
		})
	})
}
