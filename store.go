package ocsp

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// ErrNotFound is returned by a CertStore, wrapped or not, for a serial number that the issuer never
// issued. A store MUST return it only if it is sure; any other failure needs another error. An
// error that wraps both ErrNotFound and ErrInvalidRecord counts as the latter.
var ErrNotFound = errors.New("ocsp: certificate not found")

// ErrInvalidRecord is returned by a CertStore, wrapped, if it has the certificate and cannot make a
// Record of it, such as when it cannot parse the state or the reason. The answer is the same as for
// an invalid Record: internalError until the store is corrected. No cached answer is served, since
// the status may have changed.
var ErrInvalidRecord = errors.New("ocsp: invalid record")

// ErrStoreSilent and ErrStoreBusy are wrapped by Answer.Err and Event.Err if the store returned no
// status for that reason. A silent store has answered no call for CacheOptions.StorePatience while
// one was in progress; a cached answer is served if there is one. A busy store has answered other
// calls, or too many wait for it. Then the answer is tryLater, because clients can make a store
// busy. An error that wraps neither is one of the store itself.
var (
	ErrStoreSilent = errors.New("ocsp: the store is silent")
	ErrStoreBusy   = errors.New("ocsp: the store is busy")
)

// CertStore is the KMS's record of its certificates, and the only source of their status.
//
// FindBySerial returns the present state of the certificate that the issuer with that ID issued
// under that serial number. Serial numbers are unique for one issuer only, so implementations MUST
// compare both. The serial comes from the network: it may be negative, zero or up to 64 octets
// long. FindBySerial MUST also find certificates of subordinate CAs and of delegated responders. If
// the issuer never issued the serial, it returns ErrNotFound.
//
// Up to Config.MaxStoreCalls calls may be in progress. A database's connection pool should have at
// least as many connections, and be bounded: calls that wait in the pool look like a slow store.
// Implementations MUST be safe for concurrent use, should honour ctx, and MUST NOT retain or modify
// serial. FindBySerial may run in a goroutine that is used again, so each runtime.LockOSThread
// needs its UnlockOSThread.
//
// A failure never becomes a status. After a panic, an invalid Record or ErrInvalidRecord the answer
// is internalError. After any other error but ErrNotFound it is tryLater or, if the store has
// answered no call for CacheOptions.StorePatience, a cached answer until its nextUpdate, unless
// CacheOptions.FailClosed is set.
type CertStore interface {
	FindBySerial(ctx context.Context, issuerID string, serial *big.Int) (Record, error)
}

// CertStoreFunc is a function that implements CertStore.
type CertStoreFunc func(ctx context.Context, issuerID string, serial *big.Int) (Record, error)

// FindBySerial calls f.
func (f CertStoreFunc) FindBySerial(
	ctx context.Context, issuerID string, serial *big.Int,
) (Record, error) {
	return f(ctx, issuerID, serial)
}

// Record is the state of one certificate. Times have a resolution of one second.
type Record struct {
	// State is the KMIP state of the certificate. The zero value is invalid, so that a field that
	// was not set causes an error.
	State State

	// Reason is why the certificate was revoked. Zero is the reason that State implies:
	// keyCompromise for Compromised and DestroyedCompromised, cessationOfOperation for Deactivated
	// and Destroyed. A certificate on hold is Deactivated with CertificateHold; no other state can
	// be on hold. The release of a hold is State Active.
	//
	// RemoveFromCRL is for delta CRLs (RFC 5280 section 5.3.1). It is not a reason of an OCSP
	// answer and releases nothing. With a State that is revoked, the answer is revoked without a
	// reason, as for Unspecified, and a line is logged once an hour for each issuer. With a State
	// that is good it is ignored.
	Reason Reason

	// RevokedAt is when the certificate was revoked. It is required if State implies revoked and
	// MUST be zero otherwise. Every answer contains it, so it MUST NOT change. If it is after an
	// answer's thisUpdate, the answer has thisUpdate instead.
	RevokedAt time.Time

	// InvalidityDate is when the key is believed to have been compromised, or the certificate
	// otherwise became invalid (RFC 5280 section 5.3.2). Only a revoked certificate may have one.
	// Zero leaves it out.
	InvalidityDate time.Time

	// NotAfter is the end of the certificate's validity. Answers for a certificate that has not
	// expired have no nextUpdate later than NotAfter, and Config.Retention starts at it. Zero means
	// that the store does not know it, and neither applies.
	NotAfter time.Time
}

// certStatus validates the record and applies the tables of states and reasons.
func (r Record) certStatus() (certStatus, error) {
	invalid := func(format string, args ...any) (certStatus, error) {
		return certStatus{}, fmt.Errorf("%w: "+format, append([]any{ErrInvalidRecord}, args...)...)
	}
	if !r.State.valid() {
		return invalid("State %d is not a KMIP state", uint8(r.State))
	}
	if r.Reason != 0 && !r.Reason.valid() {
		return invalid("Reason %d is not a revocation reason", uint8(r.Reason))
	}
	for _, t := range [...]time.Time{r.RevokedAt, r.InvalidityDate, r.NotAfter} {
		// Zones and rounding turn the zero time into others of year 1, one of which is
		// codec.NoTime.
		if y := t.UTC().Year(); y < 2 && !t.IsZero() || y > 9999 {
			return invalid("the year of RevokedAt, InvalidityDate or NotAfter is %d: "+
				"it must be zero or from 2 to 9999", y)
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
	if r.Reason == RemoveFromCRL { // for delta CRLs only (RFC 5280 section 5.3.1): State decides
		if r.Reason = 0; s.status == Revoked {
			r.Reason = Unspecified
		}
		s.reason = r.Reason
	}
	switch {
	case s.status == Good &&
		(r.Reason != 0 || !r.RevokedAt.IsZero() || !r.InvalidityDate.IsZero()):
		return invalid("State %v with Reason, RevokedAt or InvalidityDate set", r.State)
	case r.Reason == CertificateHold && r.State != Deactivated:
		return invalid("State %v cannot be on hold", r.State)
	case s.status == Revoked && r.RevokedAt.IsZero():
		return invalid("State %v without RevokedAt", r.State)
	}
	if s.status == Revoked && s.reason == 0 {
		s.reason = states[r.State].reason
	}
	return s, nil
}

// isBroken reports whether an error of a store needs a correction there and will not pass by
// itself.
func isBroken(err error) bool {
	var p *hostcall.PanicError
	return errors.As(err, &p) || errors.Is(err, ErrInvalidRecord)
}
