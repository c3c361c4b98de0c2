package main

import (
	"context"
	"crypto"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp"
)

// latestAnswers is how many answers the latency is computed of.
const latestAnswers = 1000

// counters counts what OCSP costs.
type counters struct {
	signatures, storeReads atomic.Int64

	mu       sync.Mutex
	answers  map[string]int64 // by outcome
	statuses map[string]int64 // of signed answers, by the status of the first certificate
	total    int64            // of signed answers
	latest   []time.Duration  // a ring
	next     int              // in the ring
}

// observe counts an answer.
func (c *counters) observe(ctx context.Context, event ocsp.Event) {
	if into, ok := ctx.Value(eventKey{}).(*ocsp.Event); ok {
		*into = event
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == nil {
		c.answers, c.statuses = map[string]int64{}, map[string]int64{}
	}
	c.answers[event.Outcome.String()]++
	switch event.Outcome {
	case ocsp.OutcomeSigned, ocsp.OutcomeCached, ocsp.OutcomeStale:
		c.statuses[event.Status.String()]++
		c.total++
	}
	if len(c.latest) < latestAnswers {
		c.latest = append(c.latest, event.Total)
		return
	}
	c.latest[c.next] = event.Total
	c.next = (c.next + 1) % latestAnswers
}

// countersJSON is what the API says of the counters.
type countersJSON struct {
	Answers    map[string]int64 `json:"answers"`  // by ocsp.Outcome
	Statuses   map[string]int64 `json:"statuses"` // of signed answers, by ocsp.Status
	Signatures int64            `json:"signatures"`
	Spared     int64            `json:"spared"` // signatures that the cache and waiting beside each other saved
	StoreReads int64            `json:"store_reads"`
	Latency    latencyJSON      `json:"latency"`
}

// latencyJSON is how long the latest answers took, in nanoseconds.
type latencyJSON struct {
	Answers int           `json:"answers"`
	Median  time.Duration `json:"median"`
	P99     time.Duration `json:"p99"`
	Slowest time.Duration `json:"slowest"`
}

func (c *counters) snapshot() countersJSON {
	c.mu.Lock()
	answers, statuses, latest := maps.Clone(c.answers), maps.Clone(c.statuses), slices.Clone(c.latest)
	s := countersJSON{Signatures: c.signatures.Load(), StoreReads: c.storeReads.Load()}
	s.Spared = max(c.total-s.Signatures, 0)
	c.mu.Unlock()

	s.Answers, s.Statuses = map[string]int64{}, map[string]int64{}
	maps.Copy(s.Answers, answers)
	maps.Copy(s.Statuses, statuses)
	if n := len(latest); n > 0 {
		slices.Sort(latest)
		s.Latency = latencyJSON{Answers: n, Median: latest[n/2], P99: latest[n*99/100], Slowest: latest[n-1]}
	}
	return s
}

// Errors counts the answers without a status.
func (s countersJSON) Errors() int64 { return s.all() - s.Signed() }

// Signed counts the answers with a status.
func (s countersJSON) Signed() int64 {
	return s.Answers[ocsp.OutcomeSigned.String()] + s.Reused()
}

// Reused counts the answers with an earlier signature.
func (s countersJSON) Reused() int64 {
	return s.Answers[ocsp.OutcomeCached.String()] + s.Answers[ocsp.OutcomeStale.String()]
}

// ReusedPercent is the part of all answers with a status that had an earlier signature.
func (s countersJSON) ReusedPercent() int64 {
	if s.Signed() == 0 {
		return 0
	}
	return 100 * s.Reused() / s.Signed()
}

func (s countersJSON) all() int64 {
	var n int64
	for _, count := range s.Answers {
		n += count
	}
	return n
}

// countingSigner counts the signatures of a key.
type countingSigner struct {
	crypto.Signer
	counters *counters
}

// Sign implements crypto.Signer.
func (s countingSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.counters.signatures.Add(1)
	return s.Signer.Sign(rand, digest, opts)
}
