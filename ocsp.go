package ocsp

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// How many calls into the host's components may be under way, and how many may wait for their turn.
const (
	defaultStoreCalls = 1024
	storeWaiting      = 4096
	sharedConcurrent  = 64
)

// Responder answers OCSP requests. Make one with New. It is safe for concurrent use.
type Responder struct {
	cfg      Config // with defaults filled in
	now      func() time.Time
	ownClock bool // now is the host's, not time.Now
	limits   codec.ReadLimits
	logs     logs

	seq      atomic.Uint64 // numbers signers and authorities
	issuerMu sync.Mutex    // held while registry is replaced
	registry atomic.Pointer[registry]

	cache       *replyCache
	sharedUntil atomic.Int64 // until when the shared cache is left alone, by replyCache.steady

	host     hostcall.Group               // calls that Close waits for
	unfollow context.CancelFunc           // ends following CacheOptions.Changes
	reads    flights[certKey, statusRead] // when StatusTTL lets answers share them
	signs    flights[flightKey, landed]
	renewing renewals

	lanes     lanes              // budgets for signatures; issuerMu is held while one is found or dropped
	stores    storeLanes         // ways to the stores; guarded by issuerMu
	deadlines hostcall.Deadlines // of calls of the stores
	sharing   *hostcall.Lane     // reads and writes of the shared cache
	deleting  *hostcall.Lane     // deletes, which the host waits for and clients must not crowd out
	verifying *hostcall.Lane     // of requests, for Config.RequestSigners

	exchanges, storeCalls sync.Pool
	http                  httpPolicy
}

// New checks the configuration and makes a Responder. An error names each field at fault and the cure; the insides
// of issuers are looked at, up to the first fault, when all else is good. Close the Responder when it is no longer
// needed.
func New(cfg Config) (_ *Responder, err error) {
	defer contain("config", &err)
	r := &Responder{cfg: cfg, now: cfg.Now, ownClock: cfg.Now != nil}
	r.exchanges.New = func() any {
		return &exchange{signature: make([]byte, 0, 512), tbs: make([]byte, 0, 512)}
	}
	r.storeCalls.New = func() any { return newStoreCall(r) }
	r.registry.Store(&registry{})
	r.cfg.Logger = cfg.logger()
	if cfg.Disabled {
		return r, nil
	}
	if err := r.cfg.check(); err != nil {
		return nil, err
	}
	r.cfg.setDefaults()
	r.now = cfg.clock()
	r.limits = codec.ReadLimits{CertIDs: r.cfg.Limits.MaxCertIDs, Extensions: r.cfg.Limits.MaxExtensions, Strict: cfg.Strict}
	r.cache = newReplyCache(r.cfg.Cache, r.now)
	r.lanes = newLanes(r.cfg.Signing)
	r.stores = newStoreLanes(&r.cfg)
	r.sharing = hostcall.NewLane(sharedConcurrent, 0)
	r.deleting = hostcall.NewLane(sharedConcurrent, storeWaiting)
	r.verifying = newVerifying()
	r.deadlines.Limit = r.cfg.Timeout
	r.http.set(&r.cfg)
	for i, issuer := range cfg.Issuers {
		iss, err := r.newIssuer(issuer)
		if err != nil {
			return nil, fmt.Errorf("ocsp: config: Issuers[%d]: %w", i, err)
		}
		iss.lane = r.stores.of(issuer.Store)
		reg := r.registry.Load()
		if reg.byID[iss.ID] != nil {
			return nil, fmt.Errorf("ocsp: config: Issuers[%d]: the field ID is %q, like that of an earlier issuer: give each its own", i, iss.ID)
		}
		if reg, err = reg.with(iss, r.nextNumber); err != nil {
			return nil, fmt.Errorf("ocsp: config: Issuers[%d]: %w", i, err)
		}
		iss.signer.lane = r.lanes.of(iss.signer)
		r.registry.Store(reg)
	}
	now := r.now()
	for _, iss := range r.registry.Load().issuers {
		r.announce(iss, now)
	}
	if r.cfg.Cache.Changes != nil {
		var ctx context.Context
		ctx, r.unfollow = context.WithCancel(context.Background())
		r.host.Go(func() { r.follow(ctx) })
	}
	return r, nil
}

// SetIssuer adds an issuer, or replaces the one with its ID, such as for a renewed certificate or delegate. No
// answer begun after SetIssuer returned is signed with what it replaced. The error names the field at fault
// and the cure; then nothing has changed. A disabled Responder ignores it.
//
// An issuer that is not valid now, such as one with a delegate whose time has not come, may be added, and may replace
// one that is not valid either. To replace one that is valid now is an error: add it under another ID instead, and it
// takes over when its time comes.
//
// Clients name a CA by the hash of its key. So a CA with a new key must not replace the one with the old key:
// whatever that issued would be unauthorized at once. Call SetIssuer for the old one under another ID first, with its
// old key or a delegate that it signed, and RemoveIssuer when the last of its certificates has expired. The store must
// find the old key's certificates under that other ID.
func (r *Responder) SetIssuer(cfg Issuer) (err error) {
	defer contain(fmt.Sprintf("issuer %q", cfg.ID), &err)
	if r.cfg.Disabled {
		return nil
	}
	iss, err := r.newIssuer(cfg)
	if err != nil {
		return fmt.Errorf("ocsp: issuer %q: %w", cfg.ID, err)
	}
	now := r.now()
	if err := r.setIssuer(iss, now); err != nil {
		return fmt.Errorf("ocsp: issuer %q: %w", cfg.ID, err)
	}
	r.announce(iss, now)
	return nil
}

