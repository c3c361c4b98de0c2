/*
Package ocspsql keeps the certificates of an OCSP responder in a SQL database: PostgreSQL, SQLite, MySQL or
MariaDB, through database/sql and a driver of your choice.

# A table of our own

Migrate makes the table, or brings it up to date; every replica may call it when it starts. Open returns the
store to give to the responder:

	db, err := sql.Open("pgx", dsn) // import _ "github.com/jackc/pgx/v5/stdlib"
	err = ocspsql.Migrate(ctx, db, ocspsql.PostgreSQL)
	store, err := ocspsql.Open(ctx, db, ocspsql.PostgreSQL)
	responder, err := ocsp.New(ocsp.Config{Issuers: issuers, Store: store})

The CA tells it what it does, the first before the certificate leaves its hands:

	err = store.Issue(ctx, ocspsql.Certificate{IssuerID: "ca-uid", Serial: serial, Record: ocsp.Record{State: ocsp.Active, NotAfter: notAfter}})
	changed, err := store.Revoke(ctx, "ca-uid", serial, ocspsql.Revocation{Reason: ocsp.KeyCompromise})

When Revoke has returned, every lookup that begins says revoked, in every process that reads the same server.
Only Release makes a revoked certificate good again, and only from a hold. Each change is one UPDATE whose WHERE
has the states that it applies to, so writers that meet cannot undo each other, and CHECKs refuse what no answer
can be made from, whoever writes it. The time of a revocation never moves.

[Store.Import] loads a CA's past, [Store.Serials] lists it.

# A table of yours

[OpenQuery] makes a store of a SELECT that finds the state by issuer and serial, in whatever table you have, JSON
columns included. Nothing is created or written. See docs/STORES.md for recipes and the indexes they need.

# Errors

Only a database that has answered, without a row, gives ocsp.ErrNotFound. A row that makes no sense is an error
that says which and why, and wraps ocsp.ErrInvalidRecord: it may be a revocation, so the responder does not go on
with the good from before, as it does while the database fails. Errors are wrapped, so errors.Is finds the driver's; none repeats the data source.

# SQLite

Open the file with a busy timeout, or writers that meet fail at once, and in WAL mode, or readers wait for
writers: with modernc.org/sqlite, "file:kms.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)".

# Why no migration library

What the table needs is a number, a lock and a statement for each version. The migration libraries bring drivers
for databases that a host does not use, or a configuration of their own. So Migrate takes an advisory lock in
PostgreSQL, GET_LOCK in MySQL and BEGIN IMMEDIATE in SQLite, reads the version, and runs the statements that are
missing. In PostgreSQL and SQLite that is one transaction; in MySQL, where no transaction holds an ALTER, the
version is the table's comment, so that each statement changes the table and its version at once. Migrations only
add, so replicas of an earlier version work on while later ones start.
*/
package ocspsql
