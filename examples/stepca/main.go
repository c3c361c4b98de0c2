// Command stepca is step-ca with an OCSP responder in the same process, which answers from the
// CA's own database.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/ca"
	"github.com/smallstep/certificates/db"
	"github.com/smallstep/nosql"
	"go.step.sm/crypto/kms"
	"go.step.sm/crypto/kms/apiv1"
	"go.step.sm/crypto/pemutil"

	"github.com/kmsocsp/ocsp"
)

func main() {
	passwordFile := flag.String("password-file", "", "`file` with the password of the CA's keys")
	listen := flag.String("ocsp", "127.0.0.1:8889", "`address` on which OCSP is answered")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, flag.Arg(0), *passwordFile, *listen); err != nil {
		log.Fatal("stepca: ", err)
	}
}

// run runs the CA, and the responder on a plain listener of its own, as OCSP clients expect.
func run(ctx context.Context, file, passwordFile, listen string) error {
	password, err := os.ReadFile(passwordFile)
	if err != nil {
		return fmt.Errorf("-password-file: give the file with the password of the CA's keys: %w", err)
	}
	password = bytes.TrimSpace(password)
	cfg, err := config.LoadConfiguration(file)
	if err != nil {
		return err
	}
	database, err := db.New(cfg.DB)
	if err != nil {
		return err
	}
	host, err := ca.New(cfg, ca.WithPassword(password), ca.WithDatabase(database))
	if err != nil {
		return err
	}
	responder, err := newResponder(cfg, database, password)
	if err != nil {
		return err
	}
	defer responder.Close()
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	handler := ocsp.Mount("/ocsp", responder.Handler(), nil)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() {
		_ = server.Shutdown(context.Background()) // first, since Stop closes the database
		_ = host.Stop()
	})() // if Run fails, it has stopped the CA
	go func() { log.Print("OCSP: ", server.Serve(listener)) }()
	if err := host.Run(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// newResponder returns a responder for what the CA issues. The intermediate signs the answers, with
// its key in the file or the KMS that ca.json names.
func newResponder(cfg *config.Config, authDB db.AuthDB, password []byte) (*ocsp.Responder, error) {
	database, ok := authDB.(*db.DB)
	if !ok {
		return nil, errors.New(`ca.json has no "db", and OCSP answers come from it`)
	}
	issuer, err := pemutil.ReadCertificate(cfg.IntermediateCert, pemutil.WithFirstBlock())
	if err != nil {
		return nil, err
	}
	keys, err := kms.New(context.Background(), *cmp.Or(cfg.KMS, &apiv1.Options{}))
	if err != nil {
		return nil, err
	}
	key := &apiv1.CreateSignerRequest{SigningKey: cfg.IntermediateKey, Password: password}
	signer, err := keys.CreateSigner(key)
	if err != nil {
		return nil, err
	}
	return ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{{ID: "intermediate", Certificate: issuer, Signer: signer}},
		Store:   store{database, issuer},
	})
}

// store is the CA's database as an ocsp.CertStore.
type store struct {
	*db.DB
	issuer *x509.Certificate
}

// FindBySerial implements ocsp.CertStore. A revocation counts even if the database does not have
// the certificate, such as one from before the CA had a database. Good needs the certificate.
func (s store) FindBySerial(_ context.Context, _ string, serial *big.Int) (ocsp.Record, error) {
	value, err := s.Get([]byte("revoked_x509_certs"), []byte(serial.String()))
	if err == nil {
		return revoked(value)
	}
	var cert *x509.Certificate
	if nosql.IsErrNotFound(err) {
		cert, err = s.GetCertificate(serial.String())
	}
	switch {
	case nosql.IsErrNotFound(err),
		err == nil && !bytes.Equal(cert.AuthorityKeyId, s.issuer.SubjectKeyId): // an earlier one's
		return ocsp.Record{}, ocsp.ErrNotFound
	case err != nil:
		return ocsp.Record{}, err
	}
	return ocsp.Record{State: ocsp.Active, NotAfter: cert.NotAfter}, nil
}

func revoked(value []byte) (ocsp.Record, error) {
	var info db.RevokedCertificateInfo
	if err := json.Unmarshal(value, &info); err != nil {
		return ocsp.Record{}, fmt.Errorf("%w: %w", ocsp.ErrInvalidRecord, err)
	}
	reason, err := ocsp.ReasonFromCRL(info.ReasonCode)
	if err != nil { // code 7, which step-ca accepts and RFC 5280 does not have
		reason = ocsp.Unspecified
	}
	return ocsp.Record{State: ocsp.Deactivated, Reason: reason,
		RevokedAt: info.RevokedAt, NotAfter: info.ExpiresAt}, nil
}
