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
)

const (
	// maxAttempts bounds how often an answer is begun again because the certificate's status changed, or
	// Invalidate was called, while it was being made.
	maxAttempts = 8
	// refreshPatience is how long the one request that renews an answer waits for the signer before it is
	// served the answer that is still valid.
	refreshPatience = 250 * time.Millisecond
)

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

// exchange is what one request needs while it is being answered. It is pooled, so nothing that outlives the
// request may point into it.
type exchange struct {
	exchangeState

	req codec.Request
	buf []byte // the request's DER

	// Room for what a reply is made of.
	der, tbs  []byte
	signature []byte
}

// exchangeState is what nothing is left of for the next request.
type exchangeState struct {
	method   string
	asked    asked
	repaired bool      // slashes were put back into the request, or it was percent-decoded twice
	arrived  uint64    // how many shared reads had begun when the request came
	own      bool      // the request is the host's own: policies for clients do not apply
	renewing bool      // the reply that follows the one to be served is being made
	renews   *renewal  // the renewal that this exchange has begun and not handed on
	newer    int64     // the second in which a read must have begun to be trusted
	observed bool      // timings are wanted
	now      time.Time // by the responder's clock: the present of this answer, read anew after each wait
	outcome  Outcome
	err      error
	entry    Entry // about the first CertID

	// The reply, if it is signed.
	reply reply
	part  [1]part

	start               time.Time     // by the wall clock
	storeTime, signTime time.Duration // when observed
}

// asked is what a request for one certificate asks for: what could stand in is found by it. It is zero for others.
type asked struct {
	match certIDMatch
	key   certKey
}

// Respond answers one DER OCSPRequest. It never fails: errors are answers too. ctx bounds the caller's wait;
// the answer's own bound is Config.Timeout.
func (r *Responder) Respond(ctx context.Context, requestDER []byte) Answer {
	x := r.acquire("")
	defer r.release(x)
	p := r.respond(ctx, requestDER, x)
	return p.answer(x.outcome, x.err)
}

// Staple returns an answer to staple to a TLS handshake of the host's own server, whose certificate must be
// of a configured issuer: one that signed it. If Go does not verify the algorithm of that signature, such as
// one with MD5, it is the one issuer of that name whose SubjectKeyId is the certificate's AuthorityKeyId. If
// one of the identifiers is missing, it is the only issuer of that name. The CertID is hashed with SHA-1, the
// only hash that every client matches. Staple returns an error rather than an answer that says unknown or
// nothing. NonceRequire and RequestSigners are for clients and do not apply.
//
// Staple may wait for the store and the signer, up to Config.Timeout. So handshakes should not call it: keep what it
// returned until that answer's nextUpdate, and refresh it beside the handshakes, as the example does.
func (r *Responder) Staple(ctx context.Context, leaf *x509.Certificate) ([]byte, error) {
	if leaf == nil {
		return nil, errors.New("ocsp: staple: the certificate is nil")
	}
	if r.cfg.Disabled {
		return nil, fmt.Errorf("ocsp: staple: %w", errDisabled)
	}
	issuer, err := r.registry.Load().issuerOf(leaf)
	if err != nil {
		return nil, fmt.Errorf("ocsp: staple: %w", err)
	}
	certID := codec.CertID{Raw: codec.CertIDFrom(issuer, codec.SerialBytes(leaf.SerialNumber))}
	x := r.acquire("")
	defer r.release(x)
	x.own = true
	p := r.respond(ctx, codec.AppendRequest(nil, &codec.Request{Entries: []codec.RequestEntry{{CertID: certID}}}), x)
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
	x.buf, x.exchangeState = x.buf[:0], exchangeState{}
	r.exchanges.Put(x)
}

// respond is the one way from a request's DER to an answer.
func (r *Responder) respond(ctx context.Context, der []byte, x *exchange) (p *reply) {
	x.start = time.Now()
	x.now = x.start
	x.arrived = r.reads.seq.Load()
	p = r.contained(ctx, der, x)
	if x.err != nil {
		r.logFailure(ctx, x)
	}
	if x.observed {
		r.observe(ctx, p, x)
	}
	return p
}

