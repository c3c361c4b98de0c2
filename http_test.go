package ocsp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// pipes is a listener whose connections are net.Pipes, which know deadlines and live in a synctest
// bubble.
type pipes struct {
	conns chan net.Conn
	ctx   context.Context // until it is closed
	stop  context.CancelFunc
}

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.stop()
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// bodyTimeout is the Config.Timeout of bodyServer.
const bodyTimeout = 8 * time.Second

// middleware wraps a handler; nil leaves it as it is.
type middleware func(http.Handler) http.Handler

// bodyServer serves with net/http in fake time.
func bodyServer(t *testing.T, server *http.Server, wrap middleware, test func(t *testing.T, l *pipes, der []byte)) {
	ca, store := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519}), ocsptest.NewStore()
	leaf := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, leaf)
	synctest.Test(t, func(t *testing.T) {
		r, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Timeout: bodyTimeout, Now: func() time.Time { return leaf.NotBefore.Add(time.Hour) }})
		require.NoError(t, err)
		defer func() { require.NoError(t, r.Close()) }()
		server.Handler = r.Handler()
		if wrap != nil {
			server.Handler = wrap(server.Handler)
		}
		l := &pipes{conns: make(chan net.Conn)}
		l.ctx, l.stop = context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(l) }()
		test(t, l, ocsptest.Client{}.Request(ca.Certificate, leaf))
		require.NoError(t, server.Shutdown(t.Context()))
		require.ErrorIs(t, <-ended, http.ErrServerClosed)
		time.Sleep(time.Hour) // for timers that must not be left behind
	})
}

// TestBodyLimitKeepAlive lets bodies end shortly before, at and after the limit: either the request
// is refused and the connection ends, or it is answered and the connection serves as long as any
// other.
func TestBodyLimitKeepAlive(t *testing.T) {
	t.Parallel()
	for _, chunked := range []bool{false, true} {
		for _, server := range []struct {
			readTimeout, limit time.Duration
			answered           int
		}{
			{0, bodyTimeout, 20},
			{bodyTimeout / 2, bodyTimeout / 2, 0},
			{bodyTimeout, bodyTimeout, 20},
			{3 * bodyTimeout, bodyTimeout, 20},
		} {
			bodyServer(t, &http.Server{ReadTimeout: server.readTimeout, IdleTimeout: time.Hour}, nil, func(t *testing.T, l *pipes, der []byte) {
				post := func(c net.Conn, reader *bufio.Reader, pause time.Duration) int {
					head, parts := fmt.Sprintf("Content-Length: %d", len(der)), []string{string(der[:10]), string(der[10:])}
					if chunked {
						head = "Transfer-Encoding: chunked"
						parts[0] = fmt.Sprintf("a\r\n%s\r\n", parts[0])
						parts[1] = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(parts[1]), parts[1])
					}
					_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n%s", head, parts[0])
					assert.NoError(t, err)
					go func() {
						time.Sleep(pause)
						_, _ = io.WriteString(c, parts[1]) // to a server that may have given up
					}()
					response, err := http.ReadResponse(reader, nil)
					if !assert.NoError(t, err) {
						return 0
					}
					_, err = io.ReadAll(response.Body)
					assert.NoError(t, err)
					return response.StatusCode
				}
				var mu sync.Mutex
				codes := map[int]int{}
				var all sync.WaitGroup
				for i := range 60 {
					all.Go(func() {
						time.Sleep(time.Duration(i) * 13 * time.Millisecond)
						c := l.dial()
						defer func() { assert.NoError(t, c.Close()) }()
						reader := bufio.NewReader(c)
						begun := time.Now()
						code := post(c, reader, bodyTimeout+time.Duration(i-20)*bodyTimeout/8/20)
						took := time.Since(begun)
						mu.Lock()
						codes[code]++
						mu.Unlock()
						assert.LessOrEqual(t, took, server.limit)
						switch code {
						case http.StatusOK:
							for range 3 {
								time.Sleep(time.Minute)
								assert.Equal(t, http.StatusOK, post(c, reader, 0))
							}
						case http.StatusRequestTimeout:
							assert.GreaterOrEqual(t, took, server.limit)
							_, err := reader.ReadByte()
							assert.Error(t, err)
						}
					})
				}
				all.Wait()
				assert.Equal(t, 60, codes[http.StatusOK]+codes[http.StatusRequestTimeout])
				// A body that ends with the limit may be in time or not.
				assert.Contains(t, []int{server.answered, server.answered + 1}, codes[http.StatusOK])
			})
		}
	}
}

// slowPost sends a POST whose second half comes after a pause, and returns the status code.
func slowPost(t *testing.T, c net.Conn, reader *bufio.Reader, der []byte, pause time.Duration) int {
	_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s",
		len(der), der[:10])
	require.NoError(t, err)
	time.Sleep(pause)
	_, err = c.Write(der[10:])
	require.NoError(t, err)
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	_, err = io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode
}

