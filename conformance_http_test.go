package ocsp_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
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

// newPathRig makes a rig whose store knows every serial number as good, so that a request which is read wrong
// is answered all the same, and Lint sees that the answer is about another one.
func newPathRig(t *testing.T, adjust func(*ocsp.Config)) *rig {
	t.Helper()
	for {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Store = ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
				return ocsp.Record{State: ocsp.Active}, nil
			})
			if adjust != nil {
				adjust(cfg)
			}
		})
		// The letters before the serial are the CA's. Some CAs would decide for every request what a test wants
		// to vary.
		fixed := base64.StdEncoding.EncodeToString(r.request(r.leaf))[:88]
		if !pathDouble(fixed) && !strings.Contains(fixed, "/M") {
			return r
		}
	}
}

// pathRequest makes a request for a serial number of which nothing is known but that the request's standard
// base64 has the wanted property. Serials have 8 to 20 octets, so every length of padding comes up.
func pathRequest(r *rig, wanted func(text string) bool) (der []byte, text string) {
	r.Helper()
	for range 100_000 {
		der = r.request(&x509.Certificate{SerialNumber: new(big.Int).Lsh(big.NewInt(0x40), 8*uint(7+mathrand.IntN(13)))})
		serial := der[bytes.LastIndexByte(der, 0x40):]
		for range 8 { // the serial is what the request ends with
			for i := range serial {
				serial[i] = byte(mathrand.Uint32())
			}
			serial[0] = serial[0]&0x7f | 0x40
			if text = base64.StdEncoding.EncodeToString(der); wanted(text) {
				return der, text
			}
		}
	}
	require.FailNow(r, "no such request")
	return nil, ""
}

// pathRich is wanted of requests in whose base64 every letter that needs care stands at least twice, but no two
// slashes in a row, which some muxes do not pass on.
func pathRich(text string) bool {
	return strings.Count(text, "+") >= 2 && strings.Count(text, "/") >= 2 && strings.HasSuffix(text, "==") && !pathDouble(text)
}

func pathDouble(text string) bool { return strings.Contains(text, "//") }

// pathGet sends a GET with a target as it stands in the request line.
func pathGet(r *rig, target string, der []byte) *ocsptest.Result {
	return httpAsk(r, httptest.NewRequest(http.MethodGet, target, nil), der)
}

// pathOK requires that each target, by its name, is answered.
func pathOK(r *rig, der []byte, targets map[string]string) {
	for name, target := range targets {
		httpRun(r, name, func(r *rig) { r.requireAnswer(pathGet(r, target, der), xocsp.Good) })
	}
}

// pathMalformed requires that each target, by its name, is malformed, and costs no signature.
func pathMalformed(r *rig, targets map[string]string) {
	before := r.signer.Calls()
	for name, target := range targets {
		httpRun(r, name, func(r *rig) { r.requireError(xocsp.Malformed, pathGet(r, target, nil)) })
	}
	assert.Equal(r, before, r.signer.Calls())
}

// pathEscapeAll percent-encodes every letter.
func pathEscapeAll(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// pathClean is what gorilla's router does by default.
func pathClean(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		clean := path.Clean(req.URL.Path)
		if strings.HasSuffix(req.URL.Path, "/") && clean != "/" {
			clean += "/"
		}
		if clean != req.URL.Path {
			http.Redirect(w, req, (&url.URL{Path: clean}).String(), http.StatusMovedPermanently)
			return
		}
		next.ServeHTTP(w, req)
	})
}

// pathMerge is what proxies do that merge slashes without a word.
func pathMerge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for pathDouble(req.URL.Path) {
			req.URL.Path = strings.ReplaceAll(req.URL.Path, "//", "/")
		}
		req.URL.RawPath = ""
		next.ServeHTTP(w, req)
	})
}

// pathStrip is what routers and proxies do that take slashes off the end, such as those that use path.Clean.
func pathStrip(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.URL = &url.URL{Path: path.Clean(req.URL.Path)}
		next.ServeHTTP(w, req)
	})
}

