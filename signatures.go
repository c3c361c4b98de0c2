package ocsp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/kmsocsp/ocsp/internal/hostcall"
	"github.com/kmsocsp/ocsp/internal/signed"
)

// signatures finds signed answers and makes new ones: within the budget for signatures, and one at
// a time for all who ask the same.
type signatures struct {
	cfg     *Config
	clock   *clock
	log     *failureLog
	group   *hostcall.Group
	memory  *memory
	answers *signed.Memory[certStatus] // nil: Cache.Disabled
	remote  *remote                    // nil: none

	mu      sync.Mutex
	flights map[flightKey]*flight
}

// flightKey names a signature that several requests share. Renewals differ from first signatures.
type flightKey struct {
	id       answerID
	renews   bool
	replaces int64 // the thisUpdate of the answer to be renewed
}

// flight is a signature that is being made.
type flight struct {
	key     flightKey
	landed  chan struct{} // closed when the rest is set
	wire    *wireAnswer
	outcome Outcome // OutcomeSigned, or OutcomeCached if no signature was made
	err     error
}

// renewalOf names the renewal of an answer.
func renewalOf(a *wireAnswer) flightKey { return flightKey{a.ID, true, a.ThisUpdate} }

// join returns the flight with that key. If there is none it begins one, which the caller must land.
func (s *signatures) join(key flightKey) (f *flight, begun bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.flights[key]; ok {
		return f, false
	}
	f = &flight{key: key, landed: make(chan struct{})}
	s.flights[key] = f
	return f, true
}

// land ends a flight. Later requests begin another.
func (s *signatures) land(f *flight, wire *wireAnswer, outcome Outcome, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.wire, f.outcome, f.err = wire, outcome, err
	delete(s.flights, f.key)
	close(f.landed)
}

// claim returns the flight of a renewal if the caller is the one to make it, otherwise nil. The
// caller must pass the flight to share or abandon it. held is the flight of an earlier claim, or nil.
func (s *signatures) claim(held *flight, key flightKey) *flight {
	if held != nil && held.key == key {
		return held
	}
	s.abandon(held)
	if f, begun := s.join(key); begun {
		return f
	}
	return nil
}

// abandon gives up a claim, which may be nil.
func (s *signatures) abandon(f *flight) {
	if f != nil {
		s.land(f, nil, 0, errOvertaken)
	}
}

// find returns the answer that attests what the draft does, or nil: the one that hangs on the
// status, or another one, which then belongs to the scratch.
func (s *signatures) find(d *draft, look *look, x *scratch) *wireAnswer {
	hot := look.Hot != nil && look.Hot.ID == d.id
	if s.answers == nil || hot && rand.Uint32N(64) != 0 { // one look of 64 counts as a use in answers
		if hot {
			return look.Hot
		}
		return nil
	}
	a, ok := s.answers.Find(&d.id, x.signature)
	switch {
	case hot:
		return look.Hot
	case !ok:
		return nil
	}
	x.wire = wireAnswer{signedAnswer: a}
	return &x.wire
}

// write makes the reply that sends an answer. What it says is a matter of the draft and the
// answer's life alone, so that it is, octet for octet, what was signed.
func (s *signatures) write(d *draft, look *look, a *wireAnswer, x *scratch) *reply {
	d.singles[0].thisUpdate, d.singles[0].nextUpdate = a.ThisUpdate, a.NextUpdate
	if a.der != nil {
		return d.reply(a.der, false, &a.signedAnswer, a.header, x)
	}
	x.tbs = d.appendTBS(s.cfg, a.ProducedAt, x.tbs[:0])
	x.der = d.wrap(x.der[:0], x.tbs, a.Signature)
	if s.attaches(look, &d.id) {
		s.attach(d, look, a.signedAnswer, bytes.Clone(x.der))
	}
	return d.reply(x.der, true, &a.signedAnswer, nil, x)
}

// asSent returns an answer as it is sent. It attaches the answer to the status, in place of an
// earlier one in the same encoding, or if there is room.
func (s *signatures) asSent(d *draft, look *look, a signedAnswer, der []byte) *wireAnswer {
	if s.attaches(look, &a.ID) {
		return s.attach(d, look, a, der)
	}
	return newWireAnswer(a, der)
}

// attach attaches an answer to the status, unless another one has replaced it since it was found or
// added. That is checked last: who replaces an answer detaches it, and may have done so before.
func (s *signatures) attach(d *draft, look *look, a signedAnswer, der []byte) *wireAnswer {
	w := newWireAnswer(a, der)
	s.memory.Attach(look, w)
	if now, ok := s.answers.Find(&a.ID, nil); !ok || now.Digest != a.Digest {
		key := d.authority.status(d.singles[0].serial)
		s.memory.Detach(&key, func(h *wireAnswer) bool { return h == w })
	}
	return w
}

