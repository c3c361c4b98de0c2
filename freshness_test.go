package ocsp_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"runtime"
	"slices"
	"strconv"
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

func TestStoreIsReadForEveryAnswerAndSignedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for n := 1; n <= 5; n++ {
		require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
		require.Equal(t, n, r.store.Calls())
		require.Equal(t, 1, r.signer.Calls())
	}
	r.revoke(r.leaf, ocsp.Superseded)
	revoked := r.status(r.leaf)
	require.Equal(t, xocsp.Revoked, revoked.Status)
	require.Equal(t, xocsp.Superseded, revoked.RevocationReason)
	require.Equal(t, r.clock.Now().UTC(), revoked.RevokedAt)
	r.clock.Advance(time.Hour)
	require.Equal(t, revoked.RevokedAt, r.status(r.leaf).RevokedAt)
	require.Equal(t, 2, r.signer.Calls())
}

func TestStatusTTL(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = 5 * time.Second })
	r.status(r.leaf)
	r.revoke(r.leaf, ocsp.KeyCompromise)
	r.clock.Advance(5*time.Second - 1)
	require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
	require.Equal(t, 1, r.store.Calls())
	r.clock.Advance(1)
	require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
	require.Equal(t, 2, r.store.Calls())

	t.Run("Invalidate makes the change show at once", func(t *testing.T) {
		other := r.issue()
		require.Equal(t, xocsp.Good, r.status(other).Status)
		r.revoke(other, ocsp.KeyCompromise)
		require.NoError(t, r.responder.Invalidate(context.Background(), r.ca.ID, other.SerialNumber))
		require.Equal(t, xocsp.Revoked, r.status(other).Status)
	})
	t.Run("a clock that goes back trusts nothing", func(t *testing.T) {
		calls := r.store.Calls()
		r.clock.Advance(-time.Hour)
		require.Equal(t, r.clock.Now().UTC(), r.status(r.leaf).ThisUpdate)
		require.Equal(t, calls+1, r.store.Calls())
	})
	t.Run("answers with a nonce use it too", func(t *testing.T) {
		leaf := r.issue()
		client := r.client()
		calls := r.store.Calls()
		for i := range 3 {
			client.Nonce = []byte{byte(i), 1}
			_, err := client.Query(context.Background(), r.ca.Certificate, leaf)
			require.NoError(t, err)
		}
		require.Equal(t, calls+1, r.store.Calls())
	})
}

func TestInvalidateNamesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ctx := context.Background()
	require.ErrorContains(t, r.responder.Invalidate(ctx, "nobody", big.NewInt(1)), `"nobody"`)
	require.ErrorContains(t, r.responder.Invalidate(ctx, r.ca.ID, nil), "serial is nil")
	require.NoError(t, r.responder.Invalidate(ctx, r.ca.ID))
	require.NoError(t, r.responder.Invalidate(ctx, r.ca.ID, big.NewInt(-5)))
}

// Another encoding's cached answer must not survive the news that the certificate is revoked, or it would be
// served as good once the store is down.
func TestNewStatusDropsEveryEncoding(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.status(r.leaf) // SHA-1: good
	r.revoke(r.leaf, ocsp.KeyCompromise)
	sha256 := r.client()
	sha256.Hash = crypto.SHA256
	result, err := sha256.Query(context.Background(), r.ca.Certificate, r.leaf)
	require.NoError(t, err)
	require.Equal(t, xocsp.Revoked, result.Responses[0].Status)

	r.breakStore()
	r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
	result, err = sha256.Query(context.Background(), r.ca.Certificate, r.leaf)
	require.NoError(t, err)
	require.Equal(t, xocsp.Revoked, result.Responses[0].Status)
}

func TestDeletedRecordIsNotServedFromTheCache(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.status(r.leaf)
	r.store.Remove(r.ca.ID, r.leaf.SerialNumber)
	require.Equal(t, xocsp.Unknown, r.status(r.leaf).Status)
	r.breakStore()
	r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
}

func TestRefreshPoint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		validity, refresh time.Duration
	}{
		{time.Hour, 30 * time.Minute},
		{15 * time.Hour, 15 * time.Hour / 2},
		{16 * time.Hour, 8*time.Hour - time.Second},
		{0, 16*time.Hour - time.Second}, // a day
		{4 * 24 * time.Hour, 88*time.Hour - time.Second},
		{10 * 24 * time.Hour, 96 * time.Hour},
	} {
		t.Run(c.validity.String(), func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Validity = c.validity })
			begin := r.clock.Now()
			if c.validity == 0 {
				c.validity = 24 * time.Hour
			}
			answer := r.responder.Respond(context.Background(), r.request(r.leaf))
			require.Equal(t, begin.UTC(), answer.ThisUpdate)
			require.Equal(t, begin.Add(c.validity-time.Second).UTC(), answer.NextUpdate)
			require.Equal(t, begin.Add(c.refresh).UTC(), answer.RefreshAt)
			r.clock.Set(begin.Add(c.refresh - time.Second))
			r.status(r.leaf)
			require.Equal(t, 1, r.signer.Calls())
			r.clock.Set(begin.Add(c.refresh))
			require.Equal(t, r.clock.Now().UTC(), r.status(r.leaf).ThisUpdate)
			require.Equal(t, 2, r.signer.Calls())
		})
	}
}

