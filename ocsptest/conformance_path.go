package ocsptest

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// pathCases are the cases about the request in the path of a GET: section 3.2 of the matrix.
var pathCases = []conformanceCase{
	{Case{"T29", "GET, percent-encoded: an answer", "RFC 6960 section A.1, RFC 9919 section 6", normative}, gets(wantThis, rich, func(text string) []spelling {
		return []spelling{{what: "as a query is", path: url.QueryEscape(text)}, {what: "as a path is", path: url.PathEscape(text)}, {what: "every letter", path: escapeAll(text)}}
	})},
	{Case{"T30", "+, / and = as they are: an answer", "RFC 3986 section 3.3", normative}, gets(wantThis, rich, func(text string) []spelling {
		return []spelling{{what: "nothing escaped", path: text}}
	})},
	{Case{"T31", "%2B and %2b: an answer", "RFC 3986 section 2.1", normative}, gets(wantThis, rich, func(text string) []spelling {
		return []spelling{{what: "%2B", path: strings.ReplaceAll(text, "+", "%2B")}, {what: "%2b", path: strings.ReplaceAll(text, "+", "%2b")}}
	})},
	{Case{"T32", "%2F and %3D: an answer", "RFC 3986 section 2.1", normative}, gets(wantThis, rich, func(text string) []spelling {
		return []spelling{
			{what: "%2F", path: strings.ReplaceAll(text, "/", "%2F")}, {what: "%2f", path: strings.ReplaceAll(text, "/", "%2f")},
			{what: "%3D", path: strings.ReplaceAll(text, "=", "%3D")}, {what: "%2F and %3D", path: strings.NewReplacer("/", "%2F", "=", "%3D").Replace(text)},
		}
	})},
	{Case{"T33", "%20 where + belongs: an answer", "decided: as Boulder and EJBCA", decided}, gets(wantThis, rich, func(text string) []spelling {
		return []spelling{{what: "%20", path: strings.ReplaceAll(text, "+", "%20")}}
	})},
	{Case{"T34", "// as it is: an answer", "RFC 3986 section 3.3", normative}, caseDoubleSlash},
	{Case{"T35", "// before a router that redirects: in the end an answer or malformedRequest, never another's answer", "decided: net/http.ServeMux, gorilla/mux", decided}, caseRedirected},
	{Case{"T36", "%2F%2F: an answer", "RFC 3986 section 2.2", normative}, gets(wantThis, doubled, func(text string) []spelling {
		return []spelling{{what: "%2F%2F", path: strings.ReplaceAll(text, "/", "%2F")}}
	})},
	{Case{"T37", "more slashes before the request: an answer", "decided: letsencrypt/boulder#2774", decided}, gets(wantThis, rich, func(text string) []spelling {
		// Routers that redirect here spoil what is escaped: net/http.ServeMux escapes it again.
		return []spelling{{what: "two", path: "/" + text, follow: true}, {what: "three", path: "//" + text, follow: true}}
	})},
	{Case{"T38", "a slash behind the request: an answer", "decided", decided}, everyPadding(wantThis, func(text string) []spelling {
		if strings.HasSuffix(text, "/") {
			return nil // that would be two, which some routers make one
		}
		return []spelling{{what: "as it is", path: text + "/"}, {what: "escaped", path: url.PathEscape(text) + "%2F"}}
	})},
	{Case{"T39", "a request whose last letter is a slash: an answer", "RFC 4648 section 4", normative}, gets(wantThis, endsInSlash, func(text string) []spelling {
		return []spelling{{what: "as it is", path: text}, {what: "escaped", path: url.PathEscape(text)}}
	})},
	{Case{"T40", "the URL-safe alphabet: an answer", "decided: xipki/xipki#93", decided}, gets(wantThis, rich, func(text string) []spelling {
		safe := strings.NewReplacer("+", "-", "/", "_").Replace(text)
		return []spelling{{what: "padded", path: safe}, {what: "not padded", path: strings.TrimRight(safe, "=")}}
	})},
	{Case{"T41", "both alphabets: an answer", "decided: it is not ambiguous", decided}, gets(wantThis, rich, func(text string) []spelling {
		return []spelling{{what: "- and /", path: strings.ReplaceAll(text, "+", "-")}, {what: "+ and _", path: strings.ReplaceAll(text, "/", "_")}}
	})},
	{Case{"T42", "padding missing: an answer", "decided: xipki/xipki#93", decided}, caseMissingPadding},
	{Case{"T43", "too much padding, or in the middle: malformedRequest", "RFC 4648 sections 3.2 and 4", normative}, everyPadding(wantMalformed, func(text string) []spelling {
		bare := strings.TrimRight(text, "=")
		return []spelling{
			{what: "three at the end", path: bare + "==="}, {what: "in the middle", path: text[:8] + "=" + text[8:]},
			{what: "two in the middle", path: text[:12] + "==" + text[12:]}, {what: "before the last letter", path: bare[:len(bare)-1] + "=" + bare[len(bare)-1:]},
		}
	})},
	{Case{"T44", "base64 in lines: an answer, or malformedRequest if strict; tabs: malformedRequest", "RFC 4648 section 3.1; decided: as cfssl", normative}, caseWhiteSpace},
	{Case{"T45", "percent-encoded twice: an answer, or malformedRequest if strict", "decided: PKISolutions/PSPKI#98", decided}, gets(wantThis.or(wantMalformed), rich, func(text string) []spelling {
		return []spelling{
			{what: "%252B", path: strings.ReplaceAll(text, "+", "%252B")}, {what: "%252F", path: strings.ReplaceAll(text, "/", "%252F")},
			{what: "everything", path: url.QueryEscape(url.QueryEscape(text))},
		}
	})},
	{Case{"T46", "%ZZ: HTTP status 400, or malformedRequest", "decided: no such path", decided}, caseBadEscape},
	{Case{"T48", "/./ and /../ inside the request: malformedRequest", "RFC 4648 section 4", normative}, caseDotSegments},
	{Case{"T49", "a query behind the request: ignored", "decided", decided}, gets(wantThis, rich, func(text string) []spelling {
		return []spelling{{what: "?x=1", path: url.PathEscape(text), query: "x=1"}}
	})},
	{Case{"T50", "the request in the query alone: malformedRequest", "RFC 6960 section A.1", normative}, gets(wantMalformed.or(wantBanner), rich, func(text string) []spelling {
		return []spelling{{what: "bare", bare: true, query: url.QueryEscape(text)}, {what: "as a value", bare: true, query: "request=" + url.QueryEscape(text)}}
	})},
	{Case{"T52", "a URL of more than 255 octets: an answer", "decided: the limit is the client's (RFC 9919 section 6)", decided}, caseLongURL},
	{Case{"T53", "a path of 64 KiB: 414 or 431, if not an answer", "decided: RFC 9110 section 15.5.15", decided}, caseTooLongURL},
	{Case{"T56", "base64 of something else: malformedRequest", "RFC 6960 section 2.3", normative}, caseNotDER},
	{Case{"T57", "letters or padding before the request: malformedRequest", "decided: as Boulder refuses it", decided}, gets(wantMalformed, rich, func(text string) []spelling {
		return []spelling{{what: "AAA", path: "AAA" + url.PathEscape(text)}, {what: "AAAA", path: "AAAA" + url.PathEscape(text)}, {what: "==", path: "==" + url.PathEscape(text)}}
	})},
}

