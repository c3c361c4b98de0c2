package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// The log says what is broken, and one thing that is broken does not hide another.
func TestLogSaysWhatIsBroken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		var storeHangs, signerHangs atomic.Bool
		release := make(chan struct{})
		defer close(release)
		unreadable := big.NewInt(77)
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Logger, cfg.Now = slog.New(slog.NewTextHandler(&text, nil)), nil
			cfg.Store = ocsp.CertStoreFunc(func(_ context.Context, _ string, serial *big.Int) (ocsp.Record, error) {
				if storeHangs.Load() && serial.Cmp(unreadable) != 0 {
					<-release
				}
				if serial.Cmp(unreadable) == 0 {
					return ocsp.Record{State: ocsp.Compromised}, nil
				}
				return ocsp.Record{State: ocsp.Active}, nil
			})
			key := cfg.Issuers[0].Signer
			cfg.Issuers[0].Signer = ocsp.NewSigner(key.Public(), func(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
				if signerHangs.Load() {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return key.Sign(rand.Reader, digest, opts)
			})
		})
		ask := func(serial *big.Int) string {
			text.Reset()
			answer := r.responder.Respond(t.Context(), r.request(&x509.Certificate{SerialNumber: serial}))
			require.Error(t, answer.Err)
			return answer.Err.Error()
		}
		storeHangs.Store(true)
		require.Equal(t, `ocsp: store: issuer "`+r.ca.ID+`", serial 1f: the store is silent: no answer in time`, ask(big.NewInt(0x1f)))
		require.Contains(t, text.String(), `serial=1f error="ocsp: the store is silent: no answer in time"`)
		// In the same second.
		require.Contains(t, ask(unreadable), `serial 4d: invalid record: State Compromised without RevokedAt`)
		require.Contains(t, text.String(), "without RevokedAt")
		storeHangs.Store(false)
		signerHangs.Store(true)
		require.Contains(t, ask(big.NewInt(0x1f)), `ocsp: signer: issuer "`+r.ca.ID+`": `)
		require.Contains(t, text.String(), "signer")
	})
}

// An operator hears in good time, but not all the time, that a certificate with which answers are signed will end.
func TestLogWarnsOfTheEnd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		life, silent time.Duration
	}{
		"long": {30 * 24 * time.Hour, 28*24*time.Hour - time.Second}, "short": {40 * time.Hour, 30*time.Hour - time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			var begin time.Time
			r := newRig(t, func(r *rig, cfg *ocsp.Config) {
				begin = r.clock.Now()
				cfg.Logger = slog.New(slog.NewTextHandler(&text, nil))
				cfg.Issuers[0].ResponderCertificate, cfg.Issuers[0].Signer = r.ca.Delegate(ocsptest.Options{NotBefore: begin, NotAfter: begin.Add(test.life)})
			})
			lines := func() int {
				text.Reset()
				for range 5 {
					require.Equal(t, xocsp.Good, r.status(r.issue()).Status)
				}
				return strings.Count(text.String(), "renew it and call SetIssuer")
			}
			r.clock.Set(begin.Add(test.silent))
			require.Zero(t, lines())
			r.clock.Advance(time.Second)
			require.Equal(t, 1, lines())
			require.Contains(t, text.String(), "issuer=")
			r.clock.Advance(time.Hour - time.Second)
			require.Zero(t, lines())
			r.clock.Advance(time.Second)
			require.Equal(t, 1, lines())
		})
	}
}

