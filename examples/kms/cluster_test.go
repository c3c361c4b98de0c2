package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"

	"github.com/kmsocsp/ocsp/examples/kms/internal/cluster"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/internal/servers"
	"github.com/kmsocsp/ocsp/ocsptest"
)

var (
	rounds  = flag.Int("rounds", 200, "rounds of TestConsistency, a quarter of them in each mode")
	workers = flag.Int("workers", 6, "rounds of TestConsistency at a time")
)

// settle is how much later than the bound the last questions of a round come.
const settle = 100 * time.Millisecond

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

// TestConsistency changes certificates at one replica and asks at the others, under load.
func TestConsistency(t *testing.T) {
	redisURL := newRedisDatabase(t)
	const modes = 4
	n := *rounds / modes
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
			var calls atomic.Int64
			begin := time.Now()
			p := promise{feed: test.bound > 0, lag: test.bound}
			check := func(x *cluster.Certificate) error {
				ops := x.History()
				calls.Add(int64(len(ops)))
				return p.check(x.UID, len(c.Replicas), ops)
			}
			err := c.Rounds(t.Context(), n, *workers, &seen, test.bound+settle, check)
			if err != nil {
				t.Fatal(err)
			}
			// A question that was asked later than the bound and still got good is a wrong answer.
			if seen.Worst > test.bound || test.bound == 0 && seen.Late > 0 {
				t.Errorf("%v, the bound is %v", &seen, test.bound)
			}
			t.Logf("%d rounds in %.1f s: %v; histories of %d calls checked",
				n, time.Since(begin).Seconds(), &seen, calls.Load())
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
	promise         promise
	settled         func()   // asks once more about what was changed in the last fault, and checks
	rows            []string // of the table of outcomes
}

