package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// ask sends a request in a goroutine of its own.
func (r *rig) ask(body []byte) <-chan *ocsptest.Result {
	ch := make(chan *ocsptest.Result, 1)
	go func() {
		result, err := r.client().Send(context.Background(), body)
		assert.NoError(r, err)
		ch <- result
	}()
	return ch
}

func TestT183BudgetExhausted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Signing = ocsp.SigningOptions{MaxConcurrent: 2, MaxWaiting: 1, Timeout: time.Minute}
		})
		cached := r.issue()
		r.status(cached)
		r.signer.SetFault(ocsptest.Hang)
		var waiting []<-chan *ocsptest.Result
		for range 3 { // two that sign, one that waits for its turn
			waiting = append(waiting, r.ask(r.request(r.issue())))
		}
		synctest.Wait()
		begin := time.Now()

		r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
		require.Equal(t, xocsp.Good, r.status(cached).Status, "what is cached needs no signature")
		client := r.client()
		client.Nonce, client.NonceOptional = []byte("nonce"), true
		result, err := client.Query(context.Background(), r.ca.Certificate, cached)
		require.NoError(t, err)
		nonce, err := ocsptest.ResponseNonce(result.DER)
		require.NoError(t, err)
		require.Nil(t, nonce, "over budget the nonce is what is given up")
		r.requireError(xocsp.TryLater, r.post(client.Request(r.ca.Certificate, r.leaf)))
		unissued := r.ca.Issue(ocsptest.Options{})
		r.requireError(xocsp.Unauthorized, r.post(r.request(unissued)))
		r.requireError(xocsp.Unauthorized, r.post(r.request(unissued, r.ca.Issue(ocsptest.Options{}))))
		r.requireError(xocsp.TryLater, r.post(r.request(unissued, cached)))
		require.Zero(t, time.Since(begin), "nobody waits beyond the queue")

		r.signer.SetFault(ocsptest.Healthy)
		for _, ch := range waiting {
			r.requireAnswer(<-ch, xocsp.Good)
		}
		r.requireAnswer(r.post(r.request(unissued)), xocsp.Unknown)
	})
}

func TestNonceRequireGivesUpNoNonce(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Nonce = ocsp.NonceRequire })
	client := r.client()
	client.Nonce = []byte("nonce")
	wrapped := client.Request(r.ca.Certificate, r.leaf)
	bare := bytes.Replace(wrapped, append([]byte{4, 7, 4, 5}, client.Nonce...), append([]byte{4, 7, 0xff, 0xff}, client.Nonce...), 1)
	require.NotEqual(t, wrapped, bare)
	r.requireError(xocsp.Malformed, r.post(bare))
	_, err := client.Query(context.Background(), r.ca.Certificate, r.leaf)
	require.NoError(t, err)
	staple, err := r.responder.Staple(context.Background(), r.leaf) // which leaves an answer without a nonce in the cache
	require.NoError(t, err)
	r.signer.SetFault(ocsptest.Fail)
	again, err := r.responder.Staple(context.Background(), r.leaf)
	require.NoError(t, err)
	require.Equal(t, staple, again)
	r.requireError(xocsp.TryLater, r.post(client.Request(r.ca.Certificate, r.leaf)))
	r.store.SetFault(ocsptest.Fail)
	r.requireError(xocsp.TryLater, r.post(client.Request(r.ca.Certificate, r.leaf)))
}

func TestT184SignerSwapUnderLoad(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Validity = time.Hour })
	delegates := make([]ocsp.Issuer, 2)
	for i := range delegates {
		delegates[i] = r.ca.Issuer()
		delegates[i].ResponderCertificate, delegates[i].Signer = r.ca.Delegate(ocsptest.Options{Name: []string{"first", "second"}[i]})
	}
	require.NoError(t, r.responder.SetIssuer(delegates[0]))
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// Query verifies with the one certificate that came with the answer.
				_, err := r.client().Query(context.Background(), r.ca.Certificate, r.leaf)
				assert.NoError(t, err)
			}
		})
	}
	for i := range 200 {
		now := delegates[i%2]
		require.NoError(t, r.responder.SetIssuer(now))
		signer, err := x509.ParseCertificate(now.ResponderCertificate.Raw)
		require.NoError(t, err)
		require.True(t, r.status(r.leaf).Certificate.Equal(signer), "an answer begun after SetIssuer carries the new key")
	}
	close(stop)
	load.Wait()
}

