package ocsp

import (
	"context"
	"errors"
	"math"
	"math/big"
	"sync"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
	"github.com/kmsocsp/ocsp/internal/statuses"
)

// Pauses before Follow is called again, doubled from the first to the last while it does not get to vouch.
const (
	firstFollowPause = 50 * time.Millisecond
	lastFollowPause  = 5 * time.Second
)

// feed follows Changes, and keeps the lease under which statuses are trusted.
type feed struct {
	changes ChangeFeed
	clock   *clock
	log     *failureLog
	memory  *memory
}

// follow calls Follow again and again, until ctx ends.
func (f *feed) follow(ctx context.Context) {
	pause := firstFollowPause
	for {
		s := &feedSink{feed: f}
		err := f.followOnce(ctx, s)
		if s.end() {
			pause = firstFollowPause
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ocsp: Follow returned without an error")
		}
		f.log.warn(ctx, "ocsp: changes cannot be followed; until they are, every answer reads the store",
			&failure{kind: logChanges, component: "change feed", err: err})
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, lastFollowPause)
	}
}

// followOnce calls Follow, in a goroutine that it may end as it may panic: the lease must end with it either way.
func (f *feed) followOnce(ctx context.Context, s *feedSink) error {
	ended := make(chan error, 1)
	go func() {
		err := hostcall.ErrNoReturn
		defer func() { ended <- err }()
		_, err = hostcall.Protect(ctx, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, f.changes.Follow(ctx, s)
		})
	}()
	return <-ended
}

// feedSink is the FeedSink of one call of Follow.
type feedSink struct {
	feed *feed

	mu      sync.Mutex
	begun   bool
	vouched bool // ever
	ended   bool
}

func (s *feedSink) Resync() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.feed.memory.BeginLease()
		s.begun = true
	}
}

func (s *feedSink) ValidUntil(t time.Time) {
	if s.extend(t) {
		s.feed.log.succeeded("change feed", "", nil, logChanges) // without the lock, since the host's log may hang
	}
}

// extend reports whether the lease was extended.
func (s *feedSink) extend(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || !s.begun {
		return false
	}
	defer func() {
		if recover() != nil { // of the host's clock, in a goroutine that may be anybody's
			s.feed.memory.EndLease()
		}
	}()
	// The time left is the shorter one of the two by time.Now's clocks: t may have been made before the machine was
	// suspended. The present is read first, so that no suspension goes between it and that.
	at := s.feed.clock.moment(s.feed.clock.now())
	now := time.Now()
	left := min(t.Sub(now), t.Round(0).Sub(now.Round(0)))
	left = min(max(left, -1), math.MaxInt64/4) // no sum with it overflows
	s.feed.memory.ExtendLease(statuses.Moment{Wall: at.Wall + left, Steady: at.Steady + left})
	s.vouched = true
	return true
}

func (s *feedSink) Changed(issuerID string, serials ...*big.Int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	for _, serial := range serials {
		if serial != nil {
			key := statuses.NewKey(0, codec.SerialBytes(serial)) // of every issuer
			s.feed.memory.Invalidate(&key)
		}
	}
}

// end takes the lease back and reports whether there ever was one.
func (s *feedSink) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.feed.memory.EndLease()
	return s.vouched
}
