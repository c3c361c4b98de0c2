package ocsp_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// cacheGet asks about a certificate by GET, with headers like httpPost, and requires a signed answer that says
// that.
func cacheGet(r *rig, cert *x509.Certificate, status int, header ...string) (*ocsptest.Result, *xocsp.Response) {
	r.Helper()
	der := r.request(cert)
	result := httpAsk(r, httpGet(der, header...), der)
	return result, r.requireAnswer(result, status)[0]
}

// cacheDirectives takes Cache-Control apart. It requires one header line and no directive twice.
func cacheDirectives(r *rig, header http.Header) map[string]string {
	r.Helper()
	require.Len(r, header.Values("Cache-Control"), 1)
	directives := map[string]string{}
	for _, directive := range strings.Split(header.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		require.NotContains(r, directives, name)
		directives[name] = value
	}
	return directives
}

// cacheMaxAge returns max-age.
func cacheMaxAge(r *rig, header http.Header) time.Duration {
	r.Helper()
	seconds, err := strconv.ParseUint(cacheDirectives(r, header)["max-age"], 10, 31)
	require.NoError(r, err)
	return time.Duration(seconds) * time.Second
}

var cacheFixdate = regexp.MustCompile(`^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT$`)

// cacheDate returns the time in a header, which must be an IMF-fixdate.
func cacheDate(r *rig, header http.Header, name string) time.Time {
	r.Helper()
	require.Len(r, header.Values(name), 1)
	require.Regexp(r, cacheFixdate, header.Get(name))
	date, err := time.Parse(time.RFC1123, header.Get(name))
	require.NoError(r, err)
	return date.UTC()
}

// cacheRefresh is the latest time by which a newer answer must be there (TLS BR 4.9.9).
func cacheRefresh(answer *xocsp.Response) time.Time {
	validity := answer.NextUpdate.Sub(answer.ThisUpdate) + time.Second
	if validity < 16*time.Hour {
		return answer.ThisUpdate.Add((validity / 2).Truncate(time.Second))
	}
	refresh := answer.NextUpdate.Add(-8 * time.Hour)
	if latest := answer.ThisUpdate.Add(4 * 24 * time.Hour); latest.Before(refresh) {
		return latest
	}
	return refresh
}

// cacheSameHeader requires that an answer has another's header, but for the Accept-Ranges of http.ServeContent.
func cacheSameHeader(r *rig, want, got *ocsptest.Result) {
	r.Helper()
	got.Header.Del("Accept-Ranges")
	require.Equal(r, want.Header, got.Header)
}

func TestT162CachingHeaders(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(time.Time) time.Time{
		"UTC":                      time.Time.UTC,
		"another zone":             func(now time.Time) time.Time { return now.In(time.FixedZone("CET", 3600)) },
		"between two full seconds": func(now time.Time) time.Time { return now.Add(333 * time.Millisecond) },
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(name+" "+method, func(t *testing.T) {
				r := newRig(t, nil)
				r.clock.Set(at(r.clock.Now()))
				der := r.request(r.leaf)
				req := httpGet(der)
				if method == http.MethodPost {
					req = httpPost(der)
				}
				result := httpAsk(r, req, der)
				answer := r.requireAnswer(result, xocsp.Good)[0]
				directives := cacheDirectives(r, result.Header)
				require.Positive(t, cacheMaxAge(r, result.Header))
				delete(directives, "max-age")
				require.Equal(t, map[string]string{"public": "", "no-transform": "", "must-revalidate": ""}, directives)
				require.Equal(t, answer.NextUpdate, cacheDate(r, result.Header, "Expires"))
				require.Equal(t, answer.ThisUpdate, cacheDate(r, result.Header, "Last-Modified"))
				sum := sha256.Sum256(result.DER)
				require.Equal(t, []string{`"` + hex.EncodeToString(sum[:]) + `"`}, result.Header["Etag"])
			})
		}
	}
}

