package ocsp

import (
	"context"
	"log/slog"
	"time"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// observe reports an answer to the host. A panic there is the host's, but must not cost the client's answer.
func (r *Responder) observe(ctx context.Context, p *reply, now time.Time, x *exchange) {
	var e Event
	defer func() {
		if v := recover(); v != nil {
			r.log.warn(ctx, "ocsp: Observe panicked", &failure{logPanic, "observer", e.First.IssuerID, nil, &hostcall.PanicError{Value: v}})
		}
	}()
	e = Event{
		Method: x.method, CertIDs: len(x.req.Entries), Nonce: x.req.NonceForm != 0, First: x.first, Outcome: x.outcome,
		StoreTime: x.storeTime, SignTime: x.signTime, Total: time.Since(x.start), Err: x.err,
	}
	if len(x.req.Entries) > 0 {
		e.Hash = x.req.Entries[0].CertID.Hash
	}
	if p.outcome == 0 {
		e.First = p.entry(0)
		e.Age = now.Sub(time.Unix(p.ThisUpdate, 0))
	}
	r.cfg.Observe(ctx, e)
	r.log.succeeded("observer", e.First.IssuerID, nil, logPanic)
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
