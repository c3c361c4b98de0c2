package ocspotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/metric"

	"github.com/kmsocsp/ocsp"
)

// The bounds of histograms, in seconds. A cached answer takes a microsecond, an HSM or a store far away some tenths of
// a second, and a call that hangs the ten seconds of ocsp.Config.Timeout. Ages go from the default Validity's refresh
// point and end to the ten days that a public CA may have.
var (
	durationBounds = []float64{
		1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4,
		.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10,
	}
	ageBounds = []float64{
		1, 60, 5 * 60, 15 * 60, hour, 2 * hour, 4 * hour, 8 * hour, 12 * hour, 16 * hour, 20 * hour,
		day, 2 * day, 3 * day, 4 * day, 5 * day, 7 * day, 10 * day,
	}
)

const (
	hour = 3600.0
	day  = 24 * hour
)

type instruments struct {
	answers, requests                           metric.Int64Counter
	answerDuration, storeDuration, signDuration metric.Float64Histogram
	answerAge                                   metric.Float64Histogram
}

func (i *instruments) make(meter metric.Meter) error {
	var errs []error
	counter := func(name, unit, description string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return c
	}
	histogram := func(name, description string, bounds []float64) metric.Float64Histogram {
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(bounds...))
		errs = append(errs, err)
		return h
	}
	i.answers = counter("ocsp.answers", "{answer}", "Answers, by what they said.")
	i.requests = counter("ocsp.requests", "{request}", "The same answers, by what was asked.")
	i.answerDuration = histogram("ocsp.answer.duration", "How long answers took, without HTTP.", durationBounds)
	i.storeDuration = histogram("ocsp.store.duration", "How long answers that needed the store waited for it.", durationBounds)
	i.signDuration = histogram("ocsp.sign.duration", "How long answers that needed a signature waited for the signer or the remote cache.", durationBounds)
	i.answerAge = histogram("ocsp.answer.age", "The age of signed answers: the time since their thisUpdate.", ageBounds)
	return errors.Join(errs...)
}

func (i *instruments) record(ctx context.Context, e *ocsp.Event, what *saidLabels, how *askedLabels) {
	i.answers.Add(ctx, 1, what.answers...)
	i.requests.Add(ctx, 1, how.requests...)
	i.answerDuration.Record(ctx, e.Total.Seconds(), what.outcome...)
	if e.StoreTime > 0 {
		i.storeDuration.Record(ctx, e.StoreTime.Seconds(), what.outcome...)
	}
	if e.SignTime > 0 {
		i.signDuration.Record(ctx, e.SignTime.Seconds(), what.origin...)
	}
	if what.signed {
		// Not below zero, whatever a clock does: Prometheus takes a sum that shrinks for a restart.
		i.answerAge.Record(ctx, max(e.Age, 0).Seconds(), what.origin...)
	}
}
