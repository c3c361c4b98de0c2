package simulation

import (
	"bytes"
	"cmp"
	"context"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing/synctest"
	"time"

	"github.com/kmsocsp/ocsp"
)

// kind is what a call is made to.
type kind string

const (
	toClock   kind = "clock"
	toStore   kind = "store"
	toSigner  kind = "signer"
	toGet     kind = "remote get"
	toPut     kind = "remote put"
	toDelete  kind = "remote delete"
	toPublish kind = "feed publish"
	toFollow  kind = "feed follow"
)

// call is a call of the host's code that has not returned.
type call struct {
	kind   kind
	op     *op // that it is made for
	at     time.Duration
	resume chan func() // runs in the goroutine of the call
	ctx    context.Context
	never  bool // it goes on only when the world ends

	cert   int    // of the store: which certificate is asked for, or -1
	frozen int    // of the store: the version that a store that was replaced has, or -1
	seen   int    // of the store: the version when the call came
	empty  bool   // the store has no certificates
	store  *store // that is called
	key    string // of the remote cache
	keys   []string
	value  []byte
	answer func(ocsp.Record, error)
	fault  func(error)
	sink   ocsp.FeedSink // of the feed
	ended  bool          // Follow is to return
}

// op is a request or another call of the host. The calls that it causes are named by it.
type op struct {
	id, rep   int
	what      string
	call, ret time.Duration
	done      bool

	certs  []int // of a request or an Invalidate
	issuer int
	nonce  []byte
	leased bool // a status may have been trusted
	must   bool // it must be answered
	reads  int  // of the store
	result any
	seen   []seen        // in the answer, by certs
	absent bool          // the issuer is not configured
	clock  time.Duration // by the replica's clock, when it last called it
	after  func()        // runs when it has ended

	clocks []tick // its calls of the clock

	versions []int // of an Invalidate: what was stored when it was called, by certs
	local    bool
}

// tick is a call of the clock that returns.
type tick struct {
	at     time.Duration
	leased bool // a status may be trusted
}

// event is an entry of the history of a world, which replays.
type event struct {
	at     time.Duration
	what   string
	rep    int
	op     int
	detail string
}

// scheduler lets the calls of a bubble go on, one at a time.
type scheduler struct {
	begun time.Time

	mu      sync.Mutex
	arrived []*call
	ended   []*op
	ops     map[uint64]*op // by goroutine

	pending []*call // by arrival, and then by name
	history []event
}

func (s *scheduler) now() time.Duration { return time.Since(s.begun) }

// note adds an event.
func (s *scheduler) note(what string, rep, op int, detail string) {
	s.history = append(s.history, event{s.now(), what, rep, op, detail})
}

type opKey struct{}

// opOf returns the operation that a context belongs to.
func opOf(ctx context.Context) *op {
	o, _ := ctx.Value(opKey{}).(*op)
	return o
}

// enter blocks until the scheduler lets the call go on.
func (s *scheduler) enter(c *call) {
	c.at, c.resume = s.now(), make(chan func(), 1)
	s.mu.Lock()
	s.arrived = append(s.arrived, c)
	s.mu.Unlock()
	if then := <-c.resume; then != nil {
		then()
	}
}

// start runs an operation in a goroutine.
func (s *scheduler) start(o *op, run func(ctx context.Context)) {
	o.call = s.now()
	s.note("begin "+o.what, o.rep, o.id, "")
	go func() {
		id := goroutine()
		s.mu.Lock()
		s.ops[id] = o
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.ops, id)
			o.ret = s.now()
			s.ended = append(s.ended, o)
		}()
		run(context.WithValue(context.Background(), opKey{}, o))
	}()
}

// settle waits until all goroutines are blocked, and returns the operations that have ended.
func (s *scheduler) settle() []*op {
	time.Sleep(time.Microsecond) // so that what begins in different steps begins at different times
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.arrived, func(a, b *call) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.op.id, b.op.id),
			cmp.Compare(a.kind, b.kind), cmp.Compare(a.cert, b.cert))
	})
	for _, c := range s.arrived {
		s.history = append(s.history, event{c.at, "call " + string(c.kind), c.op.rep, c.op.id, ""})
	}
	s.pending = append(s.pending, s.arrived...)
	s.arrived = s.arrived[:0]
	ended := slices.Clone(s.ended)
	s.ended = s.ended[:0]
	slices.SortFunc(ended, func(a, b *op) int {
		return cmp.Or(cmp.Compare(a.ret, b.ret), cmp.Compare(a.id, b.id))
	})
	return ended
}

// release lets a call go on.
func (s *scheduler) release(c *call, how string, then func()) {
	s.note("let "+string(c.kind)+" go on", c.op.rep, c.op.id, how)
	s.pending = slices.DeleteFunc(s.pending, func(d *call) bool { return d == c })
	c.resume <- then
}

// goroutine returns the number of the goroutine. The clock has no context, so that only this names
// the request that asks for the time.
func goroutine() uint64 {
	var room [40]byte
	text := room[:runtime.Stack(room[:], false)]
	text = bytes.TrimPrefix(text, []byte("goroutine "))
	n, _ := strconv.ParseUint(string(text[:bytes.IndexByte(text, ' ')]), 10, 64)
	return n
}
