package main

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"math/big"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/db"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/servers"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// TestStepCA runs the program over each database: what the CA's own API issues and revokes is what
// openssl hears, and ocspcheck finds nothing wrong.
func TestStepCA(t *testing.T) {
	_, err := exec.LookPath("openssl")
	needs(t, err, exec.ErrNotFound)
	t.Run("Badger", func(t *testing.T) { testStepCA(t, badger(t)) })
	t.Run("bbolt", func(t *testing.T) { testStepCA(t, bbolt(t)) })
	t.Run("PostgreSQL", func(t *testing.T) {
		server, err := servers.PostgreSQL()
		needs(t, err, servers.ErrMissing)
		t.Cleanup(func() { check(t, server.Remove()) })
		// The CA creates the database.
		testStepCA(t, &db.Config{Type: "postgresql", DataSource: server.PostgresURL("stepca")})
	})
}

// badger is what "step ca init" sets up.
func badger(t *testing.T) *db.Config {
	return &db.Config{Type: "badgerv2", DataSource: t.TempDir()}
}

func bbolt(t *testing.T) *db.Config {
	return &db.Config{Type: "bbolt", DataSource: filepath.Join(t.TempDir(), "ca.bbolt")}
}

func testStepCA(t *testing.T, database *db.Config) {
	h := newHost(t, database)
	good, _ := h.certify(t, "good")
	if out := h.openssl(t, "-cert", good); !strings.Contains(out, good+": good\n") {
		t.Error(out)
	}
	if out := h.openssl(t, "-serial", "0x1234"); !strings.Contains(out, "0x1234: unknown\n") {
		t.Error(out)
	}

	// The answer that says good is cached, and the next one says revoked.
	var revoked string
	for _, reason := range []ocsp.Reason{ocsp.Unspecified, ocsp.KeyCompromise, ocsp.CACompromise,
		ocsp.AffiliationChanged, ocsp.Superseded, ocsp.CessationOfOperation, ocsp.CertificateHold,
		ocsp.RemoveFromCRL, ocsp.PrivilegeWithdrawn, ocsp.AACompromise} {
		file, serial := h.certify(t, reason.String())
		if out := h.openssl(t, "-no_nonce", "-cert", file); !strings.Contains(out, file+": good\n") {
			t.Errorf("%v: %s", reason, out)
		}
		h.revoke(t, serial, reason)
		der := filepath.Join(h.dir, "answer.der")
		out := h.openssl(t, "-no_nonce", "-cert", file, "-respout", der)
		if !strings.Contains(out, file+": revoked\n") {
			t.Errorf("%v: %s", reason, out)
		}
		want := reason.CRLReason()
		if reason == ocsp.RemoveFromCRL { // which is not for answers
			want = ocsp.Unspecified.CRLReason()
		}
		if got := h.reason(t, der); got != want {
			t.Errorf("%v: the reason in the answer is %d, want %d", reason, got, want)
		}
		revoked = file
	}

	var suite struct {
		Counts struct {
			Passed    int
			Normative int `json:"failed_normative"`
			Decided   int `json:"failed_decided"`
		}
		Results []struct{ ID, Title, Verdict, Detail string }
	}
	issuer := h.cfg.IntermediateCert // the URL is in the certificate
	h.ocspcheck(t, &suite, "-json", "-issuer", issuer, "-cert", good, "-revoked", revoked)
	for _, r := range suite.Results {
		if r.Verdict != "pass" && r.Verdict != "n/a" {
			t.Errorf("%+v", r)
		}
	}
	if all := len(ocsptest.ConformanceCases()); len(suite.Results) != all ||
		suite.Counts.Passed == 0 || suite.Counts.Normative+suite.Counts.Decided != 0 {
		t.Errorf("%+v of %d cases", suite.Counts, all)
	}
	var doctor struct {
		Counts struct {
			OK        int
			Normative int `json:"broken_normative"`
			Decided   int `json:"broken_decided"`
			Repaired  int
			Notes     int
		}
	}
	h.ocspcheck(t, &doctor, "doctor", "-json", "-issuer", issuer, "-cert", good)
	if c := doctor.Counts; c.OK == 0 || c.Normative+c.Decided+c.Repaired != 0 {
		t.Errorf("doctor: %+v", c)
	}

	// All of it is in the database.
	h.stop(t)
	h.start(t)
	out := h.openssl(t, "-cert", good, "-cert", revoked)
	if !strings.Contains(out, good+": good\n") || !strings.Contains(out, revoked+": revoked\n") {
		t.Error(out)
	}
}

