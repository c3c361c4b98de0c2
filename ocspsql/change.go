package ocspsql

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp"
)

var (
	// ErrExists is wrapped by Issue's error when the issuer has used that serial number already.
	ErrExists = errors.New("ocspsql: the certificate exists")

	// ErrState is wrapped by an error that says that the certificate's state does not allow the change.
	ErrState = errors.New("ocspsql: the certificate's state does not allow it")
)

// Certificate is a row of the table.
type Certificate struct {
	IssuerID string
	Serial   *big.Int
	Record   ocsp.Record
}

// Revocation is how a certificate is revoked.
type Revocation struct {
	// Reason is why. Zero is what the state implies. CertificateHold can be released; every other is for good.
	// RemoveFromCRL releases nothing, and is kept as Unspecified.
	Reason ocsp.Reason

	// State is Compromised or Deactivated. Zero is Compromised for the reasons that are a compromise
	// (KeyCompromise, CACompromise and AACompromise), and Deactivated for the others.
	State ocsp.State

	// At is when, to the second. Zero is now.
	At time.Time

	// InvalidityDate is since when the key may have been in other hands. Zero is not known.
	InvalidityDate time.Time
}

const (
	insertColumns = "INSERT INTO ocsp_certificates (issuer, serial, state, reason, revoked_at, not_after, compromised_at) VALUES "
	insertRow     = "(?, ?, ?, ?, ?, ?, ?)"
	insertArgs    = 7

	whereCertificate = " WHERE issuer = ? AND serial = ? AND "
	isGoodSQL        = "state IN ('PreActive', 'Active')"
)

func (c Certificate) insertArgs() []any {
	r := plain(c.Record)
	return []any{
		c.IssuerID, twosComplement(c.Serial), r.State.String(), r.Reason.String(),
		secondsOf(r.RevokedAt), secondsOf(r.NotAfter), secondsOf(r.InvalidityDate),
	}
}

// Issue adds a certificate, PreActive or Active. Call it before the certificate leaves the CA, or its first user
// is told that it does not exist. The error is ErrExists if the issuer has used that serial already.
func (s *Store) Issue(ctx context.Context, c Certificate) error {
	err := checkStored(c.IssuerID, c.Serial, c.Record)
	if err == nil && !isGood(c.Record.State) {
		err = fmt.Errorf("the state %v is not one to issue in: use Import for what was revoked elsewhere", c.Record.State)
	}
	if err != nil {
		return fmt.Errorf("ocspsql: issue in the name of %q: %w", c.IssuerID, err)
	}
	_, err = s.db.ExecContext(ctx, s.dialect.bind(insertColumns+insertRow), c.insertArgs()...)
	if err == nil {
		return nil
	}
	// Each driver has an error of its own for a key that is there. The table has the same answer for all.
	if _, found := s.find(ctx, c.IssuerID, c.Serial); found == nil || errors.Is(found, ocsp.ErrInvalidRecord) {
		err = fmt.Errorf("%w: %w", ErrExists, err)
	}
	return fmt.Errorf("ocspsql: issue %s: %w", name(c.IssuerID, c.Serial), err)
}

// Revoke revokes a certificate and reports whether that changed anything. When it has returned without an
// error the certificate is revoked, whoever did it, so it may be repeated. A certificate that is revoked
// already stays as it is, but for two changes for the worse: a hold becomes final, and a deactivated or
// destroyed certificate compromised. The time of the first revocation always stands.
//
// The error is ocsp.ErrNotFound if there is no such certificate, and ErrState if one that is on hold would become
// Deactivated with RemoveFromCRL: it stays on hold, since that may be meant as Release.
func (s *Store) Revoke(ctx context.Context, issuerID string, serial *big.Int, r Revocation) (changed bool, err error) {
	if r.State == 0 {
		r.State = ocsp.Deactivated
		switch r.Reason {
		case ocsp.KeyCompromise, ocsp.CACompromise, ocsp.AACompromise:
			r.State = ocsp.Compromised
		}
	}
	if r.At.IsZero() {
		r.At = time.Now()
	}
	err = checkStored(issuerID, serial, ocsp.Record{State: r.State, Reason: r.Reason, RevokedAt: r.At, InvalidityDate: r.InvalidityDate})
	if err == nil && r.State != ocsp.Deactivated && r.State != ocsp.Compromised {
		err = fmt.Errorf("the state %v is not one to revoke to: use Deactivated or Compromised", r.State)
	}
	if err != nil {
		return false, fmt.Errorf("ocspsql: revoke: %w", err)
	}
	refuse := func(ocsp.Record) error { return nil }
	held := func(now ocsp.Record) bool { return now.State == ocsp.Deactivated && now.Reason == ocsp.CertificateHold }
	state, from, applies := "'Deactivated'", "("+isGoodSQL+" OR state = 'Deactivated' AND reason = 'certificateHold')",
		func(now ocsp.Record) bool { return isGood(now.State) || held(now) }
	switch {
	case r.Reason == ocsp.CertificateHold:
		from, applies = isGoodSQL, func(now ocsp.Record) bool { return isGood(now.State) }
	case r.Reason == ocsp.RemoveFromCRL && r.State == ocsp.Deactivated:
		from, applies = isGoodSQL, func(now ocsp.Record) bool { return isGood(now.State) }
		refuse = func(now ocsp.Record) error {
			if held(now) {
				return fmt.Errorf("%w: it is on hold: use Release to release it, or another reason than removeFromCRL to revoke it for good", ErrState)
			}
			return nil
		}
	case r.State == ocsp.Compromised:
		state = "CASE state WHEN 'Destroyed' THEN 'DestroyedCompromised' ELSE 'Compromised' END"
		from = "state IN ('PreActive', 'Active', 'Deactivated', 'Destroyed')"
		applies = func(now ocsp.Record) bool {
			return now.State != ocsp.Compromised && now.State != ocsp.DestroyedCompromised
		}
	}
	return s.change(ctx, "revoke", issuerID, serial, update{
		// MySQL evaluates from left to right with what it has set so far, so the state comes last.
		sql: "UPDATE ocsp_certificates SET reason = ?, compromised_at = COALESCE(?, compromised_at), revoked_at = COALESCE(revoked_at, ?), state = " +
			state + whereCertificate + from,
		args:    []any{plain(ocsp.Record{State: r.State, Reason: r.Reason}).Reason.String(), secondsOf(r.InvalidityDate), secondsOf(r.At)},
		applies: applies,
		refuse:  refuse,
	})
}

