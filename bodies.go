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
	shard  uint32
	w      http.ResponseWriter
	begun  uint64    // the epoch
	place  int       // in the shard's list
	ending chan bool // once the limit is over: gets whether the connection knows it
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
	b.shards[read.shard].drop(read)
	read.w = nil
	return read.ending != nil && <-read.ending // so that no handler returns while its connection is in use here
}

func (s *bodyShard) drop(read *bodyRead) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.reads) - 1
	s.reads[read.place] = s.reads[last]
	s.reads[read.place].place = read.place
	s.reads[last] = nil
	s.reads = s.reads[:last]
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
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, read := range s.reads {
		switch {
		case read.ending != nil:
		case int64(epoch-read.begun) >= bodyEpochs: // a tick that was held up may be older than the read
			read.ending = make(chan bool, 1)
			go expire(read.w, read.ending)
		default:
			left = true
		}
	}
	return left
}

// expire makes a connection's reads fail. It tells false where the server, or what the host has put before it, knows
// no deadlines. It has a goroutine to itself, since the host's code may take its time.
func expire(w http.ResponseWriter, done chan<- bool) {
	ok := false
	defer func() {
		_ = recover() // from a ResponseWriter of the host's
		done <- ok
	}()
	ok = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) == nil
}
