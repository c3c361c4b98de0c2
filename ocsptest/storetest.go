package ocsptest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp"
)

// StoreFixture is a store to be tested, and the means to fill it.
type StoreFixture struct {
	// Store is what is tested. Required.
	Store ocsp.CertStore

	// Put writes the record of a certificate: a new one, or a revocation in place of a good record. It is never
	// asked to undo a revocation, and is called concurrently. Required.
	Put func(ctx context.Context, issuerID string, serial *big.Int, record ocsp.Record) error

	// PutCA is Put for the certificate of a subordinate CA. Nil is Put, for stores that cannot tell them apart.
	PutCA func(ctx context.Context, issuerID string, serial *big.Int, record ocsp.Record) error

	// IssuerIDs are two issuers that certificates can be put under. Required.
	IssuerIDs [2]string

	// Reasons are the reasons that the store knows, such as the seven of KMIP. Put is called with no others, and
	// always also with none. Zero is all ten.
	Reasons []ocsp.Reason
}

// TestStore checks that a store keeps the contract of [ocsp.CertStore]. It returns nil, or an error that joins
// all it found, each naming the check that failed. Run it under the race detector, and against the database
// that production uses:
//
//	if err := ocsptest.TestStore(ocsptest.StoreFixture{Store: s, Put: put, IssuerIDs: [2]string{"ca-1", "ca-2"}}); err != nil {
//		t.Fatal(err)
//	}
//
// Serial numbers are random, so the store need not be empty, nor be emptied; some have a first octet below 16, which
// not all write alike in hex. The optional fields of a Record may be dropped by the store, but not changed; the reason
// a state implies may be given for none. Put is called for each State with each of the Reasons: CertificateHold in the
// state Deactivated only, and beside a State that is good RemoveFromCRL only. RemoveFromCRL releases nothing: the
// State must stay what it is, while the store may keep Unspecified for it, and no reason beside a good State.
//
// Under a context that has ended already the store must return within 10 seconds, with an error or with what is true:
// one that need not wait need not look at it, but ErrNotFound for a certificate that is there is a fault. Whether a
// store gives up when its context ends meanwhile is not tried.
func TestStore(f StoreFixture) error {
	switch {
	case f.Store == nil:
		return errors.New("ocsptest: store: the fixture's Store is nil")
	case f.Put == nil:
		return errors.New("ocsptest: store: the fixture's Put is nil")
	case f.IssuerIDs[0] == "" || f.IssuerIDs[0] == f.IssuerIDs[1]:
		return errors.New("ocsptest: store: the fixture's IssuerIDs must be two different ones")
	}
	for _, reason := range f.Reasons {
		if reason == 0 || reason > ocsp.AACompromise {
			return fmt.Errorf("ocsptest: store: the fixture's Reasons have %d, which is no reason: use those of package ocsp", uint8(reason))
		}
	}
	if len(f.Reasons) == 0 {
		f.Reasons = nil // it may have memory of the caller's
		for reason := ocsp.Unspecified; reason <= ocsp.AACompromise; reason++ {
			f.Reasons = append(f.Reasons, reason)
		}
	}
	if f.PutCA == nil {
		f.PutCA = f.Put
	}
	var found []error
	for _, check := range []struct {
		name string
		run  func(*StoreFixture) error
	}{
		{"issuer binding", (*StoreFixture).checkIssuers},
		{"never issued", (*StoreFixture).checkNeverIssued},
		{"serial numbers", (*StoreFixture).checkSerials},
		{"states and reasons", (*StoreFixture).checkStates},
		{"times", (*StoreFixture).checkTimes},
		{"CA certificates", (*StoreFixture).checkCAs},
		{"ownership of the serial", (*StoreFixture).checkOwnership},
		{"cancelled context", (*StoreFixture).checkCancelled},
		{"concurrent revocation", (*StoreFixture).checkConcurrent},
	} {
		if err := check.run(&f); err != nil {
			found = append(found, fmt.Errorf("ocsptest: store: %s: %w", check.name, err))
		}
	}
	return errors.Join(found...)
}

