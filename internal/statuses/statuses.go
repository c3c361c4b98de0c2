// Package statuses remembers what a certificate store last reported, and decides which read of
// the store may answer which request.
//
// A request takes a [Look]. If that is trusted, its status is the answer's. Otherwise the request
// calls [Memory.Begin] to learn which read of the store answers it, and uses the [Read.Result] of that
// read. Immediately before it sends its answer it calls Stands, and starts over if that is false.
//
// An answer is then a status that the store had at some time not before
//
//	(a) the last Invalidate of the certificate that had returned when the request arrived,
//	(b) any status of the certificate that had been answered when the request arrived,
//	(c) the last Invalidate that had returned when the last Stands began, and,
//	(d) if it is a read's, the arrival of the request.
//
// (b) does not count answers that the store does not know a serial: those leave nothing behind.
//
// # Invariants
//
// The code names the invariant that it keeps.
//
//  1. One after the other: of the reads of a certificate in flight, at most one is not passed.
//     Another begins beside it only when it has outlasted the patience, when a caller must not wait
//     for it any longer (Pass), or when a fence has come since, so that its result would not stand.
//     Then it is passed.
//  2. Later than the request: the result of a read is used only for requests whose look was taken
//     before the read began. An earlier read serves through the entry that it leaves, if trusted.
//  3. A read answers for itself: a waiter gets the result of the read that it waits for, even if
//     the entry has changed since.
//  4. An end is an event: a read that learns something spoils the other reads of the certificate
//     that are in flight, except those that return the same status: which of them was later does
//     not matter. So reads that overlap all the time are recorded all the same.
//  5. Forgetting is an event: it spoils all reads of the certificate that are in flight.
//  6. Spoiled means unknown: a spoiled read is not recorded, and the entry is removed when it
//     ends, unless it has the same status. A status that the store reports for a serial that it
//     does not know is not recorded, and the entry is removed.
//  7. Forget before fence: the entry is removed and reads are spoiled, then the generation of the
//     stripe changes. A look loads the generation first, and then the entry.
//  8. End before lease: the trust in an entry loads the end of the lease first, and then compares
//     the lease's generation with the entry's. A read has the lease generation of its beginning,
//     and an earlier read that ends later with the same status does not change the entry.
//  9. Evictions are no events: an evicted entry changes nothing for any read.
//  10. Nothing stays: what is remembered about a read in flight is in the Read, and is unlinked
//     when it ends.
package statuses

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// Key names a certificate: by the issuer's number, of 40 bits, and the serial.
type Key [issuerSize + 1 + maxSerial]byte

const (
	issuerSize   = 5
	maxSerial    = 22  // more than the 20 octets of RFC 5280
	hashedSerial = 255 // instead of the length: what follows is the start of the SHA-256
)

// NewKey returns the key of a certificate. The serial is the content octets of its INTEGER.
func NewKey(issuer uint64, serial []byte) (key Key) {
	size := uint64(len(serial))
	if len(serial) > maxSerial {
		size = hashedSerial
		sum := sha256.Sum256(serial)
		serial = sum[:]
	}
	binary.LittleEndian.PutUint64(key[:], issuer&(1<<40-1)|size<<40)
	copy(key[issuerSize+1:], serial)
	return key
}

// serial returns the part of the key that does not depend on the issuer.
func (k *Key) serial() []byte { return k[issuerSize:] }

// Moment is a point in time by two clocks, since an origin of the caller's. Neither clock alone
// measures how long a status is trusted: the wall clock may be set back, and the steady one stands
// still while the machine is suspended.
type Moment struct{ Wall, Steady time.Duration }

// Within reports whether less than limit has passed since then, by either clock. It reports false
// if the wall clock has been set back to before then, because the time that passed is unknown.
func (m Moment) Within(limit time.Duration, then Moment) bool {
	wall := m.Wall - then.Wall
	return wall >= 0 && max(wall, m.Steady-then.Steady) < limit
}

// Options are the options of a Memory.
type Options struct {
	Max      int           // certificates remembered; 0: none, and only fences work
	Hot      int           // bound on attachments, over all certificates
	TTL      time.Duration // how long a status is trusted; 0: never
	Patience time.Duration // a read older than this, by time.Since, delays no other
	Lease    bool          // statuses are trusted only under a lease
}

// Memory remembers the statuses of certificates. S is a status, which should contain no pointers.
// H is what a caller attaches to a certificate. A Memory is safe for concurrent use.
type Memory[S comparable, H any] struct {
	ttl, patience time.Duration
	origin        time.Time
	leased        bool
	lease         lease
	seed          maphash.Seed
	stripes       []stripe[S, H] // a power of two; the buckets of the table
	table         table[S]
	hot           hotSet[S, H]
	cursor        atomic.Uint64 // where evict goes on
}

// stripe has the certificates whose serials have one hash, whatever their issuers.
type stripe[S comparable, H any] struct {
	mu         sync.Mutex
	generation atomic.Uint64 // changed by Invalidate
	first      atomic.Uint32 // in the table; changed with mu held
	reads      *Read[S, H]   // in flight
	hot        *hot[S, H]
}

const minStripes, maxStripes = 1 << 12, 1 << 20

// New returns a Memory.
func New[S comparable, H any](o Options) *Memory[S, H] {
	stripes := min(max(o.Max/2, minStripes), maxStripes)
	m := &Memory[S, H]{
		ttl: o.TTL, patience: o.Patience, origin: time.Now(), leased: o.Lease,
		seed: maphash.MakeSeed(), stripes: make([]stripe[S, H], 1<<bits.Len(uint(stripes-1))),
	}
	m.table.init(o.Max)
	m.hot.max = o.Hot
	return m
}

// stripe returns the stripe of a certificate.
func (m *Memory[S, H]) stripe(key *Key) *stripe[S, H] {
	return &m.stripes[maphash.Bytes(m.seed, key.serial())&uint64(len(m.stripes)-1)]
}

// trusts reports whether a read that began at that moment, under that lease, is trusted now.
func (m *Memory[S, H]) trusts(at Moment, lease uint32, now Moment) bool {
	return m.ttl > 0 && now.Within(m.ttl, at) && (!m.leased || m.lease.covers(lease, now))
}
