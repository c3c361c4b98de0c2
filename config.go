package ocsp

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Config configures a Responder. Every zero value is a default that suits a private CA.
type Config struct {
	// Issuers are the CAs to answer for. At least one is required. SetIssuer adds more later.
	Issuers []Issuer

	// Store has the certificates of issuers without an Issuer.Store. It is required unless each
	// issuer has one.
	Store CertStore

	// MaxStoreCalls bounds the concurrent calls of one store. Set it to at most the size of the
	// store's connection pool: a request that waits for its turn here does not make the store look
	// silent, and one that waits in the pool does. If a store has several issuers, each may use
	// half. Up to 4096 calls wait for their turn; further requests get tryLater. Zero is 1024.
	MaxStoreCalls int

	// Validity is how long a signed answer is valid: nextUpdate − thisUpdate + 1 s, since both ends
	// count. It starts when the read of the status began. With a StatusTTL that may be long before
	// the signature is made. Whole seconds, at least 10 s. Zero is 24 h.
	Validity time.Duration

	// Backdate is subtracted from thisUpdate, for clients whose clocks are slow. Without it,
	// thisUpdate is when the read of the status began, the latest time at which the status is known
	// to be correct (RFC 6960 section 2.4). A revocation time after thisUpdate is given as
	// thisUpdate. Whole seconds, less than half of Validity. Zero subtracts nothing.
	Backdate time.Duration

	// MaxAge bounds the max-age of HTTP caching headers. max-age normally ends at the answer's
	// refresh point; it extends past that only while the next answer cannot be made. Whole seconds.
	// Zero sets no further bound.
	MaxAge time.Duration

	// Nonce selects how nonces of clients are handled. Zero is NonceEcho.
	Nonce NoncePolicy

	// Unissued is the answer for a serial number that the issuer never issued. Zero is
	// UnissuedUnknown.
	Unissued UnissuedPolicy

	// Retention is how long after its NotAfter a certificate is still answered for. After that the
	// answer is unauthorized, as RFC 9919 section 3.2.3 allows. Answers have the archive cutoff of
	// RFC 6960 section 4.4.4: producedAt − Retention, or the CA's notBefore with RetainForever,
	// which is -1. Whole seconds. Zero answers without end and without an archive cutoff.
	Retention time.Duration

	// RequestSigners, if set, restricts answers to requests signed by a certificate that chains to
	// one of these roots (RFC 6960 section 4.1.2). Unsigned requests get sigRequired, others
	// unauthorized. Nil ignores signatures, as RFC 9919 section 3.1.2 allows.
	//
	// Anyone can send signatures, so the work is bounded. A request may have 4 certificates; one
	// with more gets malformedRequest. An RSA key among them may have 4096 bits and the exponent
	// 65537; a larger one gets unauthorized. At most half of GOMAXPROCS signatures, but at least
	// one, are verified at a time, and 256 requests wait for their turn within Timeout. Requests
	// over that budget get tryLater.
	RequestSigners *x509.CertPool

	// Profile rejects configurations and records that a profile forbids. Zero is ProfilePrivate.
	Profile Profile

	// Strict rejects what the standards forbid and common clients send: a POST without the content
	// type application/ocsp-request, an empty extension list, a request that names both a foreign
	// and a configured issuer, and a GET with line breaks in its base64 or percent-encoded twice.
	// Zero accepts them.
	Strict bool

	// Timeout bounds one answer: store, remote cache and signer together. It also bounds how long
	// reading a request's body takes, unless http.Server.ReadTimeout is shorter, and how long Close
	// waits. Zero is 10 s.
	Timeout time.Duration

	Cache   CacheOptions   // the zero value is the default
	Signing SigningOptions // the zero value is the default
	Limits  Limits         // the zero value is the default

	// Logger receives what an operator should act on: failures of the store, the signer and other
	// components of the host, the first success after a failure, and warnings about certificates.
	// For each kind of failure, component and issuer it receives at most one line a second, and at
	// most one a second about the end of failures. Lines have the attributes "component", "issuer",
	// "serial" (in hex), "error", "outcome" and "suppressed", as far as they apply; suppressed
	// counts the failures since the last line of their kind. Logger never receives a secret, but a
	// driver's error may name its host. Nil is slog.Default(), looked up for each line, from
	// slog.LevelWarn up. slog.DiscardHandler discards all lines.
	Logger *slog.Logger

	// Observe is called once for each answer, in the goroutine that serves it, so it should be
	// quick. It MUST be safe for concurrent use. Nil costs nothing.
	Observe func(context.Context, Event)

	// Now is the clock. Statuses and Cache.Feed are trusted no longer than it allows, and no longer
	// than the monotonic clock allows. It MUST be safe for concurrent use. If it panics, New and
	// SetIssuer return an error, and answers are internalError. Nil is time.Now.
	Now func() time.Time
}