// Errors name the component, the issuer and, of the store, the certificate, once.
func TestErrorTexts(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	ask := func(r *rig, nonce []byte) string {
		answer := r.responder.Respond(r.Context(), ocsptest.Client{Nonce: nonce}.Request(r.ca.Certificate, r.leaf))
		require.Error(r, answer.Err)
		return answer.Err.Error()
	}
	for name, second := range map[string]struct {
		record ocsp.Record
		err    error
		want   string
	}{
		"fails":      {ocsp.Record{}, down, "the store is busy: down"}, // it has answered about the first ID
		"unreadable": {ocsp.Record{State: ocsp.Compromised}, nil, "invalid record: State Compromised without RevokedAt"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(r *rig, cfg *ocsp.Config) {
				other := cfg.Issuers[0]
				cfg.Issuers[0].ID, other.ID = "one", "two"
				cfg.Issuers = append(cfg.Issuers, other)
				r.leaf.SerialNumber = big.NewInt(0x1f)
				cfg.Store = ocsp.CertStoreFunc(func(_ context.Context, id string, _ *big.Int) (ocsp.Record, error) {
					if id == "one" {
						return ocsp.Record{}, ocsp.ErrNotFound
					}
					return second.record, second.err
				})
			})
			require.Equal(t, `ocsp: store: issuer "two", serial 1f: `+second.want, ask(r, nil))
		})
	}
	for name, nonce := range map[string][]byte{"plain": nil, "nonce": []byte("nonce")} {
		t.Run("signer, "+name, func(t *testing.T) {
			r := newRig(t, nil)
			r.signer.SetFault(ocsptest.Fail)
			require.True(t, strings.HasPrefix(ask(r, nonce), `ocsp: signer: issuer "`+r.ca.ID+`": `), ask(r, nonce))
			require.Equal(t, 1, strings.Count(ask(r, nonce), "ocsp: signer"))
		})
	}
	t.Run("one of Go's own keys", func(t *testing.T) {
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Issuers[0].ResponderCertificate, cfg.Issuers[0].Signer = r.ca.Delegate(ocsptest.Options{NotAfter: r.clock.Now().Add(time.Hour)})
		})
		r.clock.Advance(2 * time.Hour)
		require.True(t, strings.HasPrefix(ask(r, nil), `ocsp: signer: issuer "`+r.ca.ID+`": the signing certificate`), ask(r, nil))
	})
	t.Run("a signer that outlasts the answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(r *rig, cfg *ocsp.Config) { cfg.Timeout = time.Second })
			r.signer.SetFault(ocsptest.Hang)
			require.Equal(t, `ocsp: signer: issuer "`+r.ca.ID+`": no answer in time`, ask(r, nil))
		})
	})
}

// A request that ends because the responder is closed is not logged as a failure.
func TestClosingIsNotLoggedAsAFailure(t *testing.T) {
	t.Parallel()
	for range 20 { // the order in which goroutines see that the store has answered is a matter of chance
		synctest.Test(t, closedIsNobodysFault)
	}
}

func closedIsNobodysFault(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
			<-release
			return r.store.FindBySerial(ctx, id, serial)
		})
	})
	answer := make(chan ocsp.Answer, 1)
	go func() { answer <- r.responder.Respond(t.Context(), r.request(r.leaf, r.issue())) }()
	synctest.Wait()
	closed := make(chan error, 1)
	go func() { closed <- r.responder.Close() }()
	synctest.Wait()
	close(release)
	require.EqualError(t, (<-answer).Err, "ocsp: the responder is closed")
	require.NoError(t, <-closed)
}

// A request that comes after Close is nothing to log.
func TestLogSaysNothingAfterClose(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&text, nil)) })
	require.NoError(t, r.responder.Close())
	r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
	require.Empty(t, text.String())
}

// A panic outside the host's store and signer is nobody's in particular.
func TestPanicOfTheClock(t *testing.T) {
	t.Parallel()
	broken := false
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		now := cfg.Now
		cfg.Now = func() time.Time {
			if broken {
				panic("clock")
			}
			return now()
		}
	})
	broken = true
	require.EqualError(t, r.responder.Respond(t.Context(), r.request(r.leaf)).Err, "ocsp: panic: Config.Now must not panic: clock")
	broken = false
}

// A client that leaves is not logged.
func TestClientsThatLeaveAreNotLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&text, nil)) })
		r.store.SetFault(ocsptest.Hang)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, ocsp.OutcomeTryLater, r.responder.Respond(ctx, r.request(r.leaf)).Outcome)
		require.Empty(t, text.String())
	})
}

// A wrong signature is told from a signer that fails.
func TestWrongSignatureIsNamed(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.signer.SetFault(ocsptest.Wrong)
	require.ErrorContains(t, r.responder.Respond(t.Context(), r.request(r.leaf)).Err, "a wrong signature")
}

// logLine is what a test looks at in a line of the log.
type logLine struct {
	Level, Msg, Component, Issuer, Serial, Error, Outcome string
	Suppressed                                            int
}