// TestCheckFindsDeafReplica requires that the check finds a replica that trusts what it has read
// for an hour and hears of no changes.
func TestCheckFindsDeafReplica(t *testing.T) {
	c := startCluster(t, cluster.Config(newDatabase(t), newRedisDatabase(t)))
	deaf := c.Replicas[2]
	cfg, err := config.Load(deaf.Dir)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Replicas.Changes = ""
	if err := errors.Join(deaf.Stop(), cfg.Write(deaf.Dir), deaf.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	x, err := c.Issue(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	askAll := func() {
		for r := range c.Replicas {
			x.Ask(t.Context(), r, cluster.Post)
		}
	}
	p := promise{feed: true, lag: feedLag}
	askAll()
	if err := x.Change(t.Context(), 0, cluster.Revoke); err != nil {
		t.Fatal(err)
	}
	if err := p.check("before the lag", len(c.Replicas), x.History()); err != nil {
		t.Error(err)
	}
	time.Sleep(feedLag + settle)
	askAll()
	t.Setenv("TMPDIR", t.TempDir())
	err = p.check("after the lag", len(c.Replicas), x.History())
	if err == nil || !strings.Contains(err.Error(), "replica 3  ask good") {
		t.Errorf("the check does not find the replica that is deaf: %v", err)
	}
}

// fault is what during makes.
type fault struct {
	name            string
	allowed         []string // besides good
	store           bool     // it keeps the store from answering
	breakIt, repair func() error
}

// during makes a fault while clients ask about certificates that are cached and about others that
// are not, and holds that they see nothing but what is allowed. Others change certificates all the
// time, and histories of what they saw have to keep the promise. After the repair a certificate is
// issued at one replica, revoked, and asked about at all; how long that takes to succeed is the
// time of recovery.
func (f *faultTest) during(fault fault) {
	name, allowed, breakIt, repair := fault.name, fault.allowed, fault.breakIt, fault.repair
	f.Helper()
	var fresh []*x509.Certificate
	for range 200 {
		_, cert, err := f.Replicas[0].Certify(f.Context())
		if err != nil {
			f.Fatalf("%s: %v", name, err)
		}
		fresh = append(fresh, cert)
	}
	f.settled()
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
	changing := f.Lives(ctx, 6)
	p := f.promise
	from := f.Now()
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
		if _, err = f.Round(f.Context(), 0, &seen); err == nil || time.Since(begin) > time.Minute {
			break
		}
	}
	recovery := time.Since(begin)
	if fault.store {
		p.outages = []outage{{from, f.Now()}}
	}
	if err != nil {
		f.Errorf("%s: no recovery: %v", name, err)
	}
	time.Sleep(settle) // changes go on after the repair
	stop()
	loads.Wait()
	others.Wait()
	certs, ended := changing(), time.Now()
	f.settled = func() {
		time.Sleep(time.Until(ended.Add(feedLag + settle)))
		calls := 0
		for _, x := range certs {
			for r := range f.Replicas {
				x.Ask(f.Context(), r, cluster.Question(r))
			}
			calls += len(x.History())
			if err := p.check(name, len(f.Replicas), x.History()); err != nil {
				f.Error(err)
			}
		}
		f.Logf("%s: histories of %d certificates, of %d calls", name, len(certs), calls)
		if calls == 0 {
			f.Errorf("%s: nothing was changed", name)
		}
	}
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

var pauseTime = flag.Duration("pause", 3*time.Second, "for how long faults of TestFaults last")

// TestFaults breaks everything that can be, while queries and changes run.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name   string
		faults func(*faultTest)
		adjust func(*config.Config)
	}{
		{"feed of Redis", func(f *faultTest) {
			f.postgresFaults()
			f.redisFaults(nil, false)
			f.otherFaults()
		}, func(*config.Config) {}},
		{"feed of PostgreSQL", (*faultTest).postgresFaults, func(cfg *config.Config) {
			cfg.Replicas.Changes = cfg.Store.URL
		}},
		{"StatusTTL 0", (*faultTest).postgresFaults, func(cfg *config.Config) {
			cfg.OCSP.StatusTTLSecs, cfg.Replicas.Changes = 0, ""
		}},
		{"store and feed in Redis", func(f *faultTest) {
			f.redisFaults([]string{refused}, true)
		}, func(cfg *config.Config) { cfg.Store.URL = cfg.Replicas.Changes }},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &faultTest{T: t}
			f.postgres, f.redis = ownServer(t, servers.PostgreSQL), ownServer(t, servers.Redis)
			cfg := cluster.Config(f.postgres.PostgresURL("postgres"), f.redis.RedisURL())
			test.adjust(&cfg)
			f.Cluster, f.promise = startCluster(t, cfg), promise{feed: cfg.Replicas.Changes != ""}
			f.settled = func() {}
			if f.promise.feed {
				f.promise.lag = feedLag
			}
			for range 5 {
				_, cert, err := f.Replicas[0].Certify(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				f.cached = append(f.cached, cert)
			}
			test.faults(f)
			f.settled()
			const head = "\n| fault | cached certificates: clients saw |" +
				" other certificates, most not cached | recovery |\n|---|---|---|---|\n"
			t.Log(head + strings.Join(f.rows, "\n"))
		})
	}
}

const refused, dead = cluster.TryLater, cluster.NoAnswer

func nothing() error { return nil }

// lasting returns a function that makes a fault and returns when it has lasted for a while.
func lasting(breakIt func() error) func() error {
	return func() error {
		if err := breakIt(); err != nil {
			return err
		}
		time.Sleep(*pauseTime) // is how long the fault lasts
		return nil
	}
}

// postgresFaults breaks the store, and has outsiders keep it busy.
func (f *faultTest) postgresFaults() {
	db, err := sql.Open("pgx", f.postgres.PostgresURL("postgres")+"&application_name="+outsiders)
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	ctx := f.Context()
	try := []string{refused}
	f.during(fault{"PostgreSQL stopped, started", try, true, f.postgres.Stop, f.postgres.Start})
	f.during(fault{"SIGSTOP of PostgreSQL", try, true, lasting(f.postgres.Pause), f.postgres.Resume})
	f.during(fault{"connections to PostgreSQL killed, again and again", try, true, func() error {
		c, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		var killed int64
		for range 50 {
			n, err := killReplicas(ctx, c)
			if err != nil {
				return err
			}
			killed += n
			time.Sleep(*pauseTime / 50)
		}
		return f.happened(killed, "connections were killed")
	}, nothing})
	var held []*sql.Conn
	f.during(fault{"PostgreSQL out of connections", try, true, func() error {
		return f.exhaust(db, &held)
	}, func() error {
		var errs []error
		for _, c := range held {
			errs = append(errs, c.Close())
		}
		return errors.Join(errs...)
	}})
	f.during(fault{"a flood of unknown serials at a slow PostgreSQL", try, true, func() error {
		return f.flood(db)
	}, nothing})
}

