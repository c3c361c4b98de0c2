package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"time"

	cfssllog "github.com/cloudflare/cfssl/log"
	cfssl "github.com/cloudflare/cfssl/ocsp"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspfasthttp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// peer is a responder to compare. The first is what the others are compared with.
type peer struct {
	name  string
	post  bool
	nonce bool
	serve func(ctx context.Context, l net.Listener, k *kit) error
}

var peers = []peer{
	{name: "net/http, static", post: true, serve: serveStatic},
	{name: "Handler, cached, POST", post: true, serve: serveHandler(time.Hour)},
	{name: "Handler, cached, GET", serve: serveHandler(time.Hour)},
	{name: "Handler, cached, store read, POST", post: true, serve: serveHandler(0)},
	{name: "Handler, signed for a nonce, POST", post: true, nonce: true, serve: serveHandler(time.Hour)},
	{name: "ocspfasthttp, cached, POST", post: true, serve: serveFast},
	{name: "ocspfasthttp, cached, GET", serve: serveFast},
	{name: "cfssl 1.6.5, signed before, POST", post: true, serve: serveCFSSL},
	{name: "x/crypto/ocsp, signed each time, POST", post: true, nonce: true, serve: serveXCrypto},
}

// kit is a CA with a certificate, and an answer about it.
type kit struct {
	ca     *ocsptest.CA
	leaf   *x509.Certificate
	store  *ocsptest.Store
	answer []byte
}

// serveAs serves as one of the peers. It prints the address and the base64 of a request.
func serveAs(ctx context.Context, name string) error {
	for _, p := range peers {
		if p.name != name {
			continue
		}
		k := &kit{ca: ocsptest.NewCA(ocsptest.Options{}), store: ocsptest.NewStore()}
		k.leaf = k.ca.Issue(ocsptest.Options{})
		k.store.Add(k.ca.ID, k.leaf)
		client := ocsptest.Client{}
		if p.nonce {
			client.Nonce = bytes.Repeat([]byte{7}, 32)
		}
		request := client.Request(k.ca.Certificate, k.leaf)
		r, err := k.responder(0)
		if err != nil {
			return err
		}
		k.answer = r.Respond(ctx, request).DER
		if err := r.Close(); err != nil {
			return err
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		fmt.Println(l.Addr(), base64.StdEncoding.EncodeToString(request))
		return p.serve(ctx, l, k)
	}
	return fmt.Errorf("there is no responder %q", name)
}

func decode(request string) ([]byte, error) { return base64.StdEncoding.DecodeString(request) }

func (k *kit) responder(ttl time.Duration) (*ocsp.Responder, error) {
	return ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{k.ca.Issuer()}, Store: k.store, Cache: ocsp.CacheOptions{StatusTTL: ttl}})
}

func serveStatic(_ context.Context, l net.Listener, k *kit) error {
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["Content-Type"] = []string{"application/ocsp-response"}
		_, _ = w.Write(k.answer) // wrk sees what is missing
	}))
}

func serveHandler(ttl time.Duration) func(context.Context, net.Listener, *kit) error {
	return func(_ context.Context, l net.Listener, k *kit) error {
		r, err := k.responder(ttl)
		if err != nil {
			return err
		}
		return http.Serve(l, r.Handler())
	}
}

func serveFast(_ context.Context, l net.Listener, k *kit) error {
	r, err := k.responder(time.Hour)
	if err != nil {
		return err
	}
	return ocspfasthttp.NewServer(r).Serve(l)
}

func serveCFSSL(_ context.Context, l net.Listener, k *kit) error {
	cfssllog.Level = cfssllog.LevelFatal
	return http.Serve(l, cfssl.NewResponder(cfssl.InMemorySource{k.leaf.SerialNumber.String(): k.answer}, nil))
}

// serveXCrypto does what a handler written with x/crypto/ocsp does.
func serveXCrypto(_ context.Context, l net.Listener, k *kit) error {
	known := map[string]*big.Int{k.leaf.SerialNumber.String(): k.leaf.SerialNumber}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 16<<10))
		if err != nil {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		request, err := xocsp.ParseRequest(body)
		if err != nil || known[request.SerialNumber.String()] == nil {
			_, _ = w.Write(xocsp.MalformedRequestErrorResponse)
			return
		}
		now := time.Now().Truncate(time.Second)
		answer, err := xocsp.CreateResponse(k.ca.Certificate, k.ca.Certificate, xocsp.Response{
			Status: xocsp.Good, SerialNumber: request.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(24 * time.Hour),
		}, k.ca.Key)
		if err != nil {
			_, _ = w.Write(xocsp.InternalErrorErrorResponse)
			return
		}
		w.Header().Set("Content-Type", "application/ocsp-response")
		_, _ = w.Write(answer)
	}))
}
