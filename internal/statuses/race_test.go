package statuses_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsocsp/ocsp/internal/statuses"
)

// TestConcurrent checks the claims with goroutines: statuses of a certificate only grow, so that an
// answer that is too old is smaller than something that was noted before.
func TestConcurrent(t *testing.T) {
	for name, ttl := range map[string]time.Duration{"TTL": time.Hour, "no TTL": 0} {
		for _, bound := range []int{1000, 3} {
			t.Run(name, func(t *testing.T) { concurrent(t, ttl, bound) })
		}
	}
}

func concurrent(t *testing.T, ttl time.Duration, bound int) {
	type cert struct {
		key                      *statuses.Key
		store, invalidated, told atomic.Int64
	}
	m := newMemory(func(o *options) {
		o.TTL, o.Max, o.Hot, o.Patience = ttl, bound, 2, 20*time.Microsecond
	})
	var certs [4]cert
	for i := range certs {
		certs[i].key = key(uint64(i / 2))
		certs[i].key[0] = byte(i)
	}
	raise := func(to *atomic.Int64, v int64) {
		for old := to.Load(); old < v && !to.CompareAndSwap(old, v); old = to.Load() {
		}
	}
	pool := sync.Pool{New: func() any { return new(read) }}
	release := func(r *read) {
		if r.Release() {
			pool.Put(r)
		}
	}
	query := func(c *cert) int {
		v := int(c.store.Load())
		switch rand.IntN(20) {
		case 0:
			time.Sleep(50 * time.Microsecond) // outlasts the patience
		case 1:
			time.Sleep(time.Microsecond)
		}
		return v
	}
	request := func(c *cert) {
		arrived := c.store.Load()
		least := max(c.invalidated.Load(), c.told.Load())
		for {
			l := m.Look(c.key, now)
			answer, least := &l, least
			if l.Known && l.Hot == nil {
				m.Attach(&l, new(string))
			}
			var waited *read
			for !answer.Trusted {
				own := pool.Get().(*read)
				other, how := m.Begin(&l, now, 0, own)
				if waited != nil {
					release(waited)
					waited = nil
				}
				if how == statuses.Renewed {
					pool.Put(own)
					break
				}
				r := own
				switch how {
				case statuses.Own:
					v := query(c)
					if own.End(v, true, nil); rand.IntN(2) == 0 {
						own.End(-1, true, nil)
					}
					release(own)
				default:
					pool.Put(own)
					r = other
				}
				if how == statuses.Own || how == statuses.Joined {
					<-r.Done()
					res, err := r.Result()
					if err != nil {
						t.Error(err)
					}
					answer, least = &res, max(least, arrived)
					release(r)
					break
				}
				select {
				case <-r.Done():
				case <-time.After(r.Outlasts()):
				}
				waited = r
			}
			least = max(least, c.invalidated.Load())
			if answer.Stands() {
				if int64(answer.Status) < least {
					t.Errorf("%d was answered after %d", answer.Status, least)
				}
				raise(&c.told, int64(answer.Status))
				return
			}
		}
	}
	var wg sync.WaitGroup
	stop := time.Now().Add(400 * time.Millisecond)
	for g := range 8 {
		wg.Go(func() {
			for time.Now().Before(stop) {
				c := &certs[rand.IntN(len(certs))]
				switch {
				case g > 1:
					request(c)
				case g == 0:
					time.Sleep(20 * time.Microsecond)
					v := c.store.Add(1)
					if rand.IntN(2) == 0 {
						m.Invalidate(c.key)
						raise(&c.invalidated, v)
					}
				default:
					time.Sleep(100 * time.Microsecond)
					m.Forget(c.key)
				}
			}
		})
	}
	wg.Wait()
	if n := m.InFlight(); n != 0 {
		t.Errorf("%d reads are still remembered", n)
	}
	if entries, attached := m.Sizes(); entries < 0 || entries > bound || attached > 2 {
		t.Errorf("%d entries, %d attached", entries, attached)
	}
}

// hammer runs write with growing numbers while look runs in another goroutine, until look returns
// false. The tests that use it need two processors to fail.
func hammer(t *testing.T, write func(i int64), look func() bool) {
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := int64(1); i < 100_000 && !stop.Load(); i++ {
			write(i)
		}
		stop.Store(true)
	})
	for !stop.Load() {
		if !look() {
			t.Error("a look went wrong")
			break
		}
	}
	stop.Store(true)
	wg.Wait()
}

// record has a status recorded.
func record(m *memory, k *statuses.Key, r *read, now moment, status int64) look {
	l := m.Look(k, now)
	m.Begin(&l, now, now.Wall+1, r)
	r.End(int(status), true, nil)
	l, _ = r.Result()
	r.Release()
	r.Release()
	return l
}

// Forget before fence: no look stands that has a status from before an Invalidate that returned.
func TestForgetBeforeFence(t *testing.T) {
	m, k, r := newMemory(nil), key(1), new(read)
	var returned atomic.Int64
	hammer(t, func(i int64) {
		l := record(m, k, r, now, i)
		m.Attach(&l, new(string))
		m.Invalidate(k)
		returned.Store(i)
	}, func() bool {
		l := m.Look(k, now)
		for i := 0; l.Known && i < 1000 && returned.Load() < int64(l.Status); i++ {
		}
		return !l.Known || returned.Load() < int64(l.Status) || !l.Stands()
	})
}

// End before lease: no status is trusted after its lease has ended, also while another begins.
func TestEndBeforeLease(t *testing.T) {
	m, k, r := newMemory(func(o *options) { o.Lease = true }), key(1), new(read)
	var over atomic.Int64
	hammer(t, func(i int64) {
		m.BeginLease()
		m.ExtendLease(at(1000))
		l := record(m, k, r, now, i)
		m.Attach(&l, new(string))
		m.EndLease()
		over.Store(i)
	}, func() bool {
		last := over.Load()
		l := m.Look(k, now)
		return !l.Trusted || int64(l.Status) > last
	})
}
