package ocspotel_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspotel"
	"github.com/kmsocsp/ocsp/ocsptest"
)

var (
	post = ocsptest.Client{}
	get  = ocsptest.Client{Method: http.MethodGet, Hash: crypto.SHA256}
	head = ocsptest.Client{Method: http.MethodHead, Hash: crypto.SHA256}
)

// What a request by these is like, in the attributes of ocsp.requests.
const (
	byPost = "http.request.method=POST,ocsp.hash=SHA-1,ocsp.nonce=false"
	byGet  = "http.request.method=GET,ocsp.hash=SHA-256,ocsp.nonce=false"
	byHead = "http.request.method=HEAD,ocsp.hash=SHA-256,ocsp.nonce=false"
)

// revoke revokes the rig's certificate.
func revoke(reason ocsp.Reason) func(*rig) {
	return func(r *rig) { r.store.Revoke(r.ca.ID, r.leaf.SerialNumber, reason, r.clock.Now().Add(-time.Hour)) }
}

// about asks about the rig's certificate.
func about(c ocsptest.Client) func(*rig, context.Context) {
	return func(r *rig, ctx context.Context) { r.ask(ctx, c, r.ca, r.leaf) }
}

// outcomes has for each outcome what leads to it, and what is measured then.
var outcomes = []struct {
	name   string
	adjust func(*ocsp.Config)
	lead   func(r *rig)                      // to the last answer
	last   func(r *rig, ctx context.Context) // whose measurements count

	outcome         string
	issuer          bool   // is known
	status, reason  string // of a signed answer
	condition       string // of the store, if that is why
	request         string // the attributes of ocsp.requests but for the outcome
	stored, signed  bool   // it waited for the store, for a signature
	problem, failed bool   // its span tells of an error, is an error
}{
	{
		name: "signed", last: about(post),
		outcome: "signed", issuer: true, status: "good", request: byPost, stored: true, signed: true,
	},
	{
		name: "revoked", lead: revoke(ocsp.KeyCompromise), last: about(get),
		outcome: "signed", issuer: true, status: "revoked", reason: "keyCompromise", request: byGet, stored: true, signed: true,
	},
	{
		name: "revoked for an unspecified reason", lead: revoke(ocsp.Unspecified), last: about(get),
		outcome: "signed", issuer: true, status: "revoked", reason: "unspecified", request: byGet, stored: true, signed: true,
	},
	{
		name: "unknown, with a nonce",
		last: func(r *rig, ctx context.Context) {
			c := ocsptest.Client{Nonce: bytes.Repeat([]byte{1}, 32), Hash: crypto.SHA512}
			r.ask(ctx, c, r.ca, r.ca.Issue(ocsptest.Options{}))
		},
		outcome: "signed", issuer: true, status: "unknown", request: "http.request.method=POST,ocsp.hash=SHA-512,ocsp.nonce=true", stored: true, signed: true,
	},
	{
		name: "several certificates, the first of a foreign CA",
		last: func(r *rig, ctx context.Context) {
			foreign := ocsptest.NewCA(ocsptest.Options{})
			r.send(ctx, post, join(post.Request(foreign.Certificate, foreign.Issue(ocsptest.Options{})), post.Request(r.ca.Certificate, r.leaf)))
		},
		outcome: "signed", status: "unknown", request: byPost, stored: true, signed: true,
	},
	{
		name: "cached", lead: func(r *rig) { r.ask(r.Context(), get, r.ca, r.leaf) }, last: about(head),
		outcome: "cached", issuer: true, status: "good", request: byHead, stored: true,
	},
	{
		name:   "cached, without the store",
		adjust: func(cfg *ocsp.Config) { cfg.Cache.StatusTTL = 2 * time.Hour },
		lead:   func(r *rig) { r.ask(r.Context(), get, r.ca, r.leaf) }, last: about(get),
		outcome: "cached", issuer: true, status: "good", request: byGet,
	},
	{
		name:   "stale for the store, which has answered nobody lately",
		adjust: func(cfg *ocsp.Config) { cfg.Cache.StorePatience = 20 * time.Millisecond },
		lead: func(r *rig) {
			r.ask(r.Context(), post, r.ca, r.leaf)
			r.store.SetFault(ocsptest.Fail)
			for r.events[len(r.events)-1].Outcome != ocsp.OutcomeStale { // until then it is busy
				r.ask(r.Context(), post, r.ca, r.leaf)
			}
		},
		last:    about(post),
		outcome: "stale", issuer: true, status: "good", request: byPost, stored: true, problem: true,
	},
	{
		name:   "stale for a silent store",
		adjust: func(cfg *ocsp.Config) { cfg.Cache.StorePatience = 20 * time.Millisecond },
		lead: func(r *rig) {
			revoke(ocsp.Superseded)(r)
			r.ask(r.Context(), post, r.ca, r.leaf)
			r.store.SetFault(ocsptest.Hang)
		},
		last:    about(post),
		outcome: "stale", issuer: true, status: "revoked", reason: "superseded", condition: "silent", request: byPost, stored: true, problem: true,
	},
	{
		name: "stale for the signer",
		lead: func(r *rig) {
			r.ask(r.Context(), post, r.ca, r.leaf)
			r.signer.SetFault(ocsptest.Fail)
		},
		last: func(r *rig, ctx context.Context) {
			r.ask(ctx, ocsptest.Client{Nonce: []byte("nonce")}, r.ca, r.leaf)
		},
		outcome: "stale", issuer: true, status: "good", request: "http.request.method=POST,ocsp.hash=SHA-1,ocsp.nonce=true",
		stored: true, signed: true, problem: true,
	},
	{
		name: "tryLater for a busy store",
		lead: func(r *rig) {
			r.ask(r.Context(), post, r.ca, r.leaf)
			r.store.SetFault(ocsptest.Fail)
		},
		last:    about(post),
		outcome: "tryLater", issuer: true, condition: "busy", request: byPost, stored: true, problem: true, failed: true,
	},
	{
		name:    "tryLater for a silent store",
		adjust:  func(cfg *ocsp.Config) { cfg.Timeout = 50 * time.Millisecond },
		lead:    func(r *rig) { r.store.SetFault(ocsptest.Hang) },
		last:    about(post),
		outcome: "tryLater", issuer: true, condition: "silent", request: byPost, stored: true, problem: true, failed: true,
	},
	{
		name:    "malformedRequest",
		last:    func(r *rig, ctx context.Context) { r.send(ctx, post, []byte("not a request")) },
		outcome: "malformedRequest", request: "http.request.method=POST,ocsp.nonce=false", problem: true,
	},
	{
		name: "internalError", lead: func(r *rig) { r.store.SetFault(ocsptest.Wrong) }, last: about(post),
		outcome: "internalError", issuer: true, request: byPost, stored: true, problem: true, failed: true,
	},
	{
		name: "tryLater for the store", lead: func(r *rig) { r.store.SetFault(ocsptest.Fail) }, last: about(post),
		outcome: "tryLater", issuer: true, request: byPost, stored: true, problem: true, failed: true,
	},
	{
		name: "tryLater for the signer", lead: func(r *rig) { r.signer.SetFault(ocsptest.Fail) }, last: about(post),
		outcome: "tryLater", issuer: true, request: byPost, stored: true, signed: true, problem: true, failed: true,
	},
	{
		name: "tryLater at the host's deadline", lead: func(r *rig) { r.store.SetFault(ocsptest.Hang) },
		last: func(r *rig, ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			r.ask(ctx, post, r.ca, r.leaf)
		},
		outcome: "tryLater", issuer: true, request: byPost, stored: true, problem: true, failed: true,
	},
	{
		name: "canceled by the client", lead: func(r *rig) { r.store.SetFault(ocsptest.Hang) },
		last: func(r *rig, ctx context.Context) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			r.ask(ctx, post, r.ca, r.leaf)
		},
		outcome: "canceled", issuer: true, request: byPost, stored: true, problem: true,
	},
	{
		name: "sigRequired", adjust: func(cfg *ocsp.Config) { cfg.RequestSigners = x509.NewCertPool() }, last: about(post),
		outcome: "sigRequired", request: byPost, problem: true,
	},
	{
		name: "unauthorized",
		last: func(r *rig, ctx context.Context) {
			foreign := ocsptest.NewCA(ocsptest.Options{})
			r.ask(ctx, post, foreign, foreign.Issue(ocsptest.Options{}))
		},
		outcome: "unauthorized", request: byPost, problem: true,
	},
	{
		name: "without HTTP",
		last: func(r *rig, ctx context.Context) {
			r.responder.Respond(ctx, post.Request(r.ca.Certificate, r.leaf))
		},
		outcome: "signed", issuer: true, status: "good", request: "ocsp.hash=SHA-1,ocsp.nonce=false", stored: true, signed: true,
	},
}

