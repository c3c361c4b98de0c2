package signed

import (
	"crypto/sha256"
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
)

// compact is the store of Options.Compact. Certificates, answers and signatures are in pools, and
// refer to each other by number.
type compact[S comparable] struct {
	mu           sync.RWMutex      // locked while anything changes
	buckets      []uint32          // by hash: the first certificate, or none
	certificates pool[compactItem] // their slots are their numbers less one
	answers      pool[compactAnswer[S]]
	cells        pool[compactCell]
	seed         maphash.Seed
	clock        clock
	listed       []Answer[S] // what list returns
}

// compactItem is one certificate.
type compactItem struct {
	certificate [28]byte
	used        atomic.Uint32
	next        uint32 // of its bucket, or none
	first       uint32 // in answers, or none
}

// compactAnswer is an Answer.
type compactAnswer[S comparable] struct {
	next     uint32 // in answers, or none
	first    uint32 // in cells, or none
	encoding uint32
	size     uint32 // of the signature
	signer   uint64
	status   S
	life     Life
	digest   [sha256.Size]byte
}

// compactCell is a part of a signature. P-256 takes one cell, RSA-2048 three.
type compactCell struct {
	next uint32 // in cells, or none
	part [88]byte
}

// none is in place of a number. Pools count from 1.
const none = 0

func newCompact[S comparable](clock clock) *compact[S] {
	const most = 1 << 22 // so that no Max is too large to allocate
	buckets := make([]uint32, min(1<<bits.Len(uint(clock.max-1)), most))
	return &compact[S]{buckets: buckets, seed: maphash.MakeSeed(), clock: clock}
}

// bucket returns the place of the number of the first certificate in a bucket.
func (c *compact[S]) bucket(certificate *[28]byte) *uint32 {
	return &c.buckets[maphash.Bytes(c.seed, certificate[:])&uint64(len(c.buckets)-1)]
}

// item returns a certificate and the number of its first answer. If there is none, it returns nil
// and none.
func (c *compact[S]) item(certificate *[28]byte) (*compactItem, uint32) {
	for n := *c.bucket(certificate); n != none; {
		item := c.certificates.at(n)
		if item.certificate == *certificate {
			return item, item.first
		}
		n = item.next
	}
	return nil, none
}

func (c *compact[S]) find(id ID[S], room []byte) (Answer[S], bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for item, n := c.item(&id.Certificate); n != none; n = c.answers.at(n).next {
		a := c.answers.at(n)
		if a.encoding != id.Encoding || a.signer != id.Signer || a.status != id.Status {
			continue
		}
		if item.used.Load() == 0 {
			item.used.Store(1)
		}
		signature := c.signature(room[:0], a)
		return Answer[S]{ID: id, Life: a.life, Digest: a.digest, Signature: signature}, true
	}
	return Answer[S]{}, false
}

// signature appends the signature of an answer.
func (c *compact[S]) signature(dst []byte, a *compactAnswer[S]) []byte {
	left := int(a.size)
	for n := a.first; n != none; {
		cell := c.cells.at(n)
		part := cell.part[:min(left, len(cell.part))]
		dst, left, n = append(dst, part...), left-len(part), cell.next
	}
	return dst
}

func (c *compact[S]) list(certificate [28]byte) []Answer[S] {
	c.listed = c.listed[:0]
	for _, n := c.item(&certificate); n != none; n = c.answers.at(n).next {
		a := c.answers.at(n)
		id := ID[S]{certificate, a.encoding, a.signer, a.status}
		c.listed = append(c.listed, Answer[S]{ID: id, Life: a.life, Digest: a.digest})
	}
	return c.listed
}

func (c *compact[S]) add(a Answer[S], drop uint64, _ int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	item, _ := c.item(&a.Certificate)
	if item == nil {
		item = c.insert(&a.Certificate)
	}
	c.drop(item, drop)
	n := c.answers.take()
	answer := c.answers.at(n)
	*answer = compactAnswer[S]{
		next: item.first, encoding: a.Encoding, size: uint32(len(a.Signature)),
		signer: a.Signer, status: a.Status, life: a.Life, digest: a.Digest,
	}
	item.first = n
	link := &answer.first
	for rest := a.Signature; len(rest) > 0; {
		*link = c.cells.take()
		cell := c.cells.at(*link)
		cell.next = none
		rest = rest[copy(cell.part[:], rest):]
		link = &cell.next
	}
}

// insert adds a certificate without answers.
func (c *compact[S]) insert(certificate *[28]byte) *compactItem {
	n := 1 + uint32(c.clock.take(func(slot int) bool {
		return c.certificates.at(1+uint32(slot)).used.Swap(0) != 0
	}))
	if n > c.certificates.taken {
		c.certificates.take()
	} else {
		c.evict(n)
	}
	item, bucket := c.certificates.at(n), c.bucket(certificate)
	item.certificate, item.next = *certificate, *bucket
	*bucket = n
	return item
}

// evict drops a certificate. It may be added again at the same number.
func (c *compact[S]) evict(n uint32) {
	item := c.certificates.at(n)
	c.drop(item, ^uint64(0))
	link := c.bucket(&item.certificate)
	for *link != n {
		link = &c.certificates.at(*link).next
	}
	*link = item.next
}

// drop drops the answers about a certificate whose bits are set.
func (c *compact[S]) drop(item *compactItem, drop uint64) {
	for link := &item.first; *link != none; drop >>= 1 {
		n := *link
		a := c.answers.at(n)
		if drop&1 == 0 {
			link = &a.next
			continue
		}
		*link = a.next
		for cell := a.first; cell != none; {
			next := c.cells.at(cell).next
			c.cells.give(cell)
			cell = next
		}
		c.answers.give(n)
	}
}

const poolSegment = 1024

// pool holds numbered values, which do not move. The zero pool is empty.
type pool[T any] struct {
	segments []*[poolSegment]T
	taken    uint32
	free     []uint32
}

// take returns the number of a value that is not in use. The value is what its last use left.
func (p *pool[T]) take() uint32 {
	if n := len(p.free); n > 0 {
		number := p.free[n-1]
		p.free = p.free[:n-1]
		return number
	}
	if int(p.taken) == len(p.segments)*poolSegment {
		p.segments = append(p.segments, new([poolSegment]T))
	}
	p.taken++
	return p.taken
}

func (p *pool[T]) give(number uint32) { p.free = append(p.free, number) }

func (p *pool[T]) at(number uint32) *T {
	return &p.segments[(number-1)/poolSegment][(number-1)%poolSegment]
}
