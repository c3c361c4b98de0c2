package ocspsql

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

//go:embed migrations
var migrationFiles embed.FS

// migrations holds, by Dialect, one statement for each version of the schema, version 1 first. Each only adds
// to the one before, so that programs of an earlier version go on working beside later ones.
var migrations = readMigrations()

func readMigrations() [len(dialects)][]string {
	var all [len(dialects)][]string
	for d := PostgreSQL; d.valid(); d++ {
		files, err := fs.Glob(migrationFiles, "migrations/"+dialects[d].migrations+"/*.sql")
		if err != nil {
			panic(err) // the pattern is ours
		}
		for _, file := range files {
			text, err := fs.ReadFile(migrationFiles, file)
			if err != nil {
				panic(err) // it is embedded
			}
			all[d] = append(all[d], strings.TrimSpace(string(text)))
		}
	}
	return all
}

// lockWait bounds the wait for another replica's migration.
const lockWait = 10 * time.Minute

// Migrate brings the schema to the version of this program: from an empty database or any earlier version, and
// leaves a later one alone. Any number of replicas may run it at once; each returns when the schema is there.
// It needs the right to create and alter tables, which a program that only uses the Store does not.
func Migrate(ctx context.Context, db *sql.DB, dialect Dialect) error {
	if err := dialect.check(); err != nil {
		return err
	}
	return migrateTo(ctx, db, dialect, len(migrations[dialect]))
}

// migrateTo is Migrate up to a version, which tests have be an earlier one.
func migrateTo(ctx context.Context, db *sql.DB, dialect Dialect, version int) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("ocspsql: migrate: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	migrate := map[Dialect]func(context.Context, *sql.Conn, int) error{
		PostgreSQL: migratePostgreSQL, SQLite: migrateSQLite, MySQL: migrateMySQL,
	}[dialect]
	if err := migrate(ctx, conn, version); err != nil {
		return fmt.Errorf("ocspsql: migrate: %w", err)
	}
	return nil
}

// queryer is a database, a connection of it, or a transaction.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// versionQueries return the version of the schema, or no row or NULL before there is one.
//
// MySQL commits each statement of a migration by itself, so the version is part of what the statement alters,
// the table's comment: neither can be without the other. The other two have a table of versions, which they
// change in the same transaction as the schema.
var versionQueries = [...]struct{ table, version string }{
	PostgreSQL: {"SELECT count(*) FROM (SELECT to_regclass('ocsp_migrations') AS t) AS r WHERE t IS NOT NULL", "SELECT max(version) FROM ocsp_migrations"},
	SQLite:     {"SELECT count(*) FROM sqlite_schema WHERE name = 'ocsp_migrations'", "SELECT max(version) FROM ocsp_migrations"},
	MySQL: {
		"SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'ocsp_certificates'",
		"SELECT CAST(SUBSTRING_INDEX(table_comment, ' ', -1) AS UNSIGNED) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'ocsp_certificates' AND table_comment LIKE 'ocspsql schema version %'",
	},
}

func schemaVersion(ctx context.Context, q queryer, dialect Dialect) (int, error) {
	var tables int
	if err := q.QueryRowContext(ctx, versionQueries[dialect].table).Scan(&tables); err != nil || tables == 0 {
		return 0, err
	}
	var version sql.NullInt64
	err := q.QueryRowContext(ctx, versionQueries[dialect].version).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, errors.New("there is a table ocsp_certificates that is not ours, or has lost its comment")
	}
	return int(version.Int64), err
}

// apply runs the migrations that are missing. The caller holds the lock.
func apply(ctx context.Context, q queryer, dialect Dialect, target int, record func(version int) error) error {
	version, err := schemaVersion(ctx, q, dialect)
	if err != nil {
		return fmt.Errorf("read the schema version: %w", err)
	}
	for ; version < target; version++ {
		if _, err := q.ExecContext(ctx, migrations[dialect][version]); err != nil {
			return fmt.Errorf("to version %d: %w", version+1, err)
		}
		if err := record(version + 1); err != nil {
			return fmt.Errorf("to version %d: write the version: %w", version+1, err)
		}
	}
	return nil
}

// applyVersioned is apply with a table of versions.
func applyVersioned(ctx context.Context, q queryer, dialect Dialect, target int) error {
	if _, err := q.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS ocsp_migrations (version INTEGER NOT NULL PRIMARY KEY)"); err != nil {
		return fmt.Errorf("create the table ocsp_migrations: %w", err)
	}
	return apply(ctx, q, dialect, target, func(version int) error {
		_, err := q.ExecContext(ctx, dialect.bind("INSERT INTO ocsp_migrations (version) VALUES (?)"), version)
		return err
	})
}

// postgresLock is the advisory lock's number: "ocspsql" in ASCII.
const postgresLock = 0x6f63737073716c

func migratePostgreSQL(ctx context.Context, conn *sql.Conn, target int) (err error) {
	// At a higher level than this, what is read after the wait for the lock would be as of before it.
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = joinUnless(sql.ErrTxDone, err, tx.Rollback())
		}
	}()
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(postgresLock)); err != nil {
		return fmt.Errorf("wait for the migration lock: %w", err)
	}
	if err := applyVersioned(ctx, tx, PostgreSQL, target); err != nil {
		return err
	}
	return tx.Commit()
}

func migrateSQLite(ctx context.Context, conn *sql.Conn, target int) (err error) {
	// BEGIN IMMEDIATE waits for other writers as long as busy_timeout says, which is not at all by default.
	var timeout int64
	if err := conn.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&timeout); err != nil {
		return err
	}
	wait := lockWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = max(0, min(wait, time.Until(deadline)))
	}
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", wait.Milliseconds())); err != nil {
		return err
	}
	// The connection goes back to the host's pool as it came, whatever became of ctx.
	after := context.WithoutCancel(ctx)
	defer func() {
		_, restored := conn.ExecContext(after, fmt.Sprintf("PRAGMA busy_timeout = %d", timeout))
		err = errors.Join(err, restored)
	}()
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("wait for the migration lock: %w", err)
	}
	if err := applyVersioned(ctx, conn, SQLite, target); err != nil {
		_, undone := conn.ExecContext(after, "ROLLBACK")
		return errors.Join(err, undone)
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	if err != nil {
		_, undone := conn.ExecContext(after, "ROLLBACK")
		err = errors.Join(err, undone)
	}
	return err
}

func migrateMySQL(ctx context.Context, conn *sql.Conn, target int) (err error) {
	// The lock is the server's, so its name has the database in it, at a length that is allowed.
	const name = "CONCAT('ocspsql ', MD5(DATABASE()))"
	var got sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK("+name+", ?)", int64(lockWait/time.Second)).Scan(&got); err != nil {
		return fmt.Errorf("wait for the migration lock: %w", err)
	}
	if got.Int64 != 1 {
		return fmt.Errorf("wait for the migration lock: another program has held it for %v", lockWait)
	}
	defer func() {
		_, released := conn.ExecContext(context.WithoutCancel(ctx), "DO RELEASE_LOCK("+name+")")
		err = errors.Join(err, released)
	}()
	return apply(ctx, conn, MySQL, target, func(int) error { return nil })
}

// joinUnless adds an error that came of cleaning up, unless it is the one expected.
func joinUnless(expected, err, second error) error {
	if errors.Is(second, expected) {
		return err
	}
	return errors.Join(err, second)
}
