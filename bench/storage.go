package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// few is how many certificates a cache has that is small beside a fleet's.
const few = 1000

// latency returns how long a cached answer takes, in microseconds, when any of n certificates is asked about.
func (f *fleet) latency(r *ocsp.Responder, n int, random *rand.Rand, duration time.Duration) (float64, error) {
	var room []byte
	begin, asked := time.Now(), 0
	for time.Since(begin) < duration {
		for range 100 {
			room = f.request(room, random.Uint64N(uint64(n)))
			if a := r.Respond(context.Background(), room); a.Outcome != ocsp.OutcomeCached {
				return 0, fmt.Errorf("an answer was not in the cache: %v, %w", a.Outcome, a.Err)
			}
			asked++
		}
	}
	return float64(time.Since(begin).Nanoseconds()) / 1000 / float64(asked), nil
}

// storageArgument is what a child fills a cache with.
type storageArgument struct {
	Compact bool
	Entries int
	P256    bool   // the key, in place of RSA-2048
	Folder  string // for files of requests; empty: there are none, and nothing is served
}

// storageReply is what it takes.
type storageReply struct {
	Bytes     float64 // for each certificate
	Answer    int     // how long one is
	Few, Many served  // the small cache, and this
}

// served is where a cache answers over loopback, and the file of requests for it.
type served struct{ Address, Requests string }

// drawn is how many certificates of a large cache are asked about over loopback.
const drawn = 50_000

// serve serves a cache's answers, and writes requests about some of its n certificates.
func (f *fleet) serve(r *ocsp.Responder, n int, file string) (s served, err error) {
	var all []byte
	for i := range min(n, drawn) {
		all = append(all, f.posts(i*(n/min(n, drawn)), i*(n/min(n, drawn))+1)...)
	}
	if err := os.WriteFile(file, all, 0o600); err != nil {
		return served{}, err
	}
	s.Requests = file
	s.Address, err = background(httpServe(r.Handler()))
	return s, err
}

// storageRound is what a filled cache costs.
type storageRound struct {
	GC        float64 // CPU time of one collection, ms
	Few, Many float64 // how long a cached answer takes in a small cache and in this, µs
}

// serveStorage is the role of a process with a full cache. Whatever it is told then is how long to measure a round.
func serveStorage(_ context.Context, talk *parent) error {
	var a storageArgument
	if err := talk.in.Decode(&a); err != nil {
		return err
	}
	options := ocsptest.Options{Signer: newQuickKey()}
	if a.P256 {
		options = ocsptest.Options{Key: ocsptest.P256}
	}
	f := newFleet(ocsptest.NewCA(options))
	full := func(entries int) (*ocsp.Responder, error) {
		config := f.config()
		config.Cache = ocsp.CacheOptions{StatusTTL: time.Hour, MaxEntries: entries, Compact: a.Compact}
		return f.filled(config, entries)
	}
	small, err := full(min(few, a.Entries))
	if err != nil {
		return err
	}
	before := live()
	usual := debug.SetGCPercent(400) // to be done sooner
	r, err := full(a.Entries)
	if err != nil {
		return err
	}
	debug.SetGCPercent(usual)
	reply := storageReply{Bytes: (live() - before) / float64(a.Entries), Answer: len(r.Respond(context.Background(), f.request(nil, 0)).DER)}
	if a.Folder != "" {
		var err1, err2 error
		reply.Few, err1 = f.serve(small, min(few, a.Entries), filepath.Join(a.Folder, fmt.Sprint("few", a.Compact)))
		reply.Many, err2 = f.serve(r, a.Entries, filepath.Join(a.Folder, fmt.Sprint("many", a.Compact)))
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
	}
	if err := talk.out.Encode(reply); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(3, 4))
	for {
		var duration time.Duration
		if err := talk.in.Decode(&duration); err != nil {
			return err
		}
		var round storageRound
		var err1, err2 error
		round.Few, err1 = f.latency(small, min(few, a.Entries), random, duration)
		round.Many, err2 = f.latency(r, a.Entries, random, duration)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		begin := metric("/cpu/classes/gc/total:cpu-seconds")
		runtime.GC()
		round.GC = 1000 * (metric("/cpu/classes/gc/total:cpu-seconds") - begin)
		if err := talk.out.Encode(round); err != nil {
			return err
		}
	}
}

