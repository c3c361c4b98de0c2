package ocsp

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
	"github.com/kmsocsp/ocsp/internal/signed"
	"github.com/kmsocsp/ocsp/internal/statuses"
)

const (
	// publishCalls bounds the calls by which Invalidate tells others, which clients must not crowd out.
	publishCalls = 64
	// hotAnswers bounds the signed answers that are cached as they are sent. Of some 900 octets each,
	// they are 15 MB; with a delegate's certificate, and both keys of RSA-4096, 40 MB.
	hotAnswers = 16_384
)

// Responder answers OCSP requests. Make one with New. It is safe for concurrent use.
//
// The zero Responder is disabled: its Handler answers 404 to everything, Respond answers unauthorized, and its other
// methods do nothing. It is for hosts whose configuration turns OCSP off.
type Responder struct {
	cfg    Config // with defaults filled in
	clock  *clock
	limits codec.ReadLimits
	log    failureLog
	group  hostcall.Group

	issuers    issuers
	memory     *memory
	reads      reads
	signatures signatures
	unfollow   context.CancelFunc // ends following CacheOptions.Feed

	publishing *hostcall.Lane  // calls for Invalidate
	signers    *requestSigners // nil: requests need no signature

	exchanges sync.Pool
	http      httpPolicy
}

// New checks the configuration and makes a Responder. The error is a *ConfigError for each field that cannot be used.
// Issuers are validated last, up to the first error. Close the Responder when it is no longer needed.
func New(cfg Config) (_ *Responder, err error) {
	defer contain("config", &err)
	r := &Responder{cfg: cfg}
	r.exchanges.New = func() any {
		return &exchange{scratch: scratch{signature: make([]byte, 0, 512), tbs: make([]byte, 0, 512)}}
	}
	r.cfg.Logger = newLogger(cfg.Logger)
	r.log.logger, r.log.configured = r.cfg.Logger, func(id string) bool { return r.issuers.load().byID[id] != nil }
	if err := r.cfg.check(); err != nil {
		return nil, err
	}
	r.cfg.setDefaults()
	r.limits = codec.ReadLimits{CertIDs: r.cfg.Limits.MaxCertIDs, Extensions: r.cfg.Limits.MaxExtensions, Strict: cfg.Strict}
	r.clock = newClock(&r.cfg)
	r.memory = statuses.New[certStatus, wireAnswer](r.cfg.statuses())
	r.reads = reads{
		cfg: &r.cfg, clock: r.clock, log: &r.log, group: &r.group, memory: r.memory,
		deadlines: hostcall.Deadlines{Limit: r.cfg.Timeout},
	}
	r.signatures = signatures{
		cfg: &r.cfg, clock: r.clock, log: &r.log, group: &r.group, memory: r.memory,
		remote: newRemote(&r.cfg, &r.log, &r.group), flights: map[flightKey]*flight{},
	}
	if !cfg.Cache.Disabled {
		r.signatures.answers = signed.New[certStatus](signed.Options{Max: r.cfg.Cache.MaxEntries, Compact: r.cfg.Cache.Compact})
	}
	r.publishing = hostcall.NewLane(publishCalls, storeWaiting)
	r.signers = newRequestSigners(cfg.RequestSigners)
	r.http.set(&r.cfg)
	r.issuers.open(&r.cfg)
	for i, issuer := range cfg.Issuers {
		iss, err := r.issuers.check(issuer)
		if err == nil && r.issuers.load().byID[iss.ID] != nil {
			err = fieldError("ID", "give each its own", "is %q, like that of an earlier issuer", iss.ID)
		}
		if err == nil {
			err = r.issuers.add(iss)
		}
		if err != nil {
			return nil, ofIssuer("config", fmt.Sprintf("Issuers[%d].", i), err)
		}
	}
	now := r.clock.now()
	for _, iss := range r.issuers.load().issuers {
		iss.announce(r.cfg.Logger, now)
	}
	if r.cfg.Cache.Feed != nil {
		var ctx context.Context
		ctx, r.unfollow = context.WithCancel(context.Background())
		feed := &feed{r.cfg.Cache.Feed, r.clock, &r.log, r.memory}
		r.group.Go(func() { feed.follow(ctx) })
	}
	return r, nil
}