func TestWindowStaysWithinCertificates(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	soon := now.Add(time.Hour).UTC()
	t.Run("backdated, but not to before the signer began", func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Backdate = 5 * time.Minute })
		answer := r.status(r.leaf)
		require.Equal(t, r.clock.Now().Add(-5*time.Minute).UTC(), answer.ThisUpdate)
		require.Equal(t, r.clock.Now().UTC(), answer.ProducedAt)
		require.Equal(t, answer.ThisUpdate.Add(24*time.Hour-time.Second), answer.NextUpdate)
	})
	t.Run("the certificate's own end", func(t *testing.T) {
		r := newRig(t, nil)
		r.store.Set(r.ca.ID, r.leaf.SerialNumber, ocsp.Record{State: ocsp.Active, NotAfter: soon})
		require.Equal(t, soon, r.status(r.leaf).NextUpdate)
		r.clock.Set(soon.Add(time.Second)) // expired: the end no longer binds
		require.Equal(t, soon.Add(24*time.Hour), r.status(r.leaf).NextUpdate)
	})
	t.Run("a dying delegate", func(t *testing.T) {
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Issuers[0].ResponderCertificate, cfg.Issuers[0].Signer = r.ca.Delegate(ocsptest.Options{NotAfter: soon, NotBefore: now.Add(-time.Minute)})
			cfg.Backdate = time.Hour
		})
		answer := r.status(r.leaf)
		require.Equal(t, now.Add(-time.Minute).UTC(), answer.ThisUpdate)
		require.Equal(t, soon, answer.NextUpdate)
		r.clock.Set(soon)
		r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
	})
}

func TestSignerFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []ocsptest.Fault{ocsptest.Fail, ocsptest.Panic, ocsptest.Wrong} {
		events := make(chan ocsp.Event, 10)
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Validity = time.Hour
			cfg.Observe = func(_ context.Context, e ocsp.Event) { events <- e }
		})
		r.status(r.leaf)
		require.Equal(t, ocsp.OutcomeSigned, (<-events).Outcome)
		r.signer.SetFault(fault)
		r.clock.Advance(40 * time.Minute)
		stale := r.query(r.leaf) // past the refresh point: what was signed at the start
		require.Equal(t, r.clock.Now().Add(-40*time.Minute).UTC(), stale.Responses[0].ThisUpdate)
		require.Contains(t, stale.Header.Get("Cache-Control"), "max-age=1198,")
		event := <-events
		require.Equal(t, ocsp.OutcomeStale, event.Outcome)
		require.Error(t, event.Err)
		require.Equal(t, 40*time.Minute, event.Age)

		// A revocation cannot be signed, and the good answer is no stand-in for it.
		r.revoke(r.leaf, ocsp.KeyCompromise)
		result := r.post(r.request(r.leaf))
		want := xocsp.TryLater
		if fault == ocsptest.Panic {
			want = xocsp.InternalError
		}
		r.requireError(want, result)

		r.signer.SetFault(ocsptest.Healthy)
		require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
	}
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		fault      ocsptest.Fault
		failClosed bool
		cached     xocsp.ResponseStatus // what a cached certificate gets
		fresh      xocsp.ResponseStatus
	}{
		{"error", ocsptest.Fail, false, xocsp.Success, xocsp.TryLater},
		{"error, fail closed", ocsptest.Fail, true, xocsp.TryLater, xocsp.TryLater},
		{"invalid record", ocsptest.Wrong, false, xocsp.InternalError, xocsp.InternalError},
		{"panic", ocsptest.Panic, false, xocsp.InternalError, xocsp.InternalError},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.FailClosed = c.failClosed })
			r.status(r.leaf)
			other := r.issue()
			r.store.SetFault(c.fault)
			ocsp.QuietStores(r.responder)
			if c.cached == xocsp.Success {
				require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			} else {
				r.requireError(c.cached, r.post(r.request(r.leaf)))
			}
			r.requireError(c.fresh, r.post(r.request(other)))
			r.requireError(c.fresh, r.post(r.request(r.leaf, other)))
			require.Equal(t, 1, r.signer.Calls())

			r.clock.Advance(24 * time.Hour) // past nextUpdate nothing stands in
			r.requireError(c.fresh, r.post(r.request(r.leaf)))
			r.store.SetFault(ocsptest.Healthy)
			require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
		})
	}
}

// An invalid record may be a revocation, so no earlier answer stands in for it, then or later.
func TestInvalidRecordLetsNothingStandIn(t *testing.T) {
	t.Parallel()
	for name, unreadable := range map[string]func() (ocsp.Record, error){
		"a Record without RevokedAt": func() (ocsp.Record, error) { return ocsp.Record{State: ocsp.Compromised}, nil },
		"ErrInvalidRecord": func() (ocsp.Record, error) {
			return ocsp.Record{}, fmt.Errorf("kms: reason key_compromise: %w", ocsp.ErrInvalidRecord)
		},
	} {
		t.Run(name, func(t *testing.T) {
			says := func() (ocsp.Record, error) { return ocsp.Record{State: ocsp.Active}, nil }
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
				cfg.Store = ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) { return says() })
			})
			healthy := says
			require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			says = unreadable
			r.requireError(xocsp.InternalError, r.post(r.request(r.leaf)))
			says = func() (ocsp.Record, error) { return ocsp.Record{}, errors.New("the store is down") }
			r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
			says = healthy
			require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
		})
	}
}

func TestCacheDisabled(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.Disabled = true })
	for n := 1; n <= 3; n++ {
		require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
		require.Equal(t, n, r.signer.Calls())
	}
	require.NoError(t, r.responder.Invalidate(context.Background(), r.ca.ID, r.leaf.SerialNumber))
	r.store.SetFault(ocsptest.Fail)
	r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
}

