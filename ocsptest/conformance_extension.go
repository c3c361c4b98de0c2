package ocsptest

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// extensionCases are the cases about extensions of requests and their signature: sections 3.5 and 3.7 of the
// matrix.
var extensionCases = []conformanceCase{
	{Case{"T98", "unknown extensions: an answer that does not echo them", "RFC 6960 section 4.1.2", normative}, caseUnknownExtension},
	{Case{"T99", "an unknown critical extension: malformedRequest, and never an answer", "RFC 6960 section 4.1.2", normative},
		posts(wantMalformed.whenMild(notSigned), func(c *checker) []variant {
			strange := derExt(derStrangeOID, derTrue, derStrangeValue)
			return []variant{{"alone", c.with(strange)}, {"behind a nonce", c.with(derNonce(randomNonce(32)), strange)}}
		})},
	{Case{"T100", "an unknown critical extension of a single request: malformedRequest", "decided", decided}, posts(wantMalformed, func(c *checker) []variant {
		critical := askSingle(c.goodID(), derExt(derStrangeOID, derTrue, derStrangeValue))
		second := ask(c.goodID())
		second.entries = append(second.entries, critical.entries...)
		return []variant{{"of the only one", critical.der()}, {"of the second", second.der()}}
	})},
	{Case{"T102", "AcceptableResponses with basic: an answer", "RFC 6960 section 4.4.3", normative}, posts(wantGood, func(c *checker) []variant {
		return []variant{
			{"basic", c.with(derExt(derAcceptableOID, nil, derSeq(derBasicOID)))},
			{"basic and another", c.with(derExt(derAcceptableOID, nil, derSeq(derBasicOID, derStrangeOID)))},
			{"another and basic", c.with(derExt(derAcceptableOID, nil, derSeq(derStrangeOID, derBasicOID)))},
		}
	})},
	{Case{"T103", "AcceptableResponses without basic: malformedRequest", "decided: as XiPKI", decided}, posts(wantMalformed, func(c *checker) (variants []variant) {
		for _, v := range []variant{{"another", derSeq(derStrangeOID)}, {"an empty list", derSeq()}, {"nothing", nil}, {"octets", []byte{0xde, 0xad}}, {"a NULL in the list", derSeq(derBasicOID, derNull)}} {
			variants = append(variants, variant{v.what, c.with(derExt(derAcceptableOID, nil, v.der))})
		}
		return variants
	})},
	{Case{"T104", "PreferredSignatureAlgorithms, unsupported first: an answer with one of the list that the key supports", "RFC 6960 section 4.4.7.2.1", normative}, casePreferred},
	{Case{"T105", "PreferredSignatureAlgorithms with SHA-1 or unsupported ones only: a strong algorithm", "RFC 6960 section 5.1.2", normative}, casePreferredUnfit},
	{Case{"T106", "PreferredSignatureAlgorithms that are none: malformedRequest", "decided", decided}, posts(wantMalformed, func(c *checker) (variants []variant) {
		for _, v := range []variant{{"nothing", nil}, {"octets", []byte{0xde, 0xad}}, {"an empty list", derSeq()}, {"a NULL", derNull}, {"an empty entry", derSeq(derSeq())}, {"an entry without OID", derSeq(derSeq(derSeq(derNull)))}} {
			variants = append(variants, variant{v.what, c.with(derExt(derPreferredOID, nil, v.der))})
		}
		return variants
	})},
	{Case{"T107", "a service locator: ignored", "RFC 6960 section 4.4.6", decided}, posts(wantGood, func(c *checker) []variant {
		return []variant{{"of a single request", askSingle(c.goodID(), derExt(derLocatorOID, nil, derSeq(c.target.Issuer.RawSubject))).der()}}
	})},
	{Case{"T108", "400 extensions: malformedRequest, or too large", "decided: a bound on work", decided}, posts(wantMalformed.or(wantTooLarge), func(c *checker) []variant {
		var list [][]byte
		for i := range 400 {
			list = append(list, derExt(derOID(1, 3, 6, 1, 4, 1, 99999, 8, i), nil, derStrangeValue))
		}
		return []variant{{"of the request", c.with(list...)}, {"of a single request", askSingle(c.goodID(), list...).der()}}
	})},
	{Case{"T126", "a signature that nobody can verify, where none is required: an answer", "RFC 9919 section 3.1.2", normative}, posts(wantGood, func(c *checker) []variant {
		q := ask(c.goodID())
		q.signature = derSeq(derSeq(derOID(1, 2, 840, 10045, 4, 3, 2)), []byte{3, 3, 0, 1, 2})
		certified := q
		certified.signature = derSeq(derSeq(derOID(1, 2, 840, 10045, 4, 3, 2)), []byte{3, 3, 0, 1, 2}, derTLV(0xa0, derSeq(c.target.Good.Raw)))
		variants := []variant{{"a signature of two octets", q.der()}}
		if len(c.target.Good.Raw) > 0 {
			variants = append(variants, variant{"with a certificate", certified.der()})
		}
		return variants
	})},
}

