package ocspsql_test

import (
	"context"
	"database/sql"
	"errors"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspsql"
	"github.com/kmsocsp/ocsp/ocspsql/internal/dbtest"
	"github.com/kmsocsp/ocsp/ocsptest"
)

var dialects = map[dbtest.Kind]ocspsql.Dialect{
	dbtest.SQLite: ocspsql.SQLite, dbtest.PostgreSQL: ocspsql.PostgreSQL, dbtest.MariaDB: ocspsql.MySQL,
}

// onAll runs a test on each kind of database.
func onAll(t *testing.T, test func(*testing.T, dbtest.Kind)) {
	for _, kind := range dbtest.Kinds() {
		t.Run(string(kind), func(t *testing.T) { test(t, kind) })
	}
}

// newStore returns a store over a new database.
func newStore(tb testing.TB, kind dbtest.Kind) (*ocspsql.Store, *sql.DB) {
	tb.Helper()
	db := dbtest.New(tb, kind).Open(tb)
	return openStore(tb, db, dialects[kind]), db
}

func openStore(tb testing.TB, db *sql.DB, dialect ocspsql.Dialect) *ocspsql.Store {
	tb.Helper()
	require.NoError(tb, ocspsql.Migrate(context.Background(), db, dialect))
	store, err := ocspsql.Open(context.Background(), db, dialect)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, store.Close()) })
	return store
}

// seq is a sequence of certificates without an error.
func seq(certificates ...ocspsql.Certificate) func(func(ocspsql.Certificate, error) bool) {
	return func(yield func(ocspsql.Certificate, error) bool) {
		for _, c := range certificates {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func TestContract(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		store, _ := newStore(t, kind)
		for name, put := range map[string]func(ctx context.Context, issuerID string, serial *big.Int, r ocsp.Record) error{
			"Import": func(ctx context.Context, issuerID string, serial *big.Int, r ocsp.Record) error {
				_, err := store.Import(ctx, seq(ocspsql.Certificate{IssuerID: issuerID, Serial: serial, Record: r}), nil)
				return err
			},
			"Issue, Revoke and SetState": func(ctx context.Context, issuerID string, serial *big.Int, r ocsp.Record) error {
				issued := ocspsql.Certificate{IssuerID: issuerID, Serial: serial, Record: ocsp.Record{State: ocsp.PreActive, NotAfter: r.NotAfter}}
				if err := store.Issue(ctx, issued); err != nil && !errors.Is(err, ocspsql.ErrExists) {
					return err
				}
				switch r.State {
				case ocsp.PreActive:
					return nil
				case ocsp.Active:
					_, err := store.SetState(ctx, issuerID, serial, r.State)
					return err
				}
				_, err := store.Revoke(ctx, issuerID, serial, ocspsql.Revocation{Reason: r.Reason, State: revokedFirst[r.State], At: r.RevokedAt, InvalidityDate: r.InvalidityDate})
				if err == nil {
					_, err = store.SetState(ctx, issuerID, serial, r.State)
				}
				return err
			},
		} {
			t.Run(name, func(t *testing.T) {
				require.NoError(t, ocsptest.TestStore(ocsptest.StoreFixture{Store: store, Put: put, IssuerIDs: [2]string{"ca-1", "ca-2"}}))
			})
		}
	})
}

// revokedFirst is what a certificate is before it is destroyed.
var revokedFirst = map[ocsp.State]ocsp.State{
	ocsp.Deactivated: ocsp.Deactivated, ocsp.Destroyed: ocsp.Deactivated,
	ocsp.Compromised: ocsp.Compromised, ocsp.DestroyedCompromised: ocsp.Compromised,
}
