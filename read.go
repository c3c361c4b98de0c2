package ocsp

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
)

// hangPatience is how long a request that could be served from the cache waits for a store that let an earlier
// read run into Config.Timeout.
const hangPatience = 100 * time.Millisecond

// statusRead is what is known about a certificate, and since when.
type statusRead struct {
	found
	begun uint64    // the tick at which the read began
	at    time.Time // when that was, by the responder's clock: from then on an answer may say it
	err   error
}

// status sets read to what the store says about a certificate, or said less than StatusTTL ago. If it waits, it reads the
// clock anew.
func (r *Responder) status(ctx context.Context, a *authority, key *certKey, serial []byte, x *exchange, read *statusRead) {
	begun := r.cache.begin()
	known, ok := r.known(a, key)
	if ok && r.cache.trusts(&known, x.now) {
		read.found, read.begun, read.at = known.found, begun, x.now
		return
	}
	if x.observed {
		defer func(start time.Time) { x.storeTime += time.Since(start) }(time.Now())
	}
	if ok && !r.cfg.Cache.FailClosed && r.storeHangs() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, hangPatience)
		defer cancel()
	}
	doubtful := known.inDoubt()
	if doubtful || r.cfg.Cache.StatusTTL > 0 && r.cache.lease.holds(begun) {
		*read = r.shareRead(ctx, a, *key, codec.SerialInt(serial), doubtful, x)
	} else {
		*read = r.read(ctx, a, *key, codec.SerialInt(serial), begun, x.now)
	}
	if read.err != nil {
		read.err = blame("store", a.ids[0], codec.SerialInt(serial), read.err)
	}
	x.now = r.now()
}

// known returns what is known about a certificate, unless it may have been invalidated unnoticed.
func (r *Responder) known(a *authority, key *certKey) (head, bool) {
	known, ok := r.cache.current(key)
	return known, ok && !a.retired.Load()
}

// remaining returns how much of Config.Timeout is left to this exchange.
func (r *Responder) remaining(x *exchange) time.Duration {
	return time.Until(x.start.Add(r.cfg.Timeout))
}

// shareRead joins the read of the certificate's status that is under way, or starts one. What a joined read finds may be as
// old as the read, so it must have begun after the request arrived, or less than StatusTTL ago. While what is known is in
// doubt, one read at a time looks, and those for whom it is too old wait for its end: all together would go on
// contradicting each other, where replicas of a database do.
func (r *Responder) shareRead(ctx context.Context, a *authority, key certKey, serial *big.Int, doubtful bool, x *exchange) statusRead {
	tick := r.cache.begin()
	joined := false
	s, begun := r.reads.joinIf(key, tick, x.now, func(s *shared[statusRead]) bool {
		age := x.now.Sub(s.at) // below zero: the clock was set back
		joined = s.number > x.arrived || age >= 0 && age < r.cfg.Cache.StatusTTL && r.cache.lease.holds(s.tick)
		return joined || doubtful
	})
	if begun {
		r.startRead(ctx, a, key, serial, tick, x.now, s)
	}
	read, err := s.wait(ctx)
	if err != nil {
		return statusRead{begun: tick, err: err}
	}
	if !begun && read.err == nil && !joined {
		read.err = errOvertaken
	}
	return read
}

// startRead starts a read that is shared. It goes on when those who wait leave, but for nobody longer than Config.Timeout:
// then it is over, also if the store is still in it.
func (r *Responder) startRead(ctx context.Context, a *authority, key certKey, serial *big.Int, begun uint64, now time.Time, s *shared[statusRead]) {
	read := statusRead{begun: begun}
	if !r.life.start() {
		r.reads.land(key, s, read, errClosed)
		return
	}
	limit := r.deadlines.next()
	call := callContext{limit, ctx}
	var atOnce atomic.Bool
	intime := context.AfterFunc(limit, func() { r.reads.land(key, s, statusRead{}, r.overdue(atOnce.Load())) })
	r.crew.do(func() {
		defer r.life.done()
		defer func() {
			if v := recover(); v != nil { // of the host's clock
				read.err = &panicError{v, debug.Stack()}
			}
			intime()
			r.reads.land(key, s, read, nil)
		}()
		// A read that ended between the caller's look into the cache and this one's start found it already.
		if known, ok := r.known(a, &key); ok && r.cache.trusts(&known, r.now()) {
			read = statusRead{found: known.found, begun: begun, at: now}
			return
		}
		entered, err := r.enterStore(call)
		if read.err = err; err != nil {
			return
		}
		atOnce.Store(entered)
		read.err = errNoValue
		said, err := r.ask(call, a, serial, entered)
		if call.Err() != nil { // others have read it anew, and found perhaps what is known already
			err = errTimeout
		}
		read = r.note(a, key, serial, said, err, begun, now)
	})
}

