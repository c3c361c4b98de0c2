package ocsp

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
	"github.com/kmsocsp/ocsp/internal/statuses"
)

// maxAttempts bounds how often an answer is begun again because the certificate was invalidated, or because the
// answer ended, while it was being made.
const maxAttempts = 8

var (
	errDisabled  = errors.New("ocsp: the responder is disabled")
	errNoIssuer  = errors.New("ocsp: no configured issuer has these hashes")
	errUnissued  = errors.New("ocsp: the issuer never issued this serial")
	errRepaired  = errors.New("ocsp: the path lost slashes or more, or was encoded twice, and what could be made of it names no certificate")
	errRetired   = errors.New("ocsp: the certificate expired longer ago than Config.Retention")
	errOvertaken = errors.New("ocsp: the certificate's status keeps changing")
	errUnsigned  = errors.New("ocsp: the request is not signed")
	errSigner    = errors.New("ocsp: the request's signer is not trusted")
	errNoNonce   = errors.New("ocsp: the request has no nonce")
	errForeign   = errors.New("ocsp: the request names issuers that no one key can answer for")
)

// exchange is one request on its way to a response. It is pooled, so nothing that outlives the request may point
// into it.
type exchange struct {
	request
	scratch
}

// request is the part of an exchange that is zeroed between requests.
type request struct {
	method   string
	repaired bool // the path of a GET lost slashes, or was percent-encoded twice
	own      bool // the host asks for itself: policies for clients do not apply
	observed bool // timings are wanted
	start    time.Time

	// About the one certificate of most requests; what could stand in is found by it.
	match certIDMatch
	key   statuses.Key

	outcome  Outcome
	err      error
	first    SingleResponse // about the first CertID, if observed
	renewing bool           // the reply's successor is being made
	reply    reply
	wire     wireAnswer // not one that hangs on a status
	draftOne draft
	singles  [1]single

	storeTime, signTime time.Duration // if observed
}

// scratch is memory that exchanges use again.
type scratch struct {
	req       codec.Request
	buf       []byte // the request's DER
	der, tbs  []byte
	signature []byte
}

// Respond answers one DER OCSPRequest. It never fails: errors are answers too. ctx bounds the caller's wait;
// the answer's own bound is Config.Timeout.
func (r *Responder) Respond(ctx context.Context, requestDER []byte) Answer {
	if r.disabled() {
		return errorReplies[OutcomeUnauthorized].answer(OutcomeUnauthorized, errDisabled)
	}
	x := r.acquire("")
	defer r.release(x)
	p, _ := r.respond(ctx, requestDER, x)
	return p.answer(x.outcome, x.err)
}

// Staple returns an answer to staple to a TLS handshake of the host's own server, whose certificate must be
// of a configured issuer: one that signed it. If Go does not verify the algorithm of that signature, such as
// one with MD5, it is the one issuer of that name whose SubjectKeyId is the certificate's AuthorityKeyId. If
// one of the identifiers is missing, it is the only issuer of that name. The CertID is hashed with SHA-1, the
// only hash that every client matches. Staple returns an error rather than an answer that says unknown or
// nothing. NonceRequire and RequestSigners are for clients and do not apply.
//
// Staple may wait for the store and the signer, up to Config.Timeout. So handshakes should not call it: keep the
// answer until its nextUpdate, and refresh it beside the handshakes, as the example does.
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
	certID := codec.CertID{Raw: codec.CertIDFrom(issuer, codec.SerialBytes(leaf.SerialNumber))}
	x := r.acquire("")
	defer r.release(x)
	x.own = true
	p, _ := r.respond(ctx, codec.AppendRequest(nil, &codec.Request{Entries: []codec.RequestEntry{{CertID: certID}}}), x)
	if p.outcome != 0 || p.entry(0).Status == Unknown {
		return nil, fmt.Errorf("ocsp: staple: the answer is %v: %w", x.outcome, cmp.Or(x.err, errUnissued))
	}
	return slices.Clone(p.der), nil
}

