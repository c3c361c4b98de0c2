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
// An option sets what a file cannot, such as a Logger:
//
//	responder, err := ocspconfig.New(ctx, config.OCSP, kms, func(c *ocsp.Config) {
//		c.Logger = logger
//		c.Observe = metrics.Observe
//		c.Cache.Remote = remote
//	})
//
// Errors name the key, its value and a hint, with the names of the file.
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
	// Certificate returns the certificate with that uid. It MUST return a certificate or an error.
	Certificate(ctx context.Context, uid string) (*x509.Certificate, error)
	// Signer returns the private key of the certificate with that uid.
	Signer(ctx context.Context, uid string) (crypto.Signer, error)
}

// New returns a Responder for the settings and the KMS that has the CA. If the settings are not
// enabled, New ignores their other values, the KMS and the options, and returns the zero Responder,
// whose handler answers 404 to every request.
//
// New calls the options in order with the Config made of the settings, just before ocsp.New. They
// may change all of it, such as set a Logger or append the issuers of further CAs.
func New(
	ctx context.Context, s Settings, kms KMS, options ...func(*ocsp.Config),
) (*ocsp.Responder, error) {
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

// issuer returns the CA and its key from the KMS.
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
	issuer.Signer, err = hostcall.Protect(ctx, func(ctx context.Context) (crypto.Signer, error) {
		return kms.Signer(ctx, uid)
	})
	if err != nil {
		return issuer, fmt.Errorf("%s = %q: signer: %w", key, uid, err)
	}
	return issuer, nil
}

// certificate returns a certificate from the KMS. It does not return nil, which would make a
// delegate look like a CA that signs its own answers.
func certificate(ctx context.Context, kms KMS, key, uid string) (*x509.Certificate, error) {
	cert, err := hostcall.Protect(ctx, func(ctx context.Context) (*x509.Certificate, error) {
		return kms.Certificate(ctx, uid)
	})
	if err != nil {
		return nil, fmt.Errorf("%s = %q: certificate: %w", key, uid, err)
	}
	if cert == nil {
		return nil, fmt.Errorf("%s = %q: the certificate is nil: the KMS must return it, or an error",
			key, uid)
	}
	return cert, nil
}

// signing returns the key and the uid of the certificate that signs.
func (s Settings) signing() (key, uid string) {
	if s.ResponderUID != "" {
		return "responder_uid", s.ResponderUID
	}
	return "ca_uid", s.CAUID
}

// explain rewrites an error of ocsp.New about what the settings name, because operators know only
// the settings. It returns errors about fields set by options as they are.
func (s Settings) explain(err error) error {
	var e *ocsp.ConfigError
	if !errors.As(err, &e) {
		return err
	}
	key, uid := s.signing()
	what := "the certificate"
	switch e.Field {
	case "Issuers[0].SignatureAlgorithm":
		return &settingsError{e, fmt.Sprintf(
			"signature_algorithm = %q: the key of %s = %q cannot safely sign with it: %s",
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

// settingsError is a ConfigError with the names of the settings.
type settingsError struct {
	*ocsp.ConfigError
	text string
}

func (e *settingsError) Error() string { return "ocspconfig: " + e.text }

func (e *settingsError) Unwrap() error { return e.ConfigError }
