package statuses_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmsocsp/ocsp/internal/statuses"
)

// model runs requests, reads, writers and the rest one step at a time, in an order chosen at
// random, and checks every answer against the history of the store.
type model struct {
	t     *testing.T
	rng   *rand.Rand
	m     *memory
	o     options
	log   []string
	certs []*cert
	reqs  []*request
	reads []*storeRead
	clock int  // steps, which date the history
	few   bool // statuses

	answers, recorded, joined, renewed, passed int
}

// cert is what is true about a certificate.
type cert struct {
	key         *statuses.Key
	history     []version
	invalidated int // the last Invalidate that returned
	told        int // the latest beginning of a status that was answered
}

// version is a status of the store, from that step on.
type version struct {
	from, status int
	known        bool
}

type request struct {
	cert                       *cert
	arrived, invalidated, told int
	look                       look
	waits                      *read
	how                        statuses.How
	result                     *look // to be checked, and sent
	ofRead                     bool
	tries                      int
}

type storeRead struct {
	read     *read
	cert     *cert
	sampled  *version
	begun    time.Time
	slow     bool
	eventful bool  // something else happened: it need not be recorded
	others   []int // what other reads have returned meanwhile
	passed   bool  // Invalidate or Pass lets another begin beside it
}

func (m *model) logf(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf("%4d ", m.clock)+fmt.Sprintf(format, args...))
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	for _, line := range m.log[max(0, len(m.log)-80):] {
		m.t.Log(line)
	}
	m.t.Fatalf(format, args...)
}

func (c *cert) now() *version { return &c.history[len(c.history)-1] }

// since reports whether the store had the status at some time not before the step.
func (c *cert) since(step, status int, known bool) bool {
	for i, v := range c.history {
		over := i+1 < len(c.history) && c.history[i+1].from <= step
		if !over && v.status == status && v.known == known {
			return true
		}
	}
	return false
}

func (m *model) present() moment {
	d := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) // synctest's beginning
	return moment{Wall: d, Steady: d}
}

func (m *model) step() {
	m.clock++
	c := m.certs[m.rng.IntN(len(m.certs))]
	switch p := m.rng.IntN(100); {
	case p < 14 && len(m.reqs) < 8:
		m.reqs = append(m.reqs, m.arrive(c))
	case p < 22: // the store changes
		v := version{from: m.clock, status: m.clock, known: m.rng.IntN(6) > 0}
		if m.few { // as with holds and releases
			v.status = m.rng.IntN(2)
		}
		if c.history = append(c.history, v); m.rng.IntN(2) == 0 {
			m.logf("cert %p: store has %d known %v", c, v.status, v.known)
			return
		}
		m.invalidate(c)
	case p < 24:
		m.invalidate(c)
	case p < 26:
		m.logf("cert %p: forget", c)
		m.m.Forget(c.key)
		m.event(c, nil)
	case p < 27 && len(m.reads) > 0:
		r := m.reads[m.rng.IntN(len(m.reads))]
		m.logf("read %p: is passed", r.read)
		r.read.Pass()
		r.passed = true
	case p < 30:
		time.Sleep(time.Duration(m.rng.Int64N(int64(patience) * 2 / 3)))
	case p < 31 && m.o.Lease:
		switch m.rng.IntN(3) {
		case 0:
			m.m.EndLease()
		case 1: // what changed while no lease was in force is not known, as with the feed
			m.m.BeginLease()
			fallthrough
		default:
			until := m.present()
			until.Wall += time.Hour
			until.Steady += time.Hour
			m.m.ExtendLease(until)
		}
	case p < 60 && len(m.reads) > 0:
		if r := m.reads[m.rng.IntN(len(m.reads))]; !r.slow || m.rng.IntN(8) == 0 {
			m.advance(r)
		}
	case len(m.reqs) > 0:
		m.request(m.reqs[m.rng.IntN(len(m.reqs))])
	}
}

func (m *model) invalidate(c *cert) {
	m.m.Invalidate(c.key)
	c.invalidated = m.clock
	m.logf("cert %p: invalidate, store has %d", c, c.now().status)
	for _, r := range m.reads { // of which some are on the same stripe
		r.passed = true
	}
	for _, other := range m.certs { // of another issuer, with that serial
		if [23]byte(other.key[5:]) == [23]byte(c.key[5:]) {
			m.event(other, nil)
			if m.m.Look(other.key, m.present()).Known {
				m.fail("cert %p: an entry outlived Invalidate", other)
			}
		}
	}
}

