package ocspsql_test

import (
	"context"
	"database/sql"
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/ocspsql"
	"github.com/kmsocsp/ocsp/ocspsql/internal/dbtest"
)

var rows = flag.Int("rows", 100_000, "how many certificates the table of BenchmarkLookup has, up to 10,000,000")

// BenchmarkLookup reads random certificates of a table of -rows, in turns with a prepared SELECT 1 on the same
// connection, and reports the ratio of the two. In SQLite SELECT 1 is a function call that never opens the file,
// so there it also reports the ratio to the least query that takes the file's lock, as any read must.
func BenchmarkLookup(b *testing.B) {
	for _, kind := range dbtest.Kinds() {
		b.Run(string(kind), func(b *testing.B) {
			ctx := context.Background()
			store, db := newStore(b, kind)
			start := time.Now()
			_, err := store.Import(ctx, numbered("0b7c6a1e-6f0e-4a55-9a51-3f2d6b1c9e10", *rows), nil)
			require.NoError(b, err)
			imported := time.Since(start)
			switch kind {
			case dbtest.PostgreSQL:
				_, err = db.ExecContext(ctx, "VACUUM ANALYZE ocsp_certificates")
			case dbtest.MariaDB:
				_, err = db.ExecContext(ctx, "ANALYZE TABLE ocsp_certificates")
			}
			require.NoError(b, err)
			size := tableSize(b, db, kind)
			// One connection for both, which also has the whole cache.
			db.SetMaxOpenConns(1)
			one, err := db.PrepareContext(ctx, "SELECT 1")
			require.NoError(b, err)
			lookup := func() {
				if _, err := store.FindBySerial(ctx, "0b7c6a1e-6f0e-4a55-9a51-3f2d6b1c9e10", numberedSerial(rand.IntN(*rows))); err != nil {
					b.Fatal(err)
				}
			}
			for range min(*rows, 50_000) { // warm the cache
				lookup()
			}
			least := one
			if kind == dbtest.SQLite {
				least, err = db.PrepareContext(ctx, "SELECT 1 FROM sqlite_schema LIMIT 1")
				require.NoError(b, err)
			}
			query := func(stmt *sql.Stmt) {
				var n int
				if err := stmt.QueryRowContext(ctx).Scan(&n); err != nil {
					b.Fatal(err)
				}
			}
			var lookups, ones, leasts time.Duration
			for b.Loop() {
				start := time.Now()
				lookup()
				middle := time.Now()
				query(one)
				lookups, ones = lookups+middle.Sub(start), ones+time.Since(middle)
				if least != one {
					start = time.Now()
					query(least)
					leasts += time.Since(start)
				}
			}
			b.ReportMetric(0, "ns/op") // of both together, which says nothing
			b.ReportMetric(float64(lookups.Microseconds())/float64(b.N), "lookup-µs")
			b.ReportMetric(float64(ones.Microseconds())/float64(b.N), "select1-µs")
			b.ReportMetric(float64(lookups)/float64(ones), "ratio")
			if least != one {
				b.ReportMetric(float64(lookups)/float64(leasts), "ratio-to-a-read")
			}
			b.ReportMetric(float64(size)/float64(*rows), "bytes/row")
			b.ReportMetric(float64(*rows)/imported.Seconds(), "imported/s")
		})
	}
}

// tableSize is what the table and its index take on disk.
func tableSize(b *testing.B, db *sql.DB, kind dbtest.Kind) (bytes int64) {
	b.Helper()
	query := map[dbtest.Kind]string{
		dbtest.SQLite:     "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
		dbtest.PostgreSQL: "SELECT pg_total_relation_size('ocsp_certificates')",
		dbtest.MariaDB:    "SELECT data_length + index_length FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'ocsp_certificates'",
	}[kind]
	require.NoError(b, db.QueryRowContext(context.Background(), query).Scan(&bytes))
	return bytes
}

// BenchmarkRevoke revokes certificates, one statement each.
func BenchmarkRevoke(b *testing.B) {
	for _, kind := range dbtest.Kinds() {
		b.Run(string(kind), func(b *testing.B) {
			ctx := context.Background()
			store, _ := newStore(b, kind)
			_, err := store.Import(ctx, numbered("ca", 20_000), nil)
			require.NoError(b, err)
			i := 0
			for b.Loop() {
				if _, err := store.Revoke(ctx, "ca", numberedSerial(i%20_000), ocspsql.Revocation{}); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
