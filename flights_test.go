package ocsp_test

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// TestOwnKeyAtOnce asks for more new answers than may be signed at a time, by one of Go's own keys, each of them from
// several goroutines: all are answered, and those about one certificate with the same signature, of which no two are alike.
func TestOwnKeyAtOnce(t *testing.T) {
	const certificates, askers = 24, 4
	for _, ttl := range []time.Duration{0, time.Hour} {
		t.Run(ttl.String(), func(t *testing.T) {
			r := newRig(t, func(r *rig, cfg *ocsp.Config) {
				cfg.Issuers[0].Signer = r.ca.Key
				cfg.Signing = ocsp.SigningOptions{MaxConcurrent: 1, MaxWaiting: certificates, Timeout: time.Minute}
				cfg.Cache.StatusTTL = ttl
			})
			var all sync.WaitGroup
			answers := make([][askers]ocsp.Answer, certificates)
			begin := make(chan struct{})
			for i := range answers {
				request := ocsptest.Client{}.Request(r.ca.Certificate, r.issue())
				for j := range askers {
					all.Go(func() {
						<-begin
						answers[i][j] = r.responder.Respond(t.Context(), bytes.Clone(request))
					})
				}
			}
			close(begin)
			all.Wait()
			for i := range answers {
				require.NotEmpty(t, answers[i][0].Entries, answers[i][0].Err)
				assert.Equal(t, ocsp.Good, answers[i][0].Entries[0].Status)
				for j := range askers {
					require.Equal(t, answers[i][0].DER, answers[i][j].DER)
				}
			}
		})
	}
}
