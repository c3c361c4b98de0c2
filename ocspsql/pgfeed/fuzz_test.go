package pgfeed

import (
	"math/big"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// fuzzSink records what a notification makes of a follower.
type fuzzSink struct {
	resyncs, changes int
	issuerID         string
	serial           *big.Int
}

func (s *fuzzSink) Resync()              { s.resyncs++ }
func (s *fuzzSink) ValidUntil(time.Time) {}
func (s *fuzzSink) Changed(issuerID string, serials ...*big.Int) {
	s.changes++
	s.issuerID, s.serial = issuerID, serials[0]
}

// FuzzNotification: a notification names one certificate, or makes the follower begin again. Those
// that Publish sends name theirs.
func FuzzNotification(f *testing.F) {
	for _, payload := range []string{
		everything, "", " ", "01 ca", "ff7f ca 2", "0080 ", "0 ca", "zz ca", "01\x00ca",
		message("ca", big.NewInt(-129)),
	} {
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		sink := new(fuzzSink)
		pass(&pgconn.Notification{Payload: payload}, sink)
		if sink.resyncs+sink.changes != 1 {
			t.Fatalf("%d changes and %d times from the beginning", sink.changes, sink.resyncs)
		}
		if sink.changes == 0 {
			return
		}
		again := message(sink.issuerID, sink.serial)
		same := new(fuzzSink)
		pass(&pgconn.Notification{Payload: again}, same)
		if again == everything && same.resyncs == 1 {
			return
		}
		if same.changes != 1 || same.issuerID != sink.issuerID ||
			same.serial.Cmp(sink.serial) != 0 {
			t.Fatalf("%+v is read again as %+v", sink, same)
		}
	})
}