// TestBodyLimitEndsWithTheBody keeps requests going after their bodies, for longer than reading may
// take. The deadline must cancel neither them nor the next ones on the connection, also where
// middleware has read the body before.
func TestBodyLimitEndsWithTheBody(t *testing.T) {
	t.Parallel()
	for _, buffered := range []bool{false, true} {
		wrap := func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				assert.NoError(t, req.Context().Err())
				if buffered {
					body, err := io.ReadAll(req.Body)
					assert.NoError(t, err)
					req.Body = io.NopCloser(bytes.NewReader(body))
				}
				h.ServeHTTP(w, req)
				time.Sleep(2 * bodyTimeout)
				assert.NoError(t, req.Context().Err())
			})
		}
		server := &http.Server{IdleTimeout: time.Hour}
		bodyServer(t, server, wrap, func(t *testing.T, l *pipes, der []byte) {
			c := l.dial()
			reader := bufio.NewReader(c)
			for range 3 {
				require.Equal(t, http.StatusOK, slowPost(t, c, reader, der, bodyTimeout-time.Second))
			}
			require.NoError(t, c.Close())
		})
	}
}

// TestBodyWithoutLimit answers slow bodies where middleware hides what sets deadlines.
func TestBodyWithoutLimit(t *testing.T) {
	t.Parallel()
	wrap := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			h.ServeHTTP(struct{ http.ResponseWriter }{w}, req)
		})
	}
	bodyServer(t, &http.Server{}, wrap, func(t *testing.T, l *pipes, der []byte) {
		c := l.dial()
		code := slowPost(t, c, bufio.NewReader(c), der, 2*bodyTimeout)
		require.Equal(t, http.StatusOK, code)
		require.NoError(t, c.Close())
	})
}

// http2Cases are requests whose bodies are not read to their end, or that have bodies where none
// belongs.
func http2Cases(der []byte) []http2Case {
	unknown := func(b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b)) } // of unknown length
	return []http2Case{
		{"GET that ends with an empty frame", http.MethodGet, unknown(nil), 0, http.StatusOK},
		{"HEAD that ends with an empty frame", http.MethodHead, unknown(nil), 0, http.StatusOK},
		{"OPTIONS that ends with an empty frame", http.MethodOptions, unknown(nil), 0, http.StatusNoContent},
		{"GET with a body", http.MethodGet, bytes.NewReader(der), int64(len(der)), http.StatusOK},
		{"GET with a large body", http.MethodGet, unknown(make([]byte, 100<<10)), 0, http.StatusOK},
		{"PUT", http.MethodPut, unknown(der), 0, http.StatusMethodNotAllowed},
		{"POST over the limit", http.MethodPost, bytes.NewReader(make([]byte, 17<<10)), 17 << 10, http.StatusRequestEntityTooLarge},
		{"POST over the limit, of unknown length", http.MethodPost, unknown(make([]byte, 100<<10)), 0, http.StatusRequestEntityTooLarge},
		{"POST of a terabyte", http.MethodPost, &httpEndless{}, 1 << 40, http.StatusRequestEntityTooLarge},
		{"POST without an end", http.MethodPost, &httpEndless{}, 0, http.StatusRequestEntityTooLarge},
	}
}

type http2Case struct {
	name   string
	method string
	body   io.Reader
	length int64
	code   int
}

