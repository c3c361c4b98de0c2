package ocsp

import (
	"crypto/sha256"
	"crypto/x509"
	"math"
	"slices"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/signed"
)

// single is the data for one SingleResponse.
type single struct {
	issuerID string
	certID   []byte // as in the request
	serial   []byte
	status   certStatus
	foreign  bool // of an issuer that is not configured

	read                   int64 // when the read of the status began, in seconds since 1970
	trusted                bool  // the read began before the request came: a new read would be newer
	latest                 int64 // thisUpdate of a cached answer with another status, or 0
	thisUpdate, nextUpdate int64 // once they are chosen
}

// newSingle says about a certificate of a configured issuer what was found at the look.
func newSingle(id *codec.CertID, look *look, a *authority, c *clock) single {
	return single{
		issuerID: a.ids[look.Status.issuer], certID: id.Raw, serial: id.Serial, status: look.Status,
		read: c.unix(look.At), trusted: look.Trusted,
	}
}

// foreignSingle says unknown about a certificate of an issuer that is not configured.
func foreignSingle(id *codec.CertID) single {
	return single{certID: id.Raw, serial: id.Serial, status: unissued(UnissuedUnknown), foreign: true}
}

// revokedAt returns the revocation time that a response gives: none later than what it says was
// known.
func (p *single) revokedAt(s certStatus) int64 { return min(s.revokedAt, p.thisUpdate) }

// draft is a response to be found or signed.
type draft struct {
	id        answerID // if it is about one certificate
	authority *authority
	signer    *signer
	algorithm int
	now       time.Time // no status in it was read later
	deadline  time.Time // of the request
	singles   []single
	nonce     []byte
}

// newDraft returns a draft of a response about one certificate, without nonce and in the default
// algorithm. It is valid until the next call.
func (x *scratch) newDraft(
	match certIDMatch, id *codec.CertID, look *look, now time.Time, c *clock,
) *draft {
	by := match.signerAt(now)
	x.singles[0] = newSingle(id, look, match.authority, c)
	x.draft = draft{
		id: answerID{
			Certificate: match.certificate(id.Serial), Encoding: uint32(match.encoding),
			Signer: by.number, Status: look.Status,
		},
		authority: match.authority, signer: by, singles: x.singles[:], now: now,
	}
	return &x.draft
}

// reusable reports whether the response may serve others too: HTTP caches may keep it.
func (d *draft) reusable() bool {
	return d.nonce == nil && !slices.ContainsFunc(d.singles, func(p single) bool {
		return p.foreign || !p.status.issued
	})
}

// cacheable reports whether the responder itself caches the response. It caches the default
// algorithm only: clients rarely ask for another, and could make it sign and cache one after the
// other.
func (d *draft) cacheable() bool {
	return len(d.singles) == 1 && d.algorithm == 0 && d.reusable()
}

// clone returns the draft with memory of its own.
func (d *draft) clone() *draft {
	c := *d
	c.singles = slices.Clone(d.singles)
	for i := range c.singles {
		p := &c.singles[i]
		p.certID = slices.Clone(p.certID)
		p.serial = p.certID[len(p.certID)-len(p.serial):]
	}
	return &c
}

// wrap appends the response with that signature.
func (d *draft) wrap(dst, tbs, signature []byte) []byte {
	algorithm := d.signer.algorithms[d.algorithm].der
	return codec.AppendResponse(dst, tbs, algorithm, signature, d.signer.certs)
}

// appendTBS appends what the response signs, with the times that its singles have. A cached answer
// is a signature, and is encoded again when it is sent. So everything here MUST be a matter of the
// draft, or the same for as long as the Responder lives.
func (d *draft) appendTBS(c *Config, producedAt int64, dst []byte) []byte {
	var one [1]codec.Single
	data := d.signer.responseData()
	data.ProducedAt, data.Singles, data.Nonce = producedAt, one[:0], d.nonce
	for i := range d.singles {
		p := &d.singles[i]
		st := p.status.compromised(d.authority.compromised)
		single := codec.Single{
			CertID: p.certID, Status: codec.Unknown,
			RevokedAt: codec.NoTime, InvalidityDate: st.invalidityDate,
			ThisUpdate: p.thisUpdate, NextUpdate: p.nextUpdate, ArchiveCutoff: codec.NoTime,
		}
		switch st.status {
		case Good:
			single.Status = codec.Good
		case Revoked:
			single.Status, single.RevokedAt = codec.Revoked, p.revokedAt(st)
			single.Reason = byte(st.reason.CRLReason())
			data.ExtendedRevoke = data.ExtendedRevoke || !st.issued
		}
		if st.issued {
			single.ArchiveCutoff = c.archiveCutoff(d.signer.ca, producedAt)
		}
		data.Singles = append(data.Singles, single)
	}
	return data.AppendTBS(dst)
}

