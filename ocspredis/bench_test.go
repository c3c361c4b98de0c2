package ocspredis_test

import (
	"flag"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/kmsocsp/ocsp/ocspredis"
)

var rows = flag.Int64("rows", 10_000, "entries in the store of BenchmarkFindBySerial")

// BenchmarkFindBySerial compares a lookup with a PING on the same connection.
func BenchmarkFindBySerial(b *testing.B) {
	o := options(b)
	s := newStore(b, o)
	if _, err := s.Import(ctx, func(yield func(ocspredis.Certificate, error) bool) {
		for i := range *rows {
			if !yield(ocspredis.Certificate{IssuerID: "ca", Serial: big.NewInt(i), Record: active}, nil) {
				return
			}
		}
	}, nil); err != nil {
		b.Fatal(err)
	}
	b.Run("PING", func(b *testing.B) {
		for b.Loop() {
			if err := o.Client.Ping(ctx).Err(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("lookup", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.FindBySerial(ctx, "ca", big.NewInt(rand.Int64N(*rows))); err != nil {
				b.Fatal(err)
			}
		}
	})
}