func TestIssuersComeAndGo(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.status(r.leaf)
	other := ocsptest.NewCA(ocsptest.Options{Name: "Other CA"})
	leaf := other.Issue(ocsptest.Options{})
	r.store.Add(other.ID, leaf)
	ask := func() *ocsptest.Result { return r.post(r.client().Request(other.Certificate, leaf)) }
	r.requireError(xocsp.Unauthorized, ask())
	require.NoError(t, r.responder.SetIssuer(other.Issuer()))
	_, err := r.client().Query(context.Background(), other.Certificate, leaf)
	require.NoError(t, err)
	r.status(r.leaf)
	require.Equal(t, 1, r.signer.Calls(), "another issuer's coming leaves the cache alone")
	r.responder.RemoveIssuer(other.ID)
	r.responder.RemoveIssuer("nobody")
	r.requireError(xocsp.Unauthorized, ask())

	// A CA that comes back finds nothing of what was cached about it before.
	require.ErrorContains(t, r.responder.Invalidate(context.Background(), other.ID, leaf.SerialNumber), other.ID)
	r.store.Revoke(other.ID, leaf.SerialNumber, ocsp.KeyCompromise, r.clock.Now())
	require.NoError(t, r.responder.SetIssuer(other.Issuer()))
	result, err := r.client().Query(context.Background(), other.Certificate, leaf)
	require.NoError(t, err)
	require.Equal(t, xocsp.Revoked, result.Responses[0].Status)

	// A replacement that is refused changes nothing.
	bad := other.Issuer()
	bad.Signer = r.ca.Key
	require.ErrorContains(t, r.responder.SetIssuer(bad), "another key")
	_, err = r.client().Query(context.Background(), other.Certificate, leaf)
	require.NoError(t, err)
}

func TestT185ColdRequestsMakeOneSignature(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, time.Second} {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = ttl })
		r.signer.SetFault(ocsptest.Hang)
		request := r.request(r.leaf)
		var answers []<-chan *ocsptest.Result
		for range 1000 {
			answers = append(answers, r.ask(request))
		}
		require.Eventually(t, func() bool { return r.signer.Calls() == 1 }, 10*time.Second, time.Millisecond)
		r.signer.SetFault(ocsptest.Healthy)
		for _, ch := range answers {
			r.requireAnswer(<-ch, xocsp.Good)
		}
		require.Equal(t, 1, r.signer.Calls())
		if ttl > 0 {
			require.Equal(t, 1, r.store.Calls())
		}
	}
}

func TestT186RevocationDuringSigning(t *testing.T) {
	t.Parallel()
	for name, ttl := range map[string]time.Duration{"status read each time": 0, "status trusted": time.Hour} {
		for _, nonce := range [][]byte{nil, []byte("nonce")} {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = ttl })
				client := r.client()
				client.Nonce = nonce
				r.signer.SetFault(ocsptest.Hang)
				early := r.ask(client.Request(r.ca.Certificate, r.leaf)) // has read good, and waits for the signature
				synctest.Wait()
				r.revoke(r.leaf, ocsp.KeyCompromise)
				require.NoError(t, r.responder.Invalidate(context.Background(), r.ca.ID, r.leaf.SerialNumber))
				late := r.ask(client.Request(r.ca.Certificate, r.leaf))
				synctest.Wait()
				r.signer.SetFault(ocsptest.Healthy)
				r.requireAnswer(<-early, xocsp.Revoked)
				r.requireAnswer(<-late, xocsp.Revoked)
				require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status, name)
			})
		}
	}
}

// Without Invalidate, an answer that is under way may still say good, but nothing that begins after the
// revocation was stored may.
func TestRevocationByAnotherProcessDuringSigning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.signer.SetFault(ocsptest.Hang)
		early := r.ask(r.request(r.leaf))
		synctest.Wait()
		r.revoke(r.leaf, ocsp.KeyCompromise)
		late := r.ask(r.request(r.leaf))
		synctest.Wait()
		r.signer.SetFault(ocsptest.Healthy)
		r.requireAnswer(<-late, xocsp.Revoked)
		<-early
		require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
	})
}

// A read that began before a revocation and ends after another one has shown it must not bring good back.
func TestSlowReadDoesNotUndoRevocation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var reads atomic.Int32
		var slow ocsp.CertStoreFunc
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			slow = func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
				record, err := r.store.FindBySerial(ctx, id, serial)
				if reads.Add(1) == 1 {
					<-release // it has seen good
				}
				return record, err
			}
			cfg.Store, cfg.Cache.FailClosed = slow, true // the revoked answer would stand in for the early one
		})
		early := r.ask(r.request(r.leaf))
		synctest.Wait()
		r.revoke(r.leaf, ocsp.KeyCompromise)
		require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
		close(release)
		r.requireAnswer(<-early, xocsp.Good) // which it was after the request had come
		require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
	})
}

// A request reads that a certificate is on hold, and is signed only after the release was read. The
// answer from before the hold, which that request found again, must not follow it.
func TestAnswerFromBeforeASlowOneIsNoStepBack(t *testing.T) {
	t.Parallel()
	for _, nonce := range [][]byte{nil, []byte("nonce")} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			first := r.status(r.leaf)
			r.clock.Advance(time.Second)
			r.revoke(r.leaf, ocsp.CertificateHold)
			r.signer.SetFault(ocsptest.Hang)
			client := r.client()
			client.Nonce = nonce
			slow := r.ask(client.Request(r.ca.Certificate, r.leaf))
			synctest.Wait()
			r.store.Add(r.ca.ID, r.leaf)
			require.Equal(t, first.ThisUpdate, r.status(r.leaf).ThisUpdate)
			r.signer.SetFault(ocsptest.Healthy)
			held := r.requireAnswer(<-slow, xocsp.Revoked)[0]
			later := r.status(r.leaf)
			require.Equal(t, xocsp.Good, later.Status)
			require.Equal(t, held.ThisUpdate, later.ThisUpdate)
		})
	}
}

