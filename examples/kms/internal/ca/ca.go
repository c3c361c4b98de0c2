// Package ca is the certification authority of the example KMS.
package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/examples/kms/internal/keyfile"
)

// File is the CA's certificate in the data directory.
const File = "ca.pem"

// First is the name of the certificate that the first start issues.
const First = "example"

const (
	caLife     = 10 * 365 * 24 * time.Hour
	leafLife   = 90 * 24 * time.Hour
	clockDrift = time.Hour // certificates begin this much earlier, for those whose clocks are slow
)

// CA issues certificates and stores them.
type CA struct {
	UID         string
	Certificate *x509.Certificate

	key     crypto.Signer
	store   inventory.Store
	ocspURL string
}

// Open opens the CA of a data directory, and its delegated responder if the configuration asks for
// one. It makes what is missing. It makes a CA only if the store has none, so that a mistyped
// ca_uid is an error.
func Open(ctx context.Context, dir string, cfg config.Config, store inventory.Store) (*CA, error) {
	ca := &CA{UID: cfg.OCSP.CAUID, store: store, ocspURL: cfg.OCSPURL()}
	cas, err := store.List(ctx, inventory.KindCA)
	switch {
	case err != nil:
	case len(cas) == 0:
		err = ca.makeRoot(ctx, dir, cfg.CA)
	case cas[0].UID != ca.UID:
		err = fmt.Errorf("[ocsp] ca_uid = %q: the CA in the database is %q: use that", ca.UID, cas[0].UID)
	default:
		if ca.key, err = keyfile.Load(keyfile.Path(dir, inventory.KindCA)); err == nil {
			ca.Certificate, err = x509.ParseCertificate(cas[0].DER)
		}
	}
	if err == nil && cfg.CA.Delegated {
		err = ca.makeDelegate(ctx, dir, cfg)
	}
	if err != nil {
		return nil, err
	}
	return ca, os.WriteFile(filepath.Join(dir, File), keyfile.EncodeCertificate(ca.Certificate.Raw), 0o600)
}

// makeRoot makes the key and the self-signed certificate.
func (ca *CA) makeRoot(ctx context.Context, dir string, cfg config.CA) error {
	var err error
	if ca.key, err = keyfile.LoadOrMake(keyfile.Path(dir, inventory.KindCA), cfg.KeyType); err != nil {
		return err
	}
	template, err := newTemplate(cfg.Name, time.Now().Add(caLife))
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	template.IsCA, template.MaxPathLenZero = true, true
	ca.Certificate = template
	if ca.Certificate, err = ca.sign(template, ca.key.Public()); err != nil {
		return err
	}
	_, err = ca.insert(ctx, inventory.KindCA, ca.UID, ca.Certificate, ocsp.Active)
	return err
}

// oidNoCheck is id-pkix-ocsp-nocheck (RFC 6960 section 4.2.2.2.1): clients do not check the status
// of this certificate.
var oidNoCheck = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}

// makeDelegate certifies a key of the delegated responder for as long as the CA lives, unless the
// store has its certificate.
func (ca *CA) makeDelegate(ctx context.Context, dir string, cfg config.Config) error {
	uid := cfg.OCSP.ResponderUID
	if _, err := ca.store.Get(ctx, uid); !errors.Is(err, inventory.ErrNotFound) {
		return err
	}
	key, err := keyfile.LoadOrMake(keyfile.Path(dir, inventory.KindResponder), cfg.CA.KeyType)
	if err != nil {
		return err
	}
	template, err := newTemplate(ca.Certificate.Subject.CommonName+" OCSP Responder", ca.Certificate.NotAfter)
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
	template.ExtraExtensions = []pkix.Extension{{Id: oidNoCheck, Value: asn1.NullBytes}}
	cert, err := ca.sign(template, key.Public())
	if err != nil {
		return err
	}
	_, err = ca.insert(ctx, inventory.KindResponder, uid, cert, ocsp.Active)
	return err
}

// names are common names that are DNS labels or dotted names and safe as file names.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,62}[A-Za-z0-9]$|^[A-Za-z0-9]$`)

// CheckName reports what is wrong with a certificate's name.
func CheckName(name string) error {
	if !names.MatchString(name) {
		const hint = "use up to 64 letters, digits, dots and hyphens, the first and last no dot or hyphen"
		return fmt.Errorf("%w name %q: %s", inventory.ErrInvalid, name, hint)
	}
	return nil
}

// Issue issues a certificate and returns it with its new key, which is not stored. It returns no
// certificate that is not in the store: OCSP would not know it.
func (ca *CA) Issue(ctx context.Context, name string, state ocsp.State) (inventory.Object, crypto.Signer, error) {
	if err := CheckName(name); err != nil {
		return inventory.Object{}, nil, err
	}
	key, err := keyfile.New("ecdsa-p256")
	if err != nil {
		return inventory.Object{}, nil, err
	}
	cert, err := ca.Leaf(name, key.Public())
	if err != nil {
		return inventory.Object{}, nil, err
	}
	uid := make([]byte, 8)
	_, _ = rand.Read(uid) // never fails
	o, err := ca.insert(ctx, inventory.KindCertificate, hex.EncodeToString(uid), cert, state)
	return o, key, err
}

// IssueFirst returns the UID of the first certificate. If the store has none, it issues one, to
// have one to ask about, and writes it to the data directory.
func (ca *CA) IssueFirst(ctx context.Context, dir string) (uid string, err error) {
	certs, err := ca.store.List(ctx, inventory.KindCertificate)
	if err != nil {
		return "", err
	}
	if len(certs) > 0 {
		return certs[0].UID, nil
	}
	files, err := keyfile.NewPair(dir, First)
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("%s or %s exists, but its database does not: "+
			"restore the database, or move the files away", files.Certificate, files.Key)
	}
	if err != nil {
		return "", err
	}
	o, key, err := ca.Issue(ctx, First, ocsp.Active)
	if err != nil {
		return "", errors.Join(err, files.Remove())
	}
	text, err := keyfile.EncodeKey(key)
	if err != nil {
		return "", errors.Join(err, files.Remove())
	}
	return o.UID, files.Write(keyfile.EncodeCertificate(o.DER), text)
}

// insert stores a certificate that the CA has signed.
func (ca *CA) insert(
	ctx context.Context, kind, uid string, cert *x509.Certificate, state ocsp.State,
) (inventory.Object, error) {
	o := inventory.Object{
		UID: uid, Kind: kind, Name: cert.Subject.CommonName, IssuerUID: ca.UID, Serial: cert.SerialNumber,
		Record: ocsp.Record{State: state, NotAfter: cert.NotAfter}, DER: cert.Raw,
	}
	return o, ca.store.Insert(ctx, o)
}

// Leaf signs a certificate for the key of a TLS server or client and does not store it. The
// certificate has the URL of the responder.
func (ca *CA) Leaf(name string, key crypto.PublicKey) (*x509.Certificate, error) {
	notAfter := time.Now().Add(leafLife)
	if notAfter.After(ca.Certificate.NotAfter) {
		notAfter = ca.Certificate.NotAfter
	}
	template, err := newTemplate(name, notAfter)
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames = []string{name}
	template.OCSPServer = []string{ca.ocspURL}
	return ca.sign(template, key)
}

// newTemplate returns the template of a certificate with a random serial number of 127 bits or
// more.
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

func (ca *CA) sign(template *x509.Certificate, key crypto.PublicKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Certificate, key, ca.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
