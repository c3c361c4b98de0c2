package ocsp_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
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

// cacheFuncs is an ocsp.RemoteCache whose calls fail as the test says.
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
		synctest.Test(t, func(t *testing.T) { run(t, slog.New(slog.DiscardHandler)) })
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

func TestRemoteCacheReturnsABadError(t *testing.T) {
	t.Parallel()
	for name, cache := range map[string]*cacheFuncs{
		"Get":    {get: badError()},
		"Put":    {get: ocsp.ErrCacheMiss, put: badError()},
		"both":   {get: badError(), put: badError()},
		"Delete": {get: context.DeadlineExceeded, delete: badError()},
	} {
		t.Run(name, func(t *testing.T) {
			withLoggers(t, func(t *testing.T, logger *slog.Logger) {
				r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.Remote, cfg.Logger = cache, logger })
				require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
				r.settle()
				require.Equal(t, 1, r.signer.Calls())
				if err := r.responder.Invalidate(t.Context(), r.ca.ID, r.leaf.SerialNumber); cache.delete != nil {
					require.ErrorContains(t, err, "remote cache")
					require.NotErrorIs(t, err, ocsp.ErrCacheMiss)
				}
			})
		})
	}
}

func TestStoreReturnsABadError(t *testing.T) {
	t.Parallel()
	withLoggers(t, func(t *testing.T, logger *slog.Logger) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Logger = logger
			cfg.Store = ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) { return ocsp.Record{}, badError() })
		})
		answer := r.responder.Respond(t.Context(), r.request(r.leaf))
		require.Equal(t, ocsp.OutcomeInternalError, answer.Outcome)
		require.NotErrorIs(t, answer.Err, ocsp.ErrNotFound)
		require.NotEmpty(t, answer.Err.Error())
	})
}

func TestSignerReturnsABadError(t *testing.T) {
	t.Parallel()
	withLoggers(t, func(t *testing.T, logger *slog.Logger) {
		var bad atomic.Bool
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Logger = logger
			cfg.Issuers[0].Signer = ocsp.NewSigner(r.ca.Key.Public(), func(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
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
	t.Parallel()
	withLoggers(t, func(t *testing.T, logger *slog.Logger) {
		c := newChanges()
		newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.Feed, cfg.Logger = c, logger })
		<-c.calls
		c.ending <- badError()
		<-c.calls
	})
}

// A log handler that panics does not keep a configuration from being used, nor an answer from being signed.
func TestWarningsOfTheLogAreNotNeeded(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
	withLoggers(t, func(t *testing.T, logger *slog.Logger) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Logger = logger
			cfg.Observe = func(context.Context, ocsp.Event) { panic("Observe") }
		})
		answer := r.responder.Respond(t.Context(), r.request(r.leaf))
		require.Equal(t, ocsp.OutcomeSigned, answer.Outcome)
	})
}

// The log says what a panic was answered with, which need not be an error.
func TestLogSaysWhatBecameOfAPanic(t *testing.T) {
	t.Parallel()
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

// badClock is a clock that panics at one of its calls.
type badClock struct {
	now   func() time.Time
	calls atomic.Int64
	bad   atomic.Int64 // which call; 0: none
}

func (c *badClock) Now() time.Time {
	if c.calls.Add(1) == c.bad.Load() {
		panic("clock")
	}
	return c.now()
}

// panicAt makes a call to come the one that panics, 0 for the next.
func (c *badClock) panicAt(n int) { c.bad.Store(c.calls.Load() + int64(n) + 1) }

// reached reports whether that call came.
func (c *badClock) reached() bool { return c.calls.Load() >= c.bad.Load() }

// A clock that panics, at whichever of its calls, does not reach the host from New and SetIssuer: the error names it.
func TestClockPanicsInNewAndSetIssuer(t *testing.T) {
	t.Parallel()
	ca, store := ocsptest.NewCA(ocsptest.Options{}), ocsptest.NewStore()
	delegated := ca.Issuer()
	delegated.ResponderCertificate, delegated.Signer = ca.Delegate(ocsptest.Options{})
	other := ocsptest.NewCA(ocsptest.Options{}).Issuer()
	other.ID = "other"
	leaf := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, leaf)
	for _, compact := range []bool{false, true} {
		clock := &badClock{now: time.Now}
		cfg := ocsp.Config{Issuers: []ocsp.Issuer{delegated, other}, Store: store, Now: clock.Now, Cache: ocsp.CacheOptions{Compact: compact}}
		for n := 0; ; n++ {
			clock.panicAt(n)
			r, err := ocsp.New(cfg)
			if !clock.reached() {
				require.NoError(t, err)
				require.NotZero(t, n)
				require.NoError(t, r.Close())
				break
			}
			require.Nil(t, r)
			require.EqualError(t, err, "ocsp: config: panic: Config.Now must not panic: clock")
		}
		clock.bad.Store(0)
		r, err := ocsp.New(cfg)
		require.NoError(t, err)
		added := ocsptest.NewCA(ocsptest.Options{}).Issuer()
		added.ID = "added"
		for n := 0; ; n++ {
			clock.panicAt(n)
			err := r.SetIssuer(added)
			if !clock.reached() {
				require.NoError(t, err)
				require.NotZero(t, n)
				break
			}
			require.EqualError(t, err, `ocsp: issuer "added": panic: Config.Now must not panic: clock`)
			answer := r.Respond(t.Context(), ocsptest.Client{}.Request(added.Certificate, leaf))
			require.Equal(t, ocsp.OutcomeUnauthorized, answer.Outcome, "something has changed")
		}
		require.NoError(t, r.Close())
	}
}

