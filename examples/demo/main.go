// Command demo shows the library at work with the machine's openssl as the client. It is the
// smallest KMS that there can be: a CA and the states of its certificates, in memory.
//
// It exits with status 1 if openssl reports anything but what it should.
package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp"
)

func main() {
	serve := flag.String("serve", "", "an `address` to serve at afterwards, such as 127.0.0.1:8080")
	flag.Parse()
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "ocsp-demo-")
	if err == nil {
		err = errors.Join(run(ctx, os.Stdout, dir, *serve), os.RemoveAll(dir))
	}
	if err != nil {
		log.Fatal("demo: ", err)
	}
}

// A kms has the states of certificates by their serial numbers. It is the ocsp.CertStore.
type kms struct {
	mu     sync.Mutex
	states map[string]ocsp.Record
}

// FindBySerial implements ocsp.CertStore.
func (k *kms) FindBySerial(_ context.Context, _ string, serial *big.Int) (ocsp.Record, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	record, ok := k.states[serial.String()]
	if !ok {
		return ocsp.Record{}, ocsp.ErrNotFound
	}
	return record, nil
}

// set changes the state of a certificate.
func (k *kms) set(serial int, record ocsp.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.states[fmt.Sprint(serial)] = record
}

// A counter is a signer that counts its signatures.
type counter struct {
	crypto.Signer
	signatures atomic.Int64
}

func (c *counter) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	c.signatures.Add(1)
	return c.Signer.Sign(r, digest, opts)
}

// run demonstrates, in a directory for files, and then serves until ctx ends if there is an address.
func run(ctx context.Context, out io.Writer, dir, serve string) error {
	if _, err := exec.LookPath("openssl"); err != nil {
		return fmt.Errorf("openssl is the client here: install it, and run this again: %w", err)
	}
	caCert, caKey, err := newCA(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return err
	}
	store, signer := &kms{states: map[string]ocsp.Record{}}, &counter{Signer: caKey}
	responder, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{{ID: "ca", Certificate: caCert, Signer: signer}},
		Store:   store,
	})
	if err != nil {
		return err
	}
	defer responder.Close()
	address := serve
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           ocsp.Mount("/ocsp", responder.Handler(), http.NotFoundHandler()),
		ReadHeaderTimeout: 5 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer server.Close()

	c := &client{out: out, dir: dir, url: "http://" + listener.Addr().String() + "/ocsp"}
	now := time.Now()
	for _, step := range []struct {
		text   string
		serial int
		change *ocsp.Record
		want   []string
		cached bool
	}{
		{"A certificate is issued, and not yet activated: good.", 1,
			&ocsp.Record{State: ocsp.PreActive}, []string{"1: good"}, false},
		{"It is activated: good.", 1, &ocsp.Record{State: ocsp.Active}, []string{"1: good"}, true},
		{"Its key is compromised. A good answer is in the cache, and no client gets it any more.", 1,
			&ocsp.Record{State: ocsp.Compromised, RevokedAt: now},
			[]string{"1: revoked", "Reason: keyCompromise"}, false},
		{"Asked again: the cached answer, without a signature.", 1, nil,
			[]string{"1: revoked", "Reason: keyCompromise"}, true},
		{"Another one is deactivated.", 2, &ocsp.Record{State: ocsp.Deactivated, RevokedAt: now},
			[]string{"2: revoked", "Reason: cessationOfOperation"}, false},
		{"And destroyed: it stays revoked.", 2, &ocsp.Record{State: ocsp.Destroyed, RevokedAt: now},
			[]string{"2: revoked", "Reason: cessationOfOperation"}, true},
		{"A serial number that this CA never issued.", 3, nil, []string{"3: unknown"}, false},
	} {
		fmt.Fprintf(out, "\n# %s\n", step.text)
		if step.change != nil {
			store.set(step.serial, *step.change)
		}
		before := signer.signatures.Load()
		output, err := c.ask(ctx, step.serial)
		if err != nil {
			return err
		}
		for _, want := range append([]string{"Response verify OK"}, step.want...) {
			c.check(strings.Contains(output, want), "openssl did not print "+want)
		}
		c.check(step.cached == (signer.signatures.Load() == before),
			fmt.Sprintf("served from the cache: %t", !step.cached))
	}
	if c.failed > 0 {
		return fmt.Errorf("%d of %d checks failed", c.failed, c.checks)
	}
	fmt.Fprintf(out, "\ndemo: good, revoked and unknown, as it should be: %d checks passed\n", c.checks)
	if serve == "" {
		return nil
	}
	fmt.Fprintf(out, "demo: serving %s; the files are in %s\n", c.url, dir)
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		return nil
	}
}

// A client asks with openssl.
type client struct {
	out            io.Writer
	dir, url       string
	checks, failed int
}

// ask asks about a serial number, and shows the command and what it prints.
func (c *client) ask(ctx context.Context, serial int) (string, error) {
	args := []string{"ocsp", "-issuer", "ca.pem", "-CAfile", "ca.pem", "-serial", fmt.Sprint(serial),
		"-no_nonce", "-url", c.url}
	fmt.Fprintln(c.out, "$ openssl", strings.Join(args, " "))
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, "openssl", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, &output, &output
	err := cmd.Run()
	fmt.Fprint(c.out, output.String())
	return output.String(), err
}

// check counts a check, and shows it if it failed.
func (c *client) check(ok bool, problem string) {
	c.checks++
	if !ok {
		c.failed++
		fmt.Fprintln(c.out, "FAILED:", problem)
	}
}

// newCA makes a self-signed CA, and writes its certificate to a file.
func newCA(file string) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Demo CA"},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().AddDate(0, 0, 7),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(file, block, 0o644); err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}
