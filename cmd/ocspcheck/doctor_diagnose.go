package main

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// fault is what is wrong on the way, by a name that is stable.
type fault string

const (
	faultMerged         fault = "slashes-merged"
	faultSlashesRefused fault = "slashes-refused"
	faultRedirectClean  fault = "slashes-redirected"
	faultEscapedRefused fault = "escaped-slash-refused"
	faultEscapedMerged  fault = "escaped-slashes-merged"
	faultEscapedAgain   fault = "escaped-again"
	faultLetters        fault = "letters-changed"
	faultChanged        fault = "path-changed"
	faultLeading        fault = "leading-slash"
	faultTooLong        fault = "too-long"
	faultBodyTooLarge   fault = "body-too-large"
	faultRedirectHTTPS  fault = "redirect-https"
	faultRedirect       fault = "redirect"
	faultAccess         fault = "access"
	faultMethod         fault = "method-refused"
	faultVersion        fault = "http10-refused"
	faultHost           fault = "host-needed"
	faultChunks         fault = "chunks-refused"
	faultExpect         fault = "expect-refused"
	faultType           fault = "type-needed"
	faultGateway        fault = "gateway"
	faultRefused        fault = "refused"
	faultNoAnswer       fault = "no-answer"
	faultGone           fault = "gone"
	faultNotOCSP        fault = "not-ocsp"
	faultEncoded        fault = "body-encoded"
	faultStored         fault = "answer-stored"
	faultOther          fault = "wrong-answer"
	faultHeaders        fault = "cache-headers-lost"
	faultOCSP           fault = "ocsp-error"
)

// cure is a setting of a product, empty for what is the same everywhere.
type cure struct {
	Proxy   string `json:"proxy"`
	Setting string `json:"setting"`
	Seen    bool   `json:"seen"` // the product showed itself on the way
}

// The products that there are cures for.
const (
	nginx   = "nginx"
	apache  = "Apache httpd"
	haproxy = "HAProxy"
	envoy   = "Envoy"
	traefik = "Traefik"
	kong    = "Kong"
	goMux   = "Go"
)

const (
	nginxPath   = "proxy_pass without a path (http://ocsp; and not http://ocsp/;) forwards the path as it was sent; merge_slashes off; in the address's default server"
	apachePath  = "AllowEncodedSlashes NoDecode and MergeSlashes Off in each VirtualHost, and nocanon behind ProxyPass"
	envoyMerge  = "merge_slashes: false (the default), and no normalization that a gateway product adds"
	envoyEscape = "path_with_escaped_slashes_action: KEEP_UNCHANGED"
	kongMerge   = "its router merges slashes whatever nginx_proxy_merge_slashes says (Kong/kong#13786): route OCSP past it, or have clients escape"
)

