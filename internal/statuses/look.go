package statuses

// Look is what is remembered about a certificate at one instant, with the generation of its
// stripe.
type Look[S comparable, H any] struct {
	Status  S
	At      Moment // when the read that returned Status began
	Known   bool   // Status is what the store last reported for certain
	Trusted bool   // Status may be answered without a read
	Hot     *H     // what Attach attached to the certificate; the caller checks its identity

	memory     *Memory[S, H]
	stripe     *stripe[S, H]
	generation uint64
	behind     *Read[S, H] // the read that Begin made the request wait for
	key        Key
}

// Look returns what is remembered about a certificate.
func (m *Memory[S, H]) Look(key *Key, now Moment) (l Look[S, H]) {
	st := m.stripe(key)
	l.memory, l.stripe, l.key = m, st, *key
	l.generation = st.generation.Load() // Forget before fence: the entry comes later
	if st.first.Load() != none {
		st.mu.Lock()
		l.load(now)
		st.mu.Unlock()
	}
	return l
}

// load takes the entry into the look. The stripe is locked.
func (l *Look[S, H]) load(now Moment) {
	e := l.memory.entry(l.stripe, &l.key)
	if e == nil {
		return
	}
	e.used = true
	l.Status, l.At, l.Known = e.status, e.at, true
	l.Trusted = l.memory.trusts(e.at, e.lease, now)
	if h := l.stripe.attached(&l.key); h != nil {
		h.use()
		l.Hot = h.value
	}
}

// Stands reports whether nothing was invalidated on the certificate's stripe since the look. It is
// the last check before an answer is sent.
func (l *Look[S, H]) Stands() bool {
	return l.stripe != nil && l.stripe.generation.Load() == l.generation
}
