package simulation

import (
	"crypto/rand"
	"encoding/binary"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seedFlag = flag.Uint64("seed", 0, "the one seed to run; 0: new ones")
	replays  = flag.Uint64("replays", 20, "how many worlds to run twice")
	forFlag  = flag.Duration("for", 3*time.Second, "for how long to run worlds of new seeds")
)

const changes = 60 // in a world

// seeded returns a chooser that draws by a seed.
func seeded(seed uint64) chooser {
	return chooser{mathrand.New(mathrand.NewPCG(seed, 15)).IntN}
}

// TestSimulation runs worlds, and prints the seed of one that is not as promised.
func TestSimulation(t *testing.T) {
	if *seedFlag != 0 {
		w := run(t, seeded(*seedFlag), changes)
		t.Logf("seed %d: %+v\n%s", *seedFlag, w.p, w.tail(len(w.history)))
		for _, failure := range w.check() {
			t.Error(failure)
		}
		return
	}
	var first [8]byte
	_, _ = rand.Read(first[:])
	base := binary.BigEndian.Uint64(first[:]) >> 1
	t.Logf("the first seed is %d", base)
	var next, worlds, revocations, requests atomic.Int64
	var mu sync.Mutex
	outcomes := map[string]int{}
	begun := time.Now()
	t.Run("worlds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for time.Since(begun) < *forFlag && !t.Failed() {
					seed := base + uint64(next.Add(1))
					w := seededWorld(t, seed)
					if failures := w.check(); len(failures) > 0 {
						t.Errorf("seed %d, after %v: go test ./simulation -run TestSimulation -seed %d -v\n%+v\n%s",
							seed, time.Since(begun).Round(time.Millisecond), seed, w.p,
							strings.Join(failures, "\n"))
					}
					worlds.Add(1)
					revocations.Add(int64(w.revocations))
					mu.Lock()
					for o, n := range w.outcomes {
						outcomes[o.String()] += n
						requests.Add(int64(n))
					}
					mu.Unlock()
				}
			})
		}
	})
	t.Logf("%d worlds, %d revocations, %d requests in %v: %v", worlds.Load(), revocations.Load(),
		requests.Load(), time.Since(begun).Round(time.Millisecond), outcomes)
}

// seededWorld runs the world of a seed. It prints the seed if the world ends in a panic.
func seededWorld(t *testing.T, seed uint64) *world {
	defer func() {
		if v := recover(); v != nil {
			panic(fmt.Sprintf("seed %d: %v", seed, v))
		}
	}()
	return run(t, seeded(seed), changes)
}

// TestReplay runs worlds twice. All events must be the same, in the same order.
func TestReplay(t *testing.T) {
	base := mathrand.Uint64() >> 1
	for seed := base; seed < base+*replays; seed++ {
		a, b := seededWorld(t, seed), seededWorld(t, seed)
		if !slices.Equal(a.history, b.history) {
			i := 0
			for ; i < min(len(a.history), len(b.history)) && a.history[i] == b.history[i]; i++ {
			}
			a.history, b.history = a.history[:min(i+3, len(a.history))], b.history[:min(i+3, len(b.history))]
			t.Errorf("seed %d differs at event %d: %+v\n%s\n%s", seed, i, a.p, a.tail(10), b.tail(4))
		}
	}
}
