package ocsp

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"reflect"

	"github.com/kmsocsp/ocsp/internal/codec"
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

func algorithmNames(list []algorithm) []string {
	names := make([]string, len(list))
	for i, a := range list {
		names[i] = a.alg.String()
	}
	return names
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

// hashOf returns the hash of a signature algorithm, 0 if it has none of its own or is not known.
func hashOf(alg x509.SignatureAlgorithm) crypto.Hash {
	switch alg {
	case x509.MD5WithRSA:
		return crypto.MD5
	case x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return crypto.SHA1
	}
	return signerOpts(alg).HashFunc()
}
