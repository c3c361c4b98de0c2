// Command kmip is a small KMIP server: its clients register, activate, revoke and destroy
// certificates, and the next OCSP answer says so. Its memory lasts as long as the process.
package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"log"
	"math/big"
	"net/http"
	"sync"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kmip/wire"
)

func main() {
	kmipAddress := flag.String("kmip", "127.0.0.1:5696", "`address` for KMIP, over mutual TLS")
	ocspAddress := flag.String("ocsp", "127.0.0.1:8080", "`address` for OCSP, over plain HTTP")
	flag.Parse()
	ca, err := tls.LoadX509KeyPair("ca.pem", "ca.key") // signs the answers
	check(err)
	own, err := tls.LoadX509KeyPair("server.pem", "server.key")
	check(err)

	k := &kms{ca: ca.Leaf, records: map[string]ocsp.Record{}}
	k.responder, err = ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{{ID: "ca", Certificate: ca.Leaf, Signer: ca.PrivateKey.(crypto.Signer)}},
		Store:   k,
		Cache:   ocsp.CacheOptions{StatusTTL: time.Hour}, // or until Invalidate
	})
	check(err)
	handler := ocsp.Mount("/ocsp", k.responder.Handler(), nil)
	server := &http.Server{Addr: *ocspAddress, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { check(server.ListenAndServe()) }()

	clients := x509.NewCertPool()
	clients.AddCert(ca.Leaf)
	listener, err := tls.Listen("tcp", *kmipAddress, &tls.Config{
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: clients,
	})
	check(err)
	for {
		conn, err := listener.Accept()
		check(err)
		go func() { _ = wire.Serve(conn, k.do) }()
	}
}

func check(err error) {
	if err != nil {
		log.Fatal("kmip: ", err)
	}
}

// kms has the certificates of one CA. It is the KMIP server, and an ocsp.CertStore.
type kms struct {
	ca        *x509.Certificate
	responder *ocsp.Responder

	mu      sync.Mutex
	records map[string]ocsp.Record // by Unique Identifier: the serial number in hex
}

// FindBySerial implements ocsp.CertStore.
func (k *kms) FindBySerial(_ context.Context, _ string, serial *big.Int) (ocsp.Record, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if record, ok := k.records[serial.Text(16)]; ok {
		return record, nil
	}
	return ocsp.Record{}, ocsp.ErrNotFound
}

// put stores a record, and has the next answer say so before the KMIP client hears of it.
func (k *kms) put(uid string, record ocsp.Record) (string, error) {
	k.records[uid] = record
	serial, _ := new(big.Int).SetString(uid, 16)
	return uid, k.responder.Invalidate(context.Background(), "ca", serial)
}

const compromise = 0 // Revoke because of KeyCompromise or CACompromise

// transitions are those of KMIP 1.4 section 3.22.
var transitions = map[int]map[ocsp.State]ocsp.State{
	wire.Activate: {ocsp.PreActive: ocsp.Active},
	wire.Revoke:   {ocsp.Active: ocsp.Deactivated},
	compromise: {ocsp.PreActive: ocsp.Compromised, ocsp.Active: ocsp.Compromised,
		ocsp.Deactivated: ocsp.Compromised, ocsp.Destroyed: ocsp.DestroyedCompromised},
	wire.Destroy: {ocsp.PreActive: ocsp.Destroyed, ocsp.Deactivated: ocsp.Destroyed,
		ocsp.Compromised: ocsp.DestroyedCompromised},
}

// do executes an operation on the object with a Unique Identifier.
func (k *kms) do(operation int, payload []byte) (uid string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch operation {
	case wire.Register:
		return k.register(wire.Find(payload, wire.Certificate, wire.CertificateValue))
	case wire.Activate, wire.Revoke, wire.Destroy:
	default:
		return "", wire.Fail(wire.OperationNotSupported, "not an operation of this server")
	}
	uid = string(wire.Find(payload, wire.UniqueIdentifier))
	record, ok := k.records[uid]
	if !ok {
		return "", wire.Fail(wire.ItemNotFound, "no such certificate")
	}
	if operation == wire.Revoke {
		code := wire.Number(wire.Find(payload, wire.RevocationReason, wire.RevocationReasonCode))
		if record.Reason, err = ocsp.ReasonFromKMIP(code); err != nil {
			return "", wire.Fail(wire.InvalidField, err.Error())
		}
		if record.Reason == ocsp.KeyCompromise || record.Reason == ocsp.CACompromise {
			operation = compromise
		}
	}
	next, ok := transitions[operation][record.State]
	if !ok {
		return "", wire.Fail(wire.PermissionDenied, "not in the state "+record.State.String())
	}
	if record.State = next; next > ocsp.Active && record.RevokedAt.IsZero() {
		record.RevokedAt = time.Now()
	}
	return k.put(uid, record)
}

// register adds a certificate of the CA.
func (k *kms) register(der []byte) (string, error) {
	cert, err := x509.ParseCertificate(der)
	if err == nil {
		err = cert.CheckSignatureFrom(k.ca)
	}
	if err != nil {
		return "", wire.Fail(wire.InvalidField, err.Error())
	}
	uid := cert.SerialNumber.Text(16)
	if _, ok := k.records[uid]; ok {
		return "", wire.Fail(wire.InvalidField, "the certificate is registered")
	}
	return k.put(uid, ocsp.Record{State: ocsp.PreActive, NotAfter: cert.NotAfter})
}
