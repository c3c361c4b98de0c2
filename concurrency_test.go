package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"math/big"
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
			cfg.Store = slow
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

// TestOpaqueSignerWithContext: a NewSigner gets a context that ends, and the digest to sign.
func TestSignerFunc(t *testing.T) {
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

// However many answers that nobody can use again are asked for, those that are cached still get signed.
func TestJunkDoesNotStarveTheCache(t *testing.T) {
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
