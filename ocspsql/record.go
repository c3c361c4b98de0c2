package ocspsql

import (
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/kmsocsp/ocsp"
)

// Row is a row of a result, such as *sql.Rows.
type Row interface {
	Scan(dest ...any) error
}

// ScanRecord reads a row of five columns: the name of the state ("Active"), the name of the reason in RFC 5280
// ("keyCompromise", or empty or NULL for none), and, in seconds since 1970 or NULL, when the certificate was
// revoked, when its key was compromised, and when it expires. Columns that are there but say something else give an
// error that wraps ocsp.ErrInvalidRecord.
func ScanRecord(row Row) (ocsp.Record, error) {
	var state, reason column[string]
	var revokedAt, compromisedAt, notAfter column[int64]
	if err := row.Scan(&state, &reason, &revokedAt, &compromisedAt, &notAfter); err != nil {
		return ocsp.Record{}, err
	}
	var record ocsp.Record
	err := errors.Join(
		state.wrong("state"), reason.wrong("reason"),
		revokedAt.wrong("time of revocation"), compromisedAt.wrong("time of compromise"), notAfter.wrong("time of expiry"))
	if err == nil {
		record.State, err = ocsp.ParseState(state.V)
	}
	if err == nil {
		record.Reason, err = ocsp.ParseReason(reason.V)
	}
	if err != nil {
		return ocsp.Record{}, fmt.Errorf("%w: %w", ocsp.ErrInvalidRecord, err)
	}
	record.RevokedAt, record.InvalidityDate, record.NotAfter = timeOf(revokedAt), timeOf(compromisedAt), timeOf(notAfter)
	return record, nil
}

// column is a value that may be NULL. It keeps what is wrong with it to itself, so that an error of the row's Scan is
// one of the connection.
type column[T any] struct {
	sql.Null[T]
	err error
}

// Scan implements sql.Scanner.
func (c *column[T]) Scan(value any) error {
	c.err = c.Null.Scan(value)
	return nil
}

func (c *column[T]) wrong(name string) error {
	if c.err != nil {
		return fmt.Errorf("the %s: %w", name, c.err)
	}
	return nil
}

func timeOf(seconds column[int64]) time.Time {
	if !seconds.Valid {
		return time.Time{}
	}
	return time.Unix(seconds.V, 0).UTC()
}

func secondsOf(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.Unix(), Valid: !t.IsZero()}
}

func isGood(state ocsp.State) bool { return state == ocsp.PreActive || state == ocsp.Active }

// checkRecord refuses what no answer can be made from. The CHECKs of the table say the same to whoever writes
// to it by hand.
func checkRecord(r ocsp.Record) error {
	if r.State < ocsp.PreActive || r.State > ocsp.DestroyedCompromised {
		return fmt.Errorf("the state %d is not a KMIP state", uint8(r.State))
	}
	if r.Reason > ocsp.AACompromise {
		return fmt.Errorf("the reason %d is not a revocation reason", uint8(r.Reason))
	}
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"revocation", r.RevokedAt}, {"compromise", r.InvalidityDate}, {"expiry", r.NotAfter}} {
		if y := t.at.UTC().Year(); y < 1 || y > 9999 {
			return fmt.Errorf("the time of %s is in the year %d: use seconds since 1970", t.name, y)
		}
	}
	switch {
	case isGood(r.State) && (plain(r).Reason != 0 || !r.RevokedAt.IsZero() || !r.InvalidityDate.IsZero()):
		return fmt.Errorf("the state %v has a reason or a time of revocation", r.State)
	case !isGood(r.State) && r.RevokedAt.IsZero():
		return fmt.Errorf("the state %v has no time of revocation", r.State)
	}
	return nil
}

// checkStored refuses what the table refuses, with an error that says more than the database's.
func checkStored(issuerID string, serial *big.Int, r ocsp.Record) error {
	if len(issuerID) == 0 || len(issuerID) > maxIssuer {
		return fmt.Errorf("the issuer's ID has %d octets: use 1 to %d", len(issuerID), maxIssuer)
	}
	if serial == nil {
		return errors.New("the serial is nil")
	}
	if n := len(twosComplement(serial)); n > maxSerial {
		return fmt.Errorf("the serial has %d octets: use up to %d", n, maxSerial)
	}
	if err := checkRecord(r); err != nil {
		return err
	}
	if r.Reason == ocsp.CertificateHold && r.State != ocsp.Deactivated {
		return fmt.Errorf("the state %v cannot be on hold: that is Deactivated", r.State)
	}
	return nil
}

// plain returns a record without RemoveFromCRL, which the table does not keep: Unspecified is answered alike, and
// beside a good state it is no reason.
func plain(r ocsp.Record) ocsp.Record {
	if r.Reason == ocsp.RemoveFromCRL {
		if r.Reason = ocsp.Unspecified; isGood(r.State) {
			r.Reason = 0
		}
	}
	return r
}

// The widths of the table's key.
const (
	maxIssuer = 255
	maxSerial = 64
)

// SerialForm is how a column holds serial numbers. The zero value is TwosComplement.
type SerialForm uint8

// The forms of serial numbers. A form that has no sign finds no negative serial, rather than another's.
//
// Hex and HexOctets differ for one random serial in 16, and in the wrong one that is not found, which is answered with
// a signed unknown. Both are lower case; docs/STORES.md has the query for upper case.
const (
	TwosComplement SerialForm = iota // octets, as in the certificate's DER: a high first bit means negative
	Unsigned                         // octets of the magnitude, as big.Int.Bytes writes it

	// Hex is text without leading zeros, such as "abc". Go's serial.Text(16) and the %x of a *big.Int write it, and
	// PostgreSQL's to_hex.
	Hex

	Decimal // text

	// HexOctets is text with two digits for each octet of the magnitude, such as "0abc". Go's
	// hex.EncodeToString(serial.Bytes()) writes it, the %x of a []byte, and PostgreSQL's encode(magnitude, 'hex'); in
	// upper case "openssl x509 -serial", the index of "openssl ca", and hex(magnitude) in SQLite and MySQL.
	HexOctets
)

// arg returns a serial as the argument of a query, or false if the form has no such number.
func (f SerialForm) arg(serial *big.Int) (any, bool) {
	switch f {
	case TwosComplement:
		return twosComplement(serial), true
	case Unsigned:
		return serial.Bytes(), serial.Sign() > 0
	case Hex:
		return serial.Text(16), serial.Sign() >= 0
	case HexOctets:
		text := serial.Text(16)
		if len(text)%2 == 1 {
			text = "0" + text
		}
		return text, serial.Sign() >= 0
	default:
		return serial.Text(10), true
	}
}

// twosComplement returns the one shortest encoding of a number, the content of its DER INTEGER.
func twosComplement(n *big.Int) []byte {
	if n.Sign() >= 0 {
		b := make([]byte, n.BitLen()/8+1) // one bit more than the magnitude, for the sign
		return n.FillBytes(b)
	}
	// The complement of −n−1 has the same bits as n.
	b := twosComplement(new(big.Int).Not(n))
	for i := range b {
		b[i] = ^b[i]
	}
	return b
}

// fromTwosComplement is its inverse.
func fromTwosComplement(b []byte) *big.Int {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}
