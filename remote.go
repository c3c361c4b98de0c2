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
	// remotePatience bounds a call of the remote cache, of Config.Timeout too.
	remotePatience = 500 * time.Millisecond
	// remotePause is how long a remote cache is left alone after it failed to answer in time.
	remotePause = 5 * time.Second
	// remoteCalls bounds the calls that are under way.
	remoteCalls = 64
)

// remote is the second tier: signatures that other replicas made. Nothing in it is believed. A value counts only if it
// is, byte for byte, the answer that this process would make of the status it read itself, with a life that this process
// allows, under a signature that verifies. The times need not be those of this process's own read: what another replica
// read at another time is as true. A nil remote has nothing and keeps nothing.
type remote struct {
	cfg   *Config
	cache RemoteCache
	log   *failureLog
	group *hostcall.Group
	lane  *hostcall.Lane
	begun time.Time
	until atomic.Int64 // since begun: until when the cache is left alone
}

func newRemote(cfg *Config, log *failureLog, group *hostcall.Group) *remote {
	if cfg.Cache.Remote == nil {
		return nil
	}
	return &remote{cfg: cfg, cache: cfg.Cache.Remote, log: log, group: group, lane: hostcall.NewLane(remoteCalls, 0), begun: time.Now()}
}

// remoteKey names an answer. It hashes everything that tells apart two answers that attest the same status.
func (a *authority) remoteKey(s *signer, encoding int, serial []byte) string {
	h := sha256.New()
	h.Write(s.fingerprint[:])
	h.Write(s.algorithms[0].der)
	h.Write([]byte(a.encodings[encoding]))
	h.Write(serial)
	return hex.EncodeToString(h.Sum(nil))
}

// remoteKeys names all answers about a certificate.
func (a *authority) remoteKeys(serial []byte) []string {
	var keys []string
	for _, s := range a.signers {
		for encoding := range a.encodings {
			keys = append(keys, a.remoteKey(s, encoding, serial))
		}
	}
	return keys
}

// limit returns how long a call of the cache may take, 0 when it must not be called.
func (r *remote) limit() time.Duration {
	if r == nil || int64(time.Since(r.begun)) < r.until.Load() {
		return 0
	}
	return min(remotePatience, r.cfg.Timeout/2)
}

// failed notes a failed call about the certificate of a draft.
func (r *remote) failed(ctx context.Context, kind logKind, d *draft, err error) {
	if errors.Is(err, hostcall.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
		r.until.Store(int64(time.Since(r.begun) + remotePause))
	}
	r.log.warn(ctx, "ocsp: remote cache failed; answers are signed instead", remoteFailure(kind, d, err))
}

// succeeded notes what the cache did well.
func (r *remote) succeeded(kind logKind, d *draft) {
	if r.log.failing.Load() > 0 {
		f := remoteFailure(kind, d, nil)
		r.log.succeeded(f.component, f.issuer, f.serial, kind)
	}
}

// remoteFailure is a failure of the cache about the certificate of a draft.
func remoteFailure(kind logKind, d *draft, err error) *failure {
	p := &d.singles[0]
	return &failure{kind, "remote cache", p.issuerID, codec.SerialInt(p.serial), err}
}

// fetch returns the answer of a draft, and its octets, if the cache has it and it passes check.
func (r *remote) fetch(ctx context.Context, d *draft) (a signedAnswer, der []byte, ok bool) {
	limit := r.limit()
	if limit == 0 {
		return a, nil, false
	}
	key := d.authority.remoteKey(d.signer, int(d.id.Encoding), d.singles[0].serial)
	value, err := hostcall.Do(ctx, r.group, r.lane, limit, func(ctx context.Context) ([]byte, error) {
		return r.cache.Get(ctx, key)
	})
	if err != nil && !errors.Is(err, ErrCacheMiss) {
		r.failed(ctx, logSharedGet, d, err)
		return a, nil, false
	}
	r.succeeded(logSharedGet, d)
	if err != nil {
		return a, nil, false
	}
	a, der, err = r.check(d, value)
	switch {
	case err == nil:
		r.succeeded(logSharedValue, d)
	case !errors.Is(err, errRemoteOld):
		r.log.warn(ctx, "ocsp: remote cache holds a value that is not the answer; it is signed again", remoteFailure(logSharedValue, d, err))
	}
	return a, der, err == nil
}

var (
	// errRemoteOld is of what is in the course of things: an answer to be renewed, or about another status.
	errRemoteOld   = errors.New("it is an answer of another time")
	errRemoteOther = errors.New("it says something else, or in other words, than this responder would")
)

// check verifies what the cache returned. The answer has memory of its own.
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
	l := signed.Life{ThisUpdate: response.ThisUpdate, ProducedAt: response.ProducedAt, NextUpdate: response.NextUpdate}
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
		return a, nil, errRemoteOld // this signer has said so, and now the status is another
	}
	der = d.wrap(nil, tbs, response.Signature)
	if !bytes.Equal(der, value) {
		return a, nil, errRemoteOther
	}
	return signedAnswer{ID: d.id, Life: l, Digest: sha256.Sum256(der), Signature: bytes.Clone(response.Signature)}, der, nil
}

// store offers an answer to the cache, without waiting for it.
func (r *remote) store(ctx context.Context, d *draft, nextUpdate int64, der []byte) {
	limit := r.limit()
	if limit == 0 {
		return
	}
	key := d.authority.remoteKey(d.signer, int(d.id.Encoding), d.singles[0].serial)
	ttl := time.Unix(nextUpdate, 0).Sub(d.now)
	der = bytes.Clone(der) // which may be served already, and a host's cache may encrypt in place
	r.group.Go(func() {
		defer func() { _ = recover() }() // of the host's code, which has nobody else above it here
		_, err := hostcall.Do(ctx, r.group, r.lane, limit, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, r.cache.Put(ctx, key, der, ttl)
		})
		if err != nil {
			r.failed(ctx, logSharedPut, d, err)
		} else {
			r.succeeded(logSharedPut, d)
		}
	})
}
