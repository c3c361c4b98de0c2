package ocspsql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/kmsocsp/ocsp"
)

// Query describes a lookup in a table of the host's own.
type Query struct {
	// SQL selects the record of one certificate, with the driver's placeholders: the first argument is the
	// issuer's ID, the second the serial. It must use an index that begins with both. Required.
	SQL string

	// Serial is how the table holds serial numbers. Zero is TwosComplement, the octets in the certificate.
	Serial SerialForm

	// Scan makes a record of the row. An error that is ocsp.ErrNotFound says that the certificate, though there
	// is a row, was never issued. Where the row is there but makes no record, for a state that it does not know
	// or a NULL, it should wrap ocsp.ErrInvalidRecord, so that nobody is told the good from before; one that wraps
	// both says that. Any other error is taken for an outage. It must not keep the row. Nil is ScanRecord, which does that.
	Scan func(Row) (ocsp.Record, error)
}

// QueryStore is an ocsp.CertStore over a table of the host's own. It is safe for concurrent use.
type QueryStore struct {
	lookup
}

var _ ocsp.CertStore = (*QueryStore)(nil)

// OpenQuery prepares a query and returns the store that it makes. It writes nothing. The database remains the
// caller's, who closes it after the store.
func OpenQuery(ctx context.Context, db *sql.DB, q Query) (*QueryStore, error) {
	switch {
	case q.SQL == "":
		return nil, errors.New("ocspsql: query: the field SQL is empty: give a SELECT")
	case q.Serial > HexOctets:
		return nil, fmt.Errorf("ocspsql: query: the field Serial is %d: use TwosComplement, Unsigned, Hex, Decimal or HexOctets", q.Serial)
	}
	if q.Scan == nil {
		q.Scan = ScanRecord
	}
	stmt, err := db.PrepareContext(ctx, q.SQL)
	if err != nil {
		return nil, fmt.Errorf("ocspsql: query: prepare: %w", err)
	}
	return &QueryStore{lookup{stmt, q.Serial, q.Scan}}, nil
}

// Close releases the prepared statement. It does not close the database.
func (s *QueryStore) Close() error { return s.stmt.Close() }
