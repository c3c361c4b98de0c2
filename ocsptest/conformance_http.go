package ocsptest

import (
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// httpCases are the cases about methods, headers and bodies: section 3.1 of the matrix.
var httpCases = []conformanceCase{
	{Case{"T1", "POST: an answer, with its Content-Type and Content-Length", "RFC 6960 sections A.1 and A.2", normative}, casePost},
	{Case{"T2", "Content-Type in capitals, with parameters: an answer", "RFC 9110 section 8.3", normative}, withHeaders(wantGood,
		"Content-Type", "Application/OCSP-Request; charset=binary", "Content-Type", "application/ocsp-request ; x=y")},
	{Case{"T3", "no Content-Type: an answer, or 415 if strict", "decided: some clients send none", decided}, withHeaders(wantGood.or(wantUnsupported), "Content-Type", "")},
	{Case{"T4", "Content-Type text/plain: an answer, or 415 if strict", "decided: as Boulder and OpenSSL", decided}, withHeaders(wantGood.or(wantUnsupported), "Content-Type", "text/plain")},
	{Case{"T5", "an empty body: malformedRequest", "RFC 6960 section 2.3", normative}, caseEmptyBody},
	{Case{"T6", "a request without a Body: malformedRequest", "decided: hashicorp/vault#18190", decided}, caseNilBody},
	{Case{"T7", "a body of a terabyte announced: 413, before it comes", "decided: RFC 9110 section 15.5.14", decided}, caseHugeBody},
	{Case{"T8", "a chunked body: an answer", "RFC 9112 section 7.1", normative}, caseChunked},
	{Case{"T9", "a chunked body that does not end: 413", "decided: a bound on memory", decided}, caseEndless},
	{Case{"T13", "Content-Encoding: gzip: 415", "decided: RFC 9110 section 15.5.16", decided}, caseContentEncoding},
	{Case{"T14", "Accept: text/html: an answer", "decided", decided}, withHeaders(wantGood, "Accept", "text/html", "Accept", "application/ocsp-response;q=0")},
	{Case{"T15", "Accept-Encoding: gzip: a body that is not encoded", "RFC 9919 section 7.2", normative}, caseAcceptEncoding},
	{Case{"T17", "HTTP/2, encrypted or not: an answer", "decided", decided}, caseHTTP2},
	{Case{"T18", "base64, PEM, hex or a form in the body: malformedRequest", "RFC 6960 section A.1", normative}, posts(wantMalformed, textBodies)},
	{Case{"T19", "POST to the mount, with a slash and with a query: an answer", "decided: cloudflare/cfssl#387", decided}, casePostTargets},
	{Case{"T20", "HEAD: the header of GET, and no body", "RFC 9110 section 9.3.2", normative}, caseHead},
	{Case{"T21", "OPTIONS: 204 or 405, with Allow", "decided: RFC 9110 section 9.3.7", decided}, caseOptions},
	{Case{"T22", "PUT, DELETE, PATCH: 405 with Allow", "RFC 9110 section 15.5.6", normative}, caseOtherMethods},
	{Case{"T23", "GET without a request: malformedRequest, or a text", "decided: Boulder and OpenSSL differ", decided}, caseBareGet},
	{Case{"T24", "Range: the whole answer", "decided: RFC 9110 section 14.2", decided}, caseRange},
	{Case{"T28", "forged forwarding headers: the same status", "decided", decided}, withHeaders(wantGood, "X-Forwarded-For", "127.0.0.1",
		"X-Forwarded-Prefix", "/elsewhere", "X-Original-Url", "/admin", "X-Http-Method-Override", "DELETE", "Forwarded", "for=127.0.0.1;host=other.example")},
}

var wantUnsupported = wantHTTP("HTTP status 415", http.StatusUnsupportedMediaType)

func casePost(p *probe) error {
	ex := p.do(message{what: "a plain request", body: p.plain()})
	if err := wantGood.judge(p, ex); err != nil {
		return err
	}
	if got := ex.header.Values("Content-Type"); !slices.Equal(got, []string{"application/ocsp-response"}) {
		return wrong(ex, "Content-Type is %q", got)
	}
	if got := ex.header.Values("Content-Length"); !slices.Equal(got, []string{strconv.Itoa(len(ex.body))}) {
		return wrong(ex, "Content-Length is %q, and the body has %d octets", got, len(ex.body))
	}
	return nil
}

// withHeaders makes a case that posts a plain request with each of the pairs of a header's name and value.
func withHeaders(w want, pairs ...string) func(*probe) error {
	return func(p *probe) error {
		var t tally
		for i := 0; i < len(pairs); i += 2 {
			what := pairs[i] + ": " + pairs[i+1]
			if pairs[i+1] == "" {
				what = "no " + pairs[i]
			}
			t.add(what, w.judge(p, p.do(message{what: what, body: p.plain(), header: pairs[i : i+2]})))
		}
		return t.err()
	}
}

// postLine is the request line of a POST to the mount.
func (c *checker) postLine() string { return "POST " + c.base.RequestURI() }

const contentTypeLine = "Content-Type: application/ocsp-request"

func caseEmptyBody(p *probe) error {
	var t tally
	const zero = "Content-Length: 0"
	t.add(zero, wantMalformed.judge(p, p.do(message{what: zero, body: []byte{}})))
	const chunked = "chunked, no chunk"
	ex, err := p.bare(chunked, p.postLine(), nil, []string{contentTypeLine, "Transfer-Encoding: chunked"}, func(w io.Writer) error {
		_, err := io.WriteString(w, "0\r\n\r\n")
		return err
	})
	if err == nil {
		t.add(chunked, wantMalformed.judge(p, ex))
	}
	return t.err()
}

func caseNilBody(p *probe) error {
	if p.target.Handler == nil {
		return notApplicable("only a Handler can get a request without a Body")
	}
	req := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: p.base.Path}, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	for name, values := range p.target.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	done := make(chan *exchange, 1)
	ex := &exchange{what: "Body is nil", line: "POST " + p.base.Path, err: errors.New("the handler does not return")}
	p.last = ex
	go func() {
		w := &boundedWriter{header: http.Header{}}
		returned := &exchange{what: ex.what, line: ex.line}
		defer func() {
			if v := recover(); v != nil {
				returned.err = fmt.Errorf("the handler panics: %v", v)
			}
			returned.status, returned.header, returned.body = w.status, w.header, w.body
			done <- returned
		}()
		p.target.Handler.ServeHTTP(w, req.WithContext(p.ctx))
	}()
	select {
	case ex = <-done:
	case <-p.ctx.Done():
	}
	return wantMalformed.judge(p, ex)
}

