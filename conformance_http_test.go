package ocsp_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// httpPatience ends a test that would hang. Nothing waits for it when the library does what it should.
const httpPatience = 10 * time.Second

// httpRun runs a subtest to which the rig reports.
func httpRun(r *rig, name string, test func(r *rig)) {
	r.Run(name, func(t *testing.T) {
		sub := *r
		sub.T = t
		test(&sub)
	})
}

// httpPost makes a POST of those octets. Pairs of a header name and a value follow; an empty value removes the
// header.
func httpPost(der []byte, header ...string) *http.Request {
	req := httptest.NewRequest(http.MethodPost, "/ocsp", bytes.NewReader(der))
	req.Header.Set("Content-Type", "application/ocsp-request")
	return httpWith(req, header...)
}

// httpGet makes a GET of the escaped path that carries those octets, with headers like httpPost.
func httpGet(der []byte, header ...string) *http.Request {
	return httpWith(httptest.NewRequest(http.MethodGet, httpPath(der), nil), header...)
}

func httpPath(der []byte) string {
	return "/ocsp/" + url.PathEscape(base64.StdEncoding.EncodeToString(der))
}

func httpWith(req *http.Request, header ...string) *http.Request {
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			req.Header.Del(header[i])
		} else {
			req.Header.Add(header[i], header[i+1])
		}
	}
	return req
}

// httpAsk hands a request to the rig's handler without a network. der is the OCSP request that it carries.
func httpAsk(r *rig, req *http.Request, der []byte) *ocsptest.Result {
	rec := httptest.NewRecorder()
	r.handler.ServeHTTP(rec, req)
	return &ocsptest.Result{Request: der, DER: rec.Body.Bytes(), StatusCode: rec.Code, Header: rec.Result().Header}
}

// httpServer serves the rig's handler over TCP.
func httpServer(r *rig) *httptest.Server {
	server := httptest.NewServer(r.handler)
	r.Cleanup(server.Close)
	return server
}

// httpDo sends a request over the network, to an absolute URL or, if the request has a relative one, to the
// server.
func httpDo(r *rig, server *httptest.Server, req *http.Request, der []byte) (*ocsptest.Result, *http.Response) {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), httpPatience)
	defer cancel()
	out := req.Clone(ctx)
	out.RequestURI = ""
	base, err := url.Parse(server.URL)
	require.NoError(r, err)
	out.URL.Scheme, out.URL.Host, out.Host = base.Scheme, base.Host, base.Host
	res, err := server.Client().Do(out)
	require.NoError(r, err)
	return httpRead(r, res, der), res
}

func httpRead(r *rig, res *http.Response, der []byte) *ocsptest.Result {
	r.Helper()
	body, err := io.ReadAll(res.Body)
	require.NoError(r, err)
	require.NoError(r, res.Body.Close())
	return &ocsptest.Result{Request: der, DER: body, StatusCode: res.StatusCode, Header: res.Header}
}

// httpConn is a bare connection to a server.
type httpConn struct {
	net.Conn
	rig    *rig
	reader *bufio.Reader
}

func httpDial(r *rig, server *httptest.Server) *httpConn {
	r.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(r, err)
	r.Cleanup(func() { _ = conn.Close() })
	require.NoError(r, conn.SetDeadline(time.Now().Add(httpPatience)))
	return &httpConn{conn, r, bufio.NewReader(conn)}
}

func (c *httpConn) send(format string, args ...any) {
	c.rig.Helper()
	_, err := fmt.Fprintf(c, format, args...)
	require.NoError(c.rig, err)
}

// receive reads one response.
func (c *httpConn) receive(der []byte) *ocsptest.Result {
	c.rig.Helper()
	res, err := http.ReadResponse(c.reader, nil)
	require.NoError(c.rig, err)
	if res.Close {
		res.Header.Set("Connection", "close") // which ReadResponse takes out
	}
	return httpRead(c.rig, res, der)
}

// requireClosed requires that the server says no more and closes the connection.
func (c *httpConn) requireClosed() {
	c.rig.Helper()
	rest, err := io.ReadAll(c.reader)
	require.NoError(c.rig, err, "the server keeps the connection open")
	require.Empty(c.rig, rest)
}

