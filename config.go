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

// Config is what a Responder is made of. Every zero value is the default that suits a private CA.
type Config struct {
	// Issuers are the CAs to answer for. At least one; SetIssuer adds more later.
	Issuers []Issuer

	// Store knows the certificates of issuers that have no Issuer.Store. Required unless each has one.
	Store CertStore

	// MaxStoreCalls bounds the calls of one store that are under way. Set it to at most the size of the
	// store's connection pool, so that requests wait for their turn here, where their wait is not taken
	// for a store that is silent, and not there. Of a store with several issuers each may use half. Some
	// 4096 more may wait; beyond that the answer is tryLater. Zero is 1024.
	MaxStoreCalls int

	// Validity is how long a signed answer may be believed: nextUpdate − thisUpdate + 1 s, since both ends
	// count. It counts from when the read of the status began, which with a StatusTTL may be long before the
	// signature is made. Whole seconds, at least 10 s. Zero is 24 h.
	Validity time.Duration

	// Backdate moves thisUpdate, for clients whose clocks are slow: it is this much before the read of the status
	// began, which is the last time at which the status is known (RFC 6960 section 2.4). A revocation time after
	// thisUpdate is given as thisUpdate. Whole seconds, less than half of Validity. Zero does not.
	Backdate time.Duration

	// MaxAge bounds the max-age of HTTP caching headers, which passes the answer's refresh point only while
	// the answer to follow cannot be made. Whole seconds. Zero sets no other bound.
	MaxAge time.Duration

	// Nonce is what becomes of a client's nonce. Zero is NonceEcho.
	Nonce NoncePolicy

	// Unissued is the answer for a serial number that the issuer never issued. Zero is UnissuedUnknown.
	Unissued UnissuedPolicy

	// Retention is how long after its NotAfter a certificate is still answered for. Then the answer is
	// unauthorized, as RFC 9919 section 3.2.3 allows. Answers carry the archive cutoff of RFC 6960 section 4.4.4:
	// producedAt − Retention, or the CA's notBefore with RetainForever, which is -1. Zero goes on answering,
	// without an archive cutoff.
	Retention time.Duration

	// RequestSigners, when set, makes the responder answer only requests signed by a certificate that chains
	// to one of these roots (RFC 6960 section 4.1.2): unsigned requests get sigRequired, others unauthorized.
	// Nil ignores signatures, as RFC 9919 section 3.1.2 allows.
	//
	// Anyone can send signatures, so the work is bounded. A request may carry 4 certificates; more is
	// malformedRequest. An RSA key among them may have 4096 bits and an exponent of 65537; more is unauthorized.
	// Half of GOMAXPROCS, at least one, signatures are verified at a time, and 256 requests wait for their turn within
	// Timeout. A request over that budget gets tryLater.
	RequestSigners *x509.CertPool

	// Profile refuses what a profile forbids. Zero is ProfilePrivate.
	Profile Profile

	// Strict refuses what the standards forbid but common clients do: a POST without the content type
	// application/ocsp-request, an empty extension list, a request that names a foreign issuer beside a
	// configured one, a GET with line breaks in its base64 or percent-encoded twice. Zero accepts them.
	Strict bool

	// Timeout bounds one answer: store, remote cache and signer together. It also bounds, each by itself, how long
	// a request's body may take, unless http.Server.ReadTimeout is shorter, and how long Close waits. Zero is 10 s.
	Timeout time.Duration

	Cache   CacheOptions   // zero: see its fields
	Signing SigningOptions // zero: see its fields
	Limits  Limits         // zero: see its fields

	// Logger gets what an operator should look into: failures of the store, the signer and whatever else the
	// host gave, the first success after a failure, and what is wrong with certificates. For each kind of
	// failure, component and issuer it gets at most one line a second, and as much when a failure is over.
	// Lines have the attributes "component", "issuer", "serial" (in hex), "error", "outcome" and "suppressed",
	// as far as they apply; suppressed counts the failures since the last line of their kind. It never gets a
	// secret, but the error of a driver may name its host. Nil is slog.Default(), looked up for each line, from
	// slog.LevelWarn up; slog.DiscardHandler silences.
	Logger *slog.Logger

	// Observe is called once for each answer, from the goroutine that serves it, so it should be quick. Nil
	// costs nothing.
	Observe func(context.Context, Event)

	// Now is the clock. Statuses and Cache.Feed are trusted no longer than it says, nor longer than the monotonic clock
	// does. It must be safe for concurrent use. If it panics, New and SetIssuer return an error, and answers are
	// internalError. Nil is time.Now.
	Now func() time.Time
}

// RetainForever, as Config.Retention, answers for expired certificates for ever, and says so in an archive
// cutoff.
const RetainForever time.Duration = -1

// NoncePolicy is what becomes of a client's nonce (RFC 9654).
type NoncePolicy uint8

