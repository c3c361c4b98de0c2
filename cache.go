package ocsp

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// ErrCacheMiss is what Cache.Get returns for a key that is not there.
var ErrCacheMiss = errors.New("ocsp: cache miss")

// Cache is a second tier behind the cache in the process, usually shared by replicas. It saves signatures and
// nothing else: what it returns is verified, and certificate states never come from it, so a cache that is
// slow, down or poisoned costs speed and no more.
//
// Keys consist of letters and digits and have at most 80 octets; values are opaque. Implementations must be
// safe for concurrent use, should honour ctx, and must keep neither key nor value after they return.
type Cache interface {
	// Get returns the value under key, or ErrCacheMiss.
	Get(ctx context.Context, key string) ([]byte, error)
	// Put stores value under key for at most ttl, replacing what is there.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Delete removes the keys. Deleting what is absent is success.
	Delete(ctx context.Context, keys ...string) error
}

// CacheOptions are the options for caching signed answers.
type CacheOptions struct {
	// Disabled makes every answer signed anew. Zero caches.
	Disabled bool

	// StatusTTL is how long a status read from the store is trusted. Zero reads the store for every answer,
	// which signs nothing unless the status changed, so that the very next answer after a revocation says
	// revoked whoever wrote it. A status that is not the one known is read a second time. With more than zero,
	// revocations that are not announced by Invalidate show after StatusTTL at the latest, or when Changes tells
	// of them.
	//
	// The time since the read is the longer one of what Config.Now and the monotonic clock say, so that no trust
	// outlives the suspension of the machine, or is prolonged by a clock that is set back. What is signed about a
	// status has the thisUpdate of its read. What would be past its refresh point needs a newer read, however long
	// StatusTTL is: every renewal reads the store. While the store fails, the answer to be renewed stands in until
	// its nextUpdate, unless FailClosed is set.
	StatusTTL time.Duration

	// MaxEntries bounds the certificates that are cached; the least used give way. Zero is 100,000. Each holds a
	// signature for each way to encode its CertID that clients use, at most 8, and 8 more for each of
	// Issuer.NameAliases. docs/PERFORMANCE.md has the memory that they take.
	MaxEntries int

	// Storage is where they are kept. Zero is StorageGoCache.
	Storage Storage

	// FailClosed answers tryLater while the store is silent or fails, after Config.Timeout at the latest. Zero
	// serves cached answers until their nextUpdate.
	FailClosed bool

	// StorePatience is how long a store may leave everybody without an answer before it is silent: from then
	// on, until it answers again, cached answers stand in for what it would say, up to their nextUpdate, as
	// they do for an error of a store that has answered nobody for that long. While it is silent each request
	// still asks it, and waits for a tenth of a second. Requests that find no cached answer wait for
	// Config.Timeout.
	//
	// It counts while a call waits that did not have to wait for its turn (see Config.MaxStoreCalls), and
	// begins again with each answer, whomever it is for: a store that answers others is busy, and then no
	// cached answer stands in. A lookup slower than StorePatience is taken for silence when nothing else
	// returns, so it should be longer than the slowest lookup of a healthy store, and shorter than the store's
	// own timeouts, which say that the store is busy unless it is silent. An error is such a timeout if it is
	// context.DeadlineExceeded or has a method Timeout that returns true.
	//
	// A store that hangs again soon after an answer may count as busy while requests come, if StorePatience is above
	// an eighth of Config.Timeout: calls that run out of time begin it again.
	//
	// At most Config.Timeout, of which it counts as three quarters at the most. Zero is 1 s. It contradicts FailClosed and Disabled.
	StorePatience time.Duration

	// Shared is an optional second tier. Zero is none.
	Shared Cache

	// Changes tells of changes that others make to the store, and others of those that Invalidate is called
	// for. With it, StatusTTL counts only while nothing can have changed unheard. Zero is none.
	Changes Changes
}

const (
	defaultMaxEntries = 100_000
	fenceStripes      = 4096 // a power of two
	doubted           = 0    // as head.begun: it is to be read again. Ticks are later
)

