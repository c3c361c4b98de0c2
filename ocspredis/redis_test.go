package ocspredis_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/servers"
	"github.com/kmsocsp/ocsp/ocspredis"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// shared is the server of the tests that do nothing to it.
var shared struct {
	sync.Once
	server *servers.Server
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

func needed(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, servers.ErrMissing) && os.Getenv("OCSP_REQUIRE_TOOLS") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
}

func newClient(t testing.TB, s *servers.Server) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(s.RedisURL())
	require.NoError(t, err)
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// options are for a corner of the shared server that is the test's own.
func options(t testing.TB) ocspredis.Options {
	t.Helper()
	shared.Do(func() { shared.server, shared.err = servers.Redis() })
	needed(t, shared.err)
	return ocspredis.Options{Client: newClient(t, shared.server), Keys: keys("a"), Prefix: "{" + rand.Text() + "}:"}
}

// own starts a server for the test alone.
func own(t *testing.T) (*servers.Server, ocspredis.Options) {
	t.Helper()
	s, err := servers.Redis()
	needed(t, err)
	t.Cleanup(func() { require.NoError(t, s.Remove()) })
	return s, ocspredis.Options{Client: newClient(t, s), Keys: keys("a"), MaxLag: time.Second}
}

// keys returns keys of which the first is the current one. The same ID always is the same key.
func keys(ids ...string) ocspredis.Keys {
	k := ocspredis.Keys{Current: ids[0], Secrets: map[string][]byte{}}
	for _, id := range ids {
		k.Secrets[id] = bytes.Repeat([]byte(id), 32)[:32]
	}
	return k
}

func newStore(t testing.TB, o ocspredis.Options) *ocspredis.Store {
	t.Helper()
	s, err := ocspredis.NewStore(o)
	require.NoError(t, err)
	return s
}

// put imports a record, and so either adds a certificate or revokes it.
func put(s *ocspredis.Store) func(context.Context, string, *big.Int, ocsp.Record) error {
	return func(ctx context.Context, issuerID string, serial *big.Int, r ocsp.Record) error {
		_, err := s.Import(ctx, func(yield func(ocspredis.Certificate, error) bool) {
			yield(ocspredis.Certificate{IssuerID: issuerID, Serial: serial, Record: r}, nil)
		}, nil)
		return err
	}
}

func TestStore(t *testing.T) {
	for name, k := range map[string]ocspredis.Keys{"one key": keys("a"), "three keys": keys("b", "a", "c")} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.Keys = k
			s := newStore(t, o)
			require.NoError(t, ocsptest.TestStore(ocsptest.StoreFixture{Store: s, Put: put(s), IssuerIDs: [2]string{"ca-1", "ca-2"}}))
		})
	}
}

func TestCache(t *testing.T) {
	c, err := ocspredis.NewCache(options(t))
	require.NoError(t, err)
	require.NoError(t, ocsptest.TestRemoteCache(c))
	ctx := context.Background()
	require.ErrorContains(t, c.Put(ctx, "key", nil, time.Hour), "1 to 65536")
	require.ErrorContains(t, c.Put(ctx, "key", make([]byte, 1<<20), time.Hour), "1 to 65536")
	require.ErrorContains(t, c.Put(ctx, "key", []byte{1}, 0), "ttl")
}

func TestForeignValueInTheCache(t *testing.T) {
	o := options(t)
	c, err := ocspredis.NewCache(o)
	require.NoError(t, err)
	ctx := context.Background()
	require.NoError(t, o.Client.Set(ctx, o.Prefix+"a:large", make([]byte, 1<<20), 0).Err())
	_, err = c.Get(ctx, "large")
	require.ErrorContains(t, err, "more than 65536")
	require.NoError(t, o.Client.LPush(ctx, o.Prefix+"a:list", "x").Err())
	_, err = c.Get(ctx, "list")
	require.ErrorContains(t, err, "WRONGTYPE")
	require.NotErrorIs(t, err, ocsp.ErrCacheMiss)
}

