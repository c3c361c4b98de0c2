package ocsp

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// Settings is the block "ocsp" of a KMS's configuration file. Any TOML, JSON or YAML decoder fills it; it
// holds no secrets. Zero fields are the defaults, except that the responder is disabled until Enabled is set.
// While it is not, nothing else in the block matters.
//
// The decoder must be strict, and decode the whole file. One that skips keys which it does not know turns
// cache_ttl_sec = 60 into the default and [oscp] into a 404 everywhere, and with fail_close = true the responder fails
// open, all without a word:
//
//	toml.NewDecoder(file).DisallowUnknownFields().Decode(&config) // github.com/pelletier/go-toml/v2
//
//	decoder := json.NewDecoder(file) // encoding/json
//	decoder.DisallowUnknownFields()
//
//	decoder := yaml.NewDecoder(file) // gopkg.in/yaml.v3 or go.yaml.in/yaml/v3
//	decoder.KnownFields(true)
//
// With go-toml print what the String methods of its DecodeError and StrictMissingError return, which show the line at
// fault; Error does not.
type Settings struct {
	// Enabled turns the responder on. Off, every OCSP path is 404, and no other value is looked at: a block that
	// keeps the KMS from starting can be switched off before it is mended.
	Enabled bool `toml:"enabled" json:"enabled" yaml:"enabled"`
	// CAUID is the KMS's uid of the CA certificate to answer for. Required when enabled.
	CAUID string `toml:"ca_uid" json:"ca_uid" yaml:"ca_uid"`
	// CacheTTLSecs is how long a signed answer may be believed and cached: Config.Validity. 0 is 86400, a day.
	CacheTTLSecs int `toml:"cache_ttl_secs" json:"cache_ttl_secs" yaml:"cache_ttl_secs"`

	// ResponderUID is the uid of a delegated responder's certificate. "" lets the CA sign itself.
	ResponderUID string `toml:"responder_uid" json:"responder_uid" yaml:"responder_uid"`
	// ResponderID is how answers name their signer: "key" or "name". "" is "key".
	ResponderID string `toml:"responder_id" json:"responder_id" yaml:"responder_id"`
	// SignatureAlgorithm is one of x509.SignatureAlgorithm's names, such as "SHA256-RSAPSS". "" fits the key.
	SignatureAlgorithm string `toml:"signature_algorithm" json:"signature_algorithm" yaml:"signature_algorithm"`
	// EmbedCertificate puts the CA's certificate into answers that it signs itself. Apache's SSLOCSPEnable,
	// FreeRADIUS and SSSD's p11_child refuse those without it, unless responder_uid is set: see
	// Issuer.EmbedCertificate.
	EmbedCertificate bool `toml:"embed_certificate" json:"embed_certificate" yaml:"embed_certificate"`

	// Nonce is "echo", "ignore", "require" or "echo-bare". "" is "echo".
	Nonce string `toml:"nonce" json:"nonce" yaml:"nonce"`
	// Unissued is "unknown", "unauthorized" or "revoked". "" is "unknown".
	Unissued string `toml:"unissued" json:"unissued" yaml:"unissued"`
	// Profile is "private" or "cabf". "" is "private".
	Profile string `toml:"profile" json:"profile" yaml:"profile"`
	// Strict is Config.Strict.
	Strict bool `toml:"strict" json:"strict" yaml:"strict"`

	// StatusTTLSecs is how long a status read from the store is trusted: CacheOptions.StatusTTL. 0 reads the
	// store for every answer.
	StatusTTLSecs int `toml:"status_ttl_secs" json:"status_ttl_secs" yaml:"status_ttl_secs"`
	// BackdateSecs is Config.Backdate.
	BackdateSecs int `toml:"backdate_secs" json:"backdate_secs" yaml:"backdate_secs"`
	// MaxAgeSecs bounds the max-age of HTTP caching headers: Config.MaxAge. 0 sets no bound of its own.
	MaxAgeSecs int `toml:"max_age_secs" json:"max_age_secs" yaml:"max_age_secs"`
	// RetentionDays is Config.Retention: 0 goes on answering for expired certificates without an archive
	// cutoff, -1 with one (RetainForever).
	RetentionDays int `toml:"retention_days" json:"retention_days" yaml:"retention_days"`
	// TimeoutSecs bounds one answer: Config.Timeout. 0 is 10.
	TimeoutSecs int `toml:"timeout_secs" json:"timeout_secs" yaml:"timeout_secs"`

	// CacheDisabled is CacheOptions.Disabled.
	CacheDisabled bool `toml:"cache_disabled" json:"cache_disabled" yaml:"cache_disabled"`
	// CacheMaxEntries is CacheOptions.MaxEntries, at most 100000000. 0 is 100000.
	CacheMaxEntries int `toml:"cache_max_entries" json:"cache_max_entries" yaml:"cache_max_entries"`

	// CacheStorage is "go-cache" or "compact": CacheOptions.Storage. "" is "go-cache".
	CacheStorage string `toml:"cache_storage" json:"cache_storage" yaml:"cache_storage"`
	// StorePatienceMs is CacheOptions.StorePatience, in milliseconds, at most timeout_secs. 0 is 1000, or
	// timeout_secs if that is less.
	StorePatienceMs int `toml:"store_patience_ms" json:"store_patience_ms" yaml:"store_patience_ms"`
	// MaxStoreCalls is Config.MaxStoreCalls, at most 100000. 0 is 1024.
	MaxStoreCalls int `toml:"max_store_calls" json:"max_store_calls" yaml:"max_store_calls"`
	// FailClosed is CacheOptions.FailClosed.
	FailClosed bool `toml:"fail_closed" json:"fail_closed" yaml:"fail_closed"`

	// MaxConcurrentSignatures is SigningOptions.MaxConcurrent, for each key, at most 10000. 0 is 16.
	MaxConcurrentSignatures int `toml:"max_concurrent_signatures" json:"max_concurrent_signatures" yaml:"max_concurrent_signatures"`
	// MaxWaitingSignatures is SigningOptions.MaxWaiting, for each key, at most 100000. 0 is 256.
	MaxWaitingSignatures int `toml:"max_waiting_signatures" json:"max_waiting_signatures" yaml:"max_waiting_signatures"`
	// SigningTimeoutSecs is SigningOptions.Timeout. 0 is 5.
	SigningTimeoutSecs int `toml:"signing_timeout_secs" json:"signing_timeout_secs" yaml:"signing_timeout_secs"`

	// MaxRequestBytes is Limits.MaxRequestBytes: at least 66, which the shortest request for one certificate has, at
	// most 1048576. 0 is 16384.
	MaxRequestBytes int `toml:"max_request_bytes" json:"max_request_bytes" yaml:"max_request_bytes"`
	// MaxCertIDs is Limits.MaxCertIDs, at most 10000. 0 is 32.
	MaxCertIDs int `toml:"max_cert_ids" json:"max_cert_ids" yaml:"max_cert_ids"`
}