// TestOutcomes: each outcome is counted once, with its attributes, what was waited for has a duration, and there is
// a span.
func TestOutcomes(t *testing.T) {
	seen := map[ocsp.Outcome]bool{}
	for _, test := range outcomes {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, test.adjust)
			if test.lead != nil {
				test.lead(r)
			}
			before := collect(t, r.reader)
			r.spans.Reset()
			r.clock.Advance(time.Hour)
			ctx, parent := r.tracer.Tracer("host").Start(t.Context(), "request")
			test.last(r, ctx)
			after := collect(t, r.reader)
			event := r.events[len(r.events)-1]
			seen[event.Outcome] = true

			outcome := "ocsp.outcome=" + test.outcome
			answer := outcome
			if test.issuer {
				answer = "ocsp.issuer.id=ca," + outcome
			}
			origin := answer
			if test.reason != "" {
				answer += ",ocsp.reason=" + test.reason
			}
			if test.status != "" {
				answer += ",ocsp.status=" + test.status
			}
			if test.condition != "" {
				answer += ",ocsp.store.condition=" + test.condition
			}
			for name, want := range map[string]counts{
				"ocsp.answers":         {answer: 1},
				"ocsp.requests":        {test.request + "," + outcome: 1},
				"ocsp.answer.duration": {outcome: 1},
				"ocsp.store.duration":  only(test.stored, outcome),
				"ocsp.sign.duration":   only(test.signed, origin),
				"ocsp.answer.age":      only(test.status != "", origin),
			} {
				assert.Equal(t, want, newer(before[name], after[name]), name)
			}

			var spans []sdktrace.ReadOnlySpan
			for _, span := range r.spans.Ended() {
				if span.InstrumentationScope().Name == ocspotel.ScopeName {
					spans = append(spans, span)
				}
			}
			var names []string
			for _, span := range spans {
				names = append(names, span.Name())
			}
			want := []string{"ocsp.answer"} // which ends after its children
			if test.signed {
				want = append([]string{"ocsp.sign"}, want...)
			}
			if test.stored {
				want = append([]string{"ocsp.store"}, want...)
			}
			require.Equal(t, want, names)
			span := spans[len(spans)-1]
			assert.Equal(t, parent.SpanContext(), span.Parent())
			assert.Equal(t, event.Total, span.EndTime().Sub(span.StartTime()))
			assert.WithinDuration(t, time.Now(), span.EndTime(), time.Minute)
			attributes := attribute.NewSet(span.Attributes()...)
			assert.Equal(t, event.CertIDs, int(value(t, attributes, ocspotel.CertIDsKey).AsInt64()))
			if test.issuer {
				assert.Equal(t, event.First.Serial.Text(16), value(t, attributes, ocspotel.SerialKey).AsString())
			}
			if test.status != "" {
				assert.Equal(t, event.Age.Seconds(), value(t, attributes, ocspotel.AgeKey).AsFloat64())
			}
			extra := attribute.NewDenyKeysFilter(ocspotel.CertIDsKey, ocspotel.SerialKey, ocspotel.AgeKey, "error.type")
			rest, _ := attributes.Filter(extra)
			assert.ElementsMatch(t, strings.Split(answer+","+test.request, ","), strings.Split(labels(rest), ","))
			checkError(t, span, event, test.problem, test.failed)
			checkChildren(t, spans, event)
		})
	}
	for o := ocsp.OutcomeSigned; o <= ocsp.OutcomeUnauthorized; o++ {
		assert.True(t, seen[o], "no case ends in %v", o)
	}
}

