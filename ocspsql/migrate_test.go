package ocspsql_test

import (
	"context"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspsql"
	"github.com/kmsocsp/ocsp/ocspsql/internal/dbtest"
)

// From each version on, 0 being an empty database, the schema arrives at the present one with its rows.
func TestMigrateFromEachVersion(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		dialect := dialects[kind]
		for version := range ocspsql.Versions(dialect) {
			db := dbtest.New(t, kind).Open(t)
			require.NoError(t, ocspsql.MigrateTo(t.Context(), db, dialect, version))
			_, err := ocspsql.Open(t.Context(), db, dialect)
			require.ErrorContains(t, err, "run Migrate first")
			if version > 0 {
				_, err = db.ExecContext(t.Context(), "INSERT INTO ocsp_certificates (issuer, serial, state, reason, revoked_at) VALUES ('ca', '7', 'Deactivated', 'superseded', 1700000000)")
				if kind == dbtest.SQLite { // a BLOB has a literal of its own there
					_, err = db.ExecContext(t.Context(), "INSERT INTO ocsp_certificates (issuer, serial, state, reason, revoked_at) VALUES ('ca', x'37', 'Deactivated', 'superseded', 1700000000)")
				}
				require.NoError(t, err)
			}
			store := openStore(t, db, dialect)
			require.NoError(t, ocspsql.Migrate(t.Context(), db, dialect), "again")
			record, err := store.FindBySerial(t.Context(), "ca", big.NewInt(0x37))
			if version == 0 {
				require.ErrorIs(t, err, ocsp.ErrNotFound)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, ocsp.Record{State: ocsp.Deactivated, Reason: ocsp.Superseded, RevokedAt: time.Unix(1700000000, 0).UTC()}, record)
		}
	})
}

// Eight replicas start at once, each with connections of its own.
func TestMigrateAtOnce(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		dialect := dialects[kind]
		for version := range ocspsql.Versions(dialect) {
			dsn := dbtest.New(t, kind)
			require.NoError(t, ocspsql.MigrateTo(t.Context(), dsn.Open(t), dialect, version))
			var wg sync.WaitGroup
			start, errs := make(chan struct{}), make(chan error, 8)
			for range cap(errs) {
				db := dsn.Open(t)
				wg.Go(func() {
					<-start
					err := ocspsql.Migrate(context.Background(), db, dialect)
					if err == nil {
						var store *ocspsql.Store
						if store, err = ocspsql.Open(context.Background(), db, dialect); err == nil {
							err = store.Close()
						}
					}
					errs <- err
				})
			}
			close(start)
			wg.Wait()
			close(errs)
			for err := range errs {
				require.NoError(t, err)
			}
		}
	})
}

// A program of an earlier version leaves a later schema alone, and works with it.
func TestMigrateLaterVersion(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		store, db := newStore(t, kind)
		later := "INSERT INTO ocsp_migrations (version) VALUES (99)"
		if kind == dbtest.MariaDB {
			later = "ALTER TABLE ocsp_certificates COMMENT = 'ocspsql schema version 99'"
		}
		_, err := db.ExecContext(t.Context(), later)
		require.NoError(t, err)
		require.NoError(t, ocspsql.Migrate(t.Context(), db, dialects[kind]))
		again, err := ocspsql.Open(t.Context(), db, dialects[kind])
		require.NoError(t, err)
		require.NoError(t, again.Close())
		_, err = store.FindBySerial(t.Context(), "ca", big.NewInt(1))
		require.ErrorIs(t, err, ocsp.ErrNotFound)
	})
}

// A migration that cannot be done says so, and leaves nothing behind: not a table, nor a lock.
func TestMigrateFails(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		dsn := dbtest.New(t, kind)
		db := dsn.Open(t)
		_, err := db.ExecContext(t.Context(), "CREATE TABLE ocsp_certificates (serial VARCHAR(9))")
		require.NoError(t, err)
		require.ErrorContains(t, ocspsql.Migrate(t.Context(), db, dialects[kind]), "ocsp_certificates")
		_, err = db.ExecContext(t.Context(), "DROP TABLE ocsp_certificates")
		require.NoError(t, err)
		openStore(t, dsn.Open(t), dialects[kind])
	})
}

func TestMigrateCancelled(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		db := dbtest.New(t, kind).Open(t)
		require.ErrorIs(t, ocspsql.Migrate(ctx, db, dialects[kind]), context.Canceled)
	})
}

func TestDialect(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite).Open(t)
	require.ErrorContains(t, ocspsql.Migrate(t.Context(), db, 0), "use PostgreSQL, SQLite or MySQL")
	_, err := ocspsql.Open(t.Context(), db, 4)
	require.ErrorContains(t, err, "use PostgreSQL, SQLite or MySQL")
}
