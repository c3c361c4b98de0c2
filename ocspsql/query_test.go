package ocspsql_test

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspsql"
	"github.com/kmsocsp/ocsp/ocspsql/internal/dbtest"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// The recipes of docs/STORES.md: objects whose attributes are one JSON column.
var recipes = map[dbtest.Kind]struct{ schema, index, lookup, insert, explain, usesIndex string }{
	dbtest.SQLite: {
		schema: "CREATE TABLE objects (id TEXT PRIMARY KEY, attributes TEXT NOT NULL)",
		index: `CREATE UNIQUE INDEX objects_by_serial ON objects (
	json_extract(attributes, '$.issuer'), json_extract(attributes, '$.serial'))`,
		lookup: `SELECT json_extract(attributes, '$.state'), json_extract(attributes, '$.reason'),
	json_extract(attributes, '$.revoked_at'), json_extract(attributes, '$.compromised_at'), json_extract(attributes, '$.not_after')
FROM objects WHERE json_extract(attributes, '$.issuer') = ? AND json_extract(attributes, '$.serial') = ?`,
		insert:    "INSERT INTO objects (id, attributes) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET attributes = excluded.attributes",
		explain:   "EXPLAIN QUERY PLAN ",
		usesIndex: "USING INDEX objects_by_serial (<expr>=? AND <expr>=?)",
	},
	dbtest.PostgreSQL: {
		schema: "CREATE TABLE objects (id TEXT PRIMARY KEY, attributes JSONB NOT NULL)",
		index:  "CREATE UNIQUE INDEX objects_by_serial ON objects ((attributes->>'issuer'), (attributes->>'serial'))",
		lookup: `SELECT attributes->>'state', attributes->>'reason', attributes->>'revoked_at',
	attributes->>'compromised_at', attributes->>'not_after'
FROM objects WHERE attributes->>'issuer' = $1 AND attributes->>'serial' = $2`,
		insert:    "INSERT INTO objects (id, attributes) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET attributes = excluded.attributes",
		explain:   "EXPLAIN ",
		usesIndex: "using objects_by_serial",
	},
	dbtest.MariaDB: {
		schema: `CREATE TABLE objects (id VARCHAR(200) PRIMARY KEY, attributes JSON NOT NULL,
	issuer VARBINARY(255) AS (JSON_VALUE(attributes, '$.issuer')) STORED,
	serial VARBINARY(130) AS (JSON_VALUE(attributes, '$.serial')) STORED)`,
		index: "CREATE UNIQUE INDEX objects_by_serial ON objects (issuer, serial)",
		lookup: `SELECT JSON_VALUE(attributes, '$.state'), JSON_VALUE(attributes, '$.reason'), JSON_VALUE(attributes, '$.revoked_at'),
	JSON_VALUE(attributes, '$.compromised_at'), JSON_VALUE(attributes, '$.not_after')
FROM objects WHERE issuer = ? AND serial = ?`,
		insert:    "INSERT INTO objects (id, attributes) VALUES (?, ?) ON DUPLICATE KEY UPDATE attributes = VALUES(attributes)",
		explain:   "EXPLAIN ",
		usesIndex: "objects_by_serial",
	},
}

// attributes is the JSON of an object.
type attributes struct {
	Issuer        string `json:"issuer"`
	Serial        string `json:"serial"`
	State         string `json:"state"`
	Reason        string `json:"reason,omitempty"`
	RevokedAt     *int64 `json:"revoked_at,omitempty"`
	CompromisedAt *int64 `json:"compromised_at,omitempty"`
	NotAfter      *int64 `json:"not_after,omitempty"`
}

func seconds(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}