func TestRevocationsUnderLoad(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, time.Hour} {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = ttl; cfg.Cache.MaxEntries = 20 })
		leaves := make([]*x509.Certificate, 40)
		revoked := make([]atomic.Bool, len(leaves))
		for i := range leaves {
			leaves[i] = r.issue()
		}
		var load sync.WaitGroup
		for worker := range 4 {
			load.Go(func() {
				for n := range 300 {
					i := (n*7 + worker) % len(leaves)
					client := r.client()
					if n%3 == 0 {
						client.Hash = crypto.SHA256
					}
					if n%10 == 0 {
						client.Nonce = []byte("nonce")
					}
					before := revoked[i].Load()
					answer, err := r.glance(client, leaves[i])
					if assert.NoError(t, err) && before {
						assert.Equal(t, xocsp.Revoked, answer.Status, "good after the revocation had returned")
					}
				}
			})
		}
		for i, leaf := range leaves {
			r.revoke(leaf, ocsp.KeyCompromise)
			require.NoError(t, r.responder.Invalidate(context.Background(), r.ca.ID, leaf.SerialNumber))
			revoked[i].Store(true)
		}
		load.Wait()
	}
}

func TestHangingSignerBlocksNothingCached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Validity = time.Hour })
		r.status(r.leaf)
		r.signer.SetFault(ocsptest.Hang)
		begin := time.Now()
		r.status(r.leaf)
		require.Zero(t, time.Since(begin))

		r.clock.Advance(40 * time.Minute) // to be renewed
		r.status(r.leaf)
		require.LessOrEqual(t, time.Since(begin), 300*time.Millisecond, "the one that tries to renew it waits a little")
		begin = time.Now()
		r.status(r.leaf)
		require.Zero(t, time.Since(begin), "the others do not")

		r.requireError(xocsp.TryLater, r.post(r.request(r.issue())))
		require.Equal(t, 5*time.Second, time.Since(begin), "what must be signed is told to try later after Signing.Timeout")

		r.signer.SetFault(ocsptest.Healthy)
		synctest.Wait()
		require.Equal(t, r.clock.Now().UTC(), r.status(r.leaf).ThisUpdate)
	})
}

func TestHangingStoreBlocksNothingTrusted(t *testing.T) {
	t.Parallel()
	for name, ttl := range map[string]time.Duration{"status read each time": 0, "status trusted": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL, cfg.Timeout = ttl, 2*time.Second })
				r.status(r.leaf)
				other := r.issue()
				r.store.SetFault(ocsptest.Hang)
				begin := time.Now()
				r.requireError(xocsp.TryLater, r.post(r.request(other)))
				require.Equal(t, 2*time.Second, time.Since(begin), "Timeout")
				begin = time.Now()
				require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
				if ttl > 0 {
					require.Zero(t, time.Since(begin))
				} else {
					require.LessOrEqual(t, time.Since(begin), 100*time.Millisecond, "nobody waits long for a store that is known to hang")
				}
				r.store.SetFault(ocsptest.Healthy)
				synctest.Wait()
				r.revoke(r.leaf, ocsp.KeyCompromise)
				require.NoError(t, r.responder.Invalidate(context.Background(), r.ca.ID, r.leaf.SerialNumber))
				require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
			})
		})
	}
}

// Config.Timeout is for the whole answer, however many certificates it is about.
func TestTimeoutBoundsAnswerAboutSeveral(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Timeout = 5 * time.Second
			cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
				time.Sleep(2 * time.Second) // on the bubble's clock
				return r.store.FindBySerial(ctx, id, serial)
			})
		})
		begin := time.Now()
		r.requireError(xocsp.TryLater, r.post(r.request(r.issue(), r.issue(), r.issue(), r.issue())))
		require.Equal(t, 5*time.Second, time.Since(begin))
		synctest.Wait()
	})
}

// A store that hangs for ever must not gather goroutines for ever either.
func TestHangingStoreIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Timeout = time.Second })
		r.store.SetFault(ocsptest.Hang)
		request := r.request(r.leaf)
		var answers []<-chan *ocsptest.Result
		for range 2000 {
			answers = append(answers, r.ask(request))
		}
		for _, ch := range answers {
			r.requireError(xocsp.TryLater, <-ch)
		}
		require.LessOrEqual(t, r.store.Calls(), 1024)
	})
}

func TestCallerMayLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.signer.SetFault(ocsptest.Hang)
		ctx, cancel := context.WithCancel(context.Background())
		gone := make(chan ocsp.Answer, 1)
		go func() { gone <- r.responder.Respond(ctx, r.request(r.leaf)) }()
		synctest.Wait()
		cancel()
		require.Equal(t, ocsp.OutcomeTryLater, (<-gone).Outcome)
		r.signer.SetFault(ocsptest.Healthy)
		synctest.Wait()
		require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
		require.Equal(t, 1, r.signer.Calls(), "the signature that the first caller left behind serves the next")
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left behind
		cache := ocsptest.NewRemoteCache()
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Timeout, cfg.Cache.Remote = 3*time.Second, cache })
		r.status(r.leaf)
		r.signer.SetFault(ocsptest.Hang)
		under := r.ask(r.request(r.issue()))
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- r.responder.Close() }()
		synctest.Wait()
		r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
		r.signer.SetFault(ocsptest.Healthy)
		require.NoError(t, <-closed)
		r.requireAnswer(<-under, xocsp.Good)
		require.NoError(t, r.responder.Close(), "twice is once")
		require.Equal(t, ocsp.OutcomeTryLater, r.responder.Respond(context.Background(), r.request(r.leaf)).Outcome)
		_, err := r.responder.Staple(context.Background(), r.leaf)
		require.Error(t, err)
		err = r.responder.Invalidate(context.Background(), r.ca.ID, r.leaf.SerialNumber)
		require.EqualError(t, err, "ocsp: the responder is closed")
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Timeout = time.Second })
		r.signer.SetFault(ocsptest.Hang)
		<-r.ask(r.request(r.leaf))
		begin := time.Now()
		require.ErrorContains(t, r.responder.Close(), "has not returned")
		require.Equal(t, time.Second, time.Since(begin))
	})
}

// The function given to NewSigner is called with a context that ends and with the digest to sign.
func TestNewSignerGetsContextAndDigest(t *testing.T) {
	t.Parallel()
	for _, kind := range ocsptest.KeyTypes() {
		synctest.Test(t, func(t *testing.T) {
			ca := ocsptest.NewCA(ocsptest.Options{Signer: keys[kind]()})
			hang := false
			issuer := ca.Issuer()
			issuer.Signer = ocsp.NewSigner(ca.Key.Public(), func(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if h := opts.HashFunc(); h != 0 && len(digest) != h.Size() {
					t.Errorf("%d octets are no %v digest", len(digest), h)
				}
				if hang {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return ca.Key.Sign(nil, digest, opts)
			})
			r := newRig(t, func(r *rig, cfg *ocsp.Config) { r.ca = ca; cfg.Issuers = []ocsp.Issuer{issuer} })
			r.leaf = r.issue()
			require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			hang = true
			begin := time.Now()
			r.requireError(xocsp.TryLater, r.post(r.request(r.issue())))
			require.Equal(t, 5*time.Second, time.Since(begin))
		})
	}
}

// However many uncacheable answers are asked for, cacheable ones are still signed.
func TestUncacheableAnswersDoNotStarveCacheableOnes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Signing = ocsp.SigningOptions{MaxConcurrent: 4, MaxWaiting: 8, Timeout: time.Minute}
		})
		r.signer.SetFault(ocsptest.Hang)
		var junk []<-chan *ocsptest.Result
		for range 50 {
			junk = append(junk, r.ask(r.request(r.ca.Issue(ocsptest.Options{}))))
		}
		synctest.Wait()
		require.Equal(t, 3, r.signer.Calls())
		cold := r.ask(r.request(r.leaf))
		synctest.Wait()
		require.Equal(t, 4, r.signer.Calls(), "the fourth is for an answer that is cached")
		r.signer.SetFault(ocsptest.Healthy)
		r.requireAnswer(<-cold, xocsp.Good)
		for _, ch := range junk {
			<-ch
		}
	})
}

// After Invalidate nobody waits for a read that began before it.
func TestInvalidateLeavesAHangingReadBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Cache.StatusTTL, cfg.Cache.StorePatience = time.Minute, 2*time.Second
		})
		r.store.SetFault(ocsptest.Hang)
		hanging := r.ask(r.request(r.leaf))
		synctest.Wait()
		go func() {
			time.Sleep(time.Second) // on the bubble's clock
			r.store.SetFault(ocsptest.Healthy)
		}()
		require.NoError(t, r.responder.Invalidate(context.Background(), r.ca.ID, r.leaf.SerialNumber))
		later := r.ask(r.request(r.leaf))
		synctest.Wait()
		require.Equal(t, 2, r.store.Calls())
		r.requireAnswer(<-later, xocsp.Good)
		<-hanging
	})
}

