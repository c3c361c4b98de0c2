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
func (l *failureLog) keepOnly() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for place, p := range l.places {
		if place.issuer == "" || l.configured(place.issuer) {
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

// newLogger returns a logger that lets no panic of the host's handler through. Nil is slog.Default.
func newLogger(l *slog.Logger) *slog.Logger {
	if l != nil {
		return slog.New(safeHandler{l.Handler()})
	}
	return slog.New(safeHandler{defaultHandler{}})
}
