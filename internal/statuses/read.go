package statuses

import (
	"sync/atomic"
	"time"
)

// How says which read answers a request.
type How uint8

const (
	// Own: the caller's Read was begun. The caller must have it run, and ended by End or
	// Contradicted. The result is the request's.
	Own How = iota
	// Joined: the other read began after the request came. Its result is the request's too.
	Joined
	// Behind: the other read began too early. The request waits for its end, or for as long as
	// Outlasts returns, and calls Begin again with the same look.
	Behind
	// Renewed: no read is needed. The look was taken again, and is trusted.
	Renewed
)

// Read is one read of the store about one certificate. The zero Read is ready for Begin, and so is
// one whose last holder has released it. It has these holders: the one who runs it, the request
// that began it, and each request that Begin returned it to. A request that called Begin again
// releases the read that it waited for after that call.
type Read[S comparable, H any] struct {
	Owner any // is the caller's, and set before Begin

	memory     *Memory[S, H]
	stripe     *stripe[S, H]
	generation uint64 // of the stripe, at the beginning
	key        Key
	lease      uint32        // the generation of the lease, at the beginning
	at         Moment        // the beginning
	begun      time.Duration // the same, since Memory.origin: for the patience
	holds      atomic.Int32
	done       chan struct{} // has room for one signal; closed instead if the read is shared

	// With the stripe locked:
	next    *Read[S, H] // in flight
	shared  bool        // requests other than the one that began it wait
	event   bool        // another read has returned other while it was in flight
	other   S
	spoiled bool // what it returns is not certain when it ends
	passed  bool // another read has begun beside it
	ended   bool

	status   S // these are set by the end, and not changed
	hot      *H
	recorded bool
	err      error
}

// Begin determines which read answers a request that has taken the look l. For all but Own and
// Renewed that is other, which the caller then holds. For Own it is r, which the caller holds
// twice: for the request, and for the one who runs it. The result of a read is at least as late as
// now, which is the present. A read or an entry from before the request is used only if its
// At.Wall is not less than after.
func (m *Memory[S, H]) Begin(
	l *Look[S, H], now Moment, after time.Duration, r *Read[S, H],
) (other *Read[S, H], how How) {
	st := l.stripe
	st.mu.Lock()
	defer st.mu.Unlock()
	generation := st.generation.Load()
	if m.ttl > 0 {
		again := Look[S, H]{memory: m, stripe: st, key: l.key, generation: generation}
		if again.load(now); again.Trusted && again.At.Wall >= after {
			*l = again
			return nil, Renewed
		}
	}
	if other := st.current(&l.key); other != nil {
		if other.generation == generation && time.Since(m.origin)-other.begun < m.patience {
			// Later than the request: when the request was put behind a read, that was the only one
			// not passed (One after the other). Another one that is not passed is later.
			how := Joined
			if l.behind == nil || l.behind == other {
				l.behind, how = other, Behind
			}
			other.shared = true
			other.holds.Add(1)
			return other, how
		}
		other.passed = true // One after the other
	}
	r.begin(l, now, generation)
	return nil, Own
}

// current returns the read of a certificate in flight that is not passed, or nil. The stripe is
// locked.
func (st *stripe[S, H]) current(key *Key) *Read[S, H] {
	for r := st.reads; r != nil; r = r.next {
		if !r.passed && r.key == *key {
			return r
		}
	}
	return nil
}

// begin puts a read in flight. The stripe is locked.
func (r *Read[S, H]) begin(l *Look[S, H], now Moment, generation uint64) {
	if !r.holds.CompareAndSwap(0, 2) {
		panic("statuses: Begin of a Read that is in use")
	}
	if r.done == nil || r.shared {
		r.done = make(chan struct{}, 1)
	} else {
		select { // the signal of its last use, if nobody waited for it
		case <-r.done:
		default:
		}
	}
	var zero S
	r.memory, r.stripe, r.generation, r.key = l.memory, l.stripe, generation, l.key
	r.lease, r.at, r.begun = r.memory.lease.generation.Load(), now, time.Since(r.memory.origin)
	r.shared, r.event, r.spoiled, r.passed, r.ended = false, false, false, false, false
	r.other, r.status, r.hot, r.recorded, r.err = zero, zero, nil, false, nil
	r.next, r.stripe.reads = r.stripe.reads, r
}

