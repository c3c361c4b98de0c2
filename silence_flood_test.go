package ocsp_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// steady asks each interval for a serial that was never issued, for as long.
func (r *rig) steady(ca *ocsptest.CA, interval, long time.Duration) {
	begin := time.Now()
	for i := 0; time.Since(begin) < long; i++ {
		cert := x509.Certificate{SerialNumber: big.NewInt(int64(1_000_000 + i)), RawIssuer: ca.Certificate.RawSubject}
		request := r.client().Request(ca.Certificate, &cert)
		go r.responder.Respond(context.Background(), request)
		time.Sleep(interval)
	}
}

// inOrder is a store behind four connections, which those get first who have waited longest.
type inOrder struct {
	rig         *rig
	connections *semaphore.Weighted
	delay       time.Duration // of a lookup
	timeout     time.Duration // of a lookup and the wait for it; zero is the caller's
}

func (s *inOrder) FindBySerial(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
	if s.timeout != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	if err := s.connections.Acquire(ctx, 1); err != nil {
		return ocsp.Record{}, err
	}
	defer s.connections.Release(1)
	select {
	case <-time.After(s.delay):
		return s.rig.store.FindBySerial(context.WithoutCancel(ctx), id, serial)
	case <-ctx.Done():
		return ocsp.Record{}, ctx.Err()
	}
}

// A steady flood of a pool that serves in order has each lookup begin so late that a deadline cuts it: a healthy store
// answers nobody. Strangers must not bring about a stale good with that either.
func TestFloodOfAPoolThatServesInOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		calls                          int // MaxStoreCalls
		timeout, delay, own, ttl, each time.Duration
	}{
		{calls: 4, timeout: 2 * time.Second, delay: 300 * time.Millisecond, each: time.Millisecond},
		{calls: 64, timeout: 2 * time.Second, delay: 900 * time.Millisecond, each: 10 * time.Millisecond},
		{calls: 64, timeout: 2 * time.Second, delay: 300 * time.Millisecond, each: time.Millisecond, ttl: time.Millisecond},
		{calls: 0, timeout: 2 * time.Second, delay: 900 * time.Millisecond, each: 10 * time.Millisecond},
		{calls: 0, timeout: 2 * time.Second, delay: 300 * time.Millisecond, each: time.Millisecond},
		{calls: 0, timeout: 5 * time.Second, delay: 900 * time.Millisecond, each: time.Millisecond},
		{calls: 0, timeout: 10 * time.Second, delay: 900 * time.Millisecond, each: 10 * time.Millisecond},
		{calls: 64, timeout: 10 * time.Second, delay: 800 * time.Millisecond, each: 10 * time.Millisecond, own: 1500 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			s := &inOrder{connections: semaphore.NewWeighted(4), delay: c.delay, timeout: c.own}
			poolTest(t, func(cfg *ocsp.Config, p *pool) {
				s.rig, cfg.Store = p.rig, s
				cfg.MaxStoreCalls, cfg.Timeout, cfg.Cache.StatusTTL = c.calls, c.timeout, c.ttl
			}, func(r *rig, p *pool, _ *ocsptest.CA) {
				r.says(0)
				time.Sleep(time.Hour)
				go r.steady(r.ca, c.each, 30*time.Second)
				time.Sleep(c.timeout)
				r.revoke(r.leaf, ocsp.KeyCompromise)
				for asked := time.Now(); time.Since(asked) < 18*time.Second; time.Sleep(370 * time.Millisecond) {
					answer, _ := r.timed()
					assert.NotEqual(r, ocsp.OutcomeStale, answer.Outcome, "after %v: %v", time.Since(asked), answer.Err)
				}
				time.Sleep(time.Minute)
				answer, _ := r.timed()
				requireRevoked(r, answer)
			})
		})
	}
}

// A store that hangs again after one answer is silent again, also if calls run out of the store's own time all the while.
func TestStoreThatHangsAgainIsSilentAgain(t *testing.T) {
	t.Parallel()
	for name, timeout := range map[string]time.Duration{"Config.Timeout": 0, "the store's own": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			poolTest(t, func(_ *ocsp.Config, p *pool) {
				p.timeout = timeout
				p.db.SetMaxOpenConns(0)
			}, func(r *rig, p *pool, other *ocsptest.CA) {
				r.says(0)
				time.Sleep(time.Hour)
				p.hang.Store(true)
				go r.steady(other, 300*time.Millisecond, 60*time.Second)
				time.Sleep(20 * time.Second)
				answer, _ := r.timed()
				requireStale(r, answer)
				p.hang.Store(false)
				time.Sleep(350 * time.Millisecond)
				p.hang.Store(true)
				time.Sleep(15 * time.Second)
				answer, took := r.timed()
				requireStale(r, answer)
				require.Equal(r, 100*time.Millisecond, took)
				time.Sleep(time.Minute)
			})
		})
	}
}
