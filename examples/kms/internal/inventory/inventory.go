// Package inventory stores the certificates of the example KMS with their KMIP states, in SQLite,
// PostgreSQL or Redis.
package inventory

import (
	"context"
	"errors"
	"math/big"
	"strings"

	"github.com/kmsocsp/ocsp"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")
	ErrInvalid  = errors.New("invalid")
)

// The kinds of objects.
const (
	KindCA          = "ca"
	KindResponder   = "responder"
	KindCertificate = "certificate"
)

// Object is a certificate. Its serial number is positive.
type Object struct {
	UID, Kind, Name, IssuerUID string
	Serial                     *big.Int
	ocsp.Record
	DER []byte
}

// Store holds objects. Other processes may use the same database.
type Store interface {
	// Insert adds an object, whose UID, and whose issuer and serial number, must both be new.
	Insert(ctx context.Context, o Object) error
	// Get returns the object with that UID, or ErrNotFound.
	Get(ctx context.Context, uid string) (Object, error)
	// BySerial returns the record of the certificate that the issuer issued under that serial
	// number, or ErrNotFound.
	BySerial(ctx context.Context, issuerUID string, serial *big.Int) (ocsp.Record, error)
	// List returns the objects of a kind, oldest first.
	List(ctx context.Context, kind string) ([]Object, error)
	// Apply makes a change to a certificate and returns the result. It is atomic: concurrent
	// changes, of this process or another, are applied one after the other. A revocation time
	// changes by a release only. With an error, which does not mean that nothing was written, it
	// returns the object as it was read before, or none if it was not read.
	Apply(ctx context.Context, uid string, c Change) (Object, error)
	Close() error
}

// The schemes of URLs that Open takes.
const (
	SQLite     = "sqlite"
	PostgreSQL = "postgres"
	Redis      = "redis"
)

// Open opens the store that the URL names and creates what is missing. A path in a URL of SQLite is
// relative to dir. The secret, of SecretSize octets, encrypts what is in Redis.
func Open(ctx context.Context, url, dir string, secret []byte) (Store, error) {
	switch scheme, rest, _ := strings.Cut(url, ":"); scheme {
	case SQLite:
		return openSQLite(ctx, dir, rest)
	case Redis:
		return openRedis(url, secret)
	default:
		return openPostgreSQL(ctx, url)
	}
}
