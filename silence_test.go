package ocsp_test

import (
	"context"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// pool is a store over database/sql's own connection pool.
type pool struct {
	rig     *rig
	db      *sql.DB
	delay   time.Duration // of a query
	timeout time.Duration // of a lookup, for which the pool counts; zero is the caller's
	hang    atomic.Bool   // queries do not return before their context ends
}

func newPool(t *testing.T, connections int, delay time.Duration) *pool {
	p := &pool{delay: delay}
	p.db = sql.OpenDB(p)
	p.db.SetMaxOpenConns(connections)
	t.Cleanup(func() { require.NoError(t, p.db.Close()) })
	return p
}

func (p *pool) FindBySerial(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
	if p.timeout != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.timeout)
		defer cancel()
	}
	rows, err := p.db.QueryContext(ctx, "")
	if err != nil {
		return ocsp.Record{}, err
	}
	if err := rows.Close(); err != nil {
		return ocsp.Record{}, err
	}
	return p.rig.store.FindBySerial(context.WithoutCancel(ctx), id, serial)
}

func (p *pool) Connect(context.Context) (driver.Conn, error) { return &poolConn{p}, nil }
func (p *pool) Driver() driver.Driver                        { return nil }

type poolConn struct{ pool *pool }

func (c *poolConn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (c *poolConn) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }
func (c *poolConn) Close() error                        { return nil }

func (c *poolConn) QueryContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Rows, error) {
	var answer <-chan time.Time
	if !c.pool.hang.Load() {
		answer = time.After(c.pool.delay)
	}
	select {
	case <-answer:
		return poolRows{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type poolRows struct{}

func (poolRows) Columns() []string         { return nil }
func (poolRows) Close() error              { return nil }
func (poolRows) Next([]driver.Value) error { return io.EOF }

// poolTest runs a test in a bubble with a store behind a pool of four connections of 50 ms each, and with a second CA.
func poolTest(t *testing.T, adjust func(cfg *ocsp.Config, p *pool), run func(r *rig, p *pool, other *ocsptest.CA)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, 4, 50*time.Millisecond)
		other := ocsptest.NewCA(ocsptest.Options{Name: "other"})
		run(newRig(t, func(r *rig, cfg *ocsp.Config) {
			p.rig, cfg.Store, cfg.Now = r, p, nil
			cfg.Issuers = append(cfg.Issuers, other.Issuer())
			if adjust != nil {
				adjust(cfg, p)
			}
		}), p, other)
	})
}

// flood asks n times at once for serials that a CA never issued. The requests go on until the bubble ends.
func (r *rig) flood(ca *ocsptest.CA, n int) {
	for i := range n {
		cert := x509.Certificate{SerialNumber: big.NewInt(int64(1_000_000 + i)), RawIssuer: ca.Certificate.RawSubject}
		request := r.client().Request(ca.Certificate, &cert)
		go r.responder.Respond(context.Background(), request)
	}
	synctest.Wait()
}

// timed returns the answer about the rig's leaf and how long it took.
func (r *rig) timed() (ocsp.Answer, time.Duration) {
	begin := time.Now()
	answer := r.responder.Respond(context.Background(), r.request(r.leaf))
	return answer, time.Since(begin)
}

func requireStale(t testing.TB, answer ocsp.Answer) {
	t.Helper()
	require.Equal(t, ocsp.OutcomeStale, answer.Outcome, "%v", answer.Err)
	require.Equal(t, ocsp.Good, answer.Responses[0].Status)
}

func requireRevoked(t testing.TB, answer ocsp.Answer) {
	t.Helper()
	require.NotEmpty(t, answer.Responses, "%v: %v", answer.Outcome, answer.Err)
	require.Equal(t, ocsp.Revoked, answer.Responses[0].Status)
}

// Strangers who fill the pool of a healthy store cause no answer from before a revocation, neither
// about the issuer that they ask about nor about another.
func TestFloodBringsNoStaleGood(t *testing.T) {
	t.Parallel()
	for name, adjust := range map[string]func(cfg *ocsp.Config, p *pool){
		"defaults":             nil,
		"StatusTTL":            func(cfg *ocsp.Config, _ *pool) { cfg.Cache.StatusTTL = time.Second },
		"pool's own timeout":   func(_ *ocsp.Config, p *pool) { p.timeout = 300 * time.Millisecond },
		"slow lookups":         func(_ *ocsp.Config, p *pool) { p.delay = 900 * time.Millisecond },
		"as many calls":        func(cfg *ocsp.Config, _ *pool) { cfg.MaxStoreCalls = 4 },
		"a patience of 0.1 s":  func(cfg *ocsp.Config, _ *pool) { cfg.Cache.StorePatience = 100 * time.Millisecond },
		"a Timeout of 2 s":     func(cfg *ocsp.Config, _ *pool) { cfg.Timeout = 2 * time.Second },
		"two stores of a kind": func(cfg *ocsp.Config, p *pool) { cfg.Issuers[1].Store = p },
	} {
		for _, same := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				poolTest(t, func(cfg *ocsp.Config, p *pool) {
					if adjust != nil {
						adjust(cfg, p)
						cfg.Unissued = ocsp.UnissuedUnauthorized // which costs no signature
					}
				}, func(r *rig, p *pool, other *ocsptest.CA) {
					flooded := other
					if same {
						flooded = r.ca
					}
					r.says(0) // good
					time.Sleep(time.Hour)
					r.revoke(r.leaf, ocsp.KeyCompromise)
					asked := time.Now()
					for time.Since(asked) < 25*time.Second {
						r.flood(flooded, 1200)
						for range 5 {
							answer, _ := r.timed()
							require.NotEqual(r, ocsp.OutcomeStale, answer.Outcome, "after %v: %v", time.Since(asked), answer.Err)
							if len(answer.Responses) > 0 {
								requireRevoked(r, answer)
							} else if !strings.Contains(answer.Err.Error(), "signer: ") { // no time was left for it
								require.ErrorIs(r, answer.Err, ocsp.ErrStoreBusy)
							}
							time.Sleep(170 * time.Millisecond)
						}
					}
					time.Sleep(time.Minute)
					answer, _ := r.timed()
					requireRevoked(r, answer)
				})
			})
		}
	}
}

