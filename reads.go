package ocsp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
	"github.com/kmsocsp/ocsp/internal/statuses"
)

type (
	memory = statuses.Memory[certStatus, wireAnswer]
	look   = statuses.Look[certStatus, wireAnswer]
)

// silentPatience is how long a request waits for a store that is silent already, if a cached answer
// can stand in.
const silentPatience = 100 * time.Millisecond

// reads asks the stores about certificates, through the memory of what they said.
type reads struct {
	cfg       *Config
	clock     *clock
	log       *failureLog
	group     *hostcall.Group
	memory    *memory
	deadlines hostcall.Deadlines
	pool      sync.Pool
}

// storeRead is a read of the store about one certificate, in a goroutine of its own, so that a
// store that hangs holds up nobody for longer than Config.Timeout. By default every answer makes
// one, so they are used again.
type storeRead struct {
	statuses.Read[certStatus, wireAnswer]
	reads *reads
	run   func() // bound once

	authority *authority
	ctx       context.Context
	serial    *big.Int
	source    atomic.Int32    // the one that is asked, of authority.sources
	moved     []chan struct{} // closed when the read moves on from a source; nil if there is one
	queued    atomic.Bool     // the call had to wait for its place
	entered   bool            // the call has its place
	call      hostcall.Call

	status certStatus
	known  bool
	err    error
}

// asker is a request for whose answer a cached one may stand in while the store is silent.
type asker interface{ canStandIn() bool }

// waiter is a request that waits for a read.
type waiter struct {
	*reads
	ctx, limit context.Context
	serial     []byte
	asker      asker
	begun      time.Time // when it first waited behind another read
	patience   time.Time // until when it waits for a store that is silent; zero: it has not seen one
}

// read returns what the store says in a read that begins after the look l was taken, or in one
// whose status is trusted and that began in the second newer, since 1970, or later.
func (q *reads) read(
	ctx context.Context, a *authority, serial []byte, l look, now time.Time, newer int64, by asker,
) (_ look, err error) {
	defer func() {
		if err != nil {
			err = wrapHostError("store", a.ids[0], codec.SerialInt(serial), err)
		}
	}()
	w := waiter{reads: q, ctx: ctx, limit: q.deadlines.Next(), serial: serial, asker: by}
	mine, begun := q.acquire(a), false
	var other *storeRead
	defer func() {
		if begun {
			mine.release()
		} else {
			q.pool.Put(mine)
		}
		other.release()
	}()
	for {
		r, how := q.memory.Begin(&l, q.clock.moment(now), q.clock.wall(newer), &mine.Read)
		other.release()
		other = nil
		switch begun = how == statuses.Own; {
		case begun:
			return w.own(mine)
		case how == statuses.Renewed:
			return l, nil
		}
		other = r.Owner.(*storeRead)
		ended, err := w.waitFor(other, how)
		if err != nil {
			return l, err
		}
		if ended && how == statuses.Joined {
			return other.Result()
		}
		now = q.clock.now()
	}
}

// waitFor waits for a read of another request. ended is false if another one may begin beside it. A
// request waits at most a quarter of Timeout for reads that began too early, so that there is time
// for its own.
func (w *waiter) waitFor(s *storeRead, how statuses.How) (ended bool, err error) {
	if how == statuses.Joined {
		return w.wait(s, how, false, nil)
	}
	if w.begun.IsZero() {
		w.begun = time.Now()
	}
	timer := time.NewTimer(min(s.Outlasts(), w.cfg.Timeout/4-time.Since(w.begun)))
	defer timer.Stop()
	if ended, err = w.wait(s, how, false, timer.C); !ended && err == nil {
		s.Pass()
	}
	return ended, err
}

// own makes a read that has begun, and returns its result.
func (w *waiter) own(s *storeRead) (_ look, err error) {
	err = hostcall.ErrNoReturn
	started := false
	defer func() {
		if !started { // also if the host's clock panics
			s.End(certStatus{}, false, err)
			s.release()
		}
	}()
	s.serial = codec.SerialInt(w.serial)
	s.ctx = hostcall.WithValues(w.limit, w.ctx)
	src := &s.authority.sources[0]
	atOnce := src.calls.TryAcquire()
	switch s.entered = atOnce; {
	case atOnce:
		src.lane.watch.Begin(&s.call, true)
	case src.lane.watch.StuckIn() <= 0 && w.asker.canStandIn():
		return look{}, ErrStoreSilent
	default:
		s.queued.Store(true)
	}
	if started = w.group.Go(s.run); !started {
		if atOnce {
			src.lane.watch.End(&s.call, hostcall.Failed)
			src.calls.Release()
		}
		return look{}, errClosed
	}
	if _, err := w.wait(s, statuses.Own, atOnce, nil); err != nil {
		return look{}, err // the call continues in its goroutine
	}
	return s.Result()
}

