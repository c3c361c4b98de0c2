package ocsp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
)

func TestStateNames(t *testing.T) {
	t.Parallel()
	for code, want := range map[uint32]struct {
		state ocsp.State
		name  string
	}{
		1: {ocsp.PreActive, "PreActive"}, 2: {ocsp.Active, "Active"}, 3: {ocsp.Deactivated, "Deactivated"},
		4: {ocsp.Compromised, "Compromised"}, 5: {ocsp.Destroyed, "Destroyed"}, 6: {ocsp.DestroyedCompromised, "DestroyedCompromised"},
	} {
		state, err := ocsp.StateFromKMIP(code)
		require.NoError(t, err)
		require.Equal(t, want.state, state)
		require.Equal(t, want.name, state.String())
		parsed, err := ocsp.ParseState(want.name)
		require.NoError(t, err)
		require.Equal(t, state, parsed)
	}
	for _, code := range []uint32{0, 7, 1 << 31} {
		_, err := ocsp.StateFromKMIP(code)
		require.Error(t, err)
	}
	for _, name := range []string{"", "active", "Pre-Active"} {
		_, err := ocsp.ParseState(name)
		require.ErrorContains(t, err, "KMIP state")
	}
	require.Equal(t, "State(0)", ocsp.State(0).String())
	require.Equal(t, "State(9)", ocsp.State(9).String())
}

// KMIP's reason codes and those of CRLs differ in every value, so that a cast would always be wrong.
func TestReasonCodes(t *testing.T) {
	t.Parallel()
	type row struct {
		reason ocsp.Reason
		name   string
		crl    int
		kmip   uint32 // 0: none
	}
	rows := []row{
		{ocsp.Unspecified, "unspecified", 0, 1},
		{ocsp.KeyCompromise, "keyCompromise", 1, 2},
		{ocsp.CACompromise, "cACompromise", 2, 3},
		{ocsp.AffiliationChanged, "affiliationChanged", 3, 4},
		{ocsp.Superseded, "superseded", 4, 5},
		{ocsp.CessationOfOperation, "cessationOfOperation", 5, 6},
		{ocsp.CertificateHold, "certificateHold", 6, 0},
		{ocsp.RemoveFromCRL, "removeFromCRL", 8, 0},
		{ocsp.PrivilegeWithdrawn, "privilegeWithdrawn", 9, 7},
		{ocsp.AACompromise, "aACompromise", 10, 0},
	}
	crl, kmip := map[int]ocsp.Reason{}, map[uint32]ocsp.Reason{}
	for _, row := range rows {
		code, ok := row.reason.KMIPReason()
		require.Equal(t, row.kmip, code)
		require.Equal(t, row.kmip != 0, ok)
		require.Equal(t, row.name, row.reason.String())
		require.Equal(t, row.crl, row.reason.CRLReason())
		parsed, err := ocsp.ParseReason(row.name)
		require.NoError(t, err)
		require.Equal(t, row.reason, parsed)
		crl[row.crl] = row.reason
		if row.kmip != 0 {
			kmip[row.kmip] = row.reason
		}
	}
	for code := range 12 {
		reason, err := ocsp.ReasonFromCRL(code)
		require.Equal(t, crl[code], reason)
		require.Equal(t, reason == 0, err != nil, code)
		reason, err = ocsp.ReasonFromKMIP(uint32(code))
		require.Equal(t, kmip[uint32(code)], reason)
		require.Equal(t, reason == 0, err != nil, code)
	}
	_, err := ocsp.ReasonFromCRL(-1)
	require.Error(t, err)
	none, err := ocsp.ParseReason("")
	require.NoError(t, err)
	require.Equal(t, "", none.String())
	require.Zero(t, none.CRLReason())
	code, ok := none.KMIPReason()
	require.True(t, ok)
	require.Equal(t, uint32(1), code)
	_, err = ocsp.ParseReason("KeyCompromise")
	require.ErrorContains(t, err, "KeyCompromise")
	require.Equal(t, "Reason(99)", ocsp.Reason(99).String())
	require.Zero(t, ocsp.Reason(99).CRLReason())
	_, ok = ocsp.Reason(99).KMIPReason()
	require.False(t, ok)
}

func TestStatusAndOutcomeNames(t *testing.T) {
	t.Parallel()
	require.Equal(t, "unknown", ocsp.Status(0).String(), "what is forgotten is not good")
	require.Equal(t, "good", ocsp.Good.String())
	require.Equal(t, "revoked", ocsp.Revoked.String())
	for outcome, name := range map[ocsp.Outcome]string{
		0: "invalid", 99: "invalid", ocsp.OutcomeSigned: "signed", ocsp.OutcomeCached: "cached", ocsp.OutcomeStale: "stale",
		ocsp.OutcomeMalformed: "malformedRequest", ocsp.OutcomeInternalError: "internalError", ocsp.OutcomeTryLater: "tryLater",
		ocsp.OutcomeSigRequired: "sigRequired", ocsp.OutcomeUnauthorized: "unauthorized",
	} {
		require.Equal(t, name, outcome.String())
		require.Equal(t, outcome > ocsp.OutcomeStale, outcome.IsError())
	}
}
