package ocsp_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// newReplica makes a second responder that shares the first one's store, key, clock and cache.
func newReplica(r *rig, cache ocsp.RemoteCache) *rig {
	replica := *r
	replica.signer = ocsptest.NewSigner(r.ca.Key)
	issuer := r.ca.Issuer()
	issuer.Signer = replica.signer
	var err error
	replica.responder, err = ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: r.store, Now: r.clock.Now, Cache: ocsp.CacheOptions{Remote: cache}})
	require.NoError(r, err)
	replica.handler = replica.responder.Handler()
	r.Cleanup(func() { require.NoError(r, replica.responder.Close()) })
	return &replica
}

func sharedRig(t *testing.T, cache ocsp.RemoteCache) *rig {
	return newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.Remote = cache })
}

// settle waits until what the responder does behind an answer is done.
func (r *rig) settle() { synctest.Wait() }

func TestReplicasShareSignatures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := ocsptest.NewRemoteCache()
		first := sharedRig(t, cache)
		second := newReplica(first, cache)
		answer := first.query(first.leaf)
		first.settle()
		require.Len(t, cache.Values(), 1)
		for key := range cache.Values() {
			require.Regexp(t, "^[0-9a-z]{1,80}$", key)
		}
		require.Equal(t, answer.DER, second.query(second.leaf).DER)
		require.Zero(t, second.signer.Calls())

		// A revocation through one shows at the other at once: its status comes from the store.
		first.revoke(first.leaf, ocsp.KeyCompromise)
		require.Equal(t, xocsp.Revoked, second.status(second.leaf).Status)
		require.Equal(t, 1, second.signer.Calls())

		second.settle()
		require.NoError(t, first.responder.Invalidate(context.Background(), first.ca.ID, first.leaf.SerialNumber))
		require.Empty(t, cache.Values())
	})
}

// Whatever the remote cache returns, no answer is sent that this responder would not sign itself.
func TestRemoteCacheIsNotTrusted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := ocsptest.NewRemoteCache()
		r := sharedRig(t, cache)
		other := r.issue()
		foreign := newRig(t, func(f *rig, cfg *ocsp.Config) { // the same CA name and serials, another key
			f.store = r.store
			f.clock = r.clock
			cfg.Store, cfg.Now = r.store, r.clock.Now
		})
		foreign.ca.ID = r.ca.ID
		good := r.query(r.leaf).DER
		r.settle()
		flipped := clone(good)
		flipped[len(flipped)-1] ^= 1
		early := clone(good)
		r.revoke(r.leaf, ocsp.KeyCompromise)
		revoked := r.query(r.leaf).DER
		r.store.Add(r.ca.ID, r.leaf)
		nonce := r.client()
		nonce.Nonce = []byte("nonce")
		withNonce, err := nonce.Query(context.Background(), r.ca.Certificate, r.leaf)
		require.NoError(t, err)
		for name, value := range map[string][]byte{
			"nothing":              {},
			"random":               []byte("random octets"),
			"another's answer":     r.query(other).DER,
			"another status":       revoked,
			"an answer and more":   append(clone(good), 0),
			"a wrong signature":    flipped,
			"another key's":        foreign.responder.Respond(context.Background(), r.request(r.leaf)).DER,
			"an answer with nonce": withNonce.DER,
			"an error":             {0x30, 3, 10, 1, 6},
			"two answers":          r.query(r.leaf, other).DER,
			"itself":               early,
		} {
			replica := newReplica(r, cache)
			r.settle()
			cache.Poison(value)
			result := replica.query(r.leaf)
			require.Equal(t, xocsp.Good, result.Responses[0].Status, name)
			if name == "itself" {
				require.Zero(t, replica.signer.Calls(), "the check must not refuse what is right")
			} else {
				require.Equal(t, 1, replica.signer.Calls(), name)
			}
			replica.settle()
		}

		t.Log("an answer of which any octet is another")
		for i := range early {
			value := clone(early)
			value[i] ^= 1
			cache.Poison(value)
			replica := newReplica(r, cache)
			require.Equal(t, xocsp.Good, replica.status(r.leaf).Status)
			require.Equal(t, 1, replica.signer.Calls(), i)
			replica.settle()
		}

		t.Log("an answer past its refresh point, from the future, or too long")
		cache.Poison(good)
		for _, move := range []time.Duration{16*time.Hour - time.Second, 25 * time.Hour, -time.Minute} {
			r.clock.Advance(move)
			replica := newReplica(r, cache)
			require.Equal(t, r.clock.Now().UTC(), replica.status(r.leaf).ThisUpdate)
			require.Equal(t, 1, replica.signer.Calls(), move)
			replica.settle()
			r.clock.Advance(-move)
			cache.Poison(good)
		}
		longer, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{r.ca.Issuer()}, Store: r.store, Now: r.clock.Now, Validity: 48 * time.Hour})
		require.NoError(t, err)
		cache.Poison(longer.Respond(context.Background(), r.request(r.leaf)).DER)
		replica := newReplica(r, cache)
		replica.status(r.leaf)
		require.Equal(t, 1, replica.signer.Calls())
	})
}

