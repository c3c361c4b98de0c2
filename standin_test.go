package ocsp_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
)

// A store that is busy is no store that fails: nobody can have answers from the cache go unchecked by asking a lot.
func TestBusyStoreLetsNothingStandIn(t *testing.T) {
	t.Parallel()
	orderTest(t, func(cfg *ocsp.Config) { cfg.Unissued = ocsp.UnissuedUnauthorized }, func(r *rig, s *slow) {
		r.says(xocsp.Good)
		r.revoke(r.leaf, ocsp.KeyCompromise)
		s.flood, s.first, s.wait = true, false, func() { time.Sleep(3 * time.Second) }
		for _, later := range []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second} {
			time.Sleep(later)
			r.flood(r.ca, 1024+4096)
			answer := r.responder.Respond(r.Context(), r.request(r.leaf))
			require.NotEqual(r, ocsp.OutcomeStale, answer.Outcome, "after %v", later)
			for _, entry := range answer.Responses {
				require.Equal(r, ocsp.Revoked, entry.Status)
			}
		}
		time.Sleep(time.Minute)
	})
}

// One that hangs is: its calls keep their places, and what is cached stands in, however many wait.
func TestHangingStoreLetsCachedAnswersStandIn(t *testing.T) {
	t.Parallel()
	orderTest(t, func(cfg *ocsp.Config) {}, func(r *rig, s *slow) {
		release := make(chan struct{})
		defer close(release)
		r.says(xocsp.Good)
		s.flood, s.first, s.wait = true, false, func() { <-release }
		r.flood(r.ca, 1024)
		for range 6 {
			time.Sleep(11 * time.Second)
			r.flood(r.ca, 4096)
			require.Equal(r, ocsp.OutcomeStale, r.responder.Respond(r.Context(), r.request(r.leaf)).Outcome)
		}
	})
}

// Nor does a responder that is being closed let what is cached go unchecked.
func TestClosingLetsNothingStandIn(t *testing.T) {
	t.Parallel()
	orderTest(t, func(*ocsp.Config) {}, func(r *rig, s *slow) {
		release := make(chan struct{})
		r.says(xocsp.Good)
		s.flood, s.first, s.wait = true, false, func() { <-release }
		r.flood(r.ca, 1024)
		r.revoke(r.leaf, ocsp.KeyCompromise)
		answers := make(chan ocsp.Answer)
		go func() { answers <- r.responder.Respond(context.Background(), r.request(r.leaf)) }()
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- r.responder.Close() }()
		synctest.Wait()
		close(release)
		require.Equal(r, ocsp.OutcomeTryLater, (<-answers).Outcome)
		require.NoError(r, <-closed)
	})
}

// An answer that has ended while it was made is begun again.
func TestNoAnswerLeavesAfterItsEnd(t *testing.T) {
	t.Parallel()
	for name, nonce := range map[string][]byte{"shared": nil, "nonce": []byte("nonce")} {
		for _, several := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				hook := &signerHook{before: func() {}}
				orderTest(t, func(cfg *ocsp.Config) {
					hook.Signer = cfg.Issuers[0].Signer
					cfg.Issuers[0].Signer = hook
				}, func(r *rig, s *slow) {
					r.store.Set(r.ca.ID, r.leaf.SerialNumber, ocsp.Record{State: ocsp.Active, NotAfter: time.Now().Add(2 * time.Second)})
					hook.before = func() {
						hook.before = func() {}
						time.Sleep(4 * time.Second)
					}
					client := r.client()
					client.Nonce = nonce
					request := client.Request(r.ca.Certificate, r.leaf)
					if several {
						request = client.Request(r.ca.Certificate, r.leaf, r.issue())
					}
					answer := r.responder.Respond(r.Context(), request)
					require.Equal(r, ocsp.OutcomeSigned, answer.Outcome)
					require.True(r, answer.NextUpdate.After(time.Now()), "nextUpdate %v", answer.NextUpdate)
				})
			})
		}
	}
}
