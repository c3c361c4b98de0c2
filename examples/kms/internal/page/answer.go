package page

import (
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
	"github.com/kmsocsp/ocsp/examples/kms/internal/counters"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// ocspAnswer is the OCSP answer about a certificate, as the page shows it.
type ocspAnswer struct {
	Status, Words string // "good", and an explanation; or the error
	Disabled      bool
	Path          string // of the GET
	Size          int
	CacheControl  string
	Response      *xocsp.Response // nil without a status
	Signer        string          // empty if unknown
	Outcome       ocsp.Outcome    // zero if unknown
	Took          time.Duration
	Bar           timeBar
}

// ask sends a request to the OCSP handler, as any client would. The client parses and verifies the
// answer with golang.org/x/crypto/ocsp, which shares no code with the responder.
func (p *Page) ask(ctx context.Context, cert *x509.Certificate) (ocspAnswer, error) {
	var event ocsp.Event
	ctx, now, ca := counters.WithEvent(ctx, &event), p.Now(), p.API.CA
	client := ocsptest.Client{
		Handler: p.OCSP, Method: http.MethodGet, Now: func() time.Time { return now },
		Header: http.Header{"Authorization": {"Bearer " + p.Token}}, // for require_auth
	}
	result, err := client.Query(ctx, ca, cert)
	if result == nil {
		return ocspAnswer{}, err
	}
	a := ocspAnswer{
		Status: "no answer", Path: "/ocsp/" + url.PathEscape(base64.StdEncoding.EncodeToString(result.Request)),
		Size: len(result.DER), CacheControl: result.Header.Get("Cache-Control"),
		Outcome: event.Outcome, Took: event.Total,
		Disabled: result.StatusCode == http.StatusNotFound && p.Disabled,
	}
	var refused xocsp.ResponseError
	switch {
	case result.StatusCode != http.StatusOK:
		a.Words = fmt.Sprintf("The HTTP status is %d %s.", result.StatusCode, http.StatusText(result.StatusCode))
	case errors.As(err, &refused):
		a.Status, a.Words = refused.Status.String(), "The responder gave an error in place of a status. The server's log may tell why."
	case err != nil:
		a.Words = "The answer cannot be believed: " + err.Error()
	default:
		a.read(result.Responses[0], ca, now)
	}
	return a, nil
}

// read explains a verified answer.
func (a *ocspAnswer) read(response *xocsp.Response, ca *x509.Certificate, now time.Time) {
	a.Response = response
	switch response.Status {
	case xocsp.Good:
		a.Status, a.Words = ocsp.Good.String(), "The certificate is not revoked."
	case xocsp.Revoked:
		a.Status, a.Words = ocsp.Revoked.String(), "The certificate must not be trusted any more."
	default:
		a.Status, a.Words = ocsp.Unknown.String(), "The responder does not know the certificate."
	}
	switch {
	case response.SignatureAlgorithm == x509.UnknownSignatureAlgorithm: // by x/crypto/ocsp, such as PSS
	case response.Certificate != nil && !response.Certificate.Equal(ca):
		a.Signer = fmt.Sprintf("%s, for the CA; %v", response.Certificate.Subject.CommonName, response.SignatureAlgorithm)
	default:
		a.Signer = fmt.Sprintf("%s, the CA; %v", ca.Subject.CommonName, response.SignatureAlgorithm)
	}
	a.Bar = newTimeBar(response.ThisUpdate, response.NextUpdate, now, maxAge(a.CacheControl))
}

// Reason returns why the certificate was revoked.
func (a ocspAnswer) Reason() (ocsp.Reason, error) {
	return ocsp.ReasonFromCRL(a.Response.RevocationReason)
}

// Source explains where the answer came from.
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

// maxAge returns how long HTTP caches may store an answer; zero is not at all.
func maxAge(cacheControl string) time.Duration {
	for directive := range strings.SplitSeq(cacheControl, ",") {
		if value, ok := strings.CutPrefix(strings.TrimSpace(directive), "max-age="); ok {
			seconds, _ := strconv.Atoi(value) // not a number: not at all
			return time.Duration(seconds) * time.Second
		}
	}
	return 0
}

// timeBar is the life of an answer on a line from thisUpdate to nextUpdate, in percent of its
// length.
type timeBar struct {
	Begin, RefreshAt, End time.Time // RefreshAt is zero if HTTP caches may not store the answer
	Now, Refresh          float64
}

// newTimeBar returns the bar of an answer that caches may store until its refresh point, when the
// responder signs again.
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

// Anchor returns the text-anchor with which a label at that place stays within the drawing.
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
