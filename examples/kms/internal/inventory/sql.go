package inventory

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

// schema returns the statements that create the table, with the types of SQLite or PostgreSQL. The
// checks refuse what is invalid in an ocsp.Record: a revoked state without a time, or a good state
// with a revocation time or reason.
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

// DatabaseFile is the default file of SQLite.
const DatabaseFile = "kms.db"

const (
	maxConnections = 16
	columns        = "uid, kind, name, issuer_uid, serial, state, reason, revoked_at, compromised_at, not_after, certificate"
)

// sqlStore is a table in SQLite or PostgreSQL.
type sqlStore struct {
	db       *sql.DB
	numbered bool // placeholders are $1, $2, … instead of ?
}

// openSQLite opens the file, in the directory unless its path is absolute, and creates it if it is
// missing.
func openSQLite(ctx context.Context, dir, path string) (*sqlStore, error) {
	if path == "" {
		path = DatabaseFile
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

// changeTrigger notifies package pgfeed of every change, including those made in psql.
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

// schemaLock serializes replicas that start at once: PostgreSQL fails if two sessions create the
// same table.
const schemaLock = "BEGIN; SELECT pg_advisory_xact_lock(7091203);"

func openPostgreSQL(ctx context.Context, address string) (*sqlStore, error) {
	s, err := openSQL(ctx, "pgx", address, schemaLock+schema("BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "BIGINT", "BYTEA", "")+changeTrigger+"COMMIT")
	if err != nil {
		return nil, err
	}
	s.numbered = true
	return s, nil
}

// openSQL opens a database and creates the table.
func openSQL(ctx context.Context, driver, address, schema string) (*sqlStore, error) {
	db, err := sql.Open(driver, address)
	if err != nil {
		return nil, err
	}
	// Reads wait for one of these connections, so that many clients do not open as many
	// connections.
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &sqlStore{db: db}, nil
}

func (s *sqlStore) Close() error { return s.db.Close() }

// bind replaces question marks, which are all placeholders, with the placeholders of the database.
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

func (s *sqlStore) queryObject(ctx context.Context, query string, args ...any) (Object, error) {
	return scan(s.db.QueryRowContext(ctx, s.bind(query), args...))
}

func (s *sqlStore) Insert(ctx context.Context, o Object) error {
	_, err := s.db.ExecContext(ctx, s.bind("INSERT INTO objects ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
		o.UID, o.Kind, o.Name, o.IssuerUID, o.Serial.Bytes(), o.State.String(), o.Reason.String(),
		unixOrNull(o.RevokedAt), unixOrNull(o.InvalidityDate), o.NotAfter.Unix(), o.DER)
	if err != nil {
		return fmt.Errorf("store %s: %w", o.UID, err)
	}
	return nil
}

func (s *sqlStore) Get(ctx context.Context, uid string) (Object, error) {
	o, err := s.queryObject(ctx, "SELECT "+columns+" FROM objects WHERE uid = ?", uid)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: no object has the uid %q", ErrNotFound, uid)
	}
	return o, err
}

func (s *sqlStore) BySerial(ctx context.Context, issuerUID string, serial *big.Int) (ocsp.Record, error) {
	if serial.Sign() <= 0 {
		// Bytes drops the sign, which would find another certificate.
		return ocsp.Record{}, ErrNotFound
	}
	o, err := s.queryObject(ctx, "SELECT "+columns+" FROM objects WHERE issuer_uid = ? AND serial = ?", issuerUID, serial.Bytes())
	return o.Record, err
}

func (s *sqlStore) List(ctx context.Context, kind string) ([]Object, error) {
	rows, err := s.db.QueryContext(ctx, s.bind("SELECT "+columns+" FROM objects WHERE kind = ? ORDER BY seq"), kind)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var list []Object
	for rows.Next() {
		o, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, rows.Err()
}

// Apply writes only if the object is still as it was read. Otherwise it reads the object again.
func (s *sqlStore) Apply(ctx context.Context, uid string, c Change) (Object, error) {
	for {
		o, err := s.Get(ctx, uid)
		if err != nil {
			return Object{}, err
		}
		next, err := o.after(c)
		if err != nil {
			return o, err
		}
		changed, err := s.queryObject(ctx, `
UPDATE objects SET state = ?, reason = ?, revoked_at = ?, compromised_at = ?
WHERE uid = ? AND state = ? AND reason = ? AND coalesce(revoked_at, -1) = ? AND coalesce(compromised_at, -1) = ?
RETURNING `+columns,
			next.State.String(), next.Reason.String(), unixOrNull(next.RevokedAt), unixOrNull(next.InvalidityDate),
			uid, o.State.String(), o.Reason.String(), unixOr(o.RevokedAt, -1), unixOr(o.InvalidityDate, -1))
		switch {
		case err == nil:
			return changed, nil
		case !errors.Is(err, ErrNotFound):
			return o, err
		}
	}
}

// scan reads a row.
func scan(row interface{ Scan(...any) error }) (Object, error) {
	var o Object
	var serial []byte
	var state, reason string
	var revokedAt, compromisedAt sql.NullInt64
	var notAfter int64
	err := row.Scan(&o.UID, &o.Kind, &o.Name, &o.IssuerUID, &serial, &state, &reason, &revokedAt, &compromisedAt, &notAfter, &o.DER)
	if errors.Is(err, sql.ErrNoRows) {
		return Object{}, ErrNotFound
	}
	if err != nil {
		return Object{}, err
	}
	if o.State, err = ocsp.ParseState(state); err == nil {
		o.Reason, err = ocsp.ParseReason(reason)
	}
	if err != nil {
		return Object{}, fmt.Errorf("%w: %w", ocsp.ErrInvalidRecord, err)
	}
	o.Serial = new(big.Int).SetBytes(serial)
	o.RevokedAt, o.InvalidityDate, o.NotAfter = timeOrZero(revokedAt), timeOrZero(compromisedAt), time.Unix(notAfter, 0).UTC()
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
