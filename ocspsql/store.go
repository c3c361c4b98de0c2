package ocspsql

import (
	"context"
	"database/sql"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/kmsocsp/ocsp"
)

// Dialect is the kind of database that a Store speaks to. The zero value is none: Open and Migrate refuse it.
type Dialect uint8

// The dialects. Any driver for them will do.
const (
	PostgreSQL Dialect = iota + 1 // 12 or later, and what speaks its language
	SQLite                        // 3.37 or later
	MySQL                         // MySQL 8.0.16 or MariaDB 10.6, or later: older ones ignore CHECKs or tear an ALTER
)

// dialects lists what differs between them, by Dialect.
var dialects = [...]struct {
	name       string
	migrations string // folder
	numbered   bool   // placeholders are $1, $2, … and not ?
	upsert     string // the end of the INSERT of Import
}{
	PostgreSQL: {"PostgreSQL", "postgresql", true, upsertStandard},
	SQLite:     {"SQLite", "sqlite", false, upsertStandard},
	MySQL:      {"MySQL", "mysql", false, upsertMySQL},
}

func (d Dialect) valid() bool { return d > 0 && int(d) < len(dialects) }

// String returns the name of the constant.
func (d Dialect) String() string {
	if !d.valid() {
		return fmt.Sprintf("Dialect(%d)", uint8(d))
	}
	return dialects[d].name
}

func (d Dialect) check() error {
	if !d.valid() {
		return fmt.Errorf("ocspsql: %v is no dialect: use PostgreSQL, SQLite or MySQL", d)
	}
	return nil
}

// bind writes a statement's placeholders as the dialect does. Our statements have no other question marks.
func (d Dialect) bind(query string) string {
	if !dialects[d].numbered {
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

const (
	recordColumns = "state, reason, revoked_at, compromised_at, not_after"
	selectRecord  = "SELECT " + recordColumns + " FROM ocsp_certificates WHERE issuer = ? AND serial = ?"
)

// Store is the table ocsp_certificates: an ocsp.CertStore and the means to keep it. It is safe for concurrent
// use, also by many processes.
type Store struct {
	lookup
	db      *sql.DB
	dialect Dialect
}

var _ ocsp.CertStore = (*Store)(nil)

// Open prepares a Store over a database that Migrate has been run on. The database remains the caller's, who
// closes it after the Store.
func Open(ctx context.Context, db *sql.DB, dialect Dialect) (*Store, error) {
	if err := dialect.check(); err != nil {
		return nil, err
	}
	version, err := schemaVersion(ctx, db, dialect)
	if err != nil {
		return nil, fmt.Errorf("ocspsql: open: read the schema version: %w", err)
	}
	if latest := len(migrations[dialect]); version < latest {
		return nil, fmt.Errorf("ocspsql: open: the table ocsp_certificates has version %d, this program needs %d: run Migrate first", version, latest)
	}
	stmt, err := db.PrepareContext(ctx, dialect.bind(selectRecord))
	if err != nil {
		return nil, fmt.Errorf("ocspsql: open: prepare the lookup: %w", err)
	}
	return &Store{lookup{stmt, TwosComplement, ScanRecord}, db, dialect}, nil
}

// Close releases the prepared statement. It does not close the database.
func (s *Store) Close() error { return s.stmt.Close() }

// lookup is a prepared SELECT for the record of one certificate. Store and QueryStore are made of it.
type lookup struct {
	stmt   *sql.Stmt
	serial SerialForm
	scan   func(Row) (ocsp.Record, error)
}

// FindBySerial implements ocsp.CertStore. It is one round trip. The error is ocsp.ErrNotFound if the database
// has said that there is no such row, and only then. It wraps ocsp.ErrInvalidRecord if there is one that no answer
// can be made from, and is the driver's if the database fails.
func (l *lookup) FindBySerial(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
	record, err := l.find(ctx, issuerID, serial)
	if err != nil {
		return ocsp.Record{}, fmt.Errorf("ocspsql: find %s: %w", name(issuerID, serial), err)
	}
	return record, nil
}

func (l *lookup) find(ctx context.Context, issuerID string, serial *big.Int) (record ocsp.Record, err error) {
	arg, ok := l.serial.arg(serial)
	if !ok {
		return ocsp.Record{}, ocsp.ErrNotFound
	}
	rows, err := l.stmt.QueryContext(ctx, issuerID, arg)
	if err != nil {
		return ocsp.Record{}, err
	}
	defer func() {
		if closed := rows.Close(); err == nil {
			err = closed
		}
	}()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return ocsp.Record{}, err
		}
		return ocsp.Record{}, ocsp.ErrNotFound
	}
	if record, err = l.scan(rows); err != nil {
		return ocsp.Record{}, fmt.Errorf("the row cannot be read: %w", err)
	}
	if err := checkRecord(record); err != nil {
		return ocsp.Record{}, fmt.Errorf("the row makes no sense: %w: %w", ocsp.ErrInvalidRecord, err)
	}
	if rows.Next() {
		// To pick one of two would be to guess.
		return ocsp.Record{}, fmt.Errorf("the query returned more than one row: %w", ocsp.ErrInvalidRecord)
	}
	return record, rows.Err()
}

// name says which certificate an error is about. A serial from the network is not repeated at any length.
func name(issuerID string, serial *big.Int) string {
	text := serial.Text(16)
	if len(text) > 130 {
		text = text[:130] + "…"
	}
	return fmt.Sprintf("serial %s of issuer %q", text, issuerID)
}
