package ocspsql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspsql"
	"github.com/kmsocsp/ocsp/ocspsql/internal/dbtest"
)

// What an ocsp.Record must not be is refused by the table itself, whoever writes it.
func TestChecks(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		_, db := newStore(t, kind)
		blob := map[dbtest.Kind]string{dbtest.SQLite: "x'%s'", dbtest.PostgreSQL: `'\x%s'`, dbtest.MariaDB: "x'%s'"}[kind]
		for i, test := range []struct{ issuer, serial, state, reason, revokedAt, notAfter, compromisedAt, refused string }{
			{"ca", "01", "Active", "", "NULL", "NULL", "NULL", ""},
			{"ca", "0080", "Deactivated", "certificateHold", "1700000000", "253402300799", "-1", ""},
			{"", "02", "Active", "", "NULL", "NULL", "NULL", "ocsp_issuer"},
			{"ca", "", "Active", "", "NULL", "NULL", "NULL", "ocsp_serial"},
			{"ca", "0002", "Active", "", "NULL", "NULL", "NULL", "ocsp_serial_canonical"},
			{"ca", "ff80", "Active", "", "NULL", "NULL", "NULL", "ocsp_serial_canonical"},
			{"ca", "02", "active", "", "1700000000", "NULL", "NULL", "ocsp_state"},
			{"ca", "02", "Revoked", "", "1700000000", "NULL", "NULL", "ocsp_state"},
			{"ca", "02", "Deactivated", "removeFromCRL", "1700000000", "NULL", "NULL", "ocsp_reason"},
			{"ca", "02", "Deactivated", "", "NULL", "NULL", "NULL", "ocsp_revoked_at"},
			{"ca", "02", "Active", "", "1700000000", "NULL", "NULL", "ocsp_revoked_at"},
			{"ca", "02", "Active", "superseded", "NULL", "NULL", "NULL", "ocsp_good_has_no_reason"},
			{"ca", "02", "Compromised", "certificateHold", "1700000000", "NULL", "NULL", "ocsp_hold"},
			{"ca", "02", "Deactivated", "", "253402300800", "NULL", "NULL", "ocsp_revoked_at_range"},
			{"ca", "02", "Active", "", "NULL", "1700000000000000", "NULL", "ocsp_not_after_range"},
			{"ca", "02", "Active", "", "NULL", "NULL", "1700000000", "ocsp_compromised_at"},
		} {
			_, err := db.ExecContext(t.Context(), fmt.Sprintf(
				"INSERT INTO ocsp_certificates (issuer, serial, state, reason, revoked_at, not_after, compromised_at) VALUES ('%s', %s, '%s', '%s', %s, %s, %s)",
				test.issuer, fmt.Sprintf(blob, test.serial), test.state, test.reason, test.revokedAt, test.notAfter, test.compromisedAt))
			if test.refused == "" {
				require.NoError(t, err, "%d", i)
			} else {
				require.ErrorContains(t, err, test.refused, "%d", i)
			}
		}
	})
}

// A table that was altered by hand gives an error that says what is wrong with which certificate, and never a
// status.
func TestAlteredTable(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite).Open(t)
	_, err := db.ExecContext(t.Context(), `
CREATE TABLE ocsp_certificates (issuer, serial, state, reason, revoked_at, not_after, compromised_at);
CREATE TABLE ocsp_migrations (version); INSERT INTO ocsp_migrations VALUES (2);
INSERT INTO ocsp_certificates (issuer, serial, state, reason, revoked_at) VALUES
	('ca', x'01', 'Suspended', '', NULL), ('ca', x'02', 'Deactivated', '', NULL), ('ca', x'03', 'Deactivated', 'bored', 1),
	('ca', x'04', 'Active', 'superseded', NULL), ('ca', x'05', 'Deactivated', '', 'yesterday'), ('ca', x'06', NULL, NULL, NULL),
	('ca', x'07', 'Active', '', NULL), ('ca', x'07', 'Compromised', '', 1), ('ca', x'08', 'Compromised', '', 1000000000000)`)
	require.NoError(t, err)
	store := openStore(t, db, ocspsql.SQLite)
	for serial, want := range map[int64]string{
		1: `"Suspended" is not a KMIP state`, 2: "the state Deactivated has no time of revocation", 3: `"bored" is not a revocation reason`,
		4: "the state Active has a reason or a time of revocation", 5: "the row cannot be read", 6: `"" is not a KMIP state`,
		7: "more than one row", 8: "the time of revocation is in the year 33658",
	} {
		_, err := store.FindBySerial(t.Context(), "ca", big.NewInt(serial))
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, fmt.Sprintf(`find serial %d of issuer "ca"`, serial))
		require.ErrorIs(t, err, ocsp.ErrInvalidRecord)
		require.NotErrorIs(t, err, ocsp.ErrNotFound)
	}
	_, err = store.Revoke(t.Context(), "ca", big.NewInt(1), ocspsql.Revocation{})
	require.ErrorContains(t, err, `"Suspended" is not a KMIP state`)
	_, err = db.ExecContext(t.Context(), "CREATE UNIQUE INDEX once ON ocsp_certificates (serial) WHERE serial = x'01'")
	require.NoError(t, err)
	err = store.Issue(t.Context(), ocspsql.Certificate{IssuerID: "ca", Serial: big.NewInt(1), Record: ocsp.Record{State: ocsp.Active}})
	require.ErrorIs(t, err, ocspsql.ErrExists)
	_, err = db.ExecContext(t.Context(), "DROP TABLE ocsp_certificates")
	require.NoError(t, err)
	_, err = store.FindBySerial(t.Context(), "ca", big.NewInt(1))
	require.ErrorContains(t, err, "ocsp_certificates")
	require.NotErrorIs(t, err, ocsp.ErrNotFound)
	require.NotErrorIs(t, err, ocsp.ErrInvalidRecord, "the database's error")
}