func TestMaxEntriesKeepsWhatIsUsed(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.MaxEntries = 3 })
	hot := r.leaf
	r.status(hot)
	for range 20 {
		r.status(r.issue())
		r.status(hot)
	}
	require.Equal(t, 21, r.signer.Calls(), "the certificate in use must stay cached")

}

func TestEachEncodingIsSignedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		cfg.Issuers[0].NameAliases = [][]byte{{0x30, 0}}
	})
	alias := &x509.Certificate{RawSubject: []byte{0x30, 0}, RawSubjectPublicKeyInfo: r.ca.Certificate.RawSubjectPublicKeyInfo}
	ask := func(issuer *x509.Certificate, hash crypto.Hash, bare bool) {
		result := r.post(ocsptest.Client{Hash: hash, NoParameters: bare}.Request(issuer, r.leaf))
		r.requireAnswer(result, xocsp.Good)
	}
	all := func() {
		for _, issuer := range []*x509.Certificate{r.ca.Certificate, alias} {
			for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
				ask(issuer, hash, false)
				ask(issuer, hash, true)
			}
		}
	}
	all()
	all()
	require.Equal(t, 16, r.signer.Calls())
}

func TestObserve(t *testing.T) {
	t.Parallel()
	var events []ocsp.Event
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
		cfg.Observe = func(_ context.Context, e ocsp.Event) { events = append(events, e) }
	})
	last := func() ocsp.Event {
		require.Len(t, events, 1, "one event for each answer")
		e := events[0]
		events = nil
		return e
	}
	client := r.client()
	client.Method, client.Hash = http.MethodGet, crypto.SHA256
	ask := func(certs ...*x509.Certificate) ocsp.Event {
		_, err := client.Query(context.Background(), r.ca.Certificate, certs...)
		require.NoError(t, err)
		return last()
	}
	e := ask(r.leaf)
	assert.Equal(t, ocsp.OutcomeSigned, e.Outcome)
	assert.Equal(t, http.MethodGet, e.Method)
	assert.Equal(t, crypto.SHA256, e.Hash)
	assert.Equal(t, ocsp.Good, e.First.Status)
	assert.Equal(t, r.ca.ID, e.First.IssuerID)
	assert.Equal(t, r.leaf.SerialNumber, e.First.Serial)
	assert.Equal(t, 1, e.CertIDs)
	assert.False(t, e.Nonce)
	assert.Positive(t, e.StoreTime)
	assert.Positive(t, e.SignTime)
	assert.GreaterOrEqual(t, e.Total, e.StoreTime+e.SignTime)
	r.clock.Advance(time.Minute)
	e = ask(r.leaf)
	assert.Equal(t, ocsp.OutcomeCached, e.Outcome)
	assert.Equal(t, time.Minute, e.Age)
	assert.Zero(t, e.SignTime)
	client.Nonce = []byte("nonce")
	r.revoke(r.leaf, ocsp.CertificateHold)
	e = ask(r.leaf, r.issue())
	assert.True(t, e.Nonce)
	assert.Equal(t, 2, e.CertIDs)
	assert.Equal(t, ocsp.Revoked, e.First.Status)
	assert.Equal(t, ocsp.CertificateHold, e.First.Reason)

	r.post([]byte("garbage"))
	e = last()
	assert.Equal(t, ocsp.OutcomeMalformed, e.Outcome)
	assert.Equal(t, http.MethodPost, e.Method)
	assert.Error(t, e.Err)
	r.store.SetFault(ocsptest.Fail)
	r.post(r.request(r.issue()))
	e = last()
	assert.Equal(t, ocsp.OutcomeTryLater, e.Outcome)
	assert.ErrorIs(t, e.Err, ocsptest.ErrInjected)
	assert.Equal(t, r.ca.ID, e.First.IssuerID)
	assert.NotNil(t, e.First.Serial)

	r.responder.Respond(context.Background(), nil)
	assert.Empty(t, last().Method)
}

func TestObserveMayPanic(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Observe = func(context.Context, ocsp.Event) { panic("host") } })
	require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
}

// Only a store that fails lets a cached answer stand in: a caller that leaves, or whose own time is up while the
// store is well, says nothing about it.
func TestCallersOwnDeadlineServesNothingStale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := false
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
				if slow {
					time.Sleep(60 * time.Millisecond) // on the bubble's clock
				}
				return r.store.FindBySerial(ctx, id, serial)
			})
		})
		r.status(r.leaf)
		r.revoke(r.leaf, ocsp.KeyCompromise)
		slow = true
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		defer cancel()
		answer := r.responder.Respond(ctx, r.request(r.leaf))
		require.Equal(t, ocsp.OutcomeTryLater, answer.Outcome)
		_, err := r.responder.Staple(ctx, r.leaf)
		require.Error(t, err)
		synctest.Wait()
	})
}

// A store that hung once and recovered is given its full time again.
func TestStoreThatHungIsGivenItsTimeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var delay atomic.Int64
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
				select {
				case <-time.After(time.Duration(delay.Load())): // on the bubble's clock
					return r.store.FindBySerial(ctx, id, serial)
				case <-ctx.Done():
					return ocsp.Record{}, ctx.Err()
				}
			})
		})
		r.status(r.leaf)
		delay.Store(int64(time.Minute))
		r.requireError(xocsp.TryLater, r.post(r.request(r.issue())))
		delay.Store(int64(150 * time.Millisecond))
		time.Sleep(time.Hour)
		r.revoke(r.leaf, ocsp.KeyCompromise)
		require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
	})
}