// replyCache keeps what is known about certificates: the status last read and the replies that attest it.
//
// Three rules keep an answer from outliving a revocation. A status read is recorded only if nothing newer was
// recorded and the certificate was not invalidated since the read began; who invalidates a certificate first drops what is
// recorded, or puts it in doubt, and then it is neither trusted nor stands in for a failing store. Replies are kept
// only beside the status they attest. And whoever is about to answer asks valid once more.
//
// "Since" is counted in ticks of a counter that moves whenever a status changes, is in doubt, or a fence is set. Fences are
// striped over all serials, whoever issued them, so that one holds whatever becomes of the issuer meanwhile.
// Two serials that share a stripe cost each other a second look at the store, if they are asked about at that moment.
//
// A stripe also has places for replies that are ready to be sent, in front of the storage.
type replyCache struct {
	ticks   atomic.Uint64
	seed    maphash.Seed
	stripes *[fenceStripes]stripe // by itself in memory, so that each is one line of a processor's cache

	now     func() time.Time
	base    time.Time            // what moment.wall counts from
	steady  func() time.Duration // the monotonic clock, since base
	ttl     time.Duration        // CacheOptions.StatusTTL
	lease   *lease               // without which ttl is nothing; nil: it is not needed
	storage storage              // nil: nothing is kept, only fences are
}

type stripe struct {
	mu     sync.Mutex    // held while an entry of the stripe changes
	fenced atomic.Uint64 // the tick of the last fence
	gone   atomic.Uint64 // the tick at which an entry was last dropped otherwise, and with it what it knew
	places
}

// raise sets a tick unless a later one is there.
func raise(to *atomic.Uint64, tick uint64) {
	for old := to.Load(); old < tick && !to.CompareAndSwap(old, tick); old = to.Load() {
	}
}

func newReplyCache(opts CacheOptions, now func() time.Time) *replyCache {
	c := &replyCache{seed: maphash.MakeSeed(), stripes: new([fenceStripes]stripe), now: now, base: now().Round(0), ttl: opts.StatusTTL}
	begin := time.Now()
	c.steady = func() time.Duration { return time.Since(begin) }
	c.ticks.Store(doubted + 1)
	if !opts.Disabled {
		c.storage = newStorage(opts.Storage, opts.MaxEntries, c)
	}
	if opts.Changes != nil {
		c.lease = &lease{}
	}
	return c
}

// moment is a point in time by two clocks. Neither alone counts how long a status is trusted: the responder's clock
// may be set back, and the monotonic one stands still while the machine is suspended.
type moment struct {
	wall, steady time.Duration // since replyCache.base: by the responder's clock, and by the monotonic one
}

// moment returns the present, which is now by the responder's clock. Without a StatusTTL nothing is trusted, and the
// monotonic clock is not read.
func (c *replyCache) moment(now time.Time) moment {
	m := moment{wall: now.Round(0).Sub(c.base)}
	if c.ttl > 0 {
		m.steady = c.steady()
	}
	return m
}

// within reports whether less than limit has passed since then, by either clock. After the responder's clock was set
// back to before then, nobody knows.
func (m moment) within(limit time.Duration, then moment) bool {
	wall := m.wall - then.wall
	return wall >= 0 && max(wall, m.steady-then.steady) < limit
}

// second returns a moment as an answer gives it, in seconds since 1970.
func (c *replyCache) second(m moment) int64 { return c.base.Add(m.wall).Unix() }

// begin returns the tick to hand to record, add and valid. Take it before reading the store.
func (c *replyCache) begin() uint64 { return c.ticks.Load() }

// stripe returns the stripe of a certificate's serial, and what tells the serial from most others of the stripe.
func (c *replyCache) stripe(key *certKey) (st *stripe, tag uint8) {
	hash := maphash.Bytes(c.seed, key.serial())
	return &c.stripes[hash%fenceStripes], uint8(hash >> 56)
}

// used implements owner.
func (c *replyCache) used(key certKey) (used bool) {
	st, tag := c.stripe(&key)
	for place, p := st.next(0, &key, tag); p != nil; place, p = st.next(place+1, &key, tag) {
		used = p.used.Swap(false) || used
	}
	return used
}

// evicting implements owner.
func (c *replyCache) evicting(key certKey) {
	st, _ := c.stripe(&key)
	st.places.evicting.Add(1)
	raise(&st.gone, c.ticks.Add(1))
}

// evicted implements owner.
func (c *replyCache) evicted(key certKey) {
	st, tag := c.stripe(&key)
	st.clear(&key, tag)
	st.places.evicting.Add(-1)
}

// alive implements owner.
func (c *replyCache) alive(w window) bool { return w.alive(c.now()) }

