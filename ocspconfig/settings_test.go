package ocspconfig_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspconfig"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// fakeKMS is an ocspconfig.KMS of maps.
type fakeKMS struct {
	*ocsptest.Store
	certs map[string]*x509.Certificate
	keys  map[string]crypto.Signer
}

var errNoObject = errors.New("no such object")

func (k *fakeKMS) Certificate(_ context.Context, uid string) (*x509.Certificate, error) {
	if cert, ok := k.certs[uid]; ok {
		return cert, nil
	}
	return nil, errNoObject
}

func (k *fakeKMS) Signer(_ context.Context, uid string) (crypto.Signer, error) {
	if key, ok := k.keys[uid]; ok {
		return key, nil
	}
	return nil, errNoObject
}

func newFakeKMS() (*fakeKMS, *ocsptest.CA, *x509.Certificate) {
	ca := ocsptest.NewCA(ocsptest.Options{})
	delegate, key := ca.Delegate(ocsptest.Options{})
	kms := &fakeKMS{
		Store: ocsptest.NewStore(),
		certs: map[string]*x509.Certificate{"ca-1": ca.Certificate, "responder-1": delegate, "keyless": ca.Certificate},
		keys:  map[string]crypto.Signer{"ca-1": ca.Key, "responder-1": key},
	}
	leaf := ca.Issue(ocsptest.Options{})
	kms.Add("ca-1", leaf)
	return kms, ca, leaf
}

func TestNew(t *testing.T) {
	ctx := context.Background()
	kms, ca, leaf := newFakeKMS()
	t.Run("the three settings", func(t *testing.T) {
		responder, err := ocspconfig.New(ctx, ocspconfig.Settings{Enabled: true, CAUID: "ca-1", CacheTTLSecs: 3600}, kms)
		require.NoError(t, err)
		answer, err := ocsptest.Query(responder.Handler(), ca.Certificate, leaf)
		require.NoError(t, err)
		require.Equal(t, xocsp.Good, answer.Status)
		require.Equal(t, 3599*time.Second, answer.NextUpdate.Sub(answer.ThisUpdate))
		require.NoError(t, responder.Close())
	})
	t.Run("a delegate", func(t *testing.T) {
		responder, err := ocspconfig.New(ctx, ocspconfig.Settings{Enabled: true, CAUID: "ca-1", ResponderUID: "responder-1", ResponderID: "name"}, kms)
		require.NoError(t, err)
		answer, err := ocsptest.Query(responder.Handler(), ca.Certificate, leaf)
		require.NoError(t, err)
		require.Equal(t, kms.certs["responder-1"].RawSubject, answer.RawResponderName)
		require.NoError(t, responder.Close())
	})
	t.Run("disabled", func(t *testing.T) {
		responder, err := ocspconfig.New(ctx, ocspconfig.Settings{}, nil)
		require.NoError(t, err)
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "PUT"} {
			for _, path := range []string{"/", "/ocsp", "/ocsp/", "/ocsp/MFE"} {
				rec := httptest.NewRecorder()
				responder.Handler().ServeHTTP(rec, httptest.NewRequest(method, path, bytes.NewReader(ocsptest.Client{}.Request(ca.Certificate, leaf))))
				require.Equal(t, http.StatusNotFound, rec.Code)
			}
		}
		require.Equal(t, ocsp.OutcomeUnauthorized, responder.Respond(ctx, nil).Outcome)
		require.NoError(t, responder.SetIssuer(ocsp.Issuer{}))
		responder.RemoveIssuer("x")
		require.NoError(t, responder.Invalidate(ctx, "x", big.NewInt(1)))
		require.NoError(t, responder.Close())
	})
	t.Run("disabled, with bad values", func(t *testing.T) {
		bad := ocspconfig.Settings{CAUID: "gone", CacheTTLSecs: -1, Nonce: "x", MaxRequestBytes: 10}
		responder, err := ocspconfig.New(ctx, bad, nil)
		require.NoError(t, err)
		require.NoError(t, responder.Close())
		for _, key := range []string{"cache_ttl_secs", "nonce", "max_request_bytes"} {
			require.ErrorContains(t, bad.Validate(), key, "Validate checks it")
		}
	})
	for _, c := range []struct {
		name     string
		settings ocspconfig.Settings
		kms      ocspconfig.KMS
		want     []string
	}{
		{"no KMS", ocspconfig.Settings{Enabled: true, CAUID: "ca-1"}, nil, []string{"KMS"}},
		{"no CA", ocspconfig.Settings{Enabled: true, CAUID: "gone"}, kms, []string{"ca_uid", `"gone"`, "certificate", "no such object"}},
		{"no CA key", ocspconfig.Settings{Enabled: true, CAUID: "keyless"}, kms, []string{"ca_uid", `"keyless"`, "signer", "no such object"}},
		{"no delegate", ocspconfig.Settings{Enabled: true, CAUID: "ca-1", ResponderUID: "gone"}, kms, []string{"responder_uid", `"gone"`, "no such object"}},
		{"a contradiction", ocspconfig.Settings{Enabled: true, CAUID: "ca-1", CacheTTLSecs: 60, Profile: "cabf"}, kms, []string{"cache_ttl_secs = 60", "28800"}},
		{"an invalid value", ocspconfig.Settings{Enabled: true, CAUID: "ca-1", Nonce: "x"}, kms, []string{"nonce"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ocspconfig.New(ctx, c.settings, c.kms)
			require.Error(t, err)
			for _, text := range c.want {
				require.ErrorContains(t, err, text)
			}
		})
	}
}