// nonceCases are section 3.6 of the matrix.
var nonceCases = []conformanceCase{
	{Case{"T110", "a nonce of 0 octets: malformedRequest", "RFC 9654 section 2.1", normative}, posts(wantMalformed, func(c *checker) []variant {
		return []variant{{"0 octets", c.with(derNonce(nil))}}
	})},
	{Case{"T111", "nonces of 1 and 15 octets: an answer, with the nonce or without", "RFC 9654 section 2.1", normative}, caseNonces(nonceOptional, 1, 15)},
	{Case{"T112", "nonces of 16 to 32 octets: an answer with the nonce, and none for those who sent none", "RFC 9654 section 2.1", normative}, caseUsualNonces},
	{Case{"T113", "nonces of 33 to 128 octets: an answer, with the nonce or without", "RFC 9654 section 2.1", normative}, caseNonces(nonceOptional, 33, 64, 128)},
	{Case{"T114", "nonces of 129 and 1,024 octets: malformedRequest", "RFC 9654 section 2.1", normative}, posts(wantMalformed, func(c *checker) []variant {
		return []variant{{"129 octets", c.with(derNonce(randomNonce(129)))}, {"1,024 octets", c.with(derNonce(randomNonce(1024)))}}
	})},
	{Case{"T115", "a nonce that is not wrapped: an answer; one that is a TLV other than an OCTET STRING: malformedRequest", "decided: as old clients send it", decided}, caseRawNonce},
	{Case{"T119", "a critical nonce: an answer, whose nonce is not critical", "decided: RFC 9654 section 2.1", decided}, caseCriticalNonce},
	{Case{"T121", "a responder that ignores nonces: an answer without one", "RFC 9919 section 3.2.1", normative}, caseNonceIgnored},
	{Case{"T122", "the same nonce twice: two answers", "decided: a responder keeps no nonces", decided}, caseNonceTwice},
	{Case{"T124", "a nonce by GET: an answer with the nonce that is not kept for long", "decided: nobody else can use it", decided}, caseNonceByGet},
}

func caseUnknownExtension(p *probe) error {
	strange := derExt(derStrangeOID, nil, derStrangeValue)
	var t tally
	for _, v := range []variant{{"of the request", p.with(strange)}, {"of a single request", askSingle(p.goodID(), strange).der()}} {
		ex := p.do(message{what: v.what, body: v.der})
		err := wantGood.judge(p, ex)
		if err == nil && bytes.Contains(ex.body, derStrangeOID) {
			err = wrong(ex, "%s: the answer echoes the extension", v.what)
		}
		t.add(v.what, err)
	}
	return t.err()
}

// Signature algorithms to prefer.
var (
	algSHA1WithRSA     = derSeq(derOID(1, 2, 840, 113549, 1, 1, 5), derNull)
	algSHA256WithRSA   = derSeq(derOID(1, 2, 840, 113549, 1, 1, 11), derNull)
	algSHA512WithRSA   = derSeq(derOID(1, 2, 840, 113549, 1, 1, 13), derNull)
	algECDSAWithSHA1   = derSeq(derOID(1, 2, 840, 10045, 4, 1))
	algECDSAWithSHA256 = derSeq(derOID(1, 2, 840, 10045, 4, 3, 2))
	algECDSAWithSHA384 = derSeq(derOID(1, 2, 840, 10045, 4, 3, 3))
)

