package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
)

// eventKey is the key of a context's *ocsp.Event, into which counters.observe puts what it is told.
type eventKey struct{}

// recorder is a response writer that keeps what is written.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

// ocspAnswer is what OCSP says about a certificate, as the page shows it.
type ocspAnswer struct {
	Status, Words string // "good", and what that means; or what went wrong
	Disabled      bool
	Path          string // of the GET
	Size          int
	CacheControl  string
	Response      *xocsp.Response // nil: there is no status
	Signer        string
	Outcome       ocsp.Outcome // zero: unknown
	Took          time.Duration
	Bar           timeBar
}

// ask asks the KMS's own HTTP handler, as any client would, and reads the answer with golang.org/x/crypto/ocsp,
// which verifies the signature and shares no code with the responder.
func (p *page) ask(ctx context.Context, cert *x509.Certificate) (ocspAnswer, error) {
	der, err := xocsp.CreateRequest(cert, p.kms.ca.cert, nil)
	if err != nil {
		return ocspAnswer{}, err
	}
	var event ocsp.Event
	a := ocspAnswer{Path: "/ocsp/" + url.PathEscape(base64.StdEncoding.EncodeToString(der))}
	req, err := http.NewRequestWithContext(context.WithValue(ctx, eventKey{}, &event), http.MethodGet, a.Path, nil)
	if err != nil {
		return ocspAnswer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+p.kms.cfg.Server.Token) // for require_auth
	res := recorder{header: http.Header{}}
	asked := p.now()
	p.ocsp.ServeHTTP(&res, req)
	a.Size, a.CacheControl = res.body.Len(), res.header.Get("Cache-Control")
	a.Outcome, a.Took = event.Outcome, event.Total
	a.decode(&res, cert, p.kms.ca.cert, asked)
	a.Disabled = res.code == http.StatusNotFound && !p.kms.cfg.OCSP.Enabled
	return a, nil
}

// decode reads the HTTP response.
func (a *ocspAnswer) decode(res *recorder, cert, ca *x509.Certificate, now time.Time) {
	a.Status = "no answer"
	if res.code != http.StatusOK {
		a.Words = fmt.Sprintf("The HTTP status is %d %s.", res.code, http.StatusText(res.code))
		return
	}
	response, err := xocsp.ParseResponseForCert(res.body.Bytes(), cert, ca)
	var refused xocsp.ResponseError
	switch {
	case errors.As(err, &refused):
		a.Status, a.Words = refused.Status.String(), "The responder gave an error in place of a status. The server's log may tell why."
		return
	case err != nil:
		a.Words = "The answer cannot be believed: " + err.Error()
		return
	case now.Before(response.ThisUpdate) || now.After(response.NextUpdate):
		a.Words = "The answer is valid at another time than now."
		return
	}
	a.Response = response
	switch response.Status {
	case xocsp.Good:
		a.Status, a.Words = ocsp.Good.String(), "The certificate is not revoked."
	case xocsp.Revoked:
		a.Status, a.Words = ocsp.Revoked.String(), "The certificate must not be trusted any more."
	default:
		a.Status, a.Words = ocsp.Unknown.String(), "The responder does not know the certificate."
	}
	a.Signer = ca.Subject.CommonName + ", the CA"
	if response.Certificate != nil && !response.Certificate.Equal(ca) {
		a.Signer = response.Certificate.Subject.CommonName + ", for the CA"
	}
	a.Bar = newTimeBar(response.ThisUpdate, response.NextUpdate, now, maxAge(a.CacheControl))
}

// Reason says why the certificate was revoked.
func (a ocspAnswer) Reason() (ocsp.Reason, error) {
	return ocsp.ReasonFromCRL(a.Response.RevocationReason)
}

// Source says where the answer came from.
func (a ocspAnswer) Source() string {
	switch a.Outcome {
	case ocsp.OutcomeSigned:
		return "signed for this question"
	case ocsp.OutcomeCached:
		return "an earlier signature, from the cache"
	case ocsp.OutcomeStale:
		return "an earlier signature, since a new one could not be made"
	default:
		return "not known"
	}
}

// maxAge reads how long HTTP caches may keep an answer; zero is not at all.
func maxAge(cacheControl string) time.Duration {
	for directive := range strings.SplitSeq(cacheControl, ",") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(directive), "max-age="); ok {
			seconds, _ := strconv.Atoi(value) // not a number: not at all
			return time.Duration(seconds) * time.Second
		}
	}
	return 0
}

// timeBar is the life of an answer on a line from thisUpdate to nextUpdate, in percent of its length.
type timeBar struct {
	Begin, RefreshAt, End time.Time // RefreshAt is zero if HTTP caches may not keep the answer
	Now, Refresh          float64
}

// newTimeBar draws an answer that caches may keep for a time from now: up to its refresh point, from which on the
// responder signs anew.
func newTimeBar(begin, end, now time.Time, keep time.Duration) timeBar {
	percent := func(t time.Time) float64 {
		return min(max(100*t.Sub(begin).Seconds()/end.Sub(begin).Seconds(), 0), 100)
	}
	b := timeBar{Begin: begin, End: end, Now: percent(now), Refresh: 100}
	if keep > 0 {
		b.RefreshAt = now.Add(keep + time.Second - time.Nanosecond).Truncate(time.Second) // max-age is counted from the next second
		b.Refresh = percent(b.RefreshAt)
	}
	return b
}

// Anchor tells how a label at that place stays within the drawing.
func (timeBar) Anchor(percent float64) string {
	switch {
	case percent < 15:
		return "start"
	case percent > 85:
		return "end"
	default:
		return "middle"
	}
}
