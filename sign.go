package ocsp

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// part is what a reply will say about one certificate.
type part struct {
	issuerID string
	certID   []byte // mirrored from the request
	serial   []byte
	status   certStatus
	foreign  bool // of an issuer that is not configured

	read                   int64 // when the read of the status began, in seconds since 1970
	trusted                bool  // statusRead.trusted
	thisUpdate, nextUpdate int64 // what the reply gives, once they are chosen
}

// set makes the part say what was found about a certificate of a configured issuer.
func (p *part) set(id *codec.CertID, f *found) {
	*p = part{issuerID: f.issuerID, certID: id.Raw, serial: id.Serial, status: f.status}
}

// revokedAt returns the revocation time that a reply gives: none later than what it says was known.
func (p *part) revokedAt(s certStatus) int64 { return min(s.revokedAt, p.thisUpdate) }

// signJob is a reply to be made.
type signJob struct {
	authority *authority
	signer    *candidate // of the authority, chosen once for each attempt
	algorithm int
	now       time.Time // when it is made: no part was read later
	parts     []part
	nonce     []byte
}

// reusable reports whether the reply may serve others too: HTTP caches may keep it.
func (j *signJob) reusable() bool {
	return j.nonce == nil && !slices.ContainsFunc(j.parts, func(p part) bool { return p.foreign || !p.status.issued })
}

// cacheable reports whether the responder itself keeps the reply. It keeps no algorithm but the default: clients
// rarely ask for another, and could make it sign and keep one after the other.
func (j *signJob) cacheable() bool {
	return len(j.parts) == 1 && j.algorithm == 0 && j.reusable()
}

// cloneParts returns the parts, with memory of their own.
func (j *signJob) cloneParts() []part {
	parts := slices.Clone(j.parts)
	for i := range parts {
		p := &parts[i]
		p.certID = slices.Clone(p.certID)
		p.serial = p.certID[len(p.certID)-len(p.serial):]
	}
	return parts
}

// flight is a signJob whose reply answers everyone who asks the same, and is cached.
type flight struct {
	job      signJob
	key      certKey // of the certificate in the cache
	want     replyID
	begun    uint64 // the tick at which the read of the status began
	fence    uint64 // the tick of the last fence: who asks after another one joins no flight from before
	renews   bool   // a reply past its refresh point
	replaces int64  // the thisUpdate of that reply
}

// flightKey tells apart the signatures that answers can share.
type flightKey struct {
	key      certKey
	want     replyID
	status   certStatus
	fence    uint64
	renews   bool
	replaces int64
}

func (f *flight) flightKey() flightKey {
	return flightKey{f.key, f.want, f.job.parts[0].status, f.fence, f.renews, f.replaces}
}

// renewal names a reply that is being renewed.
type renewal struct {
	key  certKey
	want replyID
}

// renewals are those under way: one at a time for each reply.
type renewals struct {
	mu  sync.Mutex
	set map[renewal]struct{}
}

// begin reports whether the caller is the one to renew the reply.
func (n *renewals) begin(what renewal) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.set[what]; ok {
		return false
	}
	if n.set == nil {
		n.set = map[renewal]struct{}{}
	}
	n.set[what] = struct{}{}
	return true
}

func (n *renewals) end(what renewal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.set, what)
}

// timedSign makes a reply for this exchange alone. It sets x.now.
func (r *Responder) timedSign(ctx context.Context, job *signJob, x *exchange) (*reply, error) {
	if x.observed {
		defer func(start time.Time) { x.signTime += time.Since(start) }(time.Now())
	}
	k, tbs, err := r.sign(ctx, job, r.remaining(x), x.tbs[:0])
	x.now = r.now()
	if err != nil {
		return nil, err
	}
	if !job.signer.opaque { // which may still have it in use
		x.tbs = tbs
	}
	p := x.write(job, &k, tbs)
	if p.reusable {
		p.digest = sha256.Sum256(p.der)
	}
	return p, nil
}

// landed is what a flight brings.
type landed struct {
	kept
	outcome Outcome // OutcomeSigned, or OutcomeCached if no signature was made
}