// Errors about certificates and keys use the names of the settings too: the key, its value and a
// hint.
func TestSettingsNameWhatTheKMSGives(t *testing.T) {
	kms, ca, _ := newFakeKMS()
	put := func(uid string, cert *x509.Certificate, key crypto.Signer) { kms.certs[uid], kms.keys[uid] = cert, key }
	made := func(uid string, opts ocsptest.Options) {
		of := ocsptest.NewCA(opts)
		put(uid, of.Certificate, of.Key)
	}
	delegate := func(uid string, of *ocsptest.CA, opts ocsptest.Options) {
		cert, key := of.Delegate(opts)
		put(uid, cert, key)
	}
	rsa1024, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	leaf, leafKey := ca.IssueKey(ocsptest.Options{})
	put("leaf", leaf, leafKey)
	put("nil", nil, ca.Key)
	put("nil-key", ca.Certificate, nil)
	put("typed-nil-key", ca.Certificate, (*ecdsa.PrivateKey)(nil))
	put("short-key", ca.Certificate, ed25519.PrivateKey{1})
	put("wrong-key", ca.Certificate, leafKey)
	put("no-der", &x509.Certificate{}, ca.Key)
	made("rsa-1024", ocsptest.Options{Signer: rsa1024})
	made("rsa", ocsptest.Options{Key: ocsptest.RSA2048})
	made("ca-sign-only", ocsptest.Options{Adjust: func(t *x509.Certificate) { t.KeyUsage = x509.KeyUsageCertSign }})
	delegate("foreign", ocsptest.NewCA(ocsptest.Options{Name: "Strange CA"}), ocsptest.Options{})
	delegate("old-key", ocsptest.NewCA(ocsptest.Options{}), ocsptest.Options{})
	alike := *ca.Certificate
	alike.RawSubject = append([]byte{0x30, 0x12, 0x31, 0x10, 0x30, 0x0e, 6, 3, 0x55, 4, 3, 0x0c, 7}, "Test CA"...) // as a UTF8String
	delegate("alike", &ocsptest.CA{Certificate: &alike, Key: ca.Key}, ocsptest.Options{})
	delegate("no-eku", ca, ocsptest.Options{Adjust: func(t *x509.Certificate) { t.ExtKeyUsage = nil }})
	delegate("delegate-usage", ca, ocsptest.Options{Adjust: func(t *x509.Certificate) { t.KeyUsage = x509.KeyUsageKeyEncipherment }})
	delegate("delegate-rsa", ca, ocsptest.Options{Key: ocsptest.RSA2048})
	put("delegate-wrong-key", kms.certs["responder-1"], ca.Key)

	profiles := map[string]string{"ca-sign-only": "cabf"} // by CA
	for _, c := range []struct{ ca, responder, algorithm, want string }{
		{"nil", "", "", `ca_uid = "nil": the certificate is nil: the KMS must return it, or an error`},
		{"nil-key", "", "", `ca_uid = "nil-key": the key is nil: give the private key as a crypto.Signer`},
		{"typed-nil-key", "", "", `ca_uid = "typed-nil-key": the key is nil: give`},
		{"short-key", "", "", `ca_uid = "short-key": the key is nil or cut short: an Ed25519 private key has 64 octets`},
		{"no-der", "", "", `ca_uid = "no-der": the certificate was not parsed from DER: it must come from x509.ParseCertificate`},
		{"wrong-key", "", "", `ca_uid = "wrong-key": the certificate is for another key than the signer's: give the key of this certificate, or the certificate of this key`},
		{"leaf", "", "", `ca_uid = "leaf": the certificate is not a CA certificate: give the issuer's certificate, not one it issued`},
		{"rsa-1024", "", "", `ca_uid = "rsa-1024": the key is an RSA key with 1024 bits: use at least 2048`},
		{"ca-sign-only", "", "", `ca_uid = "ca-sign-only": the certificate has a key usage without digitalSignature, so clients may refuse what it signs: reissue it with that usage, or use a delegated responder's certificate that has it`},
		{"ca-1", "", "Ed25519", `signature_algorithm = "Ed25519": the key of ca_uid = "ca-1" cannot safely sign with it: leave it out or use one of ECDSA-SHA256, ECDSA-SHA384, ECDSA-SHA512`},
		{"rsa", "", "ECDSA-SHA256", `signature_algorithm = "ECDSA-SHA256": the key of ca_uid = "rsa" cannot safely sign with it: leave it out or use one of SHA256-RSA, SHA384-RSA`},
		{"ca-1", "delegate-rsa", "ECDSA-SHA256", `signature_algorithm = "ECDSA-SHA256": the key of responder_uid = "delegate-rsa" cannot safely sign with it: leave it out or use one of SHA256-RSA,`},
		{"ca-1", "nil", "", `responder_uid = "nil": the certificate is nil: the KMS must return it, or an error`},
		{"ca-1", "nil-key", "", `responder_uid = "nil-key": the key is nil: `},
		{"ca-1", "no-der", "", `responder_uid = "no-der": the certificate was not parsed from DER: it must come`},
		{"ca-1", "ca-1", "", `responder_uid = "ca-1": the certificate lacks the extended key usage OCSPSigning: reissue it with id-kp-OCSPSigning`},
		{"ca-1", "no-eku", "", `responder_uid = "no-eku": the certificate lacks the extended key usage OCSPSigning: `},
		{"ca-1", "alike", "", `responder_uid = "alike": the certificate was issued by "CN=Test CA", like the CA's name but encoded differently, as with another string type: reissue it with the CA's subject`},
		{"ca-1", "foreign", "", `responder_uid = "foreign": the certificate was issued by `},
		{"ca-1", "old-key", "", `responder_uid = "old-key": the certificate was not signed with the CA's present key (x509: `},
		{"ca-1", "delegate-usage", "", `responder_uid = "delegate-usage": the certificate has a key usage without digitalSignature`},
		{"ca-1", "delegate-wrong-key", "", `responder_uid = "delegate-wrong-key": the certificate is for another key than the signer's: `},
	} {
		s := ocspconfig.Settings{Enabled: true, CAUID: c.ca, ResponderUID: c.responder, SignatureAlgorithm: c.algorithm, Profile: profiles[c.ca]}
		_, err := ocspconfig.New(context.Background(), s, kms)
		require.ErrorContains(t, err, "ocspconfig: "+c.want)
		for _, word := range []string{"field", "ResponderCertificate", "SignatureAlgorithm", "Issuers"} {
			require.NotContains(t, err.Error(), word, "the words of Config")
		}
	}
}

