package ocsp_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// signings are ways to ask so that an answer is signed, though one is cached.
var signings = map[string]func(client *ocsptest.Client){
	"another hash": func(client *ocsptest.Client) { client.Hash = crypto.SHA256 },
	"a nonce":      func(client *ocsptest.Client) { client.Nonce = []byte("nonce") },
}

// requireTimes requires the times of an answer about what was read then.
func (r *rig) requireTimes(response *xocsp.Response, read time.Time, validity time.Duration) {
	r.Helper()
	require.Equal(r, read.Truncate(time.Second).UTC(), response.ThisUpdate)
	require.Equal(r, response.ThisUpdate.Add(validity-time.Second), response.NextUpdate)
	require.Equal(r, r.clock.Now().Truncate(time.Second).UTC(), response.ProducedAt)
}

// An answer that is signed an hour after the status was read says since when it is known (RFC 6960 section 2.4).
func TestThisUpdateIsWhenTheStatusWasRead(t *testing.T) {
	t.Parallel()
	for name, ask := range signings {
		for _, backdate := range []time.Duration{0, 5 * time.Minute} {
			t.Run(fmt.Sprintf("%s, Backdate %v", name, backdate), func(t *testing.T) {
				r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL, cfg.Backdate = 2*time.Hour, backdate })
				r.clock.Advance(700 * time.Millisecond)
				read := r.clock.Now()
				r.requireTimes(r.status(r.leaf), read.Add(-backdate), 24*time.Hour)
				r.clock.Advance(time.Hour)
				client := r.client()
				ask(&client)
				result, err := client.Query(t.Context(), r.ca.Certificate, r.leaf)
				require.NoError(t, err)
				r.requireTimes(result.Responses[0], read.Add(-backdate), 24*time.Hour)
				require.Equal(t, 1, r.store.Calls())
				require.Equal(t, 2, r.signer.Calls())
			})
		}
	}
	t.Run("several", func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = 2 * time.Hour })
		read := r.clock.Now()
		r.status(r.leaf)
		r.clock.Advance(time.Hour)
		fresh := r.issue()
		client := r.client()
		client.Method = http.MethodGet
		result, err := client.Query(t.Context(), r.ca.Certificate, fresh, r.leaf)
		require.NoError(t, err)
		r.requireTimes(result.Responses[0], r.clock.Now(), 24*time.Hour)
		r.requireTimes(result.Responses[1], read, 24*time.Hour)
		require.Equal(t, 2, r.store.Calls())
		require.Equal(t, read.UTC().Format(http.TimeFormat), result.Header.Get("Last-Modified"))
		require.Equal(t, result.Responses[1].NextUpdate.Format(http.TimeFormat), result.Header.Get("Expires"))
		require.Contains(t, result.Header.Get("Cache-Control"), fmt.Sprintf("max-age=%d,", 15*3600-1))
		answer := r.responder.Respond(t.Context(), result.Request)
		require.Equal(t, read.UTC(), answer.ThisUpdate)
		require.Equal(t, result.Responses[1].NextUpdate, answer.NextUpdate)
		require.Equal(t, read.Add(16*time.Hour-time.Second).UTC(), answer.RefreshAt)
	})
	t.Run("Changes", func(t *testing.T) {
		changesTest(t, func(t *testing.T, r *rig, c *changes) {
			f := <-c.calls
			f.Resync()
			f.ValidUntil(time.Now().Add(24 * time.Hour))
			read := time.Now()
			r.reads(xocsp.Good)
			time.Sleep(time.Hour)
			f.ValidUntil(time.Now().Add(24 * time.Hour))
			for _, ask := range signings {
				r.clock.Set(time.Now())
				client := r.client()
				ask(&client)
				result, err := client.Query(t.Context(), r.ca.Certificate, r.leaf)
				require.NoError(t, err)
				r.requireTimes(result.Responses[0], read, 24*time.Hour)
			}
			require.Equal(t, 1, r.store.Calls())
		})
	})
	t.Run("never issued", func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Cache.StatusTTL, cfg.Unissued = 2*time.Hour, ocsp.UnissuedRevoked
		})
		never := r.ca.Issue(ocsptest.Options{})
		for range 2 {
			r.requireTimes(r.status(never), r.clock.Now(), 24*time.Hour)
			r.clock.Advance(time.Hour)
		}
	})
}