// Done returns a channel from which each request that holds the read can receive once, when the
// read has ended.
func (r *Read[S, H]) Done() <-chan struct{} { return r.done }

// Outlasts returns the time until the read has outlasted the patience, and delays no other.
func (r *Read[S, H]) Outlasts() time.Duration {
	return max(0, r.begun+r.memory.patience-time.Since(r.memory.origin))
}

// Pass lets others begin beside the read, as if it had outlasted the patience. It is for requests
// that must not wait for it any longer.
func (r *Read[S, H]) Pass() {
	r.stripe.mu.Lock()
	defer r.stripe.mu.Unlock()
	r.passed = true // One after the other
}

// End ends the read with what it returned: a status, or an error if nothing was learnt. If known
// is false the store does not know the serial, and the status is answered but not recorded. Only
// the first End or Contradicted of a read counts.
func (r *Read[S, H]) End(status S, known bool, err error) {
	r.end(status, known, err, err == nil)
}

// Contradicted ends the read with an error because the record in the store cannot be used. What was
// recorded about the certificate may be wrong then, and is forgotten.
func (r *Read[S, H]) Contradicted(err error) {
	var zero S
	r.end(zero, false, err, true)
}

func (r *Read[S, H]) end(status S, known bool, err error, event bool) {
	m, st := r.memory, r.stripe
	st.mu.Lock()
	if r.ended {
		st.mu.Unlock()
		return
	}
	st.unlink(r)
	r.ended, r.status, r.err = true, status, err // A read answers for itself
	switch {
	case !event:
	case !known: // Spoiled means unknown
		m.forget(st, func(k *Key) bool { return *k == r.key })
	case r.spoiled || r.event && r.other != status: // Spoiled means unknown
		m.remove(st, func(e *entry[S]) bool { return e.key == r.key && e.status != status })
		st.spoil(r)
	default:
		if r.recorded = m.record(st, r); r.recorded {
			if h := st.attached(&r.key); h != nil {
				h.use()
				r.hot = h.value
			}
		}
		st.spoil(r)
	}
	if r.shared {
		close(r.done)
	} else {
		r.done <- struct{}{}
	}
	st.mu.Unlock()
	if m.table.full() {
		m.evict()
	}
}

// spoil keeps the reads of a certificate in flight from being recorded, unless they return what the
// read that has ended did. The stripe is locked. An end is an event.
func (st *stripe[S, H]) spoil(ended *Read[S, H]) {
	for r := st.reads; r != nil; r = r.next {
		if r.key == ended.key {
			r.spoiled = r.spoiled || r.event && r.other != ended.status
			r.event, r.other = true, ended.status
		}
	}
}

// unlink takes a read out of those in flight. The stripe is locked. Nothing stays.
func (st *stripe[S, H]) unlink(r *Read[S, H]) {
	link := &st.reads
	for *link != r {
		link = &(*link).next
	}
	*link, r.next = r.next, nil
}

// Result returns what the read returned, after Done. The look has the generation of the read's
// beginning, is not trusted, and is known if the status was recorded.
func (r *Read[S, H]) Result() (Look[S, H], error) {
	return Look[S, H]{
		Status: r.status, At: r.at, Known: r.recorded, Hot: r.hot,
		memory: r.memory, stripe: r.stripe, generation: r.generation, key: r.key,
	}, r.err
}

// Release gives up one hold. It reports true for the last, and then the read may be used again.
func (r *Read[S, H]) Release() bool { return r.holds.Add(-1) == 0 }