// A deadline that ends a lookup halfway does not make the store silent for the next requests.
func TestLookupsThatAreCutShortAreNoSilence(t *testing.T) {
	t.Parallel()
	poolTest(t, func(_ *ocsp.Config, p *pool) {
		p.delay = 950 * time.Millisecond
		p.db.SetMaxOpenConns(1)
	}, func(r *rig, p *pool, other *ocsptest.CA) {
		r.says(0)
		time.Sleep(time.Hour)
		r.revoke(r.leaf, ocsp.KeyCompromise)
		r.flood(other, 11) // of which the last is under way when its time is up, after 10 s
		time.Sleep(9600 * time.Millisecond)
		answer, took := r.timed()
		requireRevoked(r, answer)
		require.Equal(r, 400*time.Millisecond+p.delay, took)
	})
}

// Requests that wait for a slot until little of their time is left may keep a healthy store from
// answering in time. That does not make the store silent.
func TestCallsThatBeginLateAreNotCutShort(t *testing.T) {
	t.Parallel()
	for name, ttl := range map[string]time.Duration{"defaults": 0, "StatusTTL": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			poolTest(t, func(cfg *ocsp.Config, p *pool) {
				cfg.Timeout, cfg.MaxStoreCalls, cfg.Cache.StatusTTL, p.delay = 2*time.Second, 4, ttl, 900*time.Millisecond
			}, func(r *rig, p *pool, _ *ocsptest.CA) {
				r.says(0)
				time.Sleep(time.Hour)
				var wg sync.WaitGroup
				begun := time.Now()
				wg.Go(func() {
					for i := 0; time.Since(begun) < 20*time.Second; i++ {
						cert := x509.Certificate{SerialNumber: big.NewInt(int64(1_000_000 + i)), RawIssuer: r.ca.Certificate.RawSubject}
						request := r.client().Request(r.ca.Certificate, &cert)
						wg.Go(func() { r.responder.Respond(context.Background(), request) })
						time.Sleep(10 * time.Millisecond)
					}
				})
				time.Sleep(2 * time.Second)
				r.revoke(r.leaf, ocsp.KeyCompromise)
				for time.Since(begun) < 20*time.Second {
					answer, _ := r.timed()
					assert.NotEqual(r, ocsp.OutcomeStale, answer.Outcome, "after %v: %v", time.Since(begun), answer.Err)
					time.Sleep(170 * time.Millisecond)
				}
				wg.Wait()
				time.Sleep(2 * time.Second)
				answer, _ := r.timed()
				requireRevoked(r, answer)
			})
		})
	}
}

// With as many calls as the pool has connections, requests wait in the responder, and those about
// one of two issuers leave half of the slots to the other.
func TestFloodLeavesOtherIssuersHalfOfTheStore(t *testing.T) {
	t.Parallel()
	poolTest(t, func(cfg *ocsp.Config, _ *pool) { cfg.MaxStoreCalls = 4 }, func(r *rig, p *pool, other *ocsptest.CA) {
		r.flood(other, 5000)
		_, took := r.timed()
		require.Equal(r, p.delay, took)
	})
}

// A lone issuer has all slots of its store.
func TestLoneIssuerHasAllSlotsOfItsStore(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]func(p *pool) ocsp.CertStore{
		"alone":  func(p *pool) ocsp.CertStore { return nil },
		"shared": func(p *pool) ocsp.CertStore { return p },
	} {
		t.Run(name, func(t *testing.T) {
			poolTest(t, func(cfg *ocsp.Config, p *pool) {
				cfg.MaxStoreCalls = 4
				if cfg.Issuers[1].Store = store(p); name == "alone" {
					cfg.Issuers = cfg.Issuers[:1]
				}
			}, func(r *rig, p *pool, _ *ocsptest.CA) {
				r.flood(r.ca, 4)
				time.Sleep(p.delay + 1)
				_, took := r.timed()
				want := p.delay // four at once, and then this one
				if name == "shared" {
					want = 2*p.delay - 1 // behind the second two
				}
				require.Equal(r, want, took)
			})
		})
	}
}