// outsiders is the name of the connections to PostgreSQL that are not a replica's.
const outsiders = "outsiders"

// killReplicas ends the connections of all replicas, by another one. It returns how many they were.
func killReplicas(ctx context.Context, by *sql.Conn) (int64, error) {
	const kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity " +
		"WHERE application_name <> $1 AND backend_type = 'client backend'"
	result, err := by.ExecContext(ctx, kill, outsiders)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// exhaust has outsiders take all connections that PostgreSQL allows, and most of those that the
// replicas have, for a while. It returns an error unless a replica was refused one.
func (f *faultTest) exhaust(db *sql.DB, held *[]*sql.Conn) error {
	const tooMany = "53300" // the code of PostgreSQL's error
	refusals := func() (n int64) {
		for _, r := range f.Replicas {
			n += int64(strings.Count(r.Log(), tooMany))
		}
		return n
	}
	ctx, before := f.Context(), refusals()
	first, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = first.Close() }()
	for range 5 {
		if _, err := killReplicas(ctx, first); err != nil {
			return err
		}
		for {
			c, err := db.Conn(ctx)
			var refusal *pgconn.PgError
			if errors.As(err, &refusal) && refusal.Code == tooMany {
				break
			}
			if err != nil {
				return err
			}
			*held = append(*held, c)
		}
	}
	for _, r := range f.Replicas {
		for _, cert := range f.cached {
			r.Query(ctx, cert)
		}
	}
	time.Sleep(*pauseTime) // is how long the fault lasts
	return errors.Join(f.happened(int64(len(*held)), "connections were held"),
		f.happened(refusals()-before, "lines about refused connections were logged"))
}

// redisClient returns a client of the Redis server.
func (f *faultTest) redisClient() *redis.Client {
	client, err := inventory.RedisClient(f.redis.RedisURL())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = client.Close() })
	return client
}

// redisFaults breaks Redis, which may be the store.
func (f *faultTest) redisFaults(allowed []string, store bool) {
	client, ctx := f.redisClient(), f.Context()
	f.during(fault{"Redis stopped, started", allowed, store, f.redis.Stop, f.redis.Start})
	pause := lasting(f.redis.Pause)
	f.during(fault{"SIGSTOP of Redis", allowed, store, pause, f.redis.Resume})
	f.during(fault{"connections to Redis killed, again and again", allowed, store, func() error {
		var killed int64
		for range 50 {
			for _, kind := range []string{"normal", "pubsub"} {
				n, err := client.Do(ctx, "CLIENT", "KILL", "TYPE", kind).Int64()
				if err != nil {
					return err
				}
				killed += n
			}
			time.Sleep(*pauseTime / 50)
		}
		return f.happened(killed, "connections were killed")
	}, nothing})
}

// otherFaults breaks replicas, the feed, the remote cache and clocks.
func (f *faultTest) otherFaults() {
	client, ctx, last := f.redisClient(), f.Context(), f.Replicas[2]
	killed := []string{dead}
	start := func() error { return last.Start(ctx) }
	f.during(fault{"kill -9 of a replica", killed, false, lasting(last.Kill), start})
	f.during(fault{"kill -9 of a replica, again and again", killed, false, func() error {
		for i := range 6 {
			r := f.Replicas[i%len(f.Replicas)]
			if err := errors.Join(r.Kill(), r.Start(ctx)); err != nil {
				return err
			}
		}
		return nil
	}, nothing})
	f.during(fault{"SIGSTOP of a replica", nil, false, lasting(last.Pause), last.Resume})
	f.during(fault{"feed connections cut, again and again", nil, false, func() error {
		var killed int64
		for n := range 20 {
			cut, err := client.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Int64()
			if err != nil {
				return err
			}
			killed += cut
			var seen cluster.Tally
			if _, err := f.Round(ctx, n, &seen); err != nil {
				return err
			}
			if seen.Worst > feedLag {
				return fmt.Errorf("good for %v after a revocation", seen.Worst)
			}
		}
		return f.happened(killed, "connections were cut")
	}, nothing})
	f.during(fault{"Redis full of random bytes, and messages of them", nil, false, func() error {
		for range 20 {
			if err := poison(ctx, client); err != nil {
				return err
			}
			time.Sleep(*pauseTime / 20)
		}
		return nil
	}, nothing})
	for _, ahead := range []time.Duration{30 * time.Minute, -30 * time.Minute} {
		restart := func(ahead time.Duration) error {
			err := last.Stop()
			last.Ahead = ahead
			return errors.Join(err, last.Start(ctx))
		}
		f.during(fault{fmt.Sprintf("the clock of a replica %v ahead", ahead), killed, false,
			lasting(func() error { return restart(ahead) }), func() error { return restart(0) }})
	}
}

