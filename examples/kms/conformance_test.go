package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/internal/mounttest"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// TestConformance runs the public suite against the KMS as it is served, with the CA and with a
// delegate as the signer: no case fails.
func TestConformance(t *testing.T) {
	for name, ca := range map[string]config.CA{
		"ECDSA":     {KeyType: "ecdsa-p256", Name: "Test CA"},
		"delegated": {KeyType: "rsa-2048", Name: "Test CA", Delegated: true},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKMS(t, func(cfg *config.Config) {
				cfg.CA = ca
				cfg.OCSP.RequireAuth = true
			})
			good, err := k.Certificate(t.Context(), first(t, k).UID)
			if err != nil {
				t.Fatal(err)
			}
			o, _, err := k.Certify(t.Context(), "revoked", ocsp.Active)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := revoke(t, k, o.UID, "keyCompromise"); err != nil {
				t.Fatal(err)
			}
			revoked, err := k.Certificate(t.Context(), o.UID)
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewUnstartedServer(k.handler())
			server.Config.MaxHeaderBytes = 32 << 10 // as it is served
			server.Start()
			defer server.Close()
			mounttest.Judge(t, ocsptest.Target{
				URL: server.URL + "/ocsp/", Header: http.Header{"Authorization": {"Bearer " + k.cfg.Server.Token}},
				Issuer: k.ca.Certificate, Good: good, Revoked: revoked,
			})
		})
	}
}