func (r *Responder) acquire(method string) *exchange {
	x := r.exchanges.Get().(*exchange)
	x.method, x.observed = method, r.cfg.Observe != nil
	return x
}

// release puts an exchange back without what it refers to.
func (r *Responder) release(x *exchange) {
	x.req.Reset()
	x.buf, x.request = x.buf[:0], request{}
	r.exchanges.Put(x)
}

// respond is the one way from a request's DER to a reply. It returns the time at which the reply is sent, by the
// responder's clock.
func (r *Responder) respond(ctx context.Context, der []byte, x *exchange) (*reply, time.Time) {
	x.start = time.Now()
	p, now := r.recoverPanic(ctx, der, x)
	if x.err != nil {
		r.logFailure(ctx, now, x)
	}
	if x.observed {
		r.observe(ctx, p, now, x)
	}
	return p, now
}

// recoverPanic keeps a panic anywhere in the pipeline from reaching the host's server.
func (r *Responder) recoverPanic(ctx context.Context, der []byte, x *exchange) (p *reply, now time.Time) {
	now = x.start
	defer func() {
		if v := recover(); v != nil {
			p = x.fail(fmt.Errorf("ocsp: %w", &hostcall.PanicError{Value: v, Stack: debug.Stack()}))
		}
	}()
	if r.cfg.Now != nil {
		now = r.clock.now()
	}
	return r.answer(ctx, der, now, x)
}

// answer is the pipeline: parse, find the issuer, and then for each certificate look, read the store, find or sign,
// and check that the answer stands. Like all of the functions that take now, it returns the time at which it ended.
func (r *Responder) answer(ctx context.Context, der []byte, now time.Time, x *exchange) (*reply, time.Time) {
	if outcome, err := r.parse(der, x); err != nil {
		return x.refuse(outcome, err), now
	}
	if r.cfg.RequestSigners != nil && !x.own {
		outcome, err := r.checkRequestSigner(ctx, x)
		if now = r.clock.now(); err != nil {
			return x.refuse(outcome, err), now
		}
	}
	issuers := r.issuers.load()
	if len(x.req.Entries) > 1 {
		return r.answerMany(ctx, issuers, now, x)
	}
	id := &x.req.Entries[0].CertID
	match, ok := issuers.byCertID[string(id.Issuer)]
	if !ok {
		return x.refuse(OutcomeUnauthorized, errNoIssuer), now
	}
	return r.answerOne(ctx, match, id, now, x)
}

// parse reads the request and applies the policies that need no issuer.
func (r *Responder) parse(der []byte, x *exchange) (Outcome, error) {
	if r.group.Closed() {
		return OutcomeTryLater, errClosed
	}
	if len(der) > r.cfg.Limits.MaxRequestBytes {
		return OutcomeMalformed, codec.ErrMalformed
	}
	if err := codec.ParseRequest(der, &x.req, r.limits); err != nil {
		return OutcomeMalformed, err
	}
	if r.cfg.Nonce == NonceRequire && r.cfg.nonce(&x.req) == nil && !x.own {
		return OutcomeMalformed, errNoNonce
	}
	return 0, nil
}

// refuse ends an exchange with an error that is the request's own doing.
func (x *exchange) refuse(outcome Outcome, err error) *reply {
	x.outcome, x.err = outcome, err
	return errorReplies[outcome]
}

// fail ends an exchange with an error of the store, the signer or the host.
func (x *exchange) fail(err error) *reply {
	outcome := OutcomeTryLater
	if isBroken(err) {
		outcome = OutcomeInternalError
	}
	return x.refuse(outcome, err)
}

// isBroken reports whether an error is a fault to mend rather than one that may pass.
func isBroken(err error) bool {
	var p *hostcall.PanicError
	return errors.As(err, &p) || errors.Is(err, ErrInvalidRecord)
}

// serve ends an exchange with a signed reply; err is why it is not a fresher one.
func (x *exchange) serve(outcome Outcome, p *reply, err error) *reply {
	x.outcome, x.err = outcome, err
	return p
}

