package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/ca"
	"github.com/kmsocsp/ocsp/examples/kms/internal/cli"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/examples/kms/internal/keyfile"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// TestRestart requires that a second start opens what the first one made, and makes nothing again.
func TestRestart(t *testing.T) {
	for _, delegated := range []bool{false, true} {
		cfg := config.Default()
		cfg.CA.Delegated = delegated
		dir := t.TempDir()
		before := startIn(t, dir, cfg)
		revoked, _, err := before.Certify(t.Context(), "web", ocsp.Active)
		if err != nil {
			t.Fatal(err)
		}
		if revoked, err = revoke(t, before, revoked.UID, "superseded"); err != nil {
			t.Fatal(err)
		}
		if err := before.close(); err != nil {
			t.Fatal(err)
		}
		after, err := open(t.Context(), dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := after.ca.IssueFirst(t.Context(), dir); err != nil {
			t.Error(err)
		}
		if !after.ca.Certificate.Equal(before.ca.Certificate) {
			t.Error("the CA is another one")
		}
		if got := ocspStatus(t, after, revoked.UID); got != "revoked" {
			t.Errorf("OCSP says %s, want revoked", got)
		}
		list, err := after.store.List(t.Context(), inventory.KindCertificate)
		if err != nil || len(list) != 2 || ocspStatus(t, after, list[0].UID) != "good" {
			t.Errorf("certificates %v, error %v; want the first one, good, and the revoked one", list, err)
		}
		if err := after.close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDelegate(t *testing.T) {
	k := newKMS(t, func(cfg *config.Config) { cfg.CA.Delegated = true })
	cert, err := k.Certificate(t.Context(), first(t, k).UID)
	if err != nil {
		t.Fatal(err)
	}
	response, err := ocsptest.Query(k.handler(), k.ca.Certificate, cert)
	if err != nil {
		t.Fatal(err)
	}
	if response.Certificate == nil || response.Certificate.Equal(k.ca.Certificate) {
		t.Error("the answer is not the delegate's")
	}
}

func TestFileModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg := config.Default()
	cfg.CA.Delegated = true
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	k := startIn(t, dir, cfg)
	defer func() { _ = k.close() }()
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		files = append(files, entry.Name())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{config.File, inventory.DatabaseFile, inventory.DatabaseFile + "-wal", ca.File, "ca.key", "responder.key", "example.key"} {
		if !strings.Contains(strings.Join(files, " "), want) {
			t.Errorf("there is no %s among %v", want, files)
		}
	}
}

// TestFirstStart requires that the first start creates the directory, for its owner alone.
func TestFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	k, err := open(t.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.close() }()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	uid, err := k.ca.IssueFirst(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var hints bytes.Buffer
	cli.PrintHints(&hints, dir, k.cfg, k.page.Invite(), uid)
	for _, want := range []string{"openssl ocsp -issuer " + dir, "-url http://127.0.0.1:8080/ocsp/", first(t, k).UID, "http://127.0.0.1:8080/metrics"} {
		if !strings.Contains(hints.String(), want) {
			t.Errorf("the hints lack %q:\n%s", want, &hints)
		}
	}
	if strings.Contains(hints.String(), k.cfg.Server.Token) {
		t.Error("the hints reveal the token")
	}
}

func TestMistypedCAUID(t *testing.T) {
	k := newKMS(t, nil)
	cfg := k.cfg
	cfg.OCSP.CAUID = "ac"
	if err := cfg.Write(k.dir); err != nil {
		t.Fatal(err)
	}
	if other, err := open(t.Context(), k.dir, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a KMS without its CA started")
		_ = other.close()
	} else if !strings.Contains(err.Error(), `ca_uid = "ac"`) {
		t.Errorf("the error %v does not name the uid", err)
	}
}

// TestLostKey requires that a lost key is an error, and is not replaced.
func TestLostKey(t *testing.T) {
	k := newKMS(t, nil)
	if err := os.Remove(keyfile.Path(k.dir, inventory.KindCA)); err != nil {
		t.Fatal(err)
	}
	if other, err := open(t.Context(), k.dir, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a KMS without its CA's key started")
		_ = other.close()
	} else if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "ca.key") {
		t.Errorf("error %v, want one that names the missing file", err)
	}
}

// TestSecondHandle: what is written through another handle of the database shows in the very next
// answer, although a good one is cached.
func TestSecondHandle(t *testing.T) { eachStore(t, testSecondHandle) }

func testSecondHandle(t *testing.T, adjust func(*config.Config)) {
	k := newKMS(t, adjust)
	uid := first(t, k).UID
	other, err := inventory.Open(t.Context(), k.cfg.Store.URL, k.dir, k.cfg.Replicas.SecretBytes())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	for range 2 {
		if got := ocspStatus(t, k, uid); got != "good" {
			t.Fatalf("OCSP says %s, want good", got)
		}
	}
	c, err := inventory.Revocation("superseded", time.Time{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Apply(t.Context(), uid, c); err != nil {
		t.Fatal(err)
	}
	if got := ocspStatus(t, k, uid); got != "revoked" {
		t.Errorf("OCSP says %s, want revoked", got)
	}
}

// lossyStore makes changes and loses the replies.
type lossyStore struct{ inventory.Store }

func (s lossyStore) Apply(
	ctx context.Context, uid string, c inventory.Change,
) (inventory.Object, error) {
	o, err := s.Get(ctx, uid)
	if err != nil {
		return inventory.Object{}, err
	}
	_, err = s.Store.Apply(ctx, uid, c)
	return o, errors.Join(errors.New("the connection broke"), err)
}

// TestChangeWithoutReply requires that a change shows at once that was made without a reply of the
// store, although statuses are trusted for an hour, and also one that a second attempt finds made.
func TestChangeWithoutReply(t *testing.T) {
	k := newKMS(t, func(cfg *config.Config) { cfg.OCSP.StatusTTLSecs = 3600 })
	uid, store := first(t, k).UID, k.store
	for _, test := range []struct {
		change inventory.Change
		by     inventory.Store // nil: another process makes it first
		want   string
	}{
		{inventory.Change{Action: inventory.Hold}, lossyStore{store}, "revoked"},
		{inventory.Change{Action: inventory.Release}, lossyStore{store}, "good"},
		{inventory.Change{Action: inventory.Compromise, Reason: ocsp.KeyCompromise}, nil, "revoked"},
	} {
		before := ocspStatus(t, k, uid)
		if test.by != nil {
			k.store = test.by
		} else if _, err := store.Apply(t.Context(), uid, test.change); err != nil {
			t.Fatal(err)
		}
		if got := ocspStatus(t, k, uid); got != before {
			t.Errorf("%s before it: OCSP says %s, want %s, which is trusted",
				test.change.Action, got, before)
		}
		if _, err := k.Change(t.Context(), uid, test.change); err == nil {
			t.Errorf("%s: no error", test.change.Action)
		}
		k.store = store
		if got := ocspStatus(t, k, uid); got != test.want {
			t.Errorf("%s: OCSP says %s, want %s", test.change.Action, got, test.want)
		}
	}
}

// TestRace requires that concurrent changes of a certificate do not undo its compromise.
func TestRace(t *testing.T) { eachStore(t, testRace) }

func testRace(t *testing.T, adjust func(*config.Config)) {
	k := newKMS(t, adjust)
	other, err := inventory.Open(t.Context(), k.cfg.Store.URL, k.dir, k.cfg.Replicas.SecretBytes())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	for range 20 {
		o, _, err := k.Certify(t.Context(), "web", ocsp.PreActive)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := revoke(t, k, o.UID, "keyCompromise"); err != nil {
				t.Error(err)
			}
		})
		for _, a := range []inventory.Action{inventory.Activate, inventory.Revoke, inventory.Destroy} {
			wg.Go(func() {
				if _, err := other.Apply(t.Context(), o.UID, inventory.Change{Action: a}); err != nil && !errors.Is(err, inventory.ErrConflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got, err := k.store.Get(t.Context(), o.UID)
		if err != nil || got.State != ocsp.Compromised && got.State != ocsp.DestroyedCompromised {
			t.Errorf("state %v, error %v", got.State, err)
		}
	}
}

// TestForeignSerials: serial numbers that this CA cannot have issued are unknown, even where their
// octets are those of one that it has.
func TestForeignSerials(t *testing.T) {
	k := newKMS(t, nil)
	serial := first(t, k).Serial
	for _, other := range []*big.Int{new(big.Int).Neg(serial), new(big.Int), new(big.Int).Add(serial, big.NewInt(1))} {
		if _, err := k.FindBySerial(t.Context(), k.ca.UID, other); !errors.Is(err, ocsp.ErrNotFound) {
			t.Errorf("serial %v: %v, want ErrNotFound", other, err)
		}
	}
	if _, err := k.FindBySerial(t.Context(), "other", serial); !errors.Is(err, ocsp.ErrNotFound) {
		t.Errorf("another issuer: %v, want ErrNotFound", err)
	}
}

func TestRequireAuth(t *testing.T) {
	k := newKMS(t, func(cfg *config.Config) { cfg.OCSP.RequireAuth = true })
	cert, err := k.Certificate(t.Context(), first(t, k).UID)
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "POST"} {
		client := ocsptest.Client{Handler: k.handler(), Method: method}
		result, err := client.Send(t.Context(), client.Request(k.ca.Certificate, cert))
		if err != nil || result.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without the token: %v, error %v; want 401", method, result.StatusCode, err)
		}
		client.Header = http.Header{"Authorization": {"Bearer " + k.cfg.Server.Token}}
		result, err = client.Query(t.Context(), k.ca.Certificate, cert)
		if err != nil || result.Responses[0].Status != xocsp.Good {
			t.Errorf("%s with the token: error %v; want good", method, err)
		}
	}
}

func TestDisabled(t *testing.T) {
	for _, requireAuth := range []bool{false, true} {
		k := newKMS(t, func(cfg *config.Config) { cfg.OCSP.Enabled, cfg.OCSP.RequireAuth = false, requireAuth })
		c := newServer(t, k)
		c.Token = ""
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "PUT"} {
			for _, path := range []string{"/ocsp", "/ocsp/", "/ocsp/MEowSDBGMEQwQg=="} {
				if code, _ := send(t, c, method, path, ""); code != http.StatusNotFound {
					t.Errorf("%s %s: %d, want 404", method, path, code)
				}
			}
		}
		if _, err := revoke(t, k, first(t, k).UID, ""); err != nil {
			t.Errorf("the KMS does not work without OCSP: %v", err)
		}
	}
}

// TestKeyTypes requires that the other key types sign too.
func TestKeyTypes(t *testing.T) {
	for _, keyType := range []string{"ecdsa-p384", "rsa-2048"} {
		k := newKMS(t, func(cfg *config.Config) { cfg.CA.KeyType = keyType })
		if got := ocspStatus(t, k, first(t, k).UID); got != "good" {
			t.Errorf("%s: OCSP says %s, want good", keyType, got)
		}
	}
}