// While a store hangs a cached answer stands in StorePatience after the store's last answer to anybody, and then at once;
// when it answers again, so does the responder.
func TestSilentStore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		adjust   func(cfg *ocsp.Config)
		patience time.Duration
	}{
		"default":           {func(*ocsp.Config) {}, time.Second},
		"two seconds":       {func(cfg *ocsp.Config) { cfg.Cache.StorePatience = 2 * time.Second }, 2 * time.Second},
		"as long as it can": {func(cfg *ocsp.Config) { cfg.Cache.StorePatience = 10 * time.Second }, 7500 * time.Millisecond},
		"short Timeout":     {func(cfg *ocsp.Config) { cfg.Timeout = 100 * time.Millisecond }, 75 * time.Millisecond},
		"a place each":      {func(cfg *ocsp.Config) { cfg.MaxStoreCalls = 100 }, time.Second},
		"StatusTTL":         {func(cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Millisecond }, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			orderTest(t, c.adjust, func(r *rig, s *slow) {
				r.says(0)
				time.Sleep(time.Hour)
				release := make(chan struct{})
				defer close(release)
				s.serial, s.first, s.wait = r.leaf.SerialNumber, false, func() { <-release }
				answer, took := r.timed()
				requireStale(r, answer)
				require.ErrorIs(r, answer.Err, ocsp.ErrStoreSilent)
				require.Equal(r, c.patience, took, "a lone call")
				for range 10 {
					answer, took = r.timed()
					requireStale(r, answer)
					require.Equal(r, min(100*time.Millisecond, c.patience), took, "it is known to be silent")
				}
				r.revoke(r.leaf, ocsp.KeyCompromise)
				synctest.Wait() // the calls that hang have read it
				s.serial = nil
				answer, took = r.timed()
				requireRevoked(r, answer)
				require.Zero(r, took, "recovered")
			})
		})
	}
}

// The silence of a store begins again with each of its answers.
func TestSilenceBeginsWithTheLastAnswer(t *testing.T) {
	t.Parallel()
	orderTest(t, func(cfg *ocsp.Config) {}, func(r *rig, s *slow) {
		r.says(0)
		other := r.issue()
		release := make(chan struct{})
		defer close(release)
		s.serial, s.first, s.wait = r.leaf.SerialNumber, false, func() { <-release }
		go func() {
			for range 7 { // answers about another certificate, until 3.5 s
				time.Sleep(500 * time.Millisecond)
				r.responder.Respond(context.Background(), r.request(other))
			}
		}()
		answer, took := r.timed()
		requireStale(r, answer)
		require.Equal(r, 4500*time.Millisecond, took)
	})
}

// A call that asks under several IDs gets an answer with each lookup.
func TestEachLookupOfACallIsAnAnswer(t *testing.T) {
	t.Parallel()
	orderTest(t, func(cfg *ocsp.Config) {
		for _, id := range []string{"renewed", "renewed again"} {
			issuer := cfg.Issuers[0]
			issuer.ID = id
			cfg.Issuers = append([]ocsp.Issuer{issuer}, cfg.Issuers...)
		}
		store := cfg.Store
		cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
			time.Sleep(600 * time.Millisecond)
			return store.FindBySerial(ctx, id, serial)
		})
	}, func(r *rig, s *slow) {
		r.says(0)
		time.Sleep(time.Hour)
		r.revoke(r.leaf, ocsp.KeyCompromise)
		answer, took := r.timed()
		requireRevoked(r, answer)
		require.Equal(r, 1800*time.Millisecond, took, "three lookups")
	})
}

// A request that waits for a slot lets nothing stand in because the store was silent before.
// Neither does one whose read others may join.
func TestQueuedRequestLetsNothingStandIn(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, time.Second} {
		orderTest(t, func(cfg *ocsp.Config) { cfg.MaxStoreCalls, cfg.Cache.StatusTTL = 4, ttl }, func(r *rig, s *slow) {
			r.says(0)
			time.Sleep(time.Hour)
			r.revoke(r.leaf, ocsp.KeyCompromise)
			for range 4 {
				junk := r.issue()
				s.serial, s.first, s.wait = junk.SerialNumber, true, func() { time.Sleep(3 * time.Second) }
				go r.responder.Respond(context.Background(), r.request(junk))
				synctest.Wait()
			}
			time.Sleep(1500 * time.Millisecond)
			answer, took := r.timed()
			requireRevoked(r, answer)
			require.Equal(r, 1500*time.Millisecond, took)
		})
	}
}

