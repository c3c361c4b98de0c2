package main

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp"
)

// demand is what is asked of a responder.
type demand struct {
	Certificates int // that are asked about
	Rate         float64
	Validity     time.Duration // of an answer; short, so that many are renewed while one waits
	StatusTTL    time.Duration
	Warm, Run    time.Duration // until the cache is as it stays, and then
}

var usualDemand = demand{
	Certificates: 20_000, Rate: 5000, Validity: 30 * time.Second, StatusTTL: 5 * time.Second, Warm: 25 * time.Second, Run: 35 * time.Second,
}

// unit are what the parts of an answer cost: CPU time in microseconds, and memory in octets for each certificate.
type unit struct {
	cached       float64 // at the rate of the demand
	busy         float64 // the same when the server always has more to do
	read, signed float64 // in addition
	memory       float64
}

// needs are what a demand takes.
type needs struct {
	Signed, Read float64 // in a second
	Memory       float64 // MiB
	Cores        float64
}

// size does the arithmetic of docs/PERFORMANCE.md: after its refresh point, or the end of its StatusTTL, an answer waits
// for the next who asks about the certificate, which is when it is made or checked anew.
func (d *demand) size(u unit) needs {
	certificates, wait := float64(d.Certificates), float64(d.Certificates)/d.Rate
	n := needs{
		Signed: certificates / ((d.Validity / 2).Seconds() + wait),
		Read:   certificates / (d.StatusTTL.Seconds() + wait),
		Memory: certificates * u.memory / (1 << 20),
	}
	n.Cores = (d.Rate*u.cached + n.Read*u.read + n.Signed*u.signed) / 1e6
	return n
}

// sizingArgument is what the server of a measured run needs to know.
type sizingArgument struct {
	Kit string
	demand
}

// sizingReply is what it has done so far.
type sizingReply struct {
	Signed, Read int64
	Memory       float64 // MiB more than at first
}

// serveSizing is the role of that server. It replies its address and then, whenever it is asked, what it has done.
func serveSizing(_ context.Context, talk *parent) error {
	var a sizingArgument
	if err := talk.in.Decode(&a); err != nil {
		return err
	}
	k, err := loadKit(a.Kit)
	if err != nil {
		return err
	}
	var signed, read atomic.Int64
	config := newFleet(k.ca).config()
	config.Store = ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
		read.Add(1)
		return ocsp.Record{State: ocsp.Active}, nil
	})
	config.Validity, config.Cache = a.Validity, ocsp.CacheOptions{StatusTTL: a.StatusTTL}
	config.Observe = func(_ context.Context, e ocsp.Event) {
		if e.Outcome == ocsp.OutcomeSigned {
			signed.Add(1)
		}
	}
	r, err := ocsp.New(config)
	if err != nil {
		return err
	}
	before := live()
	if err := listen(talk, httpServe(r.Handler())); err != nil {
		return err
	}
	for {
		var told string
		if err := talk.in.Decode(&told); err != nil {
			return err
		}
		if err := talk.out.Encode(sizingReply{signed.Load(), read.Load(), (live() - before) / (1 << 20)}); err != nil {
			return err
		}
	}
}

// sizing checks the arithmetic against a run.
func sizing(ctx context.Context, o *options) (*result, error) {
	d := usualDemand
	u, err := d.units(ctx, o)
	if err != nil {
		return nil, err
	}
	o.progress("sizing, for %v", d.Warm+d.Run)
	measured, err := d.measure(ctx, o)
	if err != nil {
		return nil, err
	}
	return &result{text: sizingText(&d, u, measured)}, nil
}

