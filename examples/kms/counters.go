package main

import (
	"context"
	"crypto"
	"io"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/kmsocsp/ocsp"
)

// counters counts what OCSP costs.
type counters struct {
	signatures, storeReads atomic.Int64

	mu      sync.Mutex
	answers map[string]int64 // by outcome
}

// observe counts an answer; it is for ocsp.Config.Observe.
func (c *counters) observe(_ context.Context, event ocsp.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == nil {
		c.answers = map[string]int64{}
	}
	c.answers[event.Outcome.String()]++
}

// countersJSON is what the API says of the counters.
type countersJSON struct {
	Answers    map[string]int64 `json:"answers"` // by ocsp.Outcome
	Signatures int64            `json:"signatures"`
	StoreReads int64            `json:"store_reads"`
}

func (c *counters) snapshot() countersJSON {
	c.mu.Lock()
	defer c.mu.Unlock()
	answers := map[string]int64{}
	maps.Copy(answers, c.answers)
	return countersJSON{Answers: answers, Signatures: c.signatures.Load(), StoreReads: c.storeReads.Load()}
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
