package ocsp

import (
	"crypto/sha256"
	"math/rand/v2"
	"sync/atomic"
)

// ready is a reply as it is sent, and what is known about its certificate: all that it takes to answer with a cached
// reply, in one place in memory. It is replaced, never changed, but for used.
type ready struct {
	key  certKey
	used atomic.Bool // since the storage last asked
	head
	id     replyID
	digest [sha256.Size]byte // of der
	window
	der     []byte
	headers headerValues
}

func newReady(key certKey, h head, k kept, der []byte) *ready {
	return &ready{key: key, head: h, id: k.id, digest: k.digest, window: k.window, der: der, headers: newHeaderValues(k.digest, k.window, len(der))}
}

// at returns the same reply with what is newly known about its certificate.
func (p *ready) at(h head) *ready {
	q := &ready{key: p.key, head: h, id: p.id, digest: p.digest, window: p.window, der: p.der, headers: p.headers}
	q.used.Store(p.used.Load())
	return q
}

// kept is the reply as a storage would return it.
func (p *ready) kept() kept { return kept{ready: p, digest: p.digest, id: p.id, window: p.window} }

const (
	placesOfStripe = 4
	// placePatience is how many replies find no free place on their stripe until one takes another's. So those asked
	// for most are there most of the time, and a million certificates, asked for at random, do not come and go
	// without use.
	placePatience = 64
)

// places hold the replies that are ready for the certificates of a stripe. All stripes together hold 16,384 at the most.
// Of some 900 octets each, they are 15 MB; with a delegate's certificate, and both keys of RSA-4096, 40 MB.
//
// They are filled while the stripe is locked, and emptied before the storage changes what they repeat, so who looks
// here first is told nothing that the storage might not have told at that moment. Only an eviction takes an entry from the
// storage without locking its stripe. While one is under way, nobody looks here.
type places struct {
	tags     atomic.Uint32 // eight bits of each certificate's hash
	evicting atomic.Int32  // evictions under way
	ready    [placesOfStripe]atomic.Pointer[ready]
}

// look returns what is ready for a certificate, nil for nothing.
func (s *places) look(key *certKey, tag uint8) *ready {
	if s.evicting.Load() != 0 {
		return nil
	}
	_, p := s.next(0, key, tag)
	return p
}

// find returns the reply with that identity that is ready for a certificate, nil for none.
func (s *places) find(key *certKey, tag uint8, id replyID) *ready {
	if s.evicting.Load() != 0 {
		return nil
	}
	place, p := s.next(0, key, tag)
	for p != nil && p.id != id {
		place, p = s.next(place+1, key, tag)
	}
	return p
}

// next returns what is ready for a certificate at a place or behind it, nil for nothing.
func (s *places) next(place int, key *certKey, tag uint8) (int, *ready) {
	for tags := s.tags.Load(); place < placesOfStripe; place++ {
		if uint8(tags>>(8*place)) == tag {
			if p := s.ready[place].Load(); p != nil && p.key == *key {
				return place, p
			}
		}
	}
	return place, nil
}

// crowded reports whether no place is free for another reply, nor is to be made free for it.
func (s *places) crowded() bool {
	for place := range s.ready {
		if s.ready[place].Load() == nil {
			return false
		}
	}
	return rand.Uint32N(placePatience) != 0
}

// put places a reply. If it has to take another's place, it returns that.
func (s *places) put(p *ready, tag uint8) (taken *ready) {
	place := 0
	for place < placesOfStripe && s.ready[place].Load() != nil {
		place++
	}
	if place == placesOfStripe {
		place = int(rand.Uint32N(placesOfStripe))
	}
	tags := s.tags.Load()
	s.tags.Store(tags&^(0xff<<(8*place)) | uint32(tag)<<(8*place))
	return s.ready[place].Swap(p)
}

// supersede takes away what a new reply for a certificate makes useless, and reports whether any of that was used.
func (s *places) supersede(key *certKey, tag uint8, id replyID, alive func(window) bool) (used bool) {
	for place, p := s.next(0, key, tag); p != nil; place, p = s.next(place+1, key, tag) {
		if p.id == id || p.id.signer < id.signer || p.id.signer > id.signer && !alive(p.window) {
			used = p.used.Load() || used
			s.ready[place].CompareAndSwap(p, nil)
		}
	}
	return used
}

// renew replaces what is known about a certificate, whose status is the same.
func (s *places) renew(key *certKey, tag uint8, h head) {
	for place, p := s.next(0, key, tag); p != nil; place, p = s.next(place+1, key, tag) {
		s.ready[place].CompareAndSwap(p, p.at(h))
	}
}

// clear takes away what is ready for a certificate, also what is renewed meanwhile, and reports whether any of that was
// used.
func (s *places) clear(key *certKey, tag uint8) (used bool) {
	for place, p := s.next(0, key, tag); p != nil; place, p = s.next(place, key, tag) {
		used = p.used.Load() || used
		s.ready[place].CompareAndSwap(p, nil)
	}
	return used
}
