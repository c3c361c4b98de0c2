package ocsp_test

import (
	"context"
	"errors"
	"math/big"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// changes is an ocsp.ChangeFeed that does what the test says.
type changes struct {
	calls  chan ocsp.FeedSink // each call of Follow
	ending chan error         // ends it
	err    error              // of Publish

	following atomic.Int32 // calls of Follow that have not returned

	mu        sync.Mutex
	published map[string]int
}

// errPanic makes Follow panic, and errGoexit makes it end its goroutine.
var errPanic, errGoexit = errors.New("panic"), errors.New("goexit")

func newChanges() *changes {
	return &changes{calls: make(chan ocsp.FeedSink, 16), ending: make(chan error), published: map[string]int{}}
}

func (c *changes) Publish(_ context.Context, issuerID string, serials ...*big.Int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, serial := range serials {
		c.published[issuerID+" "+serial.String()]++
	}
	return c.err
}

func (c *changes) Follow(ctx context.Context, f ocsp.FeedSink) error {
	c.following.Add(1)
	defer c.following.Add(-1)
	c.calls <- f
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-c.ending:
		if err == errPanic {
			panic(err)
		}
		if err == errGoexit {
			runtime.Goexit()
		}
		return err
	}
}

// changesTest runs a test of a responder with a StatusTTL of a day that follows changes, by a clock of its own.
func changesTest(t *testing.T, run func(t *testing.T, r *rig, c *changes)) {
	synctest.Test(t, func(t *testing.T) {
		c := newChanges()
		run(t, newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Cache.StatusTTL, cfg.Cache.Feed, cfg.Now = 24*time.Hour, c, nil
		}), c)
	})
}

// Changed evicts the certificates that it names. Other statuses are still trusted, and still stand
// in when the store fails.
func TestChangedSparesOtherCertificates(t *testing.T) {
	t.Parallel()
	const count = 5_000 // more than there are fences
	serials := make([]*big.Int, count)
	for i := range serials {
		serials[i] = big.NewInt(int64(1_000_000 + i))
	}
	for name, change := range map[string]func(r *rig, f ocsp.FeedSink){
		"Invalidate": func(r *rig, _ ocsp.FeedSink) {
			require.NoError(r, r.responder.Invalidate(r.Context(), r.ca.ID, serials...))
		},
		"Invalidate, elsewhere": func(r *rig, _ ocsp.FeedSink) {
			require.Error(r, r.responder.Invalidate(r.Context(), "other", serials...))
		},
		"Changed": func(r *rig, f ocsp.FeedSink) { f.Changed(r.ca.ID, serials...) },
	} {
		t.Run(name, func(t *testing.T) {
			changesTest(t, func(t *testing.T, r *rig, c *changes) {
				f := <-c.calls
				f.Resync()
				f.ValidUntil(time.Now().Add(time.Hour))
				changed := r.issue()
				r.reads(xocsp.Good)
				require.Equal(t, xocsp.Good, r.status(changed).Status)
				change(r, f)
				require.Zero(t, r.reads(xocsp.Good))

				f.ValidUntil(time.Now()) // now the store is needed
				r.breakStore()
				require.Equal(t, 1, r.reads(xocsp.Good))
				f.Changed(r.ca.ID, changed.SerialNumber)
				require.Equal(t, 1, r.reads(xocsp.Good))
				r.requireError(xocsp.TryLater, r.post(r.request(changed)))
			})
		})
	}
}

// reads returns how often the store is read for one more query.
func (r *rig) reads(want int) int {
	r.Helper()
	r.clock.Set(time.Now())
	before := r.store.Calls()
	require.Equal(r, want, r.status(r.leaf).Status)
	return r.store.Calls() - before
}

// A status is trusted only while the feed is valid.
func TestStatusIsTrustedOnlyWhileTheFeedIsValid(t *testing.T) {
	t.Parallel()
	changesTest(t, func(t *testing.T, r *rig, c *changes) {
		f := <-c.calls
		for range 3 {
			require.Equal(t, 1, r.reads(xocsp.Good), "nothing listens yet")
		}
		f.ValidUntil(time.Now().Add(time.Minute))
		require.Equal(t, 1, r.reads(xocsp.Good), "there was no Resync")
		f.Resync()
		require.Equal(t, 1, r.reads(xocsp.Good), "nobody vouches")
		f.ValidUntil(time.Now().Add(2 * time.Second))
		require.Zero(t, r.reads(xocsp.Good), "read since Resync, and vouched for")

		time.Sleep(2*time.Second - 1)
		require.Zero(t, r.reads(xocsp.Good))
		time.Sleep(time.Nanosecond)
		require.Equal(t, 1, r.reads(xocsp.Good), "the time is over")
		f.ValidUntil(time.Now().Add(time.Hour))
		require.Zero(t, r.reads(xocsp.Good), "what was heard since is still complete")

		f.Resync()
		require.Equal(t, 1, r.reads(xocsp.Good), "something may have been missed")
		f.ValidUntil(time.Now().Add(time.Hour))
		require.Zero(t, r.reads(xocsp.Good))
		f.ValidUntil(time.Now())
		require.Equal(t, 1, r.reads(xocsp.Good), "taken back")
		require.Equal(t, 1, r.signer.Calls())
	})
}

