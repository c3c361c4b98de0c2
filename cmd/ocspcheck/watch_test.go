package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// values are those of the placeholders.
type values = map[string]string

// pki is a CA whose commands are functions, and a network of hosts before its responder, in a
// bubble with a simulated clock.
type pki struct {
	t          *testing.T
	ca         *ocsptest.CA
	store      *ocsptest.Store
	responder  *ocsp.Responder
	hosts      map[string]http.Handler
	issued     int
	revoked    []string    // serial numbers
	end        atomic.Bool // something is revoked
	issue      func(v values) error
	revokeTime time.Duration
	revokeErr  func() error
	out, errs  bytes.Buffer
}

// roundTripTime is how long each request takes.
const roundTripTime = 10 * time.Millisecond

func newPKI(t *testing.T) *pki {
	ca := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519})
	p := &pki{t: t, ca: ca, store: ocsptest.NewStore(), revokeTime: 200 * time.Millisecond}
	var err error
	p.responder, err = ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{p.ca.Issuer()}, Store: p.store})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.responder.Close()) })
	p.hosts = map[string]http.Handler{"direct.test": p.responder.Handler()}
	return p
}

// RoundTrip implements http.RoundTripper.
func (p *pki) RoundTrip(req *http.Request) (*http.Response, error) {
	time.Sleep(roundTripTime / 2)
	host := p.hosts[req.URL.Host]
	if host == nil {
		return nil, errors.New("connection refused")
	}
	rec := httptest.NewRecorder()
	host.ServeHTTP(rec, req)
	time.Sleep(roundTripTime / 2)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

// run runs a command: the revocation is in the store in the middle of it.
func (p *pki) run(_ context.Context, c command, v values) ([]byte, error) {
	if c.flag == "-issue" {
		p.issued++
		if p.issue != nil {
			return nil, p.issue(v)
		}
		return nil, p.certify(p.ca, v)
	}
	time.Sleep(p.revokeTime / 2)
	if p.revokeErr != nil {
		return nil, p.revokeErr()
	}
	serial := v["{serial}"]
	p.revoked = append(p.revoked, serial)
	p.end.Store(true)
	p.store.Revoke(p.ca.ID, number16(serial), ocsp.Superseded, time.Now())
	time.Sleep(p.revokeTime / 2)
	return nil, nil
}

func (p *pki) certify(ca *ocsptest.CA, v values) error {
	cert := ca.Issue(ocsptest.Options{Name: v["{name}"]})
	p.store.Add(p.ca.ID, cert)
	return os.WriteFile(v["{cert}"], pemOf(cert), 0o600)
}

func pemOf(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// newWatch returns what the command line asks for, in the bubble.
func (p *pki) newWatch(args ...string) *watch {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "ca.pem")
	require.NoError(p.t, os.WriteFile(file, pemOf(p.ca.Certificate), 0o600))
	args = append([]string{"-issuer", file, "-issue", "issue", "-revoke", "revoke {serial}"}, args...)
	o, err := parseWatch(args, io.Discard)
	require.NoError(p.t, err)
	w := newWatch(o, &p.out)
	w.client.Transport, w.run = p, p.run
	return w
}

// watch runs it.
func (p *pki) watch(ctx context.Context, args ...string) int {
	p.t.Helper()
	status, err := p.newWatch(args...).watch(ctx, &p.errs)
	if err != nil {
		p.errs.WriteString(err.Error())
	}
	return status
}

// lines reads what -json wrote.
func (p *pki) lines() (list []measureJSON) {
	for decoder := json.NewDecoder(&p.out); ; {
		var line measureJSON
		err := decoder.Decode(&line)
		if err == io.EOF {
			return list
		}
		require.NoError(p.t, err)
		list = append(list, line)
	}
}

// caching stores answers to GET for a time, and shows their Age.
func caching(next http.Handler, ttl time.Duration) http.Handler {
	type entry struct {
		rec *httptest.ResponseRecorder
		at  time.Time
	}
	entries := map[string]entry{}
	var mu sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		e, ok := entries[req.URL.Path]
		if req.Method != http.MethodGet || !ok || time.Since(e.at) >= ttl {
			e = entry{httptest.NewRecorder(), time.Now()}
			next.ServeHTTP(e.rec, req)
			if req.Method == http.MethodGet {
				entries[req.URL.Path] = e
			}
		}
		w.Header().Set("Age", number(time.Since(e.at).Truncate(time.Second).Seconds()))
		w.WriteHeader(e.rec.Code)
		_, _ = w.Write(e.rec.Body.Bytes())
	})
}

