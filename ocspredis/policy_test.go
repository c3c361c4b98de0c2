package ocspredis_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/servers"
	"github.com/kmsocsp/ocsp/ocspredis"
)

// logged returns options whose Logger writes to the buffer.
func logged(o ocspredis.Options) (ocspredis.Options, *bytes.Buffer) {
	var text bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&text, nil))
	return o, &text
}

// A server that may evict certificates is refused, since what it has evicted would be answered as never issued.
func TestEvictingServerIsRefused(t *testing.T) {
	_, o := own(t)
	o, text := logged(o)
	s := newStore(t, o)
	require.NoError(t, s.Issue(ctx, ocspredis.Certificate{IssuerID: "ca", Serial: serial, Record: active}))
	for policy, refused := range map[string]bool{
		"noeviction": false, "volatile-lru": false, "volatile-lfu": false, "volatile-random": false, "volatile-ttl": false,
		"allkeys-lru": true, "allkeys-lfu": true, "allkeys-random": true,
	} {
		t.Run(policy, func(t *testing.T) {
			require.NoError(t, o.Client.ConfigSet(ctx, "maxmemory-policy", policy).Err())
			s, err := ocspredis.NewStore(o)
			require.Empty(t, text.String())
			if refused {
				require.ErrorContains(t, err, "ocspredis: store: the server's maxmemory-policy is "+policy)
				require.ErrorContains(t, err, "set it to noeviction")
				return
			}
			require.NoError(t, err)
			record, err := s.FindBySerial(ctx, "ca", serial)
			require.NoError(t, err)
			require.Equal(t, ocsp.Active, record.State)
			_, err = ocspredis.NewCache(o)
			require.NoError(t, err)
		})
	}
	// A cache and a feed lose nothing that matters.
	require.NoError(t, o.Client.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err())
	_, err := ocspredis.NewCache(o)
	require.NoError(t, err)
	_, err = ocspredis.NewFeed(o)
	require.NoError(t, err)
}

// Every server of a cluster or a ring is asked.
func TestEvictingNodeIsRefused(t *testing.T) {
	first, one := own(t)
	second, other := own(t)
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Password: servers.Password, ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
		return []redis.ClusterSlot{
			{Start: 0, End: 8191, Nodes: []redis.ClusterNode{{Addr: first.Address()}}},
			{Start: 8192, End: 16383, Nodes: []redis.ClusterNode{{Addr: second.Address()}}},
		}, nil
	}})
	ring := redis.NewRing(&redis.RingOptions{Password: servers.Password, Addrs: map[string]string{"first": first.Address(), "second": second.Address()}})
	t.Cleanup(func() { _ = cluster.Close(); _ = ring.Close() })
	for name, client := range map[string]redis.UniversalClient{"cluster": cluster, "ring": ring} {
		t.Run(name, func(t *testing.T) {
			o, text := logged(one)
			o.Client = client
			_, err := ocspredis.NewStore(o)
			require.NoError(t, err)
			for _, evicting := range []redis.UniversalClient{one.Client, other.Client} {
				require.NoError(t, evicting.ConfigSet(ctx, "maxmemory-policy", "allkeys-lfu").Err())
				_, err = ocspredis.NewStore(o)
				require.ErrorContains(t, err, "allkeys-lfu")
				require.NoError(t, evicting.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err())
			}
			require.Empty(t, text.String())
		})
	}
}

// Where the policy cannot be read the store is opened all the same, and the log says what to look at.
func TestUnreadablePolicyIsLogged(t *testing.T) {
	server, o := own(t)
	require.NoError(t, o.Client.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err())
	require.NoError(t, o.Client.Do(ctx, "ACL", "SETUSER", "limited", "on", ">"+servers.Password, "~*", "&*", "+@all", "-info").Err())
	as, err := redis.ParseURL(strings.Replace(server.RedisURL(), "redis://:", "redis://limited:", 1))
	require.NoError(t, err)
	forbidden, endless := redis.NewClient(as), redis.NewClient(&redis.Options{Addr: server.Address(), Password: servers.Password, ReadTimeout: -1})
	t.Cleanup(func() { _ = forbidden.Close(); _ = endless.Close() })

	open := func(t *testing.T, client *redis.Client) string {
		o, text := logged(o)
		o.Client = client
		begin := time.Now()
		_, err := ocspredis.NewStore(o)
		require.NoError(t, err)
		require.Less(t, time.Since(begin), 20*time.Second)
		require.Equal(t, 1, strings.Count(text.String(), "level=WARN"), text)
		require.Contains(t, text.String(), "maxmemory-policy")
		require.Contains(t, text.String(), "noeviction")
		require.NotContains(t, text.String(), servers.Password)
		return text.String()
	}
	t.Run("forbidden", func(t *testing.T) { require.Contains(t, open(t, forbidden), "NOPERM") })
	require.NoError(t, endless.Ping(ctx).Err()) // connected
	require.NoError(t, server.Pause())
	t.Run("hangs", func(t *testing.T) { open(t, endless) })
	require.NoError(t, server.Resume())
	require.NoError(t, server.Stop())
	t.Run("is not there", func(t *testing.T) { open(t, newClient(t, server)) })
}

// A server that evicts what has a TTL may be shared with the cache: certificates have none.
func TestCertificatesAreNotEvicted(t *testing.T) {
	_, o := own(t)
	require.NoError(t, o.Client.ConfigSet(ctx, "maxmemory-policy", "volatile-lru").Err())
	s := newStore(t, o)
	cache, err := ocspredis.NewCache(o)
	require.NoError(t, err)
	const certificates = 500
	for i := range int64(certificates) {
		require.NoError(t, s.Issue(ctx, ocspredis.Certificate{IssuerID: "ca", Serial: big.NewInt(i), Record: active}))
		_, err := s.Revoke(ctx, "ca", big.NewInt(i), ocspredis.Revocation{})
		require.NoError(t, err)
	}
	used := info(t, o.Client, "memory", "used_memory")
	require.NoError(t, o.Client.ConfigSet(ctx, "maxmemory", fmt.Sprint(used+512<<10)).Err())
	for i := range 2000 {
		require.NoError(t, cache.Put(ctx, fmt.Sprint(i), make([]byte, 2000), time.Hour))
	}
	require.Positive(t, info(t, o.Client, "stats", "evicted_keys"))
	for i := range int64(certificates) {
		record, err := s.FindBySerial(ctx, "ca", big.NewInt(i))
		require.NoError(t, err)
		require.Equal(t, ocsp.Deactivated, record.State)
	}
}

// info reads a number from INFO.
func info(t *testing.T, client redis.UniversalClient, section, name string) (n int64) {
	t.Helper()
	text, err := client.Info(ctx, section).Result()
	require.NoError(t, err)
	_, rest, ok := strings.Cut(text, "\n"+name+":")
	require.True(t, ok)
	_, err = fmt.Sscan(rest, &n)
	require.NoError(t, err)
	return n
}
