package hostcall

import (
	"context"
	"sync/atomic"
	"time"
)

// Lane bounds how many calls are in flight and how many wait for a slot. Those that wait are served
// in order.
type Lane struct {
	slots      chan struct{} // one element for each slot that is taken
	waiting    atomic.Int64
	maxWaiting int
	whole      *Lane // the Lane that this one is a part of, or nil
}

// NewLane returns a Lane with the given number of slots and of calls that may wait for one.
func NewLane(concurrent, waiting int) *Lane {
	return &Lane{slots: make(chan struct{}, concurrent), maxWaiting: waiting}
}

// Part returns a Lane for some of l's calls. Each takes a slot in both.
func (l *Lane) Part(concurrent, waiting int) *Lane {
	part := NewLane(concurrent, waiting)
	part.whole = l
	return part
}

// Concurrent returns the number of slots.
func (l *Lane) Concurrent() int { return cap(l.slots) }

// Waiting returns how many calls may wait for a slot.
func (l *Lane) Waiting() int { return l.maxWaiting }

// TryAcquire takes a slot if one is free.
func (l *Lane) TryAcquire() bool {
	select {
	case l.slots <- struct{}{}:
	default:
		return false
	}
	if l.whole != nil && !l.whole.TryAcquire() {
		<-l.slots
		return false
	}
	return true
}

// Acquire takes a slot. If none is free it waits for one, until ctx ends or for limit. It returns
// ErrBusy when it gets none, and at once when too many calls wait already.
func (l *Lane) Acquire(ctx context.Context, limit time.Duration) error {
	if l.whole == nil {
		return l.acquire(ctx, limit)
	}
	begun := time.Now()
	if err := l.acquire(ctx, limit); err != nil {
		return err
	}
	if err := l.whole.Acquire(ctx, limit-time.Since(begun)); err != nil {
		<-l.slots
		return err
	}
	return nil
}

// acquire takes a slot of l alone.
func (l *Lane) acquire(ctx context.Context, limit time.Duration) error {
	select {
	case l.slots <- struct{}{}:
		return nil
	default:
	}
	defer l.waiting.Add(-1)
	if l.waiting.Add(1) > int64(l.maxWaiting) {
		return ErrBusy
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case l.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
	case <-timer.C:
	}
	return ErrBusy
}

// Release returns a slot.
func (l *Lane) Release() {
	if l.whole != nil { // first: a call that waits for this part needs a slot of the whole next
		l.whole.Release()
	}
	<-l.slots
}

// Idle reports whether no slot is taken.
func (l *Lane) Idle() bool { return len(l.slots) == 0 }