// checkIssuers puts one serial number under two issuers.
func (f *StoreFixture) checkIssuers() error {
	a, b := f.IssuerIDs[0], f.IssuerIDs[1]
	both, one := newSerial(16, false), newSerial(16, false)
	active, revoked := goodRecord(), f.revokedRecord(ocsp.Compromised, ocsp.KeyCompromise)
	return errors.Join(
		f.put(a, both, active), f.put(b, both, revoked), f.put(a, one, active),
		f.want(a, both, active), f.want(b, both, revoked), f.want(a, one, active),
		f.wantNotFound(b, one, "a serial number that only another issuer used"),
	)
}

// checkNeverIssued asks for serial numbers that were never put, among them such as only the network brings.
func (f *StoreFixture) checkNeverIssued() error {
	var errs []error
	for _, issuer := range f.IssuerIDs {
		errs = append(errs,
			f.wantNotFound(issuer, newSerial(16, false), "a serial number never put"),
			f.wantNotFound(issuer, new(big.Int), "the serial number zero"),
			f.wantNotFound(issuer, new(big.Int).Neg(newSerial(16, false)), "a negative serial number"),
			f.wantNotFound(issuer, newSerial(64, false), "a serial number of 64 octets"),
			f.wantNotFound(issuer, new(big.Int).Neg(newSerial(63, false)), "a negative serial number of 63 octets"),
		)
	}
	return errors.Join(errs...)
}

// checkSerials puts serial numbers of several lengths, and asks for others that a lossy encoding would take
// for them.
func (f *StoreFixture) checkSerials() error {
	issuer, record := f.IssuerIDs[0], goodRecord()
	var errs []error
	for _, octets := range []int{8, 9, 16, 20} {
		for _, serial := range []*big.Int{newSerial(octets, false), newSerial(octets, true), newLowSerial(octets)} {
			if err := f.put(issuer, serial, record); err != nil {
				errs = append(errs, err)
				continue
			}
			power := new(big.Int).Lsh(big.NewInt(1), uint(8*octets))
			top := new(big.Int).Lsh(big.NewInt(1), uint(8*(octets-1)))
			errs = append(errs,
				f.want(issuer, serial, record),
				f.wantNotFound(issuer, new(big.Int).Neg(serial), "another's serial number with the sign changed"),
				f.wantNotFound(issuer, new(big.Int).Sub(serial, power), "the negative serial number with another's octets"),
				f.wantNotFound(issuer, new(big.Int).Add(serial, power), "another's serial number with an octet before it"),
				f.wantNotFound(issuer, new(big.Int).Xor(serial, top), "another's serial number with its first octet changed"),
				f.wantNotFound(issuer, new(big.Int).Mod(serial, top), "another's serial number without its first octet"),
				f.wantNotFound(issuer, new(big.Int).Lsh(serial, 8), "another's serial number with an octet behind it"),
			)
		}
	}
	return errors.Join(errs...)
}

// checkStates puts every state with every reason that it may have.
func (f *StoreFixture) checkStates() error {
	var errs []error
	try := func(record ocsp.Record) {
		serial := newSerial(16, false)
		if err := f.put(f.IssuerIDs[0], serial, record); err != nil {
			errs = append(errs, err)
			return
		}
		errs = append(errs, f.want(f.IssuerIDs[0], serial, record))
	}
	for _, state := range []ocsp.State{ocsp.PreActive, ocsp.Active} {
		try(ocsp.Record{State: state})
		if slices.Contains(f.Reasons, ocsp.RemoveFromCRL) {
			try(ocsp.Record{State: state, Reason: ocsp.RemoveFromCRL})
		}
	}
	for state := ocsp.Deactivated; state <= ocsp.DestroyedCompromised; state++ {
		try(f.revokedRecord(state, 0))
		for _, reason := range f.Reasons {
			if reason != ocsp.CertificateHold || state == ocsp.Deactivated {
				try(f.revokedRecord(state, reason))
			}
		}
	}
	return errors.Join(errs...)
}

