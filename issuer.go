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

// Issuer is a CA whose certificates the responder answers for, and the key that signs those answers.
//
// Two issuers may share a certificate name with different keys. Two that share name and key, such as a CA
// and its renewed certificate, are one authority to a client. Of those that are valid when an answer is signed, the
// one that ends last signs it. The store is asked under each ID in turn.
//
// An issuer whose certificate or ResponderCertificate has expired, or is not yet valid, is no error. It signs nothing
// until it is valid: if no other issuer of its name and key can sign, its answers are tryLater. The log says so when
// New or SetIssuer takes the issuer, and with the first request of each hour.
//
// With GODEBUG=fips140=only, a key or a certificate that Go's FIPS 140-3 module refuses is an error of New and SetIssuer.
type Issuer struct {
	// ID names the CA to the store, usually the KMS's uid of its certificate. Empty is the lower-case hex
	// SHA-256 of the CA's SubjectPublicKeyInfo.
	ID string

	// Certificate is the CA's own certificate. Required. If the CA signs its own answers, its key usage should have
	// digitalSignature (RFC 5280 section 4.2.1.3). Without it the CA signs all the same, since clients do not ask for
	// it, and a warning is logged; under ProfileCABF it is an error.
	Certificate *x509.Certificate

	// Signer is the private key of ResponderCertificate or, without one, of Certificate. It may be any
	// crypto.Signer or crypto.MessageSigner; see NewSigner for keys that live elsewhere. Required.
	Signer crypto.Signer

	// ResponderCertificate is a delegated responder's certificate (RFC 6960 section 4.2.2.2): issued directly by
	// Certificate, with the extended key usage OCSPSigning and, so that clients need not ask about it in
	// turn, id-pkix-ocsp-nocheck. It goes into every answer. CheckDelegate lists what New refuses about one, and what
	// it warns of. Nil lets the CA sign itself.
	ResponderCertificate *x509.Certificate

	// SignatureAlgorithm is what answers are signed with. Zero fits the key: SHA-256 with PKCS #1 v1.5 for RSA,
	// the hash as long as the curve for ECDSA, Ed25519 for its own; then a client's preference among the other
	// safe ones is honoured (RFC 6960 section 4.4.7) if Signer is one of Go's own private keys.
	SignatureAlgorithm x509.SignatureAlgorithm

	// ResponderID is how answers name their signer. Zero is ResponderIDByKey.
	ResponderID ResponderIDKind

	// EmbedCertificate puts the CA's certificate into answers that it signs itself. Apache's SSLOCSPEnable,
	// FreeRADIUS and SSSD's p11_child refuse every answer of a CA that leaves it out, though they have the
	// certificate; Go clients of an intermediate CA refuse answers that have it (golang.org/issue/59641). With
	// a ResponderCertificate, which all of them take, it changes nothing. Zero leaves it out.
	EmbedCertificate bool

	// CompromisedAt is since when the CA's own key must be taken for compromised. Then every certificate that
	// was good or on hold is answered as revoked since that time, with cACompromise (RFC 6960 section 2.7).
	// Zero is never.
	CompromisedAt time.Time

	// Store knows the certificates of this issuer, such as a tenant's own database. How many calls of it
	// may be under way and whether it is silent are matters of its own. Two stores are one if they are equal, so
	// give issuers with one connection pool the same pointer: a CertStoreFunc equals none, and a flood that fills the pool
	// through one store makes the other look silent. After SetIssuer with another store, what the former one said
	// answers only requests that came before. Zero is Config.Store.
	Store CertStore

	// NameAliases are further DER encodings of the CA's subject that clients hash, for a CA that changed the
	// string type of its name in the certificates it issues. ResponderCertificate may be issued under one of them.
	// Zero is none.
	NameAliases [][]byte
}

// ResponderIDKind is a choice of RFC 6960 section 4.2.1's ResponderID.
type ResponderIDKind uint8

const (
	// ResponderIDByKey names the signer by the hash of its key, as RFC 9919 section 3.2.2 asks.
	ResponderIDByKey ResponderIDKind = iota
	// ResponderIDByName names the signer by its subject, for clients that know no other way.
	ResponderIDByName
)

// The fields of an Issuer that errors name in several places.
const (
	fieldCertificate = "Certificate"
	fieldResponder   = "ResponderCertificate"
	fieldSigner      = "Signer"
	fieldAlgorithm   = "SignatureAlgorithm"
)

// notParsed is for a certificate that somebody put together by hand.
func notParsed(field string) error {
	return fieldError(field, "it must come from x509.ParseCertificate", "was not parsed from DER")
}

func isSequence(der cryptobyte.String) bool {
	return der.SkipASN1(asn1.SEQUENCE) && der.Empty()
}

// hintNameAliases is for a name that is encoded in another way than the CA's subject.
const hintNameAliases = "add the certificate's RawIssuer to the CA's Issuer.NameAliases"

// encodedDifferently describes a name that prints like the CA's.
func encodedDifferently(name pkix.Name) string {
	return fmt.Sprintf("%q, like the CA's name but encoded differently, as with another string type", name)
}

// checkSignedBy verifies the signature of a certificate with the CA's key, and nothing else.
func checkSignedBy(cert, ca *x509.Certificate) error {
	if hashOf(cert.SignatureAlgorithm) == crypto.SHA1 && fips140.Enforced() { // package x509 would panic
		return x509.InsecureAlgorithmError(cert.SignatureAlgorithm)
	}
	return ca.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
}

// isUnverifiable reports whether an error of checkSignedBy means that Go does not verify the algorithm. Then it says
// nothing about the signature.
func isUnverifiable(err error) bool {
	var insecure x509.InsecureAlgorithmError
	return errors.As(err, &insecure) || errors.Is(err, x509.ErrUnsupportedAlgorithm)
}

// publicKeyBits returns the content of the BIT STRING in a certificate's SubjectPublicKeyInfo, which is what
// key hashes are made of.
func publicKeyBits(cert *x509.Certificate) []byte {
	spki, bits := cryptobyte.String(cert.RawSubjectPublicKeyInfo), cryptobyte.String(nil)
	if !spki.ReadASN1(&spki, asn1.SEQUENCE) || !spki.SkipASN1(asn1.SEQUENCE) || !spki.ReadASN1(&bits, asn1.BIT_STRING) || len(bits) == 0 {
		return nil // x509.ParseCertificate lets no such key through
	}
	return bits[1:]
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

func checkCA(ca *x509.Certificate) error {
	if ca.Version >= 3 && !(ca.BasicConstraintsValid && ca.IsCA) {
		return fieldError(fieldCertificate, "give the issuer's certificate, not one it issued", "is not a CA certificate")
	}
	return checkFIPS(fieldCertificate, ca)
}
