package ocsp

import (
	"context"
	"errors"
	"log/slog"
	"math/big"
	"sync/atomic"
	"time"
)

// observe reports an answer to the host. A panic there is the host's, but must not cost the client's answer.
func (r *Responder) observe(ctx context.Context, p *reply, x *exchange) {
	defer func() {
		if v := recover(); v != nil {
			r.logs.warn(ctx, r.cfg.Logger, logPanic, "ocsp: Observe panicked", &panicError{value: v})
		}
	}()
	e := Event{
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

// logKind is a kind of failure that is logged at most once a second.
type logKind int

const (
	logTryLater logKind = iota
	logInternalError
	logStale
	logPanic
	logShared
	logChanges
	logKinds
)

// logs keeps what outsiders can provoke from flooding the log.
type logs struct {
	last [logKinds]atomic.Int64 // second of the last line, by the wall clock
}

func (l *logs) due(kind logKind) bool {
	now, last := time.Now().Unix(), l.last[kind].Load()
	return now != last && l.last[kind].CompareAndSwap(last, now)
}

func (l *logs) warn(ctx context.Context, logger *slog.Logger, kind logKind, message string, err error) {
	if l.due(kind) {
		logger.WarnContext(ctx, message, slog.Any("error", err))
	}
}

func (l *logs) error(ctx context.Context, logger *slog.Logger, kind logKind, x *exchange) {
	if l.due(kind) {
		logger.ErrorContext(ctx, "ocsp: no answer could be given", slog.String("outcome", x.outcome.String()), slog.Any("error", x.err))
	}
}

// failure logs an answer that the store, the signer or the host spoiled; what clients do wrong is for Observe.
func (l *logs) failure(ctx context.Context, logger *slog.Logger, x *exchange) {
	defer func() { _ = recover() }() // of the host's error or context
	var p *panicError
	switch {
	case errors.As(x.err, &p):
		if l.due(logPanic) {
			logger.ErrorContext(ctx, "ocsp: a panic was contained", slog.String("outcome", x.outcome.String()), slog.Any("error", x.err), slog.String("stack", string(p.stack)))
		}
	case ctx.Err() != nil: // the client has left; that is no failure
	case errors.Is(x.err, errNotValidNow): // warnOfEnd logs it, once an hour
	case x.outcome == OutcomeInternalError:
		l.error(ctx, logger, logInternalError, x)
	case x.outcome == OutcomeTryLater && !errors.Is(x.err, errClosed):
		l.error(ctx, logger, logTryLater, x)
	case x.outcome == OutcomeStale:
		l.warn(ctx, logger, logStale, "ocsp: a cached answer was served past its refresh point or unchecked", x.err)
	}
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