// TestHTTP2EndsTheStreamAlone requires that requests whose bodies are not read to their end cost
// the connection's other streams nothing, encrypted or not: one that is open meanwhile is answered,
// and the next one needs no new connection.
func TestHTTP2EndsTheStreamAlone(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		r := newRig(t, nil)
		server := httptest.NewUnstartedServer(r.handler)
		var connections atomic.Int32
		server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		}
		if server.EnableHTTP2 = encrypted; encrypted {
			server.StartTLS()
		} else {
			server.Config.Protocols = new(http.Protocols)
			server.Config.Protocols.SetUnencryptedHTTP2(true)
			server.Start()
		}
		t.Cleanup(server.Close)
		transport := server.Client().Transport.(*http.Transport)
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP2(encrypted)
		transport.Protocols.SetUnencryptedHTTP2(!encrypted)
		der := r.request(r.leaf)
		send := func(method string, body io.Reader, length int64) *ocsptest.Result {
			target := server.URL + "/ocsp"
			if method != http.MethodPost {
				target += "/" + url.PathEscape(base64.StdEncoding.EncodeToString(der))
			}
			req, err := http.NewRequestWithContext(t.Context(), method, target, body)
			assert.NoError(t, err)
			req.ContentLength = length
			res, err := transport.RoundTrip(req)
			if !assert.NoError(t, err) {
				return &ocsptest.Result{}
			}
			content, err := io.ReadAll(res.Body)
			assert.NoError(t, err)
			assert.NoError(t, res.Body.Close())
			assert.Equal(t, 2, res.ProtoMajor)
			assert.Empty(t, res.Header["Connection"])
			return &ocsptest.Result{Request: der, DER: content, StatusCode: res.StatusCode, Header: res.Header}
		}
		for _, test := range http2Cases(der) {
			httpRun(r, fmt.Sprintf("encrypted %v, %s", encrypted, test.name), func(r *rig) {
				body, writer := io.Pipe()
				beside := make(chan *ocsptest.Result, 1)
				go func() { beside <- send(http.MethodPost, body, int64(len(der))) }()
				_, err := writer.Write(der[:10]) // returns when it is on its way
				require.NoError(r, err)
				result := send(test.method, test.body, test.length)
				require.Equal(r, test.code, result.StatusCode)
				if test.method == http.MethodGet {
					r.requireAnswer(result, xocsp.Good)
				}
				r.requireAnswer(send(http.MethodPost, bytes.NewReader(der), int64(len(der))), xocsp.Good)
				_, err = writer.Write(der[10:])
				require.NoError(r, err)
				require.NoError(r, writer.Close())
				r.requireAnswer(<-beside, xocsp.Good)
				require.EqualValues(r, 1, connections.Load(), "the connection was ended")
			})
		}
	}
}

// TestBodyLimitHTTP2 ends slow bodies beside requests that are in order, on the same connection.
func TestBodyLimitHTTP2(t *testing.T) {
	t.Parallel()
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	bodyServer(t, &http.Server{Protocols: &h2}, nil, func(t *testing.T, l *pipes, der []byte) {
		var dials atomic.Int32
		transport := &http.Transport{Protocols: &h2, DialContext: func(context.Context, string, string) (net.Conn, error) {
			dials.Add(1)
			return l.dial(), nil
		}}
		defer transport.CloseIdleConnections()
		post := func(body io.Reader) int {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/", body)
			assert.NoError(t, err)
			req.ContentLength = int64(len(der))
			response, err := transport.RoundTrip(req)
			if !assert.NoError(t, err) {
				return 0
			}
			_, err = io.ReadAll(response.Body)
			assert.NoError(t, err)
			assert.Equal(t, 2, response.ProtoMajor)
			return response.StatusCode
		}
		var all sync.WaitGroup
		for i := range 60 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * bodyTimeout / 20)
				if i%6 != 0 {
					assert.Equal(t, http.StatusOK, post(bytes.NewReader(der)))
					return
				}
				body, writer := io.Pipe()
				go func() { _, _ = writer.Write(der[:10]) }()
				assert.Equal(t, http.StatusRequestTimeout, post(body))
				assert.NoError(t, writer.Close())
			})
		}
		all.Wait()
		assert.EqualValues(t, 1, dials.Load(), "slow bodies ended the connection")
	})
}