func newFeed(t testing.TB, o ocspredis.Options) *ocspredis.Feed {
	t.Helper()
	b, err := ocspredis.NewFeed(o)
	require.NoError(t, err)
	return b
}

func TestFeed(t *testing.T) {
	o := options(t)
	require.NoError(t, ocsptest.TestChangeFeed(newFeed(t, o), newFeed(t, o)))
}

var (
	ctx    = context.Background()
	now    = time.Now().Truncate(time.Second).UTC()
	serial = new(big.Int).SetBytes(bytes.Repeat([]byte{0xf1}, 20))
	active = ocsp.Record{State: ocsp.Active, NotAfter: now.Add(time.Hour)}
)

func TestChanges(t *testing.T) {
	s := newStore(t, options(t))
	find := func() ocsp.Record {
		r, err := s.FindBySerial(ctx, "ca", serial)
		require.NoError(t, err)
		return r
	}
	want := func(changed bool, state ocsp.State, reason ocsp.Reason) func(bool, error) {
		return func(got bool, err error) {
			t.Helper()
			require.NoError(t, err)
			require.Equal(t, changed, got)
			require.Equal(t, state, find().State)
			require.Equal(t, reason, find().Reason)
		}
	}
	_, err := s.Revoke(ctx, "ca", serial, ocspredis.Revocation{})
	require.ErrorIs(t, err, ocsp.ErrNotFound)
	pre := active
	pre.State = ocsp.PreActive
	require.NoError(t, s.Issue(ctx, ocspredis.Certificate{IssuerID: "ca", Serial: serial, Record: pre}))
	require.ErrorIs(t, s.Issue(ctx, ocspredis.Certificate{IssuerID: "ca", Serial: serial, Record: active}), ocspredis.ErrExists)
	want(true, ocsp.Active, 0)(s.SetState(ctx, "ca", serial, ocsp.Active))
	want(false, ocsp.Active, 0)(s.Release(ctx, "ca", serial))
	want(true, ocsp.Deactivated, ocsp.CertificateHold)(s.Revoke(ctx, "ca", serial, ocspredis.Revocation{Reason: ocsp.CertificateHold, At: now}))
	want(false, ocsp.Deactivated, ocsp.CertificateHold)(s.Revoke(ctx, "ca", serial, ocspredis.Revocation{Reason: ocsp.CertificateHold}))
	_, err = s.Revoke(ctx, "ca", serial, ocspredis.Revocation{Reason: ocsp.RemoveFromCRL})
	require.ErrorIs(t, err, ocspredis.ErrState, "on hold: it may be meant as Release")
	require.ErrorContains(t, err, "use Release")
	want(true, ocsp.Active, 0)(s.Release(ctx, "ca", serial))
	require.Equal(t, active, find())
	want(true, ocsp.Deactivated, ocsp.CertificateHold)(s.Revoke(ctx, "ca", serial, ocspredis.Revocation{Reason: ocsp.CertificateHold, At: now}))
	want(true, ocsp.Deactivated, ocsp.Superseded)(s.Revoke(ctx, "ca", serial, ocspredis.Revocation{Reason: ocsp.Superseded}))
	require.Equal(t, now, find().RevokedAt, "the first revocation's time stands")
	_, err = s.Release(ctx, "ca", serial)
	require.ErrorIs(t, err, ocspredis.ErrState)
	want(true, ocsp.Destroyed, ocsp.Superseded)(s.SetState(ctx, "ca", serial, ocsp.Destroyed))
	want(true, ocsp.DestroyedCompromised, ocsp.KeyCompromise)(s.Revoke(ctx, "ca", serial, ocspredis.Revocation{Reason: ocsp.KeyCompromise, InvalidityDate: now}))
	want(false, ocsp.DestroyedCompromised, ocsp.KeyCompromise)(s.Revoke(ctx, "ca", serial, ocspredis.Revocation{}))
	for _, state := range []ocsp.State{ocsp.Active, ocsp.Deactivated, ocsp.Compromised} {
		_, err = s.SetState(ctx, "ca", serial, state)
		require.ErrorIs(t, err, ocspredis.ErrState)
	}
	require.Equal(t, now, find().RevokedAt)
	require.Equal(t, now, find().InvalidityDate)
	require.NoError(t, put(s)(ctx, "ca", serial, active))
	require.Equal(t, ocsp.DestroyedCompromised, find().State, "an import never undoes a revocation")
}

