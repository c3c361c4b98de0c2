package page

import (
	"math/big"
	"testing"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
)

// TestReasons requires that the page offers the reasons that the KMS accepts in the state.
func TestReasons(t *testing.T) {
	for state, want := range map[ocsp.State]int{
		ocsp.PreActive: 2, ocsp.Active: 8, ocsp.Deactivated: 2, ocsp.Compromised: 0, ocsp.Destroyed: 2, ocsp.DestroyedCompromised: 0,
	} {
		o := inventory.Object{Kind: inventory.KindCertificate, Serial: big.NewInt(1), Record: ocsp.Record{State: state}}
		got := newView(o).Possible
		if len(got) != want {
			t.Errorf("%v: %v, want %d", state, got, want)
		}
		for _, reason := range got {
			if reasonWords[reason] == "" {
				t.Errorf("there are no words for %v", reason)
			}
		}
	}
}

func TestTimeBar(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	end := begin.Add(24 * time.Hour)
	for _, test := range []struct {
		now         time.Duration
		control     string
		at, refresh float64
		anchor      string
	}{
		{0, "public, max-age=57600, must-revalidate", 0, 200.0 / 3, "start"},
		{6 * time.Hour, "max-age=21600", 25, 50, "middle"},
		{24 * time.Hour, "max-age=60", 100, 100, "end"},
		{12 * time.Hour, "no-store", 50, 100, "middle"},
		{12 * time.Hour, "max-age=bogus", 50, 100, "middle"},
		{-time.Hour, "", 0, 100, "start"},
	} {
		b := newTimeBar(begin, end, begin.Add(test.now), maxAge(test.control))
		if b.Now != test.at || max(b.Refresh-test.refresh, test.refresh-b.Refresh) > 1e-9 || b.Anchor(b.Now) != test.anchor {
			t.Errorf("now %v, %q: %+v, want %v and %v", test.now, test.control, b, test.at, test.refresh)
		}
	}
}

// TestSessions requires that the number of sessions is bounded and that no session has an empty ID.
func TestSessions(t *testing.T) {
	s := New(Options{Now: time.Now}).sessions
	for range MaxSessions + 1 {
		s.begin()
	}
	if n := len(s.byHash); n != MaxSessions || s.valid("") {
		t.Errorf("%d sessions, want %d; an empty ID is valid: %v", n, MaxSessions, s.valid(""))
	}
}
