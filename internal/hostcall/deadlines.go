package hostcall

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Deadlines makes contexts that end after Limit, or up to an eighth of it earlier. Calls that begin
// within the same eighth share one, because a timer for each call costs more than many calls do. A
// Deadlines with Limit set is ready for use.
type Deadlines struct {
	Limit time.Duration

	current atomic.Pointer[deadline]
	mu      sync.Mutex // held while current is replaced
}

type deadline struct {
	context.Context
	cancel context.CancelFunc
	last   time.Time // when calls stop sharing it
}

// Next returns the context for a call that begins now.
func (d *Deadlines) Next() context.Context {
	if now := d.current.Load(); now != nil && time.Until(now.last) > 0 {
		return now
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	begin := time.Now()
	if now := d.current.Load(); now != nil && begin.Before(now.last) {
		return now
	}
	ctx, cancel := context.WithDeadline(context.Background(), begin.Add(d.Limit))
	next := &deadline{ctx, cancel, begin.Add(d.Limit / 8)}
	d.current.Store(next)
	return next
}

// Stop cancels the context in use. Calls that began earlier may hold another one.
func (d *Deadlines) Stop() {
	if now := d.current.Load(); now != nil {
		now.cancel()
	}
}

// WithValues returns a context that ends with limit. It has the values of limit, and those of
// values besides.
func WithValues(limit, values context.Context) context.Context { return valued{limit, values} }

type valued struct {
	context.Context
	values context.Context
}

// Value looks into the context that ends first: there package context finds what makes deriving
// from it cheap.
func (c valued) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.values.Value(key)
}
