package ocspconfig

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// fuzzKMS has one CA under every uid.
type fuzzKMS struct{ *ocsptest.CA }

func (k fuzzKMS) Certificate(context.Context, string) (*x509.Certificate, error) {
	return k.CA.Certificate, nil
}
func (k fuzzKMS) Signer(context.Context, string) (crypto.Signer, error) { return k.CA.Key, nil }
func (fuzzKMS) FindBySerial(context.Context, string, *big.Int) (ocsp.Record, error) {
	return ocsp.Record{}, ocsp.ErrNotFound
}

var fuzzCA = sync.OnceValue(func() fuzzKMS { return fuzzKMS{ocsptest.NewCA(ocsptest.Options{})} })

// FuzzSettings: New takes what Validate takes, unless the certificate or the key is the reason, and
// nothing else.
func FuzzSettings(f *testing.F) {
	for _, text := range []string{
		`{"enabled": true, "ca_uid": "ca"}`,
		`{"enabled": true, "ca_uid": "ca", "cache_ttl_secs": 3600, "backdate_secs": 1800}`,
		`{"enabled": true, "ca_uid": "ca", "profile": "cabf", "unissued": "revoked"}`,
		`{"enabled": true, "ca_uid": "ca", "nonce": "echo-bare", "max_request_bytes": 66}`,
		`{"enabled": true, "ca_uid": "ca", "timeout_secs": 1, "store_patience_ms": 1000}`,
		`{"enabled": true, "ca_uid": "ca", "cache_disabled": true, "retention_days": -1}`,
		`{"enabled": true, "ca_uid": "ca", "responder_uid": "ca", "signing_timeout_secs": 10}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s Settings
		if json.Unmarshal(text, &s) != nil || !s.Enabled {
			return
		}
		s.CacheMaxEntries = min(s.CacheMaxEntries, 1000) // takes memory
		valid := s.Validate()
		r, err := New(t.Context(), s, fuzzCA())
		var fault *ocsp.ConfigError
		switch {
		case valid != nil && err == nil:
			t.Fatalf("New takes what Validate does not (%v): %+v", valid, s)
		case valid == nil && err != nil &&
			!(errors.As(err, &fault) && strings.HasPrefix(fault.Field, "Issuers[0]")):
			t.Fatalf("Validate takes what New does not (%v): %+v", err, s)
		}
		if err == nil {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