// RetainForever is the Config.Retention that answers for expired certificates without end, and with
// an archive cutoff.
const RetainForever time.Duration = -1

// NoncePolicy selects how a client's nonce is handled (RFC 9654).
type NoncePolicy uint8

const (
	// NonceEcho signs an answer with the nonce. Requests without one are answered from the cache.
	NonceEcho NoncePolicy = iota
	// NonceIgnore ignores nonces, so that every answer can come from the cache.
	NonceIgnore
	// NonceRequire is NonceEcho, and answers malformedRequest to requests without a nonce that can
	// be echoed. No answer lacks its nonce, even if the signer fails.
	NonceRequire
	// NonceEchoBare is NonceEcho, and also echoes the unwrapped nonces of clients older than RFC
	// 6960. The answer has them wrapped.
	NonceEchoBare
)

// UnissuedPolicy is the answer for a serial number that the issuer never issued.
type UnissuedPolicy uint8

const (
	// UnissuedUnknown answers unknown.
	UnissuedUnknown UnissuedPolicy = iota
	// UnissuedUnauthorized answers with the unsigned error unauthorized (RFC 9919 section 3.2.3).
	// It costs no signature.
	UnissuedUnauthorized
	// UnissuedRevoked answers revoked, with certificateHold since 1970 and the extended revoke
	// extension (RFC 6960 sections 2.2 and 4.4.8).
	UnissuedRevoked
)

// Profile is a set of rules for configurations and records.
type Profile uint8

const (
	// ProfilePrivate applies the RFCs.
	ProfilePrivate Profile = iota
	// ProfileCABF applies the CA/B Forum's TLS Baseline Requirements 4.9.9, 4.9.13 and 7.3:
	// Validity from 8 h to 10 days, no UnissuedRevoked, no certificateHold. A delegate's
	// certificate must conform to 7.1.2.8 (see CheckDelegate). A CA that signs its own answers must
	// have digitalSignature (7.1.2.10.7). An RSA key must have at least 2048 bits (6.1.5).
	ProfileCABF
)

// Limits bounds requests. Zero fields are the defaults.
type Limits struct {
	// MaxRequestBytes bounds a request's DER, from 66 octets to 1 GiB. A POST with more is answered
	// with HTTP status 413. Zero is 16 KiB.
	MaxRequestBytes int

	// MaxPathBytes bounds the path of a GET, to at most 1 GiB. A longer one is answered with HTTP
	// status 414. Zero is 8 KiB.
	MaxPathBytes int

	// MaxCertIDs bounds the certificates in one request. More are malformedRequest. Zero is 32.
	MaxCertIDs int

	// MaxExtensions bounds the extensions in one list. More are malformedRequest. Zero is 16.
	MaxExtensions int
}