// nonce returns the nonce to put into the answer, nil for none.
func (c *Config) nonce(req *codec.Request) []byte {
	switch {
	case req.NonceForm == codec.NonceAbsent, c.Nonce == NonceIgnore,
		req.NonceForm == codec.NonceBare && c.Nonce != NonceEchoBare:
		return nil
	}
	return req.Nonce
}

// refuses returns the error with which a certificate of that status is answered in place of the status, nil for none.
func (c *Config) refuses(s *certStatus, now time.Time, x *exchange) (Outcome, error) {
	switch {
	case !s.issued && x.repaired:
		return OutcomeMalformed, errRepaired
	case !s.issued && c.Unissued == UnissuedUnauthorized:
		return OutcomeUnauthorized, errUnissued
	case c.isRetired(s, now):
		return OutcomeUnauthorized, errRetired
	}
	return 0, nil
}

// answerOne answers for a single certificate.
func (r *Responder) answerOne(ctx context.Context, match certIDMatch, id *codec.CertID, now time.Time, x *exchange) (*reply, time.Time) {
	x.match, x.key = match, statuses.NewKey(match.number, id.Serial)
	if x.observed {
		x.first = SingleResponse{IssuerID: match.ids[0], Serial: codec.SerialInt(id.Serial)}
	}
	var again attempt
	if r.cfg.RequestSigners == nil { // else part of Timeout may have passed
		if p, now := r.try(ctx, ctx, id, now, &again, x); p != nil {
			return p, now
		}
		now = r.clock.now()
	}
	within, cancel := context.WithTimeout(ctx, r.cfg.remaining(x))
	defer cancel()
	defer r.signatures.abandon(&again.claim)
	for range maxAttempts - 1 {
		p, at := r.try(within, ctx, id, now, &again, x)
		if now = at; p != nil {
			return p, now
		}
	}
	return x.fail(errOvertaken), now
}

// attempt is what one attempt at an answer leaves to the next.
type attempt struct {
	newer int64 // the second in which a read must have begun to be trusted, since 1970; 0 for any
	claim claim // the renewal that this request is to make
}

// try makes one attempt at a reply for a single certificate; nil asks for another. caller is the request's own
// context: its end does not speak against the store.
func (r *Responder) try(ctx, caller context.Context, id *codec.CertID, now time.Time, again *attempt, x *exchange) (*reply, time.Time) {
	x.renewing = false
	look, now, err := r.reads.status(ctx, x.match.authority, &x.key, id.Serial, now, again.newer, x)
	if err != nil {
		return r.unread(caller, id, err, now, again, x)
	}
	if outcome, err := r.cfg.refuses(&look.Status, now, x); err != nil {
		return x.refuse(outcome, err), now
	}
	p, now := r.findOrSign(ctx, id, &look, now, again, x)
	if p == nil || p.outcome != 0 || p.Alive(now.Unix()) && look.Stands() {
		return p, now
	}
	return nil, now
}

// unread ends an attempt for which the store brought no status: with a cached answer if the store is silent.
func (r *Responder) unread(caller context.Context, id *codec.CertID, err error, now time.Time, again *attempt, x *exchange) (*reply, time.Time) {
	if caller.Err() == nil && !r.cfg.Cache.FailClosed && (letsStandIn(err) || r.spares(err, again, now, x)) {
		p, now := r.standIn(id, now, x)
		if p != nil {
			return x.serve(OutcomeStale, p, err), now
		}
	}
	return x.fail(err), now
}

// letsStandIn reports whether an error of a read says that the store fails, and not that it has much to do, or that
// the responder is closed.
func letsStandIn(err error) bool {
	return !errors.Is(err, ErrStoreBusy) && !errors.Is(err, errClosed) && !isBroken(err)
}

// spares reports whether the store was read only to renew an answer about a status that is still trusted. Then the
// answer may be sent whatever became of the read.
func (r *Responder) spares(err error, again *attempt, now time.Time, x *exchange) bool {
	if again.newer == 0 || isBroken(err) || errors.Is(err, errClosed) {
		return false
	}
	look := r.memory.Look(&x.key, r.clock.moment(now))
	return look.Trusted
}

