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

// storeWaiting bounds the calls of a store that wait for their turn.
const storeWaiting = 4096

// storeLane bounds and observes the calls of one CertStore. Issuers with the same store share a lane.
type storeLane struct {
	store  CertStore
	calls  *hostcall.Lane // of all issuers together
	watch  *hostcall.Watch
	shares map[string]*hostcall.Lane // parts of calls, by issuer.name; guarded by issuers.mu
}

func newStoreLane(store CertStore, c *Config) *storeLane {
	return &storeLane{
		store: store, calls: hostcall.NewLane(c.MaxStoreCalls, storeWaiting),
		watch: hostcall.NewWatch(c.patience(), c.Timeout), shares: map[string]*hostcall.Lane{},
	}
}

// patience returns how long a store may leave everybody without an answer before it is silent. A call may get an eighth
// less than Timeout.
func (c *Config) patience() time.Duration { return min(c.Cache.StorePatience, c.Timeout/4*3) }

// storeLanes are the lanes to all stores of a Responder.
type storeLanes struct {
	cfg  *Config
	main *storeLane // to Config.Store, nil for none
	own  []*storeLane
}

func newStoreLanes(cfg *Config) storeLanes {
	s := storeLanes{cfg: cfg}
	if cfg.Store != nil {
		s.main = newStoreLane(cfg.Store, cfg)
	}
	return s
}

// of returns the lane to the store of an issuer, which is nil for Config.Store. Stores that cannot be
// compared have a lane each.
func (s *storeLanes) of(store CertStore) *storeLane {
	if store == nil {
		return s.main
	}
	for _, l := range append(s.own, s.main) {
		if l != nil && reflect.ValueOf(l.store).Comparable() && reflect.ValueOf(store).Comparable() && l.store == store {
			return l
		}
	}
	l := newStoreLane(store, s.cfg)
	s.own = append(s.own, l)
	return l
}

// prune drops the lanes that have no users, who are named by issuer.name, and the shares of issuers
// that are not among them, once no call is under way. A lane goes on watching for requests that came
// before.
func (s *storeLanes) prune(users map[*storeLane]map[string]bool) {
	s.own = slices.DeleteFunc(s.own, func(l *storeLane) bool { return users[l] == nil && l.calls.Idle() })
	for _, l := range append(s.own, s.main) {
		if l != nil {
			maps.DeleteFunc(l.shares, func(issuer string, share *hostcall.Lane) bool {
				return !users[l][issuer] && share.Idle()
			})
		}
	}
}

// close stops the watches of all lanes.
func (s *storeLanes) close() {
	for _, l := range append(s.own, s.main) {
		if l != nil {
			l.watch.Close()
		}
	}
}

// share returns the part of the lane for one of the issuers that share the store: at most half, so that
// requests about one issuer cannot keep out those about another.
func (l *storeLane) share(issuer string) *hostcall.Lane {
	s := l.shares[issuer]
	if s == nil {
		s = l.calls.Part(max(1, l.calls.Concurrent()/2), l.calls.Waiting()/2)
		l.shares[issuer] = s
	}
	return s
}

// judge adds to an error of a call what it means for cached answers. With ErrStoreBusy none stands in.
func (l *storeLane) judge(err error, timedOut, atOnce bool) error {
	switch l.watch.Judge(timedOut, atOnce) {
	case hostcall.Silent:
		return inCondition(ErrStoreSilent, err)
	case hostcall.Busy:
		return inCondition(ErrStoreBusy, err)
	}
	return err
}

// inCondition adds to an error what it says about the store, behind what names the store.
func inCondition(condition, err error) error {
	if known, ok := err.(*hostError); ok {
		return &hostError{known.component, known.issuerID, known.serial, &storeError{condition, known.err}}
	}
	return &storeError{condition, err}
}

// isTimeout reports whether an error of a store says that the call ran out of time, in the queue of a
// connection pool or by a timeout of the store's own.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// storeError is an error of a call of the store, and what that says about the store.
type storeError struct{ condition, err error }

func (e *storeError) Error() string { return e.condition.Error() + ": " + e.err.Error() }

func (e *storeError) Unwrap() []error { return []error{e.condition, e.err} }