func TestT35SlashesMerged(t *testing.T) {
	t.Parallel()
	r := newPathRig(t, nil)
	mux := http.NewServeMux()
	mux.Handle("/ocsp/", r.handler)
	padded := func(text string) bool { return pathDouble(text) && strings.HasSuffix(text, "=") }
	unpadded := func(text string) bool { return pathDouble(text) && !strings.HasSuffix(text, "=") }
	atEnd := func(text string) bool { return strings.HasSuffix(text, "/") }
	for name, mount := range map[string]struct {
		handler   http.Handler
		redirects int // for each request
		wanted    func(string) bool
		requests  int
		answered  int // at least
	}{
		// Where a serial has other slashes too, there is more than one repair and so none.
		"ServeMux":      {mux, 1, padded, 60, 30},
		"gorilla":       {pathClean(r.handler), 1, padded, 60, 30},
		"merging proxy": {pathMerge(r.handler), 0, padded, 60, 30},
		// Without padding the slash may have been lost at the end. Then it is enough not to guess wrong.
		"ServeMux, no padding": {mux, 1, unpadded, 40, 0},
		"path.Clean":           {pathStrip(r.handler), 0, pathDouble, 40, 0},
		"path.Clean, at end":   {pathStrip(r.handler), 0, atEnd, 40, 0},
	} {
		httpRun(r, name, func(r *rig) {
			r.handler = mount.handler
			server := httpServer(r)
			redirects := 0
			server.Client().CheckRedirect = func(_ *http.Request, via []*http.Request) error {
				redirects++
				return nil
			}
			answered := 0
			for range mount.requests {
				der, text := pathRequest(r, mount.wanted)
				result, _ := httpDo(r, server, httptest.NewRequest(http.MethodGet, "/ocsp/"+text, nil), der)
				require.Equal(r, http.StatusOK, result.StatusCode)
				if status, err := ocsptest.ErrorStatus(result.DER); err == nil && status != xocsp.Success {
					r.requireError(xocsp.Malformed, result)
					continue
				}
				// This fails if the answer is about any serial but the one in der.
				r.requireAnswer(result, xocsp.Good)
				answered++
			}
			r.Logf("%d of %d requests that lost slashes were answered", answered, mount.requests)
			require.Equal(r, mount.redirects*mount.requests, redirects)
			require.GreaterOrEqual(r, answered, mount.answered)
		})
	}
}

// pathLines breaks base64 into lines of so many letters.
func pathLines(text, lineBreak string, letters int) string {
	var b strings.Builder
	for len(text) > letters {
		b.WriteString(text[:letters] + lineBreak)
		text = text[letters:]
	}
	return b.String() + text + lineBreak
}

func TestT44LineBreaks(t *testing.T) {
	t.Parallel()
	for _, isStrict := range []bool{false, true} {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Strict = isStrict })
		der := r.request(r.leaf)
		unknown := r.request(&x509.Certificate{SerialNumber: big.NewInt(0x1234567)})
		ask := func(der []byte, lineBreak string) *ocsptest.Result {
			text := base64.RawURLEncoding.EncodeToString(der)
			return pathGet(r, "/ocsp/"+pathLines(text, lineBreak, 64), der)
		}
		r.requireError(xocsp.Malformed, ask(der, "%09"))
		if isStrict {
			r.requireError(xocsp.Malformed, ask(der, "%0A"))
			continue
		}
		r.requireAnswer(ask(der, "%0A"), xocsp.Good)
		r.requireAnswer(ask(unknown, "%0D%0A"), xocsp.Unknown)
	}
}

// pathTwice percent-encodes what is percent-encoded already.
func pathTwice(escaped string) string { return strings.ReplaceAll(escaped, "%", "%25") }

