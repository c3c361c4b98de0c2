package ocspredis

import (
	"bytes"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
)

var fuzzRing = sync.OnceValue(func() ring {
	secret := bytes.Repeat([]byte{1}, secretSize)
	keys, err := Keys{Current: "a", Secrets: map[string][]byte{"a": secret}}.ring()
	if err != nil {
		panic(err)
	}
	return keys
})

// FuzzEntry: what is read of an entry makes sense, and is written again and read as the same.
func FuzzEntry(f *testing.F) {
	at := time.Unix(1_700_000_000, 0)
	for _, c := range []Certificate{
		{"ca", big.NewInt(1), ocsp.Record{State: ocsp.Active, NotAfter: at}},
		{"ca", big.NewInt(-129), ocsp.Record{
			State: ocsp.Deactivated, Reason: ocsp.CertificateHold, RevokedAt: at,
		}},
		{"", new(big.Int).Lsh(big.NewInt(1), 500), ocsp.Record{
			State: ocsp.DestroyedCompromised, RevokedAt: at, InvalidityDate: at,
		}},
	} {
		f.Add(c.encode(), false)
		f.Add(fuzzRing().seal(c.encode(), "place"), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed {
			var err error
			if b, err = fuzzRing().open(b, "place"); err != nil {
				return
			}
		}
		c, err := decode(b)
		if err != nil {
			return
		}
		if err := c.check(); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		again, err := decode(c.encode())
		if err != nil || again.IssuerID != c.IssuerID || again.Serial.Cmp(c.Serial) != 0 ||
			again.Record != plainRecord(c.Record) {
			t.Fatalf("%+v is read again as %+v, %v", c, again, err)
		}
	})
}

// plainRecord is plain, with one form of the zero time.
func plainRecord(r ocsp.Record) ocsp.Record {
	r = plain(r)
	for _, at := range []*time.Time{&r.RevokedAt, &r.InvalidityDate, &r.NotAfter} {
		if at.IsZero() {
			*at = time.Time{}
		}
	}
	return r
}

// fuzzSink records what a message makes of a follower.
type fuzzSink struct {
	resyncs  int
	changes  int
	issuerID string
	serials  []*big.Int
}

func (s *fuzzSink) Resync()              { s.resyncs++ }
func (s *fuzzSink) ValidUntil(time.Time) {}
func (s *fuzzSink) Changed(issuerID string, serials ...*big.Int) {
	s.changes++
	s.issuerID, s.serials = issuerID, serials
}

// FuzzMessage: a message names certificates, or makes the follower begin again.
func FuzzMessage(f *testing.F) {
	f.Add(message("ca", []*big.Int{big.NewInt(1), big.NewInt(-129), new(big.Int)}), true)
	f.Add(message("", nil), true)
	f.Add([]byte("\x02ca\x05"), true)
	f.Add(fuzzRing().seal(message("ca", []*big.Int{big.NewInt(7)}), "feed"), false)
	f.Fuzz(func(t *testing.T, m []byte, seal bool) {
		feed := Feed{keys: fuzzRing(), channel: "feed"}
		sealed := m
		if seal {
			sealed = feed.keys.seal(m, feed.channel)
		}
		sink := new(fuzzSink)
		feed.pass(sealed, sink)
		if sink.resyncs+sink.changes != 1 {
			t.Fatalf("%d changes and %d times from the beginning", sink.changes, sink.resyncs)
		}
		if sink.changes == 0 {
			return
		}
		same := new(fuzzSink)
		feed.pass(feed.keys.seal(message(sink.issuerID, sink.serials), feed.channel), same)
		short := func(n *big.Int) bool { return len(octets(n)) <= maxSerial }
		kept := slices.DeleteFunc(sink.serials, func(n *big.Int) bool { return !short(n) })
		if same.changes != 1 || same.issuerID != sink.issuerID ||
			!slices.EqualFunc(same.serials, kept, func(a, b *big.Int) bool { return a.Cmp(b) == 0 }) {
			t.Fatalf("%+v is read again as %+v", sink, same)
		}
	})
}

// An issuer's ID may have 255 octets, whose length fills the octet for it.
func TestLongestIssuerID(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("i", maxIssuer)
	c := Certificate{id, big.NewInt(7), ocsp.Record{State: ocsp.Active}}
	got, err := decode(c.encode())
	require.NoError(t, err)
	require.Equal(t, c, got)

	feed, sink := Feed{keys: fuzzRing(), channel: "feed"}, new(fuzzSink)
	feed.pass(feed.keys.seal(message(id, []*big.Int{c.Serial}), feed.channel), sink)
	require.Equal(t, &fuzzSink{changes: 1, issuerID: id, serials: []*big.Int{c.Serial}}, sink)
}

// What anybody may write to Redis is refused, whatever the length at its beginning.
func TestForgedLength(t *testing.T) {
	t.Parallel()
	for n := range 256 {
		forged := append([]byte{byte(n)}, make([]byte, 300)...)
		_, err := fuzzRing().open(forged, "place")
		require.Error(t, err)
		sink := new(fuzzSink)
		(&Feed{keys: fuzzRing(), channel: "feed"}).pass(forged, sink)
		require.Equal(t, &fuzzSink{resyncs: 1}, sink)
	}
}