// An answer that begins almost half of its life before the read is cached all the same, whatever the fraction of the
// second in which it is made.
func TestBackdateNearHalfOfValidity(t *testing.T) {
	t.Parallel()
	for _, validity := range []time.Duration{10 * time.Second, 59 * time.Minute, time.Hour, time.Hour + time.Second, 15*time.Hour + time.Second} {
		for left := time.Second; left <= 4*time.Second; left += time.Second {
			t.Run(fmt.Sprintf("%v, less than half by %v", validity, left), func(t *testing.T) {
				r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
					cfg.Validity, cfg.Backdate = validity, ((validity-1)/2).Truncate(time.Second)-left+time.Second
				})
				r.clock.Advance(300 * time.Millisecond)
				for range 10 {
					r.status(r.leaf)
					r.clock.Advance(time.Millisecond)
				}
				require.Equal(t, 1, r.signer.Calls())
			})
		}
	}
}

// In the last seconds of the certificate or the signer, answers are not signed for each request.
func TestNearItsEndAnAnswerIsNotSignedForEachRequest(t *testing.T) {
	t.Parallel()
	for _, whose := range []string{"the certificate's", "the signer's"} {
		for _, ttl := range []time.Duration{0, 100 * time.Hour} {
			t.Run(fmt.Sprintf("%s, StatusTTL %v", whose, ttl), func(t *testing.T) {
				var end time.Time
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Cache.StatusTTL, end = ttl, r.clock.Now().Add(10*time.Second)
					if whose == "the signer's" {
						var key crypto.Signer
						cfg.Issuers[0].ResponderCertificate, key = r.ca.Delegate(ocsptest.Options{NotAfter: end})
						r.signer = ocsptest.NewSigner(key)
						cfg.Issuers[0].Signer = r.signer
						return
					}
					r.store.Set(r.ca.ID, r.leaf.SerialNumber, ocsp.Record{State: ocsp.Active, NotAfter: end})
				})
				for r.clock.Now().Before(end) {
					response := r.requireAnswer(r.post(r.request(r.leaf)), xocsp.Good)[0]
					require.Equal(t, end.UTC(), response.NextUpdate)
					r.clock.Advance(10 * time.Millisecond)
				}
				require.LessOrEqual(t, r.signer.Calls(), 5)
			})
		}
	}
}

// A read that answers share is as old for all of them as it is.
func TestThisUpdateOfAReadThatIsJoined(t *testing.T) {
	t.Parallel()
	orderTest(t, func(cfg *ocsp.Config) { cfg.Cache.StatusTTL, cfg.Cache.StorePatience = time.Hour, 6*time.Second }, func(r *rig, s *slow) {
		read := time.Now()
		s.serial, s.wait = r.leaf.SerialNumber, func() { time.Sleep(5 * time.Second) }
		first := r.ask(r.request(r.leaf))
		time.Sleep(3 * time.Second)
		client := r.client()
		client.Nonce = []byte("nonce")
		second := r.ask(client.Request(r.ca.Certificate, r.leaf))
		for _, ch := range []<-chan *ocsptest.Result{first, second} {
			result := <-ch
			r.clock.Set(time.Now())
			r.requireTimes(r.requireAnswer(result, xocsp.Good)[0], read, 24*time.Hour)
		}
		require.Equal(r, 1, r.store.Calls())
	})
}

func TestCachedAnswerKeepsItsThisUpdate(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, time.Minute, 20 * time.Hour} {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = ttl })
		begin := r.clock.Now().UTC()
		for range 16 {
			require.Equal(t, begin, r.status(r.leaf).ThisUpdate)
			r.clock.Advance(time.Hour - time.Second)
		}
		require.Equal(t, 1, r.signer.Calls())
	}
}

