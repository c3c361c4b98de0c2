package ocsp

import (
	"context"
	"math/big"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
	"github.com/kmsocsp/ocsp/internal/statuses"
)

// WithoutHotAnswers keeps a new Responder from caching answers as they are sent, so that each is
// encoded again from its signature.
func WithoutHotAnswers(r *Responder) {
	o := r.cfg.statuses()
	o.Hot = 0
	r.memory = statuses.New[certStatus, wireAnswer](o)
	r.reads.memory, r.signatures.memory = r.memory, r.memory
}

// TakeVerifying takes all slots for requests whose signatures are verified, until the returned
// function is called.
func TakeVerifying(r *Responder) (giveBack func()) {
	n := take(r.signers.lane)
	return func() { release(r.signers.lane, n) }
}

func take(l *hostcall.Lane) (n int) {
	for l.Acquire(context.Background(), 0) == nil {
		n++
	}
	return n
}

func release(l *hostcall.Lane, n int) {
	for range n {
		l.Release()
	}
}

// SameStripe reports whether two serials share a fence.
func SameStripe(r *Responder, a, b *big.Int) bool {
	key, other := statuses.NewKey(0, codec.SerialBytes(a)), statuses.NewKey(0, codec.SerialBytes(b))
	look := r.memory.Look(&key, statuses.Moment{})
	r.memory.Invalidate(&other)
	return !look.Stands()
}

// QuietStores makes the stores silent: none has answered for StorePatience, so that an error of a
// store lets a cached answer stand in.
func QuietStores(r *Responder) {
	for _, l := range append(r.issuers.stores.own, r.issuers.stores.main) {
		if l != nil {
			l.watch.Close()
			l.watch = hostcall.NewWatch(l.watch.Patience(), r.cfg.Timeout) // which has heard nothing
		}
	}
}

// Lanes returns how many keys that can hang have a budget.
func Lanes(r *Responder) int { return len(r.issuers.budgets.external) }

// Stores returns how many stores have a lane, and how many shares of those issuers have.
func Stores(r *Responder) (lanes, shares int) {
	all := append(r.issuers.stores.own, r.issuers.stores.main)
	for _, l := range all {
		shares += len(l.shares)
	}
	return len(all), shares
}

// TakeNonceSlots takes all slots for signatures of answers with a nonce by Go's own keys, until the
// returned function is called. It returns their number too.
func TakeNonceSlots(r *Responder) (n int, giveBack func()) {
	lane := r.issuers.budgets.goKeys.uncacheable
	n = take(lane)
	return n, func() { release(lane, n) }
}

// SetSteady replaces the monotonic clock by which trust is counted.
func SetSteady(r *Responder, steady func() time.Duration) { r.clock.steady = steady }

// LogLimits returns how many components and issuers the log has limits for.
func LogLimits(r *Responder) int { return len(r.log.states) }

// LogsFailing reports whether a success may have to log that a failure is over.
func LogsFailing(r *Responder) bool { return r.log.failing.Load() != 0 }

// Flights returns how many signatures are remembered as being made.
func Flights(r *Responder) int {
	r.signatures.mu.Lock()
	defer r.signatures.mu.Unlock()
	return len(r.signatures.flights)
}
