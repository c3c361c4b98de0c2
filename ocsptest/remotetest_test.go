package ocsptest_test

import (
	"bytes"
	"context"
	"errors"
	"math/big"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// memory is a correct cache, or one with a fault.
type memory struct {
	fault  string
	mu     sync.Mutex
	values map[string][]byte
	ends   map[string]time.Time
}

func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == "short keys" {
		key = key[:min(len(key), 32)]
	}
	value, ok := m.values[key]
	if ok && m.fault != "no end" && time.Now().After(m.ends[key]) {
		ok = false
	}
	if !ok && m.fault == "miss is nil" {
		return nil, nil
	}
	if !ok && m.fault == "own miss" {
		return nil, errors.New("no such key")
	}
	if !ok {
		return nil, ocsp.ErrCacheMiss
	}
	return value, nil
}

func (m *memory) Put(_ context.Context, key string, value []byte, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.fault {
	case "keeps the slice":
	case "text":
		value = bytes.TrimSpace(value)
	default:
		value = bytes.Clone(value)
	}
	if m.fault == "short keys" {
		key = key[:min(len(key), 32)]
	}
	if _, ok := m.values[key]; ok && m.fault == "no replacing" {
		return nil
	}
	m.values[key], m.ends[key] = value, time.Now().Add(ttl)
	return nil
}

func (m *memory) Delete(_ context.Context, keys ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		if _, ok := m.values[key]; !ok && m.fault == "absent fails" {
			return errors.New("no such key")
		}
		delete(m.values, key)
		if m.fault == "deletes one" {
			return nil
		}
	}
	return nil
}

// What a cache does wrong is found, by the clock of a bubble.
func TestRemoteCacheFaultsAreFound(t *testing.T) {
	cache := func(fault string) ocsp.RemoteCache {
		return &memory{fault: fault, values: map[string][]byte{}, ends: map[string]time.Time{}}
	}
	require.ErrorContains(t, ocsptest.TestRemoteCache(nil), "nil")
	t.Run("no fault", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { require.NoError(t, ocsptest.TestRemoteCache(cache(""))) })
	})
	for _, fault := range []string{"no end", "miss is nil", "own miss", "keeps the slice", "text", "short keys", "no replacing", "absent fails", "deletes one"} {
		t.Run(fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { require.Error(t, ocsptest.TestRemoteCache(cache(fault))) })
		})
	}
}

// hub is a correct feed within the process, or one with a fault.
type hub struct {
	fault string
	mu    sync.Mutex
	all   map[ocsp.FeedSink]bool
}

func (h *hub) Publish(_ context.Context, issuerID string, serials ...*big.Int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for f := range h.all {
		switch h.fault {
		case "loses":
		case "first only":
			f.Changed(issuerID, serials[0])
		case "no sign":
			for _, serial := range serials {
				f.Changed(issuerID, new(big.Int).Abs(serial))
			}
		case "one issuer":
			f.Changed("ca", serials...)
		default:
			f.Changed(issuerID, serials...)
		}
	}
	return nil
}

func (h *hub) Follow(ctx context.Context, f ocsp.FeedSink) error {
	if h.fault != "no begin" {
		f.Resync()
	}
	h.mu.Lock()
	h.all[f] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.all, f)
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		f.ValidUntil(time.Now().Add(time.Second))
		select {
		case <-ctx.Done():
			if h.fault == "no error" {
				return nil
			}
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// What a feed does wrong is found, by the clock of a bubble.
func TestChangeFeedFaultsAreFound(t *testing.T) {
	run := func(fault string) error {
		h := &hub{fault: fault, all: map[ocsp.FeedSink]bool{}}
		return ocsptest.TestChangeFeed(h, h)
	}
	require.ErrorContains(t, ocsptest.TestChangeFeed(nil, nil), "nil")
	t.Run("no fault", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { require.NoError(t, run("")) })
	})
	for _, fault := range []string{"loses", "first only", "no sign", "one issuer", "no begin", "no error"} {
		t.Run(fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { require.Error(t, run(fault)) })
		})
	}
}