// shareSign joins the flight that makes the same reply, or starts it. The flight goes on when the caller
// leaves. It sets x.now.
func (r *Responder) shareSign(ctx context.Context, f flight, x *exchange) (kept, Outcome, error) {
	if x.observed {
		defer func(start time.Time) { x.signTime += time.Since(start) }(time.Now())
	}
	defer func() { x.now = r.now() }()
	s, begun := r.signs.join(f.flightKey())
	if begun && f.prompt(r) {
		l, err := r.fly(ctx, f, 0, x.tbs[:0])
		if !errors.Is(err, hostcall.ErrBusy) {
			r.land(f, s, l, err)
			return l.kept, l.outcome, err
		}
	}
	if begun {
		r.launch(ctx, f, s)
	}
	waiting, cancel := context.WithTimeout(ctx, r.remaining(x))
	defer cancel()
	l, err := s.wait(waiting)
	if err != nil {
		err = blame("signer", f.job.authority.ids[0], nil, err)
	}
	return l.kept, l.outcome, err
}

// prompt reports whether a flight waits for nothing but a signature of one of Go's own keys. Then to hand it to another
// goroutine, and to leave it what outlives the request, costs more than all else but the signature.
func (f *flight) prompt(r *Responder) bool {
	return !f.job.signer.opaque && r.cfg.Cache.Shared == nil
}

// launch makes a flight in another goroutine. It may outlive the request.
func (r *Responder) launch(ctx context.Context, f flight, s *shared[landed]) {
	f.job.parts = f.job.cloneParts()
	begun := r.host.Go(func() {
		l, err := r.fly(context.WithoutCancel(ctx), f, r.cfg.Signing.Timeout, nil)
		r.land(f, s, l, err)
	})
	if !begun {
		r.land(f, s, landed{}, errClosed)
	}
}

// land ends a flight.
func (r *Responder) land(f flight, s *shared[landed], l landed, err error) {
	if f.renews {
		failure := &f.job.signer.failure
		switch {
		case errors.Is(err, errOvertaken): // which says nothing about the signer
		case err != nil:
			why := err
			failure.Store(&why)
		case failure.Load() != nil:
			failure.Store(nil)
		}
		// In this order: the next renewal is not taken for this one, and whoever has waited finds no renewal under way.
		r.signs.forget(f.flightKey())
		r.renewing.end(renewal{f.key, f.want})
	}
	r.signs.land(f.flightKey(), s, l, err)
}

// fly makes or fetches the reply of a flight. It waits for its turn to sign for limit at the most, and may use room.
func (r *Responder) fly(ctx context.Context, f flight, limit time.Duration, room []byte) (l landed, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = hostcall.NewPanicError(v)
		}
	}()
	if !r.host.Enter() {
		return landed{}, errClosed
	}
	defer r.host.Leave()
	// A flight that landed between the caller's look into the cache and this one's start made it already.
	status := f.job.parts[0].status
	if k, ok := r.cache.reply(&f.key, status, f.want, nil); ok && k.fresh(f.job.now) {
		return landed{k, OutcomeCached}, nil
	}
	if k, der, ok := r.fetchShared(ctx, f); ok {
		return landed{r.cache.add(f.key, f.begun, status, k, der), OutcomeCached}, nil
	}
	k, tbs, err := r.sign(ctx, &f.job, limit, room)
	if err != nil {
		return landed{}, err
	}
	der := f.job.wrap(nil, tbs, k.signature)
	k.id, k.digest = f.want, sha256.Sum256(der)
	k = r.cache.add(f.key, f.begun, status, k, der)
	r.storeShared(ctx, f, k.nextUpdate, der)
	return landed{k, OutcomeSigned}, nil
}

// sign makes a signature within the budget for them and, if that is shorter, within limit. It returns what was
// signed, too, which it may append to room.
func (r *Responder) sign(ctx context.Context, job *signJob, limit time.Duration, room []byte) (k kept, tbs []byte, err error) {
	s := job.signer.signer
	if s.opaque || cap(room) == 0 { // a key that hangs keeps it
		room = make([]byte, 0, 256*len(job.parts)+128)
	}
	defer func() {
		if err != nil {
			err = blame("signer", job.authority.ids[0], nil, err)
		}
	}()
	r.warnOfEnd(ctx, job.authority, s, job.now.Unix())
	if k.window, err = r.window(job); err != nil {
		return kept{}, nil, err
	}
	var one [1]codec.Single
	data := r.responseData(job, k.producedAt, one[:0])
	tbs = data.AppendTBS(room)
	slots := s.lane.all
	if !job.cacheable() {
		slots = s.lane.extra
	}
	k.signature, err = r.signature(ctx, s, job.algorithm, tbs, slots, min(limit, r.cfg.Signing.Timeout))
	if err == nil {
		r.succeeded("signer", job.authority.ids[0], nil, callFailures...)
	}
	return k, tbs, err
}