// detach removes what is attached to a certificate if it would be a step back from an answer with
// that status and thisUpdate. Requests that read the store before others did may sign last, so the
// entry can have another status than their answers.
func (s *signatures) detach(a *authority, serial []byte, status certStatus, thisUpdate int64) {
	key := a.status(serial)
	s.memory.Detach(&key, func(h *wireAnswer) bool {
		return h.Status != status && h.ThisUpdate < thisUpdate
	})
}

// add adds an answer, and reports what [signed.Memory.Add] does.
func (s *signatures) add(d *draft, a signedAnswer) bool {
	added := s.answers.Add(a, s.clock.now().Unix())
	if added {
		s.detach(d.authority, d.singles[0].serial, a.Status, a.ThisUpdate)
	}
	return added
}

func (s *signatures) attaches(look *look, id *answerID) bool {
	return look.Hot != nil && look.Hot.Encoding == id.Encoding || s.memory.HasRoom(look)
}

// makeOnce signs a response for this exchange alone.
func (s *signatures) makeOnce(ctx context.Context, d *draft, x *scratch) (*reply, error) {
	a, tbs, err := s.sign(ctx, d, d.remaining(), x.tbs[:0])
	if err != nil {
		return nil, err
	}
	if !d.signer.external { // which may still have it in use
		x.tbs = tbs
	}
	x.der = d.wrap(x.der[:0], tbs, a.Signature)
	if d.reusable() {
		a.Digest = sha256.Sum256(x.der)
	}
	if s.answers != nil {
		s.outdate(d)
	}
	return d.reply(x.der, true, &a, nil, x), nil
}

// outdate makes room for nothing older: after the response of a draft no cached answer with another
// status and an earlier thisUpdate is served.
func (s *signatures) outdate(d *draft) {
	for i := range d.singles {
		if p := &d.singles[i]; !p.foreign && p.status.issued {
			key := d.authority.certificate(p.serial)
			s.answers.Outdate(&key, p.status, p.thisUpdate)
			s.detach(d.authority, p.serial, p.status, p.thisUpdate)
		}
	}
}

// share returns a reply that is signed for all who ask the same. It joins the flight in progress, or
// begins one, which continues when the caller leaves. f is nil, or the claimed flight of a renewal.
func (s *signatures) share(
	ctx context.Context, d *draft, look *look, f *flight, x *scratch,
) (*reply, Outcome, error) {
	begun := true
	if f == nil {
		f, begun = s.join(flightKey{id: d.id})
	}
	// One of Go's own keys does not hang. To hand its signature to another goroutine would cost more
	// than all else but the signature.
	if begun && !d.signer.external && s.remote == nil {
		wire, outcome, err := s.make(ctx, d, look, 0, x.tbs[:0])
		if !errors.Is(err, hostcall.ErrBusy) {
			s.end(f, d.signer, wire, outcome, err)
			if err != nil {
				return nil, 0, err
			}
			return s.write(d, look, wire, x), outcome, nil
		}
	}
	if begun {
		s.launch(ctx, f, d.clone(), *look)
	}
	wire, outcome, err := f.wait(ctx, d.remaining())
	if err != nil {
		return nil, 0, wrapHostError("signer", d.authority.ids[0], nil, err)
	}
	return s.write(d, look, wire, x), outcome, nil
}

// wait returns what the flight brings, unless ctx or the time ends before.
func (f *flight) wait(ctx context.Context, limit time.Duration) (*wireAnswer, Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-f.landed:
	case <-ctx.Done():
		select { // a result that arrived at the same time counts
		case <-f.landed:
		default:
			return nil, 0, hostcall.ErrTimeout
		}
	}
	return f.wire, f.outcome, f.err
}

// launch makes a flight in another goroutine. It may outlive the request.
func (s *signatures) launch(ctx context.Context, f *flight, d *draft, look look) {
	ok := s.group.Go(func() {
		wire, outcome, err := s.make(context.WithoutCancel(ctx), d, &look, s.cfg.Signing.Timeout, nil)
		s.end(f, d.signer, wire, outcome, err)
	})
	if !ok {
		s.end(f, d.signer, nil, 0, errClosed)
	}
}

// end lands a flight, and notes why a renewal failed.
func (s *signatures) end(f *flight, by *signer, wire *wireAnswer, outcome Outcome, err error) {
	switch failed := by.failure.Load() != nil; {
	case !f.key.renews || errors.Is(err, errOvertaken): // which does not speak against the signer
	case err != nil:
		by.failure.Store(&err)
	case failed:
		by.failure.Store(nil)
	}
	s.land(f, wire, outcome, err)
}

