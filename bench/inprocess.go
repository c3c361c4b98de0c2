package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// microBenchmarks are those of the root package that inProcess runs.
const microBenchmarks = "^Benchmark(Handler|Parse|Sign|Miss)$"

// micro are the figures of benchmarks: by name, by unit, one for each round.
type micro map[string]map[string][]float64

// inProcess runs the root package's own benchmarks in turns.
func inProcess(ctx context.Context, o *options) (*result, error) {
	test := o.kit.file("ocsp.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", test, ".")
	build.Dir = o.root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	m := micro{}
	for round := range o.rounds {
		o.progress("in process, round %d of %d", round+1, o.rounds)
		run := exec.CommandContext(ctx, test, "-test.run", "^$", "-test.bench", microBenchmarks, "-test.benchmem", "-test.benchtime", o.benchtime.String())
		run.Dir = o.root
		out, err := run.CombinedOutput()
		if err == nil {
			err = m.add(out)
		}
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, out)
		}
	}
	return m.result()
}

// gomaxprocs is what Go puts behind the name of a benchmark.
var gomaxprocs = regexp.MustCompile(`-\d+$`)

// add reads what benchmarks printed.
func (m micro) add(printed []byte) error {
	r := benchfmt.NewReader(bytes.NewReader(printed), "benchmarks")
	for r.Scan() {
		res, ok := r.Result().(*benchfmt.Result)
		if !ok {
			continue // a line about units
		}
		name := gomaxprocs.ReplaceAllString(res.Name.String(), "")
		if m[name] == nil {
			m[name] = map[string][]float64{}
		}
		for _, v := range res.Values {
			m[name][v.Unit] = append(m[name][v.Unit], v.Value)
		}
	}
	return r.Err()
}

// Units, as benchfmt writes them.
const (
	seconds   = "sec/op"
	allocated = "allocs/op"
	ownTime   = "own-sec/op"
)

// result judges what was measured.
func (m micro) result() (*result, error) {
	res := &result{}
	var missing []string
	of := func(name, unit string) []float64 {
		values := m[name][unit]
		if len(values) == 0 {
			missing = append(missing, name+" "+unit)
			return []float64{0}
		}
		return values
	}
	judge := func(what, unit string, values []float64, must, stretch float64) {
		res.findings = append(res.findings, finding{what: what, unit: unit, values: values, goal: &goal{must: must, stretch: stretch}})
	}
	ratio := func(what, name, to string, must, stretch float64) {
		judge(what, "", quotients(of(name, seconds), of(to, seconds)), must, stretch)
	}
	above := func(what, name, over string, must, stretch float64) {
		judge(what, "", differences(of(name, allocated), of(over, allocated)), must, stretch)
	}
	ratio("Cached answer in process, POST: time to a static handler", "Handler/cached/POST", "Handler/static/POST", 10, 6)
	ratio("Cached answer in process, GET: time to a static handler", "Handler/cached/GET", "Handler/static/GET", 14, 8)
	judge("Cached answer in process, POST: allocations", "", of("Handler/cached/POST", allocated), 2, 0)
	judge("Cached answer in process, GET: allocations", "", of("Handler/cached/GET", allocated), 2, 0)
	above("The same with the store read, POST: more allocations", "Handler/read/POST", "Handler/cached/POST", 2, 2)
	above("The same with the store read, GET: more allocations", "Handler/read/GET", "Handler/cached/GET", 2, 2)
	judge("Request with a nonce parsed: allocations", "", of("Parse/codec/nonce", allocated), 0, 0)
	ratio("Request with a nonce parsed: time to x/crypto/ocsp", "Parse/codec/nonce", "Parse/x-crypto/nonce", 0.1, 0.05)
	ratio("P-256 answer signed: time to the signature alone", "Sign/P256/answer", "Sign/P256/raw", 1.15, 1.05)
	above("P-256 answer signed: allocations above the signature's", "Sign/P256/answer", "Sign/P256/raw", 8, 1)
	ratio("RSA-2048 answer signed: time to the signature alone", "Sign/RSA2048/answer", "Sign/RSA2048/raw", 1.05, 1.05)
	judge("A miss: the library's own time, with StatusTTL", "µs", micros(of("Miss/StatusTTL", ownTime)), 5, 2)
	judge("A miss: the library's own time, without StatusTTL", "µs", micros(of("Miss/no_StatusTTL", ownTime)), 5, 2)

	var b strings.Builder
	b.WriteString("| benchmark | time, µs | from | to | allocations |\n|---|---|---|---|---|\n")
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		took, allocations := micros(of(name, seconds)), number(median(of(name, allocated)))
		if own := m[name][ownTime]; len(own) > 0 {
			took, allocations = micros(own), "" // the rest is two signatures'
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, number(median(took)), number(slices.Min(took)), number(slices.Max(took)), allocations)
	}
	res.text = b.String()
	if missing != nil {
		return nil, fmt.Errorf("the benchmarks did not tell %s", strings.Join(missing, ", "))
	}
	return res, nil
}

func differences(a, b []float64) []float64 {
	list := make([]float64, min(len(a), len(b)))
	for i := range list {
		list[i] = a[i] - b[i]
	}
	return list
}

func micros(seconds []float64) []float64 {
	list := make([]float64, len(seconds))
	for i, s := range seconds {
		list[i] = s * 1e6
	}
	return list
}
