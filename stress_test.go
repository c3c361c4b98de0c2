package ocsp_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

var (
	stressSeeds = flag.Uint64("stress.seeds", 20, "how many seeds TestStress runs")
	stressFirst = flag.Uint64("stress.first", 0, "the first seed of TestStress")
)

// stress runs a responder in a bubble with everything around it at random, and compares each answer with
// the history of the stores.
type stress struct {
	*testing.T
	mu                    sync.Mutex
	rng                   *rand.Rand
	seed                  uint64
	ca                    *ocsptest.CA
	r                     *ocsp.Responder
	ttl                   time.Duration
	calm                  atomic.Bool // nothing fails any more, or takes its time
	tick                  int
	certs                 []*stressCert
	feed                  ocsp.FeedSink
	resync                int
	vouch                 time.Time
	few                   bool
	clockPanics, disabled bool
	label                 string
	begun                 time.Time

	answers, errs int
	outcomes      map[string]int
}

type stressCert struct {
	cert        *x509.Certificate
	id          string
	history     []stressVersion
	invalidated int
	told        int
	told2       []stressTold
}

type stressTold struct {
	value int
	this  time.Time
	how   string
}

// stressVersion is a value: 0 is good, -1 unknown, and n revoked n hours before the beginning.
type stressVersion struct {
	tick, value int
	at          time.Time
}

func (s *stress) n(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n)
}

// lag sleeps at random.
func (s *stress) lag(scale int) {
	if s.calm.Load() {
		return
	}
	d := []time.Duration{0, 0, 0, 0, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, 1200 * time.Millisecond, 2500 * time.Millisecond}[s.n(10)]
	if s.n(scale) == 0 {
		d = time.Duration(s.n(15)) * time.Second
	}
	if d > 0 {
		time.Sleep(d)
	}
}

type stressStore struct{ *stress }

type stressTimeout struct{}

func (stressTimeout) Error() string { return "timeout" }
func (stressTimeout) Timeout() bool { return true }

func (s *stressStore) FindBySerial(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
	s.lag(40)
	record, err := s.sample(id, serial)
	s.lag(40)
	if s.calm.Load() {
		return record, err
	}
	switch s.n(60) {
	case 0:
		return ocsp.Record{}, errors.New("broken")
	case 1:
		return ocsp.Record{State: 77}, nil
	case 2:
		return ocsp.Record{}, fmt.Errorf("%w", ocsp.ErrInvalidRecord)
	case 3:
		panic("store")
	case 4:
		runtime.Goexit()
	case 5:
		return ocsp.Record{}, stressTimeout{}
	case 6:
		<-ctx.Done()
		return ocsp.Record{}, ctx.Err()
	}
	return record, err
}

func (s *stressStore) sample(id string, serial *big.Int) (ocsp.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.certs {
		if c.id == id && c.cert.SerialNumber.Cmp(serial) == 0 {
			v := c.history[len(c.history)-1].value
			switch {
			case v == 0:
				return ocsp.Record{State: ocsp.Active}, nil
			case v > 0:
				return ocsp.Record{State: ocsp.Deactivated, Reason: ocsp.CertificateHold, RevokedAt: s.begun.Add(-time.Duration(v) * time.Hour)}, nil
			}
		}
	}
	return ocsp.Record{}, ocsp.ErrNotFound
}

type stressSigner struct {
	*stress
	crypto.Signer
}

func (s *stressSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.lag(30)
	if !s.calm.Load() {
		switch s.n(40) {
		case 0:
			return nil, errors.New("broken")
		case 1:
			panic("signer")
		}
	}
	return s.Signer.Sign(rand, digest, opts)
}

type stressRemote struct {
	*stress
	*ocsptest.RemoteCache
}

func (s *stressRemote) Get(ctx context.Context, key string) ([]byte, error) {
	s.lag(40)
	if !s.calm.Load() && s.n(20) == 0 {
		return nil, errors.New("broken")
	}
	return s.RemoteCache.Get(ctx, key)
}

func (s *stressRemote) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	s.lag(40)
	if !s.calm.Load() && s.n(20) == 0 {
		return errors.New("broken")
	}
	return s.RemoteCache.Put(ctx, key, value, ttl)
}

type stressFeed struct{ *stress }

func (s *stressFeed) Publish(context.Context, string, ...*big.Int) error { return nil }

