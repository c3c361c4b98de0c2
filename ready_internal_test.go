package ocsp

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// standing is a clock that stands.
func standing() time.Time { return time.Unix(1e9, 0) }

// crowd returns certificates of a few stripes, so that they contend for places.
func crowd(c *replyCache, n int) []certKey {
	stripes := map[*stripe]bool{}
	var keys []certKey
	for i := uint32(0); len(keys) < n; i++ {
		key := newCertKey(1, binary.BigEndian.AppendUint32(nil, i))
		st, _ := c.stripe(&key)
		if len(stripes) < 3 {
			stripes[st] = true
		}
		if stripes[st] {
			keys = append(keys, key)
		}
	}
	return keys
}

// step does something to the cache that the responder might do.
func step(c *replyCache, key certKey, random *rand.Rand, now time.Time) {
	status := certStatus{status: Status(random.IntN(2)), issued: true, notAfter: 9}
	id := replyID{signer: uint64(1 + random.IntN(40)/39), encoding: random.IntN(3)}
	der := binary.BigEndian.AppendUint64(nil, random.Uint64())
	begun := c.begin() - uint64(random.IntN(2))
	switch random.IntN(12) {
	case 0, 1, 2, 3:
		c.record(key, begun, found{status, "ca"}, c.moment(now))
	case 4, 5, 6:
		if h, ok := c.current(&key); ok {
			k := kept{signature: der, id: id}
			copy(k.digest[:], der)
			c.add(key, begun, h.status, k, der)
		}
	case 7, 8, 9:
		if h, ok := c.current(&key); ok {
			if k, ok := c.storage.reply(key, h.status, id, nil); ok { // which may be ready by now
				c.keep(key, k, k.digest[:len(der)])
			}
		}
	case 10:
		c.forget(key, begun)
	case 11:
		if random.IntN(2) == 0 {
			c.invalidate(key)
		} else {
			c.doubt(key)
		}
	}
}

// requireRepeats requires that what is ready is what the storage would tell, and returns how much there is.
func requireRepeats(t *testing.T, c *replyCache, keys []certKey) (count int) {
	t.Helper()
	stripes := map[*stripe]bool{}
	for _, key := range keys {
		st, tag := c.stripe(&key)
		stripes[st] = true
		ids := map[replyID]bool{}
		for place, p := st.next(0, &key, tag); p != nil; place, p = st.next(place+1, &key, tag) {
			count++
			require.False(t, ids[p.id], "two are ready for one")
			ids[p.id] = true
			h, ok := c.storage.head(key)
			require.True(t, ok, "a certificate that gave way is ready")
			require.Equal(t, h, p.head)
			k, ok := c.storage.reply(key, p.status, p.id, nil)
			require.True(t, ok, "a reply that is gone is ready")
			require.Equal(t, k.digest, p.digest)
			require.Equal(t, k.digest[:len(p.der)], p.der)
		}
	}
	placed := 0
	for st := range stripes {
		for place := range st.ready {
			if st.ready[place].Load() != nil {
				placed++
			}
		}
	}
	require.Equal(t, count, placed, "what is ready is not found")
	return count
}

// What is ready repeats the storage, whatever happens, in both storages, with room for all and for few.
func TestReadyRepeatsStorage(t *testing.T) {
	for kind := range storages {
		for _, entries := range []int{1, 5, 100} {
			now := standing()
			c := newReplyCache(CacheOptions{StatusTTL: time.Hour, MaxEntries: entries, Storage: kind}, standing)
			keys := crowd(c, 30)
			random := rand.New(rand.NewPCG(7, uint64(entries)))
			most := 0
			for range 2_000 {
				now = now.Add(time.Duration(random.IntN(2)))
				step(c, keys[random.IntN(len(keys))], random, now)
				most = max(most, requireRepeats(t, c, keys))
			}
			require.Positive(t, most, "nothing was ever ready")
		}
	}
}

// The same after steps that were taken at once.
func TestReadyRepeatsStorageAtOnce(t *testing.T) {
	for kind := range storages {
		for round := range 20 {
			now := standing()
			c := newReplyCache(CacheOptions{StatusTTL: time.Hour, MaxEntries: 4, Storage: kind}, standing)
			keys := crowd(c, 8)
			var all sync.WaitGroup
			for worker := range 4 {
				all.Go(func() {
					random := rand.New(rand.NewPCG(uint64(round), uint64(worker)))
					for i := range 200 {
						step(c, keys[random.IntN(len(keys))], random, now.Add(time.Duration(i)))
					}
				})
			}
			all.Wait()
			requireRepeats(t, c, keys)
		}
	}
}