// place makes a reply ready. The stripe is locked, which does not keep the certificate from being evicted meanwhile.
func (c *replyCache) place(st *stripe, p *ready, tag uint8) {
	if taken := st.put(p, tag); taken != nil && taken.used.Load() {
		c.storage.use(taken.key)
	}
	if _, ok := c.storage.head(p.key); !ok {
		st.clear(&p.key, tag)
	}
}

// unplace takes away what is ready for a certificate. The stripe is locked.
func (c *replyCache) unplace(st *stripe, key *certKey, tag uint8) {
	if st.clear(key, tag) {
		c.storage.use(*key)
	}
}

// head returns what is recorded about a certificate.
func (c *replyCache) head(key certKey) (head, bool) {
	if c.storage == nil {
		return head{}, false
	}
	return c.storage.head(key)
}

// valid reports whether what was read since the tick may still be answered.
func (c *replyCache) valid(key *certKey, begun uint64, status *certStatus) bool {
	if c.ticks.Load() == begun { // nothing at all has happened since
		return true
	}
	st, _ := c.stripe(key)
	if st.fenced.Load() > begun {
		return false
	}
	if h, ok := c.head(*key); ok {
		return h.status == *status && h.since <= begun
	}
	return c.storage == nil || st.gone.Load() <= begun
}

// current returns what is known about a certificate, and whether it is not in doubt.
func (c *replyCache) current(key *certKey) (head, bool) {
	st, tag := c.stripe(key)
	h, ok := head{}, false
	if p := st.look(key, tag); p != nil {
		h, ok = p.head, true
	} else {
		h, ok = c.head(*key)
	}
	return h, ok && h.begun != doubted
}