// removeFromCRL releases nothing: who revokes with it gets a revoked certificate.
func TestRevokeWithRemoveFromCRL(t *testing.T) {
	s := newStore(t, options(t))
	for i, v := range []ocspredis.Revocation{{}, {State: ocsp.Compromised}} {
		serial := big.NewInt(int64(i))
		v.Reason, v.At = ocsp.RemoveFromCRL, now
		require.NoError(t, s.Issue(ctx, ocspredis.Certificate{IssuerID: "ca", Serial: serial, Record: active}))
		changed, err := s.Revoke(ctx, "ca", serial, v)
		require.NoError(t, err)
		require.True(t, changed)
		r, err := s.FindBySerial(ctx, "ca", serial)
		require.NoError(t, err)
		require.Equal(t, []ocsp.State{ocsp.Deactivated, ocsp.Compromised}[i], r.State)
		require.Equal(t, ocsp.Unspecified, r.Reason)
		require.Equal(t, now, r.RevokedAt)
		changed, err = s.Update(ctx, "ca", serial, func(r ocsp.Record) (ocsp.Record, error) { r.Reason = ocsp.RemoveFromCRL; return r, nil })
		require.NoError(t, err)
		require.False(t, changed)
	}
}

func TestUpdate(t *testing.T) {
	s := newStore(t, options(t))
	to := func(record ocsp.Record) func(ocsp.Record) (ocsp.Record, error) {
		return func(ocsp.Record) (ocsp.Record, error) { return record, nil }
	}
	_, err := s.Update(ctx, "ca", serial, to(active))
	require.ErrorIs(t, err, ocsp.ErrNotFound)
	require.NoError(t, s.Issue(ctx, ocspredis.Certificate{IssuerID: "ca", Serial: serial, Record: active}))
	changed, err := s.Update(ctx, "ca", serial, to(active))
	require.NoError(t, err)
	require.False(t, changed)
	_, err = s.Update(ctx, "ca", serial, to(ocsp.Record{}))
	require.ErrorContains(t, err, "the state 0 is not a KMIP state")
	changed, err = s.Update(ctx, "ca", serial, to(ocsp.Record{State: ocsp.Destroyed, RevokedAt: now}))
	require.NoError(t, err)
	require.True(t, changed)
	for _, record := range []ocsp.Record{active, {State: ocsp.Destroyed, RevokedAt: now.Add(time.Second)}} {
		_, err = s.Update(ctx, "ca", serial, to(record))
		require.ErrorIs(t, err, ocspredis.ErrState)
	}
}