func TestT163MaxAge(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cfg  ocsp.Config
		leaf time.Duration // life of the certificate; 0 is long
	}{
		"10 s":                {cfg: ocsp.Config{Validity: 10 * time.Second}},
		"11 s":                {cfg: ocsp.Config{Validity: 11 * time.Second}},
		"an hour":             {cfg: ocsp.Config{Validity: time.Hour}},
		"just below 16 h":     {cfg: ocsp.Config{Validity: 16*time.Hour - time.Second}},
		"16 h":                {cfg: ocsp.Config{Validity: 16 * time.Hour}},
		"default":             {},
		"ten days":            {cfg: ocsp.Config{Validity: 240 * time.Hour}},
		"capped":              {cfg: ocsp.Config{MaxAge: 10 * time.Minute}},
		"cap of a second":     {cfg: ocsp.Config{Validity: time.Minute, MaxAge: time.Second}},
		"cap without effect":  {cfg: ocsp.Config{Validity: time.Hour, MaxAge: 48 * time.Hour}},
		"backdated":           {cfg: ocsp.Config{Validity: time.Hour, Backdate: 15 * time.Minute}},
		"backdated by nearly": {cfg: ocsp.Config{Validity: time.Hour, Backdate: 29 * time.Minute}},
		"certificate expires": {cfg: ocsp.Config{Validity: time.Hour}, leaf: 20 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
				cfg.Validity, cfg.MaxAge, cfg.Backdate = test.cfg.Validity, test.cfg.MaxAge, test.cfg.Backdate
			})
			if test.leaf != 0 {
				r.leaf = r.ca.Issue(ocsptest.Options{NotAfter: r.clock.Now().Add(test.leaf)})
				r.store.Add(r.ca.ID, r.leaf)
			}
			_, first := cacheGet(r, r.leaf, xocsp.Good)
			begin, life := r.clock.Now(), first.NextUpdate.Sub(r.clock.Now())
			refresh := cacheRefresh(first).Sub(begin)
			// All through two answers, and with care around the first one's refresh point and end.
			var ages []time.Duration
			for i := range 60 {
				ages = append(ages, 2*life*time.Duration(i)/60)
			}
			for _, around := range []time.Duration{0, refresh, life} {
				for _, near := range []time.Duration{-2000, -1001, -1000, -999, -1, 0, 1, 999, 1000, 1001} {
					ages = append(ages, around+near*time.Millisecond)
				}
			}
			slices.Sort(ages)
			for _, age := range ages {
				// Near its end a certificate has no room for a max-age.
				if age < 0 || test.leaf != 0 && age > test.leaf-3*time.Second {
					continue
				}
				now := begin.Add(age)
				r.clock.Set(now)
				result, answer := cacheGet(r, r.leaf, xocsp.Good)
				fresh := now.Add(cacheMaxAge(r, result.Header))
				at := fmt.Sprintf("at %v of %v: fresh until %v", age, life, fresh.Sub(begin))
				require.True(t, fresh.After(now), at)
				require.True(t, fresh.Before(answer.NextUpdate), at)
				limit := cacheRefresh(answer)
				if !limit.After(answer.ProducedAt) { // the window was cut short: half of what was left
					limit = answer.ProducedAt.Add((answer.NextUpdate.Sub(answer.ProducedAt) + time.Second) / 2)
				}
				require.False(t, fresh.After(limit), at)
				if test.cfg.MaxAge > 0 {
					require.LessOrEqual(t, fresh.Sub(now), test.cfg.MaxAge, at)
				}
				if age == 0 && test.cfg.MaxAge == 0 {
					require.Equal(t, limit, fresh.UTC(), "a new answer is fresh up to its refresh point")
				}
			}
		})
	}
}

