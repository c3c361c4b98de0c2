package ocspredis

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"time"

	"github.com/kmsocsp/ocsp"
)

var (
	// ErrExists is wrapped by Issue's error when the issuer has used that serial number already.
	ErrExists = errors.New("ocspredis: the certificate exists")

	// ErrState is wrapped by an error that says that the certificate's state does not allow the change.
	ErrState = errors.New("ocspredis: the certificate's state does not allow it")
)

// Certificate is an entry of the store.
type Certificate struct {
	IssuerID string
	Serial   *big.Int
	Record   ocsp.Record
}

const (
	maxIssuer = 255
	maxSerial = 64
	noTime    = math.MinInt64
	// Entries are padded to a multiple of this, so that their lengths tell little.
	padding = 128
)

// plain returns a record without RemoveFromCRL, which is not kept: Unspecified is answered alike, and beside a good
// state it is no reason.
func plain(r ocsp.Record) ocsp.Record {
	if r.Reason == ocsp.RemoveFromCRL {
		if r.Reason = ocsp.Unspecified; isGood(r.State) {
			r.Reason = 0
		}
	}
	return r
}

// encode writes a certificate: what names it, so that it can be found again under another key, and its record.
func (c Certificate) encode() []byte {
	r := plain(c.Record)
	serial := octets(c.Serial)
	b := []byte{byte(r.State), byte(r.Reason)}
	for _, t := range []time.Time{r.RevokedAt, r.InvalidityDate, r.NotAfter} {
		seconds := int64(noTime)
		if !t.IsZero() {
			seconds = t.Unix()
		}
		b = binary.BigEndian.AppendUint64(b, uint64(seconds))
	}
	b = append(append(b, byte(len(c.IssuerID))), c.IssuerID...)
	b = append(append(b, byte(len(serial))), serial...)
	return append(b, make([]byte, padding-len(b)%padding)...)
}

// decode is the inverse of encode. What it returns makes sense.
func decode(b []byte) (Certificate, error) {
	const head = 2 + 3*8
	bad := errors.New("the entry is not one of this package")
	if len(b) < head+1 {
		return Certificate{}, bad
	}
	r := ocsp.Record{State: ocsp.State(b[0]), Reason: ocsp.Reason(b[1])}
	for i, t := range []*time.Time{&r.RevokedAt, &r.InvalidityDate, &r.NotAfter} {
		if seconds := int64(binary.BigEndian.Uint64(b[2+8*i:])); seconds != noTime {
			*t = time.Unix(seconds, 0).UTC()
		}
	}
	issuerID, b, ok := cutText(b[head:])
	serial, _, ok2 := cutText(b)
	if !ok || !ok2 || len(serial) == 0 {
		return Certificate{}, bad
	}
	c := Certificate{string(issuerID), fromOctets(serial), r}
	return c, c.check()
}

func isGood(state ocsp.State) bool { return state == ocsp.PreActive || state == ocsp.Active }

// check refuses what no answer can be made from.
func (c Certificate) check() error {
	r := c.Record
	if len(c.IssuerID) == 0 || len(c.IssuerID) > maxIssuer {
		return fmt.Errorf("the issuer's ID has %d octets: use 1 to %d", len(c.IssuerID), maxIssuer)
	}
	if c.Serial == nil {
		return errors.New("the serial is nil")
	}
	if n := len(octets(c.Serial)); n > maxSerial {
		return fmt.Errorf("the serial has %d octets: use up to %d", n, maxSerial)
	}
	if r.State < ocsp.PreActive || r.State > ocsp.DestroyedCompromised {
		return fmt.Errorf("the state %d is not a KMIP state", uint8(r.State))
	}
	if r.Reason > ocsp.AACompromise {
		return fmt.Errorf("the reason %d is not a revocation reason", uint8(r.Reason))
	}
	for _, t := range []time.Time{r.RevokedAt, r.InvalidityDate, r.NotAfter} {
		if y := t.UTC().Year(); y < 2 && !t.IsZero() || y > 9999 {
			return fmt.Errorf("a time is in the year %d: it must be zero or from 2 to 9999", y)
		}
	}
	switch {
	case r.Reason == ocsp.CertificateHold && r.State != ocsp.Deactivated:
		return fmt.Errorf("the state %v cannot be on hold: that is Deactivated", r.State)
	case isGood(r.State) && (plain(r).Reason != 0 || !r.RevokedAt.IsZero() || !r.InvalidityDate.IsZero()):
		return fmt.Errorf("the state %v has a reason or a time of revocation", r.State)
	case !isGood(r.State) && r.RevokedAt.IsZero():
		return fmt.Errorf("the state %v has no time of revocation", r.State)
	}
	return nil
}