const (
	// NonceEcho signs an answer with the nonce, and serves requests without one from the cache.
	NonceEcho NoncePolicy = iota
	// NonceIgnore answers as if there were none, so that every answer can come from the cache.
	NonceIgnore
	// NonceRequire is NonceEcho, and refuses requests without a nonce that can be echoed as malformed. Under it
	// no answer goes without its nonce, whatever becomes of the signer.
	NonceRequire
	// NonceEchoBare is NonceEcho, and also echoes, well wrapped, the unwrapped nonces of clients older than
	// RFC 6960.
	NonceEchoBare
)

// UnissuedPolicy is the answer for a serial number that the issuer never issued.
type UnissuedPolicy uint8

const (
	// UnissuedUnknown answers unknown.
	UnissuedUnknown UnissuedPolicy = iota
	// UnissuedUnauthorized answers with the unsigned error unauthorized (RFC 9919 section 3.2.3), which costs
	// no signature.
	UnissuedUnauthorized
	// UnissuedRevoked answers revoked, on hold since 1970, with the extended revoke extension (RFC 6960
	// sections 2.2 and 4.4.8).
	UnissuedRevoked
)

// Profile is a set of rules that a configuration must keep.
type Profile uint8

const (
	// ProfilePrivate keeps to the RFCs.
	ProfilePrivate Profile = iota
	// ProfileCABF keeps to the CA/B Forum's TLS Baseline Requirements 4.9.9, 4.9.13 and 7.3: Validity from 8 h
	// to 10 days, no UnissuedRevoked, no certificateHold. A delegate's certificate must keep to 7.1.2.8 (see
	// CheckDelegate), a CA that signs its own answers must have digitalSignature (7.1.2.10.7), and an RSA key 2048
	// bits (6.1.5).
	ProfileCABF
)

// Limits bounds what a request may be. Zero fields are the defaults.
type Limits struct {
	MaxRequestBytes int // a request's DER, 66 to 1 GiB; more is 413 by POST. Zero is 16 KiB
	MaxPathBytes    int // a GET's path, at most 1 GiB; more is 414. Zero is 8 KiB
	MaxCertIDs      int // certificates in one request; more is malformedRequest. Zero is 32
	MaxExtensions   int // extensions in one list; more is malformedRequest. Zero is 16
}

// SigningOptions is the budget for signatures. Zero fields are the defaults. Over budget, a request with a
// nonce is answered from the cache without one (RFC 9654 section 2.1 allows it), a serial that was never issued
// gets the unsigned error unauthorized, and anything else tryLater.
//
// Each key that can hang has a budget of its own: any number of keys may hang, and no issuer with another key is held
// up. A key can hang unless it is a *rsa.PrivateKey, *ecdsa.PrivateKey or ed25519.PrivateKey. Those take only time of
// the processors, which all of them share, so they share one budget. The budget belongs to the public key. Issuers
// with the same key share it, and a call that hangs is counted until it returns, even if SetIssuer replaces the Signer
// meanwhile.
//
// Answers that cannot be cached, because of a nonce, an unissued serial, several certificates or an algorithm that the
// client prefers to the default, may take three quarters of MaxConcurrent and half of MaxWaiting, so that no number of
// them keeps out the others. In the budget of Go's own keys they may also take no more than half of the processors,
// runtime.GOMAXPROCS when New is called, but at least one. A Signer that computes signatures in this process although
// it is not one of these types, such as a wrapper around one, needs a MaxConcurrent that leaves processors free.
type SigningOptions struct {
	MaxConcurrent int           // signatures at a time, for each key. Zero is 16
	MaxWaiting    int           // answers that wait for their turn, for each key. Zero is 256
	Timeout       time.Duration // one signature, its turn included. Zero is 5 s
}

const (
	defaultValidity   = 24 * time.Hour
	defaultTimeout    = 10 * time.Second
	defaultStoreCalls = 1024
	defaultMaxEntries = 100_000
	defaultPatience   = time.Second // Cache.StorePatience
	minValidity       = 10 * time.Second
	maxValidity       = 10 * 366 * 24 * time.Hour

	// minRequestBytes is the shortest request that can be answered: for one certificate, with SHA-1 without
	// parameters, a serial number of one octet and no extensions. Nothing gets through a lower limit.
	minRequestBytes = 66

	maxBytes = 1 << 30 // of a request or a path; sums with it do not overflow
)