// alternating sends the requests of each method to its handlers in turn.
func alternating(handlers ...http.Handler) http.Handler {
	var posts, others atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		n := &others
		if req.Method == http.MethodPost {
			n = &posts
		}
		handlers[int(n.Add(1))%len(handlers)].ServeHTTP(w, req)
	})
}

func TestWatchMeasures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPKI(t)
		direct := p.hosts["direct.test"]
		p.hosts["cache.test"] = caching(direct, time.Minute)
		p.hosts["pool.test"] = alternating(direct, caching(direct, 5*time.Second))
		p.hosts["stuck.test"] = caching(direct, time.Hour)
		p.hosts["down.test"] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if p.end.Load() {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			direct.ServeHTTP(w, req)
		})
		status := p.watch(t.Context(), "-within", "2s", "-max-wait", "90s", "-json",
			"-url", "http://direct.test/ocsp", "-url", "http://cache.test/ocsp",
			"-url", "http://pool.test/ocsp", "-url", "http://stuck.test/ocsp",
			"-url", "http://down.test/ocsp")
		assert.Equal(t, exitFailed, status)
		assert.Empty(t, p.errs.String())
		type row struct {
			url, method string
			outcome     watchOutcome
			first, last float64 // -1 is null
			detail      string
		}
		var rows []row
		value := func(f *float64) float64 {
			if f == nil {
				return -1
			}
			return *f
		}
		for _, line := range p.lines() {
			assert.Equal(t, 1, line.Canary)
			assert.Equal(t, p.revoked[0], line.Serial)
			first, last := value(line.FirstRevoked), value(line.LastGood)
			rows = append(rows, row{line.URL, line.Method, line.Outcome, first, last, line.Detail})
		}
		badGateway := "HTTP status 502: ocspcheck doctor examines why"
		produced := "the good one was produced 0s before the revocation, and had the Age "
		assert.Equal(t, []row{
			{"http://direct.test/ocsp", "POST", showed, 0, -1, ""},
			{"http://direct.test/ocsp", "GET", showed, 0, -1, ""},
			{"http://cache.test/ocsp", "POST", showed, 0, -1, ""},
			{"http://cache.test/ocsp", "GET", late, 59.74, 59.62, produced + "59"},
			{"http://pool.test/ocsp", "POST", showed, 0, -1, ""},
			{"http://pool.test/ocsp", "GET", late, 0, 4.62, produced + "4"},
			{"http://stuck.test/ocsp", "POST", showed, 0, -1, ""},
			{"http://stuck.test/ocsp", "GET", stillGood, -1, 90.09, produced + "90"},
			{"http://down.test/ocsp", "POST", neverShown, -1, -1, badGateway},
			{"http://down.test/ocsp", "GET", neverShown, -1, -1, badGateway},
		}, rows)
	})
}

func number16(serial string) *big.Int {
	n, _ := new(big.Int).SetString(serial, 16)
	return n
}

// Without -url all OCSP URLs in the certificate are asked: the second one leads through a cache.
func TestWatchAsksCertificateURLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPKI(t)
		p.hosts["cache.test"] = caching(p.hosts["direct.test"], time.Minute)
		p.issue = func(v values) error {
			cert := p.ca.Issue(ocsptest.Options{Adjust: func(c *x509.Certificate) {
				c.OCSPServer = []string{"http://direct.test/ocsp", "http://cache.test/ocsp"}
			}})
			p.store.Add(p.ca.ID, cert)
			return os.WriteFile(v["{cert}"], pemOf(cert), 0o600)
		}
		assert.Equal(t, exitFailed, p.watch(t.Context(), "-within", "2s", "-stop", "-json"))
		assert.Empty(t, p.errs.String())
		var got []string
		for _, line := range p.lines() {
			got = append(got, fmt.Sprint(line.Method, " ", line.URL, " ", line.Outcome))
		}
		assert.Equal(t, []string{
			"POST http://direct.test/ocsp ok", "GET http://direct.test/ocsp ok",
			"POST http://cache.test/ocsp ok", "GET http://cache.test/ocsp late",
		}, got)
	})
}

