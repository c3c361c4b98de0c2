package statuses

import "sync/atomic"

// lease is how long, and since when, nothing can have changed unnoticed.
type lease struct {
	until      atomic.Pointer[Moment] // nil: not in force
	generation atomic.Uint32
}

// BeginLease starts a new lease, which is in force from the first ExtendLease on. What was read
// before is trusted no more. The methods of the lease must not be called concurrently with each
// other.
func (m *Memory[S, H]) BeginLease() {
	m.EndLease()
	m.lease.generation.Add(1)
}

// ExtendLease sets the end of the lease. It passes when either clock passes it.
func (m *Memory[S, H]) ExtendLease(until Moment) { m.lease.until.Store(&until) }

// EndLease ends the lease. Until the next one nothing is trusted.
func (m *Memory[S, H]) EndLease() { m.lease.until.Store(nil) }

// covers reports whether a read of that generation is trusted now.
func (l *lease) covers(generation uint32, now Moment) bool {
	until := l.until.Load() // End before lease: who loads a new end compares with its generation
	return until != nil && now.Wall < until.Wall && now.Steady < until.Steady &&
		l.generation.Load() == generation
}
