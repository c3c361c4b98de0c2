package simulation

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp"
)

var (
	errBroken = errors.New("simulation: broken")
	errAlone  = fmt.Errorf("%w for one, while others were answered", errBroken)
)

// timeout is an error of a store whose own time was up.
type timeout struct{}

func (timeout) Error() string { return "simulation: timeout" }
func (timeout) Timeout() bool { return true }

// clock is the clock of a replica. Calls in goroutines that belong to no operation do not block:
// signatures for several requests, and the feed's. Nor do those of canStandIn, which is called
// between two selects: if more than one of their channels could become ready meanwhile, the choice
// would be select's.
func (w *world) clock(rep int) time.Time {
	s := &w.scheduler
	id := goroutine()
	s.mu.Lock()
	o := s.ops[id]
	s.mu.Unlock()
	p := w.reps[rep]
	if o == nil || calledBy("canStandIn") {
		return time.Now().Add(p.offset)
	}
	s.enter(&call{kind: toClock, op: o, ctx: context.Background()})
	o.clock = s.now() + p.offset
	o.clocks = append(o.clocks, tick{s.now(), !w.p.feed || p.lease > s.now()})
	return time.Now().Add(p.offset)
}

// calledBy reports whether the caller was called by a function with that name, through the closures
// of the clock.
func calledBy(name string) bool {
	var pcs [6]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for more := true; more; {
		var frame runtime.Frame
		if frame, more = frames.Next(); strings.HasSuffix(frame.Function, "."+name) {
			return true
		}
	}
	return false
}

// store is a store of a replica. SetIssuer may replace it, and then it does not change any more.
type store struct {
	w      *world
	frozen map[int]int // version, by certificate; nil: it is in use
	empty  bool

	answered time.Duration // when a call last returned an answer; 0: none has
}

func (s *store) FindBySerial(
	ctx context.Context, id string, serial *big.Int,
) (record ocsp.Record, err error) {
	if opOf(ctx) == nil { // of the crowd
		return ocsp.Record{State: ocsp.Active}, nil
	}
	c := &call{
		kind: toStore, op: opOf(ctx), ctx: ctx, cert: -1, frozen: -1, empty: s.empty, store: s,
	}
	s.w.mu.Lock()
	for i, cert := range s.w.certs {
		if s.w.issuers[cert.issuer].id == strings.TrimSuffix(id, " twin") &&
			cert.serial.Cmp(serial) == 0 {
			c.cert, c.seen = i, len(cert.versions)-1
			if s.frozen != nil {
				c.frozen = s.frozen[i]
			}
		}
	}
	s.w.mu.Unlock()
	c.answer = func(r ocsp.Record, e error) { record, err = r, e }
	s.w.enter(c)
	return record, err
}

// answerStore lets a call of the store return.
func (w *world) answerStore(c *call) {
	c.op.reads++
	broken := errBroken
	if s := c.store; s.answered > 0 && !w.p.changes && // which may bring a store back as a new one
		w.now()-s.answered < cmp.Or(w.p.patience, time.Second)-time.Millisecond {
		broken = errAlone
	}
	if c.cert < 0 || c.empty && !w.fails(w.p.storeFaults) {
		if w.p.twins == emptyLast && c.empty {
			w.forgets(c)
		}
		c.store.answered = w.now()
		w.release(c, "not issued", func() { c.answer(ocsp.Record{}, ocsp.ErrNotFound) })
		return
	}
	if w.fate.fails || c.empty {
		w.release(c, "error", func() { c.answer(ocsp.Record{}, broken) })
		return
	}
	if w.fate.busy {
		if !w.unvouch(c.op.rep) {
			w.release(c, "timeout", func() { c.answer(ocsp.Record{}, timeout{}) })
		}
		return
	}
	if w.fate.senseless {
		w.forgets(c)
		c.store.answered = w.now()
		w.release(c, "invalid record", func() { c.answer(ocsp.Record{}, ocsp.ErrInvalidRecord) })
		return
	}
	cert := w.certs[c.cert]
	version := len(cert.versions) - 1
	if c.frozen >= 0 {
		version = c.frozen
	}
	how := "now"
	if c.frozen < 0 && c.seen < version && w.fails(w.p.old) {
		version, how = c.seen, "old"
	}
	if w.fails(w.p.storeFaults) {
		fault := []struct {
			how string
			run func()
		}{
			{"error", func() { c.answer(ocsp.Record{}, broken) }},
			{"timeout", func() { c.answer(ocsp.Record{}, timeout{}) }},
			{"invalid record", func() { c.answer(ocsp.Record{}, ocsp.ErrInvalidRecord) }},
			{"invalid state", func() { c.answer(ocsp.Record{State: 77}, nil) }},
			{"panic", func() { panic("simulation: store") }},
			{"goexit", runtime.Goexit},
		}[w.n(6)]
		if strings.HasPrefix(fault.how, "invalid") {
			w.forgets(c)
			c.store.answered = w.now()
		}
		w.release(c, fault.how, fault.run)
		return
	}
	v := &cert.versions[version]
	if v.status == ocsp.Unknown && w.p.twins != emptyLast {
		w.forgets(c)
	}
	c.store.answered = w.now()
	cert.reads[c.op.rep] = max(cert.reads[c.op.rep], c.at)
	w.release(c, how+" "+v.text, func() {
		if v.status == ocsp.Unknown {
			c.answer(ocsp.Record{}, ocsp.ErrNotFound)
		} else {
			c.answer(v.record, nil)
		}
	})
}

