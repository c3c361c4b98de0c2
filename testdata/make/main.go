// Command make writes the test vectors beside it: certificates, requests as openssl makes them and as it
// does not, malformed ones, and answers. Run it from the module's root:
//
//	go run ./testdata/make
//
// Keys and serials are random, so every run makes other bytes; the tests ask only what the folders promise.
package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/ocsptest"
)

const root = "testdata"

func main() {
	ca := ocsptest.NewCA(ocsptest.Options{Name: "Vector CA", NotAfter: time.Date(2126, 1, 1, 0, 0, 0, 0, time.UTC)})
	leaf, key := ca.IssueKey(ocsptest.Options{Name: "vector.test", NotAfter: time.Date(2125, 1, 1, 0, 0, 0, 0, time.UTC)})
	other := ca.Issue(ocsptest.Options{Name: "other.test"})
	writePEM("ca", "CERTIFICATE", ca.Certificate.Raw)
	writePEM("leaf", "CERTIFICATE", leaf.Raw)
	writePEM("other", "CERTIFICATE", other.Raw)

	dir, err := os.MkdirTemp("", "vectors")
	check(err)
	defer func() { check(os.RemoveAll(dir)) }()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	keyFile := filepath.Join(dir, "key.pem")
	check(os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	for name, args := range map[string]string{
		"openssl-sha1":     "-no_nonce -cert LEAF",
		"openssl-sha256":   "-no_nonce -sha256 -cert LEAF",
		"openssl-sha384":   "-no_nonce -sha384 -cert LEAF",
		"openssl-sha512":   "-no_nonce -sha512 -cert LEAF",
		"openssl-nonce":    "-nonce -cert LEAF",
		"openssl-several":  "-no_nonce -cert LEAF -sha256 -cert OTHER -serial 1",
		"openssl-signed":   "-nonce -cert LEAF -signer LEAF -signkey KEY",
		"openssl-negative": "-no_nonce -serial -1",
	} {
		args = strings.NewReplacer("LEAF", root+"/leaf.pem", "OTHER", root+"/other.pem", "KEY", keyFile).Replace(args)
		out := filepath.Join(dir, name)
		cmd := exec.Command("openssl", append([]string{"ocsp", "-issuer", root + "/ca.pem", "-reqout", out}, strings.Fields(args)...)...)
		cmd.Stderr = os.Stderr
		check(cmd.Run())
		der, err := os.ReadFile(out)
		check(err)
		writeHex("requests", name, der)
	}

	plain := ocsptest.Client{}.Request(ca.Certificate, leaf)
	var req codec.Request
	change := func(f func()) []byte {
		check(codec.ParseRequest(plain, &req, codec.ReadLimits{CertIDs: 9, Extensions: 9}))
		f()
		return codec.AppendRequest(nil, &req)
	}
	writeHex("requests", "version-given", change(func() { req.VersionGiven = true }))
	writeHex("requests", "requestor-uri", change(func() { req.RequestorName = []byte("\x86\x10http://a.example") }))
	writeHex("requests", "empty-extensions", change(func() { req.ExtensionsGiven = true }))
	writeHex("requests", "critical-nonce", change(func() {
		nonce := codec.NonceExtension(bytes.Repeat([]byte{7}, 32))
		nonce.Critical = true
		req.Extensions = []codec.Extension{nonce}
	}))
	writeHex("requests", "bare-nonce", change(func() {
		req.Extensions = []codec.Extension{{OID: codec.NonceExtension(nil).OID, Value: []byte("sixteen octets !")}}
	}))
	writeHex("requests", "no-parameters", ocsptest.Client{Hash: crypto.SHA256, NoParameters: true}.Request(ca.Certificate, leaf))

	writeHex("malformed", "trailing-octet", append(bytes.Clone(plain), 0))
	writeHex("malformed", "cut", plain[:len(plain)-1])
	writeHex("malformed", "indefinite-length", append(append([]byte{0x30, 0x80}, plain[2:]...), 0, 0))
	writeHex("malformed", "empty-list", change(func() { req.Entries = nil }))
	writeHex("malformed", "critical-unknown", change(func() { req.Extensions = []codec.Extension{{OID: []byte{0x2a, 3}, Critical: true}} }))
	writeHex("malformed", "empty-nonce", change(func() { req.Extensions = []codec.Extension{codec.NonceExtension([]byte{})} }))
	writeHex("malformed", "long-nonce", change(func() { req.Extensions = []codec.Extension{codec.NonceExtension(make([]byte, 129))} }))

	store := ocsptest.NewStore()
	store.Add(ca.ID, leaf)
	store.Revoke(ca.ID, other.SerialNumber, ocsp.KeyCompromise, time.Now())
	delegated := ca.Issuer()
	delegated.ResponderCertificate, delegated.Signer = ca.Delegate(ocsptest.Options{})
	for suffix, issuer := range map[string]ocsp.Issuer{"": ca.Issuer(), "-delegated": delegated} {
		responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: store})
		check(err)
		for name, request := range map[string][]byte{
			"good":    plain,
			"revoked": ocsptest.Client{}.Request(ca.Certificate, other),
			"unknown": ocsptest.Client{}.Request(ca.Certificate, ca.Issue(ocsptest.Options{})),
			"nonce":   ocsptest.Client{Nonce: []byte("a nonce of 22 octets !")}.Request(ca.Certificate, leaf),
			"both":    ocsptest.Client{}.Request(ca.Certificate, leaf, other),
		} {
			writeHex("responses", name+suffix, responder.Respond(context.Background(), request).DER)
		}
		check(responder.Close())
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func writePEM(name, kind string, der []byte) {
	check(os.WriteFile(filepath.Join(root, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644))
}

// writeHex writes 32 octets a line, so that a change shows where it is.
func writeHex(folder, name string, der []byte) {
	check(os.MkdirAll(filepath.Join(root, folder), 0o755))
	var text strings.Builder
	for len(der) > 0 {
		n := min(32, len(der))
		fmt.Fprintf(&text, "%s\n", hex.EncodeToString(der[:n]))
		der = der[n:]
	}
	check(os.WriteFile(filepath.Join(root, folder, name+".hex"), []byte(text.String()), 0o644))
}
