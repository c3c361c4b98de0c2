package ocsp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// NewSigner makes a crypto.Signer of a function that signs with a key elsewhere: a remote KMS, a cloud
// service, an HSM session that takes a context. digest is the hash that opts.HashFunc names, or the whole
// message when that is zero, as it is for Ed25519. The context ends at SigningOptions.Timeout.
func NewSigner(pub crypto.PublicKey, sign func(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error)) crypto.Signer {
	return &funcSigner{pub, sign}
}

type funcSigner struct {
	pub  crypto.PublicKey
	sign func(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (f *funcSigner) Public() crypto.PublicKey { return f.pub }

func (f *funcSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return f.sign(context.Background(), digest, opts)
}

// algorithm is one way in which a key signs.
type algorithm struct {
	alg  x509.SignatureAlgorithm
	der  []byte // AlgorithmIdentifier
	opts crypto.SignerOpts
}

// signer is a key ready to sign answers, with everything that goes into each of them.
type signer struct {
	number      uint64 // never used twice
	key         crypto.Signer
	external    bool              // not one of Go's own keys: each signature is verified
	budget      *budget           // for its signatures
	certificate *x509.Certificate // of the key
	ca          *x509.Certificate // that answers are about
	algorithms  []algorithm       // the first is the default
	responderID []byte
	certs       []byte   // the certs field, nil when the CA signs itself
	fingerprint [32]byte // of all that answers inherit from the signer, for remote caches

	notBefore, notAfter int64 // between them answers may be valid, seconds since 1970
	endIsNear           int64 // from then on the operator is warned, likewise
	warned              atomic.Int64

	failure atomic.Pointer[error] // why the last renewal of an answer failed; nil if it did not
}

// algorithmsFor lists what a public key can safely sign with, the default first.
func algorithmsFor(pub crypto.PublicKey, profile Profile) ([]algorithm, error) {
	var list []x509.SignatureAlgorithm
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		least := 2047 // some generators of 2048 bits leave the first one zero
		if profile == ProfileCABF || fips140.Enforced() {
			least = 2048 // TLS BR 6.1.5, FIPS 186-5 section 5.1
		}
		if pub.N.BitLen() < least {
			return nil, fieldError(fieldSigner, "use at least 2048", "is an RSA key with %d bits", pub.N.BitLen())
		}
		list = []x509.SignatureAlgorithm{x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
			x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS}
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
			list = []x509.SignatureAlgorithm{x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512}
		case elliptic.P384():
			list = []x509.SignatureAlgorithm{x509.ECDSAWithSHA384, x509.ECDSAWithSHA256, x509.ECDSAWithSHA512}
		case elliptic.P521():
			list = []x509.SignatureAlgorithm{x509.ECDSAWithSHA512, x509.ECDSAWithSHA256, x509.ECDSAWithSHA384}
		default:
			return nil, fieldError(fieldSigner, "use P-256, P-384 or P-521", "is on the curve %s, which is not supported", pub.Curve.Params().Name)
		}
	case ed25519.PublicKey:
		list = []x509.SignatureAlgorithm{x509.PureEd25519}
	default:
		return nil, fieldError(fieldSigner, "use RSA, ECDSA or Ed25519", "has a public key of type %T, which is not supported", pub)
	}
	algorithms := make([]algorithm, len(list))
	for i, alg := range list {
		algorithms[i] = algorithm{alg, codec.AlgorithmIdentifier(alg), signerOpts(alg)}
	}
	return algorithms, nil
}

func signerOpts(alg x509.SignatureAlgorithm) crypto.SignerOpts {
	switch alg {
	case x509.SHA256WithRSA, x509.ECDSAWithSHA256:
		return crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512:
		return crypto.SHA512
	case x509.SHA256WithRSAPSS:
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	case x509.SHA384WithRSAPSS:
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA384}
	case x509.SHA512WithRSAPSS:
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA512}
	default:
		return crypto.Hash(0)
	}
}