// While one request renews an answer, the others get the old one, but not for HTTP caches to keep.
func TestT163WhileRenewed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Validity = time.Hour })
		first := r.status(r.leaf)
		r.clock.Advance(40 * time.Minute)
		r.signer.SetFault(ocsptest.Hang)
		renewer := r.ask(r.request(r.leaf))
		synctest.Wait()
		beside := r.query(r.leaf)
		require.Equal(t, first.ThisUpdate, beside.Responses[0].ThisUpdate)
		require.Contains(t, beside.Header.Get("Cache-Control"), "max-age=1,")
		impatient := <-renewer // the signer takes longer than it waits
		require.Contains(t, impatient.Header.Get("Cache-Control"), "max-age=1,")
		require.Equal(t, ocsp.OutcomeCached, r.responder.Respond(context.Background(), r.request(r.leaf)).Outcome)

		time.Sleep(6 * time.Second) // until Signing.Timeout has passed: now it has failed
		answer := r.responder.Respond(context.Background(), r.request(r.leaf))
		require.Equal(t, ocsp.OutcomeStale, answer.Outcome)
		require.Error(t, answer.Err)
	})
}

// A client that prefers one algorithm after the other is not one for whom the cache gives up what others use.
func TestPreferencesDoNotChurnTheCache(t *testing.T) {
	t.Parallel()
	r := newRig(t, extOwnKey)
	plain := r.query(r.leaf).DER
	algorithms := [][]byte{extECDSAWithSHA384, extECDSAWithSHA512}
	for i := range 20 {
		r.requireAnswer(r.post(extPrefer(r, algorithms[i%2])), xocsp.Good)
	}
	require.Equal(t, plain, r.query(r.leaf).DER)
}

// A signer that is not one of Go's own may still read what it was given to sign, such as for an audit, when it has long
// returned.
func TestOpaqueSignerKeepsItsMessage(t *testing.T) {
	t.Parallel()
	var given, copies [][]byte
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		r.ca = ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519}) // whose signer gets the message itself
		r.leaf = r.issue()
		cfg.Issuers = []ocsp.Issuer{r.ca.Issuer()}
		cfg.Issuers[0].Signer = ocsp.NewSigner(r.ca.Key.Public(), func(_ context.Context, message []byte, opts crypto.SignerOpts) ([]byte, error) {
			given, copies = append(given, message), append(copies, bytes.Clone(message))
			return r.ca.Key.Sign(nil, message, opts)
		})
	})
	ocsp.WithoutHotAnswers(r.responder)
	r.status(r.leaf)
	for i := range 20 {
		r.status(r.leaf) // from the storage
		r.responder.Respond(t.Context(), ocsptest.Client{Nonce: bytes.Repeat([]byte{byte(i)}, 32)}.Request(r.ca.Certificate, r.leaf))
		r.responder.Respond(t.Context(), r.request(r.issue()))
	}
	require.Len(t, given, 41)
	require.Equal(t, copies, given)
}

// tenant is one of several CAs of a responder.
type tenant struct {
	*ocsptest.CA
	signer *ocsptest.Signer // nil: the responder has the CA's key itself
	issued int64
}

// addTenant adds a CA to the rig, whose key lies in an HSM or not.
func (r *rig) addTenant(name string, hsm bool) *tenant {
	r.Helper()
	c := &tenant{CA: ocsptest.NewCA(ocsptest.Options{Name: name})}
	issuer := c.Issuer()
	if hsm {
		c.signer = ocsptest.NewSigner(c.Key)
		issuer.Signer = c.signer
		r.Cleanup(func() { c.signer.SetFault(ocsptest.Healthy) }) // before the responder is closed
	}
	require.NoError(r, r.responder.SetIssuer(issuer))
	return c
}

// issueTo returns an active certificate of a tenant that nobody has asked about. Only what requests need is in it.
func (r *rig) issueTo(c *tenant) *x509.Certificate {
	c.issued++
	cert := &x509.Certificate{SerialNumber: big.NewInt(c.issued), NotAfter: c.Certificate.NotAfter}
	r.store.Add(c.ID, cert)
	return cert
}

// However many keys hang, and however often their issuers' certificates are asked about, the other issuers' answers
// take no time.
func TestHungSignersDelayNoOtherIssuer(t *testing.T) {
	t.Parallel()
	for _, rate := range []int{20, 200} { // first requests a second for each issuer whose key hangs
		for _, hanging := range []int{1, 3} {
			t.Run(fmt.Sprintf("%d of %d a second", hanging, rate), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, nil)
					var hung []*tenant
					for i := range hanging {
						c := r.addTenant(fmt.Sprintf("Hung CA %d", i), true)
						c.signer.SetFault(ocsptest.Hang)
						hung = append(hung, c)
					}
					others := []*tenant{r.addTenant("HSM CA", true), r.addTenant("Go CA", false), r.addTenant("Other Go CA", false)}
					for i := range 7 * rate {
						for _, c := range hung {
							request := r.client().Request(c.Certificate, r.issueTo(c))
							go r.responder.Respond(context.Background(), request)
						}
						time.Sleep(time.Second / time.Duration(rate)) // on the bubble's clock
						if i%(rate/4) != 0 {
							continue
						}
						begin := time.Now()
						for _, c := range others {
							r.answersAtOnce(c, begin)
						}
					}
					for _, c := range hung {
						require.Equal(t, 16, c.signer.Calls(), "each key has all of MaxConcurrent")
						c.signer.SetFault(ocsptest.Healthy)
					}
					synctest.Wait()
					begin := time.Now()
					for _, c := range hung {
						r.answersAtOnce(c, begin)
					}
				})
			})
		}
	}
}

