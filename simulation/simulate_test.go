package simulation

import (
	"context"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "the one seed to run; 0: new ones")
	replays   = flag.Uint64("replays", 10, "how many worlds to run twice")
	forFlag   = flag.Duration("for", 3*time.Second, "for how long to run worlds of new seeds")
	leastFlag = flag.Int("least", 0, "how many revocations there must be at the least")
)

const changes = 80 // in a world

// seeded returns a chooser that draws by a seed.
func seeded(seed uint64) chooser {
	return chooser{mathrand.New(mathrand.NewPCG(seed, 15)).IntN}
}

// TestSimulation runs worlds, and prints the seed of one that is not as promised. With -seed it
// runs one, and prints its history.
func TestSimulation(t *testing.T) {
	if *seedFlag != 0 {
		w := seededWorld(t, *seedFlag)
		t.Logf("%+v\n%s", w.p, w.tail(len(w.history)))
		for _, failure := range w.check() {
			t.Error(failure)
		}
		return
	}
	s := &sum{begun: time.Now(), first: mathrand.Uint64() >> 1, outcomes: map[string]int{}}
	fmt.Printf("simulation: seeds from %d\n", s.first)
	t.Run("worlds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for s.more() && !t.Failed() {
					s.run(t)
				}
			})
		}
	})
	took := time.Since(s.begun)
	fmt.Printf("simulation: %d worlds, %d revocations (%.0f/s), %d requests: %v\n",
		s.worlds, s.revocations, float64(s.revocations)/took.Seconds(), s.requests, s.outcomes)
	if s.revocations < *leastFlag {
		t.Errorf("%d revocations, want %d", s.revocations, *leastFlag)
	}
}

// sum counts what several goroutines simulate.
type sum struct {
	begun time.Time
	first uint64 // seed

	mu                            sync.Mutex
	worlds, revocations, requests int
	outcomes                      map[string]int
}

func (s *sum) more() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.begun) < *forFlag
}

// run runs one world more.
func (s *sum) run(t *testing.T) {
	s.mu.Lock()
	seed := s.first + uint64(s.worlds)
	s.worlds++
	s.mu.Unlock()
	w := seededWorld(t, seed)
	if failures := w.check(); len(failures) > 0 {
		const format = "seed %d, after %v: go test ./simulation -run TestSimulation -v -seed %d\n%+v\n%s"
		t.Errorf(format, seed, time.Since(s.begun).Round(time.Millisecond), seed, w.p,
			strings.Join(failures, "\n"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revocations += w.revocations
	for o, n := range w.outcomes {
		s.outcomes[o.String()] += n
		s.requests += n
	}
}

// init lets the traceback of a panic in a goroutine of the library have the seed, a label.
func init() {
	settings := append(strings.Fields(os.Getenv("GODEBUG")), "tracebacklabels=1")
	os.Setenv("GODEBUG", strings.Join(settings, ","))
}

// seededWorld runs the world of a seed. It prints the seed if the world ends in a panic, or takes
// too long.
func seededWorld(t *testing.T, seed uint64) (w *world) {
	late := time.AfterFunc(20*time.Second, func() {
		fmt.Printf("simulation: the world of seed %d does not end\n", seed)
	})
	defer late.Stop()
	defer func() {
		if v := recover(); v != nil {
			panic(fmt.Sprintf("seed %d: %v", seed, v))
		}
	}()
	label := pprof.Labels("seed", strconv.FormatUint(seed, 10))
	pprof.Do(t.Context(), label, func(context.Context) { w = run(t, seeded(seed), changes) })
	return w
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

// TestShrunk runs short worlds that are drawn by package rapid, which shrinks the one that fails.
func TestShrunk(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		draw := func(n int) int { return rapid.IntRange(0, n-1).Draw(r, "") }
		w := run(t, chooser{draw}, 8)
		if failures := w.check(); len(failures) > 0 {
			r.Fatalf("%+v\n%s\n%s", w.p, w.tail(len(w.history)), strings.Join(failures, "\n"))
		}
	})
}
