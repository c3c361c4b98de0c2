package ocsp

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gocache "github.com/patrickmn/go-cache"
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
	// revoked whoever wrote it. With more, revocations that are not announced by Invalidate show after
	// StatusTTL at the latest, or when Changes tells of them.
	StatusTTL time.Duration

	// MaxEntries bounds the certificates that are cached; the least used give way. Zero is 100,000, which
	// take about 1 KiB each with a P-256 signer. Each holds an answer for each way to encode its CertID that
	// clients use, at most 8, and 8 more for each of Issuer.NameAliases.
	MaxEntries int

	// FailClosed answers tryLater while the store fails. Zero serves cached answers until their nextUpdate.
	FailClosed bool

	// Shared is an optional second tier. Zero is none.
	Shared Cache

	// Changes tells of changes that others make to the store, and others of those that Invalidate is called
	// for. With it, StatusTTL counts only while nothing can have changed unheard. Zero is none.
	Changes Changes
}

const (
	defaultMaxEntries = 100_000
	fenceStripes      = 4096 // a power of two
)

// replyCache keeps what is known about certificates: the status last read and the replies that attest it.
//
// Three rules keep an answer from outliving a revocation. A status read is recorded only if nothing newer was
// recorded and the certificate was not invalidated since the read began; what is recorded is trusted, or
// stands in for a failing store, only under the same condition. Replies are kept only beside the status they
// attest. And whoever is about to answer asks valid once more.
//
// "Since" is counted in ticks of a counter that moves whenever a status changes or a fence is set. Fences are
// striped over all serials, whoever issued them, so that one holds whatever becomes of the issuer meanwhile.
// Two serials that share a stripe cost each other a second look at the store.
type replyCache struct {
	ticks   atomic.Uint64
	seed    maphash.Seed
	stripes [fenceStripes]stripe

	ttl   time.Duration  // CacheOptions.StatusTTL
	lease *lease         // without which ttl is nothing; nil: it is not needed
	items *gocache.Cache // key -> *cacheEntry; used as a concurrent map, expiry is ours

	mu   sync.Mutex // guards what follows, which bounds items
	ring []string   // the keys in items; "" for a free slot
	hand int        // where the search for the next victim starts
	free []int      // slots that were freed by remove
	max  int        // 0: nothing is kept, only fences are
}

type stripe struct {
	mu     sync.Mutex    // held while an entry of the stripe changes
	fenced atomic.Uint64 // the tick of the last Invalidate
	gone   atomic.Uint64 // the tick at which an entry was last dropped otherwise, and with it what it knew
}

// raise sets a tick unless a later one is there.
func raise(to *atomic.Uint64, tick uint64) {
	for old := to.Load(); old < tick && !to.CompareAndSwap(old, tick); old = to.Load() {
	}
}

// cacheEntry is one certificate.
type cacheEntry struct {
	state atomic.Pointer[entryState]
	used  atomic.Bool // a reply was served since the hand last passed
	slot  int         // in ring, guarded by replyCache.mu
}

// entryState is replaced, never changed.
type entryState struct {
	found
	since   uint64    // the tick at which the status was recorded
	begun   uint64    // the tick at which the last read that found it began
	checked time.Time // when that was, by the responder's clock
	replies []*reply
}

func newReplyCache(opts CacheOptions) *replyCache {
	c := &replyCache{seed: maphash.MakeSeed(), ttl: opts.StatusTTL, items: gocache.New(gocache.NoExpiration, 0), max: opts.MaxEntries}
	if opts.Disabled {
		c.max = 0
	}
	if opts.Changes != nil {
		c.lease = newLease()
	}
	return c
}

// begin returns the tick to hand to record, add and valid. Take it before reading the store.
func (c *replyCache) begin() uint64 { return c.ticks.Load() }

// cacheKey names a certificate: by its authority's prefix, which ends with the one slash in it, and its serial.
func cacheKey(prefix string, serial []byte) string { return prefix + string(serial) }

// stripe returns the stripe of a certificate's serial.
func (c *replyCache) stripe(key string) *stripe {
	return &c.stripes[maphash.String(c.seed, key[strings.IndexByte(key, '/')+1:])&(fenceStripes-1)]
}

// entry returns the certificate's entry, nil if there is none.
func (c *replyCache) entry(key string) *cacheEntry {
	item, ok := c.items.Get(key)
	if !ok {
		return nil
	}
	return item.(*cacheEntry)
}

// valid reports whether what was read since the tick may still be answered.
func (c *replyCache) valid(key string, begun uint64, status certStatus) bool {
	st := c.stripe(key)
	if st.fenced.Load() > begun {
		return false
	}
	if e := c.entry(key); e != nil {
		s := e.state.Load()
		return s.status == status || s.since <= begun
	}
	return !status.issued || c.max == 0 || st.gone.Load() <= begun
}

// current returns what is known about a certificate and has not been invalidated since it was read, nil for
// nothing.
func (c *replyCache) current(key string) *entryState {
	e := c.entry(key)
	if e == nil {
		return nil
	}
	s := e.state.Load()
	if c.stripe(key).fenced.Load() > s.begun {
		return nil
	}
	return s
}