// newSigner checks the signing side of an issuer, except for the time. It also returns the warnings about the
// certificate that signs.
func newSigner(cfg *Issuer, c *Config, number func() uint64) (*signer, []DelegateFinding, error) {
	if isNil(cfg.Signer) {
		return nil, nil, fieldError(fieldSigner, "give the private key as a crypto.Signer", "is nil")
	}
	if key, ok := cfg.Signer.(ed25519.PrivateKey); ok && len(key) != ed25519.PrivateKeySize {
		return nil, nil, fieldError(fieldSigner, fmt.Sprintf("an Ed25519 private key has %d octets", ed25519.PrivateKeySize), "is nil or cut short")
	}
	ca, cert, field := cfg.Certificate, cfg.Certificate, fieldCertificate
	if err := checkCA(ca); err != nil {
		return nil, nil, err
	}
	if cfg.ResponderCertificate != nil {
		cert, field = cfg.ResponderCertificate, fieldResponder
		if len(cert.Raw) == 0 {
			return nil, nil, notParsed(field)
		}
	}
	if err := checkKnownKey(field, cert); err != nil {
		return nil, nil, err
	}
	if err := checkFIPS(field, cert); err != nil {
		return nil, nil, err
	}
	algorithms, err := algorithmsFor(cert.PublicKey, c.Profile)
	if err != nil {
		return nil, nil, err
	}
	findings, err := checkFindings(cfg, c.Profile)
	if err != nil {
		return nil, nil, err
	}
	if err := checkMatch(cfg.Signer, field, cert); err != nil {
		return nil, nil, err
	}
	external := !isGoKey(cfg.Signer)
	if cfg.SignatureAlgorithm != 0 {
		i := slices.IndexFunc(algorithms, func(a algorithm) bool { return a.alg == cfg.SignatureAlgorithm })
		if i < 0 {
			names := algorithmNames(algorithms)
			return nil, nil, fieldError(fieldAlgorithm, "leave it out or use one of "+strings.Join(names, ", "),
				"is %v, which this key cannot safely sign with", cfg.SignatureAlgorithm)
		}
		algorithms = algorithms[i : i+1]
	} else if external {
		algorithms = algorithms[:1] // such keys are often tied to one algorithm
	}
	s := &signer{
		number: number(), key: cfg.Signer, external: external, certificate: cert, ca: ca, algorithms: algorithms,
		responderID: codec.ByKey(publicKeyBits(cert)),
		notBefore:   max(cert.NotBefore.Unix(), ca.NotBefore.Unix()),
		notAfter:    min(cert.NotAfter.Unix(), ca.NotAfter.Unix()),
	}
	s.endIsNear = s.notAfter - min(2*int64(c.Validity/time.Second), (s.notAfter-s.notBefore)/4)
	if cfg.ResponderID == ResponderIDByName {
		s.responderID = codec.ByName(cert.RawSubject)
	}
	if cfg.ResponderCertificate != nil || cfg.EmbedCertificate {
		s.certs = codec.CertsField(cert.Raw)
	}
	s.fingerprint = sha256.Sum256(bytes.Join([][]byte{cert.Raw, s.responderID, s.certs}, []byte{0}))
	if !external {
		if _, err := hostcall.Protect(context.Background(), s.selfTest); err != nil {
			hint := "give the whole private key"
			if fips140.Enforced() {
				hint += ", and one of two primes of the same length, as GODEBUG=fips140=only demands"
			}
			return nil, nil, fieldError(fieldSigner, hint, "failed at a trial signature (%w)", err)
		}
	}
	return s, findings, nil
}

// checkKnownKey refuses a certificate whose key package x509 does not read, or this package does not sign with.
func checkKnownKey(field string, cert *x509.Certificate) error {
	switch cert.PublicKey.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		return nil
	}
	return fieldError(field, "use RSA (rsaEncryption), ECDSA or Ed25519",
		"has a key of the algorithm %s, which is not supported", keyAlgorithm(cert))
}