// A call that does not return by its deadline is no evidence of silence once the store answers
// others. Otherwise a store that is seldom asked would be silent for good.
func TestLostCallDoesNotSilenceTheStore(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, time.Second} {
		orderTest(t, func(cfg *ocsp.Config) {
			store := cfg.Store
			cfg.Cache.StatusTTL, cfg.MaxStoreCalls = ttl, 2
			cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
				time.Sleep(200 * time.Millisecond)
				return store.FindBySerial(ctx, id, serial)
			})
		}, func(r *rig, s *slow) {
			r.says(0)
			lost, release := r.issue(), make(chan struct{})
			defer close(release)
			s.serial, s.wait = lost.SerialNumber, func() { <-release }
			go r.responder.Respond(context.Background(), r.request(lost))
			time.Sleep(11 * time.Second)
			r.timed() // which finds the store silent; its answer comes all the same
			for _, later := range []time.Duration{3 * time.Second, time.Hour} {
				time.Sleep(later)
				r.store.Add(r.ca.ID, r.leaf)
				r.says(0)
				time.Sleep(12 * time.Second)
				r.revoke(r.leaf, ocsp.KeyCompromise)
				r.flood(r.ca, 1) // which takes the other place
				answer, took := r.timed()
				requireRevoked(r, answer)
				require.Equal(r, 400*time.Millisecond, took)
			}
		})
	}
}

// An answer to one request ends the silence for all that wait.
func TestAnswerEndsTheSilence(t *testing.T) {
	t.Parallel()
	orderTest(t, func(cfg *ocsp.Config) {}, func(r *rig, s *slow) {
		r.says(0)
		other := r.issue()
		release := make(chan struct{})
		s.serial, s.first, s.wait = r.leaf.SerialNumber, false, func() { <-release }
		r.timed()
		go func() {
			time.Sleep(50 * time.Millisecond)
			r.responder.Respond(context.Background(), r.request(other))
			time.Sleep(500 * time.Millisecond)
			close(release)
		}()
		answer, took := r.timed()
		require.Equal(r, ocsp.OutcomeCached, answer.Outcome)
		require.Equal(r, 550*time.Millisecond, took)
	})
}

// A store that was silent, and that nobody has asked since, is given its full time.
func TestSilenceIsForgotten(t *testing.T) {
	t.Parallel()
	poolTest(t, nil, func(r *rig, p *pool, _ *ocsptest.CA) {
		r.says(0)
		p.hang.Store(true)
		answer, _ := r.timed()
		requireStale(r, answer)
		time.Sleep(time.Minute) // the call has ended
		p.hang.Store(false)
		p.delay = 500 * time.Millisecond
		r.revoke(r.leaf, ocsp.KeyCompromise)
		answer, took := r.timed()
		requireRevoked(r, answer)
		require.Equal(r, p.delay, took)
	})
}

// An error lets a cached answer stand in only if the store has answered nobody for StorePatience.
func TestErrorOfAStoreThatAnswersOthers(t *testing.T) {
	t.Parallel()
	orderTest(t, func(cfg *ocsp.Config) {}, func(r *rig, s *slow) {
		r.says(0)
		r.store.SetFault(ocsptest.Fail)
		for range 3 {
			answer, took := r.timed()
			require.Equal(r, ocsp.OutcomeTryLater, answer.Outcome)
			require.ErrorIs(r, answer.Err, ocsp.ErrStoreBusy)
			require.ErrorIs(r, answer.Err, ocsptest.ErrInjected)
			require.Zero(r, took)
			time.Sleep(300 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		answer, _ := r.timed()
		requireStale(r, answer)
		require.NotErrorIs(r, answer.Err, ocsp.ErrStoreBusy)
		require.NotErrorIs(r, answer.Err, ocsp.ErrStoreSilent)
		require.ErrorIs(r, answer.Err, ocsptest.ErrInjected)
	})
}

// timeout is an error such as net's.
type timeout struct{}

func (timeout) Error() string { return "pool: timeout" }
func (timeout) Timeout() bool { return true }

// A timeout of the store's own pool lets nothing stand in, however long ago the store answered,
// unless it is silent.
func TestPoolTimeoutLetsNothingStandIn(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"DeadlineExceeded": context.DeadlineExceeded,
		"Timeout":          timeout{},
	} {
		t.Run(name, func(t *testing.T) {
			var wait time.Duration
			orderTest(t, func(cfg *ocsp.Config) {
				store := cfg.Store
				cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
					if wait != 0 {
						time.Sleep(wait)
						return ocsp.Record{}, err
					}
					return store.FindBySerial(ctx, id, serial)
				})
			}, func(r *rig, s *slow) {
				r.says(0)
				time.Sleep(time.Hour)
				wait = 300 * time.Millisecond
				answer, _ := r.timed()
				require.Equal(r, ocsp.OutcomeTryLater, answer.Outcome)
				require.ErrorIs(r, answer.Err, ocsp.ErrStoreBusy)
				wait = 3 * time.Second
				answer, took := r.timed()
				requireStale(r, answer)
				require.Equal(r, time.Second, took)
			})
		})
	}
}