func TestT45EncodedTwice(t *testing.T) {
	t.Parallel()
	once := func(der []byte) string { return pathEscapeAll(base64.StdEncoding.EncodeToString(der)) }
	strict := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Strict = true })
	strict.requireError(xocsp.Malformed,
		pathGet(strict, "/ocsp/"+pathTwice(once(strict.request(strict.leaf))), nil))

	r := newRig(t, nil)
	unknown := &x509.Certificate{SerialNumber: big.NewInt(0x1234567)}
	der := r.request(r.leaf)
	r.requireAnswer(pathGet(r, "/ocsp/"+pathTwice(once(der)), der), xocsp.Good)
	der = r.request(r.leaf, r.issue())
	r.requireAnswer(pathGet(r, "/ocsp/"+pathTwice(once(der)), der), xocsp.Good, xocsp.Good)
	der = r.request(unknown)
	r.requireAnswer(pathGet(r, "/ocsp/"+once(der), der), xocsp.Unknown)
	r.requireError(xocsp.Malformed, pathGet(r, "/ocsp/"+pathTwice(once(der)), nil))
	r.requireError(xocsp.Malformed,
		pathGet(r, "/ocsp/"+pathTwice(once(r.request(r.leaf, unknown))), nil))
	other := ocsptest.NewCA(ocsptest.Options{Name: "Foreign"}).Certificate
	foreign := r.client().Request(other, unknown)
	r.requireError(xocsp.Unauthorized, pathGet(r, "/ocsp/"+once(foreign), nil))
	r.requireError(xocsp.Malformed, pathGet(r, "/ocsp/"+pathTwice(once(foreign)), nil))
}

func TestT49QueryIgnored(t *testing.T) {
	t.Parallel()
	r := newPathRig(t, nil)
	der, text := pathRequest(r, pathRich)
	_, other := pathRequest(r, pathRich)
	pathOK(r, der, map[string]string{
		"plain":           "/ocsp/" + text + "?x=1",
		"escaped":         "/ocsp/" + url.PathEscape(text) + "?x=1",
		"empty":           "/ocsp/" + text + "?",
		"another request": "/ocsp/" + text + "?" + other,
		"a path":          "/ocsp/" + text + "?/" + other,
	})
}

func TestT50OnlyInQuery(t *testing.T) {
	t.Parallel()
	r := newPathRig(t, nil)
	_, text := pathRequest(r, pathRich)
	pathMalformed(r, map[string]string{
		"bare":      "/ocsp?" + text,
		"slash":     "/ocsp/?" + text,
		"a value":   "/ocsp?request=" + url.QueryEscape(text),
		"a path":    "/ocsp?/" + text,
		"at root":   "/?" + text,
		"a partial": "/ocsp/" + text[:40] + "?" + text[40:],
	})
}

// pathLong makes a target of exactly so many octets for a request about several certificates.
func pathLong(r *rig, length, certs int) (der []byte, target string) {
	var list []*x509.Certificate
	for i := range certs {
		list = append(list, &x509.Certificate{SerialNumber: big.NewInt(int64(1000 + i))})
	}
	der = r.request(list...)
	text := base64.StdEncoding.EncodeToString(der)
	target = "/" + strings.Repeat("p", length-len(text)-2) + "/" + text
	require.Len(r, target, length)
	return der, target
}

func TestT52LongURL(t *testing.T) {
	t.Parallel()
	const limit = 8 << 10 // the default
	r := newPathRig(t, nil)
	server := httpServer(r)
	for _, test := range []struct{ length, certs int }{{255, 1}, {256, 1}, {300, 2}, {1000, 8}, {4096, 32}, {limit - 1, 32}, {limit, 1}, {limit, 32}} {
		httpRun(r, fmt.Sprintf("%d octets, %d certificates", test.length, test.certs), func(r *rig) {
			der, target := pathLong(r, test.length, test.certs)
			statuses := make([]int, test.certs) // all good
			result, _ := httpDo(r, server, httptest.NewRequest(http.MethodGet, target, nil), der)
			r.requireAnswer(result, statuses...)
			r.requireAnswer(pathGet(r, target+"?"+strings.Repeat("q", limit), der), statuses...)
		})
	}
	httpRun(r, "a nonce of 128 octets", func(r *rig) {
		client := r.client()
		client.Nonce = []byte(strings.Repeat("n", 128))
		der := client.Request(r.ca.Certificate, r.leaf)
		target := httpPath(der)
		require.Greater(r, len(target), 255)
		r.requireAnswer(pathGet(r, target, der), xocsp.Good)
	})
}