// keyAlgorithms names the algorithms of keys that package x509 does not read or this package does not sign with.
var keyAlgorithms = map[string]string{
	"1.2.840.10040.4.1":       "DSA",
	"1.2.840.113549.1.1.7":    "RSAES-OAEP",
	"1.2.840.113549.1.1.10":   "RSASSA-PSS",
	"1.3.101.110":             "X25519",
	"1.3.101.111":             "X448",
	"1.3.101.113":             "Ed448",
	"2.16.840.1.101.3.4.3.17": "ML-DSA-44",
	"2.16.840.1.101.3.4.3.18": "ML-DSA-65",
	"2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}

// keyAlgorithm returns the OID of a key's algorithm and, if it is known, the name.
func keyAlgorithm(cert *x509.Certificate) string {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &info); err != nil {
		return "of no known form"
	}
	oid := info.Algorithm.Algorithm.String()
	if name := keyAlgorithms[oid]; name != "" {
		return oid + " (" + name + ")"
	}
	return oid
}

// checkMatch refuses a key that is not the certificate's.
func checkMatch(key crypto.Signer, field string, cert *x509.Certificate) error {
	var pub crypto.PublicKey
	absent := false
	matches, err := hostcall.Protect(context.Background(), func(context.Context) (bool, error) {
		pub = key.Public()
		if ed, ok := pub.(ed25519.PublicKey); isNil(pub) || ok && ed == nil {
			absent = true
			return false, nil
		}
		own, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		return ok && own.Equal(pub), nil
	})
	switch {
	case absent:
		return fieldError(fieldSigner, "Public must return the public key, as the certificate's PublicKey is", "has a method Public that returns nil")
	case err != nil: // such as of a key without numbers
		return fieldError(fieldSigner, "give the whole private key", "cannot be compared with the certificate's key (%w)", err)
	case matches:
		return nil
	}
	switch pub := pub.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		return fieldError(field, "give the key of this certificate, or the certificate of this key", "is for another key than the signer's")
	case rsa.PublicKey, ecdsa.PublicKey, *ed25519.PublicKey:
		return fieldError(fieldSigner, fmt.Sprintf("return a %T", cert.PublicKey), "has a method Public that returns a %T, which package crypto does not know as a key", pub)
	default:
		return fieldError(fieldSigner, "use RSA, ECDSA or Ed25519", "has a public key of type %T, which is not supported", pub)
	}
}

// isNil reports whether there is no key, though perhaps a type for one.
func isNil(key any) bool {
	v := reflect.ValueOf(key)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

// isGoKey reports whether the key is one that lives in this process and whose signatures need no checking.
func isGoKey(key crypto.Signer) bool {
	switch key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return true
	}
	return false
}

func algorithmNames(list []algorithm) []string {
	names := make([]string, len(list))
	for i, a := range list {
		names[i] = a.alg.String()
	}
	return names
}