// standIn returns a cached answer in place of one that the store or the signer fails to bring, nil if there is none.
// A client that was promised its nonce gets none.
func (r *Responder) standIn(id *codec.CertID, now time.Time, x *exchange) (*reply, time.Time) {
	now = r.clock.now()
	look, d, found := r.findStandIn(id, now, x)
	if found == nil || !look.Stands() {
		return nil, now
	}
	return r.signatures.write(d, &look, found, x), now
}

// findStandIn finds the answer that standIn sends, nil if there is none.
func (r *Responder) findStandIn(id *codec.CertID, now time.Time, x *exchange) (look, *draft, *wireAnswer) {
	look := r.memory.Look(&x.key, r.clock.moment(now))
	if !look.Known || x.req.NonceForm != codec.NonceAbsent && r.cfg.Nonce == NonceRequire {
		return look, nil, nil
	}
	d := x.draft(&look, x.match.signerAt(now), id, r.clock)
	found, ok := r.signatures.find(d, &look, x)
	if !ok || !found.Alive(now.Unix()) {
		return look, nil, nil
	}
	return look, d, found
}

// standsIn reports whether a cached answer can stand in for the one to this request while the store is silent.
func (r *Responder) standsIn(x *exchange) bool {
	if r.cfg.Cache.FailClosed || x.match.authority == nil {
		return false
	}
	_, _, found := r.findStandIn(&x.req.Entries[0].CertID, r.clock.now(), x)
	return found != nil
}

// findOrSign finds or makes the reply that says what the store said; nil asks for another attempt.
func (r *Responder) findOrSign(ctx context.Context, id *codec.CertID, look *look, now time.Time, again *attempt, x *exchange) (*reply, time.Time) {
	s := x.match.signerAt(now)
	d := x.draft(look, s, id, r.clock)
	d.now, d.nonce, d.algorithm = now, r.cfg.nonce(&x.req), s.choose(x.req.Preferred)
	if d.cacheable() {
		old, ok := r.signatures.find(d, look, x)
		if ok && isFresh(&old.Life, now) {
			return x.serve(OutcomeCached, r.signatures.write(d, look, old, x), nil), now
		}
		if ok && old.Alive(now.Unix()) {
			return r.refresh(ctx, d, look, old, again, x)
		}
	}
	if again.newer = r.cfg.tooOld(d); again.newer != 0 {
		return nil, now
	}
	outcome := OutcomeSigned
	var p *reply
	var err error
	if d.cacheable() {
		p, outcome, err = r.signatures.share(ctx, d, look, nil, x)
	} else {
		p, err = r.signatures.makeOnce(ctx, d, x)
	}
	now = r.clock.now()
	switch {
	case err == nil:
		return x.serve(outcome, p, nil), now
	case errors.Is(err, errOvertaken):
		if look.Trusted {
			again.newer = d.singles[0].read + 1
		}
		return nil, now
	}
	if p, now := r.standIn(id, now, x); p != nil && p.singles[0].status == look.Status {
		return x.serve(OutcomeStale, p, err), now // without the nonce, with the default algorithm
	}
	return x.unsigned(err, look.Status.issued), now
}

// unsigned ends an exchange for which no signature could be made. Over budget, a serial that was never issued is
// not worth asking again about.
func (x *exchange) unsigned(err error, issued bool) *reply {
	if !issued && errors.Is(err, hostcall.ErrBusy) {
		return x.refuse(OutcomeUnauthorized, err)
	}
	return x.fail(err)
}

// refreshPatience is how long the one request that renews an answer waits for the signer before it is
// served the answer that is still valid.
const refreshPatience = 250 * time.Millisecond

