// Command stapling serves TLS twice with certificates of a private CA in the process: once with
// certmagic, which fetches its staples from the responder over HTTP and replaces a certificate that
// is revoked, and once with what Responder.Staple returns, without a network.
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log"
	"math/big"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// authority is the private CA, a certmagic.Issuer. A real one keeps its key and its store.
type authority struct {
	*ocsptest.CA
	store *ocsptest.Store
	url   string // of the responder
}

// IssuerKey implements certmagic.Issuer.
func (ca *authority) IssuerKey() string { return "private" }

// Issue implements certmagic.Issuer. The store has the certificate before anybody can ask.
func (ca *authority) Issue(
	_ context.Context, csr *x509.CertificateRequest,
) (*certmagic.IssuedCertificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, DNSNames: csr.DNSNames, OCSPServer: []string{ca.url},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(30 * 24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Certificate, csr.PublicKey, ca.Key)
	if err != nil {
		return nil, err
	}
	ca.store.Set(ca.ID, serial, ocsp.Record{State: ocsp.Active, NotAfter: template.NotAfter})
	var chain []byte // to the CA, by which certmagic asks
	for _, der := range [][]byte{der, ca.Certificate.Raw} {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return &certmagic.IssuedCertificate{Certificate: chain}, nil
}

// manage returns the TLS configuration of certmagic, which looks at its staples every interval and
// asks again when half of an answer's validity has passed.
func manage(
	ctx context.Context, issuer certmagic.Issuer, dir, name string, interval time.Duration,
) (*tls.Config, error) {
	var config *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		OCSPCheckInterval: interval,
		GetConfigForCert:  func(certmagic.Certificate) (*certmagic.Config, error) { return config, nil },
	})
	context.AfterFunc(ctx, cache.Stop)
	config = certmagic.New(cache, certmagic.Config{
		Issuers: []certmagic.Issuer{issuer}, Storage: &certmagic.FileStorage{Path: dir},
	})
	return config.TLSConfig(), config.ManageSync(ctx, []string{name})
}

// stapler has a certificate with its staple. Handshakes take what is there and wait for nothing.
type stapler struct {
	responder *ocsp.Responder
	current   atomic.Pointer[tls.Certificate]
}

// GetCertificate is for tls.Config.
func (s *stapler) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.current.Load(), nil
}

// refresh staples a new answer. If there is none, the old one stays until its nextUpdate.
func (s *stapler) refresh(ctx context.Context) error {
	cert := *s.current.Load()
	der, err := s.responder.Staple(ctx, cert.Leaf)
	if err != nil {
		old, invalid := xocsp.ParseResponse(cert.OCSPStaple, nil)
		if invalid == nil && time.Now().Before(old.NextUpdate) {
			return err
		}
	}
	cert.OCSPStaple = der
	s.current.Store(&cert)
	return err
}

// run refreshes every interval. Until the refresh point of an answer that costs no signature.
func (s *stapler) run(ctx context.Context, interval time.Duration) {
	for ctx.Err() == nil {
		if err := s.refresh(ctx); err != nil {
			log.Printf("stapling: %v", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(interval):
		}
	}
}

func main() {
	ctx, dir := context.Background(), must(os.MkdirTemp("", "stapling"))
	store, url := ocsptest.NewStore(), "127.0.0.1:8891"
	ca := &authority{ocsptest.NewCA(ocsptest.Options{}), store, "http://" + url}
	responder := must(ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Validity: time.Hour,
	}))
	go func() { log.Fatal(http.ListenAndServe(url, responder.Handler())) }()
	managed := must(manage(ctx, ca, dir, "magic.example", time.Minute))
	leaf, key := ca.IssueKey(ocsptest.Options{Name: "own.example"})
	store.Add(ca.ID, leaf)
	own := &stapler{responder: responder}
	own.current.Store(&tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf})
	go own.run(ctx, time.Minute)
	log.Print("openssl s_client -status -connect 127.0.0.1:8892 -servername magic.example")
	log.Print("openssl s_client -status -connect 127.0.0.1:8893 -servername own.example")
	magic := &http.Server{Addr: "127.0.0.1:8892", TLSConfig: managed}
	go func() { log.Fatal(magic.ListenAndServeTLS("", "")) }()
	tlsConfig := &tls.Config{GetCertificate: own.GetCertificate}
	log.Fatal((&http.Server{Addr: "127.0.0.1:8893", TLSConfig: tlsConfig}).ListenAndServeTLS("", ""))
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
