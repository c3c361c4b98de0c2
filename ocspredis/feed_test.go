package ocspredis_test

import (
	"context"
	"errors"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspredis"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// follow follows a feed until the test ends, as a Responder does.
func follow(t *testing.T, b *ocspredis.Feed) *ocsptest.FeedSink {
	t.Helper()
	f := ocsptest.NewFeedSink()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_ = b.Follow(ctx, f)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	require.NoError(t, f.Wait("trust", f.Valid))
	return f
}

// eventually waits for what another process does.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 30*time.Second, 5*time.Millisecond, what)
}

func TestLostConnection(t *testing.T) {
	_, o := own(t)
	f := follow(t, newFeed(t, o))
	for range 5 {
		begun := f.Resyncs()
		require.NoError(t, o.Client.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err())
		// Whether this is heard is up to chance; what was read before is not trusted in either case.
		require.NoError(t, newFeed(t, o).Publish(ctx, "ca", serial))
		require.NoError(t, f.Wait("Resync, again", func() bool { return f.Resyncs() > begun }))
		require.NoError(t, f.Wait("trust, again", f.Valid))
	}
}

func TestUnreadableMessage(t *testing.T) {
	o := options(t)
	f := follow(t, newFeed(t, o))
	foreign := o
	foreign.Keys = keys("z")
	for _, publish := range []func() error{
		func() error { return o.Client.Publish(ctx, o.Prefix+"feed", "hello").Err() },
		func() error { return o.Client.Publish(ctx, o.Prefix+"feed", "").Err() },
		func() error { return newFeed(t, foreign).Publish(ctx, "ca", serial) },
	} {
		begun := f.Resyncs()
		require.NoError(t, publish())
		require.NoError(t, f.Wait("Resync, for it may be about anything", func() bool { return f.Resyncs() > begun }))
		require.NoError(t, f.Wait("trust, again", f.Valid))
	}
	require.False(t, f.Heard("ca", serial))
}

func TestServerThatHangsAndComesBack(t *testing.T) {
	s, o := own(t)
	f := follow(t, newFeed(t, o))
	require.NoError(t, s.Pause())
	eventually(t, "trust ends", func() bool { return !f.Valid() })
	require.NoError(t, s.Resume())
	require.NoError(t, f.Wait("trust, again", f.Valid)) // with a Resync if the PING was given up

	begun := f.Resyncs()
	require.NoError(t, s.Stop())
	eventually(t, "trust ends", func() bool { return !f.Valid() })
	require.Error(t, newFeed(t, o).Publish(ctx, "ca", serial))
	require.NoError(t, s.Start())
	require.NoError(t, f.Wait("trust, again", func() bool { return f.Valid() && f.Resyncs() > begun }))
	require.NoError(t, newFeed(t, o).Publish(ctx, "ca", serial))
	require.NoError(t, f.Wait("the change", func() bool { return f.Heard("ca", serial) }))
}

func TestMessagesShowNothing(t *testing.T) {
	o := options(t)
	sub := o.Client.Subscribe(ctx, o.Prefix+"feed")
	defer func() { _ = sub.Close() }()
	_, err := sub.Receive(ctx)
	require.NoError(t, err)
	require.NoError(t, newFeed(t, o).Publish(ctx, "the-issuers-name", serial))
	m, err := sub.ReceiveMessage(ctx)
	require.NoError(t, err)
	require.NotContains(t, m.Payload, "issuer")
	require.NotContains(t, m.Payload, string(serial.Bytes()))
}

func TestWrongPasswordStaysOutOfErrors(t *testing.T) {
	s, o := own(t)
	wrong, err := redis.ParseURL(strings.Replace(s.RedisURL(), "s3cret", "other-s3cret", 1))
	require.NoError(t, err)
	o.Client = redis.NewClient(wrong)
	t.Cleanup(func() { _ = o.Client.(*redis.Client).Close() })
	_, err = newStore(t, o).FindBySerial(ctx, "ca", serial)
	require.ErrorContains(t, err, "WRONGPASS")
	require.NotContains(t, err.Error(), "s3cret")
	require.NotErrorIs(t, err, ocsp.ErrNotFound)
	err = newFeed(t, o).Follow(ctx, ocsptest.NewFeedSink())
	require.ErrorContains(t, err, "WRONGPASS")
	require.NotContains(t, err.Error(), "s3cret")
}

