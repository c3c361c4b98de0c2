package hostcall

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// fewCalls is how many calls have goroutines of their own, so that a Group that did little and
	// that nobody closes leaves none behind.
	fewCalls = 100
	// maxIdle bounds the workers that wait for work.
	maxIdle = 64
	// idleTime is how long a worker waits for work before it ends.
	idleTime = time.Second
)

// Group runs functions in goroutines that Close waits for. The zero Group is ready for use.
//
// Its goroutines are reused: in a new one the stack must grow for each call, which costs more than
// starting it.
type Group struct {
	mu      sync.Mutex // nothing starts once closed is set
	closed  atomic.Bool
	running sync.WaitGroup
	work    chan func() // unbuffered, so that a send succeeds only if a worker is idle
	idle    atomic.Int32
	calls   int // of Go
}

// Go runs f in a goroutine of the group. It returns false if the group is closed, and f does not
// run. f must not panic.
func (g *Group) Go(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed.Load() {
		return false
	}
	g.running.Add(1)
	if g.calls++; g.calls <= fewCalls {
		go g.call(f)
		return true
	}
	if g.work == nil {
		g.work = make(chan func())
	}
	select {
	case g.work <- f:
	default:
		go g.run(f)
	}
	return true
}

// run is a worker. It ends when it has been idle for idleTime, or when enough others are idle.
func (g *Group) run(f func()) {
	timer := time.NewTimer(idleTime)
	defer timer.Stop()
	for ok := true; ok; {
		g.call(f)
		if ok = g.idle.Add(1) <= maxIdle; ok {
			timer.Reset(idleTime)
			select {
			case f, ok = <-g.work:
			case <-timer.C:
				ok = false
			}
		}
		g.idle.Add(-1)
	}
}

// call calls f, which may end the goroutine.
func (g *Group) call(f func()) {
	defer g.Leave()
	f()
}

// Enter makes Close wait for the caller until it calls Leave. It returns false if the group is
// closed.
func (g *Group) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed.Load() {
		return false
	}
	g.running.Add(1)
	return true
}

// Leave ends what a successful Enter began.
func (g *Group) Leave() { g.running.Done() }

// Closed reports whether Close has been called.
func (g *Group) Closed() bool { return g.closed.Load() }

// Close stops Go and Enter from starting anything and waits for what is running. It reports whether
// all of that ended within limit. Idle workers end.
func (g *Group) Close(limit time.Duration) bool {
	g.mu.Lock()
	if !g.closed.Swap(true) && g.work != nil {
		close(g.work)
	}
	g.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		g.running.Wait()
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
