package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

const (
	caFile     = "ca.pem"
	caLife     = 10 * 365 * 24 * time.Hour
	leafLife   = 90 * 24 * time.Hour
	clockDrift = time.Minute // certificates begin this much earlier, for clients whose clocks are slow
)

func keyTypes() []string {
	return []string{"ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"}
}

// newKey generates a key of one of the keyTypes.
func newKey(keyType string) (crypto.Signer, error) {
	switch keyType {
	case "ecdsa-p256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ecdsa-p384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "rsa-2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "rsa-3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "rsa-4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	default:
		return nil, fmt.Errorf("there is no key type %q", keyType)
	}
}

// keyDir is where the KMS's own keys are, apart from the files of certificates that it issues.
const keyDir = "private"

// keyFile returns where the key of the CA or of the delegated responder is kept.
func keyFile(dir, kind string) string { return filepath.Join(dir, keyDir, kind+".key") }

// readSecret reads a file that nobody but its owner may read.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s holds a secret, and its mode %v lets others read it: chmod 600, and replace the secret if they may have", path, mode)
	}
	return os.ReadFile(path)
}

// loadKey reads a PKCS #8 private key.
func loadKey(path string) (crypto.Signer, error) {
	text, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: not a PKCS #8 private key in PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a %T cannot sign", path, key)
	}
	return signer, nil
}

// loadOrMakeKey returns the key in the file, which may be left over from a start that did not get further, or
// else makes one.
func loadOrMakeKey(path, keyType string) (crypto.Signer, error) {
	key, err := loadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = newKey(keyType); err != nil {
		return nil, err
	}
	text, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return key, writeNew(path, text)
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// writeNew writes a file that only its owner may read, and never over another one.
func writeNew(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Sync(), file.Close())
}

// authority is a CA: its certificate and key.
type authority struct {
	uid  string
	cert *x509.Certificate
	key  crypto.Signer
}

// newAuthority makes a self-signed CA.
func newAuthority(uid, name string, key crypto.Signer) (authority, error) {
	template, err := newTemplate(name, time.Now().Add(caLife))
	if err != nil {
		return authority{}, err
	}
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	template.IsCA, template.MaxPathLenZero = true, true
	cert, err := authority{uid, template, key}.sign(template, key.Public())
	return authority{uid, cert, key}, err
}

// oidNoCheck is id-pkix-ocsp-nocheck (RFC 6960 section 4.2.2.2.1): clients need not ask about this certificate.
var oidNoCheck = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}

// delegate certifies the key of a delegated responder for as long as the CA lives.
func (ca authority) delegate(key crypto.PublicKey) (*x509.Certificate, error) {
	template, err := newTemplate(ca.cert.Subject.CommonName+" OCSP Responder", ca.cert.NotAfter)
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
	template.ExtraExtensions = []pkix.Extension{{Id: oidNoCheck, Value: asn1.NullBytes}}
	return ca.sign(template, key)
}

// leaf certifies the key of a TLS server or client, with the URL to ask about the certificate.
func (ca authority) leaf(name, ocspURL string, key crypto.PublicKey) (*x509.Certificate, error) {
	notAfter := time.Now().Add(leafLife)
	if notAfter.After(ca.cert.NotAfter) {
		notAfter = ca.cert.NotAfter
	}
	template, err := newTemplate(name, notAfter)
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames = []string{name}
	template.OCSPServer = []string{ocspURL}
	return ca.sign(template, key)
}

// newTemplate returns the template of a certificate with a random serial number of 127 bits or more.
func newTemplate(name string, notAfter time.Time) (*x509.Certificate, error) {
	serial := make([]byte, 16)
	if _, err := io.ReadFull(rand.Reader, serial); err != nil {
		return nil, err
	}
	serial[0] |= 0x40 // neither zero nor short
	return &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-clockDrift),
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
	}, nil
}

func (ca authority) sign(template *x509.Certificate, key crypto.PublicKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key, ca.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
