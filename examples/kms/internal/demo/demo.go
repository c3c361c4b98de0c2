// Package demo shows what the example KMS promises, with the machine's openssl as the client, and
// checks it.
package demo

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/ca"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/counters"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
)

// scenario is a kind of CA to show.
type scenario struct {
	title string
	ca    config.CA
}

// Run shows and checks everything in a temporary directory.
func Run(ctx context.Context, out io.Writer) error {
	if _, err := exec.LookPath("openssl"); err != nil {
		return fmt.Errorf("demo: openssl is not installed, or not in the PATH: %w", err)
	}
	dir, err := os.MkdirTemp("", "kms-demo-")
	if err != nil {
		return err
	}
	d := &demo{out: out}
	err = d.all(ctx, dir)
	if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if d.failed > 0 {
		return fmt.Errorf("demo: %d of %d checks failed", d.failed, d.checks)
	}
	fmt.Fprintf(d.out, "\ndemo: %d checks passed\n", d.checks)
	return nil
}

// all shows each scenario in a directory of its own, and then what a disabled responder answers.
func (d *demo) all(ctx context.Context, root string) error {
	for i, s := range []scenario{
		{"an ECDSA CA", config.CA{KeyType: "ecdsa-p256", Name: "Demo ECDSA CA"}},
		{"an RSA CA", config.CA{KeyType: "rsa-2048", Name: "Demo RSA CA"}},
		{"a delegated responder", config.CA{KeyType: "ecdsa-p256", Name: "Demo CA", Delegated: true}},
	} {
		d.dir = filepath.Join(root, fmt.Sprint(i+1))
		cfg := config.Default()
		cfg.CA = s.ca
		if err := d.with(ctx, s.title, cfg, func() error { return d.walk(ctx, s.ca.Delegated) }); err != nil {
			return err
		}
	}
	cfg, err := config.Load(d.dir)
	if err != nil {
		return err
	}
	cfg.OCSP.Enabled = false
	return d.with(ctx, "the same KMS with enabled = false", cfg, func() error { return d.disabled(ctx) })
}

// walk shows the life of two certificates.
func (d *demo) walk(ctx context.Context, delegated bool) error {
	if err := d.good(ctx, delegated); err != nil {
		return err
	}
	if err := d.cached(ctx); err != nil {
		return err
	}
	if err := d.revoked(ctx, ca.First, "keyCompromise"); err != nil {
		return err
	}
	fmt.Fprintln(d.out, "\n# A second certificate, whose revocation another process writes into the database. The server is not told.")
	if _, err := d.kms(ctx, "certify", "second"); err != nil {
		return err
	}
	output, err := d.query(ctx, "second.pem", "-no_nonce")
	if err != nil {
		return err
	}
	d.check("the status is good", contains(output, "second.pem: good"))
	if err := d.revoked(ctx, "second", "superseded", "-direct"); err != nil {
		return err
	}
	return d.unknown(ctx)
}

func (d *demo) good(ctx context.Context, delegated bool) error {
	fmt.Fprintln(d.out, "\n# An active certificate. openssl sends a nonce, and would warn if it did not come back.")
	output, err := d.query(ctx, ca.First+".pem")
	if err != nil {
		return err
	}
	d.check("the signature verifies", contains(output, "Response verify OK"))
	d.check("the status is good", contains(output, ca.First+".pem: good"))
	d.check("the nonce is echoed", !strings.Contains(output, "WARNING: no nonce"))
	if !delegated {
		return nil
	}
	if output, err = d.query(ctx, ca.First+".pem", "-resp_text"); err != nil {
		return err
	}
	d.check("the answer carries the delegate's certificate", contains(output, "OCSP Signing"))
	return nil
}

