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
	// publishCalls bounds the calls by which Invalidate informs others. They have a lane of their
	// own, so that answers to clients do not delay them.
	publishCalls   = 64
	publishWaiting = 4096
	// hotAnswers bounds the signed answers that are cached in the form in which they are sent. At
	// some 900 octets each they take 15 MB; with a delegate's certificate and RSA-4096 keys, 40 MB.
	hotAnswers = 16_384
)

// Responder answers OCSP requests. New makes one. It is safe for concurrent use.
//
// The zero Responder is disabled: its Handler answers 404 to every request, Respond answers
// unauthorized, and Staple returns an error. Issuers returns nil, and the other methods do nothing
// and return nil. It is for hosts whose configuration turns OCSP off.
type Responder struct {
	cfg    Config // with its defaults set
	clock  *clock
	limits codec.ReadLimits
	log    failureLog
	group  hostcall.Group

	issuers    issuers
	memory     *memory
	reads      reads
	signatures signatures
	unfollow   context.CancelFunc // stops the feed; nil: there is none

	publishing *hostcall.Lane  // calls made by Invalidate
	signers    *requestSigners // nil: signatures of requests are ignored

	exchanges sync.Pool
	http      httpPolicy
}

// New validates the configuration and returns a Responder. If fields cannot be used, the error
// joins a *ConfigError for each. Issuers are validated last, stopping at the first error. Callers
// should Close the Responder when it is no longer needed.
func New(cfg Config) (_ *Responder, err error) {
	defer contain("config", &err)
	r := &Responder{cfg: cfg}
	r.exchanges.New = func() any {
		return &exchange{
			scratch: scratch{signature: make([]byte, 0, 512), tbs: make([]byte, 0, 512)},
		}
	}
	r.cfg.Logger = newLogger(cfg.Logger)
	r.log.logger = r.cfg.Logger
	r.log.configured = func(id string) bool { return r.issuers.load().byID[id] != nil }
	if err := r.cfg.check(); err != nil {
		return nil, err
	}
	r.cfg.setDefaults()
	r.limits = codec.ReadLimits{
		CertIDs:    r.cfg.Limits.MaxCertIDs,
		Extensions: r.cfg.Limits.MaxExtensions,
		Strict:     cfg.Strict,
	}
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
		r.signatures.answers = signed.New[certStatus](signed.Options{
			Max: r.cfg.Cache.MaxEntries, Compact: r.cfg.Cache.Compact,
		})
	}
	r.publishing = hostcall.NewLane(publishCalls, publishWaiting)
	r.signers = newRequestSigners(cfg.RequestSigners)
	r.http.set(&r.cfg)
	r.issuers.open(&r.cfg)
	if i, err := r.issuers.addAll(cfg.Issuers); err != nil {
		return nil, ofIssuer("config", fmt.Sprintf("Issuers[%d].", i), err)
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

// statuses returns the options of the memory of statuses.
func (c *Config) statuses() statuses.Options {
	o := statuses.Options{Patience: c.patience()}
	if !c.Cache.Disabled {
		o.Max, o.Hot = c.Cache.MaxEntries, hotAnswers
		o.TTL, o.Lease = c.Cache.StatusTTL, c.Cache.Feed != nil
	}
	return o
}

// SetIssuer adds an issuer, or replaces the one with its ID, such as with a renewed certificate or
// delegate. No answer begun after SetIssuer returned is signed with what it replaced. If the issuer
// cannot be used, SetIssuer returns a *ConfigError and changes nothing.
//
// An issuer that is not valid now, such as one whose delegate is not valid yet, may be added, and
// may replace one that is not valid either. It is an error to replace one that is valid now: add
// the new one under another ID, and it takes over when it becomes valid.
//
// Clients identify a CA by the hash of its key. So a CA with a new key MUST NOT replace the one
// with the old key: the certificates issued with the old key would be unauthorized at once. First
// call SetIssuer for the old CA under another ID, with its old key or a delegate that it signed.
// Call RemoveIssuer when the last of its certificates has expired. The store must have the old
// key's certificates under that other ID.
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
	r.log.prune()
	iss.announce(r.cfg.Logger, now)
	return nil
}

// RemoveIssuer removes an issuer. Requests for it that begin after RemoveIssuer returned are
// unauthorized. If there is no such issuer, RemoveIssuer does nothing.
func (r *Responder) RemoveIssuer(id string) {
	if r.disabled() {
		return
	}
	r.issuers.remove(id)
	r.log.prune()
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

// contain recovers a panic of the host's code and returns it as the error of a method.
func contain(where string, err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("ocsp: %s: %w", where, hostcall.NewPanicError(v))
	}
}

// Invalidate drops the cached statuses of the issuer's certificates with those serials. Every
// answer about them that is sent after Invalidate returned is about a read of the store that began
// after Invalidate was called. Call it when a revocation, a release or a new certificate has been
// stored: it makes a long StatusTTL safe within this process.
//
// Invalidate also deletes their answers from the remote cache and informs other replicas through
// CacheOptions.Feed. It returns errors of these, and of an unknown issuer, after the local part is
// done. It may be called again with the same arguments.
func (r *Responder) Invalidate(
	ctx context.Context, issuerID string, serials ...*big.Int,
) (err error) {
	defer contain("invalidate", &err) // the host may implement ctx
	if r.disabled() || len(serials) == 0 {
		return nil
	}
	if slices.Contains(serials, nil) {
		return errors.New("ocsp: invalidate: a serial is nil")
	}
	a := r.issuers.load().byID[issuerID]
	var keys []string
	serials = slices.Clone(serials) // a call that hangs outlives this one
	for i, serial := range serials {
		serials[i] = new(big.Int).Set(serial)
		content := codec.SerialBytes(serial)
		key := statuses.NewKey(0, content) // 0: of every issuer, also of one that was just removed
		r.memory.Invalidate(&key)
		if a != nil && r.cfg.Cache.Remote != nil {
			keys = append(keys, a.remoteKeys(content)...)
		}
	}
	var errs []error
	closed := false
	if a == nil {
		errs = append(errs, fmt.Errorf("ocsp: invalidate: no issuer has the ID %q", issuerID))
	}
	call := func(component string, f func(ctx context.Context) error) {
		run := func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) }
		_, err := hostcall.Do(ctx, &r.group, r.publishing, r.cfg.Timeout, run)
		switch {
		case errors.Is(err, hostcall.ErrClosed):
			closed = true
		case err != nil:
			errs = append(errs, fmt.Errorf("ocsp: invalidate: %s: %w", component, err))
		}
	}
	if r.cfg.Cache.Feed != nil {
		call("change feed", func(ctx context.Context) error {
			return r.cfg.Cache.Feed.Publish(ctx, issuerID, serials...)
		})
	}
	if len(keys) > 0 {
		call("remote cache", func(ctx context.Context) error {
			return r.cfg.Cache.Remote.Delete(ctx, keys...)
		})
	}
	if closed {
		errs = append(errs, errClosed)
	}
	return errors.Join(errs...)
}

// Close ends the Responder: every later answer is tryLater. It waits for signatures, store reads
// and other calls in progress, for Config.Timeout at most, and returns an error if some have not
// ended by then. Close may be called again.
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
		return errors.New("ocsp: close: the store, the signer, the remote cache or the change feed " +
			"has not returned from a call")
	}
	return nil
}
