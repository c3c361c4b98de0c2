package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// loads are the rates at which latency is measured, in requests a second.
var loads = []float64{2_000, 5_000, 10_000, 15_000, 20_000, 25_000, 30_000, 40_000, 50_000, 60_000, 80_000}

// keptUp is the part of the requests that a responder must answer while a load lasts, or the load is too much for it. It
// has a second try, since the machine may have had other things to do.
const keptUp = 0.98

// pacedConnections is how many a paced client spreads its requests over.
const pacedConnections = 64

// curve is the latency of one responder, for each load that it keeps up with, and each round.
type curve struct {
	name        string
	loads       []float64
	median, p99 [][]float64 // µs
	tooMuch     float64     // the first load that it did not keep up with; 0: none
}

// twoCores returns one for a server and one for its client.
func twoCores() (server, client int, err error) {
	list, err := cores()
	if err == nil && len(list) < 2 {
		err = errors.New("a server and its client want a core each")
	}
	if err != nil {
		return 0, 0, err
	}
	return list[0], list[1], nil
}

// load measures the latency of cached answers under loads of requests that come when they come.
func load(ctx context.Context, o *options) (res *result, err error) {
	names := []string{staticPost, handlerPost, fastPost, cfsslPost}
	curves, err := measureLoads(ctx, o, names, loads)
	if err != nil {
		return nil, err
	}
	file := "bench-latency.svg"
	res = &result{text: loadTable(curves) + fmt.Sprintf("\n![Latency of a cached answer against the load](images/%s)\n", file)}
	return res, plotCurves(filepath.Join(o.images, file), curves)
}

// measureLoads measures some peers at some loads, each server on one core and its client on another.
func measureLoads(ctx context.Context, o *options, names []string, loads []float64) (curves []*curve, err error) {
	serverCore, clientCore, err := twoCores()
	if err != nil {
		return nil, err
	}
	var servers []*server
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.stop())
		}
	}()
	for _, name := range names {
		p, err := findPeer(name)
		if err != nil {
			return nil, err
		}
		s, err := p.start(ctx, o.kit, serverCore, "")
		if err != nil {
			return nil, err
		}
		servers = append(servers, s)
		curves = append(curves, &curve{name: name, loads: loads, median: make([][]float64, len(loads)), p99: make([][]float64, len(loads))})
	}
	for round := range o.rounds {
		for i, rate := range loads {
			for j, c := range curves {
				if c.tooMuch != 0 && rate >= c.tooMuch {
					continue
				}
				o.progress("latency, round %d of %d: %s, %.0f/s", round+1, o.rounds, c.name, rate)
				p := pacing{
					Addresses: []string{servers[j].address}, Requests: o.kit.file(servers[j].asks), Rate: rate,
					Connections: pacedConnections, Duration: o.duration / 2, Seed: uint64(round),
				}
				reply, err := paced(ctx, clientCore, p)
				if err == nil && !reply.keptUp() {
					reply, err = paced(ctx, clientCore, p)
				}
				if err != nil {
					return nil, fmt.Errorf("%s at %.0f/s: %w", c.name, rate, err)
				}
				if !reply.keptUp() {
					c.tooMuch = rate
					continue
				}
				c.median[i], c.p99[i] = append(c.median[i], reply.Median), append(c.p99[i], reply.P99)
			}
		}
	}
	for _, c := range curves {
		if c.tooMuch != 0 { // once is too often
			c.loads = c.loads[:slices.Index(c.loads, c.tooMuch)]
		}
	}
	return curves, nil
}

func (r *pacedReply) keptUp() bool { return float64(r.Answered) >= keptUp*float64(r.Due) }

// loadTable shows the median and the 99th percentile of each responder.
func loadTable(curves []*curve) string {
	var b strings.Builder
	b.WriteString("Median and 99th percentile of a cached answer's latency, µs, from the time at which the request was due.\n\n| requests/s |")
	longest := curves[0].loads
	for _, c := range curves {
		fmt.Fprintf(&b, " %s |", c.name)
		if len(c.loads) > len(longest) {
			longest = c.loads
		}
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(curves)) + "\n")
	for i, rate := range longest {
		fmt.Fprintf(&b, "| %.0f |", rate)
		for _, c := range curves {
			if i < len(c.loads) {
				fmt.Fprintf(&b, " %.0f, %.0f |", median(c.median[i]), median(c.p99[i]))
			} else {
				b.WriteString(" too much |")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}
