package ocsptest

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cachingCases are the cases about caching and conditional requests: section 3.10 of the matrix, T140 and T199.
var cachingCases = []conformanceCase{
	{Case{"T140", "GET about several certificates: max-age by the one that is to be asked about first", "decided: RFC 9919 section 7.2", decided}, caseSeveralAge},
	{Case{"T162", "GET: max-age, public, no-transform, must-revalidate; Expires and Last-Modified in GMT; a strong ETag", "RFC 9919 sections 6 and 7.2, RFC 9110 section 5.6.7", normative}, caseCachingHeaders},
	{Case{"T163", "GET: max-age is positive and ends before nextUpdate, and at the refresh point", "RFC 9919 sections 7.1 and 7.2, TLS BR 4.9.9", normative}, caseMaxAge},
	{Case{"T165", "If-None-Match with the ETag, in a list, weak or *: 304 with ETag, Cache-Control and Expires", "RFC 9110 sections 13.1.2 and 15.4.5", normative}, caseNotModified},
	{Case{"T166", "If-None-Match with another ETag: the answer", "RFC 9110 section 13.1.2", normative}, caseOtherETag},
	{Case{"T167", "If-None-Match and If-Modified-Since: the former counts", "RFC 9110 section 13.2.2", normative}, caseBothConditions},
	{Case{"T169", "a conditional POST: the answer", "RFC 9110 section 13.1", normative}, caseConditionalPost},
	{Case{"T172", "an unknown status by GET: kept for five minutes at the most", "decided: it may be issued any moment", decided}, caseUnknownAge},
	{Case{"T173", "Cache-Control: no-cache from a client: the same answer, not a new signature", "decided: signatures are dear", decided}, caseNoCacheRequest},
	{Case{"T199", "GET and POST without a nonce: the same octets while cached", "RFC 9919 section 6", decided}, caseGetAndPost},
}

// escaped is the base64 of a request, percent-encoded.
func escaped(der []byte) string {
	return strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(base64Of(der))
}

// getPlain asks about the good certificate by GET, with header like message.header.
func (p *probe) getPlain(what string, header ...string) *exchange {
	return p.get(what, escaped(p.plain()), p.plain(), header...)
}

// cacheControl takes Cache-Control apart.
func cacheControl(h http.Header) map[string]string {
	directives := map[string]string{}
	for _, line := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			directives[strings.ToLower(name)] = strings.Trim(value, `"`)
		}
	}
	return directives
}

func maxAge(h http.Header) (time.Duration, bool) {
	seconds, err := strconv.ParseUint(cacheControl(h)["max-age"], 10, 31)
	return time.Duration(seconds) * time.Second, err == nil
}

var (
	fixdate   = regexp.MustCompile(`^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT$`)
	strongTag = regexp.MustCompile(`^"[\x21\x23-\x7e\x80-\xff]*"$`)
)

func caseCachingHeaders(p *probe) error {
	ex := p.getPlain("a plain request")
	if err := wantGood.judge(p, ex); err != nil {
		return err
	}
	directives := cacheControl(ex.header)
	for _, name := range []string{"max-age", "public", "no-transform", "must-revalidate"} {
		if _, ok := directives[name]; !ok {
			return wrong(ex, "Cache-Control %q lacks %s", ex.header.Get("Cache-Control"), name)
		}
	}
	for _, name := range []string{"Expires", "Last-Modified"} {
		if !fixdate.MatchString(ex.header.Get(name)) {
			return wrong(ex, "%s is %q, which is no IMF-fixdate", name, ex.header.Get(name))
		}
	}
	if expires, err := http.ParseTime(ex.header.Get("Expires")); err != nil || expires.After(ex.basic().Data.Responses[0].NextUpdate) {
		return wrong(ex, "Expires is %v, and nextUpdate %v", ex.header.Get("Expires"), ex.basic().Data.Responses[0].NextUpdate)
	}
	if tag := ex.header.Get("Etag"); !strongTag.MatchString(tag) {
		return wrong(ex, "ETag is %q, which is no strong one", tag)
	}
	return nil
}