// logBook keeps what is logged.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(b, nil)) }

// take returns the lines since it was last called.
func (b *logBook) take(t *testing.T) (lines []logLine) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for text := range bytes.Lines(b.text.Bytes()) {
		var line logLine
		require.NoError(t, json.Unmarshal(text, &line))
		lines = append(lines, line)
	}
	b.text.Reset()
	return lines
}

const (
	noAnswer  = "ocsp: no answer could be given"
	isOver    = "ocsp: a failure is over"
	unchecked = "ocsp: a cached answer was served unchecked"
)

// logRig is a rig whose store fails for the issuers and serials that the test names, and its log.
type logRig struct {
	*rig
	book   logBook
	mu     sync.Mutex
	broken map[string]error // by issuer, or by issuer and serial
}

// fail makes the store fail, or with a nil error work again, for an issuer or for "issuer serial".
func (r *logRig) fail(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken[what] = err
}

func (r *logRig) FindBySerial(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
	r.mu.Lock()
	err := errors.Join(r.broken[id], r.broken[id+" "+serial.Text(16)])
	r.mu.Unlock()
	if err != nil {
		return ocsp.Record{}, err
	}
	return ocsp.Record{State: ocsp.Active}, nil
}

// newLogRig makes a responder for the issuers "a" and "b", of different CAs. The clock is the bubble's.
func newLogRig(t *testing.T, adjust func(*logRig, *ocsp.Config)) (r *logRig, b *ocsptest.CA) {
	r, b = &logRig{broken: map[string]error{}}, ocsptest.NewCA(ocsptest.Options{Name: "B"})
	r.rig = newRig(t, func(inner *rig, cfg *ocsp.Config) {
		r.rig = inner
		other := b.Issuer()
		cfg.Issuers[0].ID, other.ID = "a", "b"
		cfg.Issuers = append(cfg.Issuers, other)
		cfg.Store, cfg.Logger, cfg.Now = r, r.book.logger(), nil
		if adjust != nil {
			adjust(r, cfg)
		}
	})
	return r, b
}

// about asks about a serial number.
func (r *logRig) about(ca *ocsptest.CA, serial int64) ocsp.Answer {
	cert := &x509.Certificate{SerialNumber: big.NewInt(serial)}
	return r.responder.Respond(context.Background(), ocsptest.Client{}.Request(ca.Certificate, cert))
}

// What fails for one issuer hides neither what fails for another, nor another component's failure.
func TestLogLimitsAreForEachIssuer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := newLogRig(t, nil)
		down := errors.New("down")
		r.fail("a", down)
		r.fail("b", down)
		for range 10 {
			r.about(r.ca, 1)
			r.about(b, 2)
		}
		require.Equal(t, []logLine{
			{Level: "ERROR", Msg: noAnswer, Component: "store", Issuer: "a", Serial: "1", Error: "down", Outcome: "tryLater"},
			{Level: "ERROR", Msg: noAnswer, Component: "store", Issuer: "b", Serial: "2", Error: "down", Outcome: "tryLater"},
		}, r.book.take(t))
		r.fail("a", nil)
		r.signer.SetFault(ocsptest.Fail)
		r.about(r.ca, 1)
		lines := r.book.take(t)
		require.Len(t, lines, 2)
		require.Equal(t, isOver, lines[0].Msg)
		require.Equal(t, "signer", lines[1].Component)
		require.Equal(t, "a", lines[1].Issuer)
		require.Contains(t, lines[1].Error, "injected fault")
		require.NotContains(t, lines[1].Error, "issuer")
	})
}

// A line says how many failures of its kind were not logged before it.
func TestLogCountsWhatItSuppresses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := newLogRig(t, nil)
		r.fail("a", errors.New("down"))
		for range 10 {
			r.about(r.ca, 1)
		}
		require.Zero(t, r.book.take(t)[0].Suppressed)
		time.Sleep(time.Second)
		for range 5 {
			r.about(r.ca, 1)
		}
		lines := r.book.take(t)
		require.Len(t, lines, 1)
		require.Equal(t, 9, lines[0].Suppressed)
		time.Sleep(time.Second)
		r.fail("a", nil)
		r.about(r.ca, 1)
		require.Equal(t, []logLine{{Level: "WARN", Msg: isOver, Component: "store", Issuer: "a", Suppressed: 4}}, r.book.take(t))
		r.fail("a", errors.New("down"))
		r.about(r.ca, 1)
		require.Zero(t, r.book.take(t)[0].Suppressed)
	})
}