// replica is a responder with a long StatusTTL over the store, the cache and the feed.
func replica(t *testing.T, ca *ocsptest.CA, o ocspredis.Options) (*ocsp.Responder, *ocsptest.Signer) {
	t.Helper()
	return replicaAt(t, ca, o, 0)
}

// replicaAt is a replica whose clock is that much ahead.
func replicaAt(t *testing.T, ca *ocsptest.CA, o ocspredis.Options, ahead time.Duration) (*ocsp.Responder, *ocsptest.Signer) {
	t.Helper()
	cache, err := ocspredis.NewCache(o)
	require.NoError(t, err)
	signer := ocsptest.NewSigner(ca.Key)
	issuer := ca.Issuer()
	issuer.Signer = signer
	r, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{issuer}, Store: newStore(t, o), Timeout: 5 * time.Second,
		Now:   func() time.Time { return time.Now().Add(ahead) },
		Cache: ocsp.CacheOptions{StatusTTL: time.Hour, Remote: cache, Feed: newFeed(t, o)},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r, signer
}

func TestReplicas(t *testing.T) {
	s, o := own(t)
	before := runtime.NumGoroutine()
	t.Cleanup(func() { eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before }) })
	ca, store := ocsptest.NewCA(ocsptest.Options{}), newStore(t, o)
	first, signed := replica(t, ca, o)
	second, signedToo := replica(t, ca, o)
	query := func(r *ocsp.Responder, number *big.Int, want ocsp.Status) func() bool {
		leaf := *ca.Certificate
		leaf.SerialNumber = number
		request := ocsptest.Client{}.Request(ca.Certificate, &leaf)
		return func() bool {
			answer := r.Respond(ctx, request)
			return len(answer.Responses) == 1 && answer.Responses[0].Status == want
		}
	}
	issue := func(n int64) *big.Int {
		number := big.NewInt(n)
		require.NoError(t, store.Issue(ctx, ocspredis.Certificate{IssuerID: ca.ID, Serial: number, Record: active}))
		for _, r := range []*ocsp.Responder{first, second} {
			require.True(t, query(r, number, ocsp.Good)())
		}
		return number
	}
	revoke := func(number *big.Int) {
		_, err := store.Revoke(ctx, ca.ID, number, ocspredis.Revocation{Reason: ocsp.KeyCompromise})
		require.NoError(t, err)
	}
	for n := range int64(20) {
		number := issue(1000 + n)
		revoke(number)
		require.NoError(t, first.Invalidate(ctx, ca.ID, number))
		require.True(t, query(first, number, ocsp.Revoked)(), "at once, where Invalidate was called")
		eventually(t, "revoked at the other replica", query(second, number, ocsp.Revoked))
	}
	require.Less(t, signed.Calls()+signedToo.Calls(), 2*2*20, "signatures are shared")

	// A change that is lost with the connection shows all the same.
	number := issue(1)
	require.NoError(t, o.Client.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err())
	revoke(number)
	eventually(t, "revoked, although nobody said so", query(second, number, ocsp.Revoked))

	// While the server hangs nothing is known; what is cached is served, and nothing else.
	number = issue(2)
	require.NoError(t, s.Pause())
	require.True(t, query(second, number, ocsp.Good)(), "cached")
	answer := second.Respond(ctx, ocsptest.Client{}.Request(ca.Certificate, ca.Certificate))
	require.Equal(t, ocsp.OutcomeTryLater, answer.Outcome)
	require.NoError(t, s.Resume())
	eventually(t, "the store answers again", func() bool {
		_, err := store.FindBySerial(ctx, ca.ID, number)
		return err == nil
	})
	revoke(number)
	require.NoError(t, first.Invalidate(ctx, ca.ID, number))
	eventually(t, "revoked", query(second, number, ocsp.Revoked))

	// The same with a server that is gone.
	number = issue(3)
	require.NoError(t, s.Stop())
	require.True(t, query(second, number, ocsp.Good)(), "cached")
	require.Error(t, first.Invalidate(ctx, ca.ID, number))
	require.NoError(t, s.Start())
	eventually(t, "good again, from the store", query(first, number, ocsp.Good))
	revoke(number)
	eventually(t, "told", func() bool { return first.Invalidate(ctx, ca.ID, number) == nil })
	eventually(t, "revoked", query(second, number, ocsp.Revoked))
}