// httpRefused requires that a request was refused by an HTTP error, which nobody keeps and which tells nothing,
// and that it has cost no signature since the signer had that many calls.
func httpRefused(r *rig, code int, result *ocsptest.Result, signatures int) {
	r.Helper()
	require.Equal(r, code, result.StatusCode)
	require.Equal(r, "no-store", result.Header.Get("Cache-Control"))
	require.Equal(r, "text/plain; charset=utf-8", result.Header.Get("Content-Type"))
	require.Equal(r, http.StatusText(code), strings.TrimSpace(string(result.DER)))
	require.Empty(r, result.Header.Get("Etag"))
	require.Empty(r, result.Header.Get("Expires"))
	require.Equal(r, signatures, r.signer.Calls())
}

func TestT2ContentTypeWithParameters(t *testing.T) {
	t.Parallel()
	for _, strict := range []bool{false, true} {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Strict = strict })
		der := r.request(r.leaf)
		for _, contentType := range []string{
			"Application/OCSP-Request; charset=binary",
			"APPLICATION/OCSP-REQUEST",
			"application/ocsp-request;q=\"a;b\"",
			"application/ocsp-request ; x=y",
		} {
			httpRun(r, fmt.Sprintf("strict %v %s", strict, contentType), func(r *rig) {
				r.requireAnswer(httpAsk(r, httpPost(der, "Content-Type", "", "Content-Type", contentType), der), xocsp.Good)
			})
		}
	}
}

// httpContentType requires that a POST with another Content-Type, "" for none, is answered, and refused in
// strict mode.
func httpContentType(t *testing.T, contentTypes ...string) {
	lenient := newRig(t, nil)
	strict := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Strict = true })
	for _, contentType := range contentTypes {
		httpRun(lenient, "lenient "+contentType, func(r *rig) {
			der := r.request(r.leaf)
			r.requireAnswer(httpAsk(r, httpPost(der, "Content-Type", "", "Content-Type", contentType), der), xocsp.Good)
		})
		httpRun(strict, "strict "+contentType, func(r *rig) {
			der := r.request(r.leaf)
			result := httpAsk(r, httpPost(der, "Content-Type", "", "Content-Type", contentType), der)
			httpRefused(r, http.StatusUnsupportedMediaType, result, 0)
		})
	}
}

func TestT3NoContentType(t *testing.T) { httpContentType(t, "") }

func TestT4OtherContentType(t *testing.T) {
	t.Parallel()
	httpContentType(t, "text/plain", "application/ocsp-response", "application/ocsp-requests", "application/octet-stream")
}

func TestT5EmptyBody(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	server := httpServer(r)
	httpRun(r, "length 0", func(r *rig) {
		conn := httpDial(r, server)
		conn.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Type: application/ocsp-request\r\nContent-Length: 0\r\n\r\n")
		r.requireError(xocsp.Malformed, conn.receive(nil))
	})
	httpRun(r, "no length", func(r *rig) {
		conn := httpDial(r, server)
		conn.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Type: application/ocsp-request\r\n\r\n")
		r.requireError(xocsp.Malformed, conn.receive(nil))
	})
	httpRun(r, "chunked", func(r *rig) {
		conn := httpDial(r, server)
		conn.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Type: application/ocsp-request\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
		r.requireError(xocsp.Malformed, conn.receive(nil))
	})
	assert.Zero(t, r.signer.Calls())
}

func TestT6NilBody(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, length := range []int64{0, -1, 100} {
		httpRun(r, fmt.Sprint("length ", length), func(r *rig) {
			req := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/ocsp"}, ContentLength: length}
			r.requireError(xocsp.Malformed, httpAsk(r, req, nil))
		})
	}
}

