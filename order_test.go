package ocsp_test

import (
	"context"
	"math/big"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// slow is a store that reads at once, and takes its time to say what, if it is asked about a slow serial.
type slow struct {
	rig    *rig
	mu     sync.Mutex // held by calls while they look at the rest
	serial *big.Int
	flood  bool // the serials of rig.flood are slow, too
	first  bool // only the first time
	wait   func()
}

func (s *slow) FindBySerial(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
	record, err := s.rig.store.FindBySerial(context.WithoutCancel(ctx), id, serial)
	s.mu.Lock()
	slow, wait := s.flood && serial.BitLen() <= 32 || s.serial != nil && s.serial.Cmp(serial) == 0, s.wait
	if slow && s.first {
		s.serial = nil
	}
	s.mu.Unlock()
	if slow {
		wait()
	}
	return record, err
}

// orderTest runs a test in a bubble, by its clock.
func orderTest(t *testing.T, adjust func(*ocsp.Config), run func(r *rig, s *slow)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{first: true}
		run(newRig(t, func(r *rig, cfg *ocsp.Config) {
			s.rig, cfg.Store, cfg.Now = r, s, nil
			adjust(cfg)
		}), s)
	})
}

// says requires what the next answer says, by the bubble's clock.
func (r *rig) says(want int) {
	r.Helper()
	r.clock.Set(time.Now())
	require.Equal(r, want, r.status(r.leaf).Status)
}

// A certificate is held, released while a slow read is in flight, and held again, which the others see: what the slow read
// returned does not stand in when the store fails.
func TestSlowReadDoesNotUndoALaterOne(t *testing.T) {
	t.Parallel()
	orderTest(t, func(*ocsp.Config) {}, func(r *rig, s *slow) {
		held, release := r.clock.Now(), make(chan struct{})
		hold := func() { r.store.Revoke(r.ca.ID, r.leaf.SerialNumber, ocsp.CertificateHold, held) }
		hold()
		r.says(xocsp.Revoked)
		r.store.Add(r.ca.ID, r.leaf)
		s.serial, s.wait = r.leaf.SerialNumber, func() { <-release }
		late := r.ask(r.request(r.leaf))
		synctest.Wait()
		hold()
		r.says(xocsp.Revoked)
		close(release)
		<-late // good, which it was after the request had come, or what stands in for a silent store
		synctest.Wait()
		r.breakStore()
		answer := r.responder.Respond(r.Context(), r.request(r.leaf))
		require.Equal(r, ocsp.OutcomeTryLater, answer.Outcome, "which of the two reads was later is unknown")
	})
}

// The first read that returns another status replaces what was recorded, also if the store fails right after it.
func TestFirstReadOfAChangeCounts(t *testing.T) {
	t.Parallel()
	orderTest(t, func(*ocsp.Config) {}, func(r *rig, s *slow) {
		r.says(xocsp.Good)
		r.revoke(r.leaf, ocsp.KeyCompromise)
		s.serial, s.wait = r.leaf.SerialNumber, func() { r.store.SetFault(ocsptest.Fail) }
		r.says(xocsp.Revoked)
		r.breakStore()
		r.says(xocsp.Revoked)
	})
}

// Who joins a read that is under way gets nothing older than StatusTTL, nor from before Changes were heard.
func TestJoinedReadIsNotTooOld(t *testing.T) {
	t.Parallel()
	join := func(r *rig, s *slow, meanwhile func()) {
		release := make(chan struct{})
		s.serial, s.wait = r.leaf.SerialNumber, func() { <-release }
		first := r.ask(r.request(r.leaf)) // has read good
		synctest.Wait()
		r.revoke(r.leaf, ocsp.KeyCompromise)
		meanwhile()
		r.clock.Set(time.Now())
		second := r.ask(r.request(r.leaf))
		synctest.Wait()
		close(release)
		r.requireAnswer(<-second, xocsp.Revoked)
		<-first
	}
	t.Run("StatusTTL", func(t *testing.T) {
		orderTest(t, func(cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Second }, func(r *rig, s *slow) {
			join(r, s, func() { time.Sleep(time.Second) })
		})
	})
	t.Run("Changes", func(t *testing.T) {
		var c *changes
		orderTest(t, func(cfg *ocsp.Config) {
			c = newChanges() // whose channels are of the bubble
			cfg.Cache.StatusTTL, cfg.Cache.Feed = time.Hour, c
		}, func(r *rig, s *slow) {
			f := <-c.calls
			hear := func() {
				f.Resync()
				f.ValidUntil(time.Now().Add(time.Hour))
			}
			hear()
			join(r, s, func() {
				f.ValidUntil(time.Now()) // the connection is lost, and with it what was said of the revocation
				hear()
			})
		})
	})
}

// Nor if the clock was set back since it began.
func TestJoinedReadIsNotOfTheFuture(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := &slow{first: true}
			r := newRig(t, func(r *rig, cfg *ocsp.Config) { s.rig, cfg.Store, cfg.Cache.StatusTTL = r, s, ttl })
			r.status(r.leaf)
			r.clock.Advance(10 * time.Second)
			r.store.SetFault(ocsptest.Wrong)
			r.post(r.request(r.leaf)) // in doubt
			r.store.SetFault(ocsptest.Healthy)
			release := make(chan struct{})
			s.serial, s.wait = r.leaf.SerialNumber, func() { <-release }
			early := r.ask(r.request(r.leaf)) // has seen good
			synctest.Wait()
			r.revoke(r.leaf, ocsp.KeyCompromise)
			r.clock.Advance(-time.Second)
			late := r.ask(r.request(r.leaf))
			synctest.Wait()
			close(release)
			r.requireAnswer(<-late, xocsp.Revoked)
			<-early
		})
	}
}