// record notes a status that was read from the store, in a read that began with that tick, at that moment. It reports
// false if the read has been overtaken, and then the caller must read again.
//
// So it does once for each change: a slow read may find what a later one, which found what is known, saw undone, and that
// one has left no trace. Reads that begin once what is known is in doubt leave one.
func (c *replyCache) record(key certKey, begun uint64, f found, at moment) bool {
	st, tag := c.stripe(&key)
	if c.ttl == 0 {
		if h, ok := c.current(&key); ok && h.found == f {
			return max(st.fenced.Load(), h.since) <= begun // nothing to note
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.fenced.Load() > begun {
		return false
	}
	if c.storage == nil {
		return true
	}
	next := head{found: f, begun: begun, checked: at} // and never in doubt
	old, ok := c.head(key)
	switch {
	case ok && old.since > begun, !ok && st.gone.Load() > begun:
		return false
	case !ok:
		c.ticks.Add(1)
		st.clear(&key, tag)
		c.storage.insert(key, next)
	case old.found == f:
		if begun > old.begun || at.steady >= old.checked.steady {
			next.since, next.begun = old.since, max(begun, old.begun)
			c.update(st, key, next)
			st.renew(&key, tag, next)
		}
	case old.begun != doubted:
		c.suspect(st, key, tag, old)
		return false
	default:
		c.ticks.Add(1)
		next.since = old.since
		c.unplace(st, &key, tag)
		c.update(st, key, next)
	}
	return true
}

// update changes what is known about a certificate. The stripe is locked. If the certificate gives way meanwhile, no read from
// before may be recorded as if nothing had been known.
func (c *replyCache) update(st *stripe, key certKey, h head) {
	c.storage.update(key, h)
	if _, ok := c.storage.head(key); !ok {
		raise(&st.gone, c.ticks.Add(1))
	}
}

// forget drops a certificate that the store does not know any more. It reports false like record.
func (c *replyCache) forget(key certKey, begun uint64) bool {
	st, tag := c.stripe(&key)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.fenced.Load() > begun {
		return false
	}
	h, ok := c.head(key)
	if ok && h.since > begun || !ok && st.gone.Load() > begun {
		return false
	}
	if ok {
		if h.begun != doubted {
			c.suspect(st, key, tag, h)
			return false
		}
		c.drop(st, key, tag, h)
		raise(&st.gone, c.ticks.Add(1))
	}
	return true
}

// distrust is told that what the store says about a certificate cannot be read: it may be something else than what is known,
// or than what a read under way has found. All that is kept of a certificate of which nothing is known is the doubt.
func (c *replyCache) distrust(key certKey) {
	st, tag := c.stripe(&key)
	st.mu.Lock()
	defer st.mu.Unlock()
	if h, ok := c.head(key); ok {
		c.suspect(st, key, tag, h)
	} else if c.storage != nil {
		c.storage.insert(key, head{begun: doubted, since: c.ticks.Add(1)})
		if _, ok := c.storage.head(key); !ok {
			raise(&st.gone, c.ticks.Add(1))
		}
	}
}

// lastFence returns the tick of the last fence or doubt that a certificate is behind.
func (c *replyCache) lastFence(key *certKey) uint64 {
	st, _ := c.stripe(key)
	h, _ := c.head(*key)
	return max(st.fenced.Load(), h.since)
}

// add keeps a reply that attests a status, if that still stands and no newer one is there, and returns it as it is sent.
// There are no more for a certificate than its authority has encodings.
func (c *replyCache) add(key certKey, begun uint64, status certStatus, k kept, der []byte) kept {
	st, tag := c.stripe(&key)
	st.mu.Lock()
	defer st.mu.Unlock()
	var h head
	added, used := false, false
	if old, _ := c.head(key); c.storage != nil && max(st.fenced.Load(), old.since) <= begun {
		used = st.supersede(&key, tag, k.id, c.alive)
		h, added = c.storage.add(key, status, k)
	}
	k.ready = newReady(key, h, k, der)
	switch {
	case added && !st.crowded():
		k.ready.used.Store(used)
		c.place(st, k.ready, tag)
	case used:
		c.storage.use(key)
	}
	return k
}

// keep makes a reply of the storage ready, if there is a place for it and it is not overtaken. If so, der is copied.
func (c *replyCache) keep(key certKey, k kept, der []byte) {
	st, tag := c.stripe(&key)
	if c.storage == nil || st.crowded() {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	h, ok := c.storage.head(key)
	if !ok {
		return
	}
	if stored, ok := c.storage.reply(key, h.status, k.id, nil); ok && stored.digest == k.digest {
		p := newReady(key, h, k, bytes.Clone(der))
		p.used.Store(st.supersede(&key, tag, k.id, c.alive))
		c.place(st, p, tag)
	}
}

// invalidate drops a certificate and fences off whatever is being made of earlier reads.
func (c *replyCache) invalidate(key certKey) {
	st, tag := c.stripe(&key)
	st.mu.Lock()
	defer st.mu.Unlock()
	if c.storage != nil {
		h, _ := c.head(key)
		c.drop(st, key, tag, h)
	}
	c.fence(st)
}

// doubt makes what was read about a certificate be read again. Replies stay, for the case that the store says the same.
func (c *replyCache) doubt(key certKey) {
	st, tag := c.stripe(&key)
	st.mu.Lock()
	defer st.mu.Unlock()
	if h, ok := c.head(key); ok {
		c.suspect(st, key, tag, h)
	}
	c.fence(st)
}

// suspect puts what is known about a certificate in doubt, and stops what is being made of earlier reads about it. The stripe is
// locked. In this order: who still saw it trusted has an earlier tick than the doubt.
func (c *replyCache) suspect(st *stripe, key certKey, tag uint8, h head) {
	h.begun, h.since = doubted, math.MaxUint64
	c.update(st, key, h)
	st.renew(&key, tag, h)
	h.since = c.ticks.Add(1)
	c.update(st, key, h)
	st.renew(&key, tag, h)
}

// drop removes a certificate from the storage, but first hands its last doubt on to the stripe: there is no moment at which
// neither has it. The stripe is locked.
func (c *replyCache) drop(st *stripe, key certKey, tag uint8, h head) {
	raise(&st.gone, h.since)
	st.clear(&key, tag)
	c.storage.remove(key)
}

// fence stops what is being made of earlier reads about the serials of a stripe, which is locked. What is known about the
// certificate at fault is gone by then, so who still saw it has an earlier tick.
func (c *replyCache) fence(st *stripe) { raise(&st.fenced, c.ticks.Add(1)) }

// trusts reports whether a status need not be read again: it was read less than ttl ago, and no change since
// can have gone unheard.
func (c *replyCache) trusts(h *head, now moment) bool {
	return now.within(c.ttl, h.checked) && c.lease.holds(h.begun, now)
}

// reply returns the reply to serve: the one with that identity that attests the certificate's status. Its signature
// may be in room.
func (c *replyCache) reply(key *certKey, status certStatus, id replyID, room []byte) (kept, bool) {
	if c.storage == nil {
		return kept{}, false
	}
	st, tag := c.stripe(key)
	if p := st.find(key, tag, id); p != nil && p.status == status {
		if !p.used.Load() {
			p.used.Store(true)
		}
		return p.kept(), true
	}
	return c.storage.reply(*key, status, id, room)
}