func TestT7BodyLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	der := r.request(r.leaf)
	limited := func(limit int) *rig {
		return newRig(t, func(other *rig, cfg *ocsp.Config) {
			other.ca, other.signer, other.leaf = r.ca, ocsptest.NewSigner(r.ca.Key), r.leaf
			other.store.Add(r.ca.ID, r.leaf)
			cfg.Issuers[0] = r.ca.Issuer()
			cfg.Issuers[0].Signer = other.signer
			cfg.Limits.MaxRequestBytes = limit
		})
	}
	httpRun(limited(len(der)), "a request at the limit", func(r *rig) {
		r.requireAnswer(httpAsk(r, httpPost(der), der), xocsp.Good)
	})
	httpRun(limited(len(der)-1), "a request over the limit", func(r *rig) {
		httpRefused(r, http.StatusRequestEntityTooLarge, httpAsk(r, httpPost(der), der), 0)
	})
	r = newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Timeout = time.Second })
	der = r.request(r.leaf)
	server := httpServer(r)
	const limit = 16 << 10 // the default
	httpRun(r, "the default limit", func(r *rig) {
		conn := httpDial(r, server)
		conn.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", limit, make([]byte, limit))
		r.requireError(xocsp.Malformed, conn.receive(nil))
		conn.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(der), der)
		r.requireAnswer(conn.receive(der), xocsp.Good) // the connection lives on
	})
	signatures := r.signer.Calls()
	for _, length := range []int64{limit + 1, 1 << 40} {
		httpRun(r, fmt.Sprint("announced length ", length), func(r *rig) {
			// Nothing of the body is sent, so a server that waited for it would hang. net/http may look for the
			// body for a while before it closes, but not for longer than Config.Timeout.
			conn := httpDial(r, server)
			conn.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", length)
			result := conn.receive(nil)
			httpRefused(r, http.StatusRequestEntityTooLarge, result, signatures)
			require.Equal(r, "close", result.Header.Get("Connection"))
			conn.requireClosed()
		})
	}
}

func TestT9ChunkedBodyWithoutEnd(t *testing.T) {
	t.Parallel()
	const limit = 1000
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Limits.MaxRequestBytes, cfg.Timeout = limit, time.Second })
	httpRun(r, "refused as soon as it is over the limit", func(r *rig) {
		conn := httpDial(r, httpServer(r))
		conn.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range limit + 1 {
			conn.send("1\r\n0\r\n")
		}
		result := conn.receive(nil)
		httpRefused(r, http.StatusRequestEntityTooLarge, result, 0)
		require.Equal(r, "close", result.Header.Get("Connection"))
		conn.requireClosed() // though the client goes silent without an end
	})
	httpRun(r, "reading stops at the limit", func(r *rig) {
		body := &httpEndless{}
		req := httptest.NewRequest(http.MethodPost, "/ocsp", body)
		req.ContentLength = -1
		httpRefused(r, http.StatusRequestEntityTooLarge, httpAsk(r, req, nil), 0)
		require.LessOrEqual(r, body.read, limit+1)
	})
	httpRun(r, "chunks up to the limit", func(r *rig) {
		req := httptest.NewRequest(http.MethodPost, "/ocsp", bytes.NewReader(make([]byte, limit)))
		req.ContentLength = -1
		r.requireError(xocsp.Malformed, httpAsk(r, req, nil))
	})
}

// httpEndless is a body without an end, which counts what was read of it.
type httpEndless struct{ read int }

func (e *httpEndless) Read(b []byte) (int, error) {
	e.read += len(b)
	return len(b), nil
}

