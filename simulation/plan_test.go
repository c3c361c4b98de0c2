package simulation

import (
	"time"

	"github.com/kmsocsp/ocsp"
)

// plan is what is drawn for a world.
type plan struct {
	reps, issuers, serials int
	ttl                    time.Duration
	flips                  bool // there are two states, so that former answers fit again
	marked                 bool // each version has another end, so that an answer names its version
	long                   bool // serials
	neighbours             bool // the certificates share a stripe of the memory of statuses
	staples                bool // the host itself asks too
	crowd                  int  // other certificates in that memory
	apart                  int  // the numbers of issuers differ in this bit
	brief                  bool // answers live for seconds, so that many are renewed
	twins                  int  // stores of an issuer: one has no certificates
	tiny, compact          bool
	disabled, failClosed   bool
	goKeys                 bool // signatures are made where they are asked for
	feed, remote           bool
	jumps, clockPanics     bool
	changes, swaps, closes bool // of issuers; of stores
	backdate, patience     time.Duration
	nonce                  ocsp.NoncePolicy
	unissued               ocsp.UnissuedPolicy

	old, storeFaults, signFaults, remoteFaults, hang, slow int // in percent
}

// Of several stores of an issuer, this is asked first.
const (
	emptyFirst = 1 + iota
	emptyLast
)

// maxLag is how long a change that was published may go unnoticed.
const maxLag = 2 * time.Second

// chooser draws numbers.
type chooser struct{ draw func(n int) int }

func (c chooser) n(n int) int { return c.draw(n) }

func (c chooser) chance(percent int) bool { return percent > 0 && c.draw(100) < percent }

func (c chooser) one(of int) bool { return c.draw(of) == 0 }

// newPlan draws a plan.
func newPlan(c chooser) (p plan) {
	p.reps, p.issuers, p.serials = 1, 1+c.n(2), 1+c.n(2)
	if c.one(2) {
		p.reps = 1 + c.n(3)
	}
	p.ttl = []time.Duration{0, 0, 2 * time.Second, time.Hour, time.Hour}[c.n(5)]
	p.marked, p.tiny, p.compact = c.one(2), c.one(4), c.one(4)
	p.disabled = p.ttl == 0 && c.one(8)
	p.failClosed, p.goKeys = c.one(6), c.one(2)
	p.feed = p.ttl > 0 && c.one(2)
	p.remote = !p.disabled && c.one(3)
	p.marked = p.marked && !p.remote // which has answers that end earlier and are as true
	p.jumps, p.clockPanics = c.one(4), c.one(10)
	p.changes, p.closes = c.one(3), c.one(4)
	p.swaps = p.changes && p.reps == 1 && !p.clockPanics
	p.backdate = []time.Duration{0, 0, 5 * time.Second}[c.n(3)]
	p.nonce = []ocsp.NoncePolicy{
		ocsp.NonceEcho, ocsp.NonceEcho, ocsp.NonceIgnore, ocsp.NonceRequire,
	}[c.n(4)]
	p.unissued = []ocsp.UnissuedPolicy{
		ocsp.UnissuedUnknown, ocsp.UnissuedUnknown, ocsp.UnissuedUnauthorized,
	}[c.n(3)]
	p.old = []int{0, 50, 90}[c.n(3)]
	p.storeFaults = []int{0, 3, 20}[c.n(3)]
	p.signFaults = []int{0, 3, 20}[c.n(3)]
	p.remoteFaults = []int{0, 10, 40}[c.n(3)]
	p.hang = []int{0, 2, 10}[c.n(3)]
	p.slow = []int{3, 10, 25}[c.n(3)]
	if c.one(3) { // reads of one certificate that overlap
		p.reps, p.issuers, p.serials, p.tiny, p.disabled = 1, 1, 1, false, false
		p.old, p.slow, p.jumps, p.closes, p.changes, p.swaps = 80, 20, false, false, false, false
		p.nonce, p.unissued, p.goKeys = ocsp.NonceIgnore, ocsp.UnissuedUnknown, true
		if p.flips = c.one(2); p.flips {
			p.ttl, p.feed, p.marked, p.goKeys, p.slow = 0, false, false, c.one(2), 10
		}
	}
	p.long, p.neighbours = c.one(4), p.reps == 1 && c.one(2)
	p.staples = !p.long && c.one(4) // package x509 issues no certificates with long serials
	if !p.changes {
		p.twins = []int{0, 0, emptyFirst, emptyLast}[c.n(4)]
	}
	if !p.disabled && !p.failClosed {
		p.patience = []time.Duration{0, 50 * time.Millisecond}[c.n(2)]
	}
	if p.issuers > 1 && p.twins == 0 && c.one(4) {
		p.apart = []int{8, 16, 24, 32}[c.n(4)]
	}
	if p.reps == 1 && !p.disabled && !p.tiny && !p.remote && p.nonce != ocsp.NonceRequire &&
		c.one(40) {
		p.crowd = 1022 // those of the world lie on both sides of a segment's end
	}
	p.brief = p.ttl > 0 && !p.marked && p.backdate == 0 && c.one(2)
	return p
}
