package ocspotel

import (
	"context"
	"crypto"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/kmsocsp/ocsp"
)

// The attributes of metrics and spans. One that does not apply is left out.
const (
	// OutcomeKey is ocsp.Outcome.String(), such as "cached" or "tryLater", or "canceled": the client left before
	// there was an answer.
	OutcomeKey attribute.Key = "ocsp.outcome"
	// StatusKey is "good", "revoked" or "unknown", about the first certificate of a signed answer.
	StatusKey attribute.Key = "ocsp.status"
	// ReasonKey is why it was revoked, by its name in RFC 5280; "unspecified" if the answer gives no reason.
	ReasonKey attribute.Key = "ocsp.reason"
	// IssuerKey is the ocsp.Issuer.ID; "_OTHER" beyond Options.MaxIssuers. It is left out when the issuer is not
	// configured or the request could not be read.
	IssuerKey attribute.Key = "ocsp.issuer.id"
	// ConditionKey is why the store brought no status to a stale answer or one that is tryLater: "silent" for
	// ocsp.ErrStoreSilent, "busy" for ocsp.ErrStoreBusy. It is left out when the cause is another, such as the
	// signer or an error of the store, or the caller's time was up.
	ConditionKey attribute.Key = "ocsp.store.condition"
	// MethodKey is "GET", "HEAD" or "POST", or "_OTHER" for what a host makes up. It is left out for
	// Responder.Respond and Staple.
	MethodKey = semconv.HTTPRequestMethodKey
	// HashKey is the hash algorithm of the first CertID, such as "SHA-1"; "other" for one that answers never have.
	// It is left out when the request could not be read.
	HashKey attribute.Key = "ocsp.hash"
	// NonceKey tells whether the request has a nonce.
	NonceKey attribute.Key = "ocsp.nonce"
)

// The attributes that only spans have.
const (
	// SerialKey is the serial number of the first certificate, in hex.
	SerialKey attribute.Key = "ocsp.serial"
	// CertIDsKey is how many certificates the request is about.
	CertIDsKey attribute.Key = "ocsp.cert_ids"
	// AgeKey is how long ago the answer's thisUpdate was, in seconds.
	AgeKey attribute.Key = "ocsp.age"
)

// otherIssuer stands for the issuers beyond Options.MaxIssuers.
const otherIssuer = "_OTHER"

// outcome is an index into outcomes.
type outcome uint8

// canceled follows what ocsp.Outcome has.
const canceled = outcome(ocsp.OutcomeUnauthorized) + 1

var outcomes = func() (names [canceled + 1]string) {
	for o := range canceled {
		names[o] = ocsp.Outcome(o).String()
	}
	names[canceled] = "canceled"
	return names
}()

// outcomeOf returns the outcome of an answer. A client that leaves gets none, which is no failure of the responder.
func outcomeOf(ctx context.Context, e *ocsp.Event) outcome {
	switch o := outcome(e.Outcome); {
	case e.Outcome == ocsp.OutcomeTryLater && errors.Is(ctx.Err(), context.Canceled):
		return canceled
	case o < canceled:
		return o
	default:
		return 0 // "invalid"
	}
}

// condition is an index into conditions.
type condition uint8

const (
	silent condition = iota + 1
	busy
)

var conditions = [...]string{silent: "silent", busy: "busy"}

// conditionOf returns why the store brought no status, zero if that is not why. Nothing stands in for a busy store.
func conditionOf(ctx context.Context, o outcome, err error) condition {
	stale, tryLater := ocsp.Outcome(o) == ocsp.OutcomeStale, ocsp.Outcome(o) == ocsp.OutcomeTryLater
	switch {
	case !stale && !tryLater || ctx.Err() != nil:
		return 0
	case errors.Is(err, ocsp.ErrStoreSilent):
		return silent
	case tryLater && errors.Is(err, ocsp.ErrStoreBusy):
		return busy
	}
	return 0
}

// said is what an answer said.
type said struct {
	outcome   outcome
	status    ocsp.Status
	reason    ocsp.Reason
	condition condition
	issuer    string
}

func saidOf(ctx context.Context, o outcome, e *ocsp.Event) said {
	s := said{outcome: o, condition: conditionOf(ctx, o, e.Err), issuer: e.First.IssuerID}
	if !s.signed() {
		return s
	}
	// What a host makes up becomes what String makes of it, "unknown" and "unspecified".
	if e.First.Status == ocsp.Good || e.First.Status == ocsp.Revoked {
		s.status = e.First.Status
	}
	if s.status == ocsp.Revoked {
		s.reason = ocsp.Unspecified
		if e.First.Reason > 0 && e.First.Reason <= ocsp.AACompromise {
			s.reason = e.First.Reason
		}
	}
	return s
}

// signed reports whether the answer has a status.
func (s said) signed() bool {
	switch ocsp.Outcome(s.outcome) {
	case ocsp.OutcomeSigned, ocsp.OutcomeCached, ocsp.OutcomeStale:
		return true
	}
	return false
}

func (s said) attributes() []attribute.KeyValue {
	list := s.origin()
	if s.signed() {
		list = append(list, StatusKey.String(s.status.String()))
	}
	if s.reason != 0 {
		list = append(list, ReasonKey.String(s.reason.String()))
	}
	if s.condition != 0 {
		list = append(list, ConditionKey.String(conditions[s.condition]))
	}
	return list
}

// origin is the attributes by which times are told apart.
func (s said) origin() []attribute.KeyValue {
	list := []attribute.KeyValue{OutcomeKey.String(outcomes[s.outcome])}
	if s.issuer != "" {
		list = append(list, IssuerKey.String(s.issuer))
	}
	return list
}

// asked is what a request was like.
type asked struct {
	outcome      outcome
	method, hash uint8 // indexes into methods and hashes
	nonce        bool
}

var (
	methods = [...]string{"", "GET", "HEAD", "POST", semconv.HTTPRequestMethodOther.Value.AsString()}
	hashes  = [...]string{"", crypto.SHA1.String(), crypto.SHA256.String(), crypto.SHA384.String(), crypto.SHA512.String(), "other"}
)

func askedOf(o outcome, e *ocsp.Event) asked {
	a := asked{outcome: o, nonce: e.Nonce}
	switch e.Method {
	case "":
		a.method = 0
	case "GET":
		a.method = 1
	case "HEAD":
		a.method = 2
	case "POST":
		a.method = 3
	default:
		a.method = 4
	}
	switch e.Hash {
	case crypto.SHA1:
		a.hash = 1
	case crypto.SHA256:
		a.hash = 2
	case crypto.SHA384:
		a.hash = 3
	case crypto.SHA512:
		a.hash = 4
	default:
		if e.CertIDs > 0 {
			a.hash = 5
		}
	}
	return a
}

func (a asked) attributes() []attribute.KeyValue {
	list := []attribute.KeyValue{OutcomeKey.String(outcomes[a.outcome]), NonceKey.Bool(a.nonce)}
	if a.method != 0 {
		list = append(list, MethodKey.String(methods[a.method]))
	}
	if a.hash != 0 {
		list = append(list, HashKey.String(hashes[a.hash]))
	}
	return list
}