// What only time makes wrong with the CA is no error: the KMS starts, and the responder answers
// tryLater.
func TestSettingsOfACAThatIsNotValidNow(t *testing.T) {
	now := time.Now()
	for name, opts := range map[string]ocsptest.Options{
		"expired": {NotBefore: now.AddDate(-2, 0, 0), NotAfter: now.AddDate(-1, 0, 0)}, "early": {NotBefore: now.AddDate(1, 0, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			kms, ca, leaf := newFakeKMS()
			renewed := ocsptest.NewCA(ocsptest.Options{Signer: ca.Key, NotBefore: opts.NotBefore, NotAfter: opts.NotAfter})
			kms.certs["ca-1"] = renewed.Certificate
			responder, err := ocspconfig.New(t.Context(), ocspconfig.Settings{Enabled: true, CAUID: "ca-1"}, kms)
			require.NoError(t, err)
			answer := responder.Respond(t.Context(), ocsptest.Client{}.Request(ca.Certificate, leaf))
			require.Equal(t, ocsp.OutcomeTryLater, answer.Outcome)
			require.ErrorContains(t, answer.Err, "is not valid now")
			require.NoError(t, responder.Close())
		})
	}
}

func TestSettingsValidate(t *testing.T) {
	require.NoError(t, ocspconfig.Settings{}.Validate())
	valid := ocspconfig.Settings{Enabled: true, CAUID: "x", CacheTTLSecs: 10, Nonce: "echo-bare", Unissued: "revoked", Profile: "private", ResponderID: "key",
		SignatureAlgorithm: "SHA512-RSAPSS", RetentionDays: -1}
	require.NoError(t, valid.Validate())
	for key, s := range map[string]ocspconfig.Settings{
		"ca_uid":                    {Enabled: true},
		"cache_ttl_secs":            {CacheTTLSecs: 9},
		"status_ttl_secs":           {StatusTTLSecs: -1},
		"backdate_secs":             {BackdateSecs: -1},
		"max_age_secs":              {MaxAgeSecs: -1},
		"timeout_secs":              {TimeoutSecs: math.MaxInt},
		"retention_days":            {RetentionDays: -2},
		"cache_max_entries":         {CacheMaxEntries: -1},
		"max_concurrent_signatures": {MaxConcurrentSignatures: -1},
		"max_waiting_signatures":    {MaxWaitingSignatures: -1},
		"signing_timeout_secs":      {SigningTimeoutSecs: -1},
		"max_request_bytes":         {MaxRequestBytes: -1},
		"max_cert_ids":              {MaxCertIDs: -1},
		"max_store_calls":           {MaxStoreCalls: -1},
		"store_patience_ms":         {StorePatienceMs: -1},
		"nonce":                     {Nonce: "Echo"},
		"unissued":                  {Unissued: "good"},
		"profile":                   {Profile: "etsi"},
		"responder_id":              {ResponderID: "hash"},
		"signature_algorithm":       {SignatureAlgorithm: "SHA1-RSA"},
		"cache_disabled":            {CacheDisabled: true, StatusTTLSecs: 1},
	} {
		err := s.Validate()
		require.ErrorContains(t, err, "ocspconfig: "+key+" = ")
		require.Equal(t, 1, strings.Count(err.Error(), "ocspconfig: "), err)
	}
	require.ErrorContains(t, ocspconfig.Settings{CacheTTLSecs: 60, BackdateSecs: 30}.Validate(), "backdate_secs = 30: use less than half of cache_ttl_secs, which is 60")
	require.ErrorContains(t, ocspconfig.Settings{Profile: "cabf", Unissued: "revoked"}.Validate(), "unissued")
	for want, s := range map[string]ocspconfig.Settings{
		"store_patience_ms = 10001: use at most timeout_secs, which is 10":          {StorePatienceMs: 10_001},
		"store_patience_ms = 2001: use at most timeout_secs, which is 2":            {StorePatienceMs: 2001, TimeoutSecs: 2},
		"store_patience_ms = 1: leave it out beside fail_closed = true, under":      {StorePatienceMs: 1, FailClosed: true},
		"store_patience_ms = 1: leave it out beside cache_disabled = true, under w": {StorePatienceMs: 1, CacheDisabled: true},
	} {
		require.ErrorContains(t, s.Validate(), "ocspconfig: "+want)
	}
	err := ocspconfig.Settings{Nonce: "x", CacheTTLSecs: -1}.Validate()
	require.ErrorContains(t, err, "nonce")
	require.ErrorContains(t, err, "cache_ttl_secs", "all that is wrong is named at once")
}