// evictor is a storage that drops a certificate, as if to make room for another, just before it returns from a method.
type evictor struct {
	storage
	c    *replyCache
	when string // the method
	key  certKey
}

func (e *evictor) maybe(method string) {
	if e.when != method {
		return
	}
	e.when = ""
	e.c.evicting(e.key)
	e.storage.remove(e.key)
	e.c.evicted(e.key)
}

func (e *evictor) head(key certKey) (head, bool) {
	defer e.maybe("head")
	return e.storage.head(key)
}

func (e *evictor) reply(key certKey, status certStatus, id replyID, room []byte) (kept, bool) {
	defer e.maybe("reply")
	return e.storage.reply(key, status, id, room)
}

func (e *evictor) add(key certKey, status certStatus, k kept) (head, bool) {
	defer e.maybe("add")
	return e.storage.add(key, status, k)
}

func (e *evictor) update(key certKey, h head) {
	defer e.maybe("update")
	e.storage.update(key, h)
}

// Nothing stays ready for a certificate that gives way while something is made ready for it.
func TestReadyAndEvicted(t *testing.T) {
	now := standing()
	good := certStatus{issued: true, status: Good}
	begin := func() (*evictor, certKey) {
		c := newReplyCache(CacheOptions{StatusTTL: time.Hour, MaxEntries: 4}, standing)
		key := newCertKey(1, []byte{5})
		e := &evictor{storage: c.storage, c: c, key: key}
		c.storage = e
		require.True(t, c.record(key, c.begin(), found{good, "ca"}, c.moment(now)))
		return e, key
	}
	ready := func(e *evictor) bool {
		st, tag := e.c.stripe(&e.key)
		_, p := st.next(0, &e.key, tag)
		return p != nil
	}
	reply := kept{signature: []byte{1}, id: replyID{signer: 1}}

	e, key := begin()
	e.when = "add"
	e.c.add(key, e.c.begin(), good, reply, []byte{1})
	require.Empty(t, e.when)
	require.False(t, ready(e), "add")

	e, key = begin()
	_, ok := e.storage.add(key, good, reply)
	require.True(t, ok)
	e.when = "reply"
	e.c.keep(key, reply, []byte{1})
	require.Empty(t, e.when)
	require.False(t, ready(e), "keep")

	e, key = begin()
	e.c.add(key, e.c.begin(), good, reply, []byte{1})
	require.True(t, ready(e))
	e.when = "update"
	require.True(t, e.c.record(key, e.c.begin(), found{good, "ca"}, e.c.moment(now.Add(1))))
	require.Empty(t, e.when)
	require.False(t, ready(e), "record")
}

// TestReadyWhileEvicted looks while a certificate gives way, when the storage has it no more, and what is ready is still
// there: nobody must believe that.
func TestReadyWhileEvicted(t *testing.T) {
	good, held := certStatus{issued: true, status: Good}, certStatus{issued: true, status: Revoked, reason: CertificateHold}
	key, id := newCertKey(1, []byte{5}), replyID{signer: 1}
	for name, ttl := range map[string]time.Duration{"store read": 0, "status trusted": time.Hour} {
		t.Run(name, func(t *testing.T) {
			begin := func(status certStatus) *replyCache {
				c := newReplyCache(CacheOptions{StatusTTL: ttl, MaxEntries: 1}, standing)
				require.True(t, c.record(key, c.begin(), found{status, "ca"}, c.moment(standing())))
				c.add(key, c.begin(), status, kept{signature: []byte{1}, id: id}, []byte{1})
				c.evicting(key)
				c.storage.remove(key)
				return c
			}

			c := begin(good)
			_, ok := c.current(&key)
			require.False(t, ok)
			_, ok = c.reply(&key, good, id, nil)
			require.False(t, ok)
			require.True(t, c.forget(key, c.begin())) // the store says that there is no such certificate, and then it fails
			_, ok = c.current(&key)
			require.False(t, ok)

			c = begin(held)
			slow := c.begin() // a read that is to find good
			c.ticks.Add(1)    // anything else
			require.True(t, c.record(key, c.begin(), found{held, "ca"}, c.moment(standing())))
			require.False(t, c.record(key, slow, found{good, "ca"}, c.moment(standing())), "it is overtaken")
			_, ok = c.current(&key)
			require.False(t, ok, "it is in doubt")
			require.True(t, c.record(key, c.begin(), found{held, "ca"}, c.moment(standing())))
			h, ok := c.current(&key)
			require.True(t, ok)
			require.Equal(t, held, h.status)
			c.evicted(key)
		})
	}
}

