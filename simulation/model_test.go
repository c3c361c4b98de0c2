package simulation

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/kmsocsp/ocsp"
)

// seen is what an answer says about a certificate, or what the store has.
type seen struct {
	status    ocsp.Status
	revoked   int64
	reason    int
	next      int64 // the nextUpdate, if that names the version; -1: it does not
	this, end int64 // in seconds since 1970
	signer    int
	stale     bool
	over      bool // its nextUpdate had passed
	refused   bool // unauthorized, because the issuer never issued the certificate
}

// attests reports whether an answer says what the store had.
func (s *seen) attests(v *version) bool {
	return s.status == v.status && s.revoked == v.revoked && s.reason == v.reason &&
		(s.next == v.next || s.next < 0)
}

// fence is a promise that a replica answers with a version from then on. It takes effect at some
// time from call to ret.
type fence struct {
	rep, cert, floor int
	call, ret        time.Duration
	hard             bool // stand-ins too
	local            bool // answers in progress start over
	write            bool // the version itself appears between call and ret
	op               *op  // that ends at ret, if it has
}

// issuerWrite is a call of SetIssuer or RemoveIssuer.
type issuerWrite struct {
	rep, issuer, signer int
	call, ret           time.Duration
}

// The operations of the models.
type (
	// writes is a change in the store, to the version with that index.
	writes struct{ version int }
	// raises is a fence.
	raises struct {
		floor int
		hard  bool
	}
	// answers is an answer about a certificate.
	answers struct {
		seen
		read bool // it is what the store had at some time between request and answer
		sent bool // it is the moment of sending, and not the arrival
	}
)

// state is the state of a certificate, as a replica may answer it: the last version that was
// stored, and the earliest ones that it may answer, by itself or in place of an answer that fails.
type state struct{ last, soft, hard int }

// certificateModel is the sequential model of a certificate with those versions. An answer says
// what some version said that is not before the last fence, nor before what was answered earlier.
func certificateModel(versions []version) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(before, input, _ any) (bool, any) {
			s := before.(state)
			switch in := input.(type) {
			case writes:
				s.last++
				return s.last == in.version, s
			case raises:
				s.soft = max(s.soft, in.floor)
				if in.hard {
					s.hard = max(s.hard, in.floor)
				}
				return true, s
			case answers:
				if in.over {
					return false, s
				}
				from := s.soft
				if in.stale {
					from = s.hard
				}
				if in.read {
					from = s.last
				}
				for i := from; i <= s.last; i++ {
					if in.attests(&versions[i]) {
						if in.status != ocsp.Unknown && !in.sent {
							s.soft, s.hard = max(s.soft, i), max(s.hard, i)
						}
						return true, s
					}
				}
			}
			return false, s
		},
		DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
	}
}

// stepModel is the sequential model of the signed answers about a certificate: no step back.
func stepModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return seen{} },
		Step: func(before, input, _ any) (bool, any) {
			s, in := before.(seen), input.(answers).seen
			in.stale, in.end, in.signer, in.next = false, 0, 0, 0
			switch {
			case s.this == 0 || in.this > s.this:
				return true, in
			case in.this == s.this:
				return true, s
			}
			return in.status == s.status && in.revoked == s.revoked, s
		},
	}
}

// signerModel is the sequential model of who signs for an issuer; -1 is nobody, once it is removed.
func signerModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return 0 },
		Step: func(before, input, _ any) (bool, any) {
			if write, ok := input.(issuerWrite); ok {
				return true, write.signer
			}
			return before == input, before
		},
	}
}

// check compares what clients saw with the models, and returns what is not as promised.
func (w *world) check() []string {
	failures := w.failures
	compare := func(claim string, rep, of int, m porcupine.Model, ops []porcupine.Operation) {
		for i := range ops {
			ops[i].ClientId = i
		}
		switch porcupine.CheckOperationsTimeout(m, ops, time.Minute) {
		case porcupine.Illegal:
			failures = append(failures, report(claim, rep, of, m, ops))
		case porcupine.Unknown:
			failures = append(failures, fmt.Sprintf(
				"%s: replica %d, %d: no order found within a minute", claim, rep, of))
		}
	}
	for rep := range w.reps {
		for issuer := range w.issuers {
			compare("signer", rep, issuer, signerModel(), w.signed(rep, issuer))
		}
		for cert := range w.certs {
			model := certificateModel(w.certs[cert].versions)
			for _, claim := range []string{"arrival", "sent", "age", "thisUpdate"} {
				compare(claim, rep, cert, model, w.seenBy(rep, cert, claim))
			}
			compare("step", rep, cert, stepModel(), w.seenBy(rep, cert, "step"))
		}
	}
	return failures
}

