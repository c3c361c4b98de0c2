// Package dbtest gives tests databases: SQLite files, and PostgreSQL and MariaDB servers that it starts on
// free ports of this machine, in temporary folders, and removes again.
package dbtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/kmsocsp/ocsp/internal/servers"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Kind is a kind of database.
type Kind string

// The kinds.
const (
	SQLite     Kind = "SQLite"
	PostgreSQL Kind = "PostgreSQL"
	MariaDB    Kind = "MariaDB"
)

// Kinds lists all kinds.
func Kinds() []Kind { return []Kind{SQLite, PostgreSQL, MariaDB} }

// Password is that of the servers' user, which no error may repeat.
const Password = servers.Password

// DSN is the address of a new, empty database, and the name of its driver.
type DSN struct{ Driver, Address string }

// New returns a new, empty database of a kind, and starts the server if need be. Where the server's programs
// are missing the test is skipped, or fails if OCSP_REQUIRE_TOOLS is 1.
func New(tb testing.TB, kind Kind) DSN {
	tb.Helper()
	if kind == SQLite {
		file := filepath.Join(tb.TempDir(), "test.db")
		return DSN{"sqlite", "file:" + file + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"}
	}
	s := started[kind]
	s.once.Do(func() { s.Server, s.err = s.start() })
	if s.err != nil {
		if errors.Is(s.err, servers.ErrMissing) && os.Getenv("OCSP_REQUIRE_TOOLS") != "1" {
			tb.Skip(s.err)
		}
		tb.Fatal(s.err)
	}
	name := "test_" + strings.ToLower(rand.Text()[:12])
	admin := s.database("").Open(tb)
	if _, err := admin.ExecContext(context.Background(), "CREATE DATABASE "+name); err != nil {
		tb.Fatal(err)
	}
	return s.database(name)
}

// Open opens the database, until the test ends.
func (d DSN) Open(tb testing.TB) *sql.DB {
	tb.Helper()
	db, err := sql.Open(d.Driver, d.Address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// Main runs the tests, removes the servers they have started, and returns the exit code.
func Main(m *testing.M) int {
	code := m.Run()
	for kind, s := range started {
		if s.Server == nil {
			continue
		}
		if err := s.Remove(); err != nil {
			fmt.Fprintf(os.Stderr, "dbtest: remove %s: %v\n", kind, err)
			code = max(code, 1)
		}
	}
	return code
}

// server is a server that runs once for all tests.
type server struct {
	start func() (*servers.Server, error)
	once  sync.Once
	err   error
	*servers.Server
}

var started = map[Kind]*server{
	PostgreSQL: {start: servers.PostgreSQL}, MariaDB: {start: servers.MariaDB},
}

// database returns the address of a database; "" is one that is always there, or none.
func (s *server) database(name string) DSN {
	if s == started[MariaDB] {
		return DSN{"mysql", s.MySQLSource(name)}
	}
	return DSN{"pgx", s.PostgresURL(cmp.Or(name, "postgres"))}
}