// A reply that lands late takes the place of none that is newer, nor of one of a newer signer; but it does if the clock was
// set back meanwhile.
func TestReadyInOrder(t *testing.T) {
	good := certStatus{issued: true, status: Good}
	key := newCertKey(1, []byte{5})
	for kind := range storages {
		at := standing()
		c := newReplyCache(CacheOptions{StatusTTL: time.Hour, MaxEntries: 4, Storage: kind}, func() time.Time { return at })
		require.True(t, c.record(key, c.begin(), found{good, "ca"}, c.moment(at)))
		add := func(id replyID, second int64) {
			begins := standing().Unix() + second
			k := kept{signature: []byte{byte(second)}, id: id, digest: [32]byte{byte(second)}, window: window{producedAt: begins, thisUpdate: begins, nextUpdate: begins + 3600}}
			c.add(key, c.begin(), good, k, []byte{byte(second)})
		}
		requireReply := func(id replyID, second int64) {
			t.Helper()
			for range 2 {
				k, ok := c.reply(&key, good, id, nil)
				require.True(t, ok)
				require.Equal(t, byte(second), k.digest[0])
				c.keep(key, k, []byte{byte(second)}) // as who is served does
			}
		}
		one, other := replyID{signer: 1}, replyID{signer: 1, encoding: 1}
		add(one, 5)
		add(other, 5)
		requireReply(one, 5)
		at = at.Add(10 * time.Second)
		add(one, 10)
		requireReply(one, 10)
		add(one, 7) // begun before
		if s, ok := c.storage.(*goCacheStorage); ok {
			require.True(t, s.item(&key).used.Load(), "it was used while it was ready")
		}
		requireReply(one, 10)
		requireReply(other, 5)

		at = standing().Add(2 * time.Second)
		add(one, 2)
		requireReply(one, 2)

		newer := replyID{signer: 2}
		add(newer, 2)
		requireReply(newer, 2)
		_, ok := c.reply(&key, good, one, nil)
		require.False(t, ok)
		add(one, 3)
		_, ok = c.reply(&key, good, one, nil)
		require.False(t, ok)
		st, tag := c.stripe(&key)
		require.NotNil(t, st.find(&key, tag, newer), "and what is ready stays")
	}
}

// Of two replies, the newer one is that about the later read, whenever they were signed.
func TestTheLaterReadIsNewer(t *testing.T) {
	good := certStatus{issued: true, status: Good}
	key, id := newCertKey(1, []byte{5}), replyID{signer: 1}
	for kind := range storages {
		at := standing().Add(time.Hour)
		c := newReplyCache(CacheOptions{StatusTTL: time.Hour, MaxEntries: 4, Storage: kind}, func() time.Time { return at })
		require.True(t, c.record(key, c.begin(), found{good, "ca"}, c.moment(at)))
		for _, add := range []struct{ thisUpdate, producedAt, want int64 }{{10, 20, 10}, {5, 30, 10}, {11, 15, 11}} {
			w := window{thisUpdate: standing().Unix() + add.thisUpdate, producedAt: standing().Unix() + add.producedAt, nextUpdate: at.Unix() + 3600}
			c.add(key, c.begin(), good, kept{signature: []byte{1}, id: id, window: w}, []byte{1})
			k, ok := c.reply(&key, good, id, nil)
			require.True(t, ok)
			require.Equal(t, standing().Unix()+add.want, k.thisUpdate)
		}
	}
}

// An octet string that is ready replaces none that is newer.
func TestReadyKeepOvertaken(t *testing.T) {
	good := certStatus{issued: true, status: Good}
	key, id := newCertKey(1, []byte{5}), replyID{signer: 1}
	for kind := range storages {
		c := newReplyCache(CacheOptions{StatusTTL: time.Hour, MaxEntries: 4, Storage: kind}, standing)
		require.True(t, c.record(key, c.begin(), found{good, "ca"}, c.moment(standing())))
		c.add(key, c.begin(), good, kept{signature: []byte{1}, id: id, digest: [32]byte{1}}, []byte{1})
		old, ok := c.storage.reply(key, good, id, nil)
		require.True(t, ok)
		c.add(key, c.begin(), good, kept{signature: []byte{2}, id: id, digest: [32]byte{2}}, []byte{2})
		c.keep(key, old, []byte{1})
		k, ok := c.reply(&key, good, id, nil)
		require.True(t, ok)
		require.Equal(t, [32]byte{2}, k.digest)
	}
}

// What is ready is for the status that was asked for.
func TestReadyStatus(t *testing.T) {
	good, revoked := certStatus{issued: true, status: Good}, certStatus{issued: true, status: Revoked}
	key, id := newCertKey(1, []byte{5}), replyID{signer: 1}
	c := newReplyCache(CacheOptions{StatusTTL: time.Hour, MaxEntries: 10}, standing)
	require.True(t, c.record(key, c.begin(), found{good, "ca"}, c.moment(standing())))
	c.add(key, c.begin(), good, kept{signature: []byte{1}, id: id}, []byte{1})
	_, ok := c.reply(&key, good, id, nil)
	require.True(t, ok)
	_, ok = c.reply(&key, revoked, id, nil)
	require.False(t, ok)
}