// make finds, fetches or signs the answer of a flight, and keeps it. It waits for its turn to sign
// for limit at the most, and may use room.
func (s *signatures) make(
	ctx context.Context, d *draft, look *look, limit time.Duration, room []byte,
) (wire *wireAnswer, outcome Outcome, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = hostcall.NewPanicError(v)
		}
	}()
	if !s.group.Enter() {
		return nil, 0, errClosed
	}
	defer s.group.Leave()
	if s.answers != nil {
		// A flight that landed between the caller's lookup and this one's beginning made it already.
		if a, ok := s.answers.Find(&d.id, nil); ok && isFresh(&a.Life, d.now) {
			d.singles[0].thisUpdate, d.singles[0].nextUpdate = a.ThisUpdate, a.NextUpdate
			der := d.wrap(nil, d.appendTBS(s.cfg, a.ProducedAt, nil), a.Signature)
			return s.asSent(d, look, a, der), OutcomeCached, nil
		}
		// An answer that would be a step back is signed again, with the times of this process.
		if a, der, ok := s.remote.fetch(ctx, d); ok && s.add(d, a) {
			return s.asSent(d, look, a, der), OutcomeCached, nil
		}
	}
	a, tbs, err := s.sign(ctx, d, limit, room)
	if err != nil {
		return nil, 0, err
	}
	der := d.wrap(nil, tbs, a.Signature)
	a.ID, a.Digest = d.id, sha256.Sum256(der)
	if s.answers != nil && !s.add(d, a) {
		return nil, 0, errOvertaken
	}
	s.remote.store(ctx, d, a.NextUpdate, der)
	return s.asSent(d, look, a, der), OutcomeSigned, nil
}

// sign makes a signature within the budget for them and, if that is shorter, within limit. It also
// returns the octets that were signed, which it may append to room.
func (s *signatures) sign(
	ctx context.Context, d *draft, limit time.Duration, room []byte,
) (a signedAnswer, tbs []byte, err error) {
	by := d.signer
	if by.external || cap(room) == 0 { // a key that hangs keeps it
		room = make([]byte, 0, 256*len(d.singles)+128)
	}
	defer func() {
		if err != nil {
			err = wrapHostError("signer", d.authority.ids[0], nil, err)
		}
	}()
	s.warnOfEnd(ctx, d.authority, by, d.now.Unix())
	if s.cfg.Backdate > 0 && s.answers != nil {
		for i := range d.singles {
			if p := &d.singles[i]; !p.foreign {
				key := d.authority.certificate(p.serial)
				p.latest = s.answers.Latest(&key, p.status, d.now.Unix())
			}
		}
	}
	if a.Life, err = s.cfg.life(d); err != nil {
		return a, nil, err
	}
	tbs = d.appendTBS(s.cfg, a.ProducedAt, room)
	lane := by.budget.all
	if !d.cacheable() {
		lane = by.budget.uncacheable
	}
	a.Signature, err = s.call(ctx, by, d.algorithm, tbs, lane, min(limit, s.cfg.Signing.Timeout))
	if err == nil {
		s.log.succeeded("signer", d.authority.ids[0], nil, callFailures...)
	}
	return a, tbs, err
}

// call calls the key. Go's own keys do not hang, so they are called where they are needed.
func (s *signatures) call(
	ctx context.Context, by *signer, algorithm int, tbs []byte, lane *hostcall.Lane,
	limit time.Duration,
) (sig []byte, err error) {
	if by.external {
		sign := func(ctx context.Context) ([]byte, error) { return by.sign(ctx, algorithm, tbs) }
		return hostcall.Do(ctx, s.group, lane, limit, sign)
	}
	if err := lane.Acquire(ctx, limit); err != nil {
		return nil, err
	}
	defer func() {
		lane.Release()
		if v := recover(); v != nil {
			err = hostcall.NewPanicError(v)
		}
	}()
	return by.sign(ctx, algorithm, tbs)
}

// warnOfEnd logs, once an hour, that no answer can be signed because of the time, or that soon none
// can.
func (s *signatures) warnOfEnd(ctx context.Context, a *authority, by *signer, now int64) {
	const hour = 3600
	message := "ocsp: the certificate that answers are signed with, or its CA's, ends soon, " +
		"and all answers end with it; renew it and call SetIssuer"
	switch err := by.validAt(now); {
	case err != nil:
		message = "ocsp: no certificate of the issuer can sign now, so answers are tryLater; " +
			"renew it and call SetIssuer, or wait for its time"
	case now < by.endIsNear || a.succeeds(by):
		return
	}
	last := by.warned.Load()
	ended := last < by.notAfter && now >= by.notAfter // the last line was about the end to come
	if (now-last >= hour || ended) && by.warned.CompareAndSwap(last, now) {
		s.cfg.Logger.WarnContext(ctx, message, slog.String("issuer", a.ids[0]),
			slog.String("subject", by.certificate.Subject.String()),
			slog.Time("begins", time.Unix(by.notBefore, 0).UTC()),
			slog.Time("ends", time.Unix(by.notAfter, 0).UTC()))
	}
}