func TestT11SlowBody(t *testing.T) {
	t.Parallel()
	const timeout = 300 * time.Millisecond
	slow := func(_ *rig, cfg *ocsp.Config) { cfg.Timeout = timeout }
	newServer := func(r *rig, adjust func(*httptest.Server)) *httptest.Server {
		server := httptest.NewUnstartedServer(r.handler)
		adjust(server)
		if server.EnableHTTP2 {
			server.StartTLS()
		} else {
			server.Start()
		}
		r.Cleanup(server.Close)
		return server
	}
	t.Run("silent", func(t *testing.T) {
		r := newRig(t, slow)
		server := newServer(r, func(*httptest.Server) {})
		der := r.request(r.leaf)
		conn := httpDial(r, server)
		begun := time.Now()
		conn.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(der), der[:len(der)/2])
		// Another client is not kept waiting.
		other, _ := httpDo(r, server, httpPost(der), der)
		r.requireAnswer(other, xocsp.Good)
		result := conn.receive(nil)
		require.GreaterOrEqual(t, time.Since(begun), timeout)
		httpRefused(r, http.StatusRequestTimeout, result, 1)
		require.Equal(t, "close", result.Header.Get("Connection"))
		conn.requireClosed()
		other, _ = httpDo(r, server, httpPost(der), der)
		r.requireAnswer(other, xocsp.Good)
	})
	t.Run("octet by octet", func(t *testing.T) {
		r := newRig(t, slow)
		server := newServer(r, func(*httptest.Server) {})
		der := r.request(r.leaf)
		conn := httpDial(r, server)
		conn.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 16000\r\n\r\n")
		received := make(chan *http.Response, 1)
		go func() {
			res, _ := http.ReadResponse(conn.reader, nil)
			received <- res
		}()
		// One octet for each answer that another client gets: progress does not put off the end.
		for sent := 0; ; sent++ {
			require.Less(t, sent, 16000, "no deadline")
			select {
			case res := <-received:
				require.NotNil(t, res)
				httpRefused(r, http.StatusRequestTimeout, httpRead(r, res, nil), 1)
				return
			default:
			}
			_, _ = conn.Write([]byte{0x30}) // fails once the server has given up
			other, _ := httpDo(r, server, httpPost(der), der)
			r.requireAnswer(other, xocsp.Good)
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		r := newRig(t, slow)
		server := newServer(r, func(s *httptest.Server) { s.EnableHTTP2 = true })
		der := r.request(r.leaf)
		body, writer := io.Pipe()
		r.Cleanup(func() { _ = writer.Close() })
		go func() { _, _ = writer.Write(der[:1]) }()
		req := httptest.NewRequest(http.MethodPost, "/ocsp", body)
		req.ContentLength = int64(len(der))
		result, res := httpDo(r, server, req, nil)
		require.Equal(t, 2, res.ProtoMajor)
		httpRefused(r, http.StatusRequestTimeout, result, 0)
	})
	t.Run("the server's own deadline is stricter", func(t *testing.T) {
		r := newRig(t, nil) // Config.Timeout is 10 s
		server := newServer(r, func(s *httptest.Server) { s.Config.ReadTimeout = timeout })
		conn := httpDial(r, server)
		begun := time.Now()
		conn.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
		httpRefused(r, http.StatusRequestTimeout, conn.receive(nil), 0)
		require.Less(t, time.Since(begun), 10*time.Second)
		conn.requireClosed()
	})
	t.Run("the deadline is off for the next request", func(t *testing.T) {
		r := newRig(t, slow)
		server := newServer(r, func(*httptest.Server) {})
		der := r.request(r.leaf)
		conn := httpDial(r, server)
		conn.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(der), der)
		r.requireAnswer(conn.receive(der), xocsp.Good)
		// A second connection runs into the deadline, which so has passed for the first one too.
		other := httpDial(r, server)
		other.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
		httpRefused(r, http.StatusRequestTimeout, other.receive(nil), 1)
		conn.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(der), der)
		r.requireAnswer(conn.receive(der), xocsp.Good)
	})
}

func TestT13ContentEncoding(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	der := r.request(r.leaf)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err := w.Write(der)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	for _, encoding := range []string{"gzip", "GZIP", "deflate", "br", "identity, gzip"} {
		httpRun(r, encoding, func(r *rig) {
			httpRefused(r, http.StatusUnsupportedMediaType, httpAsk(r, httpPost(zipped.Bytes(), "Content-Encoding", encoding), nil), 0)
		})
	}
	httpRun(r, "identity", func(r *rig) {
		r.requireAnswer(httpAsk(r, httpPost(der, "Content-Encoding", "identity"), der), xocsp.Good)
	})
}