// Where nothing can stand in the store has the whole Timeout: for a certificate that was never answered about, after a start,
// for several certificates, for a nonce that must be echoed, and with FailClosed.
func TestWithoutAStandInTheWholeTimeoutCounts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		adjust  func(cfg *ocsp.Config)
		request func(r *rig) []byte
	}{
		"start":       {request: func(r *rig) []byte { return r.request(r.issue()) }},
		"several":     {request: func(r *rig) []byte { return r.request(r.leaf, r.issue()) }},
		"FailClosed":  {func(cfg *ocsp.Config) { cfg.Cache.FailClosed = true }, func(r *rig) []byte { return r.request(r.leaf) }},
		"no cache":    {func(cfg *ocsp.Config) { cfg.Cache = ocsp.CacheOptions{Disabled: true} }, func(r *rig) []byte { return r.request(r.leaf) }},
		"other hash":  {request: func(r *rig) []byte { c := r.client(); c.Hash = 5; return c.Request(r.ca.Certificate, r.leaf) }},
		"a nonce due": {func(cfg *ocsp.Config) { cfg.Nonce = ocsp.NonceRequire }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			orderTest(t, func(cfg *ocsp.Config) {
				if c.adjust != nil {
					c.adjust(cfg)
				}
			}, func(r *rig, s *slow) {
				client := r.client()
				client.Nonce = []byte("nonce")
				request := client.Request(r.ca.Certificate, r.leaf)
				r.responder.Respond(context.Background(), request)
				r.responder.Respond(context.Background(), r.request(r.leaf))
				if c.request != nil {
					request = c.request(r)
				}
				release := make(chan struct{})
				defer close(release)
				r.store.SetFault(ocsptest.Hang)
				begin := time.Now()
				answer := r.responder.Respond(context.Background(), request)
				require.Equal(r, ocsp.OutcomeTryLater, answer.Outcome)
				require.GreaterOrEqual(r, time.Since(begin), 8750*time.Millisecond)
				require.LessOrEqual(r, time.Since(begin), 10*time.Second)
			})
		})
	}
}

// An issuer's own store is judged by itself, and has its own slots.
func TestStoreOfAnIssuer(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var own ocsp.CertStoreFunc = func(context.Context, string, *big.Int) (ocsp.Record, error) {
		<-release
		return ocsp.Record{}, ocsp.ErrNotFound
	}
	poolTest(t, func(cfg *ocsp.Config, _ *pool) { cfg.Issuers[1].Store, cfg.MaxStoreCalls = own, 4 }, func(r *rig, p *pool, other *ocsptest.CA) {
		release = make(chan struct{})
		defer close(release)
		r.says(0)
		r.flood(other, 5000)
		time.Sleep(time.Minute)
		r.flood(other, 5000)
		r.revoke(r.leaf, ocsp.KeyCompromise)
		answer, took := r.timed()
		requireRevoked(r, answer)
		require.Equal(r, p.delay, took)

		issuer := r.ca.Issuer()
		issuer.Store = ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
			return ocsp.Record{State: ocsp.Active}, nil
		})
		require.NoError(r, r.responder.SetIssuer(issuer))
		answer, took = r.timed()
		require.Equal(r, ocsp.Good, answer.Responses[0].Status)
		require.Zero(r, took)
	})
}

// The slots of removed issuers are freed when no call is in flight. A call that hangs counts until
// it returns, even if its issuer is back meanwhile.
func TestSlotsOfRemovedIssuersAreFreed(t *testing.T) {
	t.Parallel()
	orderTest(t, func(cfg *ocsp.Config) { cfg.MaxStoreCalls = 4 }, func(r *rig, s *slow) {
		r.says(0)
		for i := range 20 {
			r.responder.RemoveIssuer(r.addTenant(fmt.Sprintf("Passing CA %d", i), false).ID)
		}
		stores, shares := ocsp.Stores(r.responder)
		require.Equal(r, 1, stores)
		require.LessOrEqual(r, shares, 1)

		release, calls := make(chan struct{}), atomic.Int64{}
		defer close(release)
		own := &slow{wait: func() { calls.Add(1); <-release }, rig: r}
		tenant := ocsptest.NewCA(ocsptest.Options{Name: "tenant"})
		issuer := tenant.Issuer()
		issuer.Store = own
		for range 3 {
			require.NoError(r, r.responder.SetIssuer(issuer))
			own.flood = true
			r.flood(tenant, 3)
			r.responder.RemoveIssuer(issuer.ID)
		}
		require.EqualValues(r, 4, calls.Load())

		other := &slow{wait: own.wait, rig: r}
		issuer = r.ca.Issuer()
		issuer.Store = other
		require.NoError(r, r.responder.SetIssuer(issuer))
		r.says(0)
		time.Sleep(time.Hour)
		other.serial = r.leaf.SerialNumber
		begun, answers := time.Now(), make(chan ocsp.Answer)
		go func() { answers <- r.responder.Respond(context.Background(), r.request(r.leaf)) }()
		synctest.Wait()
		issuer.Store = nil
		require.NoError(r, r.responder.SetIssuer(issuer))
		requireStale(r, <-answers)
		require.Equal(r, time.Second, time.Since(begun))

		issuer.Store = ocsp.CertStoreFunc(other.FindBySerial)
		issuer.NameAliases = [][]byte{tenant.Certificate.RawSubject}
		require.NoError(r, r.responder.SetIssuer(r.twin("tenant").Issuer()))
		before, _ := ocsp.Stores(r.responder)
		require.Error(r, r.responder.SetIssuer(issuer))
		after, _ := ocsp.Stores(r.responder)
		require.Equal(r, before, after, "of an issuer that was refused")
	})
}