// A status that was read before Resync is not trusted.
func TestStatusFromBeforeResyncIsNotTrusted(t *testing.T) {
	t.Parallel()
	changesTest(t, func(t *testing.T, r *rig, c *changes) {
		f := <-c.calls
		require.Equal(t, 1, r.reads(xocsp.Good))
		r.revoke(r.leaf, ocsp.KeyCompromise) // unheard
		f.Resync()
		f.ValidUntil(time.Now().Add(time.Hour))
		require.Equal(t, 1, r.reads(xocsp.Revoked))
		require.Zero(t, r.reads(xocsp.Revoked))
	})
}

// After Changed the store is read again.
func TestChangedEndsTrust(t *testing.T) {
	t.Parallel()
	changesTest(t, func(t *testing.T, r *rig, c *changes) {
		f := <-c.calls
		f.Resync()
		f.ValidUntil(time.Now().Add(time.Hour))
		other := r.issue()
		r.status(other)
		require.Equal(t, 1, r.reads(xocsp.Good))
		signed := r.signer.Calls()

		f.Changed(r.ca.ID, r.leaf.SerialNumber)
		f.Changed(r.ca.ID, r.leaf.SerialNumber, nil)
		f.Changed("another issuer", other.SerialNumber)
		require.Equal(t, 1, r.reads(xocsp.Good))
		require.Equal(t, signed, r.signer.Calls(), "a change that is none costs no signature")
		require.Zero(t, r.reads(xocsp.Good))

		r.revoke(r.leaf, ocsp.KeyCompromise)
		require.Zero(t, r.reads(xocsp.Good), "nobody has said so")
		f.Changed(r.ca.ID, other.SerialNumber, r.leaf.SerialNumber)
		require.Equal(t, 1, r.reads(xocsp.Revoked))
		require.Zero(t, r.reads(xocsp.Revoked))

		// No answer from before stands in for a store that fails.
		f.Changed(r.ca.ID, r.leaf.SerialNumber)
		r.store.SetFault(ocsptest.Fail)
		r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
	})
}

// Changed keeps a read in flight from being recorded.
func TestChangedReachesAReadInFlight(t *testing.T) {
	t.Parallel()
	changesTest(t, func(t *testing.T, r *rig, c *changes) {
		f := <-c.calls
		f.Resync()
		f.ValidUntil(time.Now().Add(time.Hour))
		read, hold := make(chan struct{}), make(chan struct{})
		first := true
		store := r.store
		slow := ocsp.CertStoreFunc(func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
			record, err := store.FindBySerial(ctx, issuerID, serial)
			if first {
				first = false
				close(read)
				<-hold
			}
			return record, err
		})
		replica := newRig(t, func(n *rig, cfg *ocsp.Config) {
			n.ca, n.store, n.leaf = r.ca, r.store, r.leaf
			cfg.Issuers, cfg.Store, cfg.Now = []ocsp.Issuer{r.ca.Issuer()}, slow, nil
			cfg.Cache.StatusTTL, cfg.Cache.Feed = time.Hour, c
		})
		f = <-c.calls
		f.Resync()
		f.ValidUntil(time.Now().Add(time.Hour))
		answer := make(chan ocsp.Answer)
		go func() { answer <- replica.responder.Respond(context.Background(), r.request(r.leaf)) }()
		<-read // it found good
		r.revoke(r.leaf, ocsp.KeyCompromise)
		f.Changed(r.ca.ID, r.leaf.SerialNumber)
		close(hold)
		require.Equal(t, ocsp.Revoked, (<-answer).Responses[0].Status)
	})
}

// While the feed is not valid a request joins no read in flight, which may have missed a revocation.
func TestReadsAreNotSharedWhileTheFeedIsNotValid(t *testing.T) {
	t.Parallel()
	changesTest(t, func(t *testing.T, r *rig, c *changes) {
		<-c.calls
		r.store.SetFault(ocsptest.Hang)
		answers := make(chan ocsp.Answer, 2)
		ask := func() { answers <- r.responder.Respond(context.Background(), r.request(r.leaf)) }
		go ask()
		synctest.Wait()
		r.revoke(r.leaf, ocsp.KeyCompromise) // the read under way may have missed it
		go ask()
		synctest.Wait()
		require.Equal(t, 1, r.store.Calls(), "the second read follows the first one")
		time.Sleep(time.Second) // StorePatience, on the bubble's clock
		synctest.Wait()
		require.Equal(t, 2, r.store.Calls())
		r.store.SetFault(ocsptest.Healthy)
		<-answers
		<-answers
	})
}