// What others put into the cache is never served.
func TestPoisonedCache(t *testing.T) {
	o := options(t)
	ca, store := ocsptest.NewCA(ocsptest.Options{}), newStore(t, o)
	leaf, other := *ca.Certificate, *ca.Certificate
	leaf.SerialNumber, other.SerialNumber = big.NewInt(1), big.NewInt(2)
	for _, n := range []*big.Int{leaf.SerialNumber, other.SerialNumber} {
		require.NoError(t, store.Issue(ctx, ocspredis.Certificate{IssuerID: ca.ID, Serial: n, Record: active}))
	}
	request := ocsptest.Client{}.Request(ca.Certificate, &leaf)
	first, _ := replica(t, ca, o)
	good := first.Respond(ctx, request).DER
	others := first.Respond(ctx, ocsptest.Client{}.Request(ca.Certificate, &other)).DER
	names := func() []string {
		list, err := o.Client.Keys(ctx, strings.NewReplacer("{", "[{]", "}", "[}]").Replace(o.Prefix)+"a:*").Result()
		require.NoError(t, err)
		return list
	}
	eventually(t, "both answers are shared", func() bool { return len(names()) == 2 })

	foreign := ocsptest.NewCA(ocsptest.Options{})
	foreign.ID = ca.ID
	stranger, _ := replica(t, foreign, o)
	closed := func(r *ocsp.Responder) { require.NoError(t, r.Close()) } // it has written what it will
	strangers := stranger.Respond(ctx, ocsptest.Client{}.Request(foreign.Certificate, &leaf)).DER
	closed(first)
	closed(stranger)
	_, err := store.Revoke(ctx, ca.ID, leaf.SerialNumber, ocspredis.Revocation{Reason: ocsp.KeyCompromise})
	require.NoError(t, err)
	// The one revoked answer that is there is too old for a replica that comes later.
	revoked := func() []byte {
		for _, key := range names() {
			require.NoError(t, o.Client.Del(ctx, key).Err())
		}
		r, _ := replica(t, ca, o)
		defer closed(r)
		return r.Respond(ctx, request).DER
	}()
	later, signer := replicaAt(t, ca, o, 13*time.Hour)
	require.NotEqual(t, revoked, later.Respond(ctx, request).DER)
	require.Equal(t, 1, signer.Calls())
	closed(later)
	for name, value := range map[string][]byte{
		"before the revocation": good, "another certificate's": others, "another key's": strangers, "random": []byte("\x30\x82random"), "empty": {}, "cut": good[:len(good)/2],
	} {
		for _, key := range names() {
			require.NoError(t, o.Client.Set(ctx, key, value, time.Hour).Err())
		}
		fresh, signer := replica(t, ca, o)
		answer := fresh.Respond(ctx, request)
		closed(fresh)
		require.Equal(t, ocsp.Revoked, answer.Responses[0].Status, name)
		require.Equal(t, 1, signer.Calls(), name)
		require.NoError(t, ocsptest.Lint(request, answer.DER, ca.Certificate, time.Now()))
	}
}

// One lookup is one round trip, whatever the number of keys.
func TestRoundTrips(t *testing.T) {
	o := options(t)
	trips := &tripCounter{}
	o.Client.AddHook(trips)
	o.Keys = keys("a", "b", "c")
	s := newStore(t, o)
	c, err := ocspredis.NewCache(o)
	require.NoError(t, err)
	require.NoError(t, s.Issue(ctx, ocspredis.Certificate{IssuerID: "ca", Serial: serial, Record: active}))
	for name, call := range map[string]func() error{
		"find":   func() error { _, err := s.FindBySerial(ctx, "ca", serial); return err },
		"get":    func() error { _, err := c.Get(ctx, "k"); return ignore(err, ocsp.ErrCacheMiss) },
		"put":    func() error { return c.Put(ctx, "k", []byte{1}, time.Hour) },
		"delete": func() error { return c.Delete(ctx, "k", "l", "m") },
	} {
		before := trips.n
		require.NoError(t, call(), name)
		require.Equal(t, 1, trips.n-before, name)
	}
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

// tripCounter counts commands and pipelines.
type tripCounter struct{ n int }

func (c *tripCounter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *tripCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n++; return next(ctx, cmd) }
}

func (c *tripCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.n++; return next(ctx, cmds) }
}
