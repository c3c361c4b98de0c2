package ocsp

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	overtakenGood = certStatus{issued: true, status: Good}
	overtakenHeld = certStatus{issued: true, status: Revoked, reason: CertificateHold}
	overtakenKey  = newCertKey(1, []byte{5})
)

func overtakenCache(ttl time.Duration) *replyCache {
	return newReplyCache(CacheOptions{StatusTTL: ttl, MaxEntries: 4}, standing)
}

// What began before a certificate was invalidated, or forgotten, is refused behind it.
func TestOvertaken(t *testing.T) {
	now := standing()
	for name, test := range map[string]struct {
		between func(c *replyCache)
		late    func(c *replyCache, slow uint64) bool
	}{
		"the same status, from before Invalidate": {
			func(c *replyCache) {
				c.invalidate(overtakenKey)
				c.record(overtakenKey, c.begin(), found{overtakenGood, "ca"}, c.moment(now))
			},
			func(c *replyCache, slow uint64) bool {
				return c.record(overtakenKey, slow, found{overtakenGood, "ca"}, c.moment(now))
			},
		},
		"unissued, from before Invalidate": {
			func(c *replyCache) { c.invalidate(overtakenKey) },
			func(c *replyCache, slow uint64) bool { return c.forget(overtakenKey, slow) },
		},
		"from before it was forgotten": {
			func(c *replyCache) { c.forget(overtakenKey, c.begin()) },
			func(c *replyCache, slow uint64) bool {
				return c.record(overtakenKey, slow, found{overtakenGood, "ca"}, c.moment(now))
			},
		},
		"an answer, from before it was forgotten": {
			func(c *replyCache) { c.forget(overtakenKey, c.begin()) },
			func(c *replyCache, slow uint64) bool { return c.valid(&overtakenKey, slow, &overtakenGood) },
		},
		"a reply, from before Invalidate": {
			func(c *replyCache) {
				c.invalidate(overtakenKey)
				c.record(overtakenKey, c.begin(), found{overtakenGood, "ca"}, c.moment(now))
			},
			func(c *replyCache, slow uint64) bool {
				c.add(overtakenKey, slow, overtakenGood, kept{signature: []byte{1}, id: replyID{signer: 1}}, []byte{1})
				_, ok := c.reply(&overtakenKey, overtakenGood, replyID{signer: 1}, nil)
				return ok
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := overtakenCache(0)
			require.True(t, c.record(overtakenKey, c.begin(), found{overtakenGood, "ca"}, c.moment(now)))
			slow := c.begin()
			test.between(c)
			require.False(t, test.late(c, slow))
		})
	}
}

// A read that began earlier, and ends later, does not make the last one that found the same look earlier.
func TestConfirmedByAnEarlierRead(t *testing.T) {
	c := overtakenCache(time.Hour)
	at := standing()
	early := c.begin()
	c.ticks.Add(1)
	middle := c.begin()
	c.ticks.Add(1)
	require.True(t, c.record(overtakenKey, c.begin(), found{overtakenGood, "ca"}, c.moment(at)))
	require.True(t, c.record(overtakenKey, early, found{overtakenGood, "ca"}, c.moment(at.Add(time.Second))))
	h, ok := c.current(&overtakenKey)
	require.True(t, ok)
	require.Greater(t, h.begun, middle)
}

// Of two reads that began at the same tick, nobody knows which was the later.
func TestForgottenAtTheSameTick(t *testing.T) {
	c := overtakenCache(0)
	slow := c.begin()
	require.True(t, c.record(overtakenKey, slow, found{overtakenGood, "ca"}, c.moment(standing())))
	require.False(t, c.forget(overtakenKey, slow))
}

// Who still sees a certificate at the last moment before it is forgotten has no tick that is late enough.
func TestForgottenBeforeTheTick(t *testing.T) {
	c := newReplyCache(CacheOptions{Disabled: true, StatusTTL: time.Hour}, time.Now)
	s := &oneEntry{}
	c.storage = s
	s.known.Store(&head{found: found{status: overtakenGood}, begun: c.begin()})
	var tick uint64
	s.changing = func() { tick = c.begin() }
	require.False(t, c.forget(overtakenKey, c.begin()), "the first time it is in doubt")
	require.True(t, c.forget(overtakenKey, c.begin()))
	require.NotZero(t, tick)
	require.False(t, c.valid(&overtakenKey, tick, &overtakenGood))
}

