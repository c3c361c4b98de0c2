package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/api"
	"github.com/kmsocsp/ocsp/examples/kms/internal/counters"
)

// send sends a request to the API with a token, and returns the status code and the body.
func send(t *testing.T, c *api.Client, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// TestTransitions tries each action in each state, through the API, and asks OCSP afterwards.
func TestTransitions(t *testing.T) {
	k := newKMS(t, nil)
	c := newServer(t, k)
	const revokePlain, revokeKey = `revoke {"reason":"superseded"}`, `revoke {"reason":"keyCompromise"}`
	for _, test := range []struct {
		state   ocsp.State
		reach   []string // actions that lead from PreActive to the state
		allowed map[string]ocsp.State
	}{
		{ocsp.PreActive, nil, map[string]ocsp.State{"activate": ocsp.Active, revokeKey: ocsp.Compromised, "destroy": ocsp.Destroyed}},
		{ocsp.Active, []string{"activate"}, map[string]ocsp.State{revokePlain: ocsp.Deactivated, revokeKey: ocsp.Compromised, "hold": ocsp.Deactivated}},
		{ocsp.Deactivated, []string{"activate", revokePlain}, map[string]ocsp.State{revokeKey: ocsp.Compromised, "destroy": ocsp.Destroyed}},
		{ocsp.Deactivated, []string{"activate", "hold"}, map[string]ocsp.State{revokeKey: ocsp.Compromised, "release": ocsp.Active}},
		{ocsp.Compromised, []string{revokeKey}, map[string]ocsp.State{"destroy": ocsp.DestroyedCompromised}},
		{ocsp.Destroyed, []string{"destroy"}, map[string]ocsp.State{revokeKey: ocsp.DestroyedCompromised}},
		{ocsp.DestroyedCompromised, []string{revokeKey, "destroy"}, nil},
	} {
		for _, action := range []string{"activate", revokePlain, revokeKey, "destroy", "hold", "release"} {
			t.Run(strings.Join(test.reach, ",")+"/"+action, func(t *testing.T) {
				o, _, err := k.Certify(t.Context(), "web", ocsp.PreActive)
				if err != nil {
					t.Fatal(err)
				}
				act := func(action string) (int, string) {
					verb, body, _ := strings.Cut(action, " ")
					return send(t, c, http.MethodPost, "/api/certificates/"+o.UID+"/"+verb, body)
				}
				for _, step := range test.reach {
					if code, text := act(step); code != http.StatusOK {
						t.Fatalf("%s: %d %s", step, code, text)
					}
				}
				before, err := k.store.Get(t.Context(), o.UID)
				if err != nil || before.State != test.state {
					t.Fatalf("state %v, error %v", before.State, err)
				}
				wantCode, wantState := http.StatusConflict, test.state
				if to, ok := test.allowed[action]; ok {
					wantCode, wantState = http.StatusOK, to
				}
				code, text := act(action)
				after, err := k.store.Get(t.Context(), o.UID)
				if err != nil || code != wantCode || after.State != wantState {
					t.Errorf("%d %s, state %v, error %v; want %d, %v", code, text, after.State, err, wantCode, wantState)
				}
				if !before.RevokedAt.IsZero() && !after.RevokedAt.IsZero() && !after.RevokedAt.Equal(before.RevokedAt) {
					t.Errorf("the revocation moved from %v to %v", before.RevokedAt, after.RevokedAt)
				}
				wantStatus := "revoked"
				if wantState == ocsp.PreActive || wantState == ocsp.Active {
					wantStatus = "good"
				}
				if got := ocspStatus(t, k, o.UID); got != wantStatus {
					t.Errorf("OCSP says %s, want %s", got, wantStatus)
				}
			})
		}
	}
}

func TestAPIRefuses(t *testing.T) {
	k := newKMS(t, nil)
	c := newServer(t, k)
	uid := first(t, k).UID
	for _, test := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"POST", "/api/certificates", `{"name":""}`, 400, "invalid name"},
		{"POST", "/api/certificates", `{"name":"a/b"}`, 400, "invalid name"},
		{"POST", "/api/certificates", `{"nam":"a"}`, 400, "unknown field"},
		{"POST", "/api/certificates", `not JSON`, 400, "invalid body"},
		{"POST", "/api/certificates", `{"name":"` + strings.Repeat("a", api.MaxBody) + `"}`, 400, "too large"},
		{"GET", "/api/certificates/none", "", 404, "no object"},
		{"POST", "/api/certificates/none/revoke", "", 404, "no object"},
		{"POST", "/api/certificates/ca/revoke", "", 409, "is a ca"},
		{"POST", "/api/certificates/" + uid + "/revoke", `{"reason":"bogus"}`, 400, "RFC 5280"},
		{"POST", "/api/certificates/" + uid + "/revoke", `{"reason":"certificateHold"}`, 400, "actions of their own"},
		{"POST", "/api/certificates/" + uid + "/revoke", `{"reason":"removeFromCRL"}`, 400, "actions of their own"},
		{"POST", "/api/certificates/" + uid + "/revoke", `{"reason":"superseded","compromised_at":"2026-01-01T00:00:00Z"}`, 400, "keyCompromise and cACompromise only"},
		{"POST", "/api/certificates/" + uid + "/revoke", `{"reason":"keyCompromise","compromised_at":"0000-06-01T00:00:00Z"}`, 400, "before 1970"},
		{"POST", "/api/certificates/" + uid + "/revoke", `{"reason":"keyCompromise"} {}`, 400, "more than one"},
		{"POST", "/api/certificates/" + uid + "/revoke", `{"reason":"keyCompromise","compromised_at":"9000-01-01T00:00:00Z"}`, 400, "future"},
		{"POST", "/api/certificates/" + uid + "/destroy", "", 409, "revoke it first"},
		{"GET", "/api/nothing", "", 404, ""},
		{"DELETE", "/api/certificates", "", 405, ""},
	} {
		code, text := send(t, c, test.method, test.path, test.body)
		if code != test.code || !strings.Contains(text, test.want) {
			t.Errorf("%s %s %.80s: %d %s, want %d and %q", test.method, test.path, test.body, code, text, test.code, test.want)
		}
	}
	if got := ocspStatus(t, k, uid); got != "good" {
		t.Errorf("OCSP says %s, want good", got)
	}
}

