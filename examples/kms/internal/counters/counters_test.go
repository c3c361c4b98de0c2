package counters

import (
	"testing"
	"time"

	"github.com/kmsocsp/ocsp"
)

func TestSnapshot(t *testing.T) {
	var c Counters
	if got := c.Snapshot(); got.Latency.Answers != 0 || got.ReusedPercent() != 0 {
		t.Errorf("before the first answer: %+v", got)
	}
	c.Signatures.Add(2)
	for n := range 3 * latestAnswers {
		outcome, status := ocsp.OutcomeCached, ocsp.Good
		switch {
		case n < 2:
			outcome, status = ocsp.OutcomeSigned, ocsp.Revoked
		case n < 12:
			outcome, status = ocsp.OutcomeTryLater, ocsp.Unknown
		}
		c.Observe(t.Context(), ocsp.Event{Outcome: outcome, First: ocsp.SingleResponse{Status: status}, Total: time.Duration(n)})
	}
	got := c.Snapshot()
	const cached = 3*latestAnswers - 12
	if got.Spared != cached || got.Errors() != 10 || got.Statuses["good"] != cached || got.Statuses["revoked"] != 2 || got.Statuses["unknown"] != 0 || got.ReusedPercent() != 99 {
		t.Errorf("%+v", got)
	}
	if want := (Latency{latestAnswers, 2500, 2990, 2999}); got.Latency != want {
		t.Errorf("latency %+v, want %+v", got.Latency, want)
	}
}