// live returns how many octets of the heap are in use.
func live() float64 {
	runtime.GC()
	runtime.GC() // what pools keep goes with the second
	return metric("/gc/heap/live:bytes")
}

func metric(name string) float64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	if sample[0].Value.Kind() == metrics.KindUint64 {
		return float64(sample[0].Value.Uint64())
	}
	return sample[0].Value.Float64() // panics if there is none of that name
}

// storages measures both at the size of a large fleet.
func storages(ctx context.Context, o *options) (res *result, err error) {
	kinds := []struct {
		name    string
		compact bool
		memory  goal
		child   *child
		reply   storageReply
		gc      []float64
		few     []float64
		many    []float64
		slowing []float64
		clients []float64 // how much slower it is for them
	}{
		{name: "go-cache", memory: goal{must: 750, stretch: 700}},
		{name: "compact", compact: true, memory: goal{must: 600, stretch: 575}},
	}
	defer func() {
		for _, k := range kinds {
			if k.child != nil {
				err = errors.Join(err, k.child.stop())
			}
		}
	}()
	for i := range kinds {
		k := &kinds[i]
		o.progress("filling %s with %d answers", k.name, o.entries)
		if k.child, err = startChild(ctx, "storage", anywhere, storageArgument{Compact: k.compact, Entries: o.entries, Folder: o.kit.dir}, &k.reply); err != nil {
			return nil, err
		}
	}
	for round := range o.rounds {
		for i := range kinds {
			k := &kinds[i]
			o.progress("storage, round %d of %d: %s", round+1, o.rounds, k.name)
			var measured storageRound
			if err := k.child.ask(o.benchtime, &measured); err != nil {
				return nil, err
			}
			k.gc, k.few, k.many = append(k.gc, measured.GC), append(k.few, measured.Few), append(k.many, measured.Many)
			k.slowing = append(k.slowing, measured.Many/measured.Few)
			var medians [2]float64
			for i, s := range []served{k.reply.Few, k.reply.Many} {
				p := pacing{Addresses: []string{s.Address}, Requests: s.Requests, Rate: slowRate, Connections: pacedConnections, Duration: o.duration, Seed: uint64(round)}
				answered, err := paced(ctx, anywhere, p)
				if err != nil {
					return nil, err
				}
				medians[i] = answered.Median
			}
			k.clients = append(k.clients, medians[1]/medians[0])
		}
	}
	res = &result{text: fmt.Sprintf("%d certificates, answers of %d octets with RSA-2048, asked about in random order.\n\n"+
		"| storage | memory for each, B | CPU of a collection, ms | cached answer with %d, µs | with %d, µs |\n|---|---|---|---|---|\n",
		o.entries, kinds[0].reply.Answer, few, o.entries)}
	for i := range kinds {
		k := &kinds[i]
		res.findings = append(res.findings, finding{
			what: "Memory for each of a million cached answers, " + k.name, unit: "B", values: []float64{k.reply.Bytes}, goal: &k.memory,
		})
		res.text += fmt.Sprintf("| %s | %.0f | %s | %s | %s |\n", k.name, k.reply.Bytes, number(median(k.gc)), number(median(k.few)), number(median(k.many)))
	}
	res.findings = append(res.findings, finding{
		what: "CPU of a garbage collection with a million, compact to go-cache", values: quotients(kinds[1].gc, kinds[0].gc), goal: &goal{must: 0.05, stretch: 0.05},
	})
	for i := range kinds {
		res.findings = append(res.findings, finding{
			what: "Median latency for clients, of a million cached answers to a thousand, " + kinds[i].name, values: kinds[i].clients, goal: &goal{must: 2, stretch: 2},
		}, finding{
			what: "The same in process, " + kinds[i].name, values: kinds[i].slowing, goal: &goal{must: 2, stretch: 2},
		})
	}
	return res, nil
}