// What is refused alone is no reason to refuse another value, and is not refused again.
func TestSettingsAreRefusedOnce(t *testing.T) {
	for want, s := range map[string]ocspconfig.Settings{
		"cache_ttl_secs = -1: ":           {CacheTTLSecs: -1},
		"cache_ttl_secs = 9: ":            {CacheTTLSecs: 9, Profile: "cabf", BackdateSecs: 5},
		"cache_ttl_secs = 60: profile":    {CacheTTLSecs: 60, Profile: "cabf", BackdateSecs: 40},
		"backdate_secs = 2000000000: use": {BackdateSecs: 2_000_000_000},
		"status_ttl_secs = -1: ":          {StatusTTLSecs: -1, CacheDisabled: true},
		"cache_max_entries = -1: ":        {CacheMaxEntries: -1, CacheDisabled: true},
		`profile = "etsi": `:              {Profile: "etsi", Unissued: "revoked", CacheTTLSecs: 60},
	} {
		err := s.Validate()
		require.ErrorContains(t, err, "ocspconfig: "+want)
		require.NotContains(t, err.Error(), "\n", want)
	}
	err := ocspconfig.Settings{StatusTTLSecs: -1, CacheCompact: true, CacheDisabled: true}.Validate()
	require.ErrorContains(t, err, "cache_disabled", "cache_compact is good, and contradicts it")
}