// TestRespondHTTPIsHandler sends the same requests both ways.
func TestRespondHTTPIsHandler(t *testing.T) {
	t.Parallel()
	at := time.Now().Truncate(time.Second)
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		// Ed25519 signs the same twice, so that answers can be compared which are not cached.
		r.ca = ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519})
		r.leaf = r.issue()
		cfg.Issuers = []ocsp.Issuer{r.ca.Issuer()}
		cfg.Limits = ocsp.Limits{MaxRequestBytes: 512, MaxPathBytes: 512}
	})
	r.clock.Set(at)
	der := r.request(r.leaf)
	unknown := r.request(r.ca.Certificate)
	path := "/ocsp/" + base64.StdEncoding.EncodeToString(der)
	first := httptest.NewRecorder()
	r.handler.ServeHTTP(first, httptest.NewRequest(http.MethodGet, path, nil))
	etag, date := first.Header().Get("Etag"), first.Header().Get("Last-Modified")
	for name, test := range map[string]struct {
		req  ocsp.HTTPRequest
		code int
	}{
		"POST":                     {ocsp.HTTPRequest{Method: "POST", Path: "/", Body: der}, 200},
		"POST, unissued":           {ocsp.HTTPRequest{Method: "POST", Path: "/", Body: unknown}, 200},
		"POST, malformed":          {ocsp.HTTPRequest{Method: "POST", Path: "/", Body: der[1:]}, 200},
		"POST, empty":              {ocsp.HTTPRequest{Method: "POST", Path: "/"}, 200},
		"POST, too large":          {ocsp.HTTPRequest{Method: "POST", Path: "/", Body: make([]byte, 513)}, 413},
		"POST, gzip":               {ocsp.HTTPRequest{Method: "POST", Path: "/", Body: der, ContentEncoding: "gzip"}, 415},
		"POST, conditional":        {ocsp.HTTPRequest{Method: "POST", Path: "/", Body: der, IfNoneMatch: etag}, 200},
		"GET":                      {ocsp.HTTPRequest{Method: "GET", Path: path}, 200},
		"GET, none":                {ocsp.HTTPRequest{Method: "GET", Path: "/ocsp/"}, 200},
		"GET, too long":            {ocsp.HTTPRequest{Method: "GET", Path: "/" + strings.Repeat("a", 512)}, 414},
		"GET, sent too long":       {ocsp.HTTPRequest{Method: "GET", Path: "/aaa", RawPath: "/" + strings.Repeat("%61", 171)}, 414},
		"GET, the same":            {ocsp.HTTPRequest{Method: "GET", Path: path, IfNoneMatch: `"other", ` + etag}, 304},
		"GET, other":               {ocsp.HTTPRequest{Method: "GET", Path: path, IfNoneMatch: `"other"`, IfModifiedSince: date}, 200},
		"GET, not modified":        {ocsp.HTTPRequest{Method: "GET", Path: path, IfModifiedSince: date}, 304},
		"HEAD":                     {ocsp.HTTPRequest{Method: "HEAD", Path: path}, 200},
		"HEAD, too long":           {ocsp.HTTPRequest{Method: "HEAD", Path: "/" + strings.Repeat("a", 512)}, 414},
		"OPTIONS":                  {ocsp.HTTPRequest{Method: "OPTIONS", Path: "/"}, 204},
		"PUT":                      {ocsp.HTTPRequest{Method: "PUT", Path: "/"}, 405},
		"a method nobody heard of": {ocsp.HTTPRequest{Method: "BREW", Path: "/"}, 405},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(test.req.Method, "/", bytes.NewReader(test.req.Body))
			req.URL.Path, req.URL.RawPath = test.req.Path, test.req.RawPath
			for name, value := range map[string]string{
				"Content-Encoding": test.req.ContentEncoding, "If-None-Match": test.req.IfNoneMatch, "If-Modified-Since": test.req.IfModifiedSince,
			} {
				if value != "" {
					req.Header.Set(name, value)
				}
			}
			want := httptest.NewRecorder()
			r.handler.ServeHTTP(want, req)
			want.Header().Del("Connection") // is the server's

			got := r.responder.RespondHTTP(context.Background(), &test.req)
			require.Equal(t, test.code, got.StatusCode)
			require.Equal(t, test.code, want.Code)
			require.Equal(t, want.Body.String(), string(got.Body))
			header := http.Header{}
			for name, value := range got.Header() {
				require.NotContains(t, header, name)
				header[name] = []string{value}
			}
			require.Equal(t, want.Header(), header)
			for name := range got.Header() { // a loop may end early
				require.NotEmpty(t, name)
				break
			}
		})
	}
	t.Run("disabled", func(t *testing.T) {
		got := new(ocsp.Responder).RespondHTTP(context.Background(), &ocsp.HTTPRequest{Method: "POST", Body: der})
		require.Equal(t, 404, got.StatusCode)
	})
}

// noConnection is a ResponseWriter whose deadlines panic. The one that fasthttpadaptor gives to a
// handler below fiber's FiberApp is such: the connection that fasthttp makes for it is nil inside.
type noConnection struct{ *httptest.ResponseRecorder }

func (noConnection) SetReadDeadline(time.Time) error {
	var c net.Conn
	return c.SetReadDeadline(time.Time{})
}

// TestDeadlinesThatPanic answers also where the writer panics when a deadline is set.
func TestDeadlinesThatPanic(t *testing.T) {
	r := newRig(t, nil)
	der := r.request(r.leaf)
	get := "/" + base64.URLEncoding.EncodeToString(der)
	for name, test := range map[string]struct {
		method, target string
		body           []byte
		want           int
	}{
		"a body":             {http.MethodPost, "/", der, http.StatusOK},
		"too large a body":   {http.MethodPost, "/", make([]byte, 1<<20), http.StatusRequestEntityTooLarge},
		"a GET with a body":  {http.MethodGet, get, der, http.StatusOK},
		"a method not known": {http.MethodPut, "/", der, http.StatusMethodNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			req := httptest.NewRequest(test.method, test.target, bytes.NewReader(test.body))
			r.handler.ServeHTTP(noConnection{w}, req)
			require.Equal(t, test.want, w.Code)
			if test.want == http.StatusOK {
				answer, err := xocsp.ParseResponse(w.Body.Bytes(), r.ca.Certificate)
				require.NoError(t, err)
				require.Equal(t, xocsp.Good, answer.Status)
			}
		})
	}
}
