package ocsp

import (
	"context"
	"errors"
	"math/big"
	"time"
)

// ErrCacheMiss is returned by RemoteCache.Get if the cache has no value for the key.
var ErrCacheMiss = errors.New("ocsp: cache miss")

// RemoteCache is a second tier behind the cache in the process, usually shared by replicas. It
// stores signed answers only. The responder verifies every value that it returns and never takes a
// status from it, so a cache that is slow, down or poisoned costs time and nothing else.
//
// Keys have at most 80 octets, all letters and digits. Values are arbitrary octets. Implementations
// MUST be safe for concurrent use, should honour ctx, and MUST NOT retain key or value after they
// return.
type RemoteCache interface {
	// Get returns the value for key. If there is no such key, Get returns ErrCacheMiss.
	Get(ctx context.Context, key string) ([]byte, error)
	// Put stores value under key for at most ttl and replaces an earlier value.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Delete removes the keys. It is not an error if a key does not exist.
	Delete(ctx context.Context, keys ...string) error
}

// CacheOptions are the options for caching statuses and signed answers. The zero value is the
// default.
type CacheOptions struct {
	// Disabled signs every answer and caches none. Zero caches.
	Disabled bool

	// StatusTTL is how long a status read from the store is trusted. Zero reads the store for every
	// answer. Such a read costs no signature unless the status changed, and the next answer after a
	// revocation is revoked, whichever program stored it. Reads of one certificate follow one
	// another, and a changed status takes effect with the first read that returns it. With a
	// StatusTTL above zero, a revocation takes effect with Invalidate, when Feed reports it, or
	// after StatusTTL at the latest.
	//
	// The time since a read is the longer of the times by Config.Now and by the monotonic clock. So
	// trust ends in time if the machine was suspended or the clock was set back. An answer's
	// thisUpdate is that of the read of its status. An answer past its refresh point needs a newer
	// read, however long StatusTTL is: every renewal reads the store. While the store fails, the
	// old answer is served until its nextUpdate, unless FailClosed is set.
	StatusTTL time.Duration

	// MaxEntries bounds the certificates whose status is cached, and those whose signed answers
	// are. Beyond it, a certificate that was not used lately is evicted. Zero is 100,000. Each has
	// one answer for each encoding of its CertID that clients use: at most 8, and 8 more for each
	// of Issuer.NameAliases. When its status or signer changes it may have up to four for each
	// encoding, and at most 64. Up to 16,384 answers are also cached in the form in which they are
	// sent, in 15 MB to 40 MB. docs/PERFORMANCE.md has the memory for each certificate.
	MaxEntries int

	// Compact stores the cache in a few large blocks without pointers, which the garbage collector
	// does not scan. It is for hundreds of thousands of certificates and more. Its memory grows up
	// to what MaxEntries needs and is never released, but reused when entries are evicted. Zero
	// stores each entry as a few objects on the heap.
	Compact bool

	// FailClosed answers tryLater while the store is silent or fails, after Config.Timeout at the
	// latest. Zero serves cached answers until their nextUpdate.
	FailClosed bool

	// StorePatience is how long a store may answer no call before it counts as silent. Until it
	// answers again, cached answers are served up to their nextUpdate. They are also served when a
	// call fails and the store has answered no call for that long. While the store is silent, each
	// request still calls it and waits for a tenth of a second. Requests without a cached answer
	// wait for Config.Timeout.
	//
	// The time counts while a call is in progress that did not have to wait for its turn (see
	// Config.MaxStoreCalls). It starts again with each answer of the store to any request: a store
	// that answers other requests is busy, and no cached answer is served instead. A lookup slower
	// than StorePatience counts as silence if no other call returns. So StorePatience should be
	// longer than the slowest lookup of a healthy store, and shorter than the store's own timeouts,
	// which mean that the store is busy unless it is silent. An error is such a timeout if it is
	// context.DeadlineExceeded or has a method Timeout that returns true.
	//
	// If StorePatience is above an eighth of Config.Timeout, a store that hangs again soon after an
	// answer may count as busy while requests arrive, because calls that time out start it again.
	//
	// StorePatience is at most Config.Timeout, and three quarters of that take effect. Zero is 1 s,
	// or Config.Timeout if that is shorter. It must be zero if FailClosed or Disabled is set.
	StorePatience time.Duration

	// Remote is an optional second tier. Nil is none.
	Remote RemoteCache

	// Feed reports changes made by other writers, and publishes those passed to Invalidate. With a
	// Feed, StatusTTL counts only while the Feed guarantees that it missed no change. Nil is none.
	Feed ChangeFeed
}

// ChangeFeed connects a Responder with everything else that writes to its store: other replicas and
// other programs. It makes a long StatusTTL safe, because it reports which certificates changed and
// until when no change can have been missed. Statuses are trusted only as long as it guarantees
// that. Otherwise every answer reads the store, as if StatusTTL were zero.
//
// Implementations MUST be safe for concurrent use. Package ocspredis implements ChangeFeed with
// Redis, ocspsql/pgfeed with LISTEN and NOTIFY of PostgreSQL.
type ChangeFeed interface {
	// Publish informs all followers that their cached statuses of the certificates are out of date.
	// Responder.Invalidate calls it after its local part.
	Publish(ctx context.Context, issuerID string, serials ...*big.Int) error

	// Follow reports to f what is published, until ctx ends or it cannot go on, and returns the
	// reason. The Responder then stops trusting everything that it has read, and calls Follow again
	// after a pause.
	Follow(ctx context.Context, f FeedSink) error
}

// FeedSink receives the reports of ChangeFeed.Follow. Its methods do not block and are safe for
// concurrent use. They do nothing after the call of Follow that received the FeedSink has returned.
type FeedSink interface {
	// Resync reports that from now on no change is missed. Statuses read earlier must be read
	// again. Follow calls it when its connection listens, and again whenever it may have missed a
	// change.
	Resync()

	// Changed reports that the cached statuses of these certificates are out of date. Repeated
	// calls do no harm: an answer whose status is the same is not signed again.
	Changed(issuerID string, serials ...*big.Int)

	// ValidUntil guarantees until t what was read since Resync. To call it, Follow MUST know that
	// everything published before some moment was passed to Changed. t is that moment plus the
	// longest time for which a change may go unnoticed, and is made with time.Now. A call replaces
	// the earlier one. The time left until t is counted by the monotonic clock and by Config.Now,
	// and trust ends with the first one to reach it, such as after the machine was suspended.
	ValidUntil(t time.Time)
}
