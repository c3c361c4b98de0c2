package ocsp_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
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
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		var storeHangs, signerHangs atomic.Bool
		release := make(chan struct{})
		defer close(release)
		unreadable := big.NewInt(77)
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Logger, cfg.Now = slog.New(slog.NewTextHandler(&text, nil)), nil
			cfg.Store = ocsp.StoreFunc(func(_ context.Context, _ string, serial *big.Int) (ocsp.Record, error) {
				if storeHangs.Load() && serial.Cmp(unreadable) != 0 {
					<-release
				}
				if serial.Cmp(unreadable) == 0 {
					return ocsp.Record{State: ocsp.Compromised}, nil
				}
				return ocsp.Record{State: ocsp.Active}, nil
			})
			key := cfg.Issuers[0].Signer
			cfg.Issuers[0].Signer = ocsp.SignerFunc(key.Public(), func(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
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
		require.Equal(t, `ocsp: store: issuer "`+r.ca.ID+`", serial 1f: no answer in time`, ask(big.NewInt(0x1f)))
		require.Contains(t, text.String(), "serial 1f: no answer in time")
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