// A renewal is about what the store says then, however long statuses are trusted.
func TestRenewalReadsTheStore(t *testing.T) {
	t.Parallel()
	refresh := 16*time.Hour - time.Second
	t.Run("StatusTTL", func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = 100 * time.Hour })
		r.status(r.leaf)
		r.clock.Advance(refresh)
		r.requireTimes(r.status(r.leaf), r.clock.Now(), 24*time.Hour)
		require.Equal(t, 2, r.store.Calls())
		require.Equal(t, 2, r.signer.Calls())
		r.clock.Advance(time.Hour)
		r.revoke(r.leaf, ocsp.KeyCompromise) // unannounced
		r.clock.Advance(refresh - time.Hour)
		response := r.status(r.leaf)
		require.Equal(t, xocsp.Revoked, response.Status)
		r.requireTimes(response, r.clock.Now(), 24*time.Hour)
		require.Equal(t, 3, r.store.Calls())
	})
	t.Run("Changes", func(t *testing.T) {
		changesTest(t, func(t *testing.T, r *rig, c *changes) {
			f := <-c.calls
			f.Resync()
			f.ValidUntil(time.Now().Add(100 * time.Hour))
			require.Equal(t, 1, r.reads(xocsp.Good))
			time.Sleep(refresh - 2*time.Second)
			require.Zero(t, r.reads(xocsp.Good))
			time.Sleep(2 * time.Second)
			require.Equal(t, 1, r.reads(xocsp.Good))
			require.Zero(t, r.reads(xocsp.Good))
			require.Equal(t, 2, r.signer.Calls())
		})
	})
	t.Run("a later read will do", func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = 100 * time.Hour })
		r.status(r.leaf)
		r.clock.Advance(refresh + time.Second)
		client := r.client()
		client.Hash = crypto.SHA256
		read := r.clock.Now()
		_, err := client.Query(t.Context(), r.ca.Certificate, r.leaf) // would be past its refresh point
		require.NoError(t, err)
		require.Equal(t, 2, r.store.Calls())
		r.clock.Advance(time.Minute)
		r.requireTimes(r.status(r.leaf), read, 24*time.Hour)
		require.Equal(t, 2, r.store.Calls())
	})
}

// An answer that would be past its refresh point when it is signed needs a newer read, though the status is trusted.
func TestNoAnswerIsSignedPastItsRefreshPoint(t *testing.T) {
	t.Parallel()
	for name, ask := range signings {
		for _, validity := range []time.Duration{10 * time.Second, time.Hour} {
			t.Run(fmt.Sprintf("%s, Validity %v", name, validity), func(t *testing.T) {
				for _, after := range []time.Duration{validity/2 - time.Second, validity / 2, validity - time.Second, validity, 5 * validity} {
					r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL, cfg.Validity = 100*time.Hour, validity })
					read := r.clock.Now()
					r.status(r.leaf)
					r.clock.Advance(after)
					want, calls := r.clock.Now(), 2
					if after < validity/2 {
						want, calls = read, 1
					}
					client := r.client()
					ask(&client)
					result, err := client.Query(t.Context(), r.ca.Certificate, r.leaf)
					require.NoError(t, err)
					r.requireTimes(result.Responses[0], want, validity)
					require.Equal(t, calls, r.store.Calls())

					other := r.issue()
					result, err = client.Query(t.Context(), r.ca.Certificate, other, r.leaf)
					require.NoError(t, err)
					r.requireTimes(result.Responses[0], r.clock.Now(), validity)
					r.requireTimes(result.Responses[1], want, validity)
					require.Equal(t, calls+1, r.store.Calls())
				}
			})
		}
	}
	t.Run("several, of which one is too old", func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL, cfg.Validity = 100*time.Hour, time.Hour })
		old, later := r.leaf, r.issue()
		r.status(old)
		r.clock.Advance(20 * time.Minute)
		read := r.clock.Now()
		r.status(later)
		r.clock.Advance(20 * time.Minute)
		responses := r.query(later, old).Responses
		r.requireTimes(responses[0], read, time.Hour)
		r.requireTimes(responses[1], r.clock.Now(), time.Hour)
		require.Equal(t, 3, r.store.Calls())
	})
	t.Run("a window that is cut short", func(t *testing.T) { // a newer read does not help, and is made once
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Cache.StatusTTL, cfg.Validity, cfg.Backdate = 100*time.Hour, time.Hour, 29*time.Minute
		})
		r.store.Set(r.ca.ID, r.leaf.SerialNumber, ocsp.Record{State: ocsp.Active, NotAfter: r.clock.Now().Add(20 * time.Minute)})
		r.status(r.leaf)
		r.clock.Advance(time.Minute)
		client := r.client()
		client.Hash = crypto.SHA256
		result, err := client.Query(t.Context(), r.ca.Certificate, r.leaf)
		require.NoError(t, err)
		require.Equal(t, r.clock.Now().Add(-29*time.Minute).UTC(), result.Responses[0].ThisUpdate)
		require.Equal(t, 2, r.store.Calls())
	})
}

