package ocsp

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Header values that every answer shares. net/http does not change them.
var (
	responseType   = []string{"application/ocsp-response"}
	allowedMethods = []string{"GET, HEAD, POST, OPTIONS"}
	noStore        = []string{"no-store"}
	// An answer with a nonce, or about a certificate that was never issued, is authoritative and so must not
	// carry no-store (RFC 9919 section 7.2), but is of no use to anyone else.
	notReusable = []string{"max-age=0, no-transform, must-revalidate"}
)

const requestType = "application/ocsp-request"

// Handler returns the HTTP side of the Responder (RFC 6960 appendix A, RFC 9919 section 6). It may be mounted
// anywhere, with its prefix stripped or not, for paths with and without a slash at the end; see Mount for
// muxes that clean paths.
//
// Every OCSP outcome, errors included, has status 200 and the type application/ocsp-response. Other codes are
// HTTP's own: 204 for OPTIONS, 304, 400 for a body that breaks off, 404 when disabled, 405, 408, 413, 414 and 415.
func (r *Responder) Handler() http.Handler {
	if r.cfg.Disabled {
		return http.NotFoundHandler()
	}
	return http.HandlerFunc(r.serveHTTP)
}

// Mount returns a handler that sends prefix, and everything below it, to h, and the rest to next. It stands
// before a mux that cleans paths, such as http.ServeMux or gorilla's, which would redirect a GET whose base64
// contains two slashes in a row. A nil next answers 404.
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
		endConnection(w)
	}
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		r.serveGet(w, req)
	case http.MethodPost:
		r.servePost(w, req)
	case http.MethodOptions:
		w.Header()["Allow"] = allowedMethods
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header()["Allow"] = allowedMethods
		refuse(w, http.StatusMethodNotAllowed)
	}
}

// refuse answers with an HTTP error, which no cache keeps.
func refuse(w http.ResponseWriter, code int) {
	w.Header()["Cache-Control"] = noStore
	http.Error(w, http.StatusText(code), code)
}

func (r *Responder) serveGet(w http.ResponseWriter, req *http.Request) {
	if max(len(req.URL.Path), len(req.URL.RawPath)) > r.cfg.Limits.MaxPathBytes {
		refuse(w, http.StatusRequestURITooLong)
		return
	}
	x := r.acquire(req.Method)
	defer r.release(x)
	// A path without a request leaves nothing, which is malformed.
	x.buf, x.repaired = getRequest(req.URL.Path, x.buf, r.acceptRepair)
	p := r.respond(req.Context(), x.buf, x)
	r.write(w, req, p, x)
}

func (r *Responder) servePost(w http.ResponseWriter, req *http.Request) {
	if code := r.checkPost(req); code != 0 {
		refusePost(w, code)
		return
	}
	x := r.acquire(req.Method)
	defer r.release(x)
	switch err := r.readBody(w, req, x); {
	case err == nil:
		r.write(w, req, r.respond(req.Context(), x.buf, x), x)
	case errors.Is(err, errTooLarge):
		refusePost(w, http.StatusRequestEntityTooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		refusePost(w, http.StatusRequestTimeout)
	default:
		refusePost(w, http.StatusBadRequest)
	}
}

// bodyLinger is how long a client may go on sending a body that was refused. Closing at once would reset the
// connection under a client that has not read the refusal.
const bodyLinger = 500 * time.Millisecond

// endConnection is for requests whose body is not read to its end. net/http reads what is left, and would wait
// for it as long as the client pleases.
func endConnection(w http.ResponseWriter) {
	w.Header()["Connection"] = []string{"close"}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyLinger)) // as good as it gets elsewhere
}

func refusePost(w http.ResponseWriter, code int) {
	endConnection(w)
	refuse(w, code)
}

// checkPost returns the code to refuse a POST with before its body is read, 0 for none.
func (r *Responder) checkPost(req *http.Request) int {
	if req.ContentLength > int64(r.cfg.Limits.MaxRequestBytes) {
		return http.StatusRequestEntityTooLarge
	}
	if e := req.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return http.StatusUnsupportedMediaType
	}
	if r.cfg.Strict {
		mediaType, _, _ := strings.Cut(req.Header.Get("Content-Type"), ";")
		if !strings.EqualFold(strings.TrimSpace(mediaType), requestType) {
			return http.StatusUnsupportedMediaType
		}
	}
	return 0
}

var errTooLarge = errors.New("ocsp: request body too large")

