// Command bench compares what an answer costs responders over loopback: the CPU time of the server's process for each
// request, with keep-alive, wrk as the client, and every server in a process of its own. It prints a table of ratios to a
// static net/http handler, medians and spreads of interleaved rounds, and writes it to docs/PERFORMANCE.md.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	xocsp "golang.org/x/crypto/ocsp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	serve := flag.String("serve", "", "serve as this `responder`; bench calls itself so")
	rounds := flag.Int("rounds", 7, "interleaved rounds")
	duration := flag.Duration("duration", 2*time.Second, "of one measurement")
	out := flag.String("out", "docs/PERFORMANCE.md", "the `file` to write the table to, between its markers; empty: none")
	flag.Parse()
	err := error(nil)
	if *serve != "" {
		err = serveAs(ctx, *serve)
	} else {
		err = compare(ctx, *rounds, *duration, *out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// process is a server under measurement.
type process struct {
	peer
	cmd     *exec.Cmd
	url     string
	script  string // of wrk
	costs   []float64
	latency []float64
	stderr  bytes.Buffer
}

// compare measures all peers in turns.
func compare(ctx context.Context, rounds int, duration time.Duration, out string) (err error) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		return errors.New("wrk is missing: apt-get install wrk")
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var list []*process
	defer func() {
		for _, p := range list {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	}()
	for _, peer := range peers {
		p, err := start(ctx, peer, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", peer.name, err)
		}
		list = append(list, p)
	}
	for round := range rounds + 1 { // the first warms up
		for _, p := range list {
			fmt.Fprintf(os.Stderr, "\rround %d of %d: %-40s", round, rounds, p.name)
			cost, latency, err := p.measure(ctx, wrk, duration)
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", p.name, err, p.stderr.String())
			}
			if round > 0 {
				p.costs, p.latency = append(p.costs, cost), append(p.latency, latency)
			}
		}
	}
	fmt.Fprintln(os.Stderr)
	text := table(list)
	fmt.Print(text)
	if out == "" {
		return nil
	}
	return write(out, text+"\n"+machine(ctx, rounds, duration)+"\n")
}

// start starts a peer, and checks that it answers as it should.
func start(ctx context.Context, peer peer, dir string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{peer: peer, cmd: exec.CommandContext(ctx, self, "-serve", peer.name), script: filepath.Join(dir, slug(peer.name)+".lua")}
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	// The server says where it listens, and what to ask.
	var address, request string
	if _, err := fmt.Fscan(stdout, &address, &request); err != nil {
		return nil, fmt.Errorf("it does not start: %w\n%s", err, p.stderr.String())
	}
	p.url = "http://" + address + "/"
	script := fmt.Sprintf("wrk.method = 'GET'\nwrk.path = '/%s'\n", strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(request))
	der, err := decode(request)
	if err != nil {
		return nil, err
	}
	if peer.post {
		script = "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/ocsp-request'\nwrk.body = '" + luaString(der) + "'\n"
	}
	if err := os.WriteFile(p.script, []byte(script), 0o600); err != nil {
		return nil, err
	}
	res, err := http.Post(p.url, "application/ocsp-request", bytes.NewReader(der))
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	answer, err := xocsp.ParseResponse(body, nil)
	if err != nil || answer.Status != xocsp.Good {
		return nil, fmt.Errorf("it does not answer good: %w", err)
	}
	return p, nil
}

func slug(name string) string { return regexp.MustCompile(`[^a-zA-Z0-9]+`).ReplaceAllString(name, "-") }

func luaString(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, "\\%03d", c)
	}
	return s.String()
}

// measure returns the CPU time of the server for one request and the median latency, in microseconds.
func (p *process) measure(ctx context.Context, wrk string, duration time.Duration) (cost, latency float64, err error) {
	before, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	out, err := exec.CommandContext(ctx, wrk, "-t1", "-c8", "-d", duration.String(), "--latency", "-s", p.script, p.url).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	after, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	if bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		return 0, 0, fmt.Errorf("not all requests were answered:\n%s", out)
	}
	requests := regexp.MustCompile(`(\d+) requests in`).FindSubmatch(out)
	median := regexp.MustCompile(`50%\s+([\d.]+)(us|ms)`).FindSubmatch(out)
	if requests == nil || median == nil {
		return 0, 0, fmt.Errorf("wrk printed:\n%s", out)
	}
	n, err := strconv.ParseFloat(string(requests[1]), 64)
	if err != nil {
		return 0, 0, err
	}
	if latency, err = strconv.ParseFloat(string(median[1]), 64); err != nil {
		return 0, 0, err
	}
	if string(median[2]) == "ms" {
		latency *= 1000
	}
	return (after - before).Seconds() * 1e6 / n, latency, nil
}

// ticks is what /proc counts CPU time in, a hundred a second on Linux.
const ticks = 10 * time.Millisecond

// cpu returns the CPU time that the server has used.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, err := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * ticks, errors.Join(err, err2)
}

// table compares all with the first.
func table(list []*process) string {
	var b strings.Builder
	b.WriteString("| responder | CPU per request, to static | from | to | µs | median latency, µs |\n|---|---|---|---|---|---|\n")
	for _, p := range list {
		ratios := make([]float64, len(p.costs))
		for i := range ratios {
			ratios[i] = p.costs[i] / list[0].costs[i]
		}
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %.2f | %.1f | %.0f |\n", p.name, median(ratios), slices.Min(ratios), slices.Max(ratios), median(p.costs), median(p.latency))
	}
	return b.String()
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// machine describes where the figures come from.
func machine(ctx context.Context, rounds int, duration time.Duration) string {
	model := "an unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`model name\s*: (.*)`).FindSubmatch(text); m != nil {
			model = string(m[1])
		}
	}
	kernel, _ := exec.CommandContext(ctx, "uname", "-sr").Output() // then it is left out
	return fmt.Sprintf("%d interleaved rounds of %v, 8 connections, %d cores of %s, %s, %s, %s.",
		rounds, duration, runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), runtime.Version(), time.Now().Format(time.DateOnly))
}

const (
	beginMark = "<!-- bench:begin -->"
	endMark   = "<!-- bench:end -->"
)

// write puts a text between the markers of a file.
func write(file, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no lines %s and %s", file, beginMark, endMark)
	}
	return os.WriteFile(file, []byte(before+beginMark+"\n\n"+text+"\n"+endMark+after), 0o644)
}
