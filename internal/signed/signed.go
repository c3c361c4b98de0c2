// Package signed is the memory of signed answers. It returns an answer only for exactly what the
// answer attests, and bounds how many there are.
//
// It keeps six invariants. The code cites them by name.
//
//   - Whole identity: Find returns an answer only for its whole [ID]. An answer that attests good
//     never reaches a caller that read revoked, whatever was added, dropped or evicted, and in
//     whichever order. This needs no fence.
//   - No step back: while an answer is alive, no answer about the same certificate that attests
//     another status has an earlier ThisUpdate, in any encoding. Add drops the earlier ones, and
//     refuses an answer that would be one. The release of a hold therefore does not bring back
//     answers from before the hold. The latest answer that was dropped leaves a tombstone, which
//     Find does not return: it still refuses answers after the status changed back.
//   - Renewal: in one encoding, an answer drops those with an earlier ThisUpdate. One with the same
//     ID replaces the former one, and is refused if that is alive and has a later ThisUpdate.
//   - Side by side: answers of the same second with another status or signer stay, so that replicas
//     of a store that disagree do not cost a signature for each request. So does an answer with a
//     later ThisUpdate, the same status and another signer: refusing the earlier one would fail
//     again and again while the status is trusted or the other signer is withdrawn, and it
//     contradicts nothing. The later one stays, because it still guards "no step back".
//   - Life: an answer that is not alive blocks nothing, and the next Add for its certificate drops
//     it. It may be over, or come from the future because the clock was set back.
//   - Bounds: there are at most Options.Max certificates, four answers for each encoding of one,
//     and 64 answers of one in total. The oldest answer makes room. Among certificates, one that was
//     not used since the last round is evicted.
package signed

import (
	"crypto/sha256"
	"math"
	"sync"
)

const (
	maxPerEncoding    = 4
	maxPerCertificate = 64 // the bits of the set that a store drops

	tombstone = math.MaxUint32 // in place of the encoding
)

// Life is the life of an answer, in seconds since 1970.
type Life struct{ ThisUpdate, ProducedAt, RefreshAt, NextUpdate int64 }

// Alive reports whether an answer is valid: neither past its end nor, after the clock was set back,
// made in the future.
func (l *Life) Alive(now int64) bool { return l.ProducedAt <= now && now < l.NextUpdate }

// ID is what an answer attests, and how.
type ID[S comparable] struct {
	Certificate [28]byte // the issuer's number and the serial
	Encoding    uint32   // of the CertID, less than math.MaxUint32
	Signer      uint64
	Status      S
}

// Answer is a signed answer. It is immutable, and so is what Signature points to.
type Answer[S comparable] struct {
	ID[S]
	Life
	Digest    [sha256.Size]byte // of the whole response
	Signature []byte
}

// Options are the options of a Memory.
type Options struct {
	// Max is the number of certificates, at least one.
	Max int

	// Compact stores answers in a few large blocks instead of a go-cache. The garbage collector does
	// not scan them if a status has no pointers. The blocks do not shrink.
	Compact bool
}

// Memory stores signed answers. It is safe for concurrent use.
type Memory[S comparable] struct {
	mu    sync.Mutex // serializes all but store.find
	store store[S]
}

// store holds a list of answers for each of a number of certificates. It knows none of the rules.
// Only find may be called beside other calls.
type store[S comparable] interface {
	find(id ID[S], room []byte) (Answer[S], bool)
	// list returns the answers about a certificate until the store changes, the last added first.
	// They may lack their signatures.
	list(certificate [28]byte) []Answer[S]
	// add drops the answers whose bits are set, by their index in the list, and puts a before the
	// others. If the certificate is new, it may evict another. Nobody needs a after left seconds.
	add(a Answer[S], drop uint64, left int64)
}

// New returns an empty Memory.
func New[S comparable](o Options) *Memory[S] {
	clock := clock{max: min(max(o.Max, 1), math.MaxInt32)}
	if o.Compact {
		return &Memory[S]{store: newCompact[S](clock)}
	}
	return &Memory[S]{store: newCache[S](clock)}
}

// Find returns the answer with that ID. The answer need not be alive. The compact store appends the
// signature to room[:0].
func (m *Memory[S]) Find(id *ID[S], room []byte) (Answer[S], bool) {
	return m.store.find(*id, room)
}