// scratch is the memory in which an exchange's response is made.
type scratch struct {
	reply   reply
	wire    wireAnswer // not one that hangs on a status
	draft   draft
	singles [1]single

	der, tbs, signature []byte // are used again
}

// reset drops what the scratch refers to, except for the memory that is used again.
func (x *scratch) reset() {
	*x = scratch{der: x.der, tbs: x.tbs, signature: x.signature}
}

// isFresh reports whether the refresh point of an answer is at least a second away, so that it can
// be sent with a max-age of one or more. One that was made two seconds before its end is fresh
// until then: those that renewed it would have no such point, so that each request would sign.
func isFresh(l *signed.Life, now time.Time) bool {
	return l.Alive(now.Unix()) && (ceilSecond(now) < l.RefreshAt || l.NextUpdate-l.ProducedAt <= 2)
}

// life returns the life of a response that is signed now, and sets the times of its singles. The
// response as a whole has their earliest thisUpdate, refresh point and nextUpdate. It fails with
// errOvertaken if a newer read has a life.
func (c *Config) life(d *draft) (signed.Life, error) {
	s, now := d.signer, d.now.Unix()
	if err := s.validAt(now); err != nil {
		return signed.Life{}, err
	}
	notAfter := notAfterAt(d.singles, now)
	const never = math.MaxInt64
	all := signed.Life{ThisUpdate: never, ProducedAt: now, RefreshAt: never, NextUpdate: never}
	for i := range d.singles {
		p := &d.singles[i]
		l := c.singleLife(s, p, now, notAfter)
		if p.read > now || l.ThisUpdate > p.read || l.NextUpdate <= now {
			return all, errOvertaken
		}
		p.thisUpdate, p.nextUpdate = l.ThisUpdate, l.NextUpdate
		all.ThisUpdate = min(all.ThisUpdate, l.ThisUpdate)
		all.NextUpdate = min(all.NextUpdate, l.NextUpdate)
		all.RefreshAt = min(all.RefreshAt, refreshAfter(&l, p.read))
	}
	return all, nil
}

// singleLife returns the life of what a response that is made now says about one certificate. It
// begins when the read of the status did: that is the last time at which the status is known to
// have been so (RFC 6960 section 2.4). Backdate does not move it to before the thisUpdate of an
// answer with another status, whose signer may begin later than this one.
func (c *Config) singleLife(s *signer, p *single, now, notAfter int64) signed.Life {
	l := signed.Life{
		ThisUpdate: max(p.read-int64(c.Backdate/time.Second), s.notBefore, p.latest), ProducedAt: now,
	}
	l.NextUpdate = c.lastUpdate(s, l.ThisUpdate, notAfter)
	l.RefreshAt = refreshPoint(l.ThisUpdate, l.NextUpdate)
	return l
}

// lastUpdate returns the last nextUpdate for that thisUpdate. It is within the life of the signing
// certificate, of the CA and, unless notAfter is codec.NoTime, of the certificates that the
// response is about.
func (c *Config) lastUpdate(s *signer, thisUpdate, notAfter int64) int64 {
	last := min(thisUpdate+int64(c.Validity/time.Second)-1, s.notAfter)
	if notAfter != codec.NoTime {
		last = min(last, notAfter)
	}
	return last
}

// tooOld returns the second in which the trusted reads of a draft must have begun at the earliest,
// because a response about earlier ones would be past its refresh point at once. 0 is for a draft
// that needs no newer ones.
func (c *Config) tooOld(d *draft) (newer int64) {
	s, now := d.signer, d.now.Unix()
	for i := range d.singles {
		if p := &d.singles[i]; p.trusted && s.validAt(now) == nil {
			l := c.singleLife(s, p, now, notAfterAt(d.singles, now))
			if l.RefreshAt <= ceilSecond(d.now) || l.ThisUpdate > p.read {
				newer = max(newer, p.read+1)
			}
		}
	}
	return newer
}

// notAfterAt returns the earliest end of a certificate that has not expired at that time,
// codec.NoTime if none is known.
func notAfterAt(singles []single, at int64) int64 {
	earliest := codec.NoTime
	for i := range singles {
		if end := singles[i].status.notAfter; end > at && (earliest == codec.NoTime || end < earliest) {
			earliest = end
		}
	}
	return earliest
}

// refreshPoint applies the CA/B Forum's rule for when a newer answer must be there (TLS BR 4.9.9).
func refreshPoint(thisUpdate, nextUpdate int64) int64 {
	const hour = 3600
	if validity := nextUpdate - thisUpdate + 1; validity < 16*hour {
		return thisUpdate + validity/2
	}
	return min(nextUpdate-8*hour, thisUpdate+4*24*hour)
}

