package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kmip/wire"
	"github.com/kmsocsp/ocsp/ocsptest"
)

const programVariable = "KMIP_TEST_PROGRAM"

// TestMain lets the test binary stand in for the program.
func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// server is the program, and what its clients have.
type server struct {
	dir, python, kmip, ocsp string
	ca                      *ocsptest.CA
	env                     []string
}

// TestKMIP drives the program with the client of PyKMIP, over mutual TLS, and asks with openssl.
func TestKMIP(t *testing.T) {
	s := start(t)
	kmip := s.connect(t, "1_4")
	type step struct{ operation, want string } // want is what openssl prints
	register := step{"register", "good"}
	activate := step{"activate", "good"}
	destroy := step{"destroy", "revoked cessationOfOperation"}
	compromised := step{"revoke KEY_COMPROMISE", "revoked keyCompromise"}
	for name, steps := range map[string][]step{
		"key compromise": {register, activate, compromised, {"destroy", compromised.want}},
		"CA compromise":  {register, activate, {"revoke CA_COMPROMISE", "revoked cACompromise"}},
		"affiliation": {register, activate,
			{"revoke AFFILIATION_CHANGED", "revoked affiliationChanged"}},
		"superseded": {register, activate, {"revoke SUPERSEDED", "revoked superseded"}},
		"cessation": {register, activate,
			{"revoke CESSATION_OF_OPERATION", destroy.want}, destroy},
		"unspecified":        {register, activate, {"revoke UNSPECIFIED", "revoked "}},
		"destroyed unused":   {register, destroy, compromised},
		"compromised unused": {register, compromised},
		"compromised late": {register, activate,
			{"revoke SUPERSEDED", "revoked superseded"}, compromised},
	} {
		t.Run(name, func(t *testing.T) {
			cert := s.ca.Issue(ocsptest.Options{})
			uid, file := cert.SerialNumber.Text(16), s.write(t, "*.pem", "CERTIFICATE", cert.Raw)
			if got := s.openssl(t, file); got != "unknown" {
				t.Errorf("before all: %q", got)
			}
			for _, step := range steps {
				operation, reason, _ := strings.Cut(step.operation, " ")
				args := []string{operation, uid}
				if operation == "register" {
					args[1] = file
				}
				if reason != "" {
					args = append(args, reason)
				}
				if out := kmip.do(t, args...); out != uid {
					t.Fatalf("%q: %q", args, out)
				}
				if got := s.openssl(t, file); got != step.want {
					t.Errorf("after %q: %q, want %q", step.operation, got, step.want)
				}
			}
		})
	}
	t.Run("refusals", func(t *testing.T) {
		cert := s.ca.Issue(ocsptest.Options{})
		uid, file := cert.SerialNumber.Text(16), s.write(t, "*.pem", "CERTIFICATE", cert.Raw)
		stranger := ocsptest.NewCA(ocsptest.Options{}).Issue(ocsptest.Options{})
		other := s.write(t, "*.pem", "CERTIFICATE", stranger.Raw)
		for _, c := range [][]string{ // the arguments, and at the end what the client prints
			{"activate", uid, "refused: ITEM_NOT_FOUND"},
			{"register", other, "refused: INVALID_FIELD"},
			{"register", file, uid},
			{"register", file, "refused: INVALID_FIELD"},
			{"revoke", uid, "SUPERSEDED", "refused: PERMISSION_DENIED"},
			{"activate", uid, uid},
			{"activate", uid, "refused: PERMISSION_DENIED"},
			{"destroy", uid, "refused: PERMISSION_DENIED"},
			{"get", uid, "refused: OPERATION_NOT_SUPPORTED"},
		} {
			args, want := c[:len(c)-1], c[len(c)-1]
			if out := kmip.do(t, args...); out != want {
				t.Errorf("%q: %q, want %q", args, out, want)
			}
		}
		if got := s.openssl(t, file); got != "good" {
			t.Errorf("after refusals: %q", got)
		}
	})
	t.Run("a client without a certificate", func(t *testing.T) {
		roots := x509.NewCertPool()
		roots.AddCert(s.ca.Certificate)
		conn, err := tls.Dial("tcp", s.kmip, &tls.Config{RootCAs: roots})
		if err == nil { // in TLS 1.3 the refusal comes with the first read
			must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
			_, err = conn.Read(make([]byte, 1))
			must(t, conn.Close())
		}
		var refused *net.OpError
		if !errors.As(err, &refused) || refused.Op != "remote error" {
			t.Errorf("%v", err)
		}
	})
	for _, version := range []string{"1_0", "1_1", "1_2", "1_3", "2_0"} {
		t.Run(version, func(t *testing.T) {
			cert := s.ca.Issue(ocsptest.Options{})
			file := s.write(t, "*.pem", "CERTIFICATE", cert.Raw)
			if out := s.connect(t, version).do(t, "register", file); out != cert.SerialNumber.Text(16) {
				t.Error(out)
			}
		})
	}
}

