package ocsp_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"log/slog"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// nilError is the classic: a nil pointer returned as an error, which is not nil and panics when it is looked into.
type nilError struct{ cause error }

func (e *nilError) Error() string { return e.cause.Error() }
func (e *nilError) Unwrap() error { return e.cause }

// badError is an error that cannot be looked into.
func badError() error { return (*nilError)(nil) }

// badHandler is a log handler that panics.
type badHandler struct{ lines *atomic.Int32 }

func (badHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h badHandler) Handle(context.Context, slog.Record) error {
	h.lines.Add(1)
	panic("log handler")
}
func (h badHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h badHandler) WithGroup(string) slog.Handler      { return h }

// cacheFuncs is an ocsp.Cache whose calls fail as the test says.
type cacheFuncs struct {
	get, put, delete error
}

func (c *cacheFuncs) Get(context.Context, string) ([]byte, error) { return nil, c.get }
func (c *cacheFuncs) Put(context.Context, string, []byte, time.Duration) error {
	return c.put
}
func (c *cacheFuncs) Delete(context.Context, ...string) error { return c.delete }

// withLoggers runs a test with a logger that is silent, and one that panics.
func withLoggers(t *testing.T, run func(t *testing.T, logger *slog.Logger)) {
	t.Run("silent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { run(t, nil) })
	})
	t.Run("panicking log handler", func(t *testing.T) {
		var lines atomic.Int32
		synctest.Test(t, func(t *testing.T) { run(t, slog.New(badHandler{&lines})) })
		require.NotZero(t, lines.Load())
	})
	t.Run("no log handler", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { run(t, &slog.Logger{}) })
	})
}

func TestSharedCacheReturnsABadError(t *testing.T) {
	for name, cache := range map[string]*cacheFuncs{
		"Get":    {get: badError()},
		"Put":    {get: ocsp.ErrCacheMiss, put: badError()},
		"both":   {get: badError(), put: badError()},
		"Delete": {get: context.DeadlineExceeded, delete: badError()},
	} {
		t.Run(name, func(t *testing.T) {
			withLoggers(t, func(t *testing.T, logger *slog.Logger) {
				r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.Shared, cfg.Logger = cache, logger })
				require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
				r.settle()
				require.Equal(t, 1, r.signer.Calls())
				if err := r.responder.Invalidate(t.Context(), r.ca.ID, r.leaf.SerialNumber); cache.delete != nil {
					require.ErrorContains(t, err, "shared cache")
					require.NotErrorIs(t, err, ocsp.ErrCacheMiss)
				}
			})
		})
	}
}

func TestStoreReturnsABadError(t *testing.T) {
	withLoggers(t, func(t *testing.T, logger *slog.Logger) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Logger = logger
			cfg.Store = ocsp.StoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) { return ocsp.Record{}, badError() })
		})
		answer := r.responder.Respond(t.Context(), r.request(r.leaf))
		require.Equal(t, ocsp.OutcomeInternalError, answer.Outcome)
		require.NotErrorIs(t, answer.Err, ocsp.ErrNotFound)
		require.NotEmpty(t, answer.Err.Error())
	})
}

func TestSignerReturnsABadError(t *testing.T) {
	withLoggers(t, func(t *testing.T, logger *slog.Logger) {
		var bad atomic.Bool
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Logger = logger
			cfg.Issuers[0].Signer = ocsp.SignerFunc(r.ca.Key.Public(), func(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if bad.Load() {
					return nil, badError()
				}
				return r.ca.Key.Sign(rand.Reader, digest, opts)
			})
		})
		cached := r.query(r.leaf).DER
		bad.Store(true)
		client := r.client()
		client.Nonce = []byte("nonce")
		answer := r.responder.Respond(t.Context(), client.Request(r.ca.Certificate, r.leaf))
		require.Equal(t, ocsp.OutcomeStale, answer.Outcome)
		require.Equal(t, cached, answer.DER)
		require.NotErrorIs(t, answer.Err, ocsp.ErrNotFound)

		answer = r.responder.Respond(t.Context(), client.Request(r.ca.Certificate, r.issue()))
		require.Equal(t, ocsp.OutcomeInternalError, answer.Outcome)
	})
}

func TestFollowReturnsABadError(t *testing.T) {
	withLoggers(t, func(t *testing.T, logger *slog.Logger) {
		c := newChanges()
		newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.Changes, cfg.Logger = c, logger })
		<-c.calls
		c.ending <- badError()
		<-c.calls
	})
}

// A log handler that panics does not keep a configuration from being used, nor an answer from being signed.
func TestWarningsOfTheLogAreNotNeeded(t *testing.T) {
	withLoggers(t, func(t *testing.T, logger *slog.Logger) {
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Logger = logger
			cfg.Issuers[0].ResponderCertificate, cfg.Issuers[0].Signer = r.ca.Delegate(ocsptest.Options{
				Adjust: withoutNoCheck, NotAfter: r.clock.Now().Add(time.Hour),
			})
		})
		require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
	})
}

func TestObserveAndTheLogPanic(t *testing.T) {
	for _, disabled := range []bool{false, true} {
		withLoggers(t, func(t *testing.T, logger *slog.Logger) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
				cfg.Logger, cfg.Disabled = logger, disabled
				cfg.Observe = func(context.Context, ocsp.Event) { panic("Observe") }
			})
			answer := r.responder.Respond(t.Context(), r.request(r.leaf))
			require.Equal(t, disabled, answer.Outcome == ocsp.OutcomeUnauthorized)
		})
	}
}

// The log says what a panic was answered with, which need not be an error.
func TestLogSaysWhatBecameOfAPanic(t *testing.T) {
	var text strings.Builder
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&text, nil)) })
	r.query(r.leaf)
	r.signer.SetFault(ocsptest.Panic)
	client := r.client()
	client.Nonce = []byte("nonce")
	answer := r.responder.Respond(t.Context(), client.Request(r.ca.Certificate, r.leaf))
	require.Equal(t, ocsp.OutcomeStale, answer.Outcome)
	require.Contains(t, text.String(), "a panic was contained")
	require.Contains(t, text.String(), "outcome="+answer.Outcome.String())
}