// Revocation is how a certificate is revoked.
type Revocation struct {
	// Reason is why. Zero is what the state implies. CertificateHold can be released; every other is for good.
	// RemoveFromCRL releases nothing, and is kept as Unspecified.
	Reason ocsp.Reason

	// State is Compromised or Deactivated. Zero is Compromised for the reasons that are a compromise
	// (KeyCompromise, CACompromise and AACompromise), and Deactivated for the others.
	State ocsp.State

	// At is when, to the second. Zero is now.
	At time.Time

	// InvalidityDate is since when the key may have been in other hands. Zero is not known.
	InvalidityDate time.Time
}

// A rule says what becomes of a record: another one, the same if it is as it should be, or an error.
type rule func(now ocsp.Record) (ocsp.Record, error)

func onHold(r ocsp.Record) bool {
	return r.State == ocsp.Deactivated && r.Reason == ocsp.CertificateHold
}

// rule makes a certificate revoked. One that is revoked already changes for the worse only.
func (v Revocation) rule() (rule, error) {
	if v.State == 0 {
		v.State = ocsp.Deactivated
		switch v.Reason {
		case ocsp.KeyCompromise, ocsp.CACompromise, ocsp.AACompromise:
			v.State = ocsp.Compromised
		}
	}
	if v.State != ocsp.Deactivated && v.State != ocsp.Compromised {
		return nil, fmt.Errorf("the state %v is not one to revoke to: use Deactivated or Compromised", v.State)
	}
	if v.At.IsZero() {
		v.At = time.Now()
	}
	return func(now ocsp.Record) (ocsp.Record, error) {
		if onHold(now) && v.Reason == ocsp.RemoveFromCRL && v.State == ocsp.Deactivated {
			return now, fmt.Errorf("%w: it is on hold: use Release to release it, or another reason than removeFromCRL to revoke it for good", ErrState)
		}
		compromised := now.State == ocsp.Compromised || now.State == ocsp.DestroyedCompromised
		worse := isGood(now.State) || v.State == ocsp.Compromised && !compromised || onHold(now) && v.Reason != ocsp.CertificateHold
		if !worse {
			return now, nil
		}
		next := now
		next.State, next.Reason = v.State, v.Reason
		if v.State == ocsp.Compromised && now.State == ocsp.Destroyed {
			next.State = ocsp.DestroyedCompromised
		}
		if next.RevokedAt.IsZero() {
			next.RevokedAt = v.At
		}
		if !v.InvalidityDate.IsZero() {
			next.InvalidityDate = v.InvalidityDate
		}
		return next, nil
	}, nil
}

// release ends a hold.
func release(now ocsp.Record) (ocsp.Record, error) {
	switch {
	case isGood(now.State):
		return now, nil
	case !onHold(now):
		return now, fmt.Errorf("%w: it is %v, and not on hold", ErrState, now.State)
	}
	return ocsp.Record{State: ocsp.Active, NotAfter: now.NotAfter}, nil
}

// transitions lists, for each state, those that SetState leads to it from. None leads from a revoked state to a
// good one.
var transitions = map[ocsp.State][]ocsp.State{
	ocsp.Active:               {ocsp.PreActive},
	ocsp.Deactivated:          {ocsp.PreActive, ocsp.Active},
	ocsp.Compromised:          {ocsp.PreActive, ocsp.Active, ocsp.Deactivated},
	ocsp.Destroyed:            {ocsp.PreActive, ocsp.Active, ocsp.Deactivated},
	ocsp.DestroyedCompromised: {ocsp.PreActive, ocsp.Active, ocsp.Deactivated, ocsp.Compromised, ocsp.Destroyed},
}

// moveTo moves a certificate along the KMIP life cycle.
func moveTo(state ocsp.State, at time.Time) (rule, error) {
	from, ok := transitions[state]
	if !ok {
		return nil, fmt.Errorf("%w: %v is not a state to change to", ErrState, state)
	}
	return func(now ocsp.Record) (ocsp.Record, error) {
		switch {
		case now.State == state:
			return now, nil
		case !slices.Contains(from, now.State):
			return now, fmt.Errorf("%w: %v does not lead to %v", ErrState, now.State, state)
		}
		next := now
		next.State = state
		if isGood(state) {
			return next, nil
		}
		// A hold ends, and a compromise has its own reason.
		compromise := state == ocsp.Compromised || state == ocsp.DestroyedCompromised
		if onHold(now) || compromise && now.State != ocsp.Compromised {
			next.Reason = 0
		}
		if next.RevokedAt.IsZero() {
			next.RevokedAt = at
		}
		return next, nil
	}, nil
}

// merge makes a certificate as revoked as an import says.
func merge(imported ocsp.Record) rule {
	return func(now ocsp.Record) (ocsp.Record, error) {
		if isGood(now.State) && !isGood(imported.State) {
			imported.NotAfter = now.NotAfter
			return imported, nil
		}
		return now, nil
	}
}
