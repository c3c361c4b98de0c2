package ocsp

import (
	"crypto"
	"math/big"
	"time"
)

// Outcome says how an answer came about.
type Outcome uint8

// The outcomes: three kinds of signed answers, then the errors of RFC 6960 section 2.3.
const (
	OutcomeSigned        Outcome = iota + 1 // a signature was made for this answer or for one that waited beside it
	OutcomeCached                           // an earlier signature was served
	OutcomeStale                            // an earlier signature was served because the store or the signer failed, or was over budget; Err says why
	OutcomeMalformed                        // malformedRequest
	OutcomeInternalError                    // internalError
	OutcomeTryLater                         // tryLater
	OutcomeSigRequired                      // sigRequired
	OutcomeUnauthorized                     // unauthorized
)

var outcomes = [...]string{"invalid", "signed", "cached", "stale", "malformedRequest", "internalError", "tryLater", "sigRequired", "unauthorized"}

// String returns "signed", "cached", "stale" or the name of the error in RFC 6960 section 4.2.1.
func (o Outcome) String() string {
	if int(o) >= len(outcomes) {
		o = 0
	}
	return outcomes[o]
}

// IsError reports whether the answer is one of the errors of RFC 6960 section 2.3, which are not signed.
func (o Outcome) IsError() bool { return o >= OutcomeMalformed }

// Answer is what Responder.Respond returns. Everything in it may be shared with other answers and must not
// be changed.
type Answer struct {
	// DER is the OCSPResponse to send, errors included. It is never empty.
	DER []byte

	Outcome Outcome

	// Responses is what a signed answer says, one for each CertID of the request in its order. It is empty when
	// the answer is an error.
	Responses []SingleResponse

	// ThisUpdate and NextUpdate are since when the status is known, less Config.Backdate, and until when the answer may be
	// believed. From RefreshAt on the responder would sign anew. Of several responses, each is the earliest. All are zero
	// when the answer is an error.
	ThisUpdate, NextUpdate, RefreshAt time.Time

	// Cacheable tells whether HTTP caches may keep the answer until RefreshAt: it is signed, carries no nonce
	// and is about nothing but certificates that were issued.
	Cacheable bool

	// Err is the cause of an error or of a stale answer, for logs. It is never sent to a client.
	Err error
}

// SingleResponse is what a signed answer says about one certificate (RFC 6960 section 4.2.1).
type SingleResponse struct {
	IssuerID  string // "" for a certificate of an issuer that is not configured
	Serial    *big.Int
	Status    Status
	Reason    Reason    // zero unless revoked
	RevokedAt time.Time // zero unless revoked
}

// Event describes one answer, for metrics, tracing and audit.
type Event struct {
	Method  string      // "GET", "HEAD" or "POST"; "" for Respond and Staple
	Hash    crypto.Hash // the hash algorithm of the first CertID; 0 when the request could not be read so far
	CertIDs int         // how many CertIDs the request has, likewise
	Nonce   bool        // the request has a nonce, likewise

	// First is about the first CertID. For an error, its Status is Unknown, and IssuerID and Serial are set
	// as far as the request could be read and its issuer is configured.
	First SingleResponse

	Outcome Outcome
	Age     time.Duration // since the answer's thisUpdate; zero for an error

	// StoreTime and SignTime are how long the answer waited for the store and for the signature or the
	// remote cache; zero if it needed none. Total is how long the whole answer took.
	StoreTime, SignTime, Total time.Duration

	// Err is the cause of an error or of a stale answer. It may name internals. By errors.Is it is ErrStoreSilent
	// or ErrStoreBusy if the store brought no status for that reason. A cached answer stood in if Outcome is
	// OutcomeStale; otherwise there was none, or none that may.
	Err error
}
