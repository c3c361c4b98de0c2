package ocsp

import (
	"bytes"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const requestType = "application/ocsp-request"

// HTTPRequest is the part of an HTTP request that RespondHTTP needs.
type HTTPRequest struct {
	Method string

	// Path is the URL's path, percent-decoded once, as in net/url. RawPath is the path as it was
	// sent, or empty if that is the same. It only counts for Limits.MaxPathBytes.
	Path, RawPath string

	// Body is the whole body of a POST, without transfer coding. A server need not read more than
	// one octet above Limits.MaxRequestBytes: that much is refused.
	Body []byte

	// ContentType and ContentEncoding are those of a POST. Several fields of Content-Encoding are
	// joined by commas.
	ContentType, ContentEncoding string

	// IfNoneMatch and IfModifiedSince are conditions of a GET or HEAD (RFC 9110 section 13.1).
	// Several fields of If-None-Match are joined by commas.
	IfNoneMatch, IfModifiedSince string
}

// HTTPResponse is a response to send. It may share memory with other responses and must not be
// changed.
type HTTPResponse struct {
	StatusCode int

	// Body is empty for HEAD. Content-Length still is the size of the body that GET gets.
	Body []byte

	ocsp    bool // an OCSPResponse; otherwise an error of HTTP
	pooled  bool // Body belongs to the exchange
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
	// An answer with a nonce, or about a certificate that was never issued, is authoritative and so
	// must not carry no-store (RFC 9919 section 7.2), but it is of no use to other clients.
	notReusable = []string{"max-age=0, no-transform, must-revalidate"}
)

// Header returns an iterator over the header fields, in canonical form. No name occurs twice.
func (h *HTTPResponse) Header() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for name, values := range h.fields {
			if !yield(name, values[0]) {
				return
			}
		}
	}
}

// fields iterates over the header fields as http.Header stores them: one value each, in a slice
// that responses share.
func (h *HTTPResponse) fields(yield func(name string, values []string) bool) {
	allow := h.StatusCode == http.StatusMethodNotAllowed || h.StatusCode == http.StatusNoContent
	_ = (!allow || yield("Allow", allowedMethods)) &&
		(h.control == nil || yield("Cache-Control", h.control)) &&
		(h.caching == nil || yield("Etag", h.caching[0][:]) && yield("Expires", h.caching[1][:])) &&
		(h.length == nil ||
			yield("Content-Length", h.length) &&
				(!h.ocsp || yield("Content-Type", responseType)) &&
				(h.ocsp || yield("Content-Type", plainText) &&
					yield("X-Content-Type-Options", noSniff)) &&
				(h.caching == nil || yield("Last-Modified", h.caching[2][:])))
}

// httpError is an error of HTTP, which caches must not store.
func httpError(code int, method string) HTTPResponse {
	body := http.StatusText(code) + "\n"
	length := []string{strconv.Itoa(len(body))}
	h := HTTPResponse{StatusCode: code, control: noStore, length: length}
	if method != http.MethodHead {
		h.Body = []byte(body)
	}
	return h
}

// httpPolicy is what the configuration says about HTTP.
type httpPolicy struct {
	strict            bool
	maxBody, maxPath  int
	bodyTimeout       time.Duration
	maxAge, backdated int64 // seconds; a maxAge of zero is no limit
	controls          cacheControls
}

func (h *httpPolicy) set(cfg *Config) {
	h.strict, h.bodyTimeout = cfg.Strict, cfg.Timeout
	h.maxBody, h.maxPath = cfg.Limits.MaxRequestBytes, cfg.Limits.MaxPathBytes
	h.maxAge, h.backdated = int64(cfg.MaxAge/time.Second), int64(cfg.Backdate/time.Second)
}

// checkPost returns the code to refuse a POST of that size with, or 0.
func (h *httpPolicy) checkPost(req *HTTPRequest, size int64) int {
	if size > int64(h.maxBody) {
		return http.StatusRequestEntityTooLarge
	}
	if req.ContentEncoding != "" && !strings.EqualFold(req.ContentEncoding, "identity") {
		return http.StatusUnsupportedMediaType
	}
	if h.strict {
		mediaType, _, _ := strings.Cut(req.ContentType, ";")
		if !strings.EqualFold(strings.TrimSpace(mediaType), requestType) {
			return http.StatusUnsupportedMediaType
		}
	}
	return 0
}