// The first success after a failure is logged, once, and a failure that follows at once is not taken for over.
func TestLogSaysThatAFailureIsOver(t *testing.T) {
	t.Parallel()
	over := func(component string) []logLine {
		return []logLine{{Level: "WARN", Msg: isOver, Component: component, Issuer: "a"}}
	}
	in := func(name string, f func(*testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
	}
	in("store", func(t *testing.T) {
		r, b := newLogRig(t, nil)
		r.fail("a", errors.New("down"))
		r.about(r.ca, 1)
		r.about(b, 1)
		require.Len(t, r.book.take(t), 1, "the success of another issuer says nothing")
		r.fail("a", nil)
		for range 3 {
			r.about(r.ca, 2)
		}
		require.Equal(t, over("store"), r.book.take(t))
	})
	in("store that never issued it", func(t *testing.T) {
		r, _ := newLogRig(t, nil)
		r.fail("a", errors.New("down"))
		r.about(r.ca, 1)
		r.book.take(t)
		r.fail("a", ocsp.ErrNotFound)
		r.about(r.ca, 1)
		require.Equal(t, over("store"), r.book.take(t))
	})
	in("stale answers", func(t *testing.T) {
		r, _ := newLogRig(t, nil)
		r.about(r.ca, 1)
		r.fail("a", errors.New("down"))
		ocsp.QuietStores(r.responder)
		require.Equal(t, ocsp.OutcomeStale, r.about(r.ca, 1).Outcome)
		require.Equal(t, ocsp.OutcomeTryLater, r.about(r.ca, 2).Outcome)
		require.Len(t, r.book.take(t), 2)
		r.fail("a", nil)
		r.about(r.ca, 1)
		require.Equal(t, over("store"), r.book.take(t), "both kinds")
	})
	in("shared reads", func(t *testing.T) {
		r, _ := newLogRig(t, func(_ *logRig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Minute })
		r.fail("a", errors.New("down"))
		r.about(r.ca, 1)
		require.Len(t, r.book.take(t), 1)
		r.fail("a", nil)
		r.about(r.ca, 1)
		require.Equal(t, over("store"), r.book.take(t))
	})
	in("signer", func(t *testing.T) {
		r, _ := newLogRig(t, nil)
		for fault, outcome := range map[ocsptest.Fault]ocsp.Outcome{
			ocsptest.Fail: ocsp.OutcomeTryLater, ocsptest.Wrong: ocsp.OutcomeTryLater, ocsptest.Panic: ocsp.OutcomeInternalError,
		} {
			r.signer.SetFault(fault)
			require.Equal(t, outcome, r.about(r.ca, int64(fault)).Outcome)
			require.Len(t, r.book.take(t), 1)
			r.signer.SetFault(ocsptest.Healthy)
			r.about(r.ca, int64(fault))
			require.Equal(t, over("signer"), r.book.take(t))
			time.Sleep(time.Second)
		}
	})
	in("one certificate", func(t *testing.T) {
		r, _ := newLogRig(t, nil)
		r.fail("a 1", ocsp.ErrInvalidRecord)
		require.Equal(t, ocsp.OutcomeInternalError, r.about(r.ca, 1).Outcome)
		r.about(r.ca, 2)
		require.Len(t, r.book.take(t), 1, "another certificate's record says nothing of this one's")
		r.fail("a 1", nil)
		r.about(r.ca, 1)
		want := over("store")
		want[0].Serial = "1"
		require.Equal(t, want, r.book.take(t))
	})
	in("again", func(t *testing.T) {
		r, _ := newLogRig(t, nil)
		turn := func(err error) {
			r.fail("a", err)
			r.about(r.ca, 1)
		}
		down := errors.New("down")
		turn(down)
		turn(nil)
		require.Len(t, r.book.take(t), 2)
		turn(down)
		turn(nil)
		turn(down)
		turn(nil)
		require.Empty(t, r.book.take(t), "in the same second")
		time.Sleep(time.Second)
		turn(nil)
		want := over("store")
		want[0].Suppressed = 2
		require.Equal(t, want, r.book.take(t), "of the failures after the last line")
	})
	in("remote cache", func(t *testing.T) {
		cache := &cacheFuncs{get: ocsp.ErrCacheMiss}
		r, _ := newLogRig(t, func(_ *logRig, cfg *ocsp.Config) { cfg.Cache.Remote = cache })
		serial := int64(0)
		ask := func(get, put error) []logLine {
			serial++
			cache.get, cache.put = get, put
			r.about(r.ca, serial)
			synctest.Wait()
			return r.book.take(t)
		}
		lines := ask(ocsp.ErrCacheMiss, errors.New("read only"))
		require.Len(t, lines, 1)
		require.Equal(t, "remote cache", lines[0].Component)
		require.Equal(t, "a", lines[0].Issuer)
		require.Equal(t, "1", lines[0].Serial)
		require.Contains(t, lines[0].Error, "read only")
		require.Len(t, ask(errors.New("down"), errors.New("down")), 1, "that Put fails does not hide that Get does")
		require.Equal(t, over("remote cache")[0].Msg, ask(ocsp.ErrCacheMiss, errors.New("read only"))[0].Msg)
		time.Sleep(time.Second)
		lines = ask(ocsp.ErrCacheMiss, nil)
		require.Len(t, lines, 1)
		require.Equal(t, isOver, lines[0].Msg)
		require.Equal(t, 2, lines[0].Suppressed)
	})
	in("change feed", func(t *testing.T) {
		c := newChanges()
		r, _ := newLogRig(t, func(_ *logRig, cfg *ocsp.Config) { cfg.Cache.Feed = c })
		<-c.calls
		c.ending <- errors.New("connection lost")
		f := <-c.calls
		lines := r.book.take(t)
		require.Len(t, lines, 1)
		require.Equal(t, "change feed", lines[0].Component)
		require.Equal(t, "connection lost", lines[0].Error)
		f.Resync()
		require.Empty(t, r.book.take(t), "nothing is trusted yet")
		f.ValidUntil(time.Now().Add(time.Minute))
		f.ValidUntil(time.Now().Add(time.Minute))
		require.Equal(t, []logLine{{Level: "WARN", Msg: isOver, Component: "change feed"}}, r.book.take(t))
	})
	in("Observe", func(t *testing.T) {
		var panics atomic.Bool
		r, _ := newLogRig(t, func(_ *logRig, cfg *ocsp.Config) {
			cfg.Observe = func(context.Context, ocsp.Event) {
				if panics.Load() {
					panic("Observe")
				}
			}
		})
		panics.Store(true)
		r.about(r.ca, 1)
		lines := r.book.take(t)
		require.Len(t, lines, 1)
		require.Equal(t, "observer", lines[0].Component)
		require.Equal(t, "a", lines[0].Issuer)
		panics.Store(false)
		r.about(r.ca, 1)
		require.Equal(t, over("observer"), r.book.take(t))
	})
}

// The log distinguishes an unverified answer, one past its refresh point, and one without the
// nonce that the client sent.
func TestLogDistinguishesStaleAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := newLogRig(t, nil)
		ask := func(nonce []byte) (ocsp.Answer, []logLine) {
			client := ocsptest.Client{Nonce: nonce}
			answer := r.responder.Respond(t.Context(), client.Request(r.ca.Certificate, r.leaf))
			return answer, r.book.take(t)
		}
		answer, lines := ask(nil)
		require.Equal(t, ocsp.OutcomeSigned, answer.Outcome)
		require.Empty(t, lines)

		ocsp.QuietStores(r.responder)
		r.fail("a", errors.New("down"))
		answer, lines = ask(nil)
		require.Equal(t, ocsp.OutcomeStale, answer.Outcome)
		require.Equal(t, []logLine{{
			Level: "WARN", Msg: unchecked, Component: "store", Issuer: "a", Serial: r.leaf.SerialNumber.Text(16),
			Error: "down", Outcome: "stale",
		}}, lines)
		r.fail("a", nil)
		ask(nil)

		r.signer.SetFault(ocsptest.Fail)
		answer, lines = ask([]byte("nonce"))
		require.Equal(t, ocsp.OutcomeStale, answer.Outcome)
		require.Len(t, lines, 1)
		require.Equal(t, "ocsp: a cached answer was served without the nonce or the algorithm that the client asked for", lines[0].Msg)
		require.Equal(t, "signer", lines[0].Component)

		time.Sleep(17 * time.Hour)
		ask(nil) // the one that tries to renew it
		answer, lines = ask(nil)
		require.Equal(t, ocsp.OutcomeStale, answer.Outcome)
		require.Empty(t, lines, "in the same second")
		time.Sleep(time.Second)
		answer, lines = ask(nil)
		require.Equal(t, ocsp.OutcomeStale, answer.Outcome)
		require.Len(t, lines, 1)
		require.Equal(t, "ocsp: a cached answer was served past its refresh point", lines[0].Msg)
		require.Equal(t, "signer", lines[0].Component)
		require.Equal(t, 1, lines[0].Suppressed)
	})
}