// checkTimes puts times with fractions, zones and far years, and reads them more than once.
func (f *StoreFixture) checkTimes() error {
	issuer := f.IssuerIDs[0]
	at := time.Date(2031, 7, 1, 23, 59, 59, 0, time.UTC)
	var errs []error
	for _, record := range []ocsp.Record{
		// RFC 5280 section 4.1.2.5 has certificates without an end expire at the last second of 9999.
		{State: ocsp.Active, NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
		{State: ocsp.Compromised, RevokedAt: at, InvalidityDate: at.AddDate(-1, 0, 0), NotAfter: at.AddDate(30, 0, 0)},
		{State: ocsp.Compromised, RevokedAt: at.In(time.FixedZone("", 5*3600+1800)), InvalidityDate: at.In(time.FixedZone("", -8*3600))},
		{State: ocsp.Deactivated, RevokedAt: at.Add(750 * time.Millisecond)},
		{State: ocsp.Deactivated, RevokedAt: time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)},
	} {
		serial := newSerial(16, false)
		if err := f.put(issuer, serial, record); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, f.want(issuer, serial, record))
		first, err := f.find(issuer, serial)
		if err != nil {
			continue // want has said it
		}
		for range 3 {
			again, err := f.find(issuer, serial)
			if err == nil && (!again.RevokedAt.Equal(first.RevokedAt) || !again.InvalidityDate.Equal(first.InvalidityDate) || !again.NotAfter.Equal(first.NotAfter)) {
				err = fmt.Errorf("serial %x: the times moved between two reads: first %s, then %s", serial, describe(first), describe(again))
			}
			if err != nil {
				errs = append(errs, err)
				break
			}
		}
	}
	return errors.Join(errs...)
}

// checkCAs puts certificates of subordinate CAs, which are certificates like any other.
func (f *StoreFixture) checkCAs() error {
	issuer, serial, other := f.IssuerIDs[0], newSerial(20, true), newSerial(20, true)
	active, revoked := goodRecord(), f.revokedRecord(ocsp.Deactivated, ocsp.CACompromise)
	return errors.Join(
		f.wrapPut(f.PutCA, issuer, serial, active), f.wrapPut(f.PutCA, issuer, other, revoked),
		f.want(issuer, serial, active), f.want(issuer, other, revoked),
		f.wantNotFound(f.IssuerIDs[1], serial, "a CA certificate of another issuer"),
	)
}

// checkOwnership reuses the serial it handed to the store for another number, as a caller with a pool would.
func (f *StoreFixture) checkOwnership() error {
	issuer, serial, never := f.IssuerIDs[0], newSerial(16, false), newSerial(16, false)
	record := f.revokedRecord(ocsp.Deactivated, ocsp.Superseded)
	if err := f.put(issuer, serial, record); err != nil {
		return err
	}
	handed := new(big.Int).Set(serial)
	if _, err := f.Store.FindBySerial(context.Background(), issuer, handed); err != nil {
		return fmt.Errorf("serial %x: %w", serial, err)
	}
	if handed.Cmp(serial) != 0 {
		return fmt.Errorf("the store changed the serial that it was handed from %x to %x", serial, handed)
	}
	// The same *big.Int, and the same memory behind it.
	copy(handed.Bits(), never.Bits())
	return errors.Join(
		f.wantNotFound(issuer, never, "the number that a serial handed to the store was changed to afterwards"),
		f.want(issuer, serial, record),
	)
}

// endedWait is how long a store may take under a context that has ended already.
const endedWait = 10 * time.Second

