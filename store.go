package ocsp

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// ErrNotFound is what a CertStore returns, wrapped or not, for a serial number that the issuer never issued.
// Only a store that is sure may return it: every other failure is another error. An error that wraps ErrInvalidRecord
// too is that one.
var ErrNotFound = errors.New("ocsp: certificate not found")

// ErrInvalidRecord is what a CertStore returns, wrapped, when it has the certificate but not in a form that makes a
// Record, such as a state or a reason that it cannot read. That is answered like a Record that makes no sense: with
// internalError until the store is mended, and not from the cache, since the status may be another by now.
var ErrInvalidRecord = errors.New("ocsp: invalid record")

// ErrStoreSilent and ErrStoreBusy say, in Answer.Err and Event.Err, why the store brought no status. A silent store has
// answered nobody for CacheOptions.StorePatience while a call waited, and a cached answer stands in if there is one. A
// busy one has answered others, or too many calls wait for it, and the answer is tryLater: outsiders could bring a busy
// store about. An error that is neither is the store's own.
var (
	ErrStoreSilent = errors.New("ocsp: the store is silent")
	ErrStoreBusy   = errors.New("ocsp: the store is busy")
)

// CertStore is the KMS's record of its certificates, and the only source of truth about them.
//
// FindBySerial reports the present state of the certificate that the issuer with that ID issued under that
// serial number. Serial numbers are unique within one issuer only, so an implementation must look at both.
// The serial comes from the network: it may be negative, zero or up to 64 octets long. Certificates of
// subordinate CAs and of delegated responders are certificates like any other and must be found too.
//
// Up to Config.MaxStoreCalls calls may be under way, so a database's pool should be bounded, and should have
// as many connections or more: calls that wait in the pool look like a store that is slow.
// It must be safe for concurrent use, should honour ctx, and must not keep serial. The goroutine in which it is
// called serves other calls too: whoever locks its thread must unlock it.
//
// What cannot be read never becomes a status. A panic, a Record that makes no sense and ErrInvalidRecord are answered with
// internalError. Any other error but ErrNotFound is answered with tryLater, unless the store has answered nobody for
// CacheOptions.StorePatience: then a cached answer stands in until its nextUpdate, unless CacheOptions.FailClosed is set.
type CertStore interface {
	FindBySerial(ctx context.Context, issuerID string, serial *big.Int) (Record, error)
}

// CertStoreFunc lets an ordinary function serve as a CertStore.
type CertStoreFunc func(ctx context.Context, issuerID string, serial *big.Int) (Record, error)

// FindBySerial calls f.
func (f CertStoreFunc) FindBySerial(ctx context.Context, issuerID string, serial *big.Int) (Record, error) {
	return f(ctx, issuerID, serial)
}

// Record is what a store knows about one certificate. Times have a resolution of one second.
type Record struct {
	// State is the KMIP state of the certificate. The zero value is invalid, so that a forgotten field is an
	// error and not an answer.
	State State

	// Reason is why the certificate was revoked. Zero is the reason that State implies: keyCompromise for
	// Compromised and DestroyedCompromised, cessationOfOperation for Deactivated and Destroyed. A hold is
	// Deactivated with CertificateHold, no other state can be on hold, and its release is State Active.
	//
	// RemoveFromCRL is no reason of an OCSP answer (RFC 5280 section 5.3.1: it is for delta CRLs), and releases
	// nothing. Beside a State that is revoked the answer is revoked without a reason, as for Unspecified, and the
	// log says so once an hour for each issuer. Beside one that is good it is passed over.
	Reason Reason

	// RevokedAt is when the certificate was revoked. It is required when State implies revoked and must be
	// zero otherwise. It is repeated in every answer, so it must never move; one after an answer's thisUpdate is
	// given as thisUpdate.
	RevokedAt time.Time

	// InvalidityDate is when the key is believed to have been compromised, or the certificate otherwise to have
	// become invalid: the invalidityDate of RFC 5280 section 5.3.2. Zero leaves it out.
	InvalidityDate time.Time

	// NotAfter is the end of the certificate's validity. Answers for a certificate that has not expired have
	// no nextUpdate later than it, and Config.Retention counts from it. Zero means that the store does not
	// know, and neither happens.
	NotAfter time.Time
}

// certStatus applies the state and reason tables.
func (r Record) certStatus() (certStatus, error) {
	if !r.State.valid() {
		return certStatus{}, fmt.Errorf("%w: State %d is not a KMIP state", ErrInvalidRecord, uint8(r.State))
	}
	if r.Reason != 0 && !r.Reason.valid() {
		return certStatus{}, fmt.Errorf("%w: Reason %d is not a revocation reason", ErrInvalidRecord, uint8(r.Reason))
	}
	for _, t := range [...]time.Time{r.RevokedAt, r.InvalidityDate, r.NotAfter} {
		// Year 1 is what becomes of a zero time on its way through zones and roundings, and codec.NoTime.
		if y := t.UTC().Year(); y < 2 && !t.IsZero() || y > 9999 {
			return certStatus{}, fmt.Errorf("%w: the year of RevokedAt, InvalidityDate or NotAfter is %d: it must be zero or from 2 to 9999", ErrInvalidRecord, y)
		}
	}
	s := certStatus{
		status:         states[r.State].status,
		reason:         r.Reason,
		revokedAt:      r.RevokedAt.Unix(),
		invalidityDate: r.InvalidityDate.Unix(),
		notAfter:       r.NotAfter.Unix(),
		issued:         true,
	}
	if r.Reason == RemoveFromCRL { // only of delta CRLs (RFC 5280 section 5.3.1): the State decides
		if r.Reason = 0; s.status == Revoked {
			r.Reason = Unspecified
		}
		s.reason = r.Reason
	}
	switch {
	case s.status == Good && (r.Reason != 0 || !r.RevokedAt.IsZero() || !r.InvalidityDate.IsZero()):
		return certStatus{}, fmt.Errorf("%w: State %v with Reason, RevokedAt or InvalidityDate set", ErrInvalidRecord, r.State)
	case r.Reason == CertificateHold && r.State != Deactivated:
		return certStatus{}, fmt.Errorf("%w: State %v cannot be on hold", ErrInvalidRecord, r.State)
	case s.status == Revoked && r.RevokedAt.IsZero():
		return certStatus{}, fmt.Errorf("%w: State %v without RevokedAt", ErrInvalidRecord, r.State)
	}
	if s.status == Revoked && s.reason == 0 {
		s.reason = states[r.State].reason
	}
	return s, nil
}

// isBroken reports whether an error is a fault to mend rather than one that may pass.
func isBroken(err error) bool {
	var p *hostcall.PanicError
	return errors.As(err, &p) || errors.Is(err, ErrInvalidRecord)
}