func (s *stressFeed) Follow(ctx context.Context, f ocsp.FeedSink) error {
	for {
		s.lag(40)
		if s.n(10) == 0 {
			s.mu.Lock()
			s.vouch = time.Time{}
			s.mu.Unlock()
			return errors.New("lost")
		}
		f.Resync()
		s.mu.Lock()
		s.tick++
		s.resync = s.tick
		s.mu.Unlock()
		for range s.n(20) {
			s.mu.Lock()
			s.feed, s.vouch = f, time.Now().Add(500*time.Millisecond)
			until := s.vouch
			s.mu.Unlock()
			f.ValidUntil(until)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Duration(s.n(700)) * time.Millisecond):
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (c *stressCert) since(tick int, value int, after time.Time) bool {
	for i, v := range c.history {
		over := i+1 < len(c.history) && (c.history[i+1].tick <= tick || c.history[i+1].at.Before(after))
		if !over && v.value == value {
			return true
		}
	}
	return false
}

func (c *stressCert) earliest(tick int, value int) int {
	for i, v := range c.history {
		over := i+1 < len(c.history) && c.history[i+1].tick <= tick
		if !over && v.value == value {
			return v.tick
		}
	}
	return 0
}

func (s *stress) change() {
	s.mu.Lock()
	c := s.certs[s.rng.IntN(len(s.certs))]
	s.tick++
	v := stressVersion{tick: s.tick, value: s.tick, at: time.Now()}
	switch {
	case s.rng.IntN(2) == 0:
		v.value = 0
	case s.rng.IntN(8) == 0:
		v.value = -1
	case s.few:
		v.value = 1
	}
	c.history = append(c.history, v)
	tell, feed := s.rng.IntN(3), s.feed
	s.mu.Unlock()
	if tell == 0 {
		return
	}
	s.lag(100)
	s.mu.Lock()
	s.tick++
	tick := s.tick
	s.mu.Unlock()
	if tell == 1 && feed != nil {
		done := tick
		feed.Changed(c.id, c.cert.SerialNumber)
		// A sink whose Follow has returned does nothing.
		s.mu.Lock()
		if s.feed != feed {
			done = 0
		}
		_ = done
		s.mu.Unlock()
		return
	}
	_ = s.r.Invalidate(context.Background(), c.id, c.cert.SerialNumber)
	s.mu.Lock()
	c.invalidated = max(c.invalidated, tick)
	s.mu.Unlock()
}

func (s *stress) ask(requests [][]byte, certs [][]*stressCert, must bool) {
	i := s.n(len(requests))
	s.askOne(requests[i], certs[i], must)
}

func (s *stress) askOne(request []byte, certs []*stressCert, must bool) {
	s.mu.Lock()
	s.tick++
	arrived, at := s.tick, time.Now()
	var bounds []int
	var told [][]stressTold
	for _, c := range certs {
		bounds = append(bounds, max(c.invalidated, c.told))
		told = append(told, c.told2[:len(c.told2):len(c.told2)])
	}
	resync := s.resync
	ctx, cancel := context.Background(), func() {}
	if !must && s.rng.IntN(10) == 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(s.rng.IntN(2000))*time.Millisecond)
	}
	s.mu.Unlock()
	defer cancel()
	a := s.r.Respond(ctx, request)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers++
	s.outcomes[a.Outcome.String()]++
	if took := now.Sub(at); took > 10*time.Second+200*time.Millisecond {
		s.Errorf("seed %d: took %v: %v", s.seed, took, a.Outcome)
	}
	if a.Outcome.IsError() {
		s.errs++
		if must {
			s.Errorf("seed %d: %v %v, though all is well", s.seed, a.Outcome, a.Err)
		}
		return
	}
	if !s.clockPanics && (a.ThisUpdate.After(now) || !a.NextUpdate.After(now.Truncate(time.Second))) {
		s.Errorf("seed %d: %v to %v, now %v: %v", s.seed, a.ThisUpdate, a.NextUpdate, now, a.Outcome)
	}
	for i, c := range certs {
		one := a.Responses[i]
		value := -1
		switch one.Status {
		case ocsp.Good:
			value = 0
		case ocsp.Revoked:
			value = int(s.begun.Sub(one.RevokedAt) / time.Hour)
		}
		bound, after := bounds[i], time.Time{}
		how := "trusted"
		switch {
		case a.Outcome == ocsp.OutcomeStale:
			how = "stale"
		case s.ttl == 0 || value == -1:
			bound, how = max(bound, arrived), "read"
		default:
			after = at.Add(-s.ttl)
			if s.feed != nil {
				bound = max(bound, resync)
			}
		}
		if !c.since(bound, value, after) {
			s.Errorf("seed %d: cert %d: %v %d (%s), which it was not since %d; arrived %d; told %d, invalidated %d; history %v",
				s.seed, i, a.Outcome, value, how, bound, arrived, c.told, c.invalidated, c.history)
			s.FailNow()
		}
		if !a.ThisUpdate.IsZero() && len(certs) == 1 && !c.since(0, value, a.ThisUpdate) {
			s.Errorf("seed %d: %d was not so since thisUpdate", s.seed, value)
		}
		if len(certs) == 1 && value >= 0 {
			for _, t := range told[i] {
				if t.value != value && a.ThisUpdate.Before(t.this) {
					s.outcomes["STEP BACK "+t.how+" then "+stressHow(request, a)+" "+a.Outcome.String()+fmt.Sprintf(" disabled %v ttl %v %s", s.disabled, s.ttl > 0, s.label)]++
					if s.label == "remote false max 0 compact false" || s.label == "remote false max 0 compact true" {
						s.Logf("seed %d: step back %v %v, then %v %v %v at %v (asked %v)", s.seed, t.value, t.this, value, a.ThisUpdate, a.Outcome, now, at)
					}
				}
			}
		}
		if value >= 0 {
			c.told = max(c.told, c.earliest(bound, value))
			if len(certs) == 1 {
				c.told2 = append(c.told2, stressTold{value, a.ThisUpdate, stressHow(request, a)})
			}
		}
	}
}

