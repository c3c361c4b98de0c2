package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"

	cfssllog "github.com/cloudflare/cfssl/log"
	cfssl "github.com/cloudflare/cfssl/ocsp"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspfasthttp"
)

// peer is a responder to compare.
type peer struct {
	name string
	asks string // which requests of the kit
	like string // the peer that it is compared with
	ours bool   // this project's

	// serve returns what serves with the kit; it runs in a child.
	serve func(k *kit) (func(net.Listener) error, error)
	// launch, in place of it, starts another program. errAbsent says that there is none on this machine.
	launch func(ctx context.Context, k *kit) (*server, error)
}

// The names of those that others are compared with, or that goals are about.
const (
	staticPost  = "net/http, static, POST"
	staticGet   = "net/http, static, GET"
	handlerPost = "Handler, cached, POST"
	handlerGet  = "Handler, cached, GET"
	handlerRead = "Handler, cached, store read, POST"
	handlerSign = "Handler, signed for a nonce, POST"
	staticOnce  = "net/http, static, connection closed"
	handlerOnce = "Handler, signed for a nonce, connection closed"
	fastPost    = "ocspfasthttp, cached, POST"
	fastGet     = "ocspfasthttp, cached, GET"
	cfsslPost   = "cfssl 1.6.5, signed before, POST"
	boulderPost = "boulder of June 2024, signed before, POST"
	xcryptoSign = "x/crypto/ocsp, signed each time, POST"
	nginxFile   = "nginx, static file, GET"
	opensslOnce = "openssl ocsp, signed each time, connection closed"
)

var peers = []peer{
	{name: staticPost, asks: posts, like: staticPost, serve: serveStatic},
	{name: staticGet, asks: gets, like: staticGet, serve: serveStatic},
	{name: handlerPost, asks: posts, like: staticPost, ours: true, serve: serveHandler(time.Hour)},
	{name: handlerGet, asks: gets, like: staticGet, ours: true, serve: serveHandler(time.Hour)},
	{name: handlerRead, asks: posts, like: staticPost, ours: true, serve: serveHandler(0)},
	{name: fastPost, asks: posts, like: staticPost, ours: true, serve: serveFast},
	{name: fastGet, asks: gets, like: staticGet, ours: true, serve: serveFast},
	{name: nginxFile, asks: files, like: staticGet, launch: launchNginx},
	boulderPeer,
	{name: cfsslPost, asks: posts, like: staticPost, serve: serveCFSSL},
	{name: handlerSign, asks: nonces, like: staticPost, ours: true, serve: serveHandler(time.Hour)},
	{name: xcryptoSign, asks: nonces, like: staticPost, serve: serveXCrypto},
	{name: staticOnce, asks: closes, like: staticOnce, serve: serveStatic},
	{name: handlerOnce, asks: closes, like: staticOnce, ours: true, serve: serveHandler(time.Hour)},
	{name: opensslOnce, asks: closes, like: staticOnce, launch: launchOpenSSL},
}

func findPeer(name string) (peer, error) {
	for _, p := range peers {
		if p.name == name {
			return p, nil
		}
	}
	return peer{}, fmt.Errorf("there is no responder %q", name)
}

// server is a peer that serves.
type server struct {
	peer
	address string
	pids    []int // the processes that it consists of
	child   *child
	stop    func() error
}

// cpu returns the CPU time that the server has used.
func (s *server) cpu() (sum time.Duration, err error) {
	for _, pid := range s.pids {
		t, err := cpuTime(pid)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", s.name, err)
		}
		sum += t
	}
	return sum, nil
}

// start starts a peer, and checks that it answers as it should.
func (p peer) start(ctx context.Context, k *kit, core int, profiles string) (*server, error) {
	s, err := p.begin(ctx, k, core, profiles)
	if errors.Is(err, errAbsent) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	if err := s.check(k); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", p.name, err), s.stop())
	}
	return s, nil
}

func (p peer) begin(ctx context.Context, k *kit, core int, profiles string) (*server, error) {
	if p.launch != nil {
		s, err := p.launch(ctx, k)
		if err != nil {
			return nil, err
		}
		s.peer = p
		return s, nil
	}
	s := &server{peer: p}
	c, err := startChild(ctx, "peer", core, peerArgument{p.name, k.dir, profiles}, &s.address)
	if err != nil {
		return nil, err
	}
	s.pids, s.child, s.stop = []int{c.cmd.Process.Pid}, c, c.stop
	return s, nil
}

// check asks the first question.
func (s *server) check(k *kit) error {
	requests, err := readWire(k.file(s.asks))
	if err != nil {
		return err
	}
	body, err := exchange(s.address, requests[0])
	if err != nil {
		return err
	}
	answer, err := xocsp.ParseResponse(body, k.ca.Certificate)
	if err != nil {
		return fmt.Errorf("it does not answer: %w", err)
	}
	if answer.Status != xocsp.Good || answer.SerialNumber.Cmp(k.serials[0]) != 0 {
		return fmt.Errorf("it does not answer good for %x, but %d for %x", k.serials[0], answer.Status, answer.SerialNumber)
	}
	return nil
}