var (
	storageNames   = map[string]Storage{"": StorageGoCache, "go-cache": StorageGoCache, "compact": StorageCompact}
	nonceNames     = map[string]NoncePolicy{"": NonceEcho, "echo": NonceEcho, "ignore": NonceIgnore, "require": NonceRequire, "echo-bare": NonceEchoBare}
	unissuedNames  = map[string]UnissuedPolicy{"": UnissuedUnknown, "unknown": UnissuedUnknown, "unauthorized": UnissuedUnauthorized, "revoked": UnissuedRevoked}
	profileNames   = map[string]Profile{"": ProfilePrivate, "private": ProfilePrivate, "cabf": ProfileCABF}
	responderNames = map[string]ResponderIDKind{"": ResponderIDByKey, "key": ResponderIDByKey, "name": ResponderIDByName}
	signatureNames = func() map[string]x509.SignatureAlgorithm {
		names := map[string]x509.SignatureAlgorithm{"": x509.UnknownSignatureAlgorithm}
		for alg := x509.SHA256WithRSA; alg <= x509.PureEd25519; alg++ {
			if signerOpts(alg) != crypto.Hash(0) || alg == x509.PureEd25519 {
				names[alg.String()] = alg
			}
		}
		return names
	}()
)

const (
	// maxSettingSecs keeps durations from overflowing.
	maxSettingSecs = int(maxValidity / time.Second)

	// What is above these is a slip of the pen, not a size to run at.
	maxSettingEntries    = 100_000_000 // some 50 GB
	maxSettingSignatures = 10_000
	maxSettingWaiting    = 100_000
	maxSettingStoreCalls = 100_000
	maxSettingRequest    = 1 << 20 // 10,000 certificates
	maxSettingCertIDs    = 10_000
)