// settingsInts lists the keys of the settings that are numbers.
func settingsInts() (keys []string) {
	for i := range reflect.TypeFor[ocspconfig.Settings]().NumField() {
		if field := reflect.TypeFor[ocspconfig.Settings]().Field(i); field.Type.Kind() == reflect.Int {
			keys = append(keys, field.Tag.Get("toml"))
		}
	}
	return keys
}

// Each number has bounds that make sense for it, which the error tells, and what Validate accepts
// New accepts.
func TestSettingsBounds(t *testing.T) {
	ctx := context.Background()
	kms, ca, _ := newFakeKMS()
	with := func(key string, value int) ocspconfig.Settings {
		s := ocspconfig.Settings{Enabled: true, CAUID: "ca-1"}
		if key == "backdate_secs" {
			s.CacheTTLSecs = 316224000
		}
		if key == "store_patience_ms" {
			s.TimeoutSecs = 316224000
		}
		require.NoError(t, json.Unmarshal(fmt.Appendf(nil, `{%q: %d}`, key, value), &s))
		return s
	}
	bounds := map[string][2]int{
		"cache_ttl_secs": {10, 316224000}, "backdate_secs": {1, 316224000}, "retention_days": {1, 3660},
		"cache_max_entries": {1, 100_000_000}, "max_concurrent_signatures": {1, 10_000}, "max_waiting_signatures": {1, 100_000},
		"max_request_bytes": {66, 1 << 20}, "max_cert_ids": {1, 10_000}, "max_store_calls": {1, 100_000},
	}
	for _, key := range settingsInts() {
		b, ok := bounds[key]
		if !ok {
			b = [2]int{1, 316224000}
		}
		for _, value := range []int{b[0] - 2, b[1] + 1, math.MinInt, math.MaxInt} {
			if key == "retention_days" && value == -1 {
				continue // for ever
			}
			require.ErrorContains(t, with(key, value).Validate(), fmt.Sprintf("ocspconfig: %s = %d: use %d to %d, ", key, value, b[0], b[1]))
		}
		if key == "backdate_secs" {
			b[1] = b[1]/2 - 1 // less than half of cache_ttl_secs
		}
		for _, value := range []int{0, b[0], b[1]} {
			s := with(key, value)
			require.NoError(t, s.Validate())
			responder, err := ocspconfig.New(ctx, s, kms)
			require.NoError(t, err, "%s = %d", key, value)
			require.NoError(t, responder.Close())
		}
	}

	// The least of max_request_bytes is enough for the shortest request.
	leaf := ca.Issue(ocsptest.Options{Serial: big.NewInt(1)})
	kms.Add("ca-1", leaf)
	request := ocsptest.Client{NoParameters: true}.Request(ca.Certificate, leaf)
	require.Len(t, request, 66)
	responder, err := ocspconfig.New(ctx, with("max_request_bytes", 66), kms)
	require.NoError(t, err)
	require.Equal(t, ocsp.OutcomeSigned, responder.Respond(ctx, request).Outcome)
	require.NoError(t, responder.Close())
	require.ErrorContains(t, with("max_request_bytes", 10).Validate(), "no request for a certificate has fewer")
}