// faults says what each means and what cures it.
var faults = map[fault]struct {
	title, cause string
	cures        []cure
}{
	faultMerged: {"several slashes in a row become one", "a hop cleans the path before it forwards it; base64 may have // in it", []cure{
		{Proxy: nginx, Setting: nginxPath}, {Proxy: apache, Setting: apachePath},
		{Proxy: haproxy, Setting: "take out http-request normalize-uri path-merge-slashes for this path"},
		{Proxy: envoy, Setting: envoyMerge},
		{Proxy: traefik, Setting: "entryPoints.<name>.http.sanitizePath: false"},
		{Proxy: kong, Setting: kongMerge},
		{Proxy: goMux, Setting: "ocsp.Mount before the router that cleans paths"},
	}},
	faultSlashesRefused: {"several slashes in a row are refused", "a hop takes a path with // for another one, or for an attack", []cure{
		{Proxy: nginx, Setting: "merge_slashes off; if a location matches the base64, and no rule against // before it"},
		{Proxy: apache, Setting: "MergeSlashes Off with a LocationMatch that allows //"},
		{Proxy: haproxy, Setting: "no http-request deny for // in this path"},
	}},
	faultRedirectClean: {"several slashes in a row are answered with a redirect to the path with one", "a router cleans paths by redirects, as net/http.ServeMux and gorilla/mux do", []cure{
		{Proxy: goMux, Setting: "ocsp.Mount before net/http.ServeMux; with gorilla/mux SkipClean(true)"},
		{Proxy: nginx, Setting: "no rewrite or return that joins slashes for this location"},
		{Proxy: envoy, Setting: "path_with_escaped_slashes_action: KEEP_UNCHANGED (not UNESCAPE_AND_REDIRECT)"},
	}},
	faultEscapedRefused: {"%2F in the path is refused", "a hop does not take escaped slashes", []cure{
		{Proxy: apache, Setting: "AllowEncodedSlashes NoDecode in each VirtualHost (the default Off answers 404), and nocanon behind ProxyPass"},
		{Proxy: traefik, Setting: "entryPoints.<name>.http.encodedCharacters.allowEncodedSlash: true"},
		{Proxy: envoy, Setting: envoyEscape + " (not REJECT_REQUEST)"},
		{Proxy: haproxy, Setting: "no http-request deny for %2f in this path"},
	}},
	faultEscapedMerged: {"%2F%2F becomes one slash", "a hop decodes the path, merges its slashes and forwards that", []cure{
		{Proxy: nginx, Setting: nginxPath}, {Proxy: apache, Setting: apachePath + " (AllowEncodedSlashes On decodes)"},
		{Proxy: envoy, Setting: envoyEscape + " (not UNESCAPE_AND_FORWARD), " + envoyMerge},
	}},
	faultEscapedAgain: {"%2F is changed", "a hop escapes again what was escaped (%252F), or decodes it wrongly", []cure{
		{Proxy: apache, Setting: "nocanon behind ProxyPass"},
		{Proxy: nginx, Setting: "proxy_pass without a path and without variables; no rewrite"},
	}},
	faultLetters: {"+ or = is changed", "a hop reads the path as a form (+ is then a space), or drops letters at its end", nil},
	faultChanged: {"the path is changed", "a hop rewrites the path; the responder finds no request in it, or another one", []cure{
		{Proxy: nginx, Setting: nginxPath}, {Proxy: apache, Setting: apachePath},
		{Proxy: haproxy, Setting: "no http-request normalize-uri, replace-path or set-path behind the prefix"},
		{Proxy: envoy, Setting: "no regex_rewrite behind the prefix"},
		{Proxy: kong, Setting: "strip_path only as far as the prefix"},
	}},
	faultLeading: {"one more slash before the request is too many", "the responder takes the slash for a letter of the request, or does not look past it", []cure{
		{Setting: "no slash at the end of the URL in certificates"},
	}},
	faultTooLong: {"long paths are refused", "a hop limits the request line", []cure{
		{Proxy: nginx, Setting: "large_client_header_buffers 4 16k; in the address's default server"},
		{Proxy: apache, Setting: "LimitRequestLine 16380, before any VirtualHost"},
		{Proxy: haproxy, Setting: "tune.bufsize 32768 in global, which is memory for each connection"},
		{Proxy: envoy, Setting: "max_request_headers_kb: 96"},
		{Proxy: kong, Setting: "nginx_proxy_large_client_header_buffers = 4 16k"},
		{Proxy: goMux, Setting: "http.Server.MaxHeaderBytes; package ocsp: Limits.MaxPathBytes"},
	}},
	faultBodyTooLarge: {"POST bodies of a few KiB are refused", "a hop limits bodies, or the responder does", []cure{
		{Proxy: nginx, Setting: "client_max_body_size 16k; or more"}, {Proxy: apache, Setting: "LimitRequestBody 16384 or more"},
		{Proxy: haproxy, Setting: "no http-request deny by req.body_size"},
		{Proxy: goMux, Setting: "package ocsp: Limits.MaxRequestBytes"},
	}},
	faultRedirectHTTPS: {"http is redirected to https, or not served", "a rule for the whole site; many clients follow no redirect, and a client that checks a TLS certificate cannot use TLS for it", []cure{
		{Proxy: nginx, Setting: "a location for OCSP in the server on port 80, before return 301 https://…"},
		{Proxy: apache, Setting: "no Redirect or RewriteRule to https for this Location"},
		{Proxy: haproxy, Setting: "http-request redirect scheme https unless { path_beg /ocsp }"},
		{Proxy: traefik, Setting: "no entryPoints.<name>.http.redirections.entryPoint on this one; a redirectScheme middleware on the other routers"},
		{Proxy: envoy, Setting: "no https_redirect for this route, and require_tls: NONE"},
		{Proxy: kong, Setting: "protocols of the route: [http, https] (https alone answers 426)"},
	}},
	faultRedirect: {"requests are redirected", "a hop wants another URL; many clients follow no redirect, and those that do repeat a POST as GET", []cure{
		{Setting: "put the URL that answers into the certificates, or answer at this one"},
		{Proxy: goMux, Setting: "register the path with and without a slash at its end"},
	}},
	faultAccess: {"the request is forbidden", "a hop wants credentials or takes the request for an attack; OCSP clients have no credentials", []cure{{Setting: "open the URL to everybody, for GET, HEAD and POST"}}},
	faultMethod: {"a method is refused", "a hop allows only some methods", []cure{
		{Proxy: nginx, Setting: "limit_except GET POST (which includes HEAD)"}, {Proxy: apache, Setting: "Require method GET HEAD POST"},
		{Proxy: kong, Setting: "methods of the route: GET, HEAD and POST"},
	}},
	faultVersion: {"HTTP/1.0 is refused", "a hop speaks only HTTP/1.1 and newer", []cure{{Proxy: envoy, Setting: "http_protocol_options.accept_http_10: true"}}},
	faultHost: {"a request without a Host is refused", "the hop finds its sites by name only", []cure{
		{Proxy: nginx, Setting: "listen … default_server; for the site with the responder"}, {Proxy: apache, Setting: "the site with the responder as the first VirtualHost"},
		{Proxy: haproxy, Setting: "default_backend with the responder"},
		{Proxy: envoy, Setting: "http_protocol_options.default_host_for_http_10"},
	}},
	faultChunks: {"chunked bodies are refused", "a hop wants a Content-Length", []cure{{Proxy: nginx, Setting: "proxy_request_buffering on (the default)"}, {Proxy: apache, Setting: "SetEnv proxy-sendcl 1"}}},
	faultExpect: {"Expect: 100-continue is refused", "a hop or the responder does not know it", nil},
	faultType:   {"POST without a Content-Type is refused", "a filter on types, or a strict responder", []cure{{Proxy: goMux, Setting: "package ocsp: Strict: false"}}},
	faultGateway: {"the proxy gets no answer from what is behind it", "the responder is down, or hangs up on this form of request", []cure{
		{Setting: "see the log of the proxy"}}},
	faultRefused: {"the request is refused", "a hop or the responder does not take it", []cure{
		{Setting: "see the log of the one that answered; if nothing passes, the path in the URL may be another"}}},
	faultNoAnswer: {"the connection ends without an answer", "a hop drops the request", []cure{{Setting: "see the logs; firewalls drop what they do not like"}}},
	faultGone:     {"nobody listens any more", "the server ended, or shuts this client out, since the check before these", []cure{{Setting: "see its log and what limits clients; openssl ocsp ends on requests that it cannot read"}}},
	faultNotOCSP:  {"something else answers", "the request reaches another application, a login page or an error page with status 200", []cure{{Setting: "route the prefix and all that is below it to the responder"}}},
	faultEncoded: {"the body comes compressed", "a hop, or middleware before the responder, compresses, though Cache-Control says no-transform", []cure{
		{Proxy: nginx, Setting: "gzip off; for the location"}, {Proxy: apache, Setting: "SetEnv no-gzip 1"},
		{Proxy: haproxy, Setting: "no filter compression here"}, {Proxy: traefik, Setting: "no compress middleware here"}, {Proxy: envoy, Setting: "no compressor filter for this route"},
		{Proxy: goMux, Setting: "ocsp.Mount before the router and its middleware, or an exception for this path in what compresses (gin-contrib/gzip, echo, gorilla/handlers, gzhttp, fiber)"},
	}},
	faultStored: {"a cache gives an answer it must not give", "a cache ignores Cache-Control or the age, or keeps answers to POST", []cure{
		{Proxy: nginx, Setting: "no proxy_ignore_headers Cache-Control Expires; proxy_cache_methods GET HEAD (the default); $request_uri in proxy_cache_key"},
		{Proxy: apache, Setting: "no CacheIgnoreCacheControl, CacheStoreNoStore or CacheIgnoreQueryString"},
		{Proxy: haproxy, Setting: "http-request cache-use and http-response cache-store for GET only"},
		{Proxy: kong, Setting: "proxy-cache plugin: cache_control: true, request_method: [GET, HEAD]"},
	}},
	faultOther: {"the answer is to another request", "a cache mixes up requests, a hop changed the body, or the responder is wrong", []cure{{Setting: "run ocspcheck against the responder itself"}}},
	faultHeaders: {"caching headers are missing", "a hop takes them out, or the responder sends none", []cure{
		{Proxy: nginx, Setting: "no proxy_hide_header for them, no expires and no add_header Cache-Control here"},
		{Proxy: apache, Setting: "no Header unset, no ExpiresActive and no FileETag rules here"},
		{Proxy: haproxy, Setting: "no http-response del-header for them"},
	}},
	faultOCSP: {"the responder answers with an error", "the request came in another form than it was sent, or the responder does not take it", nil},
}

