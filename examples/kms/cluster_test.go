package main

import (
	"context"
	"crypto/x509"
	"database/sql"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/kmsocsp/ocsp/examples/kms/internal/cluster"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/internal/servers"
)

var rounds = flag.Int("rounds", 500, "rounds of TestConsistency in each mode")

// feedLag is the MaxLag of the feeds: the longest that a replica may say good after another one's
// revocation.
const feedLag = 2 * time.Second

func startCluster(t *testing.T, cfg config.Config) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), os.Args[0], t.TempDir(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestConsistency revokes at one replica and asks at the others, under load.
func TestConsistency(t *testing.T) {
	redisURL := newRedisDatabase(t)
	for _, test := range []struct {
		name   string
		bound  time.Duration // that good may be said after a revocation has returned
		adjust func(*config.Config)
	}{
		{"StatusTTL 0", 0, func(cfg *config.Config) { cfg.OCSP.StatusTTLSecs, cfg.Replicas.Changes = 0, "" }},
		{"StatusTTL 1 h, feed of Redis", feedLag, func(*config.Config) {}},
		{"StatusTTL 1 h, feed of PostgreSQL", feedLag, func(cfg *config.Config) { cfg.Replicas.Changes = cfg.Store.URL }},
		{"StatusTTL 1 h, store and feed in Redis", feedLag, func(cfg *config.Config) { cfg.Store.URL = redisURL }},
	} {
		t.Run(test.name, func(t *testing.T) {
			newRedisDatabase(t) // empties it
			cfg := cluster.Config(newDatabase(t), redisURL)
			test.adjust(&cfg)
			c := startCluster(t, cfg)
			var seen cluster.Tally
			begin := time.Now()
			if err := c.Rounds(t.Context(), *rounds, 6, &seen); err != nil {
				t.Fatal(err)
			}
			// A question that was asked later than the bound and still got good is a wrong answer.
			if seen.Worst > test.bound || test.bound == 0 && seen.Late > 0 {
				t.Errorf("%v, the bound is %v", &seen, test.bound)
			}
			t.Logf("%d rounds in %.1f s: %v", *rounds, time.Since(begin).Seconds(), &seen)
		})
	}
}

// faultTest is replicas over servers of their own, with certificates whose answers are cached
// everywhere.
type faultTest struct {
	*testing.T
	*cluster.Cluster
	postgres, redis *servers.Server
	cached          []*x509.Certificate
	rows            []string // of the table of outcomes
}

// during makes a fault while clients ask about certificates that are cached and about others that
// are not, and holds that they see nothing but what is allowed. After the repair a certificate is
// issued at one replica, revoked, and asked about at all; how long that takes to succeed is the
// time of recovery.
func (f *faultTest) during(name string, allowed []string, breakIt, repair func() error) {
	f.Helper()
	var fresh []*x509.Certificate
	for range 300 {
		_, cert, err := f.Replicas[0].Certify(f.Context())
		if err != nil {
			f.Fatalf("%s: %v", name, err)
		}
		fresh = append(fresh, cert)
	}
	for _, cert := range f.cached {
		for _, r := range f.Replicas {
			if got := r.Query(f.Context(), cert); got != "good" {
				f.Fatalf("%s: before it, a certificate is %s\n%s", name, got, r.Log())
			}
		}
	}
	ctx, stop := context.WithCancel(f.Context())
	var cached, uncached cluster.Tally
	loads := f.Load(ctx, f.cached, 2, &cached)
	others := f.Load(ctx, fresh, 1, &uncached)
	if err := breakIt(); err != nil {
		f.Errorf("%s: %v", name, err)
	}
	if err := repair(); err != nil {
		f.Errorf("%s: repair: %v", name, err)
	}
	begin := time.Now()
	var err error
	for {
		var seen cluster.Tally
		if err = f.Round(f.Context(), 0, &seen); err == nil || time.Since(begin) > time.Minute {
			break
		}
	}
	recovery := time.Since(begin)
	if err != nil {
		f.Errorf("%s: no recovery: %v", name, err)
	}
	stop()
	loads.Wait()
	others.Wait()
	for _, t := range []*cluster.Tally{&cached, &uncached} {
		for what := range t.Seen {
			if what != "good" && !slices.Contains(allowed, what) {
				f.Errorf("%s: clients saw %q %d times", name, what, t.Seen[what])
			}
		}
	}
	if cached.Seen["good"] == 0 {
		f.Errorf("%s: nothing cached was served", name)
	}
	f.rows = append(f.rows, fmt.Sprintf("| %s | %s | %s | %.1f s |", name, share(&cached), share(&uncached), recovery.Seconds()))
}

// share says what part of the answers each was.
func share(t *cluster.Tally) string {
	total := 0
	for _, n := range t.Seen {
		total += n
	}
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(t.Seen)) {
		parts = append(parts, fmt.Sprintf("%s %.1f %%", what, 100*float64(t.Seen[what])/float64(total)))
	}
	return strings.Join(parts, ", ")
}

