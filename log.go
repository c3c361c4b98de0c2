package ocsp

import (
	"context"
	"log/slog"
	"math/big"
	"slices"
	"sync"
	"sync/atomic"
	"time"
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
	logRemoteGet
	logRemotePut
	logRemoteValue
	logChanges
	logKinds
)

// callFailures are the kinds of failure that a call of the store or the signer may cause.
var callFailures = []logKind{
	logTryLater, logInternalError, logPanic, logUnchecked, logPastRefresh, logSubstitute,
}

// ofCertificate reports whether a failure of this kind may concern one certificate alone.
func (k logKind) ofCertificate() bool {
	return k == logInternalError || k == logPanic || k == logRemoteValue
}

// failure is a failure to log. Zero component, issuer and serial mean none in particular.
type failure struct {
	kind      logKind
	component string // "store", "signer", "remote cache", "change feed" or "observer"
	issuer    string
	serial    *big.Int
	err       error
}

// failureLog limits what clients can make the responder log: it writes one line a second for each
// kind of failure, component and issuer. It also tracks which failures are not over. It has state
// for configured issuers only.
type failureLog struct {
	logger     *slog.Logger
	configured func(issuer string) bool // reports whether an issuer has that ID

	// failing is how many failures are not over, by kind, component and issuer. While it is zero, a
	// success costs one load.
	failing atomic.Int64

	mu     sync.RWMutex
	states map[logKey]*logState
}

// logKey identifies what fails.
type logKey struct{ component, issuer string }

// logState is what was logged about one component and issuer. Times are seconds since 1970.
type logState struct {
	ended int64 // the last line about the end of a failure
	kinds [logKinds]kindState
}

// kindState is what was logged about one kind of failure of them.
type kindState struct {
	last       int64    // the last line
	suppressed int64    // failures since the last line
	failing    bool     // there was no success since
	serial     *big.Int // in the last line
}

// endsWith reports whether a success for that serial number ends the failure.
func (s *logState) endsWith(kind logKind, serial *big.Int) bool {
	k := &s.kinds[kind]
	return k.failing && (!kind.ofCertificate() || k.serial == nil ||
		serial != nil && k.serial.Cmp(serial) == 0)
}

// due records a failure. It reports whether to log it, and how many of its kind were suppressed
// since the last line.
func (l *failureLog) due(f *failure) (suppressed int64, due bool) {
	now := time.Now().Unix()
	l.mu.Lock()
	defer l.mu.Unlock()
	key := logKey{f.component, f.issuer}
	if !l.configured(f.issuer) { // it was just removed
		key.issuer = ""
	}
	s := l.states[key]
	if s == nil {
		if l.states == nil {
			l.states = map[logKey]*logState{}
		}
		s = &logState{}
		l.states[key] = s
	}
	k := &s.kinds[f.kind]
	if !k.failing && f.component != "" && f.issuer == key.issuer { // a success may follow
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

// succeeded records that a component worked for the certificate with that serial number; nil is
// none in particular. The first success after failures of these kinds is logged, within the same
// limits.
func (l *failureLog) succeeded(component, issuer string, serial *big.Int, kinds ...logKind) {
	if l.failing.Load() == 0 {
		return
	}
	f := failure{component: component, issuer: issuer}
	if suppressed, ended := l.end(&f, serial, kinds); ended {
		l.line(context.Background(), slog.LevelWarn, "ocsp: a failure is over", &f, suppressed)
	}
}

// end ends the failures that a success ends. It sets f.serial if they concern one certificate.
func (l *failureLog) end(
	f *failure, serial *big.Int, kinds []logKind,
) (suppressed int64, ended bool) {
	key, now := logKey{f.component, f.issuer}, time.Now().Unix()
	l.mu.RLock()
	s := l.states[key]
	ends := func(kind logKind) bool { return s.endsWith(kind, serial) }
	ended = s != nil && s.ended != now && slices.ContainsFunc(kinds, ends)
	l.mu.RUnlock()
	if !ended {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.states[key] != s || s.ended == now { // removed, or ended by another success
		return 0, false
	}
	for _, kind := range kinds {
		if !ends(kind) {
			continue
		}
		k := &s.kinds[kind]
		if kind.ofCertificate() && k.serial != nil {
			f.serial = k.serial
		}
		suppressed += k.suppressed
		k.suppressed, k.failing, s.ended = 0, false, now
		l.failing.Add(-1)
	}
	return suppressed, s.ended == now
}

// prune removes the state of issuers that are no longer configured.
func (l *failureLog) prune() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, s := range l.states {
		if key.issuer == "" || l.configured(key.issuer) {
			continue
		}
		for kind := range s.kinds {
			if s.kinds[kind].failing {
				l.failing.Add(-1)
			}
		}
		delete(l.states, key)
	}
}

// warn logs a failure if a line is due.
func (l *failureLog) warn(ctx context.Context, message string, f *failure) {
	if suppressed, due := l.due(f); due {
		l.line(ctx, slog.LevelWarn, message, f, suppressed)
	}
}

// line logs one line about a failure.
func (l *failureLog) line(
	ctx context.Context, level slog.Level, message string,
	f *failure, suppressed int64, attrs ...slog.Attr,
) {
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

// safeHandler recovers panics of the host's log handler. A panic costs the line and nothing else.
type safeHandler struct{ slog.Handler }

func (h safeHandler) Enabled(ctx context.Context, level slog.Level) bool {
	defer func() { _ = recover() }()
	return h.Handler.Enabled(ctx, level)
}

func (h safeHandler) Handle(ctx context.Context, record slog.Record) error {
	defer func() { _ = recover() }()
	return h.Handler.Handle(ctx, record)
}

// defaultHandler is the handler of slog.Default, looked up for each line, from slog.LevelWarn up.
type defaultHandler struct{}

func (defaultHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && slog.Default().Enabled(ctx, level)
}

func (defaultHandler) Handle(ctx context.Context, record slog.Record) error {
	return slog.Default().Handler().Handle(ctx, record)
}

// The responder derives no logger.
func (h defaultHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h defaultHandler) WithGroup(string) slog.Handler      { return h }

// newLogger returns a logger that recovers panics of the host's handler. Nil is slog.Default.
func newLogger(l *slog.Logger) *slog.Logger {
	if l != nil {
		return slog.New(safeHandler{l.Handler()})
	}
	return slog.New(safeHandler{defaultHandler{}})
}
