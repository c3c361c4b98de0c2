package ocsp

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
	"github.com/kmsocsp/ocsp/internal/statuses"
)

// maxAttempts bounds how often an answer is begun again because the certificate was invalidated, or
// because the answer expired, while it was being made.
const maxAttempts = 8

// refreshPatience is how long the one request that renews an answer waits for the signer before it
// is served the answer that is still valid.
const refreshPatience = 250 * time.Millisecond

var (
	errDisabled = errors.New("ocsp: the responder is disabled")
	errUnissued = errors.New("ocsp: the issuer never issued this serial")
	errRepaired = errors.New("ocsp: the path lost slashes or more, or was encoded twice, " +
		"and the request that was made of it names no certificate")
	errRetired = errors.New("ocsp: the certificate expired longer ago than Config.Retention")
	errNoNonce = errors.New("ocsp: the request has no nonce")
)

// exchange is one request on its way to a response. It is pooled, so nothing that outlives the
// request may point into it.
type exchange struct {
	request
	scratch
	req codec.Request
	buf []byte // the request's DER
}

// request is the part of an exchange that is zeroed between requests.
type request struct {
	*Responder
	method   string
	repaired bool // the path of a GET lost slashes, or was percent-encoded twice
	own      bool // the host asks for itself: policies for clients do not apply
	start    time.Time

	registry *registry   // the issuers when the request came
	match    certIDMatch // of the first CertID

	// About the certificate, if the request is about one.
	id    *codec.CertID
	key   statuses.Key
	newer int64   // the second in which a read must begin at the earliest, since 1970; 0 for any
	claim *flight // of the renewal that this request is to make

	outcome  Outcome
	err      error
	renewing bool // the reply's successor is being made

	storeTime, signTime time.Duration
}

// Respond answers one DER OCSPRequest. It never fails: errors are answers too. ctx bounds the
// caller's wait; the answer's own bound is Config.Timeout.
func (r *Responder) Respond(ctx context.Context, requestDER []byte) Answer {
	if r.disabled() {
		return errorReplies[OutcomeUnauthorized].answer(OutcomeUnauthorized, errDisabled)
	}
	x := r.acquire("")
	defer x.release()
	p, _ := r.respond(ctx, requestDER, x)
	return p.answer(x.outcome, x.err)
}

// Staple returns an answer to staple to a TLS handshake of the host's own server, whose certificate
// must be of a configured issuer: one that signed it. If Go does not verify the algorithm of that
// signature, such as one with MD5, it is the one issuer of that name whose SubjectKeyId is the
// certificate's AuthorityKeyId. If one of the identifiers is missing, it is the only issuer of that
// name. The CertID is hashed with SHA-1, the only hash that every client matches. Staple returns an
// error rather than an answer that says unknown or nothing. NonceRequire and RequestSigners are for
// clients and do not apply.
//
// Staple may wait for the store and the signer, up to Config.Timeout. So handshakes should not call
// it: keep the answer until its nextUpdate, and refresh it beside the handshakes, as the example
// does.
func (r *Responder) Staple(ctx context.Context, leaf *x509.Certificate) ([]byte, error) {
	if leaf == nil {
		return nil, errors.New("ocsp: staple: the certificate is nil")
	}
	if r.disabled() {
		return nil, fmt.Errorf("ocsp: staple: %w", errDisabled)
	}
	issuer, err := r.issuers.load().issuerOf(leaf)
	if err != nil {
		return nil, fmt.Errorf("ocsp: staple: %w", err)
	}
	id := codec.CertID{Raw: codec.CertIDFrom(issuer, codec.SerialBytes(leaf.SerialNumber))}
	req := codec.Request{Entries: []codec.RequestEntry{{CertID: id}}}
	x := r.acquire("")
	defer x.release()
	x.own = true
	p, _ := r.respond(ctx, codec.AppendRequest(nil, &req), x)
	if p.outcome != 0 || p.entry(0).Status == Unknown {
		err := cmp.Or(x.err, errUnissued)
		return nil, fmt.Errorf("ocsp: staple: the answer is %v: %w", x.outcome, err)
	}
	return slices.Clone(p.der), nil
}