// A revocation is not lost, whoever else writes to the certificate meanwhile.
func TestRevocationsAreNotUndone(t *testing.T) {
	o := options(t)
	o.Keys = keys("b", "a")
	s := newStore(t, o)
	o.Keys = keys("a", "b")
	other := newStore(t, o)
	for i := range int64(10) {
		serial := big.NewInt(i)
		require.NoError(t, s.Issue(ctx, ocspredis.Certificate{IssuerID: "ca", Serial: serial, Record: active}))
		var group sync.WaitGroup
		var final atomic.Bool
		for n := range 6 {
			group.Go(func() {
				writer := s
				if n%2 == 1 {
					writer = other // its current key is another
				}
				for range 20 {
					_, err := writer.Revoke(ctx, "ca", serial, ocspredis.Revocation{Reason: ocsp.CertificateHold})
					if err == nil {
						_, err = writer.Release(ctx, "ca", serial)
					}
					if err != nil && !errors.Is(err, ocspredis.ErrState) {
						t.Error(err)
					}
					if n == 0 {
						if _, err := other.Rewrap(ctx, nil); err != nil {
							t.Error(err)
						}
					}
				}
				if n == 5 {
					_, err := s.Revoke(ctx, "ca", serial, ocspredis.Revocation{Reason: ocsp.KeyCompromise})
					if err != nil {
						t.Error(err)
					}
					final.Store(true)
				}
				if r, err := writer.FindBySerial(ctx, "ca", serial); err != nil || final.Load() && n == 5 && r.State != ocsp.Compromised {
					t.Errorf("it is %v, error %v", r.State, err)
				}
			})
		}
		group.Wait()
		r, err := s.FindBySerial(ctx, "ca", serial)
		require.NoError(t, err)
		require.Equal(t, ocsp.Compromised, r.State)
	}
}

// dump returns all names and values, and their number.
func dump(t *testing.T, o ocspredis.Options) map[string]string {
	t.Helper()
	all := map[string]string{}
	names, err := o.Client.Keys(ctx, "*").Result()
	require.NoError(t, err)
	for _, name := range names {
		if value, err := o.Client.Get(ctx, name).Result(); err == nil && strings.HasPrefix(name, o.Prefix) {
			all[name] = value
		}
	}
	return all
}

func TestRedisLearnsNothing(t *testing.T) {
	o := options(t)
	s := newStore(t, o)
	serials := map[string]*big.Int{"good": serial, "revoked": big.NewInt(0x123456789abcdef0), "other": big.NewInt(77)}
	for _, n := range serials {
		require.NoError(t, s.Issue(ctx, ocspredis.Certificate{IssuerID: "the-issuers-name", Serial: n, Record: active}))
	}
	_, err := s.Revoke(ctx, "the-issuers-name", serials["revoked"], ocspredis.Revocation{Reason: ocsp.KeyCompromise})
	require.NoError(t, err)
	before := dump(t, o)
	require.Len(t, before, 3)
	lengths := map[int]bool{}
	for name, value := range before {
		lengths[len(value)] = true
		for _, n := range serials {
			for _, form := range []string{string(n.Bytes()), n.String(), n.Text(16), strings.ToUpper(n.Text(16)), hex.EncodeToString(n.Bytes())} {
				if len(form) > 3 {
					require.NotContains(t, name+value, form)
				}
			}
		}
		for _, word := range []string{"issuer", "Active", "Compromised", "revoked"} {
			require.NotContains(t, name+value, word)
		}
	}
	require.Len(t, lengths, 1, "good and revoked are as long")
}

func TestTamperedEntries(t *testing.T) {
	o := options(t)
	s := newStore(t, o)
	require.NoError(t, s.Issue(ctx, ocspredis.Certificate{IssuerID: "ca", Serial: serial, Record: active}))
	require.NoError(t, s.Issue(ctx, ocspredis.Certificate{IssuerID: "ca", Serial: big.NewInt(2), Record: active}))
	all := dump(t, o)
	require.Len(t, all, 2)
	var mine, others string // names
	for name := range all {
		if _, err := func() (ocsp.Record, error) {
			require.NoError(t, o.Client.Set(ctx, name, "", 0).Err())
			defer o.Client.Set(ctx, name, all[name], 0)
			return s.FindBySerial(ctx, "ca", serial)
		}(); err != nil {
			mine = name
		} else {
			others = name
		}
	}
	good := all[mine]
	for name, value := range map[string]string{
		"empty": "", "cut": good[:len(good)-1], "longer": good + "x", "random": strings.Repeat("\x01x", 90),
		"another certificate's": all[others], "flipped": good[:40] + string(good[40]^1) + good[41:], "another key's ID": "\x01z" + good[2:],
		"the longest ID": strings.Repeat("\xff", 300),
	} {
		require.NoError(t, o.Client.Set(ctx, mine, value, 0).Err())
		_, err := s.FindBySerial(ctx, "ca", serial)
		require.ErrorContains(t, err, "the entry cannot be read", name)
		require.ErrorIs(t, err, ocsp.ErrInvalidRecord)
		require.NotErrorIs(t, err, ocsp.ErrNotFound)
		require.ErrorContains(t, err, serial.Text(16))
		_, err = s.Revoke(ctx, "ca", serial, ocspredis.Revocation{})
		require.Error(t, err)
	}
	require.NoError(t, o.Client.Del(ctx, mine).Err())
	require.NoError(t, o.Client.LPush(ctx, mine, "x").Err())
	_, err := s.FindBySerial(ctx, "ca", serial)
	require.ErrorIs(t, err, ocsp.ErrNotFound, "MGET takes another type for nothing")
}

