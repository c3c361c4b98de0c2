package ocsp

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/getpath"
)

// HTTPRequest is what RespondHTTP needs of an HTTP request.
type HTTPRequest struct {
	Method string

	// Path is the URL's, percent-decoded once, as in net/url. RawPath is the one that was sent, or empty if
	// that is the same; it only counts for Limits.MaxPathBytes.
	Path, RawPath string

	// Body is the whole of a POST's body, without transfer coding. A server need not read more than one octet
	// above Limits.MaxRequestBytes: that much is refused.
	Body []byte

	// ContentType and ContentEncoding are those of a POST. Several fields of Content-Encoding are joined by commas.
	ContentType, ContentEncoding string

	// IfNoneMatch and IfModifiedSince are conditions of a GET or HEAD (RFC 9110 section 13.1). Several fields
	// of If-None-Match are joined by commas.
	IfNoneMatch, IfModifiedSince string
}

// HTTPResponse is what to send. What it refers to may be shared with other responses and must not be changed.
type HTTPResponse struct {
	StatusCode int
	Body       []byte // without that of a HEAD, whose length the header tells all the same

	signed  bool // or an OCSP error; false: one of HTTP's own
	lent    bool // Body is the exchange's
	control []string
	length  []string
	caching *[3][1]string // Etag, Expires, Last-Modified
}

// Header values that responses share.
var (
	responseType   = []string{"application/ocsp-response"}
	plainText      = []string{"text/plain; charset=utf-8"}
	noSniff        = []string{"nosniff"}
	allowedMethods = []string{"GET, HEAD, POST, OPTIONS"}
	noStore        = []string{"no-store"}
	errorLength    = []string{"5"}
	// An answer with a nonce, or about a certificate that was never issued, is authoritative and so must not
	// carry no-store (RFC 9919 section 7.2), but is of no use to anyone else.
	notReusable = []string{"max-age=0, no-transform, must-revalidate"}
)

// Header is an iterator over the header fields, by canonical name; each has one value.
func (h *HTTPResponse) Header(yield func(name string, value []string) bool) {
	allow := h.StatusCode == http.StatusMethodNotAllowed || h.StatusCode == http.StatusNoContent
	_ = (!allow || yield("Allow", allowedMethods)) &&
		(h.control == nil || yield("Cache-Control", h.control)) &&
		(h.caching == nil || yield("Etag", h.caching[0][:]) && yield("Expires", h.caching[1][:])) &&
		(h.length == nil ||
			yield("Content-Length", h.length) &&
				(!h.signed || yield("Content-Type", responseType)) &&
				(h.signed || yield("Content-Type", plainText) && yield("X-Content-Type-Options", noSniff)) &&
				(h.caching == nil || yield("Last-Modified", h.caching[2][:])))
}

// RespondHTTP answers an HTTP request as Handler does, for servers other than net/http's, such as fasthttp. Those
// see to what is the server's own: reading with limits and deadlines, and ending the connection of a client
// whose body was not read.
func (r *Responder) RespondHTTP(ctx context.Context, req *HTTPRequest) HTTPResponse {
	if r.cfg.Disabled {
		return refusal(http.StatusNotFound, req.Method)
	}
	x := r.acquire(req.Method)
	defer r.release(x)
	h := r.respondHTTP(ctx, req, x)
	if h.lent {
		h.Body = bytes.Clone(h.Body)
	}
	return h
}

func (r *Responder) respondHTTP(ctx context.Context, req *HTTPRequest, x *exchange) HTTPResponse {
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		if max(len(req.Path), len(req.RawPath)) > r.cfg.Limits.MaxPathBytes {
			return refusal(http.StatusRequestURITooLong, req.Method)
		}
		// A path without a request leaves nothing, which is malformed.
		if r.cfg.Strict {
			x.buf, x.repaired = getpath.FindStrict(req.Path, x.buf, r.acceptRepair)
		} else {
			x.buf, x.repaired = getpath.Find(req.Path, x.buf, r.acceptRepair)
		}
		return r.response(req, r.respond(ctx, x.buf, x), x)
	case http.MethodPost:
		if code := r.checkPost(req, int64(len(req.Body))); code != 0 {
			return refusal(code, req.Method)
		}
		return r.response(req, r.respond(ctx, req.Body, x), x)
	case http.MethodOptions:
		return HTTPResponse{StatusCode: http.StatusNoContent}
	default:
		return refusal(http.StatusMethodNotAllowed, req.Method)
	}
}