func (r *Responder) acquire(method string) *exchange {
	x := r.exchanges.Get().(*exchange)
	x.Responder, x.method = r, method
	return x
}

// release puts an exchange back without what it refers to.
func (x *exchange) release() {
	r := x.Responder
	r.signatures.abandon(x.claim)
	x.req.Reset()
	x.scratch.reset()
	x.buf, x.request = x.buf[:0], request{}
	r.exchanges.Put(x)
}

// respond answers a request. All entry points use it. It returns the time at which the reply is sent,
// by the host's clock.
func (r *Responder) respond(
	ctx context.Context, der []byte, x *exchange,
) (p *reply, now time.Time) {
	x.start = time.Now()
	p, now = x.contain(ctx, der)
	if x.err != nil {
		x.logFailure(ctx, now)
	}
	if r.cfg.Observe != nil {
		x.observe(ctx, p, now)
	}
	return p, now
}

// contain keeps a panic anywhere in the pipeline from reaching the host's server.
func (x *exchange) contain(ctx context.Context, der []byte) (p *reply, now time.Time) {
	now = x.start
	defer func() {
		if v := recover(); v != nil {
			p = x.fail(fmt.Errorf("ocsp: %w", hostcall.NewPanicError(v)))
		}
	}()
	if x.cfg.Now != nil {
		now = x.clock.now()
	}
	return x.answer(ctx, der, now)
}

// answer is the pipeline: parse, find the issuer, and then for each certificate look, read the
// store, find or sign, and check that the answer stands. Like all functions here that take now, it
// returns the time at which it ended.
func (x *exchange) answer(ctx context.Context, der []byte, now time.Time) (*reply, time.Time) {
	if outcome, err := x.parse(der); err != nil {
		return x.refuse(outcome, err), now
	}
	if x.signers != nil && !x.own {
		outcome, err := x.signers.check(ctx, &x.req, x.clock.now, x.deadline())
		if now = x.clock.now(); err != nil {
			return x.refuse(outcome, err), now
		}
	}
	x.registry = x.issuers.load()
	if len(x.req.Entries) > 1 {
		return x.answerMany(ctx, now)
	}
	x.id = &x.req.Entries[0].CertID
	match, ok := x.registry.byCertID[string(x.id.Issuer)]
	if !ok {
		return x.refuse(OutcomeUnauthorized, errNoIssuer), now
	}
	x.match, x.key = match, match.status(x.id.Serial)
	return x.answerOne(ctx, now)
}

// parse reads the request and applies the policies that need no issuer.
func (x *exchange) parse(der []byte) (Outcome, error) {
	if x.group.Closed() {
		return OutcomeTryLater, errClosed
	}
	if len(der) > x.cfg.Limits.MaxRequestBytes {
		return OutcomeMalformed, codec.ErrMalformed
	}
	if err := codec.ParseRequest(der, &x.req, x.limits); err != nil {
		return OutcomeMalformed, err
	}
	if x.cfg.Nonce == NonceRequire && x.nonce() == nil && !x.own {
		return OutcomeMalformed, errNoNonce
	}
	return 0, nil
}

// nonce returns the nonce to put into the answer, nil for none.
func (x *exchange) nonce() []byte {
	switch {
	case x.req.NonceForm == codec.NonceAbsent, x.cfg.Nonce == NonceIgnore,
		x.req.NonceForm == codec.NonceBare && x.cfg.Nonce != NonceEchoBare:
		return nil
	}
	return x.req.Nonce
}

// deadline returns when Config.Timeout has passed.
func (x *exchange) deadline() time.Time { return x.start.Add(x.cfg.Timeout) }

// refuse ends an exchange with an error that is the request's own doing.
func (x *exchange) refuse(outcome Outcome, err error) *reply {
	x.outcome, x.err = outcome, err
	return errorReplies[outcome]
}

// fail ends an exchange with an error of the store, the signer or the host.
func (x *exchange) fail(err error) *reply {
	if isBroken(err) {
		return x.refuse(OutcomeInternalError, err)
	}
	return x.refuse(OutcomeTryLater, err)
}