// checkCancelled asks under contexts that have ended, and then whether the store has survived it. What it answers must
// be true all the same, and an error is as good; ErrNotFound is true of a number that was never put.
func (f *StoreFixture) checkCancelled() error {
	issuer, serial, record := f.IssuerIDs[0], newSerial(16, false), goodRecord()
	if err := f.put(issuer, serial, record); err != nil {
		return err
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	expired, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
	defer cancel()
	var errs []error
	for _, ctx := range []context.Context{cancelled, expired} {
		for _, s := range []*big.Int{serial, newSerial(16, false)} {
			type answer struct {
				record ocsp.Record
				err    error
			}
			answers := make(chan answer, 1)
			go func() {
				record, err := f.Store.FindBySerial(ctx, issuer, new(big.Int).Set(s))
				answers <- answer{record, err}
			}()
			var got answer
			select {
			case got = <-answers:
			case <-time.After(endedWait):
				return fmt.Errorf("no answer within %v under a context that has ended (%w)", endedWait, ctx.Err())
			}
			var err error
			switch {
			case got.err == nil && s == serial:
				err = same(record, got.record)
			case got.err == nil:
				err = errors.New("a serial number never put was found")
			case s == serial && errors.Is(got.err, ocsp.ErrNotFound) && !errors.Is(got.err, ocsp.ErrInvalidRecord):
				err = errors.New("ErrNotFound for a certificate that is there: a read that was not made is no proof that it was never issued")
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("under a context that has ended (%w): %w", ctx.Err(), err))
			}
		}
	}
	return errors.Join(append(errs, f.want(issuer, serial, record))...)
}

// checkConcurrent revokes certificates while others read them: once Put has returned, no read that begins may
// say anything but revoked.
func (f *StoreFixture) checkConcurrent() error {
	const certificates, readers, more = 6, 3, 20
	issuer := f.IssuerIDs[0]
	var wg sync.WaitGroup
	errs := make(chan error, certificates*(readers+1))
	for range certificates {
		wg.Go(func() {
			serial, good, revoked := newSerial(20, true), goodRecord(), f.revokedRecord(ocsp.Compromised, ocsp.KeyCompromise)
			revoked.NotAfter = good.NotAfter
			if err := f.put(issuer, serial, good); err != nil {
				errs <- err
				return
			}
			var done atomic.Bool
			var started, ended sync.WaitGroup
			started.Add(readers)
			for range readers {
				ended.Go(func() {
					started.Done()
					for left := more; left > 0; {
						after := done.Load()
						if after {
							left--
						}
						record, err := f.find(issuer, serial)
						if err == nil && after {
							err = same(revoked, record)
						}
						if err != nil {
							errs <- fmt.Errorf("serial %x, read while it was revoked (Put had returned: %t): %w", serial, after, err)
							return
						}
					}
				})
			}
			started.Wait()
			if err := f.put(issuer, serial, revoked); err != nil {
				errs <- err
			}
			done.Store(true)
			ended.Wait()
		})
	}
	wg.Wait()
	close(errs)
	return <-errs // one says enough
}

func (f *StoreFixture) put(issuerID string, serial *big.Int, record ocsp.Record) error {
	return f.wrapPut(f.Put, issuerID, serial, record)
}

func (f *StoreFixture) wrapPut(put func(context.Context, string, *big.Int, ocsp.Record) error, issuerID string, serial *big.Int, record ocsp.Record) error {
	if err := put(context.Background(), issuerID, new(big.Int).Set(serial), record); err != nil {
		return fmt.Errorf("the fixture could not put %s as %x: %w", describe(record), serial, err)
	}
	return nil
}

func (f *StoreFixture) find(issuerID string, serial *big.Int) (ocsp.Record, error) {
	return f.Store.FindBySerial(context.Background(), issuerID, new(big.Int).Set(serial))
}

func (f *StoreFixture) want(issuerID string, serial *big.Int, want ocsp.Record) error {
	got, err := f.find(issuerID, serial)
	if err == nil {
		err = same(want, got)
	}
	if err != nil {
		return fmt.Errorf("issuer %q, serial %x: %w", issuerID, serial, err)
	}
	return nil
}