// A CA that moves from one store to another is found in both while they are asked in turn.
func TestIssuersOfOneKeyInTwoStores(t *testing.T) {
	t.Parallel()
	first, second := ocsptest.NewStore(), ocsptest.NewStore()
	for _, ttl := range []time.Duration{0, time.Hour} {
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			moved := cfg.Issuers[0]
			moved.ID, moved.Store = "moved", second
			cfg.Issuers = append(cfg.Issuers, moved)
			cfg.Store, cfg.Cache.StatusTTL = first, ttl
		})
		second.Add("moved", r.leaf)
		require.Equal(t, 0, r.status(r.leaf).Status)
		require.Equal(t, 1, first.Calls())
		require.Equal(t, 1, second.Calls())
		first.SetFault(ocsptest.Fail)
		r.requireError(3, r.post(r.request(r.issue())))
		first, second = ocsptest.NewStore(), ocsptest.NewStore()
	}
}

// A read that several may share is judged by the store that it is in, not by the first one of its authority.
func TestSharedReadIsJudgedByTheStoreThatItIsIn(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, time.Second} {
		hang, release := false, make(chan struct{})
		orderTest(t, func(cfg *ocsp.Config) {
			store, id := cfg.Store, cfg.Issuers[0].ID
			moved := cfg.Issuers[0]
			moved.ID, moved.Store = "moved", ocsp.CertStoreFunc(func(ctx context.Context, _ string, serial *big.Int) (ocsp.Record, error) {
				if hang {
					<-release
				}
				return store.FindBySerial(context.WithoutCancel(ctx), id, serial)
			})
			cfg.Issuers, cfg.Cache.StatusTTL = append(cfg.Issuers, moved), ttl
			cfg.Store = ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
				time.Sleep(100 * time.Millisecond)
				return ocsp.Record{}, ocsp.ErrNotFound
			})
			release = make(chan struct{})
		}, func(r *rig, s *slow) {
			defer close(release)
			r.says(0)
			time.Sleep(time.Hour)
			hang = true
			answer, took := r.timed()
			requireStale(r, answer)
			require.ErrorIs(r, answer.Err, ocsp.ErrStoreSilent)
			require.Equal(r, 1100*time.Millisecond, took)
		})
	}
}

func TestConfigOfStores(t *testing.T) {
	t.Parallel()
	ca := ocsptest.NewCA(ocsptest.Options{})
	for want, adjust := range map[string]func(cfg *ocsp.Config){
		"the field Cache.StorePatience is -1ns: it must not be negative":                 func(cfg *ocsp.Config) { cfg.Cache.StorePatience = -1 },
		"the field Cache.StorePatience is 11s: it must be at most Timeout, which is 10s": func(cfg *ocsp.Config) { cfg.Cache.StorePatience = 11 * time.Second },
		"the field Cache.StorePatience is 1s beside FailClosed":                          func(cfg *ocsp.Config) { cfg.Cache.StorePatience, cfg.Cache.FailClosed = time.Second, true },
		"the field Cache.StorePatience is 1s beside Cache.Disabled":                      func(cfg *ocsp.Config) { cfg.Cache.StorePatience, cfg.Cache.Disabled = time.Second, true },
		"the field MaxStoreCalls is -1: it must not be negative":                         func(cfg *ocsp.Config) { cfg.MaxStoreCalls = -1 },
		"the field Store is nil: give a CertStore":                                       func(cfg *ocsp.Config) { cfg.Store = nil },
	} {
		cfg := ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: ocsptest.NewStore()}
		adjust(&cfg)
		_, err := ocsp.New(cfg)
		require.ErrorContains(t, err, want)
	}
	cfg := ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}}
	cfg.Issuers[0].Store = ocsptest.NewStore()
	r, err := ocsp.New(cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	require.ErrorContains(t, r.SetIssuer(ca.Issuer()), "the field Store is nil, and so is Config.Store")
}

// Requests wait for their turn no longer than it takes to know that no place is given back.
func TestStuckStore(t *testing.T) {
	t.Parallel()
	orderTest(t, func(cfg *ocsp.Config) { cfg.MaxStoreCalls = 2 }, func(r *rig, s *slow) {
		r.says(0)
		release := make(chan struct{})
		defer close(release)
		s.flood, s.first, s.wait = true, false, func() { <-release }
		r.flood(r.ca, 2)
		time.Sleep(4 * time.Second)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				answer, took := r.timed()
				requireStale(r, answer)
				require.Equal(r, 6*time.Second, took)
			})
		}
		wg.Wait()
		answer, took := r.timed()
		requireStale(r, answer)
		require.Zero(r, took)
	})
}

