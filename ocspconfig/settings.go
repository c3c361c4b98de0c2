package ocspconfig

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp"
)

// Settings is the block "ocsp" of a KMS's configuration file. Any TOML, JSON or YAML decoder can
// fill it. It has no secrets. The zero value is a disabled responder, whatever the other fields
// are. With Enabled set, zero fields are the defaults.
//
// The decoder MUST be strict and decode the whole file. One that ignores unknown keys silently
// turns cache_ttl_sec = 60 into the default and [oscp] into a 404 for every request, and with
// fail_close = true the responder fails open:
//
//	toml.NewDecoder(file).DisallowUnknownFields().Decode(&config) // github.com/pelletier/go-toml/v2
//
//	decoder := json.NewDecoder(file) // encoding/json
//	decoder.DisallowUnknownFields()
//
//	decoder := yaml.NewDecoder(file) // gopkg.in/yaml.v3 or go.yaml.in/yaml/v3
//	decoder.KnownFields(true)
//
// With go-toml, print the result of the String methods of its DecodeError and StrictMissingError,
// which show the line in error. Error does not.
type Settings struct {
	// Enabled enables the responder. Without it every OCSP path is 404 and New ignores the other
	// values, so a block that prevents the KMS from starting can be disabled before it is
	// corrected.
	Enabled bool `toml:"enabled" json:"enabled" yaml:"enabled"`
	// CAUID is the KMS's uid of the CA certificate to answer for. Required when enabled.
	CAUID string `toml:"ca_uid" json:"ca_uid" yaml:"ca_uid"`
	// CacheTTLSecs is how long a signed answer is valid and may be cached: ocsp.Config.Validity. 0
	// is 86400, a day.
	CacheTTLSecs int `toml:"cache_ttl_secs" json:"cache_ttl_secs" yaml:"cache_ttl_secs"`

	// ResponderUID is the uid of a delegated responder's certificate. "" lets the CA sign its own
	// answers.
	ResponderUID string `toml:"responder_uid" json:"responder_uid" yaml:"responder_uid"`
	// ResponderID selects how answers identify their signer: "key" or "name". "" is "key".
	ResponderID string `toml:"responder_id" json:"responder_id" yaml:"responder_id"`
	// SignatureAlgorithm is the name of an x509.SignatureAlgorithm, such as "SHA256-RSAPSS". ""
	// selects one for the key.
	SignatureAlgorithm string `toml:"signature_algorithm" json:"signature_algorithm" yaml:"signature_algorithm"`
	// EmbedCertificate includes the CA's certificate in answers that the CA signs itself. Apache's
	// SSLOCSPEnable, FreeRADIUS and SSSD's p11_child refuse such answers without it. It has no
	// effect if responder_uid is set: see ocsp.Issuer.EmbedCertificate.
	EmbedCertificate bool `toml:"embed_certificate" json:"embed_certificate" yaml:"embed_certificate"`

	// Nonce is "echo", "ignore", "require" or "echo-bare". "" is "echo".
	Nonce string `toml:"nonce" json:"nonce" yaml:"nonce"`
	// Unissued is "unknown", "unauthorized" or "revoked". "" is "unknown".
	Unissued string `toml:"unissued" json:"unissued" yaml:"unissued"`
	// Profile is "private" or "cabf". "" is "private".
	Profile string `toml:"profile" json:"profile" yaml:"profile"`
	// Strict is ocsp.Config.Strict.
	Strict bool `toml:"strict" json:"strict" yaml:"strict"`

	// StatusTTLSecs is how long a status read from the store is trusted:
	// ocsp.CacheOptions.StatusTTL. 0 reads the store for every answer.
	StatusTTLSecs int `toml:"status_ttl_secs" json:"status_ttl_secs" yaml:"status_ttl_secs"`
	// BackdateSecs is ocsp.Config.Backdate.
	BackdateSecs int `toml:"backdate_secs" json:"backdate_secs" yaml:"backdate_secs"`
	// MaxAgeSecs bounds the max-age of HTTP caching headers: ocsp.Config.MaxAge. 0 sets no further
	// bound.
	MaxAgeSecs int `toml:"max_age_secs" json:"max_age_secs" yaml:"max_age_secs"`
	// RetentionDays is ocsp.Config.Retention. 0 answers for expired certificates without end and
	// without an archive cutoff, -1 with one (ocsp.RetainForever).
	RetentionDays int `toml:"retention_days" json:"retention_days" yaml:"retention_days"`
	// TimeoutSecs bounds one answer: ocsp.Config.Timeout. 0 is 10.
	TimeoutSecs int `toml:"timeout_secs" json:"timeout_secs" yaml:"timeout_secs"`

	// CacheDisabled is ocsp.CacheOptions.Disabled.
	CacheDisabled bool `toml:"cache_disabled" json:"cache_disabled" yaml:"cache_disabled"`
	// CacheMaxEntries is ocsp.CacheOptions.MaxEntries, at most 100000000. 0 is 100000.
	CacheMaxEntries int `toml:"cache_max_entries" json:"cache_max_entries" yaml:"cache_max_entries"`
	// CacheCompact is ocsp.CacheOptions.Compact.
	CacheCompact bool `toml:"cache_compact" json:"cache_compact" yaml:"cache_compact"`
	// StorePatienceMs is ocsp.CacheOptions.StorePatience, in milliseconds, at most timeout_secs. 0
	// is 1000, or timeout_secs if that is less.
	StorePatienceMs int `toml:"store_patience_ms" json:"store_patience_ms" yaml:"store_patience_ms"`
	// MaxStoreCalls is ocsp.Config.MaxStoreCalls, at most 100000. 0 is 1024.
	MaxStoreCalls int `toml:"max_store_calls" json:"max_store_calls" yaml:"max_store_calls"`
	// FailClosed is ocsp.CacheOptions.FailClosed.
	FailClosed bool `toml:"fail_closed" json:"fail_closed" yaml:"fail_closed"`

	// MaxConcurrentSignatures is ocsp.SigningOptions.MaxConcurrent, for each key, at most 10000. 0
	// is 16.
	MaxConcurrentSignatures int `toml:"max_concurrent_signatures" json:"max_concurrent_signatures" yaml:"max_concurrent_signatures"`
	// MaxWaitingSignatures is ocsp.SigningOptions.MaxWaiting, for each key, at most 100000. 0 is
	// 256.
	MaxWaitingSignatures int `toml:"max_waiting_signatures" json:"max_waiting_signatures" yaml:"max_waiting_signatures"`
	// SigningTimeoutSecs is ocsp.SigningOptions.Timeout. 0 is 5.
	SigningTimeoutSecs int `toml:"signing_timeout_secs" json:"signing_timeout_secs" yaml:"signing_timeout_secs"`

	// MaxRequestBytes is ocsp.Limits.MaxRequestBytes: at least 66, the size of the shortest request
	// for one certificate, and at most 1048576. 0 is 16384.
	MaxRequestBytes int `toml:"max_request_bytes" json:"max_request_bytes" yaml:"max_request_bytes"`
	// MaxCertIDs is ocsp.Limits.MaxCertIDs, at most 10000. 0 is 32.
	MaxCertIDs int `toml:"max_cert_ids" json:"max_cert_ids" yaml:"max_cert_ids"`
}