// prefer is a request with PreferredSignatureAlgorithms.
func (c *checker) prefer(algorithms ...[]byte) []byte {
	var list [][]byte
	for _, a := range algorithms {
		list = append(list, derSeq(a))
	}
	return c.with(derExt(derPreferredOID, nil, derSeq(list...)))
}

// algorithms returns the AlgorithmIdentifier that answers are signed with, one of another kind of key, and
// another one of the same kind.
func (p *probe) algorithms() (own, foreign, alike []byte, err error) {
	ex := p.do(message{what: "a plain request", body: p.plain()})
	if err := wantOurs.judge(p, ex); err != nil {
		return nil, nil, nil, err
	}
	own = ex.basic().Algorithm.FullBytes
	switch {
	case bytes.HasPrefix(own, algECDSAWithSHA256[:8]):
		alike = algECDSAWithSHA384
		if bytes.Equal(own, alike) {
			alike = algECDSAWithSHA256
		}
		return own, algSHA256WithRSA, alike, nil
	case bytes.HasPrefix(own, algSHA256WithRSA[:8]):
		alike = algSHA512WithRSA
		if bytes.Equal(own, alike) {
			alike = algSHA256WithRSA
		}
		return own, algECDSAWithSHA256, alike, nil
	default:
		return own, algSHA256WithRSA, nil, nil
	}
}

func casePreferred(p *probe) error {
	own, foreign, alike, err := p.algorithms()
	if err != nil {
		return err
	}
	var t tally
	for _, v := range []struct {
		what      string
		preferred [][]byte
		permitted [][]byte
	}{
		{"one for another kind of key, then the usual one", [][]byte{foreign, own}, [][]byte{own}},
		{"one for another kind of key, then another one for this", [][]byte{foreign, alike}, [][]byte{own, alike}},
	} {
		if slices.ContainsFunc(v.preferred, func(a []byte) bool { return a == nil }) {
			continue
		}
		ex := p.do(message{what: v.what, body: p.prefer(v.preferred...)})
		err := wantGood.judge(p, ex)
		if err == nil && !slices.ContainsFunc(v.permitted, func(a []byte) bool { return bytes.Equal(a, ex.basic().Algorithm.FullBytes) }) {
			err = wrong(ex, "%s: signed with the algorithm %x", v.what, ex.basic().Algorithm.FullBytes)
		}
		t.add(v.what, err)
	}
	return t.err()
}

func casePreferredUnfit(p *probe) error {
	own, foreign, _, err := p.algorithms()
	if err != nil {
		return err
	}
	weak := [][]byte{algSHA1WithRSA, algECDSAWithSHA1}
	if isWeak(own) {
		return wrong(p.last, "signed with SHA-1 without being asked to")
	}
	var t tally
	for _, v := range []struct {
		what      string
		preferred [][]byte
	}{{"SHA-1 only", weak}, {"one for another kind of key", [][]byte{foreign}}, {"an unknown one", [][]byte{derSeq(derStrangeOID)}}} {
		ex := p.do(message{what: v.what, body: p.prefer(v.preferred...)})
		err := wantGood.judge(p, ex)
		if err == nil && isWeak(ex.basic().Algorithm.FullBytes) {
			err = wrong(ex, "%s: signed with SHA-1", v.what)
		}
		t.add(v.what, err)
	}
	return t.err()
}

func isWeak(algorithm []byte) bool {
	return bytes.HasPrefix(algorithm[2:], algSHA1WithRSA[2:13]) || bytes.HasPrefix(algorithm[2:], algECDSAWithSHA1[2:])
}

// nonceRule is what becomes of a nonce.
type nonceRule uint8

const (
	nonceOptional nonceRule = iota // comes back or does not
	nonceEchoed                    // comes back, unless the target is said to ignore nonces
)