func TestFollowIsCalledAgain(t *testing.T) {
	t.Parallel()
	changesTest(t, func(t *testing.T, r *rig, c *changes) {
		lost := errors.New("connection lost")
		var pauses []time.Duration
		follow := func(vouch bool, err error) {
			begin := time.Now()
			f := <-c.calls
			pauses = append(pauses, time.Since(begin))
			if vouch {
				f.Resync()
				f.ValidUntil(time.Now().Add(time.Hour))
				r.reads(xocsp.Good)
				require.Zero(t, r.reads(xocsp.Good))
			}
			c.ending <- err
			synctest.Wait()
			require.Equal(t, 1, r.reads(xocsp.Good), "nobody listens")
			// One that is over has no say any more.
			f.Resync()
			f.ValidUntil(time.Now().Add(time.Hour))
			f.Changed(r.ca.ID, r.leaf.SerialNumber)
			require.Equal(t, 1, r.reads(xocsp.Good))
		}
		follow(true, lost)
		for range 9 {
			follow(false, nil)
		}
		follow(true, lost)
		follow(true, lost)
		const ms = time.Millisecond
		require.Equal(t, []time.Duration{0, 50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms, 5000 * ms, 50 * ms}, pauses)
		require.Equal(t, 1, r.signer.Calls())
	})
}

func TestAPanicInFollowIsContained(t *testing.T) {
	t.Parallel()
	changesTest(t, func(t *testing.T, r *rig, c *changes) {
		for range 3 {
			<-c.calls
			c.ending <- errPanic
			require.Equal(t, 1, r.reads(xocsp.Good))
		}
	})
}

func TestFollowThatEndsItsGoroutineIsCalledAgain(t *testing.T) {
	t.Parallel()
	changesTest(t, func(t *testing.T, r *rig, c *changes) {
		for range 3 {
			f := <-c.calls
			f.Resync()
			f.ValidUntil(time.Now().Add(time.Hour))
			r.reads(xocsp.Good)
			require.Zero(t, r.reads(xocsp.Good))
			c.ending <- errGoexit
			synctest.Wait()
			require.Equal(t, 1, r.reads(xocsp.Good), "nobody listens")
		}
		<-c.calls
		require.NoError(t, r.responder.Close())
		require.Zero(t, c.following.Load())
	})
}

func TestInvalidatePublishes(t *testing.T) {
	t.Parallel()
	changesTest(t, func(t *testing.T, r *rig, c *changes) {
		other := r.issue()
		ctx := context.Background()
		require.NoError(t, r.responder.Invalidate(ctx, r.ca.ID, r.leaf.SerialNumber, other.SerialNumber))
		require.Equal(t, map[string]int{r.ca.ID + " " + r.leaf.SerialNumber.String(): 1, r.ca.ID + " " + other.SerialNumber.String(): 1}, c.published)

		// Another replica may have an issuer that this one has not.
		require.ErrorContains(t, r.responder.Invalidate(ctx, "elsewhere", r.leaf.SerialNumber), `"elsewhere"`)
		require.Equal(t, 1, c.published["elsewhere "+r.leaf.SerialNumber.String()])

		c.err = errors.New("no connection")
		r.revoke(r.leaf, ocsp.KeyCompromise)
		require.ErrorIs(t, r.responder.Invalidate(ctx, r.ca.ID, r.leaf.SerialNumber), c.err)
		require.Equal(t, 1, r.reads(xocsp.Revoked), "its own part is done")
	})
}

func TestCloseEndsFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine stays behind
		c := newChanges()
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.Feed = c })
		<-c.calls
		require.NoError(t, r.responder.Close())
		require.Zero(t, c.following.Load())
		require.NoError(t, r.responder.Close())
	})
}

// lateFeed publishes when it is released, whatever becomes of the context.
type lateFeed struct {
	release chan struct{}
	serials chan []*big.Int
}

func (f *lateFeed) Publish(_ context.Context, _ string, serials ...*big.Int) error {
	<-f.release
	f.serials <- serials
	return nil
}

func (f *lateFeed) Follow(ctx context.Context, _ ocsp.FeedSink) error {
	<-ctx.Done()
	return ctx.Err()
}

// A feed that outlives the call of Invalidate publishes what the caller passed, whatever it does with the
// numbers afterwards.
func TestPublishHasSerialsOfItsOwn(t *testing.T) {
	t.Parallel()
	feed := &lateFeed{make(chan struct{}), make(chan []*big.Int, 1)}
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.Feed = feed })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	serials := []*big.Int{big.NewInt(17)}
	require.Error(t, r.responder.Invalidate(ctx, r.ca.ID, serials...))
	serials[0].SetInt64(18)
	serials[0] = nil
	close(feed.release)
	require.EqualValues(t, 17, (<-feed.serials)[0].Int64())
}