// Once all places of a stripe are taken, one changes hands now and then; who had it and was used stays so.
func TestReadyPatience(t *testing.T) {
	good := certStatus{issued: true, status: Good}
	id := replyID{signer: 1}
	c := newReplyCache(CacheOptions{StatusTTL: time.Hour, MaxEntries: 10}, standing)
	st, _ := c.stripe(new(newCertKey(1, []byte{0})))
	var keys []certKey
	for i := uint32(0); len(keys) < placesOfStripe+1; i++ {
		key := newCertKey(1, binary.BigEndian.AppendUint32(nil, i))
		if of, _ := c.stripe(&key); of == st {
			keys = append(keys, key)
		}
	}
	isReady := func(key certKey) bool {
		_, tag := c.stripe(&key)
		return st.look(&key, tag) != nil
	}
	for _, key := range keys {
		require.True(t, c.record(key, c.begin(), found{good, "ca"}, c.moment(standing())))
		if len(keys) > 0 && key != keys[placesOfStripe] {
			c.add(key, c.begin(), good, kept{signature: []byte{1}, id: id}, []byte{1})
			require.True(t, isReady(key), "a place was free")
			_, ok := c.reply(&key, good, id, nil)
			require.True(t, ok)
		}
	}
	last := keys[placesOfStripe]
	_, ok := c.storage.add(last, good, kept{signature: []byte{1}, id: id})
	require.True(t, ok)
	k, _ := c.storage.reply(last, good, id, nil)
	tries, takeovers := 0, 0
	for ; takeovers < 20; tries++ {
		c.keep(last, k, []byte{1})
		if !isReady(last) {
			continue
		}
		takeovers++
		for _, key := range keys[:placesOfStripe] {
			if isReady(key) {
				continue
			}
			require.True(t, c.storage.(*goCacheStorage).item(&key).used.Load(), "it was used while it was ready")
			c.invalidate(last)
			require.True(t, c.record(last, c.begin(), found{good, "ca"}, c.moment(standing())))
			_, ok := c.storage.add(last, good, kept{signature: []byte{1}, id: id})
			require.True(t, ok)
			stored, _ := c.storage.reply(key, good, id, nil)
			c.keep(key, stored, []byte{1})
			require.True(t, isReady(key))
			_, ok = c.reply(&key, good, id, nil)
			require.True(t, ok)
		}
	}
	require.Greater(t, tries, 20*placePatience/4)
	require.Less(t, tries, 20*placePatience*4)
}

// looker is a storage at whose changes what is ready must be gone already: who looks there is ahead of whoever looks into
// the storage.
type looker struct {
	storage
	c     *replyCache
	ready bool // at the last change
}

func (l *looker) look(key certKey) {
	st, tag := l.c.stripe(&key)
	_, p := st.next(0, &key, tag)
	l.ready = p != nil
}

func (l *looker) update(key certKey, h head) { l.look(key); l.storage.update(key, h) }
func (l *looker) remove(key certKey)         { l.look(key); l.storage.remove(key) }

func (l *looker) add(key certKey, status certStatus, k kept) (head, bool) {
	l.look(key)
	return l.storage.add(key, status, k)
}

func TestReadyClearedFirst(t *testing.T) {
	now := standing()
	good, revoked := certStatus{issued: true, status: Good}, certStatus{issued: true, status: Revoked}
	key, reply := newCertKey(1, []byte{5}), kept{signature: []byte{1}, id: replyID{signer: 1}}
	for name, change := range map[string]func(c *replyCache){
		"another status": func(c *replyCache) { c.record(key, c.begin(), found{revoked, "ca"}, c.moment(now)) },
		"forgotten":      func(c *replyCache) { c.forget(key, c.begin()) },
		"invalidated":    func(c *replyCache) { c.invalidate(key) },
		"another reply":  func(c *replyCache) { c.add(key, c.begin(), good, reply, []byte{2}) },
	} {
		c := newReplyCache(CacheOptions{StatusTTL: time.Hour}, standing)
		l := &looker{storage: newStorage(StorageGoCache, 4, c), c: c}
		c.storage = l
		require.True(t, c.record(key, c.begin(), found{good, "ca"}, c.moment(now)))
		c.add(key, c.begin(), good, reply, []byte{1})
		l.look(key)
		require.True(t, l.ready)
		change(c)
		change(c) // what is told the first time is not believed
		require.False(t, l.ready, name)
	}
}
