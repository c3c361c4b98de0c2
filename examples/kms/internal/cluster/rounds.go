package cluster

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"
	"time"
)

// Tally counts what clients saw.
type Tally struct {
	mu    sync.Mutex
	Seen  map[string]int
	Late  int           // answers good, or on hold, after the revocation had returned
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
// the first, while others ask, and asks all until they answer revoked. In every fourth round
// another replica puts it on hold first, and the third one releases it. It returns the certificate
// with its history.
func (c *Cluster) Round(ctx context.Context, n int, t *Tally) (*Certificate, error) {
	count := len(c.Replicas)
	x, err := c.Issue(ctx, n%count)
	if err != nil {
		return nil, err
	}
	defer func() { x.done = time.Now() }()
	for r := range c.Replicas {
		if got := x.Ask(ctx, r, Question(n+r)); got != Good {
			return x, fmt.Errorf("a new certificate is %s", got)
		}
		t.add(Good)
	}
	if n%4 == 0 {
		if err := x.held(ctx, n+1); err != nil {
			return x, err
		}
	}
	// Reads for these questions may still be in flight when those below come.
	defer x.askDuring(ctx, n).Wait()
	if err := x.Change(ctx, n%count, Revoke); err != nil {
		return x, err
	}
	returned := time.Now()
	for i := range c.Replicas {
		r := (n + 1 + i) % count
		for {
			asked := time.Now()
			got := x.Ask(ctx, r, Question(n+i))
			t.add(got)
			if got == Revoked {
				break
			}
			if got != Good && got != OnHold {
				return x, fmt.Errorf("a revoked certificate is %s", got)
			}
			// It may have been made at any time since the request.
			t.addLate(asked.Sub(returned))
			if asked.Sub(returned) > clientTimeout {
				return x, fmt.Errorf("a revoked certificate stays %s", got)
			}
		}
	}
	return x, nil
}

// held puts the certificate on hold through a replica, and releases it through the next one, while
// others ask.
func (x *Certificate) held(ctx context.Context, n int) error {
	for i, verb := range []Verb{Hold, Release} {
		defer x.askDuring(ctx, n+i).Wait()
		if err := x.Change(ctx, (n+i)%len(x.cluster.Replicas), verb); err != nil {
			return err
		}
	}
	return nil
}

// askDuring asks each replica once while the caller goes on.
func (x *Certificate) askDuring(ctx context.Context, n int) *sync.WaitGroup {
	var group sync.WaitGroup
	group.Go(func() {
		for r := range x.cluster.Replicas {
			x.Ask(ctx, (n+r)%len(x.cluster.Replicas), Question(n))
		}
	})
	return &group
}

// Rounds makes n rounds, some of them at a time, and ends with the first error. At least settle
// after each round all replicas are asked once more. Then check is called with the certificate,
// whose history is complete.
func (c *Cluster) Rounds(
	ctx context.Context, n, at int, t *Tally, settle time.Duration, check func(*Certificate) error,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next, done := make(chan int), make(chan *Certificate, n)
	var rounds, ends sync.WaitGroup
	for range at {
		rounds.Go(func() {
			for i := range next {
				x, err := c.Round(ctx, i, t)
				if err != nil {
					cancel(fmt.Errorf("round %d: %w", i, err))
					continue
				}
				done <- x
			}
		})
	}
	end := func() {
		for x := range done {
			select {
			case <-time.After(time.Until(x.done.Add(settle))):
			case <-ctx.Done():
				return
			}
			for r := range c.Replicas {
				x.Ask(ctx, r, Question(r))
			}
			if err := check(x); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		}
	}
	for range 2 {
		ends.Go(end)
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	rounds.Wait()
	close(done)
	ends.Wait()
	return context.Cause(ctx)
}

// awaits waits for a tick. It returns false if ctx has ended.
func awaits(ctx context.Context, pace *time.Ticker) bool {
	select {
	case <-pace.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// Lives makes certificates live until ctx ends, 16 a second at most: each is put on hold, released
// and revoked, every change at another replica and made again until it is known to have been made,
// with questions to all replicas before, during and after. It requires nothing of the answers: the
// histories that it returns have them.
func (c *Cluster) Lives(ctx context.Context, workers int) func() []*Certificate {
	var mu sync.Mutex
	var all []*Certificate
	pace := time.NewTicker(time.Second / 16)
	context.AfterFunc(ctx, pace.Stop)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for n := w; awaits(ctx, pace); n += workers {
				// What has begun is finished, or the last call would look like one without a reply.
				if x := c.live(context.WithoutCancel(ctx), ctx.Done(), n); x != nil {
					mu.Lock()
					all = append(all, x)
					mu.Unlock()
				}
			}
		})
	}
	return func() []*Certificate {
		group.Wait()
		return all
	}
}

// retryPause is between two attempts at a change.
const retryPause = 50 * time.Millisecond

// live makes a certificate live. It returns nil if it could not be issued.
func (c *Cluster) live(ctx context.Context, end <-chan struct{}, n int) *Certificate {
	x, err := c.Issue(ctx, n%len(c.Replicas))
	if err != nil {
		time.Sleep(retryPause)
		return nil
	}
	x.askDuring(ctx, n).Wait()
	for i, verb := range []Verb{Hold, Release, Revoke} {
		asked := x.askDuring(ctx, n+i)
		for at := n + i; ; at++ {
			if err := x.Change(ctx, at%len(c.Replicas), verb); err == nil || IsRefused(err) {
				break
			}
			select {
			case <-end:
				asked.Wait()
				return x
			case <-time.After(retryPause):
			}
		}
		asked.Wait()
		x.askDuring(ctx, n+i+1).Wait()
	}
	return x
}

// Load queries certificates at all replicas until ctx ends, 200 times a second at most: what is
// asked has the same processors as who asks.
func (c *Cluster) Load(ctx context.Context, certs []*x509.Certificate, workers int, t *Tally) *sync.WaitGroup {
	pace := time.NewTicker(5 * time.Millisecond)
	context.AfterFunc(ctx, pace.Stop)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; awaits(ctx, pace); i++ {
				if got := c.Replicas[i%len(c.Replicas)].Query(ctx, certs[i/len(c.Replicas)%len(certs)]); ctx.Err() == nil {
					t.add(got)
				}
			}
		})
	}
	return &group
}
