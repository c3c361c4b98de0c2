package ocsp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp/internal/getpath"
)

// Handler returns the HTTP side of the Responder (RFC 6960 appendix A, RFC 9919 section 6). It may
// be mounted anywhere, with its prefix stripped or not, for paths with and without a slash at the
// end. See Mount for muxes that clean paths.
//
// Every OCSP outcome, including errors, has status 200 and the type application/ocsp-response.
// Other codes are those of HTTP: 204 for OPTIONS, 304, 400 for a body that breaks off, 404 when
// disabled, 405, 408, 413, 414 and 415.
//
// Middleware that compresses should exclude answers: mount the handler before it, or make an
// exception. Most of it disregards Cache-Control: no-transform (RFC 9111 section 5.2.2.6), which
// answers have. Clients without Accept-Encoding, which most are, get the answer unchanged in any
// case.
//
// The values of the header fields are shared with other answers. Middleware may replace them in the
// map, but must not change the slices.
func (r *Responder) Handler() http.Handler {
	if r.disabled() {
		return http.NotFoundHandler()
	}
	return http.HandlerFunc(r.serveHTTP)
}

// Mount returns a handler that sends requests for prefix, and for all paths below it, to h, and
// other requests to next. It belongs before a mux that cleans paths, such as http.ServeMux or
// gorilla's, which would redirect a GET whose base64 contains two slashes in a row. If next is a
// router with middleware, that middleware does not see requests below prefix: it does not compress
// answers, and it does not log or authenticate requests. If next is nil, other requests get 404.
func Mount(prefix string, h, next http.Handler) http.Handler {
	prefix = "/" + strings.Trim(prefix, "/")
	if next == nil {
		next = http.NotFoundHandler()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		rest, ok := strings.CutPrefix(req.URL.Path, prefix)
		if ok && (prefix == "/" || rest == "" || rest[0] == '/') {
			h.ServeHTTP(w, req)
			return
		}
		next.ServeHTTP(w, req)
	})
}

func (r *Responder) serveHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost && req.ContentLength != 0 {
		endConnection(w, req)
	}
	x := r.acquire(req.Method)
	defer x.release()
	var m HTTPRequest
	m.Method, m.Path, m.RawPath = req.Method, req.URL.Path, req.URL.RawPath
	if m.RawPath == "" && len(m.Path) > r.http.maxPath/3 { // a shorter path is within the limit
		m.RawPath = req.URL.EscapedPath() // RawPath is empty if it is the default encoding
	}
	if req.Method == http.MethodPost {
		m.ContentType = firstValue(req, "Content-Type")
		m.ContentEncoding = allValues(req, "Content-Encoding")
		code := 0
		if x.buf, code = r.http.readBody(w, req, &m, x.buf); code != 0 {
			endConnection(w, req)
			writeResponse(w, httpError(code, req.Method))
			return
		}
		m.Body = x.buf
	} else {
		m.IfNoneMatch = allValues(req, "If-None-Match")
		m.IfModifiedSince = firstValue(req, "If-Modified-Since")
	}
	writeResponse(w, x.respondHTTP(req.Context(), &m))
}

