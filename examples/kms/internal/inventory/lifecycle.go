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
)

// transitions is the KMIP life cycle (KMIP 2.1 section 4.57): for each action, the states that it
// applies to and the states that it leads to. No action leads from a revoked state to a good one.
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
}

// Change is an action with its parameters.
type Change struct {
	Action        Action
	Reason        ocsp.Reason // zero leaves the stored one
	CompromisedAt time.Time   // zero leaves the stored one
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
		return Change{}, fmt.Errorf("%w reason: %s: this KMS revokes for good, and knows no holds", ErrInvalid, reason)
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

// AppliesTo reports whether the action applies to a state.
func (a Action) AppliesTo(state ocsp.State) bool {
	_, ok := transitions[a][state]
	return ok
}

// next returns the state that the action leads to.
func (a Action) next(from ocsp.State) (ocsp.State, error) {
	to, ok := transitions[a][from]
	if ok {
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

// after returns the object as it is after a change. A revocation time never changes once it is set.
func (o Object) after(c Change, now time.Time) (Object, error) {
	if o.Kind != KindCertificate {
		return o, fmt.Errorf("%w: %s is a %s, which stays as it is", ErrConflict, o.UID, o.Kind)
	}
	to, err := c.Action.next(o.State)
	if err != nil {
		return o, err
	}
	o.State = to
	if c.Action == Activate {
		return o, nil
	}
	if c.Reason != 0 {
		o.Reason = c.Reason
	}
	if !c.CompromisedAt.IsZero() {
		o.InvalidityDate = c.CompromisedAt
	}
	if o.RevokedAt.IsZero() {
		o.RevokedAt = now
	}
	return o, nil
}
