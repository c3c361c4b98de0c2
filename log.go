package ocsp

import (
	"context"
	"errors"
	"log/slog"
	"math/big"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// logKind is a kind of failure.
type logKind int

const (
	logTryLater logKind = iota
	logInternalError
	logPanic
	logUnchecked   // a cached answer was served because the status could not be read
	logPastRefresh // a cached answer was served because it could not be renewed
	logSubstitute  // a cached answer was served because one with the nonce could not be signed
	logSharedGet
	logSharedPut
	logSharedValue
	logChanges
	logKinds
)

// callFailures are the kinds of failure that a call of the store or the signer may lead to.
var callFailures = []logKind{logTryLater, logInternalError, logPanic, logUnchecked, logPastRefresh, logSubstitute}

// ofCertificate reports whether such a failure may be that of one certificate alone.
func (k logKind) ofCertificate() bool {
	return k == logInternalError || k == logPanic || k == logSharedValue
}

// failure is a failure to log. The zero values of component, issuer and serial are for none in particular.
type failure struct {
	kind      logKind
	component string // "store", "signer", "remote cache", "change feed" or "observer"
	issuer    string
	serial    *big.Int
	err       error
}

// failureLog keeps what outsiders can provoke from flooding the log: it lets one line a second through for each kind,
// component and issuer. It also knows which failures are not over. It has room for configured issuers only.
type failureLog struct {
	logger     *slog.Logger
	configured func(issuer string) bool // an issuer with that ID is
	failing    atomic.Int64             // kinds at all places that are not over: while it is zero, a success costs one load
	mu         sync.RWMutex
	places     map[logPlace]*placeLog
}

// logPlace is where something fails.
type logPlace struct{ component, issuer string }

// placeLog is what was logged about one place.
type placeLog struct {
	over  int64 // the second of the last line that said that a failure is over, since 1970
	kinds [logKinds]kindLog
}

// kindLog is what was logged about one kind of failure at one place.
type kindLog struct {
	last       int64    // the second of the last line, since 1970
	suppressed int64    // failures since the last line
	failing    bool     // no success since
	serial     *big.Int // in the last line
}

// endsWith reports whether a success about that serial number ends the failure.
func (p *placeLog) endsWith(kind logKind, serial *big.Int) bool {
	k := &p.kinds[kind]
	return k.failing && (!kind.ofCertificate() || k.serial == nil || serial != nil && k.serial.Cmp(serial) == 0)
}

// due notes a failure. It reports whether to log it, and how many of its kind were not logged since the last line.
func (l *failureLog) due(f *failure) (suppressed int64, due bool) {
	now := time.Now().Unix()
	l.mu.Lock()
	defer l.mu.Unlock()
	place := logPlace{f.component, f.issuer}
	if !l.configured(f.issuer) { // it was just removed
		place.issuer = ""
	}
	p := l.places[place]
	if p == nil {
		if l.places == nil {
			l.places = map[logPlace]*placeLog{}
		}
		p = &placeLog{}
		l.places[place] = p
	}
	k := &p.kinds[f.kind]
	if !k.failing && f.component != "" && f.issuer == place.issuer { // there may be a success
		k.failing = true
		l.failing.Add(1)
	}
	if k.last == now {
		k.suppressed++
		return 0, false
	}
	suppressed, k.suppressed, k.last, k.serial = k.suppressed, 0, now, nil
	if f.serial != nil {
		k.serial = new(big.Int).Set(f.serial)
	}
	return suppressed, true
}

// succeeded notes that a component has worked, for the certificate with that serial number or, if it is nil, for
// none in particular. The first success after failures of these kinds is logged, within the same limits.
func (l *failureLog) succeeded(component, issuer string, serial *big.Int, kinds ...logKind) {
	if l.failing.Load() == 0 {
		return
	}
	f := failure{component: component, issuer: issuer}
	if suppressed, over := l.end(&f, serial, kinds); over {
		l.line(context.Background(), slog.LevelWarn, "ocsp: a failure is over", &f, suppressed)
	}
}

// end ends the failures that are over with a success. It sets f.serial if they are those of one certificate.
func (l *failureLog) end(f *failure, serial *big.Int, kinds []logKind) (suppressed int64, over bool) {
	place, now := logPlace{f.component, f.issuer}, time.Now().Unix()
	ends := func(kind logKind) bool { return l.places[place].endsWith(kind, serial) }
	l.mu.RLock()
	p := l.places[place]
	over = p != nil && p.over != now && slices.ContainsFunc(kinds, ends)
	l.mu.RUnlock()
	if !over {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.places[place] != p || p.over == now { // the issuer was removed, or another success was first
		return 0, false
	}
	for _, kind := range kinds {
		if !ends(kind) {
			continue
		}
		k := &p.kinds[kind]
		if kind.ofCertificate() && k.serial != nil {
			f.serial = k.serial
		}
		suppressed += k.suppressed
		k.suppressed, k.failing, p.over = 0, false, now
		l.failing.Add(-1)
	}
	return suppressed, p.over == now
}

// keepOnly forgets the issuers that are not configured any more.
func (l *failureLog) keepOnly(reg *registry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for place, p := range l.places {
		if place.issuer == "" || reg.byID[place.issuer] != nil {
			continue
		}
		for kind := range p.kinds {
			if p.kinds[kind].failing {
				l.failing.Add(-1)
			}
		}
		delete(l.places, place)
	}
}

// warn logs a failure, if it is due.
func (l *failureLog) warn(ctx context.Context, message string, f *failure) {
	if suppressed, due := l.due(f); due {
		l.line(ctx, slog.LevelWarn, message, f, suppressed)
	}
}

// line writes a line about a failure.
func (l *failureLog) line(ctx context.Context, level slog.Level, message string, f *failure, suppressed int64, attrs ...slog.Attr) {
	if f.component != "" {
		attrs = append(attrs, slog.String("component", f.component))
	}
	if f.issuer != "" {
		attrs = append(attrs, slog.String("issuer", f.issuer))
	}
	if f.serial != nil {
		attrs = append(attrs, slog.String("serial", f.serial.Text(16)))
	}
	if f.err != nil {
		attrs = append(attrs, slog.Any("error", f.err))
	}
	if suppressed > 0 {
		attrs = append(attrs, slog.Int64("suppressed", suppressed))
	}
	l.logger.LogAttrs(ctx, level, message, attrs...)
}

// logFailure logs an answer that the store, the signer or the host spoiled; what clients do wrong is for Observe.
func (r *Responder) logFailure(ctx context.Context, now time.Time, x *exchange) {
	if x.outcome != OutcomeTryLater && x.outcome != OutcomeInternalError && x.outcome != OutcomeStale {
		return
	}
	defer func() { _ = recover() }() // of the host's error or context
	f := failure{err: x.err}
	var host *hostError
	if errors.As(x.err, &host) {
		f.component, f.issuer, f.serial = host.component, host.issuerID, host.serial
		if x.err == error(host) {
			f.err = host.err // the rest of its text are attributes
		}
	} else if a := x.match.authority; a != nil {
		f.issuer, f.serial = a.ids[0], codec.SerialInt(x.req.Entries[0].CertID.Serial)
	}
	level, message := slog.LevelError, "ocsp: no answer could be given"
	attrs := []slog.Attr{slog.String("outcome", x.outcome.String())}
	var p *hostcall.PanicError
	switch {
	case errors.As(x.err, &p):
		f.kind, message = logPanic, "ocsp: a panic was contained"
		attrs = append(attrs, slog.String("stack", string(p.Stack)))
	case ctx.Err() != nil || errors.Is(x.err, errClosed): // the client has left, or the host stops; that is no failure
		return
	case errors.Is(x.err, errNotValidNow): // warnOfEnd logs it, once an hour
		return
	case x.outcome == OutcomeInternalError:
		f.kind = logInternalError
	case x.outcome == OutcomeTryLater:
		f.kind = logTryLater
	case f.component == "store":
		level, f.kind, message = slog.LevelWarn, logUnchecked, "ocsp: a cached answer was served unchecked"
	case !isFresh(&x.reply.Life, now):
		level, f.kind, message = slog.LevelWarn, logPastRefresh, "ocsp: a cached answer was served past its refresh point"
	default:
		level, f.kind = slog.LevelWarn, logSubstitute
		message = "ocsp: a cached answer was served without the nonce or the algorithm that the client asked for"
	}
	if suppressed, due := r.log.due(&f); due {
		r.log.line(ctx, level, message, &f, suppressed, attrs...)
	}
}