// What cannot be renewed because the store fails goes on to its end, except with FailClosed.
func TestRenewalWhileTheStoreFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []ocsptest.Fault{ocsptest.Fail, ocsptest.Hang} {
		for _, failClosed := range []bool{false, true} {
			for name, ask := range map[string]func(*ocsptest.Client){"plain": func(*ocsptest.Client) {}, "a nonce": signings["a nonce"]} {
				t.Run(fmt.Sprintf("fault %v, FailClosed %v, %s", fault, failClosed, name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
							cfg.Cache.StatusTTL, cfg.Cache.FailClosed, cfg.Validity = 100*time.Hour, failClosed, time.Hour
						})
						first := r.query(r.leaf)
						client := r.client()
						ask(&client)
						request := client.Request(r.ca.Certificate, r.leaf)
						r.store.SetFault(fault)
						r.clock.Advance(29 * time.Minute)
						require.Equal(t, first.DER, r.query(r.leaf).DER, "before the refresh point the store is not needed")
						for _, left := range []time.Duration{29 * time.Minute, time.Minute, time.Second} {
							r.clock.Set(first.Responses[0].NextUpdate.Add(-left))
							answer := r.responder.Respond(t.Context(), request)
							require.Error(t, answer.Err)
							if failClosed {
								require.Equal(t, ocsp.OutcomeTryLater, answer.Outcome)
								continue
							}
							require.Equal(t, ocsp.OutcomeStale, answer.Outcome)
							require.Equal(t, first.DER, answer.DER)
						}
						r.clock.Set(first.Responses[0].NextUpdate)
						r.requireError(xocsp.TryLater, r.post(request))
						time.Sleep(time.Minute) // so that no read from before finds anything
						r.store.SetFault(ocsptest.Healthy)
						result, err := client.Query(t.Context(), r.ca.Certificate, r.leaf)
						require.NoError(t, err)
						r.requireTimes(result.Responses[0], r.clock.Now(), time.Hour)
					})
				})
			}
		}
	}
	t.Run("the record cannot be read", func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = 100 * time.Hour })
		r.status(r.leaf)
		r.clock.Advance(17 * time.Hour)
		r.store.SetFault(ocsptest.Wrong)
		r.requireError(xocsp.InternalError, r.post(r.request(r.leaf)))
	})
}

// A store that has too much to do costs no renewal its answer while the status is trusted: nobody can bring tryLater
// about by asking a lot. With FailClosed, it does.
func TestRenewalWhileTheStoreIsBusy(t *testing.T) {
	t.Parallel()
	for failClosed, want := range map[bool]ocsp.Outcome{false: ocsp.OutcomeStale, true: ocsp.OutcomeTryLater} {
		synctest.Test(t, func(t *testing.T) {
			var busy atomic.Bool
			r := newRig(t, func(r *rig, cfg *ocsp.Config) {
				cfg.Cache.StatusTTL, cfg.Cache.FailClosed, cfg.Unissued, cfg.Now = 100*time.Hour, failClosed, ocsp.UnissuedUnauthorized, nil
				cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
					if busy.Load() {
						time.Sleep(3 * time.Second)
					}
					return r.store.FindBySerial(context.WithoutCancel(ctx), id, serial)
				})
			})
			r.says(xocsp.Good)
			time.Sleep(17 * time.Hour)
			busy.Store(true)
			for i := range 1024 + 4096 {
				never := &x509.Certificate{SerialNumber: big.NewInt(int64(1_000_000 + i))} // reads of one would be shared
				go r.responder.Respond(context.Background(), r.request(never))
			}
			synctest.Wait()
			require.Equal(t, want, r.responder.Respond(t.Context(), r.request(r.leaf)).Outcome)
			time.Sleep(time.Minute)
		})
	}
}