func TestT53PathOverLimit(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int{"default": 0, "configured": 1000} {
		r := newPathRig(t, func(cfg *ocsp.Config) { cfg.Limits.MaxPathBytes = limit })
		if limit == 0 {
			limit = 8 << 10
		}
		httpRun(r, name, func(r *rig) {
			der, target := pathLong(r, limit, 1)
			r.requireAnswer(pathGet(r, target, der), xocsp.Good)
			signatures := r.signer.Calls()
			_, target = pathLong(r, limit+1, 1)
			httpRefused(r, http.StatusRequestURITooLong, pathGet(r, target, nil), signatures)
			der, text := pathRequest(r, pathRich)
			// Decoded, this one is below the limit; what counts is what was sent.
			escaped := "/" + strings.Repeat("%70", limit/3) + "/" + text
			httpRefused(r, http.StatusRequestURITooLong, pathGet(r, escaped, nil), signatures)
			// So it is where net/url leaves out RawPath, since it would write the path like that itself.
			for _, needed := range []string{"%20", "%0A", "%25"} {
				escaped = "/" + strings.Repeat(needed, (limit-len(text)-2)/3) + "/" + text
				r.requireAnswer(pathGet(r, escaped, der), xocsp.Good)
				signatures = r.signer.Calls()
				escaped = "/" + strings.Repeat(needed, (limit-len(text)-2)/3+1) + "/" + text
				httpRefused(r, http.StatusRequestURITooLong, pathGet(r, escaped, nil), signatures)
			}
			head := httpAsk(r, httptest.NewRequest(http.MethodHead, target, nil), nil)
			require.Equal(r, http.StatusRequestURITooLong, head.StatusCode)
			require.Empty(r, head.DER)
		})
	}
}

