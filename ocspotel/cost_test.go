package ocspotel_test

import (
	"context"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspotel"
)

// cachedEvent is of the most frequent kind: the store was asked, and there was a signature.
var cachedEvent = ocsp.Event{
	Method: "GET", Hash: 5, CertIDs: 1, Outcome: ocsp.OutcomeCached, Age: time.Hour, StoreTime: 20 * time.Microsecond, Total: 25 * time.Microsecond,
	First: ocsp.SingleResponse{IssuerID: "ca-uid", Serial: big.NewInt(1 << 60), Status: ocsp.Good},
}

var never = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))

// costs are ways to be traced, and what an answer's metrics and spans may allocate then.
var costs = []struct {
	name        string
	tracer      trace.TracerProvider
	hosts       bool // the host has a span for the request
	allocations float64
}{
	{"metrics alone", noop.NewTracerProvider(), false, 0},
	{"the host's span is not sampled", never, true, 0},
	{"the answer's span is not sampled", never, false, 6},
	{"spans", sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(drop{})), true, 30},
}

// drop takes spans and does nothing with them.
type drop struct{ sdktrace.SpanProcessor }

func (drop) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (drop) OnEnd(sdktrace.ReadOnlySpan)                     {}

// newObserver returns an Observer, and the context of a request.
func newObserver(t testing.TB, tracer trace.TracerProvider, hosts bool) (*ocspotel.Observer, context.Context) {
	t.Helper()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	observer, err := ocspotel.New(ocspotel.Options{MeterProvider: provider, TracerProvider: tracer})
	require.NoError(t, err)
	ctx := t.Context()
	if hosts {
		ctx, _ = tracer.Tracer("host").Start(ctx, "request")
	}
	return observer, ctx
}

func TestAllocations(t *testing.T) {
	for _, cost := range costs {
		t.Run(cost.name, func(t *testing.T) {
			observer, ctx := newObserver(t, cost.tracer, cost.hosts)
			require.LessOrEqual(t, testing.AllocsPerRun(1000, func() { observer.Observe(ctx, cachedEvent) }), cost.allocations)
		})
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, cost := range costs {
		b.Run(cost.name, func(b *testing.B) {
			observer, ctx := newObserver(b, cost.tracer, cost.hosts)
			b.ReportAllocs()
			for b.Loop() {
				observer.Observe(ctx, cachedEvent)
			}
		})
	}
}