// firstValue returns the first value of a header field. The name must be canonical, which saves the
// conversion that Header.Get does.
func firstValue(req *http.Request, name string) string {
	if values := req.Header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// allValues returns the values of all fields of that name, joined by commas (RFC 9110 section 5.3).
func allValues(req *http.Request, name string) string {
	return strings.Join(req.Header[name], ", ")
}

func writeResponse(w http.ResponseWriter, res HTTPResponse) {
	header := w.Header()
	for name, values := range res.fields {
		header[name] = values
	}
	w.WriteHeader(res.StatusCode)
	if len(res.Body) > 0 {
		_, _ = w.Write(res.Body) // an error means that the client has left
	}
}

// bodyLinger is how long a client may go on sending a body that was refused. To close the
// connection at once would reset it before the client has read the refusal.
const bodyLinger = 500 * time.Millisecond

// endConnection is called for requests whose body is not read to its end. HTTP/1 ends the
// connection: net/http reads the rest of the body, and would wait for it as long as the client
// pleases. HTTP/2 resets the stream when the handler returns, and the connection serves its other
// streams. There "Connection: close" would end them all.
func endConnection(w http.ResponseWriter, req *http.Request) {
	if req.ProtoMajor > 1 {
		return
	}
	w.Header()["Connection"] = []string{"close"}
	// Where deadlines are not supported, the server's own must do.
	setReadDeadline(w, time.Now().Add(bodyLinger))
}

// setReadDeadline sets the deadline of a connection's reads, and reports whether that worked. Some
// writers have no deadlines. Others panic: fasthttp's adaptor has one that wraps a nil connection.
func setReadDeadline(w http.ResponseWriter, t time.Time) (ok bool) {
	defer func() { _ = recover() }()
	return http.NewResponseController(w).SetReadDeadline(t) == nil
}

// readBody reads a POST's body into buf, for at most bodyTimeout. It returns the code to refuse the
// request with, or 0.
func (h *httpPolicy) readBody(
	w http.ResponseWriter, req *http.Request, m *HTTPRequest, buf []byte,
) ([]byte, int) {
	code := h.checkPost(m, req.ContentLength)
	if code != 0 || req.Body == nil || req.ContentLength == 0 {
		return buf, code
	}
	limited := !endsSooner(req, h.bodyTimeout) && setReadDeadline(w, time.Now().Add(h.bodyTimeout))
	buf, err := readUpTo(req.Body, buf, h.maxBody+1)
	if limited {
		// net/http watches the connection from the end of the body on. That must not run into the
		// deadline: it would cancel this request and all that follow on the connection.
		setReadDeadline(w, time.Time{})
	}
	switch {
	case len(buf) > h.maxBody:
		return buf, http.StatusRequestEntityTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return buf, http.StatusRequestTimeout
	case err != nil:
		return buf, http.StatusBadRequest
	}
	return buf, 0
}

// endsSooner reports whether net/http itself ends reading a request before the timeout. Its
// deadline must not be replaced by a later one.
func endsSooner(req *http.Request, timeout time.Duration) bool {
	server, _ := req.Context().Value(http.ServerContextKey).(*http.Server)
	return server != nil && server.ReadTimeout > 0 && server.ReadTimeout <= timeout
}

// readUpTo reads a body into buf, to its end or up to limit octets.
func readUpTo(body io.Reader, buf []byte, limit int) ([]byte, error) {
	if buf == nil {
		buf = make([]byte, 0, 512)
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := body.Read(buf[len(buf):min(cap(buf), limit)])
		buf = buf[:len(buf)+n]
		switch {
		case err == io.EOF:
			return buf, nil
		case err != nil || len(buf) >= limit:
			return buf, err
		}
	}
}

// RespondHTTP answers an HTTP request as Handler does, for servers other than those of net/http,
// such as fasthttp. The server itself must limit the size and the time of what it reads, and must
// close the connection of a client whose body it did not read.
func (r *Responder) RespondHTTP(ctx context.Context, req *HTTPRequest) HTTPResponse {
	if r.disabled() {
		return httpError(http.StatusNotFound, req.Method)
	}
	x := r.acquire(req.Method)
	defer x.release()
	h := x.respondHTTP(ctx, req)
	if h.pooled {
		h.Body = bytes.Clone(h.Body)
	}
	return h
}

func (x *exchange) respondHTTP(ctx context.Context, req *HTTPRequest) HTTPResponse {
	der := req.Body
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		if max(len(req.Path), len(req.RawPath)) > x.http.maxPath {
			return httpError(http.StatusRequestURITooLong, req.Method)
		}
		// A path without a request leaves x.buf empty, which is malformed.
		if x.http.strict {
			x.buf, x.repaired = getpath.FindStrict(req.Path, x.buf, x.accepts)
		} else {
			x.buf, x.repaired = getpath.Find(req.Path, x.buf, x.accepts)
		}
		der = x.buf
	case http.MethodPost:
		if code := x.http.checkPost(req, int64(len(req.Body))); code != 0 {
			return httpError(code, req.Method)
		}
	case http.MethodOptions:
		return HTTPResponse{StatusCode: http.StatusNoContent}
	default:
		return httpError(http.StatusMethodNotAllowed, req.Method)
	}
	p, now := x.Responder.respond(ctx, der, x)
	return x.http.response(req, p, now, x.renewing)
}

// accepts reports whether a repaired request can be answered.
func (x *exchange) accepts(der []byte) bool { return x.issuers.load().accepts(der, x.limits) }