func TestT55Mounts(t *testing.T) {
	t.Parallel()
	r := newPathRig(t, nil)
	serveMux := func(patterns ...string) http.Handler {
		mux := http.NewServeMux()
		for _, pattern := range patterns {
			mux.Handle(pattern, r.handler)
		}
		return mux
	}
	notFound := http.NewServeMux()
	// What has been tested of each encoding on the bare handler must hold through every mount.
	encodings := map[string]func(string) string{
		"T29": url.QueryEscape,
		"T30": func(text string) string { return text },
		"T31": func(text string) string { return strings.ReplaceAll(text, "+", "%2b") },
		"T32": func(text string) string { return strings.ReplaceAll(url.PathEscape(text), "=", "%3D") },
		"T33": func(text string) string { return strings.ReplaceAll(text, "+", "%20") },
	}
	for name, mount := range map[string]struct {
		handler http.Handler
		prefix  string   // before the request
		posts   []string // paths to post to
		cleans  bool     // redirects T34
	}{
		"at /":                             {r.handler, "/", []string{"/"}, false},
		"at /ocsp":                         {r.handler, "/ocsp/", []string{"/ocsp", "/ocsp/"}, false},
		"at /a/b/ocsp":                     {r.handler, "/a/b/ocsp/", []string{"/a/b/ocsp", "/a/b/ocsp/"}, false},
		"at /Market/MFEw/M":                {r.handler, "/Market/MFEw/M/", []string{"/Market/MFEw/M"}, false}, // like base64 of a SEQUENCE
		"StripPrefix":                      {http.StripPrefix("/ocsp", r.handler), "/ocsp/", []string{"/ocsp", "/ocsp/"}, false},
		"StripPrefix with a slash":         {http.StripPrefix("/ocsp/", r.handler), "/ocsp/", []string{"/ocsp/"}, false},
		"StripPrefix of several":           {http.StripPrefix("/a/b/ocsp", r.handler), "/a/b/ocsp/", []string{"/a/b/ocsp", "/a/b/ocsp/"}, false},
		"ServeMux /":                       {serveMux("/"), "/", []string{"/"}, true},
		"ServeMux /ocsp and /ocsp/":        {serveMux("/ocsp", "/ocsp/"), "/ocsp/", []string{"/ocsp", "/ocsp/"}, true},
		"ServeMux /a/b/ocsp/":              {serveMux("/a/b/ocsp/"), "/a/b/ocsp/", []string{"/a/b/ocsp/"}, true},
		"ServeMux wildcard":                {serveMux("GET /ocsp/{request...}", "POST /ocsp"), "/ocsp/", []string{"/ocsp"}, true},
		"Mount /":                          {ocsp.Mount("/", r.handler, notFound), "/", []string{"/"}, false},
		"Mount nothing":                    {ocsp.Mount("", r.handler, nil), "/", []string{"/"}, false},
		"Mount /ocsp":                      {ocsp.Mount("/ocsp", r.handler, notFound), "/ocsp/", []string{"/ocsp", "/ocsp/"}, false},
		"Mount /ocsp/":                     {ocsp.Mount("/ocsp/", r.handler, notFound), "/ocsp/", []string{"/ocsp", "/ocsp/"}, false},
		"Mount /a/b/ocsp":                  {ocsp.Mount("/a/b/ocsp", r.handler, notFound), "/a/b/ocsp/", []string{"/a/b/ocsp", "/a/b/ocsp/"}, false},
		"Mount ocsp":                       {ocsp.Mount("ocsp", r.handler, nil), "/ocsp/", []string{"/ocsp", "/ocsp/"}, false},
		"Mount with StripPrefix":           {ocsp.Mount("/ocsp", http.StripPrefix("/ocsp", r.handler), nil), "/ocsp/", []string{"/ocsp", "/ocsp/"}, false},
		"Mount with StripPrefix and slash": {ocsp.Mount("/ocsp", http.StripPrefix("/ocsp/", r.handler), nil), "/ocsp/", []string{"/ocsp/"}, false},
	} {
		httpRun(r, name, func(r *rig) {
			r.handler = mount.handler
			der, text := pathRequest(r, pathRich)
			for encoding, encode := range encodings {
				httpRun(r, encoding, func(r *rig) {
					r.requireAnswer(pathGet(r, mount.prefix+encode(text), der), xocsp.Good)
				})
			}
			httpRun(r, "T34", func(r *rig) {
				der, text := pathRequest(r, pathDouble)
				result := pathGet(r, mount.prefix+text, der)
				if mount.cleans {
					require.Equal(r, http.StatusTemporaryRedirect, result.StatusCode) // T35 follows it
					return
				}
				r.requireAnswer(result, xocsp.Good)
			})
			for _, target := range mount.posts {
				httpRun(r, "POST "+target, func(r *rig) {
					req := httptest.NewRequest(http.MethodPost, target, strings.NewReader(string(der)))
					r.requireAnswer(httpAsk(r, req, der), xocsp.Good)
				})
			}
		})
	}
	httpRun(r, "beside Mount", func(r *rig) {
		teapot := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
		for prefix, want := range map[string]int{"/ocsp": http.StatusOK, "/other": http.StatusTeapot, "/ocsp2": http.StatusTeapot, "": http.StatusTeapot} {
			der, text := pathRequest(r, pathRich)
			target := prefix + "/" + text
			r.handler = ocsp.Mount("/ocsp", newPathRig(r.T, nil).handler, teapot)
			require.Equal(r, want, pathGet(r, target, der).StatusCode, target)
			r.handler = ocsp.Mount("/ocsp", newPathRig(r.T, nil).handler, nil)
			if want == http.StatusTeapot {
				want = http.StatusNotFound
			}
			require.Equal(r, want, pathGet(r, target, der).StatusCode, target)
		}
	})
}

// TestT56CutShort cuts octets off requests whose serials have slashes. What is missing looks like slashes that
// a router took, but putting them back gives serials that nobody asked about and that were never issued.
func TestT56CutShort(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	answered := 0
	for range 100 {
		der, text := pathRequest(r, func(text string) bool { return strings.Contains(text[88:], "/") })
		whole := pathGet(r, "/ocsp/"+text, der)
		r.requireAnswer(whole, xocsp.Unknown)
		for cut := 1; cut <= 2; cut++ {
			result := pathGet(r, "/ocsp/"+base64.StdEncoding.EncodeToString(der[:len(der)-cut]), nil)
			if status, err := ocsptest.ErrorStatus(result.DER); err == nil && status == xocsp.Success {
				answered++
				continue
			}
			r.requireError(xocsp.Malformed, result)
		}
	}
	assert.Zero(t, answered, "signed answers to 200 requests that were cut short")
}