// Who spoils the entry of a revocation does not make the good from before last. For a Redis that is gone that good goes on.
func TestSpoiledRevocation(t *testing.T) {
	server, o := own(t)
	s := newStore(t, o)
	ca := ocsptest.NewCA(ocsptest.Options{Name: "ca"})
	leaf := ca.Issue(ocsptest.Options{})
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: s, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, responder.Close()) }()
	isGood := func() {
		t.Helper()
		answer, err := ocsptest.Query(responder.Handler(), ca.Certificate, leaf)
		require.NoError(t, err)
		require.Zero(t, answer.Status, "x/crypto's number of good")
	}
	require.NoError(t, s.Issue(ctx, ocspredis.Certificate{IssuerID: "ca", Serial: leaf.SerialNumber, Record: active}))
	o.Prefix = ocspredis.DefaultPrefix
	good := dump(t, o)
	require.Len(t, good, 1)
	for name, value := range good {
		foreign, err := ocspredis.Seal(o.Keys, name, []byte("not a record"))
		require.NoError(t, err)
		isGood()
		long := strings.Repeat("\xff", 300)
		for _, spoiled := range []string{"", value[:len(value)-1], foreign, long} {
			require.NoError(t, o.Client.Set(ctx, name, spoiled, 0).Err())
			_, err := ocsptest.Query(responder.Handler(), ca.Certificate, leaf)
			require.ErrorContains(t, err, "internal error")
			_, err = s.FindBySerial(ctx, "ca", leaf.SerialNumber)
			require.ErrorIs(t, err, ocsp.ErrInvalidRecord)
			require.NoError(t, o.Client.Set(ctx, name, value, 0).Err())
			isGood()
		}
	}
	require.NoError(t, server.Stop())
	_, err = s.FindBySerial(ctx, "ca", leaf.SerialNumber)
	require.Error(t, err)
	require.NotErrorIs(t, err, ocsp.ErrInvalidRecord)
	isGood()
}