func TestT164MaxAgeShrinks(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil) // refresh point after 24 h − 8 h − 1 s
	first, answer := cacheGet(r, r.leaf, xocsp.Good)
	whole := cacheMaxAge(r, first.Header)
	require.Equal(t, 16*time.Hour-time.Second, whole)
	for age := time.Duration(0); age < whole; age += 37*time.Minute + 13*time.Second {
		r.clock.Set(answer.ProducedAt.Add(age))
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			der := r.request(r.leaf)
			req := httpGet(der)
			if method == http.MethodPost {
				req = httpPost(der)
			}
			result := httpAsk(r, req, der)
			r.requireAnswer(result, xocsp.Good)
			require.Equal(t, first.DER, result.DER)
			require.Equal(t, whole-age, cacheMaxAge(r, result.Header))
			require.Equal(t, first.Header["Expires"], result.Header["Expires"])
			require.Equal(t, first.Header["Etag"], result.Header["Etag"])
			require.Equal(t, first.Header["Last-Modified"], result.Header["Last-Modified"])
		}
	}
	require.Equal(t, 1, r.signer.Calls())
	r.clock.Set(answer.ProducedAt.Add(whole))
	result, _ := cacheGet(r, r.leaf, xocsp.Good)
	require.NotEqual(t, first.DER, result.DER)
	require.Equal(t, whole, cacheMaxAge(r, result.Header))
	require.Equal(t, 2, r.signer.Calls())
}

func TestT165NotModified(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	whole, _ := cacheGet(r, r.leaf, xocsp.Good)
	etag := whole.Header.Get("Etag")
	r.clock.Advance(time.Hour)
	for name, header := range map[string][]string{
		"equal":          {"If-None-Match", etag},
		"in a list":      {"If-None-Match", `"a", ` + etag + `, "b"`},
		"in a tight one": {"If-None-Match", `"a",` + etag},
		"in two headers": {"If-None-Match", `"a"`, "If-None-Match", etag},
		"any":            {"If-None-Match", "*"},
		"weak":           {"If-None-Match", "W/" + etag},
		"weak in a list": {"If-None-Match", `W/"a", W/` + etag},
		"with a range":   {"If-None-Match", etag, "Range", "bytes=0-1"},
		"with no-cache":  {"If-None-Match", etag, "Cache-Control", "no-cache"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			httpRun(r, name+" "+method, func(r *rig) {
				req := httpGet(r.request(r.leaf), header...)
				req.Method = method
				result := httpAsk(r, req, nil)
				require.Equal(r, http.StatusNotModified, result.StatusCode)
				require.Empty(r, result.DER)
				require.Equal(r, etag, result.Header.Get("Etag"))
				require.Equal(r, whole.Header["Expires"], result.Header["Expires"])
				require.Equal(r, cacheMaxAge(r, whole.Header)-time.Hour, cacheMaxAge(r, result.Header))
				require.Contains(r, cacheDirectives(r, result.Header), "must-revalidate")
				require.NotContains(r, result.Header, "Content-Length")
			})
		}
	}
	httpRun(r, "over the network", func(r *rig) {
		conn := httpDial(r, httpServer(r))
		conn.send("GET %s HTTP/1.1\r\nHost: x\r\nIf-None-Match: %s\r\n\r\n", httpPath(r.request(r.leaf)), etag)
		require.Equal(r, http.StatusNotModified, conn.receive(nil).StatusCode)
		// The next answer on the connection begins where the 304 ended.
		der := r.request(r.leaf)
		conn.send("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", httpPath(der))
		r.requireAnswer(conn.receive(der), xocsp.Good)
	})
	require.Equal(t, 1, r.signer.Calls())
}

func TestT166OtherETag(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	whole, _ := cacheGet(r, r.leaf, xocsp.Good)
	other, _ := cacheGet(r, r.issue(), xocsp.Good)
	etag := whole.Header.Get("Etag")
	for name, value := range map[string]string{
		"made up":             `"0123"`,
		"another certificate": other.Header.Get("Etag"),
		"a list":              `"a", W/"b"`,
		"not quoted":          strings.Trim(etag, `"`),
		"upper case":          strings.ToUpper(etag),
		"part of it":          etag[:20] + `"`,
		"garbage":             `"`,
	} {
		httpRun(r, name, func(r *rig) {
			result, _ := cacheGet(r, r.leaf, xocsp.Good, "If-None-Match", value)
			require.Equal(r, whole.DER, result.DER)
			cacheSameHeader(r, whole, result)
		})
	}
	httpRun(r, "of the answer before", func(r *rig) {
		r.clock.Advance(17 * time.Hour) // past the refresh point
		result, _ := cacheGet(r, r.leaf, xocsp.Good, "If-None-Match", etag)
		require.NotEqual(r, etag, result.Header.Get("Etag"))
	})
}