// faultOf tells from the form of request, from what came back and from how the other forms fared what is wrong.
func (d *doctor) faultOf(r *outcome) fault {
	p := r.problem
	if post := d.done["post"]; post != r && post.problem != nil && strings.HasPrefix(r.check.id, "post-") && post.problem.kind == p.kind && post.problem.status == p.status {
		return d.faultOf(post) // it is not for the form
	}
	switch p.kind {
	case noContact:
		return faultGone
	case noAnswer:
		if r.check.kind == aboutLength {
			return faultTooLong
		}
		return faultNoAnswer
	case redirect:
		return d.redirectFault(p)
	case refused:
		return d.refusedFault(r)
	case notOCSP:
		return faultNotOCSP
	case otherAnswer:
		return faultOther
	case encoded:
		return faultEncoded
	case storedAnswer:
		return faultStored
	case headersLost:
		return faultHeaders
	default:
		return d.changedFault(r)
	}
}

func (d *doctor) redirectFault(p *problem) fault {
	to, err := d.public.Parse(p.location)
	if err != nil {
		return faultRedirect
	}
	sent, err := url.PathUnescape(p.sentPath)
	switch {
	case err == nil && to.Scheme == "https" && d.public.Scheme == "http":
		return faultRedirectHTTPS
	case err == nil && sent != cleaned(sent) && (to.Path == cleaned(sent) || to.Path == cleaned(p.sentPath)): // as it was, or escaped again
		return faultRedirectClean
	default:
		return faultRedirect
	}
}