// While one request renews an answer, and reads the store for it, the others get the old one at once.
func TestOthersDoNotWaitForTheReadOfARenewal(t *testing.T) {
	t.Parallel()
	orderTest(t, func(cfg *ocsp.Config) { cfg.Cache.StatusTTL = 100 * time.Hour }, func(r *rig, s *slow) {
		r.says(xocsp.Good)
		time.Sleep(17 * time.Hour)
		r.clock.Set(time.Now())
		for range 2 { // the second time the first one's end must be known
			old := r.store.Calls()
			s.serial, s.wait = r.leaf.SerialNumber, func() { time.Sleep(time.Second / 2) }
			one := r.ask(r.request(r.leaf))
			synctest.Wait()
			begin := time.Now()
			for range 3 {
				result := r.query(r.leaf)
				require.NotEqual(r, begin.UTC().Truncate(time.Second), result.Responses[0].ThisUpdate)
				require.Contains(r, result.Header.Get("Cache-Control"), "max-age=1,")
			}
			require.Zero(r, time.Since(begin))
			result := <-one
			require.Equal(r, time.Second/2, time.Since(begin))
			require.Equal(r, old+1, r.store.Calls())
			r.clock.Set(time.Now())
			response := r.requireAnswer(result, xocsp.Good)[0]
			r.requireTimes(response, begin, 24*time.Hour)
			time.Sleep(17 * time.Hour)
			r.clock.Set(time.Now())
		}
		require.Equal(r, 3, r.signer.Calls())
	})
}

// No answer says that a certificate was revoked later than it says that this was known (T154).
func TestRevokedBetweenReadAndSigning(t *testing.T) {
	t.Parallel()
	for name, ask := range signings {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = 2 * time.Hour })
			read := r.clock.Now()
			revokedAt := read.Add(30 * time.Minute)
			r.store.Revoke(r.ca.ID, r.leaf.SerialNumber, ocsp.KeyCompromise, revokedAt)
			require.Equal(t, read.UTC(), r.status(r.leaf).RevokedAt)
			client := r.client()
			ask(&client)
			request := client.Request(r.ca.Certificate, r.leaf)
			requireRevoked := func(at time.Time) {
				t.Helper()
				response := r.requireAnswer(r.post(request), xocsp.Revoked)[0]
				require.Equal(t, at.UTC(), response.RevokedAt)
				require.Equal(t, at.UTC(), r.responder.Respond(t.Context(), request).Responses[0].RevokedAt)
				two := r.responder.Respond(t.Context(), r.request(r.issue(), r.leaf))
				require.Equal(t, at.UTC(), two.Responses[1].RevokedAt)
				require.Equal(t, at.UTC(), must(ocsptest.Parse(two.DER, r.ca.Certificate))[1].RevokedAt)
			}
			r.clock.Advance(time.Hour)
			requireRevoked(read)
			r.clock.Advance(16 * time.Hour) // past the refresh point, so that the store is read
			requireRevoked(revokedAt)
		})
	}
}

// A status that was read before the signing certificate began is read again: no answer begins before that certificate, nor
// later than what it says is known.
func TestSignerIsYoungerThanTheRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = 2 * time.Hour })
	r.status(r.leaf)
	r.clock.Advance(time.Hour)
	issuer := r.ca.Issuer()
	issuer.ResponderCertificate, issuer.Signer = r.ca.Delegate(ocsptest.Options{NotBefore: r.clock.Now().Add(-time.Minute)})
	require.NoError(t, r.responder.SetIssuer(issuer))
	r.requireTimes(r.status(r.leaf), r.clock.Now(), 24*time.Hour)
	require.Equal(t, 2, r.store.Calls())
}

// After the clock was set back, nothing that was read or signed in what is now the future counts.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	for name, ask := range signings {
		for _, backdate := range []time.Duration{0, 2 * time.Hour} {
			t.Run(fmt.Sprintf("%s, Backdate %v", name, backdate), func(t *testing.T) {
				r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL, cfg.Backdate = 100*time.Hour, backdate })
				r.status(r.leaf)
				r.clock.Advance(-time.Hour)
				client := r.client()
				ask(&client)
				result, err := client.Query(t.Context(), r.ca.Certificate, r.leaf)
				require.NoError(t, err)
				r.requireTimes(result.Responses[0], r.clock.Now().Add(-backdate), 24*time.Hour)
				r.requireTimes(r.status(r.leaf), r.clock.Now().Add(-backdate), 24*time.Hour)
				require.Equal(t, 2, r.store.Calls(), "the later read is trusted")
			})
		}
	}
	t.Run("during a read", func(t *testing.T) {
		var back atomic.Bool
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
				if !back.Swap(true) {
					r.clock.Advance(-time.Hour)
				}
				return r.store.FindBySerial(ctx, id, serial)
			})
		})
		r.requireTimes(r.status(r.leaf), r.clock.Now(), 24*time.Hour)
	})
}

