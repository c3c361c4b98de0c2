package ocsp_test

import (
	"context"
	"math/big"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
)

// neighbour returns a serial on the stripe of another.
func neighbour(r *rig, of *big.Int) *big.Int {
	n := big.NewInt(1 << 40)
	for !ocsp.SameStripe(r.responder, n, of) {
		n = new(big.Int).Add(n, big.NewInt(1))
	}
	return n
}

// Somebody asks in a loop for a certificate whose record is invalid: its neighbours are answered all the same.
func TestInvalidRecordLeavesNeighboursAlone(t *testing.T) {
	t.Parallel()
	for name, known := range map[string][2]bool{"nothing known": {}, "both known": {true, true}, "bad known": {true, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var broken atomic.Bool
				var bad *big.Int
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Now = nil
					cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
						time.Sleep(5 * time.Millisecond) // a database
						if broken.Load() && serial.Cmp(bad) == 0 {
							return ocsp.Record{}, ocsp.ErrInvalidRecord
						}
						return ocsp.Record{State: ocsp.Active}, nil
					})
				})
				bad = r.leaf.SerialNumber
				other := *r.leaf
				other.SerialNumber = neighbour(r, bad)
				badReq, otherReq := r.request(r.leaf), r.request(&other)
				if known[0] {
					r.responder.Respond(t.Context(), badReq)
				}
				if known[1] {
					r.responder.Respond(t.Context(), otherReq)
				}
				broken.Store(true)
				stop := make(chan struct{})
				defer close(stop)
				go func() { // 1000 requests per second
					for {
						select {
						case <-stop:
							return
						case <-time.After(time.Millisecond):
							go r.responder.Respond(context.Background(), badReq)
						}
					}
				}()
				time.Sleep(100*time.Millisecond + 300*time.Microsecond)
				outcomes := map[ocsp.Outcome]int{}
				for range 100 {
					outcomes[r.responder.Respond(t.Context(), otherReq).Outcome]++
				}
				require.Zero(t, outcomes[ocsp.OutcomeTryLater], "%v", outcomes)
			})
		})
	}
}

// One of two replicas of the database lags while a certificate is revoked that is asked for often: everybody gets an answer.
func TestLaggingReplica(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, time.Second} {
		t.Run(ttl.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lag atomic.Bool
				var hot *big.Int
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Now = nil
					cfg.Cache.StatusTTL = ttl
					cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
						late := rand.N(2) == 0
						time.Sleep(time.Millisecond + rand.N(time.Millisecond))
						if lag.Load() && serial.Cmp(hot) == 0 && !late {
							return ocsp.Record{State: ocsp.Compromised, RevokedAt: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)}, nil
						}
						return ocsp.Record{State: ocsp.Active}, nil
					})
				})
				hot = r.leaf.SerialNumber
				other := *r.leaf
				other.SerialNumber = neighbour(r, hot)
				hotReq, otherReq := r.request(r.leaf), r.request(&other)
				r.responder.Respond(t.Context(), hotReq)
				r.responder.Respond(t.Context(), otherReq)
				lag.Store(true)
				var mu sync.Mutex
				outcomes, others := map[ocsp.Outcome]int{}, map[ocsp.Outcome]int{}
				end := time.Now().Add(time.Second)
				var wg sync.WaitGroup
				for i := range 64 {
					wg.Go(func() {
						for time.Now().Before(end) {
							req, m := hotReq, outcomes
							if i == 0 {
								req, m = otherReq, others
							}
							o := r.responder.Respond(t.Context(), req).Outcome
							mu.Lock()
							m[o]++
							mu.Unlock()
							time.Sleep(5 * time.Millisecond)
						}
					})
				}
				wg.Wait()
				require.Zero(t, others[ocsp.OutcomeTryLater])
				require.Zero(t, outcomes[ocsp.OutcomeTryLater])
			})
		})
	}
}

// Many ask, one shortly after the other, with a StatusTTL that is shorter than a read: all are answered.
func TestShortStatusTTL(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{1, 20 * time.Microsecond, time.Millisecond} {
		t.Run(ttl.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Now, cfg.Cache.StatusTTL = nil, ttl
					cfg.Store = ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
						time.Sleep(2 * time.Millisecond)
						return ocsp.Record{State: ocsp.Active}, nil
					})
				})
				req := r.request(r.leaf)
				r.responder.Respond(t.Context(), req)
				var refused atomic.Int64
				var wg sync.WaitGroup
				for range 200 {
					time.Sleep(5 * time.Microsecond)
					wg.Go(func() {
						if r.responder.Respond(t.Context(), req).Outcome == ocsp.OutcomeTryLater {
							refused.Add(1)
						}
					})
				}
				wg.Wait()
				require.Zero(t, refused.Load())
			})
		})
	}
}

// When the clock was set back, what is read is trusted again.
func TestStatusTTLAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Minute })
	for range 2 {
		r.status(r.leaf)
		r.clock.Advance(2 * time.Minute)
	}
	r.status(r.leaf)
	r.clock.Advance(-30 * time.Minute)
	before := r.store.Calls()
	for range 20 {
		r.responder.Respond(t.Context(), r.request(r.leaf))
		r.clock.Advance(time.Second)
	}
	require.Equal(t, 1, r.store.Calls()-before)
}

// A store that is slower than StatusTTL is not one that fails.
func TestStoreSlowerThanStatusTTL(t *testing.T) {
	t.Parallel()
	for _, l := range []time.Duration{3 * time.Second, 6 * time.Second} {
		t.Run(l.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Now, cfg.Cache.StatusTTL, cfg.Cache.StorePatience = nil, time.Second, 10*time.Second
					cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
						time.Sleep(l)
						return ocsp.Record{State: ocsp.Active}, nil
					})
				})
				req := r.request(r.leaf)
				var mu sync.Mutex
				outcomes := map[ocsp.Outcome]int{}
				var wg sync.WaitGroup
				for range 600 {
					time.Sleep(100 * time.Millisecond)
					wg.Go(func() {
						o := r.responder.Respond(context.Background(), req).Outcome
						mu.Lock()
						outcomes[o]++
						mu.Unlock()
					})
				}
				wg.Wait()
				require.Zero(t, outcomes[ocsp.OutcomeTryLater])
				require.Zero(t, outcomes[ocsp.OutcomeStale])
			})
		})
	}
}

// Changes begin anew more often than the store takes for a read: all are answered.
func TestFlappingTrust(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newChanges()
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Now, cfg.Cache.StatusTTL, cfg.Cache.Feed = nil, time.Hour, c
			cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
				time.Sleep(50 * time.Millisecond)
				return ocsp.Record{State: ocsp.Active}, nil
			})
		})
		f := <-c.calls
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				f.Resync()
				f.ValidUntil(time.Now().Add(time.Hour))
				select {
				case <-stop:
					return
				case <-time.After(40 * time.Millisecond):
				}
			}
		}()
		req := r.request(r.leaf)
		var mu sync.Mutex
		outcomes := map[ocsp.Outcome]int{}
		var wg sync.WaitGroup
		for range 500 {
			time.Sleep(3 * time.Millisecond)
			wg.Go(func() {
				o := r.responder.Respond(context.Background(), req).Outcome
				mu.Lock()
				outcomes[o]++
				mu.Unlock()
			})
		}
		wg.Wait()
		require.Zero(t, outcomes[ocsp.OutcomeTryLater])
	})
}