// A cached answer that expires while the store is waited for does not stand in.
func TestStandInThatExpiresMeanwhileIsNotServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Now, cfg.Validity = time.Now, 20*time.Second })
		r.clock.Set(time.Now())
		r.post(r.request(r.leaf))
		time.Sleep(18*time.Second + 500*time.Millisecond)
		r.store.SetFault(ocsptest.Hang)
		r.requireError(xocsp.TryLater, r.post(r.request(r.leaf))) // a second later
	})
}

func TestMaxAgeCountsFromWhenTheAnswerIsSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var delay time.Duration
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Now, cfg.Validity, cfg.Cache.StorePatience = time.Now, time.Hour, 10*time.Second
			cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
				time.Sleep(delay)
				return r.store.FindBySerial(ctx, id, serial)
			})
		})
		r.post(r.request(r.leaf))
		time.Sleep(30*time.Minute - 10*time.Second)
		delay = 7 * time.Second
		require.Contains(t, r.post(r.request(r.leaf)).Header.Get("Cache-Control"), "max-age=3,")
	})
}

// The answer about several certificates says of each what was so when it says so: from its first read on.
func TestThisUpdateIsNoLaterThanTheFirstRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Now = time.Now
			cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
				record, err := r.store.FindBySerial(ctx, id, serial)
				time.Sleep(3 * time.Second)
				return record, err
			})
		})
		begin := time.Now().UTC()
		answer := r.responder.Respond(context.Background(), r.request(r.leaf, r.issue(), r.issue()))
		require.Len(t, answer.Responses, 3)
		require.Equal(t, begin, answer.ThisUpdate)
	})
}

// A store of a test may end its goroutine with t.FailNow, which is an error and no status.
func TestStoreThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
		cfg.Store = ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
			runtime.Goexit()
			return ocsp.Record{}, nil
		})
	})
	r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
}

// An eviction during a slow read does not let that read restore an older status.
func TestEvictionRestoresNoOlderStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var reads atomic.Int32
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Cache.MaxEntries = 1
			cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
				record, err := r.store.FindBySerial(ctx, id, serial)
				if reads.Add(1) == 1 {
					<-release
				}
				return record, err
			})
		})
		slow := r.ask(r.request(r.leaf)) // has seen good
		synctest.Wait()
		r.revoke(r.leaf, ocsp.KeyCompromise)
		require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
		r.status(r.issue()) // takes the only place
		close(release)
		r.requireAnswer(<-slow, xocsp.Good) // which it was after the request had come
		require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
	})
}

// An event has nothing of the request before it.
func TestEventsDescribeTheirOwnRequest(t *testing.T) {
	t.Parallel()
	var events []ocsp.Event
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
		cfg.Observe = func(_ context.Context, e ocsp.Event) { events = append(events, e) }
	})
	client := r.client()
	client.Nonce = []byte("nonce")
	_, err := client.Query(context.Background(), r.ca.Certificate, r.leaf, r.issue())
	require.NoError(t, err)
	r.responder.Respond(context.Background(), make([]byte, 20<<10))
	require.Len(t, events, 2)
	assert.Zero(t, events[1].CertIDs)
	assert.False(t, events[1].Nonce)
	assert.Zero(t, events[1].Hash)
	assert.Nil(t, events[1].First.Serial)
}

// signerHook is a key that does something else before it signs.
type signerHook struct {
	crypto.Signer
	before func()
}

func (s *signerHook) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.before()
	return s.Signer.Sign(rand, digest, opts)
}

// An answer that expires while its renewal fails is not served.
func TestAnswerThatEndsDuringRenewalIsNotServed(t *testing.T) {
	t.Parallel()
	hook := &signerHook{before: func() {}}
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		hook.Signer, cfg.Issuers[0].Signer, cfg.Validity = r.signer, hook, time.Minute
	})
	end := r.status(r.leaf).NextUpdate
	r.clock.Set(end.Add(-time.Second))
	r.signer.SetFault(ocsptest.Fail)
	r.requireAnswer(r.post(r.request(r.leaf)), xocsp.Good)
	hook.before = func() { r.clock.Set(end) }
	r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
}

// An answer that is past its refresh point when it is made, because its certificate ends soon, is
// cached for half of its life.
func TestAnswerMadeAfterItsRefreshPointIsCachedForHalfItsLife(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Validity, cfg.Backdate = time.Hour, 29*time.Minute })
	r.store.Set(r.ca.ID, r.leaf.SerialNumber, ocsp.Record{State: ocsp.Active, NotAfter: r.clock.Now().Add(20 * time.Minute)})
	for minute := range 14 {
		r.status(r.leaf)
		require.Equal(t, 1+minute/10, r.signer.Calls(), minute)
		r.clock.Advance(time.Minute)
	}
}

