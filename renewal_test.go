package ocsp_test

import (
	"context"
	"crypto"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
)

// firstHangs is a key whose first signature after arm waits until it is let go.
type firstHangs struct {
	crypto.Signer
	armed atomic.Bool
	leave chan struct{}
}

func (s *firstHangs) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.armed.CompareAndSwap(true, false) {
		<-s.leave
	}
	return s.Signer.Sign(rand, digest, opts)
}

// After a renewal its answer is the one that is served as it is sent, also if the former one was attached
// while the renewal was being signed.
func TestFormerAnswerIsAttachedUnderARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var key *firstHangs
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Now = nil
			key = &firstHangs{Signer: r.signer, leave: make(chan struct{})}
			cfg.Issuers[0].Signer = key
		})
		respond := func() ocsp.Answer { return r.responder.Respond(context.Background(), r.request(r.leaf)) }
		respond()
		time.Sleep(16*time.Hour + time.Second)
		require.NoError(t, r.responder.Invalidate(r.Context(), r.ca.ID, r.leaf.SerialNumber)) // nothing is attached
		key.armed.Store(true)
		first := make(chan ocsp.Answer, 1)
		go func() { first <- respond() }()
		synctest.Wait()
		old := respond() // attaches it
		close(key.leave)
		renewed := <-first
		require.True(t, renewed.ThisUpdate.After(old.ThisUpdate))
		for range 10 {
			a := respond()
			require.Equal(t, renewed.ThisUpdate, a.ThisUpdate)
		}
		var mem1, mem2 runtime.MemStats
		request := r.request(r.leaf)
		runtime.ReadMemStats(&mem1)
		for range 1000 {
			r.responder.Respond(context.Background(), request)
		}
		runtime.ReadMemStats(&mem2)
		require.Less(t, int(mem2.Mallocs-mem1.Mallocs)/1000, 12)
	})
}

// A clock that panics once, at any of its calls in a request that is to renew an answer, does not keep
// later requests from renewing it.
func TestClockPanicKeepsNoRenewal(t *testing.T) {
	for call := 1; call < 30; call++ {
		var calls, at int
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Cache.StatusTTL = time.Hour
			now := cfg.Now
			cfg.Now = func() time.Time {
				if calls++; calls == at {
					panic("the clock")
				}
				return now()
			}
		})
		r.status(r.leaf)
		r.clock.Advance(15*time.Hour + 50*time.Minute) // the refresh point is at 16 h
		r.responder.Respond(r.Context(), r.request(r.leaf))
		r.clock.Advance(11 * time.Minute)
		calls, at = 0, call
		r.responder.Respond(r.Context(), r.request(r.leaf))
		at = 0
		a := r.responder.Respond(r.Context(), r.request(r.leaf))
		require.True(t, a.RefreshAt.After(r.clock.Now()), "call %d: %v", call, a.Outcome)
	}
}
