package ocsptest_test

import (
	"crypto"
	"crypto/fips140"
	"crypto/rand"
	"crypto/sha256"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/ocsptest"
)

// In FIPS 140-3 mode crypto/rand panics in a bubble when it needs a seed, as for goroutines that use it at once.
func TestFIPSInBubbles(t *testing.T) {
	if !fips140.Enabled() { // which is decided when a program starts
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.count", "1")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140=on")
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", output)
		require.Contains(t, string(output), "--- PASS: "+t.Name()+" ")
		return
	}
	synctest.Test(t, func(t *testing.T) {
		ca := ocsptest.NewCA(ocsptest.Options{})
		signer := ocsptest.NewSigner(ca.Key)
		digest := sha256.Sum256(nil)
		for range 20 {
			runtime.GC() // empties pools of random generators
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					_ = ca.Issue(ocsptest.Options{})
					_, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
					assert.NoError(t, err)
				})
			}
			all.Wait()
		}
	})
}
