package simulation

import (
	"context"
	"math/big"
	"slices"
	"time"

	"github.com/kmsocsp/ocsp"
)

// feed is the feed of one replica. It loses messages, and does not vouch for what it lost.
type feed struct {
	w  *world
	op *op // names its calls
}

func (f *feed) Publish(ctx context.Context, _ string, _ ...*big.Int) (err error) {
	c := &call{kind: toPublish, op: opOf(ctx), ctx: ctx}
	c.fault = func(e error) { err = e }
	f.w.enter(c)
	return err
}

func (f *feed) Follow(ctx context.Context, sink ocsp.FeedSink) error {
	for {
		c := &call{kind: toFollow, op: f.op, ctx: ctx, sink: sink}
		if f.w.enter(c); c.ended {
			return errBroken
		}
	}
}

// answerPublish lets a change reach the feed, or not.
func (w *world) answerPublish(c *call) {
	how := w.n(10)
	if w.calm {
		how = 9
	}
	if how == 0 {
		w.release(c, "error", func() { c.fault(errBroken) })
		return
	}
	for rep, p := range w.reps {
		for i, cert := range c.op.certs {
			w.fences = append(w.fences, fence{
				rep: rep, cert: cert, floor: c.op.versions[i], call: w.now(), ret: w.now() + maxLag,
			})
		}
		if p.synced {
			p.queue = append(p.queue, message{w.now(), c.op.certs})
		}
	}
	if how == 1 {
		w.release(c, "accepted, and an error", func() { c.fault(errBroken) })
		return
	}
	w.release(c, "accepted", nil)
}

// answerFollow lets the feed of a replica do something.
func (w *world) answerFollow(c *call) {
	p := w.reps[c.op.rep]
	draw := w.n(20)
	switch {
	case c.ctx.Err() != nil || draw == 0:
		p.synced, p.lease, p.queue, p.former = false, 0, nil, c.sink
		how, then := "end", func() { c.ended = true }
		if w.one(4) {
			how, then = "panic", func() { panic("simulation: feed") }
		}
		w.release(c, how, then)
	case draw == 1 || !p.synced && draw < 10:
		w.resync(c)
	case draw == 2 && len(p.queue) > 0: // lost, and so the feed vouches for nothing later
		p.queue[w.n(len(p.queue))].certs = nil
		w.note("message is lost", c.op.rep, 0, "")
	case draw < 12 && len(p.queue) > 0:
		i := w.n(len(p.queue))
		m := p.queue[i]
		if m.certs == nil {
			w.resync(c)
			return
		}
		if !w.one(5) { // otherwise it comes twice
			p.queue = slices.Delete(p.queue, i, i+1)
		}
		for _, cert := range m.certs {
			w.fences = append(w.fences, fence{
				rep: c.op.rep, cert: cert, floor: w.floor(cert),
				call: w.now(), ret: w.now(), local: true, hard: true,
			})
		}
		issuer := w.issuers[w.certs[m.certs[0]].issuer].id
		w.release(c, "change", func() { c.sink.Changed(issuer, w.serials(m.certs)...) })
	default:
		w.extend(c)
	}
}

// resync begins a new lease.
func (w *world) resync(c *call) {
	p := w.reps[c.op.rep]
	p.synced, p.lease, p.queue = true, 0, nil
	for i := range w.certs {
		w.fences = append(w.fences, fence{
			rep: c.op.rep, cert: i, floor: w.floor(i), call: w.now(), ret: w.now(),
		})
	}
	w.release(c, "resync", c.sink.Resync)
}

// extend lets the feed vouch for all that it has delivered.
func (w *world) extend(c *call) {
	p := w.reps[c.op.rep]
	moment := w.now()
	for _, m := range p.queue {
		moment = min(moment, m.at)
	}
	if late := p.former; late != nil && w.one(4) { // it does nothing any more
		w.release(c, "a former call is late", func() {
			late.Resync()
			late.ValidUntil(time.Now().Add(time.Hour))
		})
		return
	}
	if !p.synced || moment+maxLag <= w.now() {
		w.release(c, "nothing", nil)
		return
	}
	if !w.calm && w.one(8) {
		p.lease = w.now()
		until := time.Now()
		w.release(c, "valid no longer", func() { c.sink.ValidUntil(until) })
		return
	}
	p.lease = moment + maxLag
	for _, o := range w.active {
		if o.rep == c.op.rep {
			o.leased = true
		}
	}
	until := time.Now().Add(p.lease - w.now())
	w.release(c, "valid until "+p.lease.String(), func() { c.sink.ValidUntil(until) })
}

// unvouch ends the lease of a replica. It reports false if there is none.
func (w *world) unvouch(rep int) bool {
	p := w.reps[rep]
	for _, c := range w.pending {
		if c.kind == toFollow && c.op.rep == rep && p.lease > w.now() {
			p.lease = w.now()
			until := time.Now()
			w.release(c, "valid no longer", func() { c.sink.ValidUntil(until) })
			return true
		}
	}
	return false
}

// vouch delivers all messages, while all is well.
func (w *world) vouch() {
	for _, c := range slices.Clone(w.pending) {
		if c.kind != toFollow {
			continue
		}
		if p := w.reps[c.op.rep]; !p.synced || len(p.queue) > 0 {
			w.resync(c)
		} else {
			w.extend(c)
		}
	}
}