// The times of a shared answer need not be those of one's own read, but must be ones that this responder allows.
func TestSharedAnswersOfOtherTimes(t *testing.T) {
	t.Parallel()
	const hour = 3600
	for name, test := range map[string]struct {
		thisUpdate, producedAt, nextUpdate int64 // from now on
		refused                            bool
	}{
		"as it would be":                       {0, 0, 24*hour - 1, false},
		"read before":                          {-hour, -hour, 23*hour - 1, false},
		"read before, made later":              {-hour, 0, 23*hour - 1, false},
		"ends early":                           {-hour, -hour, 20 * hour, false},
		"ends later than what it is about":     {-hour, 0, 23 * hour, true},
		"as long as if it were read when made": {-hour, 0, 24*hour - 1, true},
		"ends with its making, by far":         {-10 * hour, -hour, 23*hour - 1, true},
		"begins after it was made":             {-hour + 1, -hour, 23 * hour, true},
		"begins now, made before":              {0, -1, 24*hour - 1, true},
		"made in advance":                      {0, 1, 24*hour - 1, true},
		"past its refresh point":               {-16*hour + 1, -16*hour + 1, 8 * hour, true},
		"just before it":                       {-16*hour + 2, -16*hour + 2, 8*hour + 1, false},
		"made past its refresh point":          {-17 * hour, -17 * hour, 7*hour - 1, true},
		"over":                                 {-24 * hour, -24 * hour, -1, true},
		"before the signer":                    {-365*24*hour - 3*hour, -hour, 20 * hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache := ocsptest.NewRemoteCache()
				r := sharedRig(t, cache)
				responderID := signTakeApart(r, r.query(r.leaf).DER).tbs[0]
				r.settle()
				var req codec.Request
				require.NoError(t, codec.ParseRequest(r.request(r.leaf), &req, codec.ReadLimits{CertIDs: 1}))
				now := r.clock.Now().Unix()
				data := codec.ResponseData{ResponderID: responderID, ProducedAt: now + test.producedAt, Singles: []codec.Single{{
					CertID: req.Entries[0].CertID.Raw, Status: codec.Good, ThisUpdate: now + test.thisUpdate, NextUpdate: now + test.nextUpdate,
					RevokedAt: codec.NoTime, InvalidityDate: codec.NoTime, ArchiveCutoff: codec.NoTime,
				}}}
				tbs := data.AppendTBS(nil)
				signature, err := crypto.SignMessage(r.ca.Key, rand.Reader, tbs, crypto.SHA256)
				require.NoError(t, err)
				value := codec.AppendResponse(nil, tbs, codec.AlgorithmIdentifier(x509.ECDSAWithSHA256), signature, nil)
				cache.Poison(value)
				replica := newReplica(r, cache)
				result := replica.query(r.leaf)
				if test.refused {
					require.Equal(t, 1, replica.signer.Calls())
					replica.requireTimes(result.Responses[0], r.clock.Now(), 24*time.Hour)
				} else {
					require.Zero(t, replica.signer.Calls())
					require.Equal(t, value, result.DER)
				}
				replica.settle()
			})
		})
	}
}

// If-Modified-Since confirms no answer about several certificates, each of which was read at its
// own time.
func TestIfModifiedSinceConfirmsNoAnswerAboutSeveral(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = 2 * time.Hour })
	held := r.issue()
	r.status(r.leaf)
	r.clock.Advance(time.Minute)
	r.revoke(held, ocsp.CertificateHold)
	client := r.client()
	client.Method = http.MethodGet
	before, err := client.Query(t.Context(), r.ca.Certificate, r.leaf, held)
	require.NoError(t, err)
	require.Equal(t, xocsp.Revoked, before.Responses[1].Status)
	r.clock.Advance(time.Minute)
	r.store.Add(r.ca.ID, held) // released
	require.NoError(t, r.responder.Invalidate(t.Context(), r.ca.ID, held.SerialNumber))
	client.Header = http.Header{"If-Modified-Since": {before.Header.Get("Last-Modified")}}
	after, err := client.Query(t.Context(), r.ca.Certificate, r.leaf, held)
	require.NoError(t, err)
	require.Equal(t, xocsp.Good, after.Responses[1].Status)
}

