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

// pacer is a paced client at work.
type pacer struct {
	pacing
	requests, busy [][]byte
	sockets        sockets
	lines          map[int]*line
	idle           []*line // longest first
	resting        []*line // those that are busy otherwise, in the order in which they are due
	random         *rand.Rand
	begin          time.Time
	due            time.Duration // when the next request is
	latencies      []float64
	reply          pacedReply
}

func (p *pacing) run(ctx context.Context) (reply pacedReply, err error) {
	c := &pacer{pacing: *p, lines: map[int]*line{}, random: rand.New(rand.NewPCG(p.Seed, 5))}
	if c.requests, err = readWire(p.Requests); err != nil {
		return reply, err
	}
	if p.BusyConnections > 0 {
		if c.busy, err = readWire(p.Busy); err != nil {
			return reply, err
		}
	}
	if c.sockets, err = newSockets(); err != nil {
		return reply, err
	}
	defer func() { err = errors.Join(err, c.sockets.close()) }()
	if err := c.connect(); err != nil {
		return reply, err
	}
	c.latencies = make([]float64, 0, int(1.2*p.Rate*p.Duration.Seconds())+1000)
	c.begin, c.due = time.Now(), c.gap()
	for ctx.Err() == nil {
		now := time.Since(c.begin)
		if now > p.Duration && len(c.idle) == p.Connections || now > p.Duration+pacedDrain {
			break
		}
		if err := c.send(min(now, p.Duration)); err != nil {
			return reply, err
		}
		if err := c.receive(); err != nil {
			return reply, err
		}
	}
	for ; c.due <= p.Duration; c.due += c.gap() {
		c.reply.Due++ // nobody was free to ask
	}
	if err := errors.Join(ctx.Err(), positive(c.reply.Answered)); err != nil {
		return reply, err
	}
	slices.Sort(c.latencies)
	c.reply.Median, c.reply.P99 = quantile(c.latencies, 0.5), quantile(c.latencies, 0.99)
	return c.reply, nil
}

// gap is the time from one request to the next.
func (c *pacer) gap() time.Duration {
	return time.Duration(c.random.ExpFloat64() / c.Rate * float64(time.Second))
}

func (c *pacer) connect() error {
	for i := range c.Connections + c.BusyConnections {
		socket, err := c.sockets.open(c.Addresses[i%len(c.Addresses)])
		if err != nil {
			return err
		}
		l := &line{socket: socket, busy: i >= c.Connections}
		c.lines[socket] = l
		if l.busy {
			l.due = c.BusySpread * time.Duration(i-c.Connections) / time.Duration(c.BusyConnections)
			c.resting = append(c.resting, l)
		} else {
			c.idle = append(c.idle, l)
		}
	}
	return nil
}

// send sends what is due.
func (c *pacer) send(now time.Duration) error {
	for c.due <= now && len(c.idle) > 0 {
		l := c.idle[0] // longest idle, lest the server end it
		c.idle = c.idle[1:]
		l.due = c.due
		if err := c.sockets.write(l.socket, c.requests[c.random.IntN(len(c.requests))]); err != nil {
			return err
		}
		c.reply.Due++
		c.due += c.gap()
	}
	for len(c.resting) > 0 && c.resting[0].due <= now && now < c.Duration {
		l := c.resting[0]
		c.resting = c.resting[1:]
		l.due = now + c.BusyEvery
		if err := c.sockets.write(l.socket, c.busy[c.BusyFrom%len(c.busy)]); err != nil {
			return err
		}
		c.BusyFrom++
	}
	return nil
}

// receive reads what has come.
func (c *pacer) receive() error {
	ready, err := c.sockets.wait(c.Patient)
	if err != nil {
		return err
	}
	for _, socket := range ready {
		l := c.lines[socket]
		if l.in, err = c.sockets.read(socket, l.in); err != nil {
			return err
		}
		if err := l.answered(c.AnyAnswer); err == errCut {
			continue
		} else if err != nil {
			return err
		}
		l.in = l.in[:0]
		at := time.Since(c.begin)
		inTime := at <= c.Duration
		switch {
		case !l.busy:
			c.latencies = append(c.latencies, float64((at-l.due).Nanoseconds())/1000)
			c.idle = append(c.idle, l)
			if inTime {
				c.reply.Answered++
			}
		case inTime:
			c.reply.BusyAnswered++
			c.resting = append(c.resting, l)
		}
	}
	return nil
}
