package ocsp_test

import (
	"context"
	"errors"
	"math/big"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// An answer under way that began under an issuer as it was before is reached by Invalidate and Changed too.
func TestInvalidateAfterTheIssuerChanged(t *testing.T) {
	t.Parallel()
	renumber := map[string]func(r *rig){
		"removed and set again": func(r *rig) {
			iss := r.ca.Issuer()
			iss.Signer = r.signer
			r.responder.RemoveIssuer(r.ca.ID)
			require.NoError(r, r.responder.SetIssuer(iss))
		},
		"another alias": func(r *rig) {
			iss := r.ca.Issuer()
			iss.Signer, iss.NameAliases = r.signer, [][]byte{{0x30, 0}}
			require.NoError(r, r.responder.SetIssuer(iss))
		},
		"same": func(r *rig) {
			iss := r.ca.Issuer()
			iss.Signer = r.signer
			require.NoError(r, r.responder.SetIssuer(iss))
		},
		"removed": func(r *rig) { r.responder.RemoveIssuer(r.ca.ID) },
	}
	for name, change := range renumber {
		t.Run(name+", trusted", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Hour })
				r.status(r.leaf)
				client := r.client()
				client.Nonce = []byte("nonce")
				r.signer.SetFault(ocsptest.Hang)
				early := r.ask(client.Request(r.ca.Certificate, r.leaf))
				synctest.Wait()
				change(r)
				r.revoke(r.leaf, ocsp.KeyCompromise)
				_ = r.responder.Invalidate(t.Context(), r.ca.ID, r.leaf.SerialNumber)
				r.signer.SetFault(ocsptest.Healthy)
				r.requireAnswer(<-early, xocsp.Revoked)
			})
		})
		t.Run(name+", stands in", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var failing atomic.Bool
				release := make(chan struct{})
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
						if failing.Load() {
							<-release
							return ocsp.Record{}, errors.New("down")
						}
						return r.store.FindBySerial(ctx, id, serial)
					})
				})
				r.status(r.leaf)
				failing.Store(true)
				early := r.ask(r.request(r.leaf))
				synctest.Wait()
				change(r)
				r.revoke(r.leaf, ocsp.KeyCompromise)
				_ = r.responder.Invalidate(t.Context(), r.ca.ID, r.leaf.SerialNumber)
				close(release)
				r.requireError(xocsp.TryLater, <-early)
			})
		})
		t.Run(name+", changed", func(t *testing.T) {
			changesTest(t, func(t *testing.T, r *rig, c *changes) {
				f := <-c.calls
				f.Resync()
				f.ValidUntil(time.Now().Add(time.Hour))
				r.clock.Set(time.Now())
				r.status(r.leaf)
				client := r.client()
				client.Nonce = []byte("nonce")
				r.signer.SetFault(ocsptest.Hang)
				early := r.ask(client.Request(r.ca.Certificate, r.leaf))
				synctest.Wait()
				change(r)
				r.revoke(r.leaf, ocsp.KeyCompromise)
				f.Changed(r.ca.ID, r.leaf.SerialNumber)
				r.signer.SetFault(ocsptest.Healthy)
				r.requireAnswer(<-early, xocsp.Revoked)
			})
		})
	}
}

// What cannot be read stops what a slow read has found before, also if nothing was known.
func TestUnreadableRecordStopsASlowRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var calls atomic.Int32
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
				switch calls.Add(1) {
				case 1:
					<-release // has seen good
					return ocsp.Record{State: ocsp.Active}, nil
				case 2:
					return ocsp.Record{}, ocsp.ErrInvalidRecord
				default:
					return ocsp.Record{}, errors.New("down")
				}
			})
		})
		slow := r.ask(r.request(r.leaf))
		synctest.Wait()
		r.post(r.request(r.leaf)) // learns
		close(release)
		<-slow
		r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
	})
}

// A read that was slow contradicts one that began with or after it: nobody knows which is right, so neither stands in when
// the store fails.
func TestContradictionEndsWhatIsKnown(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, news := range map[string]func() (ocsp.Record, error){
		"unreadable": func() (ocsp.Record, error) { return ocsp.Record{}, ocsp.ErrInvalidRecord },
		"revoked": func() (ocsp.Record, error) {
			return ocsp.Record{State: ocsp.Compromised, RevokedAt: now.AddDate(-40, 0, 0)}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				var calls atomic.Int32
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
						switch calls.Add(1) {
						case 1:
							<-release // such as for a connection
							return news()
						case 2:
							return ocsp.Record{State: ocsp.Active}, nil
						default:
							return ocsp.Record{}, errors.New("down")
						}
					})
				})
				slow := r.ask(r.request(r.leaf))
				synctest.Wait()
				r.requireAnswer(r.post(r.request(r.leaf)), xocsp.Good)
				close(release)
				<-slow
				r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
			})
		})
	}
}

// What was read again is trusted again, also if nothing else has happened.
func TestReadAgainIsTrustedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = 5 * time.Second })
	for n := 1; n <= 3; n++ {
		for range 2 {
			require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			require.Equal(t, n, r.store.Calls())
		}
		r.clock.Advance(5 * time.Second)
	}
}

// What was in doubt and is read again stands in again, also with a StatusTTL of zero.
func TestReadAgainStandsInAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newChanges()
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.Feed = c })
		f := <-c.calls
		f.Resync()
		r.status(r.leaf)
		f.Changed(r.ca.ID, r.leaf.SerialNumber)
		r.status(r.leaf)
		r.breakStore()
		r.requireAnswer(r.post(r.request(r.leaf)), xocsp.Good)
	})
}

// After Changed and Invalidate nobody waits for a read that began before.
func TestHangingReadIsLeftBehind(t *testing.T) {
	t.Parallel()
	for name, tell := range map[string]func(r *rig, f ocsp.FeedSink){
		"Invalidate": func(r *rig, _ ocsp.FeedSink) {
			require.NoError(r, r.responder.Invalidate(r.Context(), r.ca.ID, r.leaf.SerialNumber))
		},
		"Changed": func(r *rig, f ocsp.FeedSink) { f.Changed(r.ca.ID, r.leaf.SerialNumber) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChanges()
				var calls atomic.Int32
				release := make(chan struct{})
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Cache.StatusTTL, cfg.Cache.Feed, cfg.Now = time.Hour, c, nil
					cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
						if calls.Add(1) == 1 {
							<-release
						}
						return r.store.FindBySerial(ctx, id, serial)
					})
				})
				r.clock.Set(time.Now())
				f := <-c.calls
				f.Resync()
				f.ValidUntil(time.Now().Add(time.Hour))
				hanging := r.ask(r.request(r.leaf))
				synctest.Wait()
				tell(r, f)
				begin := time.Now()
				require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
				require.Zero(t, time.Since(begin))
				close(release)
				<-hanging
			})
		})
	}
}
