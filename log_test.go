package ocsp_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
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

// That the responder is closed is nobody's fault.
func TestClosedIsNobodysFault(t *testing.T) {
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

// A client that leaves is nothing to log.
func TestLogSaysNothingOfWhoLeaves(t *testing.T) {
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