// An answer that is begun again, because its certificate was revoked while it was signed, has the
// times of the second attempt. The first may be longer ago than answers are valid.
func TestAnswerBegunAgainHasNewTimes(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(r *rig, client *ocsptest.Client) []*x509.Certificate{
		"alone": func(*rig, *ocsptest.Client) []*x509.Certificate { return nil },
		"nonce": func(_ *rig, client *ocsptest.Client) []*x509.Certificate {
			client.Nonce = []byte("nonce")
			return nil
		},
		"several": func(r *rig, _ *ocsptest.Client) []*x509.Certificate { return []*x509.Certificate{r.issue()} },
	} {
		for _, ttl := range []time.Duration{0, time.Hour} {
			t.Run(fmt.Sprintf("%s, StatusTTL %v", name, ttl), func(t *testing.T) {
				hook := &signerHook{before: func() {}}
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					hook.Signer = r.ca.Key
					cfg.Issuers[0].Signer = hook
					cfg.Validity, cfg.Timeout, cfg.Cache.StatusTTL = 10*time.Second, time.Minute, ttl
				})
				client := r.client()
				certs := append(ask(r, &client), r.leaf)
				hook.before = func() {
					hook.before = func() {}
					r.clock.Advance(20 * time.Second)
					r.revoke(r.leaf, ocsp.KeyCompromise)
					require.NoError(t, r.responder.Invalidate(t.Context(), r.ca.ID, r.leaf.SerialNumber))
				}
				result, err := client.Query(t.Context(), r.ca.Certificate, certs...)
				require.NoError(t, err)
				for _, answer := range result.Responses {
					require.Equal(t, r.clock.Now().UTC(), answer.ThisUpdate)
				}
				require.Equal(t, xocsp.Revoked, result.Responses[len(certs)-1].Status)
			})
		}
	}
}

// repeats is how many times an answer is asked for by each method: it is signed, then cached.
const repeats = 5

// requireSameAnswer asks by GET and POST several times, and requires the same answer and header
// fields that fit it each time.
func (r *rig) requireSameAnswer(cert *x509.Certificate, status int) (answer *xocsp.Response, octets []byte) {
	r.Helper()
	der := r.request(cert)
	for range repeats {
		for _, req := range []*http.Request{httpGet(der), httpPost(der)} {
			result := httpAsk(r, req, der)
			answer = r.requireAnswer(result, status)[0]
			if octets == nil {
				octets = result.DER
			}
			require.Equal(r, octets, result.DER)
			sum := sha256.Sum256(result.DER)
			require.Equal(r, `"`+hex.EncodeToString(sum[:])+`"`, result.Header.Get("Etag"))
			require.Equal(r, answer.NextUpdate, cacheDate(r, result.Header, "Expires"))
			require.Equal(r, answer.ThisUpdate, cacheDate(r, result.Header, "Last-Modified"))
			require.Equal(r, strconv.Itoa(len(result.DER)), result.Header.Get("Content-Length"))
		}
	}
	return answer, octets
}

// A cached answer follows its certificate through revocation, release, renewal, and the compromise
// and removal of its issuer.
func TestCachedAnswerFollowsItsCertificate(t *testing.T) {
	t.Parallel()
	for name, ttl := range map[string]time.Duration{"store read": 0, "status trusted": time.Hour} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = ttl })
			changed := func() {
				if ttl > 0 {
					require.NoError(t, r.responder.Invalidate(t.Context(), r.ca.ID, r.leaf.SerialNumber))
				}
			}
			_, first := r.requireSameAnswer(r.leaf, xocsp.Good)
			other := r.issue()
			_, octets := r.requireSameAnswer(other, xocsp.Good)
			require.NotEqual(t, first, octets)

			r.revoke(r.leaf, ocsp.CertificateHold)
			changed()
			answer, held := r.requireSameAnswer(r.leaf, xocsp.Revoked)
			require.Equal(t, xocsp.CertificateHold, answer.RevocationReason)

			r.store.Add(r.ca.ID, r.leaf)
			changed()
			_, released := r.requireSameAnswer(r.leaf, xocsp.Good)
			require.NotEqual(t, held, released)

			r.clock.Advance(20 * time.Hour) // past the refresh point
			if ttl > 0 {
				changed()
			}
			answer, renewed := r.requireSameAnswer(r.leaf, xocsp.Good)
			require.NotEqual(t, released, renewed)
			require.Equal(t, r.clock.Now().UTC(), answer.ThisUpdate)

			issuer := r.ca.Issuer()
			issuer.CompromisedAt = r.clock.Now()
			require.NoError(t, r.responder.SetIssuer(issuer))
			answer, _ = r.requireSameAnswer(r.leaf, xocsp.Revoked)
			require.Equal(t, xocsp.CACompromise, answer.RevocationReason)

			r.responder.RemoveIssuer(r.ca.ID)
			r.requireError(xocsp.Unauthorized, r.post(r.request(r.leaf)))
		})
	}
}

// While certificates are revoked, concurrent queries never get an answer about another
// certificate, nor one older than the store's status.
func TestCachedAnswersOfManyCertificatesAtOnce(t *testing.T) {
	t.Parallel()
	const certificates = 40
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Hour })
	certs := make([]*x509.Certificate, certificates)
	for i := range certs {
		certs[i] = r.issue()
	}
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for round := range 3 * repeats {
				for i := range certs {
					cert := certs[(i+worker*7)%certificates]
					answer, err := r.glance(ocsptest.Client{}, cert)
					if !assert.NoError(t, err) || !assert.Equal(t, cert.SerialNumber, answer.SerialNumber) {
						return
					}
				}
				if worker == 0 && round%repeats == 0 {
					for _, cert := range certs[round : round+repeats] {
						r.revoke(cert, ocsp.KeyCompromise)
						assert.NoError(t, r.responder.Invalidate(context.Background(), r.ca.ID, cert.SerialNumber))
						assert.Equal(t, xocsp.Revoked, r.status(cert).Status)
					}
				}
			}
		})
	}
	all.Wait()
}