func (d *doctor) refusedFault(r *outcome) fault {
	switch status := r.problem.status; status {
	case http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge:
		return faultTooLong
	case http.StatusRequestEntityTooLarge:
		return faultBodyTooLarge
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return faultAccess
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return faultMethod
	case http.StatusUnsupportedMediaType:
		return faultType
	case http.StatusLengthRequired:
		return faultChunks
	case http.StatusExpectationFailed:
		return faultExpect
	case http.StatusUpgradeRequired, http.StatusHTTPVersionNotSupported:
		if r.check.kind == aboutVersion || r.check.kind == aboutHost {
			return faultVersion
		}
		return faultRedirectHTTPS
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return faultGateway
	}
	if f, ok := map[kind]fault{aboutLength: faultTooLong, aboutVersion: faultVersion, aboutHost: faultHost, aboutChunks: faultChunks, aboutExpect: faultExpect, aboutType: faultType}[r.check.kind]; ok {
		return f
	}
	path := r.problem.sentPath
	switch {
	case r.check.kind == aboutLeading && d.works("slashes"):
		return faultLeading
	case !d.works("get") && d.works("bare") && strings.Contains(strings.ToUpper(path), "%2F"):
		return faultEscapedRefused
	case (d.works("get") || d.works("bare")) && (slashesInRow(path) || strings.Contains(path, "%2F%2F")):
		return faultSlashesRefused
	case r.problem.status == http.StatusForbidden:
		return faultAccess
	default:
		return faultRefused
	}
}