func sizingText(d *demand, u unit, measured needs) string {
	computed := d.size(u)
	return fmt.Sprintf(`%d certificates, %.0f requests a second for any of them, a validity of %v and so a refresh point of %v, a StatusTTL of
%v, P-256. A cached answer costs %s µs of CPU time at this rate, and %s µs when the server always has more to do; to read the
store costs %s µs more, to sign %s µs, and a certificate %.0f B. All that is measured before, in the same run.

| | computed | measured | measured to computed |
|---|---|---|---|
| signatures/s | %s | %s | %.2f |
| store reads/s | %s | %s | %.2f |
| memory, MiB | %s | %s | %.2f |
| cores | %s | %s | %.2f |
`, d.Certificates, d.Rate, d.Validity, d.Validity/2, d.StatusTTL, number(u.cached), number(u.busy), number(u.read), number(u.signed), u.memory,
		number(computed.Signed), number(measured.Signed), measured.Signed/computed.Signed,
		number(computed.Read), number(measured.Read), measured.Read/computed.Read,
		number(computed.Memory), number(measured.Memory), measured.Memory/computed.Memory,
		number(computed.Cores), number(measured.Cores), measured.Cores/computed.Cores)
}

// units measures what the parts of an answer cost.
func (d *demand) units(ctx context.Context, o *options) (u unit, err error) {
	var some []peer
	for _, name := range []string{handlerPost, handlerRead, handlerSign} {
		p, err := findPeer(name)
		if err != nil {
			return u, err
		}
		some = append(some, p)
	}
	list, err := measureCosts(ctx, o, some)
	if err != nil {
		return u, err
	}
	u.busy = median(list[0].cpu)
	u.read, u.signed = median(list[1].cpu)-u.busy, median(list[2].cpu)-u.busy
	if u.cached, err = d.cached(ctx, o, some[0]); err != nil {
		return u, err
	}
	var reply storageReply
	c, err := startChild(ctx, "storage", anywhere, storageArgument{Entries: max(o.entries/10, few), P256: true}, &reply)
	if err != nil {
		return u, err
	}
	u.memory = reply.Bytes
	return u, c.stop()
}

// cached measures what an answer costs a peer at the rate of the demand. A server that waits for requests goes to sleep
// and is woken, which costs more than to have the next one ready.
func (d *demand) cached(ctx context.Context, o *options, p peer) (cpu float64, err error) {
	serverCore, clientCore, err := twoCores()
	if err != nil {
		return 0, err
	}
	s, err := p.start(ctx, o.kit, serverCore, "")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	reply, err := paced(ctx, clientCore, pacing{
		Addresses: []string{s.address}, Requests: o.kit.file(s.asks), Rate: d.Rate, Connections: pacedConnections, Duration: 2 * o.duration,
	})
	if err != nil {
		return 0, err
	}
	after, err := s.cpu()
	return float64((after - before).Nanoseconds()) / 1000 / float64(reply.Answered), err
}

// measure meets the demand and tells what that takes.
func (d *demand) measure(ctx context.Context, o *options) (n needs, err error) {
	serverCore, clientCore, err := twoCores()
	if err != nil {
		return n, err
	}
	file := o.kit.file("sizing")
	if err := os.WriteFile(file, newFleet(o.kit.ca).posts(0, d.Certificates), 0o600); err != nil {
		return n, err
	}
	var address string
	server, err := startChild(ctx, "sizing", serverCore, sizingArgument{o.kit.dir, *d}, &address)
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	var done [2]sizingReply
	var cpu [2]time.Duration
	// Two clients, one after the other, so that the second begins when the cache is as it stays.
	for i, duration := range []time.Duration{d.Warm, d.Run} {
		reply, err := paced(ctx, clientCore, pacing{
			Addresses: []string{address}, Requests: file, Rate: d.Rate, Connections: pacedConnections, Duration: duration, Seed: uint64(i),
		})
		if err != nil {
			return n, err
		}
		if i == 1 && !reply.keptUp() {
			return n, fmt.Errorf("%.0f requests a second are too many: %d of %d were answered in time", d.Rate, reply.Answered, reply.Due)
		}
		if cpu[i], err = cpuTime(server.cmd.Process.Pid); err != nil {
			return n, err
		}
		if err := server.ask("what was done", &done[i]); err != nil {
			return n, err
		}
	}
	seconds := d.Run.Seconds()
	return needs{
		Signed: float64(done[1].Signed-done[0].Signed) / seconds,
		Read:   float64(done[1].Read-done[0].Read) / seconds,
		Memory: done[1].Memory,
		Cores:  (cpu[1] - cpu[0]).Seconds() / seconds,
	}, nil
}
