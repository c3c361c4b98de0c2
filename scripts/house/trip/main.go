// Command trip sends requests to a responder in this process, for scripts/house, which builds it
// with coverage and subtracts the counts of a run without requests from those of a run with some:
//
//	trip cached|read|cold N
//
// A cached request gets an answer whose status is still trusted. For a read the store is asked, as
// is the default, and confirms the status. A cold request is the first for its certificate.
package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kind, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	ca := ocsptest.NewCA(ocsptest.Options{})
	store := ocsptest.NewStore()
	cfg := ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store}
	if kind == "cached" {
		cfg.Cache.StatusTTL = time.Hour
	}
	responder, err := ocsp.New(cfg)
	if err != nil {
		return err
	}
	handler := responder.Handler()
	send := func(der []byte) error {
		req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(der))
		req.Header.Set("Content-Type", "application/ocsp-request")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		if _, err := ocsptest.Parse(w.Body.Bytes(), ca.Certificate); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		return nil
	}
	// A run without requests makes as many of them, so that making them does not count.
	var requests [][]byte
	for range 1 + 100 {
		leaf := ca.Issue(ocsptest.Options{})
		store.Add(ca.ID, leaf)
		requests = append(requests, ocsptest.Client{}.Request(ca.Certificate, leaf))
	}
	if err := send(requests[0]); err != nil {
		return err
	}
	for i := range n {
		der := requests[0]
		if kind == "cold" {
			der = requests[1+i]
		}
		if err := send(der); err != nil {
			return err
		}
	}
	return responder.Close()
}
