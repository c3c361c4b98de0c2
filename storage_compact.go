package ocsp

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
)

// compactStorage is StorageCompact. Certificates, replies and signatures are in pools, of values without pointers,
// and refer to each other by number.
type compactStorage struct {
	owner owner

	mu      sync.RWMutex
	slots   map[certKey]uint32 // -> items
	items   pool[compactItem]
	replies pool[compactReply]
	cells   pool[compactCell]
	clock   clock // its slots are those of items

	ids     []string // issuer IDs, by number
	numbers map[string]uint32
}

// compactItem is one certificate.
type compactItem struct {
	key                               certKey
	used                              atomic.Uint32
	issuer                            uint32 // in ids
	first                             uint32 // in replies, or none
	status                            Status
	reason                            Reason
	issued                            bool
	revokedAt, invalidityDate, expiry int64
	since, begun                      uint64
	checked                           moment
}

// compactReply is a kept.
type compactReply struct {
	next     uint32 // in replies, or none
	first    uint32 // in cells
	encoding uint32
	size     uint32 // of the signature
	signer   uint64
	digest   [sha256.Size]byte
	window
}

// compactCell is a part of a signature. One of P-256 takes one, one of RSA-2048 three.
type compactCell struct {
	next uint32 // in cells, or none
	part [92]byte
}

// none is in place of a number. Pools count from 1.
const none = 0

func newCompactStorage(max int, owner owner) *compactStorage {
	return &compactStorage{owner: owner, slots: map[certKey]uint32{}, clock: clock{max: max}, numbers: map[string]uint32{}}
}

// item returns a certificate, nil if it is not there.
func (s *compactStorage) item(key *certKey) *compactItem {
	slot, ok := s.slots[*key]
	if !ok {
		return nil
	}
	return s.items.at(slot)
}

func (s *compactStorage) head(key certKey) (head, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	item := s.item(&key)
	if item == nil {
		return head{}, false
	}
	return s.known(item), true
}

// known is what is known about a certificate, its replies apart.
func (s *compactStorage) known(item *compactItem) head {
	return head{found: found{item.certStatus(), s.ids[item.issuer]}, since: item.since, begun: item.begun, checked: item.checked}
}

func (c *compactItem) certStatus() certStatus {
	return certStatus{
		status: c.status, reason: c.reason, issued: c.issued,
		revokedAt: c.revokedAt, invalidityDate: c.invalidityDate, notAfter: c.expiry,
	}
}

func (s *compactStorage) reply(key certKey, status certStatus, id replyID, room []byte) (kept, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	item := s.item(&key)
	if item == nil || item.certStatus() != status {
		return kept{}, false
	}
	for n := item.first; n != none; {
		reply := s.replies.at(n)
		if reply.id() != id {
			n = reply.next
			continue
		}
		item.use()
		return kept{signature: s.signature(room, reply), digest: reply.digest, id: id, window: reply.window}, true
	}
	return kept{}, false
}

func (c *compactReply) id() replyID { return replyID{signer: c.signer, encoding: int(c.encoding)} }

// signature appends a reply's signature.
func (s *compactStorage) signature(dst []byte, reply *compactReply) []byte {
	left := int(reply.size)
	for n := reply.first; left > 0; {
		cell := s.cells.at(n)
		part := cell.part[:min(left, len(cell.part))]
		dst, left, n = append(dst, part...), left-len(part), cell.next
	}
	return dst
}

func (s *compactStorage) use(key certKey) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if item := s.item(&key); item != nil {
		item.use()
	}
}

func (c *compactItem) use() {
	if c.used.Load() == 0 {
		c.used.Store(1)
	}
}

func (s *compactStorage) insert(key certKey, h head) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := s.clock.take(
		func(slot int) bool {
			item := s.items.at(number(slot))
			used := item.used.Swap(0) != 0
			return s.owner.used(item.key) || used
		},
		func(slot int) {
			item := s.items.at(number(slot))
			s.owner.evicting(item.key)
			s.empty(item)
			s.owner.evicted(item.key)
		})
	n := number(slot)
	if int(n) > s.items.count() {
		s.items.take()
	}
	item := s.items.at(n)
	item.key, item.first = key, none
	item.used.Store(0)
	s.set(item, h)
	s.slots[key] = n
}

// number is that of the item in a slot of the clock.
func number(slot int) uint32 { return uint32(slot) + 1 }

// set writes what is known about a certificate, its replies apart.
func (s *compactStorage) set(item *compactItem, h head) {
	n, ok := s.numbers[h.issuerID]
	if !ok {
		n = uint32(len(s.ids))
		s.ids = append(s.ids, h.issuerID)
		s.numbers[h.issuerID] = n
	}
	item.issuer, item.since, item.begun, item.checked = n, h.since, h.begun, h.checked
	item.status, item.reason, item.issued = h.status.status, h.status.reason, h.status.issued
	item.revokedAt, item.invalidityDate, item.expiry = h.status.revokedAt, h.status.invalidityDate, h.status.notAfter
}

func (s *compactStorage) update(key certKey, h head) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item := s.item(&key)
	if item == nil {
		return
	}
	if item.certStatus() != h.status {
		s.drop(item, func(*compactReply) bool { return true })
	}
	s.set(item, h)
}

func (s *compactStorage) add(key certKey, status certStatus, k kept) (head, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item := s.item(&key)
	if item == nil || item.certStatus() != status {
		return head{}, false
	}
	for n := item.first; n != none; n = s.replies.at(n).next {
		old := s.replies.at(n)
		if (old.signer > k.id.signer || old.id() == k.id && old.thisUpdate > k.thisUpdate) && s.owner.alive(old.window) {
			return head{}, false
		}
	}
	s.drop(item, func(r *compactReply) bool { return r.signer != k.id.signer || r.id() == k.id })
	n := s.replies.take()
	*s.replies.at(n) = compactReply{
		next: item.first, encoding: uint32(k.id.encoding), size: uint32(len(k.signature)), signer: k.id.signer, digest: k.digest, window: k.window,
	}
	item.first = n
	link := &s.replies.at(n).first
	for rest := k.signature; len(rest) > 0; {
		*link = s.cells.take()
		cell := s.cells.at(*link)
		cell.next = none
		rest = rest[copy(cell.part[:], rest):]
		link = &cell.next
	}
	return s.known(item), true
}

// drop gives back a certificate's replies for which useless reports true.
func (s *compactStorage) drop(item *compactItem, useless func(*compactReply) bool) {
	for link := &item.first; *link != none; {
		n := *link
		reply := s.replies.at(n)
		if !useless(reply) {
			link = &reply.next
			continue
		}
		*link = reply.next
		for c := reply.first; c != none; {
			next := s.cells.at(c).next
			s.cells.give(c)
			c = next
		}
		s.replies.give(n)
	}
}

// empty takes a certificate out of its slot.
func (s *compactStorage) empty(item *compactItem) {
	delete(s.slots, item.key)
	s.drop(item, func(*compactReply) bool { return true })
}

func (s *compactStorage) remove(key certKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.slots[key]; ok {
		s.empty(s.items.at(n))
		s.clock.give(int(n) - 1)
	}
}

const poolSegment = 1024

// pool hands out numbered values, which do not move. The zero pool is empty.
type pool[T any] struct {
	segments []*[poolSegment]T
	taken    uint32
	free     []uint32
}

// count returns how many values there are, in use or given back.
func (p *pool[T]) count() int { return int(p.taken) }

// take returns the number of a value that is not in use. What is in it is left from its last use.
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