// peerArgument is what a child needs to know to serve.
type peerArgument struct {
	Name, Kit string
	Profiles  string // the folder for CPU and allocation profiles; "": none
}

// allocationRate is how many octets lie between samples of the allocation profile.
const allocationRate = 4096

// servePeer is the role of a peer. Its first reply is its address. To anything that it is told then it answers when it
// has begun to write a profile, or has written it.
func servePeer(_ context.Context, talk *parent) error {
	var a peerArgument
	if err := talk.in.Decode(&a); err != nil {
		return err
	}
	if a.Profiles != "" {
		runtime.MemProfileRate = allocationRate
	}
	p, err := findPeer(a.Name)
	if err != nil {
		return err
	}
	k, err := loadKit(a.Kit)
	if err != nil {
		return err
	}
	serve, err := p.serve(k)
	if err != nil {
		return err
	}
	if err := listen(talk, serve); err != nil {
		return err
	}
	return profile(a.Profiles, talk)
}

// listen serves from then on, and replies the address.
func listen(talk *parent, serve func(net.Listener) error) error {
	address, err := background(serve)
	if err != nil {
		return err
	}
	return talk.out.Encode(address)
}

// background serves from then on, and returns the address.
func background(serve func(net.Listener) error) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		fmt.Fprintln(os.Stderr, serve(l)) // it only ends when it fails
		os.Exit(1)
	}()
	return l.Addr().String(), nil
}

// serveStatic sends the same answer to everybody.
func serveStatic(k *kit) (func(net.Listener) error, error) {
	contentType := []string{"application/ocsp-response"}
	return httpServe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // as good as it gets
		w.Header()["Content-Type"] = contentType
		_, _ = w.Write(k.answer) // the client sees what is missing
	})), nil
}

func httpServe(h http.Handler) func(net.Listener) error {
	return func(l net.Listener) error { return http.Serve(l, h) }
}

// serveHandler serves with all answers cached.
func serveHandler(ttl time.Duration) func(*kit) (func(net.Listener) error, error) {
	return func(k *kit) (func(net.Listener) error, error) {
		r, err := k.filled(ttl)
		if err != nil {
			return nil, err
		}
		return httpServe(r.Handler()), nil
	}
}

func serveFast(k *kit) (func(net.Listener) error, error) {
	r, err := k.filled(time.Hour)
	if err != nil {
		return nil, err
	}
	return ocspfasthttp.NewServer(r).Serve, nil
}

// filled returns a responder whose cache has the answers.
func (k *kit) filled(ttl time.Duration) (*ocsp.Responder, error) {
	r, err := k.responder(ttl)
	if err != nil {
		return nil, err
	}
	for i := range k.serials {
		if a := r.Respond(context.Background(), k.request(i, nil)); a.Outcome != ocsp.OutcomeSigned {
			return nil, fmt.Errorf("no answer could be signed: %v, %w", a.Outcome, a.Err)
		}
	}
	return r, nil
}

// signed returns an answer about each certificate, for those that are given them.
func (k *kit) signed() (map[string][]byte, error) {
	r, err := k.responder(time.Hour)
	if err != nil {
		return nil, err
	}
	answers := make(map[string][]byte, len(k.serials))
	for i, serial := range k.serials {
		answers[serial.String()] = r.Respond(context.Background(), k.request(i, nil)).DER
	}
	return answers, r.Close()
}

func serveCFSSL(k *kit) (func(net.Listener) error, error) {
	cfssllog.Level = cfssllog.LevelFatal
	answers, err := k.signed()
	if err != nil {
		return nil, err
	}
	return httpServe(cfssl.NewResponder(cfssl.InMemorySource(answers), nil)), nil
}

// serveXCrypto does what a handler written with x/crypto/ocsp does.
func serveXCrypto(k *kit) (func(net.Listener) error, error) {
	known := make(map[string]*big.Int, len(k.serials))
	for _, serial := range k.serials {
		known[serial.String()] = serial
	}
	return httpServe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 16<<10))
		if err != nil {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		request, err := xocsp.ParseRequest(body)
		if err != nil || known[request.SerialNumber.String()] == nil {
			_, _ = w.Write(xocsp.MalformedRequestErrorResponse) // the client sees what is missing
			return
		}
		now := time.Now().Truncate(time.Second)
		answer, err := xocsp.CreateResponse(k.ca.Certificate, k.ca.Certificate, xocsp.Response{
			Status: xocsp.Good, SerialNumber: request.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(24 * time.Hour),
		}, k.ca.Key)
		if err != nil {
			_, _ = w.Write(xocsp.InternalErrorErrorResponse) // and here
			return
		}
		w.Header().Set("Content-Type", "application/ocsp-response")
		_, _ = w.Write(answer) // and here
	})), nil
}
