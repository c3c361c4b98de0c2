package ocsptest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	xocsp "golang.org/x/crypto/ocsp"
)

// maxReply is the most that is read of one reply: far more than any answer takes.
const maxReply = 1 << 20

// checker is one run against one target.
type checker struct {
	target   Target // with defaults filled in
	base     *url.URL
	client   *http.Client // does not follow redirects
	raw      *http.Transport
	server   *http.Server // of a Handler
	unissued *big.Int

	signed   int // answers seen
	findings map[string]*standing
	basics   bool
}

// standing is what was found against an assertion on all answers: the first instance, and how many there were.
type standing struct {
	failure
	count int
}

func newChecker(ctx context.Context, t Target) (*checker, error) {
	switch {
	case t.Issuer == nil:
		return nil, errors.New("the field Issuer is nil: give the CA's certificate")
	case t.Good == nil:
		return nil, errors.New("the field Good is nil: give a certificate that is not revoked")
	case t.Handler == nil && t.URL == "":
		return nil, errors.New("give a Handler or a URL")
	}
	if t.CaseTimeout <= 0 {
		t.CaseTimeout = 20 * time.Second
	}
	if t.Now == nil {
		t.Now = time.Now
	}
	c := &checker{target: t, unissued: t.Unissued, findings: map[string]*standing{}}
	if c.unissued == nil {
		c.unissued, _ = undoubled(func() (*big.Int, []byte) {
			serial := randomSerial()
			return serial, ask(c.id(serial)).der()
		})
	}
	if err := c.connect(); err != nil {
		return nil, err
	}
	if err := c.contact(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// connect finds out where to send requests and how.
func (c *checker) connect() (err error) {
	address := c.target.URL
	if c.target.Handler != nil {
		if address == "" {
			address = "/ocsp"
		}
		if c.server, address, err = serveLoopback(c.target.Handler, address); err != nil {
			return err
		}
	}
	c.base, err = url.Parse(address)
	if err == nil && (c.base.Host == "" || c.base.Scheme != "http" && c.base.Scheme != "https") {
		err = fmt.Errorf("the field URL is %q: give an absolute http or https URL", address)
	}
	if err != nil {
		c.close()
		return err
	}
	client := &http.Client{}
	if c.target.HTTP != nil {
		*client = *c.target.HTTP
	}
	if client.Transport == nil {
		client.Transport = http.DefaultTransport
	}
	if transport, ok := client.Transport.(*http.Transport); ok {
		c.raw = transport.Clone()
		// What the responder does to a body must be seen, and nothing it sends may be without bound.
		c.raw.DisableCompression = true
		c.raw.MaxResponseHeaderBytes = 64 << 10
		client.Transport = c.raw
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.client = client
	return nil
}

// serveLoopback serves a handler, and returns the absolute URL of a path on it.
func serveLoopback(h http.Handler, path string) (*http.Server, string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	server := &http.Server{Handler: h, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = server.Serve(listener) }() // ends with Close
	return server, "http://" + listener.Addr().String() + "/" + strings.TrimLeft(path, "/"), nil
}

func (c *checker) close() {
	if c.raw != nil {
		c.raw.CloseIdleConnections()
	}
	if c.server != nil {
		_ = c.server.Close()
	}
}

// contactTimeout is how long the first answer may take. It does not depend on how patient the cases are.
const contactTimeout = 20 * time.Second

// contact makes sure that something is there to judge.
func (c *checker) contact(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, contactTimeout)
	defer cancel()
	p := &probe{checker: c, ctx: ctx}
	ex := p.do(message{what: "first contact", body: p.plain()})
	switch {
	case ex.err != nil:
		return fmt.Errorf("no contact with %s: %w", c.base.Redacted(), ex.err)
	case ex.status == http.StatusUnauthorized || ex.status == http.StatusForbidden:
		return fmt.Errorf("%s answers with HTTP status %d: give the credentials it wants in the Header", c.base.Redacted(), ex.status)
	case ex.status == http.StatusNotFound:
		return fmt.Errorf("%s answers with HTTP status 404: there is no responder", c.base.Redacted())
	case !ex.isOCSP():
		if get := p.getPlain("first contact"); !get.isOCSP() {
			return fmt.Errorf("%s answers neither a POST (%s) nor a GET (%s) with OCSP: give the URL of a responder, with its path", c.base.Redacted(), ex.response(), get.response())
		}
	}
	return nil
}

// isOCSP reports whether an OCSP reply came back, of whatever kind.
func (ex *exchange) isOCSP() bool { return ex.ocspError() != xocsp.Success || ex.basic() != nil }

// mount is the path of the responder, percent-encoded and without a slash at its end.
func (c *checker) mount() string { return strings.TrimRight(c.base.EscapedPath(), "/") }

// probe is what a case talks to the target with.
type probe struct {
	*checker
	ctx  context.Context
	last *exchange
}

// message is an HTTP request to send. The zero fields make a POST of body to the mount.
type message struct {
	what      string // the variant, in words
	method    string
	path      string // the escaped path, absolute; empty is the mount as it was given
	query     string
	header    []string // pairs; an empty value removes what is there by default
	body      []byte
	chunked   bool   // send no Content-Length
	der       []byte // the OCSP request, where it is not the body
	unlinted  bool   // the request is none that a signed answer could fit
	issuer    *x509.Certificate
	transport http.RoundTripper
}

// exchange is a message and what came back.
type exchange struct {
	what   string
	line   string // the request line, or what stood in its place
	sent   []byte
	status int
	header http.Header
	major  int // of the HTTP version
	body   []byte
	err    error
}

// do sends a message and reads the reply, which is checked for what must hold for all.
func (p *probe) do(m message) *exchange {
	if m.method == "" {
		m.method = http.MethodPost
	}
	if m.der == nil {
		m.der = m.body
	}
	ex := &exchange{what: m.what, sent: m.der}
	p.last = ex
	req, err := p.newRequest(m)
	if err != nil {
		ex.line, ex.err = m.method, err
		return ex
	}
	ex.line = m.method + " " + req.URL.RequestURI()
	client := *p.client
	if m.transport != nil {
		client.Transport = m.transport
	}
	res, err := client.Do(req)
	if err != nil {
		ex.err = err
		return ex
	}
	ex.read(res)
	p.note(m, ex)
	return ex
}

func (p *probe) newRequest(m message) (*http.Request, error) {
	u := *p.base
	if m.path != "" {
		decoded, err := url.PathUnescape(m.path)
		if err != nil {
			return nil, err
		}
		u.Path, u.RawPath = decoded, m.path
	}
	if m.query != "" {
		u.RawQuery = m.query
	}
	var body io.Reader
	if m.method == http.MethodPost || len(m.body) > 0 {
		body = bytes.NewReader(m.body)
		if m.chunked {
			body = io.MultiReader(body) // of which net/http does not know the length
		}
	}
	req, err := http.NewRequestWithContext(p.ctx, m.method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.URL = &u // http.NewRequest may have spelt it another way
	for name, values := range p.target.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if m.method == http.MethodPost {
		req.Header.Set("Content-Type", "application/ocsp-request")
	}
	for i := 0; i < len(m.header); i += 2 {
		if m.header[i+1] == "" {
			req.Header.Del(m.header[i])
		} else {
			req.Header.Set(m.header[i], m.header[i+1])
		}
	}
	return req, nil
}

// read takes a response, of whose body no more than maxReply.
func (ex *exchange) read(res *http.Response) {
	defer func() { _ = res.Body.Close() }()
	ex.status, ex.header, ex.major = res.StatusCode, res.Header, res.ProtoMajor
	ex.body, ex.err = io.ReadAll(io.LimitReader(res.Body, maxReply+1))
	if ex.err == nil && len(ex.body) > maxReply {
		ex.err = fmt.Errorf("the body is longer than %d octets", maxReply)
	}
	if len(ex.body) > maxReply {
		ex.body = ex.body[:512] // there is nothing to learn from the rest
	}
}

// get sends a GET whose path is text behind the mount.
func (p *probe) get(what, text string, der []byte, header ...string) *exchange {
	return p.do(message{what: what, method: http.MethodGet, path: p.mount() + "/" + text, der: der, header: header})
}

// follow goes after redirects, as clients do with a GET, and returns where they end and how many there were.
func (p *probe) follow(ex *exchange) (*exchange, int) {
	for n := 0; ; n++ {
		location := ""
		if ex.err == nil && ex.status/100 == 3 && ex.status != http.StatusNotModified {
			location = ex.header.Get("Location")
		}
		u, err := p.base.Parse(location)
		if location == "" || err != nil || u.Host != p.base.Host || n == 5 {
			return ex, n
		}
		ex = p.do(message{what: ex.what + ", redirected", method: http.MethodGet, path: u.EscapedPath(), query: u.RawQuery, der: ex.sent})
	}
}

// dial opens a bare connection to the target.
func (p *probe) dial() (net.Conn, error) {
	if p.raw == nil {
		return nil, notApplicable("it takes a bare connection, and HTTP has a RoundTripper of its own")
	}
	port := p.base.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[p.base.Scheme]
	}
	address := net.JoinHostPort(p.base.Hostname(), port)
	dial := p.raw.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(p.ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if deadline, ok := p.ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if p.base.Scheme == "http" {
		return conn, nil
	}
	config := &tls.Config{}
	if p.raw.TLSClientConfig != nil {
		config = p.raw.TLSClientConfig.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = p.base.Hostname()
	}
	config.NextProtos = []string{"http/1.1"}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(p.ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secured, nil
}

// bare sends a request as it stands, head and body, over a connection of its own: line is the request line
// without the version, lines are header lines besides Host and the target's own. The response is read while the
// body is still being sent, since a responder need not wait for its end. Nil for write sends no body.
func (p *probe) bare(what, line string, sent []byte, lines []string, write func(io.Writer) error) (*exchange, error) {
	ex := &exchange{what: what, line: line, sent: sent}
	p.last = ex
	conn, err := p.dial()
	var n notApplicable
	if errors.As(err, &n) {
		return nil, err
	} else if err != nil {
		ex.err = err
		return ex, nil
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(p.ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	var head strings.Builder
	fmt.Fprintf(&head, "%s HTTP/1.1\r\nHost: %s\r\n", line, p.base.Host)
	_ = p.target.Header.Write(&head)
	for _, l := range lines {
		head.WriteString(l + "\r\n")
	}
	head.WriteString("\r\n")
	written := make(chan struct{})
	go func() {
		defer close(written)
		if _, err := io.WriteString(conn, head.String()); err == nil && write != nil {
			_ = write(conn) // that the responder hangs up on us may be right
		}
	}()
	method, _, _ := strings.Cut(line, " ")
	res, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, 2*maxReply)), &http.Request{Method: method})
	if err != nil {
		ex.err = err
	} else {
		ex.read(res)
	}
	_ = conn.Close() // which ends the writer
	<-written
	return ex, nil
}

// request says in words what was sent.
func (ex *exchange) request() string {
	s := ex.line
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	if ex.what != "" {
		s += ": " + ex.what
	}
	return s
}

// response says in words what came back.
func (ex *exchange) response() string {
	if ex.status == 0 {
		return fmt.Sprintf("no answer: %v", ex.err)
	}
	s := fmt.Sprintf("HTTP status %d, ", ex.status)
	switch status, basic := ex.ocspError(), ex.basic(); {
	case ex.err != nil:
		return s + ex.err.Error()
	case status != xocsp.Success:
		s += map[xocsp.ResponseStatus]string{
			xocsp.Malformed: "malformedRequest", xocsp.InternalError: "internalError", xocsp.TryLater: "tryLater",
			xocsp.SignatureRequired: "sigRequired", xocsp.Unauthorized: "unauthorized",
		}[status]
	case basic != nil:
		var words []string
		for _, r := range basic.Data.Responses {
			words = append(words, r.status().String())
		}
		s += "signed: " + strings.Join(words, ", ")
	default:
		s += fmt.Sprintf("%d octets of %q", len(ex.body), ex.header.Get("Content-Type"))
		if location := ex.header.Get("Location"); location != "" {
			s += ", to " + location
		}
	}
	return s
}

// ocspError returns the status of a reply that is an OCSP error, and Success for any other.
func (ex *exchange) ocspError() xocsp.ResponseStatus {
	if len(ex.body) != 5 || !bytes.HasPrefix(ex.body, []byte{0x30, 3, 10, 1}) {
		return xocsp.Success
	}
	switch status := xocsp.ResponseStatus(ex.body[4]); status {
	case xocsp.Malformed, xocsp.InternalError, xocsp.TryLater, xocsp.SignatureRequired, xocsp.Unauthorized:
		return status
	default:
		return xocsp.Success
	}
}

// basic returns a signed answer, whatever its worth, nil if there is none.
func (ex *exchange) basic() *basicResponse {
	if ex.err != nil {
		return nil
	}
	_, basic, err := unmarshal(ex.body)
	if err != nil {
		return nil
	}
	return basic
}

// certStatus is the status in a SingleResponse, by the tags of CertStatus.
type certStatus int

const (
	certGood certStatus = iota
	certRevoked
	certUnknown
)

func (s certStatus) String() string { return [...]string{"good", "revoked", "unknown"}[s] }

func (r *singleResponse) status() certStatus {
	switch {
	case bool(r.Good):
		return certGood
	case bool(r.Unknown):
		return certUnknown
	default:
		return certRevoked
	}
}

// serial returns the serial number that an entry is about, nil if it cannot be read.
func (r *singleResponse) serial() *big.Int {
	id, err := readCertID(r.CertID.FullBytes)
	if err != nil {
		return nil
	}
	return id.Serial
}

// randomNonce returns a nonce of n octets.
func randomNonce(n int) []byte {
	nonce := make([]byte, n)
	_, _ = rand.Read(nonce) // which never fails
	return nonce
}
