package ocspotel_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspotel"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// TestFlood: whatever an outsider sends, and however much of it, the number of time series stays small.
func TestFlood(t *testing.T) {
	r := newRig(t, nil)
	random := rand.New(rand.NewPCG(1, 2))
	octets := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	oid := asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	sha1, err := asn1.Marshal(oid)
	require.NoError(t, err)
	send := func(method string, der []byte) {
		req := ocsp.HTTPRequest{Method: method, Path: "/ocsp/" + base64.StdEncoding.EncodeToString(der), Body: der}
		if method == http.MethodPost {
			req.Path = "/ocsp"
		}
		r.responder.RespondHTTP(t.Context(), &req)
	}
	hashes := []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512}
	for range 200 {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "get", string(octets(8))} {
			c := ocsptest.Client{Hash: hashes[random.IntN(len(hashes))]}
			if random.IntN(2) == 0 {
				c.Nonce = octets(1 + random.IntN(32))
			}
			unissued := *r.leaf
			unissued.SerialNumber = new(big.Int).SetBytes(octets(1 + random.IntN(20)))
			request := c.Request(r.ca.Certificate, &unissued)
			send(method, request)
			send(method, c.Request(r.ca.Certificate, r.leaf))
			foreign := *r.ca.Certificate
			foreign.RawSubject = octets(20)
			send(method, c.Request(&foreign, &unissued))
			// A hash algorithm of one's own, a request cut short, one with an octet changed, and noise.
			plain := post.Request(r.ca.Certificate, &unissued)
			at := bytes.Index(plain, sha1)
			require.Positive(t, at)
			plain[at+len(sha1)-1] = byte(random.IntN(26))
			send(method, plain)
			send(method, request[:random.IntN(len(request))])
			request[random.IntN(len(request))] ^= byte(1 << random.IntN(8))
			send(method, request)
			send(method, octets(random.IntN(100)))
		}
	}
	all := collect(t, r.reader)
	var answers int64
	for _, n := range all["ocsp.answers"] {
		answers += n
	}
	assert.EqualValues(t, len(r.events), answers)
	assert.Greater(t, len(r.events), 4000)
	for name, c := range all {
		for labels := range c {
			assert.Regexp(t, `^(http\.request\.method=(GET|HEAD|POST),)?(ocsp\.hash=(SHA-(1|256|384|512)|other),)?(ocsp\.issuer\.id=ca,)?`+
				`(ocsp\.nonce=(true|false),)?ocsp\.outcome=(signed|cached|malformedRequest|unauthorized)(,ocsp\.status=(good|unknown))?$`, labels, name)
		}
	}
	assert.LessOrEqual(t, len(all["ocsp.answers"]), 8)
	assert.LessOrEqual(t, len(all["ocsp.requests"]), 3*4*6*2)
	assert.Positive(t, all["ocsp.requests"]["http.request.method=GET,ocsp.hash=other,ocsp.nonce=false,ocsp.outcome=unauthorized"])
}