// setIssuer puts a checked issuer into the registry.
func (r *Responder) setIssuer(iss *issuer, now time.Time) (err error) {
	r.issuerMu.Lock()
	defer r.issuerMu.Unlock()
	present := r.registry.Load()
	iss.lane = r.stores.of(iss.Store)
	defer func() {
		if err != nil {
			r.stores.prune(present.issuers)
		}
	}()
	for _, old := range present.issuers {
		if old.ID == iss.ID && old.checkTime(now) == nil {
			if err := iss.checkTime(now); err != nil {
				return err
			}
		}
	}
	reg, err := present.with(iss, r.nextNumber)
	if err != nil {
		return err
	}
	iss.signer.lane = r.lanes.of(iss.signer)
	r.replaceRegistry(reg)
	return nil
}

// replaceRegistry replaces the registry. issuerMu is locked.
func (r *Responder) replaceRegistry(next *registry) {
	r.registry.Load().retire(next)
	r.registry.Store(next)
	r.stores.prune(next.issuers)
	r.lanes.prune(next.issuers)
	r.logs.keepOnly(next)
}

// RemoveIssuer removes an issuer. Requests begun after it returned that name it are unauthorized. Removing an
// issuer that is not there does nothing.
func (r *Responder) RemoveIssuer(id string) {
	r.issuerMu.Lock()
	defer r.issuerMu.Unlock()
	if reg, err := r.registry.Load().without(id, r.nextNumber); err == nil { // fewer issuers have no new conflicts
		r.replaceRegistry(reg)
	}
}

// contain returns a panic of the host's code as the error of a method that has no other way to report it.
func contain(where string, err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("ocsp: %s: %w", where, hostcall.NewPanicError(v))
	}
}

// nextNumber returns a number for a new authority.
func (r *Responder) nextNumber() uint64 { return r.seq.Add(1) }

// Invalidate drops every answer about the issuer's certificates with those serials and makes sure that none
// from before is served once it has returned. Call it when a revocation, a release or a new certificate has
// been stored: it makes a long StatusTTL safe within this process. It also cleans the shared cache and tells
// other replicas through CacheOptions.Changes; their errors are returned after the local part is done, and the
// call may be repeated.
func (r *Responder) Invalidate(ctx context.Context, issuerID string, serials ...*big.Int) (err error) {
	defer contain("invalidate", &err) // the context may be one of the host's own
	if r.cfg.Disabled || len(serials) == 0 {
		return nil
	}
	if slices.Contains(serials, nil) {
		return errors.New("ocsp: invalidate: a serial is nil")
	}
	reg := r.registry.Load()
	a, number := reg.byID[issuerID], reg.number(issuerID)
	var shared []string
	for _, serial := range serials {
		content := codec.SerialBytes(serial)
		key := newCertKey(number, content)
		r.cache.invalidate(key) // for an issuer that has just gone, its fence is what counts
		r.reads.forget(key)
		if a != nil && r.cfg.Cache.Shared != nil {
			shared = append(shared, a.sharedKeys(content)...)
		}
	}
	var errs []error
	if a == nil {
		errs = append(errs, fmt.Errorf("ocsp: invalidate: no issuer has the ID %q", issuerID))
	}
	tell := func(whom string, f func(ctx context.Context) error) {
		_, err := hostcall.Do(ctx, &r.host, r.deleting, r.cfg.Timeout, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
		if errors.Is(err, hostcall.ErrClosed) {
			err = errClosed
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("ocsp: invalidate: %s: %w", whom, err))
		}
	}
	if r.cfg.Cache.Changes != nil {
		tell("changes", func(ctx context.Context) error { return r.cfg.Cache.Changes.Publish(ctx, issuerID, serials...) })
	}
	if len(shared) > 0 {
		tell("shared cache", func(ctx context.Context) error { return r.cfg.Cache.Shared.Delete(ctx, shared...) })
	}
	return errors.Join(errs...)
}

// Close ends the Responder: every answer from then on is tryLater. It waits for signatures and store reads
// that are under way, for Config.Timeout at the most, and reports it if some have not ended then.
func (r *Responder) Close() error {
	if r.cfg.Disabled {
		return nil
	}
	if r.unfollow != nil {
		r.unfollow()
	}
	ended := r.host.Close(r.cfg.Timeout)
	r.deadlines.Stop()
	r.issuerMu.Lock()
	defer r.issuerMu.Unlock()
	r.stores.close()
	if !ended {
		return errors.New("ocsp: close: the store, the signer, the shared cache or Changes still has not returned from a call")
	}
	return nil
}
