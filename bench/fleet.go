package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"runtime"
	"sync"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// fleet is a CA with any number of certificates, all of them active, that takes no memory for them.
type fleet struct {
	ca       *ocsptest.CA
	template []byte // a request, with the serial at its end
}

func newFleet(ca *ocsptest.CA) *fleet {
	return &fleet{ca, ocsptest.Client{}.Request(ca.Certificate, &x509.Certificate{SerialNumber: new(big.Int).Lsh(big.NewInt(1), 126)})}
}

// request writes the request about a certificate into room. Serials are spread as random ones are.
func (f *fleet) request(room []byte, i uint64) []byte {
	room = append(room[:0], f.template...)
	serial := room[len(room)-16:]
	binary.BigEndian.PutUint64(serial, (i*0x9e3779b97f4a7c15)>>2|1<<62)
	binary.BigEndian.PutUint64(serial[8:], i*0xbf58476d1ce4e5b9)
	return room
}

// posts returns the requests about certificates from one to below another, as they go over the wire.
func (f *fleet) posts(from, to int) []byte {
	var all bytes.Buffer
	for i := from; i < to; i++ {
		all.Write(wire("POST", "/", f.request(nil, uint64(i)), ""))
	}
	return all.Bytes()
}

// config returns that of a responder for the fleet.
func (f *fleet) config() ocsp.Config {
	return ocsp.Config{
		Issuers: []ocsp.Issuer{f.ca.Issuer()},
		Store: ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
			return ocsp.Record{State: ocsp.Active}, nil
		}),
		Logger: slog.New(slog.DiscardHandler),
	}
}

// filled returns a responder that has cached the answers about the first n certificates.
func (f *fleet) filled(config ocsp.Config, n int) (*ocsp.Responder, error) {
	r, err := ocsp.New(config)
	if err != nil {
		return nil, err
	}
	var work sync.WaitGroup
	failures := make([]error, 2*runtime.GOMAXPROCS(0))
	for part := range failures {
		work.Go(func() {
			var room []byte
			for i := part; i < n && failures[part] == nil; i += len(failures) {
				room = f.request(room, uint64(i))
				if a := r.Respond(context.Background(), room); a.Outcome != ocsp.OutcomeSigned {
					failures[part] = fmt.Errorf("no answer could be signed: %v, %w", a.Outcome, a.Err)
				}
			}
		})
	}
	work.Wait()
	return r, errors.Join(failures...)
}