// refresh lets one request renew an answer past its refresh point, while others, and this one too if the signer
// takes its time, are served the old one. The store is read for it: nil asks for another attempt, which does that.
func (r *Responder) refresh(ctx context.Context, d *draft, look *look, old *wireAnswer, again *attempt, x *exchange) (*reply, time.Time) {
	now := d.now
	if r.signatures.claim(&again.claim, renewalOf(old)) {
		again.newer = r.cfg.tooOld(d)
		if p := &d.singles[0]; p.trusted && p.read < old.RefreshAt {
			again.newer = old.RefreshAt
		}
		if again.newer != 0 {
			return nil, now
		}
		ctx, cancel := context.WithTimeout(ctx, refreshPatience)
		defer cancel()
		p, outcome, err := r.signatures.share(ctx, d, look, &again.claim, x)
		now = r.clock.now()
		switch {
		case err == nil:
			return x.serve(outcome, p, nil), now
		case !old.Alive(now.Unix()):
			return x.fail(err), now
		}
	}
	d.now = now
	if failure := d.signer.failure.Load(); failure != nil {
		return x.serve(OutcomeStale, r.signatures.write(d, look, old, x), *failure), now
	}
	x.renewing = true
	return x.serve(OutcomeCached, r.signatures.write(d, look, old, x), nil), now
}

// answerMany answers for several certificates with one signature. Such answers are not cached.
func (r *Responder) answerMany(ctx context.Context, issuers *registry, now time.Time, x *exchange) (*reply, time.Time) {
	matches, signing, err := issuers.matchAll(x.req.Entries, r.cfg.Strict)
	if err != nil {
		return x.refuse(OutcomeUnauthorized, err), now
	}
	if first := matches[0]; x.observed && first.authority != nil {
		x.first = SingleResponse{IssuerID: first.ids[0], Serial: codec.SerialInt(x.req.Entries[0].CertID.Serial)}
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.remaining(x))
	defer cancel()
	var newer int64
	for range maxAttempts {
		var p *reply
		if p, now, newer = r.tryMany(ctx, signing, matches, now, newer, x); p != nil {
			return p, now
		}
	}
	return x.fail(errOvertaken), now
}

// tryMany makes one attempt at a reply for several certificates; nil asks for another, with reads in that second or
// later.
func (r *Responder) tryMany(ctx context.Context, signing *authority, matches []certIDMatch, now time.Time, newer int64, x *exchange) (*reply, time.Time, int64) {
	d := &draft{authority: signing, nonce: r.cfg.nonce(&x.req)}
	looks := make(map[statuses.Key]*look, len(matches))
	issued := false
	for i := range matches {
		id := &x.req.Entries[i].CertID
		if matches[i].authority == nil {
			d.singles = append(d.singles, foreignSingle(id))
			continue
		}
		key := statuses.NewKey(signing.number, id.Serial)
		if looks[key] == nil {
			look, at, err := r.reads.status(ctx, signing, &key, id.Serial, now, newer, x)
			if now = at; err != nil {
				return x.fail(err), now, 0
			}
			if outcome, err := r.cfg.refuses(&look.Status, now, x); err != nil {
				return x.refuse(outcome, err), now, 0
			}
			looks[key] = &look
		}
		d.singles = append(d.singles, newSingle(id, looks[key], signing, r.clock))
		issued = issued || looks[key].Status.issued
	}
	d.now, d.signer = now, signing.signerAt(now)
	d.algorithm = d.signer.choose(x.req.Preferred)
	for i := range d.singles {
		if p := &d.singles[i]; p.foreign { // which needs no read
			p.read = now.Unix()
		}
	}
	if newer = r.cfg.tooOld(d); newer != 0 {
		return nil, now, newer
	}
	p, err := r.signatures.makeOnce(ctx, d, x)
	now = r.clock.now()
	switch {
	case errors.Is(err, errOvertaken):
		return nil, now, 0
	case err != nil:
		return x.unsigned(err, issued), now, 0
	case !p.Alive(now.Unix()):
		return nil, now, 0
	}
	for _, look := range looks {
		if !look.Stands() {
			return nil, now, 0
		}
	}
	return x.serve(OutcomeSigned, p, nil), now, 0
}