// forgets notes that a read makes a replica forget what it knew: it returns that the serial is
// unknown, or what makes no sense. With other issuers it may have another authority in mind.
func (w *world) forgets(c *call) {
	if !w.p.changes {
		w.fences = append(w.fences, fence{
			rep: c.op.rep, cert: c.cert, floor: w.floor(c.cert), call: w.now(), ret: w.now(), hard: true,
		})
	}
}

// signer returns a key whose calls wait for the scheduler.
func (w *world) signer(key crypto.Signer) crypto.Signer {
	return ocsp.NewSigner(key.Public(), func(
		ctx context.Context, digest []byte, opts crypto.SignerOpts,
	) (signature []byte, err error) {
		if opOf(ctx) == nil { // for the crowd
			return key.Sign(random, digest, opts)
		}
		c := &call{kind: toSigner, op: opOf(ctx), ctx: ctx}
		c.fault = func(e error) { err = e }
		w.enter(c)
		if err != nil {
			return nil, err
		}
		return key.Sign(random, digest, opts)
	})
}

func (w *world) answerSigner(c *call) {
	how, then := "signed", func() {}
	if w.fails(w.p.signFaults) {
		switch w.n(2) {
		case 0:
			how, then = "error", func() { c.fault(errBroken) }
		case 1:
			how, then = "panic", func() { panic("simulation: signer") }
		}
	}
	w.release(c, how, then)
}

// remote is the cache that the replicas share.
type remote struct {
	w      *world
	values map[string][]byte
	former map[string][]byte // the values before
	order  []string          // the keys, as they were first put
}

func (r *remote) Get(ctx context.Context, key string) (value []byte, err error) {
	c := &call{kind: toGet, op: opOf(ctx), ctx: ctx, key: key}
	c.fault = func(e error) { err = e }
	r.w.enter(c)
	return c.value, err
}

func (r *remote) Put(ctx context.Context, key string, value []byte, _ time.Duration) (err error) {
	c := &call{kind: toPut, op: opOf(ctx), ctx: ctx, key: key, value: bytes.Clone(value)}
	c.fault = func(e error) { err = e }
	r.w.enter(c)
	return err
}

func (r *remote) Delete(ctx context.Context, keys ...string) (err error) {
	c := &call{kind: toDelete, op: opOf(ctx), ctx: ctx, keys: keys}
	c.fault = func(e error) { err = e }
	r.w.enter(c)
	return err
}

func (w *world) answerRemote(c *call) {
	r := w.remote
	fault := w.fails(w.p.remoteFaults)
	choice := 0
	if fault {
		choice = 1 + w.n(5)
	}
	switch c.kind {
	case toGet:
		value := r.values[c.key]
		how := "value"
		switch choice {
		case 1:
			w.release(c, "error", func() { c.fault(errBroken) })
			return
		case 2:
			value, how = r.former[c.key], "former value"
		case 3:
			value, how = []byte("garbage"), "garbage"
		case 4:
			how = "another value"
			if len(r.order) > 0 {
				value = r.values[r.order[w.n(len(r.order))]]
			}
		}
		if value = bytes.Clone(value); choice == 5 && value != nil {
			value[len(value)-1] ^= 1
			how = "a wrong signature"
		}
		if value == nil {
			w.release(c, "miss", func() { c.fault(ocsp.ErrCacheMiss) })
			return
		}
		c.value = value
		w.release(c, how, nil)
	case toPut:
		if choice == 1 {
			w.release(c, "error", func() { c.fault(errBroken) })
			return
		}
		if choice != 2 {
			if _, ok := r.values[c.key]; !ok && r.former[c.key] == nil {
				r.order = append(r.order, c.key)
			}
			if old := r.values[c.key]; old != nil {
				r.former[c.key] = old
			}
			r.values[c.key] = c.value
		}
		w.release(c, []string{"put", "", "lost"}[choice%3], nil)
	case toDelete:
		if choice == 1 {
			w.release(c, "error", func() { c.fault(errBroken) })
			return
		}
		if choice != 2 {
			for _, key := range c.keys {
				if old := r.values[key]; old != nil {
					r.former[key] = old
					delete(r.values, key)
				}
			}
		}
		w.release(c, []string{"deleted", "", "lost"}[choice%3], nil)
	}
}
