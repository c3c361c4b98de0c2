package ocsp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// The second tier: signatures that other replicas made. Nothing that it says is believed. A value counts
// only if it is, byte for byte, the answer that this process would write about the status it read itself,
// with times that this process allows, under a signature that verifies. They need not be those of this process's own
// read: what another replica knew at another time is as true.

const (
	// sharedPatience bounds a call of the shared cache, of Config.Timeout too.
	sharedPatience = 500 * time.Millisecond
	// sharedPause is how long a shared cache is left alone after it failed to answer in time.
	sharedPause = 5 * time.Second
)

// sharedKey names an answer. It hashes everything that tells apart two answers that attest the same status.
func (a *authority) sharedKey(s *signer, encoding int, serial []byte) string {
	h := sha256.New()
	h.Write(s.fingerprint[:])
	h.Write(s.algorithms[0].der)
	h.Write([]byte(a.encodings[encoding]))
	h.Write(serial)
	return hex.EncodeToString(h.Sum(nil))
}

// sharedKeys names all answers about a certificate.
func (a *authority) sharedKeys(serial []byte) []string {
	var keys []string
	for i := range a.signers {
		for encoding := range a.encodings {
			keys = append(keys, a.sharedKey(a.signers[i].signer, encoding, serial))
		}
	}
	return keys
}

// sharedLimit returns how long a call of the shared cache may take, 0 when it must not be called.
func (r *Responder) sharedLimit() time.Duration {
	if r.cfg.Cache.Shared == nil || int64(r.cache.steady()) < r.sharedUntil.Load() {
		return 0
	}
	return min(sharedPatience, r.cfg.Timeout/2)
}

// sharedFailed notes a failed call.
func (r *Responder) sharedFailed(ctx context.Context, kind logKind, f *flight, err error) {
	if errors.Is(err, hostcall.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
		r.sharedUntil.Store(int64(r.cache.steady() + sharedPause))
	}
	r.warn(ctx, "ocsp: shared cache failed; answers are signed instead", f.sharedFailure(kind, err))
}

// sharedSucceeded notes what the shared cache did well.
func (r *Responder) sharedSucceeded(kind logKind, f *flight) {
	if r.logs.failing.Load() > 0 {
		done := f.sharedFailure(kind, nil)
		r.succeeded(done.component, done.issuer, done.serial, kind)
	}
}

// sharedFailure is a failure of the shared cache, in this flight.
func (f *flight) sharedFailure(kind logKind, err error) *failure {
	p := &f.job.parts[0]
	return &failure{kind, "shared cache", p.issuerID, codec.SerialInt(p.serial), err}
}

// fetchShared returns the flight's reply, and its octets, if the shared cache has it and it stands up.
func (r *Responder) fetchShared(ctx context.Context, f flight) (k kept, der []byte, ok bool) {
	limit := r.sharedLimit()
	if limit == 0 {
		return kept{}, nil, false
	}
	key := f.job.authority.sharedKey(f.job.signer.signer, f.want.encoding, f.job.parts[0].serial)
	value, err := hostcall.Do(ctx, &r.host, r.sharing, limit, func(ctx context.Context) ([]byte, error) {
		return r.cfg.Cache.Shared.Get(ctx, key)
	})
	if err != nil {
		if !errors.Is(err, ErrCacheMiss) {
			r.sharedFailed(ctx, logSharedGet, &f, err)
			return kept{}, nil, false
		}
	}
	r.sharedSucceeded(logSharedGet, &f)
	if err != nil {
		return kept{}, nil, false
	}
	k, der, err = r.checkShared(&f, value)
	switch {
	case err == nil:
		r.sharedSucceeded(logSharedValue, &f)
	case !errors.Is(err, errSharedOld):
		r.warn(ctx, "ocsp: shared cache holds a value that is not the answer; it is signed again", f.sharedFailure(logSharedValue, err))
	}
	return k, der, err == nil
}

var (
	// errSharedOld is of what is in the course of things: an answer to be renewed, or about another status.
	errSharedOld   = errors.New("it is an answer of another time")
	errSharedBytes = errors.New("it says something else, or in other words, than this responder would")
)

// checkShared verifies what the shared cache returned. The reply has memory of its own.
func (r *Responder) checkShared(f *flight, value []byte) (k kept, der []byte, err error) {
	response, err := codec.ParseResponse(value)
	if err != nil {
		return kept{}, nil, err
	}
	s := f.job.signer.signer
	if err := s.verify(f.job.algorithm, response.TBS, response.Signature); err != nil {
		return kept{}, nil, err
	}
	if !bytes.Equal(response.CertID, f.job.parts[0].certID) {
		return kept{}, nil, errSharedBytes
	}
	made := response.ProducedAt
	if made > f.job.now.Unix() {
		return kept{}, nil, errSharedOld
	}
	p := &f.job.parts[0]
	times := window{thisUpdate: response.ThisUpdate, producedAt: made, nextUpdate: response.NextUpdate}
	if times.thisUpdate > made || times.thisUpdate < s.notBefore || times.nextUpdate > r.lastUpdate(s, times.thisUpdate, notAfterAt(f.job.parts, made)) {
		return kept{}, nil, errSharedOld
	}
	times.refreshAt = refreshPoint(times.thisUpdate, times.nextUpdate)
	times.refreshAt = times.keptUntil(times.thisUpdate + int64(r.cfg.Backdate/time.Second))
	if times.refreshAt <= ceilSecond(f.job.now) {
		return kept{}, nil, errSharedOld
	}
	p.thisUpdate, p.nextUpdate = times.thisUpdate, times.nextUpdate
	data := r.responseData(&f.job, made, nil)
	tbs := data.AppendTBS(nil)
	if !bytes.Equal(tbs, response.TBS) {
		return kept{}, nil, errSharedOld // this signer has said so, and now the status is another
	}
	der = f.job.wrap(nil, tbs, response.Signature)
	if !bytes.Equal(der, value) {
		return kept{}, nil, errSharedBytes
	}
	return kept{signature: bytes.Clone(response.Signature), digest: sha256.Sum256(der), id: f.want, window: times}, der, nil
}

// storeShared offers a reply to the shared cache, without waiting for it.
func (r *Responder) storeShared(ctx context.Context, f flight, nextUpdate int64, der []byte) {
	limit := r.sharedLimit()
	if limit == 0 {
		return
	}
	key := f.job.authority.sharedKey(f.job.signer.signer, f.want.encoding, f.job.parts[0].serial)
	ttl := time.Unix(nextUpdate, 0).Sub(f.job.now)
	der = bytes.Clone(der) // which may be served already, and a host's cache may encrypt in place
	r.host.Go(func() {
		defer func() { _ = recover() }() // of the host's code, which has nobody else above it here
		_, err := hostcall.Do(ctx, &r.host, r.sharing, limit, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, r.cfg.Cache.Shared.Put(ctx, key, der, ttl)
		})
		if err != nil {
			r.sharedFailed(ctx, logSharedPut, &f, err)
		} else {
			r.sharedSucceeded(logSharedPut, &f)
		}
	})
}