// SigningOptions is the budget for signatures. Zero fields are the defaults. Over budget, a request
// with a nonce is answered from the cache without it (RFC 9654 section 2.1 allows that), one for a
// serial that was never issued gets the unsigned error unauthorized, and all others get tryLater.
//
// Each key that can hang has its own budget, so keys that hang do not delay issuers with another
// key. A key can hang unless it is a *rsa.PrivateKey, *ecdsa.PrivateKey or ed25519.PrivateKey.
// Those three use only processor time and share one budget. A budget belongs to the public key:
// issuers with the same key share it, and a call that hangs counts until it returns, even if
// SetIssuer replaces the Signer in the meantime.
//
// Some answers cannot be cached: those with a nonce, about an unissued serial, about several
// certificates, or with an algorithm that the client prefers to the default. They may use three
// quarters of MaxConcurrent and half of MaxWaiting, so that they cannot displace the others. In the
// shared budget of Go's own keys they may also use at most half of the processors
// (runtime.GOMAXPROCS when New is called), but at least one. A Signer of another type that computes
// signatures in this process, such as a wrapper around a Go key, needs a MaxConcurrent that leaves
// processors free.
type SigningOptions struct {
	MaxConcurrent int           // concurrent signatures of each key. Zero is 16
	MaxWaiting    int           // answers that wait for a signature of each key. Zero is 256
	Timeout       time.Duration // of one signature, including the wait for its turn. Zero is 5 s
}

const (
	defaultValidity   = 24 * time.Hour
	defaultTimeout    = 10 * time.Second
	defaultStoreCalls = 1024
	defaultMaxEntries = 100_000
	defaultPatience   = time.Second // Cache.StorePatience
	minValidity       = 10 * time.Second
	maxValidity       = 10 * 366 * 24 * time.Hour

	// minRequestBytes is the size of the shortest request that can be answered: one certificate,
	// SHA-1 without parameters, a serial number of one octet and no extensions.
	minRequestBytes = 66

	maxBytes = 1 << 30 // of a request or a path; sums do not overflow
)

// check returns a *ConfigError for every field that cannot be used or contradicts another. It does
// not check the issuers.
func (c *Config) check() error {
	bad := &configErrors{}
	lacksStore := func(i Issuer) bool { return i.Store == nil }
	if c.Store == nil && (len(c.Issuers) == 0 || slices.ContainsFunc(c.Issuers, lacksStore)) {
		bad.add("Store", "give a CertStore", "is nil")
	}
	if len(c.Issuers) == 0 {
		bad.add("Issuers", "give at least one CA", "is empty")
	}
	for _, d := range []struct {
		field string
		value time.Duration
		whole bool // in seconds
	}{
		{"Validity", c.Validity, true}, {"Backdate", c.Backdate, true}, {"MaxAge", c.MaxAge, true},
		{"Retention", c.Retention, true}, {"Timeout", c.Timeout, false},
		{"Cache.StatusTTL", c.Cache.StatusTTL, false},
		{"Cache.StorePatience", c.Cache.StorePatience, false},
		{"Signing.Timeout", c.Signing.Timeout, false},
	} {
		switch {
		case d.field == "Retention" && d.value == RetainForever:
		case d.value < 0:
			bad.add(d.field, "it must not be negative", "is %v", d.value)
		case d.whole && d.value%time.Second != 0:
			bad.add(d.field, "OCSP knows whole seconds only", "is %v", d.value)
		}
	}
	for _, n := range []struct {
		field string
		value int
	}{
		{"MaxStoreCalls", c.MaxStoreCalls}, {"Cache.MaxEntries", c.Cache.MaxEntries},
		{"Signing.MaxConcurrent", c.Signing.MaxConcurrent},
		{"Signing.MaxWaiting", c.Signing.MaxWaiting},
		{"Limits.MaxRequestBytes", c.Limits.MaxRequestBytes},
		{"Limits.MaxPathBytes", c.Limits.MaxPathBytes},
		{"Limits.MaxCertIDs", c.Limits.MaxCertIDs},
		{"Limits.MaxExtensions", c.Limits.MaxExtensions},
	} {
		if n.value < 0 {
			bad.add(n.field, "it must not be negative", "is %d", n.value)
		} else if strings.HasSuffix(n.field, "Bytes") && n.value > maxBytes {
			hint := fmt.Sprintf("use %d or less, since each request may take that much memory",
				maxBytes)
			bad.add(n.field, hint, "is %d", n.value)
		}
	}
	if n := c.Limits.MaxRequestBytes; n != 0 && n < minRequestBytes {
		hint := fmt.Sprintf("use %d or more, since no request for a certificate has fewer",
			minRequestBytes)
		bad.add("Limits.MaxRequestBytes", hint, "is %d", n)
	}
	if v := c.validity(); v < minValidity || v > maxValidity {
		hint := fmt.Sprintf("use %v to %v, an hour or more if answers are to be stapled",
			minValidity, maxValidity)
		bad.add("Validity", hint, "is %v", v)
	}
	if c.Nonce > NonceEchoBare {
		bad.add("Nonce", "use NonceEcho, NonceIgnore, NonceRequire or NonceEchoBare",
			"is %d", c.Nonce)
	}
	if c.Unissued > UnissuedRevoked {
		bad.add("Unissued", "use UnissuedUnknown, UnissuedUnauthorized or UnissuedRevoked",
			"is %d", c.Unissued)
	}
	if c.Profile > ProfileCABF {
		bad.add("Profile", "use ProfilePrivate or ProfileCABF", "is %d", c.Profile)
	}
	c.checkTogether(bad)
	return errors.Join(bad.errs...)
}

