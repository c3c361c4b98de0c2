package main

import (
	"context"
	"database/sql"
	"math/big"
	"path/filepath"
	"testing"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/ocspredis"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// TestStore requires that the KMS fulfills the contract of ocsp.CertStore, with records that other
// programs write.
func TestStore(t *testing.T) { eachStore(t, testStore) }

func testStore(t *testing.T, adjust func(*config.Config)) {
	k := newKMS(t, adjust)
	err := ocsptest.TestStore(ocsptest.StoreFixture{
		Store: k, Put: putter(t, k, inventory.KindCertificate), PutCA: putter(t, k, inventory.KindCA),
		IssuerIDs: [2]string{"ca-1", "ca-2"},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// putter returns a function that writes a record to the database of a KMS, whatever the record was
// before.
func putter(t *testing.T, k *kms, kind string) func(context.Context, string, *big.Int, ocsp.Record) error {
	t.Helper()
	var update func(ctx context.Context, uid string, r ocsp.Record) error
	switch url := k.cfg.Store.URL; config.Scheme(url) {
	case inventory.Redis:
		client, err := inventory.RedisClient(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		states, err := ocspredis.NewStore(ocspredis.Options{
			Client: client, Keys: inventory.RedisKeys(k.cfg.Replicas.SecretBytes()),
		})
		if err != nil {
			t.Fatal(err)
		}
		return func(ctx context.Context, issuerUID string, serial *big.Int, r ocsp.Record) error {
			_, err := states.Import(ctx, func(yield func(ocspredis.Certificate, error) bool) {
				yield(ocspredis.Certificate{IssuerID: issuerUID, Serial: serial, Record: r}, nil)
			}, nil)
			return err
		}
	case inventory.PostgreSQL:
		update = updater(t, "pgx", url, "UPDATE objects SET state = $1, reason = $2, revoked_at = $3 WHERE uid = $4")
	default:
		update = updater(t, "sqlite", "file:"+filepath.Join(k.dir, inventory.DatabaseFile)+"?_pragma=busy_timeout(5000)",
			"UPDATE objects SET state = ?, reason = ?, revoked_at = ? WHERE uid = ?")
	}
	return func(ctx context.Context, issuerUID string, serial *big.Int, r ocsp.Record) error {
		if r.State == ocsp.PreActive || r.State == ocsp.Active {
			r.Reason = 0 // the table has none beside a good state
		}
		uid := issuerUID + "/" + serial.Text(16)
		if _, err := k.store.Get(ctx, uid); err == nil {
			return update(ctx, uid, r)
		}
		return k.store.Insert(ctx, inventory.Object{
			UID: uid, Kind: kind, IssuerUID: issuerUID, Serial: serial, DER: []byte{}, Record: r,
		})
	}
}

// updater returns a function that overwrites the record of an object in an SQL database.
func updater(t *testing.T, driver, address, statement string) func(context.Context, string, ocsp.Record) error {
	t.Helper()
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return func(ctx context.Context, uid string, r ocsp.Record) error {
		_, err := db.ExecContext(ctx, statement, r.State.String(), r.Reason.String(),
			sql.NullInt64{Int64: r.RevokedAt.Unix(), Valid: true}, uid)
		return err
	}
}