// Of two issuers that are one CA to clients, the log names the one whose store fails, and the other's success says
// nothing about it.
func TestLogNamesTheIssuerWhoseStoreFails(t *testing.T) {
	t.Parallel()
	for name, ttl := range map[string]time.Duration{"own reads": 0, "shared reads": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var hangs atomic.Bool
				release := make(chan struct{})
				defer close(release)
				r, _ := newLogRig(t, func(r *logRig, cfg *ocsp.Config) {
					cfg.Cache.StatusTTL = ttl
					renewed := cfg.Issuers[0]
					renewed.ID = "renewed"
					renewed.Store = ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
						if hangs.Load() {
							<-release
						}
						return ocsp.Record{State: ocsp.Active}, nil
					})
					cfg.Issuers = append(cfg.Issuers, renewed)
					r.broken["a 2"] = ocsp.ErrNotFound
					r.broken["a 3"] = ocsp.ErrNotFound
				})
				hangs.Store(true)
				require.Equal(t, ocsp.OutcomeTryLater, r.about(r.ca, 2).Outcome)
				lines := r.book.take(t)
				require.Len(t, lines, 1)
				require.Equal(t, "renewed", lines[0].Issuer)
				require.Equal(t, ocsp.OutcomeSigned, r.about(r.ca, 1).Outcome)
				require.Empty(t, r.book.take(t))
				hangs.Store(false)
				require.Equal(t, ocsp.OutcomeSigned, r.about(r.ca, 3).Outcome)
				require.Equal(t, []logLine{{Level: "WARN", Msg: isOver, Component: "store", Issuer: "renewed"}}, r.book.take(t))
			})
		})
	}
}

