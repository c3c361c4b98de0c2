package ocsp

import (
	"crypto"
	"math/big"
	"time"
)

// Outcome is how an answer came about.
type Outcome uint8

// The outcomes: three kinds of signed answers, then the errors of RFC 6960 section 2.3.
const (
	// OutcomeSigned is an answer for which a signature was made. Requests for the same answer share
	// one signature.
	OutcomeSigned Outcome = iota + 1
	// OutcomeCached is an answer with an earlier signature.
	OutcomeCached
	// OutcomeStale is an answer with an earlier signature because the store or the signer failed or
	// was over budget. Err is the cause.
	OutcomeStale

	OutcomeMalformed     // malformedRequest
	OutcomeInternalError // internalError
	OutcomeTryLater      // tryLater
	OutcomeSigRequired   // sigRequired
	OutcomeUnauthorized  // unauthorized
)

var outcomes = [...]string{
	"invalid", "signed", "cached", "stale",
	"malformedRequest", "internalError", "tryLater", "sigRequired", "unauthorized",
}

// String returns "signed", "cached", "stale" or the name of the error in RFC 6960 section 4.2.1.
func (o Outcome) String() string {
	if int(o) >= len(outcomes) {
		o = 0
	}
	return outcomes[o]
}

// IsError reports whether the answer is one of the errors of RFC 6960 section 2.3, which are not
// signed.
func (o Outcome) IsError() bool { return o >= OutcomeMalformed }

// Answer is the result of Responder.Respond. It may share memory with other answers and MUST NOT be
// changed.
type Answer struct {
	// DER is the OCSPResponse to send, errors included. It is never empty.
	DER []byte

	Outcome Outcome

	// Responses has one SingleResponse for each CertID of the request, in the order of the request.
	// It is empty if the answer is an error.
	Responses []SingleResponse

	// ThisUpdate is when the read of the status began, less Config.Backdate. NextUpdate is the end
	// of the answer's validity. From RefreshAt on the responder signs again. With several responses
	// each is the earliest one. All are zero if the answer is an error.
	ThisUpdate, NextUpdate, RefreshAt time.Time

	// Cacheable reports whether HTTP caches may store the answer until RefreshAt: it is signed, has
	// no nonce, and is about issued certificates only.
	Cacheable bool

	// Err is the cause of an error or of a stale answer, for logs. It is never sent to clients.
	Err error
}

// SingleResponse is the part of a signed answer about one certificate (RFC 6960 section 4.2.1).
type SingleResponse struct {
	IssuerID  string // "" if the issuer is not configured
	Serial    *big.Int
	Status    Status
	Reason    Reason    // zero unless revoked
	RevokedAt time.Time // zero unless revoked
}

// Event describes one answer, for metrics, tracing and audit.
type Event struct {
	Method  string      // "GET", "HEAD" or "POST"; "" for Respond and Staple
	Hash    crypto.Hash // of the first CertID; 0 if the request could not be parsed that far
	CertIDs int         // number of CertIDs; 0 if the request could not be parsed that far
	Nonce   bool        // the request has a nonce; false if it could not be parsed that far

	// First is the response about the first CertID. For an error its Status is Unknown, and
	// IssuerID and Serial are set if the request could be parsed that far and its issuer is
	// configured.
	First SingleResponse

	Outcome Outcome
	Age     time.Duration // since the answer's thisUpdate; zero for an error

	// StoreTime is how long the answer waited for the store, and SignTime how long for the
	// signature or the remote cache. They are zero if it needed none. Total is the time of the
	// whole answer.
	StoreTime, SignTime, Total time.Duration

	// Err is the cause of an error or of a stale answer. It may name internals. If the store
	// returned no status because it is silent or busy, Err wraps ErrStoreSilent or ErrStoreBusy. If
	// Outcome is OutcomeStale, a cached answer was served; otherwise there was none, or none that
	// may be served.
	Err error
}
