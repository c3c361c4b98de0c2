package ocsp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
	"github.com/kmsocsp/ocsp/internal/signed"
)

const (
	// remotePatience bounds a call of the remote cache, as does half of Config.Timeout.
	remotePatience = 500 * time.Millisecond
	// remotePause is how long a remote cache is not called after a call timed out.
	remotePause = 5 * time.Second
	// remoteCalls bounds the concurrent calls.
	remoteCalls = 64
)

// remote is the second tier: answers that other replicas signed. Nothing in it is trusted. A value
// is used only if it is, byte for byte, the answer that this process would make of the status it
// read itself, with times that this process allows, and if the signature verifies. Its thisUpdate
// may differ from that of this process's read: another replica's read is as true. A nil remote has
// no answers and stores none.
type remote struct {
	cfg   *Config
	cache RemoteCache
	log   *failureLog
	group *hostcall.Group
	lane  *hostcall.Lane
	begun time.Time
	until atomic.Int64 // when the cache may be called again, in nanoseconds since begun
}

func newRemote(cfg *Config, log *failureLog, group *hostcall.Group) *remote {
	if cfg.Cache.Remote == nil {
		return nil
	}
	return &remote{
		cfg: cfg, cache: cfg.Cache.Remote, log: log, group: group,
		lane: hostcall.NewLane(remoteCalls, 0), begun: time.Now(),
	}
}

// remoteKey returns the key of an answer. It hashes in what answers about the same certificate
// differ, except for the status. Replicas that are configured otherwise, such as with another
// Retention, replace each other's answers, which costs signatures and nothing else.
func (a *authority) remoteKey(s *signer, encoding int, serial []byte) string {
	h := sha256.New()
	h.Write(s.fingerprint[:])
	h.Write(s.algorithms[0].der)
	h.Write([]byte(a.encodings[encoding]))
	h.Write(serial)
	return hex.EncodeToString(h.Sum(nil))
}

// remoteKeys returns the keys of all answers about a certificate.
func (a *authority) remoteKeys(serial []byte) []string {
	var keys []string
	for _, s := range a.signers {
		for encoding := range a.encodings {
			keys = append(keys, a.remoteKey(s, encoding, serial))
		}
	}
	return keys
}

// limit returns how long a call of the cache may take, 0 if it must not be called.
func (r *remote) limit() time.Duration {
	if r == nil || int64(time.Since(r.begun)) < r.until.Load() {
		return 0
	}
	return min(remotePatience, r.cfg.Timeout/2)
}

// failed records a failed call.
func (r *remote) failed(ctx context.Context, kind logKind, d *draft, err error) {
	if errors.Is(err, hostcall.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
		r.until.Store(int64(time.Since(r.begun) + remotePause))
	}
	r.log.warn(ctx, "ocsp: remote cache failed; answers are signed instead",
		remoteFailure(kind, d, err))
}

// succeeded records a success, so that the end of a failure is logged.
func (r *remote) succeeded(kind logKind, d *draft) {
	if r.log.failing.Load() > 0 {
		f := remoteFailure(kind, d, nil)
		r.log.succeeded(f.component, f.issuer, f.serial, kind)
	}
}

// remoteFailure returns a failure of the cache about a draft's certificate.
func remoteFailure(kind logKind, d *draft, err error) *failure {
	p := &d.singles[0]
	return &failure{kind, "remote cache", p.issuerID, codec.SerialInt(p.serial), err}
}

