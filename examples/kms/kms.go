package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/kmsocsp/ocsp"
)

// kms is the key management server without its HTTP side.
type kms struct {
	dir       string
	cfg       config
	store     store
	ca        authority
	links     links
	responder *ocsp.Responder
	counters  counters
	metrics   *metrics
	logger    *slog.Logger

	invitation invitation // to the page
}

var _ ocsp.KMS = (*kms)(nil)

// openKMS opens the data directory. The first time it makes the directory, the configuration and the CA.
func openKMS(ctx context.Context, dir string, logger *slog.Logger) (*kms, error) {
	if err := os.MkdirAll(filepath.Join(dir, keyDir), 0o700); err != nil {
		return nil, err
	}
	cfg, err := loadConfig(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := defaultConfig().write(dir); err != nil {
			return nil, err
		}
		cfg, err = loadConfig(dir)
	}
	if err != nil {
		return nil, err
	}
	k := &kms{dir: dir, cfg: cfg, logger: logger}
	if k.metrics, err = newMetrics(&k.counters); err != nil {
		return nil, err
	}
	if k.store, err = cfg.Store.open(ctx, dir, cfg.Replicas.secret()); err != nil {
		return nil, err
	}
	if err := k.setUp(ctx); err != nil {
		return nil, errors.Join(err, k.links.close(), k.store.close())
	}
	return k, nil
}

// close ends the responder before the database that it reads.
func (k *kms) close() error {
	return errors.Join(k.responder.Close(), k.links.close(), k.store.close(), k.metrics.close())
}

// setUp makes what is missing and starts the responder.
func (k *kms) setUp(ctx context.Context) error {
	if err := k.setUpCA(ctx); err != nil {
		return err
	}
	if k.cfg.CA.Delegated {
		if err := k.setUpDelegate(ctx); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(k.dir, caFile), certPEM(k.ca.cert.Raw), 0o600); err != nil {
		return err
	}
	cfg, err := k.cfg.OCSP.Config(ctx, k)
	if err != nil {
		return err
	}
	cfg.Logger, cfg.Observe = k.logger, k.observe
	if k.links, err = k.cfg.Replicas.open(&cfg.Cache); err != nil {
		return err
	}
	k.responder, err = ocsp.New(cfg)
	return err
}

// observe is for ocsp.Config.Observe.
func (k *kms) observe(ctx context.Context, event ocsp.Event) {
	k.counters.observe(ctx, event)
	k.metrics.Observe(ctx, event)
}

// setUpCA loads the CA. It makes one only if the database has none, so that a mistyped ca_uid is an error.
func (k *kms) setUpCA(ctx context.Context) error {
	uid, path := k.cfg.OCSP.CAUID, keyFile(k.dir, kindCA)
	cas, err := k.store.list(ctx, kindCA)
	if err != nil {
		return err
	}
	if len(cas) == 0 {
		return k.makeCA(ctx, uid, path)
	}
	if cas[0].uid != uid {
		return fmt.Errorf("[ocsp] ca_uid = %q: the CA in the database is %q: use that", uid, cas[0].uid)
	}
	key, err := loadKey(path)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(cas[0].der)
	k.ca = authority{uid, cert, key}
	return err
}

func (k *kms) makeCA(ctx context.Context, uid, path string) error {
	key, err := loadOrMakeKey(path, k.cfg.CA.KeyType)
	if err != nil {
		return err
	}
	if k.ca, err = newAuthority(uid, k.cfg.CA.Name, key); err != nil {
		return err
	}
	return k.store.insert(ctx, k.issued(kindCA, uid, k.ca.cert, ocsp.Active))
}

// setUpDelegate makes the delegated responder's certificate if it is not there yet.
func (k *kms) setUpDelegate(ctx context.Context) error {
	uid := k.cfg.OCSP.ResponderUID
	if _, err := k.store.get(ctx, uid); !errors.Is(err, errNotFound) {
		return err
	}
	key, err := loadOrMakeKey(keyFile(k.dir, kindResponder), k.cfg.CA.KeyType)
	if err != nil {
		return err
	}
	cert, err := k.ca.delegate(key.Public())
	if err != nil {
		return err
	}
	return k.store.insert(ctx, k.issued(kindResponder, uid, cert, ocsp.Active))
}