// start starts the program with a CA of its own.
func start(t *testing.T) *server {
	t.Helper()
	s := &server{
		dir: t.TempDir(), kmip: freeAddress(t), ocsp: freeAddress(t),
		ca: ocsptest.NewCA(ocsptest.Options{}),
	}
	_, err := exec.LookPath("openssl")
	needs(t, "openssl", err)
	s.python, err = pyKMIP(t)
	needs(t, "python3-pykmip", err)
	s.pair(t, "ca", s.ca.Certificate, s.ca.Key)
	for _, name := range []string{"server", "client"} {
		cert, key := s.ca.IssueKey(ocsptest.Options{})
		s.pair(t, name, cert, key)
	}
	_, port, err := net.SplitHostPort(s.kmip)
	must(t, err)
	s.env = append(os.Environ(), "KMIP_PORT="+port)
	var log bytes.Buffer
	cmd := exec.Command(os.Args[0], "-kmip", s.kmip, "-ocsp", s.ocsp)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &log, &log
	cmd.Env = append(os.Environ(), programVariable+"=1")
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for _, a := range []string{s.kmip, s.ocsp} {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			conn, err := net.Dial("tcp", a)
			if err == nil {
				must(t, conn.Close())
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	return s
}

// pyKMIP returns a Python that has PyKMIP: Debian's, which PATH may not have first, or PATH's.
func pyKMIP(t *testing.T) (program string, err error) {
	for _, program = range []string{"/usr/bin/python3", "python3"} {
		if err = exec.CommandContext(t.Context(), program, "-c", "import kmip").Run(); err == nil {
			break
		}
	}
	return program, err
}

// pair writes a certificate and its key.
func (s *server) pair(t *testing.T, name string, cert *x509.Certificate, key any) {
	t.Helper()
	s.write(t, name+".pem", "CERTIFICATE", cert.Raw)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	s.write(t, name+".key", "PRIVATE KEY", der)
}

// write writes a PEM file. A star in its name stands for something new.
func (s *server) write(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(s.dir, name)
	if strings.Contains(name, "*") {
		f, err := os.CreateTemp(s.dir, name)
		must(t, err)
		must(t, f.Close())
		file = f.Name()
	}
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return file
}

// client is client.py on one connection.
type client struct {
	in  io.Writer
	out *bufio.Scanner
}

func (s *server) connect(t *testing.T, version string) *client {
	t.Helper()
	script, err := filepath.Abs("client.py")
	must(t, err)
	cmd := exec.Command(s.python, script)
	cmd.Dir, cmd.Stderr, cmd.Env = s.dir, os.Stderr, append(s.env, "KMIP_VERSION="+version)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, in.Close())
		must(t, cmd.Wait())
	})
	return &client{in, bufio.NewScanner(out)}
}

// do has the client send a request, and returns what it prints.
func (c *client) do(t *testing.T, args ...string) string {
	t.Helper()
	_, err := fmt.Fprintln(c.in, strings.Join(args, " "))
	must(t, err)
	if !c.out.Scan() {
		t.Fatalf("%q: the client has ended: %v", args, c.out.Err())
	}
	return c.out.Text()
}

