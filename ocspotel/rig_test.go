package ocspotel_test

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspotel"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// rig is a responder that is observed, with everything around it under the test's control.
type rig struct {
	testing.TB
	ca        *ocsptest.CA
	store     *ocsptest.Store
	signer    *ocsptest.Signer
	clock     *ocsptest.Clock
	leaf      *x509.Certificate // active
	responder *ocsp.Responder
	handler   http.Handler

	events []ocsp.Event // of requests that are not concurrent
	reader *sdkmetric.ManualReader
	tracer *sdktrace.TracerProvider
	spans  *tracetest.SpanRecorder
}

// newRig makes a responder for one CA, with the ID "ca". adjust, which may be nil, changes the configuration first.
func newRig(t testing.TB, adjust func(*ocsp.Config)) *rig {
	t.Helper()
	r := &rig{
		TB: t, ca: ocsptest.NewCA(ocsptest.Options{}), store: ocsptest.NewStore(), clock: ocsptest.NewClock(time.Now().Truncate(time.Second)),
		reader: sdkmetric.NewManualReader(), spans: tracetest.NewSpanRecorder(),
	}
	r.ca.ID = "ca"
	r.signer, r.leaf = ocsptest.NewSigner(r.ca.Key), r.ca.Issue(ocsptest.Options{})
	r.store.Add(r.ca.ID, r.leaf)
	r.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans))
	observer, err := ocspotel.New(ocspotel.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader)), TracerProvider: r.tracer})
	require.NoError(t, err)
	issuer := r.ca.Issuer()
	issuer.Signer = r.signer
	cfg := ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: r.store, Now: r.clock.Now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	cfg.Observe = func(ctx context.Context, e ocsp.Event) {
		r.events = append(r.events, e)
		observer.Observe(ctx, e)
	}
	if adjust != nil {
		adjust(&cfg)
	}
	r.responder, err = ocsp.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		r.store.SetFault(ocsptest.Healthy)
		assert.NoError(t, r.responder.Close())
	})
	r.handler = r.responder.Handler()
	return r
}

// ask sends a request about certificates of a CA. What comes back is for the tests of the responder.
func (r *rig) ask(ctx context.Context, c ocsptest.Client, ca *ocsptest.CA, certs ...*x509.Certificate) {
	r.Helper()
	r.send(ctx, c, c.Request(ca.Certificate, certs...))
}

func (r *rig) send(ctx context.Context, c ocsptest.Client, request []byte) {
	r.Helper()
	c.Handler = r.handler
	result, err := c.Send(ctx, request)
	require.NoError(r, err)
	require.Equal(r, http.StatusOK, result.StatusCode)
}

// counts are the time series of a metric, by their attributes: a counter's sum, how many values a histogram has.
type counts map[string]int64

// collect reads all metrics, by their names.
func collect(t testing.TB, reader sdkmetric.Reader) map[string]counts {
	t.Helper()
	all := map[string]counts{}
	for _, m := range scopeMetrics(t, reader).Metrics {
		c := counts{}
		all[m.Name] = c
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				c[labels(p.Attributes)] = p.Value
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				c[labels(p.Attributes)] = int64(p.Count)
			}
		default:
			t.Fatalf("%s is a %T", m.Name, data)
		}
	}
	return all
}

func labels(set attribute.Set) string { return set.Encoded(attribute.DefaultEncoder()) }

// scopeMetrics reads the metrics of the one scope, if there are any yet.
func scopeMetrics(t testing.TB, reader sdkmetric.Reader) metricdata.ScopeMetrics {
	t.Helper()
	var data metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(context.Background(), &data))
	if len(data.ScopeMetrics) == 0 {
		return metricdata.ScopeMetrics{}
	}
	require.Len(t, data.ScopeMetrics, 1)
	return data.ScopeMetrics[0]
}