var (
	nonceNames = map[string]ocsp.NoncePolicy{
		"": ocsp.NonceEcho, "echo": ocsp.NonceEcho, "ignore": ocsp.NonceIgnore,
		"require": ocsp.NonceRequire, "echo-bare": ocsp.NonceEchoBare,
	}
	unissuedNames = map[string]ocsp.UnissuedPolicy{
		"": ocsp.UnissuedUnknown, "unknown": ocsp.UnissuedUnknown,
		"unauthorized": ocsp.UnissuedUnauthorized, "revoked": ocsp.UnissuedRevoked,
	}
	profileNames = map[string]ocsp.Profile{
		"": ocsp.ProfilePrivate, "private": ocsp.ProfilePrivate, "cabf": ocsp.ProfileCABF,
	}
	responderNames = map[string]ocsp.ResponderIDKind{
		"": ocsp.ResponderIDByKey, "key": ocsp.ResponderIDByKey, "name": ocsp.ResponderIDByName,
	}
	signatureNames = func() map[string]x509.SignatureAlgorithm {
		names := map[string]x509.SignatureAlgorithm{"": x509.UnknownSignatureAlgorithm}
		for _, alg := range []x509.SignatureAlgorithm{
			x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
			x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
			x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519,
		} {
			names[alg.String()] = alg
		}
		return names
	}()
)

