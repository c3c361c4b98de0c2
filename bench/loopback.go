package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed wrk.lua
var wrkScript []byte

// connections is how many clients ask at the same time.
const connections = 8

// costs are what answers cost a server, one figure for each round.
type costs struct {
	peer
	absent  error     // in place of figures
	cpu     []float64 // of the server for one request, µs
	latency []float64 // the median, µs
}

// ratios compares with another peer, round by round.
func (c *costs) ratios(to *costs) []float64 { return quotients(c.cpu, to.cpu) }

func quotients(a, b []float64) []float64 {
	list := make([]float64, min(len(a), len(b)))
	for i := range list {
		list[i] = a[i] / b[i]
	}
	return list
}

// loopback measures what an answer costs each peer, in turns, with keep-alive unless it closes connections.
func loopback(ctx context.Context, o *options) (*result, error) {
	list, err := measureCosts(ctx, o, peers)
	if err != nil {
		return nil, err
	}
	res := &result{text: costTable(list)}
	of := func(name string) *costs {
		return list[slices.IndexFunc(list, func(c *costs) bool { return c.name == name })]
	}
	compare := func(what, name, to string, must, stretch float64) {
		res.findings = append(res.findings, finding{what: what, values: of(name).ratios(of(to)), goal: &goal{must: must, stretch: stretch}})
	}
	compare("Handler, cached, POST: CPU to static net/http", handlerPost, staticPost, 1.15, 1.05)
	compare("Handler, cached, GET: CPU to static net/http", handlerGet, staticGet, 1.15, 1.05)
	compare("Handler, cached, POST: CPU to cfssl", handlerPost, cfsslPost, 0.5, 0.5)
	compare("Handler, signed for a nonce: CPU to x/crypto/ocsp", handlerSign, xcryptoSign, 0.75, 0.65)
	compare("ocspfasthttp, cached, POST: CPU to static net/http", fastPost, staticPost, 0.7, 0.5)
	compare("ocspfasthttp, cached, GET: CPU to static net/http", fastGet, staticGet, 0.7, 0.5)
	file := "bench-cpu.svg"
	res.text += fmt.Sprintf("\n![CPU time for each request, by responder](images/%s)\n", file)
	return res, plotCosts(filepath.Join(o.images, file), list)
}

// measureCosts measures some peers in turns.
func measureCosts(ctx context.Context, o *options, some []peer) (list []*costs, err error) {
	wrk, err := find("wrk")
	if err != nil {
		return nil, err
	}
	var servers []*server
	defer func() {
		for _, s := range servers {
			if s != nil {
				err = errors.Join(err, s.stop())
			}
		}
	}()
	for _, p := range some {
		s, err := p.start(ctx, o.kit, anywhere, "")
		c := &costs{peer: p}
		if errors.Is(err, errAbsent) {
			c.absent = err
		} else if err != nil {
			return nil, err
		}
		list, servers = append(list, c), append(servers, s)
	}
	for round := range o.rounds + 1 { // the first warms up
		for i, c := range list {
			if c.absent != nil {
				continue
			}
			o.progress("loopback, round %d of %d: %s", round, o.rounds, c.name)
			cpu, latency, err := servers[i].measure(ctx, wrk, o)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 {
				c.cpu, c.latency = append(c.cpu, cpu), append(c.latency, latency)
			}
		}
	}
	return list, nil
}

// measure returns the CPU time of the server for one request and the median latency, in microseconds.
func (s *server) measure(ctx context.Context, wrk string, o *options) (cpu, latency float64, err error) {
	before, err := s.cpu()
	if err != nil {
		return 0, 0, err
	}
	var n int
	if s.asks == closes {
		n, latency, err = closing(ctx, s.address, o.kit.file(s.asks), o.duration)
	} else {
		n, latency, err = runWrk(ctx, wrk, s.address, o.kit.file(s.asks), o.duration)
	}
	if err != nil {
		return 0, 0, err
	}
	after, err := s.cpu()
	return float64((after - before).Nanoseconds()) / 1000 / float64(n), latency, err
}

// runWrk asks with wrk and returns how many answers came and the median latency in microseconds.
func runWrk(ctx context.Context, wrk, address, requests string, duration time.Duration) (n int, latency float64, err error) {
	seconds := max(int(duration.Seconds()), 1) // wrk knows no less
	out, err := exec.CommandContext(ctx, wrk, "-t1", "-c"+strconv.Itoa(connections), "-d"+strconv.Itoa(seconds), "--latency",
		"-s", filepath.Join(filepath.Dir(requests), "wrk.lua"), "http://"+address, "--", requests).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	if bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		return 0, 0, fmt.Errorf("not all requests were answered:\n%s", out)
	}
	total := regexp.MustCompile(`(\d+) requests in`).FindSubmatch(out)
	middle := regexp.MustCompile(`50%\s+([\d.]+(us|ms|s))`).FindSubmatch(out)
	if total == nil || middle == nil {
		return 0, 0, fmt.Errorf("wrk printed:\n%s", out)
	}
	d, err := time.ParseDuration(string(middle[1]))
	if err != nil {
		return 0, 0, err
	}
	n, err = strconv.Atoi(string(total[1]))
	return n, float64(d.Nanoseconds()) / 1000, errors.Join(err, positive(n))
}

func positive(n int) error {
	if n <= 0 {
		return errors.New("nothing was answered")
	}
	return nil
}

// closing does what wrk does, with a new connection for each request. wrk itself connects once without asking, which
// OpenSSL does not survive.
func closing(ctx context.Context, address, file string, duration time.Duration) (n int, latency float64, err error) {
	const most = 5000 // so that ports do not run out
	requests, err := readWire(file)
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var mu sync.Mutex
	var clients sync.WaitGroup
	var took []float64
	for range connections {
		clients.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				i := n
				n++
				mu.Unlock()
				if i >= most {
					return
				}
				begin := time.Now()
				_, failure := exchange(address, requests[i%len(requests)])
				mu.Lock()
				took, err = append(took, float64(time.Since(begin).Nanoseconds())/1000), errors.Join(err, failure)
				mu.Unlock()
				if failure != nil {
					return
				}
			}
		})
	}
	clients.Wait()
	if err = errors.Join(err, positive(len(took))); err != nil {
		return 0, 0, err
	}
	return len(took), median(took), nil
}

// exchangeDeadline is how long one answer may take.
const exchangeDeadline = 10 * time.Second

// exchange sends one request over a connection of its own, and returns the body of the answer.
func exchange(address string, request []byte) (body []byte, err error) {
	conn, err := net.DialTimeout("tcp", address, exchangeDeadline)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetDeadline(time.Now().Add(exchangeDeadline)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP status %s", res.Status)
	}
	return io.ReadAll(res.Body)
}

// costTable shows the costs of each peer, and compares them with the static handler's.
func costTable(list []*costs) string {
	var b strings.Builder
	b.WriteString("| responder | CPU per request, to static | from | to | µs | median latency, µs |\n|---|---|---|---|---|---|\n")
	for _, c := range list {
		if c.absent != nil {
			fmt.Fprintf(&b, "| %s | %v | | | | |\n", c.name, c.absent)
			continue
		}
		like := list[slices.IndexFunc(list, func(other *costs) bool { return other.name == c.like })]
		ratios := c.ratios(like)
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %.2f | %.1f | %.0f |\n", c.name, median(ratios), slices.Min(ratios), slices.Max(ratios), median(c.cpu), median(c.latency))
	}
	return b.String()
}
