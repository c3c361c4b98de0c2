package ocsp

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// storeWaiting bounds the calls of one store that wait for their turn.
const storeWaiting = 4096

// storeLane bounds and watches the calls of one CertStore. Issuers with the same store share a
// lane.
type storeLane struct {
	store  CertStore
	calls  *hostcall.Lane // for all issuers
	watch  *hostcall.Watch
	shares map[string]*hostcall.Lane // parts of calls, by issuer.name; guarded by issuers.mu
}

func newStoreLane(store CertStore, c *Config) *storeLane {
	return &storeLane{
		store: store, calls: hostcall.NewLane(c.MaxStoreCalls, storeWaiting),
		watch: hostcall.NewWatch(c.patience(), c.Timeout), shares: map[string]*hostcall.Lane{},
	}
}

// patience returns how long a store may answer no call before it is silent. It is below the
// shortest time limit of a call, which is an eighth less than Timeout.
func (c *Config) patience() time.Duration { return min(c.Cache.StorePatience, c.Timeout/4*3) }

// storeLanes holds the lanes of all stores of a Responder.
type storeLanes struct {
	cfg  *Config
	main *storeLane // of Config.Store; nil: there is none
	own  []*storeLane
}

func newStoreLanes(cfg *Config) storeLanes {
	s := storeLanes{cfg: cfg}
	if cfg.Store != nil {
		s.main = newStoreLane(cfg.Store, cfg)
	}
	return s
}

// of returns the lane of an issuer's store. A nil store is Config.Store. Stores that cannot be
// compared have a lane each.
func (s *storeLanes) of(store CertStore) *storeLane {
	if store == nil {
		return s.main
	}
	for _, l := range s.all() {
		if l != nil && reflect.ValueOf(l.store).Comparable() &&
			reflect.ValueOf(store).Comparable() && l.store == store {
			return l
		}
	}
	l := newStoreLane(store, s.cfg)
	s.own = append(s.own, l)
	return l
}

// all returns the lanes, of which one may be nil.
func (s *storeLanes) all() []*storeLane { return slices.Concat(s.own, []*storeLane{s.main}) }

// prune drops lanes without users, and shares of issuers that are not among the users of their
// lane, once they have no call in progress. users has the issuer.name of each. Requests that began
// earlier still use the watch of a dropped lane.
func (s *storeLanes) prune(users map[*storeLane]map[string]bool) {
	s.own = slices.DeleteFunc(s.own, func(l *storeLane) bool {
		return users[l] == nil && l.calls.Idle()
	})
	for _, l := range s.all() {
		if l != nil {
			maps.DeleteFunc(l.shares, func(issuer string, share *hostcall.Lane) bool {
				return !users[l][issuer] && share.Idle()
			})
		}
	}
}

// close stops the watches of all lanes.
func (s *storeLanes) close() {
	for _, l := range s.all() {
		if l != nil {
			l.watch.Close()
		}
	}
}

// share returns an issuer's part of a lane that several issuers share. It is at most half, so that
// requests about one issuer cannot exclude those about another.
func (l *storeLane) share(issuer string) *hostcall.Lane {
	s := l.shares[issuer]
	if s == nil {
		s = l.calls.Part(max(1, l.calls.Concurrent()/2), l.calls.Waiting()/2)
		l.shares[issuer] = s
	}
	return s
}

// judge wraps an error of a call in ErrStoreSilent or ErrStoreBusy if that is the condition of the
// store. With ErrStoreBusy no cached answer is served.
func (l *storeLane) judge(err error, timedOut, atOnce bool) error {
	switch l.watch.Judge(timedOut, atOnce) {
	case hostcall.Silent:
		return inCondition(ErrStoreSilent, err)
	case hostcall.Busy:
		return inCondition(ErrStoreBusy, err)
	}
	return err
}

// inCondition adds the condition of the store to an error, after the part that names the store.
func inCondition(condition, err error) error {
	if e, ok := err.(*hostError); ok {
		return &hostError{e.component, e.issuerID, e.serial, &storeError{condition, e.err}}
	}
	return &storeError{condition, err}
}

// isTimeout reports whether a store's error is a timeout, such as in the queue of a connection pool
// or one of the store's own.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// storeError is an error of a call and the condition of the store, which is ErrStoreSilent or
// ErrStoreBusy.
type storeError struct{ condition, err error }

func (e *storeError) Error() string { return e.condition.Error() + ": " + e.err.Error() }

func (e *storeError) Unwrap() []error { return []error{e.condition, e.err} }