var pauseTime = flag.Duration("pause", 5*time.Second, "for how long TestFaults stops a server's processes")

// TestFaults breaks everything that can be, while queries run.
func TestFaults(t *testing.T) {
	f := &faultTest{T: t, postgres: ownServer(t, servers.PostgreSQL), redis: ownServer(t, servers.Redis)}
	f.Cluster = startCluster(t, cluster.Config(f.postgres.PostgresURL("postgres"), f.redis.RedisURL()))
	for range 5 {
		_, cert, err := f.Replicas[0].Certify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f.cached = append(f.cached, cert)
	}
	client, err := inventory.RedisClient(f.redis.RedisURL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	ctx := t.Context()
	nothing := func() error { return nil }
	pause := func(s *servers.Server) func() error {
		return func() error {
			if err := s.Pause(); err != nil {
				return err
			}
			time.Sleep(*pauseTime) // is how long the fault lasts
			return nil
		}
	}
	const refused, gone = "try later", "no answer"

	f.during("kill -9 of a replica", []string{gone}, f.Replicas[2].Kill, func() error { return f.Replicas[2].Start(ctx) })
	f.during("Redis stopped, started", nil, f.redis.Stop, f.redis.Start)
	f.during("PostgreSQL stopped, started", []string{refused}, f.postgres.Stop, f.postgres.Start)
	f.during("SIGSTOP of Redis", nil, pause(f.redis), f.redis.Resume)
	f.during("SIGSTOP of PostgreSQL", []string{refused}, pause(f.postgres), f.postgres.Resume)
	f.during("feed connections cut, again and again", nil, func() error {
		for n := range 20 {
			if err := client.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err(); err != nil {
				return err
			}
			var seen cluster.Tally
			if err := f.Round(ctx, n, &seen); err != nil {
				return err
			}
			if seen.Worst > feedLag {
				return fmt.Errorf("good for %v after a revocation", seen.Worst)
			}
		}
		return nil
	}, nothing)
	f.during("Redis full of random bytes", nil, func() error { return poison(ctx, client) }, nothing)
	f.during("PostgreSQL out of connections", []string{refused}, func() error {
		db, err := sql.Open("pgx", f.postgres.PostgresURL("postgres"))
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }()
		var held []*sql.Conn
		defer func() {
			for _, c := range held {
				_ = c.Close()
			}
		}()
		for range 120 { // of max_connections 100
			c, err := db.Conn(ctx)
			if err != nil {
				break
			}
			held = append(held, c)
		}
		for _, r := range f.Replicas {
			for _, cert := range f.cached {
				r.Query(ctx, cert)
			}
		}
		return nil
	}, nothing)

	t.Log("\n| fault | cached certificates: clients saw | other certificates, most not cached | recovery |\n|---|---|---|---|\n" + strings.Join(f.rows, "\n"))
}

// poison overwrites every answer in the remote cache.
func poison(ctx context.Context, client *redis.Client) error {
	names, err := client.Keys(ctx, "{ocsp}:a:*").Result()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("the remote cache is empty")
	}
	for _, name := range names {
		if err := client.Set(ctx, name, "\x30\x82\x01\x00 random", time.Hour).Err(); err != nil {
			return err
		}
	}
	return nil
}

// ownServer starts a server for one test.
func ownServer(t *testing.T, start func() (*servers.Server, error)) *servers.Server {
	t.Helper()
	s := started(t, start)
	t.Cleanup(func() {
		if err := s.Remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}