// An answer of this responder's own key is refused too if the responder would not sign it now.
func TestRemoteAnswersWithOtherTimesAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := ocsptest.NewRemoteCache()
		r := sharedRig(t, cache)
		responderID := signTakeApart(r, r.query(r.leaf).DER).tbs[0]
		r.settle()
		var req codec.Request
		require.NoError(t, codec.ParseRequest(r.request(r.leaf), &req, codec.ReadLimits{CertIDs: 1}))
		now := r.clock.Now().Unix()
		for name, test := range map[string]struct {
			thisUpdate, producedAt int64
			signatures             int
		}{
			"as it would be":    {now, now, 0},
			"begins in advance": {now + 60, now, 1},
			"made in advance":   {now, now + 60, 1},
		} {
			data := codec.ResponseData{ResponderID: responderID, ProducedAt: test.producedAt, Singles: []codec.Single{{
				CertID: req.Entries[0].CertID.Raw, Status: codec.Good, ThisUpdate: test.thisUpdate, NextUpdate: now + 12*3600,
				RevokedAt: codec.NoTime, InvalidityDate: codec.NoTime, ArchiveCutoff: codec.NoTime,
			}}}
			tbs := data.AppendTBS(nil)
			signature, err := crypto.SignMessage(r.ca.Key, rand.Reader, tbs, crypto.SHA256)
			require.NoError(t, err)
			cache.Poison(codec.AppendResponse(nil, tbs, codec.AlgorithmIdentifier(x509.ECDSAWithSHA256), signature, nil))
			replica := newReplica(r, cache)
			replica.status(r.leaf)
			require.Equal(t, test.signatures, replica.signer.Calls(), name)
			replica.settle()
		}
	})
}

// scramblingCache changes what it is given, as one does that encrypts in place.
type scramblingCache struct{ *ocsptest.RemoteCache }

func (c scramblingCache) Put(_ context.Context, _ string, value []byte, _ time.Duration) error {
	for i := range value {
		value[i] ^= 0xff
	}
	return nil
}

// A remote cache may change the slices that it is given.
func TestRemoteCacheMayChangeItsArguments(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := sharedRig(t, scramblingCache{ocsptest.NewRemoteCache()})
		for range 3 {
			require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			r.settle()
		}
	})
}

// A remote cache that fails or hangs costs no answer.
func TestRemoteCacheFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []ocsptest.Fault{ocsptest.Fail, ocsptest.Panic, ocsptest.Hang, ocsptest.Wrong} {
		synctest.Test(t, func(t *testing.T) {
			cache := ocsptest.NewRemoteCache()
			r := sharedRig(t, cache)
			cache.SetFault(fault)
			begin := time.Now()
			require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			require.Equal(t, xocsp.Good, r.status(r.issue()).Status)
			require.LessOrEqual(t, time.Since(begin), time.Second, "it costs speed, but not much: the second answer does not wait again")
			require.Equal(t, 2, r.signer.Calls())
			if fault != ocsptest.Wrong { // which is about values, and Delete has none
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				require.Error(t, r.responder.Invalidate(ctx, r.ca.ID, r.leaf.SerialNumber))
				cancel()
			}
			cache.SetFault(ocsptest.Healthy)
			time.Sleep(6 * time.Second) // on the bubble's clock: until the cache is asked again
			r.status(r.issue())
			r.settle()
			require.NotEmpty(t, cache.Values())
		})
	}
}

// The host's deletes must get through however many clients wait for the cache.
func TestInvalidateIsNotCrowdedOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := ocsptest.NewRemoteCache()
		r := sharedRig(t, cache)
		cache.SetFault(ocsptest.Hang)
		var waiting []<-chan *ocsptest.Result
		for range 100 {
			waiting = append(waiting, r.ask(r.request(r.issue())))
		}
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- r.responder.Invalidate(context.Background(), r.ca.ID, r.leaf.SerialNumber) }()
		synctest.Wait()
		cache.SetFault(ocsptest.Healthy)
		require.NoError(t, <-done)
		for _, ch := range waiting {
			r.requireAnswer(<-ch, xocsp.Good)
		}
	})
}

// A renewal that gets the old answer from the remote cache logs no warning.
func TestRemoteCacheRenewalIsNoWarning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := ocsptest.NewRemoteCache()
		var text strings.Builder
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Cache.Remote, cfg.Logger = cache, slog.New(slog.NewTextHandler(&text, nil))
		})
		r.status(r.leaf)
		r.settle()
		r.clock.Advance(17 * time.Hour)
		r.status(r.leaf)
		r.settle()
		r.revoke(r.leaf, ocsp.KeyCompromise)
		require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
		r.settle()
		require.Empty(t, text.String())
		cache.Poison([]byte("poison"))
		r.clock.Advance(17 * time.Hour)
		r.status(r.leaf)
		require.Contains(t, text.String(), "not the answer")
	})
}

// An event distinguishes an answer of the remote cache from one that was signed.
func TestEventDistinguishesSharedFromSigned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := ocsptest.NewRemoteCache()
		first := sharedRig(t, cache)
		first.status(first.leaf)
		first.settle()
		second := newReplica(first, cache)
		require.Equal(t, ocsp.OutcomeCached, second.responder.Respond(context.Background(), second.request(second.leaf)).Outcome)
		require.Zero(t, second.signer.Calls())
	})
}

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