// If-Modified-Since confirms no answer that was signed later than its status was read. The
// client's answer may be of another signer that ends sooner, and a 304 would let HTTP caches use
// it past its nextUpdate.
func TestIfModifiedSinceConfirmsNoAnswerOfAnotherSigner(t *testing.T) {
	t.Parallel()
	for _, backdate := range []time.Duration{0, time.Minute} {
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Cache.StatusTTL, cfg.Backdate = 20*time.Hour, backdate
			issuer := &cfg.Issuers[0]
			issuer.ResponderCertificate, issuer.Signer = r.ca.Delegate(ocsptest.Options{NotAfter: r.clock.Now().Add(2 * time.Hour)})
		})
		client := r.client()
		client.Method = http.MethodGet
		before, err := client.Query(t.Context(), r.ca.Certificate, r.leaf)
		require.NoError(t, err)
		client.Header = http.Header{"If-Modified-Since": {before.Header.Get("Last-Modified")}}
		same, err := client.Send(t.Context(), before.Request)
		require.NoError(t, err)
		require.Equal(t, http.StatusNotModified, same.StatusCode)
		r.clock.Advance(time.Hour / 2)
		issuer := r.ca.Issuer()
		issuer.ResponderCertificate, issuer.Signer = r.ca.Delegate(ocsptest.Options{NotAfter: r.clock.Now().Add(1000 * time.Hour)})
		require.NoError(t, r.responder.SetIssuer(issuer))
		after, err := client.Query(t.Context(), r.ca.Certificate, r.leaf)
		require.NoError(t, err)
		require.Equal(t, before.Responses[0].ThisUpdate, after.Responses[0].ThisUpdate)
		require.True(t, after.Responses[0].NextUpdate.After(before.Responses[0].NextUpdate))
	}
}

// suspend lets the machine sleep: the monotonic clock, as the responder reads it, stands still until wake is called.
func (r *rig) suspend() (wake func()) {
	var woken atomic.Pointer[time.Time]
	ocsp.SetSteady(r.responder, func() time.Duration {
		if t := woken.Load(); t != nil {
			return 1 + time.Since(*t)
		}
		return 1
	})
	return func() {
		now := time.Now()
		woken.Store(&now)
	}
}

// After the machine was suspended for a day no status is trusted, although the monotonic clock
// stood still.
func TestSuspendedMachineEndsTrust(t *testing.T) {
	t.Parallel()
	t.Run("StatusTTL", func(t *testing.T) {
		orderTest(t, func(cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Hour }, func(r *rig, _ *slow) {
			wake := r.suspend()
			r.says(xocsp.Good)
			r.revoke(r.leaf, ocsp.KeyCompromise)
			time.Sleep(time.Hour - 1)
			r.says(xocsp.Good)
			time.Sleep(time.Nanosecond)
			wake()
			r.says(xocsp.Revoked)
		})
	})
	t.Run("a lease", func(t *testing.T) {
		changesTest(t, func(t *testing.T, r *rig, c *changes) {
			f := <-c.calls
			f.Resync()
			wake := r.suspend()
			until := time.Now().Add(2 * time.Second)
			f.ValidUntil(until)
			r.reads(xocsp.Good)
			require.Zero(t, r.reads(xocsp.Good))
			r.revoke(r.leaf, ocsp.KeyCompromise)
			time.Sleep(2 * time.Second)
			wake()
			require.Equal(t, 1, r.reads(xocsp.Revoked))
			f.ValidUntil(until) // what was asked for before, and answered after
			require.Equal(t, 1, r.reads(xocsp.Revoked))
			f.ValidUntil(time.Now().Add(time.Minute).Round(0)) // without a monotonic reading
			require.Zero(t, r.reads(xocsp.Revoked))
			time.Sleep(time.Minute)
			require.Equal(t, 1, r.reads(xocsp.Revoked))
		})
	})
	t.Run("a read that is under way", func(t *testing.T) {
		orderTest(t, func(cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Second }, func(r *rig, s *slow) {
			wake := r.suspend()
			s.serial, s.wait = r.leaf.SerialNumber, func() { time.Sleep(5 * time.Second) }
			early := r.ask(r.request(r.leaf)) // has read good
			synctest.Wait()
			time.Sleep(time.Second)
			wake()
			r.revoke(r.leaf, ocsp.KeyCompromise)
			r.says(xocsp.Revoked)
			<-early
		})
	})
}

