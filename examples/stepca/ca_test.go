package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/smallstep/certificates/api"
	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/authority/provisioner"
	"github.com/smallstep/certificates/ca"
	"github.com/smallstep/certificates/cas/apiv1"
	"github.com/smallstep/certificates/db"
	"github.com/smallstep/certificates/pki"
	"github.com/smallstep/cli-utils/step"
	"go.step.sm/crypto/pemutil"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

const (
	password        = "a password of the CA's keys"
	provisionerName = "admin"
	programVariable = "STEPCA_TEST_PROGRAM"
)

// TestMain lets the test binary stand in for the program. The files of a CA are below a folder that
// all tests share, since package pki knows only one.
func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		main()
		return
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "stepca")
		if err == nil {
			defer func() { _ = os.RemoveAll(dir) }()
			err = os.Setenv(step.PathEnv, dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// host is a CA of a test: the program, and what a user of it has.
type host struct {
	dir    string
	cfg    *config.Config
	ocsp   string // where the responder listens
	client *ca.Provisioner
	cmd    *exec.Cmd
	log    bytes.Buffer
}

// files are those of the one CA, made as "step ca init" does.
var files = sync.OnceValues(func() (*pki.PKI, error) {
	p, err := pki.New(apiv1.Options{Type: apiv1.SoftCAS, IsCreator: true},
		pki.WithProvisioner(provisionerName))
	if err != nil {
		return nil, err
	}
	root, err := p.GenerateRootCertificate("Test Root", "Test", "test", []byte(password))
	if err != nil {
		return nil, err
	}
	return p, errors.Join(
		p.GenerateIntermediateCertificate("Test CA", "Test", "test", root, []byte(password)),
		p.GenerateKeyPairs([]byte(password)),
		p.WriteFiles(),
	)
})

// newHost configures the CA for a database, and starts the program. The CA's template puts the
// responder's URL into certificates.
func newHost(t *testing.T, database *db.Config) *host {
	t.Helper()
	p, err := files()
	check(t, err)
	h := &host{dir: t.TempDir(), ocsp: freeAddress(t)}
	h.cfg, err = p.GenerateConfig()
	check(t, err)
	h.cfg.Address, h.cfg.DB = freeAddress(t), database
	template, err := os.ReadFile("leaf.tpl")
	check(t, err)
	file := filepath.Join(h.dir, "leaf.tpl")
	template = bytes.ReplaceAll(template, []byte("ocsp.example"), []byte(h.ocsp))
	check(t, os.WriteFile(file, template, 0o600))
	h.cfg.AuthorityConfig.Provisioners[0].(*provisioner.JWK).Options = &provisioner.Options{
		X509: &provisioner.X509Options{TemplateFile: file},
	}
	check(t, h.cfg.Save(filepath.Join(h.dir, "ca.json")))
	check(t, os.WriteFile(filepath.Join(h.dir, "password.txt"), []byte(password+"\n"), 0o600))
	h.start(t)
	h.client, err = ca.NewProvisioner(provisionerName, "", "https://"+h.cfg.Address,
		[]byte(password), ca.WithRootFile(h.cfg.Root.First()))
	check(t, err)
	return h
}

// start starts the program, and stops it at the end of the test.
func (h *host) start(t *testing.T) {
	t.Helper()
	h.cmd = exec.Command(os.Args[0], "-ocsp", h.ocsp, "-password-file", "password.txt", "ca.json")
	h.cmd.Dir, h.cmd.Stdout, h.cmd.Stderr = h.dir, &h.log, &h.log
	h.cmd.Env = append(os.Environ(), programVariable+"=1", "GORACE=atexit_sleep_ms=0")
	check(t, h.cmd.Start())
	t.Cleanup(func() { h.stop(t) })
	for _, address := range []string{h.cfg.Address, h.ocsp} {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				check(t, conn.Close())
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
}

// stop ends the program with the signal that init systems send.
func (h *host) stop(t *testing.T) {
	t.Helper()
	if h.cmd == nil {
		return
	}
	check(t, h.cmd.Process.Signal(syscall.SIGTERM))
	err := h.cmd.Wait()
	h.cmd = nil
	if err != nil || t.Failed() {
		t.Errorf("%v\n%s", err, h.log.String())
	}
}

// certify has the CA issue a certificate, and returns the name of its file.
func (h *host) certify(t *testing.T, name string) (file, serial string) {
	t.Helper()
	h.client.SetAudience("https://" + h.cfg.Address + "/1.0/sign")
	token, err := h.client.Token(name)
	check(t, err)
	request, _, err := ca.CreateSignRequest(token)
	check(t, err)
	response, err := h.client.Sign(request)
	check(t, err)
	cert := response.ServerPEM.Certificate
	file = filepath.Join(h.dir, name+".pem")
	_, err = pemutil.Serialize(cert, pemutil.ToFile(file, 0o600))
	check(t, err)
	if want := "http://" + h.ocsp + "/ocsp"; len(cert.OCSPServer) != 1 || cert.OCSPServer[0] != want {
		t.Errorf("OCSP URLs in the certificate: %q, want %q", cert.OCSPServer, want)
	}
	return file, cert.SerialNumber.String()
}

// revoke has the CA revoke a certificate.
func (h *host) revoke(t *testing.T, serial string, reason ocsp.Reason) {
	t.Helper()
	h.client.SetAudience("https://" + h.cfg.Address + "/1.0/revoke")
	token, err := h.client.Token(serial)
	check(t, err)
	_, err = h.client.Revoke(&api.RevokeRequest{
		Serial: serial, OTT: token, ReasonCode: reason.CRLReason(), Passive: true,
	}, nil)
	check(t, err)
}

// openssl asks with the client of OpenSSL, which verifies the answer, and returns what it prints.
func (h *host) openssl(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"ocsp", "-issuer", h.cfg.IntermediateCert, "-CAfile",
		h.cfg.Root.First(), "-url", "http://" + h.ocsp + "/ocsp"}, args...)
	out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("Response verify OK")) {
		t.Errorf("openssl %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// reason returns the reason code in the answer of a file. OpenSSL has no names for the last two.
func (h *host) reason(t *testing.T, file string) int {
	t.Helper()
	issuer, err := pemutil.ReadCertificate(h.cfg.IntermediateCert)
	check(t, err)
	der, err := os.ReadFile(file)
	check(t, err)
	answers, err := ocsptest.Parse(der, issuer)
	check(t, err)
	return answers[0].RevocationReason
}

// ocspcheck runs the program ocspcheck, and decodes its report.
func (h *host) ocspcheck(t *testing.T, report any, args ...string) {
	t.Helper()
	program := filepath.Join(h.dir, "ocspcheck")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/ocspcheck")
	build.Dir = filepath.Join("..", "..") // its module
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("ocspcheck %q: %v\n%s%s", args, err, out, &stderr)
	}
	if err := json.Unmarshal(out, report); err != nil {
		t.Errorf("ocspcheck %q: %v\n%s", args, err, out)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	check(t, listener.Close())
	return listener.Addr().String()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// needs skips the test where a tool is missing, unless that is not allowed.
func needs(t *testing.T, err, missing error) {
	t.Helper()
	if errors.Is(err, missing) && os.Getenv("OCSP_REQUIRE_TOOLS") != "1" {
		t.Skip(err)
	}
	check(t, err)
}
