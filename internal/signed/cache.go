package signed

import (
	"math/bits"
	"sync/atomic"
	"time"

	gocache "github.com/patrickmn/go-cache"
)

// cache is the default store: a map with expiry. Nothing scans it for expired items, since that
// would hold its lock. The clock reuses their slots.
type cache[S comparable] struct {
	items *gocache.Cache // string(certificate) -> *cacheItem[S]
	clock clock
	slots [][28]byte // the certificate that was last put in each slot
}

// cacheItem is one certificate. All but used is immutable.
type cacheItem[S comparable] struct {
	answers []Answer[S]
	slot    int32
	used    atomic.Bool
}

func newCache[S comparable](clock clock) *cache[S] {
	return &cache[S]{items: gocache.New(gocache.NoExpiration, 0), clock: clock}
}

// item returns a certificate, nil if there is none or it has expired.
func (c *cache[S]) item(certificate *[28]byte) *cacheItem[S] {
	item, _ := c.items.Get(string(certificate[:]))
	i, _ := item.(*cacheItem[S])
	return i
}

func (c *cache[S]) find(id ID[S], _ []byte) (Answer[S], bool) {
	if item := c.item(&id.Certificate); item != nil {
		for i := range item.answers {
			if a := &item.answers[i]; a.ID == id {
				if !item.used.Load() {
					item.used.Store(true)
				}
				return *a, true
			}
		}
	}
	return Answer[S]{}, false
}

func (c *cache[S]) list(certificate [28]byte) []Answer[S] {
	if item := c.item(&certificate); item != nil {
		return item.answers
	}
	return nil
}

func (c *cache[S]) add(a Answer[S], drop uint64, left int64) {
	key := string(a.Certificate[:])
	item := &cacheItem[S]{}
	var expires time.Time
	if old := c.item(&a.Certificate); old != nil {
		item.slot = old.slot
		item.used.Store(old.used.Load())
		_, expires, _ = c.items.GetWithExpiration(key)
		item.answers = make([]Answer[S], 1, 1+len(old.answers)-bits.OnesCount64(drop))
		for i := range old.answers {
			if drop>>i&1 == 0 {
				item.answers = append(item.answers, old.answers[i])
			}
		}
	} else {
		item.slot = c.slot(&a.Certificate)
		item.answers = make([]Answer[S], 1)
	}
	item.answers[0] = a
	// The item expires when the last of its answers does.
	const longest = 100 * 365 * 24 * 3600 // what go-cache can count
	c.items.Set(key, item, max(time.Duration(min(left, longest))*time.Second, time.Until(expires), 1))
}

// slot returns a slot for a new certificate.
func (c *cache[S]) slot(certificate *[28]byte) int32 {
	slot := c.clock.take(func(slot int) bool {
		item := c.item(&c.slots[slot])
		return item != nil && item.slot == int32(slot) && item.used.Swap(false)
	})
	if slot == len(c.slots) {
		c.slots = append(c.slots, *certificate)
		return int32(slot)
	}
	// An expired certificate that was added again has another slot than this one.
	if item := c.item(&c.slots[slot]); item == nil || item.slot == int32(slot) {
		c.items.Delete(string(c.slots[slot][:]))
	}
	c.slots[slot] = *certificate
	return int32(slot)
}