// readBody reads the whole body into x.buf, up to the limit and for Config.Timeout at the most.
func (r *Responder) readBody(w http.ResponseWriter, req *http.Request, x *exchange) error {
	if req.Body == nil || req.ContentLength == 0 {
		return nil
	}
	defer r.limitRead(w, req)()
	limit := r.cfg.Limits.MaxRequestBytes
	if x.buf == nil {
		x.buf = make([]byte, 0, 512)
	}
	for {
		if len(x.buf) == cap(x.buf) {
			x.buf = append(x.buf, 0)[:len(x.buf)]
		}
		// One octet over the limit is enough to know.
		n, err := req.Body.Read(x.buf[len(x.buf):min(cap(x.buf), limit+1)])
		x.buf = x.buf[:len(x.buf)+n]
		switch {
		case len(x.buf) > limit:
			return errTooLarge
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// limitRead puts a deadline on reading the body, unless the server has a stricter one or knows no deadlines,
// and returns what takes it off again.
func (r *Responder) limitRead(w http.ResponseWriter, req *http.Request) func() {
	nothing := func() {}
	if s, ok := req.Context().Value(http.ServerContextKey).(*http.Server); !ok || s.ReadTimeout > 0 && s.ReadTimeout <= r.cfg.Timeout {
		return nothing
	}
	c := http.NewResponseController(w)
	if c.SetReadDeadline(time.Now().Add(r.cfg.Timeout)) != nil {
		return nothing
	}
	return func() { _ = c.SetReadDeadline(time.Time{}) }
}

// write sends a reply with the headers of RFC 9919 section 7.2.
func (r *Responder) write(w http.ResponseWriter, req *http.Request, p *reply, x *exchange) {
	h := w.Header()
	h["Content-Type"] = responseType
	if !p.cacheable {
		h["Cache-Control"] = noStore
		if p.outcome == 0 {
			h["Cache-Control"] = notReusable
		}
		h["Content-Length"] = p.contentLength[:]
		sendBody(w, req, p)
		return
	}
	h["Cache-Control"] = p.cacheControl(r.maxAge(p, x))
	h["Etag"] = p.etag[:]
	h["Expires"] = p.expires[:]
	if notModified(req, p) {
		delete(h, "Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h["Last-Modified"] = p.lastModified[:]
	h["Content-Length"] = p.contentLength[:]
	sendBody(w, req, p)
}

func sendBody(w http.ResponseWriter, req *http.Request, p *reply) {
	w.WriteHeader(http.StatusOK)
	if req.Method != http.MethodHead {
		_, _ = w.Write(p.der) // a client that is gone needs no answer
	}
}

// notModified evaluates If-None-Match and If-Modified-Since, which are for GET and HEAD only (RFC 9110 section 13.1).
//
// Two answers signed within one second have the same Last-Modified. So a date is no reason to let a client
// keep its answer unless the present one is good: no revocation must hide behind a 304.
func notModified(req *http.Request, p *reply) bool {
	match, since := req.Header["If-None-Match"], req.Header["If-Modified-Since"]
	if match == nil && since == nil || req.Method == http.MethodPost {
		return false
	}
	conditions := http.Header{}
	switch {
	case match != nil:
		conditions["If-None-Match"] = []string{strings.Join(match, ", ")}
	case p.good():
		conditions["If-Modified-Since"] = since
	default:
		return false
	}
	// net/http knows lists, weak tags and the forms of dates.
	probe := &probe{http.Header{"Etag": p.etag[:], "Content-Type": responseType}, 0}
	http.ServeContent(probe, &http.Request{Method: http.MethodHead, Header: conditions}, "", time.Unix(p.thisUpdate, 0), bytes.NewReader(nil))
	return probe.code == http.StatusNotModified
}

// probe is an http.ResponseWriter that only notes the status.
type probe struct {
	header http.Header
	code   int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) WriteHeader(code int)        { p.code = code }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }

// cacheControl returns the Cache-Control header for a max-age, made once in each second.
func (p *reply) cacheControl(maxAge int64) []string {
	if c := p.control.Load(); c != nil && c.maxAge == maxAge {
		return c.value
	}
	c := &cacheControl{maxAge, []string{"max-age=" + strconv.FormatInt(maxAge, 10) + ", public, no-transform, must-revalidate"}}
	p.control.Store(c)
	return c.value
}

// cacheControl is a header value and the max-age in it.
type cacheControl struct {
	maxAge int64
	value  []string
}

// renewingMaxAge is for how many seconds HTTP caches may keep a reply whose successor is under way.
const renewingMaxAge = 1

// maxAge returns for how many seconds HTTP caches may keep a reply: up to its refresh point and, when the
// reply that should follow it could not be made, up to its end, less a second.
func (r *Responder) maxAge(p *reply, x *exchange) int64 {
	now := ceilSecond(x.now)
	age := p.nextUpdate - now - 1
	if now < p.refreshAt {
		age = min(age, p.refreshAt-now)
	}
	if x.renewing {
		age = min(age, renewingMaxAge)
	}
	if r.cfg.MaxAge > 0 {
		age = min(age, int64(r.cfg.MaxAge/time.Second))
	}
	return max(age, 0)
}