// Nor does a clock that stands still, or is set back to a moment after the read, keep trust alive.
func TestTrustEndsByTheMonotonicClock(t *testing.T) {
	t.Parallel()
	t.Run("StatusTTL", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Hour })
			r.status(r.leaf)
			r.revoke(r.leaf, ocsp.KeyCompromise)
			for range 6 {
				time.Sleep(10*time.Minute - 1)
				r.clock.Advance(10*time.Minute - 1)
				require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
				r.clock.Advance(-5 * time.Minute)
			}
			time.Sleep(6 * time.Nanosecond)
			require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
		})
	})
	t.Run("a lease", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newChanges()
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL, cfg.Cache.Feed = time.Hour, c })
			f := <-c.calls
			f.Resync()
			f.ValidUntil(time.Now().Add(time.Minute))
			r.status(r.leaf)
			r.revoke(r.leaf, ocsp.KeyCompromise)
			time.Sleep(time.Minute - 1)
			require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			time.Sleep(time.Nanosecond)
			require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)

			f.ValidUntil(time.Now().Add(time.Minute))
			r.status(r.leaf)
			calls := r.store.Calls()
			r.clock.Advance(time.Minute) // the host's clock alone
			r.status(r.leaf)
			require.Equal(t, calls+1, r.store.Calls())
		})
	})
}

// A clock that panics in ValidUntil ends the trust in the feed, and nothing else.
func TestPanickingClockEndsTrustInTheFeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		c := newChanges()
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Cache.StatusTTL, cfg.Cache.Feed = time.Hour, c
			now := cfg.Now
			cfg.Now = func() time.Time {
				if broken.Load() {
					panic("clock")
				}
				return now()
			}
		})
		f := <-c.calls
		f.Resync()
		f.ValidUntil(time.Now().Add(time.Minute))
		for range 2 {
			r.status(r.leaf)
		}
		require.Equal(t, 1, r.store.Calls())
		broken.Store(true)
		f.ValidUntil(time.Now().Add(time.Minute))
		broken.Store(false)
		r.status(r.leaf)
		require.Equal(t, 2, r.store.Calls())
	})
}

// A certificate whose status changes after SetIssuer has put back a former signer gets an answer.
func TestSignerIsPutBack(t *testing.T) {
	r := newRig(t, func(r *rig, cfg *ocsp.Config) { cfg.Backdate = time.Hour })
	former := r.ca.Issuer()
	delegate, key := r.ca.Delegate(ocsptest.Options{Adjust: func(c *x509.Certificate) {
		c.NotBefore = r.clock.Now()
	}})
	next := r.ca.Issuer()
	next.ResponderCertificate, next.Signer = delegate, key
	require.NoError(t, r.responder.SetIssuer(next))
	require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
	require.NoError(t, r.responder.SetIssuer(former))
	r.clock.Advance(time.Minute)
	r.revoke(r.leaf, ocsp.KeyCompromise)
	a := r.responder.Respond(r.Context(), r.request(r.leaf))
	require.False(t, a.Outcome.IsError(), "%v", a.Err)
	require.Equal(t, ocsp.Revoked, a.Responses[0].Status)
}

// lagging is a store that takes its time for every answer.
type lagging struct {
	*ocsptest.Store
	lag   time.Duration
	calls atomic.Int64
}

func (s *lagging) FindBySerial(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
	s.calls.Add(1)
	time.Sleep(s.lag)
	return s.Store.FindBySerial(ctx, id, serial)
}

// lagTest asks about one certificate ten times a second, of a store whose lookups take less than its
// patience but more than a quarter of Timeout.
func lagTest(t *testing.T, ttl time.Duration, run func(r *rig, s *lagging)) {
	synctest.Test(t, func(t *testing.T) {
		s := &lagging{Store: ocsptest.NewStore(), lag: 2700 * time.Millisecond}
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Now, cfg.Store = nil, s
			cfg.Cache.StatusTTL, cfg.Cache.StorePatience = ttl, 3*time.Second
			s.Store.Add(r.ca.ID, r.leaf)
			r.store = s.Store
		})
		request := r.request(r.leaf)
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			go r.responder.Respond(context.Background(), request)
		}
		run(r, s)
	})
}

// What a slow store says about a certificate that is asked for all the time is recorded: it stands in when
// the store is silent.
func TestSlowStoreStandIn(t *testing.T) {
	lagTest(t, 0, func(r *rig, s *lagging) {
		s.SetFault(ocsptest.Hang)
		time.Sleep(10 * time.Second)
		a := r.responder.Respond(context.Background(), r.request(r.leaf))
		require.Equal(r, ocsp.OutcomeStale.String(), a.Outcome.String(), "%v", a.Err)
	})
}
