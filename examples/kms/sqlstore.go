package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"github.com/kmsocsp/ocsp"
)

// schema makes the table, in the types of SQLite and of PostgreSQL. The checks keep out what an ocsp.Record must
// not be: a revoked state without a time, or a good one with any sign of a revocation.
func schema(sequence, integer, bytes, end string) string {
	return `
CREATE TABLE IF NOT EXISTS objects (
	seq            ` + sequence + `,
	uid            TEXT NOT NULL UNIQUE,
	kind           TEXT NOT NULL CHECK (kind IN ('ca', 'responder', 'certificate')),
	name           TEXT NOT NULL,
	issuer_uid     TEXT NOT NULL,
	serial         ` + bytes + ` NOT NULL CHECK (length(serial) BETWEEN 1 AND 20),
	state          TEXT NOT NULL CHECK (state IN ('PreActive', 'Active', 'Deactivated', 'Compromised', 'Destroyed', 'DestroyedCompromised')),
	reason         TEXT NOT NULL,
	revoked_at     ` + integer + `,
	compromised_at ` + integer + ` CHECK (compromised_at >= 0),
	not_after      ` + integer + ` NOT NULL,
	certificate    ` + bytes + ` NOT NULL,
	CHECK ((state IN ('PreActive', 'Active')) = (revoked_at IS NULL)),
	CHECK (revoked_at IS NOT NULL OR (reason = '' AND compromised_at IS NULL))
)` + end + `;
CREATE UNIQUE INDEX IF NOT EXISTS objects_by_serial ON objects (issuer_uid, serial);`
}

const (
	databaseFile   = "kms.db"
	maxConnections = 16
	columns        = "uid, kind, name, issuer_uid, serial, state, reason, revoked_at, compromised_at, not_after, certificate"
)

// sqlStore is a table in SQLite or PostgreSQL.
type sqlStore struct {
	db       *sql.DB
	numbered bool // placeholders are $1, $2, … and not ?
}

