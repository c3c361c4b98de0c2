package simulation

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/statuses"
	"github.com/kmsocsp/ocsp/ocsptest"
	xocsp "golang.org/x/crypto/ocsp"
)

var random = rand.Reader

// authorities are the CAs of all worlds, with their delegates.
var authorities = func() (list []*authority) {
	life := ocsptest.Options{
		NotBefore: time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:  time.Date(2049, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	for _, name := range []string{"A", "B"} {
		life.Name = name
		a := &authority{id: name, ca: ocsptest.NewCA(life)}
		a.certs, a.keys = []*x509.Certificate{nil}, []crypto.Signer{a.ca.Key}
		for _, delegate := range []string{"first", "second"} {
			life.Name = name + " " + delegate
			cert, key := a.ca.Delegate(life)
			a.certs, a.keys = append(a.certs, cert), append(a.keys, key)
		}
		list = append(list, a)
	}
	return list
}()

// authority is a CA and those who sign for it: itself, and delegates.
type authority struct {
	id    string
	ca    *ocsptest.CA
	certs []*x509.Certificate
	keys  []crypto.Signer
}

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
	versions []version
	plain    [2][]byte // requests, with SHA-1 and SHA-256
}

// replica is one Responder.
type replica struct {
	r       *ocsp.Responder
	offset  time.Duration // of its clock
	lease   time.Duration // until when statuses may be trusted
	closed  bool
	signers []int    // of each issuer; -1: it was removed
	stores  []*store // of each issuer
	setting []int    // calls of SetIssuer and RemoveIssuer in progress, by issuer
	synced  bool     // the feed reports changes
	queue   []message
	former  ocsp.FeedSink // of a call of Follow that has returned
}

// message is a change on its way to a replica.
type message struct {
	at   time.Duration // when it was published
	cert int
}

// plan is what is drawn for a world.
type plan struct {
	reps, issuers, serials int
	ttl                    time.Duration
	marked                 bool // each version has another end, so that an answer names its version
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

// maxLag is how long a change that was published may go unnoticed.
const maxLag = 2 * time.Second

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
	fate        struct{ fails, hangs bool } // of the store, after the calm
}

// chooser draws numbers.
type chooser struct{ draw func(n int) int }

func (c chooser) n(n int) int { return c.draw(n) }

func (c chooser) chance(percent int) bool { return percent > 0 && c.draw(100) < percent }

func (c chooser) one(of int) bool { return c.draw(of) == 0 }

type answerKey struct {
	der  string
	cert int
}

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
	p.jumps, p.clockPanics = c.one(6), c.one(10)
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
	}
	if !p.disabled && !p.failClosed {
		p.patience = []time.Duration{0, 50 * time.Millisecond}[c.n(2)]
	}
	return p
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

// create makes the replicas and the certificates.
func (w *world) create() {
	w.issuers = authorities[:w.p.issuers]
	w.remote = &remote{w: w, values: map[string][]byte{}, former: map[string][]byte{}}
	for i := range w.p.reps {
		p := &replica{}
		w.reps = append(w.reps, p)
		cfg := ocsp.Config{
			Validity: time.Duration(20+w.n(100)) * time.Second, Backdate: w.p.backdate,
			Nonce: w.p.nonce, Unissued: w.p.unissued,
			Logger: slog.New(slog.DiscardHandler),
			Now:    func() time.Time { return w.clock(i) },
		}
		if w.p.marked {
			cfg.Validity = 24 * time.Hour
		}
		if cfg.Cache.Disabled = w.p.disabled; !w.p.disabled {
			cfg.Cache.StatusTTL, cfg.Cache.Compact = w.p.ttl, w.p.compact
			cfg.Cache.FailClosed, cfg.Cache.StorePatience = w.p.failClosed, w.p.patience
			cfg.Cache.MaxEntries = 1000
			if w.p.tiny {
				cfg.Cache.MaxEntries = 1
			}
		}
		if w.p.remote {
			cfg.Cache.Remote = w.remote
		}
		if w.p.feed {
			cfg.Cache.Feed = &feed{w, &op{id: -1 - i, rep: i, what: "follow"}}
		}
		for issuer := range w.issuers {
			p.signers, p.setting = append(p.signers, 0), append(p.setting, 0)
			p.stores = append(p.stores, &store{w: w})
			cfg.Issuers = append(cfg.Issuers, w.issuer(p, issuer, 0))
		}
		var err error
		if p.r, err = ocsp.New(cfg); err != nil {
			panic(err)
		}
	}
	for i, serial := range w.choose(w.p.serials) {
		for issuer, a := range w.issuers {
			c := &certificate{issuer: issuer, number: i, serial: serial}
			for j, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
				c.plain[j] = ocsptest.Client{Hash: hash}.Request(a.ca.Certificate, c.leaf())
			}
			w.certs = append(w.certs, c)
			w.store(len(w.certs)-1, ocsp.Good, 0)
		}
	}
}

