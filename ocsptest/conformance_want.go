package ocsptest

import (
	"bytes"
	"math/big"
	"net/http"
	"slices"
	"strings"

	xocsp "golang.org/x/crypto/ocsp"
)

// want is what an exchange must end in.
type want struct {
	text string
	ok   func(p *probe, ex *exchange) bool
	// mild tells of an exchange that is not ok whether that is only against what was decided. Nil is never.
	mild func(p *probe, ex *exchange) bool
}

// judge returns nil or a *failure.
func (w want) judge(p *probe, ex *exchange) error {
	if ex.err == nil && w.ok(p, ex) {
		return nil
	}
	err := wrong(ex, "want %s, got %s", w.text, ex.response())
	if ex.what != "" {
		err = wrong(ex, "%s: want %s, got %s", ex.what, w.text, ex.response())
	}
	if ex.err == nil && w.mild != nil && w.mild(p, ex) {
		return asDecided(err)
	}
	return err
}

// or accepts either.
func (w want) or(other want) want {
	return want{
		text: w.text + " or " + other.text,
		ok:   func(p *probe, ex *exchange) bool { return w.ok(p, ex) || other.ok(p, ex) },
		mild: w.mild,
	}
}

// whenMild grades failures for which mild is true as decided.
func (w want) whenMild(mild func(p *probe, ex *exchange) bool) want {
	w.mild = mild
	return w
}

func wantError(text string, status xocsp.ResponseStatus) want {
	return want{text: text, ok: func(_ *probe, ex *exchange) bool { return ex.ocspError() == status }}
}

func wantHTTP(text string, codes ...int) want {
	return want{text: text, ok: func(_ *probe, ex *exchange) bool { return slices.Contains(codes, ex.status) }}
}

var (
	wantMalformed    = wantError("malformedRequest", xocsp.Malformed)
	wantUnauthorized = wantError("unauthorized", xocsp.Unauthorized)
	wantTooLarge     = wantHTTP("HTTP status 413", http.StatusRequestEntityTooLarge)

	wantGood = want{text: "a signed good", ok: func(p *probe, ex *exchange) bool {
		return ex.says(p.target.Good.SerialNumber, certGood)
	}}
	// wantThis is wantGood for requests with a nonce that tells them apart: a nonce, if one comes back, is the
	// request's own.
	wantThis = want{text: "a signed good for this very request", ok: func(p *probe, ex *exchange) bool {
		if !wantGood.ok(p, ex) {
			return false
		}
		nonce, err := ResponseNonce(ex.body)
		return err == nil && (nonce == nil || bytes.HasSuffix(ex.sent, derNonce(nonce)))
	}}
	// wantOurs is an answer about the good certificate, whatever it says.
	wantOurs = want{text: "a signed answer about the certificate", ok: func(p *probe, ex *exchange) bool {
		return ex.says(p.target.Good.SerialNumber, certGood, certRevoked, certUnknown)
	}}
	// wantNotGood is any OCSP reply that says good of nothing.
	wantNotGood = want{text: "any OCSP reply but good", ok: func(_ *probe, ex *exchange) bool {
		return ex.ocspError() != xocsp.Success || ex.basic() != nil && !isGood(nil, ex)
	}}
	wantNoAnswer = want{text: "no signed answer", ok: func(_ *probe, ex *exchange) bool { return ex.basic() == nil }}
	// wantBanner is what a responder may say to those who ask nothing.
	wantBanner = want{text: "a text", ok: func(_ *probe, ex *exchange) bool {
		return ex.status == http.StatusOK && strings.HasPrefix(ex.header.Get("Content-Type"), "text/")
	}}
)

// isSigned and notGood grade failures.
func isSigned(_ *probe, ex *exchange) bool { return ex.basic() != nil }

func isGood(_ *probe, ex *exchange) bool {
	basic := ex.basic()
	return basic != nil && slices.ContainsFunc(basic.Data.Responses, func(r singleResponse) bool { return r.status() == certGood })
}

func notGood(p *probe, ex *exchange) bool { return !isGood(p, ex) }

func notSigned(p *probe, ex *exchange) bool { return !isSigned(p, ex) }

// says reports whether an exchange ended in a signed answer about that serial number alone, with one of those
// statuses.
func (ex *exchange) says(serial *big.Int, statuses ...certStatus) bool {
	basic := ex.basic()
	if basic == nil || len(basic.Data.Responses) != 1 {
		return false
	}
	r := &basic.Data.Responses[0]
	got := r.serial()
	return got != nil && got.Cmp(serial) == 0 && slices.Contains(statuses, r.status())
}

// variant is one of the requests that a case sends.
type variant struct {
	what string
	der  []byte
}

// posts makes a case that posts variants, each of which must end in w. Where that cannot be a signed answer,
// the request is malformed, and a signed answer to it is not compared with it.
func posts(w want, build func(c *checker) []variant) func(*probe) error {
	return func(p *probe) error {
		var t tally
		for _, v := range build(p.checker) {
			ex := p.do(message{what: v.what, body: v.der, unlinted: w.text == wantMalformed.text})
			t.add(v.what, w.judge(p, ex))
		}
		return t.err()
	}
}

// gets makes a case that spells requests for the good certificate in the path of a GET, each of which must end
// in w.
func gets(w want, wanted func(text string) bool, build func(text string) []spelling) func(*probe) error {
	return func(p *probe) error {
		var t tally
		if err := p.spellings(&t, "", w, wanted, build); err != nil {
			return err
		}
		return t.err()
	}
}

// spellings sends the spellings of one request. Its error says why there are none.
func (p *probe) spellings(t *tally, prefix string, w want, wanted func(text string) bool, build func(text string) []spelling) error {
	der, text, err := p.spelled(wanted)
	if err != nil {
		return err
	}
	for _, s := range build(text) {
		m := message{what: prefix + s.what, method: http.MethodGet, path: p.mount() + "/" + s.path, query: s.query, der: der, unlinted: w.text == wantMalformed.text}
		if s.bare {
			m.path = p.base.EscapedPath()
		}
		ex := p.do(m)
		if s.follow {
			ex, _ = p.follow(ex)
		}
		t.add(m.what, w.judge(p, ex))
	}
	return nil
}

// spelling is a path behind the mount.
type spelling struct {
	what, path, query string
	bare              bool // the mount as it was given, without path
	follow            bool // redirects are allowed
}
