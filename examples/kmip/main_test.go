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
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipclient"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/payloads"
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
	dir, kmip, ocsp string
	ca              *ocsptest.CA
}

// A client does what the arguments say: register FILE, activate UID, revoke UID REASON, destroy
// UID, get UID. It returns the Unique Identifier, or "refused: " and KMIP's reason.
type client interface {
	do(t *testing.T, args ...string) string
}

// TestClients drives the program with two clients, over mutual TLS, and asks with openssl.
func TestClients(t *testing.T) {
	s := start(t)
	t.Run("kmip-go", func(t *testing.T) {
		exercise(t, s, func(t *testing.T, minor int32) client { return s.kmipGo(t, minor) })
	})
	t.Run("PyKMIP", func(t *testing.T) {
		python, err := pyKMIP(t)
		needs(t, "python3-pykmip", err)
		exercise(t, s, func(t *testing.T, minor int32) client { return s.pyKMIP(t, python, minor) })
	})
	t.Run("without a certificate", func(t *testing.T) {
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
}

// exercise connects clients of KMIP 1.4, and of each version before.
func exercise(t *testing.T, s *server, connect func(t *testing.T, minor int32) client) {
	kmip := connect(t, 4)
	type step struct{ operation, want string } // want is what openssl prints
	register := step{"register", "good"}
	activate := step{"activate", "good"}
	destroy := step{"destroy", "revoked cessationOfOperation"}
	compromised := step{"revoke KEY_COMPROMISE", "revoked keyCompromise"}
	for name, steps := range map[string][]step{
		"key compromise": {register, activate, compromised, {"destroy", compromised.want}},
		"CA compromise": {register, activate, {"revoke CA_COMPROMISE", "revoked cACompromise"},
			{"destroy", "revoked cACompromise"}},
		"affiliation": {register, activate,
			{"revoke AFFILIATION_CHANGED", "revoked affiliationChanged"}},
		"superseded": {register, activate, {"revoke SUPERSEDED", "revoked superseded"},
			{"destroy", "revoked superseded"}},
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
			{"register", file, "refused: PERMISSION_DENIED"},
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
	for minor := range int32(4) {
		t.Run(fmt.Sprintf("1.%d", minor), func(t *testing.T) {
			cert := s.ca.Issue(ocsptest.Options{})
			file := s.write(t, "*.pem", "CERTIFICATE", cert.Raw)
			if out := connect(t, minor).do(t, "register", file); out != cert.SerialNumber.Text(16) {
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
	s.pair(t, "ca", s.ca.Certificate, s.ca.Key)
	for _, name := range []string{"server", "client"} {
		cert, key := s.ca.IssueKey(ocsptest.Options{})
		s.pair(t, name, cert, key)
	}
	var log bytes.Buffer
	cmd := exec.Command(os.Args[0], "-kmip", s.kmip, "-ocsp", s.ocsp)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &log, &log
	cmd.Env = append(os.Environ(), programVariable+"=1", "GORACE=halt_on_error=1")
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

// goClient is the client of kmip-go.
type goClient struct{ *kmipclient.Client }

func (s *server) kmipGo(t *testing.T, minor int32) client {
	t.Helper()
	file := func(name string) string { return filepath.Join(s.dir, name) }
	c, err := kmipclient.Dial(s.kmip, kmipclient.WithRootCAFile(file("ca.pem")),
		kmipclient.WithClientCertFiles(file("client.pem"), file("client.key")),
		kmipclient.EnforceVersion(
			kmip.ProtocolVersion{ProtocolVersionMajor: 1, ProtocolVersionMinor: minor}))
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return goClient{c}
}

// reasons has kmip-go's revocation reasons by PyKMIP's names.
var reasons = map[string]kmip.RevocationReasonCode{
	"UNSPECIFIED":            kmip.RevocationReasonCodeUnspecified,
	"KEY_COMPROMISE":         kmip.RevocationReasonCodeKeyCompromise,
	"CA_COMPROMISE":          kmip.RevocationReasonCodeCACompromise,
	"AFFILIATION_CHANGED":    kmip.RevocationReasonCodeAffiliationChanged,
	"SUPERSEDED":             kmip.RevocationReasonCodeSuperseded,
	"CESSATION_OF_OPERATION": kmip.RevocationReasonCodeCessationOfOperation,
}

// refusals has PyKMIP's names of kmip-go's result reasons.
var refusals = map[kmip.ResultReason]string{
	kmip.ResultReasonItemNotFound:          "ITEM_NOT_FOUND",
	kmip.ResultReasonInvalidField:          "INVALID_FIELD",
	kmip.ResultReasonPermissionDenied:      "PERMISSION_DENIED",
	kmip.ResultReasonOperationNotSupported: "OPERATION_NOT_SUPPORTED",
}

func (c goClient) do(t *testing.T, args ...string) string {
	t.Helper()
	var request kmip.OperationPayload
	switch args[0] {
	case "register":
		data, err := os.ReadFile(args[1])
		must(t, err)
		request = c.Register().PemCertificate(data).RequestPayload()
	case "activate":
		request = c.Activate(args[1]).RequestPayload()
	case "revoke":
		request = c.Revoke(args[1]).WithRevocationReasonCode(reasons[args[2]]).RequestPayload()
	case "destroy":
		request = c.Destroy(args[1]).RequestPayload()
	default:
		request = c.Get(args[1]).RequestPayload()
	}
	results, err := c.Batch(t.Context(), request)
	must(t, err)
	return outcome(t, results[0])
}

// outcome returns the Unique Identifier of a response, or why the request was refused.
func outcome(t *testing.T, result kmip.ResponseBatchItem) string {
	t.Helper()
	if result.ResultStatus != kmip.ResultStatusSuccess {
		if result.ResponsePayload != nil {
			t.Errorf("refused with %v", result.ResponsePayload)
		}
		return "refused: " + refusals[result.ResultReason]
	}
	switch r := result.ResponsePayload.(type) {
	case *payloads.RegisterResponsePayload:
		return r.UniqueIdentifier
	case *payloads.ActivateResponsePayload:
		return r.UniqueIdentifier
	case *payloads.RevokeResponsePayload:
		return r.UniqueIdentifier
	case *payloads.DestroyResponsePayload:
		return r.UniqueIdentifier
	}
	t.Fatalf("a response with %T", result.ResponsePayload)
	return ""
}

// pyClient is client.py on one connection.
type pyClient struct {
	in  io.Writer
	out *bufio.Scanner
}

func (s *server) pyKMIP(t *testing.T, python string, minor int32) client {
	t.Helper()
	script, err := filepath.Abs("client.py")
	must(t, err)
	_, port, err := net.SplitHostPort(s.kmip)
	must(t, err)
	cmd := exec.Command(python, script)
	cmd.Dir, cmd.Stderr = s.dir, os.Stderr
	cmd.Env = append(os.Environ(), "KMIP_PORT="+port, fmt.Sprintf("KMIP_VERSION=1_%d", minor))
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, in.Close())
		must(t, cmd.Wait())
	})
	return &pyClient{in, bufio.NewScanner(out)}
}

// do has the client send a request, and returns what it prints.
func (c *pyClient) do(t *testing.T, args ...string) string {
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

// TestTimes: what comes after a revocation does not change when it was. No operation changes the
// end of the certificate.
func TestTimes(t *testing.T) {
	k, uid := newKMS(t)
	for _, request := range []kmip.OperationPayload{
		&payloads.ActivateRequestPayload{UniqueIdentifier: uid},
		revoke(uid, kmip.RevocationReasonCodeSuperseded),
		&payloads.DestroyRequestPayload{UniqueIdentifier: uid},
		revoke(uid, kmip.RevocationReasonCodeKeyCompromise),
	} {
		before := k.records[uid]
		if _, err := k.HandleOperation(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		after := k.records[uid]
		if after.NotAfter.IsZero() || !after.NotAfter.Equal(before.NotAfter) {
			t.Errorf("%T: end %v, then %v", request, before.NotAfter, after.NotAfter)
		}
		if !before.RevokedAt.IsZero() && !after.RevokedAt.Equal(before.RevokedAt) {
			t.Errorf("%T: %v, then %v", request, before.RevokedAt, after.RevokedAt)
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
		request kmip.OperationPayload
		want    kmip.ResultReason
	}{
		"no reason":      {revoke(uid, 0), kmip.ResultReasonInvalidField},
		"no such reason": {revoke(uid, 8), kmip.ResultReasonInvalidField},
		"another's": {&payloads.ActivateRequestPayload{UniqueIdentifier: "1"},
			kmip.ResultReasonItemNotFound},
		"nothing": {&payloads.DestroyRequestPayload{}, kmip.ResultReasonItemNotFound},
		"no certificate": {&payloads.RegisterRequestPayload{Object: &kmip.Certificate{}},
			kmip.ResultReasonInvalidField},
		"a key": {&payloads.RegisterRequestPayload{Object: &kmip.SymmetricKey{}},
			kmip.ResultReasonInvalidField},
		"not after PreActive": {revoke(uid, kmip.RevocationReasonCodeSuperseded),
			kmip.ResultReasonPermissionDenied},
	} {
		response, err := k.HandleOperation(t.Context(), c.request)
		var refusal kmipserver.Error
		if !errors.As(err, &refusal) || refusal.Reason != c.want || response != nil {
			t.Errorf("%s: %v, %v", name, response, err)
		}
		if len(k.records) != 1 || k.records[uid] != before {
			t.Errorf("%s: %+v", name, k.records)
		}
	}
	if _, err := k.FindBySerial(t.Context(), "ca", big.NewInt(-1)); !errors.Is(err, ocsp.ErrNotFound) {
		t.Error(err)
	}
}

// TestConcurrent: of clients that activate a certificate at once, one does.
func TestConcurrent(t *testing.T) {
	k, uid := newKMS(t)
	var done atomic.Int32
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			request := &payloads.ActivateRequestPayload{UniqueIdentifier: uid}
			if _, err := k.HandleOperation(t.Context(), request); err == nil {
				done.Add(1)
			} else if !errors.Is(err, kmipserver.ErrPermissionDenied) {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	if n := done.Load(); n != 1 {
		t.Errorf("%d have activated it", n)
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
	cert := ca.Issue(ocsptest.Options{})
	_, err = k.HandleOperation(t.Context(), &payloads.RegisterRequestPayload{
		Object: &kmip.Certificate{
			CertificateType: kmip.CertificateTypeX_509, CertificateValue: cert.Raw,
		},
	})
	must(t, err)
	return k, cert.SerialNumber.Text(16)
}

func revoke(uid string, code kmip.RevocationReasonCode) kmip.OperationPayload {
	return &payloads.RevokeRequestPayload{
		UniqueIdentifier: uid, RevocationReason: kmip.RevocationReason{RevocationReasonCode: code},
	}
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