// record notes a status that was read from the store. It reports false if the read has been overtaken, and
// then the caller must read again.
func (c *replyCache) record(key string, begun uint64, f found, now time.Time) bool {
	st := c.stripe(key)
	if s := c.current(key); s != nil && c.ttl == 0 && s.found == f {
		return st.fenced.Load() <= begun // nothing to note
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.fenced.Load() > begun {
		return false
	}
	e := c.entry(key)
	if e == nil {
		if c.max == 0 {
			return true
		}
		if st.gone.Load() > begun {
			return false
		}
		e = &cacheEntry{}
		e.state.Store(&entryState{found: f, since: c.ticks.Add(1), begun: begun, checked: now})
		c.insert(key, e)
		return true
	}
	old := e.state.Load()
	if old.found == f {
		if begun > old.begun || now.After(old.checked) {
			e.state.Store(&entryState{found: f, since: old.since, begun: max(begun, old.begun), checked: now, replies: old.replies})
		}
		return true
	}
	if old.since > begun {
		return false
	}
	e.state.Store(&entryState{found: f, since: c.ticks.Add(1), begun: begun, checked: now})
	return true
}

// forget drops a certificate that the store does not know any more. It reports false like record.
func (c *replyCache) forget(key string, begun uint64) bool {
	st := c.stripe(key)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.fenced.Load() > begun {
		return false
	}
	if e := c.entry(key); e != nil {
		if e.state.Load().since > begun {
			return false
		}
		c.remove(key, e)
		raise(&st.gone, c.ticks.Add(1))
	}
	return true
}

// add keeps a reply if its status still stands. Replies that it makes useless go: those with the same identity,
// and those of other signers. So there are no more than the authority has encodings.
func (c *replyCache) add(key string, begun uint64, p *reply) {
	st := c.stripe(key)
	st.mu.Lock()
	defer st.mu.Unlock()
	e := c.entry(key)
	if e == nil || st.fenced.Load() > begun {
		return
	}
	old := e.state.Load()
	newer := func(q *reply) bool { return q.id.signer > p.id.signer }
	if old.status != p.status || slices.ContainsFunc(old.replies, newer) {
		return
	}
	replies := make([]*reply, 0, len(old.replies)+1)
	for _, q := range old.replies {
		if q.id != p.id && q.id.signer == p.id.signer {
			replies = append(replies, q)
		}
	}
	e.state.Store(&entryState{found: old.found, since: old.since, begun: old.begun, checked: old.checked, replies: append(replies, p)})
}

// invalidate drops a certificate and fences off whatever is being made of earlier reads.
func (c *replyCache) invalidate(key string) {
	st := c.stripe(key)
	st.mu.Lock()
	defer st.mu.Unlock()
	raise(&st.fenced, c.ticks.Add(1))
	if e := c.entry(key); e != nil {
		c.remove(key, e)
	}
}

// fence makes whatever was read about a certificate be read again. Replies stay, for the case that it says the same.
func (c *replyCache) fence(key string) { raise(&c.stripe(key).fenced, c.ticks.Add(1)) }

// insert puts a new entry into a free slot of the ring, or into that of the first entry the hand meets which
// was not used since it last passed.
func (c *replyCache) insert(key string, e *cacheEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch n := len(c.free); {
	case n > 0:
		e.slot, c.free = c.free[n-1], c.free[:n-1]
	case len(c.ring) < c.max:
		e.slot, c.ring = len(c.ring), append(c.ring, "")
	default:
		e.slot = c.evict()
	}
	c.ring[e.slot] = key
	c.items.Set(key, e, gocache.NoExpiration)
}

// evict frees a slot. Every slot is taken when it is called.
func (c *replyCache) evict() int {
	for {
		slot := c.hand
		c.hand = (c.hand + 1) % len(c.ring)
		item, _ := c.items.Get(c.ring[slot])
		if e := item.(*cacheEntry); e.used.Load() {
			e.used.Store(false)
			continue
		}
		raise(&c.stripe(c.ring[slot]).gone, c.ticks.Add(1))
		c.items.Delete(c.ring[slot])
		return slot
	}
}

func (c *replyCache) remove(key string, e *cacheEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if item, ok := c.items.Get(key); !ok || item != any(e) {
		return // evicted in the meantime
	}
	c.items.Delete(key)
	c.ring[e.slot] = ""
	c.free = append(c.free, e.slot)
}

// trusts reports whether a status need not be read again: it was read less than ttl ago, and no change since
// can have gone unheard.
func (c *replyCache) trusts(s *entryState, now time.Time) bool {
	age := now.Sub(s.checked)
	return age >= 0 && age < c.ttl && c.lease.holds(s.begun)
}

// find returns the reply to serve: the one with that identity that attests the certificate's status, nil if
// there is none.
func (c *replyCache) find(key string, status certStatus, id replyID) *reply {
	e := c.entry(key)
	if e == nil {
		return nil
	}
	s := e.state.Load()
	if s.status != status {
		return nil
	}
	p := s.find(id)
	if p != nil && !e.used.Load() {
		e.used.Store(true)
	}
	return p
}

// find returns the reply with that identity, nil if there is none.
func (s *entryState) find(id replyID) *reply {
	for _, p := range s.replies {
		if p.id == id {
			return p
		}
	}
	return nil
}
