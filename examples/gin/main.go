// Command gin serves OCSP through a gin engine, behind a bearer token. Its CA lives as long as the process.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/kmsocsp/ocsp"
)

func main() {
	caCert, caKey, err := newCA()
	if err != nil {
		log.Fatal(err)
	}
	responder, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{{ID: "ca", Certificate: caCert, Signer: caKey}},
		Store: store{"ca": {
			"1": {State: ocsp.Active},
			"2": {State: ocsp.Compromised, RevokedAt: time.Now()},
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	caFile, err := os.CreateTemp("", "ocsp-example-ca-*.pem")
	if err != nil {
		log.Fatal(err)
	}
	if err := pem.Encode(caFile, &pem.Block{Type: "CERTIFICATE", Bytes: caCert.Raw}); err != nil {
		log.Fatal(err)
	}
	gin.SetMode(gin.ReleaseMode)
	token := rand.Text()
	fmt.Printf("Serial 1 is good, 2 revoked, any other unknown:\n  openssl ocsp -issuer %[1]s -CAfile %[1]s -serial 1 -url http://%s/ocsp -header 'Authorization=Bearer %s'\n",
		caFile.Name(), listener.Addr(), token)
	server := &http.Server{Handler: handler(responder, token), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.Serve(listener))
}

// handler mounts the responder under both forms of its path, since gin would redirect a POST from one to the
// other. Leave the engine's RemoveExtraSlash off: it would change the requests in the paths of GETs. Leave /ocsp out of
// middleware that compresses.
func handler(responder *ocsp.Responder, token string) http.Handler {
	engine := gin.New()
	engine.GET("/healthz", func(*gin.Context) {})
	protected := engine.Group("/ocsp", requireToken(token))
	protected.Any("", gin.WrapH(responder.Handler()))
	protected.Any("/*request", gin.WrapH(responder.Handler()))
	return engine
}

// requireToken returns middleware that lets requests through that carry the bearer token.
func requireToken(token string) gin.HandlerFunc {
	want := []byte("Bearer " + token)
	return func(c *gin.Context) {
		if subtle.ConstantTimeCompare([]byte(c.GetHeader("Authorization")), want) != 1 {
			c.Header("WWW-Authenticate", "Bearer")
			c.AbortWithStatus(http.StatusUnauthorized)
		}
	}
}

// store holds the records of certificates by the issuer's ID and the serial number.
type store map[string]map[string]ocsp.Record

// FindBySerial implements ocsp.CertStore.
func (s store) FindBySerial(_ context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
	record, ok := s[issuerID][serial.String()]
	if !ok {
		return ocsp.Record{}, ocsp.ErrNotFound
	}
	return record, nil
}

// newCA makes a self-signed CA.
func newCA() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Example CA"},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}
