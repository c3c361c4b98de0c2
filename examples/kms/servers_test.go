package main

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/internal/servers"
)

// running are the servers that tests have started.
var running struct {
	sync.Mutex
	servers []*servers.Server
}

// once starts a server for all tests that want one.
func once(start func() (*servers.Server, error)) func() (*servers.Server, error) {
	return sync.OnceValues(func() (*servers.Server, error) {
		s, err := start()
		if err == nil {
			running.Lock()
			defer running.Unlock()
			running.servers = append(running.servers, s)
		}
		return s, err
	})
}

var (
	postgres    = once(servers.PostgreSQL)
	redisServer = once(servers.Redis)
)

// stopServers ends what has been started.
func stopServers() error {
	var errs []error
	for _, s := range running.servers {
		errs = append(errs, s.Remove())
	}
	return errors.Join(errs...)
}

// started reports the server, and skips the test where it is not installed, unless that is not
// allowed.
func started(t *testing.T, start func() (*servers.Server, error)) *servers.Server {
	t.Helper()
	s, err := start()
	if errors.Is(err, servers.ErrMissing) && os.Getenv("OCSP_REQUIRE_TOOLS") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newDatabase returns the URL of a new, empty PostgreSQL database.
func newDatabase(t *testing.T) string {
	t.Helper()
	s := started(t, postgres)
	db, err := sql.Open("pgx", s.PostgresURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	name := "test_" + strings.ToLower(rand.Text()[:12])
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return s.PostgresURL(name)
}

// testSecret is the secret of all replicas in tests.
var testSecret = strings.Repeat("5e", inventory.SecretSize)

// newRedisDatabase empties the Redis server and returns its URL.
func newRedisDatabase(t *testing.T) string {
	t.Helper()
	s := started(t, redisServer)
	client, err := inventory.RedisClient(s.RedisURL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	return s.RedisURL()
}

// eachStore runs a test for each kind of store.
func eachStore(t *testing.T, test func(t *testing.T, adjust func(*config.Config))) {
	t.Run("SQLite", func(t *testing.T) { test(t, nil) })
	t.Run("PostgreSQL", func(t *testing.T) {
		url := newDatabase(t)
		test(t, func(cfg *config.Config) { cfg.Store.URL = url })
	})
	t.Run("Redis", func(t *testing.T) {
		url := newRedisDatabase(t)
		test(t, func(cfg *config.Config) { cfg.Store.URL, cfg.Replicas.Secret = url, testSecret })
	})
}