// A KMS with JSON attributes keeps the whole contract through a query of its own, and the query uses the index.
func TestQuery(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		recipe, db := recipes[kind], dbtest.New(t, kind).Open(t)
		for _, statement := range []string{recipe.schema, recipe.index} {
			_, err := db.ExecContext(t.Context(), statement)
			require.NoError(t, err)
		}
		placeholder := recipe.lookup[strings.LastIndex(recipe.lookup, " ")+1:] // the serial's
		upper := strings.TrimSuffix(recipe.lookup, placeholder) + "upper(" + placeholder + ")"
		for name, test := range map[string]struct {
			form   ocspsql.SerialForm
			lookup string
			write  func(serial *big.Int) string
		}{
			"Hex":                   {ocspsql.Hex, recipe.lookup, func(serial *big.Int) string { return serial.Text(16) }},
			"Hex, upper case":       {ocspsql.Hex, upper, func(serial *big.Int) string { return fmt.Sprintf("%X", serial) }},
			"HexOctets":             {ocspsql.HexOctets, recipe.lookup, func(serial *big.Int) string { return hex.EncodeToString(serial.Bytes()) }},
			"HexOctets, upper case": {ocspsql.HexOctets, upper, func(serial *big.Int) string { return fmt.Sprintf("%X", serial.Bytes()) }},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := db.ExecContext(t.Context(), "DELETE FROM objects")
				require.NoError(t, err)
				store, err := ocspsql.OpenQuery(t.Context(), db, ocspsql.Query{SQL: test.lookup, Serial: test.form})
				require.NoError(t, err)
				defer func() { require.NoError(t, store.Close()) }()
				put := func(ctx context.Context, issuerID string, serial *big.Int, r ocsp.Record) error {
					blob, err := json.Marshal(attributes{
						issuerID, test.write(serial), r.State.String(), r.Reason.String(), seconds(r.RevokedAt), seconds(r.InvalidityDate), seconds(r.NotAfter),
					})
					if err == nil {
						_, err = db.ExecContext(ctx, recipe.insert, issuerID+"/"+test.write(serial), string(blob))
					}
					return err
				}
				require.NoError(t, ocsptest.TestStore(ocsptest.StoreFixture{Store: store, Put: put, IssuerIDs: [2]string{"ca-1", "ca-2"}}))

				for i := range 2000 {
					require.NoError(t, put(t.Context(), "many", numberedSerial(i), ocsp.Record{State: ocsp.Active}))
				}
				if kind == dbtest.PostgreSQL {
					_, err := db.ExecContext(t.Context(), "ANALYZE objects")
					require.NoError(t, err)
				}
				require.Contains(t, text(t, db, recipe.explain+test.lookup, "many", test.write(numberedSerial(7))), recipe.usesIndex)
			})
		}
	})
}

// A row that was good and is now such as nobody can read may be a revocation: the cached good does not stand in for it.
// For a database that fails it does.
func TestUnreadableRow(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		recipe, db := recipes[kind], dbtest.New(t, kind).Open(t)
		_, err := db.ExecContext(t.Context(), recipe.schema)
		require.NoError(t, err)
		store, err := ocspsql.OpenQuery(t.Context(), db, ocspsql.Query{SQL: recipe.lookup, Serial: ocspsql.Hex})
		require.NoError(t, err)
		defer func() { require.NoError(t, store.Close()) }()
		ca := ocsptest.NewCA(ocsptest.Options{Name: "ca"})
		responder, err := ocsp.New(ocsp.Config{
			Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Logger: slog.New(slog.DiscardHandler), Cache: ocsp.CacheOptions{StorePatience: 500 * time.Millisecond},
		})
		require.NoError(t, err)
		defer func() { require.NoError(t, responder.Close()) }()
		for name, test := range map[string]struct{ attributes, reason string }{
			"no state":                 {`"state": null`, `"" is not a KMIP state`},
			"state":                    {`"state": "revoked", "revoked_at": 1700000000`, `"revoked" is not a KMIP state`},
			"reason":                   {`"state": "Compromised", "reason": "key_compromise", "revoked_at": 1700000000`, `"key_compromise" is not a revocation reason`},
			"milliseconds":             {`"state": "Compromised", "revoked_at": 1700000000000`, "the time of revocation is in the year 55840"},
			"a date":                   {`"state": "Compromised", "revoked_at": "2030-01-02"`, "the time of revocation: converting"},
			"no time":                  {`"state": "Compromised"`, "the state Compromised has no time of revocation"},
			"good, but for its reason": {`"state": "Active", "reason": "superseded"`, "the state Active has a reason"},
		} {
			t.Run(name, func(t *testing.T) {
				leaf := ca.Issue(ocsptest.Options{})
				put := func(attributes string) {
					_, err := db.ExecContext(t.Context(), recipe.insert, name, fmt.Sprintf(`{"issuer": "ca", "serial": "%x", %s}`, leaf.SerialNumber, attributes))
					require.NoError(t, err)
				}
				isGood := func() {
					t.Helper()
					answer, err := ocsptest.Query(responder.Handler(), ca.Certificate, leaf)
					require.NoError(t, err)
					require.Zero(t, answer.Status, "x/crypto's number of good")
				}
				put(`"state": "Active"`)
				isGood()
				put(test.attributes)
				_, err := ocsptest.Query(responder.Handler(), ca.Certificate, leaf)
				require.ErrorContains(t, err, "internal error")
				_, err = store.FindBySerial(t.Context(), "ca", leaf.SerialNumber)
				require.ErrorIs(t, err, ocsp.ErrInvalidRecord)
				require.ErrorContains(t, err, test.reason)

				put(`"state": "Active"`)
				isGood()
				_, err = db.ExecContext(t.Context(), "ALTER TABLE objects RENAME TO gone")
				require.NoError(t, err)
				_, err = store.FindBySerial(t.Context(), "ca", leaf.SerialNumber)
				require.Error(t, err)
				require.NotErrorIs(t, err, ocsp.ErrInvalidRecord)
				require.Eventually(t, func() bool { // once the store has answered nobody for StorePatience
					answer, err := ocsptest.Query(responder.Handler(), ca.Certificate, leaf)
					return err == nil && answer.Status == 0
				}, 10*time.Second, 10*time.Millisecond)
				_, err = db.ExecContext(t.Context(), "ALTER TABLE gone RENAME TO objects")
				require.NoError(t, err)
			})
		}
	})
}