// serve ends an exchange with a signed reply; err is why it is not a fresher one.
func (x *exchange) serve(outcome Outcome, p *reply, err error) *reply {
	x.outcome, x.err = outcome, err
	return p
}

// answerOne answers for a single certificate.
func (x *exchange) answerOne(ctx context.Context, now time.Time) (*reply, time.Time) {
	if x.signers == nil { // otherwise a part of Timeout may have passed
		if p, now := x.attempt(ctx, ctx, now); p != nil {
			return p, now
		}
		now = x.clock.now()
	}
	within, cancel := context.WithDeadline(ctx, x.deadline())
	defer cancel()
	for range maxAttempts - 1 {
		p, at := x.attempt(within, ctx, now)
		if now = at; p != nil {
			return p, now
		}
	}
	return x.fail(errOvertaken), now
}

// attempt makes one attempt at a reply for a single certificate; nil asks for another. caller is
// the request's own context: its end is no fault of the store.
func (x *exchange) attempt(ctx, caller context.Context, now time.Time) (*reply, time.Time) {
	x.renewing = false
	look, now, err := x.status(ctx, x.match.authority, &x.key, x.id.Serial, now, x.newer)
	if err != nil {
		if caller.Err() == nil && x.mayStandIn(err, now) {
			var p *reply
			if p, now = x.standIn(x.clock.now()); p != nil {
				return x.serve(OutcomeStale, p, err), now
			}
		}
		return x.fail(err), now
	}
	var p *reply
	if outcome, err := x.refuses(&look.Status, now); err != nil {
		p = x.refuse(outcome, err)
	} else {
		p, now = x.findOrSign(ctx, &look, now)
	}
	if p == nil || p.outcome == 0 && !p.Alive(now.Unix()) || !look.Stands() {
		return nil, now
	}
	if p.outcome == 0 {
		x.supersede(x.match.authority, x.id)
	}
	return p, now
}

// supersede is called before an answer is sent. If SetIssuer or RemoveIssuer replaced the issuer or
// its stores since the request came, the former ones may have reported what is later than what the
// present ones did and is trusted: that is forgotten.
func (x *exchange) supersede(a *authority, id *codec.CertID) {
	present := x.issuers.load()
	if present == x.registry {
		return
	}
	if match, ok := present.byCertID[string(id.Issuer)]; ok && match.asked != a.asked {
		key := match.status(id.Serial)
		x.memory.Invalidate(&key)
	}
}

// status returns what may be answered about a certificate, and notes how long that took.
func (x *exchange) status(
	ctx context.Context, a *authority, key *statuses.Key, serial []byte, now time.Time, newer int64,
) (look, time.Time, error) {
	look := x.memory.Look(key, x.clock.moment(now))
	if look.Trusted && x.clock.unix(look.At) >= newer {
		return look, now, nil
	}
	if x.cfg.Observe != nil {
		defer func(begun time.Time) { x.storeTime += time.Since(begun) }(time.Now())
	}
	look, err := x.reads.read(ctx, a, serial, look, now, newer, x)
	return look, x.clock.now(), err
}

// refuses returns the error to answer with in place of a status, nil for none.
func (x *exchange) refuses(s *certStatus, now time.Time) (Outcome, error) {
	switch {
	case !s.issued && x.repaired:
		return OutcomeMalformed, errRepaired
	case !s.issued && x.cfg.Unissued == UnissuedUnauthorized:
		return OutcomeUnauthorized, errUnissued
	case x.cfg.isRetired(s, now):
		return OutcomeUnauthorized, errRetired
	}
	return 0, nil
}

// mayStandIn reports whether a cached answer may stand in for a status that could not be read: if
// the store fails and is not just busy, or if the store was read only to renew an answer about a
// status that is still trusted.
func (x *exchange) mayStandIn(err error, now time.Time) bool {
	if x.cfg.Cache.FailClosed || isBroken(err) || errors.Is(err, errClosed) {
		return false
	}
	if !errors.Is(err, ErrStoreBusy) {
		return true
	}
	look := x.memory.Look(&x.key, x.clock.moment(now))
	return x.newer != 0 && look.Trusted
}