func TestT167NoneMatchWinsOverModifiedSince(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	whole, _ := cacheGet(r, r.leaf, xocsp.Good)
	etag, modified := whole.Header.Get("Etag"), whole.Header.Get("Last-Modified")
	const past, future = "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
	for name, test := range map[string]struct {
		match, since string
		want         int
	}{
		"other tag, not modified": {`"other"`, modified, http.StatusOK},
		"other tag, future":       {`"other"`, future, http.StatusOK},
		"same tag, modified":      {etag, past, http.StatusNotModified},
		"same tag, not modified":  {etag, modified, http.StatusNotModified},
		"same tag, no date":       {etag, "yesterday", http.StatusNotModified},
		"no tag, modified":        {"", past, http.StatusOK},
		"no tag, no date":         {"", "yesterday", http.StatusOK},
	} {
		httpRun(r, name, func(r *rig) {
			der := r.request(r.leaf)
			result := httpAsk(r, httpGet(der, "If-None-Match", test.match, "If-Modified-Since", test.since), der)
			require.Equal(r, test.want, result.StatusCode)
			require.Equal(r, etag, result.Header.Get("Etag"))
			if test.want == http.StatusNotModified {
				require.Empty(r, result.DER)
				return
			}
			r.requireAnswer(result, xocsp.Good)
			cacheSameHeader(r, whole, result)
		})
	}
}

func TestT169ConditionalPost(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	whole, _ := cacheGet(r, r.leaf, xocsp.Good)
	der := r.request(r.leaf)
	for name, header := range map[string][]string{
		"equal":          {"If-None-Match", whole.Header.Get("Etag")},
		"any":            {"If-None-Match", "*"},
		"modified since": {"If-Modified-Since", whole.Header.Get("Last-Modified")},
		"match":          {"If-Match", `"other"`},
		"unmodified":     {"If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"},
	} {
		httpRun(r, name, func(r *rig) {
			result := httpAsk(r, httpPost(der, header...), der)
			r.requireAnswer(result, xocsp.Good)
			require.Equal(r, whole.DER, result.DER)
		})
	}
}

func TestT170ErrorsAreNotKept(t *testing.T) {
	t.Parallel()
	stranger := ocsptest.NewCA(ocsptest.Options{Name: "Stranger"})
	foreign := ocsptest.Client{}.Request(stranger.Certificate, stranger.Issue(ocsptest.Options{}))
	for name, test := range map[string]struct {
		adjust  func(*rig, *ocsp.Config)
		prepare func(*rig)
		der     func(*rig) []byte // nil asks about the leaf
		want    xocsp.ResponseStatus
	}{
		"malformedRequest": {der: func(*rig) []byte { return []byte{0x30, 0} }, want: xocsp.Malformed},
		"internalError":    {prepare: func(r *rig) { r.store.SetFault(ocsptest.Wrong) }, want: xocsp.InternalError},
		"tryLater, store":  {prepare: func(r *rig) { r.store.SetFault(ocsptest.Fail) }, want: xocsp.TryLater},
		"tryLater, signer": {prepare: func(r *rig) { r.signer.SetFault(ocsptest.Fail) }, want: xocsp.TryLater},
		"tryLater, closed": {prepare: func(r *rig) { assert.NoError(r, r.responder.Close()) }, want: xocsp.TryLater},
		"sigRequired": {
			adjust: func(_ *rig, cfg *ocsp.Config) { cfg.RequestSigners = x509.NewCertPool() },
			want:   xocsp.SignatureRequired,
		},
		"unauthorized, issuer": {der: func(*rig) []byte { return foreign }, want: xocsp.Unauthorized},
		"unauthorized, serial": {
			adjust: func(_ *rig, cfg *ocsp.Config) { cfg.Unissued = ocsp.UnissuedUnauthorized },
			der:    func(r *rig) []byte { return r.request(r.ca.Issue(ocsptest.Options{})) },
			want:   xocsp.Unauthorized,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, test.adjust)
			if test.prepare != nil {
				test.prepare(r)
			}
			der := r.request(r.leaf)
			if test.der != nil {
				der = test.der(r)
			}
			for _, req := range []*http.Request{
				httpPost(der), httpGet(der),
				// Conditions are for answers.
				httpGet(der, "If-None-Match", "*"), httpGet(der, "If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"),
			} {
				result := httpAsk(r, req, der)
				r.requireError(test.want, result)
				require.Empty(t, result.Header.Get("Last-Modified"))
				require.Empty(t, result.Header.Get("Pragma"))
			}
		})
	}
}