// The lookup and the listing walk the primary key.
func TestIndex(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		store, db := newStore(t, kind)
		_, err := store.Import(t.Context(), numbered("ca", 20_000), nil)
		require.NoError(t, err)
		explain, index := "EXPLAIN QUERY PLAN ", []string{"USING PRIMARY KEY (issuer=? AND serial"}
		switch kind {
		case dbtest.PostgreSQL:
			_, err = db.ExecContext(t.Context(), "ANALYZE ocsp_certificates")
			require.NoError(t, err)
			explain, index = "EXPLAIN ", []string{"Index", "using ocsp_certificates_pkey"}
		case dbtest.MariaDB:
			explain, index = "EXPLAIN ", []string{"PRIMARY"}
		}
		serial := ocspsql.EncodeSerial(numberedSerial(777))
		for query, args := range map[string][]any{
			ocspsql.LookupSQL(dialects[kind]):  {"ca", serial},
			ocspsql.SerialsSQL(dialects[kind]): {"ca", serial, 10},
		} {
			plan := text(t, db, explain+query, args...)
			for _, part := range index {
				require.Contains(t, plan, part)
			}
			require.NotContains(t, plan, "SCAN")
			require.NotContains(t, plan, "Seq Scan")
			require.NotContains(t, plan, "ALL")
		}
	})
}

// text returns all that a query returns, as text.
func text(t *testing.T, db *sql.DB, query string, args ...any) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	columns, err := rows.Columns()
	require.NoError(t, err)
	var b strings.Builder
	for rows.Next() {
		values, dest := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		require.NoError(t, rows.Scan(dest...))
		for _, v := range values {
			b.WriteString(v.String + " ")
		}
		b.WriteString("\n")
	}
	require.NoError(t, rows.Err())
	return b.String()
}

// A lookup is one round trip.
func TestOneRoundTrip(t *testing.T) {
	for _, kind := range []dbtest.Kind{dbtest.PostgreSQL, dbtest.MariaDB} {
		t.Run(string(kind), func(t *testing.T) {
			db, trips := dbtest.New(t, kind).OpenCounted(t)
			db.SetMaxOpenConns(1)
			store := openStore(t, db, dialects[kind])
			serial := issue(t, store, 1, ocsp.Record{State: ocsp.Active})
			find(t, store, serial) // the statement is prepared on this connection, whatever it was before
			before := trips.Load()
			for range 10 {
				find(t, store, serial)
				_, err := store.FindBySerial(t.Context(), "ca", big.NewInt(2))
				require.ErrorIs(t, err, ocsp.ErrNotFound)
			}
			require.EqualValues(t, 20, trips.Load()-before)
		})
	}
}

// A lookup that waits for a lock, or for a connection, ends with its context.
func TestDeadline(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		store, db := newStore(t, kind)
		serial := issue(t, store, 1, ocsp.Record{State: ocsp.Active})
		db.SetMaxOpenConns(1)
		conn, err := db.Conn(t.Context())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err = store.FindBySerial(ctx, "ca", serial)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, ocsp.ErrNotFound)
		require.NoError(t, conn.Close())
		find(t, store, serial)
	})
}

// No error repeats the password, be it wrong or the server gone.
func TestPassword(t *testing.T) {
	for _, kind := range []dbtest.Kind{dbtest.PostgreSQL, dbtest.MariaDB} {
		t.Run(string(kind), func(t *testing.T) {
			dsn := dbtest.New(t, kind)
			for _, address := range []string{
				strings.Replace(dsn.Address, dbtest.Password, dbtest.Password+"-not", 1),
				strings.Replace(dsn.Address, "127.0.0.1", "127.0.0.2", 1),
			} {
				db := dbtest.DSN{Driver: dsn.Driver, Address: address}.Open(t)
				_, opened := ocspsql.Open(t.Context(), db, dialects[kind])
				_, queried := ocspsql.OpenQuery(t.Context(), db, ocspsql.Query{SQL: "SELECT 1"})
				for _, err := range []error{ocspsql.Migrate(t.Context(), db, dialects[kind]), opened, queried} {
					require.Error(t, err)
					require.NotContains(t, err.Error(), dbtest.Password)
				}
			}
		})
	}
}

