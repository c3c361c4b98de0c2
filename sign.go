package ocsp

import (
	"context"
	"encoding/binary"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/kmsocsp/ocsp/internal/codec"
)

// part is what a reply will say about one certificate.
type part struct {
	issuerID string
	certID   []byte // mirrored from the request
	serial   []byte
	status   certStatus
	foreign  bool // of an issuer that is not configured
}

// signJob is a reply to be made.
type signJob struct {
	authority *authority
	algorithm int
	now       time.Time
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

// flight is a signJob whose reply answers everyone who asks the same, and is cached.
type flight struct {
	job      signJob
	key      string // of the certificate in the cache
	want     replyID
	begun    uint64 // the tick at which the read of the status began
	replaces *reply // the reply it renews
}

// flightKey tells apart the signatures that answers can share.
func (f *flight) flightKey() string {
	b := binary.AppendUvarint(make([]byte, 0, len(f.key)+64), uint64(len(f.key)))
	b = append(b, f.key...)
	b = binary.AppendUvarint(b, uint64(f.want.encoding))
	b = binary.AppendUvarint(b, f.want.signer)
	s := f.job.parts[0].status
	b = append(b, byte(s.status), byte(s.reason))
	for _, t := range []int64{s.revokedAt, s.invalidityDate, s.notAfter} {
		b = binary.AppendVarint(b, t)
	}
	if f.replaces != nil {
		b = binary.AppendVarint(append(b, 'r'), f.replaces.thisUpdate)
	}
	return string(b)
}

// timedSign makes a reply for this exchange alone.
func (r *Responder) timedSign(ctx context.Context, job signJob, x *exchange) (*reply, error) {
	if x.observed {
		defer func(start time.Time) { x.signTime += time.Since(start) }(time.Now())
	}
	return r.sign(ctx, job, r.remaining(x))
}

// landed is what a flight brings.
type landed struct {
	*reply
	outcome Outcome // OutcomeSigned, or OutcomeCached if no signature was made
}

// shareSign joins the flight that makes the same reply, or starts it. The flight goes on when the caller
// leaves. It sets x.now.
func (r *Responder) shareSign(ctx context.Context, f flight, x *exchange) (*reply, Outcome, error) {
	if x.observed {
		defer func(start time.Time) { x.signTime += time.Since(start) }(time.Now())
	}
	ctx, cancel := context.WithTimeout(ctx, r.remaining(x))
	defer cancel()
	ch := r.signs.DoChan(f.flightKey(), func() (any, error) {
		return protect(context.WithoutCancel(ctx), func(ctx context.Context) (landed, error) { return r.fly(ctx, f) })
	})
	var res singleflight.Result
	select {
	case res = <-ch:
	case <-ctx.Done():
		res.Err = errTimeout
	}
	x.now = r.now()
	if res.Err != nil {
		return nil, 0, res.Err
	}
	l := res.Val.(landed)
	return l.reply, l.outcome, nil
}

// fly makes or fetches the reply of a flight.
func (r *Responder) fly(ctx context.Context, f flight) (l landed, err error) {
	if f.replaces != nil {
		defer func() {
			if err != nil {
				f.replaces.failure.Store(&err)
			}
			f.replaces.refreshing.Store(false)
		}()
	}
	if !r.life.start() {
		return landed{}, errClosed
	}
	defer r.life.done()
	// A flight that landed between the caller's look into the cache and this one's start made it already.
	if p := r.cache.find(f.key, f.job.parts[0].status, f.want); p != nil && p.fresh(f.job.now) {
		return landed{p, OutcomeCached}, nil
	}
	if p := r.fetchShared(ctx, f); p != nil {
		r.cache.add(f.key, f.begun, p)
		return landed{p, OutcomeCached}, nil
	}
	p, err := r.sign(ctx, f.job, r.cfg.Signing.Timeout)
	if err != nil {
		return landed{}, err
	}
	p.id = f.want
	r.cache.add(f.key, f.begun, p)
	r.storeShared(ctx, f, p)
	return landed{p, OutcomeSigned}, nil
}

// sign makes a reply within the budget for signatures and, if that is shorter, within limit.
func (r *Responder) sign(ctx context.Context, job signJob, limit time.Duration) (*reply, error) {
	s := job.authority.signer
	times, err := r.window(s, job.now.Unix(), notAfterAt(job.parts, job.now.Unix()))
	if err != nil {
		return nil, err
	}
	var one [1]codec.Single
	data := r.responseData(job, times, one[:0])
	tbs := data.AppendTBS(make([]byte, 0, 256*len(job.parts)+128))
	slots := r.signing
	if !job.cacheable() {
		slots = r.extra
	}
	sig, err := r.signature(ctx, s, job.algorithm, tbs, slots, min(limit, r.cfg.Signing.Timeout))
	if err != nil {
		return nil, err
	}
	der := codec.AppendResponse(make([]byte, 0, len(tbs)+len(sig)+len(s.certs)+128), tbs, s.algorithms[job.algorithm].der, sig, s.certs)
	return newReply(job, times, data, der), nil
}

// signature calls the key. Go's own keys do not hang, so they are called where they are needed.
func (r *Responder) signature(ctx context.Context, s *signer, algorithm int, tbs []byte, slots *slots, limit time.Duration) (sig []byte, err error) {
	if s.opaque {
		return detach(ctx, &r.life, slots, limit, func(ctx context.Context) ([]byte, error) { return s.sign(ctx, algorithm, tbs) })
	}
	if err := slots.acquire(ctx, limit); err != nil {
		return nil, err
	}
	defer func() {
		slots.release()
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
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

// responseData is what a reply will sign. It uses the room that singles has.
func (r *Responder) responseData(job signJob, t window, singles []codec.Single) codec.ResponseData {
	data := codec.ResponseData{
		ResponderID: job.authority.signer.responderID,
		ProducedAt:  t.producedAt,
		Singles:     singles,
		Nonce:       job.nonce,
	}
	for i := range job.parts {
		p := &job.parts[i]
		s := p.status.compromised(job.authority.compromised)
		single := codec.Single{
			CertID: p.certID, Status: codec.Unknown, RevokedAt: codec.NoTime, InvalidityDate: s.invalidityDate,
			ThisUpdate: t.thisUpdate, NextUpdate: t.nextUpdate, ArchiveCutoff: codec.NoTime,
		}
		switch s.status {
		case Good:
			single.Status = codec.Good
		case Revoked:
			single.Status, single.Reason, single.RevokedAt = codec.Revoked, byte(s.reason.Code()), s.revokedAt
			if s.revokedAt > t.producedAt {
				single.RevokedAt = t.thisUpdate
			}
			data.ExtendedRevoke = data.ExtendedRevoke || !s.issued
		}
		if s.issued {
			single.ArchiveCutoff = r.archiveCutoff(job.authority, t.producedAt)
		}
		data.Singles = append(data.Singles, single)
	}
	return data
}

// archiveCutoff returns the date of RFC 6960 section 4.4.4, codec.NoTime for none.
func (r *Responder) archiveCutoff(a *authority, producedAt int64) int64 {
	switch r.cfg.Retention {
	case 0:
		return codec.NoTime
	case RetainForever:
		return a.certificate.NotBefore.Unix()
	default:
		return producedAt - int64(r.cfg.Retention/time.Second)
	}
}

// newReply wraps a finished response.
func newReply(job signJob, t window, data codec.ResponseData, der []byte) *reply {
	p := &reply{
		der: der, status: job.parts[0].status,
		thisUpdate: t.thisUpdate, refreshAt: t.refreshAt, nextUpdate: t.nextUpdate,
		cacheable: job.reusable(),
		entries:   make([]Entry, len(job.parts)),
	}
	for i := range job.parts {
		s := job.parts[i].status.compromised(job.authority.compromised)
		e := Entry{IssuerID: job.parts[i].issuerID, Serial: codec.SerialInt(job.parts[i].serial), Status: s.status}
		if s.status == Revoked {
			e.Reason, e.RevokedAt = s.reason, time.Unix(data.Singles[i].RevokedAt, 0).UTC()
		}
		p.entries[i] = e
	}
	p.headers = newHeaders(p)
	return p
}