// standIn returns a cached answer in place of one that the store or the signer fails to bring, nil
// if there is none.
func (x *exchange) standIn(now time.Time) (*reply, time.Time) {
	look, d, found := x.findStandIn(now)
	now = x.clock.now()
	if found == nil || !found.Alive(now.Unix()) || !look.Stands() {
		return nil, now
	}
	return x.signatures.write(d, &look, found, &x.scratch), now
}

// findStandIn finds the answer that standIn sends if it is alive, nil if there is none. A client that
// was promised its nonce gets none.
func (x *exchange) findStandIn(now time.Time) (look, *draft, *wireAnswer) {
	look := x.memory.Look(&x.key, x.clock.moment(now))
	if !look.Known || x.req.NonceForm != codec.NonceAbsent && x.cfg.Nonce == NonceRequire {
		return look, nil, nil
	}
	d := x.draftOf(&look, now)
	return look, d, x.signatures.find(d, &look, &x.scratch)
}

// canStandIn reports whether a cached answer can stand in for the one to this request while the
// store is silent.
func (x *exchange) canStandIn() bool {
	if x.cfg.Cache.FailClosed || x.id == nil {
		return false
	}
	now := x.clock.now()
	_, _, found := x.findStandIn(now)
	return found != nil && found.Alive(now.Unix())
}

// draftOf returns a draft of what is to be answered, in the default algorithm and without nonce.
func (x *exchange) draftOf(look *look, now time.Time) *draft {
	d := x.scratch.newDraft(x.match, x.id, look, now, x.clock)
	d.deadline = x.deadline()
	return d
}

// findOrSign finds or makes the reply that attests the status; nil asks for another attempt.
func (x *exchange) findOrSign(ctx context.Context, look *look, now time.Time) (*reply, time.Time) {
	d := x.draftOf(look, now)
	d.nonce, d.algorithm = x.nonce(), d.signer.choose(x.req.Preferred)
	if d.cacheable() {
		switch old := x.signatures.find(d, look, &x.scratch); {
		case old == nil:
		case isFresh(&old.Life, now):
			p := x.signatures.write(d, look, old, &x.scratch)
			return x.serve(OutcomeCached, p, nil), now
		case old.Alive(now.Unix()):
			return x.refresh(ctx, d, look, old)
		}
	}
	if x.newer = x.cfg.tooOld(d); x.newer != 0 {
		return nil, now
	}
	p, outcome, err := x.sign(ctx, d, look, nil)
	now = x.clock.now()
	switch {
	case err == nil:
		return x.serve(outcome, p, nil), now
	case errors.Is(err, errOvertaken):
		if look.Trusted {
			x.newer = d.singles[0].read + 1
		}
		return nil, now
	}
	if p, now = x.standIn(now); p != nil && p.singles[0].status == look.Status {
		return x.serve(OutcomeStale, p, err), now // without the nonce, in the default algorithm
	}
	return x.unsigned(err, look.Status.issued), now
}

// sign makes the reply of a draft, and notes how long that took. A reply that is cached is shared
// with all who ask the same. f is nil, or the claimed flight of a renewal.
func (x *exchange) sign(
	ctx context.Context, d *draft, look *look, f *flight,
) (p *reply, outcome Outcome, err error) {
	if x.cfg.Observe != nil {
		defer func(begun time.Time) { x.signTime += time.Since(begun) }(time.Now())
	}
	if d.cacheable() {
		p, outcome, err = x.signatures.share(ctx, d, look, f, &x.scratch)
	} else {
		p, err = x.signatures.makeOnce(ctx, d, &x.scratch)
		outcome = OutcomeSigned
	}
	return p, outcome, err
}

// unsigned ends an exchange for which no signature could be made. Over budget, a serial that was
// never issued is not worth asking again about.
func (x *exchange) unsigned(err error, issued bool) *reply {
	if !issued && errors.Is(err, hostcall.ErrBusy) {
		return x.refuse(OutcomeUnauthorized, err)
	}
	return x.fail(err)
}