func TestT14Accept(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	der := r.request(r.leaf)
	for _, accept := range []string{"text/html", "application/json", "application/ocsp-response;q=0", "nonsense"} {
		httpRun(r, accept, func(r *rig) {
			r.requireAnswer(httpAsk(r, httpPost(der, "Accept", accept), der), xocsp.Good)
			r.requireAnswer(httpAsk(r, httpGet(der, "Accept", accept), der), xocsp.Good)
		})
	}
}

func TestT17HTTP2(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	der := r.request(r.leaf)
	encrypted := httptest.NewUnstartedServer(r.handler)
	encrypted.EnableHTTP2 = true
	encrypted.StartTLS()
	t.Cleanup(encrypted.Close)

	clear := httptest.NewUnstartedServer(r.handler)
	clear.Config.Protocols = new(http.Protocols)
	clear.Config.Protocols.SetUnencryptedHTTP2(true)
	clear.Start()
	t.Cleanup(clear.Close)
	clear.Client().Transport.(*http.Transport).Protocols = clear.Config.Protocols

	for name, server := range map[string]*httptest.Server{"h2": encrypted, "h2c": clear} {
		for _, req := range []*http.Request{httpPost(der), httpGet(der)} {
			httpRun(r, name+" "+req.Method, func(r *rig) {
				result, res := httpDo(r, server, req, der)
				require.Equal(r, 2, res.ProtoMajor)
				r.requireAnswer(result, xocsp.Good)
				require.Equal(r, fmt.Sprint(len(result.DER)), result.Header.Get("Content-Length"))
			})
		}
		httpRun(r, name+" over the limit", func(r *rig) {
			result, res := httpDo(r, server, httpPost(make([]byte, 16<<10+1)), nil)
			require.Equal(r, 2, res.ProtoMajor)
			httpRefused(r, http.StatusRequestEntityTooLarge, result, r.signer.Calls())
		})
	}
}

func TestT18TextBody(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	der := r.request(r.leaf)
	text := base64.StdEncoding.EncodeToString(der)
	for name, body := range map[string]string{
		"base64":         text,
		"base64 escaped": url.QueryEscape(text),
		"URL-safe":       base64.RawURLEncoding.EncodeToString(der),
		"PEM":            string(pem.EncodeToMemory(&pem.Block{Type: "OCSP REQUEST", Bytes: der})),
		"form":           "request=" + url.QueryEscape(text),
		"hex":            fmt.Sprintf("%x", der),
	} {
		httpRun(r, name, func(r *rig) {
			r.requireError(xocsp.Malformed, r.post([]byte(body)))
		})
	}
	assert.Zero(t, r.signer.Calls())
}

func TestT19PostTargets(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	der := r.request(r.leaf)
	mux := http.NewServeMux()
	mux.Handle("/ocsp", r.handler)
	mux.Handle("/ocsp/", r.handler)
	targets := []string{"/ocsp", "/ocsp/", "/ocsp?x=1", "/ocsp/?x=1", "/ocsp/" + strings.Repeat("y", 40), "/ocsp" + httpPath([]byte("z"))}
	for name, handler := range map[string]http.Handler{"bare": r.handler, "ServeMux": mux, "Mount": ocsp.Mount("/ocsp", r.handler, nil)} {
		r.handler = handler
		server := httpServer(r)
		server.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		for _, target := range targets {
			httpRun(r, name+" "+target, func(r *rig) {
				req := httptest.NewRequest(http.MethodPost, target, bytes.NewReader(der))
				result, _ := httpDo(r, server, req, der)
				r.requireAnswer(result, xocsp.Good)
			})
		}
	}
}