func TestT171AnswersMayBeKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	check := func(name string, ask func(r *rig) *ocsptest.Result) {
		httpRun(r, name, func(r *rig) {
			result := ask(r)
			directives := cacheDirectives(r, result.Header)
			require.NotContains(r, directives, "no-cache")
			require.NotContains(r, directives, "no-store")
			require.NotContains(r, directives, "private")
			require.NotContains(r, result.Header, "Pragma")
		})
	}
	get := func(cert *x509.Certificate, status int) func(*rig) *ocsptest.Result {
		return func(r *rig) *ocsptest.Result {
			result, _ := cacheGet(r, cert, status)
			return result
		}
	}
	revoked := r.issue()
	r.revoke(revoked, ocsp.KeyCompromise)
	check("good", get(r.leaf, xocsp.Good))
	check("good, cached", get(r.leaf, xocsp.Good))
	check("revoked", get(revoked, xocsp.Revoked))
	check("unknown", get(r.ca.Issue(ocsptest.Options{}), xocsp.Unknown))
	check("POST", func(r *rig) *ocsptest.Result { return r.query(r.leaf) })
	check("several", func(r *rig) *ocsptest.Result { return r.query(r.leaf, revoked) })
	check("nonce", func(r *rig) *ocsptest.Result {
		client := r.client()
		client.Nonce = make([]byte, 32)
		result, err := client.Query(context.Background(), r.ca.Certificate, r.leaf)
		require.NoError(r, err)
		// Nobody else can use it.
		require.Zero(r, cacheMaxAge(r, result.Header))
		return result
	})
	r.clock.Advance(20 * time.Hour)
	r.signer.SetFault(ocsptest.Fail)
	check("past the refresh point", get(r.leaf, xocsp.Good))
	r.breakStore()
	check("without a store", get(r.leaf, xocsp.Good))
}

func TestT172UnknownIsNotKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	cert := r.ca.Issue(ocsptest.Options{})
	for i := range 3 {
		for _, result := range []*ocsptest.Result{
			httpAsk(r, httpGet(r.request(cert)), r.request(cert)),
			httpAsk(r, httpGet(r.request(cert), "If-None-Match", "*"), r.request(cert)),
			r.query(cert),
		} {
			r.requireAnswer(result, xocsp.Unknown)
			require.Zero(t, cacheMaxAge(r, result.Header))
			require.NotContains(t, cacheDirectives(r, result.Header), "public")
			require.NotContains(t, result.Header, "Expires")
			require.NotContains(t, result.Header, "Etag")
		}
		require.Equal(t, 3*(i+1), r.signer.Calls())
	}
	// The very next answer knows of the certificate.
	r.store.Add(r.ca.ID, cert)
	cacheGet(r, cert, xocsp.Good)
	// And the next one after it is gone does not any more.
	r.store.Remove(r.ca.ID, cert.SerialNumber)
	cacheGet(r, cert, xocsp.Unknown)
}