// TestStore: what only the database says.
func TestStore(t *testing.T) {
	t.Run("Badger", func(t *testing.T) { testStore(t, badger(t)) })
	t.Run("bbolt", func(t *testing.T) { testStore(t, bbolt(t)) })
}

func testStore(t *testing.T, configuration *db.Config) {
	database, err := db.New(configuration)
	check(t, err)
	ca, other := ocsptest.NewCA(ocsptest.Options{}), ocsptest.NewCA(ocsptest.Options{})
	s := store{database.(*db.DB), ca.Certificate}
	ask := func(serial *big.Int) (ocsp.Record, error) {
		return s.FindBySerial(context.Background(), "intermediate", serial)
	}

	mine := ca.Issue(ocsptest.Options{Serial: big.NewInt(1)})
	theirs := other.Issue(ocsptest.Options{Serial: big.NewInt(2)})
	for _, cert := range []*x509.Certificate{mine, theirs} {
		check(t, s.StoreCertificate(cert))
	}
	if r, err := ask(mine.SerialNumber); err != nil || r.State != ocsp.Active ||
		!r.NotAfter.Equal(mine.NotAfter) {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := ask(theirs.SerialNumber); !errors.Is(err, ocsp.ErrNotFound) {
		t.Errorf("a certificate of another intermediate: %v", err)
	}
	for _, serial := range []*big.Int{big.NewInt(0), big.NewInt(-1), new(big.Int).Lsh(big.NewInt(1), 511)} {
		if _, err := ask(serial); !errors.Is(err, ocsp.ErrNotFound) {
			t.Errorf("%v: %v", serial, err)
		}
	}

	at := time.Now().UTC().Truncate(time.Second)
	check(t, s.Revoke(&db.RevokedCertificateInfo{Serial: "3", ReasonCode: 7, RevokedAt: at}))
	if r, err := ask(big.NewInt(3)); err != nil || r.State != ocsp.Deactivated ||
		r.Reason != ocsp.Unspecified || !r.RevokedAt.Equal(at) {
		t.Errorf("revoked for no known reason, and without a certificate: %+v, %v", r, err)
	}
	check(t, s.Set([]byte("revoked_x509_certs"), []byte("1"), []byte("garbage")))
	if _, err := ask(mine.SerialNumber); !errors.Is(err, ocsp.ErrInvalidRecord) {
		t.Errorf("a revocation that cannot be read: %v", err)
	}
	check(t, s.Set([]byte("x509_certs"), []byte("4"), []byte("garbage")))
	if _, err := ask(big.NewInt(4)); err == nil || errors.Is(err, ocsp.ErrNotFound) {
		t.Errorf("a certificate that cannot be read: %v", err)
	}
	check(t, database.Shutdown())
	if _, err := ask(mine.SerialNumber); err == nil || errors.Is(err, ocsp.ErrNotFound) {
		t.Errorf("a database that is closed: %v", err)
	}
}

// TestNoPasswordFile: the error names the flag that is missing.
func TestNoPasswordFile(t *testing.T) {
	err := run(context.Background(), "ca.json", "", "127.0.0.1:0")
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "-password-file: ") {
		t.Error(err)
	}
}

// TestNoDatabase: a CA without a database cannot answer.
func TestNoDatabase(t *testing.T) {
	none, err := db.New(nil)
	check(t, err)
	if _, err := newResponder(&config.Config{}, none, nil); err == nil ||
		!strings.Contains(err.Error(), `no "db"`) {
		t.Error(err)
	}
}