// refreshPoint is the latest time by which a newer answer must be there (TLS BR 4.9.9).
func refreshPoint(r singleResponse) time.Time {
	validity := r.NextUpdate.Sub(r.ThisUpdate) + time.Second
	if validity < 16*time.Hour {
		return r.ThisUpdate.Add(validity / 2)
	}
	refresh := r.NextUpdate.Add(-8 * time.Hour)
	if latest := r.ThisUpdate.Add(4 * 24 * time.Hour); latest.Before(refresh) {
		return latest
	}
	return refresh
}

func caseMaxAge(p *probe) error {
	asked := p.target.Now()
	ex := p.getPlain("a plain request")
	if err := wantGood.judge(p, ex); err != nil {
		return err
	}
	age, ok := maxAge(ex.header)
	switch {
	case !ok:
		return wrong(ex, "there is no max-age in Cache-Control %q", ex.header.Get("Cache-Control"))
	case age <= 0:
		return wrong(ex, "max-age is 0")
	}
	return ex.keptUntil(age, asked.Add(age))
}

// keptUntil judges how long an answer may be kept.
func (ex *exchange) keptUntil(age time.Duration, end time.Time) error {
	var late error
	for _, r := range ex.basic().Data.Responses {
		switch {
		case r.NextUpdate.IsZero():
			return wrong(ex, "max-age is %v, and there is no nextUpdate", age)
		case !end.Before(r.NextUpdate):
			return wrong(ex, "max-age is %v, until %v, and nextUpdate %v", age, end.UTC(), r.NextUpdate)
		case end.After(refreshPoint(r).Add(time.Second)):
			late = asDecided(wrong(ex, "max-age is %v, until %v, past the refresh point at %v", age, end.UTC(), refreshPoint(r)))
		}
	}
	return late
}

func caseSeveralAge(p *probe) error {
	ids := []derCertID{p.goodID()}
	if p.target.Revoked != nil {
		ids = append(ids, p.id(p.target.Revoked.SerialNumber))
	}
	judged := 0
	var t tally
	for _, v := range []variant{{"issued", ask(append(ids, p.goodID())...).der()}, {"with one that was never issued", ask(append(ids, p.id(p.unissued))...).der()}} {
		asked := p.target.Now()
		ex := p.get(v.what, escaped(v.der), v.der)
		age, kept := maxAge(ex.header)
		if basic := ex.basic(); basic == nil || len(basic.Data.Responses) < 2 || !kept || age == 0 {
			continue // whether it is an answer is for T132, and nobody need keep it
		}
		judged++
		err := ex.keptUntil(age, asked.Add(age))
		if err == nil && age > mostOfUnknown && slices.ContainsFunc(ex.basic().Data.Responses, func(r singleResponse) bool { return r.status() == certUnknown }) {
			err = wrong(ex, "%s: max-age is %v, and one is unknown", v.what, age)
		}
		t.add(v.what, err)
	}
	if judged == 0 {
		return notApplicable("no answer about several certificates may be kept")
	}
	return t.err()
}

// tagged returns an answer by GET that has an ETag and comes from a cache, so that there is something for a
// condition to match.
func (p *probe) tagged() (*exchange, error) {
	first := p.getPlain("without a condition")
	if err := wantGood.judge(p, first); err != nil {
		return nil, err
	}
	if first.header.Get("Etag") == "" {
		return nil, notApplicable("answers have no ETag")
	}
	if again := p.getPlain("without a condition, again"); again.header.Get("Etag") != first.header.Get("Etag") {
		return nil, notApplicable("no two answers are the same")
	}
	return first, nil
}

func caseNotModified(p *probe) error {
	whole, err := p.tagged()
	if err != nil {
		return err
	}
	tag := whole.header.Get("Etag")
	strong := strings.TrimPrefix(tag, "W/")
	var t tally
	for _, v := range []struct{ what, value string }{{"the ETag", tag}, {"a list", `"a", ` + tag + `, "b"`}, {"*", "*"}, {"a weak one", "W/" + strong}} {
		what := "If-None-Match with " + v.what
		ex := p.getPlain(what, "If-None-Match", v.value)
		err := wantHTTP("HTTP status 304", http.StatusNotModified).judge(p, ex)
		if err == nil {
			for _, name := range []string{"Etag", "Cache-Control", "Expires"} {
				if whole.header.Get(name) != "" && ex.header.Get(name) == "" {
					err = wrong(ex, "%s: the 304 lacks %s", what, name)
				}
			}
			if len(ex.body) > 0 {
				err = wrong(ex, "%s: the 304 has a body", what)
			}
		}
		t.add(what, err)
	}
	return t.err()
}

