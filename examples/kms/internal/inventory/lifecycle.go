package inventory

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp"
)

// Action is something that can be done to a certificate.
type Action string

// The actions. The values are the words of error messages.
const (
	Activate   Action = "activated"
	Revoke     Action = "revoked"
	Compromise Action = "revoked as compromised"
	Destroy    Action = "destroyed"
	Hold       Action = "put on hold"
	Release    Action = "released"
)

// transitions is the KMIP life cycle (KMIP 2.1 section 4.57): for each action, the states that it
// applies to and the states that it leads to. KMIP has no hold: a certificate on hold is Deactivated
// with the reason certificateHold. Only Release leads from a revoked state to a good one.
var transitions = map[Action]map[ocsp.State]ocsp.State{
	Activate: {ocsp.PreActive: ocsp.Active},
	Revoke:   {ocsp.Active: ocsp.Deactivated},
	Compromise: {
		ocsp.PreActive:   ocsp.Compromised,
		ocsp.Active:      ocsp.Compromised,
		ocsp.Deactivated: ocsp.Compromised,
		ocsp.Destroyed:   ocsp.DestroyedCompromised,
	},
	Destroy: {
		ocsp.PreActive:   ocsp.Destroyed,
		ocsp.Deactivated: ocsp.Destroyed,
		ocsp.Compromised: ocsp.DestroyedCompromised,
	},
	Hold:    {ocsp.Active: ocsp.Deactivated},
	Release: {ocsp.Deactivated: ocsp.Active},
}

// Change is an action with its parameters.
type Change struct {
	Action        Action
	Reason        ocsp.Reason // zero leaves the stored one
	CompromisedAt time.Time   // zero leaves the stored one
	At            time.Time   // when the change is made; zero is now
}

// Revocation returns the change for a reason in RFC 5280's spelling. An empty reason is the one
// that the state implies, cessationOfOperation.
func Revocation(reason string, compromisedAt, now time.Time) (Change, error) {
	parsed, err := ocsp.ParseReason(reason)
	if err != nil {
		return Change{}, fmt.Errorf("%w reason: %w", ErrInvalid, err)
	}
	c := Change{Action: Revoke, Reason: parsed, CompromisedAt: compromisedAt}
	switch parsed {
	case ocsp.KeyCompromise, ocsp.CACompromise:
		c.Action = Compromise
	case ocsp.CertificateHold, ocsp.RemoveFromCRL:
		return Change{}, fmt.Errorf("%w reason: %s: hold and release are actions of their own", ErrInvalid, reason)
	}
	switch {
	case compromisedAt.IsZero():
	case c.Action != Compromise:
		return Change{}, fmt.Errorf("%w compromised_at: it goes with the reasons keyCompromise and cACompromise only", ErrInvalid)
	case compromisedAt.Unix() < 0:
		return Change{}, fmt.Errorf("%w compromised_at: %s lies before 1970", ErrInvalid, compromisedAt.Format(time.RFC3339))
	case compromisedAt.After(now):
		return Change{}, fmt.Errorf("%w compromised_at: %s lies in the future", ErrInvalid, compromisedAt.Format(time.RFC3339))
	}
	return c, nil
}

// AppliesTo reports whether the action applies to a record.
func (a Action) AppliesTo(r ocsp.Record) bool {
	_, err := a.next(r)
	return err == nil
}

// next returns the state that the action leads to.
func (a Action) next(r ocsp.Record) (ocsp.State, error) {
	from, held := r.State, r.Reason == ocsp.CertificateHold
	switch to, ok := transitions[a][from]; {
	case ok && held && a == Destroy:
		return 0, fmt.Errorf("%w: the certificate is on hold: release or revoke it first", ErrConflict)
	case ok && !held && a == Release:
		return 0, fmt.Errorf("%w: the certificate is %v, and not on hold", ErrConflict, from)
	case ok:
		return to, nil
	}
	var possible []string
	for _, state := range slices.Sorted(maps.Keys(transitions[a])) {
		possible = append(possible, state.String())
	}
	hint := ""
	if a == Destroy && from == ocsp.Active {
		hint = ": revoke it first"
	}
	return 0, fmt.Errorf("%w: the certificate is %v, and can be %s only when %s%s", ErrConflict, from, a, strings.Join(possible, " or "), hint)
}

// after returns the object as it is after a change. A revocation time changes by a release only.
func (o Object) after(c Change) (Object, error) {
	if o.Kind != KindCertificate {
		return o, fmt.Errorf("%w: %s is a %s, which stays as it is", ErrConflict, o.UID, o.Kind)
	}
	to, err := c.Action.next(o.Record)
	if err != nil {
		return o, err
	}
	o.State = to
	switch c.Action {
	case Activate:
		return o, nil
	case Release:
		o.Reason, o.RevokedAt, o.InvalidityDate = 0, time.Time{}, time.Time{}
		return o, nil
	case Hold:
		o.Reason = ocsp.CertificateHold
	}
	if c.Reason != 0 {
		o.Reason = c.Reason
	}
	if !c.CompromisedAt.IsZero() {
		o.InvalidityDate = c.CompromisedAt
	}
	if o.RevokedAt.IsZero() {
		if o.RevokedAt = c.At; c.At.IsZero() {
			o.RevokedAt = time.Now()
		}
	}
	return o, nil
}