// Release ends a hold: the certificate is Active again. It reports whether that changed anything; what is good
// stays so. The error is ErrState if the certificate is revoked for good, and ocsp.ErrNotFound if there is none.
func (s *Store) Release(ctx context.Context, issuerID string, serial *big.Int) (changed bool, err error) {
	return s.change(ctx, "release", issuerID, serial, update{
		sql: "UPDATE ocsp_certificates SET reason = '', compromised_at = NULL, revoked_at = NULL, state = 'Active'" +
			whereCertificate + "state = 'Deactivated' AND reason = 'certificateHold'",
		applies: func(now ocsp.Record) bool {
			return now.State == ocsp.Deactivated && now.Reason == ocsp.CertificateHold
		},
		refuse: func(now ocsp.Record) error {
			if isGood(now.State) {
				return nil
			}
			return fmt.Errorf("%w: it is %v, and not on hold", ErrState, now.State)
		},
	})
}

// transitions lists, for each state, those that SetState leads to it from. None leads from a revoked state to a
// good one.
var transitions = map[ocsp.State][]ocsp.State{
	ocsp.Active:               {ocsp.PreActive},
	ocsp.Deactivated:          {ocsp.PreActive, ocsp.Active},
	ocsp.Compromised:          {ocsp.PreActive, ocsp.Active, ocsp.Deactivated},
	ocsp.Destroyed:            {ocsp.PreActive, ocsp.Active, ocsp.Deactivated},
	ocsp.DestroyedCompromised: {ocsp.PreActive, ocsp.Active, ocsp.Deactivated, ocsp.Compromised, ocsp.Destroyed},
}

// stateIn is the condition that a state is one of those.
func stateIn(states []ocsp.State) string {
	names := make([]string, len(states))
	for i, state := range states {
		names[i] = "'" + state.String() + "'"
	}
	return "state IN (" + strings.Join(names, ", ") + ")"
}

// SetState moves a certificate along the KMIP life cycle, and reports whether that changed anything: from
// PreActive to Active, and from there, as of now, to the revoked states, each of which only leads to worse ones.
// The reason stays if the new state allows it; a hold ends, and a compromise has its own. The error is ErrState
// if there is no way, above all none back to good, and ocsp.ErrNotFound if there is no such certificate.
func (s *Store) SetState(ctx context.Context, issuerID string, serial *big.Int, state ocsp.State) (changed bool, err error) {
	from, ok := transitions[state]
	if !ok {
		return false, fmt.Errorf("ocspsql: set state: %w: %v is not a state to change to", ErrState, state)
	}
	u := update{
		sql:     "UPDATE ocsp_certificates SET state = 'Active'" + whereCertificate + stateIn(from),
		applies: func(now ocsp.Record) bool { return slices.Contains(from, now.State) },
		refuse: func(now ocsp.Record) error {
			if now.State == state {
				return nil
			}
			return fmt.Errorf("%w: %v does not lead to %v", ErrState, now.State, state)
		},
	}
	if !isGood(state) {
		keep := "state = 'Compromised'"
		if state != ocsp.Compromised && state != ocsp.DestroyedCompromised {
			keep = "reason <> 'certificateHold'"
		}
		u.sql = "UPDATE ocsp_certificates SET reason = CASE WHEN " + keep + " THEN reason ELSE '' END, revoked_at = COALESCE(revoked_at, ?), state = '" +
			state.String() + "'" + whereCertificate + stateIn(from)
		u.args = []any{time.Now().Unix()}
	}
	return s.change(ctx, "set the state of", issuerID, serial, u)
}

// update is a change that the database makes in one statement, whose WHERE has the states that it applies to:
// no writer that comes between can be undone, for there is no between.
type update struct {
	sql     string
	args    []any
	applies func(now ocsp.Record) bool  // says what WHERE says
	refuse  func(now ocsp.Record) error // where it does not apply; nil: it is as it should be
}

func (s *Store) change(ctx context.Context, verb, issuerID string, serial *big.Int, u update) (changed bool, err error) {
	if serial == nil {
		return false, fmt.Errorf("ocspsql: %s a certificate of issuer %q: the serial is nil", verb, issuerID)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("ocspsql: %s %s: %w", verb, name(issuerID, serial), err)
		}
	}()
	query, args := s.dialect.bind(u.sql), append(u.args, issuerID, twosComplement(serial))
	for {
		result, err := s.db.ExecContext(ctx, query, args...)
		if err != nil {
			return false, err
		}
		if n, err := result.RowsAffected(); err != nil || n > 0 {
			return err == nil, err
		}
		now, err := s.find(ctx, issuerID, serial)
		if err != nil {
			return false, err
		}
		// Where another writer has meanwhile made the change possible, it is tried again.
		if !u.applies(now) {
			return false, u.refuse(now)
		}
	}
}
