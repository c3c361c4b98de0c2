package ocspotel

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/kmsocsp/ocsp"
)

// ScopeName is the name of the instrumentation scope. Its version is that of this module.
const ScopeName = "github.com/kmsocsp/ocsp/ocspotel"

// defaultMaxIssuers keeps every metric, whatever clients ask, below the 2000 time series at which OpenTelemetry's SDK
// stops telling apart.
const defaultMaxIssuers = 32

// Options says where metrics and spans go. The zero value is useful.
type Options struct {
	// MeterProvider gets the metrics. Nil is the global one.
	MeterProvider metric.MeterProvider

	// TracerProvider gets the spans. Nil is the global one. The one of package go.opentelemetry.io/otel/trace/noop makes
	// none, at no cost.
	TracerProvider trace.TracerProvider

	// MaxIssuers is how many issuers are told apart, in the order in which they are first asked about. The others
	// share one value, "_OTHER". Zero is 32; for more, mind the cardinality limit of the metric SDK, which is 2000 by
	// default: an issuer may have up to 57 time series of one metric, and usually has a dozen.
	MaxIssuers int
}

// Observer turns events into metrics and spans. Make one with New. It is safe for concurrent use, and one may serve
// several responders.
type Observer struct {
	instruments
	tracer trace.Tracer // nil for no spans

	maxIssuers int
	issuersMu  sync.Mutex
	issuers    map[string]struct{} // that are told apart

	said  table[said, saidLabels]
	asked table[asked, askedLabels]
}

// saidLabels are the options for what an answer said, made once.
type saidLabels struct {
	answers []metric.AddOption    // with all attributes
	outcome []metric.RecordOption // with the outcome alone
	origin  []metric.RecordOption // with the outcome and the issuer
	span    trace.SpanStartEventOption
	signed  bool
}

// askedLabels are the options for what a request was like, made once.
type askedLabels struct {
	requests []metric.AddOption
	span     trace.SpanStartEventOption
}

// New makes an Observer. An error is the provider's.
func New(opts Options) (*Observer, error) {
	if opts.MaxIssuers < 0 {
		return nil, fmt.Errorf("ocspotel: the field MaxIssuers is %d: it must not be negative", opts.MaxIssuers)
	}
	if opts.MeterProvider == nil {
		opts.MeterProvider = otel.GetMeterProvider()
	}
	if opts.TracerProvider == nil {
		opts.TracerProvider = otel.GetTracerProvider()
	}
	if opts.MaxIssuers == 0 {
		opts.MaxIssuers = defaultMaxIssuers
	}
	version := moduleVersion()
	o := &Observer{maxIssuers: opts.MaxIssuers, issuers: map[string]struct{}{}}
	if _, none := opts.TracerProvider.(noop.TracerProvider); !none {
		o.tracer = opts.TracerProvider.Tracer(ScopeName, trace.WithInstrumentationVersion(version), trace.WithSchemaURL(semconv.SchemaURL))
	}
	meter := opts.MeterProvider.Meter(ScopeName, metric.WithInstrumentationVersion(version), metric.WithSchemaURL(semconv.SchemaURL))
	if err := o.instruments.make(meter); err != nil {
		return nil, fmt.Errorf("ocspotel: %w", err)
	}
	return o, nil
}

// moduleVersion is the version of this module in the program that runs, "" if it was not built from a release.
func moduleVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == ScopeName && m.Replace == nil {
			return m.Version
		}
	}
	return ""
}

// Observe measures one answer; it is for ocsp.Config.Observe.
func (o *Observer) Observe(ctx context.Context, e ocsp.Event) {
	end := time.Now()
	outcome := outcomeOf(ctx, &e)
	what := o.saidLabels(saidOf(ctx, outcome, &e))
	how := o.asked.get(askedOf(outcome, &e), makeAskedLabels)
	ctx = o.trace(ctx, &e, outcome, what, how, end)
	o.record(ctx, &e, what, how)
}

func (o *Observer) saidLabels(s said) *saidLabels {
	if labels := o.said.find(s); labels != nil {
		return labels
	}
	if s.issuer != "" && !o.tellApart(s.issuer) {
		s.issuer = otherIssuer
	}
	return o.said.get(s, makeSaidLabels)
}

// tellApart reports whether an issuer is one of those that have a value of their own, or may become one.
func (o *Observer) tellApart(issuer string) bool {
	o.issuersMu.Lock()
	defer o.issuersMu.Unlock()
	if _, ok := o.issuers[issuer]; !ok && len(o.issuers) < o.maxIssuers {
		o.issuers[issuer] = struct{}{}
	}
	_, ok := o.issuers[issuer]
	return ok
}

func makeSaidLabels(s said) *saidLabels {
	all := s.attributes()
	return &saidLabels{
		answers: []metric.AddOption{withSet(all...)},
		outcome: []metric.RecordOption{withSet(OutcomeKey.String(outcomes[s.outcome]))},
		origin:  []metric.RecordOption{withSet(s.origin()...)},
		span:    trace.WithAttributes(all...),
		signed:  s.signed(),
	}
}

func makeAskedLabels(a asked) *askedLabels {
	all := a.attributes()
	return &askedLabels{requests: []metric.AddOption{withSet(all...)}, span: trace.WithAttributes(all...)}
}

func withSet(list ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(list...))
}
