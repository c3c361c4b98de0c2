package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// scene is a responder behind a token, and the files that a user has.
type scene struct {
	server                *httptest.Server
	wrap                  func(http.Handler) http.Handler // may be set to break the responder
	issuer, good, revoked string
}

const authorization = "Authorization: Bearer test-token"

func newScene(t *testing.T) *scene {
	t.Helper()
	ca, store := ocsptest.NewCA(ocsptest.Options{}), ocsptest.NewStore()
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store})
	require.NoError(t, err)
	s := &scene{}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer test-token" {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		h := responder.Handler()
		if s.wrap != nil {
			h = s.wrap(h)
		}
		h.ServeHTTP(w, req)
	}))
	t.Cleanup(func() {
		s.server.Close()
		assert.NoError(t, responder.Close())
	})
	// A serial number that leaves it to the nonces where slashes are in base64.
	good, revoked := ca.Issue(ocsptest.Options{Serial: big.NewInt(0x1234567890abcdef), OCSPServer: s.server.URL + "/ocsp"}), ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, good)
	store.Revoke(ca.ID, revoked.SerialNumber, ocsp.KeyCompromise, time.Now().Add(-time.Hour))
	dir := t.TempDir()
	file := func(name string, cert *x509.Certificate) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600))
		return path
	}
	s.issuer, s.good, s.revoked = file("ca.pem", ca.Certificate), file("leaf.pem", good), file("revoked.pem", revoked)
	return s
}

func (s *scene) run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), append([]string{"-issuer", s.issuer, "-cert", s.good}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestText(t *testing.T) {
	s := newScene(t)
	code, stdout, stderr := s.run("-revoked", s.revoked, "-header", authorization, "-v")
	assert.Equal(t, exitPassed, code)
	assert.Empty(t, stderr)
	assert.Contains(t, stdout, "T1   pass normative POST: an answer")
	assert.Contains(t, stdout, "last sent: POST /ocsp")
	assert.Contains(t, stdout, ", 0 failed (0 normative, 0 decided), ")
	assert.Contains(t, stdout, "\nmore could be judged with -foreign, another CA that is served there\n")
}

func TestJSON(t *testing.T) {
	s := newScene(t)
	code, stdout, _ := s.run("-header", authorization, "-json", "-only", "T1,T110,T143")
	assert.Equal(t, exitPassed, code)
	var got report
	require.NoError(t, json.Unmarshal([]byte(stdout), &got))
	assert.Equal(t, s.server.URL+"/ocsp", got.URL)
	assert.Equal(t, counts{Passed: 2, NotApplicable: 1}, got.Counts)
	require.Len(t, got.Results, 3)
	assert.Equal(t, "30030a0101", got.Results[1].Got)
	assert.True(t, got.Results[1].Normative)
	assert.Equal(t, "n/a", got.Results[2].Verdict)
}

func TestFailures(t *testing.T) {
	s := newScene(t)
	// One fault that is normative, and one that is not.
	s.wrap = func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPut || req.Header.Get("Accept") == "text/html" {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			h.ServeHTTP(w, req)
		})
	}
	code, stdout, _ := s.run("-header", authorization, "-only", "T14,T22")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stdout, "T22  fail normative")
	assert.Contains(t, stdout, "got:  HTTP status 418")
	assert.Contains(t, stdout, "2 cases: 0 passed, 2 failed (1 normative, 1 decided), 0 not applicable\n")
	assert.NotContains(t, stdout, "more could be judged")
	code, _, _ = s.run("-header", authorization, "-only", "T14")
	assert.Equal(t, exitPassed, code, "what is only decided is no failure of the program")
}

func TestUsage(t *testing.T) {
	s := newScene(t)
	for want, args := range map[string][]string{
		"give the credentials it wants":  nil,
		"no contact with":                {"http://127.0.0.1:1/ocsp"},
		"want 'Name: value'":             {"-header", "nonsense"},
		"one URL at the most":            {"http://a.test/", "http://b.test/"},
		"no such file":                   {"-revoked", "missing.pem"},
		"has not issued the certificate": {"-issuer", s.good},
		"main.go has no certificate":     {"-revoked", "main.go"},
		"is not hex":                     {"-unissued", "xyz"},
		`there is no case "T0"`:          {"-only", "T0"},
		"give a URL":                     {"-cert", s.revoked},
		"deadline exceeded":              {"-header", authorization, "-timeout", "1ns"},
	} {
		code, _, stderr := s.run(args...)
		assert.Equal(t, exitUsage, code, want)
		assert.Contains(t, stderr, want)
	}
	var out, errs bytes.Buffer
	assert.Equal(t, exitUsage, run(context.Background(), nil, &out, &errs))
	assert.Contains(t, errs.String(), "usage: ocspcheck")
	assert.Equal(t, exitPassed, run(context.Background(), []string{"-h"}, &out, &errs))
	assert.Equal(t, exitPassed, run(context.Background(), []string{"-list"}, &out, &errs))
	assert.Contains(t, out.String(), "T124 decided   a nonce by GET")
}