// write makes the reply that is kept. What it says is a matter of the job and the window alone, so that it is, octet for
// octet, what was signed.
func (r *Responder) write(key certKey, job *signJob, k *kept, x *exchange) *reply {
	job.parts[0].thisUpdate, job.parts[0].nextUpdate = k.thisUpdate, k.nextUpdate
	if k.ready != nil {
		return x.hand(job, k, k.ready.der)
	}
	var one [1]codec.Single
	data := r.responseData(job, k.producedAt, one[:0])
	x.tbs = data.AppendTBS(x.tbs[:0])
	p := x.write(job, k, x.tbs)
	r.cache.keep(key, *k, p.der)
	return p
}

// write makes the reply of its signed part and the signature.
func (x *exchange) write(job *signJob, k *kept, tbs []byte) *reply {
	x.der = job.wrap(x.der[:0], tbs, k.signature)
	p := x.hand(job, k, x.der)
	p.lent = true
	return p
}

// hand makes the reply that has those octets.
func (x *exchange) hand(job *signJob, k *kept, der []byte) *reply {
	p := &x.reply
	p.der, p.lent, p.outcome, p.window = der, false, 0, k.window
	p.authority, p.parts, p.reusable, p.digest, p.ready = job.authority, job.parts, job.reusable(), k.digest, k.ready
	return p
}

// wrap appends the response with that signature.
func (j *signJob) wrap(dst, tbs, signature []byte) []byte {
	s := j.signer
	return codec.AppendResponse(dst, tbs, s.algorithms[j.algorithm].der, signature, s.certs)
}

// signature calls the key. Go's own keys do not hang, so they are called where they are needed.
func (r *Responder) signature(ctx context.Context, s *signer, algorithm int, tbs []byte, slots *hostcall.Lane, limit time.Duration) (sig []byte, err error) {
	if s.opaque {
		return hostcall.Do(ctx, &r.host, slots, limit, func(ctx context.Context) ([]byte, error) { return s.sign(ctx, algorithm, tbs) })
	}
	if err := slots.Acquire(ctx, limit); err != nil {
		return nil, err
	}
	defer func() {
		slots.Release()
		if v := recover(); v != nil {
			err = hostcall.NewPanicError(v)
		}
	}()
	return s.sign(ctx, algorithm, tbs)
}

// notAfterAt returns the earliest end of a certificate that has not expired at that time, codec.NoTime if
// none is known.
func notAfterAt(parts []part, at int64) int64 {
	earliest := codec.NoTime
	for i := range parts {
		if end := parts[i].status.notAfter; end > at && (earliest == codec.NoTime || end < earliest) {
			earliest = end
		}
	}
	return earliest
}

// responseData is what a reply will sign, with the times that its parts have. It uses the room that singles has.
func (r *Responder) responseData(job *signJob, producedAt int64, singles []codec.Single) codec.ResponseData {
	data := codec.ResponseData{
		ResponderID: job.signer.responderID,
		ProducedAt:  producedAt,
		Singles:     singles,
		Nonce:       job.nonce,
	}
	for i := range job.parts {
		p := &job.parts[i]
		s := p.status.compromised(job.authority.compromised)
		single := codec.Single{
			CertID: p.certID, Status: codec.Unknown, RevokedAt: codec.NoTime, InvalidityDate: s.invalidityDate,
			ThisUpdate: p.thisUpdate, NextUpdate: p.nextUpdate, ArchiveCutoff: codec.NoTime,
		}
		switch s.status {
		case Good:
			single.Status = codec.Good
		case Revoked:
			single.Status, single.Reason, single.RevokedAt = codec.Revoked, byte(s.reason.Code()), p.revokedAt(s)
			data.ExtendedRevoke = data.ExtendedRevoke || !s.issued
		}
		if s.issued {
			single.ArchiveCutoff = r.archiveCutoff(job.signer.ca, producedAt)
		}
		data.Singles = append(data.Singles, single)
	}
	return data
}

// archiveCutoff returns the date of RFC 6960 section 4.4.4, codec.NoTime for none.
func (r *Responder) archiveCutoff(ca *x509.Certificate, producedAt int64) int64 {
	switch r.cfg.Retention {
	case 0:
		return codec.NoTime
	case RetainForever:
		return ca.NotBefore.Unix()
	default:
		return producedAt - int64(r.cfg.Retention/time.Second)
	}
}
