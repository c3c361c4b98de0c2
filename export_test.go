package ocsp

import (
	"math/big"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// ClearReady takes away all that is ready, so that answers come from the storage and are made ready again.
func ClearReady(r *Responder) { fillReady(r, nil) }

// CrowdReady takes all places for what is ready, so that answers come from the storage.
func CrowdReady(r *Responder) { fillReady(r, &ready{}) }

func fillReady(r *Responder, with *ready) {
	for i := range r.cache.stripes {
		for place := range r.cache.stripes[i].ready {
			r.cache.stripes[i].ready[place].Store(with)
		}
	}
}

// Hooks are what a test does before storage.update, and before storage.head and storage.reply return.
type Hooks struct{ Update, Head, Reply func() }

// HookStorage installs hooks.
func HookStorage(r *Responder, h *Hooks) { r.cache.storage = &hooked{r.cache.storage, h} }

type hooked struct {
	storage
	hooks *Hooks
}

func (s *hooked) update(key certKey, h head) {
	if s.hooks.Update != nil {
		s.hooks.Update()
	}
	s.storage.update(key, h)
}

func (s *hooked) head(key certKey) (head, bool) {
	h, ok := s.storage.head(key)
	if s.hooks.Head != nil {
		s.hooks.Head()
	}
	return h, ok
}

func (s *hooked) reply(key certKey, status certStatus, id replyID, room []byte) (kept, bool) {
	k, ok := s.storage.reply(key, status, id, room)
	if s.hooks.Reply != nil {
		s.hooks.Reply()
	}
	return k, ok
}

// TakeVerifying takes all places among those whose signatures are verified, until the function that it returns is called.
func TakeVerifying(r *Responder) (giveBack func()) {
	taken := 0
	for r.verifying.TryAcquire() {
		taken++
	}
	return func() {
		for range taken {
			r.verifying.Release()
		}
	}
}

// SameStripe reports whether two serials of the first authority share a fence.
func SameStripe(r *Responder, a, b *big.Int) bool {
	stripe := func(serial *big.Int) *stripe {
		key := newCertKey(1, codec.SerialBytes(serial))
		st, _ := r.cache.stripe(&key)
		return st
	}
	return stripe(a) == stripe(b)
}

// QuietStores makes it as if no store had answered anybody for StorePatience, after which an error of a store lets a
// cached answer stand in.
func QuietStores(r *Responder) {
	for _, l := range append(r.stores.own, r.stores.main) {
		l.watch.Close()
		l.watch = hostcall.NewWatch(l.watch.Patience(), r.cfg.Timeout) // which has heard nothing
	}
}

// Lanes returns how many keys that can hang have a budget.
func Lanes(r *Responder) int { return len(r.lanes.opaque) }

// Stores returns how many stores have a lane, and how many shares of those issuers have.
func Stores(r *Responder) (lanes, shares int) {
	all := append(r.stores.own, r.stores.main)
	for _, l := range all {
		shares += len(l.shares)
	}
	return len(all), shares
}

// TakeNoncePlaces takes the places that signatures with Go's own keys may have at a time for answers with a nonce. It
// returns how many those are, and what gives them back.
func TakeNoncePlaces(r *Responder) (n int, giveBack func()) {
	places := r.lanes.goKeys.extra
	for places.TryAcquire() {
		n++
	}
	return n, func() {
		for range n {
			places.Release()
		}
	}
}

// SetSteady replaces the monotonic clock by which trust is counted.
func SetSteady(r *Responder, steady func() time.Duration) { r.cache.steady = steady }

// LogPlaces returns how many components and issuers the log has limits for.
func LogPlaces(r *Responder) int { return len(r.logs.places) }

// LogsFailing reports whether a success may have to log that a failure is over.
func LogsFailing(r *Responder) bool { return r.logs.failing.Load() != 0 }