// contained keeps a panic anywhere in the pipeline from reaching the host.
func (r *Responder) contained(ctx context.Context, der []byte, x *exchange) (p *reply) {
	defer func() {
		if v := recover(); v != nil {
			p = x.fail(fmt.Errorf("ocsp: %w", hostcall.NewPanicError(v)))
		}
	}()
	if r.cfg.Disabled {
		return x.refuse(OutcomeUnauthorized, errDisabled)
	}
	if r.ownClock {
		x.now = r.now()
	}
	if r.host.Closed() {
		return x.fail(errClosed)
	}
	if len(der) > r.cfg.Limits.MaxRequestBytes {
		return x.refuse(OutcomeMalformed, codec.ErrMalformed)
	}
	if err := codec.ParseRequest(der, &x.req, r.limits); err != nil {
		return x.refuse(OutcomeMalformed, err)
	}
	if r.cfg.Nonce == NonceRequire && r.nonce(&x.req) == nil && !x.own {
		return x.refuse(OutcomeMalformed, errNoNonce)
	}
	if r.cfg.RequestSigners != nil && !x.own {
		if outcome, err := r.checkRequestSigner(ctx, x); err != nil {
			return x.refuse(outcome, err)
		}
	}
	reg := r.registry.Load()
	if len(x.req.Entries) > 1 {
		return r.respondMany(ctx, reg, x)
	}
	id := &x.req.Entries[0].CertID
	match, ok := reg.byCertID[string(id.Issuer)]
	if !ok {
		return x.refuse(OutcomeUnauthorized, errNoIssuer)
	}
	return r.respondOne(ctx, match, id, x)
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
func (r *Responder) nonce(req *codec.Request) []byte {
	switch {
	case req.NonceForm == codec.NonceAbsent, r.cfg.Nonce == NonceIgnore,
		req.NonceForm == codec.NonceBare && r.cfg.Nonce != NonceEchoBare:
		return nil
	}
	return req.Nonce
}

// respondOne answers for a single certificate.
func (r *Responder) respondOne(ctx context.Context, match certIDMatch, id *codec.CertID, x *exchange) *reply {
	key := newCertKey(match.number, id.Serial)
	x.asked = asked{match, key}
	if x.observed {
		x.entry = Entry{IssuerID: match.ids[0], Serial: codec.SerialInt(id.Serial)}
	}
	if r.cfg.RequestSigners == nil { // else part of Timeout may have passed
		if p := r.tryOne(ctx, ctx, match, id, &key, x); p != nil {
			return p
		}
	}
	within, cancel := context.WithTimeout(ctx, r.remaining(x))
	defer cancel()
	defer func() {
		if x.renews != nil {
			r.renewing.end(*x.renews)
		}
	}()
	for range maxAttempts - 1 {
		if p := r.tryOne(within, ctx, match, id, &key, x); p != nil {
			return p
		}
	}
	return x.fail(errOvertaken)
}

// tryOne makes one attempt at a reply for a single certificate; nil asks for another. caller is whose leaving says nothing
// about the store.
func (r *Responder) tryOne(ctx, caller context.Context, match certIDMatch, id *codec.CertID, key *certKey, x *exchange) *reply {
	x.renewing = false
	var read statusRead
	r.status(ctx, match.authority, key, id.Serial, x, &read)
	if read.err != nil {
		if errors.Is(read.err, errOvertaken) {
			return nil
		}
		// A caller that leaves, or whose own time is up, says nothing about the store.
		if caller.Err() == nil && !r.cfg.Cache.FailClosed && (letsStandIn(read.err) || r.spared(match.authority, key, read.err, x)) {
			if p := r.stale(match, id, *key, x); p != nil {
				return x.serve(OutcomeStale, p, read.err)
			}
		}
		return x.fail(read.err)
	}
	if !read.status.issued && x.repaired {
		return x.refuse(OutcomeMalformed, errRepaired)
	}
	if !read.status.issued && r.cfg.Unissued == UnissuedUnauthorized {
		return x.refuse(OutcomeUnauthorized, errUnissued)
	}
	if r.retired(&read.status, x.now) {
		return x.refuse(OutcomeUnauthorized, errRetired)
	}
	p := r.replyFor(ctx, match, id, key, &read, x)
	if p == nil || p.outcome != 0 || p.alive(x.now) && r.cache.valid(key, read.begun, &read.status) {
		return p
	}
	return nil
}

// spared reports whether the store was read only because a reply must be newer than a status that is trusted, and is
// still so. Then the reply that was to be renewed says nothing unchecked, whatever has become of the read.
func (r *Responder) spared(a *authority, key *certKey, err error, x *exchange) bool {
	if x.newer == 0 || isBroken(err) || errors.Is(err, hostcall.ErrClosed) {
		return false
	}
	known, ok := r.known(a, key)
	return ok && r.cache.trusts(&known, r.cache.moment(r.now()))
}

// replyFor finds or makes the reply that says what was read; nil asks for another attempt.
func (r *Responder) replyFor(ctx context.Context, match certIDMatch, id *codec.CertID, key *certKey, read *statusRead, x *exchange) *reply {
	s := match.signerAt(x.now)
	want := match.replyID(s)
	x.part[0].set(id, &read.found)
	x.part[0].read, x.part[0].trusted = r.cache.second(read.at), read.trusted
	job := signJob{authority: match.authority, signer: s, algorithm: s.choose(x.req.Preferred)}
	job.now, job.parts, job.nonce = x.now, x.part[:], r.nonce(&x.req)
	var p *reply
	var err error
	outcome := OutcomeSigned
	if job.cacheable() {
		old, ok := r.cache.reply(key, read.status, want, x.signature)
		if ok && old.fresh(x.now) {
			return x.serve(OutcomeCached, r.write(*key, &job, &old, x), nil)
		}
		f := flight{job: job, key: *key, want: want, begun: read.begun, fence: r.cache.lastFence(key)}
		if ok && old.alive(x.now) {
			return r.refresh(ctx, f, &old, x)
		}
		if x.newer = r.tooOld(&job); x.newer != 0 {
			return nil
		}
		var k kept
		if k, outcome, err = r.shareSign(ctx, f, x); err == nil {
			p = r.write(*key, &job, &k, x)
		}
	} else {
		if x.newer = r.tooOld(&job); x.newer != 0 {
			return nil
		}
		p, err = r.timedSign(ctx, &job, x)
	}
	if err == nil {
		return x.serve(outcome, p, nil)
	}
	if errors.Is(err, errOvertaken) {
		return nil
	}
	if p := r.stale(match, id, *key, x); p != nil && p.parts[0].status == read.status {
		return x.serve(OutcomeStale, p, err) // without the nonce, with the default algorithm
	}
	return x.unsigned(err, read.status.issued)
}

// unsigned ends an exchange for which no signature could be made. Over budget, a serial that was never issued is
// not worth asking again about.
func (x *exchange) unsigned(err error, issued bool) *reply {
	if !issued && errors.Is(err, hostcall.ErrBusy) {
		return x.refuse(OutcomeUnauthorized, err)
	}
	return x.fail(err)
}

// stale returns a reply that may stand in while the store or the signer fails, nil if there is none. A client
// that was promised its nonce gets none.
func (r *Responder) stale(match certIDMatch, id *codec.CertID, key certKey, x *exchange) *reply {
	begun := r.cache.begin()
	x.now = r.now()
	s := match.signerAt(x.now)
	known, k, ok := r.standIn(match, s, &key, x.now, x)
	if !ok || !r.cache.valid(&key, begun, &known.status) {
		return nil
	}
	x.part[0].set(id, &known.found)
	return r.write(key, &signJob{authority: match.authority, signer: s, parts: x.part[:]}, &k, x)
}

// standIn finds what stale returns.
func (r *Responder) standIn(match certIDMatch, s *candidate, key *certKey, now time.Time, x *exchange) (known head, k kept, ok bool) {
	if x.req.NonceForm != codec.NonceAbsent && r.cfg.Nonce == NonceRequire {
		return head{}, kept{}, false
	}
	if known, ok = r.known(match.authority, key); !ok {
		return head{}, kept{}, false
	}
	k, ok = r.cache.reply(key, known.status, match.replyID(s), x.signature)
	return known, k, ok && k.alive(now)
}

// standsIn reports whether a cached answer can stand in for that to this request while the store is silent.
func (r *Responder) standsIn(x *exchange) bool {
	if r.cfg.Cache.FailClosed || x.asked.match.authority == nil {
		return false
	}
	now := r.now()
	_, _, ok := r.standIn(x.asked.match, x.asked.match.signerAt(now), &x.asked.key, now, x)
	return ok
}

// letsStandIn reports whether an error of a read says that the store fails, and not that it has much to do, or that the
// responder is closed.
func letsStandIn(err error) bool {
	return !errors.Is(err, ErrStoreBusy) && !errors.Is(err, hostcall.ErrClosed) && !isBroken(err)
}

// retired reports whether a certificate expired longer ago than it is answered for.
func (r *Responder) retired(s *certStatus, now time.Time) bool {
	if r.cfg.Retention == 0 || r.cfg.Retention == RetainForever || s.notAfter == codec.NoTime {
		return false
	}
	return now.Unix() > s.notAfter+int64(r.cfg.Retention/time.Second)
}

// refresh lets one request renew a reply past its refresh point while others, and this one too if the signer
// takes its time, are served the old one. The store is read for it: nil asks for another attempt, which does that.
func (r *Responder) refresh(ctx context.Context, f flight, old *kept, x *exchange) *reply {
	if x.renews != nil && *x.renews != (renewal{f.key, f.want}) { // another signer's
		r.renewing.end(*x.renews)
		x.renews = nil
	}
	if x.renews != nil || r.renewing.begin(renewal{f.key, f.want}) {
		x.newer = r.tooOld(&f.job)
		if p := &f.job.parts[0]; p.trusted && p.read < old.refreshAt {
			x.newer = old.refreshAt
		}
		if x.newer != 0 {
			x.renews = &renewal{f.key, f.want}
			return nil
		}
		x.renews = nil // land ends it
		f.renews, f.replaces = true, old.thisUpdate
		ctx, cancel := context.WithTimeout(ctx, refreshPatience)
		defer cancel()
		k, outcome, err := r.shareSign(ctx, f, x)
		switch {
		case err == nil:
			return x.serve(outcome, r.write(f.key, &f.job, &k, x), nil)
		case !old.alive(x.now):
			return x.fail(err)
		}
	}
	if failure := f.job.signer.failure.Load(); failure != nil {
		return x.serve(OutcomeStale, r.write(f.key, &f.job, old, x), *failure)
	}
	x.renewing = true
	return x.serve(OutcomeCached, r.write(f.key, &f.job, old, x), nil)
}

// respondMany answers for several certificates with one signature. Such answers are not cached.
func (r *Responder) respondMany(ctx context.Context, reg *registry, x *exchange) *reply {
	entries := x.req.Entries
	matches := make([]certIDMatch, len(entries))
	var signing *authority
	for i := range entries {
		match, ok := reg.byCertID[string(entries[i].CertID.Issuer)]
		switch {
		case !ok && r.cfg.Strict:
			return x.refuse(OutcomeUnauthorized, errNoIssuer)
		case ok && signing != nil && match.authority != signing:
			return x.refuse(OutcomeUnauthorized, errForeign)
		case ok:
			matches[i], signing = match, match.authority
		}
	}
	if signing == nil {
		return x.refuse(OutcomeUnauthorized, errNoIssuer)
	}
	if first := matches[0]; x.observed && first.authority != nil {
		x.entry = Entry{IssuerID: first.ids[0], Serial: codec.SerialInt(entries[0].CertID.Serial)}
	}
	ctx, cancel := context.WithTimeout(ctx, r.remaining(x))
	defer cancel()
	for range maxAttempts {
		p, err := r.tryMany(ctx, signing, matches, x)
		if !errors.Is(err, errOvertaken) {
			return p
		}
	}
	return x.fail(errOvertaken)
}

// tryMany makes one attempt at a reply for several certificates; errOvertaken asks for another.
func (r *Responder) tryMany(ctx context.Context, signing *authority, matches []certIDMatch, x *exchange) (*reply, error) {
	type seen struct {
		key  certKey
		read statusRead
	}
	job := signJob{authority: signing, nonce: r.nonce(&x.req)}
	all := make([]seen, 0, len(matches))
	issued := false
	for i := range matches {
		id := &x.req.Entries[i].CertID
		p := part{certID: id.Raw, serial: id.Serial, status: unissued(UnissuedUnknown), foreign: matches[i].authority == nil}
		if !p.foreign {
			key := newCertKey(signing.number, id.Serial)
			n := slices.IndexFunc(all, func(s seen) bool { return s.key == key })
			if n < 0 {
				n, all = len(all), append(all, seen{key: key})
				r.status(ctx, signing, &key, id.Serial, x, &all[n].read)
			}
			read := all[n].read
			switch {
			case errors.Is(read.err, errOvertaken):
				return nil, errOvertaken
			case read.err != nil:
				return x.fail(read.err), nil
			case !read.status.issued && x.repaired:
				return x.refuse(OutcomeMalformed, errRepaired), nil
			case !read.status.issued && r.cfg.Unissued == UnissuedUnauthorized:
				return x.refuse(OutcomeUnauthorized, errUnissued), nil
			case r.retired(&read.status, x.now):
				return x.refuse(OutcomeUnauthorized, errRetired), nil
			}
			p.status, p.issuerID = read.status, read.issuerID
			p.read, p.trusted = r.cache.second(read.at), read.trusted
			issued = issued || read.status.issued
		}
		job.parts = append(job.parts, p)
	}
	job.signer = signing.signerAt(x.now)
	job.algorithm = job.signer.choose(x.req.Preferred)
	job.now = x.now
	for i := range job.parts {
		if p := &job.parts[i]; p.foreign { // which needs no read
			p.read = job.now.Unix()
		}
	}
	if x.newer = r.tooOld(&job); x.newer != 0 {
		return nil, errOvertaken
	}
	p, err := r.timedSign(ctx, &job, x)
	if errors.Is(err, errOvertaken) {
		return nil, errOvertaken
	}
	if err != nil {
		return x.unsigned(err, issued), nil
	}
	if !p.alive(x.now) {
		return nil, errOvertaken
	}
	for _, s := range all {
		if !r.cache.valid(&s.key, s.read.begun, &s.read.status) {
			return nil, errOvertaken
		}
	}
	return x.serve(OutcomeSigned, p, nil), nil
}
