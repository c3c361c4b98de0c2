package ocsp

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// observe passes an answer to Config.Observe. A panic of Observe does not cost the client its
// answer.
func (x *exchange) observe(ctx context.Context, p *reply, now time.Time) {
	var e Event
	defer func() {
		if v := recover(); v != nil {
			err := hostcall.NewPanicError(v)
			x.log.warn(ctx, "ocsp: Observe panicked",
				&failure{logPanic, "observer", e.First.IssuerID, nil, err})
		}
	}()
	e = Event{
		Method: x.method, CertIDs: len(x.req.Entries), Nonce: x.req.NonceForm != 0,
		Outcome: x.outcome, Err: x.err,
		StoreTime: x.storeTime, SignTime: x.signTime, Total: time.Since(x.start),
	}
	if len(x.req.Entries) > 0 {
		e.Hash = x.req.Entries[0].CertID.Hash
	}
	switch a := x.match.authority; {
	case p.outcome == 0:
		e.First = p.entry(0)
		e.Age = now.Sub(time.Unix(p.ThisUpdate, 0))
	case a != nil:
		serial := codec.SerialInt(x.req.Entries[0].CertID.Serial)
		e.First = SingleResponse{IssuerID: a.ids[0], Serial: serial}
	}
	x.cfg.Observe(ctx, e)
	x.log.succeeded("observer", e.First.IssuerID, nil, logPanic)
}

// logFailure logs an answer that failed because of the store, the signer or another component of
// the host. Clients' errors are only observed.
func (x *exchange) logFailure(ctx context.Context, now time.Time) {
	switch x.outcome {
	case OutcomeTryLater, OutcomeInternalError, OutcomeStale:
	default:
		return
	}
	defer func() { _ = recover() }() // of the host's error or context
	f := failure{err: x.err}
	var host *hostError
	if errors.As(x.err, &host) {
		f.component, f.issuer, f.serial = host.component, host.issuerID, host.serial
		if x.err == error(host) {
			f.err = host.err // the rest of its text is in attributes
		}
	} else if x.id != nil {
		f.issuer, f.serial = x.match.ids[0], codec.SerialInt(x.id.Serial)
	}
	level, message := slog.LevelError, "ocsp: no answer could be given"
	attrs := []slog.Attr{slog.String("outcome", x.outcome.String())}
	var p *hostcall.PanicError
	switch {
	case errors.As(x.err, &p):
		f.kind, message = logPanic, "ocsp: a panic was contained"
		attrs = append(attrs, slog.String("stack", string(p.Stack)))
	case ctx.Err() != nil || errors.Is(x.err, errClosed): // the client left or the host stops
		return
	case errors.Is(x.err, errNotValidNow): // warnOfEnd logs it once an hour
		return
	case x.outcome == OutcomeInternalError:
		f.kind = logInternalError
	case x.outcome == OutcomeTryLater:
		f.kind = logTryLater
	case f.component == "store":
		level, f.kind = slog.LevelWarn, logUnchecked
		message = "ocsp: a cached answer was served unchecked"
	case !isFresh(&x.reply.Life, now):
		level, f.kind = slog.LevelWarn, logPastRefresh
		message = "ocsp: a cached answer was served past its refresh point"
	default:
		level, f.kind = slog.LevelWarn, logSubstitute
		message = "ocsp: a cached answer was served without the nonce or the algorithm " +
			"that the client asked for"
	}
	if suppressed, due := x.log.due(&f); due {
		x.log.line(ctx, level, message, &f, suppressed, attrs...)
	}
}
