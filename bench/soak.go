package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspfasthttp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// What a soak asks. There are more certificates than a cache holds, so that it evicts all the time.
const (
	soakCertificates = 10_000
	soakEntries      = 5000
	soakRate         = 3000 // requests a second
	soakInvalidate   = 20 * time.Millisecond
	soakSamples      = 60
)

// soakSample is what a server takes at a moment of a soak.
type soakSample struct {
	At         float64 // seconds from the beginning
	Heap       float64 // MiB in use after a garbage collection
	Goroutines int
}

// soakStore is the store of a soak. Of eight certificates that are asked about, one was never issued
// and one is revoked. The others are active or on hold.
type soakStore struct {
	held [1 << 14]atomic.Bool // by the last bits of the serial, in which no two certificates agree
}

func (s *soakStore) hold(serial *big.Int) *atomic.Bool {
	return &s.held[uint(serial.Bits()[0])%uint(len(s.held))]
}

// FindBySerial implements ocsp.CertStore.
func (s *soakStore) FindBySerial(_ context.Context, _ string, serial *big.Int) (ocsp.Record, error) {
	switch kind := serial.Bit(0) | serial.Bit(1)<<1 | serial.Bit(2)<<2; {
	case kind == 0:
		return ocsp.Record{}, ocsp.ErrNotFound
	case kind == 1:
		return ocsp.Record{State: ocsp.Compromised, RevokedAt: soakRevokedAt}, nil
	case s.hold(serial).Load():
		return ocsp.Record{
			State: ocsp.Deactivated, Reason: ocsp.CertificateHold, RevokedAt: soakRevokedAt,
		}, nil
	default:
		return ocsp.Record{State: ocsp.Active}, nil
	}
}

var soakRevokedAt = time.Unix(1_700_000_000, 0)

// change puts a certificate on hold, or releases it.
func (s *soakStore) change(serial *big.Int) {
	hold := s.hold(serial)
	hold.Store(!hold.Load())
}