// refreshAfter returns the refresh point of an answer about a status that was read then. If it had
// passed when the answer was made, or within the second of the read, since its life was cut short
// or begins long before the read, that is after half of what was left. Else each answer would be
// renewed by the next request.
func refreshAfter(l *signed.Life, read int64) int64 {
	if l.RefreshAt <= max(l.ProducedAt, read+1) {
		return l.ProducedAt + (l.NextUpdate-l.ProducedAt+1)/2
	}
	return l.RefreshAt
}

// archiveCutoff returns the date of RFC 6960 section 4.4.4, codec.NoTime for none.
func (c *Config) archiveCutoff(ca *x509.Certificate, producedAt int64) int64 {
	switch c.Retention {
	case 0:
		return codec.NoTime
	case RetainForever:
		return ca.NotBefore.Unix()
	default:
		return producedAt - int64(c.Retention/time.Second)
	}
}

// isRetired reports whether a certificate expired longer ago than it is answered for.
func (c *Config) isRetired(s *certStatus, now time.Time) bool {
	if c.Retention == 0 || c.Retention == RetainForever || s.notAfter == codec.NoTime {
		return false
	}
	return now.Unix() > s.notAfter+int64(c.Retention/time.Second)
}

// remaining returns how much of Config.Timeout is left to the request.
func (d *draft) remaining() time.Duration { return time.Until(d.deadline) }

// reply returns the reply that has those octets. It is valid until the next call for the scratch.
func (d *draft) reply(
	der []byte, pooled bool, a *signedAnswer, h *headerValues, x *scratch,
) *reply {
	x.reply = reply{
		der: der, pooled: pooled, Life: a.Life, digest: a.Digest, header: h,
		authority: d.authority, singles: d.singles, reusable: d.reusable(),
	}
	return &x.reply
}

// reply is a finished response and all that is needed to send it. It belongs to one exchange,
// errors apart, and lives no longer.
type reply struct {
	der     []byte
	pooled  bool    // der is the exchange's
	outcome Outcome // of an error; zero for a signed reply
	signed.Life

	authority *authority        // that signed it
	singles   []single          // what it is about
	reusable  bool              // HTTP caches may keep it
	digest    [sha256.Size]byte // if so: of der
	header    *headerValues     // if they are there already
}

// entry returns what the reply says about one certificate.
func (p *reply) entry(i int) SingleResponse {
	single := &p.singles[i]
	status := single.status.compromised(p.authority.compromised)
	e := SingleResponse{
		IssuerID: single.issuerID, Serial: codec.SerialInt(single.serial), Status: status.status,
	}
	if status.status == Revoked {
		e.Reason, e.RevokedAt = status.reason, time.Unix(single.revokedAt(status), 0).UTC()
	}
	return e
}

// good reports whether the reply says good of everything it is about.
func (p *reply) good() bool {
	return !slices.ContainsFunc(p.singles, func(q single) bool {
		return q.status.compromised(p.authority.compromised).status != Good
	})
}

// answer is the reply as a caller of Respond sees it.
func (p *reply) answer(outcome Outcome, err error) Answer {
	a := Answer{DER: p.der, Outcome: outcome, Cacheable: p.reusable, Err: err}
	if p.pooled {
		a.DER = slices.Clone(p.der)
	}
	if p.outcome == 0 {
		a.ThisUpdate = time.Unix(p.ThisUpdate, 0).UTC()
		a.NextUpdate = time.Unix(p.NextUpdate, 0).UTC()
		a.RefreshAt = time.Unix(p.RefreshAt, 0).UTC()
		for i := range p.singles {
			a.Responses = append(a.Responses, p.entry(i))
		}
	}
	return a
}

// errorReplies holds the reply for each error outcome.
var errorReplies = func() (list [len(outcomes)]*reply) {
	for outcome, status := range map[Outcome]codec.ResponseStatus{
		OutcomeMalformed:     codec.MalformedRequest,
		OutcomeInternalError: codec.InternalError,
		OutcomeTryLater:      codec.TryLater,
		OutcomeSigRequired:   codec.SigRequired,
		OutcomeUnauthorized:  codec.Unauthorized,
	} {
		list[outcome] = &reply{der: codec.ErrorResponse(status), outcome: outcome}
	}
	return list
}()

// headerValues returns the header values of a reply that HTTP caches may store.
func (p *reply) headerValues() *headerValues {
	if p.header != nil {
		return p.header
	}
	return newHeaderValues(p.digest, &p.Life, len(p.der))
}