// checkTogether adds fields that are valid alone and not together. A field that has an error
// already causes no further one.
func (c *Config) checkTogether(bad *configErrors) {
	validity := c.validity()
	if c.Profile == ProfileCABF {
		if validity < 8*time.Hour || validity > 10*24*time.Hour {
			bad.add("Validity", "ProfileCABF wants 8 h to 10 days (TLS BR 4.9.9)",
				"is %v", validity)
		}
		if c.Unissued == UnissuedRevoked {
			bad.add("Unissued", "ProfileCABF forbids it (TLS BR 4.9.13, 7.3)",
				"is UnissuedRevoked, which answers certificateHold")
		}
	}
	// 2*Backdate may overflow.
	if bad.none("Validity", "Backdate") && c.Backdate >= validity-c.Backdate {
		hint := fmt.Sprintf("it must be less than half of Validity, which is %v", validity)
		bad.add("Backdate", hint, "is %v", c.Backdate)
	}
	const field = "Cache.StorePatience"
	if patience := c.Cache.StorePatience; patience != 0 && bad.none(field, "Timeout") {
		const oneZero, idle = "leave one of them zero", "under which no answer stands in"
		switch timeout := c.timeout(); {
		case c.Cache.FailClosed:
			bad.add(field, oneZero, "is %v beside FailClosed, %s", patience, idle)
		case c.Cache.Disabled:
			bad.add(field, oneZero, "is %v beside Cache.Disabled, %s", patience, idle)
		case patience > timeout:
			hint := fmt.Sprintf("it must be at most Timeout, which is %v", timeout)
			bad.add(field, hint, "is %v", patience)
		}
	}
	if c.Cache.Disabled && (c.Cache.Remote != nil || c.Cache.Compact ||
		c.Cache.StatusTTL != 0 && bad.none("Cache.StatusTTL") ||
		c.Cache.MaxEntries != 0 && bad.none("Cache.MaxEntries")) {
		bad.add("Cache.Disabled", "leave those zero",
			"contradicts StatusTTL, MaxEntries, Compact and Remote")
	}
}

// validity returns Validity or its default.
func (c *Config) validity() time.Duration {
	if c.Validity == 0 {
		return defaultValidity
	}
	return c.Validity
}

// timeout returns Timeout or its default.
func (c *Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return defaultTimeout
	}
	return c.Timeout
}

func (c *Config) setDefaults() {
	setDefault(&c.Validity, defaultValidity)
	setDefault(&c.Timeout, defaultTimeout)
	setDefault(&c.MaxStoreCalls, defaultStoreCalls)
	setDefault(&c.Cache.StorePatience, min(defaultPatience, c.Timeout))
	setDefault(&c.Cache.MaxEntries, defaultMaxEntries)
	setDefault(&c.Signing.MaxConcurrent, 16)
	setDefault(&c.Signing.MaxWaiting, 256)
	setDefault(&c.Signing.Timeout, 5*time.Second)
	setDefault(&c.Limits.MaxRequestBytes, 16<<10)
	setDefault(&c.Limits.MaxPathBytes, 8<<10)
	setDefault(&c.Limits.MaxCertIDs, 32)
	setDefault(&c.Limits.MaxExtensions, 16)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
