/*
Package ocspfasthttp serves OCSP with fasthttp, for a plain-HTTP listener that carries nothing else: the one that
switches, browsers and staplers need anyway, since they ask without TLS. Answers are those of Responder.Handler, by the
same pipeline; what net/http costs is saved.

	server := ocspfasthttp.NewServer(responder)
	err := server.ListenAndServe(":80")
	…
	err = server.ShutdownWithContext(ctx) // then responder.Close

fasthttp speaks HTTP/1.1 and 1.0. For TLS, HTTP/2, or an API beside OCSP mount Responder.Handler in net/http.
*/
package ocspfasthttp

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/kmsocsp/ocsp"
)

// The limits of NewServer's servers. They leave room for the default ocsp.Limits.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
	idleTimeout  = 2 * time.Minute
	maxBody      = 16 << 10 // as Limits.MaxRequestBytes by default
	maxHeader    = 16 << 10 // Limits.MaxPathBytes by default, thrice escaped in part, and other fields
)

// Server is a fasthttp.Server. Its Serve and ListenAndServe make timeouts cheap; the others serve as well.
type Server struct{ fasthttp.Server }

// NewServer returns a server for the responder's answers, with timeouts and limits that fit OCSP. The fields may be
// changed before it serves: MaxRequestBodySize, 16 KiB, should follow ocsp.Limits.MaxRequestBytes.
func NewServer(r *ocsp.Responder) *Server {
	return &Server{fasthttp.Server{
		Handler:                      Handler(r),
		ErrorHandler:                 refuse,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxRequestBodySize:           maxBody,
		ReadBufferSize:               maxHeader,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		DisablePreParseMultipartForm: true,
		CloseOnShutdown:              true,
		LazyRequestTime:              true,
		Logger:                       silent{},
	}}
}

// Serve serves connections until Shutdown.
func (s *Server) Serve(l net.Listener) error { return s.Server.Serve(listener{l}) }

// ListenAndServe serves TCP connections to an address such as ":80" until Shutdown.
func (s *Server) ListenAndServe(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return s.Serve(l)
}

// silent drops what fasthttp would log: clients that misbehave.
type silent struct{}

func (silent) Printf(string, ...any) {}

// Handler returns the responder's handler for a server of the host's own. Not below fasthttp.CompressHandler, which
// compresses answers in spite of their no-transform.
func Handler(r *ocsp.Responder) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		header := &ctx.Request.Header
		req := ocsp.HTTPRequest{Method: method(header)}
		var letters [512]byte
		raw := ctx.URI().PathOriginal() // as sent: fasthttp's own Path has slashes merged
		path, ok := appendUnescaped(letters[:0], raw)
		if !ok {
			answer(ctx, http.StatusBadRequest)
			return
		}
		if req.Method == http.MethodPost { // whose path is of no interest
			req.Body = ctx.PostBody()
			req.ContentType, req.ContentEncoding = string(header.ContentType()), list(header, "Content-Encoding")
		} else {
			req.Path = string(path)
			if len(path) != len(raw) {
				req.RawPath = string(raw)
			}
			req.IfNoneMatch = list(header, "If-None-Match")
			req.IfModifiedSince = string(header.Peek("If-Modified-Since"))
		}
		// The RequestCtx is used again after the request; what the responder starts may live longer.
		response := r.RespondHTTP(context.Background(), &req)
		ctx.SetStatusCode(response.StatusCode)
		var room [128]byte
		for name, value := range response.Header() {
			if name != "Content-Length" || header.IsHead() { // else it is fasthttp's
				named := append(room[:0], name...)
				ctx.Response.Header.SetCanonical(named, append(named, value...)[len(named):])
			}
		}
		// Answers are shared and not changed, here as there.
		ctx.Response.SetBodyRaw(response.Body)
		ctx.Response.SkipBody = header.IsHead()
	}
}

// list returns the values of all fields of that name, joined by commas (RFC 9110 section 5.3).
func list(header *fasthttp.RequestHeader, name string) string {
	return string(bytes.Join(header.PeekAll(name), []byte(", ")))
}

func method(header *fasthttp.RequestHeader) string {
	switch {
	case header.IsPost():
		return http.MethodPost
	case header.IsGet():
		return http.MethodGet
	}
	return string(header.Method())
}

// appendUnescaped appends a path without its percent-encoding. It reports false where that is broken, as
// url.PathUnescape does, which takes strings.
func appendUnescaped(dst, path []byte) ([]byte, bool) {
	for {
		at := bytes.IndexByte(path, '%')
		if at < 0 {
			return append(dst, path...), true
		}
		dst = append(dst, path[:at]...)
		if len(path) < at+3 {
			return dst, false
		}
		var octet [1]byte
		if _, err := hex.Decode(octet[:], path[at+1:at+3]); err != nil {
			return dst, false
		}
		dst, path = append(dst, octet[0]), path[at+3:]
	}
}

// refuse answers what fasthttp could not read.
func refuse(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		drain(ctx.Conn())
		answer(ctx, http.StatusRequestEntityTooLarge)
	case errors.As(err, &small):
		answer(ctx, http.StatusRequestHeaderFieldsTooLarge)
	case errors.As(err, &network) && network.Timeout():
		answer(ctx, http.StatusRequestTimeout)
	default:
		answer(ctx, http.StatusBadRequest)
	}
	ctx.SetConnectionClose()
}

// drain reads what a client goes on sending, for a while: closing under it would reset the connection, and the refusal
// be lost.
func drain(c net.Conn) {
	const linger, most = 500 * time.Millisecond, 256 << 10
	if c.SetReadDeadline(time.Now().Add(linger)) == nil {
		_, _ = io.CopyN(io.Discard, c, most) // as much as comes
	}
}

// answer sends one of HTTP's own errors, as net/http writes them.
func answer(ctx *fasthttp.RequestCtx, code int) {
	ctx.Response.Reset()
	ctx.SetStatusCode(code)
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.Response.Header.Set("Cache-Control", "no-store")
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	ctx.SetBodyString(http.StatusText(code) + "\n")
}
