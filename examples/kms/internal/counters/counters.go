// Package counters counts what OCSP costs the example KMS, for its page and its API.
package counters

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

// latestAnswers is the number of answers that the latency is computed from.
const latestAnswers = 1000

// Counters counts what OCSP costs. The zero value is ready to use.
type Counters struct {
	Signatures, StoreReads atomic.Int64

	mu       sync.Mutex
	answers  map[string]int64 // by outcome
	statuses map[string]int64 // of signed answers, by the status of the first certificate
	total    int64            // of signed answers
	latest   []time.Duration  // a ring
	next     int              // in the ring
}

// eventKey is the key of the *ocsp.Event in a context.
type eventKey struct{}

// WithEvent returns a context in which Observe copies its event to into.
func WithEvent(ctx context.Context, into *ocsp.Event) context.Context {
	return context.WithValue(ctx, eventKey{}, into)
}

// Observe counts an answer, for ocsp.Config.Observe.
func (c *Counters) Observe(ctx context.Context, event ocsp.Event) {
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
		c.statuses[event.First.Status.String()]++
		c.total++
	}
	if len(c.latest) < latestAnswers {
		c.latest = append(c.latest, event.Total)
		return
	}
	c.latest[c.next] = event.Total
	c.next = (c.next + 1) % latestAnswers
}

// Snapshot is the counters at one time, as the API sends them.
type Snapshot struct {
	Answers    map[string]int64 `json:"answers"`  // by ocsp.Outcome
	Statuses   map[string]int64 `json:"statuses"` // of signed answers, by ocsp.Status
	Signatures int64            `json:"signatures"`
	Spared     int64            `json:"spared"` // signatures that the cache, and sharing one among requests in flight, saved
	StoreReads int64            `json:"store_reads"`
	Latency    Latency          `json:"latency"`
}

// Latency is how long the latest answers took, in nanoseconds.
type Latency struct {
	Answers int           `json:"answers"`
	Median  time.Duration `json:"median"`
	P99     time.Duration `json:"p99"`
	Slowest time.Duration `json:"slowest"`
}

// Snapshot returns the counters.
func (c *Counters) Snapshot() Snapshot {
	c.mu.Lock()
	answers, statuses, latest := maps.Clone(c.answers), maps.Clone(c.statuses), slices.Clone(c.latest)
	s := Snapshot{Signatures: c.Signatures.Load(), StoreReads: c.StoreReads.Load()}
	s.Spared = max(c.total-s.Signatures, 0)
	c.mu.Unlock()

	s.Answers, s.Statuses = map[string]int64{}, map[string]int64{}
	maps.Copy(s.Answers, answers)
	maps.Copy(s.Statuses, statuses)
	if n := len(latest); n > 0 {
		slices.Sort(latest)
		s.Latency = Latency{Answers: n, Median: latest[n/2], P99: latest[n*99/100], Slowest: latest[n-1]}
	}
	return s
}

// Errors returns the number of answers without a status.
func (s Snapshot) Errors() int64 { return s.all() - s.Signed() }

// Signed returns the number of answers with a status.
func (s Snapshot) Signed() int64 {
	return s.Answers[ocsp.OutcomeSigned.String()] + s.Reused()
}

// Reused returns the number of answers with an earlier signature.
func (s Snapshot) Reused() int64 {
	return s.Answers[ocsp.OutcomeCached.String()] + s.Answers[ocsp.OutcomeStale.String()]
}

// ReusedPercent returns the share of Reused in Signed.
func (s Snapshot) ReusedPercent() int64 {
	if s.Signed() == 0 {
		return 0
	}
	return 100 * s.Reused() / s.Signed()
}

func (s Snapshot) all() int64 {
	var n int64
	for _, count := range s.Answers {
		n += count
	}
	return n
}

// Signer returns a signer that counts the signatures of a key.
func (c *Counters) Signer(key crypto.Signer) crypto.Signer { return signer{key, c} }

type signer struct {
	crypto.Signer
	counters *Counters
}

// Sign implements crypto.Signer.
func (s signer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.counters.Signatures.Add(1)
	return s.Signer.Sign(rand, digest, opts)
}