// event notes that something happened to the reads of a certificate, except one.
func (m *model) event(c *cert, except *storeRead) {
	for _, r := range m.reads {
		if r.cert == c && r != except {
			r.eventful = true
		}
	}
}

func (m *model) arrive(c *cert) *request {
	r := &request{cert: c, arrived: m.clock, invalidated: c.invalidated, told: c.told}
	m.logf("request %p: arrives for cert %p", r, c)
	m.look(r)
	return r
}

func (m *model) look(r *request) {
	r.look = m.m.Look(r.cert.key, m.present())
	r.tries++
	m.logf("request %p: look %d known %v trusted %v", r, r.look.Status, r.look.Known, r.look.Trusted)
	if r.look.Known && r.look.Hot == nil && m.rng.IntN(2) == 0 {
		m.m.Attach(&r.look, new(string))
	}
	if r.result, r.ofRead = nil, false; r.look.Trusted {
		r.result = &r.look
	}
}

func (m *model) release(r *read) {
	if r.Release() {
		pool = append(pool, r)
	}
}

var pool []*read

func take() *read {
	if n := len(pool); n > 0 && n%3 > 0 {
		r := pool[n-1]
		pool = pool[:n-1]
		return r
	}
	return new(read)
}

// request does the next step of a request.
func (m *model) request(r *request) {
	switch {
	case r.result != nil:
		m.send(r)
	case r.waits == nil:
		m.begin(r)
	case !hasEnded(r.waits):
		if r.how != statuses.Own && r.how != statuses.Joined && r.waits.Outlasts() == 0 {
			m.begin(r)
		}
	case r.how == statuses.Own || r.how == statuses.Joined:
		l, err := r.waits.Result()
		m.release(r.waits)
		if r.waits = nil; err != nil {
			m.look(r)
			return
		}
		r.result, r.ofRead = &l, true
	default:
		m.begin(r)
	}
}

// hasEnded reports whether a read has ended, and leaves its signal alone.
func hasEnded(r *read) bool { return over[r] }

var over = map[*read]bool{}

func (m *model) begin(r *request) {
	own, waited := take(), r.waits
	var other *read
	after := time.Duration(0)
	if m.rng.IntN(4) == 0 { // it needs one that is newer than that
		after = m.present().Wall - time.Duration(m.rng.Int64N(int64(patience)))
	}
	other, r.how = m.m.Begin(&r.look, m.present(), after, own)
	if waited != nil {
		m.release(waited)
	}
	m.logf("request %p: begin %v %p (own %p)", r, r.how, other, own)
	switch r.how {
	case statuses.Own:
		over[own] = false
		s := &storeRead{read: own, cert: r.cert, begun: time.Now(), slow: m.rng.IntN(10) == 0}
		for _, beside := range m.reads {
			if beside.cert == r.cert {
				m.passed++
				if time.Since(beside.begun) < patience && !beside.passed {
					m.fail("reads of one certificate overlap")
				}
			}
		}
		m.reads = append(m.reads, s)
		r.waits = own
		return
	case statuses.Renewed:
		m.renewed++
		if !r.look.Trusted || r.look.At.Wall < after {
			m.fail("renewed with an entry that is not trusted, or too old")
		}
		r.waits, r.result = nil, &r.look
	case statuses.Joined:
		m.joined++
		fallthrough
	default:
		r.waits = other
	}
	if own.InUse() {
		m.fail("a read was begun for %v", r.how)
	}
	pool = append(pool, own)
}

func (m *model) send(r *request) {
	inForce := r.cert.invalidated
	if !r.result.Stands() {
		m.logf("request %p: does not stand", r)
		m.look(r)
		return
	}
	status := r.result.Status
	known := status%2 == 0 // see advance
	status /= 2
	bound := max(r.invalidated, r.told, inForce)
	if r.ofRead {
		bound = max(bound, r.arrived)
	}
	m.logf("request %p: answers %d", r, status)
	if !known { // (b) is no claim for those who answer after an unknown serial, but it is for them
		bound = max(r.invalidated, r.told, inForce, r.arrived)
	}
	if !r.cert.since(bound, status, known) {
		m.fail("cert %p: %d was answered, which the store did not have since step %d",
			r.cert, status, bound)
	}
	if known { // the earliest time at which it can have been so
		for i, v := range r.cert.history {
			over := i+1 < len(r.cert.history) && r.cert.history[i+1].from <= bound
			if !over && v.status == status && v.known {
				r.cert.told = max(r.cert.told, v.from)
				break
			}
		}
	}
	m.answers++
	m.reqs = slices.DeleteFunc(m.reqs, func(q *request) bool { return q == r })
}