func stressHow(request []byte, a ocsp.Answer) string {
	if a.Cacheable {
		return "plain"
	}
	return "nonce"
}

func TestStress(t *testing.T) {
	sum := map[string]int{}
	total := 0
	for seed := *stressFirst; seed < *stressFirst+*stressSeeds; seed++ {
		synctest.Test(t, func(t *testing.T) {
			s := &stress{T: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 99)), outcomes: map[string]int{}, begun: time.Now().Truncate(time.Second)}
			s.few = s.n(2) == 0
			s.ca = ocsptest.NewCA(ocsptest.Options{})
			first := s.ca.Issuer()
			first.ID = "first"
			second := ocsptest.NewCA(ocsptest.Options{Signer: s.ca.Key}).Issuer()
			second.ID = "second"
			if s.n(2) == 0 {
				first.Store, second.Store = &stressStore{stress: s}, &stressStore{stress: s}
			}
			external := s.n(2) == 0
			if external {
				first.Signer, second.Signer = &stressSigner{s, s.ca.Key}, &stressSigner{s, s.ca.Key}
			}
			cfg := ocsp.Config{
				Issuers: []ocsp.Issuer{first, second}, Store: &stressStore{stress: s},
				Validity: time.Duration(20+s.n(100)) * time.Second,
				Logger:   slog.New(slog.DiscardHandler),
			}
			cfg.Cache.Disabled = s.n(8) == 0
			s.disabled = cfg.Cache.Disabled
			if !cfg.Cache.Disabled {
				cfg.Cache.MaxEntries = []int{1, 2, 3, 0}[s.n(4)]
				cfg.Cache.Compact = s.n(2) == 0
				cfg.Cache.FailClosed = s.n(5) == 0
				if s.n(2) == 0 {
					s.ttl = time.Duration(1+s.n(20)) * 500 * time.Millisecond
				}
				cfg.Cache.StatusTTL = s.ttl
				if s.n(3) == 0 {
					cfg.Cache.Remote = &stressRemote{s, ocsptest.NewRemoteCache()}
				}
				if s.ttl > 0 && s.n(2) == 0 {
					cfg.Cache.Feed = &stressFeed{s}
				}
				if !cfg.Cache.FailClosed {
					cfg.Cache.StorePatience = []time.Duration{0, 300 * time.Millisecond, 3 * time.Second}[s.n(3)]
				}
			}
			if s.n(3) == 0 {
				cfg.MaxStoreCalls = 2
			}
			if s.n(4) == 0 {
				s.clockPanics = true
				cfg.Now = func() time.Time {
					if !s.calm.Load() && s.r != nil && s.n(200) == 0 {
						panic("clock")
					}
					return time.Now()
				}
			}
			s.label = fmt.Sprintf("remote %v max %d compact %v", cfg.Cache.Remote != nil, cfg.Cache.MaxEntries, cfg.Cache.Compact)
			r, err := ocsp.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			s.r = r
			s.mu.Unlock()
			ids := []string{"first", "second"}
			for i := range 4 {
				c := &stressCert{cert: s.ca.Issue(ocsptest.Options{}), id: ids[i%2]}
				c.history = []stressVersion{{value: 0, at: s.begun.Add(-time.Hour)}}
				s.certs = append(s.certs, c)
			}
			var requests [][]byte
			var certs [][]*stressCert
			for range 3 {
				for _, c := range s.certs[:1+s.n(4)] {
					client := ocsptest.Client{}
					if s.n(2) == 0 {
						client.Hash = crypto.SHA256
					}
					if s.n(3) == 0 {
						client.Nonce = []byte("a nonce of 16 oc")
					}
					list, x := []*stressCert{c}, []*x509.Certificate{c.cert}
					if s.n(4) == 0 {
						d := s.certs[s.n(4)]
						list, x = append(list, d), append(x, d.cert)
					}
					requests = append(requests, client.Request(s.ca.Certificate, x...))
					certs = append(certs, list)
				}
			}
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 80 {
						s.lag(100)
						switch s.n(6) {
						case 0:
							if s.n(10) == 0 {
								_ = s.r.SetIssuer([]ocsp.Issuer{first, second}[s.n(2)])
							}
						default:
							s.change()
						}
					}
				})
			}
			for range 8 {
				wg.Go(func() {
					for range 80 {
						s.lag(1000)
						s.ask(requests, certs, false)
					}
				})
			}
			wg.Wait()
			s.calm.Store(true)
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := ocsp.Flights(r); n != 0 {
				t.Errorf("seed %d: %d flights", seed, n)
			}
			for range 3 {
				for i := range requests {
					s.askOne(requests[i], certs[i], true)
				}
				time.Sleep(7 * time.Second)
			}
			if err := r.Close(); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			total += s.answers
			for k, v := range s.outcomes {
				sum[k] += v
			}
		})
		if t.Failed() {
			break
		}
	}
	t.Log(total, sum)
}
