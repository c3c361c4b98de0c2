package ocsp

import (
	"context"
	"errors"
	"maps"
	"math"
	"reflect"
	"slices"
	"sync"
	"time"
)

// silentPatience is how long a request waits for a store that is silent already, if a cached answer
// can stand in.
const silentPatience = 100 * time.Millisecond

// storeLane is the way to one CertStore: how many calls of it may be under way, and whether it is
// silent. Issuers with the same store share a lane.
//
// A store is silent from the moment at which a call that got its place at once has been waiting for
// CacheOptions.StorePatience, and no call has returned an answer for that long: a Record,
// ErrNotFound or ErrInvalidRecord. The next answer ends the silence, and so does StorePatience without
// a call under way: the store may have recovered unasked. A call that had to wait for its place is no
// evidence: outsiders could make a busy store look silent by asking a lot. Nor is one that is still under
// way when its time is up and the store answers others: it is lost. Where calls run out of time, the store
// may have been at work on them, so those that go on have waited for it since then only.
type storeLane struct {
	store             CertStore
	places            *slots // of all issuers together
	patience, timeout time.Duration
	base              time.Time // what the times below count from, by the monotonic clock

	mu             sync.Mutex
	oldest, newest *storeWait    // calls under way that got their places at once
	answered       time.Duration // when a call last returned an answer
	cut            time.Duration // when a call last ran out of time, while the store was not silent
	moved          time.Duration // when a place was last taken or given back
	freed          time.Duration // when a place was last given back in time, or was free while the store was not silent
	silence        chan struct{} // closed while the store is silent
	silent         bool
	watch          *time.Timer
	watching       bool
	due            time.Duration // when watch fires, if watching
	closed         bool

	shares map[string]*slots // places of single issuers, by issuer.name; guarded by issuerMu
}

// storeWait is a call of a store that is under way.
type storeWait struct {
	begun      time.Duration
	atOnce     bool // it got its place at once
	listed     bool // it is in its lane's list; guarded by the lane's mu
	prev, next *storeWait
}

func newStoreLane(store CertStore, c *Config) *storeLane {
	return &storeLane{
		store: store, places: newSlots(c.MaxStoreCalls, storeWaiting), timeout: c.Timeout,
		patience: min(c.Cache.StorePatience, c.Timeout/4*3), // see deadlines
		silence:  make(chan struct{}), shares: map[string]*slots{},
		base: time.Now(), answered: math.MinInt64 / 2, cut: math.MinInt64 / 2,
	}
}

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

// prune drops the lanes that none of these issuers uses, and the shares of issuers that are gone, once no call is under way. A
// lane goes on watching for requests that came before.
func (s *storeLanes) prune(issuers []*issuer) {
	users := map[*storeLane]map[string]bool{}
	for _, iss := range issuers {
		if users[iss.lane] == nil {
			users[iss.lane] = map[string]bool{}
		}
		users[iss.lane][iss.name] = true
	}
	s.own = slices.DeleteFunc(s.own, func(l *storeLane) bool { return users[l] == nil && l.places.idle() })
	for _, l := range append(s.own, s.main) {
		if l != nil {
			maps.DeleteFunc(l.shares, func(issuer string, places *slots) bool { return !users[l][issuer] && places.idle() })
		}
	}
}

// close ends the watch of all lanes.
func (s *storeLanes) close() {
	for _, l := range append(s.own, s.main) {
		if l != nil {
			l.close()
		}
	}
}

func (l *storeLane) now() time.Duration { return time.Since(l.base) }

// share returns the places for one of the issuers that share the store: at most half of all, so that
// requests about one issuer cannot keep out those about another.
func (l *storeLane) share(issuer string) *slots {
	s := l.shares[issuer]
	if s == nil {
		s = newSlots(max(1, l.places.size/2), int(l.places.maxWaiting)/2)
		s.within = l.places
		l.shares[issuer] = s
	}
	return s
}

