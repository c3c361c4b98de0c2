package main

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/kmsocsp/ocsp/examples/kms/internal/counters"
	"github.com/kmsocsp/ocsp/ocspotel"
)

// metrics is what Prometheus scrapes: the metrics of ocspotel, and two counters that the page shows
// as well.
type metrics struct {
	*ocspotel.Observer
	provider *sdkmetric.MeterProvider
	handler  http.Handler
}

func newMetrics(c *counters.Counters) (*metrics, error) {
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry),
		otelprometheus.WithoutScopeInfo(), otelprometheus.WithoutTargetInfo())
	if err != nil {
		return nil, err
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter))
	observer, err := ocspotel.New(ocspotel.Options{MeterProvider: provider})
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		registry.Register(counterFrom(&c.Signatures,
			"kms_signatures_total", "Signatures made for OCSP.")),
		registry.Register(counterFrom(&c.StoreReads,
			"kms_store_reads_total", "Reads of the database for OCSP.")),
		registry.Register(collectors.NewGoCollector()),
		registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	)
	return &metrics{observer, provider, promhttp.HandlerFor(registry, promhttp.HandlerOpts{})}, err
}

func counterFrom(n *atomic.Int64, name, help string) prometheus.Collector {
	opts := prometheus.CounterOpts{Name: name, Help: help}
	return prometheus.NewCounterFunc(opts, func() float64 { return float64(n.Load()) })
}

func (m *metrics) close() error { return m.provider.Shutdown(context.Background()) }