// check returns a *ConfigError for every field that cannot be used, and for those that contradict each other. What
// issuers are made of is for newIssuer to check.
func (c *Config) check() error {
	bad := &configErrors{}
	if c.Store == nil && (len(c.Issuers) == 0 || slices.ContainsFunc(c.Issuers, func(i Issuer) bool { return i.Store == nil })) {
		bad.add("Store", "give a CertStore", "is nil")
	}
	if len(c.Issuers) == 0 {
		bad.add("Issuers", "give at least one CA", "is empty")
	}
	durations := []struct {
		field string
		value time.Duration
	}{
		{"Validity", c.Validity}, {"Backdate", c.Backdate}, {"MaxAge", c.MaxAge}, {"Retention", c.Retention},
		{"Timeout", c.Timeout}, {"Cache.StatusTTL", c.Cache.StatusTTL}, {"Cache.StorePatience", c.Cache.StorePatience},
		{"Signing.Timeout", c.Signing.Timeout},
	}
	for i, d := range durations {
		switch {
		case d.field == "Retention" && d.value == RetainForever:
		case d.value < 0:
			bad.add(d.field, "it must not be negative", "is %v", d.value)
		case i < 4 && d.value%time.Second != 0:
			bad.add(d.field, "OCSP knows whole seconds only", "is %v", d.value)
		}
	}
	for _, n := range []struct {
		field string
		value int
	}{
		{"MaxStoreCalls", c.MaxStoreCalls}, {"Cache.MaxEntries", c.Cache.MaxEntries},
		{"Signing.MaxConcurrent", c.Signing.MaxConcurrent}, {"Signing.MaxWaiting", c.Signing.MaxWaiting},
		{"Limits.MaxRequestBytes", c.Limits.MaxRequestBytes}, {"Limits.MaxPathBytes", c.Limits.MaxPathBytes},
		{"Limits.MaxCertIDs", c.Limits.MaxCertIDs}, {"Limits.MaxExtensions", c.Limits.MaxExtensions},
	} {
		if n.value < 0 {
			bad.add(n.field, "it must not be negative", "is %d", n.value)
		} else if strings.HasSuffix(n.field, "Bytes") && n.value > maxBytes {
			hint := fmt.Sprintf("use %d or less, since that much may be kept in memory for each request", maxBytes)
			bad.add(n.field, hint, "is %d", n.value)
		}
	}
	if n := c.Limits.MaxRequestBytes; n != 0 && n < minRequestBytes {
		hint := fmt.Sprintf("use %d or more, since no request for a certificate has fewer", minRequestBytes)
		bad.add("Limits.MaxRequestBytes", hint, "is %d", n)
	}
	if v := c.validity(); v < minValidity || v > maxValidity {
		hint := fmt.Sprintf("use %v to %v, an hour or more if answers are to be stapled", minValidity, maxValidity)
		bad.add("Validity", hint, "is %v", v)
	}
	if c.Nonce > NonceEchoBare {
		bad.add("Nonce", "use NonceEcho, NonceIgnore, NonceRequire or NonceEchoBare", "is %d", c.Nonce)
	}
	if c.Unissued > UnissuedRevoked {
		bad.add("Unissued", "use UnissuedUnknown, UnissuedUnauthorized or UnissuedRevoked", "is %d", c.Unissued)
	}
	if c.Profile > ProfileCABF {
		bad.add("Profile", "use ProfilePrivate or ProfileCABF", "is %d", c.Profile)
	}
	c.checkTogether(bad)
	return errors.Join(bad.errs...)
}

// checkTogether adds fields that are good alone but not together. One that is refused is no reason to refuse another.
func (c *Config) checkTogether(bad *configErrors) {
	validity := c.validity()
	if c.Profile == ProfileCABF {
		if validity < 8*time.Hour || validity > 10*24*time.Hour {
			bad.add("Validity", "ProfileCABF wants 8 h to 10 days (TLS BR 4.9.9)", "is %v", validity)
		}
		if c.Unissued == UnissuedRevoked {
			bad.add("Unissued", "ProfileCABF forbids it (TLS BR 4.9.13, 7.3)", "is UnissuedRevoked, which answers certificateHold")
		}
	}
	if bad.none("Validity", "Backdate") && c.Backdate >= validity-c.Backdate { // twice Backdate may overflow
		bad.add("Backdate", fmt.Sprintf("it must be less than half of Validity, which is %v", validity), "is %v", c.Backdate)
	}
	if patience := c.Cache.StorePatience; patience != 0 && bad.none("Cache.StorePatience", "Timeout") {
		const idle = "under which no answer stands in"
		switch timeout := c.timeout(); {
		case c.Cache.FailClosed:
			bad.add("Cache.StorePatience", "leave one of them zero", "is %v beside FailClosed, %s", patience, idle)
		case c.Cache.Disabled:
			bad.add("Cache.StorePatience", "leave one of them zero", "is %v beside Cache.Disabled, %s", patience, idle)
		case patience > timeout:
			bad.add("Cache.StorePatience", fmt.Sprintf("it must be at most Timeout, which is %v", timeout), "is %v", patience)
		}
	}
	if c.Cache.Disabled && (c.Cache.Remote != nil || c.Cache.Compact || c.Cache.StatusTTL != 0 && bad.none("Cache.StatusTTL") ||
		c.Cache.MaxEntries != 0 && bad.none("Cache.MaxEntries")) {
		bad.add("Cache.Disabled", "leave those zero", "contradicts StatusTTL, MaxEntries, Compact and Remote")
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
	if c.Now == nil {
		c.Now = time.Now
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