// openSQLite opens the file, in the directory unless its path is absolute, and creates it if it is not there.
func openSQLite(ctx context.Context, dir, path string) (*sqlStore, error) {
	if path == "" {
		path = databaseFile
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// SQLite gives its journal files the mode of the database, so it is enough to create this one.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"}
	s, err := openSQL(ctx, "sqlite", dsn.String(), schema("INTEGER PRIMARY KEY", "INTEGER", "BLOB", " STRICT"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// changeTrigger tells package pgfeed of whatever anybody changes, by hand in psql too.
const changeTrigger = `
CREATE OR REPLACE FUNCTION objects_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify('ocsp_changes', '00' || encode(OLD.serial, 'hex') || ' ' || OLD.issuer_uid);
	RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS objects_changed ON objects;
CREATE TRIGGER objects_changed AFTER UPDATE OR DELETE ON objects FOR EACH ROW EXECUTE FUNCTION objects_changed();
ALTER TABLE objects ENABLE ALWAYS TRIGGER objects_changed;
`

// schemaLock keeps replicas that start at once from making the table twice, which PostgreSQL does not bear.
const schemaLock = "BEGIN; SELECT pg_advisory_xact_lock(7091203);"

func openPostgreSQL(ctx context.Context, address string) (*sqlStore, error) {
	s, err := openSQL(ctx, "pgx", address, schemaLock+schema("BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "BIGINT", "BYTEA", "")+changeTrigger+"COMMIT")
	if err != nil {
		return nil, err
	}
	s.numbered = true
	return s, nil
}

// openSQL opens a database and makes the table.
func openSQL(ctx context.Context, driver, address, schema string) (*sqlStore, error) {
	db, err := sql.Open(driver, address)
	if err != nil {
		return nil, err
	}
	// Reads queue up for these instead of opening connections for as many clients as there are.
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &sqlStore{db: db}, nil
}

func (s *sqlStore) close() error { return s.db.Close() }

// bind writes a statement's placeholders as the database does. The statements have no other question marks.
func (s *sqlStore) bind(query string) string {
	if !s.numbered {
		return query
	}
	var b strings.Builder
	for i, part := range strings.Split(query, "?") {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
}

func (s *sqlStore) row(ctx context.Context, query string, args ...any) (object, error) {
	return scan(s.db.QueryRowContext(ctx, s.bind(query), args...))
}

func (s *sqlStore) insert(ctx context.Context, o object) error {
	_, err := s.db.ExecContext(ctx, s.bind("INSERT INTO objects ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
		o.uid, o.kind, o.name, o.issuerUID, o.serial.Bytes(), o.state.String(), o.reason.String(),
		unixOrNull(o.revokedAt), unixOrNull(o.compromisedAt), o.notAfter.Unix(), o.der)
	if err != nil {
		return fmt.Errorf("store %s: %w", o.uid, err)
	}
	return nil
}

func (s *sqlStore) get(ctx context.Context, uid string) (object, error) {
	o, err := s.row(ctx, "SELECT "+columns+" FROM objects WHERE uid = ?", uid)
	if errors.Is(err, errNotFound) {
		err = fmt.Errorf("%w: no object has the uid %q", errNotFound, uid)
	}
	return o, err
}

func (s *sqlStore) bySerial(ctx context.Context, issuerUID string, serial *big.Int) (object, error) {
	if serial.Sign() <= 0 {
		// Bytes drops the sign, which would find another certificate.
		return object{}, errNotFound
	}
	return s.row(ctx, "SELECT "+columns+" FROM objects WHERE issuer_uid = ? AND serial = ?", issuerUID, serial.Bytes())
}

func (s *sqlStore) list(ctx context.Context, kind string) ([]object, error) {
	rows, err := s.db.QueryContext(ctx, s.bind("SELECT "+columns+" FROM objects WHERE kind = ? ORDER BY seq"), kind)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var list []object
	for rows.Next() {
		o, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, rows.Err()
}

// apply writes only over the state that it has read: whoever else writes meanwhile makes it look again.
func (s *sqlStore) apply(ctx context.Context, uid string, c change) (object, error) {
	for {
		o, err := s.get(ctx, uid)
		if err != nil {
			return object{}, err
		}
		next, err := o.after(c, time.Now())
		if err != nil {
			return object{}, err
		}
		changed, err := s.row(ctx, `
UPDATE objects SET state = ?, reason = ?, revoked_at = ?, compromised_at = ?
WHERE uid = ? AND state = ? AND reason = ? AND coalesce(compromised_at, -1) = ?
RETURNING `+columns,
			next.state.String(), next.reason.String(), unixOrNull(next.revokedAt), unixOrNull(next.compromisedAt),
			uid, o.state.String(), o.reason.String(), unixOr(o.compromisedAt, -1))
		if !errors.Is(err, errNotFound) {
			return changed, err
		}
	}
}

// scan reads a row.
func scan(row interface{ Scan(...any) error }) (object, error) {
	var o object
	var serial []byte
	var state, reason string
	var revokedAt, compromisedAt sql.NullInt64
	var notAfter int64
	err := row.Scan(&o.uid, &o.kind, &o.name, &o.issuerUID, &serial, &state, &reason, &revokedAt, &compromisedAt, &notAfter, &o.der)
	if errors.Is(err, sql.ErrNoRows) {
		return object{}, errNotFound
	}
	if err != nil {
		return object{}, err
	}
	if o.state, err = ocsp.ParseState(state); err == nil {
		o.reason, err = ocsp.ParseReason(reason)
	}
	if err != nil {
		return object{}, fmt.Errorf("%w: %w", ocsp.ErrInvalidRecord, err)
	}
	o.serial = new(big.Int).SetBytes(serial)
	o.revokedAt, o.compromisedAt, o.notAfter = timeOrZero(revokedAt), timeOrZero(compromisedAt), time.Unix(notAfter, 0).UTC()
	return o, nil
}

func unixOrNull(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.Unix(), Valid: !t.IsZero()}
}

func unixOr(t time.Time, none int64) int64 {
	if t.IsZero() {
		return none
	}
	return t.Unix()
}

func timeOrZero(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.Unix(n.Int64, 0).UTC()
}
