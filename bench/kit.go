package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// serials is how many certificates a kit has. Each is asked about in turn.
const serials = 10_000

// kit is a CA with certificates, and what is asked about them. It lies in a folder, where each server that is measured
// finds the same one.
type kit struct {
	dir     string
	ca      *ocsptest.CA
	serials []*big.Int
	answer  []byte // about the first
}

// Requests of a kit, by the name of the file that has them.
const (
	posts  = "post"         // a POST about each certificate
	gets   = "get"          // a GET about each
	nonces = "nonce"        // a POST with a nonce about each
	closes = "nonce, close" // the same, and the connection is to be closed
	files  = "file"         // a GET of the answer as a static file
)

// answerFile is the answer as a file that another server serves.
const answerFile = "answer.der"

// newKit makes a kit with n certificates in a folder.
func newKit(dir string, n int) (*kit, error) {
	k := &kit{dir: dir, ca: ocsptest.NewCA(ocsptest.Options{})}
	random := rand.New(rand.NewPCG(1, 2)) // so that runs ask in the same order
	var list bytes.Buffer
	for range n {
		serial := make([]byte, 16)
		for i := range serial {
			serial[i] = byte(random.Uint32())
		}
		serial[0] = serial[0]&0x7f | 0x40
		k.serials = append(k.serials, new(big.Int).SetBytes(serial))
		fmt.Fprintf(&list, "%x\n", serial)
	}
	key, err := x509.MarshalPKCS8PrivateKey(k.ca.Key)
	if err != nil {
		return nil, err
	}
	r, err := k.responder(time.Hour)
	if err != nil {
		return nil, err
	}
	k.answer = r.Respond(context.Background(), k.request(0, nil)).DER
	if err := r.Close(); err != nil {
		return nil, err
	}
	contents := map[string][]byte{
		"serials":  list.Bytes(),
		"ca.pem":   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.ca.Certificate.Raw}),
		"ca.key":   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		answerFile: k.answer,
		"wrk.lua":  wrkScript,
	}
	for _, kind := range []string{posts, gets, nonces, closes, files} {
		contents[kind] = k.requests(kind, random)
	}
	for name, content := range contents {
		mode := os.FileMode(0o644)
		if name == "ca.key" {
			mode = 0o600
		}
		if err := os.WriteFile(k.file(name), content, mode); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// loadKit loads the kit in a folder.
func loadKit(dir string) (*kit, error) {
	k := &kit{dir: dir, ca: &ocsptest.CA{}}
	list, err1 := os.ReadFile(k.file("serials"))
	cert, err2 := k.decode("ca.pem")
	key, err3 := k.decode("ca.key")
	answer, err4 := os.ReadFile(k.file(answerFile))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	k.answer = answer
	for _, line := range strings.Fields(string(list)) {
		serial, ok := new(big.Int).SetString(line, 16)
		if !ok {
			return nil, fmt.Errorf("%s: %q is no serial", k.file("serials"), line)
		}
		k.serials = append(k.serials, serial)
	}
	if k.ca.Certificate, err1 = x509.ParseCertificate(cert); err1 != nil {
		return nil, err1
	}
	k.ca.ID = k.ca.Certificate.Subject.CommonName
	private, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	k.ca.Key = private.(crypto.Signer) // as all keys that were marshalled are
	return k, nil
}

func (k *kit) file(name string) string { return filepath.Join(k.dir, name) }

func (k *kit) decode(name string) ([]byte, error) {
	text, err := os.ReadFile(k.file(name))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", k.file(name))
	}
	return block.Bytes, nil
}

// responder returns one that knows the certificates.
func (k *kit) responder(ttl time.Duration) (*ocsp.Responder, error) {
	return ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{k.ca.Issuer()}, Store: newMemory(k.serials), Cache: ocsp.CacheOptions{StatusTTL: ttl},
		Logger: slog.New(slog.DiscardHandler),
	})
}

// request returns the DER of a request about a certificate.
func (k *kit) request(i int, nonce []byte) []byte {
	return ocsptest.Client{Nonce: nonce}.Request(k.ca.Certificate, &x509.Certificate{SerialNumber: k.serials[i]})
}

// requests returns the requests of a kind, as they go over the wire, each after its length and a line's end.
func (k *kit) requests(kind string, random *rand.Rand) []byte {
	if kind == files {
		return wire("GET", "/"+answerFile, nil, "")
	}
	var all []byte
	for i := range k.serials {
		switch kind {
		case gets:
			path := base64.StdEncoding.EncodeToString(k.request(i, nil))
			all = append(all, wire("GET", "/"+strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(path), nil, "")...)
		case posts:
			all = append(all, wire("POST", "/", k.request(i, nil), "")...)
		case nonces, closes:
			nonce := make([]byte, 32)
			for i := range nonce {
				nonce[i] = byte(random.Uint32())
			}
			extra := ""
			if kind == closes {
				extra = "Connection: close\r\n"
			}
			all = append(all, wire("POST", "/", k.request(i, nonce), extra)...)
		}
	}
	return all
}

// wire returns an HTTP request after its length.
func wire(method, path string, body []byte, extra string) []byte {
	if body != nil {
		extra += fmt.Sprintf("Content-Type: application/ocsp-request\r\nContent-Length: %d\r\n", len(body))
	}
	request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n%s", method, path, extra, body)
	return fmt.Appendf(nil, "%d\n%s", len(request), request)
}

// readWire reads such a file of requests.
func readWire(file string) ([][]byte, error) {
	all, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list [][]byte
	for len(all) > 0 {
		var n int
		head, rest, ok := bytes.Cut(all, []byte("\n"))
		if _, err := fmt.Sscan(string(head), &n); err != nil || !ok || n > len(rest) {
			return nil, fmt.Errorf("%s is cut short", file)
		}
		list, all = append(list, rest[:n]), rest[n:]
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s is empty", file)
	}
	return list, nil
}

// memory is a store that allocates nothing, so that what is measured is the responder. All its certificates are active.
type memory map[[20]byte]struct{}

func newMemory(serials []*big.Int) memory {
	m := make(memory, len(serials))
	for _, serial := range serials {
		var key [20]byte
		m[[20]byte(serial.FillBytes(key[:]))] = struct{}{}
	}
	return m
}

// FindBySerial implements ocsp.CertStore.
func (m memory) FindBySerial(_ context.Context, _ string, serial *big.Int) (ocsp.Record, error) {
	var key [20]byte
	if serial.BitLen() > 8*len(key) {
		return ocsp.Record{}, ocsp.ErrNotFound
	}
	if _, ok := m[[20]byte(serial.FillBytes(key[:]))]; !ok {
		return ocsp.Record{}, ocsp.ErrNotFound
	}
	return ocsp.Record{State: ocsp.Active}, nil
}