// refresh lets one request renew an answer past its refresh point, while others, and this one too
// if the signer takes its time, are served the old one. The store is read for it: nil asks for
// another attempt, which does that.
func (x *exchange) refresh(
	ctx context.Context, d *draft, look *look, old *wireAnswer,
) (*reply, time.Time) {
	now := d.now
	if x.claim = x.signatures.claim(x.claim, renewalOf(old)); x.claim != nil {
		x.newer = x.cfg.tooOld(d)
		if p := &d.singles[0]; p.trusted && p.read < old.RefreshAt {
			x.newer = old.RefreshAt
		}
		if x.newer != 0 {
			return nil, now
		}
		ctx, cancel := context.WithTimeout(ctx, refreshPatience)
		defer cancel()
		f := x.claim
		x.claim = nil
		p, outcome, err := x.sign(ctx, d, look, f)
		now = x.clock.now()
		switch {
		case err == nil:
			return x.serve(outcome, p, nil), now
		case !old.Alive(now.Unix()):
			return x.fail(err), now
		}
	}
	p := x.signatures.write(d, look, old, &x.scratch)
	if failure := d.signer.failure.Load(); failure != nil {
		return x.serve(OutcomeStale, p, *failure), now
	}
	x.renewing = true
	return x.serve(OutcomeCached, p, nil), now
}

// answerMany answers for several certificates with one signature. Such answers are not cached.
func (x *exchange) answerMany(ctx context.Context, now time.Time) (*reply, time.Time) {
	matches, signing, err := x.registry.matchAll(x.req.Entries, x.cfg.Strict)
	if err != nil {
		return x.refuse(OutcomeUnauthorized, err), now
	}
	x.match.authority = matches[0].authority // for events
	ctx, cancel := context.WithDeadline(ctx, x.deadline())
	defer cancel()
	for range maxAttempts {
		p, at := x.attemptMany(ctx, signing, matches, now)
		if now = at; p != nil {
			return p, now
		}
	}
	return x.fail(errOvertaken), now
}

// attemptMany makes one attempt at a reply for several certificates; nil asks for another.
func (x *exchange) attemptMany(
	ctx context.Context, signing *authority, matches []certIDMatch, now time.Time,
) (*reply, time.Time) {
	d := &draft{authority: signing, nonce: x.nonce(), deadline: x.deadline()}
	looks := make(map[statuses.Key]*look, len(matches))
	newer, issued := x.newer, false
	x.newer = 0
	for i := range matches {
		id := &x.req.Entries[i].CertID
		if matches[i].authority == nil {
			d.singles = append(d.singles, foreignSingle(id))
			continue
		}
		key := signing.status(id.Serial)
		if looks[key] == nil {
			look, at, err := x.status(ctx, signing, &key, id.Serial, now, newer)
			if now = at; err != nil {
				return x.fail(err), now
			}
			if outcome, err := x.refuses(&look.Status, now); err != nil {
				if !look.Stands() {
					return nil, now
				}
				return x.refuse(outcome, err), now
			}
			looks[key] = &look
		}
		d.singles = append(d.singles, newSingle(id, looks[key], signing, x.clock))
		issued = issued || looks[key].Status.issued
	}
	d.now, d.signer = now, signing.signerAt(now)
	d.algorithm = d.signer.choose(x.req.Preferred)
	for i := range d.singles {
		if p := &d.singles[i]; p.foreign { // which needs no read
			p.read = now.Unix()
		}
	}
	if x.newer = x.cfg.tooOld(d); x.newer != 0 {
		return nil, now
	}
	p, outcome, err := x.sign(ctx, d, nil, nil)
	now = x.clock.now()
	switch {
	case errors.Is(err, errOvertaken):
		return nil, now
	case err != nil:
		return x.unsigned(err, issued), now
	case !p.Alive(now.Unix()):
		return nil, now
	}
	for _, look := range looks {
		if !look.Stands() {
			return nil, now
		}
	}
	for i := range matches {
		if matches[i].authority != nil {
			x.supersede(signing, &x.req.Entries[i].CertID)
		}
	}
	return x.serve(outcome, p, nil), now
}