// The other forms of serials, and a scan function for columns of the host's own.
func TestQueryForms(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite).Open(t)
	_, err := db.ExecContext(t.Context(), `
CREATE TABLE certs (ca TEXT, magnitude BLOB, number TEXT, octets BLOB, digits TEXT, pairs TEXT, revoked TEXT, deleted INTEGER DEFAULT 0);
INSERT INTO certs (ca, magnitude, number, octets, digits, pairs, revoked) VALUES
	('ca', x'FF', '255', x'00FF', 'ff', 'ff', '2030-01-02T03:04:05Z'), ('ca', x'01', '1', x'01', '1', '01', NULL),
	('ca', x'0ABC', '2748', x'0ABC', 'abc', '0abc', NULL);
INSERT INTO certs (ca, magnitude, number, octets, digits, pairs, deleted) VALUES ('ca', x'02', '2', x'02', '2', '02', 1)`)
	require.NoError(t, err)
	scan := func(row ocspsql.Row) (ocsp.Record, error) {
		var revoked sql.NullString
		var deleted bool
		if err := row.Scan(&revoked, &deleted); err != nil {
			return ocsp.Record{}, err
		}
		if deleted {
			return ocsp.Record{}, ocsp.ErrNotFound
		}
		if !revoked.Valid {
			return ocsp.Record{State: ocsp.Active}, nil
		}
		at, err := time.Parse(time.RFC3339, revoked.String)
		return ocsp.Record{State: ocsp.Deactivated, RevokedAt: at}, err
	}
	for form, column := range map[ocspsql.SerialForm]string{
		ocspsql.TwosComplement: "octets", ocspsql.Unsigned: "magnitude", ocspsql.Hex: "digits", ocspsql.Decimal: "number", ocspsql.HexOctets: "pairs",
	} {
		store, err := ocspsql.OpenQuery(t.Context(), db, ocspsql.Query{
			SQL: "SELECT revoked, deleted FROM certs WHERE ca = ? AND " + column + " = ?", Serial: form, Scan: scan,
		})
		require.NoError(t, err)
		require.Equal(t, ocsp.Record{State: ocsp.Deactivated, RevokedAt: at}, find(t, store, big.NewInt(255)))
		require.Equal(t, ocsp.Active, find(t, store, big.NewInt(1)).State)
		require.Equal(t, ocsp.Active, find(t, store, big.NewInt(0xabc)).State)
		for _, never := range []int64{-1, -255, 0, 2, 3} {
			_, err := store.FindBySerial(t.Context(), "ca", big.NewInt(never))
			require.ErrorIs(t, err, ocsp.ErrNotFound)
		}
		require.NoError(t, store.Close())
	}
	for want, q := range map[string]ocspsql.Query{
		"the field SQL is empty":    {},
		"Hex, Decimal or HexOctets": {SQL: "SELECT 1", Serial: 9},
		"ocspsql: query: prepare:":  {SQL: "SELECT nothing FROM nowhere"},
	} {
		_, err := ocspsql.OpenQuery(t.Context(), db, q)
		require.ErrorContains(t, err, want)
	}
}

// In a table of the host's own, removeFromCRL releases nothing, and the other columns must make sense beside it.
func TestQueryWithRemoveFromCRL(t *testing.T) {
	db := dbtest.New(t, dbtest.SQLite).Open(t)
	_, err := db.ExecContext(t.Context(), `
CREATE TABLE certs (ca TEXT, serial TEXT, state TEXT, revoked_at INTEGER);
INSERT INTO certs VALUES ('ca', '1', 'Deactivated', 1), ('ca', '2', 'Active', NULL), ('ca', '3', 'Deactivated', NULL), ('ca', '4', 'Active', 1)`)
	require.NoError(t, err)
	store, err := ocspsql.OpenQuery(t.Context(), db, ocspsql.Query{
		SQL: "SELECT state, 'removeFromCRL', revoked_at, NULL, NULL FROM certs WHERE ca = ? AND serial = ?", Serial: ocspsql.Decimal,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	require.Equal(t, ocsp.Record{State: ocsp.Deactivated, Reason: ocsp.RemoveFromCRL, RevokedAt: time.Unix(1, 0).UTC()}, find(t, store, big.NewInt(1)))
	require.Equal(t, ocsp.Active, find(t, store, big.NewInt(2)).State)
	for _, serial := range []int64{3, 4} {
		_, err := store.FindBySerial(t.Context(), "ca", big.NewInt(serial))
		require.ErrorIs(t, err, ocsp.ErrInvalidRecord, serial)
	}
}
