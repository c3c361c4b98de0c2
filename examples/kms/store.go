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
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/kmsocsp/ocsp"
)

// The kinds of objects.
const (
	kindCA          = "ca"
	kindResponder   = "responder"
	kindCertificate = "certificate"
)

// object is a row of the table. Its serial number is positive.
type object struct {
	uid, kind, name, issuerUID string
	serial                     *big.Int
	state                      ocsp.State
	reason                     ocsp.Reason
	revokedAt, compromisedAt   time.Time // zero: not
	notAfter                   time.Time
	der                        []byte
}

// The checks keep out what an ocsp.Record must not be: a revoked state without a time, or a good one with any
// sign of a revocation.
const schema = `
CREATE TABLE IF NOT EXISTS objects (
	uid            TEXT    NOT NULL PRIMARY KEY,
	kind           TEXT    NOT NULL CHECK (kind IN ('ca', 'responder', 'certificate')),
	name           TEXT    NOT NULL,
	issuer_uid     TEXT    NOT NULL,
	serial         BLOB    NOT NULL CHECK (length(serial) BETWEEN 1 AND 20),
	state          TEXT    NOT NULL CHECK (state IN ('PreActive', 'Active', 'Deactivated', 'Compromised', 'Destroyed', 'DestroyedCompromised')),
	reason         TEXT    NOT NULL,
	revoked_at     INTEGER,
	compromised_at INTEGER CHECK (compromised_at >= 0),
	not_after      INTEGER NOT NULL,
	certificate    BLOB    NOT NULL,
	CHECK ((state IN ('PreActive', 'Active')) = (revoked_at IS NULL)),
	CHECK (revoked_at IS NOT NULL OR (reason = '' AND compromised_at IS NULL))
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS objects_by_serial ON objects (issuer_uid, serial);`

const (
	databaseFile   = "kms.db"
	maxConnections = 16
	columns        = "uid, kind, name, issuer_uid, serial, state, reason, revoked_at, compromised_at, not_after, certificate"
)

// store is the SQLite file. Other processes may have it open too.
type store struct {
	db *sql.DB
}

// openStore opens the file, and creates it if it is not there.
func openStore(ctx context.Context, dir string) (*store, error) {
	path, err := filepath.Abs(filepath.Join(dir, databaseFile))
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
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	// Reads queue up for these instead of opening files for as many clients as there are.
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return &store{db}, nil
}

func (s *store) close() error { return s.db.Close() }

// insert adds an object.
func (s *store) insert(ctx context.Context, o object) error {
	_, err := s.db.ExecContext(ctx, "INSERT INTO objects ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		o.uid, o.kind, o.name, o.issuerUID, o.serial.Bytes(), o.state.String(), o.reason.String(),
		unixOrNull(o.revokedAt), unixOrNull(o.compromisedAt), o.notAfter.Unix(), o.der)
	if err != nil {
		return fmt.Errorf("store %s: %w", o.uid, err)
	}
	return nil
}

// get returns the object with that uid.
func (s *store) get(ctx context.Context, uid string) (object, error) {
	o, err := scan(s.db.QueryRowContext(ctx, "SELECT "+columns+" FROM objects WHERE uid = ?", uid))
	if errors.Is(err, errNotFound) {
		err = fmt.Errorf("%w: no object has the uid %q", errNotFound, uid)
	}
	return o, err
}

// bySerial returns what the issuer issued under that serial number.
func (s *store) bySerial(ctx context.Context, issuerUID string, serial *big.Int) (object, error) {
	if serial.Sign() <= 0 {
		// Bytes drops the sign, which would find another certificate.
		return object{}, errNotFound
	}
	return scan(s.db.QueryRowContext(ctx, "SELECT "+columns+" FROM objects WHERE issuer_uid = ? AND serial = ?", issuerUID, serial.Bytes()))
}

// list returns the objects of a kind, oldest first.
func (s *store) list(ctx context.Context, kind string) ([]object, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT "+columns+" FROM objects WHERE kind = ? ORDER BY rowid", kind)
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

// apply makes a change to a certificate and returns the result. It writes only over the state that it has
// read: whoever else writes meanwhile, from this process or another, makes it look again, so neither undoes
// what the other did. A revocation time, once there, never moves.
func (s *store) apply(ctx context.Context, uid string, c change) (object, error) {
	for {
		o, err := s.get(ctx, uid)
		if err != nil {
			return object{}, err
		}
		if o.kind != kindCertificate {
			return object{}, fmt.Errorf("%w: %s is a %s, which stays as it is", errConflict, uid, o.kind)
		}
		to, err := c.action.next(o.state)
		if err != nil {
			return object{}, err
		}
		var revokedAt time.Time
		if c.action != activate {
			revokedAt = time.Now()
		}
		changed, err := scan(s.db.QueryRowContext(ctx, `
UPDATE objects SET
	state = ?,
	reason = coalesce(nullif(?, ''), reason),
	revoked_at = coalesce(revoked_at, ?),
	compromised_at = coalesce(?, compromised_at)
WHERE uid = ? AND state = ?
RETURNING `+columns,
			to.String(), c.reason.String(), unixOrNull(revokedAt), unixOrNull(c.compromisedAt), uid, o.state.String()))
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
	if o.state, err = ocsp.ParseState(state); err != nil {
		return object{}, err
	}
	if o.reason, err = ocsp.ParseReason(reason); err != nil {
		return object{}, err
	}
	o.serial = new(big.Int).SetBytes(serial)
	o.revokedAt, o.compromisedAt, o.notAfter = timeOrZero(revokedAt), timeOrZero(compromisedAt), time.Unix(notAfter, 0).UTC()
	return o, nil
}

func unixOrNull(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.Unix(), Valid: !t.IsZero()}
}

func timeOrZero(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.Unix(n.Int64, 0).UTC()
}