// An answer that is not cached as it is sent is encoded again from its signature, with the same
// octets and no second signature.
func TestAnswerEncodedAgainIsTheSame(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Hour })
	ocsp.WithoutHotAnswers(r.responder)
	for range 20 {
		cert := r.issue()
		_, first := r.requireSameAnswer(cert, xocsp.Good)
		signed := r.signer.Calls()
		for range 3 {
			_, der := r.requireSameAnswer(cert, xocsp.Good)
			require.Equal(t, first, der)
		}
		require.Equal(t, signed, r.signer.Calls())
	}
}

// An eviction spares an entry that was used, even if its answer or its signer changed since.
func TestUsedEntryIsNotEvicted(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*rig){
		"answer renewed": func(r *rig) { r.clock.Advance(40 * time.Minute) },
		"status changed": func(r *rig) { r.revoke(r.leaf, ocsp.KeyCompromise) },
		"another signer": func(r *rig) { require.NoError(r, r.responder.SetIssuer(r.ca.Issuer())) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Validity, cfg.Cache.MaxEntries = time.Hour, 2 })
			r.status(r.leaf)
			r.status(r.issue())
			r.status(r.leaf) // uses it
			change(r)
			first := r.query(r.leaf).DER
			r.status(r.issue()) // for which the other gives way
			require.Equal(t, first, r.query(r.leaf).DER)
		})
	}
}

// The octets that Respond and RespondHTTP return do not change when later requests are answered.
func TestAnswersOfRespondAreNotOverwritten(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Hour })
	one, two := r.issue(), r.issue()
	var answers, copies [][]byte
	for range repeats {
		for _, cert := range []*x509.Certificate{one, two} {
			answer := r.responder.Respond(t.Context(), r.request(cert))
			response := r.responder.RespondHTTP(t.Context(), &ocsp.HTTPRequest{Method: http.MethodPost, Body: r.request(cert)})
			answers = append(answers, answer.DER, response.Body)
			copies = append(copies, slices.Clone(answer.DER), slices.Clone(response.Body))
		}
	}
	require.Equal(t, copies, answers)
	for i, der := range answers {
		cert := one
		if i%4 > 1 {
			cert = two
		}
		answer, err := xocsp.ParseResponseForCert(der, cert, r.ca.Certificate)
		require.NoError(t, err)
		require.Equal(t, xocsp.Good, answer.Status)
	}
}

// slow is a store that reads at once, and takes its time to say what, if it is asked about a slow serial.
type slow struct {
	rig    *rig
	mu     sync.Mutex // held by calls while they look at the rest
	serial *big.Int
	flood  bool // the serials of rig.flood are slow, too
	first  bool // only the first time
	wait   func()
}

func (s *slow) FindBySerial(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
	record, err := s.rig.store.FindBySerial(context.WithoutCancel(ctx), id, serial)
	s.mu.Lock()
	slow, wait := s.flood && serial.BitLen() <= 32 || s.serial != nil && s.serial.Cmp(serial) == 0, s.wait
	if slow && s.first {
		s.serial = nil
	}
	s.mu.Unlock()
	if slow {
		wait()
	}
	return record, err
}

// orderTest runs a test in a bubble, by its clock.
func orderTest(t *testing.T, adjust func(*ocsp.Config), run func(r *rig, s *slow)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{first: true}
		run(newRig(t, func(r *rig, cfg *ocsp.Config) {
			s.rig, cfg.Store, cfg.Now = r, s, nil
			adjust(cfg)
		}), s)
	})
}

// says requires what the next answer says, by the bubble's clock.
func (r *rig) says(want int) {
	r.Helper()
	r.clock.Set(time.Now())
	require.Equal(r, want, r.status(r.leaf).Status)
}

// A certificate is held, released while a slow read is in flight, and held again, which other
// requests see. What the slow read returned does not stand in when the store fails.
func TestSlowReadDoesNotReplaceALaterOne(t *testing.T) {
	t.Parallel()
	orderTest(t, func(*ocsp.Config) {}, func(r *rig, s *slow) {
		held, release := r.clock.Now(), make(chan struct{})
		hold := func() { r.store.Revoke(r.ca.ID, r.leaf.SerialNumber, ocsp.CertificateHold, held) }
		hold()
		r.says(xocsp.Revoked)
		r.store.Add(r.ca.ID, r.leaf)
		s.serial, s.wait = r.leaf.SerialNumber, func() { <-release }
		late := r.ask(r.request(r.leaf))
		synctest.Wait()
		hold()
		r.says(xocsp.Revoked)
		close(release)
		<-late // good, which it was after the request had come, or what stands in for a silent store
		synctest.Wait()
		r.breakStore()
		answer := r.responder.Respond(r.Context(), r.request(r.leaf))
		require.Equal(r, ocsp.OutcomeTryLater, answer.Outcome, "which of the two reads was later is unknown")
	})
}

// The first read that returns another status replaces the cached one, even if the store fails
// right after it.
func TestFirstReadOfAChangeReplacesTheStatus(t *testing.T) {
	t.Parallel()
	orderTest(t, func(*ocsp.Config) {}, func(r *rig, s *slow) {
		r.says(xocsp.Good)
		r.revoke(r.leaf, ocsp.KeyCompromise)
		s.serial, s.wait = r.leaf.SerialNumber, func() { r.store.SetFault(ocsptest.Fail) }
		r.says(xocsp.Revoked)
		r.breakStore()
		r.says(xocsp.Revoked)
	})
}

