package ocspsql_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"math/big"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspsql"
)

// memory returns a database in memory, which lives as long as its one connection.
func memory() *sql.DB {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return db
}

// A table of our own: issue, revoke, look up.
func Example() {
	ctx, db := context.Background(), memory()
	defer func() { _ = db.Close() }()
	if err := ocspsql.Migrate(ctx, db, ocspsql.SQLite); err != nil {
		log.Fatal(err)
	}
	store, err := ocspsql.Open(ctx, db, ocspsql.SQLite)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = store.Close() }()

	serial := big.NewInt(0x1f2e3d)
	err = store.Issue(ctx, ocspsql.Certificate{IssuerID: "ca-uid", Serial: serial, Record: ocsp.Record{State: ocsp.Active}})
	if err != nil {
		log.Fatal(err)
	}
	_, err = store.Revoke(ctx, "ca-uid", serial, ocspsql.Revocation{
		Reason: ocsp.KeyCompromise, At: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
	})
	if err != nil {
		log.Fatal(err)
	}
	record, err := store.FindBySerial(ctx, "ca-uid", serial) // as the responder does
	fmt.Println(record.State, record.Reason, record.RevokedAt, err)
	_, err = store.FindBySerial(ctx, "ca-uid", big.NewInt(1))
	fmt.Println(err)
	// Output:
	// Compromised keyCompromise 2030-01-02 03:04:05 +0000 UTC <nil>
	// ocspsql: find serial 1 of issuer "ca-uid": ocsp: certificate not found
}

// A table of the KMS's own, whose objects have their attributes in a JSON column. The index is what makes it
// fast.
func ExampleOpenQuery() {
	ctx, db := context.Background(), memory()
	defer func() { _ = db.Close() }()
	_, err := db.ExecContext(ctx, `
CREATE TABLE objects (id TEXT PRIMARY KEY, attributes TEXT NOT NULL);
CREATE UNIQUE INDEX objects_by_serial ON objects (json_extract(attributes, '$.issuer'), json_extract(attributes, '$.serial'));
INSERT INTO objects VALUES ('17', '{"issuer": "ca-uid", "serial": "1f2e3d", "state": "Deactivated", "revoked_at": 1900000000}')`)
	if err != nil {
		log.Fatal(err)
	}
	store, err := ocspsql.OpenQuery(ctx, db, ocspsql.Query{
		SQL: `SELECT json_extract(attributes, '$.state'), json_extract(attributes, '$.reason'),
	json_extract(attributes, '$.revoked_at'), NULL, NULL
FROM objects WHERE json_extract(attributes, '$.issuer') = ? AND json_extract(attributes, '$.serial') = ?`,
		Serial: ocspsql.Hex,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	record, err := store.FindBySerial(ctx, "ca-uid", big.NewInt(0x1f2e3d))
	fmt.Println(record.State, record.RevokedAt, err)
	// Output: Deactivated 2030-03-17 17:46:40 +0000 UTC <nil>
}

// A hold is the one revocation that can be undone.
func ExampleStore_Release() {
	ctx, db := context.Background(), memory()
	defer func() { _ = db.Close() }()
	if err := ocspsql.Migrate(ctx, db, ocspsql.SQLite); err != nil {
		log.Fatal(err)
	}
	store, err := ocspsql.Open(ctx, db, ocspsql.SQLite)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	held, revoked := big.NewInt(1), big.NewInt(2)
	for serial, reason := range map[*big.Int]ocsp.Reason{held: ocsp.CertificateHold, revoked: ocsp.Superseded} {
		if err := store.Issue(ctx, ocspsql.Certificate{IssuerID: "ca-uid", Serial: serial, Record: ocsp.Record{State: ocsp.Active}}); err != nil {
			log.Fatal(err)
		}
		if _, err := store.Revoke(ctx, "ca-uid", serial, ocspsql.Revocation{Reason: reason}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(store.Release(ctx, "ca-uid", held))
	fmt.Println(store.Release(ctx, "ca-uid", revoked))
	// Output:
	// true <nil>
	// false ocspsql: release serial 2 of issuer "ca-uid": ocspsql: the certificate's state does not allow it: it is Deactivated, and not on hold
}