func caseOtherETag(p *probe) error {
	var t tally
	for _, value := range []string{`"another"`, `"a", W/"b"`, "garbage"} {
		what := "If-None-Match: " + value
		t.add(what, wantGood.judge(p, p.getPlain(what, "If-None-Match", value)))
	}
	return t.err()
}

const (
	longAgo = "Sat, 01 Jan 2000 00:00:00 GMT"
	farOff  = "Fri, 01 Jan 2100 00:00:00 GMT"
)

func caseBothConditions(p *probe) error {
	whole, err := p.tagged()
	if err != nil {
		return err
	}
	var t tally
	const other, same = "another ETag, not modified since", "the ETag, modified since"
	t.add(other, wantGood.judge(p, p.getPlain(other, "If-None-Match", `"another"`, "If-Modified-Since", farOff)))
	t.add(same, wantHTTP("HTTP status 304", http.StatusNotModified).judge(p, p.getPlain(same, "If-None-Match", whole.header.Get("Etag"), "If-Modified-Since", longAgo)))
	return t.err()
}

func caseConditionalPost(p *probe) error {
	tag := p.getPlain("without a condition").header.Get("Etag")
	var t tally
	for _, header := range [][]string{{"If-None-Match", tag}, {"If-None-Match", "*"}, {"If-Modified-Since", farOff}, {"If-Match", `"another"`}, {"If-Unmodified-Since", longAgo}} {
		if header[1] == "" {
			continue
		}
		what := strings.Join(header, ": ")
		t.add(what, wantGood.judge(p, p.do(message{what: what, body: p.plain(), header: header})))
	}
	return t.err()
}

// mostOfUnknown is how long an unknown may be kept.
const mostOfUnknown = 5 * time.Minute

func caseUnknownAge(p *probe) error {
	der := ask(p.id(p.unissued)).der()
	ex := p.get("a serial number that was never issued", escaped(der), der)
	if !ex.says(p.unissued, certUnknown) {
		return notApplicable("the answer is not unknown: " + ex.response())
	}
	if age, ok := maxAge(ex.header); ok && age > mostOfUnknown {
		return wrong(ex, "unknown may be kept for %v", age)
	}
	if expires, err := http.ParseTime(ex.header.Get("Expires")); err == nil && expires.After(p.target.Now().Add(mostOfUnknown)) {
		if _, ok := maxAge(ex.header); !ok { // which would win
			return wrong(ex, "unknown expires at %v", expires)
		}
	}
	return nil
}

// cached returns nil if the same answer comes twice.
func (p *probe) cached() error {
	first := p.getPlain("the first time")
	if err := wantGood.judge(p, first); err != nil {
		return err
	}
	if again := p.getPlain("the second time"); !bytes.Equal(first.body, again.body) {
		return notApplicable("answers are not cached")
	}
	return nil
}

func caseNoCacheRequest(p *probe) error {
	if err := p.cached(); err != nil {
		return err
	}
	var t tally
	for _, header := range [][]string{{"Cache-Control", "no-cache"}, {"Cache-Control", "max-age=0"}, {"Pragma", "no-cache"}} {
		what := strings.Join(header, ": ")
		// Twice, since an answer may just have been renewed, but not two in a row.
		one := p.getPlain(what, header...)
		two := p.getPlain(what, header...)
		err := wantGood.judge(p, two)
		if err == nil && !bytes.Equal(one.body, two.body) {
			err = wrong(two, "%s: another answer was signed", what)
		}
		t.add(what, err)
	}
	return t.err()
}

func caseGetAndPost(p *probe) error {
	before := p.getPlain("GET, before POST")
	post := p.do(message{what: "POST", body: p.plain()})
	after := p.getPlain("GET, after POST")
	for _, ex := range []*exchange{before, post, after} {
		if err := wantGood.judge(p, ex); err != nil {
			return err
		}
	}
	if !bytes.Equal(before.body, after.body) {
		return notApplicable("answers are not cached")
	}
	if !bytes.Equal(before.body, post.body) {
		return wrong(post, "POST and GET are answered with other octets")
	}
	return nil
}