// refusal is one of HTTP's own errors, which no cache keeps.
func refusal(code int, method string) HTTPResponse {
	body := http.StatusText(code) + "\n"
	h := HTTPResponse{StatusCode: code, control: noStore, length: []string{strconv.Itoa(len(body))}}
	if method != http.MethodHead {
		h.Body = []byte(body)
	}
	return h
}

// checkPost returns the code to refuse a POST of that size with, 0 for none.
func (r *Responder) checkPost(req *HTTPRequest, size int64) int {
	if size > int64(r.cfg.Limits.MaxRequestBytes) {
		return http.StatusRequestEntityTooLarge
	}
	if req.ContentEncoding != "" && !strings.EqualFold(req.ContentEncoding, "identity") {
		return http.StatusUnsupportedMediaType
	}
	if r.cfg.Strict {
		mediaType, _, _ := strings.Cut(req.ContentType, ";")
		if !strings.EqualFold(strings.TrimSpace(mediaType), requestType) {
			return http.StatusUnsupportedMediaType
		}
	}
	return 0
}

// response sends a reply with the headers of RFC 9919 section 7.2.
func (r *Responder) response(req *HTTPRequest, p *reply, x *exchange) HTTPResponse {
	h := HTTPResponse{StatusCode: http.StatusOK, Body: p.der, signed: true, lent: p.lent}
	switch {
	case p.reusable:
		values := p.headers()
		h.caching, h.length, h.control = &values.caching, values.length[:], r.controls.of(r.maxAge(p, x))
		if r.notModified(req, p, h.caching[0][:]) {
			h.StatusCode, h.Body, h.length = http.StatusNotModified, nil, nil
		}
	case p.outcome == 0:
		h.control, h.length = notReusable, []string{strconv.Itoa(len(p.der))}
	default:
		h.control, h.length = noStore, errorLength
	}
	if req.Method == http.MethodHead {
		h.Body = nil
	}
	return h
}

// appendHTTPTime appends a date in http.TimeFormat.
func appendHTTPTime(dst []byte, unix int64) []byte {
	t := time.Unix(unix, 0).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = append(append(dst, t.Weekday().String()[:3]...), ", "...)
	dst = append(codec.AppendDecimals(dst, day), ' ')
	dst = append(append(dst, month.String()[:3]...), ' ')
	dst = append(codec.AppendDecimals(dst, year/100, year%100), ' ')
	dst = append(codec.AppendDecimals(dst, hour), ':')
	dst = append(codec.AppendDecimals(dst, minute), ':')
	return append(codec.AppendDecimals(dst, second), " GMT"...)
}

// notModified evaluates If-None-Match and If-Modified-Since.
//
// Two answers about what was read within one second have the same Last-Modified. So a date is no reason to let a client
// keep its answer unless the present one is good: no revocation must hide behind a 304. Nor is it if the answer is about
// several certificates, of which each was read at a time of its own, or was signed later than the status was read: then
// the client's may be about the same read and by another signer, with which it ends.
func (r *Responder) notModified(req *HTTPRequest, p *reply, etag []string) bool {
	if req.IfNoneMatch == "" && req.IfModifiedSince == "" || req.Method == http.MethodPost {
		return false
	}
	conditions := http.Header{}
	switch {
	case req.IfNoneMatch != "":
		conditions["If-None-Match"] = []string{req.IfNoneMatch}
	case len(p.parts) == 1 && p.good() && p.thisUpdate == p.producedAt-int64(r.cfg.Backdate/time.Second):
		conditions["If-Modified-Since"] = []string{req.IfModifiedSince}
	default:
		return false
	}
	// net/http knows lists, weak tags and the forms of dates.
	probe := &probe{http.Header{"Etag": etag, "Content-Type": responseType}, 0}
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

// acceptRepair reports whether a repaired request can be answered: all its issuers are configured. Anything
// less could be part of another client's request.
func (r *Responder) acceptRepair(der []byte) bool {
	var req codec.Request
	if codec.ParseRequest(der, &req, r.limits) != nil {
		return false
	}
	reg := r.registry.Load()
	for i := range req.Entries {
		if _, ok := reg.byCertID[string(req.Entries[i].CertID.Issuer)]; !ok {
			return false
		}
	}
	return true
}
