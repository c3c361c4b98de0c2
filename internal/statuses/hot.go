package statuses

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// hot is what is attached to a certificate, with a copy of its entry, so that a look needs no lock.
// It is in the list of its stripe exactly as long as the entry is there and has that status.
type hot[S comparable, H any] struct {
	key    Key
	status S
	value  *H
	next   atomic.Pointer[hot[S, H]] // in the stripe
	used   atomic.Uint32             // since the set, and evict, last passed

	// The rest of the entry. It is changed with the stripe locked, while version is odd.
	version      atomic.Uint32
	lease        atomic.Uint32
	wall, steady atomic.Int64

	index int // in the set
}

const entryUsed, hotUsed uint32 = 1, 2

func (h *hot[S, H]) use() {
	if h.used.Load() != entryUsed|hotUsed {
		h.used.Store(entryUsed | hotUsed)
	}
}

// confirm copies what a read changed in the entry. The stripe is locked.
func (h *hot[S, H]) confirm(at Moment, lease uint32) {
	h.version.Add(1)
	h.wall.Store(int64(at.Wall))
	h.steady.Store(int64(at.Steady))
	h.lease.Store(lease)
	h.version.Add(1)
}

// read returns when the last read that returned the status began, and its lease. It reports false
// if confirm came between.
func (h *hot[S, H]) read() (at Moment, lease uint32, ok bool) {
	version := h.version.Load()
	at = Moment{Wall: time.Duration(h.wall.Load()), Steady: time.Duration(h.steady.Load())}
	lease = h.lease.Load()
	return at, lease, version%2 == 0 && h.version.Load() == version
}

// attached returns what is attached to a certificate, or nil. It needs no lock: what is removed
// from the list still leads to what follows.
func (st *stripe[S, H]) attached(key *Key) *hot[S, H] {
	h := st.hot.Load()
	for h != nil && h.key != *key {
		h = h.next.Load()
	}
	return h
}

// hotSet is all that is attached. A stripe may be locked while the set is, but not the other way
// round.
type hotSet[S comparable, H any] struct {
	max   int
	count atomic.Int64

	mu     sync.Mutex
	list   []*hot[S, H]
	cursor int
}

func (s *hotSet[S, H]) full() bool { return s.count.Load() >= int64(s.max) }

func (s *hotSet[S, H]) add(h *hot[S, H]) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full() {
		return false
	}
	h.index = len(s.list)
	s.list = append(s.list, h)
	s.count.Add(1)
	return true
}

func (s *hotSet[S, H]) remove(h *hot[S, H]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.list) - 1
	s.list[h.index], s.list[last].index = s.list[last], h.index
	s.list[last] = nil
	s.list = s.list[:last]
	s.count.Add(-1)
}

// unused returns one that was not used since the cursor last passed, or nil if the next few were.
func (s *hotSet[S, H]) unused() *hot[S, H] {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range min(len(s.list), 64) {
		s.cursor = (s.cursor + 1) % len(s.list)
		if h := s.list[s.cursor]; h.used.And(^hotUsed)&hotUsed == 0 {
			return h
		}
	}
	return nil
}

// HasRoom reports whether something should be attached to the certificate of a look: nothing is, and
// fewer than Options.Hot are attached to all. Otherwise it is true for one call of 64, and makes
// room by detaching something that was not used lately. Certificates that are seldom asked for
// therefore do not displace each other.
func (m *Memory[S, H]) HasRoom(l *Look[S, H]) bool {
	attached, full := l.stripe.attached(&l.key) != nil, m.hot.full()
	if !attached && !full {
		return true
	}
	if m.hot.max <= 0 || rand.Uint32N(64) != 0 {
		return false
	}
	if old := m.hot.unused(); old != nil && !attached {
		st := m.stripe(&old.key)
		st.mu.Lock()
		defer st.mu.Unlock()
		m.detach(st, &old.key)
	}
	return true
}

// Attach attaches h to a certificate, and replaces what was attached before, if its status is still
// that of the look and Options.Hot allows it. It stays until the status changes or the entry is
// removed.
func (m *Memory[S, H]) Attach(l *Look[S, H], h *H) {
	st := l.stripe
	st.mu.Lock()
	defer st.mu.Unlock()
	e := m.entry(st, &l.key)
	if e == nil || e.status != l.Status {
		return
	}
	m.detach(st, &l.key)
	next := &hot[S, H]{key: l.key, status: e.status, value: h}
	next.confirm(e.at, e.lease)
	if m.hot.add(next) {
		next.next.Store(st.hot.Load())
		st.hot.Store(next)
	}
}

// detach removes what is attached to a certificate. The stripe is locked.
func (m *Memory[S, H]) detach(st *stripe[S, H], key *Key) {
	link := &st.hot
	for h := link.Load(); h != nil; h = link.Load() {
		if h.key == *key {
			link.Store(h.next.Load())
			m.hot.remove(h)
			if e := m.entry(st, key); e != nil && h.used.Load()&entryUsed != 0 {
				e.used = true
			}
			return
		}
		link = &h.next
	}
}
