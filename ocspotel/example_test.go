package ocspotel_test

import (
	"context"
	"fmt"
	"log"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspotel"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// A responder whose answers are counted. A host has an exporter for a reader, such as the one for Prometheus.
func Example() {
	reader := sdkmetric.NewManualReader()
	observer, err := ocspotel.New(ocspotel.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))})
	if err != nil {
		log.Fatal(err)
	}
	ca, store := ocsptest.NewCA(ocsptest.Options{}), ocsptest.NewStore()
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Observe: observer.Observe})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = responder.Close() }()

	leaf := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, leaf)
	for range 3 {
		if _, err := ocsptest.Query(responder.Handler(), ca.Certificate, leaf); err != nil {
			log.Fatal(err)
		}
	}
	printAnswers(reader)
	// Unordered output:
	// ocsp.issuer.id=Test CA,ocsp.outcome=signed,ocsp.status=good 1
	// ocsp.issuer.id=Test CA,ocsp.outcome=cached,ocsp.status=good 2
}

func printAnswers(reader sdkmetric.Reader) {
	var data metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &data); err != nil {
		log.Fatal(err)
	}
	for _, m := range data.ScopeMetrics[0].Metrics {
		if m.Name == "ocsp.answers" {
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				fmt.Println(p.Attributes.Encoded(attribute.DefaultEncoder()), p.Value)
			}
		}
	}
}

// A host that has an Observe of its own calls both. Here it keeps an audit trail; the observer makes the spans.
func ExampleObserver_Observe() {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	observer, err := ocspotel.New(ocspotel.Options{TracerProvider: provider})
	if err != nil {
		log.Fatal(err)
	}
	ca := ocsptest.NewCA(ocsptest.Options{})
	responder, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{ca.Issuer()},
		Store:   ocsptest.NewStore(),
		Observe: func(ctx context.Context, e ocsp.Event) {
			fmt.Println("audit:", e.First.IssuerID, e.First.Status)
			observer.Observe(ctx, e)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = responder.Close() }()

	ctx, request := provider.Tracer("host").Start(context.Background(), "POST /ocsp")
	client := ocsptest.Client{Handler: responder.Handler()}
	if _, err := client.Query(ctx, ca.Certificate, ca.Issue(ocsptest.Options{})); err != nil {
		log.Fatal(err)
	}
	request.End()
	for _, span := range spans.Ended() {
		fmt.Println(span.Name(), span.Parent().TraceID() == request.SpanContext().TraceID())
	}
	// Output:
	// audit: Test CA unknown
	// ocsp.store true
	// ocsp.sign true
	// ocsp.answer true
	// POST /ocsp false
}