// acquire returns a read that is not in flight.
func (q *reads) acquire(a *authority) *storeRead {
	s, ok := q.pool.Get().(*storeRead)
	if !ok {
		s = &storeRead{reads: q}
		s.Owner, s.run = s, s.ask
	}
	s.authority = a
	s.source.Store(0)
	s.queued.Store(false)
	s.moved = nil
	for range a.sources[1:] {
		s.moved = append(s.moved, make(chan struct{}))
	}
	return s
}

// release gives up a hold of the read. The last one puts it back.
func (s *storeRead) release() {
	if s != nil && s.Release() {
		s.authority, s.ctx, s.serial, s.status, s.known, s.err = nil, nil, nil, certStatus{}, false, nil
		s.reads.pool.Put(s)
	}
}

// at returns the source that is being asked, and a channel that is closed when the read moves on to
// the next one.
func (s *storeRead) at() (src *source, moved <-chan struct{}) {
	n := int(s.source.Load())
	if n < len(s.moved) {
		moved = s.moved[n]
	}
	return &s.authority.sources[n], moved
}

// wait waits until a read has ended. ended is false if another read may begin beside it: because
// outlasted has fired, or because the store is silent and the read began too early for the request.
// If a cached answer can stand in, wait returns ErrStoreSilent when the store becomes silent, and
// after silentPatience if it has been silent before. Silence is no evidence for a call that had to
// wait for its turn; then the store must be stuck. atOnce reports that the read is the request's
// own, and that its first call did not have to wait.
func (w *waiter) wait(
	s *storeRead, how statuses.How, atOnce bool, outlasted <-chan time.Time,
) (ended bool, err error) {
	for moved := true; moved; {
		src, next := s.at()
		ended, moved, err = w.waitAt(s, how, src.lane, atOnce && next == nil, next, outlasted)
		if err != nil {
			err = wrapHostError("store", src.ids[0], codec.SerialInt(w.serial), err)
		}
	}
	return ended, err
}

// waitAt is wait for as long as the read asks one source.
func (w *waiter) waitAt(
	s *storeRead, how statuses.How, lane *storeLane, atOnce bool,
	next <-chan struct{}, outlasted <-chan time.Time,
) (ended, moved bool, err error) {
	patience := min(silentPatience, lane.watch.Patience())
	silent, silence := lane.watch.State()
	var grace, stuck <-chan time.Time
	if silent {
		if how == statuses.Behind { // each request asks a silent store again
			return false, false, nil
		}
		if silence = nil; !s.queued.Load() && w.asker.canStandIn() {
			if w.patience.IsZero() {
				w.patience = time.Now().Add(patience)
			}
			timer := time.NewTimer(time.Until(w.patience))
			defer timer.Stop()
			grace = timer.C
		}
	}
	var alarm *time.Timer
	if !atOnce { // its call may have to wait for its turn
		alarm = time.NewTimer(max(lane.watch.StuckIn(), patience))
		defer alarm.Stop()
		stuck = alarm.C
	}
	for err == nil {
		select {
		case <-s.Done():
			return true, false, nil
		case <-next:
			return false, true, nil
		case <-outlasted:
			return false, false, nil
		case <-w.ctx.Done():
			if err = w.ctx.Err(); !errors.Is(err, context.Canceled) {
				err = w.overdue(lane, !s.queued.Load())
			}
		case <-w.limit.Done():
			err = w.overdue(lane, !s.queued.Load())
		case <-silence:
			if silence = nil; !s.queued.Load() && w.asker.canStandIn() {
				err = ErrStoreSilent
			}
		case <-grace: // the call may have ended the silence
			if silent, silence = lane.watch.State(); silent && !s.queued.Load() {
				err = ErrStoreSilent
			}
		case <-stuck:
			if left := lane.watch.StuckIn(); left > 0 {
				alarm.Reset(left)
			} else if s.queued.Load() && w.asker.canStandIn() {
				err = ErrStoreSilent
			}
		}
	}
	select { // a result that arrived at the same time counts
	case <-s.Done():
		return true, false, nil
	default:
		return false, false, err
	}
}

// overdue returns the error of a call whose time is up. A call that had to wait for its turn may
// have had little of it.
func (q *reads) overdue(lane *storeLane, atOnce bool) error {
	if q.group.Closed() {
		return errClosed
	}
	return lane.judge(hostcall.ErrTimeout, true, atOnce)
}

// ask asks the sources in turn, and ends the read with what they say.
func (s *storeRead) ask() {
	s.err = hostcall.ErrNoReturn
	defer func() {
		if v := recover(); v != nil {
			s.err = hostcall.NewPanicError(v)
		}
		if errors.Is(s.err, ErrInvalidRecord) {
			s.Contradicted(s.err)
		} else {
			s.End(s.status, s.known, s.err)
		}
		s.release()
	}()
	a := s.authority
	s.status, s.known = unissued(s.reads.cfg.Unissued), false
	for i := range a.sources {
		src := &a.sources[i]
		if i > 0 {
			s.source.Store(int32(i))
			close(s.moved[i-1])
			s.entered = false
		}
		if s.askSource(src); s.err != nil {
			s.err = wrapHostError("store", src.ids[0], s.serial, s.err)
			return
		}
		if s.known {
			break
		}
	}
	if !s.known {
		s.reads.succeeded(a, "", s.serial)
	}
}

