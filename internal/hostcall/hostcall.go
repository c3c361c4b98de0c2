// Package hostcall calls code that is not ours and that may hang, panic or end its goroutine.
//
// A [Lane] bounds how many calls are in flight and how many wait. [Do] bounds how long its caller
// waits for one. A [Group] runs calls in reused goroutines and waits for them when it is closed.
// A [Watch] judges whether the component behind the calls has stopped answering.
package hostcall

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

var (
	// ErrClosed is returned when the Group is closed.
	ErrClosed = errors.New("closed")
	// ErrTimeout is returned when a call has not returned in time.
	ErrTimeout = errors.New("no answer in time")
	// ErrBusy is returned when a call found no free slot.
	ErrBusy = errors.New("too many calls are waiting")
	// ErrNoReturn is returned when a call ended its goroutine, as runtime.Goexit does.
	ErrNoReturn = errors.New("the call ended its goroutine instead of returning")
)

// PanicError is a recovered panic.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// NewPanicError returns the error for a recovered value, with the stack of the panic. The deferred
// function that recovers must call it.
func NewPanicError(value any) *PanicError { return &PanicError{value, debug.Stack()} }

// Protect calls f and returns a panic of f as a *PanicError. It does the same if errors.Is or
// errors.As panics on the error that f returns, as with a nil pointer in an interface: callers
// inspect the error where nothing recovers.
func Protect[T any](ctx context.Context, f func(context.Context) (T, error)) (value T, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = NewPanicError(v)
		}
	}()
	value, err = f(ctx)
	if err != nil {
		var p *PanicError
		_ = errors.Is(err, ErrNoReturn) || errors.As(err, &p)
	}
	return value, err
}

type result[T any] struct {
	value T
	err   error
}

// Do calls f in a goroutine of g, in a slot of l. It returns when f does, when ctx ends, or after
// limit, whichever comes first, even if f never returns. The context of f ends after limit, but not
// with ctx: a caller that leaves does not stop work that others may share. A call that hangs
// occupies its slot until it returns, since the component is still busy with it.
func Do[T any](ctx context.Context, g *Group, l *Lane, limit time.Duration,
	f func(context.Context) (T, error)) (T, error) {
	var zero T
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	if err := l.Acquire(ctx, limit); err != nil {
		cancel()
		return zero, err
	}
	ch := make(chan result[T], 1)
	started := g.Go(func() {
		defer cancel() // after the result is sent: the caller takes the end of work for a timeout
		r := result[T]{err: ErrNoReturn}
		defer func() { ch <- r }()
		defer l.Release() // before the result is sent: the caller may call again at once
		r.value, r.err = Protect(work, f)
	})
	if !started {
		cancel()
		l.Release()
		return zero, ErrClosed
	}
	var err error
	select {
	case r := <-ch:
		return r.value, r.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-work.Done():
		err = ErrTimeout
	}
	select { // a result that arrived at the same time counts
	case r := <-ch:
		return r.value, r.err
	default:
		return zero, err
	}
}
