package ocsp

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

var (
	errClosed  = errors.New("ocsp: the responder is closed")
	errTimeout = errors.New("no answer in time")
	errBusy    = errors.New("too many calls are waiting")
	errNoValue = errors.New("the call ended its goroutine instead of returning")
)

// hostError is an error of one of the host's components, in an answer about a certificate.
type hostError struct {
	component string // "store" or "signer"
	issuerID  string
	serial    *big.Int // nil: the certificate does not matter
	err       error
}

func (e *hostError) Error() string {
	if e.serial == nil {
		return fmt.Sprintf("ocsp: %s: issuer %q: %v", e.component, e.issuerID, e.err)
	}
	return fmt.Sprintf("ocsp: %s: issuer %q, serial %x: %v", e.component, e.issuerID, e.serial, e.err)
}

func (e *hostError) Unwrap() error { return e.err }

// blame says whose error it is, unless that is known or it is nobody's.
func blame(component, issuerID string, serial *big.Int, err error) error {
	var known *hostError
	if errors.As(err, &known) || errors.Is(err, errOvertaken) || errors.Is(err, errClosed) {
		return err
	}
	return &hostError{component, issuerID, serial, err}
}

// panicError is a panic of the host's code, contained.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// protect calls f and turns a panic into an error. So it does with an error that cannot be looked into without one, such
// as a nil pointer in an interface: later, errors.Is and errors.As run the host's code where nothing recovers.
func protect[T any](ctx context.Context, f func(context.Context) (T, error)) (result T, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	result, err = f(ctx)
	if err != nil {
		var p *panicError
		_ = errors.Is(err, errNoValue) || errors.As(err, &p)
	}
	return result, err
}

// lifecycle knows the goroutines that Close waits for.
type lifecycle struct {
	closed atomic.Bool
	mu     sync.Mutex // so that none starts once closed is set
	group  sync.WaitGroup
}

// start registers a goroutine, unless the responder is closed.
func (l *lifecycle) start() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		return false
	}
	l.group.Add(1)
	return true
}

func (l *lifecycle) done() { l.group.Done() }

// close lets nothing start any more and waits for what runs. It reports whether all of it ended in time.
func (l *lifecycle) close(limit time.Duration) bool {
	l.mu.Lock()
	l.closed.Store(true)
	l.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		l.group.Wait()
		close(ended)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

// slots bounds the calls into one of the host's components, and how many may wait for their turn. A call that
// hangs keeps its slot, since the component is still busy with it.
type slots struct {
	free       *semaphore.Weighted
	size       int
	waiting    atomic.Int64
	maxWaiting int64
	within     *slots // of which these are a part; nil for none
}

func newSlots(concurrent, waiting int) *slots {
	return &slots{free: semaphore.NewWeighted(int64(concurrent)), size: concurrent, maxWaiting: int64(waiting)}
}

// tryAcquire takes a slot if one is free.
func (s *slots) tryAcquire() bool {
	if !s.free.TryAcquire(1) {
		return false
	}
	if s.within != nil && !s.within.tryAcquire() {
		s.free.Release(1)
		return false
	}
	return true
}

// acquire takes a slot, waiting for it if the queue is not full, until ctx ends or for limit.
func (s *slots) acquire(ctx context.Context, limit time.Duration) error {
	if s.within == nil {
		return s.take(ctx, limit)
	}
	begun := time.Now()
	if err := s.take(ctx, limit); err != nil {
		return err
	}
	if err := s.within.acquire(ctx, limit-time.Since(begun)); err != nil {
		s.free.Release(1)
		return err
	}
	return nil
}

func (s *slots) take(ctx context.Context, limit time.Duration) error {
	if s.free.TryAcquire(1) {
		return nil
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > s.maxWaiting {
		return errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if s.free.Acquire(ctx, 1) != nil {
		return errBusy
	}
	return nil
}

func (s *slots) release() {
	if s.within != nil { // first: who waits for this part goes on to the whole
		s.within.release()
	}
	s.free.Release(1)
}

// idle reports whether no slot is taken.
func (s *slots) idle() bool {
	idle := s.free.TryAcquire(int64(s.size))
	if idle {
		s.free.Release(int64(s.size))
	}
	return idle
}

type result[T any] struct {
	value T
	err   error
}

// detach calls f in a goroutine of its own, within the slots' bound. The context that f gets ends after limit
// but not with ctx, so that a client that leaves does not undo what others may use. detach itself returns
// when f does, when ctx ends, or after limit, whichever comes first, also when f never returns.
func detach[T any](ctx context.Context, r *Responder, s *slots, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	var zero T
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	if err := s.acquire(ctx, limit); err != nil {
		cancel()
		return zero, err
	}
	if !r.life.start() {
		cancel()
		s.release()
		return zero, errClosed
	}
	ch := make(chan result[T], 1)
	r.crew.do(func() {
		defer r.life.done()
		defer cancel() // after the result is there, which it would otherwise be taken for the end of
		got := result[T]{err: errNoValue}
		defer func() { ch <- got }()
		defer s.release() // before that: whoever gets the result may call again at once
		got.value, got.err = protect(work, f)
	})
	var err error
	select {
	case got := <-ch:
		return got.value, got.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-work.Done():
		err = errTimeout
	}
	select { // a result that came at the same time is still a result
	case got := <-ch:
		return got.value, got.err
	default:
		return zero, err
	}
}
