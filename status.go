package ocsp

import (
	"fmt"

	"github.com/kmsocsp/ocsp/internal/codec"
)

// Status is a certificate status of RFC 6960 section 2.2. The zero value is Unknown, so that a
// field that was not set is never good.
type Status uint8

// The certificate statuses.
const (
	Unknown Status = iota
	Good
	Revoked
)

// String returns "good", "revoked" or "unknown".
func (s Status) String() string {
	switch s {
	case Good:
		return "good"
	case Revoked:
		return "revoked"
	default:
		return "unknown"
	}
}

// State is the state of a KMIP object (KMIP 2.1 section 11.51). The zero value is not a state.
type State uint8

// The KMIP states.
const (
	PreActive            State = iota + 1 // good: issued, not yet in use
	Active                                // good
	Deactivated                           // revoked: no longer in use
	Compromised                           // revoked: the key may be compromised
	Destroyed                             // revoked: the key was destroyed
	DestroyedCompromised                  // revoked: the key was destroyed and may be compromised
)

// states has, by State, the KMIP name and the status and reason of an OCSP answer.
var states = [...]struct {
	name   string
	status Status
	reason Reason // if the record has none
}{
	PreActive:            {"PreActive", Good, 0},
	Active:               {"Active", Good, 0},
	Deactivated:          {"Deactivated", Revoked, CessationOfOperation},
	Compromised:          {"Compromised", Revoked, KeyCompromise},
	Destroyed:            {"Destroyed", Revoked, CessationOfOperation},
	DestroyedCompromised: {"DestroyedCompromised", Revoked, KeyCompromise},
}

func (s State) valid() bool { return s > 0 && int(s) < len(states) }

// String returns the KMIP name, such as "PreActive".
func (s State) String() string {
	if !s.valid() {
		return fmt.Sprintf("State(%d)", uint8(s))
	}
	return states[s].name
}

