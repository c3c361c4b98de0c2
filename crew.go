package ocsp

import (
	"slices"
	"sync"
	"time"
)

// crew runs functions in goroutines that are used again: in a new one, the stack would have to grow for each call of a
// store or a signer, which costs more than going there and back. The first crewBusy calls leave none that waits for work,
// so that nothing is left behind by a Responder that did little and that nobody closes. The zero crew is ready. Functions
// must not panic.
type crew struct {
	mu      sync.Mutex
	idle    []chan func() // one for each goroutine without work; the last has just become so
	spare   int           // how many of them were not needed since the last look
	calls   int           // since the last look
	busy    bool          // there were crewBusy of them before it
	looking bool          // a timer looks after those without work
	closed  bool
}

const (
	// crewIdle bounds the goroutines that wait for work.
	crewIdle = 64
	// crewBusy is for how many calls it pays that goroutines wait for more.
	crewBusy = 100
	// crewPatience is after what time, or twice that, those that were not needed end.
	crewPatience = time.Second
)

// do begins f.
func (c *crew) do(f func()) {
	c.mu.Lock()
	c.calls++
	n := len(c.idle) - 1
	if n < 0 {
		c.mu.Unlock()
		go c.work(f)
		return
	}
	work := c.idle[n]
	c.idle = c.idle[:n]
	c.spare = min(c.spare, n)
	c.mu.Unlock()
	work <- f
}

// work is one goroutine.
func (c *crew) work(f func()) {
	work := make(chan func(), 1)
	for f != nil {
		f()
		if !c.rest(work) {
			return
		}
		f = <-work // nil when there is no more
	}
}

// rest reports whether there may be more work.
func (c *crew) rest(work chan func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= crewIdle || !c.busy && c.calls < crewBusy {
		return false
	}
	c.idle = append(c.idle, work)
	if !c.looking {
		c.looking = true
		time.AfterFunc(crewPatience, c.look)
	}
	return true
}

// look ends those that were not needed since the last time, and looks again while there are others.
func (c *crew) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(c.spare)
	c.spare, c.busy, c.calls = len(c.idle), c.calls >= crewBusy, 0
	if c.looking = c.spare > 0; c.looking {
		time.AfterFunc(crewPatience, c.look)
	}
}

// end ends the first n.
func (c *crew) end(n int) {
	for _, work := range c.idle[:n] {
		close(work)
	}
	c.idle = slices.Delete(c.idle, 0, n)
}

// close ends all goroutines once they have no work.
func (c *crew) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.end(len(c.idle))
	c.spare = 0
}
