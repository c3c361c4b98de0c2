// Command kmip is a small KMIP server: its clients register, activate, revoke and destroy
// certificates, and the next OCSP answer says so. Its memory lasts as long as the process.
package main

import (
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"log"
	"math/big"
	"net/http"
	"sync"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/payloads"
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
	server := &http.Server{Addr: *ocspAddress, ReadHeaderTimeout: 5 * time.Second,
		Handler: ocsp.Mount("/ocsp", k.responder.Handler(), nil)}
	go func() { check(server.ListenAndServe()) }()

	clients := x509.NewCertPool()
	clients.AddCert(ca.Leaf)
	listener, err := tls.Listen("tcp", *kmipAddress, &tls.Config{Certificates: []tls.Certificate{own},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients})
	check(err)
	executor := kmipserver.NewBatchExecutor()
	for operation := range transitions {
		executor.Route(operation, k)
	}
	check(kmipserver.NewServer(listener, executor).Serve())
}

func check(err error) {
	if err != nil {
		log.Fatal("kmip: ", err)
	}
}

// kms has the certificates of one CA. It executes KMIP's operations, and is an ocsp.CertStore.
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

// transitions are those of KMIP 1.4 section 3.22. State 0 is that of no certificate.
var transitions = map[kmip.Operation]map[ocsp.State]ocsp.State{
	kmip.OperationRegister: {0: ocsp.PreActive},
	kmip.OperationActivate: {ocsp.PreActive: ocsp.Active},
	kmip.OperationRevoke:   {ocsp.Active: ocsp.Deactivated},
	kmip.OperationDestroy: {ocsp.PreActive: ocsp.Destroyed, ocsp.Deactivated: ocsp.Destroyed,
		ocsp.Compromised: ocsp.DestroyedCompromised},
}

// compromised are those of Revoke for KeyCompromise or CACompromise.
var compromised = map[ocsp.State]ocsp.State{ocsp.PreActive: ocsp.Compromised,
	ocsp.Active: ocsp.Compromised, ocsp.Deactivated: ocsp.Compromised,
	ocsp.Destroyed: ocsp.DestroyedCompromised}

// HandleOperation implements kmipserver.OperationHandler, for the operations of transitions.
func (k *kms) HandleOperation(_ context.Context, request kmip.OperationPayload) (
	response kmip.OperationPayload, err error) {
	uid, change, allowed := "", ocsp.Record{}, transitions[request.Operation()]
	switch r := request.(type) {
	case *payloads.RegisterRequestPayload:
		uid, change.NotAfter, err = k.parse(r.Object)
		response = &payloads.RegisterResponsePayload{UniqueIdentifier: uid}
	case *payloads.ActivateRequestPayload:
		uid = r.UniqueIdentifier
		response = &payloads.ActivateResponsePayload{UniqueIdentifier: uid}
	case *payloads.RevokeRequestPayload:
		uid = r.UniqueIdentifier
		response = &payloads.RevokeResponsePayload{UniqueIdentifier: uid}
		change.Reason, err = ocsp.ReasonFromKMIP(uint32(r.RevocationReason.RevocationReasonCode))
		if change.Reason == ocsp.KeyCompromise || change.Reason == ocsp.CACompromise {
			allowed = compromised
		}
	case *payloads.DestroyRequestPayload:
		uid = r.UniqueIdentifier
		response = &payloads.DestroyResponsePayload{UniqueIdentifier: uid}
	}
	if err != nil {
		return nil, kmipserver.Errorf(kmip.ResultReasonInvalidField, "%v", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	record := k.records[uid]
	next, ok := allowed[record.State]
	if !ok && record.State == 0 {
		return nil, kmipserver.ErrItemNotFound
	}
	if !ok {
		return nil, kmipserver.ErrPermissionDenied
	}
	if next > ocsp.Active && record.RevokedAt.IsZero() {
		record.RevokedAt = time.Now()
	}
	record.State, record.Reason = next, cmp.Or(change.Reason, record.Reason)
	record.NotAfter = cmp.Or(record.NotAfter, change.NotAfter)
	k.records[uid] = record
	serial, _ := new(big.Int).SetString(uid, 16)
	// The next answer has the change before the client hears of it, or if it hangs up.
	return response, k.responder.Invalidate(context.Background(), "ca", serial)
}

// parse returns the Unique Identifier and the end of a certificate of the CA.
func (k *kms) parse(object kmip.Object) (uid string, notAfter time.Time, err error) {
	if object, ok := object.(*kmip.Certificate); ok {
		if cert, err := object.X509Certificate(); err == nil {
			return cert.SerialNumber.Text(16), cert.NotAfter, cert.CheckSignatureFrom(k.ca)
		}
	}
	return "", notAfter, errors.New("not an X.509 certificate")
}