func only(yes bool, labels string) counts {
	if !yes {
		return counts{}
	}
	return counts{labels: 1}
}

// newer returns what was counted between two looks.
func newer(before, after counts) counts {
	d := counts{}
	for labels, n := range after {
		if n != before[labels] {
			d[labels] = n - before[labels]
		}
	}
	return d
}

func value(t *testing.T, set attribute.Set, key attribute.Key) attribute.Value {
	t.Helper()
	v, ok := set.Value(key)
	require.True(t, ok, key)
	return v
}

// checkError checks what a span tells of the event's error.
func checkError(t *testing.T, span sdktrace.ReadOnlySpan, event ocsp.Event, problem, failed bool) {
	t.Helper()
	if problem {
		require.Len(t, span.Events(), 1)
		exception := attribute.NewSet(span.Events()[0].Attributes...)
		assert.Equal(t, event.Err.Error(), value(t, exception, "exception.message").AsString())
		assert.Equal(t, span.EndTime(), span.Events()[0].Time)
	} else {
		assert.NoError(t, event.Err)
		assert.Empty(t, span.Events())
	}
	status, set := codes.Unset, attribute.NewSet(span.Attributes()...)
	kind, has := set.Value("error.type")
	assert.Equal(t, failed, has)
	if failed {
		status = codes.Error
		assert.Equal(t, event.Outcome.String(), kind.AsString())
	}
	assert.Equal(t, status, span.Status().Code)
}