// answersAtOnce requires that all kinds of signed answers about a tenant's certificates are there at a time.
func (r *rig) answersAtOnce(c *tenant, at time.Time) {
	r.Helper()
	client := r.client()
	query := func(want int, certs ...*x509.Certificate) {
		r.Helper()
		result, err := client.Query(context.Background(), c.Certificate, certs...)
		require.NoError(r, err)
		for _, response := range result.Responses {
			require.Equal(r, want, response.Status)
		}
		require.Zero(r, time.Since(at))
	}
	cert := r.issueTo(c)
	query(xocsp.Good, cert)
	query(xocsp.Good, cert, r.issueTo(c))
	query(xocsp.Unknown, &x509.Certificate{SerialNumber: big.NewInt(1 << 60)})
	client.Nonce = []byte("nonce")
	query(xocsp.Good, cert)
}

// bagSigner is a crypto.Signer that == panics for.
type bagSigner struct {
	crypto.Signer
	_ []byte
}

// A key has one budget, however many issuers use it. A call that hangs in an HSM counts until it
// returns.
func TestReplacedIssuerKeepsTheBudgetOfItsKey(t *testing.T) {
	t.Parallel()
	again := func(r *rig) crypto.Signer { return r.signer }
	for name, tt := range map[string]struct {
		key    func(*rig) crypto.Signer // the same key
		remove bool                     // the issuer goes before it comes back
		beside bool                     // the issuer stays, and another CA has the key too
	}{
		"the same Signer": {key: again},
		"another Signer": {key: func(r *rig) crypto.Signer {
			return ocsp.NewSigner(r.signer.Public(), func(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				return r.signer.Sign(nil, digest, opts)
			})
		}},
		"a Signer that cannot be compared": {key: func(r *rig) crypto.Signer { return bagSigner{Signer: r.signer} }},
		"removed and added":                {key: again, remove: true},
		"a second CA with the key":         {key: again, beside: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Signing = ocsp.SigningOptions{MaxConcurrent: 2, MaxWaiting: 1}
				})
				require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
				r.addTenant("Beside", true) // so that no issuer is the last
				r.signer.SetFault(ocsptest.Hang)
				for range 2 {
					r.ask(r.request(r.issue()))
				}
				time.Sleep(time.Minute) // on the bubble's clock: the clients have given up, the calls still hang
				require.Equal(t, 3, r.signer.Calls())

				ca := r.ca
				for range 3 {
					issuer := r.ca.Issuer()
					switch {
					case tt.remove:
						r.responder.RemoveIssuer(r.ca.ID)
						r.responder.RemoveIssuer("nobody")
					case tt.beside:
						ca = r.twin("Twin CA")
						issuer = ca.Issuer()
					}
					issuer.Signer = tt.key(r)
					require.NoError(t, r.responder.SetIssuer(issuer))
					leaf := ca.Issue(ocsptest.Options{})
					r.store.Add(ca.ID, leaf)
					begin := time.Now()
					r.requireError(xocsp.TryLater, r.post(r.client().Request(ca.Certificate, leaf)))
					require.Equal(t, 5*time.Second, time.Since(begin), "it has waited for its turn")
					require.Equal(t, 3, r.signer.Calls())
				}

				// A delegate's key is another one, and what it signs need not wait.
				delegated := r.ca.Issuer()
				var key crypto.Signer
				delegated.ResponderCertificate, key = r.ca.Delegate(ocsptest.Options{})
				delegated.Signer = ocsptest.NewSigner(key)
				require.NoError(t, r.responder.SetIssuer(delegated))
				begin := time.Now()
				require.Equal(t, xocsp.Good, r.status(r.issue()).Status)
				require.Zero(t, time.Since(begin))

				// When they return, their places are free.
				r.signer.SetFault(ocsptest.Healthy)
				synctest.Wait()
				issuer := r.ca.Issuer()
				issuer.Signer = tt.key(r)
				require.NoError(t, r.responder.SetIssuer(issuer))
				require.Equal(t, xocsp.Good, r.status(r.issue()).Status)
				require.Zero(t, time.Since(begin))
			})
		})
	}
}

// twin returns another CA with the key of the rig's.
func (r *rig) twin(name string) *ocsptest.CA {
	r.Helper()
	template := *r.ca.Certificate
	template.Subject.CommonName, template.RawSubject = name, nil
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, r.ca.Key.Public(), r.ca.Key)
	require.NoError(r, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(r, err)
	return &ocsptest.CA{ID: name, Certificate: cert, Key: r.ca.Key}
}

