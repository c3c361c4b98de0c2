package ocsp_test

import (
	"context"
	"math/big"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
)

// dying is a store whose connections may die: what is read over one then hangs, whatever its context says, until the
// store is released. It reads before that.
type dying struct {
	rig     *rig
	calls   atomic.Int32
	dead    atomic.Bool
	release <-chan struct{}
	revive  func() // releases it
}

func (d *dying) FindBySerial(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
	d.calls.Add(1)
	record, err := d.rig.store.FindBySerial(context.WithoutCancel(ctx), id, serial)
	if d.dead.Load() {
		<-d.release
	}
	return record, err
}

// TestSharedReadThatHangs has reads hang that answers share, and clients leave before they are over: each case in a bubble,
// with a StatusTTL of twenty seconds and a timeout of ten.
func TestSharedReadThatHangs(t *testing.T) {
	t.Parallel()
	cases := map[string]func(r *rig, d *dying, impatient func() ocsp.Answer){
		"nobody joins it for ever": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			d.dead.Store(true)
			go impatient()
			synctest.Wait()
			go impatient() // joins
			time.Sleep(time.Second - 1)
			require.EqualValues(r, 1, d.calls.Load())
			d.dead.Store(false)
			begin := time.Now()
			require.Empty(r, impatient().Err)
			require.EqualValues(r, 1, time.Since(begin), "a second has passed")
			require.EqualValues(r, 2, d.calls.Load())
		},
		"nobody gets what it found later": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			d.dead.Store(true)
			require.Equal(r, ocsp.OutcomeTryLater, impatient().Outcome) // has read good
			r.revoke(r.leaf, ocsp.KeyCompromise)                        // by another program
			d.dead.Store(false)
			r.clock.Advance(time.Hour)
			time.Sleep(time.Hour)
			late := r.ask(r.request(r.leaf))
			synctest.Wait()
			d.revive()
			r.requireAnswer(<-late, xocsp.Revoked)
			synctest.Wait()
			r.requireAnswer(r.post(r.request(r.leaf)), xocsp.Revoked)
		},
		"what it found is not noted later": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			held := r.clock.Now()
			r.revoke(r.leaf, ocsp.CertificateHold)
			require.Equal(r, xocsp.Revoked, r.status(r.leaf).Status)
			r.clock.Advance(20 * time.Second)
			r.store.Add(r.ca.ID, r.leaf) // released
			d.dead.Store(true)
			impatient() // has read good
			r.store.Revoke(r.ca.ID, r.leaf.SerialNumber, ocsp.CertificateHold, held)
			d.dead.Store(false)
			time.Sleep(6 * time.Second)
			require.Equal(r, xocsp.Revoked, r.status(r.leaf).Status, "as is known already")
			d.revive()
			synctest.Wait()
			require.Equal(r, xocsp.Revoked, r.status(r.leaf).Status)
		},
		"who finds out whether the store still hangs asks it": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			r.status(r.leaf)
			r.clock.Advance(20 * time.Second)
			d.dead.Store(true)
			r.status(r.leaf) // stale after ten seconds
			r.status(r.leaf) // stale after a tenth of one, and leaves a read behind
			d.dead.Store(false)
			r.clock.Advance(time.Hour)
			time.Sleep(time.Hour)
			require.Equal(r, ocsp.OutcomeCached, impatient().Outcome)
		},
		"one of several certificates": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			other := r.issue()
			d.dead.Store(true)
			r.requireError(xocsp.TryLater, r.post(r.request(r.leaf, other)))
			d.dead.Store(false)
			time.Sleep(time.Hour)
			r.requireAnswer(r.post(r.request(r.leaf, other)), xocsp.Good, xocsp.Good)
		},
		"it is noted when all have left": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			other := r.issue()
			r.status(other)
			r.clock.Advance(20 * time.Second)
			d.dead.Store(true)
			impatient()
			time.Sleep(6 * time.Second)
			begin := time.Now()
			r.status(other) // stale
			require.LessOrEqual(r, time.Since(begin), 100*time.Millisecond)
		},
		"who leaves is not kept": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			d.dead.Store(true)
			begin := time.Now()
			impatient()
			require.Equal(r, 5*time.Second, time.Since(begin))
		},
		"those who stay get it": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			d.dead.Store(true)
			go impatient()
			synctest.Wait()
			patient := r.ask(r.request(r.leaf))
			time.Sleep(6 * time.Second)
			d.revive()
			d.dead.Store(false)
			r.requireAnswer(<-patient, xocsp.Good)
			require.EqualValues(r, 2, d.calls.Load(), "a second after the first, it asks too")
		},
	}
	for name, do := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				d := &dying{release: release, revive: sync.OnceFunc(func() { close(release) })}
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					d.rig = r
					cfg.Cache.StatusTTL, cfg.Timeout, cfg.Store = 20*time.Second, 10*time.Second, d
				})
				do(r, d, func() ocsp.Answer {
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
					defer cancel()
					return r.responder.Respond(ctx, r.request(r.leaf))
				})
				d.revive()
			})
		})
	}
}

// A store or a clock that misbehaves in a read that answers share is contained, and has no say about any certificate.
func TestSharedReadThatFails(t *testing.T) {
	t.Parallel()
	for want, misbehave := range map[string]func(){
		"panic: store":        func() { panic("store") },
		"ended its goroutine": runtime.Goexit,
	} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var well atomic.Bool
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Cache.StatusTTL = time.Hour
					cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
						if !well.Load() {
							misbehave()
						}
						return r.store.FindBySerial(ctx, id, serial)
					})
				})
				answer := r.responder.Respond(t.Context(), r.request(r.leaf))
				require.ErrorContains(t, answer.Err, want)
				require.Empty(t, answer.Responses)
				well.Store(true)
				require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			})
		})
	}
	t.Run("clock", func(t *testing.T) {
		var begun, broken atomic.Bool
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Cache.StatusTTL = time.Minute
			now := cfg.Now
			cfg.Now = func() time.Time {
				if broken.Load() && begun.Swap(true) {
					broken.Store(false)
					panic("clock")
				}
				return now()
			}
		})
		r.status(r.leaf)
		r.clock.Advance(time.Hour)
		broken.Store(true) // it works for the request, and not for its read, which looks into the cache once more
		answer := r.responder.Respond(t.Context(), r.request(r.leaf))
		require.ErrorContains(t, answer.Err, "panic")
		require.False(t, broken.Load())
		require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
	})
}
