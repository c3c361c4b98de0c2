package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp"
)

var (
	errNotFound = errors.New("not found")
	errConflict = errors.New("conflict")
	errInvalid  = errors.New("invalid")
)

// action is something that can be done to a certificate.
type action string

const (
	activate   action = "activated"
	revoke     action = "revoked"
	compromise action = "revoked as compromised"
	destroy    action = "destroyed"
)

// transitions is the KMIP life cycle (KMIP 2.1 section 4.57): for each action, the states that it applies to and
// those it leads to. None leads back from a revoked state to a good one.
var transitions = map[action]map[ocsp.State]ocsp.State{
	activate: {ocsp.PreActive: ocsp.Active},
	revoke:   {ocsp.Active: ocsp.Deactivated},
	compromise: {
		ocsp.PreActive:   ocsp.Compromised,
		ocsp.Active:      ocsp.Compromised,
		ocsp.Deactivated: ocsp.Compromised,
		ocsp.Destroyed:   ocsp.DestroyedCompromised,
	},
	destroy: {
		ocsp.PreActive:   ocsp.Destroyed,
		ocsp.Deactivated: ocsp.Destroyed,
		ocsp.Compromised: ocsp.DestroyedCompromised,
	},
}

// change is an action with what comes along.
type change struct {
	action        action
	reason        ocsp.Reason // zero leaves the stored one
	compromisedAt time.Time   // zero leaves the stored one
}

// revocation makes the change for a reason in RFC 5280's spelling. An empty one is what the state implies,
// cessationOfOperation.
func revocation(reason string, compromisedAt, now time.Time) (change, error) {
	parsed, err := ocsp.ParseReason(reason)
	if err != nil {
		return change{}, fmt.Errorf("%w reason: %w", errInvalid, err)
	}
	c := change{action: revoke, reason: parsed, compromisedAt: compromisedAt}
	switch parsed {
	case ocsp.KeyCompromise, ocsp.CACompromise:
		c.action = compromise
	case ocsp.CertificateHold, ocsp.RemoveFromCRL:
		return change{}, fmt.Errorf("%w reason: %s: this KMS revokes for good, and knows no holds", errInvalid, reason)
	}
	switch {
	case compromisedAt.IsZero():
	case c.action != compromise:
		return change{}, fmt.Errorf("%w compromised_at: it goes with the reasons keyCompromise and cACompromise only", errInvalid)
	case compromisedAt.Unix() < 0:
		return change{}, fmt.Errorf("%w compromised_at: %s lies before 1970", errInvalid, compromisedAt.Format(time.RFC3339))
	case compromisedAt.After(now):
		return change{}, fmt.Errorf("%w compromised_at: %s lies in the future", errInvalid, compromisedAt.Format(time.RFC3339))
	}
	return c, nil
}

// from reports whether an action applies to a state.
func (a action) from(state ocsp.State) bool {
	_, ok := transitions[a][state]
	return ok
}

// next returns the state that an action leads to.
func (a action) next(from ocsp.State) (ocsp.State, error) {
	to, ok := transitions[a][from]
	if ok {
		return to, nil
	}
	var possible []string
	for _, state := range slices.Sorted(maps.Keys(transitions[a])) {
		possible = append(possible, state.String())
	}
	cure := ""
	if a == destroy && from == ocsp.Active {
		cure = ": revoke it first"
	}
	return 0, fmt.Errorf("%w: the certificate is %v, and can be %s only when %s%s", errConflict, from, a, strings.Join(possible, " or "), cure)
}

// after returns what a change makes of an object. The time of a revocation, once there, stays.
func (o object) after(c change, now time.Time) (object, error) {
	if o.kind != kindCertificate {
		return o, fmt.Errorf("%w: %s is a %s, which stays as it is", errConflict, o.uid, o.kind)
	}
	to, err := c.action.next(o.state)
	if err != nil {
		return o, err
	}
	o.state = to
	if c.action == activate {
		return o, nil
	}
	if c.reason != 0 {
		o.reason = c.reason
	}
	if !c.compromisedAt.IsZero() {
		o.compromisedAt = c.compromisedAt
	}
	if o.revokedAt.IsZero() {
		o.revokedAt = now
	}
	return o, nil
}