// ParseState is the inverse of State.String. It returns an error for any other name.
func ParseState(name string) (State, error) {
	for s := PreActive; s.valid(); s++ {
		if states[s].name == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("ocsp: %q is not a KMIP state: use PreActive, Active, Deactivated, "+
		"Compromised, Destroyed or DestroyedCompromised", name)
}

// StateFromKMIP converts a value of the KMIP State attribute: 1 Pre-Active, 2 Active, 3
// Deactivated, 4 Compromised, 5 Destroyed, 6 Destroyed Compromised. It returns an error for any
// other value.
func StateFromKMIP(code uint32) (State, error) {
	kmip := map[uint32]State{
		1: PreActive, 2: Active, 3: Deactivated,
		4: Compromised, 5: Destroyed, 6: DestroyedCompromised,
	}
	if s, ok := kmip[code]; ok {
		return s, nil
	}
	return 0, fmt.Errorf("ocsp: %d is not a KMIP state", code)
}

// Reason is why a certificate was revoked. Its values are neither CRL reason codes nor KMIP ones,
// which differ from each other: convert with its methods, ReasonFromCRL and ReasonFromKMIP. The
// zero value is no reason; see Record.Reason.
type Reason uint8

// The revocation reasons of RFC 5280 section 5.3.1.
const (
	Unspecified          Reason = iota + 1 // left out of the answer, as RFC 5280 section 5.3.1 asks
	KeyCompromise                          // the subject's key was compromised
	CACompromise                           // the issuer's key was compromised
	AffiliationChanged                     // the subject's name or affiliation changed
	Superseded                             // the certificate was replaced
	CessationOfOperation                   // the certificate is no longer needed
	CertificateHold                        // revoked for now; may be released
	RemoveFromCRL                          // for delta CRLs, never in an answer; see Record.Reason
	PrivilegeWithdrawn                     // a privilege in the certificate was withdrawn
	AACompromise                           // the attribute authority's key was compromised
)

// reasons has, by Reason, the name in RFC 5280, the CRLReason code and the code of KMIP 2.1 section
// 11.48.
var reasons = [...]struct {
	name      string
	crl, kmip int // kmip 0: KMIP has no such reason
}{
	Unspecified:          {"unspecified", 0, 1},
	KeyCompromise:        {"keyCompromise", 1, 2},
	CACompromise:         {"cACompromise", 2, 3},
	AffiliationChanged:   {"affiliationChanged", 3, 4},
	Superseded:           {"superseded", 4, 5},
	CessationOfOperation: {"cessationOfOperation", 5, 6},
	CertificateHold:      {"certificateHold", 6, 0},
	RemoveFromCRL:        {"removeFromCRL", 8, 0},
	PrivilegeWithdrawn:   {"privilegeWithdrawn", 9, 7},
	AACompromise:         {"aACompromise", 10, 0},
}

func (r Reason) valid() bool { return r > 0 && int(r) < len(reasons) }

// String returns the name in RFC 5280, such as "keyCompromise". It returns "" for the zero value.
func (r Reason) String() string {
	switch {
	case r == 0:
		return ""
	case !r.valid():
		return fmt.Sprintf("Reason(%d)", uint8(r))
	}
	return reasons[r].name
}

// CRLReason returns the code of RFC 5280 section 5.3.1. It returns 0 (unspecified) for the zero
// value.
func (r Reason) CRLReason() int {
	if !r.valid() {
		return 0
	}
	return reasons[r].crl
}

// KMIPReason returns the KMIP Revocation Reason Code. ok is false if KMIP has no such reason, as
// for CertificateHold. The code of the zero value is 1 (Unspecified).
func (r Reason) KMIPReason() (code uint32, ok bool) {
	if r == 0 {
		r = Unspecified
	}
	if !r.valid() || reasons[r].kmip == 0 {
		return 0, false
	}
	return uint32(reasons[r].kmip), true
}

// ParseReason is the inverse of Reason.String. For "" it returns the zero value, and for any other
// name an error.
func ParseReason(name string) (Reason, error) {
	if name == "" {
		return 0, nil
	}
	for r := Unspecified; r.valid(); r++ {
		if reasons[r].name == name {
			return r, nil
		}
	}
	return 0, fmt.Errorf("ocsp: %q is not a revocation reason: "+
		"use a name of RFC 5280 section 5.3.1, such as keyCompromise", name)
}

// ReasonFromCRL converts a CRLReason code of RFC 5280 section 5.3.1. It returns an error for any
// other code. Code 8 is RemoveFromCRL, which releases nothing: see Record.Reason.
func ReasonFromCRL(code int) (Reason, error) {
	for r := Unspecified; r.valid(); r++ {
		if reasons[r].crl == code {
			return r, nil
		}
	}
	return 0, fmt.Errorf("ocsp: %d is not a CRL reason code", code)
}

// ReasonFromKMIP converts a KMIP Revocation Reason Code: 1 Unspecified, 2 Key Compromise, 3 CA
// Compromise, 4 Affiliation Changed, 5 Superseded, 6 Cessation of Operation, 7 Privilege Withdrawn.
// It returns an error for any other code.
func ReasonFromKMIP(code uint32) (Reason, error) {
	for r := Unspecified; r.valid(); r++ {
		if reasons[r].kmip != 0 && uint32(reasons[r].kmip) == code {
			return r, nil
		}
	}
	return 0, fmt.Errorf("ocsp: %d is not a KMIP revocation reason", code)
}

// certStatus is what an answer attests about one certificate. Two that are equal attest the same.
// Times are seconds since 1970, or codec.NoTime.
type certStatus struct {
	status         Status
	reason         Reason
	issued         bool   // false: the store does not know the serial
	issuer         uint32 // index in authority.ids of the ID under which the store has it
	revokedAt      int64
	invalidityDate int64
	notAfter       int64
}

// compromised returns the status that an issued certificate has once the issuer's own key is
// compromised: revoked since then or earlier (RFC 6960 section 2.7). If at is codec.NoTime it
// returns s.
func (s certStatus) compromised(at int64) certStatus {
	if at != codec.NoTime && s.issued && (s.status == Good || s.reason == CertificateHold) {
		s.status, s.reason, s.revokedAt, s.invalidityDate = Revoked, CACompromise, at, codec.NoTime
	}
	return s
}