// A store that hangs, and whose calls honor their contexts, frees slots only by deadlines, which
// are no answers. Once it has been stuck for Timeout, cached answers stand in at once for requests
// without a slot.
func TestSlotsFreedByDeadlinesAreNoAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		calls int
		every time.Duration
		ttl   time.Duration
	}{
		"as many calls as the pool has": {4, 100 * time.Millisecond, 0},
		"StatusTTL":                     {4, 100 * time.Millisecond, time.Millisecond},
		"the default":                   {0, 5 * time.Millisecond, 0},
	} {
		t.Run(name, func(t *testing.T) {
			poolTest(t, func(cfg *ocsp.Config, _ *pool) { cfg.MaxStoreCalls, cfg.Cache.StatusTTL = c.calls, c.ttl }, func(r *rig, p *pool, _ *ocsptest.CA) {
				r.says(0)
				time.Sleep(time.Hour)
				p.hang.Store(true)
				hung := time.Now()
				var wg sync.WaitGroup
				for time.Since(hung) < time.Minute {
					since := time.Since(hung)
					wg.Go(func() {
						answer, took := r.timed()
						switch {
						case since >= 11*time.Second:
							requireStale(r, answer)
							require.LessOrEqual(r, took, 100*time.Millisecond, "after %v", since)
						case since >= 1250*time.Millisecond: // its Timeout ends later than that of the stuck calls
							requireStale(r, answer)
							require.LessOrEqual(r, since+took, 11100*time.Millisecond)
						}
					})
					time.Sleep(c.every)
				}
				wg.Wait()
				p.hang.Store(false)
				r.revoke(r.leaf, ocsp.KeyCompromise)
				time.Sleep(10 * time.Second) // until those that hang have given back their places
				answer, took := r.timed()
				requireRevoked(r, answer)
				require.LessOrEqual(r, took, 2*p.delay)
			})
		})
	}
}

// steady asks each interval for a serial that was never issued, for as long.
func (r *rig) steady(ca *ocsptest.CA, interval, long time.Duration) {
	begin := time.Now()
	for i := 0; time.Since(begin) < long; i++ {
		cert := x509.Certificate{SerialNumber: big.NewInt(int64(1_000_000 + i)), RawIssuer: ca.Certificate.RawSubject}
		request := r.client().Request(ca.Certificate, &cert)
		go r.responder.Respond(context.Background(), request)
		time.Sleep(interval)
	}
}

// inOrder is a store behind four connections, which those get first who have waited longest.
type inOrder struct {
	rig         *rig
	connections chan struct{}
	delay       time.Duration // of a lookup
	timeout     time.Duration // of a lookup and the wait for it; zero is the caller's
}

func (s *inOrder) FindBySerial(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
	if s.timeout != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	select {
	case s.connections <- struct{}{}: // in the order in which they came
		defer func() { <-s.connections }()
	case <-ctx.Done():
		return ocsp.Record{}, ctx.Err()
	}
	select {
	case <-time.After(s.delay):
		return s.rig.store.FindBySerial(context.WithoutCancel(ctx), id, serial)
	case <-ctx.Done():
		return ocsp.Record{}, ctx.Err()
	}
}

// A steady flood of a pool that serves in order has each lookup begin so late that its deadline
// ends it: a healthy store answers nobody. Strangers cause no stale good by that either.
func TestFloodOfAPoolThatServesInOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		calls                          int // MaxStoreCalls
		timeout, delay, own, ttl, each time.Duration
	}{
		{calls: 4, timeout: 2 * time.Second, delay: 300 * time.Millisecond, each: time.Millisecond},
		{calls: 64, timeout: 2 * time.Second, delay: 900 * time.Millisecond, each: 10 * time.Millisecond},
		{calls: 64, timeout: 2 * time.Second, delay: 300 * time.Millisecond, each: time.Millisecond, ttl: time.Millisecond},
		{calls: 0, timeout: 2 * time.Second, delay: 900 * time.Millisecond, each: 10 * time.Millisecond},
		{calls: 0, timeout: 2 * time.Second, delay: 300 * time.Millisecond, each: time.Millisecond},
		{calls: 0, timeout: 5 * time.Second, delay: 900 * time.Millisecond, each: time.Millisecond},
		{calls: 0, timeout: 10 * time.Second, delay: 900 * time.Millisecond, each: 10 * time.Millisecond},
		{calls: 64, timeout: 10 * time.Second, delay: 800 * time.Millisecond, each: 10 * time.Millisecond, own: 1500 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			s := &inOrder{delay: c.delay, timeout: c.own}
			poolTest(t, func(cfg *ocsp.Config, p *pool) {
				s.rig, cfg.Store, s.connections = p.rig, s, make(chan struct{}, 4)
				cfg.MaxStoreCalls, cfg.Timeout, cfg.Cache.StatusTTL = c.calls, c.timeout, c.ttl
				cfg.Unissued = ocsp.UnissuedUnauthorized // which costs no signature
			}, func(r *rig, p *pool, _ *ocsptest.CA) {
				r.says(0)
				time.Sleep(time.Hour)
				go r.steady(r.ca, c.each, 30*time.Second)
				time.Sleep(c.timeout)
				r.revoke(r.leaf, ocsp.KeyCompromise)
				for asked := time.Now(); time.Since(asked) < 18*time.Second; time.Sleep(370 * time.Millisecond) {
					answer, _ := r.timed()
					assert.NotEqual(r, ocsp.OutcomeStale, answer.Outcome, "after %v: %v", time.Since(asked), answer.Err)
				}
				time.Sleep(time.Minute)
				answer, _ := r.timed()
				requireRevoked(r, answer)
			})
		})
	}
}

