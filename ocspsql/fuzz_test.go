package ocspsql

import (
	"bytes"
	"database/sql"
	"errors"
	"math/big"
	"testing"

	"github.com/kmsocsp/ocsp"
)

// fuzzRow is a row of any values.
type fuzzRow []any

func (r fuzzRow) Scan(dest ...any) error {
	if len(dest) != len(r) {
		return errors.New("another number of columns")
	}
	for i, d := range dest {
		if err := d.(sql.Scanner).Scan(r[i]); err != nil {
			return err
		}
	}
	return nil
}

// FuzzScanRecord: a row is a record of known names, or ocsp.ErrInvalidRecord.
func FuzzScanRecord(f *testing.F) {
	f.Add("Active", "", int64(0), "", uint8(0b10101000))
	f.Add("Deactivated", "certificateHold", int64(1_700_000_000), "-1", uint8(0))
	f.Add("Compromised", "bored", int64(-1), "yesterday", uint8(0xff))
	f.Fuzz(func(t *testing.T, state, reason string, revokedAt int64, text string, form uint8) {
		row := fuzzRow{state, reason, revokedAt, text, revokedAt}
		if form&1 != 0 {
			row[0], row[1] = []byte(state), []byte(reason)
		}
		if form&2 != 0 {
			row[4] = []byte(text)
		}
		for i := range row {
			if form>>(i+2)&1 != 0 {
				row[i] = nil
			}
		}
		r, err := ScanRecord(row)
		if err != nil {
			if !errors.Is(err, ocsp.ErrInvalidRecord) {
				t.Fatal(err)
			}
			return
		}
		if s, err := ocsp.ParseState(r.State.String()); err != nil || s != r.State {
			t.Fatalf("%+v: %v", r, err)
		}
		if s, err := ocsp.ParseReason(r.Reason.String()); err != nil || s != r.Reason {
			t.Fatalf("%+v: %v", r, err)
		}
		if row[0] != nil && r.State.String() != state || row[1] != nil && r.Reason.String() != reason {
			t.Fatalf("%+v of %q, %q", r, state, reason)
		}
		if row[2] != nil && r.RevokedAt.Unix() != revokedAt || row[2] == nil && !r.RevokedAt.IsZero() {
			t.Fatalf("%+v of %d", r, revokedAt)
		}
	})
}

// FuzzSerial: serials are read from the octets that they are written as, and from no others.
func FuzzSerial(f *testing.F) {
	for _, b := range []string{"", "\x00", "\x7f", "\x80", "\x00\x80", "\xff\x7f", "\xff\x80"} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := fromTwosComplement(b)
		again := twosComplement(n)
		minimal := len(b) == 1 ||
			len(b) > 1 && !(b[0] == 0 && b[1] < 0x80) && !(b[0] == 0xff && b[1] >= 0x80)
		if fromTwosComplement(again).Cmp(n) != 0 || minimal != bytes.Equal(again, b) {
			t.Fatalf("%x is %v, which is written as %x", b, n, again)
		}
		magnitude := new(big.Int).Abs(n)
		for _, form := range []SerialForm{Unsigned, Hex, HexOctets, Decimal} {
			if _, ok := form.arg(n); !ok && n.Sign() > 0 {
				t.Fatalf("form %d has no %v", form, magnitude)
			}
		}
	})
}