// issued describes a certificate that the CA has signed.
func (k *kms) issued(kind, uid string, cert *x509.Certificate, state ocsp.State) object {
	return object{
		uid: uid, kind: kind, name: cert.Subject.CommonName, issuerUID: k.ca.uid, serial: cert.SerialNumber,
		state: state, notAfter: cert.NotAfter, der: cert.Raw,
	}
}

// FindBySerial implements ocsp.CertStore. It reads the database each time, so it sees what other processes
// have written.
func (k *kms) FindBySerial(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
	k.counters.storeReads.Add(1)
	o, err := k.store.bySerial(ctx, issuerID, serial)
	if errors.Is(err, errNotFound) {
		return ocsp.Record{}, ocsp.ErrNotFound
	}
	if err != nil {
		return ocsp.Record{}, err
	}
	return o.record(), nil
}

// Certificate implements ocsp.KMS.
func (k *kms) Certificate(ctx context.Context, uid string) (*x509.Certificate, error) {
	o, err := k.store.get(ctx, uid)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(o.der)
}

// Signer implements ocsp.KMS. Only the keys of the CA and its delegate are kept.
func (k *kms) Signer(ctx context.Context, uid string) (crypto.Signer, error) {
	o, err := k.store.get(ctx, uid)
	if err != nil {
		return nil, err
	}
	if o.kind == kindCertificate {
		return nil, fmt.Errorf("%s is a %s, whose key is not kept", uid, o.kind)
	}
	key, err := loadKey(keyFile(k.dir, o.kind))
	if err != nil {
		return nil, err
	}
	return countingSigner{key, &k.counters}, nil
}

// names are common names that are DNS labels or dotted names and safe as file names.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,62}[A-Za-z0-9]$|^[A-Za-z0-9]$`)

func checkName(name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("%w name %q: use up to 64 letters, digits, dots and hyphens, the first and last no dot or hyphen", errInvalid, name)
	}
	return nil
}

// certify issues a certificate and returns it with its new key, which is not kept. What could not be stored is
// not handed out: OCSP would not know it.
func (k *kms) certify(ctx context.Context, name string, state ocsp.State) (object, crypto.Signer, error) {
	if err := checkName(name); err != nil {
		return object{}, nil, err
	}
	key, err := newKey("ecdsa-p256")
	if err != nil {
		return object{}, nil, err
	}
	cert, err := k.ca.leaf(name, k.cfg.ocspURL(), key.Public())
	if err != nil {
		return object{}, nil, err
	}
	uid := make([]byte, 8)
	_, _ = rand.Read(uid) // never fails
	o := k.issued(kindCertificate, hex.EncodeToString(uid), cert, state)
	if err := k.store.insert(ctx, o); err != nil {
		return object{}, nil, err
	}
	k.logger.InfoContext(ctx, "certified", "uid", o.uid, "name", name, "state", state)
	return o, key, nil
}

// change changes a certificate's state and makes the responder forget what it said about it.
func (k *kms) change(ctx context.Context, uid string, c change) (object, error) {
	o, err := k.store.apply(ctx, uid, c)
	if err != nil {
		return object{}, err
	}
	k.logger.InfoContext(ctx, "changed", "uid", uid, "state", o.state, "reason", o.reason)
	// The change stands whatever becomes of this, and every answer reads the database unless status_ttl_secs
	// is set.
	if err := k.responder.Invalidate(context.WithoutCancel(ctx), o.issuerUID, o.serial); err != nil {
		k.logger.ErrorContext(ctx, "answers from before the change may be served until status_ttl_secs have passed", "uid", uid, "error", err)
	}
	return o, nil
}

// revoke revokes a certificate.
func (k *kms) revoke(ctx context.Context, uid, reason string, compromisedAt time.Time) (object, error) {
	c, err := revocation(reason, compromisedAt, time.Now())
	if err != nil {
		return object{}, err
	}
	return k.change(ctx, uid, c)
}
