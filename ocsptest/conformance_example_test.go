package ocsptest_test

import (
	"context"
	"fmt"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// A responder is judged as it is mounted.
func ExampleConformance() {
	ca, store := ocsptest.NewCA(ocsptest.Options{}), ocsptest.NewStore()
	cert := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, cert)
	responder, _ := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store})
	defer func() { _ = responder.Close() }()

	results, err := ocsptest.Conformance(context.Background(), ocsptest.Target{
		Handler: responder.Handler(), Issuer: ca.Certificate, Good: cert,
	})
	failed := 0
	for _, result := range results {
		if result.Verdict == ocsptest.Failed {
			failed++
			fmt.Println(result) // what was sent and what came back, in words and hex
		}
	}
	fmt.Println(failed, "failed", err)
	// Output: 0 failed <nil>
}