// changedFault is about requests that the responder answers with an error, though it knows the certificate.
func (d *doctor) changedFault(r *outcome) fault {
	path := r.problem.sentPath
	lost := func(letter, id string) bool { return strings.Contains(path, letter) && d.works("get") && !d.works(id) }
	switch {
	case r.check.kind == aboutLeading:
		return faultLeading
	case r.check.kind != aboutPath && r.check.kind != aboutLength:
		return faultOCSP
	case d.works("bare") && !d.works("get") && strings.Contains(path, "%"):
		return faultEscapedAgain
	case lost("+", "plus"), lost("=", "padding"):
		return faultLetters
	case slashesInRow(path):
		return faultMerged
	case strings.Contains(path, "%2F%2F"):
		return faultEscapedMerged
	case strings.HasSuffix(path, "/"):
		return faultLetters
	default:
		return faultChanged
	}
}

func (d *doctor) works(id string) bool { return d.done[id].verdict == passed }

// where tells which hop a problem comes from.
func (d *doctor) where(r *outcome) string {
	switch {
	case r.direct != nil && r.direct.verdict == passed:
		return "before the responder, which answers this at " + d.direct.Redacted() + d.named(": ")
	case r.direct != nil && r.direct.problem != nil && r.direct.problem.kind == r.problem.kind:
		return "the responder: the same comes back from " + d.direct.Redacted()
	case r.direct != nil && r.direct.problem != nil:
		return "the responder: at " + d.direct.Redacted() + " there is " + r.direct.problem.words
	case len(d.seen) > 0:
		return "a guess" + d.named(": ") + " (-direct would tell)"
	default:
		return "no hop says what it is; -direct would tell"
	}
}

// named lists the products that showed themselves.
func (d *doctor) named(before string) string {
	var names []string
	for name, how := range d.seen {
		names = append(names, name+" is on the way, by "+how)
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return before + strings.Join(names, "; ")
}

// cures returns the cures for a fault: those of the products that were seen, if there are, else all. Where a Go server
// was seen, Traefik is one that it may be: it does not name itself. Nor does middleware that compresses, wherever it is.
func (d *doctor) cures(f fault) []cure {
	all := append([]cure{}, faults[f].cures...)
	var likely []cure
	known := false
	for i := range all {
		_, all[i].Seen = d.seen[all[i].Proxy]
		known = known || all[i].Seen
		if all[i].Seen || all[i].Proxy == traefik && d.seen[goMux] != "" || all[i].Proxy == goMux && f == faultEncoded {
			likely = append(likely, all[i])
		}
	}
	if known {
		return likely
	}
	return all
}

// recognize notes which products a reply shows.
func (d *doctor) recognize(ex *exchange) {
	if ex.err != nil {
		return
	}
	note := func(product, how string) {
		if _, ok := d.seen[product]; !ok {
			d.seen[product] = how
		}
	}
	for _, name := range []string{"Server", "Via"} {
		value := ex.header.Get(name)
		for mark, product := range map[string]string{"nginx": nginx, "openresty": nginx, "apache": apache, "haproxy": haproxy, "envoy": envoy, "traefik": traefik, "kong": kong} {
			if strings.Contains(strings.ToLower(value), mark) {
				note(product, name+": "+value)
			}
		}
	}
	if ex.header.Get("X-Envoy-Upstream-Service-Time") != "" {
		note(envoy, "X-Envoy-Upstream-Service-Time")
	}
	if ex.header.Get("X-Kong-Proxy-Latency") != "" {
		note(kong, "X-Kong-Proxy-Latency")
	}
	page := string(ex.body[:min(len(ex.body), 1024)])
	switch {
	case ex.status == http.StatusOK:
	case strings.Contains(page, "<center>nginx"):
		note(nginx, "its error page")
	case strings.Contains(page, "DTD HTML 2.0//EN"):
		note(apache, "its error page")
	case strings.Contains(page, "Your browser sent an invalid request.\n</body>"):
		note(haproxy, "its error page")
	case page == "404 page not found\n", strings.HasPrefix(page, `<a href="`):
		note(goMux, "its error page")
	}
}