// advance does the next step of a read.
func (m *model) advance(s *storeRead) {
	if s.sampled == nil {
		v := *s.cert.now()
		s.sampled = &v
		m.logf("read %p: sees %d", s.read, v.status)
		return
	}
	m.logf("read %p of cert %p: ends with %d", s.read, s.cert, s.sampled.status)
	m.reads = slices.DeleteFunc(m.reads, func(q *storeRead) bool { return q == s })
	over[s.read] = true
	status := s.sampled.status * 2
	switch m.rng.IntN(12) {
	case 0:
		s.read.End(0, true, errStore)
	case 1:
		s.read.Contradicted(errStore)
		m.event(s.cert, s)
	default:
		if !s.sampled.known {
			status++
		}
		s.read.End(status, s.sampled.known, nil)
		for _, r := range m.reads {
			if r.cert == s.cert && s.sampled.known {
				r.others = append(r.others, status)
			}
		}
		if !s.sampled.known {
			m.event(s.cert, s)
		}
		differs := func(other int) bool { return other != status }
		s.eventful = s.eventful || slices.ContainsFunc(s.others, differs)
		l, _ := s.read.Result()
		switch e := m.m.Look(s.cert.key, m.present()); {
		case l.Status != status:
			m.fail("a read did not answer for itself")
		case s.sampled.known && !s.eventful && m.o.Max > 100:
			if m.recorded++; !e.Known || e.Status != status || !l.Known {
				m.fail("no progress: nothing happened, and the read was not recorded")
			}
		case e.Known && !s.sampled.known || e.Known && e.Status != status:
			m.fail("an entry stayed that the read contradicts")
		case l.Known && s.eventful:
			m.fail("the read was recorded in spite of what happened")
		}
	}
	m.release(s.read)
}

func TestModel(t *testing.T) {
	var sum model
	for seed := range uint64(250) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(14, seed))
			o := options{Max: 1000, Hot: 3, Patience: patience}
			if seed%2 > 0 {
				o.TTL = time.Minute
			}
			o.Lease = seed%8 == 7
			if seed%5 == 4 {
				o.Max = 2
			}
			m := &model{t: t, rng: rng, o: o, few: seed%3 == 1, m: statuses.New[int, string](o)}
			serials := []uint64{1, 1, 2}
			for n := uint64(3); len(serials) < 4; n++ { // one that shares a stripe
				if m.m.SameStripe(key(1), key(n)) {
					serials = append(serials, n)
				}
			}
			for i, serial := range serials[seed%3:] {
				k := *key(serial)
				if seed%3 == 0 { // two issuers with the same serial; otherwise all are of one issuer
					k[0] = byte(i)
				}
				m.certs = append(m.certs, &cert{key: &k, history: []version{{known: true}}})
			}
			pool, over = nil, map[*read]bool{}
			for range 2000 {
				m.step()
			}
			for len(m.reads) > 0 {
				m.clock++
				m.advance(m.reads[0])
			}
			if n := m.m.InFlight(); n != 0 {
				m.fail("%d reads are still remembered", n)
			}
			entries, attached := m.m.Sizes()
			if entries > o.Max || entries < 0 || attached > o.Hot {
				m.fail("%d entries, %d attached", entries, attached)
			}
			sum.answers += m.answers
			sum.recorded += m.recorded
			sum.joined += m.joined
			sum.renewed += m.renewed
			sum.passed += m.passed
		})
	}
	t.Logf("%d answers, %d reads recorded, %d joined, %d renewed, %d passed",
		sum.answers, sum.recorded, sum.joined, sum.renewed, sum.passed)
	if min(sum.answers, sum.recorded, sum.joined, sum.renewed, sum.passed) < 1000 {
		t.Error("too little happened")
	}
}
