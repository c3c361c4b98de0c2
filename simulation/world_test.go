package simulation

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmsocsp/ocsp"
)

// version is one state of a certificate.
type version struct {
	seen
	record ocsp.Record
	text   string
	at     time.Duration // when it was stored

	swapped bool // with the store
}

// certificate is what the store has, and had.
type certificate struct {
	issuer   int
	number   int // of the serial, by which the history names it
	serial   *big.Int
	issued   *x509.Certificate // nil: the host does not staple
	versions []version
	plain    [2][]byte        // requests, with SHA-1 and SHA-256
	reads    [3]time.Duration // when the last read that returned what the store has began, by replica
}

// replica is one Responder.
type replica struct {
	r       *ocsp.Responder
	offset  time.Duration // of its clock
	highest time.Duration // that offset has been
	lease   time.Duration // until when statuses may be trusted
	closed  bool
	ahead   time.Duration // until then its clock is not set back
	signers []int         // of each issuer; -1: it was removed
	stores  []*store      // of each issuer
	setting []int         // calls of SetIssuer and RemoveIssuer in progress, by issuer
	synced  bool          // the feed reports changes
	queue   []message
	former  ocsp.FeedSink // of a call of Follow that has returned
}

// message is a change on its way to a replica.
type message struct {
	at    time.Duration // when it was published
	certs []int         // none: it is lost
}

// world is a bubble with some replicas.
type world struct {
	scheduler
	chooser
	p           plan
	issuers     []*authority
	certs       []*certificate
	reps        []*replica
	remote      *remote
	ids         int
	requests    int   // in progress
	active      []*op // these requests
	revocations int
	versions    int // of all certificates
	answers     map[answerKey]seen
	done        []*op
	fences      []fence
	writes      []issuerWrite
	failures    []string
	outcomes    map[ocsp.Outcome]int
	calm        bool
	many        bool // requests are about all certificates of an issuer
	fate        fate // of the store, in the end
}

// run makes the world of a seed, and runs it until that many changes were stored.
func run(t *testing.T, c chooser, changes int) *world {
	w := &world{
		chooser: c, answers: map[answerKey]seen{}, outcomes: map[ocsp.Outcome]int{},
	}
	defer func() {
		if v := recover(); v != nil {
			panic(fmt.Sprintf("%v\n%s", v, w.tail(40)))
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w.begun, w.ops = time.Now(), map[uint64]*op{}
		w.p = newPlan(c)
		w.create()
		for n := 0; w.versions < changes && n < 100*changes; n++ {
			w.step()
		}
		w.end()
	})
	return w
}

// store gives a certificate a state.
func (w *world) store(cert int, status ocsp.Status, reason ocsp.Reason) {
	c := w.certs[cert]
	w.versions++
	v := version{at: w.now(), text: fmt.Sprint(status, " ", w.versions)}
	v.status = status
	switch status {
	case ocsp.Good:
		v.record.State = ocsp.Active
	case ocsp.Revoked:
		v.record = ocsp.Record{
			State: ocsp.Deactivated, Reason: reason,
			RevokedAt: w.begun.Add(-time.Duration(10_000+w.versions) * time.Hour),
		}
		if w.p.flips {
			v.record.RevokedAt = w.begun.Add(-time.Hour)
		}
		v.revoked, v.reason = v.record.RevokedAt.Unix(), reason.CRLReason()
		v.text += " " + reason.String()
		w.revocations++
	}
	if w.p.marked && status != ocsp.Unknown {
		v.record.NotAfter = w.begun.Add(6*time.Hour + time.Duration(w.versions)*time.Second)
		v.next = v.record.NotAfter.Unix()
	}
	c.versions = append(c.versions, v)
	w.note("store", 0, 0, fmt.Sprintf("%s %d: %s", w.issuers[c.issuer].id, c.number, v.text))
}

