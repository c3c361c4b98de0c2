package ocsp

import (
	"context"
	"log/slog"
	"math/big"
	"time"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// observe reports an answer to the host. A panic there is the host's, but must not cost the client's answer.
func (r *Responder) observe(ctx context.Context, p *reply, x *exchange) {
	var e Event
	defer func() {
		if v := recover(); v != nil {
			r.warn(ctx, "ocsp: Observe panicked", &failure{logPanic, "observer", e.IssuerID, nil, &hostcall.PanicError{Value: v}})
		}
	}()
	e = Event{
		Method: x.method, CertIDs: len(x.req.Entries), Nonce: x.req.NonceForm != 0, Entry: x.entry, Outcome: x.outcome,
		StoreTime: x.storeTime, SignTime: x.signTime, Total: time.Since(x.start), Err: x.err,
	}
	if len(x.req.Entries) > 0 {
		e.Hash = x.req.Entries[0].CertID.Hash
	}
	if p.outcome == 0 {
		e.Entry = p.entry(0)
		e.Age = x.now.Sub(time.Unix(p.thisUpdate, 0))
	}
	r.cfg.Observe(ctx, e)
	r.succeeded("observer", e.IssuerID, nil, logPanic)
}

// safeHandler lets a panic in the host's log handler cost the line and nothing else.
type safeHandler struct{ slog.Handler }

func (h safeHandler) Enabled(ctx context.Context, level slog.Level) bool {
	defer func() { _ = recover() }()
	return h.Handler.Enabled(ctx, level)
}

func (h safeHandler) Handle(ctx context.Context, record slog.Record) error {
	defer func() { _ = recover() }()
	return h.Handler.Handle(ctx, record)
}

// defaultHandler is that of slog.Default, whichever that is when a line is written, from Warn up.
type defaultHandler struct{}

func (defaultHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && slog.Default().Enabled(ctx, level)
}

func (defaultHandler) Handle(ctx context.Context, record slog.Record) error {
	return slog.Default().Handler().Handle(ctx, record)
}

func (defaultHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return slog.Default().Handler().WithAttrs(attrs)
}

func (defaultHandler) WithGroup(name string) slog.Handler {
	return slog.Default().Handler().WithGroup(name)
}

// warnOfRemoveFromCRL says, once an hour for each issuer, that a revoked certificate's record has RemoveFromCRL.
func (r *Responder) warnOfRemoveFromCRL(a *authority, issuerID string, serial *big.Int) {
	const hour = 3600
	now, last := r.now().Unix(), a.warned.Load()
	if now-last >= hour && a.warned.CompareAndSwap(last, now) {
		r.cfg.Logger.Warn("ocsp: a revoked certificate's record has the reason removeFromCRL, which releases nothing; it is answered as revoked without a reason; to release it set State Active",
			slog.String("issuer", issuerID), slog.String("serial", serial.Text(16)))
	}
}
