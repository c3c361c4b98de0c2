// Package ocspconfig makes an ocsp.Responder from the block [ocsp] of a KMS's configuration file:
//
//	[ocsp]
//	enabled = true
//	ca_uid = "ca-2026"
//	cache_ttl_secs = 3600
//
// The block is part of the host's own configuration:
//
//	var config struct {
//		OCSP ocspconfig.Settings `toml:"ocsp"`
//	}
//
// What a file cannot say, such as a Logger, is set by a function:
//
//	responder, err := ocspconfig.New(ctx, config.OCSP, kms, func(c *ocsp.Config) {
//		c.Logger = logger
//		c.Observe = metrics.Observe
//		c.Cache.Remote = remote
//	})
//
// Errors name the key, its value and a hint, in the words of the file.
package ocspconfig

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// KMS is what New needs of a key management server.
type KMS interface {
	ocsp.CertStore
	// Certificate returns the certificate with that uid.
	Certificate(ctx context.Context, uid string) (*x509.Certificate, error)
	// Signer returns the private key of the certificate with that uid.
	Signer(ctx context.Context, uid string) (crypto.Signer, error)
}

// New makes a Responder from the settings and the KMS that holds the CA. If the settings are not
// enabled, New ignores their other values, the KMS and the options, and returns the zero Responder,
// whose handler answers 404 to everything.
//
// The options are called in order with the Config that the settings make, just before ocsp.New gets
// it. They may change all of it: set a Logger, or append the issuers of further CAs.
func New(ctx context.Context, s Settings, kms KMS, options ...func(*ocsp.Config)) (*ocsp.Responder, error) {
	if !s.Enabled {
		return new(ocsp.Responder), nil
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if kms == nil {
		return nil, errors.New("ocspconfig: the KMS is nil")
	}
	issuer, err := s.issuer(ctx, kms)
	if err != nil {
		return nil, fmt.Errorf("ocspconfig: %w", err)
	}
	cfg := s.config()
	cfg.Issuers, cfg.Store = []ocsp.Issuer{issuer}, kms
	for _, option := range options {
		option(&cfg)
	}
	r, err := ocsp.New(cfg)
	if err != nil {
		return nil, s.explain(err)
	}
	return r, nil
}

// issuer fetches the CA's side from the KMS.
func (s Settings) issuer(ctx context.Context, kms KMS) (ocsp.Issuer, error) {
	issuer := ocsp.Issuer{
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
	return issuer, nil
}

// certificate fetches a certificate. A nil one would make a delegate look like a CA that signs its
// own answers.
func certificate(ctx context.Context, kms KMS, key, uid string) (*x509.Certificate, error) {
	cert, err := hostcall.Protect(ctx, func(ctx context.Context) (*x509.Certificate, error) {
		return kms.Certificate(ctx, uid)
	})
	if err != nil {
		return nil, fmt.Errorf("%s = %q: certificate: %w", key, uid, err)
	}
	if cert == nil {
		return nil, fmt.Errorf("%s = %q: the certificate is nil: the KMS must return it, or an error", key, uid)
	}
	return cert, nil
}

// signing returns the key and the uid of the certificate whose key signs.
func (s Settings) signing() (key, uid string) {
	if s.ResponderUID != "" {
		return "responder_uid", s.ResponderUID
	}
	return "ca_uid", s.CAUID
}

// explain puts an error of ocsp.New into the words of the settings, if it is about what they name.
// Operators know no others. Errors about what options have set stay as they are.
func (s Settings) explain(err error) error {
	var e *ocsp.ConfigError
	if !errors.As(err, &e) {
		return err
	}
	key, uid := s.signing()
	what := "the certificate"
	switch e.Field {
	case "Issuers[0].SignatureAlgorithm":
		return &settingsError{e, fmt.Sprintf("signature_algorithm = %q: the key of %s = %q cannot safely sign with it: %s",
			s.SignatureAlgorithm, key, uid, e.Hint)}
	case "Issuers[0].Certificate":
		key, uid = "ca_uid", s.CAUID
	case "Issuers[0].ResponderCertificate":
	case "Issuers[0].Signer":
		what = "the key"
	default:
		return err
	}
	return &settingsError{e, fmt.Sprintf("%s = %q: %s %s: %s", key, uid, what, e.Problem, e.Hint)}
}

// settingsError is a ConfigError in the words of the settings.
type settingsError struct {
	*ocsp.ConfigError
	text string
}

func (e *settingsError) Error() string { return "ocspconfig: " + e.text }

func (e *settingsError) Unwrap() error { return e.ConfigError }