// checkTime returns an error if no answer can be signed now because of a certificate's life. In its last second an
// answer would have no time left.
func checkTime(field string, cert *x509.Certificate, now time.Time) error {
	if now.Before(cert.NotBefore) {
		return fieldError(field, "wait, or check the clock", "is not valid before %s", cert.NotBefore.UTC().Format(time.RFC3339))
	}
	if !now.Before(cert.NotAfter) {
		return fieldError(field, "renew it", "expired at %s", cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkFIPS returns an error if GODEBUG=fips140=only is set and refuses the key of a certificate. Without it, New
// would accept a key in an HSM whose every signature fails the check.
func checkFIPS(field string, cert *x509.Certificate) error {
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok || !fips140.Enforced() {
		return nil // the module has all curves that algorithmsFor accepts, and Ed25519
	}
	err := rsa.VerifyPKCS1v15(key, crypto.SHA256, make([]byte, sha256.Size), make([]byte, key.Size()))
	if errors.Is(err, rsa.ErrVerification) {
		return nil // a wrong signature, but a key that it takes
	}
	return fieldError(field, "use an RSA key of 2048, 3072 or 4096 bits with the exponent 65537, or an ECDSA or Ed25519 key",
		"has a key that GODEBUG=fips140=only refuses (%w)", err)
}

func checkCA(ca *x509.Certificate) error {
	if ca.Version >= 3 && !(ca.BasicConstraintsValid && ca.IsCA) {
		return fieldError(fieldCertificate, "give the issuer's certificate, not one it issued", "is not a CA certificate")
	}
	return checkFIPS(fieldCertificate, ca)
}

// choose returns the index of the algorithm to sign with (RFC 6960 section 4.4.7.2).
func (s *signer) choose(preferred []x509.SignatureAlgorithm) int {
	for _, p := range preferred {
		for i := range s.algorithms {
			if s.algorithms[i].alg == p {
				return i
			}
		}
	}
	return 0
}

// sign makes one signature over message. It may block as long as the key does.
func (s *signer) sign(ctx context.Context, algorithm int, message []byte) ([]byte, error) {
	a := &s.algorithms[algorithm]
	var sig []byte
	var err error
	if f, ok := s.key.(*funcSigner); ok {
		digest := message
		if h := a.opts.HashFunc(); h != 0 {
			hash := h.New()
			hash.Write(message)
			digest = hash.Sum(nil)
		}
		sig, err = f.sign(ctx, digest, a.opts)
	} else {
		sig, err = crypto.SignMessage(s.key, rand.Reader, message, a.opts)
	}
	if err != nil {
		return nil, err
	}
	if s.external {
		sig = bytes.Clone(sig) // the host may sign into the same memory again
		if err := s.verify(algorithm, message, sig); err != nil {
			return nil, fmt.Errorf("a wrong signature: %w%s", err, s.hint(algorithm, message, sig))
		}
	}
	return sig, nil
}

// hint explains a signature that is right but for its format.
func (s *signer) hint(algorithm int, message, sig []byte) string {
	pub, ok := s.certificate.PublicKey.(*ecdsa.PublicKey)
	if !ok || len(sig) != (pub.Curve.Params().BitSize+7)/8*2 {
		return ""
	}
	half := len(sig) / 2
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:])})
	if err != nil || s.verify(algorithm, message, der) != nil {
		return ""
	}
	return "; it is r and s side by side (IEEE P1363), and crypto.Signer wants them as an ASN.1 SEQUENCE (RFC 3279 section 2.2.3)"
}

func (s *signer) verify(algorithm int, message, sig []byte) error {
	return s.certificate.CheckSignature(s.algorithms[algorithm].alg, message, sig)
}

// succeeds reports whether another signer can take over from one before that ends.
func (a *authority) succeeds(s *signer) bool {
	return slices.ContainsFunc(a.signers, func(c *signer) bool { return c.notAfter > s.notAfter && c.notBefore < s.notAfter })
}

// errNotValidNow is the error of a signer whose certificate, or its CA's, has expired or is not valid yet.
var errNotValidNow = errors.New("is not valid now: renew it and call SetIssuer, or wait for its time")

// validAt returns an error if no answer can be signed at that time.
func (s *signer) validAt(now int64) error {
	if s.notBefore <= now && now < s.notAfter {
		return nil
	}
	return fmt.Errorf("the signing certificate %q, or its CA's, with the life from %s to %s, %w", s.certificate.Subject,
		time.Unix(s.notBefore, 0).UTC().Format(time.RFC3339), time.Unix(s.notAfter, 0).UTC().Format(time.RFC3339), errNotValidNow)
}

// announce logs the warnings about a new issuer, and whether it cannot sign now.
func (iss *issuer) announce(logger *slog.Logger, now time.Time) {
	attrs := []any{slog.String("issuer", iss.ID), slog.String("subject", iss.signer.certificate.Subject.String())}
	for _, f := range iss.findings {
		logger.Warn("ocsp: clients may refuse answers because of the certificate that signs them", slices.Concat(attrs,
			[]any{slog.String("finding", f.Problem), slog.String("hint", f.Hint), slog.String("rule", f.Rule)})...)
	}
	var fault *ConfigError
	if errors.As(iss.checkTime(now), &fault) {
		logger.Warn("ocsp: an issuer is not valid now and signs nothing until it is", slices.Concat(attrs,
			[]any{slog.String("certificate", fault.Field), slog.String("finding", fault.Problem), slog.String("hint", fault.Hint)})...)
	}
}

// selfTest signs and verifies once.
func (s *signer) selfTest(ctx context.Context) (struct{}, error) {
	message := []byte("ocsp signer self-test")
	sig, err := s.sign(ctx, 0, message)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, s.verify(0, message, sig)
}
