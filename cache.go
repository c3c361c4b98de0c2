package ocsp

import (
	"context"
	"errors"
	"math/big"
	"time"
)

// ErrCacheMiss is what Cache.Get returns for a key that is not there.
var ErrCacheMiss = errors.New("ocsp: cache miss")

// Cache is a second tier behind the cache in the process, usually shared by replicas. It saves signatures and
// nothing else: what it returns is verified, and certificate states never come from it, so a cache that is
// slow, down or poisoned costs speed and no more.
//
// Keys consist of letters and digits and have at most 80 octets; values are opaque. Implementations must be
// safe for concurrent use, should honour ctx, and must keep neither key nor value after they return.
type RemoteCache interface {
	// Get returns the value under key, or ErrCacheMiss.
	Get(ctx context.Context, key string) ([]byte, error)
	// Put stores value under key for at most ttl, replacing what is there.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Delete removes the keys. Deleting what is absent is success.
	Delete(ctx context.Context, keys ...string) error
}

// CacheOptions are the options for caching signed answers.
type CacheOptions struct {
	// Disabled makes every answer signed anew. Zero caches.
	Disabled bool

	// StatusTTL is how long a status read from the store is trusted. Zero reads the store for every answer,
	// which signs nothing unless the status changed, so that the very next answer after a revocation says
	// revoked whoever wrote it. A status that is not the one known is read a second time. With more than zero,
	// revocations that are not announced by Invalidate show after StatusTTL at the latest, or when Feed reports
	// them.
	//
	// The time since the read is the longer one of what Config.Now and the monotonic clock say, so that no trust
	// outlives the suspension of the machine, or is prolonged by a clock that is set back. What is signed about a
	// status has the thisUpdate of its read. What would be past its refresh point needs a newer read, however long
	// StatusTTL is: every renewal reads the store. While the store fails, the answer to be renewed stands in until
	// its nextUpdate, unless FailClosed is set.
	StatusTTL time.Duration

	// MaxEntries bounds the certificates that are cached; the least used give way. Zero is 100,000. Each holds a
	// signature for each way to encode its CertID that clients use, at most 8, and 8 more for each of
	// Issuer.NameAliases. docs/PERFORMANCE.md has the memory that they take.
	MaxEntries int

	// Compact keeps them in a few large blocks of memory that the garbage collector does not look into. It is for
	// hundreds of thousands of certificates and more. Its memory grows up to what MaxEntries need, and stays
	// allocated for new entries when old ones go. Zero keeps each as a few objects on the heap.
	Compact bool

	// FailClosed answers tryLater while the store is silent or fails, after Config.Timeout at the latest. Zero
	// serves cached answers until their nextUpdate.
	FailClosed bool

	// StorePatience is how long a store may leave everybody without an answer before it is silent: from then
	// on, until it answers again, cached answers stand in for what it would say, up to their nextUpdate, as
	// they do for an error of a store that has answered nobody for that long. While it is silent each request
	// still asks it, and waits for a tenth of a second. Requests that find no cached answer wait for
	// Config.Timeout.
	//
	// It counts while a call waits that did not have to wait for its turn (see Config.MaxStoreCalls), and
	// begins again with each answer, whomever it is for: a store that answers others is busy, and then no
	// cached answer stands in. A lookup slower than StorePatience is taken for silence when nothing else
	// returns, so it should be longer than the slowest lookup of a healthy store, and shorter than the store's
	// own timeouts, which say that the store is busy unless it is silent. An error is such a timeout if it is
	// context.DeadlineExceeded or has a method Timeout that returns true.
	//
	// A store that hangs again soon after an answer may count as busy while requests come, if StorePatience is above
	// an eighth of Config.Timeout: calls that run out of time begin it again.
	//
	// At most Config.Timeout, of which it counts as three quarters at the most. Zero is 1 s. It contradicts FailClosed and Disabled.
	StorePatience time.Duration

	// Remote is an optional second tier. Zero is none.
	Remote RemoteCache

	// Feed reports changes made by other writers, and publishes those passed to Invalidate. With it, StatusTTL counts only while nothing can have changed unheard. Zero is none.
	Feed ChangeFeed
}

// ChangeFeed connects a Responder with whatever else writes to its store: other replicas, other programs. It makes
// a long StatusTTL safe, because it tells two things: which certificates changed, and until when nothing can
// have changed unheard. Statuses are trusted only as long as it vouches for that; else every answer reads the
// store, as if StatusTTL were zero.
//
// Implementations must be safe for concurrent use. Package ocspredis has one over Redis, ocspsql/pgfeed one
// over PostgreSQL's LISTEN and NOTIFY.
type ChangeFeed interface {
	// Publish tells all who follow that what they know about the certificates is out of date.
	// Responder.Invalidate calls it when it has done its own part.
	Publish(ctx context.Context, issuerID string, serials ...*big.Int) error

	// Follow passes on to f what is published until ctx ends or it cannot go on, and returns why. The
	// Responder then trusts nothing that it has read, and calls Follow again after a pause.
	Follow(ctx context.Context, f FeedSink) error
}

// FeedSink is what ChangeFeed.Follow reports to. Its methods do not block, are safe for concurrent use, and do
// nothing once the call of Follow that it was given to has returned.
type FeedSink interface {
	// Resync says that from now on nothing goes unheard. What was read from the store earlier is to be read
	// again. Follow calls it when its connection listens, and again whenever something may have been missed.
	Resync()

	// Changed says that what is known about these certificates is out of date. Repeating it does no harm: an
	// answer whose status turns out to be the same is not signed again.
	Changed(issuerID string, serials ...*big.Int)

	// ValidUntil vouches until t for what was read since Resync. To do so, Follow must know that everything
	// published before some moment has been passed to Changed; t is that moment and the longest time that a
	// change may go unheard. It replaces what an earlier call said. t is made with time.Now, and what is left until
	// then is counted by the monotonic clock and by Config.Now: the trust ends with the first that says so, such as
	// when the machine was suspended.
	ValidUntil(t time.Time)
}