// boundedWriter is an http.ResponseWriter that keeps no more of the body than a reply may have.
type boundedWriter struct {
	header http.Header
	status int
	body   []byte
}

func (w *boundedWriter) Header() http.Header { return w.header }

func (w *boundedWriter) WriteHeader(code int) {
	if w.status == 0 {
		w.status = code
	}
}

func (w *boundedWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if len(w.body)+len(b) > maxReply {
		return 0, errors.New("ocsptest: the reply is too long")
	}
	w.body = append(w.body, b...)
	return len(b), nil
}

func caseHugeBody(p *probe) error {
	ex, err := p.bare("Content-Length: 1099511627776, and no octet of it", p.postLine(), nil, []string{contentTypeLine, "Content-Length: 1099511627776"}, nil)
	if err != nil {
		return err
	}
	return wantTooLarge.judge(p, ex)
}

func caseChunked(p *probe) error {
	der := p.plain()
	var t tally
	for _, size := range []int{len(der), 10, 1} {
		what := fmt.Sprintf("chunks of %d octets", size)
		ex, err := p.bare(what, p.postLine(), der, []string{contentTypeLine, "Transfer-Encoding: chunked"}, func(w io.Writer) error {
			var b bytes.Buffer
			for chunk := range slices.Chunk(der, size) {
				fmt.Fprintf(&b, "%x\r\n%s\r\n", len(chunk), chunk)
			}
			b.WriteString("0\r\n\r\n")
			_, err := w.Write(b.Bytes())
			return err
		})
		if err != nil {
			return err
		}
		t.add(what, wantGood.judge(p, ex))
	}
	return t.err()
}