// Every setting must reach the Config: setting it alone must change something there.
func TestEverySettingCounts(t *testing.T) {
	kms, _, _ := newFakeKMS()
	base := ocspconfig.Settings{Enabled: true, CAUID: "ca-1"}
	configOf := func(s ocspconfig.Settings) (cfg ocsp.Config) {
		if r, err := ocspconfig.New(t.Context(), s, kms, func(c *ocsp.Config) { cfg = *c }); err == nil {
			require.NoError(t, r.Close())
		}
		return cfg
	}
	before := configOf(base)
	require.NotEmpty(t, before.Issuers)
	special := map[string]any{"ca_uid": "keyless", "responder_uid": "responder-1", "responder_id": "name", "signature_algorithm": "ECDSA-SHA512",
		"nonce": "ignore", "unissued": "revoked", "profile": "cabf"}
	kms.keys["keyless"] = kms.keys["ca-1"]
	for i := range reflect.TypeFor[ocspconfig.Settings]().NumField() {
		field := reflect.TypeFor[ocspconfig.Settings]().Field(i)
		key := field.Tag.Get("toml")
		assert.Equal(t, key, field.Tag.Get("json"))
		assert.Equal(t, key, field.Tag.Get("yaml"))
		var value any = 86399
		if field.Type.Kind() == reflect.Bool {
			value = key != "enabled"
		}
		if s, ok := special[key]; ok {
			value = s
		}
		if slices.Contains(settingsInts(), key) && !strings.HasSuffix(key, "_secs") || key == "backdate_secs" {
			value = 97
		}
		text, err := json.Marshal(map[string]any{key: value})
		require.NoError(t, err)
		changed := base
		require.NoError(t, json.Unmarshal(text, &changed))
		assert.NotEqual(t, before, configOf(changed), key)
	}
}

// panickingKMS is a KMS that panics instead of returning a certificate, or a key.
type panickingKMS struct {
	*fakeKMS
	certificate, key string
}

func (k *panickingKMS) Certificate(ctx context.Context, uid string) (*x509.Certificate, error) {
	if uid == k.certificate {
		panic("certificate")
	}
	return k.fakeKMS.Certificate(ctx, uid)
}

func (k *panickingKMS) Signer(ctx context.Context, uid string) (crypto.Signer, error) {
	if uid == k.key {
		panic("signer")
	}
	return k.fakeKMS.Signer(ctx, uid)
}

// A KMS that panics does not reach the host either. The error says which uid it was asked for.
func TestKMSPanics(t *testing.T) {
	kms, _, _ := newFakeKMS()
	settings := ocspconfig.Settings{Enabled: true, CAUID: "ca-1", ResponderUID: "responder-1"}
	for want, kms := range map[string]ocspconfig.KMS{
		`ocspconfig: ca_uid = "ca-1": certificate: panic: certificate`:               &panickingKMS{fakeKMS: kms, certificate: "ca-1"},
		`ocspconfig: responder_uid = "responder-1": certificate: panic: certificate`: &panickingKMS{fakeKMS: kms, certificate: "responder-1"},
		`ocspconfig: responder_uid = "responder-1": signer: panic: signer`:           &panickingKMS{fakeKMS: kms, key: "responder-1"},
	} {
		r, err := ocspconfig.New(t.Context(), settings, kms)
		require.EqualError(t, err, want)
		require.Nil(t, r)
	}
	r, err := ocspconfig.New(t.Context(), settings, (*fakeKMS)(nil))
	require.ErrorContains(t, err, `ocspconfig: ca_uid = "ca-1": certificate: panic: `)
	require.Nil(t, r)
}
