package ocspotel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/kmsocsp/ocsp"
)

// trace makes the span of an answer that has ended. It returns a context with that span, for exemplars, or ctx if
// nobody wants the span.
func (o *Observer) trace(ctx context.Context, e *ocsp.Event, outcome outcome, what *saidLabels, how *askedLabels, end time.Time) context.Context {
	if o.tracer == nil || unsampled(ctx) {
		return ctx
	}
	start := end.Add(-e.Total)
	within, span := o.tracer.Start(ctx, "ocsp.answer", trace.WithTimestamp(start), what.span, how.span)
	if !span.IsRecording() {
		span.End()
		return ctx
	}
	defer span.End(trace.WithTimestamp(end))
	span.SetAttributes(CertIDsKey.Int(e.CertIDs))
	if e.First.Serial != nil {
		span.SetAttributes(SerialKey.String(e.First.Serial.Text(16)))
	}
	if what.signed {
		span.SetAttributes(AgeKey.Float64(e.Age.Seconds()))
	}
	if e.StoreTime > 0 {
		o.wait(within, "ocsp.store", start, start.Add(e.StoreTime))
	}
	if e.SignTime > 0 {
		o.wait(within, "ocsp.sign", end.Add(-e.SignTime), end)
	}
	if e.Err != nil {
		span.RecordError(e.Err, trace.WithTimestamp(end))
	}
	// What clients do wrong is no error of the server, as in the conventions for HTTP, nor is a stale answer.
	switch ocsp.Outcome(outcome) {
	case ocsp.OutcomeInternalError, ocsp.OutcomeTryLater:
		span.SetAttributes(semconv.ErrorTypeKey.String(outcomes[outcome]))
		span.SetStatus(codes.Error, outcomes[outcome])
	}
	return within
}

// unsampled reports whether the host has begun a span for the request and its sampler does not want it. Another span
// for the same request would only be begun to be dropped.
func unsampled(ctx context.Context) bool {
	host := trace.SpanFromContext(ctx)
	c := host.SpanContext()
	return c.IsValid() && !c.IsRemote() && !c.IsSampled() && !host.IsRecording()
}

// wait makes the span of something that an answer waited for.
func (o *Observer) wait(ctx context.Context, name string, start, end time.Time) {
	_, span := o.tracer.Start(ctx, name, trace.WithTimestamp(start))
	span.End(trace.WithTimestamp(end))
}
