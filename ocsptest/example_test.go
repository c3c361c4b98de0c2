package ocsptest_test

import (
	"errors"
	"fmt"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

var errRevoked = errors.New("certificate is revoked")

// checkPeer is what a KMS developer wants to test: it refuses a peer whose certificate is revoked.
func checkPeer(answer *xocsp.Response) error {
	if answer.Status != xocsp.Good {
		return errRevoked
	}
	return nil
}

// A test that a revoked certificate is refused.
func Example() {
	ca, store := ocsptest.NewCA(ocsptest.Options{}), ocsptest.NewStore()
	cert := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, cert)
	responder, _ := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store})
	defer func() { _ = responder.Close() }()

	before, _ := ocsptest.Query(responder.Handler(), ca.Certificate, cert)
	store.Revoke(ca.ID, cert.SerialNumber, ocsp.KeyCompromise, time.Now())
	after, _ := ocsptest.Query(responder.Handler(), ca.Certificate, cert)
	fmt.Println(checkPeer(before), "/", checkPeer(after))
	// Output: <nil> / certificate is revoked
}

// A store that fails is an error to the client, unless an answer about the certificate is cached: that
// stands in after a second of failures, without ocsp.CacheOptions.FailClosed.
func ExampleFault() {
	ca, store := ocsptest.NewCA(ocsptest.Options{}), ocsptest.NewStore()
	cert := ca.Issue(ocsptest.Options{})
	responder, _ := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store})
	defer func() { _ = responder.Close() }()

	store.SetFault(ocsptest.Fail)
	_, err := ocsptest.Query(responder.Handler(), ca.Certificate, cert)
	fmt.Println(err)
	// Output: ocsp: error from server: try later
}
