package ocsp

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const requestType = "application/ocsp-request"

// Handler returns the HTTP side of the Responder (RFC 6960 appendix A, RFC 9919 section 6). It may be mounted
// anywhere, with its prefix stripped or not, for paths with and without a slash at the end; see Mount for
// muxes that clean paths.
//
// Every OCSP outcome, errors included, has status 200 and the type application/ocsp-response. Other codes are
// HTTP's own: 204 for OPTIONS, 304, 400 for a body that breaks off, 404 when disabled, 405, 408, 413, 414 and 415.
//
// Middleware that compresses should leave answers out: mount before it, or make an exception. Most of it disregards
// Cache-Control: no-transform (RFC 9111 section 5.2.2.6), which answers have. Clients that send no Accept-Encoding,
// as most do not, get the answer as it is in any case.
//
// The values of the header fields are shared with other answers: middleware may replace them in the map, but must not
// change the slices.
func (r *Responder) Handler() http.Handler {
	if r.cfg.Disabled {
		return http.NotFoundHandler()
	}
	return http.HandlerFunc(r.serveHTTP)
}

// Mount returns a handler that sends prefix, and everything below it, to h, and the rest to next. It stands
// before a mux that cleans paths, such as http.ServeMux or gorilla's, which would redirect a GET whose base64
// contains two slashes in a row. With a router and its middleware as next, none of that sees a request below prefix:
// so nothing compresses answers, but nothing logs or authenticates either. A nil next answers 404.
func Mount(prefix string, h, next http.Handler) http.Handler {
	prefix = "/" + strings.Trim(prefix, "/")
	if next == nil {
		next = http.NotFoundHandler()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if rest, ok := strings.CutPrefix(req.URL.Path, prefix); ok && (prefix == "/" || rest == "" || rest[0] == '/') {
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
	defer r.release(x)
	var m HTTPRequest
	m.Method, m.Path, m.RawPath = req.Method, req.URL.Path, req.URL.RawPath
	if m.RawPath == "" && len(m.Path) > r.cfg.Limits.MaxPathBytes/3 { // or it is short, however it was sent
		m.RawPath = req.URL.EscapedPath() // which net/url leaves out where it is what it writes itself
	}
	if req.Method == http.MethodPost {
		m.ContentType, m.ContentEncoding = field(req, "Content-Type"), list(req, "Content-Encoding")
		if code := r.readBody(w, req, &m, x); code != 0 {
			endConnection(w, req)
			send(w, refusal(code, req.Method))
			return
		}
	} else {
		m.IfNoneMatch, m.IfModifiedSince = list(req, "If-None-Match"), field(req, "If-Modified-Since")
	}
	send(w, r.respondHTTP(req.Context(), &m, x))
}

// field returns a header field's first value. The name is in its canonical form, which Header.Get would look for.
func field(req *http.Request, name string) string {
	if values := req.Header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// list returns the values of all fields of that name, joined by commas (RFC 9110 section 5.3).
func list(req *http.Request, name string) string { return strings.Join(req.Header[name], ", ") }

func send(w http.ResponseWriter, response HTTPResponse) {
	h := w.Header()
	for name, value := range response.Header {
		h[name] = value
	}
	w.WriteHeader(response.StatusCode)
	if len(response.Body) > 0 {
		_, _ = w.Write(response.Body) // a client that is gone needs no answer
	}
}

// bodyLinger is how long a client may go on sending a body that was refused. Closing at once would reset the
// connection under a client that has not read the refusal.
const bodyLinger = 500 * time.Millisecond

// endConnection is for requests whose body is not read to its end. HTTP/1 ends the connection: net/http reads what is
// left of the body, and would wait for it as long as the client pleases. HTTP/2 resets the stream when the handler
// returns, and the connection serves the other streams. There "Connection: close" would end all of them.
func endConnection(w http.ResponseWriter, req *http.Request) {
	if req.ProtoMajor > 1 {
		return
	}
	w.Header()["Connection"] = []string{"close"}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyLinger)) // as good as it gets elsewhere
}

// readBody reads a POST's body into x.buf, for Config.Timeout at most, and returns the code to refuse
// it with, or 0.
func (r *Responder) readBody(w http.ResponseWriter, req *http.Request, m *HTTPRequest, x *exchange) int {
	if code := r.checkPost(m, req.ContentLength); code != 0 || req.Body == nil || req.ContentLength == 0 {
		return code
	}
	conn := http.NewResponseController(w)
	limited := !endsSooner(req, r.cfg.Timeout) &&
		conn.SetReadDeadline(time.Now().Add(r.cfg.Timeout)) == nil // some writers have no deadlines
	err := x.read(req.Body, r.cfg.Limits.MaxRequestBytes)
	if limited {
		// net/http watches the connection from the end of the body on. That must not run into the
		// deadline: it would cancel this request and all that follow on the connection.
		_ = conn.SetReadDeadline(time.Time{})
	}
	switch {
	case len(x.buf) > r.cfg.Limits.MaxRequestBytes:
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout
	case err != nil:
		return http.StatusBadRequest
	}
	m.Body = x.buf
	return 0
}

// endsSooner reports whether net/http itself ends reading a request before the timeout. Its deadline must
// not be replaced by a later one.
func endsSooner(req *http.Request, timeout time.Duration) bool {
	server, _ := req.Context().Value(http.ServerContextKey).(*http.Server)
	return server != nil && server.ReadTimeout > 0 && server.ReadTimeout <= timeout
}

// read reads a body into x.buf, up to one octet over the limit, which is enough to know.
func (x *exchange) read(body io.Reader, limit int) error {
	if x.buf == nil {
		x.buf = make([]byte, 0, 512)
	}
	for {
		if len(x.buf) == cap(x.buf) {
			x.buf = append(x.buf, 0)[:len(x.buf)]
		}
		n, err := body.Read(x.buf[len(x.buf):min(cap(x.buf), limit+1)])
		x.buf = x.buf[:len(x.buf)+n]
		switch {
		case err == io.EOF:
			return nil
		case err != nil || len(x.buf) > limit:
			return err
		}
	}
}