func TestCertify(t *testing.T) {
	k := newKMS(t, nil)
	c := newServer(t, k)
	var made api.Certificate
	if err := c.Call(t.Context(), http.MethodPost, "certificates", api.CertifyRequest{Name: "web.example"}, &made); err != nil {
		t.Fatal(err)
	}
	certBlock, _ := pem.Decode([]byte(made.Certificate))
	keyBlock, _ := pem.Decode([]byte(made.Key))
	if certBlock == nil || keyBlock == nil {
		t.Fatalf("no PEM in %+v", made)
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(cert.OCSPServer, []string{"http://127.0.0.1:8080/ocsp"}) {
		t.Errorf("OCSP URLs %q", cert.OCSPServer)
	}
	_, caPEM := send(t, c, http.MethodGet, "/api/ca", "")
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(caPEM)) {
		t.Fatalf("no CA in %q", caPEM)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: "web.example"}); err != nil {
		t.Error(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := key.(*ecdsa.PrivateKey); !ok || !key.PublicKey.Equal(cert.PublicKey) {
		t.Error("the key is another one's")
	}
	for _, path := range []string{"/api/certificates", "/api/certificates/" + made.UID} {
		if _, text := send(t, c, http.MethodGet, path, ""); strings.Contains(text, "PRIVATE KEY") || !strings.Contains(text, made.Serial) {
			t.Errorf("%s: %s", path, text)
		}
	}
	rows, err := k.store.Get(t.Context(), made.UID)
	if err != nil || !bytes.Equal(rows.DER, cert.Raw) || rows.NotAfter.Sub(cert.NotAfter).Abs() > time.Second {
		t.Errorf("stored %+v, error %v", rows, err)
	}
}

func TestToken(t *testing.T) {
	k := newKMS(t, nil)
	c := newServer(t, k)
	for _, token := range []string{"", "wrong", c.Token + "x", c.Token[1:]} {
		other := &api.Client{URL: c.URL, Token: token, HTTP: c.HTTP}
		for _, path := range []string{"/api/certificates", "/api/ca", "/api/counters", "/metrics", "/api/certificates/" + first(t, k).UID} {
			if code, text := send(t, other, http.MethodGet, path, ""); code != http.StatusUnauthorized {
				t.Errorf("GET %s with token %q: %d %s, want 401", path, token, code, text)
			}
		}
	}
}

func TestCounters(t *testing.T) {
	k := newKMS(t, nil)
	c := newServer(t, k)
	for range 3 {
		ocspStatus(t, k, first(t, k).UID)
	}
	_, text := send(t, c, http.MethodGet, "/api/counters", "")
	var got counters.Snapshot
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got.Signatures != 1 || got.StoreReads != 3 || got.Answers["signed"] != 1 || got.Answers["cached"] != 2 {
		t.Errorf("counters %s, want one signature, three reads, one signed and two cached answers", text)
	}
}