// Add stores an answer. It reports false if "no step back" or "renewal" refuses the answer. The
// caller MUST NOT send it then. It must begin again with a newer read of the status. An answer that
// is not alive is neither stored nor refused.
//
// The caller must read the clock for now right before the call. To an earlier now, answers that
// others have just made come from the future.
func (m *Memory[S]) Add(a Answer[S], now int64) bool {
	if !a.Alive(now) {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	answers := m.store.list(a.Certificate)
	drop, outdated, refused := supersede(answers, &a, now)
	if refused {
		return false
	}
	m.put(a, answers, drop, outdated, now)
	return true
}

// put adds a, which replaces the answers in drop. The one with the index outdated leaves a
// tombstone, unless the index is -1.
func (m *Memory[S]) put(a Answer[S], answers []Answer[S], drop uint64, outdated int, now int64) {
	if outdated >= 0 {
		t := answers[outdated]
		t.Encoding, t.Signature = tombstone, nil
		m.store.add(t, drop, t.NextUpdate-now)
		answers, drop = m.store.list(a.Certificate), 0
	}
	m.store.add(a, drop|crowded(answers, &a, drop), a.NextUpdate-now)
}

// supersede returns the set of answers that a replaces, and the index of the latest that attests
// another status, or -1. It reports whether one of the answers refuses a.
func supersede[S comparable](answers []Answer[S], a *Answer[S], now int64) (
	drop uint64, outdated int, refused bool,
) {
	outdated = -1
	for i := range answers {
		old := &answers[i]
		same := old.Encoding == a.Encoding || old.Encoding == tombstone
		switch {
		case !old.Alive(now): // "life"
			drop |= 1 << i
		case old.ThisUpdate > a.ThisUpdate:
			if old.Status != a.Status || old.ID == a.ID { // "no step back", "renewal"
				return 0, -1, true
			}
		case old.ID == a.ID, old.ThisUpdate < a.ThisUpdate && old.Status == a.Status && same:
			drop |= 1 << i
		case old.ThisUpdate < a.ThisUpdate && old.Status != a.Status:
			drop |= 1 << i
			if outdated < 0 || old.ThisUpdate > answers[outdated].ThisUpdate {
				outdated = i
			}
		}
	}
	return drop, outdated, false
}

// crowded returns the set of answers that must make room for a when those in drop are dropped. It
// keeps "bounds". The latest is not among them unless all are of one second, so "no step back"
// holds.
func crowded[S comparable](answers []Answer[S], a *Answer[S], drop uint64) (more uint64) {
	total, same := 0, 0
	var oldest, oldestSame int
	for i := range answers { // of those of one second, the first added is the last
		if drop>>i&1 != 0 {
			continue
		}
		if total == 0 || answers[i].ThisUpdate <= answers[oldest].ThisUpdate {
			oldest = i
		}
		total++
		if answers[i].Encoding != a.Encoding {
			continue
		}
		if same == 0 || answers[i].ThisUpdate <= answers[oldestSame].ThisUpdate {
			oldestSame = i
		}
		same++
	}
	switch {
	case same >= maxPerEncoding:
		return 1 << oldestSame
	case total >= maxPerCertificate:
		return 1 << oldest
	}
	return 0
}

// Latest returns the latest ThisUpdate of the answers about a certificate that are alive and attest
// another status, or 0. With an earlier ThisUpdate, an answer would be a step back.
func (m *Memory[S]) Latest(certificate *[28]byte, status S, now int64) (latest int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.store.list(*certificate) {
		if a.Status != status && a.Alive(now) {
			latest = max(latest, a.ThisUpdate)
		}
	}
	return latest
}

// Outdate notes that an answer with that status and thisUpdate was signed which is not stored, for
// example because it has a nonce. It drops the earlier answers that attest another status. If there
// are any, a tombstone takes their place until the last of them would have ended. Otherwise
// nothing is stored, so that requests with nonces do not fill the memory.
func (m *Memory[S]) Outdate(certificate *[28]byte, status S, thisUpdate int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := Answer[S]{ID: ID[S]{Certificate: *certificate, Encoding: tombstone, Status: status}}
	t.ThisUpdate, t.ProducedAt = thisUpdate, thisUpdate
	answers := m.store.list(*certificate)
	drop, outdated := uint64(0), -1
	for i := range answers {
		switch old := &answers[i]; {
		case old.ThisUpdate >= thisUpdate:
		case old.Status != status:
			drop |= 1 << i
			t.NextUpdate = max(t.NextUpdate, old.NextUpdate)
			if outdated < 0 || old.ThisUpdate > answers[outdated].ThisUpdate {
				outdated = i
			}
		case old.Encoding == tombstone:
			drop |= 1 << i
		}
	}
	if outdated >= 0 {
		m.put(t, answers, drop, outdated, thisUpdate)
	}
}

// clock assigns a fixed number of slots to certificates: those never used, and then that of the
// first certificate that was not used since the clock last passed it.
type clock struct{ max, taken, next int }

// take returns a slot. The certificate in it is evicted. used reports whether the certificate in a
// slot was used, and clears that.
func (c *clock) take(used func(slot int) bool) int {
	if c.taken < c.max {
		c.taken++
		return c.taken - 1
	}
	for tries := 0; ; tries++ { // lookups must not keep it from coming to an end
		slot := c.next
		c.next = (c.next + 1) % c.max
		if !used(slot) || tries > 2*c.max {
			return slot
		}
	}
}