// begin notes a call. It returns the channel that is closed when the store becomes silent, nil for a
// call to which the silence does not apply.
func (l *storeLane) begin(c *storeWait, atOnce bool) <-chan struct{} {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent && l.oldest == nil && now-l.moved >= l.patience {
		l.silent, l.silence = false, make(chan struct{})
	}
	if atOnce && !l.silent {
		l.freed = now
	}
	l.moved = now
	if *c = (storeWait{begun: now, atOnce: atOnce}); !atOnce {
		return nil
	}
	c.listed, c.prev = true, l.newest
	if l.newest == nil {
		l.oldest = c
	} else {
		l.newest.next = c
	}
	l.newest = c
	if !l.watching && !l.silent {
		l.watchAt(now, l.patience)
	}
	return l.silence
}

// callEnd is how a call of a store ended.
type callEnd uint8

const (
	callFailed   callEnd = iota // with an error
	callAnswered                // with a Record, ErrNotFound or ErrInvalidRecord
	callTimedOut                // by a timeout of the store's own
	callOverdue                 // by our deadline
)

// end notes the end of a call.
func (l *storeLane) end(c *storeWait, how callEnd) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moved = now
	switch {
	case how < callTimedOut:
		l.freed = now
	case l.silent:
	case how == callOverdue:
		l.cut = now
	default: // timeouts of the store's own must not hide for ever that it answers nobody
		l.cut = max(l.cut, min(now, l.answered+l.timeout))
	}
	if c.listed {
		l.unlist(c)
	}
	if how == callAnswered {
		l.hear(now)
	}
}

// unlist takes a call from the list. l.mu is locked.
func (l *storeLane) unlist(c *storeWait) {
	if c.prev == nil {
		l.oldest = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		l.newest = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.listed, c.prev, c.next = false, nil, nil
}

// heard notes an answer of a call that goes on, since it asks about several IDs.
func (l *storeLane) heard() {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hear(now)
}

// hear notes an answer. l.mu is locked.
func (l *storeLane) hear(now time.Duration) {
	l.answered = now
	for l.oldest != nil && now-l.oldest.begun >= l.timeout {
		l.unlist(l.oldest)
	}
	if l.silent {
		l.silent, l.silence = false, make(chan struct{})
		if l.oldest != nil {
			l.watchAt(now, l.patience)
		}
	}
}

// watchAt makes the lane look whether the store is silent after a time. l.mu is locked.
func (l *storeLane) watchAt(now, after time.Duration) {
	if l.closed {
		return
	}
	l.watching, l.due = true, now+after
	if l.watch == nil {
		l.watch = time.AfterFunc(after, l.look)
	} else {
		l.watch.Reset(after)
	}
}

// look notes whether the store has become silent.
func (l *storeLane) look() {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	late := now - l.due
	l.watching = false
	if l.oldest == nil || l.silent {
		return
	}
	switch left := max(l.oldest.begun, l.answered, l.cut) + l.patience - now; {
	case left > 0:
		l.watchAt(now, left)
	case late > silentPatience: // the process stood still, and answers may lie unread
		l.watchAt(now, silentPatience)
	default:
		l.silent = true
		close(l.silence)
	}
}

// state reports whether the store is silent, and returns the channel that is closed when it is.
func (l *storeLane) state() (silent bool, silence <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.silent, l.silence
}

// quiet reports whether the store has answered nobody for StorePatience.
func (l *storeLane) quiet() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.silent || l.now()-l.answered >= l.patience
}

// stuckIn returns how long it takes until the lane may be stuck: the store is silent, and no place was
// given back for Config.Timeout, other than by a call that ran out of time. Without the silence outsiders
// could do it: under a flood a busy store may get no lookup done within the time of the call.
func (l *storeLane) stuckIn() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := l.freed + l.timeout - l.now()
	if left <= 0 && !l.silent {
		return l.timeout
	}
	return left
}

// close ends the watch.
func (l *storeLane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.watch != nil {
		l.watch.Stop()
	}
}

// judge adds to an error of a call what it means for cached answers: with ErrStoreBusy none stands in. A
// call that ran out of time is evidence only if the store is silent or, for a call that had to wait for its
// place, stuck. Any other error is evidence only if the store has answered nobody for StorePatience: it may
// be broken for this call alone.
func (l *storeLane) judge(err error, timedOut, atOnce bool) error {
	switch {
	case timedOut:
		if silent, _ := l.state(); silent && atOnce || !atOnce && l.stuckIn() <= 0 {
			return inCondition(ErrStoreSilent, err)
		}
	case l.quiet():
		return err
	}
	return inCondition(ErrStoreBusy, err)
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