func TestSerialForms(t *testing.T) {
	for number, want := range map[string]string{
		"0": "00", "1": "01", "127": "7f", "128": "0080", "255": "00ff", "256": "0100", "-1": "ff", "-128": "80", "-129": "ff7f", "-256": "ff00",
		"32767": "7fff", "32768": "008000", "-32768": "8000", "-32769": "ff7fff",
	} {
		n, _ := new(big.Int).SetString(number, 10)
		require.Equal(t, want, fmt.Sprintf("%x", ocspsql.EncodeSerial(n)), number)
	}
	for i := int64(-70_000); i < 70_000; i++ {
		require.Zero(t, ocspsql.DecodeSerial(ocspsql.EncodeSerial(big.NewInt(i))).Cmp(big.NewInt(i)))
	}
}

// numberedSerial is the same 16 octets for the same number, and looks random.
func numberedSerial(i int) *big.Int {
	n := new(big.Int).Mul(big.NewInt(int64(i)+1), big.NewInt(0x1e3779b97f4a7c15))
	n.Mul(n, big.NewInt(0x3f58476d1ce4e5b9))
	return n.Mod(n, new(big.Int).Lsh(big.NewInt(1), 127))
}

// numbered yields n active certificates.
func numbered(issuerID string, n int) func(func(ocspsql.Certificate, error) bool) {
	return func(yield func(ocspsql.Certificate, error) bool) {
		for i := range n {
			if !yield(ocspsql.Certificate{IssuerID: issuerID, Serial: numberedSerial(i), Record: ocsp.Record{State: ocsp.Active, NotAfter: notAfter}}, nil) {
				return
			}
		}
	}
}

// An import in batches: repeated, of what is there, with a serial more than once, and with sources that fail.
func TestImport(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		store, _ := newStore(t, kind)
		const rows = 2500
		for range 2 {
			var progress []int
			n, err := store.Import(t.Context(), numbered("ca", rows), func(n int) { progress = append(progress, n) })
			require.NoError(t, err)
			require.Equal(t, rows, n)
			require.Equal(t, []int{1000, 2000, 2500}, progress)
		}
		seen := map[string]bool{}
		for serial, err := range store.Serials(t.Context(), "ca") {
			require.NoError(t, err)
			seen[serial.String()] = true
			if len(seen) == 1 { // the loop may use the store
				find(t, store, serial)
			}
		}
		require.Len(t, seen, rows)
		for range store.Serials(t.Context(), "ca") {
			break
		}
		for serial, err := range store.Serials(t.Context(), "another") {
			t.Fatal(serial, err)
		}

		good, revoked := ocsp.Record{State: ocsp.Active}, ocsp.Record{State: ocsp.Compromised, Reason: ocsp.KeyCompromise, RevokedAt: at, InvalidityDate: at}
		moved := revoked
		moved.RevokedAt, moved.Reason, moved.State = later, ocsp.Superseded, ocsp.Deactivated
		c := func(serial int64, record ocsp.Record) ocspsql.Certificate {
			return ocspsql.Certificate{IssuerID: "ca", Serial: big.NewInt(serial), Record: record}
		}
		_, err := store.Import(t.Context(), seq(c(1, good), c(2, revoked), c(3, good), c(3, revoked), c(3, good), c(-4, good)), nil)
		require.NoError(t, err)
		_, err = store.Import(t.Context(), seq(c(1, revoked), c(2, good), c(3, moved)), nil)
		require.NoError(t, err)
		for serial := range int64(3) {
			require.Equal(t, revoked, find(t, store, big.NewInt(serial+1)))
		}
		require.Equal(t, good, find(t, store, big.NewInt(-4)))

		broken := errors.New("the file ends in the middle")
		n, err := store.Import(t.Context(), func(yield func(ocspsql.Certificate, error) bool) {
			_ = yield(c(5, good), nil) && yield(ocspsql.Certificate{}, broken)
		}, nil)
		require.ErrorIs(t, err, broken)
		require.Zero(t, n)
		n, err = store.Import(t.Context(), seq(c(6, good), c(7, ocsp.Record{State: ocsp.Destroyed})), nil)
		require.ErrorContains(t, err, "number 2, of issuer \"ca\": the state Destroyed has no time of revocation")
		require.Zero(t, n)
		ctx, cancel := context.WithCancel(t.Context())
		n, err = store.Import(ctx, numbered("other", 5000), func(int) { cancel() })
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 1000, n)
		for _, err := range store.Serials(ctx, "ca") {
			require.ErrorIs(t, err, context.Canceled)
		}
	})
}
