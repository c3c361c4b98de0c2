package ocsp

import (
	"context"
	"errors"
	"math"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// Changes connects a Responder with whatever else writes to its store: other replicas, other programs. It makes
// a long StatusTTL safe, because it tells two things: which certificates changed, and until when nothing can
// have changed unheard. Statuses are trusted only as long as it vouches for that; else every answer reads the
// store, as if StatusTTL were zero.
//
// Implementations must be safe for concurrent use. Package ocspredis has one over Redis, ocspsql/pgfeed one
// over PostgreSQL's LISTEN and NOTIFY.
type Changes interface {
	// Publish tells all who follow that what they know about the certificates is out of date.
	// Responder.Invalidate calls it when it has done its own part.
	Publish(ctx context.Context, issuerID string, serials ...*big.Int) error

	// Follow passes on to f what is published until ctx ends or it cannot go on, and returns why. The
	// Responder then trusts nothing that it has read, and calls Follow again after a pause.
	Follow(ctx context.Context, f Follower) error
}

// Follower is what Changes.Follow reports to. Its methods do not block, are safe for concurrent use, and do
// nothing once the call of Follow that it was given to has returned.
type Follower interface {
	// Begin says that from now on nothing goes unheard. What was read from the store earlier is to be read
	// again. Follow calls it when its connection listens, and again whenever something may have been missed.
	Begin()

	// Changed says that what is known about these certificates is out of date. Repeating it does no harm: an
	// answer whose status turns out to be the same is not signed again.
	Changed(issuerID string, serials ...*big.Int)

	// TrustUntil vouches until t for what was read since Begin. To do so, Follow must know that everything
	// published before some moment has been passed to Changed; t is that moment and the longest time that a
	// change may go unheard. It replaces what an earlier call said. t is made with time.Now, and what is left until
	// then is counted by the monotonic clock and by Config.Now: the trust ends with the first that says so, such as
	// when the machine was suspended.
	TrustUntil(t time.Time)
}

// Pauses before Follow is called again, doubled from the first to the last while it does not get to vouch.
const (
	firstFollowPause = 50 * time.Millisecond
	lastFollowPause  = 5 * time.Second
)

// follow keeps Changes followed until ctx ends.
func (r *Responder) follow(ctx context.Context) {
	pause := firstFollowPause
	for {
		f := &following{r: r}
		err := r.followOnce(ctx, f)
		if f.end() {
			pause = firstFollowPause
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ocsp: Follow returned without an error")
		}
		r.warn(ctx, "ocsp: changes cannot be followed; until they are, every answer reads the store",
			&failure{kind: logChanges, component: "changes", err: err})
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, lastFollowPause)
	}
}

// followOnce calls Follow, in a goroutine that it may end as it may panic: the trust must end with it either way.
func (r *Responder) followOnce(ctx context.Context, f *following) error {
	ended := make(chan error, 1)
	go func() {
		err := hostcall.ErrNoReturn
		defer func() { ended <- err }()
		_, err = hostcall.Protect(ctx, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, r.cfg.Cache.Changes.Follow(ctx, f)
		})
	}()
	return <-ended
}

// following is the Follower of one call of Follow.
type following struct {
	r *Responder

	mu      sync.Mutex
	begun   bool
	vouched bool // ever
	ended   bool
}

func (f *following) Begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.r.cache.lease.begin(f.r.cache.ticks.Add(1))
		f.begun = true
	}
}

func (f *following) TrustUntil(t time.Time) {
	if f.trust(t) {
		f.r.succeeded("changes", "", nil, logChanges) // without the lock, since the host's log may hang
	}
}

// trust reports whether the trust was given.
func (f *following) trust(t time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || !f.begun {
		return false
	}
	f.r.cache.vouch(t)
	f.vouched = true
	return true
}

func (f *following) Changed(issuerID string, serials ...*big.Int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	for _, serial := range serials {
		if serial != nil {
			key := newCertKey(f.r.registry.Load().number(issuerID), codec.SerialBytes(serial))
			f.r.cache.doubt(key)
			f.r.reads.forget(key)
		}
	}
}

// end takes the trust back and reports whether there ever was any.
func (f *following) end() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.r.cache.lease.end()
	return f.vouched
}

// lease is for how long, and since which tick, statuses read from the store may be trusted.
type lease struct {
	wall, steady atomic.Int64 // until when: a moment
	since        atomic.Uint64
}

func (l *lease) begin(tick uint64) {
	l.end()
	l.since.Store(tick)
}

func (l *lease) end() {
	l.steady.Store(math.MinInt64)
	l.wall.Store(math.MinInt64)
}

// vouch moves the end of the lease. Its distance is the shorter one of the two by time.Now's clocks: t may have been
// made before the machine was suspended. The present is read first, so that no suspension goes between it and that.
func (c *replyCache) vouch(t time.Time) {
	defer func() {
		if recover() != nil { // of the host's clock, in a goroutine that may be anybody's
			c.lease.end()
		}
	}()
	at := c.moment(c.now())
	now := time.Now()
	left := min(t.Sub(now), t.Round(0).Sub(now.Round(0)))
	left = min(max(left, -1), math.MaxInt64/4) // no sum with it overflows
	c.lease.steady.Store(int64(at.steady + left))
	c.lease.wall.Store(int64(at.wall + left))
}

// holds reports whether a read that began at the tick may be trusted now. A nil lease, of a Responder without
// Changes, always holds. The order of the loads matters: one who sees the new end sees the new since.
func (l *lease) holds(begun uint64, now moment) bool {
	return l == nil || int64(now.steady) < l.steady.Load() && int64(now.wall) < l.wall.Load() && begun >= l.since.Load()
}