// Nor has who still sees the old status at the last moment before another is recorded.
func TestChangedBeforeTheTick(t *testing.T) {
	good, revoked := certStatus{issued: true, status: Good}, certStatus{issued: true, status: Revoked}
	key := newCertKey(1, []byte{1})
	for kind := range storages {
		for name, elsewhere := range map[string]uint64{"nothing else happens": 0, "something else happens": 1} {
			t.Run(name, func(t *testing.T) {
				c := newReplyCache(CacheOptions{MaxEntries: 4, Storage: kind}, standing)
				require.True(t, c.record(key, c.begin(), found{good, "ca"}, c.moment(standing())))
				var ticks []uint64 // at which the old status was still to be seen
				c.storage = &hooked{c.storage, &Hooks{Update: func() {
					if h, ok := c.current(&key); ok && h.status == good {
						ticks = append(ticks, c.begin())
					}
				}}}
				require.False(t, c.record(key, c.begin(), found{revoked, "ca"}, c.moment(standing())), "the first time it is in doubt")
				require.True(t, c.record(key, c.begin(), found{revoked, "ca"}, c.moment(standing())))
				c.ticks.Add(elsewhere)
				require.NotEmpty(t, ticks)
				for _, tick := range ticks {
					require.False(t, c.valid(&key, tick, &good))
				}
			})
		}
	}
}

// evictingOwner lets a test do something when a certificate is about to be dropped.
type evictingOwner struct {
	*replyCache
	then func()
}

func (o *evictingOwner) evicting(key certKey) {
	o.replyCache.evicting(key)
	if o.then != nil {
		o.then()
	}
}

// What is learnt while its certificate gives way cannot be kept, but a read from before is refused all the same.
func TestChangedWhileEvicted(t *testing.T) {
	good, revoked := certStatus{issued: true, status: Good}, certStatus{issued: true, status: Revoked}
	key, other := newCertKey(1, []byte{1}), newCertKey(1, []byte{2})
	c := newReplyCache(CacheOptions{MaxEntries: 1}, standing)
	s, _ := c.stripe(&key)
	o, _ := c.stripe(&other)
	require.NotSame(t, s, o)
	owner := &evictingOwner{replyCache: c}
	c.storage.(*goCacheStorage).owner = owner
	require.True(t, c.record(key, c.begin(), found{good, "ca"}, c.moment(standing())))
	updating, done := make(chan struct{}), make(chan bool)
	c.storage = &hooked{c.storage, &Hooks{Update: sync.OnceFunc(func() { close(updating) })}}
	var slow uint64
	owner.then = func() {
		owner.then = nil
		slow = c.begin() // and finds good; now the certificate is revoked
		go func() { done <- c.record(key, c.begin(), found{revoked, "ca"}, c.moment(standing())) }()
		<-updating
	}
	require.True(t, c.record(other, c.begin(), found{good, "ca"}, c.moment(standing())))
	require.False(t, <-done, "the first time it is in doubt")
	require.False(t, c.record(key, slow, found{good, "ca"}, c.moment(standing())), "it has been overtaken")
}

// locked requires that the certificate's stripe is locked whenever the storage changes.
type locked struct {
	storage
	t *testing.T
	c *replyCache
}

func (l *locked) check(key certKey) {
	st, _ := l.c.stripe(&key)
	if st.mu.TryLock() {
		st.mu.Unlock()
		l.t.Error("the storage changes while the stripe is not locked")
	}
}
func (l *locked) insert(key certKey, h head) { l.check(key); l.storage.insert(key, h) }
func (l *locked) update(key certKey, h head) { l.check(key); l.storage.update(key, h) }
func (l *locked) remove(key certKey)         { l.check(key); l.storage.remove(key) }
func (l *locked) add(key certKey, s certStatus, k kept) (head, bool) {
	l.check(key)
	return l.storage.add(key, s, k)
}

// The storage changes only while the stripe is locked.
func TestStorageChangesUnderLock(t *testing.T) {
	c := overtakenCache(time.Hour)
	c.storage = &locked{c.storage, t, c}
	now := standing()
	c.record(overtakenKey, c.begin(), found{overtakenGood, "ca"}, c.moment(now))
	c.add(overtakenKey, c.begin(), overtakenGood, kept{signature: []byte{1}, id: replyID{signer: 1}}, []byte{1})
	c.doubt(overtakenKey)
	c.record(overtakenKey, c.begin(), found{overtakenGood, "ca"}, c.moment(now))
	c.record(overtakenKey, c.begin(), found{overtakenHeld, "ca"}, c.moment(now))
	c.record(overtakenKey, c.begin(), found{overtakenHeld, "ca"}, c.moment(now))
	c.forget(overtakenKey, c.begin())
	c.forget(overtakenKey, c.begin())
	c.distrust(overtakenKey)
	c.record(overtakenKey, c.begin(), found{overtakenGood, "ca"}, c.moment(now))
	c.invalidate(overtakenKey)
}