// What an error says about the store is logged with it, and the error names the issuer and the certificate once.
func TestLogSaysThatTheStoreIsBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := newLogRig(t, nil)
		r.fail("a", errors.New("down"))
		require.Equal(t, ocsp.OutcomeSigned, r.about(b, 1).Outcome)
		answer := r.about(r.ca, 0x1f)
		require.ErrorIs(t, answer.Err, ocsp.ErrStoreBusy)
		require.EqualError(t, answer.Err, `ocsp: store: issuer "a", serial 1f: the store is busy: down`)
		lines := r.book.take(t)
		require.Len(t, lines, 1)
		require.Equal(t, "ocsp: the store is busy: down", lines[0].Error)
		require.Equal(t, "1f", lines[0].Serial)
	})
}

// A log handler that hangs delays no SetIssuer.
func TestSlowLogDelaysNoSetIssuer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, release := newChanges(), make(chan struct{})
		r, _ := newLogRig(t, func(r *logRig, cfg *ocsp.Config) {
			cfg.Cache.Feed = c
			cfg.Logger = slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
				if bytes.Contains(p, []byte(isOver)) {
					<-release
				}
				return len(p), nil
			}), nil))
		})
		<-c.calls
		c.ending <- errors.New("connection lost")
		f := <-c.calls
		f.Resync()
		trusting := make(chan struct{})
		go func() {
			defer close(trusting)
			f.ValidUntil(time.Now().Add(time.Minute))
		}()
		synctest.Wait()
		f.Changed("a", r.leaf.SerialNumber)
		close(release)
		<-trusting
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Outsiders can neither flood the log nor make it keep more, whatever they ask about; nor do issuers that come and go.
func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, b := newLogRig(t, nil)
		r.fail("a", errors.New("down"))
		for i := range 1000 {
			if i%2 == 0 {
				r.fail("b", ocsp.ErrInvalidRecord)
			} else {
				r.fail("b", nil)
			}
			r.about(r.ca, int64(i))
			r.about(b, int64(i/2)) // the same serial, once broken and once not
			stranger := ocsptest.NewCA(ocsptest.Options{Signer: r.ca.Key, Name: fmt.Sprint(i % 10)})
			r.about(stranger, int64(i))
			r.post([]byte("noise"))
		}
		require.Len(t, r.book.take(t), 3, "two that fail, one that is over")
		require.Equal(t, 2, ocsp.LogLimits(r.responder))

		for i := range 100 {
			tenant := b.Issuer()
			tenant.Certificate = ocsptest.NewCA(ocsptest.Options{Signer: b.Key, Name: fmt.Sprint("tenant ", i)}).Certificate
			tenant.ID = fmt.Sprint("tenant ", i)
			require.NoError(t, r.responder.SetIssuer(tenant))
			r.fail(tenant.ID, errors.New("down"))
			client := ocsptest.Client{}
			r.responder.Respond(t.Context(), client.Request(tenant.Certificate, r.leaf))
			r.responder.RemoveIssuer(tenant.ID)
		}
		require.Len(t, r.book.take(t), 100)
		require.Equal(t, 2, ocsp.LogLimits(r.responder))
	})
}