func (c *certificate) leaf() *x509.Certificate { return &x509.Certificate{SerialNumber: c.serial} }

// issuer returns the configuration of an issuer with that signer.
func (w *world) issuer(p *replica, issuer, signer int) ocsp.Issuer {
	a := w.issuers[issuer]
	key := a.keys[signer]
	if !w.p.goKeys {
		key = w.signer(key)
	}
	return ocsp.Issuer{
		ID: a.id, Certificate: a.ca.Certificate, ResponderCertificate: a.certs[signer],
		Signer: key, Store: p.stores[issuer],
	}
}

// choose returns serials that lie in the memory of statuses in the same order in each world, and do
// not share a stripe, so that the hash makes no difference to what is evicted and invalidated.
func (w *world) choose(n int) (serials []*big.Int) {
	var seeds []maphash.Seed
	stripes := 0
	for _, p := range w.reps {
		m := reflect.ValueOf(p.r).Elem().FieldByName("memory").Elem()
		field := m.FieldByName("seed")
		seeds = append(seeds, *(*maphash.Seed)(unsafe.Pointer(field.UnsafeAddr())))
		stripes = m.FieldByName("stripes").Len()
	}
	for i := range n {
		fits := func(content []byte) bool {
			key := statuses.NewKey(0, content)
			for _, seed := range seeds {
				stripe := int(maphash.Bytes(seed, key[5:]) & uint64(stripes-1))
				if stripe*n/stripes != i {
					return false
				}
			}
			return true
		}
		content := make([]byte, 8)
		for next := mathrand.Uint64(); ; next++ {
			if binary.BigEndian.PutUint64(content, next>>1|1<<62); fits(content) {
				break
			}
		}
		serials = append(serials, new(big.Int).SetBytes(content))
	}
	return serials
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

// begin makes an operation.
func (w *world) begin(rep int, what string) *op {
	w.ids++
	return &op{id: w.ids, rep: rep, what: what}
}

// ask sends a request.
func (w *world) ask(rep, cert int, varied bool) *op {
	o := w.begin(rep, "request")
	o.certs = []int{cert}
	c := w.certs[cert]
	der := c.plain[0]
	var limit time.Duration
	if varied {
		if !w.p.tiny { // two encodings take turns at random in what is attached to a status
			der = c.plain[w.n(2)]
		}
		switch w.n(10) {
		case 0:
			limit = time.Duration(1+w.n(3_000_000)) * time.Microsecond
		case 1: // of one issuer and several serials
			var leaves []*x509.Certificate
			o.certs = nil
			for i, other := range w.certs {
				if other.issuer == c.issuer {
					o.certs, leaves = append(o.certs, i), append(leaves, other.leaf())
				}
			}
			der = ocsptest.Client{}.Request(w.issuers[c.issuer].ca.Certificate, leaves...)
		}
	}
	if varied && w.one(4) || w.p.nonce == ocsp.NonceRequire && (!varied || !w.one(5)) {
		o.nonce = fmt.Appendf(nil, "nonce %10d", o.id)
		var leaves []*x509.Certificate
		for _, i := range o.certs {
			leaves = append(leaves, w.certs[i].leaf())
		}
		client := ocsptest.Client{Nonce: o.nonce}
		der = client.Request(w.issuers[c.issuer].ca.Certificate, leaves...)
	}
	p := w.reps[rep]
	o.leased = !w.p.feed || p.lease > w.now()
	w.requests++
	w.active = append(w.active, o)
	w.start(o, func(ctx context.Context) {
		if limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		o.result = p.r.Respond(ctx, der)
	})
	return o
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

func (w *world) swapping(issuer int) bool {
	return w.p.swaps && slices.ContainsFunc(w.reps, func(p *replica) bool {
		return p.setting[issuer] > 0
	})
}

// floor returns the version that a read of the store that begins now returns at the earliest. While
// SetIssuer replaces the store, that may be the former one.
func (w *world) floor(cert int) int {
	c := w.certs[cert]
	last := len(c.versions) - 1
	if c.versions[last].swapped && w.swapping(c.issuer) {
		return last - 1
	}
	return last
}

func (w *world) invalidate(rep, cert int) {
	o := w.begin(rep, "invalidate")
	o.certs, o.version = []int{cert}, w.floor(cert)
	c := w.certs[cert]
	w.start(o, func(ctx context.Context) {
		_ = w.reps[rep].r.Invalidate(ctx, w.issuers[c.issuer].id, c.serial)
	})
}

// localDone notes that the local part of an Invalidate has ended.
func (w *world) localDone(o *op, at time.Duration) {
	o.local = true
	w.fences = append(w.fences, fence{
		rep: o.rep, cert: o.certs[0], floor: o.version, call: o.call, ret: at, local: true, hard: true,
	})
}

// disturb does what happens seldom.
func (w *world) disturb() {
	rep := w.n(len(w.reps))
	p := w.reps[rep]
	switch w.n(4) {
	case 0:
		if w.p.jumps {
			p.offset += time.Duration(w.n(600_001)-300_000) * time.Millisecond
			w.note("clock jumps", rep, 0, p.offset.String())
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

// setIssuer replaces or removes an issuer.
func (w *world) setIssuer(rep, issuer int) {
	p := w.reps[rep]
	p.setting[issuer]++
	o := w.begin(rep, "SetIssuer")
	signer := w.n(4) - 1
	write := issuerWrite{rep: rep, issuer: issuer, signer: signer, call: w.now()}
	swapped := -1
	if signer < 0 {
		o.what = "RemoveIssuer"
	} else if w.p.swaps && w.one(2) {
		swapped = len(w.fences)
		w.swap(rep, issuer)
	}
	cfg := w.issuer(p, issuer, max(0, signer))
	w.start(o, func(context.Context) {
		if signer < 0 {
			p.r.RemoveIssuer(w.issuers[issuer].id)
		} else if err := p.r.SetIssuer(cfg); err != nil {
			o.result = err
		}
	})
	o.after = func() {
		p.setting[issuer]--
		write.ret = o.ret
		if o.result == nil {
			w.writes = append(w.writes, write)
		} else if !w.p.clockPanics {
			w.failures = append(w.failures, fmt.Sprint(o.what, ": ", o.result))
		}
		for i := swapped; swapped >= 0 && i < len(w.fences); i++ {
			if f := &w.fences[i]; f.op == o {
				f.ret = o.ret
			}
		}
	}
	for i := swapped; swapped >= 0 && i < len(w.fences); i++ {
		w.fences[i].op = o
	}
}

// swap gives an issuer a new store, in which its certificates have another state.
func (w *world) swap(rep, issuer int) {
	p := w.reps[rep]
	old := p.stores[issuer]
	frozen := map[int]int{}
	p.stores[issuer] = &store{w: w}
	for i, c := range w.certs {
		if c.issuer == issuer {
			frozen[i] = len(c.versions) - 1
			w.change(i)
			c.versions[len(c.versions)-1].swapped = true
			w.fences = append(w.fences, fence{
				rep: rep, cert: i, floor: len(c.versions) - 1, call: w.now(), hard: true, write: true,
			})
		}
	}
	for _, c := range w.pending { // in progress: it asks the former store
		if at, ok := frozen[c.cert]; ok && c.kind == toStore && c.frozen < 0 {
			c.frozen = at
		}
	}
	old.frozen = frozen
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

// read reads an answer.
func (w *world) read(o *op) string {
	a := o.result.(ocsp.Answer)
	w.outcomes[a.Outcome]++
	text := a.Outcome.String()
	issuer := w.certs[o.certs[0]].issuer
	w.done = append(w.done, o)
	o.issuer, o.absent = issuer, a.Err != nil && strings.Contains(a.Err.Error(), "no configured issuer")
	if a.Outcome.IsError() {
		if a.Err != nil && strings.Contains(a.Err.Error(), "never issued") && len(o.certs) == 1 {
			o.seen = []seen{{refused: true}}
		}
		if a.Outcome == ocsp.OutcomeInternalError && w.p.storeFaults == 0 && w.p.signFaults == 0 &&
			!w.p.clockPanics {
			w.failures = append(w.failures, fmt.Sprintf("request %d: %v", o.id, a.Err))
		}
		if o.must {
			w.failures = append(w.failures, fmt.Sprintf("request %d: %v %v, though all is well",
				o.id, a.Outcome, a.Err))
		}
		if errors.Is(a.Err, ocsp.ErrStoreSilent) {
			text += " silent"
		}
		return text
	}
	stale := a.Outcome == ocsp.OutcomeStale
	nonce, err := ocsptest.ResponseNonce(a.DER)
	if err != nil {
		w.failures = append(w.failures, fmt.Sprintf("request %d: %v", o.id, err))
	}
	echoed := w.p.nonce != ocsp.NonceIgnore && string(nonce) == string(o.nonce)
	if !echoed && !(nonce == nil &&
		(w.p.nonce == ocsp.NonceIgnore || w.p.nonce == ocsp.NonceEcho && stale)) {
		w.failures = append(w.failures, fmt.Sprintf("request %d: nonce %q, not %q", o.id, nonce, o.nonce))
	}
	for _, cert := range o.certs {
		s, err := w.verify(a.DER, cert)
		if err != nil {
			w.failures = append(w.failures, fmt.Sprintf("request %d: %v", o.id, err))
			return text
		}
		s.over = !(w.begun.Add(o.clock).Unix() < s.end)
		if s.stale = stale; len(o.certs) > 1 { // they end together
			s.next = -1
		}
		o.seen = append(o.seen, s)
		text += fmt.Sprintf(" %v %d %d", s.status, s.revoked, s.signer)
		if !w.p.jumps {
			text += fmt.Sprint(" ", s.this, " ", s.end)
		}
	}
	return text
}

// verify reads what an answer says about a certificate, by another implementation.
func (w *world) verify(der []byte, cert int) (s seen, err error) {
	key := answerKey{string(der), cert}
	if s, ok := w.answers[key]; ok {
		return s, nil
	}
	c := w.certs[cert]
	a := w.issuers[c.issuer]
	r, err := xocsp.ParseResponseForCert(der, c.leaf(), a.ca.Certificate)
	if err != nil {
		return s, err
	}
	switch r.Status {
	case xocsp.Good:
		s.status = ocsp.Good
	case xocsp.Revoked:
		s.status, s.revoked, s.reason = ocsp.Revoked, r.RevokedAt.Unix(), r.RevocationReason
	}
	s.this, s.end = r.ThisUpdate.Unix(), r.NextUpdate.Unix()
	if w.p.marked && s.status != ocsp.Unknown {
		s.next = s.end
	}
	if r.Certificate != nil {
		s.signer = slices.IndexFunc(a.certs, func(x *x509.Certificate) bool {
			return x != nil && x.Equal(r.Certificate)
		})
	}
	w.answers[key] = s
	return s, nil
}

// end lets everything go well, asks once more, and closes.
func (w *world) end() {
	w.calm = true
	w.finishAll(100)
	w.pause(time.Minute)
	for rep, p := range w.reps {
		for cert := range w.certs {
			if !p.closed {
				w.askCalmly(rep, cert)
			}
		}
	}
	for rep, p := range w.reps {
		if !p.closed {
			w.shut(rep)
		}
	}
	w.finishAll(100)
}

// askCalmly asks about a certificate while all is well, and then while the store fails and hangs: the
// answer that was just made stands in.
func (w *world) askCalmly(rep, cert int) {
	must := w.issued(rep, cert)
	w.question(rep, cert, must)
	versions := w.certs[cert].versions
	if p := &w.p; !must || p.disabled || p.tiny || p.nonce == ocsp.NonceRequire ||
		versions[len(versions)-1].status == ocsp.Unknown {
		return
	}
	if o := w.question(rep, cert, true); o.reads > 0 && w.p.ttl > time.Minute && !w.p.feed {
		w.failures = append(w.failures, fmt.Sprintf("request %d: what was just read is read again", o.id))
	}
	w.fate.fails = true
	w.question(rep, cert, false)
	w.fate.fails, w.fate.hangs = false, true
	w.question(rep, cert, !w.p.failClosed)
	w.fate.hangs = false
	w.finishAll(20)
}

// question asks about a certificate, and waits for the answer.
func (w *world) question(rep, cert int, must bool) *op {
	o := w.ask(rep, cert, false)
	o.must = must
	if w.finishAll(50); !o.done {
		w.failures = append(w.failures, fmt.Sprintf("request %d: no answer", o.id))
	}
	return o
}

// issued reports whether there must be an answer about a certificate.
func (w *world) issued(rep, cert int) bool {
	c := w.certs[cert]
	present := true
	last := time.Duration(-1)
	for _, x := range w.writes {
		if x.rep == rep && x.issuer == c.issuer && x.ret > last {
			present, last = x.signer >= 0, x.ret
		}
	}
	return present && (c.versions[len(c.versions)-1].status != ocsp.Unknown ||
		w.p.unissued != ocsp.UnissuedUnauthorized)
}

// finishAll lets all calls return that have come, and waits for what follows from it.
func (w *world) finishAll(rounds int) {
	for range rounds {
		for n := 0; n < 1000; n++ {
			w.gather()
			i := slices.IndexFunc(w.pending, func(c *call) bool {
				return w.fate.hangs && c.kind != toStore && c.kind != toFollow ||
					!w.fate.hangs && (c.kind != toFollow || c.ctx.Err() != nil)
			})
			if i < 0 {
				break
			}
			w.pending[i].never = false
			w.answer(w.pending[i])
		}
		w.vouch()
		w.pause(300 * time.Millisecond)
		if w.gather(); w.idle() {
			return
		}
	}
}

func (w *world) idle() bool {
	return w.requests == 0 && len(w.ops) == 0 && !slices.ContainsFunc(w.pending, func(c *call) bool {
		return c.kind != toFollow && (c.kind != toStore || !w.fate.hangs)
	})
}

func (w *world) pause(d time.Duration) {
	w.note("time passes", 0, 0, d.String())
	time.Sleep(d)
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