// What is ready stays ready while its certificate is in doubt, for the case that the store says the same.
func TestDoubtKeepsReplies(t *testing.T) {
	c := overtakenCache(time.Hour)
	c.record(overtakenKey, c.begin(), found{overtakenGood, "ca"}, c.moment(standing()))
	c.add(overtakenKey, c.begin(), overtakenGood, kept{signature: []byte{1}, id: replyID{signer: 1}}, []byte{1})
	c.doubt(overtakenKey)
	st, tag := c.stripe(&overtakenKey)
	p := st.look(&overtakenKey, tag)
	require.NotNil(t, p, "replies stay")
	require.EqualValues(t, doubted, p.head.begun)
}

// What is cleared while it is renewed stays away. It takes its chances.
func TestRenewedWhileCleared(t *testing.T) {
	const rounds = 200_000
	st := &places{}
	var begun, ended atomic.Int64
	go func() {
		for n := int64(1); n <= rounds; n++ {
			for begun.Load() < n {
				runtime.Gosched()
			}
			st.renew(&overtakenKey, 7, head{begun: uint64(n)})
			ended.Store(n)
		}
	}()
	wrong := 0
	for n := int64(1); n <= rounds; n++ {
		st.put(&ready{key: overtakenKey}, 7)
		begun.Store(n)
		for range n % 64 { // so that the two meet in all ways
			_ = st.tags.Load()
		}
		st.clear(&overtakenKey, 7)
		for ended.Load() < n {
			runtime.Gosched()
		}
		if st.look(&overtakenKey, 7) != nil {
			wrong++
			st.clear(&overtakenKey, 7)
		}
	}
	require.Zero(t, wrong)
}

// removing lets a test look at once when a certificate is removed.
type removing struct {
	storage
	after func()
}

func (s *removing) remove(key certKey) {
	s.storage.remove(key)
	s.after()
}

// A doubt holds in every moment, also while its certificate is dropped.
func TestDoubtHoldsWhileDropped(t *testing.T) {
	for kind := range storages {
		for drop, do := range map[string]func(c *replyCache){
			"invalidate": func(c *replyCache) { c.invalidate(overtakenKey) },
			"forget":     func(c *replyCache) { c.forget(overtakenKey, c.begin()) },
		} {
			for how, doubt := range map[string]func(c *replyCache){
				"Changed": func(c *replyCache) { c.doubt(overtakenKey) },
				"contradicted": func(c *replyCache) {
					c.record(overtakenKey, c.begin(), found{overtakenHeld, "ca"}, c.moment(standing()))
				},
				"unreadable": func(c *replyCache) { c.distrust(overtakenKey) },
			} {
				t.Run(how+", "+drop, func(t *testing.T) {
					c := newReplyCache(CacheOptions{StatusTTL: time.Hour, MaxEntries: 4, Storage: kind}, standing)
					require.True(t, c.record(overtakenKey, c.begin(), found{overtakenGood, "ca"}, c.moment(standing())))
					slow := c.begin()
					doubt(c)
					require.False(t, c.valid(&overtakenKey, slow, &overtakenGood))
					called := false
					c.storage = &removing{c.storage, func() {
						called = true
						require.False(t, c.valid(&overtakenKey, slow, &overtakenGood))
					}}
					do(c)
					require.True(t, called)
				})
			}
		}
	}
}

// What is told to have changed is so under each number that the authority has had.
func TestChangedReachesRetiredNumbers(t *testing.T) {
	c := overtakenCache(time.Hour)
	old, next := newCertKey(1, []byte{5}), newCertKey(2, []byte{5})
	slow := c.begin()
	require.True(t, c.record(old, slow, found{overtakenGood, "ca"}, c.moment(standing())))
	require.True(t, c.record(next, c.begin(), found{overtakenGood, "ca"}, c.moment(standing()))) // after SetIssuer
	c.doubt(next)
	require.False(t, c.valid(&old, slow, &overtakenGood))
}