// happened returns an error if a fault did not happen.
func (f *faultTest) happened(n int64, what string) error {
	if n == 0 {
		return fmt.Errorf("no %s", what)
	}
	f.Logf("%d %s", n, what)
	return nil
}

// flood has outsiders ask every replica about serials that it does not know, while somebody locks
// the table of certificates nearly all the time. Each time that the lock is given up PostgreSQL
// answers what waits for it, which is one lookup on each connection, so the questions wait longer
// than a replica waits for the store. It returns an error unless all connections of all replicas
// were in use, and a replica has reported that the store is busy or silent.
func (f *faultTest) flood(db *sql.DB) error {
	const (
		clients     = 300 // at each replica
		connections = 16  // of each replica's pool
		locked      = 700 * time.Millisecond
		timeout     = 10 * time.Second // of a replica's answer
	)
	before := f.reports()
	ctx, stop := context.WithTimeout(f.Context(), max(*pauseTime, timeout+2*time.Second))
	defer stop()
	var group sync.WaitGroup
	var asked atomic.Int64
	for i := range clients * len(f.Replicas) {
		r := f.Replicas[i%len(f.Replicas)]
		group.Go(func() {
			client := ocsptest.Client{URL: r.Client.URL + "/ocsp", HTTP: r.Client.HTTP}
			for ctx.Err() == nil {
				serial := new(big.Int).SetBytes([]byte(rand.Text()[:16]))
				request := client.Request(r.CA, &x509.Certificate{SerialNumber: serial})
				if _, err := client.Send(ctx, request); err == nil {
					asked.Add(1)
				}
			}
		})
	}
	most, waiting := 0, 0
	var err error
	for ctx.Err() == nil && err == nil {
		waiting, err = lockedOut(f.Context(), db, locked)
		most = max(most, waiting)
	}
	stop()
	group.Wait()
	if err != nil {
		return err
	}
	if most < connections*len(f.Replicas) {
		return fmt.Errorf("at most %d connections of the replicas were in use", most)
	}
	return errors.Join(f.happened(asked.Load(), "questions of the flood were answered"),
		f.happened(int64(most), "connections were in use"),
		f.happened(f.reports()-before, "answers reported that the store is busy or silent"))
}

// lockedOut locks the table of certificates for a time, and returns how many connections wait for
// it then.
func lockedOut(ctx context.Context, db *sql.DB, d time.Duration) (waiting int, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	if _, err := tx.ExecContext(ctx, "LOCK TABLE objects IN ACCESS EXCLUSIVE MODE"); err != nil {
		return 0, err
	}
	time.Sleep(d) // is how long lookups wait
	const count = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
	err = tx.QueryRowContext(ctx, count).Scan(&waiting)
	return waiting, err
}

var condition = regexp.MustCompile(
	`(?m)^ocsp_answers_total\{.*ocsp_store_condition="(?:busy|silent)".*\} (\d+)$`)

// reports returns how many answers of all replicas had a store that was busy or silent, by their
// metrics.
func (f *faultTest) reports() (n int64) {
	for _, r := range f.Replicas {
		_, text := send(f.T, r.Client, http.MethodGet, "/metrics", "")
		for _, m := range condition.FindAllStringSubmatch(text, -1) {
			count, err := strconv.ParseInt(m[1], 10, 64)
			if err != nil {
				f.Error(err)
			}
			n += count
		}
	}
	return n
}

// poison overwrites every answer in the remote cache, and publishes random bytes to the feed.
func poison(ctx context.Context, client *redis.Client) error {
	names, err := client.Keys(ctx, "{ocsp}:a:*").Result()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("the remote cache is empty")
	}
	_, err = client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, name := range names {
			p.Set(ctx, name, "\x30\x82\x01\x00 random", time.Hour)
		}
		p.Publish(ctx, "{ocsp}:feed", rand.Text())
		return nil
	})
	return err
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
