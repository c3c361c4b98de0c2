package ocspotel_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspotel"
)

// The global providers can be set once in a process, whose tests may run again.
var (
	setGlobal    sync.Once
	globalReader = sdkmetric.NewManualReader()
	globalSpans  = tracetest.NewSpanRecorder()
)

// TestGlobalProviders: without options the global providers are used, also those that are set later.
func TestGlobalProviders(t *testing.T) {
	observer, err := ocspotel.New(ocspotel.Options{})
	require.NoError(t, err)
	event := ocsp.Event{Outcome: ocsp.OutcomeCached, First: ocsp.SingleResponse{IssuerID: "global", Status: ocsp.Good}}
	observer.Observe(t.Context(), event) // the first time, nothing is set yet
	setGlobal.Do(func() {
		otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(globalReader)))
		otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(globalSpans)))
	})
	before := collect(t, globalReader)["ocsp.answers"]
	globalSpans.Reset()
	observer.Observe(t.Context(), event)
	after := collect(t, globalReader)["ocsp.answers"]
	assert.Equal(t, counts{"ocsp.issuer.id=global,ocsp.outcome=cached,ocsp.status=good": 1}, newer(before, after))
	assert.Len(t, globalSpans.Ended(), 1)
}

// TestInstruments: names, units and bounds are what docs and dashboards rely on.
func TestInstruments(t *testing.T) {
	r := newRig(t, nil)
	r.ask(t.Context(), post, r.ca, r.leaf)
	scope := scopeMetrics(t, r.reader)
	assert.Equal(t, ocspotel.ScopeName, scope.Scope.Name)
	assert.Equal(t, semconv.SchemaURL, scope.Scope.SchemaURL)
	got := map[string]string{}
	for _, m := range scope.Metrics {
		assert.NotEmpty(t, m.Description, m.Name)
		got[m.Name] = m.Unit
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			assert.True(t, data.IsMonotonic)
		case metricdata.Histogram[float64]:
			bounds := data.DataPoints[0].Bounds
			assert.IsIncreasing(t, bounds)
			if m.Name == "ocsp.answer.age" {
				assert.Subset(t, bounds, []float64{16 * 3600, 24 * 3600, 10 * 24 * 3600}, "the refresh point and the end of the default Validity, and ten days")
			} else {
				assert.Equal(t, 1e-6, bounds[0])
				assert.Equal(t, 10.0, bounds[len(bounds)-1])
			}
		}
	}
	assert.Equal(t, map[string]string{
		"ocsp.answers": "{answer}", "ocsp.requests": "{request}",
		"ocsp.answer.duration": "s", "ocsp.store.duration": "s", "ocsp.sign.duration": "s", "ocsp.answer.age": "s",
	}, got)
}

// TestDurations: what is measured are the event's times, in seconds.
func TestDurations(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	observer, err := ocspotel.New(ocspotel.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
	require.NoError(t, err)
	observer.Observe(t.Context(), ocsp.Event{
		Outcome: ocsp.OutcomeSigned, Age: 90 * time.Minute, StoreTime: 250 * time.Microsecond, SignTime: 40 * time.Millisecond, Total: 50 * time.Millisecond,
	})
	observer.Observe(t.Context(), ocsp.Event{Outcome: ocsp.OutcomeSigned, Age: -time.Minute}) // by a clock that was set
	sums := map[string]float64{}
	for _, m := range scopeMetrics(t, reader).Metrics {
		if data, ok := m.Data.(metricdata.Histogram[float64]); ok {
			sums[m.Name] = data.DataPoints[0].Sum
		}
	}
	assert.Equal(t, map[string]float64{"ocsp.answer.duration": 0.05, "ocsp.store.duration": 0.00025, "ocsp.sign.duration": 0.04, "ocsp.answer.age": 5400}, sums)
}

// TestExemplars: a latency leads to the trace of an answer that took it.
func TestExemplars(t *testing.T) {
	r := newRig(t, nil)
	r.ask(t.Context(), post, r.ca, r.leaf)
	spans := r.spans.Ended()
	answer := spans[len(spans)-1].SpanContext()
	found := 0
	for _, m := range scopeMetrics(t, r.reader).Metrics {
		if data, ok := m.Data.(metricdata.Histogram[float64]); ok {
			for _, x := range data.DataPoints[0].Exemplars {
				found++
				trace, span := answer.TraceID(), answer.SpanID()
				assert.Equal(t, trace[:], x.TraceID, m.Name)
				assert.Equal(t, span[:], x.SpanID, m.Name)
			}
		}
	}
	assert.Equal(t, 4, found)
}

// TestSampler: a sampler may choose by what an answer is, and what it drops has no children.
func TestSampler(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans), sdktrace.WithSampler(sdktrace.ParentBased(failures{})))
	observer, err := ocspotel.New(ocspotel.Options{TracerProvider: provider})
	require.NoError(t, err)
	for _, outcome := range []ocsp.Outcome{ocsp.OutcomeCached, ocsp.OutcomeTryLater} {
		observer.Observe(t.Context(), ocsp.Event{Outcome: outcome, StoreTime: 1, SignTime: 1, Total: 2, Err: errors.New("down")})
	}
	require.Len(t, spans.Ended(), 3)
	answer := spans.Ended()[2]
	assert.Contains(t, answer.Attributes(), ocspotel.OutcomeKey.String("tryLater"))
	for _, child := range spans.Ended()[:2] {
		assert.Equal(t, answer.SpanContext().SpanID(), child.Parent().SpanID())
	}
}

// failures samples the answers that failed.
type failures struct{}

func (failures) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	set := attribute.NewSet(p.Attributes...)
	if outcome, _ := set.Value(ocspotel.OutcomeKey); outcome.AsString() == "tryLater" {
		return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
	}
	return sdktrace.SamplingResult{Decision: sdktrace.Drop}
}

func (failures) Description() string { return "failures" }

func TestNewErrors(t *testing.T) {
	_, err := ocspotel.New(ocspotel.Options{MaxIssuers: -1})
	require.ErrorContains(t, err, "MaxIssuers is -1")
	_, err = ocspotel.New(ocspotel.Options{MeterProvider: brokenProvider{}})
	require.ErrorIs(t, err, errBroken)
}

var errBroken = errors.New("no instruments today")

// brokenProvider has meters that make no histograms.
type brokenProvider struct{ noop.MeterProvider }

func (brokenProvider) Meter(string, ...metric.MeterOption) metric.Meter { return brokenMeter{} }

type brokenMeter struct{ noop.Meter }

func (brokenMeter) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return nil, errBroken
}