// checkChildren checks that the children lie within the answer, the store at its beginning and the signature at its
// end.
func checkChildren(t *testing.T, spans []sdktrace.ReadOnlySpan, event ocsp.Event) {
	t.Helper()
	answer := spans[len(spans)-1]
	for _, child := range spans[:len(spans)-1] {
		assert.Equal(t, answer.SpanContext().SpanID(), child.Parent().SpanID())
		assert.Equal(t, trace.SpanKindInternal, child.SpanKind())
		took := child.EndTime().Sub(child.StartTime())
		if child.Name() == "ocsp.store" {
			assert.Equal(t, answer.StartTime(), child.StartTime())
			assert.Equal(t, event.StoreTime, took)
		} else {
			assert.Equal(t, answer.EndTime(), child.EndTime())
			assert.Equal(t, event.SignTime, took)
		}
		assert.LessOrEqual(t, took, event.Total)
	}
}

// join makes one request of several.
func join(requests ...[]byte) []byte {
	var all struct {
		TBS struct{ List []asn1.RawValue }
	}
	for _, der := range requests {
		one := all
		if _, err := asn1.Unmarshal(der, &one); err != nil {
			panic(err)
		}
		all.TBS.List = append(all.TBS.List, one.TBS.List...)
	}
	der, err := asn1.Marshal(all)
	if err != nil {
		panic(err)
	}
	return der
}

// TestConditions: a busy store, a silent one and what stands in for it are told apart, whoever wraps the error, and
// other errors say nothing about the store.
func TestConditions(t *testing.T) {
	wrapped := func(err error) error { return fmt.Errorf("issuer: %w", errors.Join(errors.New("down"), err)) }
	for _, test := range []struct {
		outcome ocsp.Outcome
		err     error
		want    string
	}{
		{ocsp.OutcomeTryLater, wrapped(ocsp.ErrStoreBusy), "busy"},
		{ocsp.OutcomeTryLater, wrapped(ocsp.ErrStoreSilent), "silent"},
		{ocsp.OutcomeTryLater, wrapped(nil), ""},
		{ocsp.OutcomeStale, wrapped(ocsp.ErrStoreSilent), "silent"},
		{ocsp.OutcomeStale, wrapped(ocsp.ErrStoreBusy), ""},
		{ocsp.OutcomeStale, wrapped(nil), ""},
		{ocsp.OutcomeInternalError, wrapped(ocsp.ErrStoreBusy), ""},
		{ocsp.OutcomeCached, nil, ""},
	} {
		t.Run(fmt.Sprint(test.outcome, " ", test.err), func(t *testing.T) {
			reader := sdkmetric.NewManualReader()
			spans := tracetest.NewSpanRecorder()
			observer, err := ocspotel.New(ocspotel.Options{
				MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
				TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
			})
			require.NoError(t, err)
			observer.Observe(t.Context(), ocsp.Event{Outcome: test.outcome, Err: test.err})
			attributes := attribute.NewSet(spans.Ended()[0].Attributes()...)
			got, _ := attributes.Value(ocspotel.ConditionKey)
			require.Equal(t, test.want, got.AsString())
			for labels := range collect(t, reader)["ocsp.answers"] {
				require.Equal(t, test.want != "", strings.Contains(labels, "ocsp.store.condition="+test.want), labels)
			}
		})
	}
}
