package simulation

import (
	"fmt"
	"slices"
	"time"

	"github.com/kmsocsp/ocsp"
)

// end lets everything go well, asks once more, and closes.
func (w *world) end() {
	w.calm = true
	w.finishAll(100)
	w.pause(time.Minute)
	w.askMany()
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

// askMany asks about all certificates of an issuer at once, when what is trusted is past its
// refresh point.
func (w *world) askMany() {
	w.many = true
	for rep, p := range w.reps {
		for cert, c := range w.certs {
			if !p.closed && c.number == 0 {
				w.question(rep, cert, !slices.ContainsFunc(w.of(c.issuer), func(i int) bool {
					return !w.issued(rep, i)
				}))
			}
		}
	}
	w.many = false
}

// askCalmly asks about a certificate while all is well, and then while the store fails and hangs:
// the answer that was just made stands in.
func (w *world) askCalmly(rep, cert int) {
	must := w.issued(rep, cert)
	w.question(rep, cert, must)
	versions := w.certs[cert].versions
	if p := &w.p; !must || p.disabled || p.tiny || p.nonce == ocsp.NonceRequire ||
		versions[len(versions)-1].status == ocsp.Unknown {
		return
	}
	if w.p.brief {
		w.askBusy(rep, cert)
		return
	}
	if o := w.question(rep, cert, true); o.reads > 0 && w.p.ttl > time.Minute && !w.p.feed {
		w.failures = append(w.failures, fmt.Sprintf("request %d: what was just read is read again", o.id))
	}
	w.fate.fails = true
	w.question(rep, cert, false)
	w.fate.fails = false
	w.askHanging(rep, cert, !w.p.failClosed)
	w.change(cert) // and now what was known before must not stand in
	switch w.n(4) {
	case 0:
		w.question(rep, cert, false)
	case 1:
		w.fate.senseless = true
		w.question(rep, cert, false)
		w.fate.senseless = false
	case 2:
		w.invalidate(rep, cert)
		w.finishAll(20)
	}
	w.askHanging(rep, cert, false)
}

// askBusy asks about a certificate whose answer is to be renewed, while the store is busy and the
// feed vouches for nothing any more.
func (w *world) askBusy(rep, cert int) {
	w.question(rep, cert, true)
	w.pause(6500 * time.Millisecond)
	w.vouch()
	w.gather()
	w.fate.busy = true
	w.question(rep, cert, false)
	w.fate.busy = false
}

// askHanging asks about a certificate while the store hangs.
func (w *world) askHanging(rep, cert int, must bool) {
	w.fate.hangs = true
	w.question(rep, cert, must)
	w.fate.hangs = false
	w.finishAll(20)
}

// question asks about a certificate, and waits for the answer.
func (w *world) question(rep, cert int, must bool) *op {
	o := w.ask(rep, cert, false)
	o.must = must
	if w.finishAll(50); !o.done {
		w.failures = append(w.failures, fmt.Sprintf("request %d: no answer", o.id))
	} else if w.p.failClosed && o.result.(ocsp.Answer).Outcome == ocsp.OutcomeStale {
		w.failures = append(w.failures, fmt.Sprintf("request %d: stands in, with FailClosed", o.id))
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
				return w.fate.hangs && (c.kind != toStore || c.empty) && c.kind != toFollow ||
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
