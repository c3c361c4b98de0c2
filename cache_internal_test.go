package ocsp

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// oneEntry is a storage that knows one certificate, until it is removed.
type oneEntry struct {
	storage
	known    atomic.Pointer[head]
	changing func() // is called before it changes
}

func (s *oneEntry) head(certKey) (head, bool) {
	if h := s.known.Load(); h != nil {
		return *h, true
	}
	return head{}, false
}

func (s *oneEntry) update(_ certKey, h head) { s.change(&h) }

func (s *oneEntry) remove(certKey) { s.change(nil) }

func (s *oneEntry) change(h *head) {
	if s.changing != nil {
		s.changing()
	}
	s.known.Store(h)
}

// Who still sees what is known at the last moment before it is invalidated, or in doubt, has no tick that is late enough.
func TestNothingIsFencedBeforeItIsGone(t *testing.T) {
	for name, change := range map[string]func(*replyCache, certKey){"invalidate": (*replyCache).invalidate, "doubt": (*replyCache).doubt} {
		t.Run(name, func(t *testing.T) {
			c := newReplyCache(CacheOptions{Disabled: true, StatusTTL: time.Hour}, time.Now)
			s, key := &oneEntry{}, newCertKey(1, []byte{1})
			c.storage = s
			s.known.Store(&head{found: found{status: certStatus{issued: true}}, begun: c.begin()})
			var tick uint64
			var last head
			s.changing = func() {
				if h, ok := c.current(&key); ok {
					tick, last = c.begin(), h
				}
			}
			change(c, key)
			require.NotZero(t, tick)
			require.False(t, c.valid(&key, tick, &last.status))
			_, ok := c.current(&key)
			require.False(t, ok)
		})
	}
}

// TestFenceRace looks into the cache while a certificate is invalidated: what was found is not valid once that is done,
// however close the two came. It takes its chances, since the moment in question is some nanoseconds long.
func TestFenceRace(t *testing.T) {
	t.Run("in the storage", func(t *testing.T) { fenceRace(t, false, (*replyCache).invalidate) })
	t.Run("ready", func(t *testing.T) { fenceRace(t, true, (*replyCache).invalidate) })
	t.Run("in the storage, in doubt", func(t *testing.T) { fenceRace(t, false, (*replyCache).doubt) })
	t.Run("ready, in doubt", func(t *testing.T) { fenceRace(t, true, (*replyCache).doubt) })
}

func fenceRace(t *testing.T, isReady bool, change func(*replyCache, certKey)) {
	c := newReplyCache(CacheOptions{Disabled: true, StatusTTL: time.Hour}, time.Now)
	s, key := &oneEntry{}, newCertKey(1, []byte{1})
	c.storage = s
	var begun, ended, looked atomic.Int64 // rounds
	const rounds = 10_000
	go func() {
		for n := int64(1); n <= rounds; n++ {
			for begun.Load() < n {
				runtime.Gosched()
			}
			change(c, key)
			ended.Store(n)
			for looked.Load() < n {
				runtime.Gosched()
			}
		}
	}()
	wrong := 0
	for n := int64(1); n <= rounds; n++ {
		first := c.begin()
		known := head{found: found{status: certStatus{issued: true}}, begun: first}
		s.known.Store(&known)
		if isReady {
			st, tag := c.stripe(&key)
			st.clear(&key, tag)
			st.put(&ready{key: key, head: known}, tag)
		}
		begun.Store(n)
		var tick uint64
		var last head
		for spun := 0; ; spun++ {
			if spun > 100 {
				runtime.Gosched()
			}
			now := c.begin()
			h, ok := c.current(&key)
			if !ok {
				break
			}
			if tick, last = now, h; now != first {
				break
			}
		}
		for ended.Load() < n {
			runtime.Gosched()
		}
		if last.status.issued && c.valid(&key, tick, &last.status) {
			wrong++
		}
		looked.Store(n)
	}
	require.Zero(t, wrong)
}

// What a slow read found is not noted once one that began after it has found something else, also if that was known
// already, and nothing else has happened.
func TestRecordInOrder(t *testing.T) {
	good, held := certStatus{issued: true, status: Good}, certStatus{issued: true, status: Revoked, reason: CertificateHold}
	key, at := newCertKey(1, []byte{1}), standing()
	for _, ttl := range []time.Duration{0, time.Hour} {
		for _, known := range []bool{false, true} { // the released one is told of before
			for _, ticks := range []uint64{0, 1} {
				c := newReplyCache(CacheOptions{StatusTTL: ttl, MaxEntries: 4}, standing)
				require.True(t, c.record(key, c.begin(), found{held, "ca"}, c.moment(at)))
				if known {
					require.False(t, c.record(key, c.begin(), found{good, "ca"}, c.moment(at)), "the first time it is in doubt")
				}
				slow := c.begin() // it is released, and held again
				c.ticks.Add(ticks)
				require.True(t, c.record(key, c.begin(), found{held, "ca"}, c.moment(at.Add(time.Second))))
				require.False(t, c.record(key, slow, found{good, "ca"}, c.moment(at)))
				require.False(t, c.forget(key, slow))
				_, ok := c.current(&key)
				require.False(t, ok, "what is in doubt is not known")
				require.True(t, c.record(key, c.begin(), found{held, "ca"}, c.moment(at.Add(2*time.Second))))
				h, ok := c.current(&key)
				require.True(t, ok)
				require.Equal(t, held, h.status)
			}
		}
	}
}

// What a read found is not valid once another status was recorded, also when that has given way to another certificate.
func TestEvictionIsNotForgotten(t *testing.T) {
	for kind := range storages {
		good, revoked := certStatus{issued: true, status: Good}, certStatus{issued: true, status: Revoked}
		key, other := newCertKey(1, []byte{1}), newCertKey(1, []byte{2})
		c := newReplyCache(CacheOptions{StatusTTL: time.Hour, MaxEntries: 1, Storage: kind}, standing)
		slow := c.begin()
		require.True(t, c.record(key, slow, found{good, "ca"}, c.moment(standing())))
		require.True(t, c.valid(&key, slow, &good), "no other status was seen")
		require.False(t, c.record(key, c.begin(), found{revoked, "ca"}, c.moment(standing())), "the first time it is in doubt")
		require.True(t, c.record(key, c.begin(), found{revoked, "ca"}, c.moment(standing())))
		require.False(t, c.valid(&key, slow, &good))
		require.True(t, c.record(other, c.begin(), found{good, "ca"}, c.moment(standing())))
		_, ok := c.current(&key)
		require.False(t, ok, "it has given way")
		require.False(t, c.valid(&key, slow, &good))
		require.True(t, c.valid(&key, c.begin(), &good))
	}
}