func caseEndless(p *probe) error {
	const most = 16 << 20
	ex, err := p.bare("chunks without end", p.postLine(), nil, []string{contentTypeLine, "Transfer-Encoding: chunked"}, func(w io.Writer) error {
		chunk := append([]byte("400\r\n"), make([]byte, 1024)...)
		chunk = append(chunk, "\r\n"...)
		for range most / 1024 {
			if _, err := w.Write(chunk); err != nil {
				return err
			}
		}
		_, err := io.WriteString(w, "0\r\n\r\n") // enough: it took it all
		return err
	})
	if err != nil {
		return err
	}
	return wantTooLarge.judge(p, ex)
}

func caseContentEncoding(p *probe) error {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write(p.plain())
	_ = w.Close()
	ex := p.do(message{what: "a request in gzip", body: zipped.Bytes(), der: p.plain(), header: []string{"Content-Encoding", "gzip"}})
	return wantUnsupported.judge(p, ex)
}

func caseAcceptEncoding(p *probe) error {
	const accept = "gzip, br, zstd"
	var t tally
	for _, ex := range []*exchange{
		p.do(message{what: "POST", body: p.plain(), header: []string{"Accept-Encoding", accept}}),
		p.getPlain("GET", "Accept-Encoding", accept),
	} {
		var err error
		if encoding := ex.header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
			err = wrong(ex, "%s: the body is encoded with %s", ex.what, encoding)
		} else {
			err = wantGood.judge(p, ex)
		}
		t.add(ex.what, err)
	}
	return t.err()
}

func caseHTTP2(p *probe) error {
	if p.raw == nil {
		return notApplicable("HTTP has a RoundTripper of its own")
	}
	transport := p.raw.Clone()
	defer transport.CloseIdleConnections()
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP2(true)
	transport.Protocols.SetUnencryptedHTTP2(true)
	transport.ForceAttemptHTTP2 = true
	ex := p.do(message{what: "a plain request over HTTP/2", body: p.plain(), transport: transport})
	if ex.err != nil || ex.major != 2 {
		// Who does not speak it need not.
		return notApplicable("it does not speak HTTP/2")
	}
	return wantGood.judge(p, ex)
}

func textBodies(c *checker) []variant {
	der := c.plain()
	text := base64Of(der)
	return []variant{
		{"base64", []byte(text)},
		{"PEM", pem.EncodeToMemory(&pem.Block{Type: "OCSP REQUEST", Bytes: der})},
		{"a form", []byte("request=" + url.QueryEscape(text))},
		{"hex", fmt.Appendf(nil, "%x", der)},
	}
}

func casePostTargets(p *probe) error {
	mount := p.mount()
	var t tally
	for _, m := range []message{
		{what: "as given"}, {what: "with a query", query: "x=1"},
		{what: "with a slash", path: mount + "/"}, {what: "without a slash", path: mount}, {what: "with a slash and a query", path: mount + "/", query: "x=1"},
	} {
		m.body = p.plain()
		t.add(m.what, wantGood.judge(p, p.do(m)))
	}
	return t.err()
}