// A clock that panics, at whichever of its calls, does not reach the host from any other method, and leaves nothing behind.
func TestClockPanicsLater(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(*rig) error{
		"Respond":       func(r *rig) error { return r.responder.Respond(r.Context(), r.request(r.leaf)).Err },
		"Respond, many": func(r *rig) error { return r.responder.Respond(r.Context(), r.request(r.leaf, r.issue())).Err },
		"Staple": func(r *rig) error {
			_, err := r.responder.Staple(r.Context(), r.leaf)
			return err
		},
		"RespondHTTP": func(r *rig) error {
			text := base64.StdEncoding.EncodeToString(r.request(r.leaf))
			response := r.responder.RespondHTTP(r.Context(), &ocsp.HTTPRequest{Method: http.MethodGet, Path: "/" + text})
			if len(response.Body) < 10 {
				return errors.New("an OCSP error")
			}
			return nil
		},
		"Handler": func(r *rig) error {
			if result := r.post(r.request(r.leaf)); len(result.DER) < 10 {
				return errors.New("an OCSP error")
			}
			return nil
		},
		"Invalidate":   func(r *rig) error { return r.responder.Invalidate(r.Context(), r.ca.ID, r.leaf.SerialNumber) },
		"RemoveIssuer": func(r *rig) error { r.responder.RemoveIssuer("none"); return nil },
		"Close":        func(r *rig) error { return r.responder.Close() },
	} {
		for _, ttl := range []time.Duration{0, time.Hour} {
			t.Run(fmt.Sprintf("%s, StatusTTL %v", name, ttl), func(t *testing.T) {
				for n, reached := 0, true; reached; n++ {
					reached = false
					clock := &badClock{}
					r := newRig(t, func(r *rig, cfg *ocsp.Config) {
						clock.now = r.clock.Now
						cfg.Now, cfg.Cache.StatusTTL = clock.Now, ttl
					})
					for range 2 { // with nothing in the cache, and with an answer past its refresh point
						clock.panicAt(n)
						err := call(r)
						if clock.reached() {
							reached = true
						} else {
							require.NoError(t, err)
						}
						clock.bad.Store(0)
						if name == "Close" {
							break
						}
						require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
						r.clock.Advance(20 * time.Hour)
					}
					require.NoError(t, r.responder.Close())
				}
			})
		}
	}
}

// panickingContext is a context of the host's own.
type panickingContext struct{ context.Context }

func (panickingContext) Done() <-chan struct{}       { panic("context") }
func (panickingContext) Err() error                  { panic("context") }
func (panickingContext) Value(any) any               { panic("context") }
func (panickingContext) Deadline() (time.Time, bool) { panic("context") }

// A context that panics costs its own answer and no other.
func TestPanickingContextCostsItsOwnAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.Remote = &cacheFuncs{get: ocsp.ErrCacheMiss} })
	ctx := panickingContext{t.Context()}
	for range 3 {
		answer := r.responder.Respond(ctx, r.request(r.leaf))
		require.Contains(t, []ocsp.Outcome{ocsp.OutcomeInternalError, ocsp.OutcomeSigned, ocsp.OutcomeCached}, answer.Outcome)
		if _, err := r.responder.Staple(ctx, r.leaf); err != nil {
			require.ErrorContains(t, err, "panic: context")
		}
		response := r.responder.RespondHTTP(ctx, &ocsp.HTTPRequest{Method: http.MethodPost, Body: r.request(r.leaf)})
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.ErrorContains(t, r.responder.Invalidate(ctx, r.ca.ID, r.leaf.SerialNumber), "panic: context")
		require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
	}
}
