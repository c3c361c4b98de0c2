// Package ocsptest helps to test code that embeds an OCSP responder, and responders themselves: a throwaway
// CA, a store whose records the test sets, a clock, signers, stores and caches that fail on command, and a
// client that verifies what it gets with golang.org/x/crypto/ocsp.
//
// Nothing here takes a testing.TB: what cannot go wrong in a sane test panics, the rest returns an error.
package ocsptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/kmsocsp/ocsp"
)

// KeyType is a kind of key.
type KeyType uint8

// The kinds of keys; the zero value is P256.
const (
	P256 KeyType = iota
	P384
	P521
	RSA2048
	Ed25519
)

// String returns the name of the constant.
func (k KeyType) String() string {
	if names := [...]string{"P256", "P384", "P521", "RSA2048", "Ed25519"}; int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("KeyType(%d)", uint8(k))
}

// KeyTypes lists all kinds of keys.
func KeyTypes() []KeyType { return []KeyType{P256, P384, P521, RSA2048, Ed25519} }

// NewKey generates a private key. It, and all that makes certificates, may be called in a testing/synctest bubble,
// in FIPS 140-3 mode too.
func NewKey(kind KeyType) crypto.Signer {
	var key crypto.Signer
	var err error
	outside(func() {
		switch kind {
		case P384:
			key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		case P521:
			key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
		case RSA2048:
			key, err = rsa.GenerateKey(rand.Reader, 2048)
		case Ed25519:
			_, key, err = ed25519.GenerateKey(rand.Reader)
		default:
			key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		}
	})
	return must(key, err)
}

func must[T any](value T, err error) T {
	if err != nil {
		panic("ocsptest: " + err.Error())
	}
	return value
}

// Options describes a certificate to make. Every zero field has a default.
type Options struct {
	// Key is the kind of key to generate. Zero is P256.
	Key KeyType
	// Signer is a key to certify instead of a new one.
	Signer crypto.Signer
	// Name is the common name. Zero is "Test CA", "Test Intermediate CA", "Test Responder" or "leaf.test".
	Name string
	// Serial is the serial number. Nil is a random one.
	Serial *big.Int
	// NotBefore and NotAfter bound its life. Zero is yesterday to ten years from now.
	NotBefore, NotAfter time.Time
	// OCSPServer is the URL that goes into the certificate. Zero is none.
	OCSPServer string
	// Adjust changes the template before it is signed. Nil changes nothing.
	Adjust func(*x509.Certificate)
}

// CA is a throwaway certificate authority.
type CA struct {
	ID          string // for ocsp.Issuer.ID and the store; the common name, unless the test changes it
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// NewCA makes a self-signed CA.
func NewCA(opts Options) *CA {
	return newCA(opts, "Test CA", nil)
}

// Intermediate makes a CA under this one.
func (ca *CA) Intermediate(opts Options) *CA {
	return newCA(opts, "Test Intermediate CA", ca)
}

func newCA(opts Options, name string, parent *CA) *CA {
	cert, key := make509(opts, name, parent, func(t *x509.Certificate) {
		t.IsCA, t.BasicConstraintsValid = true, true
		t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	})
	return &CA{ID: cert.Subject.CommonName, Certificate: cert, Key: key}
}

// Issue makes an end-entity certificate for TLS servers and clients.
func (ca *CA) Issue(opts Options) *x509.Certificate {
	cert, _ := ca.IssueKey(opts)
	return cert
}

// IssueKey is Issue for tests that need the certificate's key too.
func (ca *CA) IssueKey(opts Options) (*x509.Certificate, crypto.Signer) {
	return make509(opts, "leaf.test", ca, func(t *x509.Certificate) {
		t.KeyUsage = x509.KeyUsageDigitalSignature
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		t.DNSNames = []string{t.Subject.CommonName, "localhost"}
		t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	})
}

// NoCheck is the extension id-pkix-ocsp-nocheck (RFC 6960 section 4.2.2.2.1).
var NoCheck = pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: []byte{5, 0}}

// Delegate makes a delegated responder's certificate and its key. With no options other than the CA's kind of key,
// ocsp.CheckDelegate has no findings about it; under ocsp.ProfileCABF, not with Ed25519.
func (ca *CA) Delegate(opts Options) (*x509.Certificate, crypto.Signer) {
	return make509(opts, "Test Responder", ca, func(t *x509.Certificate) {
		t.Subject.Country, t.Subject.Organization = []string{"XX"}, []string{"Test"}
		t.SubjectKeyId = randomSerial().Bytes() // RFC 5280 section 4.2.1.2 asks for a unique one
		t.KeyUsage = x509.KeyUsageDigitalSignature
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
		t.ExtraExtensions = []pkix.Extension{NoCheck}
	})
}

// Issuer returns the CA as an issuer that signs its own answers.
func (ca *CA) Issuer() ocsp.Issuer {
	return ocsp.Issuer{ID: ca.ID, Certificate: ca.Certificate, Signer: ca.Key}
}

// make509 makes a certificate, self-signed if there is no parent.
func make509(opts Options, name string, parent *CA, adjust func(*x509.Certificate)) (*x509.Certificate, crypto.Signer) {
	key := opts.Signer
	if key == nil {
		key = NewKey(opts.Key)
	}
	now := time.Now().Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber:          opts.Serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.AddDate(0, 0, -1),
		NotAfter:              now.AddDate(10, 0, 0),
		BasicConstraintsValid: true,
	}
	if opts.Name != "" {
		template.Subject.CommonName = opts.Name
	}
	if template.SerialNumber == nil {
		template.SerialNumber = randomSerial()
	}
	if !opts.NotBefore.IsZero() {
		template.NotBefore = opts.NotBefore
	}
	if !opts.NotAfter.IsZero() {
		template.NotAfter = opts.NotAfter
	}
	if opts.OCSPServer != "" {
		template.OCSPServer = []string{opts.OCSPServer}
	}
	adjust(template)
	if opts.Adjust != nil {
		opts.Adjust(template)
	}
	if parent == nil {
		parent = &CA{Certificate: template, Key: key}
	}
	var der []byte
	var err error
	outsideFor(parent.Key, func() {
		der, err = x509.CreateCertificate(rand.Reader, template, parent.Certificate, key.Public(), parent.Key)
	})
	return must(x509.ParseCertificate(must(der, err))), key
}

// randomSerial returns a serial number of 16 octets that is neither zero nor negative.
func randomSerial() *big.Int {
	b := make([]byte, 16)
	outside(func() { _, _ = rand.Read(b) }) // which never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}