func TestT173ClientsCannotDemandSignatures(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	whole, _ := cacheGet(r, r.leaf, xocsp.Good)
	r.clock.Advance(time.Hour)
	der := r.request(r.leaf)
	for _, header := range [][]string{
		{"Cache-Control", "no-cache"},
		{"Cache-Control", "no-store"},
		{"Cache-Control", "max-age=0"},
		{"Cache-Control", "min-fresh=86400"},
		{"Cache-Control", "only-if-cached"},
		{"Pragma", "no-cache"},
		{"Pragma", "no-cache", "Cache-Control", "no-cache, no-store, must-revalidate"},
	} {
		httpRun(r, strings.Join(header, " "), func(r *rig) {
			for _, req := range []*http.Request{httpGet(der, header...), httpPost(der, header...)} {
				result := httpAsk(r, req, der)
				r.requireAnswer(result, xocsp.Good)
				require.Equal(r, whole.DER, result.DER)
			}
			require.Equal(r, 1, r.signer.Calls())
		})
	}
}

func TestT174Revoked(t *testing.T) {
	t.Parallel()
	revoked := func(r *rig, before *ocsptest.Result, header ...string) {
		r.Helper()
		result, answer := cacheGet(r, r.leaf, xocsp.Revoked, header...)
		require.Equal(r, xocsp.KeyCompromise, answer.RevocationReason)
		require.NotEqual(r, before.DER, result.DER)
		require.NotEqual(r, before.Header.Get("Etag"), result.Header.Get("Etag"))
	}
	for name, test := range map[string]struct {
		adjust     func(*rig, *ocsp.Config)
		after      time.Duration // of revocation, since the answer before
		invalidate bool
	}{
		"in the same second":            {},
		"later":                         {after: time.Hour},
		"invalidated, with a StatusTTL": {adjust: func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Hour }, after: time.Minute, invalidate: true},
		"with Backdate":                 {adjust: func(_ *rig, cfg *ocsp.Config) { cfg.Backdate = time.Hour }, after: time.Minute},
		"without a cache":               {adjust: func(_ *rig, cfg *ocsp.Config) { cfg.Cache.Disabled = true }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, test.adjust)
			before, _ := cacheGet(r, r.leaf, xocsp.Good)
			got := r.clock.Now()
			r.clock.Advance(test.after)
			r.revoke(r.leaf, ocsp.KeyCompromise)
			if test.invalidate {
				require.NoError(t, r.responder.Invalidate(context.Background(), r.ca.ID, r.leaf.SerialNumber))
			}
			httpRun(r, "plain", func(r *rig) { revoked(r, before) })
			httpRun(r, "If-None-Match", func(r *rig) { revoked(r, before, "If-None-Match", before.Header.Get("Etag")) })
			// Dates have a resolution of one second, and Backdate puts thisUpdate before the time at which
			// clients got the answer before, so a date must not confirm that one.
			httpRun(r, "If-Modified-Since", func(r *rig) {
				revoked(r, before, "If-Modified-Since", before.Header.Get("Last-Modified"))
			})
			httpRun(r, "If-Modified-Since the download", func(r *rig) {
				revoked(r, before, "If-Modified-Since", got.UTC().Format(http.TimeFormat))
			})
		})
	}
}