// TestBounds: not even events that a host makes up, of all kinds and for any number of issuers, lead to more time
// series than the package says, which the SDK can tell apart.
func TestBounds(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	observer, err := ocspotel.New(ocspotel.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), TracerProvider: noop.NewTracerProvider()})
	require.NoError(t, err)
	gone, leave := context.WithCancel(t.Context())
	leave()
	var total int64
	observe := func(ctx context.Context, e ocsp.Event) {
		total++
		e.StoreTime, e.SignTime, e.Total = 1, 1, 2
		observer.Observe(ctx, e)
	}
	for _, outcome := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255} {
		for issuer := range 60 {
			for status := range 4 {
				for reason := range 13 {
					entry := ocsp.SingleResponse{Status: ocsp.Status(status), Reason: ocsp.Reason(reason)}
					if issuer > 0 {
						entry.IssuerID = fmt.Sprint("ca-", issuer)
					}
					for _, err := range []error{nil, errors.New("down"), ocsp.ErrStoreSilent, ocsp.ErrStoreBusy} {
						e := ocsp.Event{Outcome: ocsp.Outcome(outcome), First: entry, Method: "GET", Err: err}
						observe(t.Context(), e)
						if e.Outcome == ocsp.OutcomeTryLater {
							observe(gone, e)
						}
					}
				}
			}
		}
		for _, method := range []string{"", "GET", "HEAD", "POST", "PUT", "get", "\xff", fmt.Sprint("M", outcome)} {
			for hash := range 25 {
				for _, nonce := range []bool{false, true} {
					for certIDs := range 3 {
						e := ocsp.Event{Outcome: ocsp.Outcome(outcome), Method: method, Hash: crypto.Hash(hash), Nonce: nonce, CertIDs: certIDs}
						observe(t.Context(), e)
						if outcome == int(ocsp.OutcomeTryLater) {
							observe(gone, e)
						}
					}
				}
			}
		}
	}
	all := collect(t, reader)
	// 32 issuers, the others, and none; seven outcomes without a status and two conditions of the store for one of
	// them, and three with twelve statuses and reasons each and one condition for one of them.
	assert.Len(t, all["ocsp.answers"], 34*(7+2+3*12+12))
	// Outcomes, methods, hashes, nonces.
	assert.Len(t, all["ocsp.requests"], 10*5*6*2)
	assert.Len(t, all["ocsp.answer.duration"], 10)
	assert.Len(t, all["ocsp.store.duration"], 10)
	assert.Len(t, all["ocsp.sign.duration"], 34*10)
	assert.Len(t, all["ocsp.answer.age"], 34*3)
	for name, c := range all {
		assert.NotContains(t, c, "otel.metric.overflow=true", name)
		assert.Less(t, len(c), 2000, name)
	}
	for _, name := range []string{"ocsp.answers", "ocsp.requests", "ocsp.answer.duration"} {
		var sum int64
		for _, n := range all[name] {
			sum += n
		}
		assert.Equal(t, total, sum, name)
	}
	assert.Contains(t, all["ocsp.sign.duration"], "ocsp.issuer.id=ca-32,ocsp.outcome=signed")
	assert.NotContains(t, all["ocsp.sign.duration"], "ocsp.issuer.id=ca-33,ocsp.outcome=signed")
	assert.Contains(t, all["ocsp.sign.duration"], "ocsp.issuer.id=_OTHER,ocsp.outcome=signed")
}

// TestMaxIssuers: the first to be asked about keep their names, also when many ask at once.
func TestMaxIssuers(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	observer, err := ocspotel.New(ocspotel.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), MaxIssuers: 2})
	require.NoError(t, err)
	event := func(issuer string) ocsp.Event {
		return ocsp.Event{Outcome: ocsp.OutcomeCached, First: ocsp.SingleResponse{IssuerID: issuer, Status: ocsp.Good}}
	}
	observer.Observe(t.Context(), event("a"))
	observer.Observe(t.Context(), event("b"))
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 100 {
				observer.Observe(t.Context(), event(fmt.Sprint("late", worker, i%5)))
				observer.Observe(t.Context(), event("a"))
			}
		})
	}
	wg.Wait()
	const rest = ",ocsp.outcome=cached,ocsp.status=good"
	assert.Equal(t, counts{"ocsp.issuer.id=a" + rest: 801, "ocsp.issuer.id=b" + rest: 1, "ocsp.issuer.id=_OTHER" + rest: 800}, collect(t, reader)["ocsp.answers"])
}

// TestView: the view in the package's documentation leaves out an attribute, and nothing else.
func TestView(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	view := sdkmetric.NewView(
		sdkmetric.Instrument{Name: "ocsp.*"},
		sdkmetric.Stream{AttributeFilter: attribute.NewDenyKeysFilter(ocspotel.IssuerKey)},
	)
	observer, err := ocspotel.New(ocspotel.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithView(view))})
	require.NoError(t, err)
	for _, issuer := range []string{"a", "b"} {
		observer.Observe(t.Context(), ocsp.Event{Outcome: ocsp.OutcomeCached, First: ocsp.SingleResponse{IssuerID: issuer, Status: ocsp.Good}})
	}
	assert.Equal(t, counts{"ocsp.outcome=cached,ocsp.status=good": 2}, collect(t, reader)["ocsp.answers"])
	for _, m := range scopeMetrics(t, reader).Metrics {
		if data, ok := m.Data.(metricdata.Histogram[float64]); ok {
			assert.Greater(t, len(data.DataPoints[0].Bounds), 15, "%s has lost its bounds", m.Name)
		}
	}
}