func (d *demo) cached(ctx context.Context) error {
	fmt.Fprintln(d.out, "\n# Twice without a nonce: the second answer costs no signature, but still reads the database.")
	if _, err := d.query(ctx, ca.First+".pem", "-no_nonce"); err != nil {
		return err
	}
	before, err := d.counters(ctx)
	if err != nil {
		return err
	}
	output, err := d.query(ctx, ca.First+".pem", "-no_nonce")
	if err != nil {
		return err
	}
	after, err := d.counters(ctx)
	if err != nil {
		return err
	}
	d.check("the signature verifies", contains(output, "Response verify OK"))
	d.check("no signature was made", before.Signatures > 0 && after.Signatures == before.Signatures)
	d.check("the database was read", after.StoreReads == before.StoreReads+1)
	return nil
}

// revoked revokes the certificate in NAME.pem, for which a good answer is cached, and asks at once.
func (d *demo) revoked(ctx context.Context, name, reason string, flags ...string) error {
	fmt.Fprintln(d.out, "\n# Revoked. The good answer from before is still in the cache.")
	uid, err := d.uid(ctx, name)
	if err != nil {
		return err
	}
	if _, err := d.kms(ctx, append([]string{"revoke", uid, "-reason", reason}, flags...)...); err != nil {
		return err
	}
	output, err := d.query(ctx, name+".pem", "-no_nonce")
	if err != nil {
		return err
	}
	o, err := d.store.Get(ctx, uid)
	if err != nil {
		return err
	}
	d.check("the signature verifies", contains(output, "Response verify OK"))
	d.check("the status is revoked", contains(output, name+".pem: revoked"))
	d.check("the reason is "+reason, contains(output, "Reason: "+reason))
	d.check("the time is the database's", contains(output, "Revocation Time: "+o.RevokedAt.Format("Jan _2 15:04:05 2006 GMT")))
	return nil
}

func (d *demo) unknown(ctx context.Context) error {
	fmt.Fprintln(d.out, "\n# A serial number that was never issued.")
	output, err := d.ask(ctx, "-serial", "0x1234")
	if err != nil {
		return err
	}
	d.check("the signature verifies", contains(output, "Response verify OK"))
	d.check("the status is unknown", contains(output, "0x1234: unknown"))
	return nil
}

// disabled shows that OCSP paths answer 404. The request is one that openssl makes.
func (d *demo) disabled(ctx context.Context) error {
	if _, err := d.run(ctx, "openssl", "ocsp", "-issuer", ca.File, "-cert", ca.First+".pem", "-no_nonce", "-reqout", "request.der"); err != nil {
		return err
	}
	request, err := os.ReadFile(filepath.Join(d.dir, "request.der"))
	if err != nil {
		return err
	}
	path := "/ocsp/" + base64.StdEncoding.EncodeToString(request)
	for _, route := range []struct{ method, path string }{
		{http.MethodGet, "/ocsp"}, {http.MethodGet, "/ocsp/"}, {http.MethodGet, path}, {http.MethodHead, path},
		{http.MethodPost, "/ocsp"}, {http.MethodPost, "/ocsp/"}, {http.MethodOptions, "/ocsp"}, {http.MethodOptions, "/ocsp/"},
	} {
		code, err := d.status(ctx, route.method, route.path, request)
		if err != nil {
			return err
		}
		d.check("the code is 404", code == http.StatusNotFound)
	}
	return nil
}

// counters runs the command counters.
func (d *demo) counters(ctx context.Context) (counters.Snapshot, error) {
	output, err := d.kms(ctx, "counters")
	if err != nil {
		return counters.Snapshot{}, err
	}
	var s counters.Snapshot
	err = json.Unmarshal([]byte(output), &s)
	return s, err
}

// uid returns the uid of the Active certificate with that name.
func (d *demo) uid(ctx context.Context, name string) (string, error) {
	list, err := d.store.List(ctx, inventory.KindCertificate)
	if err != nil {
		return "", err
	}
	for _, o := range list {
		if o.Name == name && o.State == ocsp.Active {
			return o.UID, nil
		}
	}
	return "", fmt.Errorf("no active certificate has the name %s", name)
}
