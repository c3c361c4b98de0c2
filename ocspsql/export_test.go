package ocspsql

import (
	"context"
	"database/sql"
)

// LookupSQL is the statement of Store.FindBySerial.
func LookupSQL(d Dialect) string { return d.bind(selectRecord) }

// SerialsSQL is the statement of Store.Serials.
func SerialsSQL(d Dialect) string { return d.bind(selectSerials) }

// Versions is how many migrations there are.
func Versions(d Dialect) int { return len(migrations[d]) }

// MigrateTo is Migrate up to an earlier version.
func MigrateTo(ctx context.Context, db *sql.DB, d Dialect, version int) error {
	return migrateTo(ctx, db, d, version)
}

var (
	EncodeSerial = twosComplement
	DecodeSerial = fromTwosComplement
)