const (
	// Limits and defaults of package ocsp.
	minTTLSecs         = 10
	maxSecs            = 10 * 366 * 86400 // durations up to it do not overflow
	defaultTTLSecs     = 86400
	defaultTimeoutSecs = 10
	minRequestBytes    = 66

	// Larger values are taken for typing errors.
	maxEntries      = 100_000_000 // some 50 GB
	maxSignatures   = 10_000
	maxWaiting      = 100_000
	maxStoreCalls   = 100_000
	maxRequestBytes = 1 << 20 // 10,000 certificates
	maxCertIDs      = 10_000
)

// Validate checks every value, and those that must fit each other. Its error names each bad one as
// the configuration file spells it. It does not check whether the values fit the CA's certificate
// and key; New does. It also checks settings that are not enabled, except for a missing CAUID, so
// that a host can warn of them.
func (s Settings) Validate() error {
	bad := &problems{}
	if s.Enabled && s.CAUID == "" {
		bad.add("ca_uid", `= "": give the uid of the CA certificate to answer for`)
	}
	for _, n := range []struct {
		key                string
		value, least, most int
	}{
		{"cache_ttl_secs", s.CacheTTLSecs, minTTLSecs, maxSecs},
		{"status_ttl_secs", s.StatusTTLSecs, 1, maxSecs},
		{"backdate_secs", s.BackdateSecs, 1, maxSecs},
		{"max_age_secs", s.MaxAgeSecs, 1, maxSecs},
		{"timeout_secs", s.TimeoutSecs, 1, maxSecs},
		{"cache_max_entries", s.CacheMaxEntries, 1, maxEntries},
		{"store_patience_ms", s.StorePatienceMs, 1, maxSecs},
		{"max_store_calls", s.MaxStoreCalls, 1, maxStoreCalls},
		{"max_concurrent_signatures", s.MaxConcurrentSignatures, 1, maxSignatures},
		{"max_waiting_signatures", s.MaxWaitingSignatures, 1, maxWaiting},
		{"signing_timeout_secs", s.SigningTimeoutSecs, 1, maxSecs},
		{"max_request_bytes", s.MaxRequestBytes, minRequestBytes, maxRequestBytes},
		{"max_cert_ids", s.MaxCertIDs, 1, maxCertIDs},
	} {
		if n.value == 0 || n.least <= n.value && n.value <= n.most {
			continue
		}
		why := ""
		if n.key == "max_request_bytes" && n.value < n.least {
			why = "; no request for a certificate has fewer"
		}
		bad.add(n.key, "= %d: use %d to %d, or 0 for the default%s", n.value, n.least, n.most, why)
	}
	if s.RetentionDays < -1 || s.RetentionDays > maxSecs/86400 {
		bad.add("retention_days", "= %d: use 1 to %d, 0 for no archive cutoff, or -1 for ever",
			s.RetentionDays, maxSecs/86400)
	}
	refuseUnknown(bad, "nonce", s.Nonce, nonceNames)
	refuseUnknown(bad, "unissued", s.Unissued, unissuedNames)
	refuseUnknown(bad, "profile", s.Profile, profileNames)
	refuseUnknown(bad, "responder_id", s.ResponderID, responderNames)
	refuseUnknown(bad, "signature_algorithm", s.SignatureAlgorithm, signatureNames)
	s.refuseContradictions(bad)
	return errors.Join(bad.errs...)
}

