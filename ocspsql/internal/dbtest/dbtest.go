// Package dbtest gives tests databases: SQLite files, and PostgreSQL and MariaDB servers that it starts on
// free ports of this machine, in temporary folders, and removes again.
package dbtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"
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
const Password = "s3cret-Passw0rd"

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
	s := servers[kind]
	s.once.Do(func() { s.err = s.start(s) })
	if s.err != nil {
		if errors.Is(s.err, errMissing) && os.Getenv("OCSP_REQUIRE_TOOLS") != "1" {
			tb.Skip(s.err)
		}
		tb.Fatal(s.err)
	}
	name := "test_" + strings.ToLower(rand.Text()[:12])
	admin := DSN{s.driver, s.address("")}.Open(tb)
	if _, err := admin.ExecContext(context.Background(), "CREATE DATABASE "+name); err != nil {
		tb.Fatal(err)
	}
	return DSN{s.driver, s.address(name)}
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

// Main runs the tests, stops the servers they have started, and returns the exit code.
func Main(m *testing.M) int {
	code := m.Run()
	for kind, s := range servers {
		if err := s.stop(); err != nil {
			fmt.Fprintf(os.Stderr, "dbtest: stop %s: %v\n", kind, err)
			code = max(code, 1)
		}
	}
	return code
}

// server is a server that runs once for all tests.
type server struct {
	driver  string
	address func(database string) string
	start   func(*server) error

	once  sync.Once
	err   error
	cmd   *exec.Cmd
	stdin io.Closer  // ends cmd
	done  chan error // the end of cmd
	dir   string
	log   bytes.Buffer
	port  int
}

var servers = map[Kind]*server{PostgreSQL: newPostgreSQL(), MariaDB: newMariaDB()}

var errMissing = errors.New("the program is not installed")

// find returns the path of a program.
func find(program, pattern, install string) (string, error) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	if len(paths) > 0 {
		return paths[len(paths)-1], nil // the newest
	}
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("%w: %s: apt-get install %s", errMissing, program, install)
}

// account returns what makes a command run as a user where we are root, which servers refuse to be, and nil
// where we are not.
func account(name string) (credential *syscall.Credential, uid, gid int, err error) {
	if os.Getuid() != 0 {
		return nil, os.Getuid(), os.Getgid(), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, 0, 0, err
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, 0, 0, err
	}
	if gid, err = strconv.Atoi(u.Gid); err != nil {
		return nil, 0, 0, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, uid, gid, nil
}

// prepare makes the folder and finds a port.
func (s *server) prepare(uid, gid int) (err error) {
	if s.dir, err = os.MkdirTemp("", "ocspsql"); err != nil {
		return err
	}
	if err := os.Chown(s.dir, uid, gid); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = listener.Addr().(*net.TCPAddr).Port
	return listener.Close()
}

// run runs a program to its end.
func (s *server) run(credential *syscall.Credential, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr, cmd.Dir = &syscall.SysProcAttr{Credential: credential}, s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return nil
}

// guard runs a server until its standard input ends, which it does when the tests are killed, too.
const guard = `exec 3<&0; "$@" 3<&- & pid=$!; { read -r _ <&3; kill $pid; } >/dev/null 2>&1 & wait $pid`

// serve starts the server and waits until it answers.
func (s *server) serve(credential *syscall.Credential, program string, args ...string) error {
	s.cmd = exec.Command("/bin/sh", append([]string{"-c", guard, "sh", program}, args...)...)
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return err
	}
	s.stdin = stdin
	s.cmd.SysProcAttr, s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = &syscall.SysProcAttr{Credential: credential}, s.dir, &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	s.done = make(chan error, 1)
	go func() { s.done <- s.cmd.Wait() }()
	db, err := sql.Open(s.driver, s.address(""))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(time.Minute)
	for {
		if err = db.PingContext(context.Background()); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case ended := <-s.done:
			s.cmd = nil
			return fmt.Errorf("%s ended: %w\n%s", program, ended, s.log.Bytes())
		case <-timeout:
			return fmt.Errorf("%s does not answer: %w", program, err)
		}
	}
}

// stop ends the server, if it runs, and removes its folder.
func (s *server) stop() error {
	if s.cmd != nil {
		if err := s.stdin.Close(); err != nil {
			return err
		}
		select {
		case <-s.done:
		case <-time.After(20 * time.Second):
			return errors.New("it does not end")
		}
	}
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}
