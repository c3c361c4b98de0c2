package ocsp

import (
	"crypto"
	"crypto/fips140"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Issuer is a CA whose certificates the responder answers for, and the key that signs the answers.
//
// Two issuers may share a certificate name with different keys. Two that share both name and key,
// such as a CA and its renewed certificate, are one authority to clients. Of those that are valid
// when an answer is signed, the one that ends last signs it. The store is called with each ID in
// turn.
//
// An issuer whose Certificate or ResponderCertificate has expired or is not yet valid is not an
// error. It signs nothing until it is valid: if no other issuer with its name and key can sign, its
// answers are tryLater. New or SetIssuer logs that, and so does the first request of each hour.
//
// With GODEBUG=fips140=only, New and SetIssuer return an error for a key or a certificate that Go's
// FIPS 140-3 module refuses.
type Issuer struct {
	// ID identifies the CA to the store. It is usually the KMS's uid of the certificate. Empty is
	// the lower-case hex SHA-256 of the CA's SubjectPublicKeyInfo.
	ID string

	// Certificate is the CA's own certificate. Required. If the CA signs its own answers, its key
	// usage should have digitalSignature (RFC 5280 section 4.2.1.3). Clients do not check that, so
	// without it the CA signs and a warning is logged. Under ProfileCABF it is an error.
	Certificate *x509.Certificate

	// Signer is the private key of ResponderCertificate or, if that is nil, of Certificate. It may
	// be any crypto.Signer or crypto.MessageSigner, and MUST be safe for concurrent use. See
	// NewSigner for keys that live elsewhere. Required.
	Signer crypto.Signer

	// ResponderCertificate is a delegated responder's certificate (RFC 6960 section 4.2.2.2). It
	// MUST be issued directly by Certificate with the extended key usage OCSPSigning. It should
	// have id-pkix-ocsp-nocheck, so that clients need not ask for its own status. Every answer
	// contains it. CheckDelegate lists what New refuses and what it warns about. Nil lets the CA
	// sign its own answers.
	ResponderCertificate *x509.Certificate

	// SignatureAlgorithm is the algorithm of the answers' signatures. Zero selects one for the key:
	// SHA-256 with PKCS #1 v1.5 for RSA, the hash as long as the curve for ECDSA, and Ed25519 for
	// its keys. With zero, if Signer is one of Go's own private keys, a client's preference for
	// another safe algorithm is honoured (RFC 6960 section 4.4.7).
	SignatureAlgorithm x509.SignatureAlgorithm

	// ResponderID selects how answers identify their signer. Zero is ResponderIDByKey.
	ResponderID ResponderIDKind

	// EmbedCertificate includes the CA's certificate in answers that the CA signs itself. Apache's
	// SSLOCSPEnable, FreeRADIUS and SSSD's p11_child refuse every such answer without it, although
	// they have the certificate. Go clients of an intermediate CA refuse answers with it
	// (golang.org/issue/59641). It has no effect with a ResponderCertificate, which all of them
	// accept. Zero leaves it out.
	EmbedCertificate bool

	// CompromisedAt is when the CA's own key was compromised. If set, every certificate that is
	// good or on hold is answered as revoked since that time, with cACompromise (RFC 6960 section
	// 2.7). Zero is never.
	CompromisedAt time.Time

	// Store has the certificates of this issuer, such as a tenant's own database. Each store has
	// its own Config.MaxStoreCalls and is silent or busy by itself. Two stores are the same if they
	// are equal, so give issuers with one connection pool the same pointer. A CertStoreFunc equals
	// no other: if two share a pool, a flood that fills it through one makes the other look silent.
	// After SetIssuer with another store, statuses read from the former one answer only requests
	// that began earlier. Nil is Config.Store.
	Store CertStore

	// NameAliases are further DER encodings of the CA's subject. They are for a CA that changed the
	// string type of its name in the certificates it issues, so that clients hash another encoding.
	// ResponderCertificate may be issued under one of them. Nil is none.
	NameAliases [][]byte
}

// ResponderIDKind selects a choice of ResponderID (RFC 6960 section 4.2.1).
type ResponderIDKind uint8

const (
	// ResponderIDByKey identifies the signer by the hash of its key, as RFC 9919 section 3.2.2
	// requires.
	ResponderIDByKey ResponderIDKind = iota
	// ResponderIDByName identifies the signer by its subject, for clients that support nothing
	// else.
	ResponderIDByName
)

// The fields of an Issuer that several errors name.
const (
	fieldCertificate = "Certificate"
	fieldResponder   = "ResponderCertificate"
	fieldSigner      = "Signer"
	fieldAlgorithm   = "SignatureAlgorithm"
)

// notParsed returns the error for a certificate that did not come from x509.ParseCertificate.
func notParsed(field string) error {
	return fieldError(field, "it must come from x509.ParseCertificate", "was not parsed from DER")
}

func isSequence(der cryptobyte.String) bool {
	return der.SkipASN1(asn1.SEQUENCE) && der.Empty()
}

// hintNameAliases is the hint for a name that is encoded differently than the CA's subject.
const hintNameAliases = "add the certificate's RawIssuer to the CA's Issuer.NameAliases"

// encodedDifferently describes a name that has the text of the CA's and another encoding.
func encodedDifferently(name pkix.Name) string {
	const format = "%q, like the CA's name but encoded differently, as with another string type"
	return fmt.Sprintf(format, name)
}

// checkSignedBy verifies the signature of a certificate with the CA's key. It checks nothing else.
func checkSignedBy(cert, ca *x509.Certificate) error {
	// With SHA-1 package x509 would panic.
	if hashOf(cert.SignatureAlgorithm) == crypto.SHA1 && fips140.Enforced() {
		return x509.InsecureAlgorithmError(cert.SignatureAlgorithm)
	}
	return ca.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
}

// isUnverifiable reports whether an error of checkSignedBy means that Go does not support the
// algorithm. Then the signature may be right or wrong.
func isUnverifiable(err error) bool {
	var insecure x509.InsecureAlgorithmError
	return errors.As(err, &insecure) || errors.Is(err, x509.ErrUnsupportedAlgorithm)
}

// publicKeyBits returns the content of the BIT STRING in a certificate's SubjectPublicKeyInfo, the
// input of key hashes.
func publicKeyBits(cert *x509.Certificate) []byte {
	spki, bits := cryptobyte.String(cert.RawSubjectPublicKeyInfo), cryptobyte.String(nil)
	if !spki.ReadASN1(&spki, asn1.SEQUENCE) || !spki.SkipASN1(asn1.SEQUENCE) ||
		!spki.ReadASN1(&bits, asn1.BIT_STRING) || len(bits) == 0 {
		return nil // x509.ParseCertificate returns no such key
	}
	return bits[1:]
}

// checkTime returns an error if no answer can be signed now because a certificate is not valid. In
// the certificate's last second, an answer would have no time left.
func checkTime(field string, cert *x509.Certificate, now time.Time) error {
	if now.Before(cert.NotBefore) {
		return fieldError(field, "wait, or check the clock",
			"is not valid before %s", cert.NotBefore.UTC().Format(time.RFC3339))
	}
	if !now.Before(cert.NotAfter) {
		return fieldError(field, "renew it",
			"expired at %s", cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

func checkCA(ca *x509.Certificate) error {
	if ca.Version >= 3 && !(ca.BasicConstraintsValid && ca.IsCA) {
		return fieldError(fieldCertificate, "give the issuer's certificate, not one it issued",
			"is not a CA certificate")
	}
	return checkFIPS(fieldCertificate, ca)
}
