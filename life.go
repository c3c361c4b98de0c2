package ocsp

import (
	"crypto/x509"
	"math"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/signed"
	"github.com/kmsocsp/ocsp/internal/statuses"
)

// clock is the host's clock, beside the monotonic one. Neither alone counts how long a status is trusted: the host's may
// be set back, and the monotonic one stands still while the machine is suspended.
type clock struct {
	now    func() time.Time
	origin time.Time            // that moments count from, by the host's clock
	begun  time.Time            // the same instant, by time.Now
	steady func() time.Duration // the monotonic clock since then; nil: what now returns has its reading
}

func newClock(cfg *Config) *clock {
	c := &clock{now: cfg.clock()}
	c.origin, c.begun = c.now().Round(0), time.Now()
	if cfg.Now != nil {
		c.steady = func() time.Duration { return time.Since(c.begun) }
	}
	return c
}

// moment returns the present, which is now by the host's clock.
func (c *clock) moment(now time.Time) statuses.Moment {
	m := statuses.Moment{Wall: now.Round(0).Sub(c.origin)}
	if c.steady != nil {
		m.Steady = c.steady()
	} else {
		m.Steady = now.Sub(c.begun)
	}
	return m
}

// unix returns a moment as an answer gives it, in seconds since 1970.
func (c *clock) unix(m statuses.Moment) int64 { return c.origin.Add(m.Wall).Unix() }

// wall returns the least Moment.Wall of a read that began in that second.
func (c *clock) wall(unix int64) time.Duration { return time.Unix(unix, 0).Sub(c.origin) }

// isFresh reports whether the refresh point of an answer is at least a second away, so that it can be sent with a
// max-age of one or more. One that was made two seconds before its end is fresh until then: those that renewed it would
// have no such point, so that each request would sign.
func isFresh(l *signed.Life, now time.Time) bool {
	return l.Alive(now.Unix()) && (ceilSecond(now) < l.RefreshAt || l.NextUpdate-l.ProducedAt <= 2)
}

// life returns the life of a response that is signed now, and sets the times of its singles. The response as a whole has
// their earliest thisUpdate, refresh point and nextUpdate. It fails with errOvertaken if a newer read has a life.
func (c *Config) life(d *draft) (signed.Life, error) {
	s, now := d.signer, d.now.Unix()
	if err := s.validAt(now); err != nil {
		return signed.Life{}, err
	}
	notAfter := notAfterAt(d.singles, now)
	all := signed.Life{ThisUpdate: math.MaxInt64, ProducedAt: now, RefreshAt: math.MaxInt64, NextUpdate: math.MaxInt64}
	for i := range d.singles {
		p := &d.singles[i]
		l := c.singleLife(s, p.read, now, notAfter)
		if p.read > now || l.ThisUpdate > p.read || l.NextUpdate <= now {
			return all, errOvertaken
		}
		p.thisUpdate, p.nextUpdate = l.ThisUpdate, l.NextUpdate
		all.ThisUpdate, all.NextUpdate = min(all.ThisUpdate, l.ThisUpdate), min(all.NextUpdate, l.NextUpdate)
		all.RefreshAt = min(all.RefreshAt, refreshAfter(&l, p.read))
	}
	return all, nil
}

// singleLife returns the life of what a response that is made now says about one certificate. It begins when the read of
// the status did: that is the last time at which the status is known to have been so (RFC 6960 section 2.4).
func (c *Config) singleLife(s *signer, read, now, notAfter int64) signed.Life {
	l := signed.Life{ThisUpdate: max(read-int64(c.Backdate/time.Second), s.notBefore), ProducedAt: now}
	l.NextUpdate = c.lastUpdate(s, l.ThisUpdate, notAfter)
	l.RefreshAt = refreshPoint(l.ThisUpdate, l.NextUpdate)
	return l
}

// lastUpdate returns the last nextUpdate for that thisUpdate. It is within the life of the signing certificate, of the
// CA and, unless notAfter is codec.NoTime, of the certificates that the response is about.
func (c *Config) lastUpdate(s *signer, thisUpdate, notAfter int64) int64 {
	last := min(thisUpdate+int64(c.Validity/time.Second)-1, s.notAfter)
	if notAfter != codec.NoTime {
		last = min(last, notAfter)
	}
	return last
}

// tooOld returns the second in which the trusted reads of a draft must have begun at the earliest, because a response
// about earlier ones would be past its refresh point at once. 0 is for a draft that needs no newer ones.
func (c *Config) tooOld(d *draft) (newer int64) {
	s, now := d.signer, d.now.Unix()
	for i := range d.singles {
		if p := &d.singles[i]; p.trusted && s.validAt(now) == nil {
			l := c.singleLife(s, p.read, now, notAfterAt(d.singles, now))
			if l.RefreshAt <= ceilSecond(d.now) || l.ThisUpdate > p.read {
				newer = max(newer, p.read+1)
			}
		}
	}
	return newer
}

// notAfterAt returns the earliest end of a certificate that has not expired at that time, codec.NoTime if
// none is known.
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

// refreshAfter returns the refresh point of an answer about a status that was read then. If it had passed when the answer
// was made, or within the second of the read, since its life was cut short or begins long before the read, that is after
// half of what was left. Else each answer would be renewed by the next request.
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

// remaining returns how much of Timeout is left to an exchange.
func (c *Config) remaining(x *exchange) time.Duration { return time.Until(x.start.Add(c.Timeout)) }

func ceilSecond(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}
