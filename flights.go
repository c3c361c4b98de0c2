package ocsp

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// flights lets those who want the same at the same time share what one of them gets. Unlike with package singleflight,
// whoever begins a flight may make it in its own goroutine, and the others need not wait for its end.
type flights[K comparable, V any] struct {
	mu   sync.Mutex
	list map[K]*shared[V]
	seq  atomic.Uint64 // flights begun
}

// shared is what a flight brings.
type shared[V any] struct {
	over   bool
	number uint64        // of all flights, in the order in which they began
	tick   uint64        // of a read: at which it began
	at     moment        // of a read: when that was
	begun  time.Time     // of a read: when that was, for StorePatience
	queued atomic.Bool   // of a read: it had to wait for its place
	stages []stage       // of a read: the stores that it goes through
	landed chan struct{} // closed when the rest is set
	value  V
	err    error
}

// stage is a store that a read goes through.
type stage struct {
	*source
	over chan struct{} // closed when the read goes on to the next one; nil for the last
}

// stage returns the one that the read is in.
func (s *shared[V]) stage() *stage {
	for i := range s.stages {
		select {
		case <-s.stages[i].over:
			continue
		default:
		}
		return &s.stages[i]
	}
	panic("unreachable: the last one is not over")
}

// join returns the flight that is under way. If there is none it begins one, which the caller must land.
func (f *flights[K, V]) join(key K) (s *shared[V], begun bool) {
	return f.joinIf(key, 0, moment{}, nil, func(*shared[V]) bool { return true })
}

// joinIf is join, and begins a flight also if the one that is under way will not do.
func (f *flights[K, V]) joinIf(key K, tick uint64, at moment, stages []stage, will func(*shared[V]) bool) (s *shared[V], begun bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, ok := f.list[key]; ok && will(s) {
		return s, false
	}
	if f.list == nil {
		f.list = map[K]*shared[V]{}
	}
	s = &shared[V]{landed: make(chan struct{}), number: f.seq.Add(1), tick: tick, at: at, begun: time.Now(), stages: stages}
	f.list[key] = s
	return s, true
}

// land gives those who wait what the flight brought, unless it has landed before. Who comes later begins anew.
func (f *flights[K, V]) land(key K, s *shared[V], value V, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.over {
		return
	}
	s.over, s.value, s.err = true, value, err
	close(s.landed)
	if f.list[key] == s {
		delete(f.list, key)
	}
}

// forget makes whoever comes later begin anew.
func (f *flights[K, V]) forget(key K) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.list, key)
}

// wait returns what the flight brings, unless ctx ends before.
func (s *shared[V]) wait(ctx context.Context) (V, error) {
	select {
	case <-s.landed:
		return s.value, s.err
	case <-ctx.Done():
	}
	select { // what came at the same time has come all the same
	case <-s.landed:
		return s.value, s.err
	default:
		var zero V
		return zero, hostcall.ErrTimeout
	}
}
