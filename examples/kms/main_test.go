package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kmsocsp/ocsp/examples/kms/internal/api"
	"github.com/kmsocsp/ocsp/examples/kms/internal/cli"
	"github.com/kmsocsp/ocsp/examples/kms/internal/cluster"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// TestMain lets the test binary stand in for the program, which the demo runs again with a command.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		if _, ok := os.LookupEnv(cluster.AheadVariable); ok {
			run(serveReplica)
		}
		main()
	}
	code := m.Run()
	if err := stopServers(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// newKMS starts a KMS in a directory of its own, with a first certificate. The test may adjust its
// configuration.
func newKMS(t *testing.T, adjust func(*config.Config)) *kms {
	t.Helper()
	cfg := config.Default()
	if adjust != nil {
		adjust(&cfg)
	}
	k := startIn(t, t.TempDir(), cfg)
	t.Cleanup(func() {
		if err := k.close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// startIn starts a KMS in a directory, with a first certificate. The caller closes it.
func startIn(t *testing.T, dir string, cfg config.Config) *kms {
	t.Helper()
	if err := cfg.Write(dir); err != nil {
		t.Fatal(err)
	}
	k, err := open(t.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.ca.IssueFirst(t.Context(), dir); err != nil {
		t.Fatal(errors.Join(err, k.close()))
	}
	return k
}

// revoke revokes a certificate for a reason.
func revoke(t *testing.T, k *kms, uid, reason string) (inventory.Object, error) {
	t.Helper()
	c, err := inventory.Revocation(reason, time.Time{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return k.Change(t.Context(), uid, c)
}

// newServer serves a KMS and returns a client of its API.
func newServer(t *testing.T, k *kms) *api.Client {
	t.Helper()
	server := httptest.NewServer(k.handler())
	t.Cleanup(server.Close)
	return &api.Client{URL: server.URL, Token: k.cfg.Server.Token, HTTP: server.Client()}
}

// first returns the certificate that newKMS issued.
func first(t *testing.T, k *kms) inventory.Object {
	t.Helper()
	certs, err := k.store.List(t.Context(), inventory.KindCertificate)
	if err != nil || len(certs) != 1 {
		t.Fatalf("%d certificates, error %v; want one", len(certs), err)
	}
	return certs[0]
}

// ocspStatus asks the KMS about a certificate and returns the status in the verified answer.
func ocspStatus(t *testing.T, k *kms, uid string) string {
	t.Helper()
	cert, err := k.Certificate(t.Context(), uid)
	if err != nil {
		t.Fatal(err)
	}
	response, err := ocsptest.Query(k.handler(), k.ca.Certificate, cert)
	if err != nil {
		t.Fatal(err)
	}
	return map[int]string{0: "good", 1: "revoked", 2: "unknown"}[response.Status]
}

func TestDemo(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("OCSP_REQUIRE_TOOLS") == "1" {
			t.Fatal("openssl is missing, and OCSP_REQUIRE_TOOLS=1 asks for it")
		}
		t.Skip("openssl is missing")
	}
	// Under the race detector each command of the demo would wait a second before it ends.
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	var output bytes.Buffer
	if code := cli.Run(t.Context(), serve, []string{"demo"}, &output, &output); code != 0 {
		t.Fatalf("exit status %d:\n%s", code, &output)
	}
	if strings.Contains(output.String(), "FAILED") || !strings.Contains(output.String(), "checks passed") {
		t.Errorf("the demo does not pass:\n%s", &output)
	}
}

func TestDemoNeedsOpenSSL(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var output bytes.Buffer
	if code := cli.Run(t.Context(), serve, []string{"demo"}, &output, &output); code != 1 || !strings.Contains(output.String(), "openssl is not installed") {
		t.Errorf("exit status %d: %s", code, &output)
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-h"}, 0, "kms [command]"},
		{[]string{"help"}, 0, "kms [command]"},
		{[]string{"revoke", "-h"}, 0, "-reason"},
		{[]string{"bogus"}, 2, `no command "bogus"`},
		{[]string{"revoke"}, 2, "usage: kms revoke [flags] UID"},
		{[]string{"list", "-bogus"}, 2, "-bogus"},
		{[]string{"list"}, 1, "start the server first"},
		{[]string{"revoke", "-direct", "UID"}, 1, "start the server first"},
		{[]string{"revoke", "UID", "-compromised-at", "yesterday"}, 1, "-compromised-at"},
	} {
		t.Chdir(t.TempDir())
		var output bytes.Buffer
		code := cli.Run(t.Context(), serve, test.args, &output, &output)
		if code != test.code || !strings.Contains(output.String(), test.want) {
			t.Errorf("kms %s: exit status %d, want %d and %q:\n%s", strings.Join(test.args, " "), code, test.code, test.want, &output)
		}
	}
}

// TestCommands runs the commands that talk to a server.
func TestCommands(t *testing.T) {
	k := newKMS(t, nil)
	server := httptest.NewServer(k.handler())
	defer server.Close()
	cfg := k.cfg
	cfg.Server.Listen = strings.TrimPrefix(server.URL, "http://")
	if err := cfg.Write(k.dir); err != nil {
		t.Fatal(err)
	}
	uid := first(t, k).UID
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"list"}, 0, "example"},
		{[]string{"certify", "web.example"}, 0, "is Active"},
		{[]string{"certify", "later", "-pre-active"}, 0, "is PreActive"},
		{[]string{"certify", "web.example"}, 1, "choose another name"},
		{[]string{"certify", "ca"}, 1, "choose another name"},
		{[]string{"certify", "../web"}, 1, "invalid name"},
		{[]string{"activate", uid}, 1, "conflict"},
		{[]string{"destroy", uid}, 1, "revoke it first"},
		{[]string{"revoke", uid, "-reason", "bogus"}, 1, "invalid reason"},
		{[]string{"revoke", uid, "-reason", "keyCompromise", "-compromised-at", "2026-01-31T12:00:00Z"}, 0, "is Compromised, revoked at"},
		{[]string{"destroy", uid}, 0, "is DestroyedCompromised, revoked at"},
		{[]string{"revoke", "-direct", uid}, 1, "conflict"},
		{[]string{"counters"}, 0, "signatures"},
	} {
		var output bytes.Buffer
		code := cli.Run(t.Context(), serve, append(test.args, "-data", k.dir), &output, &output)
		if code != test.code || !strings.Contains(output.String(), test.want) {
			t.Errorf("kms %s: exit status %d, want %d and %q:\n%s", strings.Join(test.args, " "), code, test.code, test.want, &output)
		}
	}
	if got, err := k.store.Get(t.Context(), uid); err != nil || got.InvalidityDate.IsZero() {
		t.Errorf("compromised at %v, error %v", got.InvalidityDate, err)
	}
}

// TestLogsNoSecrets requires that the log has neither the token nor a key.
func TestLogsNoSecrets(t *testing.T) {
	var logs bytes.Buffer
	k, err := open(t.Context(), t.TempDir(), slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.close() }()
	c := newServer(t, k)
	var made api.Certificate
	if err := c.Call(t.Context(), http.MethodPost, "certificates", api.CertifyRequest{Name: "web"}, &made); err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), http.MethodPost, "certificates/"+made.UID+"/revoke", api.RevokeRequest{}, &made); err != nil {
		t.Fatal(err)
	}
	if text := logs.String(); !strings.Contains(text, made.UID) || strings.Contains(text, c.Token) || strings.Contains(text, "PRIVATE KEY") {
		t.Errorf("logged:\n%s", text)
	}
}