// response returns a reply with the header fields of RFC 9919 section 7.2. renewing reports whether
// the next reply is already being signed.
func (h *httpPolicy) response(
	req *HTTPRequest, p *reply, now time.Time, renewing bool,
) HTTPResponse {
	res := HTTPResponse{StatusCode: http.StatusOK, Body: p.der, ocsp: true, pooled: p.pooled}
	switch {
	case p.reusable:
		values := p.headerValues()
		res.caching, res.length = &values.caching, values.length[:]
		res.control = h.controls.value(h.maxAgeOf(p, now, renewing))
		if h.notModified(req, p, values.caching[0][:]) {
			res.StatusCode, res.Body, res.length = http.StatusNotModified, nil, nil
		}
	case p.outcome == 0:
		res.control, res.length = notReusable, []string{strconv.Itoa(len(p.der))}
	default:
		res.control, res.length = noStore, errorLength
	}
	if req.Method == http.MethodHead {
		res.Body = nil
	}
	return res
}

// notModified evaluates If-None-Match and If-Modified-Since.
//
// Two answers that rest on reads within one second have the same Last-Modified. A date therefore
// validates the client's answer only if the present one is good: a 304 must not hide a revocation.
// A date is also ignored if the answer is about several certificates, which were read at different
// times, or was signed later than the status was read. Then the client's answer may rest on the
// same read and come from another signer, with which it expires.
func (h *httpPolicy) notModified(req *HTTPRequest, p *reply, etag []string) bool {
	if req.IfNoneMatch == "" && req.IfModifiedSince == "" || req.Method == http.MethodPost {
		return false
	}
	conditions := http.Header{}
	switch {
	case req.IfNoneMatch != "":
		conditions["If-None-Match"] = []string{req.IfNoneMatch}
	case len(p.singles) == 1 && p.good() && p.ThisUpdate == p.ProducedAt-h.backdated:
		conditions["If-Modified-Since"] = []string{req.IfModifiedSince}
	default:
		return false
	}
	// net/http implements lists, weak tags and the formats of dates.
	recorder := &statusRecorder{header: http.Header{"Etag": etag, "Content-Type": responseType}}
	conditional := &http.Request{Method: http.MethodHead, Header: conditions}
	modified := time.Unix(p.ThisUpdate, 0)
	http.ServeContent(recorder, conditional, "", modified, bytes.NewReader(nil))
	return recorder.code == http.StatusNotModified
}

// statusRecorder is an http.ResponseWriter that records the status code alone.
type statusRecorder struct {
	header http.Header
	code   int
}

func (r *statusRecorder) Header() http.Header         { return r.header }
func (r *statusRecorder) WriteHeader(code int)        { r.code = code }
func (r *statusRecorder) Write(b []byte) (int, error) { return len(b), nil }

// renewingMaxAge is the max-age, in seconds, of a reply whose successor is already being signed.
const renewingMaxAge = 1

// maxAgeOf returns for how many seconds HTTP caches may store a reply. It ends at the reply's
// refresh point. Past that point it ends one second before the reply expires, or after one second
// if the next reply is being signed.
func (h *httpPolicy) maxAgeOf(p *reply, at time.Time, renewing bool) int64 {
	now := ceilSecond(at)
	age := p.NextUpdate - now - 1
	if now < p.RefreshAt {
		age = min(age, p.RefreshAt-now)
	}
	if renewing {
		age = min(age, renewingMaxAge)
	}
	if h.maxAge > 0 {
		age = min(age, h.maxAge)
	}
	return max(age, 0)
}

// cacheControls are recent values of Cache-Control. Replies with the same max-age share one.
type cacheControls [64]atomic.Pointer[cacheControl]

type cacheControl struct {
	maxAge int64
	value  [1]string
}

// value returns the value that lets HTTP caches store a reply for maxAge seconds.
func (c *cacheControls) value(maxAge int64) []string {
	slot := &c[uint64(maxAge)%uint64(len(c))]
	v := slot.Load()
	if v == nil || v.maxAge != maxAge {
		text := strconv.FormatInt(maxAge, 10)
		v = &cacheControl{maxAge, [1]string{
			"max-age=" + text + ", public, no-transform, must-revalidate",
		}}
		slot.Store(v)
	}
	return v.value[:]
}
