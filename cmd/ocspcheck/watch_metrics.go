package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// bounds are those of the buckets, in seconds.
var bounds = [...]float64{
	0, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600,
}

// histogram is one of Prometheus. Its counts are not cumulative; the last is of what exceeds all
// bounds.
type histogram struct {
	counts [len(bounds) + 1]uint64
	sum    float64
}

func (h *histogram) observe(d time.Duration) {
	seconds := d.Seconds()
	i := 0
	for i < len(bounds) && seconds > bounds[i] {
		i++
	}
	h.counts[i]++
	h.sum += seconds
}

// watchMetrics are what -listen serves, in the text format of Prometheus.
type watchMetrics struct {
	within time.Duration

	mu       sync.Mutex
	order    []target
	targets  map[target]*targetMetrics
	failures uint64
}

type targetMetrics struct {
	firstRevoked, lastGood histogram
	outcomes               map[watchOutcome]uint64
}

func newWatchMetrics(within time.Duration) *watchMetrics {
	return &watchMetrics{within: within, targets: map[target]*targetMetrics{}}
}

// register makes the target's time series, so that they begin with zero.
func (w *watchMetrics) register(t target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.targets[t] == nil {
		w.order = append(w.order, t)
		w.targets[t] = &targetMetrics{outcomes: map[watchOutcome]uint64{}}
	}
}

func (w *watchMetrics) add(m *measure, revocation time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.targets[m.target]
	t.outcomes[m.outcome]++
	if m.outcome == unanswered {
		return
	}
	if first, ok := m.revoked(revocation); ok {
		t.firstRevoked.observe(first)
	}
	last, _ := m.good(revocation)
	t.lastGood.observe(last)
}

// failed counts a canary that could not be issued or revoked.
func (w *watchMetrics) failed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures++
}

// listen serves the metrics until stop is called.
func (w *watchMetrics) listen(address string) (listening net.Addr, stop func(), err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", w)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	return listener.Addr(), func() {
		_ = server.Close()
		<-ended
	}, nil
}

// ServeHTTP serves /metrics.
func (w *watchMetrics) ServeHTTP(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	b := bufio.NewWriter(rw)
	defer func() { _ = b.Flush() }()
	w.mu.Lock()
	defer w.mu.Unlock()
	family := func(name, kind, help string) {
		fmt.Fprintf(b, "# HELP %s%s %s\n# TYPE %[1]s%[2]s %[4]s\n", prefix, name, help, kind)
	}
	sample := func(name, labels, value string) {
		fmt.Fprintf(b, "%s%s%s %s\n", prefix, name, labels, value)
	}
	histograms := func(name, help string, of func(*targetMetrics) *histogram) {
		family(name, "histogram", help)
		for _, t := range w.order {
			h, count := of(w.targets[t]), uint64(0)
			for i, n := range h.counts {
				count += n
				le := "+Inf"
				if i < len(bounds) {
					le = number(bounds[i])
				}
				sample(name+"_bucket", t.labels(`,le="`+le+`"`), fmt.Sprint(count))
			}
			sample(name+"_sum", t.labels(""), number(h.sum))
			sample(name+"_count", t.labels(""), fmt.Sprint(count))
		}
	}
	histograms("first_revoked_seconds",
		"Time from a revocation to the arrival of the first revoked answer.",
		func(t *targetMetrics) *histogram { return &t.firstRevoked })
	histograms("last_good_seconds",
		"Time from a revocation to the last request that was answered good; 0 without one.",
		func(t *targetMetrics) *histogram { return &t.lastGood })
	family("canaries_total", "counter", "Canaries, by what became of them.")
	for _, t := range w.order {
		for _, o := range outcomes {
			labels := t.labels(`,outcome="` + string(o) + `"`)
			sample("canaries_total", labels, fmt.Sprint(w.targets[t].outcomes[o]))
		}
	}
	family("failures_total", "counter", "Canaries that could not be issued or revoked.")
	sample("failures_total", "", fmt.Sprint(w.failures))
	family("within_seconds", "gauge", "The bound; 0 without one.")
	sample("within_seconds", "", number(w.within.Seconds()))
}

// prefix is that of all names.
const prefix = "ocspcheck_watch_"

// labels returns the target's labels and more of them. A URL needs no escapes, since what a label
// escapes is percent-encoded in it.
func (t target) labels(more string) string {
	return fmt.Sprintf(`{url="%s",method="%s"%s}`, t.shown, t.method, more)
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
