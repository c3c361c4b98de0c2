package ocsp

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// statusRead is what is known about a certificate, and since when.
type statusRead struct {
	found
	begun   uint64 // the tick at which the read began
	at      moment // when that was: the last at which the status is known to have been so
	trusted bool   // it began before the request came
	err     error
}

// status sets read to what the store says about a certificate, or said less than StatusTTL ago. If it waits, it reads the
// clock anew.
func (r *Responder) status(ctx context.Context, a *authority, key *certKey, serial []byte, x *exchange, read *statusRead) {
	begun, now := r.cache.begin(), r.cache.moment(x.now)
	known, ok := r.known(a, key)
	if ok && r.cache.trusts(&known, now) && r.cache.second(known.checked) >= x.newer {
		*read = statusRead{found: known.found, begun: begun, at: known.checked, trusted: true}
		return
	}
	if x.observed {
		defer func(start time.Time) { x.storeTime += time.Since(start) }(time.Now())
	}
	doubtful := known.inDoubt()
	if doubtful || r.cfg.Cache.StatusTTL > 0 && r.cache.lease.holds(begun, now) {
		*read = r.shareRead(ctx, a, *key, codec.SerialInt(serial), doubtful, now, x)
	} else {
		*read = r.read(ctx, a, *key, codec.SerialInt(serial), begun, now, x)
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
// old as the read, so it must have begun after the request arrived, or be trusted. While what is known is in
// doubt, one read at a time looks, and those for whom it is too old wait for its end: all together would go on
// contradicting each other, where replicas of a database do. A read that outlasts StorePatience holds up nobody: the
// next begins beside it.
func (r *Responder) shareRead(ctx context.Context, a *authority, key certKey, serial *big.Int, doubtful bool, now moment, x *exchange) statusRead {
	tick := r.cache.begin()
	joined := false
	s, begun := r.reads.joinIf(key, tick, now, a.stages(), func(s *shared[statusRead]) bool {
		trusted := now.within(r.cfg.Cache.StatusTTL, s.at) && r.cache.lease.holds(s.tick, now)
		joined = s.number > x.arrived || trusted && r.cache.second(s.at) >= x.newer
		return (joined || doubtful) && time.Since(s.begun) < r.cfg.Cache.StorePatience
	})
	if begun {
		r.startRead(ctx, a, key, serial, tick, now, x.newer, s)
	}
	for landed := false; !landed; {
		stage := s.stage()
		_, silence := stage.lane.watch.State()
		if err := r.await(ctx, nil, s.landed, stage.over, silence, &s.queued, stage.lane, x); err != nil {
			return statusRead{begun: tick, err: err}
		}
		select {
		case <-s.landed:
			landed = true
		default: // it has gone on to another store
		}
	}
	read, err := s.value, s.err
	if err != nil {
		return statusRead{begun: tick, err: err}
	}
	read.trusted = read.trusted || s.number <= x.arrived
	if read.err == nil && (!begun && !joined || read.trusted && r.cache.second(read.at) < x.newer) {
		read.err = errOvertaken
	}
	return read
}

// startRead starts a read that is shared. It goes on when those who wait leave, but for nobody longer than Config.Timeout:
// then it is over, also if the store is still in it.
func (r *Responder) startRead(ctx context.Context, a *authority, key certKey, serial *big.Int, begun uint64, now moment, newer int64, s *shared[statusRead]) {
	read := statusRead{begun: begun}
	limit := r.deadlines.Next()
	call := hostcall.WithValues(limit, ctx)
	overdue := func() error {
		at := s.stage()
		return blame("store", at.ids[0], serial, r.overdue(at.lane, !s.queued.Load()))
	}
	intime := context.AfterFunc(limit, func() { r.reads.land(key, s, statusRead{}, overdue()) })
	started := r.host.Go(func() {
		defer func() {
			if v := recover(); v != nil { // of the host's clock
				read.err = hostcall.NewPanicError(v)
			}
			intime()
			r.reads.land(key, s, read, nil)
		}()
		// A read that ended between the caller's look into the cache and this one's start found it already.
		if known, ok := r.known(a, &key); ok && r.cache.trusts(&known, r.cache.moment(r.now())) && r.cache.second(known.checked) >= newer {
			read = statusRead{found: known.found, begun: begun, at: known.checked, trusted: true}
			return
		}
		var found said
		var err error
		for i := range a.sources {
			src := &a.sources[i]
			if i > 0 {
				close(s.stages[i-1].over)
			}
			if err = r.enterStore(limit, limit, src, &s.queued, nil); err != nil {
				err = blame("store", src.ids[0], serial, err)
				break
			}
			var wait hostcall.Call
			atOnce := !s.queued.Load()
			src.lane.watch.Begin(&wait, atOnce)
			r.ask(call, src, serial, &wait, atOnce, &found, &read.err)
			if err = read.err; err != nil {
				err = blame("store", src.ids[0], serial, err)
				break
			}
			if found.id != "" {
				break
			}
		}
		if call.Err() != nil { // others have read it anew, and found perhaps what is known already
			err = overdue()
		}
		read = r.note(a, key, serial, found, err, begun, now)
	})
	if !started {
		intime()
		r.reads.land(key, s, read, errClosed)
	}
}

// read asks the store, and notes in the cache what it says.
func (r *Responder) read(ctx context.Context, a *authority, key certKey, serial *big.Int, begun uint64, now moment, x *exchange) statusRead {
	limit := r.deadlines.Next()
	var said said
	var err error
	for i := range a.sources {
		src := &a.sources[i]
		if said, err = r.call(ctx, limit, src, serial, x); err != nil {
			err = blame("store", src.ids[0], serial, err)
			break
		}
		if said.id != "" {
			break
		}
	}
	return r.note(a, key, serial, said, err, begun, now)
}

// note puts into the cache what the store said in a read that began with that tick, at that moment.
func (r *Responder) note(a *authority, key certKey, serial *big.Int, said said, err error, begun uint64, at moment) statusRead {
	read := statusRead{begun: begun, at: at, err: err}
	if err == nil {
		if read.found, read.err = r.found(a, serial, said); read.err == nil {
			r.storeSucceeded(a, said.id, serial)
		}
	}
	switch f := read.found; {
	case errors.Is(read.err, ErrInvalidRecord):
		r.cache.distrust(key)
	case read.err != nil:
	case f.status.issued && !r.cache.record(key, begun, f, at),
		!f.status.issued && !r.cache.forget(key, begun):
		read.err = errOvertaken
	}
	return read
}

// storeSucceeded notes that the store has answered about a certificate, for the issuer with that ID and for those
// that it was asked about before; without an ID for all.
func (r *Responder) storeSucceeded(a *authority, id string, serial *big.Int) {
	if r.logs.failing.Load() == 0 {
		return
	}
	for i := range a.sources {
		for _, asked := range a.sources[i].ids {
			if r.succeeded("store", asked, serial, callFailures...); asked == id {
				return
			}
		}
	}
}

// enterStore takes a place among the calls of a store. ask gives it back. queued is set if it has to wait for
// the place. x is the request that waits, nil for a read that several share.
func (r *Responder) enterStore(ctx, limit context.Context, src *source, queued *atomic.Bool, x *exchange) error {
	if !src.calls.TryAcquire() {
		queued.Store(true)
		if err := r.queueForStore(ctx, limit, src, x); err != nil {
			return err
		}
	}
	if r.host.Closed() {
		src.calls.Release()
		return errClosed
	}
	return nil
}

// queueForStore waits for a place. For those who wait the store is silent only if no place was given back for
// Config.Timeout: it may have much to do. For a read that several share, await sees to that.
func (r *Responder) queueForStore(ctx, limit context.Context, src *source, x *exchange) error {
	deadline, _ := limit.Deadline()
	for {
		stuck := src.lane.watch.StuckIn()
		if stuck <= 0 && x != nil && r.standsIn(x) {
			return ErrStoreSilent
		}
		begun, patience := time.Now(), time.Until(deadline)
		short := stuck > 0 && stuck < patience
		if short {
			patience = stuck
		}
		err := src.calls.Acquire(ctx, patience)
		switch {
		case err == nil:
			return nil
		case r.host.Closed():
			return errClosed
		case ctx.Err() != nil || !short || time.Since(begun) < patience: // it left, or the queue was full
			return &storeError{ErrStoreBusy, err}
		}
	}
}

// overdue is the error of a call whose time is up. A call that had to wait for its place may have had little of it.
func (r *Responder) overdue(lane *storeLane, atOnce bool) error {
	if r.host.Closed() {
		return errClosed
	}
	return lane.judge(hostcall.ErrTimeout, true, atOnce)
}

// ask calls the store. It sets what it says, and the error also if the store ends the goroutine.
func (r *Responder) ask(ctx context.Context, src *source, serial *big.Int, wait *hostcall.Call, atOnce bool, says *said, err *error) {
	*err = hostcall.ErrNoReturn
	how := hostcall.Failed
	defer func() {
		if v := recover(); v != nil {
			*err = hostcall.NewPanicError(v)
		}
		src.lane.watch.End(wait, how)
		switch {
		case how == hostcall.Answered || isBroken(*err):
		case r.host.Closed() && ctx.Err() != nil: // Close has ended the call
			*err = errClosed
		default:
			*err = src.lane.judge(*err, how >= hostcall.TimedOut, atOnce)
		}
		src.calls.Release()
	}()
	*says, *err = src.find(ctx, serial)
	switch {
	case *err == nil || errors.Is(*err, ErrInvalidRecord):
		how = hostcall.Answered
	case ctx.Err() != nil:
		how = hostcall.Overdue
	case isTimeout(*err):
		how = hostcall.TimedOut
	}
}

// storeCall is a call of the store, in a goroutine of its own, so that a store that hangs holds up nobody for
// longer than Config.Timeout. It does what detach does, and is written out because by default every answer
// makes one: calls are used again, and share the contexts that end them.
type storeCall struct {
	start  func() // run, bound once
	r      *Responder
	ctx    context.Context
	src    *source
	serial *big.Int
	queued atomic.Bool // it had to wait for its place
	wait   hostcall.Call
	said   said
	err    error
	done   chan struct{} // has room for the one signal
}

func newStoreCall(r *Responder) *storeCall {
	c := &storeCall{r: r, done: make(chan struct{}, 1)}
	c.start = c.run
	return c
}

func (c *storeCall) run() {
	r := c.r
	defer func() { c.done <- struct{}{} }()
	r.ask(c.ctx, c.src, c.serial, &c.wait, !c.queued.Load(), &c.said, &c.err)
}

// await waits for a call of the store to be done, and returns why if it stops waiting before. If a cached
// answer can stand in, it does so when the store is silent; a store that was silent before gets
// silentPatience. queued is set if the call had to wait for its place: then silence is no evidence, and the
// store must be stuck. limit may be nil. A channel on that is not nil makes await return as done does.
func (r *Responder) await(ctx, limit context.Context, done, on, silence <-chan struct{}, queued *atomic.Bool, lane *storeLane, x *exchange) error {
	var over <-chan struct{}
	if limit != nil {
		over = limit.Done()
	}
	var grace <-chan time.Time
	select {
	case <-silence:
		if silence = nil; !queued.Load() && r.standsIn(x) {
			timer := time.NewTimer(min(silentPatience, lane.watch.Patience()))
			defer timer.Stop()
			grace = timer.C
		}
	default:
	}
	var stuck <-chan time.Time
	var alarm *time.Timer
	if limit == nil || queued.Load() {
		alarm = time.NewTimer(max(lane.watch.StuckIn(), min(silentPatience, lane.watch.Patience())))
		defer alarm.Stop()
		stuck = alarm.C
	}
	var err error
	for err == nil {
		select {
		case <-done:
			return nil
		case <-on:
			return nil
		case <-ctx.Done():
			if err = ctx.Err(); !errors.Is(err, context.Canceled) {
				err = r.overdue(lane, !queued.Load())
			}
		case <-over:
			err = r.overdue(lane, !queued.Load())
		case <-silence:
			if silence = nil; !queued.Load() && r.standsIn(x) {
				err = ErrStoreSilent
			}
		case <-grace:
			var silent bool
			if silent, silence = lane.watch.State(); silent && !queued.Load() { // a shared read knows only by now
				err = ErrStoreSilent
			}
		case <-stuck:
			if left := lane.watch.StuckIn(); left > 0 {
				alarm.Reset(left)
			} else if queued.Load() && r.standsIn(x) {
				err = ErrStoreSilent
			}
		}
	}
	select { // a result that came at the same time is still a result
	case <-done:
		return nil
	default:
		return err
	}
}

// call calls a store. It returns when the store does, when ctx or limit ends, or when a cached answer is to stand in.
func (r *Responder) call(ctx, limit context.Context, src *source, serial *big.Int, x *exchange) (said, error) {
	c := r.storeCalls.Get().(*storeCall)
	c.queued.Store(false)
	if err := r.enterStore(ctx, limit, src, &c.queued, x); err != nil {
		r.storeCalls.Put(c)
		return said{}, err
	}
	c.ctx, c.src, c.serial = hostcall.WithValues(limit, ctx), src, serial
	silence := src.lane.watch.Begin(&c.wait, !c.queued.Load())
	if !r.host.Go(c.start) {
		src.lane.watch.End(&c.wait, hostcall.Failed)
		src.calls.Release()
		return said{}, errClosed
	}
	if err := r.await(ctx, limit, c.done, nil, silence, &c.queued, src.lane, x); err != nil {
		return said{}, err // the call is left to the goroutine that is still in it
	}
	found, err := c.said, c.err
	c.ctx, c.src, c.serial, c.said, c.err = nil, nil, nil, said{}, nil
	r.storeCalls.Put(c)
	return found, err
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

// find asks the store for the certificate under each of the source's IDs.
func (s *source) find(ctx context.Context, serial *big.Int) (said, error) {
	for i, id := range s.ids {
		if i > 0 {
			s.lane.watch.Heard()
		}
		record, err := s.lane.store.FindBySerial(ctx, id, serial)
		if err == nil {
			return said{record, id}, nil
		}
		if !errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalidRecord) {
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
	if said.record.Reason == RemoveFromCRL && status.status == Revoked {
		r.warnOfRemoveFromCRL(a, said.id, serial)
	}
	return found{status, said.id}, nil
}
