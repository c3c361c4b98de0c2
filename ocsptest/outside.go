package ocsptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/fips140"
	"crypto/rsa"
)

// In FIPS 140-3 mode, Go seeds its random generators with the jitter of the clock. In a testing/synctest bubble the
// clock stands still, so crypto/rand panics there when it needs a seed. What uses randomness is therefore done by
// goroutines that were started outside all bubbles.

// worker is such a goroutine. Its channels are made outside bubbles too.
type worker struct{ jobs, done chan func() }

// workers are those that have nothing to do. There are none without FIPS 140-3 mode.
var workers = make(chan worker, 8)

func init() {
	if !fips140.Enabled() {
		return
	}
	for range cap(workers) {
		w := worker{make(chan func()), make(chan func())}
		go func() {
			for job := range w.jobs {
				job()
				w.done <- job
			}
		}()
		workers <- w
	}
}

// outside calls f, which must not panic, and in FIPS 140-3 mode does so outside the caller's bubble.
func outside(f func()) {
	if !fips140.Enabled() {
		f()
		return
	}
	job := f
	if !fips140.Enforced() { // which a worker does not inherit
		job = func() { fips140.WithoutEnforcement(f) }
	}
	w := <-workers
	w.jobs <- job
	<-w.done
	workers <- w
}

// outsideFor is outside if f uses one of Go's own keys. A test's key may belong to the test's bubble.
func outsideFor(key crypto.Signer, f func()) {
	switch key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		outside(f)
	default:
		f()
	}
}
