package statuses

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// hot is what is attached to a certificate. It is in the list of its stripe exactly as long as the
// entry is there and has the status that it had.
type hot[S comparable, H any] struct {
	key   Key
	value *H
	next  *hot[S, H]  // in the stripe
	used  atomic.Bool // since unused last passed
	index int         // in the set
}

// use notes that a look returned it.
func (h *hot[S, H]) use() {
	if !h.used.Load() { // most often it is set, and its memory is shared
		h.used.Store(true)
	}
}

// attached returns what is attached to a certificate, or nil. The stripe is locked.
func (st *stripe[S, H]) attached(key *Key) *hot[S, H] {
	h := st.hot
	for h != nil && h.key != *key {
		h = h.next
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
		if h := s.list[s.cursor]; !h.used.Swap(false) {
			return h
		}
	}
	return nil
}

// HasRoom reports whether something should be attached to the certificate of a look: nothing is,
// and fewer than Options.Hot are attached to all. Otherwise it is true for one call of 64, and
// makes room by detaching something that was not used lately. Certificates that are seldom asked
// for therefore do not displace each other.
func (m *Memory[S, H]) HasRoom(l *Look[S, H]) bool {
	if l.Hot == nil && !m.hot.full() {
		return true
	}
	if m.hot.max <= 0 || rand.Uint32N(64) != 0 {
		return false
	}
	if old := m.hot.unused(); old != nil && l.Hot == nil {
		st := m.stripe(&old.key)
		st.mu.Lock()
		defer st.mu.Unlock()
		m.detach(st, &old.key)
	}
	return true
}

// Attach attaches h to a certificate, and replaces what was attached before, if its status is still
// that of the look and Options.Hot allows it. It stays until the status changes, the entry is
// removed, or Detach.
func (m *Memory[S, H]) Attach(l *Look[S, H], h *H) {
	st := l.stripe
	st.mu.Lock()
	defer st.mu.Unlock()
	e := m.entry(st, &l.key)
	if e == nil || e.status != l.Status {
		return
	}
	m.detach(st, &l.key)
	if next := (&hot[S, H]{key: l.key, value: h, next: st.hot}); m.hot.add(next) {
		st.hot = next
	}
}

// Detach removes what is attached to a certificate, if drop is true of it.
func (m *Memory[S, H]) Detach(key *Key, drop func(h *H) bool) {
	st := m.stripe(key)
	st.mu.Lock()
	defer st.mu.Unlock()
	if h := st.attached(key); h != nil && drop(h.value) {
		m.detach(st, key)
	}
}

// detach removes what is attached to a certificate. The stripe is locked.
func (m *Memory[S, H]) detach(st *stripe[S, H], key *Key) {
	for link := &st.hot; *link != nil; link = &(*link).next {
		if h := *link; h.key == *key {
			*link = h.next
			m.hot.remove(h)
			return
		}
	}
}
