package ocsp_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// What a KMS has: a CA, its key and a table of certificates.
var (
	exampleCA    = ocsptest.NewCA(ocsptest.Options{})
	exampleLeaf  = exampleCA.Issue(ocsptest.Options{})
	exampleTable = map[string]ocsp.Record{exampleLeaf.SerialNumber.String(): {State: ocsp.Active}}
)

// A responder for one CA, mounted on a mux. Mount stands before the mux because http.ServeMux would redirect
// the GETs whose base64 contains two slashes in a row.
func Example() {
	store := ocsp.CertStoreFunc(func(_ context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
		record, ok := exampleTable[serial.String()]
		if !ok || issuerID != "ca-uid" {
			return ocsp.Record{}, ocsp.ErrNotFound
		}
		return record, nil
	})
	responder, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{{ID: "ca-uid", Certificate: exampleCA.Certificate, Signer: exampleCA.Key}},
		Store:   store,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = responder.Close() }()

	mux := http.NewServeMux() // the KMS's own
	handler := ocsp.Mount("/ocsp", responder.Handler(), mux)

	answer, err := ocsptest.Query(handler, exampleCA.Certificate, exampleLeaf)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Status == xocsp.Good, answer.NextUpdate.Sub(answer.ThisUpdate))
	// Output: true 23h59m59s
}

// A mux that cleans paths answers a GET whose base64 contains two slashes in a row with a redirect, which loses
// one. Mount takes such requests before the mux sees them.
func ExampleMount() {
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{exampleCA.Issuer()}, Store: ocsptest.NewStore()})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = responder.Close() }()
	mux := http.NewServeMux()
	mux.Handle("GET /health", http.NotFoundHandler())

	root := ocsp.Mount("/ocsp", responder.Handler(), mux)
	for _, path := range []string{"/ocsp//", "/health"} {
		rec := httptest.NewRecorder()
		root.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Println(path, rec.Code, rec.Header().Get("Content-Type"))
	}
	// Output:
	// /ocsp// 200 application/ocsp-response
	// /health 404 text/plain; charset=utf-8
}

// Respond is for callers without HTTP: it takes and returns DER, and says what the answer says.
func ExampleResponder_Respond() {
	store := ocsptest.NewStore()
	store.Add(exampleCA.ID, exampleLeaf)
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{exampleCA.Issuer()}, Store: store})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = responder.Close() }()
	answer := responder.Respond(context.Background(), ocsptest.Client{}.Request(exampleCA.Certificate, exampleLeaf))
	fmt.Println(answer.Outcome, answer.Responses[0].Status, answer.Cacheable)

	answer = responder.Respond(context.Background(), []byte("not a request"))
	fmt.Printf("%v %x\n", answer.Outcome, answer.DER)
	// Output:
	// signed good true
	// malformedRequest 30030a0101
}

// SetIssuer replaces a delegated responder before its certificate ends. Answers begun after it returned are signed
// with the new key.
func ExampleResponder_SetIssuer() {
	issuer := exampleCA.Issuer()
	issuer.ResponderCertificate, issuer.Signer = exampleCA.Delegate(ocsptest.Options{Name: "responder 1"})
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: ocsptest.NewStore()})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = responder.Close() }()

	issuer.ResponderCertificate, issuer.Signer = exampleCA.Delegate(ocsptest.Options{Name: "responder 2"})
	if err := responder.SetIssuer(issuer); err != nil {
		log.Fatal(err)
	}
	answer, err := ocsptest.Query(responder.Handler(), exampleCA.Certificate, exampleLeaf)
	fmt.Println(answer.Certificate.Subject.CommonName, err)

	issuer.Signer = exampleCA.Key // a mistake changes nothing
	fmt.Println(responder.SetIssuer(issuer))
	// Output:
	// responder 2 <nil>
	// ocsp: issuer "Test CA": the field ResponderCertificate is for another key than the signer's: give the key of this certificate, or the certificate of this key
}

// A host that issues delegates learns from CheckDelegate what New would refuse or warn of, before it uses one.
func ExampleCheckDelegate() {
	issuer := exampleCA.Issuer()
	issuer.ResponderCertificate, _ = exampleCA.Delegate(ocsptest.Options{Adjust: func(template *x509.Certificate) {
		template.DNSNames = []string{"ocsp.example"}
		template.KeyUsage = x509.KeyUsageKeyEncipherment
	}})
	for _, finding := range ocsp.CheckDelegate(issuer, ocsp.ProfilePrivate) {
		fmt.Println(finding)
	}

	issuer.ResponderCertificate, _ = exampleCA.Delegate(ocsptest.Options{})
	fmt.Println(len(ocsp.CheckDelegate(issuer, ocsp.ProfileCABF)))
	// Output:
	// refused: the certificate has a key usage without digitalSignature, so clients may refuse what it signs: reissue it with that usage (RFC 5280 section 4.2.1.3)
	// warning: the certificate has a subject alternative name, so it may be taken for a server's or a person's: reissue it without that (RFC 6960 section 4.2.2.2)
	// 0
}

// After a revocation has been stored, the very next answer says revoked. Invalidate is needed only with a
// CacheOptions.StatusTTL, but never does harm.
func ExampleResponder_Invalidate() {
	store := ocsptest.NewStore()
	store.Add(exampleCA.ID, exampleLeaf)
	responder, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{exampleCA.Issuer()},
		Store:   store,
		Cache:   ocsp.CacheOptions{StatusTTL: time.Minute},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = responder.Close() }()
	status := func() ocsp.Status {
		request := ocsptest.Client{}.Request(exampleCA.Certificate, exampleLeaf)
		return responder.Respond(context.Background(), request).Responses[0].Status
	}

	fmt.Println(status())
	store.Revoke(exampleCA.ID, exampleLeaf.SerialNumber, ocsp.KeyCompromise, time.Now())
	if err := responder.Invalidate(context.Background(), exampleCA.ID, exampleLeaf.SerialNumber); err != nil {
		log.Fatal(err)
	}
	fmt.Println(status())
	// Output:
	// good
	// revoked
}

// The signer's key may live anywhere: NewSigner makes a crypto.Signer of a call to it.
func ExampleNewSigner() {
	remote := exampleCA.Key // stands for a remote KMS
	issuer := ocsp.Issuer{
		ID:          "ca-uid",
		Certificate: exampleCA.Certificate,
		Signer: ocsp.NewSigner(exampleCA.Certificate.PublicKey, func(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
			return remote.Sign(nil, digest, opts)
		}),
	}
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: ocsptest.NewStore()})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = responder.Close() }()
	answer, err := ocsptest.Query(responder.Handler(), exampleCA.Certificate, exampleLeaf)
	fmt.Println(answer.Status == xocsp.Unknown, err)
	// Output: true <nil>
}
