package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp/ocsptest"
)

// TestMain lets the tests' program be a child, as the command's is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == childFlag {
		main()
		return
	}
	os.Exit(m.Run())
}

// small are options that take no time, with a kit of few certificates.
func small(t *testing.T) *options {
	t.Helper()
	k, err := newKit(t.TempDir(), 20)
	if err != nil {
		t.Fatal(err)
	}
	return &options{rounds: 1, duration: time.Second, benchtime: time.Millisecond, entries: 2 * few, images: t.TempDir(), root: "..", kit: k, status: t.Output()}
}

// absent skips a test whose program is not there, unless that must not be.
func absent(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("OCSP_REQUIRE_TOOLS") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

func TestKit(t *testing.T) {
	o := small(t)
	loaded, err := loadKit(o.kit.dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(loaded.serials), fmt.Sprint(o.kit.serials); got != want || !loaded.ca.Certificate.Equal(o.kit.ca.Certificate) {
		t.Errorf("another kit was loaded: %s, want %s", got, want)
	}
	for _, kind := range []string{posts, gets, nonces, closes} {
		if list, err := readWire(o.kit.file(kind)); err != nil || len(list) != 20 {
			t.Errorf("%d requests, %v", len(list), err)
		}
	}
}

// Each responder answers good, and tells what CPU time it takes.
func TestPeers(t *testing.T) {
	o := small(t)
	for _, p := range peers {
		t.Run(p.name, func(t *testing.T) {
			s, err := p.start(t.Context(), o.kit, anywhere, "")
			if errors.Is(err, errAbsent) {
				absent(t, err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if used, err := s.cpu(); err != nil || used <= 0 {
				t.Errorf("it took %v, %v", used, err)
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A peer that answers something else is not measured.
func TestPeerThatIsWrong(t *testing.T) {
	o := small(t)
	p := peers[0]
	p.asks = files // which has not the first certificate's answer in it, but fits the static handler
	s, err := p.start(t.Context(), o.kit, anywhere, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.stop() }()
	o.kit.serials[0] = o.kit.serials[1]
	if err := s.check(o.kit); err == nil {
		t.Error("an answer about another certificate passed")
	}
	if _, err := (peer{name: "nobody"}).start(t.Context(), o.kit, anywhere, ""); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("a peer that is not there started: %v", err)
	}
}

func TestLoopback(t *testing.T) {
	o := small(t)
	if _, err := find("wrk"); err != nil {
		absent(t, err)
	}
	some := []peer{peers[0]}
	for _, name := range []string{handlerPost, staticOnce, handlerOnce} {
		p, err := findPeer(name)
		if err != nil {
			t.Fatal(err)
		}
		some = append(some, p)
	}
	some = append(some, peer{name: "gone", like: staticPost, launch: func(context.Context, *kit) (*server, error) { return nil, errAbsent }})
	list, err := measureCosts(t.Context(), o, some)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list[:4] {
		if len(c.cpu) != 1 || c.cpu[0] <= 0 || len(c.latency) != 1 || c.latency[0] <= 0 {
			t.Errorf("%s: %v, %v", c.name, c.cpu, c.latency)
		}
	}
	if text := costTable(list); !strings.Contains(text, "| gone | not present |") {
		t.Errorf("a peer that is not there is not in the table:\n%s", text)
	}
	file := filepath.Join(o.images, "cpu.svg")
	if err := plotCosts(file, list); err != nil {
		t.Fatal(err)
	}
	if svg, err := os.ReadFile(file); err != nil || strings.Count(string(svg), "textLength=") < 10 {
		t.Errorf("%v, %s", err, svg)
	}
}

func TestInProcess(t *testing.T) {
	res, err := inProcess(t.Context(), small(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(res.findings) == 0 {
		t.Error("nothing was judged")
	}
	for _, f := range res.findings {
		if len(f.values) != 1 {
			t.Errorf("%s: %v", f.what, f.values)
		}
	}
}

// A benchmark that is not there any more is an error, and no figure.
func TestMicro(t *testing.T) {
	m := micro{}
	if err := m.add([]byte("goos: linux\nBenchmarkHandler/cached/POST-2 \t 10 \t 2500 ns/op \t 272 B/op \t 2 allocs/op\n")); err != nil {
		t.Fatal(err)
	}
	if got := micros(m["Handler/cached/POST"][seconds]); len(got) != 1 || got[0] != 2.5 || m["Handler/cached/POST"][allocated][0] != 2 {
		t.Errorf("%v", m)
	}
	if _, err := m.result(); err == nil || !strings.Contains(err.Error(), "Sign/P256/raw") {
		t.Errorf("benchmarks that were not run passed: %v", err)
	}
}

// What the quick key signs verifies as an RSA-2048 signature does.
func TestQuickKey(t *testing.T) {
	k := newQuickKey()
	if n := k.public.N.BitLen(); n != 2048 {
		t.Errorf("%d bits", n)
	}
	digest := sha256.Sum256([]byte("message"))
	signature, err := k.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if err := rsa.VerifyPKCS1v15(&k.public, crypto.SHA256, digest[:], signature); err != nil {
		t.Error(err)
	}
	if _, err := k.Sign(nil, digest[:], &rsa.PSSOptions{Hash: crypto.SHA256}); err == nil {
		t.Error("it signed PSS")
	}
}

func TestFleet(t *testing.T) {
	f := newFleet(ocsptest.NewCA(ocsptest.Options{}))
	seen := map[string]bool{}
	for i := range uint64(1000) {
		request, err := xocsp.ParseRequest(f.request(nil, i))
		if err != nil || request.SerialNumber.Sign() <= 0 || seen[request.SerialNumber.String()] {
			t.Fatalf("request %d: %+v, %v", i, request, err)
		}
		seen[request.SerialNumber.String()] = true
	}
}

func TestStorages(t *testing.T) {
	res, err := storages(t.Context(), small(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range res.findings {
		if len(f.values) != 1 || f.values[0] <= 0 {
			t.Errorf("%s: %v", f.what, f.values)
		}
	}
}

// A paced client asks as often as it is told, and counts from when a request was due.
func TestPaced(t *testing.T) {
	o := small(t)
	_, client, err := twoCores()
	if err != nil {
		t.Skip(err)
	}
	p, err := findPeer(handlerPost)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.start(t.Context(), o.kit, anywhere, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.stop() }()
	pace := pacing{
		Addresses: []string{s.address}, Requests: o.kit.file(posts), Rate: 200, Connections: 4, Duration: time.Second,
		Busy: o.kit.file(gets), BusyConnections: 2, BusyEvery: 100 * time.Millisecond, BusySpread: 50 * time.Millisecond,
	}
	reply, err := paced(t.Context(), client, pace)
	if err != nil {
		t.Fatal(err)
	}
	if reply.Due < 100 || reply.Due > 300 || reply.Answered > reply.Due || reply.Median <= 0 || reply.P99 < reply.Median {
		t.Errorf("200 a second were to be due: %+v", reply)
	}
	if reply.BusyAnswered < 2 || reply.BusyAnswered > 20 {
		t.Errorf("two who ask ten times a second were answered %d times", reply.BusyAnswered)
	}

	// OCSP errors are answers only if they are expected.
	malformed := filepath.Join(t.TempDir(), "malformed")
	if err := os.WriteFile(malformed, wire("POST", "/", []byte{0x30, 0x00}, ""), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := pacing{Addresses: pace.Addresses, Requests: malformed, Rate: 200, Connections: 1, Duration: 100 * time.Millisecond, Patient: true}
	if _, err := paced(t.Context(), client, wrong); err == nil || !strings.Contains(err.Error(), "an OCSP error") {
		t.Errorf("errors passed for answers: %v", err)
	}
	wrong.AnyAnswer = true
	if _, err := paced(t.Context(), client, wrong); err != nil {
		t.Error(err)
	}
}

func TestAnswered(t *testing.T) {
	for in, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n123456":  "",
		"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n12345":   errCut.Error(),
		"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n":            errCut.Error(),
		"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n1234567": "1 octets after",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345":   "an OCSP error",
		"HTTP/1.1 500 No\r\nContent-Length: 6\r\n\r\n123456":  "unexpected",
		"HTTP/1.1 200 OK\r\n\r\n123456":                       "unexpected",
	} {
		if err := (&line{in: []byte(in)}).answered(false); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	o := small(t)
	if _, _, err := twoCores(); err != nil {
		t.Skip(err)
	}
	curves, err := measureLoads(t.Context(), o, []string{staticPost, handlerPost}, []float64{100, 200, 200_000})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range curves {
		if c.tooMuch == 0 || len(c.loads) == 3 {
			t.Errorf("%s answered 200,000 a second", c.name)
		}
	}
	file := filepath.Join(o.images, "latency.svg")
	if err := plotCurves(file, curves); err != nil {
		t.Fatal(err)
	}
	if svg, err := os.ReadFile(file); err != nil || !strings.Contains(string(svg), handlerPost) {
		t.Errorf("%v, %s", err, svg)
	}
	curves[0].loads, curves[1].loads = []float64{100, 200}, []float64{100}
	curves[0].median, curves[0].p99 = [][]float64{{1}, {3, 5}}, [][]float64{{2}, {6}}
	curves[1].median, curves[1].p99 = [][]float64{{7}}, [][]float64{{8}}
	if text := loadTable(curves); !strings.Contains(text, "| 100 | 1, 2 | 7, 8 |\n| 200 | 4, 6 | too much |\n") {
		t.Error(text)
	}
}

func TestSlowSigner(t *testing.T) {
	o := small(t)
	if _, _, err := twoCores(); err != nil {
		t.Skip(err)
	}
	res, err := slowSigner(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range res.findings {
		if len(f.values) != 1 || f.values[0] <= 0 {
			t.Errorf("%s: %v", f.what, f.values)
		}
	}
	if used := res.findings[0].values[0]; used > 1.05 {
		t.Errorf("%v of what can be signed was signed", used)
	}
}

func TestNonceFlood(t *testing.T) {
	o := small(t)
	if _, _, err := twoCores(); err != nil {
		t.Skip(err)
	}
	r, err := measureFlood(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, values := range [][]float64{r.alone.median, r.alone.p99, r.flooded.median, r.flooded.p99, r.signed} {
		if len(values) != 1 || values[0] <= 0 {
			t.Errorf("%+v", r)
		}
	}
}

// The arithmetic is about what a server really does.
func TestSizing(t *testing.T) {
	o := small(t)
	if _, _, err := twoCores(); err != nil {
		t.Skip(err)
	}
	d := demand{
		Certificates: 500, Validity: 10 * time.Second, StatusTTL: time.Second, Warm: 4 * time.Second, Run: 6 * time.Second,
	}
	var measured needs
	var err error
	for _, d.Rate = range []float64{300, 100} { // what a busy machine can still answer in time
		if measured, err = d.measure(t.Context(), o); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	o.rounds = 1
	u, err := d.units(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if u.cached <= 0 || u.busy <= 0 || u.signed <= 0 || u.memory <= 0 {
		t.Errorf("%+v", u)
	}
	computed := d.size(u)
	for what, pair := range map[string][2]float64{"signatures": {measured.Signed, computed.Signed}, "reads": {measured.Read, computed.Read}} {
		if ratio := pair[0] / pair[1]; ratio < 0.6 || ratio > 1.6 {
			t.Errorf("%s: %v a second, and not %v", what, pair[0], pair[1])
		}
	}
	if measured.Memory <= 0 || measured.Cores <= 0 {
		t.Errorf("%+v", measured)
	}
	if text := sizingText(&d, u, measured); !strings.Contains(text, fmt.Sprintf("500 certificates, %.0f requests a second", d.Rate)) {
		t.Error(text)
	}
}

func TestSize(t *testing.T) {
	d := demand{Certificates: 20_000, Rate: 5000, Validity: 32 * time.Second, StatusTTL: 6 * time.Second}
	got := d.size(unit{cached: 10, read: 5, signed: 40, memory: 1 << 20})
	if want := (needs{Signed: 1000, Read: 2000, Memory: 20_000, Cores: 0.1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestSoak(t *testing.T) {
	o := small(t)
	o.soak, o.parts = 3*time.Second, parts[:1]
	res, err := soak(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range res.findings {
		if f.values[0] <= 0 {
			t.Errorf("%s: %v", f.what, f.values)
		}
	}
	if svg, err := os.ReadFile(filepath.Join(o.images, "bench-soak.svg")); err != nil || !strings.Contains(string(svg), "goroutines") {
		t.Errorf("%v, %s", err, svg)
	}
}

// What grows is seen, and what grows only at the beginning is not.
func TestGrowth(t *testing.T) {
	var leak, fills []float64
	for i := range 60 {
		leak, fills = append(leak, 100+float64(i)), append(fills, min(100, 20*float64(i)))
	}
	if got := growth(leak); got < 1.2 {
		t.Error(got)
	}
	if got := growth(fills); got != 1 {
		t.Error(got)
	}
}

func TestProfile(t *testing.T) {
	o := small(t)
	if _, err := find("wrk"); err != nil {
		absent(t, err)
	}
	dir := filepath.Join(t.TempDir(), "profiles")
	var printed strings.Builder
	if err := profilePeer(t.Context(), o, handlerPost, dir, &printed); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cpu.pprof", "allocs.pprof"} {
		out, err := exec.Command("go", "tool", "pprof", "-top", filepath.Join(dir, name)).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "flat%") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if !strings.Contains(printed.String(), name) {
			t.Errorf("%s is not named in %s", name, &printed)
		}
	}
	if err := profilePeer(t.Context(), o, opensslOnce, dir, &printed); err == nil {
		t.Error("openssl was profiled")
	}
}

func TestCostTable(t *testing.T) {
	static := &costs{peer: peer{name: "static", like: "static"}, cpu: []float64{10, 20, 10}, latency: []float64{1, 2, 3}}
	other := &costs{peer: peer{name: "other", like: "static"}, cpu: []float64{20, 20, 15}, latency: []float64{4, 4}}
	got := costTable([]*costs{static, other})
	for _, want := range []string{"| static | 1.00 | 1.00 | 1.00 | 10.0 | 2 |", "| other | 1.50 | 1.00 | 2.00 | 20.0 | 4 |"} {
		if !strings.Contains(got, want) {
			t.Errorf("the table lacks %s:\n%s", want, got)
		}
	}
}

// What is missed is said, in the row and below.
func TestGoals(t *testing.T) {
	most, least := &goal{must: 1.15, stretch: 1.05}, &goal{must: 0.9, stretch: 0.9, atLeast: true}
	got := goals([]finding{
		{what: "a", values: []float64{1, 1.04, 2}, goal: most},
		{what: "b", values: []float64{1.1}, goal: most},
		{what: "c", values: []float64{1.2, 1.16}, goal: most},
		{what: "d", values: []float64{0.95}, goal: least},
		{what: "e", values: []float64{0.8}, goal: least},
		{what: "f", unit: "B", values: []float64{701}, goal: &goal{must: 700, stretch: 650}},
	})
	for _, want := range []string{
		"| a | ≤ 1.15 | ≤ 1.05 | 1.04 | 1 | 2 | stretch |", "| b | ≤ 1.15 | ≤ 1.05 | 1.10 | 1.10 | 1.10 | met |",
		"| c | ≤ 1.15 | ≤ 1.05 | 1.18 | 1.16 | 1.20 | **missed** |", "| d | ≥ 0.90 |  | 0.95 | 0.95 | 0.95 | met |",
		"| e | ≥ 0.90 |  | 0.80 | 0.80 | 0.80 | **missed** |", "| f | ≤ 700 B | ≤ 650 | 701 | 701 | 701 | **missed** |",
		"3 of 6 goals are met. Missed: c; e; f. Medians are of 3 interleaved rounds.",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the goals lack %s:\n%s", want, got)
		}
	}
}

// What cannot be done is said before anything is measured.
func TestRunRefuses(t *testing.T) {
	for want, arguments := range map[string][]string{
		"no part":           {"-only", "loopback,nothing"},
		"no arguments":      {"more"},
		"a round or more":   {"-rounds", "0"},
		"a second or more":  {"-duration", "10ms"},
		"parts together":    {"-write", "-only", "loopback"},
		"flag provided but": {"-nothing"},
	} {
		if err := run(t.Context(), arguments, t.Output(), t.Output()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", arguments, err, want)
		}
	}
	if err := runChild(t.Context(), "nobody"); err == nil {
		t.Error("a role that is not there was played")
	}
}

func TestWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.md")
	begin, end := beginMark("a"), endMark("a")
	for _, test := range []struct{ before, after string }{
		{"a\n" + begin + "old" + end + "\nb", "a\n" + begin + "\n\nnew\n\n" + end + "\nb"},
		{"no marks", ""},
		{beginMark("b") + endMark("b"), ""},
	} {
		if err := os.WriteFile(file, []byte(test.before), 0o600); err != nil {
			t.Fatal(err)
		}
		err := write(file, "a", "new\n")
		if (err != nil) != (test.after == "") {
			t.Error(err)
		}
		if got, _ := os.ReadFile(file); test.after != "" && string(got) != test.after {
			t.Errorf("%q, want %q", got, test.after)
		}
	}
}

// One part that fails does not keep the others from being run, and nothing from being an error.
func TestRunParts(t *testing.T) {
	o := small(t)
	ran := false
	o.parts = []part{
		{name: "bad", run: func(context.Context, *options) (*result, error) { return nil, errors.New("broken") }},
		{name: "good", run: func(context.Context, *options) (*result, error) { ran = true; return &result{text: "fine"}, nil }},
	}
	_, _, err := runParts(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "bad: broken") || !ran {
		t.Errorf("%v, %v", err, ran)
	}
}