// echo judges a good answer's nonce.
func (p *probe) echo(ex *exchange, nonce []byte, rule nonceRule) error {
	if err := wantGood.judge(p, ex); err != nil {
		return err
	}
	got, err := ResponseNonce(ex.body)
	switch {
	case err != nil:
		return wrong(ex, "%s: %v", ex.what, err)
	case got == nil && nonce == nil, bytes.Equal(got, nonce) && nonce != nil:
		return nil
	case got == nil && (rule == nonceOptional || p.target.NonceIgnored):
		return nil
	case got == nil:
		// RFC 9654 lets a responder not support nonces.
		return asDecided(wrong(ex, "%s: the nonce did not come back; if that is meant so, say that nonces are ignored", ex.what))
	case nonce == nil:
		return wrong(ex, "%s: the answer has a nonce, %x", ex.what, got)
	default:
		return wrong(ex, "%s: the nonce %x came back as %x", ex.what, nonce, got)
	}
}

// nonces posts requests with nonces of those lengths.
func (p *probe) nonces(t *tally, rule nonceRule, lengths ...int) {
	for _, n := range lengths {
		nonce, what := randomNonce(n), fmt.Sprintf("a nonce of %d octets", n)
		t.add(what, p.echo(p.do(message{what: what, body: p.with(derNonce(nonce))}), nonce, rule))
	}
}

func caseNonces(rule nonceRule, lengths ...int) func(*probe) error {
	return func(p *probe) error {
		var t tally
		p.nonces(&t, rule, lengths...)
		return t.err()
	}
}

func caseUsualNonces(p *probe) error {
	var t tally
	p.nonces(&t, nonceEchoed, 16, 16, 31, 32, 32)
	t.add("none", p.echo(p.do(message{what: "no nonce", body: p.plain()}), nil, nonceOptional))
	return t.err()
}

func caseRawNonce(p *probe) error {
	var t tally
	for _, raw := range [][]byte{bytes.Repeat([]byte{0xff}, 16), {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}} {
		const what = "16 octets without OCTET STRING"
		t.add(what, p.echo(p.do(message{what: what, body: p.with(derExt(derNonceOID, nil, raw))}), raw, nonceOptional))
	}
	for _, v := range []variant{{"an INTEGER", []byte{2, 1, 5}}, {"a NULL", derNull}, {"an OCTET STRING and more", append(derOctets(randomNonce(13)), 0)}} {
		ex := p.do(message{what: v.what, body: p.with(derExt(derNonceOID, nil, v.der)), unlinted: true})
		t.add(v.what, wantMalformed.judge(p, ex))
	}
	return t.err()
}

func caseCriticalNonce(p *probe) error {
	nonce := randomNonce(32)
	ex := p.do(message{what: "a critical nonce", body: p.with(derExt(derNonceOID, derTrue, derOctets(nonce)))})
	if err := p.echo(ex, nonce, nonceOptional); err != nil {
		return err
	}
	for _, ext := range ex.basic().Data.Extensions {
		if ext.Critical {
			return wrong(ex, "the answer's extension %v is critical", ext.Id)
		}
	}
	return nil
}

func caseNonceIgnored(p *probe) error {
	if !p.target.NonceIgnored {
		return notApplicable("the responder is not said to ignore nonces")
	}
	var t tally
	for _, what := range []string{"a nonce", "another nonce"} {
		t.add(what, p.echo(p.do(message{what: what, body: p.with(derNonce(randomNonce(32)))}), nil, nonceOptional))
	}
	return t.err()
}

func caseNonceTwice(p *probe) error {
	nonce := randomNonce(32)
	var t tally
	for _, what := range []string{"the first time", "the second time"} {
		t.add(what, p.echo(p.do(message{what: what, body: p.with(derNonce(nonce))}), nonce, nonceOptional))
	}
	return t.err()
}

func caseNonceByGet(p *probe) error {
	const long = time.Minute
	nonce, der := undoubled(func() ([]byte, []byte) {
		nonce := randomNonce(32)
		return nonce, p.with(derNonce(nonce))
	})
	ex := p.get("a nonce of 32 octets", escaped(der), der)
	if err := p.echo(ex, nonce, nonceEchoed); err != nil {
		return err
	}
	if got, _ := ResponseNonce(ex.body); got == nil {
		return nil
	}
	if age, ok := maxAge(ex.header); ok && age > long {
		return wrong(ex, "an answer with a nonce may be kept for %v", age)
	}
	if expires, err := http.ParseTime(ex.header.Get("Expires")); err == nil && expires.After(p.target.Now().Add(long)) {
		return wrong(ex, "an answer with a nonce expires at %v", expires)
	}
	return nil
}