func TestT20Head(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	server := httpServer(r)
	head := func(path string) *http.Request { return httptest.NewRequest(http.MethodHead, path, nil) }
	compare := func(r *rig, get, head *ocsptest.Result) {
		require.Equal(r, http.StatusOK, head.StatusCode)
		require.Empty(r, head.DER)
		require.Equal(r, fmt.Sprint(len(get.DER)), head.Header.Get("Content-Length"))
		get.Header.Del("Date")
		head.Header.Del("Date")
		require.Equal(r, get.Header, head.Header)
	}
	httpRun(r, "answer", func(r *rig) {
		der := r.request(r.leaf)
		first, _ := httpDo(r, server, head(httpPath(der)), der)
		get, _ := httpDo(r, server, httpGet(der), der)
		r.requireAnswer(get, xocsp.Good)
		compare(r, get, first)
		again, _ := httpDo(r, server, head(httpPath(der)), der)
		compare(r, get, again)
		require.Equal(r, 1, r.signer.Calls())
	})
	httpRun(r, "error", func(r *rig) {
		get, _ := httpDo(r, server, httptest.NewRequest(http.MethodGet, "/ocsp/MAA=", nil), nil)
		r.requireError(xocsp.Malformed, get)
		first, _ := httpDo(r, server, head("/ocsp/MAA="), nil)
		compare(r, get, first)
	})
	httpRun(r, "body on the wire", func(r *rig) {
		conn := httpDial(r, server)
		conn.send("HEAD %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", httpPath(r.request(r.leaf)))
		all, err := io.ReadAll(conn.reader)
		require.NoError(r, err)
		require.True(r, bytes.HasPrefix(all, []byte("HTTP/1.1 200 OK\r\n")))
		require.True(r, bytes.HasSuffix(all, []byte("\r\n\r\n")))
	})
}

func TestT21Options(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, target := range []string{"/ocsp", "/ocsp/", httpPath(r.request(r.leaf))} {
		httpRun(r, target, func(r *rig) {
			result := httpAsk(r, httptest.NewRequest(http.MethodOptions, target, nil), nil)
			require.Equal(r, http.StatusNoContent, result.StatusCode)
			require.Equal(r, "GET, HEAD, POST, OPTIONS", result.Header.Get("Allow"))
			require.Empty(r, result.DER)
		})
	}
	assert.Zero(t, r.signer.Calls())
	assert.Zero(t, r.store.Calls())
}

func TestT22OtherMethods(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	der := r.request(r.leaf)
	for _, method := range []string{"PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "QUERY", "get", "post"} {
		httpRun(r, method, func(r *rig) {
			for _, req := range []*http.Request{httpPost(der), httpGet(der)} {
				req.Method = method
				result := httpAsk(r, req, der)
				httpRefused(r, http.StatusMethodNotAllowed, result, 0)
				require.Equal(r, "GET, HEAD, POST, OPTIONS", result.Header.Get("Allow"))
			}
		})
	}
	httpRun(r, "a body that never comes", func(r *rig) {
		conn := httpDial(r, httpServer(r))
		conn.send("PUT /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
		httpRefused(r, http.StatusMethodNotAllowed, conn.receive(nil), 0)
	})
	assert.Zero(t, r.store.Calls())
}

func TestT23GetBareMount(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, path := range []string{"", "/", "//", "/ocsp", "/ocsp/", "/M", "/a/b/ocsp"} {
		httpRun(r, fmt.Sprintf("path %q", path), func(r *rig) {
			req := httptest.NewRequest(http.MethodGet, "/", nil)
			req.URL.Path = path
			r.requireError(xocsp.Malformed, httpAsk(r, req, nil))
		})
	}
	r.handler = http.StripPrefix("/ocsp", r.handler)
	for _, target := range []string{"/ocsp", "/ocsp/"} {
		httpRun(r, "stripped "+target, func(r *rig) {
			r.requireError(xocsp.Malformed, httpAsk(r, httptest.NewRequest(http.MethodGet, target, nil), nil))
		})
	}
}

func TestT24Range(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	der := r.request(r.leaf)
	whole := httpAsk(r, httpGet(der), der)
	r.requireAnswer(whole, xocsp.Good)
	etag := whole.Header.Get("Etag")
	for name, header := range map[string][]string{
		"one":             {"Range", "bytes=0-10"},
		"last":            {"Range", "bytes=-1"},
		"several":         {"Range", "bytes=0-1,3-4"},
		"unsatisfiable":   {"Range", "bytes=100000-"},
		"If-Range":        {"Range", "bytes=0-10", "If-Range", etag},
		"with conditions": {"Range", "bytes=0-10", "If-None-Match", `"other"`, "If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"},
		"with conditions that do not hold": {"Range", "bytes=0-10", "If-Match", `"other"`, "If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT",
			"If-None-Match", `"other"`},
	} {
		httpRun(r, name, func(r *rig) {
			result := httpAsk(r, httpGet(der, header...), der)
			r.requireAnswer(result, xocsp.Good)
			require.Equal(r, whole.DER, result.DER)
			require.Empty(r, result.Header.Get("Content-Range"))
			require.Equal(r, fmt.Sprint(len(whole.DER)), result.Header.Get("Content-Length"))
		})
	}
}

func TestT26ClientLeavesDuringSigning(t *testing.T) {
	t.Parallel()
	started, release := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		cfg.Issuers[0].Signer = ocsp.NewSigner(r.signer.Public(), func(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
			if r.signer.Calls() == 0 {
				close(started)
				<-release
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return r.signer.Sign(rand.Reader, digest, opts)
		})
	})
	der := r.request(r.leaf)
	handler, left := r.handler, make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		handler.ServeHTTP(w, req)
		close(left)
	}))
	t.Cleanup(server.Close)
	conn := httpDial(r, server)
	conn.send("POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(der), der)
	<-started
	require.NoError(t, conn.Close())
	<-left // the handler does not wait for a signature that nobody will read
	close(release)
	first := r.query(r.leaf)
	second := r.query(r.leaf)
	assert.Equal(t, first.DER, second.DER)
	assert.Equal(t, 1, r.signer.Calls())
}

