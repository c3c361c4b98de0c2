package ocsp_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// An answer of the remote cache from before a hold, of which only a client with a nonce was told, is
// not served after the release. It must not keep the responder from signing, either.
func TestRemoteAnswerFromBeforeAHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := sharedRig(t, ocsptest.NewRemoteCache())
		before := r.status(r.leaf)
		r.settle()
		r.clock.Advance(5 * time.Second)
		r.revoke(r.leaf, ocsp.CertificateHold)
		nonce := r.client()
		nonce.Nonce = []byte("a nonce of 16 oc")
		result, err := nonce.Query(context.Background(), r.ca.Certificate, r.leaf)
		require.NoError(t, err)
		held := r.requireAnswer(result, xocsp.Revoked)[0]
		require.True(t, held.ThisUpdate.After(before.ThisUpdate))
		r.clock.Advance(5 * time.Second)
		r.store.Add(r.ca.ID, r.leaf)
		answer := r.responder.Respond(r.Context(), r.request(r.leaf))
		require.Equal(t, ocsp.OutcomeSigned.String(), answer.Outcome.String(), "%v", answer.Err)
		require.False(t, answer.ThisUpdate.Before(held.ThisUpdate))
	})
}
