package statuses

import (
	"bytes"
	"math"
	"sync"
	"sync/atomic"
)

// entry is what is remembered about one certificate. It has no pointers, if S has none.
type entry[S comparable] struct {
	key    Key
	next   uint32 // in the stripe or the free list, or none
	lease  uint32 // the generation of the lease when the read that returned status began
	used   bool   // since evict last passed
	at     Moment // when that read began
	status S
}

const (
	none        = 0 // instead of a number. Numbers count from 1.
	segmentSize = 1024
	spare       = 1024 // entries above the bound, for reads that end before others have evicted
)

// table hands out numbered entries, in segments that do not move. A stripe may be locked while the
// table is, but not the other way round.
type table[S comparable] struct {
	max      int
	segments []atomic.Pointer[[segmentSize]entry[S]]
	count    atomic.Int64 // in use

	mu    sync.Mutex
	taken uint32 // were ever in use
	free  uint32 // the first of those that are in use no more
}

func (t *table[S]) init(size int) {
	t.max = min(size, math.MaxInt32/2)
	if t.max > 0 {
		t.segments = make([]atomic.Pointer[[segmentSize]entry[S]], (t.max+spare-1)/segmentSize+1)
	}
}

func (t *table[S]) at(number uint32) *entry[S] {
	return &t.segments[(number-1)/segmentSize].Load()[(number-1)%segmentSize]
}

// full reports whether there are more entries than the bound.
func (t *table[S]) full() bool { return t.count.Load() > int64(t.max) }

// take returns the number of an unused entry, or none.
func (t *table[S]) take() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	number := t.free
	switch {
	case number != none:
		t.free = t.at(number).next
	case int(t.taken) == len(t.segments)*segmentSize:
		return none
	default:
		if t.taken%segmentSize == 0 {
			t.segments[t.taken/segmentSize].Store(new([segmentSize]entry[S]))
		}
		t.taken++
		number = t.taken
	}
	t.count.Add(1)
	return number
}

func (t *table[S]) give(number uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at(number).next, t.free = t.free, number
	t.count.Add(-1)
}

// entry returns a certificate's entry, or nil. The stripe is locked.
func (m *Memory[S, H]) entry(st *stripe[S, H], key *Key) *entry[S] {
	for n := st.first.Load(); n != none; {
		e := m.table.at(n)
		if e.key == *key {
			return e
		}
		n = e.next
	}
	return nil
}

// record enters what a read returned. It reports whether there was room. The stripe is locked.
func (m *Memory[S, H]) record(st *stripe[S, H], r *Read[S, H]) bool {
	e := m.entry(st, &r.key)
	if e == nil {
		n := m.table.take()
		if n == none {
			return false
		}
		e = m.table.at(n)
		*e = entry[S]{key: r.key, next: st.first.Load()}
		st.first.Store(n)
	} else if e.status != r.status {
		m.detach(st, &r.key)
	} else if r.lease < e.lease || r.at.Steady < e.at.Steady { // End before lease
		return true
	}
	e.status, e.at, e.lease = r.status, r.at, r.lease
	return true
}

// remove removes the entries of a stripe that match. The stripe is locked.
func (m *Memory[S, H]) remove(st *stripe[S, H], match func(*entry[S]) bool) {
	var last *entry[S]
	for n := st.first.Load(); n != none; {
		e := m.table.at(n)
		next := e.next
		switch {
		case !match(e):
			last = e
		default:
			if last == nil {
				st.first.Store(next)
			} else {
				last.next = next
			}
			m.detach(st, &e.key)
			m.table.give(n)
		}
		n = next
	}
}

// forget removes the entries that match, and spoils the reads that do. The stripe is locked.
func (m *Memory[S, H]) forget(st *stripe[S, H], match func(*Key) bool) {
	m.remove(st, func(e *entry[S]) bool { return match(&e.key) })
	for r := st.reads; r != nil; r = r.next {
		if match(&r.key) {
			r.spoiled = true
		}
	}
}

// Invalidate forgets all certificates with a key's serial, whatever their issuers, and ends what
// was looked up before: the looks do not stand any more.
func (m *Memory[S, H]) Invalidate(key *Key) {
	st := m.stripe(key)
	st.mu.Lock()
	defer st.mu.Unlock()
	m.forget(st, func(k *Key) bool { return bytes.Equal(k.serial(), key.serial()) })
	st.generation.Add(1) // Forget before fence
}

// evict removes entries until there are no more than the bound. No stripe is locked. An entry that
// was used since evict last passed is spared, but not by more than two rounds: lookups of all
// entries must not keep evict from coming to an end. Evictions are no events.
func (m *Memory[S, H]) evict() {
	for tries := 0; m.table.full(); tries++ {
		st := &m.stripes[m.cursor.Add(1)&uint64(len(m.stripes)-1)]
		if st.first.Load() == none {
			continue
		}
		st.mu.Lock()
		m.remove(st, func(e *entry[S]) bool {
			used := e.used
			e.used = false
			return m.table.full() && (!used || tries > 2*len(m.stripes))
		})
		st.mu.Unlock()
	}
}
