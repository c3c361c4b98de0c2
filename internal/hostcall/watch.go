package hostcall

import (
	"math"
	"sync"
	"time"
)

// stall is how much later than planned the Watch may look at its calls before it assumes that the
// process was suspended.
const stall = 100 * time.Millisecond

// Watch judges whether a component is silent.
//
// A component is silent once a call that got its slot at once has been waiting for the Watch's
// patience and no call has been answered for as long. The next answer ends the silence. So does
// patience without a call in flight, because the component may have recovered.
//
// Some calls are no evidence of silence:
//
//   - A call that waited for its slot. Otherwise outsiders could make a busy component look silent
//     by asking a lot.
//   - A call that is in flight when its time is up, while others are answered.
//   - The time before another call ran out of time. The component may have been working on that
//     one, so the remaining calls count as waiting since then.
type Watch struct {
	patience, timeout time.Duration
	base              time.Time // the times below count from it, by the monotonic clock

	mu             sync.Mutex
	oldest, newest *Call         // calls in flight that got their slots at once
	answered       time.Duration // when a call was last answered
	expired        time.Duration // when a call last ran out of time without silence
	moved          time.Duration // when a call last began or ended
	freed          time.Duration // when a slot was last free without silence, or freed in time
	silent         bool
	silence        chan struct{} // closed while silent
	timer          *time.Timer
	due            time.Duration // when timer fires, if waiting
	waiting        bool          // timer is set
	closed         bool
}

// Call is a call that a Watch observes. Its owner MUST NOT copy or reuse it between Begin and End.
// The zero Call is ready for use.
type Call struct {
	begun      time.Duration
	listed     bool // in the list of the Watch
	prev, next *Call
}

// End is how a call ended.
type End uint8

const (
	Failed   End = iota // with an error
	Answered            // with an answer
	TimedOut            // by a timeout of the component's own
	Overdue             // by the deadline of the call
)

// Verdict is what the error of a call means.
type Verdict uint8

const (
	Broken Verdict = iota // the error stands for itself
	Silent                // the component answers nobody
	Busy                  // the component answers others, or may
)

// NewWatch returns a Watch for calls that have timeout. Its patience should be shorter, or calls
// run out of time before the component is silent. Nothing has been answered yet.
func NewWatch(patience, timeout time.Duration) *Watch {
	return &Watch{
		patience: patience, timeout: timeout, base: time.Now(), silence: make(chan struct{}),
		answered: math.MinInt64 / 2, expired: math.MinInt64 / 2,
	}
}

func (w *Watch) now() time.Duration { return time.Since(w.base) }

// Patience returns how long a component may take before it is silent.
func (w *Watch) Patience() time.Duration { return w.patience }

// Begin records that a call begins. atOnce reports whether it got its slot without waiting. Begin
// returns a channel that is closed when the component becomes silent. The channel is nil if the
// call waited: then silence is no reason to give it up.
func (w *Watch) Begin(c *Call, atOnce bool) <-chan struct{} {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent && w.oldest == nil && now-w.moved >= w.patience {
		w.endSilence()
	}
	if atOnce && !w.silent {
		w.freed = now
	}
	w.moved = now
	if *c = (Call{begun: now}); !atOnce {
		return nil
	}
	c.listed, c.prev = true, w.newest
	if w.newest == nil {
		w.oldest = c
	} else {
		w.newest.next = c
	}
	w.newest = c
	if !w.waiting && !w.silent {
		w.lookAfter(now, w.patience)
	}
	return w.silence
}

// End records how a call ended.
func (w *Watch) End(c *Call, how End) {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moved = now
	switch {
	case how < TimedOut:
		w.freed = now
	case w.silent:
	case how == Overdue:
		w.expired = now
	default: // a component that only times out by itself must become silent some time
		w.expired = max(w.expired, min(now, w.answered+w.timeout))
	}
	if c.listed {
		w.unlist(c)
	}
	if how == Answered {
		w.hear(now)
	}
}

// unlist removes a call from the list. w.mu is locked.
func (w *Watch) unlist(c *Call) {
	if c.prev == nil {
		w.oldest = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		w.newest = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.listed, c.prev, c.next = false, nil, nil
}

// Heard records an answer to a call that continues because it asks several questions.
func (w *Watch) Heard() {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hear(now)
}

// hear records an answer. w.mu is locked.
func (w *Watch) hear(now time.Duration) {
	w.answered = now
	for w.oldest != nil && now-w.oldest.begun >= w.timeout {
		w.unlist(w.oldest)
	}
	if w.silent {
		w.endSilence()
		if w.oldest != nil {
			w.lookAfter(now, w.patience)
		}
	}
}

// endSilence ends the silence. w.mu is locked.
func (w *Watch) endSilence() { w.silent, w.silence = false, make(chan struct{}) }

// lookAfter sets the timer. w.mu is locked.
func (w *Watch) lookAfter(now, after time.Duration) {
	if w.closed {
		return
	}
	w.waiting, w.due = true, now+after
	if w.timer == nil {
		w.timer = time.AfterFunc(after, w.look)
	} else {
		w.timer.Reset(after)
	}
}

// look determines whether the component has become silent.
func (w *Watch) look() {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	late := now - w.due
	w.waiting = false
	if w.oldest == nil || w.silent {
		return
	}
	switch left := max(w.oldest.begun, w.answered, w.expired) + w.patience - now; {
	case left > 0:
		w.lookAfter(now, left)
	case late > stall: // answers may have arrived that nobody has read yet
		w.lookAfter(now, stall)
	default:
		w.silent = true
		close(w.silence)
	}
}

// State reports whether the component is silent, and returns a channel that is closed when it is.
func (w *Watch) State() (silent bool, silence <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.silent, w.silence
}

// Quiet reports whether no call has been answered for the Watch's patience.
func (w *Watch) Quiet() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.silent || w.now()-w.answered >= w.patience
}

// StuckIn returns how long it takes until calls that wait for a slot may be given up: the component
// is silent, and for the timeout no slot was freed by a call in time. Without the condition of
// silence, outsiders could bring this about: under a flood a busy component may complete no call in
// time.
func (w *Watch) StuckIn() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := w.freed + w.timeout - w.now()
	if left <= 0 && !w.silent {
		return w.timeout
	}
	return left
}

// Judge returns what the error of a call means. A timeout is evidence only if the component is
// silent or, for a call that waited for its slot, stuck. Any other error is evidence only if no
// call has been answered for the Watch's patience: it may concern this call alone.
func (w *Watch) Judge(timedOut, atOnce bool) Verdict {
	if !timedOut {
		if w.Quiet() {
			return Broken
		}
		return Busy
	}
	if silent, _ := w.State(); silent && atOnce || !atOnce && w.StuckIn() <= 0 {
		return Silent
	}
	return Busy
}

// Close stops the Watch's timer. The component does not become silent any more.
func (w *Watch) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
	}
}