// fetch returns a draft's answer and its DER if the cache has it and check accepts it.
func (r *remote) fetch(ctx context.Context, d *draft) (a signedAnswer, der []byte, ok bool) {
	limit := r.limit()
	if limit == 0 {
		return a, nil, false
	}
	key := d.authority.remoteKey(d.signer, int(d.id.Encoding), d.singles[0].serial)
	get := func(ctx context.Context) ([]byte, error) { return r.cache.Get(ctx, key) }
	value, err := hostcall.Do(ctx, r.group, r.lane, limit, get)
	if err != nil && !errors.Is(err, ErrCacheMiss) {
		r.failed(ctx, logRemoteGet, d, err)
		return a, nil, false
	}
	r.succeeded(logRemoteGet, d)
	if err != nil {
		return a, nil, false
	}
	a, der, err = r.check(d, value)
	switch {
	case err == nil:
		r.succeeded(logRemoteValue, d)
	case !errors.Is(err, errRemoteOld):
		r.log.warn(ctx,
			"ocsp: remote cache holds a value that is not the answer; it is signed again",
			remoteFailure(logRemoteValue, d, err))
	}
	return a, der, err == nil
}

var (
	// errRemoteOld is expected: the answer must be renewed, or its status has changed.
	errRemoteOld   = errors.New("it is an answer of another time")
	errRemoteOther = errors.New("it is not the answer that this responder would give")
)

// check verifies a value of the cache. The results do not share memory with it.
func (r *remote) check(d *draft, value []byte) (a signedAnswer, der []byte, err error) {
	response, err := codec.ParseResponse(value)
	if err != nil {
		return a, nil, err
	}
	p, by := &d.singles[0], d.signer
	if err := by.verify(d.algorithm, response.TBS, response.Signature); err != nil {
		return a, nil, err
	}
	if !bytes.Equal(response.CertID, p.certID) {
		return a, nil, errRemoteOther
	}
	l := signed.Life{
		ThisUpdate: response.ThisUpdate,
		ProducedAt: response.ProducedAt,
		NextUpdate: response.NextUpdate,
	}
	if l.ProducedAt > d.now.Unix() || l.ThisUpdate > l.ProducedAt || l.ThisUpdate < by.notBefore ||
		l.NextUpdate > r.cfg.lastUpdate(by, l.ThisUpdate, notAfterAt(d.singles, l.ProducedAt)) {
		return a, nil, errRemoteOld
	}
	l.RefreshAt = refreshPoint(l.ThisUpdate, l.NextUpdate)
	l.RefreshAt = refreshAfter(&l, l.ThisUpdate+int64(r.cfg.Backdate/time.Second))
	if l.RefreshAt <= ceilSecond(d.now) {
		return a, nil, errRemoteOld
	}
	p.thisUpdate, p.nextUpdate = l.ThisUpdate, l.NextUpdate
	tbs := d.appendTBS(r.cfg, l.ProducedAt, nil)
	if !bytes.Equal(tbs, response.TBS) {
		return a, nil, errRemoteOld // about another status, or of a replica that is configured otherwise
	}
	der = d.wrap(nil, tbs, response.Signature)
	if !bytes.Equal(der, value) {
		return a, nil, errRemoteOther
	}
	a = signedAnswer{ID: d.id, Life: l, Digest: sha256.Sum256(der)}
	a.Signature = bytes.Clone(response.Signature)
	return a, der, nil
}

// store sends an answer to the cache without waiting for the result.
func (r *remote) store(ctx context.Context, d *draft, nextUpdate int64, der []byte) {
	limit := r.limit()
	if limit == 0 {
		return
	}
	key := d.authority.remoteKey(d.signer, int(d.id.Encoding), d.singles[0].serial)
	ttl := time.Unix(nextUpdate, 0).Sub(d.now)
	der = bytes.Clone(der) // der may be in use, and a cache may encrypt in place
	r.group.Go(func() {
		defer func() { _ = recover() }() // a panic of the host's code must not end the process
		put := func(ctx context.Context) (struct{}, error) {
			return struct{}{}, r.cache.Put(ctx, key, der, ttl)
		}
		if _, err := hostcall.Do(ctx, r.group, r.lane, limit, put); err != nil {
			r.failed(ctx, logRemotePut, d, err)
		} else {
			r.succeeded(logRemotePut, d)
		}
	})
}
