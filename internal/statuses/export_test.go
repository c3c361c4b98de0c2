package statuses

import "time"

// SameStripe reports whether two certificates share a stripe.
func (m *Memory[S, H]) SameStripe(a, b *Key) bool { return m.stripe(a) == m.stripe(b) }

// InFlight returns how many reads the stripes remember.
func (m *Memory[S, H]) InFlight() (n int) {
	for i := range m.stripes {
		for r := m.stripes[i].reads; r != nil; r = r.next {
			n++
		}
	}
	return n
}

// Sizes returns how many entries and attachments there are.
func (m *Memory[S, H]) Sizes() (entries, attached int) {
	for i := range m.stripes {
		for n := m.stripes[i].first.Load(); n != none; n = m.table.at(n).next {
			entries++
		}
		for h := m.stripes[i].hot; h != nil; h = h.next {
			attached++
		}
	}
	if entries != int(m.table.count.Load()) || attached != len(m.hot.list) {
		return -1, -1
	}
	return entries, attached
}

// InUse reports whether anybody holds the read.
func (r *Read[S, H]) InUse() bool { return r.holds.Load() != 0 }

// SetPatience changes the patience.
func (m *Memory[S, H]) SetPatience(d time.Duration) { m.patience = d }

// HoldStripe locks a certificate's stripe. Its fence moves the generation all the same.
func (m *Memory[S, H]) HoldStripe(key *Key) (fence, release func()) {
	st := m.stripe(key)
	st.mu.Lock()
	return func() { st.generation.Add(1) }, st.mu.Unlock
}

// Forget removes what is remembered about a certificate. Reads of it that are in flight answer
// those who wait, and are not recorded.
func (m *Memory[S, H]) Forget(key *Key) {
	st := m.stripe(key)
	st.mu.Lock()
	defer st.mu.Unlock()
	m.forget(st, func(k *Key) bool { return *k == *key }) // Forgetting is an event
}