// A cache of a minute is reported two seconds after the revocation, which is the bound.
func TestWatchStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPKI(t)
		p.hosts["cache.test"] = caching(p.hosts["direct.test"], time.Minute)
		begun := time.Now()
		status := p.watch(t.Context(), "-within", "2s", "-stop", "-count", "2",
			"-url", "http://cache.test/ocsp")
		assert.Equal(t, exitFailed, status)
		assert.Less(t, time.Since(begun), 4*time.Second)
		assert.Equal(t, 1, p.issued)
		text := p.out.String()
		assert.Contains(t, text, "canary 1, serial number "+p.revoked[0]+", revoked at 2000-01-01T00:00:00.320Z\n")
		assert.Contains(t, text, "  ok         POST http://cache.test/ocsp  first revoked answer after 0s, no good one\n")
		assert.Contains(t, text, "  late       GET  http://cache.test/ocsp  no revoked answer, last good one after 2.09s; the good one was produced 0s before the revocation, and had the Age 2\n")
		assert.Contains(t, text, "\nGET  http://cache.test/ocsp  canaries: 1 late; the slowest: no revoked answer, last good one after 2.09s\n")
	})
}

// Canaries are sent on time, and an answer that is late but within the bound is no failure.
func TestWatchRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPKI(t)
		p.hosts["cache.test"] = caching(p.hosts["direct.test"], time.Second)
		begun := time.Now()
		status := p.watch(t.Context(), "-within", "2s", "-count", "3", "-every", "10s", "-json",
			"-methods", "GET", "-url", "http://cache.test/ocsp")
		assert.Equal(t, exitPassed, status)
		assert.InDelta(t, 23, time.Since(begun).Seconds(), 1)
		lines := p.lines()
		require.Len(t, lines, 3)
		for i, line := range lines {
			assert.Equal(t, showed, line.Outcome)
			assert.Equal(t, p.revoked[i], line.Serial)
			assert.InDelta(t, 0.7, *line.FirstRevoked, 0.2)
			assert.Less(t, *line.LastGood, *line.FirstRevoked)
		}
	})
}

// What fails with the first canary ends the run. Later it is reported, and the run goes on.
func TestWatchFailures(t *testing.T) {
	other := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519, Name: "Another CA"})
	rows := map[string]struct {
		fail    func(*pki)
		message string
		revoked bool // whether there was a canary to revoke
	}{
		"-issue fails": {
			func(p *pki) { p.issue = func(values) error { return errors.New("no such profile") } },
			"no such profile", false,
		},
		"-issue writes nothing": {
			func(p *pki) { p.issue = func(values) error { return nil } },
			"-issue has written no certificate, in PEM or DER, to {cert} or its output", false,
		},
		"another CA": {
			func(p *pki) { p.issue = func(v values) error { return p.certify(other, v) } },
			`the -issuer "CN=Test CA" has not issued the certificate of -issue, "CN=canary-`, true,
		},
		"-revoke fails": {
			func(p *pki) { p.revokeErr = func() error { return errors.New("no such serial") } },
			"no such serial\nthe canary with the serial number ", false,
		},
		"no contact": {
			func(p *pki) { delete(p.hosts, "direct.test") },
			"POST http://direct.test/ocsp does not answer good in -good-wait 15s: " +
				"no answer: connection refused", true,
		},
		"no answer in time": {
			func(p *pki) {
				p.hosts["direct.test"] = http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
					<-req.Context().Done()
				})
			},
			"no answer in 10s", true,
		},
		"credentials": {
			func(p *pki) { p.hosts["direct.test"] = status(http.StatusUnauthorized) },
			"HTTP status 401: give the credentials it wants with -header", true,
		},
		"an OCSP error": {
			func(p *pki) { p.hosts["direct.test"] = http.HandlerFunc(malformed) },
			"the OCSP error malformedRequest", true,
		},
		"another page": {
			func(p *pki) {
				p.hosts["direct.test"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					_, _ = io.WriteString(w, "<html>")
				})
			},
			"HTTP status 200, and no OCSP answer", true,
		},
		"a signature of another": {
			func(p *pki) {
				change := func(der []byte) { der[len(der)-1] ^= 1 }
				p.hosts["direct.test"] = altering(p.hosts["direct.test"], change)
			},
			"the signature does not verify", true,
		},
		"an answer about another": {
			func(p *pki) { p.hosts["direct.test"] = sameAnswer(p) },
			"an answer about another certificate", true,
		},
		"an old answer": {
			func(p *pki) {
				delay := func([]byte) { time.Sleep(25 * time.Hour) }
				p.hosts["direct.test"] = altering(p.hosts["direct.test"], delay)
			},
			"an answer whose nextUpdate was 2000-01-01T23:59:59Z", true,
		},
		"unknown": {
			func(p *pki) {
				p.issue = func(v values) error {
					return os.WriteFile(v["{cert}"], pemOf(p.ca.Issue(ocsptest.Options{})), 0o600)
				}
			},
			"it answers unknown", true,
		},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPKI(t)
				row.fail(p)
				args := []string{"-count", "3", "-json", "-url", "http://direct.test/ocsp"}
				if strings.HasPrefix(name, "an old") {
					args = append(args, "-check-timeout", "100h")
				}
				assert.Equal(t, exitUsage, p.watch(t.Context(), args...))
				assert.Contains(t, p.errs.String(), row.message)
				assert.Equal(t, 1, p.issued, "the first one ends the run")
				assert.Equal(t, row.revoked, len(p.revoked) == 1)
				assert.Empty(t, p.out.String())
			})
		})
	}
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPKI(t)
			direct := p.hosts["direct.test"]
			p.issue = func(v values) error {
				p.hosts["direct.test"] = direct
				switch p.issued {
				case 2:
					return errors.New("no such profile")
				case 3:
					delete(p.hosts, "direct.test")
				}
				return p.certify(p.ca, v)
			}
			assert.Equal(t, exitUsage, p.watch(t.Context(), "-count", "4", "-json",
				"-methods", "POST", "-url", "http://direct.test/ocsp"))
			assert.Equal(t, 4, p.issued)
			assert.Len(t, p.revoked, 3)
			assert.Equal(t, "ocspcheck watch: no such profile\n", p.errs.String())
			var got []string
			for line := range strings.Lines(p.out.String()) {
				var fields struct{ Outcome, Error, Detail string }
				require.NoError(t, json.Unmarshal([]byte(line), &fields))
				got = append(got, fields.Outcome+fields.Error+" "+fields.Detail)
			}
			assert.Equal(t, []string{
				"ok ", "no such profile ", "unanswered no answer: connection refused", "ok ",
			}, got)
		})
	})
}

