package dbtest

import (
	"context"
	"database/sql"
	"net"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// OpenCounted is Open for a server, and counts the round trips.
func (d DSN) OpenCounted(tb testing.TB) (*sql.DB, *atomic.Int64) {
	tb.Helper()
	trips := new(atomic.Int64)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &countedConn{Conn: conn, trips: trips}, nil
	}
	var db *sql.DB
	switch d.Driver {
	case "pgx":
		cfg, err := pgx.ParseConfig(d.Address)
		if err != nil {
			tb.Fatal(err)
		}
		cfg.DialFunc = dial
		db = stdlib.OpenDB(*cfg)
	case "mysql":
		cfg, err := mysql.ParseDSN(d.Address)
		if err != nil {
			tb.Fatal(err)
		}
		cfg.DialFunc = dial
		connector, err := mysql.NewConnector(cfg)
		if err != nil {
			tb.Fatal(err)
		}
		db = sql.OpenDB(connector)
	default:
		tb.Fatalf("%s has no connections to count", d.Driver)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db, trips
}

// countedConn counts each first write after a read or the beginning.
type countedConn struct {
	net.Conn
	trips *atomic.Int64
	wrote atomic.Bool
}

func (c *countedConn) Write(b []byte) (int, error) {
	if c.wrote.CompareAndSwap(false, true) {
		c.trips.Add(1)
	}
	return c.Conn.Write(b)
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.wrote.Store(false)
	}
	return n, err
}