// read asks the store, and notes in the cache what it says.
func (r *Responder) read(ctx context.Context, a *authority, key certKey, serial *big.Int, begun uint64, now time.Time) statusRead {
	said, err := r.call(ctx, a, serial)
	return r.note(a, key, serial, said, err, begun, now)
}

// note puts into the cache what the store said in a read that began with that tick, at that time.
func (r *Responder) note(a *authority, key certKey, serial *big.Int, said said, err error, begun uint64, now time.Time) statusRead {
	read := statusRead{begun: begun, at: now, err: err}
	if err == nil {
		read.found, read.err = r.found(a, serial, said)
	}
	switch f := read.found; {
	case errors.Is(read.err, ErrInvalidRecord):
		r.cache.distrust(key)
	case read.err != nil:
	case f.status.issued && !r.cache.record(key, begun, f, now),
		!f.status.issued && !r.cache.forget(key, begun):
		read.err = errOvertaken
	}
	return read
}

// enterStore takes a place among those who call the store, and reports whether there was one at once. ask gives it back.
func (r *Responder) enterStore(ctx context.Context) (atOnce bool, err error) {
	if atOnce = r.storing.free.TryAcquire(1); !atOnce {
		if err := r.storing.acquire(ctx, r.cfg.Timeout); err != nil {
			return false, err
		}
	}
	if !r.life.start() {
		r.storing.release()
		return false, errClosed
	}
	return atOnce, nil
}

// overdue is the error of a call whose time is up. The store hangs if the call had all of the time; one that had to wait for
// its place may have had little.
func (r *Responder) overdue(atOnce bool) error {
	if !atOnce {
		return errBusy
	}
	r.setStoreHangs(true)
	return errTimeout
}

// ask calls the store.
func (r *Responder) ask(ctx context.Context, a *authority, serial *big.Int, atOnce bool) (said said, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
		if over := ctx.Err() != nil; !over || atOnce {
			r.setStoreHangs(over)
		}
		r.storing.release()
		r.life.done()
	}()
	return r.find(ctx, a, serial)
}

// storeCall is a call of the store, in a goroutine of its own, so that a store that hangs holds up nobody for
// longer than Config.Timeout. It does what detach does, and is written out because by default every answer
// makes one: calls are used again, and share the contexts that end them.
type storeCall struct {
	start  func() // run, bound once
	r      *Responder
	ctx    context.Context
	a      *authority
	serial *big.Int
	atOnce bool
	said   said
	err    error
	done   chan struct{} // has room for the one signal
}

func newStoreCall() *storeCall {
	c := &storeCall{done: make(chan struct{}, 1)}
	c.start = c.run
	return c
}

func (c *storeCall) run() {
	defer func() { c.done <- struct{}{} }()
	c.err = errNoValue
	c.said, c.err = c.r.ask(c.ctx, c.a, c.serial, c.atOnce)
}

// call calls the store. It returns when the store does, when ctx ends, or after Config.Timeout.
func (r *Responder) call(ctx context.Context, a *authority, serial *big.Int) (said, error) {
	limit := r.deadlines.next()
	atOnce, err := r.enterStore(ctx)
	if err != nil {
		return said{}, err
	}
	c := r.storeCalls.Get().(*storeCall)
	c.r, c.ctx, c.a, c.serial, c.atOnce = r, callContext{limit, ctx}, a, serial, atOnce
	r.crew.do(c.start)
	select {
	case <-c.done:
		return r.finished(c)
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.Done():
		err = r.overdue(atOnce)
	}
	select { // a result that came at the same time is still a result
	case <-c.done:
		return r.finished(c)
	default:
		return said{}, err // the call is left to the goroutine that is still in it
	}
}

