package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/kmsocsp/ocsp"
)

// A signer like a busy HSM.
const (
	slowTime     = 10 * time.Millisecond // for one signature
	slowCapacity = 4                     // at a time
	slowMost     = slowCapacity * int(time.Second/slowTime)
)

// Who asks while it signs.
const (
	slowCached  = 500  // certificates whose answers are cached
	slowRate    = 2000 // requests a second about them
	slowClients = 16   // who ask about others, one after the other
)

// slowKey is a key that takes its time.
type slowKey struct {
	crypto.Signer
	time time.Duration
}

// Sign implements crypto.Signer.
func (k slowKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	time.Sleep(k.time)
	return k.Signer.Sign(random, digest, opts)
}

// slowArgument is what a server with such a key needs to know.
type slowArgument struct {
	Kit  string
	Time time.Duration // of a signature
}

// serveSlow is the role of a server with a slow signer and some cached answers. Its only reply is its address.
func serveSlow(_ context.Context, talk *parent) error {
	var a slowArgument
	if err := talk.in.Decode(&a); err != nil {
		return err
	}
	k, err := loadKit(a.Kit)
	if err != nil {
		return err
	}
	f := newFleet(k.ca)
	config := f.config()
	config.Issuers[0].Signer = slowKey{k.ca.Key, a.Time}
	config.Signing.MaxConcurrent = slowCapacity
	config.Cache = ocsp.CacheOptions{StatusTTL: time.Hour}
	r, err := f.filled(config, slowCached)
	if err != nil {
		return err
	}
	if err := listen(talk, httpServe(r.Handler())); err != nil {
		return err
	}
	var told any
	return talk.in.Decode(&told)
}

// slowRounds are what rounds with a slow signer brought: how much of its capacity was used, and the latencies of cached
// answers with nothing to sign, with a signer that takes no time, and with the slow one.
type slowRounds struct {
	used               []float64
	alone, quick, slow struct{ median, p99 []float64 }
}

// slowSigner measures how much of a slow signer's capacity is used, and what cached answers suffer meanwhile.
func slowSigner(ctx context.Context, o *options) (*result, error) {
	r, err := measureSlow(ctx, o)
	if err != nil {
		return nil, err
	}
	calm := &goal{must: 1.2, stretch: 1.2}
	return &result{
		text: fmt.Sprintf(`A signer that takes %v, %d signatures at a time: %d a second at the most. %d clients ask about certificates that nobody
asked about before, each as soon as it has its answer. Beside them %d requests a second come for %d cached answers. The
server has one core for all of that; what its work costs others who wait for the core, whichever signer it is for, shows in
the line of a signer that takes no time, which as many new certificates are asked about with.

| cached answers, µs | median | 99th percentile |
|---|---|---|
| nothing to sign | %.0f | %.0f |
| a signer that takes no time | %.0f | %.0f |
| a slow signer, always busy | %.0f | %.0f |
`, slowTime, slowCapacity, slowMost, slowClients, slowRate, slowCached, median(r.alone.median), median(r.alone.p99),
			median(r.quick.median), median(r.quick.p99), median(r.slow.median), median(r.slow.p99)),
		findings: []finding{
			{what: "Slow signer: signed, of its capacity", values: r.used, goal: &goal{must: 0.9, stretch: 0.9, atLeast: true}},
			{what: "Slow signer: median latency of cached answers, to that with nothing to sign", values: quotients(r.slow.median, r.alone.median), goal: calm},
			{what: "Slow signer: median latency of cached answers, to that with a quick signer", values: quotients(r.slow.median, r.quick.median), goal: calm},
			{what: "Slow signer: 99th percentile of it, to that with a quick signer", values: quotients(r.slow.p99, r.quick.p99), goal: calm},
		},
	}, nil
}

func measureSlow(ctx context.Context, o *options) (r *slowRounds, err error) {
	serverCore, clientCore, err := twoCores()
	if err != nil {
		return nil, err
	}
	f := newFleet(o.kit.ca)
	known, unknown := o.kit.file("cached"), o.kit.file("misses")
	inRound := int(1.1*float64(slowMost)*o.duration.Seconds()) + slowClients // more than can be signed
	if err := errors.Join(
		os.WriteFile(known, f.posts(0, slowCached), 0o600),
		os.WriteFile(unknown, f.posts(slowCached, slowCached+o.rounds*inRound), 0o600),
	); err != nil {
		return nil, err
	}
	var addresses [2]string // with the slow signer, and with a quick one
	for i, time := range []time.Duration{slowTime, 0} {
		server, err := startChild(ctx, "slow", serverCore, slowArgument{o.kit.dir, time}, &addresses[i])
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, server.stop()) }()
	}
	r = &slowRounds{}
	for round := range o.rounds {
		o.progress("slow signer, round %d of %d", round+1, o.rounds)
		p := pacing{
			Addresses: addresses[:1], Requests: known, Rate: slowRate, Connections: pacedConnections, Duration: o.duration, Seed: uint64(round),
		}
		reply, err := paced(ctx, clientCore, p)
		if err != nil {
			return nil, err
		}
		r.alone.median, r.alone.p99 = append(r.alone.median, reply.Median), append(r.alone.p99, reply.P99)
		p.Busy, p.BusyConnections, p.BusyFrom, p.BusySpread = unknown, slowClients, round*inRound, slowClients*slowTime/slowCapacity
		if reply, err = paced(ctx, clientCore, p); err != nil {
			return nil, err
		}
		r.slow.median, r.slow.p99 = append(r.slow.median, reply.Median), append(r.slow.p99, reply.P99)
		r.used = append(r.used, float64(reply.BusyAnswered)/o.duration.Seconds()/float64(slowMost))
		p.Addresses, p.BusyEvery = addresses[1:], p.BusySpread // as many requests, and as many signatures
		if reply, err = paced(ctx, clientCore, p); err != nil {
			return nil, err
		}
		r.quick.median, r.quick.p99 = append(r.quick.median, reply.Median), append(r.quick.p99, reply.P99)
	}
	return r, nil
}
