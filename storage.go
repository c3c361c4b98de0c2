package ocsp

import (
	"crypto/sha256"
	"encoding/binary"
)

// Storage is where signed answers are kept in the process. Only what makes an answer unlike the next is kept, its
// signature above all; the rest is written anew, but for answers that are asked for often.
type Storage uint8

const (
	// StorageGoCache keeps each certificate in a github.com/patrickmn/go-cache, as a few objects on the heap.
	StorageGoCache Storage = iota

	// StorageCompact keeps all certificates in a few large blocks of memory that the garbage collector does not
	// look into. It is for hundreds of thousands of certificates and more. Its memory grows up to what
	// CacheOptions.MaxEntries need, and is kept for new entries when old ones go.
	StorageCompact

	storages
)

// storage holds what the replyCache knows about certificates, for CacheOptions.MaxEntries of them; the least used
// give way. It knows nothing of fences. Each method is atomic, and what it returns is not changed later.
type storage interface {
	// head returns what is known about a certificate.
	head(key certKey) (head, bool)
	// reply returns the reply with that identity, if the certificate's status is that one, and takes the
	// certificate for used. The signature may be appended to room.
	reply(key certKey, status certStatus, id replyID, room []byte) (kept, bool)
	// insert adds a certificate that is not there. To make room it may drop another.
	insert(key certKey, h head)
	// update replaces what is known about a certificate, unless it is gone. Replies stay if their status does.
	update(key certKey, h head)
	// use takes a certificate for used.
	use(key certKey)
	// add adds a reply to a certificate with that status, unless one of a newer read or of a newer signer is there and alive. Replies that it
	// makes useless go: those with the same identity, and those of other signers. It returns what is known about
	// the certificate, and whether it added the reply.
	add(key certKey, status certStatus, k kept) (head, bool)
	// remove drops a certificate.
	remove(key certKey)
}

// owner is who keeps things in a storage, and is asked when some have to go. It is asked while the storage is locked.
type owner interface {
	// used reports, and forgets, whether a certificate was used without the storage.
	used(key certKey) bool
	// evicting and evicted are called before and after a certificate is dropped.
	evicting(key certKey)
	evicted(key certKey)
	// alive reports whether a reply may be served now: if not, the next one takes its place in any case.
	alive(w window) bool
}

// newStorage makes a storage for up to max certificates, at least one.
func newStorage(kind Storage, max int, owner owner) storage {
	if kind == StorageCompact {
		return newCompactStorage(max, owner)
	}
	return newGoCacheStorage(max, owner)
}

// certKey names a certificate: by a number that one authority has in the process, and its serial.
type certKey [5 + 1 + maxKeySerial]byte

const (
	maxKeySerial = 22  // more than the 20 octets of RFC 5280
	hashedSerial = 255 // in place of the length: the serial is longer, and this is the beginning of its SHA-256
)

func newCertKey(authority uint64, serial []byte) (key certKey) {
	size := uint64(len(serial))
	if len(serial) > maxKeySerial {
		size = hashedSerial
		sum := sha256.Sum256(serial)
		serial = sum[:]
	}
	binary.LittleEndian.PutUint64(key[:], authority&(1<<40-1)|size<<40)
	copy(key[6:], serial)
	return key
}

// serial returns the part of the key that does not depend on the authority.
func (k *certKey) serial() []byte { return k[5:] }

// head is what is known about one certificate.
type head struct {
	found
	since   uint64 // the tick at which it was last put in doubt, 0 for never
	begun   uint64 // the tick at which the last read that found it began, or doubted
	checked moment // when that was
}

// inDoubt reports whether it is to be read again before it is believed. The zero head is not: nothing is known.
func (h *head) inDoubt() bool { return h.begun == doubted && h.since != 0 }

// kept is what is kept of a signed reply that attests a certificate's status: all that tells it from another that
// does. It is in the default algorithm and without nonce.
type kept struct {
	signature []byte
	ready     *ready            // as it is sent, if it is ready; a storage knows nothing of that
	digest    [sha256.Size]byte // of the whole response
	id        replyID
	window
}

// replyID tells apart the signed replies for one certificate.
type replyID struct {
	signer   uint64 // signer.seq
	encoding int    // which way the request encodes the CertID, see authority
}

// clock finds room in a fixed number of slots: those never used, those given back, and then that of the first
// entry its hand meets that was not used since it last passed.
type clock struct {
	max, taken, hand int
	free             []int32
}

// take returns a slot. used reports, and forgets, whether the entry in a slot was used; evict empties the slot.
func (c *clock) take(used func(slot int) bool, evict func(slot int)) int {
	switch n := len(c.free); {
	case n > 0:
		slot := c.free[n-1]
		c.free = c.free[:n-1]
		return int(slot)
	case c.taken < c.max:
		c.taken++
		return c.taken - 1
	}
	for { // every slot is taken
		slot := c.hand
		c.hand = (c.hand + 1) % c.taken
		if !used(slot) {
			evict(slot)
			return slot
		}
	}
}

func (c *clock) give(slot int) { c.free = append(c.free, int32(slot)) }
