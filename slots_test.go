package ocsp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
)

// Whoever has an answer finds the place in the budget that it took free.
func TestOneAfterTheOtherIsWithinTheBudget(t *testing.T) {
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
		cfg.Signing.MaxConcurrent, cfg.Signing.MaxWaiting = 1, 1
	})
	client := r.client()
	client.Nonce = []byte("nonce")
	request := client.Request(r.ca.Certificate, r.leaf)
	for range 3000 {
		answer := r.responder.Respond(t.Context(), request)
		require.NoError(t, answer.Err)
		require.Equal(t, ocsp.OutcomeSigned, answer.Outcome)
	}
}