func (f *StoreFixture) wantNotFound(issuerID string, serial *big.Int, what string) error {
	record, err := f.find(issuerID, serial)
	switch {
	case err == nil:
		return fmt.Errorf("%s (issuer %q, serial %x) was found: %s", what, issuerID, serial, describe(record))
	case errors.Is(err, ocsp.ErrInvalidRecord):
		return fmt.Errorf("%s (issuer %q, serial %x) gave an error that wraps ErrInvalidRecord: %w", what, issuerID, serial, err)
	case !errors.Is(err, ocsp.ErrNotFound):
		return fmt.Errorf("%s (issuer %q, serial %x) gave an error that is not ErrNotFound: %w", what, issuerID, serial, err)
	}
	return nil
}

// same compares what was put with what was found.
func same(put, got ocsp.Record) error {
	implied := func(r ocsp.Record) ocsp.Reason {
		good := r.State == ocsp.PreActive || r.State == ocsp.Active
		switch {
		case r.Reason == ocsp.RemoveFromCRL && good:
			return 0
		case r.Reason == ocsp.RemoveFromCRL:
			return ocsp.Unspecified
		case r.Reason != 0 || good:
			return r.Reason
		case r.State == ocsp.Compromised || r.State == ocsp.DestroyedCompromised:
			return ocsp.KeyCompromise
		default:
			return ocsp.CessationOfOperation
		}
	}
	field := ""
	switch {
	case got.State != put.State:
		field = "State"
	case implied(got) != implied(put):
		field = "Reason"
	case !sameSecond(put.RevokedAt, got.RevokedAt):
		field = "RevokedAt"
	case !got.InvalidityDate.IsZero() && !sameSecond(put.InvalidityDate, got.InvalidityDate):
		field = "InvalidityDate"
	case !got.NotAfter.IsZero() && !sameSecond(put.NotAfter, got.NotAfter):
		field = "NotAfter"
	default:
		return nil
	}
	return fmt.Errorf("another %s than was put: put %s, found %s", field, describe(put), describe(got))
}

// sameSecond allows for a fraction to be cut or rounded, and for no other change.
func sameSecond(put, got time.Time) bool {
	if put.IsZero() || got.IsZero() {
		return put.IsZero() && got.IsZero()
	}
	return got.Sub(put).Abs() < time.Second
}

func describe(r ocsp.Record) string {
	text := r.State.String()
	if r.Reason != 0 {
		text += " " + r.Reason.String()
	}
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"RevokedAt", r.RevokedAt}, {"InvalidityDate", r.InvalidityDate}, {"NotAfter", r.NotAfter}} {
		if !t.at.IsZero() {
			text += " " + t.name + "=" + t.at.Format(time.RFC3339Nano)
		}
	}
	return text
}

func goodRecord() ocsp.Record {
	return ocsp.Record{State: ocsp.Active, NotAfter: time.Date(2040, 2, 29, 12, 0, 1, 0, time.UTC)}
}

// revokedRecord returns a revoked record, without that reason if the store does not know it.
func (f *StoreFixture) revokedRecord(state ocsp.State, reason ocsp.Reason) ocsp.Record {
	if !slices.Contains(f.Reasons, reason) {
		reason = 0
	}
	return ocsp.Record{State: state, Reason: reason, RevokedAt: time.Date(2030, 2, 28, 1, 2, 3, 0, time.UTC)}
}

// newLowSerial returns a random positive number of so many octets whose first begins with four bits of zero, so that
// text in hex has an odd number of digits, or a zero before them.
func newLowSerial(octets int) *big.Int {
	n := newSerial(octets, false)
	return n.Rsh(n, 4)
}

// newSerial returns a random positive number of so many octets, with the highest bit set or not.
func newSerial(octets int, high bool) *big.Int {
	b := make([]byte, octets)
	outside(func() { _, _ = rand.Read(b) }) // does not fail since Go 1.24
	b[0] = b[0]&0x7f | 0x40
	if high {
		b[0] |= 0x80
	}
	return new(big.Int).SetBytes(b)
}
