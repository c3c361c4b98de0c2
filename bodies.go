package ocsp

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// bodyReads ends the reading of bodies that takes longer than limit; it may let it take an eighth more. One timer
// sees to all of them: setting a deadline on a connection and taking it off again costs more than looking into
// the cache does.
type bodyReads struct {
	limit   time.Duration
	epoch   atomic.Uint64 // counts eighths of limit while the timer runs
	running atomic.Bool   // the timer does
	seats   atomic.Uint32
	shards  [bodyShards]bodyShard
}

const (
	bodyShards = 16 // so that requests rarely meet
	bodyEpochs = 9  // after which limit is over, whenever in the first one a read began
)

type bodyShard struct {
	mu    sync.Mutex
	reads []*bodyRead
	_     [64]byte // no shard shares a cache line with the next
}

// bodyRead is a body that is being read.
type bodyRead struct {
	shard uint32
	w     http.ResponseWriter
	begun uint64 // the epoch
	place int    // in the shard's list
	ended bool   // the limit is over, and the connection's deadline with it
}

// seat returns a shard for the reads of one exchange.
func (b *bodyReads) seat() uint32 { return b.seats.Add(1) % bodyShards }

// begin starts the limit for a body. end must follow before the handler returns.
func (b *bodyReads) begin(read *bodyRead, w http.ResponseWriter) {
	s := &b.shards[read.shard]
	s.mu.Lock()
	*read = bodyRead{shard: read.shard, w: w, begun: b.epoch.Load(), place: len(s.reads)}
	s.reads = append(s.reads, read)
	s.mu.Unlock()
	b.run()
}

// end reports whether the limit was over before the body was.
func (b *bodyReads) end(read *bodyRead) (over bool) {
	s := &b.shards[read.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.reads) - 1
	s.reads[read.place] = s.reads[last]
	s.reads[read.place].place = read.place
	s.reads[last] = nil
	s.reads = s.reads[:last]
	read.w = nil
	return read.ended
}

// run starts the timer unless it runs.
func (b *bodyReads) run() {
	if !b.running.Load() && b.running.CompareAndSwap(false, true) {
		time.AfterFunc(b.limit/(bodyEpochs-1), b.tick)
	}
}

// tick ends the reads whose limit is over, and goes on while there are others.
func (b *bodyReads) tick() {
	epoch := b.epoch.Add(1)
	b.running.Store(false) // before looking: a read that begins behind the look starts the timer itself
	left := false
	for i := range b.shards {
		left = b.shards[i].tick(epoch) || left
	}
	if left {
		b.run()
	}
}

// tick reports whether reads are left to look after.
func (s *bodyShard) tick(epoch uint64) (left bool) {
	s.mu.Lock() // so that no handler returns while its connection is in use here
	defer s.mu.Unlock()
	for _, read := range s.reads {
		if !read.ended && epoch-read.begun >= bodyEpochs {
			read.ended = expire(read.w)
		}
		left = left || !read.ended
	}
	return left
}

// expire makes a connection's reads fail. It reports false where the server, or what the host has put before it,
// knows no deadlines.
func expire(w http.ResponseWriter) (ok bool) {
	defer func() {
		if recover() != nil { // from a ResponseWriter of the host's
			ok = false
		}
	}()
	return http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) == nil
}