// finished takes the result out of a call that may be used again.
func (r *Responder) finished(c *storeCall) (said, error) {
	said, err := c.said, c.err
	*c = storeCall{start: c.start, done: c.done}
	r.storeCalls.Put(c)
	return said, err
}

// setStoreHangs notes how the last call of the store to end did so.
func (r *Responder) setStoreHangs(hangs bool) {
	switch {
	case hangs:
		r.hangsUntil.Store(time.Now().Add(r.cfg.Timeout).UnixNano())
	case r.hangsUntil.Load() != 0: // most set what is set already
		r.hangsUntil.Store(0)
	}
}

// storeHangs reports whether the store let a call run into Config.Timeout less than that ago. Then one request
// finds out, with all the patience there is, whether it still does.
func (r *Responder) storeHangs() bool {
	until := r.hangsUntil.Load()
	if until == 0 {
		return false
	}
	now := time.Now()
	return now.UnixNano() < until || !r.hangsUntil.CompareAndSwap(until, now.Add(r.cfg.Timeout).UnixNano())
}

// storeFails reports whether an error says that the store fails, and not that it has much to do, or nothing more.
func (r *Responder) storeFails(err error) bool {
	switch {
	case errors.Is(err, errClosed), isBroken(err):
		return false
	case errors.Is(err, errBusy):
		return time.Now().UnixNano() < r.hangsUntil.Load() || r.storing.stuck(r.cfg.Timeout)
	}
	return true
}

// callContext ends with one context and has the values of another too.
type callContext struct {
	context.Context
	values context.Context
}

// Value looks into the context that ends first, where package context finds what makes deriving from it cheap.
func (c callContext) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.values.Value(key)
}

// deadlines hands out contexts that end after limit or up to an eighth of it earlier: all calls that begin
// within an eighth share one, since a context with a timer of its own costs more than a cached answer does.
type deadlines struct {
	limit   time.Duration
	current atomic.Pointer[deadline]
	mu      sync.Mutex // held while current is replaced
}

type deadline struct {
	context.Context
	cancel context.CancelFunc
	last   time.Time // until when it is handed out
}

func (d *deadlines) next() context.Context {
	if now := d.current.Load(); now != nil && time.Now().Before(now.last) {
		return now
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	begin := time.Now()
	if now := d.current.Load(); now != nil && begin.Before(now.last) {
		return now
	}
	ctx, cancel := context.WithDeadline(context.Background(), begin.Add(d.limit))
	next := &deadline{ctx, cancel, begin.Add(d.limit / 8)}
	d.current.Store(next)
	return next
}

// stop releases the context in use, once no call needs it.
func (d *deadlines) stop() {
	if now := d.current.Load(); now != nil {
		now.cancel()
	}
}

// found is a certificate's status and the ID of the issuer under which the store has it.
type found struct {
	status   certStatus
	issuerID string
}

// said is what the store has about a certificate, and the ID of the issuer under which; without an ID it has nothing.
type said struct {
	record Record
	id     string
}

// find asks the store for the certificate under each of the authority's IDs.
func (r *Responder) find(ctx context.Context, a *authority, serial *big.Int) (said, error) {
	for _, id := range a.ids {
		record, err := r.cfg.Store.FindBySerial(ctx, id, serial)
		if err == nil {
			return said{record, id}, nil
		}
		if !errors.Is(err, ErrNotFound) {
			return said{}, blame("store", id, serial, err)
		}
	}
	return said{}, nil
}

// found is what follows from what the store said.
func (r *Responder) found(a *authority, serial *big.Int, said said) (found, error) {
	if said.id == "" {
		return found{unissued(r.cfg.Unissued), a.ids[0]}, nil
	}
	status, err := said.record.certStatus()
	if err == nil && r.cfg.Profile == ProfileCABF && status.reason == CertificateHold {
		err = fmt.Errorf("%w: ProfileCABF forbids certificateHold (TLS BR 4.9.13)", ErrInvalidRecord)
	}
	if err != nil {
		return found{}, blame("store", said.id, serial, err)
	}
	return found{status, said.id}, nil
}