func TestT27Panic(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	server := httpServer(r)
	der := r.request(r.leaf)
	ask := func(r *rig) *ocsptest.Result {
		result, _ := httpDo(r, server, httpPost(der), der)
		return result
	}
	httpRun(r, "store", func(r *rig) {
		r.store.SetFault(ocsptest.Panic)
		defer r.store.SetFault(ocsptest.Healthy)
		for range 3 {
			r.requireError(xocsp.InternalError, ask(r))
		}
	})
	httpRun(r, "signer", func(r *rig) {
		r.signer.SetFault(ocsptest.Panic)
		defer r.signer.SetFault(ocsptest.Healthy)
		r.requireError(xocsp.InternalError, ask(r))
	})
	httpRun(r, "afterwards", func(r *rig) { r.requireAnswer(ask(r), xocsp.Good) })
	httpRun(r, "store, with an answer in the cache", func(r *rig) {
		r.store.SetFault(ocsptest.Panic)
		defer r.store.SetFault(ocsptest.Healthy)
		r.requireError(xocsp.InternalError, ask(r))
	})
	httpRun(r, "in the end", func(r *rig) { r.requireAnswer(ask(r), xocsp.Good) })
	server.Close() // so that nobody writes the log
	assert.Contains(t, log.String(), "panic")
	assert.Contains(t, log.String(), "level=ERROR")
}

func TestT28ForgedHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	der := r.request(r.leaf)
	plain := httpAsk(r, httpGet(der), der)
	r.requireAnswer(plain, xocsp.Good)
	for _, header := range [][]string{
		{"X-Forwarded-For", "127.0.0.1"},
		{"X-Forwarded-For", "10.0.0.1, ::1, nonsense"},
		{"X-Forwarded-For", strings.Repeat("1.2.3.4,", 1000)},
		{"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https", "X-Forwarded-Prefix", "/elsewhere"},
		{"Forwarded", `for=127.0.0.1;host=evil.example;proto=https`},
		{"X-Real-Ip", "127.0.0.1"},
		{"X-Http-Method-Override", "DELETE"},
		{"X-Original-Url", "/admin", "X-Rewrite-Url", "/admin"},
	} {
		httpRun(r, header[0], func(r *rig) {
			for _, req := range []*http.Request{httpGet(der, header...), httpPost(der, header...)} {
				result := httpAsk(r, req, der)
				r.requireAnswer(result, xocsp.Good)
				require.Equal(r, plain.DER, result.DER)
				require.Equal(r, plain.Header, result.Header)
			}
		})
	}
	assert.Equal(t, 1, r.signer.Calls())
}