// refuseContradictions adds values that are valid alone and not together. A value that has an error
// already causes no further one.
func (s Settings) refuseContradictions(bad *problems) {
	ttl := s.CacheTTLSecs
	if ttl == 0 {
		ttl = defaultTTLSecs
	}
	if profileNames[s.Profile] == ocsp.ProfileCABF { // an invalid profile is the default
		if ttl < 8*3600 || ttl > 10*86400 {
			bad.add("cache_ttl_secs", `= %d: profile = "cabf" wants 28800 to 864000 (TLS BR 4.9.9)`,
				s.CacheTTLSecs)
		}
		if unissuedNames[s.Unissued] == ocsp.UnissuedRevoked {
			bad.add("unissued", `= "revoked": profile = "cabf" forbids it (TLS BR 4.9.13, 7.3)`)
		}
	}
	if bad.none("cache_ttl_secs", "backdate_secs") && s.BackdateSecs*2 >= ttl {
		bad.add("backdate_secs", "= %d: use less than half of cache_ttl_secs, which is %d",
			s.BackdateSecs, ttl)
	}
	if s.StorePatienceMs != 0 && bad.none("store_patience_ms", "timeout_secs") {
		const key, idle = "store_patience_ms", "under which no answer stands in"
		switch timeout := cmp.Or(s.TimeoutSecs, defaultTimeoutSecs); {
		case s.FailClosed:
			bad.add(key, "= %d: leave it out beside fail_closed = true, %s",
				s.StorePatienceMs, idle)
		case s.CacheDisabled:
			bad.add(key, "= %d: leave it out beside cache_disabled = true, %s",
				s.StorePatienceMs, idle)
		case s.StorePatienceMs > 1000*timeout:
			bad.add(key, "= %d: use at most timeout_secs, which is %d",
				s.StorePatienceMs, timeout)
		}
	}
	if s.CacheDisabled && (s.StatusTTLSecs != 0 && bad.none("status_ttl_secs") ||
		s.CacheMaxEntries != 0 && bad.none("cache_max_entries") || s.CacheCompact) {
		bad.add("cache_disabled", "= true: leave out %s, which are about the cache",
			"status_ttl_secs, cache_max_entries and cache_compact")
	}
}

func refuseUnknown[T any](bad *problems, key, value string, names map[string]T) {
	if _, ok := names[value]; !ok {
		known := slices.Sorted(maps.Keys(names))[1:] // without ""
		bad.add(key, `= %q: use "%s", or leave it out`, value, strings.Join(known, `", "`))
	}
}

// problems collects at most one problem for each key, because a second one may only follow from the
// first.
type problems struct {
	errs []error
	keys []string
}

func (p *problems) add(key, format string, args ...any) {
	if p.none(key) {
		p.keys = append(p.keys, key)
		p.errs = append(p.errs, errors.New("ocspconfig: "+key+" "+fmt.Sprintf(format, args...)))
	}
}

// none reports whether none of the keys has a problem so far.
func (p *problems) none(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(key string) bool { return slices.Contains(p.keys, key) })
}

// config returns the Config without the fields that only a KMS can set. The settings MUST be valid.
func (s Settings) config() ocsp.Config {
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	cfg := ocsp.Config{
		Validity:      seconds(s.CacheTTLSecs),
		Backdate:      seconds(s.BackdateSecs),
		MaxAge:        seconds(s.MaxAgeSecs),
		Retention:     time.Duration(s.RetentionDays) * 24 * time.Hour,
		Timeout:       seconds(s.TimeoutSecs),
		Nonce:         nonceNames[s.Nonce],
		Unissued:      unissuedNames[s.Unissued],
		Profile:       profileNames[s.Profile],
		Strict:        s.Strict,
		MaxStoreCalls: s.MaxStoreCalls,
		Cache: ocsp.CacheOptions{
			Disabled:      s.CacheDisabled,
			StatusTTL:     seconds(s.StatusTTLSecs),
			MaxEntries:    s.CacheMaxEntries,
			Compact:       s.CacheCompact,
			FailClosed:    s.FailClosed,
			StorePatience: time.Duration(s.StorePatienceMs) * time.Millisecond,
		},
		Signing: ocsp.SigningOptions{
			MaxConcurrent: s.MaxConcurrentSignatures,
			MaxWaiting:    s.MaxWaitingSignatures,
			Timeout:       seconds(s.SigningTimeoutSecs),
		},
		Limits: ocsp.Limits{MaxRequestBytes: s.MaxRequestBytes, MaxCertIDs: s.MaxCertIDs},
	}
	if s.RetentionDays == -1 {
		cfg.Retention = ocsp.RetainForever
	}
	return cfg
}
