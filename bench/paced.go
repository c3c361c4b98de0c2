package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strconv"
	"time"
)

// pacing is what a paced client does. It sends requests when they are due, at times that do not wait for answers, as those
// of many clients who know nothing of each other are, and counts latency from then on: a server that stalls is late for
// all whom it keeps waiting.
type pacing struct {
	Addresses   []string
	Requests    string  // the file that they are drawn from, in random order
	Rate        float64 // in a second, on average
	Connections int
	Duration    time.Duration
	Seed        uint64
	AnyAnswer   bool // an OCSP error will do, too
	Patient     bool // sleep when nothing is due, which costs latency, instead of keeping a core busy

	// Beside that, BusyConnections more ask the requests of another file, from BusyFrom on, one after the other,
	// each as soon as it has been answered, but not within BusyEvery of its last. They begin one by one, during
	// BusySpread.
	Busy                      string
	BusyConnections, BusyFrom int
	BusyEvery, BusySpread     time.Duration
}

// pacedReply is what became of it: how many requests were due, and how many of those were answered before it ended.
// Latencies, of those that were answered at all, are in microseconds.
type pacedReply struct {
	Due, Answered, BusyAnswered int
	Median, P99                 float64
}

// line is a connection of a paced client.
type line struct {
	socket int
	busy   bool
	due    time.Duration // when the request was due that it waits for an answer to; for a busy one, when its next is
	in     []byte
}

// errCut says that an answer has not come whole yet.
var errCut = errors.New("cut short")

// answered checks the answer that has come.
func (l *line) answered(any bool) error {
	head, body, whole := bytes.Cut(l.in, []byte("\r\n\r\n"))
	if !whole {
		return errCut
	}
	_, value, known := bytes.Cut(head, []byte("Content-Length: "))
	value, _, _ = bytes.Cut(value, []byte("\r\n"))
	n, err := strconv.Atoi(string(value))
	const errorLength = 5 // of an OCSP response without a status
	switch {
	case !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")), !known, err != nil:
		return fmt.Errorf("an unexpected answer: %q", l.in)
	case len(body) < n:
		return errCut
	case len(body) > n:
		return fmt.Errorf("%d octets after an answer of %d", len(body)-n, n)
	case n <= errorLength && !any:
		return fmt.Errorf("an OCSP error: %x", body)
	}
	return nil
}

// sockets are connections that do not block.
type sockets interface {
	// open connects to an address.
	open(address string) (socket int, err error)
	// write sends a request, which the socket has room for.
	write(socket int, request []byte) error
	// read appends what has come to room.
	read(socket int, room []byte) ([]byte, error)
	// wait returns the sockets that something has come for, for a millisecond or at once.
	wait(patient bool) ([]int, error)
	close() error
}

// pacedDrain is how long a paced client waits for the last answers.
const pacedDrain = time.Second

// servePaced is the role of a paced client. Its only reply tells what became of it.
func servePaced(ctx context.Context, talk *parent) error {
	debug.SetGCPercent(-1) // it makes no garbage to speak of
	var p pacing
	if err := talk.in.Decode(&p); err != nil {
		return err
	}
	reply, err := p.run(ctx)
	if err != nil {
		return err
	}
	return talk.out.Encode(reply)
}

// paced runs such a client on a core of its own.
func paced(ctx context.Context, core int, p pacing) (reply pacedReply, err error) {
	c, err := startChild(ctx, "paced", core, p, &reply)
	if err != nil {
		return reply, err
	}
	return reply, c.stop()
}

func (p *pacing) run(ctx context.Context) (reply pacedReply, err error) {
	requests, err := readWire(p.Requests)
	if err != nil {
		return reply, err
	}
	var busy [][]byte
	if p.BusyConnections > 0 {
		if busy, err = readWire(p.Busy); err != nil {
			return reply, err
		}
	}
	net, err := newSockets()
	if err != nil {
		return reply, err
	}
	defer func() { err = errors.Join(err, net.close()) }()
	lines := map[int]*line{}
	var idle, resting []*line // resting are those that are busy otherwise, in the order in which they are due
	for i := range p.Connections + p.BusyConnections {
		socket, err := net.open(p.Addresses[i%len(p.Addresses)])
		if err != nil {
			return reply, err
		}
		l := &line{socket: socket, busy: i >= p.Connections}
		lines[socket] = l
		if l.busy {
			l.due = p.BusySpread * time.Duration(i-p.Connections) / time.Duration(p.BusyConnections)
			resting = append(resting, l)
		} else {
			idle = append(idle, l)
		}
	}
	random := rand.New(rand.NewPCG(p.Seed, 5))
	next := p.BusyFrom
	gap := func() time.Duration { return time.Duration(random.ExpFloat64() / p.Rate * float64(time.Second)) }
	latencies := make([]float64, 0, int(1.2*p.Rate*p.Duration.Seconds())+1000)
	begin, due := time.Now(), gap()
	for ctx.Err() == nil {
		now := time.Since(begin)
		if now > p.Duration && len(idle) == p.Connections || now > p.Duration+pacedDrain {
			break
		}
		for due <= min(now, p.Duration) && len(idle) > 0 {
			l := idle[0] // the one that has been longest, lest the server end it
			idle = idle[1:]
			l.due = due
			if err := net.write(l.socket, requests[random.IntN(len(requests))]); err != nil {
				return reply, err
			}
			reply.Due++
			due += gap()
		}
		for len(resting) > 0 && resting[0].due <= now && now <= p.Duration {
			l := resting[0]
			resting = resting[1:]
			l.due = now + p.BusyEvery
			if err := net.write(l.socket, busy[next%len(busy)]); err != nil {
				return reply, err
			}
			next++
		}
		ready, err := net.wait(p.Patient)
		if err != nil {
			return reply, err
		}
		for _, socket := range ready {
			l := lines[socket]
			if l.in, err = net.read(socket, l.in); err != nil {
				return reply, err
			}
			if err := l.answered(p.AnyAnswer); err == errCut {
				continue
			} else if err != nil {
				return reply, err
			}
			l.in = l.in[:0]
			at := time.Since(begin)
			if !l.busy {
				latencies = append(latencies, float64((at-l.due).Nanoseconds())/1000)
				idle = append(idle, l)
				if at <= p.Duration {
					reply.Answered++
				}
			} else if at <= p.Duration {
				reply.BusyAnswered++
				resting = append(resting, l)
			}
		}
	}
	for ; due <= p.Duration; due += gap() {
		reply.Due++ // nobody was free to ask
	}
	if err := errors.Join(ctx.Err(), positive(reply.Answered)); err != nil {
		return reply, err
	}
	slices.Sort(latencies)
	reply.Median, reply.P99 = quantile(latencies, 0.5), quantile(latencies, 0.99)
	return reply, nil
}