// askSource calls the store of a source. It sets s.err also if the store ends the goroutine.
func (s *storeRead) askSource(src *source) {
	if s.err = s.enter(src); s.err != nil {
		return
	}
	defer src.calls.Release()
	s.err = hostcall.ErrNoReturn
	how := hostcall.Failed
	defer func() {
		if v := recover(); v != nil {
			s.err = hostcall.NewPanicError(v)
		}
		src.lane.watch.End(&s.call, how)
		switch {
		case how == hostcall.Answered || isBroken(s.err):
		case s.reads.group.Closed() && s.ctx.Err() != nil: // Close has waited for it
			s.err = errClosed
		default:
			timedOut := how == hostcall.TimedOut || how == hostcall.Overdue
			s.err = src.lane.judge(s.err, timedOut, !s.queued.Load())
		}
	}()
	var record Record
	var id int
	record, id, s.err = src.find(s.ctx, s.serial)
	switch {
	case s.err == nil || errors.Is(s.err, ErrInvalidRecord):
		how = hostcall.Answered
	case s.ctx.Err() != nil:
		how = hostcall.Overdue
	case isTimeout(s.err):
		how = hostcall.TimedOut
	}
	if s.err == nil && id >= 0 {
		s.known = true
		s.status, s.err = s.reads.convert(s.authority, src.first+id, s.serial, record)
	}
}

// enter takes a place among the calls of a source's store. queued is set if it has to wait for it.
func (s *storeRead) enter(src *source) error {
	if s.entered {
		return nil
	}
	if s.queued.Load() || !src.calls.TryAcquire() {
		s.queued.Store(true)
		deadline, _ := s.ctx.Deadline()
		if err := src.calls.Acquire(s.ctx, time.Until(deadline)); err != nil {
			if s.reads.group.Closed() {
				return errClosed
			}
			return &storeError{ErrStoreBusy, err}
		}
	}
	if s.reads.group.Closed() {
		src.calls.Release()
		return errClosed
	}
	src.lane.watch.Begin(&s.call, !s.queued.Load())
	return nil
}

// find asks the store for the certificate under each of the source's IDs. It returns the record and
// which ID the store has it under, -1 if it does not know the certificate.
func (s *source) find(ctx context.Context, serial *big.Int) (Record, int, error) {
	for i, id := range s.ids {
		if i > 0 {
			s.lane.watch.Heard() // the call goes on
		}
		record, err := s.lane.store.FindBySerial(ctx, id, serial)
		if err == nil {
			return record, i, nil
		}
		if !errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalidRecord) {
			return Record{}, 0, wrapHostError("store", id, serial, err)
		}
	}
	return Record{}, -1, nil
}

// convert turns a record into the status that an answer attests.
func (q *reads) convert(a *authority, id int, serial *big.Int, record Record) (certStatus, error) {
	status, err := record.certStatus()
	if err == nil && q.cfg.Profile == ProfileCABF && status.reason == CertificateHold {
		err = fmt.Errorf("%w: ProfileCABF forbids certificateHold (TLS BR 4.9.13)", ErrInvalidRecord)
	}
	if err != nil {
		return certStatus{}, wrapHostError("store", a.ids[id], serial, err)
	}
	status.issuer = uint32(id)
	if record.Reason == RemoveFromCRL && status.status == Revoked {
		q.warnOfRemoveFromCRL(a, a.ids[id], serial)
	}
	q.succeeded(a, a.ids[id], serial)
	return status, nil
}

// succeeded notes that the store has answered about a certificate, for the issuer with that ID and
// for those that it was asked about before; without an ID for all.
func (q *reads) succeeded(a *authority, id string, serial *big.Int) {
	if q.log.failing.Load() == 0 {
		return
	}
	for _, asked := range a.ids {
		q.log.succeeded("store", asked, serial, callFailures...)
		if asked == id {
			return
		}
	}
}

// warnOfRemoveFromCRL logs, once an hour for each issuer, that a revoked certificate's record has
// RemoveFromCRL.
func (q *reads) warnOfRemoveFromCRL(a *authority, issuerID string, serial *big.Int) {
	const hour = 3600
	now, last := q.clock.now().Unix(), a.warned.Load()
	if now-last >= hour && a.warned.CompareAndSwap(last, now) {
		q.cfg.Logger.Warn("ocsp: a revoked certificate's record has the reason removeFromCRL, "+
			"which releases nothing; it is answered as revoked without a reason; "+
			"to release it set State Active",
			slog.String("issuer", issuerID), slog.String("serial", serial.Text(16)))
	}
}

// unissued returns the status of a serial that the issuer never issued. Extended revoke is spelled
// out in RFC 6960 section 2.2.
func unissued(policy UnissuedPolicy) certStatus {
	s := certStatus{revokedAt: codec.NoTime, invalidityDate: codec.NoTime, notAfter: codec.NoTime}
	if policy == UnissuedRevoked {
		s.status, s.reason, s.revokedAt = Revoked, CertificateHold, 0
	}
	return s
}
