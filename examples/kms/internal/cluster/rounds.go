package cluster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Tally counts what clients saw.
type Tally struct {
	mu    sync.Mutex
	Seen  map[string]int
	Late  int           // answers good after the revocation had returned
	Worst time.Duration // the longest time after a revocation of such an answer
}

func (t *Tally) add(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Seen == nil {
		t.Seen = map[string]int{}
	}
	t.Seen[what]++
}

func (t *Tally) addLate(after time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Late++
	t.Worst = max(t.Worst, after)
}

// String lists what clients saw.
func (t *Tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("%v; good after a revocation had returned: %d, for %v at the most", t.Seen, t.Late, t.Worst.Round(time.Millisecond))
}

// Round issues a certificate through one replica, requires that all answer good, revokes it through
// the first, and asks all until they answer revoked.
func (c *Cluster) Round(ctx context.Context, n int, t *Tally) error {
	writer := c.Replicas[n%len(c.Replicas)]
	uid, cert, err := writer.Certify(ctx)
	if err != nil {
		return err
	}
	for _, r := range c.Replicas {
		if got := r.Query(ctx, cert); got != "good" {
			return fmt.Errorf("a new certificate is %s", got)
		}
		t.add("good")
	}
	if err := writer.Revoke(ctx, uid); err != nil {
		return err
	}
	returned := time.Now()
	for i := range c.Replicas {
		r := c.Replicas[(n+1+i)%len(c.Replicas)]
		for {
			asked := time.Now()
			got := r.Query(ctx, cert)
			t.add(got)
			if got == "revoked" {
				break
			}
			if got != "good" {
				return fmt.Errorf("a revoked certificate is %s", got)
			}
			// It may have been made at any time since the request.
			t.addLate(asked.Sub(returned))
			if asked.Sub(returned) > clientTimeout {
				return errors.New("a revoked certificate stays good")
			}
		}
	}
	return nil
}

// Rounds makes n rounds, some of them at a time, and ends with the first error.
func (c *Cluster) Rounds(ctx context.Context, n, at int, t *Tally) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var group sync.WaitGroup
	for range at {
		group.Go(func() {
			for i := range next {
				if err := c.Round(ctx, i, t); err != nil {
					cancel(fmt.Errorf("round %d: %w", i, err))
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	group.Wait()
	return context.Cause(ctx)
}

// Load queries certificates at all replicas until ctx ends.
func (c *Cluster) Load(ctx context.Context, certs []*x509.Certificate, workers int, t *Tally) *sync.WaitGroup {
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; ctx.Err() == nil; i++ {
				if got := c.Replicas[i%len(c.Replicas)].Query(ctx, certs[i/len(c.Replicas)%len(certs)]); ctx.Err() == nil {
					t.add(got)
				}
			}
		})
	}
	return &group
}