// A failure that is logged when its issuer has just been removed is logged, and leaves nothing behind.
func TestLogOfARemovedIssuer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		key := ocsptest.NewCA(ocsptest.Options{})
		r, b := newLogRig(t, func(_ *logRig, cfg *ocsp.Config) {
			cfg.Issuers[1].Signer = ocsp.NewSigner(cfg.Issuers[1].Signer.Public(), func(context.Context, []byte, crypto.SignerOpts) ([]byte, error) {
				<-release
				return key.Key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
			})
		})
		answers := make(chan ocsp.Answer, 2)
		for serial := range int64(2) {
			go func() { answers <- r.about(b, serial+1) }()
		}
		synctest.Wait()
		r.responder.RemoveIssuer("b")
		close(release)
		require.Equal(t, ocsp.OutcomeTryLater, (<-answers).Outcome)
		require.Equal(t, ocsp.OutcomeTryLater, (<-answers).Outcome)
		lines := r.book.take(t)
		require.Len(t, lines, 1)
		require.Equal(t, "b", lines[0].Issuer)
		require.Contains(t, lines[0].Error, "a wrong signature")
		require.False(t, ocsp.LogsFailing(r.responder), "nobody will say that it is over")
	})
}

// Without a Logger, what an operator should look into goes to slog.Default(), whichever that is by then.
func TestLogIsTheDefaultLoggers(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	first, second := new(logBook), new(logBook)
	slog.SetDefault(first.logger())
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		cfg.Logger = nil
		cfg.Issuers[0].ResponderCertificate, cfg.Issuers[0].Signer = r.ca.Delegate(ocsptest.Options{Adjust: withoutNoCheck})
	})
	lines := first.take(t)
	require.Len(t, lines, 1)
	require.Contains(t, lines[0].Msg, "clients may refuse answers")
	slog.SetDefault(second.logger())
	r.store.SetFault(ocsptest.Fail)
	r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
	require.Empty(t, first.take(t))
	lines = second.take(t)
	require.Len(t, lines, 1)
	require.Equal(t, noAnswer, lines[0].Msg)

	quiet := new(logBook)
	slog.SetDefault(slog.New(slog.NewJSONHandler(quiet, &slog.HandlerOptions{Level: slog.LevelError + 1})))
	r.store.SetFault(ocsptest.Panic)
	r.post(r.request(r.leaf))
	require.Empty(t, quiet.take(t), "the default logger's own level holds")
}