// A request that joins a read in flight gets nothing older than StatusTTL, nor from before the
// feed was valid.
func TestJoinedReadIsNotTooOld(t *testing.T) {
	t.Parallel()
	join := func(r *rig, s *slow, meanwhile func()) {
		release := make(chan struct{})
		s.serial, s.wait = r.leaf.SerialNumber, func() { <-release }
		first := r.ask(r.request(r.leaf)) // has read good
		synctest.Wait()
		r.revoke(r.leaf, ocsp.KeyCompromise)
		meanwhile()
		r.clock.Set(time.Now())
		second := r.ask(r.request(r.leaf))
		synctest.Wait()
		close(release)
		r.requireAnswer(<-second, xocsp.Revoked)
		<-first
	}
	t.Run("StatusTTL", func(t *testing.T) {
		orderTest(t, func(cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Second }, func(r *rig, s *slow) {
			join(r, s, func() { time.Sleep(time.Second) })
		})
	})
	t.Run("Changes", func(t *testing.T) {
		var c *changes
		orderTest(t, func(cfg *ocsp.Config) {
			c = newChanges() // whose channels are of the bubble
			cfg.Cache.StatusTTL, cfg.Cache.Feed = time.Hour, c
		}, func(r *rig, s *slow) {
			f := <-c.calls
			hear := func() {
				f.Resync()
				f.ValidUntil(time.Now().Add(time.Hour))
			}
			hear()
			join(r, s, func() {
				f.ValidUntil(time.Now()) // the connection is lost, and with it what was said of the revocation
				hear()
			})
		})
	})
}

// Nor if the clock was set back since it began.
func TestJoinedReadIsNotOfTheFuture(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := &slow{first: true}
			r := newRig(t, func(r *rig, cfg *ocsp.Config) { s.rig, cfg.Store, cfg.Cache.StatusTTL = r, s, ttl })
			r.status(r.leaf)
			r.clock.Advance(10 * time.Second)
			r.store.SetFault(ocsptest.Wrong)
			r.post(r.request(r.leaf)) // in doubt
			r.store.SetFault(ocsptest.Healthy)
			release := make(chan struct{})
			s.serial, s.wait = r.leaf.SerialNumber, func() { <-release }
			early := r.ask(r.request(r.leaf)) // has seen good
			synctest.Wait()
			r.revoke(r.leaf, ocsp.KeyCompromise)
			r.clock.Advance(-time.Second)
			late := r.ask(r.request(r.leaf))
			synctest.Wait()
			close(release)
			r.requireAnswer(<-late, xocsp.Revoked)
			<-early
		})
	}
}

