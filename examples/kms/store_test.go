package main

import (
	"context"
	"database/sql"
	"errors"
	"math/big"
	"testing"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspredis"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// The table keeps the contract of ocsp.CertStore.
func TestStore(t *testing.T) { eachStore(t, testStore) }

func testStore(t *testing.T, adjust func(*config)) {
	k := newKMS(t, adjust)
	put := func(kind string) func(context.Context, string, *big.Int, ocsp.Record) error {
		return func(ctx context.Context, issuerUID string, serial *big.Int, r ocsp.Record) error {
			if s, ok := k.store.(*redisStore); ok {
				_, err := s.states.Import(ctx, func(yield func(ocspredis.Certificate, error) bool) {
					yield(ocspredis.Certificate{IssuerID: issuerUID, Serial: serial, Record: r}, nil)
				}, nil)
				return err
			}
			if r.State == ocsp.PreActive || r.State == ocsp.Active {
				r.Reason = 0 // the table has none beside a good state
			}
			uid := issuerUID + "/" + serial.Text(16)
			if _, err := k.store.get(ctx, uid); errors.Is(err, errNotFound) {
				return k.store.insert(ctx, object{
					uid: uid, kind: kind, issuerUID: issuerUID, serial: serial, der: []byte{},
					state: r.State, reason: r.Reason, revokedAt: r.RevokedAt, compromisedAt: r.CompromisedAt, notAfter: r.NotAfter,
				})
			}
			table := k.store.(*sqlStore)
			_, err := table.db.ExecContext(ctx, table.bind("UPDATE objects SET state = ?, reason = ?, revoked_at = ? WHERE uid = ?"),
				r.State.String(), r.Reason.String(), sql.NullInt64{Int64: r.RevokedAt.Unix(), Valid: true}, uid)
			return err
		}
	}
	err := ocsptest.TestStore(ocsptest.StoreFixture{
		Store: k, Put: put(kindCertificate), PutCA: put(kindCA), IssuerIDs: [2]string{"ca-1", "ca-2"},
	})
	if err != nil {
		t.Fatal(err)
	}
}
