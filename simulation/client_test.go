package simulation

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
	xocsp "golang.org/x/crypto/ocsp"
)

type answerKey struct {
	der  string
	cert int
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
			o.certs = w.of(c.issuer)
			for _, i := range o.certs {
				leaves = append(leaves, w.certs[i].leaf())
			}
			der = ocsptest.Client{}.Request(w.issuers[c.issuer].ca.Certificate, leaves...)
		}
	}
	if w.many {
		var leaves []*x509.Certificate
		o.certs = w.of(c.issuer)
		for _, i := range o.certs {
			leaves = append(leaves, w.certs[i].leaf())
		}
		der = ocsptest.Client{}.Request(w.issuers[c.issuer].ca.Certificate, leaves...)
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
	staple := varied && c.issued != nil && w.one(4)
	if staple {
		o.certs, o.nonce = []int{cert}, nil
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
		if staple {
			o.result = stapled(p.r.Staple(ctx, c.issued))
		} else {
			o.result = p.r.Respond(ctx, der)
		}
	})
	return o
}

// stapled returns what Staple returned as an answer. It may be one that stands in.
func stapled(der []byte, err error) ocsp.Answer {
	if err != nil {
		return ocsp.Answer{Outcome: ocsp.OutcomeTryLater, Err: err}
	}
	return ocsp.Answer{DER: der, Outcome: ocsp.OutcomeStale}
}

// read reads an answer.
func (w *world) read(o *op) string {
	a := o.result.(ocsp.Answer)
	w.outcomes[a.Outcome]++
	text := a.Outcome.String()
	issuer := w.certs[o.certs[0]].issuer
	w.done = append(w.done, o)
	o.issuer = issuer
	o.absent = a.Err != nil && strings.Contains(a.Err.Error(), "no configured issuer")
	if a.Outcome.IsError() {
		if a.Err != nil && strings.Contains(a.Err.Error(), "never issued") {
			if len(o.certs) == 1 {
				o.seen = []seen{{refused: true}}
			} else if !w.mayRefuse(o) {
				w.failures = append(w.failures, fmt.Sprintf("request %d: refused after a fence", o.id))
			}
		}
		if a.Outcome == ocsp.OutcomeInternalError && !w.mayPanic() {
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
	if stale && w.p.ttl > 0 && errors.Is(a.Err, ocsp.ErrStoreBusy) && len(o.clocks) > 2 {
		t := o.clocks[len(o.clocks)-3] // when the read had failed; then came the stand-in and its check
		if !t.leased || w.certs[o.certs[0]].reads[o.rep] <= t.at-w.p.ttl {
			w.failures = append(w.failures,
				fmt.Sprintf("request %d: stands in for a busy store, and is not trusted", o.id))
		}
	}
	if stale && w.p.ttl == 0 && (errors.Is(a.Err, ocsp.ErrStoreBusy) || errors.Is(a.Err, errAlone)) {
		w.failures = append(w.failures, fmt.Sprintf("request %d: stands in for a busy store", o.id))
	}
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

// mayRefuse reports whether one of the certificates of a request was unknown since the last
// Invalidate, or report of the feed, that had returned when it was refused.
func (w *world) mayRefuse(o *op) bool {
	return w.p.swaps || slices.ContainsFunc(o.certs, func(cert int) bool {
		from := 0
		for _, f := range w.fences {
			if f.rep == o.rep && f.cert == cert && f.local && f.ret < o.ret {
				from = max(from, f.floor)
			}
		}
		return slices.ContainsFunc(w.certs[cert].versions[from:], func(v version) bool {
			return v.status == ocsp.Unknown
		})
	})
}

// mayPanic reports whether something that the Responder calls may panic, or makes no sense.
func (w *world) mayPanic() bool {
	return w.fate.senseless || w.p.storeFaults > 0 || w.p.signFaults > 0 || w.p.clockPanics
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