// seenBy returns the history of a certificate at a replica, as one of the claims has it:
//
//   - arrival: an answer is not older than the last fence that had returned, nor than the last
//     answer that had been sent, when the request arrived. Without trust, and if it is that the
//     certificate is unknown, it is what the store had between request and answer.
//   - sent: an answer is not older than the last Invalidate, or the last report of the feed, that
//     had returned when it was sent.
//   - age: a status that was trusted was so at some time since StatusTTL before the request.
//   - thisUpdate: it was so at some time since its thisUpdate.
//   - step: signed answers do not go back.
func (w *world) seenBy(rep, cert int, claim string) (ops []porcupine.Operation) {
	add := func(call, ret time.Duration, input any) {
		ops = append(ops, porcupine.Operation{
			Input: input, Call: int64(call), Return: int64(ret),
		})
	}
	p := &w.p
	versions := w.certs[cert].versions
	swaps := map[int]*fence{}
	for i := range w.fences {
		f := &w.fences[i]
		if f.rep != rep || f.cert != cert {
			continue
		}
		ret := f.ret
		if ret == 0 {
			ret = math.MaxInt64
		}
		if f.write {
			swaps[f.floor] = f
		}
		if claim == "arrival" || claim == "sent" && f.local {
			add(f.call, ret, raises{f.floor, f.hard})
		}
	}
	if claim != "step" {
		for i := range versions[1:] {
			v := &versions[i+1]
			if f := swaps[i+1]; f != nil {
				ret := f.ret
				if ret == 0 {
					ret = math.MaxInt64
				}
				add(f.call, ret, writes{i + 1})
			} else {
				add(v.at, v.at, writes{i + 1})
			}
		}
	}
	// former reports whether a request began before its store was replaced, and may still ask that.
	former := func(o *op) bool {
		for _, f := range swaps {
			if o.call <= f.ret && f.call <= o.ret {
				return true
			}
		}
		return false
	}
	for _, o := range w.done {
		i := slices.Index(o.certs, cert)
		if o.rep != rep || i < 0 || i >= len(o.seen) {
			continue
		}
		if (claim == "sent" || claim == "thisUpdate") && former(o) {
			continue
		}
		in := answers{seen: o.seen[i]}
		call, ret := o.call, o.ret
		switch claim {
		case "arrival":
			in.read = !in.stale && (p.ttl == 0 || !o.leased || in.status == ocsp.Unknown)
		case "sent":
			in.sent = true
			in.stale = true // by hard fences only
			call = ret
		case "age":
			if in.stale || in.status == ocsp.Unknown || p.ttl == 0 {
				continue
			}
			in.read, call = true, call-p.ttl
		case "thisUpdate":
			if p.jumps || in.refused {
				continue
			}
			in.read = true
			call = max(time.Unix(in.this, 0).Sub(w.begun), math.MinInt64/2)
		case "step":
			if p.jumps || p.tiny || p.disabled || p.changes || in.status == ocsp.Unknown ||
				len(o.certs) > 1 {
				continue
			}
		}
		add(call, ret, in)
	}
	return ops
}

// signed returns who signed for an issuer at a replica.
func (w *world) signed(rep, issuer int) (ops []porcupine.Operation) {
	for _, x := range w.writes {
		if x.rep == rep && x.issuer == issuer {
			ops = append(ops, porcupine.Operation{Input: x, Call: int64(x.call), Return: int64(x.ret)})
		}
	}
	for _, o := range w.done {
		signer := -1
		switch {
		case o.rep != rep || o.issuer != issuer:
			continue
		case o.absent:
		case len(o.seen) == 0 || o.seen[0].refused:
			continue
		default:
			signer = o.seen[0].signer
		}
		ops = append(ops, porcupine.Operation{Input: signer, Call: int64(o.call), Return: int64(o.ret)})
	}
	return ops
}

// report describes a history that is not as promised, up to the first operation that no order of
// the others allows.
func report(claim string, rep, of int, m porcupine.Model, ops []porcupine.Operation) string {
	_, info := porcupine.CheckOperationsVerbose(m, ops, time.Second)
	var longest []porcupine.Operation
	for _, part := range info.PartialLinearizationsOperations() {
		for _, order := range part {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: replica %d, %d\n", claim, rep, of)
	list := func(title string, ops []porcupine.Operation) {
		fmt.Fprintln(&b, title)
		for _, o := range ops {
			fmt.Fprintf(&b, "\t%14v %14v %T%+v\n",
				time.Duration(o.Call), time.Duration(o.Return), o.Input, o.Input)
		}
	}
	list("in order:", longest[max(0, len(longest)-12):])
	in := map[int]bool{}
	for _, o := range longest {
		in[o.ClientId] = true
	}
	rest := slices.DeleteFunc(slices.Clone(ops), func(o porcupine.Operation) bool {
		return in[o.ClientId]
	})
	slices.SortFunc(rest, func(x, y porcupine.Operation) int {
		return cmp.Compare(x.Return, y.Return)
	})
	list("not in order:", rest[:min(3, len(rest))])
	return b.String()
}