func TestT177NoExpiredAnswer(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*rig){
		"dead signer":           func(r *rig) { r.signer.SetFault(ocsptest.Fail) },
		"signer that panics":    func(r *rig) { r.signer.SetFault(ocsptest.Panic) },
		"signer that goes mad":  func(r *rig) { r.signer.SetFault(ocsptest.Wrong) },
		"dead store":            func(r *rig) { r.breakStore() },
		"dead store and signer": func(r *rig) { r.breakStore(); r.signer.SetFault(ocsptest.Fail) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Validity = time.Hour })
			first, answer := cacheGet(r, r.leaf, xocsp.Good)
			fail(r)
			der := r.request(r.leaf)
			// Past the refresh point max-age is what is left, less a second.
			for _, left := range []time.Duration{29 * time.Minute, 10 * time.Second, 2 * time.Second, time.Second, time.Millisecond} {
				now := answer.NextUpdate.Add(-left)
				r.clock.Set(now)
				for _, req := range []*http.Request{httpGet(der), httpPost(der)} {
					result := httpAsk(r, req, der)
					r.requireAnswer(result, xocsp.Good)
					require.Equal(t, first.DER, result.DER)
					maxAge := cacheMaxAge(r, result.Header)
					require.True(t, now.Add(maxAge).Before(answer.NextUpdate) || maxAge == 0, "max-age %v with %v left", maxAge, left)
					require.Equal(t, max(left.Truncate(time.Second)-time.Second, 0), maxAge)
				}
			}
			for _, late := range []time.Duration{0, time.Second, time.Hour} {
				r.clock.Set(answer.NextUpdate.Add(late))
				for _, req := range []*http.Request{httpGet(der), httpPost(der), httpGet(der, "If-None-Match", first.Header.Get("Etag"))} {
					result := httpAsk(r, req, der)
					if strings.Contains(name, "panics") {
						r.requireError(xocsp.InternalError, result)
					} else {
						r.requireError(xocsp.TryLater, result)
					}
				}
			}
			r.signer.SetFault(ocsptest.Healthy)
			r.store.SetFault(ocsptest.Healthy)
			result, again := cacheGet(r, r.leaf, xocsp.Good)
			require.NotEqual(t, first.DER, result.DER)
			require.Equal(t, r.clock.Now().UTC(), again.ThisUpdate)
		})
	}
}

func TestT178UnknownSerialsDoNotFillTheCache(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy   ocsp.UnissuedPolicy
		requests int
	}{
		"unauthorized": {ocsp.UnissuedUnauthorized, 1000},
		"unknown":      {ocsp.UnissuedUnknown, 100}, // each costs a signature
		"revoked":      {ocsp.UnissuedRevoked, 100},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
				cfg.Unissued = test.policy
				cfg.Cache.MaxEntries = 1 // so that any other entry drives the hot one out
			})
			hot, _ := cacheGet(r, r.leaf, xocsp.Good)
			signatures := r.signer.Calls()
			for i := range test.requests {
				der := r.request(&x509.Certificate{SerialNumber: big.NewInt(int64(i))})
				req := httpGet(der)
				if i%2 == 0 {
					req = httpPost(der)
				}
				result := httpAsk(r, req, der)
				switch test.policy {
				case ocsp.UnissuedUnknown:
					r.requireAnswer(result, xocsp.Unknown)
					signatures++
				case ocsp.UnissuedRevoked:
					r.requireAnswer(result, xocsp.Revoked)
					signatures++
				default:
					r.requireError(xocsp.Unauthorized, result)
				}
			}
			again, _ := cacheGet(r, r.leaf, xocsp.Good)
			require.Equal(t, hot.DER, again.DER)
			require.Equal(t, signatures, r.signer.Calls())
			// The test can fail: another certificate that was issued does drive it out.
			for range 30 {
				cacheGet(r, r.issue(), xocsp.Good)
			}
			evicted, _ := cacheGet(r, r.leaf, xocsp.Good)
			require.NotEqual(t, hot.DER, evicted.DER)
		})
	}
}

func TestT199GetAndPostAlike(t *testing.T) {
	t.Parallel()
	for _, first := range []string{http.MethodGet, http.MethodPost} {
		t.Run(first+" first", func(t *testing.T) {
			r := newRig(t, nil)
			der := r.request(r.leaf)
			order := []func() *http.Request{func() *http.Request { return httpGet(der) }, func() *http.Request { return httpPost(der) }}
			if first == http.MethodPost {
				slices.Reverse(order)
			}
			var whole *ocsptest.Result
			for range 3 {
				for _, request := range order {
					result := httpAsk(r, request(), der)
					r.requireAnswer(result, xocsp.Good)
					if whole == nil {
						whole = result
					}
					require.Equal(t, whole.DER, result.DER)
					require.Equal(t, whole.Header["Etag"], result.Header["Etag"])
				}
				r.clock.Advance(5 * time.Hour) // fresh for nearly 16 h
			}
			require.Equal(t, 1, r.signer.Calls())
		})
	}
}