// Invalidate and Changed also reach answers in flight that began under the issuer as it was
// before.
func TestInvalidateReachesAnswersOfAReplacedIssuer(t *testing.T) {
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

// An invalid record keeps a slow read from being recorded, even if no status was cached.
func TestInvalidRecordEndsASlowRead(t *testing.T) {
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

// A slow read contradicts one that began with it or after it. Nobody can tell which is later, so
// neither status stands in when the store fails.
func TestContradictedStatusDoesNotStandIn(t *testing.T) {
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

// A status that is read after a contradiction is trusted again.
func TestStatusReadAfterAContradictionIsTrusted(t *testing.T) {
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

// A status that is read after a contradiction stands in again, even with a StatusTTL of zero.
func TestStatusReadAfterAContradictionStandsIn(t *testing.T) {
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

// After Changed and Invalidate no request waits for a read that began before them.
func TestNobodyWaitsForAReadFromBeforeInvalidate(t *testing.T) {
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

// dying is a store whose connections may die: what is read over one then hangs, whatever its context says, until the
// store is released. It reads before that.
type dying struct {
	rig     *rig
	calls   atomic.Int32
	dead    atomic.Bool
	release <-chan struct{}
	revive  func() // releases it
}

func (d *dying) FindBySerial(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
	d.calls.Add(1)
	record, err := d.rig.store.FindBySerial(context.WithoutCancel(ctx), id, serial)
	if d.dead.Load() {
		<-d.release
	}
	return record, err
}

// TestSharedReadThatHangs has reads hang that answers share, and clients leave before they are over: each case in a bubble,
// with a StatusTTL of twenty seconds and a timeout of ten.
func TestSharedReadThatHangs(t *testing.T) {
	t.Parallel()
	cases := map[string]func(r *rig, d *dying, impatient func() ocsp.Answer){
		"nobody joins it for ever": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			d.dead.Store(true)
			go impatient()
			synctest.Wait()
			go impatient() // joins
			time.Sleep(time.Second - 1)
			require.EqualValues(r, 1, d.calls.Load())
			d.dead.Store(false)
			begin := time.Now()
			require.Empty(r, impatient().Err)
			require.EqualValues(r, 1, time.Since(begin), "a second has passed")
			require.EqualValues(r, 2, d.calls.Load())
		},
		"nobody gets what it found later": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			d.dead.Store(true)
			require.Equal(r, ocsp.OutcomeTryLater, impatient().Outcome) // has read good
			r.revoke(r.leaf, ocsp.KeyCompromise)                        // by another program
			d.dead.Store(false)
			r.clock.Advance(time.Hour)
			time.Sleep(time.Hour)
			late := r.ask(r.request(r.leaf))
			synctest.Wait()
			d.revive()
			r.requireAnswer(<-late, xocsp.Revoked)
			synctest.Wait()
			r.requireAnswer(r.post(r.request(r.leaf)), xocsp.Revoked)
		},
		"what it found is not noted later": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			held := r.clock.Now()
			r.revoke(r.leaf, ocsp.CertificateHold)
			require.Equal(r, xocsp.Revoked, r.status(r.leaf).Status)
			r.clock.Advance(20 * time.Second)
			r.store.Add(r.ca.ID, r.leaf) // released
			d.dead.Store(true)
			impatient() // has read good
			r.store.Revoke(r.ca.ID, r.leaf.SerialNumber, ocsp.CertificateHold, held)
			d.dead.Store(false)
			time.Sleep(6 * time.Second)
			require.Equal(r, xocsp.Revoked, r.status(r.leaf).Status, "as is known already")
			d.revive()
			synctest.Wait()
			require.Equal(r, xocsp.Revoked, r.status(r.leaf).Status)
		},
		"who finds out whether the store still hangs asks it": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			r.status(r.leaf)
			r.clock.Advance(20 * time.Second)
			d.dead.Store(true)
			r.status(r.leaf) // stale after ten seconds
			r.status(r.leaf) // stale after a tenth of one, and leaves a read behind
			d.dead.Store(false)
			r.clock.Advance(time.Hour)
			time.Sleep(time.Hour)
			require.Equal(r, ocsp.OutcomeCached, impatient().Outcome)
		},
		"one of several certificates": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			other := r.issue()
			d.dead.Store(true)
			r.requireError(xocsp.TryLater, r.post(r.request(r.leaf, other)))
			d.dead.Store(false)
			time.Sleep(time.Hour)
			r.requireAnswer(r.post(r.request(r.leaf, other)), xocsp.Good, xocsp.Good)
		},
		"it is noted when all have left": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			other := r.issue()
			r.status(other)
			r.clock.Advance(20 * time.Second)
			d.dead.Store(true)
			impatient()
			time.Sleep(6 * time.Second)
			begin := time.Now()
			r.status(other) // stale
			require.LessOrEqual(r, time.Since(begin), 100*time.Millisecond)
		},
		"who leaves is not kept": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			d.dead.Store(true)
			begin := time.Now()
			impatient()
			require.Equal(r, 5*time.Second, time.Since(begin))
		},
		"those who stay get it": func(r *rig, d *dying, impatient func() ocsp.Answer) {
			d.dead.Store(true)
			go impatient()
			synctest.Wait()
			patient := r.ask(r.request(r.leaf))
			time.Sleep(6 * time.Second)
			d.revive()
			d.dead.Store(false)
			r.requireAnswer(<-patient, xocsp.Good)
			require.EqualValues(r, 2, d.calls.Load(), "a second after the first, it asks too")
		},
	}
	for name, do := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				d := &dying{release: release, revive: sync.OnceFunc(func() { close(release) })}
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					d.rig = r
					cfg.Cache.StatusTTL, cfg.Timeout, cfg.Store = 20*time.Second, 10*time.Second, d
				})
				do(r, d, func() ocsp.Answer {
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
					defer cancel()
					return r.responder.Respond(ctx, r.request(r.leaf))
				})
				d.revive()
			})
		})
	}
}

// A store or a clock that misbehaves in a read that answers share is contained, and has no say about any certificate.
func TestSharedReadThatFails(t *testing.T) {
	t.Parallel()
	for want, misbehave := range map[string]func(){
		"panic: store":        func() { panic("store") },
		"ended its goroutine": runtime.Goexit,
	} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var well atomic.Bool
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Cache.StatusTTL = time.Hour
					cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
						if !well.Load() {
							misbehave()
						}
						return r.store.FindBySerial(ctx, id, serial)
					})
				})
				answer := r.responder.Respond(t.Context(), r.request(r.leaf))
				require.ErrorContains(t, answer.Err, want)
				require.Empty(t, answer.Responses)
				well.Store(true)
				require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			})
		})
	}
	t.Run("clock", func(t *testing.T) {
		var begun, broken atomic.Bool
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Cache.StatusTTL = time.Minute
			now := cfg.Now
			cfg.Now = func() time.Time {
				if broken.Load() && begun.Swap(true) {
					broken.Store(false)
					panic("clock")
				}
				return now()
			}
		})
		r.status(r.leaf)
		r.clock.Advance(time.Hour)
		broken.Store(true) // it works for the request, and not for its read, which looks into the cache once more
		answer := r.responder.Respond(t.Context(), r.request(r.leaf))
		require.ErrorContains(t, answer.Err, "panic")
		require.False(t, broken.Load())
		require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
	})
}

// After Invalidate no request is refused because of what the store returned before it.
func TestRefusalsAreInvalidatedToo(t *testing.T) {
	for _, several := range []bool{false, true} {
		orderTest(t, func(cfg *ocsp.Config) { cfg.Unissued = ocsp.UnissuedUnauthorized }, func(r *rig, s *slow) {
			late, release := r.ca.Issue(ocsptest.Options{}), make(chan struct{})
			s.serial, s.wait = late.SerialNumber, func() { <-release }
			certs := []*x509.Certificate{late}
			if several {
				certs = append(certs, r.leaf)
			}
			answer := r.ask(r.request(certs...))
			synctest.Wait()
			r.store.Add(r.ca.ID, late)
			require.NoError(r, r.responder.Invalidate(r.Context(), r.ca.ID, late.SerialNumber))
			close(release)
			result := <-answer
			r.clock.Set(time.Now())
			r.requireAnswer(result, []int{xocsp.Good, xocsp.Good}[:len(certs)]...)
		})
	}
}