func escapeAll(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

func endsInSlash(text string) bool { return strings.HasSuffix(text, "/") && !doubled(text) }

// everyPadding is gets for requests whose base64 has 0, 1 and 2 letters of padding.
func everyPadding(w want, build func(text string) []spelling) func(*probe) error {
	return func(p *probe) error {
		var t tally
		for n := range 3 {
			if err := p.spellings(&t, fmt.Sprintf("padding %d, ", n), w, padded(n), build); err != nil {
				return err
			}
		}
		return t.err()
	}
}

// double asks by a GET with two slashes in a row.
func (p *probe) double() (*exchange, error) {
	// With padding nothing can have been lost at the end, so a responder can put slashes back.
	der, text, err := p.spelled(func(text string) bool { return doubled(text) && strings.HasSuffix(text, "=") })
	if err != nil {
		return nil, err
	}
	return p.get("two slashes in a row", text, der), nil
}

func caseDoubleSlash(p *probe) error {
	ex, err := p.double()
	if err != nil {
		return err
	}
	if ex.status/100 == 3 {
		return notApplicable("a router before the responder redirects, which T35 judges")
	}
	return wantThis.judge(p, ex)
}

func caseRedirected(p *probe) error {
	var t tally
	redirects := 0
	// Several, since which slash is lost is a matter of chance.
	for i := range 8 {
		ex, err := p.double()
		if err != nil {
			return err
		}
		end, n := p.follow(ex)
		redirects += n
		t.add(fmt.Sprintf("request %d", i+1), wantThis.or(wantMalformed).judge(p, end))
	}
	if err := t.err(); err != nil || redirects > 0 {
		return err
	}
	return notApplicable("nothing before the responder redirects")
}

func caseMissingPadding(p *probe) error {
	var t tally
	for n := 1; n <= 2; n++ {
		der, text, err := p.spelled(padded(n))
		if err != nil {
			return err
		}
		for kept := range n {
			what := fmt.Sprintf("%d of %d", kept, n)
			t.add(what, wantThis.judge(p, p.get(what, text[:len(text)-n+kept], der)))
		}
	}
	return t.err()
}

// wantLines is what base64 in lines ends in: RFC 9919 section 6 forbids clients to send it, and nothing says what they get.
var wantLines = wantThis.or(wantMalformed).whenMild(func(*probe, *exchange) bool { return true })

func caseWhiteSpace(p *probe) error {
	der, text, err := p.spelled(rich)
	if err != nil {
		return err
	}
	var t tally
	for _, v := range []struct {
		white string
		want  want
	}{{"%0A", wantLines}, {"%0D%0A", wantLines}, {"%09", wantMalformed}} {
		for where, path := range map[string]string{"in the middle": text[:64] + v.white + text[64:], "at the end": text + v.white} {
			what := v.white + " " + where
			t.add(what, v.want.judge(p, p.get(what, path, der)))
		}
	}
	return t.err()
}

func caseBadEscape(p *probe) error {
	var t tally
	for _, escape := range []string{"%ZZ", "%2", "%"} {
		ex, err := p.bare(escape, "GET "+p.mount()+"/MFEw"+escape, nil, nil, nil)
		if err != nil {
			return err
		}
		t.add(escape, wantHTTP("HTTP status 400", http.StatusBadRequest).or(wantMalformed).judge(p, ex))
	}
	return t.err()
}

func caseDotSegments(p *probe) error {
	der, text, err := p.spelled(rich)
	if err != nil {
		return err
	}
	var t tally
	for _, dots := range []string{"/./", "/../"} {
		for _, at := range []int{4, 40} {
			what := fmt.Sprintf("%s after %d letters", dots, at)
			ex := p.do(message{what: what, method: http.MethodGet, path: p.mount() + "/" + text[:at] + dots + text[at:], der: der, unlinted: true})
			end, redirects := p.follow(ex)
			if redirects > 0 {
				// A router has taken the dots away: what is left may lie anywhere, but is no request.
				t.add(what, wantNoAnswer.judge(p, end))
			} else {
				t.add(what, wantMalformed.judge(p, end))
			}
		}
	}
	return t.err()
}

// long is a request of so many octets more than a plain one.
func (c *checker) long(octets int) []byte {
	return c.with(derExt(derStrangeOID, nil, derOctets(make([]byte, octets))))
}

func caseLongURL(p *probe) error {
	var t tally
	for _, octets := range []int{200, 900} {
		der := p.long(octets)
		what := fmt.Sprintf("a request of %d octets", len(der))
		t.add(what, wantThis.judge(p, p.get(what, escaped(der), der)))
	}
	return t.err()
}

func caseTooLongURL(p *probe) error {
	der := p.long(48 << 10)
	ex, err := p.bare("a request of 48 KiB", "GET "+p.mount()+"/"+escaped(der), der, nil, nil)
	if err != nil {
		return err
	}
	ex.sent = der[:64] // the rest are zeros
	return wantHTTP("HTTP status 414 or 431", http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge).or(wantThis).judge(p, ex)
}

func caseNotDER(p *probe) error {
	twice := func(der []byte) []byte { return slices.Concat(der, der) }
	der, _, err := p.spelled(func(text string) bool {
		// With padding: without it the first of two requests may end in a slash, and then the second is one by itself.
		der, err := base64.StdEncoding.DecodeString(text)
		return err == nil && padded(1)(text) && !doubled(base64Of(twice(der)))
	})
	if err != nil {
		return err
	}
	var t tally
	for _, v := range []variant{
		{"text", []byte("not DER at all")}, {"zeros", make([]byte, 60)}, {"an INTEGER", []byte{2, 1, 5}}, {"an empty SEQUENCE", []byte{0x30, 0}},
		{"NULLs", derSeq(derNull, derNull)}, {"half a request", der[:len(der)/2]}, {"two requests", twice(der)},
	} {
		path := p.mount() + "/" + url.PathEscape(base64Of(v.der))
		ex := p.do(message{what: v.what, method: http.MethodGet, path: path, der: v.der, unlinted: true})
		t.add(v.what, wantMalformed.judge(p, ex))
	}
	return t.err()
}
