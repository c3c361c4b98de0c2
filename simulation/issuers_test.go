package simulation

import (
	"context"
	"fmt"
	"slices"
)

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
