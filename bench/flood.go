package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// Who asks while nonces flood in.
const (
	floodCached      = 500 // certificates whose answers are cached
	floodRate        = 200 // requests a second about them
	floodConnections = 128 // that ask with nonces, one after the other; as many as may wait for a signature
	floodNonces      = 2000
)

// floodArgument is what a server that is flooded needs to know: an RSA CA, in DER.
type floodArgument struct {
	Certificate, Key []byte
}

// serveFlood is the role of a server with some cached answers. Its only reply is its address.
func serveFlood(_ context.Context, talk *parent) error {
	var a floodArgument
	if err := talk.in.Decode(&a); err != nil {
		return err
	}
	cert, err1 := x509.ParseCertificate(a.Certificate)
	key, err2 := x509.ParsePKCS8PrivateKey(a.Key)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	ca := &ocsptest.CA{ID: cert.Subject.CommonName, Certificate: cert, Key: key.(crypto.Signer)} // as all keys that were marshalled are
	f := newFleet(ca)
	config := f.config()
	config.Cache = ocsp.CacheOptions{StatusTTL: time.Hour}
	r, err := f.filled(config, floodCached)
	if err != nil {
		return err
	}
	if err := listen(talk, httpServe(r.Handler())); err != nil {
		return err
	}
	var told any
	return talk.in.Decode(&told)
}

// floodRounds are what rounds brought: the latencies of cached answers without a flood and with one, in milliseconds, and
// the signatures a second that it made the server make.
type floodRounds struct {
	alone, flooded struct{ median, p99 []float64 }
	signed         []float64
}

// nonceFlood measures what cached answers suffer while clients make the responder sign as much as it will.
func nonceFlood(ctx context.Context, o *options) (*result, error) {
	r, err := measureFlood(ctx, o)
	if err != nil {
		return nil, err
	}
	return &result{
		text: fmt.Sprintf(`%d connections ask with nonces about certificates whose answers are cached, each as soon as it has its answer. Each
answer costs a signature with an RSA key of 2048 bits, which is one of Go's own. Beside them %d requests a second without
nonces come for %d cached answers. The server has all cores, and shares them with the clients. The flood got %.0f signatures
a second.

| cached answers, ms | median | 99th percentile |
|---|---|---|
| no nonces | %.1f | %.1f |
| a flood of nonces | %.1f | %.1f |
`, floodConnections, floodRate, floodCached, median(r.signed), median(r.alone.median), median(r.alone.p99), median(r.flooded.median), median(r.flooded.p99)),
		findings: []finding{{
			what:   "Nonce flood: median latency of cached answers, to that without it",
			values: quotients(r.flooded.median, r.alone.median), goal: &goal{must: 10, stretch: 5},
		}},
	}, nil
}

func measureFlood(ctx context.Context, o *options) (r *floodRounds, err error) {
	_, clientCore, err := twoCores()
	if err != nil {
		return nil, err
	}
	f := newFleet(ocsptest.NewCA(ocsptest.Options{Key: ocsptest.RSA2048}))
	known, nonces := o.kit.file("flood-cached"), o.kit.file("flood-nonces")
	if err := errors.Join(
		os.WriteFile(known, f.posts(0, floodCached), 0o600),
		os.WriteFile(nonces, f.noncePosts(floodCached, floodNonces), 0o600),
	); err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(f.ca.Key)
	if err != nil {
		return nil, err
	}
	var address string
	server, err := startChild(ctx, "flood", anywhere, floodArgument{f.ca.Certificate.Raw, key}, &address)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	r = &floodRounds{}
	for round := range o.rounds {
		o.progress("nonce flood, round %d of %d", round+1, o.rounds)
		p := pacing{
			Addresses: []string{address}, Requests: known, Rate: floodRate, Connections: pacedConnections, Duration: o.duration, Seed: uint64(round),
			Patient: true, // or it takes one core for itself
		}
		reply, err := paced(ctx, clientCore, p)
		if err != nil {
			return nil, err
		}
		r.alone.median, r.alone.p99 = append(r.alone.median, reply.Median/1000), append(r.alone.p99, reply.P99/1000)
		p.Busy, p.BusyConnections, p.BusySpread = nonces, floodConnections, 100*time.Millisecond
		if reply, err = paced(ctx, clientCore, p); err != nil {
			return nil, err
		}
		r.flooded.median, r.flooded.p99 = append(r.flooded.median, reply.Median/1000), append(r.flooded.p99, reply.P99/1000)
		r.signed = append(r.signed, float64(reply.BusyAnswered)/o.duration.Seconds())
	}
	return r, nil
}

// noncePosts returns n requests about the first certificates, each with a nonce of its own, as they go over the wire.
func (f *fleet) noncePosts(certificates, n int) []byte {
	var all bytes.Buffer
	for i := range n {
		plain := f.request(nil, uint64(i%certificates))
		serial := new(big.Int).SetBytes(plain[len(plain)-16:])
		nonce := binary.BigEndian.AppendUint64(make([]byte, 24), uint64(i))
		all.Write(wire("POST", "/", ocsptest.Client{Nonce: nonce}.Request(f.ca.Certificate, &x509.Certificate{SerialNumber: serial}), ""))
	}
	return all.Bytes()
}