// Keys that nobody uses any more leave nothing behind.
func TestBudgetsGoWithTheirKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for i := range 20 {
		issuer := r.ca.Issuer()
		var key crypto.Signer
		issuer.ResponderCertificate, key = r.ca.Delegate(ocsptest.Options{})
		issuer.Signer = ocsptest.NewSigner(key)
		require.NoError(t, r.responder.SetIssuer(issuer))
		require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
		r.responder.RemoveIssuer(r.addTenant(fmt.Sprintf("Passing CA %d", i), true).ID)
	}
	require.Equal(t, 1, ocsp.Lanes(r.responder))
	r.responder.RemoveIssuer(r.ca.ID)
	require.Zero(t, ocsp.Lanes(r.responder))
}

// Nonces keep half of the processors busy at the most, and of a smaller budget their part. Everything else is signed
// meanwhile.
func TestNoncesLeaveRoomForOtherSignatures(t *testing.T) {
	for _, tt := range []struct{ processors, concurrent, want int }{
		{1, 0, 1}, {2, 0, 1}, {3, 0, 1}, {4, 0, 2}, {8, 0, 4}, {64, 0, 12}, {64, 4, 3}, {2, 1, 1}, {2, 2, 1},
	} {
		t.Run(fmt.Sprintf("%d processors, MaxConcurrent %d", tt.processors, tt.concurrent), func(t *testing.T) {
			before := runtime.GOMAXPROCS(tt.processors)
			defer runtime.GOMAXPROCS(before)
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Signing.MaxConcurrent = tt.concurrent
					cfg.Issuers = []ocsp.Issuer{r.ca.Issuer()}
				})
				require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
				taken, giveBack := ocsp.TakeNonceSlots(r.responder)
				require.Equal(t, tt.want, taken)
				client := r.client()
				client.Nonce, client.NonceOptional = []byte("nonce"), true
				asked := r.ask(client.Request(r.ca.Certificate, r.leaf))
				synctest.Wait()
				require.Empty(t, asked, "a nonce waits")
				begin := time.Now()
				r.status(r.leaf)
				if tt.concurrent != 1 {
					require.Equal(t, xocsp.Good, r.status(r.issue()).Status, "what is cached afterwards does not")
				}
				require.Zero(t, time.Since(begin))
				giveBack()
				nonce, err := ocsptest.ResponseNonce((<-asked).DER)
				require.NoError(t, err)
				require.Equal(t, client.Nonce, nonce)
				require.Zero(t, time.Since(begin))
			})
		})
	}
}

// neighbour returns a serial on the stripe of another.
func neighbour(r *rig, of *big.Int) *big.Int {
	n := big.NewInt(1 << 40)
	for !ocsp.SameStripe(r.responder, n, of) {
		n = new(big.Int).Add(n, big.NewInt(1))
	}
	return n
}

// Somebody asks in a loop for a certificate whose record is invalid: its neighbours are answered all the same.
func TestInvalidRecordLeavesNeighboursAlone(t *testing.T) {
	t.Parallel()
	for name, known := range map[string][2]bool{"nothing known": {}, "both known": {true, true}, "bad known": {true, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var broken atomic.Bool
				var bad *big.Int
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Now = nil
					cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
						time.Sleep(5 * time.Millisecond) // a database
						if broken.Load() && serial.Cmp(bad) == 0 {
							return ocsp.Record{}, ocsp.ErrInvalidRecord
						}
						return ocsp.Record{State: ocsp.Active}, nil
					})
				})
				bad = r.leaf.SerialNumber
				other := *r.leaf
				other.SerialNumber = neighbour(r, bad)
				badReq, otherReq := r.request(r.leaf), r.request(&other)
				if known[0] {
					r.responder.Respond(t.Context(), badReq)
				}
				if known[1] {
					r.responder.Respond(t.Context(), otherReq)
				}
				broken.Store(true)
				stop := make(chan struct{})
				defer close(stop)
				go func() { // 1000 requests per second
					for {
						select {
						case <-stop:
							return
						case <-time.After(time.Millisecond):
							go r.responder.Respond(context.Background(), badReq)
						}
					}
				}()
				time.Sleep(100*time.Millisecond + 300*time.Microsecond)
				outcomes := map[ocsp.Outcome]int{}
				for range 100 {
					outcomes[r.responder.Respond(t.Context(), otherReq).Outcome]++
				}
				require.Zero(t, outcomes[ocsp.OutcomeTryLater], "%v", outcomes)
			})
		})
	}
}