// statuses returns the options of the memory of what the stores said.
func (c *Config) statuses() statuses.Options {
	o := statuses.Options{Patience: c.patience()}
	if !c.Cache.Disabled {
		o.Max, o.Hot, o.TTL, o.Lease = c.Cache.MaxEntries, hotAnswers, c.Cache.StatusTTL, c.Cache.Feed != nil
	}
	return o
}

// SetIssuer adds an issuer, or replaces the one with its ID, such as for a renewed certificate or delegate. No
// answer begun after SetIssuer returned is signed with what it replaced. The error is a
// *ConfigError, and then nothing has changed.
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
	where := fmt.Sprintf("issuer %q", cfg.ID)
	defer contain(where, &err)
	if r.disabled() {
		return nil
	}
	iss, err := r.issuers.check(cfg)
	now := r.clock.now()
	if err == nil {
		err = r.issuers.set(iss, now)
	}
	if err != nil {
		return ofIssuer(where, "", err)
	}
	r.log.keepOnly()
	iss.announce(r.cfg.Logger, now)
	return nil
}

// RemoveIssuer removes an issuer. Requests begun after it returned that name it are unauthorized. Removing an
// issuer that is not there does nothing.
func (r *Responder) RemoveIssuer(id string) {
	if r.disabled() {
		return
	}
	r.issuers.remove(id)
	r.log.keepOnly()
}

// Issuers returns the IDs of the issuers in the order in which they were added.
func (r *Responder) Issuers() []string {
	if r.disabled() {
		return nil
	}
	var ids []string
	for _, iss := range r.issuers.load().issuers {
		ids = append(ids, iss.ID)
	}
	return ids
}

// disabled reports whether New did not make the Responder.
func (r *Responder) disabled() bool { return r.issuers.load() == nil }

// contain returns a panic of the host's code as the error of a method that has no other way to report it.
func contain(where string, err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("ocsp: %s: %w", where, hostcall.NewPanicError(v))
	}
}

// Invalidate makes sure that every answer about the issuer's certificates with those serials that is sent after it has
// returned says what the store said in a read that began after Invalidate was called. Call it when a revocation, a release
// or a new certificate has been stored: it makes a long StatusTTL safe within this process. It also cleans the shared
// cache and informs other replicas through CacheOptions.Feed; their errors are returned after the local part is done,
// and the call may be repeated.
func (r *Responder) Invalidate(ctx context.Context, issuerID string, serials ...*big.Int) (err error) {
	defer contain("invalidate", &err) // the context may be one of the host's own
	if r.disabled() || len(serials) == 0 {
		return nil
	}
	if slices.Contains(serials, nil) {
		return errors.New("ocsp: invalidate: a serial is nil")
	}
	a := r.issuers.load().byID[issuerID]
	var keys []string
	for _, serial := range serials {
		content := codec.SerialBytes(serial)
		key := statuses.NewKey(0, content) // of every issuer, also one that has just been removed
		r.memory.Invalidate(&key)
		if a != nil && r.cfg.Cache.Remote != nil {
			keys = append(keys, a.remoteKeys(content)...)
		}
	}
	var errs []error
	if a == nil {
		errs = append(errs, fmt.Errorf("ocsp: invalidate: no issuer has the ID %q", issuerID))
	}
	call := func(what string, f func(ctx context.Context) error) {
		_, err := hostcall.Do(ctx, &r.group, r.publishing, r.cfg.Timeout, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
		if err != nil {
			errs = append(errs, fmt.Errorf("ocsp: invalidate: %s: %w", what, err))
		}
	}
	if r.cfg.Cache.Feed != nil {
		call("change feed", func(ctx context.Context) error { return r.cfg.Cache.Feed.Publish(ctx, issuerID, serials...) })
	}
	if len(keys) > 0 {
		call("remote cache", func(ctx context.Context) error { return r.cfg.Cache.Remote.Delete(ctx, keys...) })
	}
	return errors.Join(errs...)
}

// Close ends the Responder: every answer from then on is tryLater. It waits for signatures and store reads
// that are under way, for Config.Timeout at the most, and reports it if some have not ended then.
func (r *Responder) Close() error {
	if r.disabled() {
		return nil
	}
	if r.unfollow != nil {
		r.unfollow()
	}
	ended := r.group.Close(r.cfg.Timeout)
	r.reads.deadlines.Stop()
	r.issuers.close()
	if !ended {
		return errors.New("ocsp: close: the store, the signer, the remote cache or the change feed still has not returned from a call")
	}
	return nil
}