// altering is a hop that changes the answers of next.
func altering(next http.Handler, change func(der []byte)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, req)
		der := bytes.Clone(rec.Body.Bytes())
		change(der)
		_, _ = w.Write(der)
	})
}

// sameAnswer answers all requests with that about one certificate.
func sameAnswer(p *pki) http.Handler {
	cert, next := p.ca.Issue(ocsptest.Options{}), p.hosts["direct.test"]
	p.store.Add(p.ca.ID, cert)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		result, err := ocsptest.Client{Handler: next}.Query(req.Context(), p.ca.Certificate, cert)
		if assert.NoError(p.t, err) {
			_, _ = w.Write(result.DER)
		}
	})
}

// At an interrupt, whenever it comes, the canary is revoked, once, and nothing is left running.
func TestWatchInterrupt(t *testing.T) {
	const ms = time.Millisecond
	for _, at := range []time.Duration{0, 50 * ms, 150 * ms, 250 * ms, time.Second, time.Minute} {
		t.Run(at.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPKI(t)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(at, cancel)
				begun := time.Now()
				args := []string{"-count", "0", "-every", "10s", "-url", "http://direct.test/ocsp"}
				assert.Equal(t, exitPassed, p.watch(ctx, args...))
				assert.Empty(t, p.errs.String())
				assert.Len(t, p.revoked, p.issued)
				assert.Less(t, time.Since(begun), at+time.Second)
			})
		})
	}
	t.Run("reaches the command", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPKI(t)
			ctx, cancel := context.WithCancel(t.Context())
			p.revokeErr = func() error {
				p.revokeErr = nil
				cancel()
				return errors.New("signal: interrupt")
			}
			assert.Equal(t, exitPassed, p.watch(ctx, "-url", "http://direct.test/ocsp"))
			assert.Empty(t, p.errs.String())
			assert.Len(t, p.revoked, 1)
		})
	})
}

// The file is what the dashboard is tested with.
const metricsFile = "testdata/watch.prom"

func TestWatchMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPKI(t)
		p.hosts["cache.test"] = caching(p.hosts["direct.test"], time.Minute)
		w := p.newWatch("-within", "2s", "-count", "3", "-methods", "GET",
			"-url", "http://user:secret@cache.test/ocsp", "-url", `http://direct.test/"\`)
		p.issue = func(v values) error {
			if p.issued == 2 {
				return errors.New("no such profile")
			}
			return p.certify(p.ca, v)
		}
		status, err := w.watch(t.Context(), &p.errs)
		require.NoError(t, err)
		assert.Equal(t, exitFailed, status)
		rec := httptest.NewRecorder()
		w.metrics.ServeHTTP(rec, nil)
		want, err := os.ReadFile(metricsFile)
		require.NoError(t, err)
		if !assert.Equal(t, string(want), rec.Body.String()) {
			t.Logf("to accept it, write this to %s:\n%s", metricsFile, rec.Body)
		}
		assert.NotContains(t, rec.Body.String()+p.out.String()+p.errs.String(), "secret")
	})
}