// One of two replicas of the database lags while a popular certificate is revoked. Every request
// is answered.
func TestLaggingReplicaStarvesNobody(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, time.Second} {
		t.Run(ttl.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lag atomic.Bool
				var hot *big.Int
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Now = nil
					cfg.Cache.StatusTTL = ttl
					cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
						late := mathrand.N(2) == 0
						time.Sleep(time.Millisecond + mathrand.N(time.Millisecond))
						if lag.Load() && serial.Cmp(hot) == 0 && !late {
							return ocsp.Record{State: ocsp.Compromised, RevokedAt: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)}, nil
						}
						return ocsp.Record{State: ocsp.Active}, nil
					})
				})
				hot = r.leaf.SerialNumber
				other := *r.leaf
				other.SerialNumber = neighbour(r, hot)
				hotReq, otherReq := r.request(r.leaf), r.request(&other)
				r.responder.Respond(t.Context(), hotReq)
				r.responder.Respond(t.Context(), otherReq)
				lag.Store(true)
				var mu sync.Mutex
				outcomes, others := map[ocsp.Outcome]int{}, map[ocsp.Outcome]int{}
				end := time.Now().Add(time.Second)
				var wg sync.WaitGroup
				for i := range 64 {
					wg.Go(func() {
						for time.Now().Before(end) {
							req, m := hotReq, outcomes
							if i == 0 {
								req, m = otherReq, others
							}
							o := r.responder.Respond(t.Context(), req).Outcome
							mu.Lock()
							m[o]++
							mu.Unlock()
							time.Sleep(5 * time.Millisecond)
						}
					})
				}
				wg.Wait()
				require.Zero(t, others[ocsp.OutcomeTryLater])
				require.Zero(t, outcomes[ocsp.OutcomeTryLater])
			})
		})
	}
}

// Requests come one shortly after the other, with a StatusTTL shorter than a read. All are
// answered.
func TestStatusTTLShorterThanAReadStarvesNobody(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{1, 20 * time.Microsecond, time.Millisecond} {
		t.Run(ttl.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Now, cfg.Cache.StatusTTL = nil, ttl
					cfg.Store = ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
						time.Sleep(2 * time.Millisecond)
						return ocsp.Record{State: ocsp.Active}, nil
					})
				})
				req := r.request(r.leaf)
				r.responder.Respond(t.Context(), req)
				var refused atomic.Int64
				var wg sync.WaitGroup
				for range 200 {
					time.Sleep(5 * time.Microsecond)
					wg.Go(func() {
						if r.responder.Respond(t.Context(), req).Outcome == ocsp.OutcomeTryLater {
							refused.Add(1)
						}
					})
				}
				wg.Wait()
				require.Zero(t, refused.Load())
			})
		})
	}
}

// When the clock was set back, what is read is trusted again.
func TestStatusTTLAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Minute })
	for range 2 {
		r.status(r.leaf)
		r.clock.Advance(2 * time.Minute)
	}
	r.status(r.leaf)
	r.clock.Advance(-30 * time.Minute)
	before := r.store.Calls()
	for range 20 {
		r.responder.Respond(t.Context(), r.request(r.leaf))
		r.clock.Advance(time.Second)
	}
	require.Equal(t, 1, r.store.Calls()-before)
}

// A store that is slower than StatusTTL is not one that fails.
func TestStoreSlowerThanStatusTTL(t *testing.T) {
	t.Parallel()
	for _, l := range []time.Duration{3 * time.Second, 6 * time.Second} {
		t.Run(l.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Now, cfg.Cache.StatusTTL, cfg.Cache.StorePatience = nil, time.Second, 10*time.Second
					cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
						time.Sleep(l)
						return ocsp.Record{State: ocsp.Active}, nil
					})
				})
				req := r.request(r.leaf)
				var mu sync.Mutex
				outcomes := map[ocsp.Outcome]int{}
				var wg sync.WaitGroup
				for range 600 {
					time.Sleep(100 * time.Millisecond)
					wg.Go(func() {
						o := r.responder.Respond(context.Background(), req).Outcome
						mu.Lock()
						outcomes[o]++
						mu.Unlock()
					})
				}
				wg.Wait()
				require.Zero(t, outcomes[ocsp.OutcomeTryLater])
				require.Zero(t, outcomes[ocsp.OutcomeStale])
			})
		})
	}
}

// Resync comes more often than the store takes for a read, and every request is answered.
func TestFrequentResyncsStarveNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newChanges()
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Now, cfg.Cache.StatusTTL, cfg.Cache.Feed = nil, time.Hour, c
			cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
				time.Sleep(50 * time.Millisecond)
				return ocsp.Record{State: ocsp.Active}, nil
			})
		})
		f := <-c.calls
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for {
				f.Resync()
				f.ValidUntil(time.Now().Add(time.Hour))
				select {
				case <-stop:
					return
				case <-time.After(40 * time.Millisecond):
				}
			}
		}()
		req := r.request(r.leaf)
		var mu sync.Mutex
		outcomes := map[ocsp.Outcome]int{}
		var wg sync.WaitGroup
		for range 500 {
			time.Sleep(3 * time.Millisecond)
			wg.Go(func() {
				o := r.responder.Respond(context.Background(), req).Outcome
				mu.Lock()
				outcomes[o]++
				mu.Unlock()
			})
		}
		wg.Wait()
		require.Zero(t, outcomes[ocsp.OutcomeTryLater])
	})
}