func caseHead(p *probe) error {
	der := p.plain()
	path := p.mount() + "/" + escaped(der)
	before := p.getPlain("GET")
	if err := wantGood.judge(p, before); err != nil {
		return err
	}
	head := p.do(message{what: "HEAD", method: http.MethodHead, path: path, der: der})
	after := p.getPlain("GET")
	if head.status != http.StatusOK {
		return wrong(head, "HEAD: HTTP status %d", head.status)
	}
	names := []string{"Content-Type"}
	if bytes.Equal(before.body, after.body) {
		names = append(names, "Content-Length", "Etag", "Expires", "Last-Modified")
	}
	for _, name := range names {
		if got, want := head.header.Get(name), before.header.Get(name); got != want {
			return wrong(head, "HEAD: %s is %q, and %q for GET", name, got, want)
		}
	}
	return p.nothingBehindHead(path)
}

// nothingBehindHead looks at what net/http's client would discard.
func (p *probe) nothingBehindHead(path string) error {
	conn, err := p.dial()
	if err != nil {
		return nil // the case has passed as far as it can be seen
	}
	defer func() { _ = conn.Close() }()
	var header strings.Builder
	_ = p.target.Header.Write(&header)
	if _, err := fmt.Fprintf(conn, "HEAD %s HTTP/1.1\r\nHost: %s\r\n%sConnection: close\r\n\r\n", path, p.base.Host, header.String()); err != nil {
		return nil
	}
	all, err := io.ReadAll(io.LimitReader(conn, maxReply))
	if _, body, ok := bytes.Cut(all, []byte("\r\n\r\n")); err == nil && ok && len(body) > 0 {
		ex := &exchange{what: "HEAD over a bare connection", line: "HEAD " + path, status: http.StatusOK, header: http.Header{}, body: body}
		return wrong(ex, "HEAD: a body of %d octets", len(body))
	}
	return nil
}

// allows reports whether an Allow header names the methods of OCSP.
func (ex *exchange) allows() bool {
	var methods []string
	for _, line := range ex.header.Values("Allow") {
		for method := range strings.SplitSeq(line, ",") {
			methods = append(methods, strings.TrimSpace(method))
		}
	}
	return slices.Contains(methods, http.MethodGet) && slices.Contains(methods, http.MethodPost)
}

func caseOptions(p *probe) error {
	ex := p.do(message{what: "OPTIONS", method: http.MethodOptions, path: p.base.EscapedPath()})
	w := want{text: "HTTP status 204 or 405 with GET and POST in Allow", ok: func(_ *probe, ex *exchange) bool {
		return (ex.status == http.StatusNoContent || ex.status == http.StatusOK || ex.status == http.StatusMethodNotAllowed) && ex.allows() && ex.basic() == nil
	}}
	return w.judge(p, ex)
}

func caseOtherMethods(p *probe) error {
	w := want{text: "HTTP status 405 with GET and POST in Allow", ok: func(_ *probe, ex *exchange) bool {
		return ex.status == http.StatusMethodNotAllowed && ex.allows()
	}}
	var t tally
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch} {
		t.add(method, w.judge(p, p.do(message{what: method, method: method, body: p.plain()})))
	}
	return t.err()
}

func caseBareGet(p *probe) error {
	var t tally
	for _, m := range []message{{what: "the mount", path: p.mount()}, {what: "the mount and a slash", path: p.mount() + "/"}} {
		if m.path == "" {
			continue // HTTP has no empty path
		}
		m.method, m.unlinted = http.MethodGet, true
		t.add(m.what, wantMalformed.or(wantBanner).judge(p, p.do(m)))
	}
	return t.err()
}

func caseRange(p *probe) error {
	var t tally
	for _, value := range []string{"bytes=0-10", "bytes=-1", "bytes=0-1,3-4"} {
		what := "Range: " + value
		ex := p.getPlain(what, "Range", value)
		err := wantGood.judge(p, ex)
		if err == nil && ex.status != http.StatusOK {
			err = wrong(ex, "%s: HTTP status %d", what, ex.status)
		}
		t.add(what, err)
	}
	return t.err()
}