// serveSoak is the role of a server that lives through much: both storages, one behind net/http and
// one behind fasthttp, answers that are short-lived, and certificates that are put on hold,
// released and invalidated. Invalidate alone costs no signature: an answer that is still true is
// served again. It replies the two addresses and then, whenever it is asked, a sample.
func serveSoak(ctx context.Context, talk *parent) error {
	var dir string
	if err := talk.in.Decode(&dir); err != nil {
		return err
	}
	k, err := loadKit(dir)
	if err != nil {
		return err
	}
	f := newFleet(k.ca)
	store := &soakStore{}
	var responders []*ocsp.Responder
	for _, compact := range []bool{false, true} {
		config := f.config()
		config.Store, config.Validity = store, 20*time.Second
		config.Cache = ocsp.CacheOptions{StatusTTL: time.Second, MaxEntries: soakEntries, Compact: compact}
		r, err := ocsp.New(config)
		if err != nil {
			return err
		}
		responders = append(responders, r)
	}
	var addresses []string
	for _, serve := range []func(net.Listener) error{httpServe(responders[0].Handler()), ocspfasthttp.NewServer(responders[1]).Serve} {
		address, err := background(serve)
		if err != nil {
			return err
		}
		addresses = append(addresses, address)
	}
	go func() {
		var room []byte
		for range time.Tick(soakInvalidate) {
			room = f.request(room, rand.Uint64N(soakCertificates))
			serial := new(big.Int).SetBytes(room[len(room)-16:])
			store.change(serial)
			for _, r := range responders {
				if err := r.Invalidate(ctx, k.ca.ID, serial); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
		}
	}()
	if err := talk.out.Encode(addresses); err != nil {
		return err
	}
	for {
		var at float64
		if err := talk.in.Decode(&at); err != nil {
			return err
		}
		if err := talk.out.Encode(soakSample{At: at, Heap: live() / (1 << 20), Goroutines: runtime.NumGoroutine()}); err != nil {
			return err
		}
	}
}

// mixed are requests of all kinds: POST, GET, with a nonce, with SHA-256, and cut short.
func mixed(f *fleet, n int) []byte {
	var all bytes.Buffer
	for i := range n {
		der := f.request(nil, uint64(i))
		leaf := &x509.Certificate{SerialNumber: new(big.Int).SetBytes(der[len(der)-16:])}
		switch i / 8 % 5 { // each kind of each status
		case 0:
			all.Write(wire("POST", "/", der, ""))
		case 1:
			all.Write(wire("GET", "/"+base64.URLEncoding.EncodeToString(der), nil, ""))
		case 2:
			all.Write(wire("POST", "/", ocsptest.Client{Nonce: der[len(der)-16:]}.Request(f.ca.Certificate, leaf), ""))
		case 3:
			all.Write(wire("POST", "/", ocsptest.Client{Hash: crypto.SHA256}.Request(f.ca.Certificate, leaf), ""))
		case 4:
			all.Write(wire("POST", "/", der[:len(der)-1], ""))
		}
	}
	return all.Bytes()
}

// soak serves mixed requests for long, and looks whether anything grows with their number.
func soak(ctx context.Context, o *options) (*result, error) {
	samples, asked, err := measureSoak(ctx, o)
	if err != nil {
		return nil, err
	}
	heap, goroutines := make([]float64, len(samples)), make([]float64, len(samples))
	for i, s := range samples {
		heap[i], goroutines[i] = s.Heap, float64(s.Goroutines)
	}
	flat := &goal{must: 1.05, stretch: 1.05}
	res := &result{
		findings: []finding{
			{what: fmt.Sprintf("%v of mixed requests: heap at the end to that at the beginning", o.soak), values: []float64{growth(heap)}, goal: flat},
			{what: fmt.Sprintf("%v of mixed requests: goroutines at the end to those at the beginning", o.soak), values: []float64{growth(goroutines)}, goal: flat},
		},
		text: fmt.Sprintf(`In %v %d requests came for %d certificates, half of which a cache has room for: by POST and GET, with SHA-1 and SHA-256,
with nonces, cut short, about certificates that are good, revoked and unknown, while fifty a second were put on hold or
released, and invalidated. One responder with each storage answered, behind net/http and fasthttp. Of %d samples, the heap in use after a garbage
collection had a median of %s MiB, and there were %.0f goroutines. The end is the last third of the samples and the
beginning the first, without a fifth in which the caches fill; medians are compared.
`, o.soak, asked, soakCertificates, len(samples), number(median(heap)), median(goroutines)),
	}
	if !o.alone() {
		return res, nil
	}
	file := "bench-soak.svg"
	res.text += fmt.Sprintf("\n![Heap and goroutines over time](images/%s)\n", file)
	return res, plotSoak(filepath.Join(o.images, file), samples)
}

// growth compares the last third with the first, after a fifth that does not count.
func growth(values []float64) float64 {
	values = values[len(values)/5:]
	third := max(len(values)/3, 1)
	return median(values[len(values)-third:]) / median(values[:third])
}

func measureSoak(ctx context.Context, o *options) (samples []soakSample, asked int, err error) {
	file := o.kit.file("mixed")
	if err := os.WriteFile(file, mixed(newFleet(o.kit.ca), soakCertificates), 0o600); err != nil {
		return nil, 0, err
	}
	p := pacing{Requests: file, Rate: soakRate, Connections: pacedConnections, Duration: o.soak, AnyAnswer: true, Patient: true}
	server, err := startChild(ctx, "soak", anywhere, o.kit.dir, &p.Addresses)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	type outcome struct {
		pacedReply
		err error
	}
	end := make(chan outcome, 1)
	go func() {
		reply, err := paced(ctx, anywhere, p)
		end <- outcome{reply, err}
	}()
	begin := time.Now()
	tick := time.NewTicker(o.soak / soakSamples)
	defer tick.Stop()
	for {
		select {
		case out := <-end:
			return samples, out.Answered, out.err
		case <-tick.C:
		}
		at := time.Since(begin)
		o.progress("soak, %v of %v", at.Round(time.Second), o.soak)
		if at > o.soak {
			continue // nobody asks any more
		}
		var s soakSample
		if err := server.ask(at.Seconds(), &s); err != nil {
			return nil, 0, errors.Join(err, (<-end).err)
		}
		samples = append(samples, s)
	}
}