// openssl asks about a certificate and returns the status, and after it the reason of a revocation.
func (s *server) openssl(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", "ocsp", "-no_nonce",
		"-issuer", filepath.Join(s.dir, "ca.pem"), "-CAfile", filepath.Join(s.dir, "ca.pem"),
		"-cert", file, "-url", "http://"+s.ocsp+"/ocsp").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("Response verify OK")) {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	_, after, _ := strings.Cut(string(out), file+": ")
	status, _, _ := strings.Cut(after, "\n")
	if status != "revoked" {
		return status
	}
	_, after, _ = strings.Cut(after, "Reason: ")
	reason, _, _ := strings.Cut(after, "\n")
	return status + " " + reason
}

// TestTimes: what comes after a revocation does not change when it was.
func TestTimes(t *testing.T) {
	k, uid := newKMS(t)
	payload := func(reason byte) []byte { return revokePayload(uid, reason) }
	for _, step := range []struct {
		operation int
		payload   []byte
	}{
		{wire.Activate, payload(0)}, {wire.Revoke, payload(5)},
		{wire.Destroy, payload(0)}, {wire.Revoke, payload(2)},
	} {
		before := k.records[uid]
		if _, err := k.do(step.operation, step.payload); err != nil {
			t.Fatal(err)
		}
		after := k.records[uid]
		if !before.RevokedAt.IsZero() && !after.RevokedAt.Equal(before.RevokedAt) {
			t.Errorf("operation %d: %v, then %v", step.operation, before.RevokedAt, after.RevokedAt)
		}
	}
	r := k.records[uid]
	if r.State != ocsp.DestroyedCompromised || r.Reason != ocsp.KeyCompromise || r.RevokedAt.IsZero() {
		t.Errorf("%+v", r)
	}
}

// TestRefusals: a request that is refused changes nothing.
func TestRefusals(t *testing.T) {
	k, uid := newKMS(t)
	before := k.records[uid]
	for name, c := range map[string]struct {
		operation int
		payload   []byte
		want      uint32
	}{
		"no reason":           {wire.Revoke, revokePayload(uid, 0), wire.InvalidField},
		"no such reason":      {wire.Revoke, revokePayload(uid, 8), wire.InvalidField},
		"no operation":        {0, revokePayload(uid, 2), wire.OperationNotSupported},
		"another's":           {wire.Activate, revokePayload("1", 0), wire.ItemNotFound},
		"nothing":             {wire.Destroy, nil, wire.ItemNotFound},
		"no certificate":      {wire.Register, nil, wire.InvalidField},
		"not after PreActive": {wire.Revoke, revokePayload(uid, 5), wire.PermissionDenied},
	} {
		_, err := k.do(c.operation, c.payload)
		var failure wire.Failure
		if !errors.As(err, &failure) || failure.Reason != c.want || k.records[uid] != before {
			t.Errorf("%s: %v, %+v", name, err, k.records[uid])
		}
	}
	if _, err := k.FindBySerial(t.Context(), "ca", big.NewInt(-1)); !errors.Is(err, ocsp.ErrNotFound) {
		t.Error(err)
	}
}

// newKMS returns a KMS with one certificate.
func newKMS(t *testing.T) (k *kms, uid string) {
	t.Helper()
	ca := ocsptest.NewCA(ocsptest.Options{})
	k = &kms{ca: ca.Certificate, records: map[string]ocsp.Record{}}
	var err error
	k.responder, err = ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{{ID: "ca", Certificate: ca.Certificate, Signer: ca.Key}}, Store: k,
	})
	must(t, err)
	t.Cleanup(func() { must(t, k.responder.Close()) })
	uid, err = k.register(ca.Issue(ocsptest.Options{}).Raw)
	must(t, err)
	return k, uid
}

func revokePayload(uid string, reason byte) []byte {
	payload := append([]byte{0x42, 0, 0x94, 7, 0, 0, 0, byte(len(uid))}, uid...)
	payload = append(payload, make([]byte, -len(uid)&7)...)
	return append(payload, 0x42, 0, 0x81, 1, 0, 0, 0, 16,
		0x42, 0, 0x82, 5, 0, 0, 0, 4, 0, 0, 0, reason, 0, 0, 0, 0)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, listener.Close())
	return listener.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// needs skips the test where a package is missing, unless that is not allowed.
func needs(t *testing.T, name string, err error) {
	t.Helper()
	if err != nil && os.Getenv("OCSP_REQUIRE_TOOLS") != "1" {
		t.Skipf("%v: apt-get install %s", err, name)
	}
	must(t, err)
}