// change draws the next state of a certificate.
func (w *world) change(cert int) {
	c := w.certs[cert]
	last := &c.versions[len(c.versions)-1]
	held := last.reason == ocsp.CertificateHold.CRLReason()
	switch draw := w.n(20); {
	case w.p.flips && last.status == ocsp.Good:
		w.store(cert, ocsp.Revoked, ocsp.CertificateHold)
	case w.p.flips:
		w.store(cert, ocsp.Good, 0)
	case draw < 2 && last.status != ocsp.Unknown:
		w.store(cert, ocsp.Unknown, 0)
	case last.status == ocsp.Good && draw < 11:
		w.store(cert, ocsp.Revoked, ocsp.CertificateHold)
	case last.status == ocsp.Revoked && (held && draw < 15 || draw < 10),
		last.status == ocsp.Unknown && draw < 10:
		w.store(cert, ocsp.Good, 0)
	default:
		w.store(cert, ocsp.Revoked, ocsp.KeyCompromise)
	}
}

// fate is what the store does when nothing is left to chance.
type fate struct{ fails, senseless, hangs, busy bool }

// step lets one thing happen.
func (w *world) step() {
	w.gather()
	eligible := w.eligible()
	switch draw := w.n(100); {
	case draw < w.p.slow:
		w.pass()
	case len(eligible) > 0 && (draw < 76 || w.requests >= 6 && draw < 86):
		w.answer(eligible[w.n(len(eligible))])
	case draw < 86:
		if w.requests < 6 {
			w.ask(w.n(len(w.reps)), w.n(len(w.certs)), true)
		} else {
			w.pass()
		}
	case draw < 97:
		w.revoke()
	default:
		w.disturb()
	}
}

// gather settles, and notes what ended.
func (w *world) gather() {
	first := len(w.pending)
	ended := w.settle()
	for _, c := range w.pending[first:] {
		if o := c.op; o.what == "invalidate" && !o.local {
			w.localDone(o, c.at)
		}
	}
	for _, o := range ended {
		w.finish(o)
	}
}

// eligible returns the calls that may go on.
func (w *world) eligible() (list []*call) {
	for _, c := range w.pending {
		if !c.never {
			list = append(list, c)
		}
	}
	return list
}

// fails draws whether something fails.
func (w *world) fails(percent int) bool { return !w.calm && w.chance(percent) }

// answer lets a call go on, or not.
func (w *world) answer(c *call) {
	if c.kind != toClock && c.kind != toFollow && w.fails(w.p.hang) {
		w.note("hang "+string(c.kind), c.op.rep, c.op.id, "")
		c.never = true
		return
	}
	switch c.kind {
	case toClock:
		if w.p.clockPanics && !w.calm && w.one(100) {
			w.release(c, "panic", func() { panic("simulation: clock") })
		} else {
			w.release(c, "now", nil)
		}
	case toStore:
		w.answerStore(c)
	case toSigner:
		w.answerSigner(c)
	case toPublish:
		w.answerPublish(c)
	case toFollow:
		w.answerFollow(c)
	default:
		w.answerRemote(c)
	}
}

// pass lets time pass.
func (w *world) pass() {
	d := []time.Duration{
		time.Millisecond, 3 * time.Millisecond, 20 * time.Millisecond, 110 * time.Millisecond,
		300 * time.Millisecond, 600 * time.Millisecond, 1100 * time.Millisecond, 3 * time.Second,
		7 * time.Second, 11 * time.Second,
	}[min(w.n(10), w.n(10))]
	w.note("time passes", 0, 0, d.String())
	time.Sleep(d)
	for _, c := range w.pending {
		if c.never && c.ctx.Err() != nil && w.one(2) {
			c.never = false
		}
	}
}

// revoke changes a certificate, and perhaps informs a replica.
func (w *world) revoke() {
	cert := w.n(len(w.certs))
	if !w.swapping(w.certs[cert].issuer) && !w.one(4) {
		w.change(cert)
	}
	if w.one(2) {
		w.invalidate(w.n(len(w.reps)), cert)
	}
}

