package main

import (
	"context"
	"math/big"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp"
)

// The kinds of objects.
const (
	kindCA          = "ca"
	kindResponder   = "responder"
	kindCertificate = "certificate"
)

// object is what the store has of a certificate. Its serial number is positive.
type object struct {
	uid, kind, name, issuerUID string
	serial                     *big.Int
	state                      ocsp.State
	reason                     ocsp.Reason
	revokedAt, compromisedAt   time.Time // zero: not
	notAfter                   time.Time
	der                        []byte
}

// record returns the state, as the responder wants it.
func (o object) record() ocsp.Record {
	return ocsp.Record{State: o.state, Reason: o.reason, RevokedAt: o.revokedAt, CompromisedAt: o.compromisedAt, NotAfter: o.notAfter}
}

// with returns the object in another state.
func (o object) with(r ocsp.Record) object {
	o.state, o.reason, o.revokedAt, o.compromisedAt, o.notAfter = r.State, r.Reason, r.RevokedAt, r.CompromisedAt, r.NotAfter
	return o
}

// store keeps objects. Other processes may use what it is made on too.
type store interface {
	// insert adds an object. Neither its uid nor its issuer and serial number may be there.
	insert(ctx context.Context, o object) error
	// get returns the object with that uid, or errNotFound.
	get(ctx context.Context, uid string) (object, error)
	// bySerial returns what the issuer issued under that serial number, or errNotFound.
	bySerial(ctx context.Context, issuerUID string, serial *big.Int) (object, error)
	// list returns the objects of a kind, oldest first.
	list(ctx context.Context, kind string) ([]object, error)
	// apply makes a change to a certificate and returns the result. Whoever else writes meanwhile, from this
	// process or another, neither undoes what the other did. A revocation time, once there, never moves.
	apply(ctx context.Context, uid string, c change) (object, error)
	close() error
}

// open opens what the URL names, and makes what is missing. The secret encrypts what is in Redis.
func (c storeConfig) open(ctx context.Context, dir string, secret []byte) (store, error) {
	switch scheme, rest, _ := strings.Cut(c.URL, ":"); scheme {
	case schemeSQLite:
		return openSQLite(ctx, dir, rest)
	case schemeRedis:
		return openRedis(c.URL, secret)
	default:
		return openPostgreSQL(ctx, c.URL)
	}
}