// Validate checks every value, and those that must fit each other, and names each bad one as the configuration
// file spells it. Whether they fit the CA's certificate and key is for NewFromSettings to find out. It looks at
// settings that are not enabled too, except for a missing CAUID, so that a host may warn of them.
func (s Settings) Validate() error {
	bad := &faults{prefix: "ocsp: settings: ", names: map[string]bool{}}
	if s.Enabled && s.CAUID == "" {
		bad.add("ca_uid", `= "": give the uid of the CA certificate to answer for`)
	}
	for _, n := range []struct {
		key                string
		value, least, most int
	}{
		{"cache_ttl_secs", s.CacheTTLSecs, int(minValidity / time.Second), maxSettingSecs},
		{"status_ttl_secs", s.StatusTTLSecs, 1, maxSettingSecs},
		{"backdate_secs", s.BackdateSecs, 1, maxSettingSecs},
		{"max_age_secs", s.MaxAgeSecs, 1, maxSettingSecs},
		{"timeout_secs", s.TimeoutSecs, 1, maxSettingSecs},
		{"cache_max_entries", s.CacheMaxEntries, 1, maxSettingEntries},
		{"store_patience_ms", s.StorePatienceMs, 1, maxSettingSecs},
		{"max_store_calls", s.MaxStoreCalls, 1, maxSettingStoreCalls},
		{"max_concurrent_signatures", s.MaxConcurrentSignatures, 1, maxSettingSignatures},
		{"max_waiting_signatures", s.MaxWaitingSignatures, 1, maxSettingWaiting},
		{"signing_timeout_secs", s.SigningTimeoutSecs, 1, maxSettingSecs},
		{"max_request_bytes", s.MaxRequestBytes, minRequestBytes, maxSettingRequest},
		{"max_cert_ids", s.MaxCertIDs, 1, maxSettingCertIDs},
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
	if s.RetentionDays < -1 || s.RetentionDays > maxSettingSecs/86400 {
		bad.add("retention_days", "= %d: use 1 to %d, 0 for no archive cutoff, or -1 for ever", s.RetentionDays, maxSettingSecs/86400)
	}
	refuseUnknown(bad, "nonce", s.Nonce, nonceNames)
	refuseUnknown(bad, "cache_storage", s.CacheStorage, storageNames)
	refuseUnknown(bad, "unissued", s.Unissued, unissuedNames)
	refuseUnknown(bad, "profile", s.Profile, profileNames)
	refuseUnknown(bad, "responder_id", s.ResponderID, responderNames)
	refuseUnknown(bad, "signature_algorithm", s.SignatureAlgorithm, signatureNames)
	s.refuseContradictions(bad)
	return errors.Join(bad.errs...)
}

// refuseContradictions names values that are good alone but not together. One that is refused is no reason to
// refuse another.
func (s Settings) refuseContradictions(bad *faults) {
	ttl := s.CacheTTLSecs
	if ttl == 0 {
		ttl = int(defaultValidity / time.Second)
	}
	if profileNames[s.Profile] == ProfileCABF { // a profile that is refused is none
		if ttl < 8*3600 || ttl > 10*86400 {
			bad.add("cache_ttl_secs", `= %d: profile = "cabf" wants 28800 to 864000 (TLS BR 4.9.9)`, s.CacheTTLSecs)
		}
		if unissuedNames[s.Unissued] == UnissuedRevoked {
			bad.add("unissued", `= "revoked": profile = "cabf" forbids it (TLS BR 4.9.13, 7.3)`)
		}
	}
	if bad.none("cache_ttl_secs", "backdate_secs") && s.BackdateSecs*2 >= ttl {
		bad.add("backdate_secs", "= %d: use less than half of cache_ttl_secs, which is %d", s.BackdateSecs, ttl)
	}
	if s.StorePatienceMs != 0 && bad.none("store_patience_ms", "timeout_secs") {
		switch timeout := cmp.Or(s.TimeoutSecs, int(defaultTimeout/time.Second)); {
		case s.FailClosed:
			bad.add("store_patience_ms", "= %d: leave it out beside fail_closed = true, under which no answer stands in", s.StorePatienceMs)
		case s.CacheDisabled:
			bad.add("store_patience_ms", "= %d: leave it out beside cache_disabled = true, under which no answer stands in", s.StorePatienceMs)
		case s.StorePatienceMs > 1000*timeout:
			bad.add("store_patience_ms", "= %d: use at most timeout_secs, which is %d", s.StorePatienceMs, timeout)
		}
	}
	if s.CacheDisabled && (s.StatusTTLSecs != 0 && bad.none("status_ttl_secs") ||
		s.CacheMaxEntries != 0 && bad.none("cache_max_entries") || s.CacheStorage != "" && bad.none("cache_storage")) {
		bad.add("cache_disabled", "= true: leave out status_ttl_secs, cache_max_entries and cache_storage, which are about the cache")
	}
}

func refuseUnknown[T any](bad *faults, key, value string, names map[string]T) {
	if _, ok := names[value]; !ok {
		known := slices.DeleteFunc(slices.Sorted(maps.Keys(names)), func(n string) bool { return n == "" })
		bad.add(key, `= %q: use "%s", or leave it out`, value, strings.Join(known, `", "`))
	}
}

// KMS is what NewFromSettings needs of a key management server. A KMS with several CAs appends their issuers to
// what Settings.Config returns.
type KMS interface {
	CertStore
	// Certificate returns the certificate with that uid.
	Certificate(ctx context.Context, uid string) (*x509.Certificate, error)
	// Signer returns the private key of the certificate with that uid.
	Signer(ctx context.Context, uid string) (crypto.Signer, error)
}

// NewFromSettings makes a Responder from the settings block and the KMS that holds the CA. When the settings
// are not enabled it looks neither at their other values nor at the KMS, and the Responder's handler answers 404 to
// everything. For what a settings file cannot say, such as a Logger, use Settings.Config and New.
func NewFromSettings(ctx context.Context, s Settings, kms KMS) (*Responder, error) {
	cfg, err := s.Config(ctx, kms)
	if err != nil {
		return nil, err
	}
	r, err := New(cfg)
	var fault *issuerError
	if errors.As(err, &fault) {
		return nil, s.explain(fault)
	}
	return r, err
}

// explain says what New found wrong with the issuer in the words of the settings, which are all that the operator
// knows.
func (s Settings) explain(e *issuerError) error {
	cure := e.cure
	if e.setting != "" {
		cure = e.setting
	}
	key, uid := s.signing()
	var what []string
	for _, field := range e.fields {
		switch field {
		case fieldAlgorithm:
			return fmt.Errorf("ocsp: settings: signature_algorithm = %q: the key of %s = %q cannot safely sign with it: %s", s.SignatureAlgorithm, key, uid, cure)
		case fieldCertificate:
			key, uid = "ca_uid", s.CAUID
			what = append(what, "the certificate")
		case fieldResponder:
			what = append(what, "the certificate")
		case fieldSigner:
			what = append(what, "the key")
		}
	}
	return fmt.Errorf("ocsp: settings: %s = %q: %s %w: %s", key, uid, strings.Join(what, " and "), e.fault, cure)
}

// signing returns the key and the uid of the certificate whose key signs.
func (s Settings) signing() (key, uid string) {
	if s.ResponderUID != "" {
		return "responder_uid", s.ResponderUID
	}
	return "ca_uid", s.CAUID
}

// Config validates the settings and turns them into a Config, with the CA's certificate and key from the KMS.
// Settings that are not enabled are not validated, and the KMS is not touched: the Config is Disabled.
func (s Settings) Config(ctx context.Context, kms KMS) (Config, error) {
	if !s.Enabled {
		return Config{Disabled: true}, nil
	}
	if err := s.Validate(); err != nil {
		return Config{}, err
	}
	if kms == nil {
		return Config{}, errors.New("ocsp: settings: the KMS is nil")
	}
	issuer, err := s.issuer(ctx, kms)
	if err != nil {
		return Config{}, fmt.Errorf("ocsp: settings: %w", err)
	}
	cfg := s.policies()
	cfg.Issuers, cfg.Store = []Issuer{issuer}, kms
	return cfg, nil
}

// issuer fetches the CA's side from the KMS.
func (s Settings) issuer(ctx context.Context, kms KMS) (Issuer, error) {
	issuer := Issuer{
		ID:                 s.CAUID,
		SignatureAlgorithm: signatureNames[s.SignatureAlgorithm],
		ResponderID:        responderNames[s.ResponderID],
		EmbedCertificate:   s.EmbedCertificate,
	}
	var err error
	if issuer.Certificate, err = certificate(ctx, kms, "ca_uid", s.CAUID); err != nil {
		return issuer, err
	}
	key, uid := s.signing()
	if s.ResponderUID != "" {
		if issuer.ResponderCertificate, err = certificate(ctx, kms, key, uid); err != nil {
			return issuer, err
		}
	}
	issuer.Signer, err = hostcall.Protect(ctx, func(ctx context.Context) (crypto.Signer, error) { return kms.Signer(ctx, uid) })
	if err != nil {
		return issuer, fmt.Errorf("%s = %q: signer: %w", key, uid, err)
	}
	if isNil(issuer.Signer) {
		return issuer, fmt.Errorf("%s = %q: the key is nil: the KMS must return the private key as a crypto.Signer, or an error", key, uid)
	}
	return issuer, nil
}

// certificate fetches a certificate. None, for a delegate, must not look like a CA that signs itself.
func certificate(ctx context.Context, kms KMS, key, uid string) (*x509.Certificate, error) {
	cert, err := hostcall.Protect(ctx, func(ctx context.Context) (*x509.Certificate, error) { return kms.Certificate(ctx, uid) })
	if err != nil {
		return nil, fmt.Errorf("%s = %q: certificate: %w", key, uid, err)
	}
	if cert == nil {
		return nil, fmt.Errorf("%s = %q: the certificate is nil: the KMS must return it, or an error", key, uid)
	}
	return cert, nil
}

// policies returns the Config without what only a KMS can give. The settings must be valid.
func (s Settings) policies() Config {
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	cfg := Config{
		Validity: seconds(s.CacheTTLSecs),
		Backdate: seconds(s.BackdateSecs),
		MaxAge:   seconds(s.MaxAgeSecs),
		Timeout:  seconds(s.TimeoutSecs),
		Nonce:    nonceNames[s.Nonce],
		Unissued: unissuedNames[s.Unissued],
		Profile:  profileNames[s.Profile],
		Strict:   s.Strict,
		Cache: CacheOptions{
			Disabled:   s.CacheDisabled,
			StatusTTL:  seconds(s.StatusTTLSecs),
			MaxEntries: s.CacheMaxEntries,
			Storage:    storageNames[s.CacheStorage],
			FailClosed: s.FailClosed,

			StorePatience: time.Duration(s.StorePatienceMs) * time.Millisecond,
		},
		MaxStoreCalls: s.MaxStoreCalls,
		Signing:       SigningOptions{MaxConcurrent: s.MaxConcurrentSignatures, MaxWaiting: s.MaxWaitingSignatures, Timeout: seconds(s.SigningTimeoutSecs)},
		Limits:        Limits{MaxRequestBytes: s.MaxRequestBytes, MaxCertIDs: s.MaxCertIDs},
	}
	if s.RetentionDays == -1 {
		cfg.Retention = RetainForever
	} else {
		cfg.Retention = time.Duration(s.RetentionDays) * 24 * time.Hour
	}
	return cfg
}