// invalidate invalidates a certificate, or all of its issuer.
func (w *world) invalidate(rep, cert int) {
	o := w.begin(rep, "invalidate")
	o.certs = []int{cert}
	issuer := w.certs[cert].issuer
	if w.one(3) {
		o.certs = w.of(issuer)
	}
	for _, i := range o.certs {
		o.versions = append(o.versions, w.floor(i))
	}
	w.start(o, func(ctx context.Context) {
		_ = w.reps[rep].r.Invalidate(ctx, w.issuers[issuer].id, w.serials(o.certs)...)
	})
}

// of returns the certificates of an issuer.
func (w *world) of(issuer int) (certs []int) {
	for i, c := range w.certs {
		if c.issuer == issuer {
			certs = append(certs, i)
		}
	}
	return certs
}

func (w *world) serials(certs []int) (serials []*big.Int) {
	for _, i := range certs {
		serials = append(serials, w.certs[i].serial)
	}
	return serials
}

// localDone notes that the local part of an Invalidate has ended.
func (w *world) localDone(o *op, at time.Duration) {
	o.local = true
	for i, cert := range o.certs {
		w.fences = append(w.fences, fence{
			rep: o.rep, cert: cert, floor: o.versions[i], call: o.call, ret: at, local: true, hard: true,
		})
	}
}

// disturb does what happens seldom.
func (w *world) disturb() {
	rep := w.n(len(w.reps))
	p := w.reps[rep]
	switch w.n(4) {
	case 0:
		if w.p.jumps {
			w.jump(rep)
		}
	case 1, 2:
		if issuer := w.n(len(w.issuers)); w.p.changes && p.setting[issuer] == 0 {
			w.setIssuer(rep, issuer)
		}
	case 3:
		if w.p.closes && !p.closed && w.one(10) {
			w.shut(rep)
		}
	}
}

// jump sets the clock of a replica. Trust ends with the clock that says more: if it is set forward,
// the machine may have been suspended for as long.
func (w *world) jump(rep int) {
	p := w.reps[rep]
	d := time.Duration(w.n(2001)-1000) * []time.Duration{3, 3, 300, 9000}[w.n(4)] * time.Millisecond
	if p.offset+d < -4*time.Hour || p.offset+d > 4*time.Hour {
		return
	}
	if d < 0 && w.now() < p.ahead { // it would take back a jump that has ended trust
		return
	}
	p.offset += d
	w.note("clock jumps", rep, 0, p.offset.String())
	forward := p.offset - p.highest // what a jump back took, and this one gives back, nobody can see
	p.highest = max(p.highest, p.offset)
	if w.p.ttl > 0 && forward >= min(w.p.ttl, maxLag) {
		p.ahead = w.now() + w.p.ttl
	}
	if p.lease-w.now() <= forward {
		p.lease = 0
	}
	for i := range w.certs {
		if w.p.ttl > 0 && forward >= w.p.ttl {
			w.fences = append(w.fences, fence{
				rep: rep, cert: i, floor: w.floor(i), call: w.now(), ret: w.now(),
			})
		}
	}
}

// shut closes a replica.
func (w *world) shut(rep int) {
	p := w.reps[rep]
	p.closed = true
	o := w.begin(rep, "Close")
	w.start(o, func(context.Context) { _ = p.r.Close() })
}

// finish notes the end of an operation.
func (w *world) finish(o *op) {
	if o.after != nil {
		o.after()
	}
	o.done = true
	detail := ""
	switch o.what {
	case "invalidate":
		if !o.local {
			w.localDone(o, o.ret)
		}
	case "request":
		w.requests--
		w.active = slices.DeleteFunc(w.active, func(x *op) bool { return x == o })
		detail = w.read(o)
	}
	w.history = append(w.history, event{o.ret, "end " + o.what, o.rep, o.id, detail})
}

// tail returns the end of the history.
func (w *world) tail(n int) string {
	var b strings.Builder
	for _, e := range w.history[max(0, len(w.history)-n):] {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}

func (e event) String() string {
	return fmt.Sprintf("%14v  replica %d  %4d  %s  %s", e.at, e.rep, e.op, e.what, e.detail)
}