func TestRotation(t *testing.T) {
	o := options(t)
	s := newStore(t, o)
	const n = 1200
	progress := 0
	imported, err := s.Import(ctx, func(yield func(ocspredis.Certificate, error) bool) {
		for i := range int64(n) {
			if !yield(ocspredis.Certificate{IssuerID: "ca", Serial: big.NewInt(i), Record: active}, nil) {
				return
			}
		}
	}, func(n int) { progress = n })
	require.NoError(t, err)
	require.Equal(t, n, imported)
	require.Equal(t, n, progress)

	o.Keys = keys("a", "b")
	both := newStore(t, o)
	o.Keys = keys("b", "a")
	next := newStore(t, o)
	o.Keys = keys("b")
	last := newStore(t, o)
	_, err = last.FindBySerial(ctx, "ca", big.NewInt(1))
	require.ErrorIs(t, err, ocsp.ErrNotFound, "its names are other ones")

	var group sync.WaitGroup
	stop := make(chan struct{})
	for _, reader := range []*ocspredis.Store{both, next} {
		group.Go(func() {
			for i := int64(0); ; i = (i + 1) % n {
				select {
				case <-stop:
					return
				default:
				}
				if r, err := reader.FindBySerial(ctx, "ca", big.NewInt(i)); err != nil || i%7 != 0 && r.State != ocsp.Active {
					t.Errorf("serial %d while it is rewrapped: %v, %v", i, r.State, err)
					return
				}
			}
		})
	}
	group.Go(func() {
		for i := int64(0); i < n; i += 7 {
			if _, err := both.Revoke(ctx, "ca", big.NewInt(i), ocspredis.Revocation{}); err != nil {
				t.Error(err)
			}
		}
	})
	_, err = next.Rewrap(ctx, nil)
	require.NoError(t, err)
	close(stop)
	group.Wait()
	_, err = next.Rewrap(ctx, nil) // what was written meanwhile by a writer that has the other key
	require.NoError(t, err)
	again, err := next.Rewrap(ctx, nil)
	require.NoError(t, err)
	require.Zero(t, again)
	seen := map[int64]bool{}
	for serial, err := range last.Serials(ctx, "ca") {
		require.NoError(t, err)
		seen[serial.Int64()] = true
		r, err := last.FindBySerial(ctx, "ca", serial)
		require.NoError(t, err)
		require.Equal(t, serial.Int64()%7 == 0, r.State != ocsp.Active)
	}
	require.Len(t, seen, n)
	for range last.Serials(ctx, "another") {
		t.Error("a serial of another issuer")
	}
}

func TestOptions(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	t.Cleanup(func() { _ = client.Close() })
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	t.Cleanup(func() { _ = cluster.Close() })
	short := ocspredis.Keys{Current: "a", Secrets: map[string][]byte{"a": []byte("s3cret")}}
	for name, test := range map[string]struct {
		o    ocspredis.Options
		want string
	}{
		"no client":   {ocspredis.Options{Keys: keys("a")}, "the field Client is nil"},
		"no keys":     {ocspredis.Options{Client: client}, "Keys.Current"},
		"no such key": {ocspredis.Options{Client: client, Keys: ocspredis.Keys{Current: "x", Secrets: keys("a").Secrets}}, `"x"`},
		"short key":   {ocspredis.Options{Client: client, Keys: short}, "use 32"},
		"long ID":     {ocspredis.Options{Client: client, Keys: keys(strings.Repeat("x", 33))}, "use 1 to 32"},
		"lag":         {ocspredis.Options{Client: client, Keys: keys("a"), MaxLag: time.Millisecond}, "MaxLag"},
		"cluster":     {ocspredis.Options{Client: cluster, Keys: keys("a")}, "single server"},
	} {
		_, err := ocspredis.NewFeed(test.o)
		require.ErrorContains(t, err, test.want, name)
		require.NotContains(t, err.Error(), "s3cret")
		if name != "lag" && name != "cluster" {
			_, err = ocspredis.NewStore(test.o)
			require.ErrorContains(t, err, test.want, name)
		}
	}
}

// A client whose pool is exhausted says that it has much to do, and not that Redis fails.
func TestExhaustedPoolIsATimeout(t *testing.T) {
	o := options(t)
	settings := *o.Client.(*redis.Client).Options()
	settings.PoolSize, settings.MaxActiveConns, settings.PoolTimeout = 1, 1, 10*time.Millisecond
	client := redis.NewClient(&settings)
	defer func() { require.NoError(t, client.Close()) }()
	o.Client = client
	store, err := ocspredis.NewStore(o)
	require.NoError(t, err)
	conn := client.Conn() // which takes the only connection when it is first used
	require.NoError(t, conn.Ping(t.Context()).Err())
	_, err = store.FindBySerial(t.Context(), "ca", big.NewInt(1))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, conn.Close())
	_, err = store.FindBySerial(t.Context(), "ca", big.NewInt(1))
	require.ErrorIs(t, err, ocsp.ErrNotFound)
}
