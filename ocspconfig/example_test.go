package ocspconfig_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"strings"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspconfig"
	"github.com/kmsocsp/ocsp/ocsptest"
)

var (
	exampleCA   = ocsptest.NewCA(ocsptest.Options{})
	exampleLeaf = exampleCA.Issue(ocsptest.Options{})
)

type exampleKMS struct{ *ocsptest.Store }

func (exampleKMS) Certificate(context.Context, string) (*x509.Certificate, error) {
	return exampleCA.Certificate, nil
}

func (exampleKMS) Signer(context.Context, string) (crypto.Signer, error) { return exampleCA.Key, nil }

// The [ocsp] block of a configuration file and the KMS are enough. The decoder must be strict, or a
// mistyped key is silently the default.
func ExampleNew() {
	kms := exampleKMS{ocsptest.NewStore()}
	kms.Add("0a1b", exampleLeaf)
	decode := func(file string) (ocspconfig.Settings, error) {
		var config struct {
			OCSP ocspconfig.Settings `json:"ocsp"`
		}
		decoder := json.NewDecoder(strings.NewReader(file))
		decoder.DisallowUnknownFields()
		err := decoder.Decode(&config)
		return config.OCSP, err
	}
	settings, err := decode(`{"ocsp": {"enabled": true, "ca_uid": "0a1b", "cache_ttl_secs": 3600}}`)
	if err != nil {
		log.Fatal(err)
	}
	responder, err := ocspconfig.New(context.Background(), settings, kms)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = responder.Close() }()
	answer, err := ocsptest.Query(responder.Handler(), exampleCA.Certificate, exampleLeaf)
	fmt.Println(answer.Status == xocsp.Good, answer.NextUpdate.Sub(answer.ThisUpdate), err)

	_, err = decode(`{"ocsp": {"enabled": true, "ca_uid": "0a1b", "fail_close": true}}`)
	fmt.Println(err)
	_, err = ocspconfig.New(context.Background(), ocspconfig.Settings{Enabled: true, CAUID: "0a1b", SignatureAlgorithm: "Ed25519"}, kms)
	fmt.Println(err)
	fmt.Println(ocspconfig.Settings{Enabled: true, Nonce: "maybe"}.Validate())
	// Output:
	// true 59m59s <nil>
	// json: unknown field "fail_close"
	// ocspconfig: signature_algorithm = "Ed25519": the key of ca_uid = "0a1b" cannot safely sign with it: leave it out or use one of ECDSA-SHA256, ECDSA-SHA384, ECDSA-SHA512
	// ocspconfig: ca_uid = "": give the uid of the CA certificate to answer for
	// ocspconfig: nonce = "maybe": use "echo", "echo-bare", "ignore", "require", or leave it out
}

// Options set what a file cannot say: here, who watches the answers.
func ExampleNew_options() {
	kms := exampleKMS{ocsptest.NewStore()}
	kms.Add("0a1b", exampleLeaf)
	settings := ocspconfig.Settings{Enabled: true, CAUID: "0a1b"}
	responder, err := ocspconfig.New(context.Background(), settings, kms, func(c *ocsp.Config) {
		c.Observe = func(_ context.Context, e ocsp.Event) { fmt.Println(e.Method, e.Outcome, e.First.Status) }
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = responder.Close() }()
	_, err = ocsptest.Query(responder.Handler(), exampleCA.Certificate, exampleLeaf)
	fmt.Println(err)
	// Output:
	// POST signed good
	// <nil>
}