// A store that hangs again after one answer is silent again, even if calls run into the store's
// own deadline all the while.
func TestStoreThatHangsAgainIsSilentAgain(t *testing.T) {
	t.Parallel()
	for name, timeout := range map[string]time.Duration{"Config.Timeout": 0, "the store's own": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			poolTest(t, func(_ *ocsp.Config, p *pool) {
				p.timeout = timeout
				p.db.SetMaxOpenConns(0)
			}, func(r *rig, p *pool, other *ocsptest.CA) {
				r.says(0)
				time.Sleep(time.Hour)
				p.hang.Store(true)
				go r.steady(other, 300*time.Millisecond, 60*time.Second)
				time.Sleep(20 * time.Second)
				answer, _ := r.timed()
				requireStale(r, answer)
				p.hang.Store(false)
				time.Sleep(350 * time.Millisecond)
				p.hang.Store(true)
				time.Sleep(15 * time.Second)
				answer, took := r.timed()
				requireStale(r, answer)
				require.Equal(r, 100*time.Millisecond, took)
				time.Sleep(time.Minute)
			})
		})
	}
}

// A busy store is not a failing one: many requests do not make cached answers stand in.
func TestBusyStoreLetsNothingStandIn(t *testing.T) {
	t.Parallel()
	orderTest(t, func(cfg *ocsp.Config) { cfg.Unissued = ocsp.UnissuedUnauthorized }, func(r *rig, s *slow) {
		r.says(xocsp.Good)
		r.revoke(r.leaf, ocsp.KeyCompromise)
		s.flood, s.first, s.wait = true, false, func() { time.Sleep(3 * time.Second) }
		for _, later := range []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second} {
			time.Sleep(later)
			r.flood(r.ca, 1024+4096)
			answer := r.responder.Respond(r.Context(), r.request(r.leaf))
			require.NotEqual(r, ocsp.OutcomeStale, answer.Outcome, "after %v", later)
			for _, entry := range answer.Responses {
				require.Equal(r, ocsp.Revoked, entry.Status)
			}
		}
		time.Sleep(time.Minute)
	})
}

// A hanging store is a failing one: its calls occupy their slots, and cached answers stand in
// however many requests wait.
func TestHangingStoreLetsCachedAnswersStandIn(t *testing.T) {
	t.Parallel()
	orderTest(t, func(cfg *ocsp.Config) {}, func(r *rig, s *slow) {
		release := make(chan struct{})
		defer close(release)
		r.says(xocsp.Good)
		s.flood, s.first, s.wait = true, false, func() { <-release }
		r.flood(r.ca, 1024)
		for range 6 {
			time.Sleep(11 * time.Second)
			r.flood(r.ca, 4096)
			require.Equal(r, ocsp.OutcomeStale, r.responder.Respond(r.Context(), r.request(r.leaf)).Outcome)
		}
	})
}

// While the responder is being closed no cached answer stands in.
func TestClosingLetsNothingStandIn(t *testing.T) {
	t.Parallel()
	orderTest(t, func(*ocsp.Config) {}, func(r *rig, s *slow) {
		release := make(chan struct{})
		r.says(xocsp.Good)
		s.flood, s.first, s.wait = true, false, func() { <-release }
		r.flood(r.ca, 1024)
		r.revoke(r.leaf, ocsp.KeyCompromise)
		answers := make(chan ocsp.Answer)
		go func() { answers <- r.responder.Respond(context.Background(), r.request(r.leaf)) }()
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- r.responder.Close() }()
		synctest.Wait()
		close(release)
		require.Equal(r, ocsp.OutcomeTryLater, (<-answers).Outcome)
		require.NoError(r, <-closed)
	})
}

// An answer that expires while it is made is begun again.
func TestNoAnswerLeavesAfterItsEnd(t *testing.T) {
	t.Parallel()
	for name, nonce := range map[string][]byte{"shared": nil, "nonce": []byte("nonce")} {
		for _, several := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				hook := &signerHook{before: func() {}}
				orderTest(t, func(cfg *ocsp.Config) {
					hook.Signer = cfg.Issuers[0].Signer
					cfg.Issuers[0].Signer = hook
				}, func(r *rig, s *slow) {
					r.store.Set(r.ca.ID, r.leaf.SerialNumber, ocsp.Record{State: ocsp.Active, NotAfter: time.Now().Add(2 * time.Second)})
					hook.before = func() {
						hook.before = func() {}
						time.Sleep(4 * time.Second)
					}
					client := r.client()
					client.Nonce = nonce
					request := client.Request(r.ca.Certificate, r.leaf)
					if several {
						request = client.Request(r.ca.Certificate, r.leaf, r.issue())
					}
					answer := r.responder.Respond(r.Context(), request)
					require.Equal(r, ocsp.OutcomeSigned, answer.Outcome)
					require.True(r, answer.NextUpdate.After(time.Now()), "nextUpdate %v", answer.NextUpdate)
				})
			})
		}
	}
}
