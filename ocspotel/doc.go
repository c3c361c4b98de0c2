/*
Package ocspotel measures an OCSP responder with OpenTelemetry: metrics and spans, from ocsp.Config.Observe.

	observer, err := ocspotel.New(ocspotel.Options{}) // the global providers
	if err != nil {
		return err
	}
	responder, err := ocsp.New(ocsp.Config{
		Issuers: issuers,
		Store:   store,
		Observe: observer.Observe,
	})

A host with an Observe of its own calls both:

	Observe: func(ctx context.Context, e ocsp.Event) {
		audit(ctx, e)
		observer.Observe(ctx, e)
	},

# Metrics

	ocsp.answers          {answer}   ocsp.outcome ocsp.status ocsp.reason ocsp.issuer.id ocsp.store.condition
	ocsp.requests         {request}  ocsp.outcome http.request.method ocsp.hash ocsp.nonce
	ocsp.answer.duration  s          ocsp.outcome
	ocsp.store.duration   s          ocsp.outcome
	ocsp.sign.duration    s          ocsp.outcome ocsp.issuer.id
	ocsp.answer.age       s          ocsp.outcome ocsp.issuer.id

The first two count the same answers: by what was said, and by what was asked. So the number of time series is a sum,
and not a product. No outsider can make it grow: serial numbers are no attributes, methods, hash algorithms and
statuses are one of a few, and issuers are those that the host has configured, of which Options.MaxIssuers are told
apart. docs/METRICS.md has each metric, what to alert on, and a dashboard.

An attribute that is of no use can be left out with a view of the metric SDK:

	sdkmetric.NewView(
		sdkmetric.Instrument{Name: "ocsp.*"},
		sdkmetric.Stream{AttributeFilter: attribute.NewDenyKeysFilter(ocspotel.IssuerKey)},
	)

# Spans

Each answer is a span, a child of the one in the context: with net/http, that of the host's instrumentation. It has the
attributes above, the serial number, which traces may have, and the error, if there was one. What it waited for are
children: ocsp.store, and ocsp.sign for the signature or the remote cache. An Event is told when all is over, so spans
begin in the past; ocsp.store is placed at the beginning of the answer and ocsp.sign at its end, which is where they
are unless the answer had to be begun again. There are none for a request whose own span is not sampled. Where the
answer's is the first span, the sampler sees all attributes but the serial number, so that it may keep the failures, say,
and let the rest go.
*/
package ocspotel
