package main

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/api"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// asked starts a KMS and sends requests that lead to every kind of metric.
func asked(t *testing.T) (c *api.Client, revoked inventory.Object) {
	t.Helper()
	k := newKMS(t, nil)
	c = newServer(t, k)
	for range 3 {
		ocspStatus(t, k, first(t, k).UID)
	}
	revoked, _, err := k.Certify(t.Context(), "web", ocsp.Active)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := revoke(t, k, revoked.UID, "superseded"); err != nil {
		t.Fatal(err)
	}
	ocspStatus(t, k, revoked.UID)
	unissued, err := k.ca.Leaf("nobody", k.ca.Certificate.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	client := ocsptest.Client{URL: c.URL + "/ocsp", Method: http.MethodGet, Nonce: bytes.Repeat([]byte{1}, 16)}
	if _, err := client.Query(t.Context(), k.ca.Certificate, unissued); err != nil {
		t.Fatal(err)
	}
	if code, _ := send(t, c, http.MethodPost, "/ocsp", "not a request"); code != http.StatusOK {
		t.Fatalf("a malformed request: %d", code)
	}
	// A busy store cannot be had on demand.
	k.observe(t.Context(), ocsp.Event{Outcome: ocsp.OutcomeTryLater, First: ocsp.SingleResponse{IssuerID: "ca"}, Err: ocsp.ErrStoreBusy})
	return c, revoked
}

// scrape returns the metrics of a KMS that has answered requests.
func scrape(t *testing.T) string {
	t.Helper()
	c, _ := asked(t)
	_, text := send(t, c, http.MethodGet, "/metrics", "")
	return text
}

// TestMetrics sends requests to the KMS and reads its metrics.
func TestMetrics(t *testing.T) {
	c, revoked := asked(t)
	code, text := send(t, c, http.MethodGet, "/metrics", "")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	for _, want := range []string{
		`ocsp_answers_total{ocsp_issuer_id="ca",ocsp_outcome="signed",ocsp_status="good"} 1`,
		`ocsp_answers_total{ocsp_issuer_id="ca",ocsp_outcome="cached",ocsp_status="good"} 2`,
		`ocsp_answers_total{ocsp_issuer_id="ca",ocsp_outcome="signed",ocsp_reason="superseded",ocsp_status="revoked"} 1`,
		`ocsp_answers_total{ocsp_issuer_id="ca",ocsp_outcome="signed",ocsp_status="unknown"} 1`,
		`ocsp_answers_total{ocsp_outcome="malformedRequest"} 1`,
		`ocsp_answers_total{ocsp_issuer_id="ca",ocsp_outcome="tryLater",ocsp_store_condition="busy"} 1`,
		`ocsp_requests_total{http_request_method="POST",ocsp_hash="SHA-1",ocsp_nonce="false",ocsp_outcome="cached"} 2`,
		`ocsp_requests_total{http_request_method="POST",ocsp_hash="SHA-1",ocsp_nonce="false",ocsp_outcome="signed"} 2`,
		`ocsp_requests_total{http_request_method="GET",ocsp_hash="SHA-1",ocsp_nonce="true",ocsp_outcome="signed"} 1`,
		`ocsp_requests_total{http_request_method="POST",ocsp_nonce="false",ocsp_outcome="malformedRequest"} 1`,
		`ocsp_answer_duration_seconds_count{ocsp_outcome="cached"} 2`,
		`ocsp_answer_duration_seconds_bucket{ocsp_outcome="cached",le="+Inf"} 2`,
		`ocsp_answer_duration_seconds_count{ocsp_outcome="malformedRequest"} 1`,
		`ocsp_store_duration_seconds_count{ocsp_outcome="signed"} 3`,
		`ocsp_sign_duration_seconds_count{ocsp_issuer_id="ca",ocsp_outcome="signed"} 3`,
		`ocsp_answer_age_seconds_count{ocsp_issuer_id="ca",ocsp_outcome="cached"} 2`,
		`kms_signatures_total 3`,
		`kms_store_reads_total 5`,
		`# TYPE ocsp_answers_total counter`,
		`# TYPE ocsp_answer_duration_seconds histogram`,
		`# TYPE go_goroutines gauge`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	for _, secret := range []string{c.Token, revoked.Serial.Text(16), revoked.Serial.String()} {
		if strings.Contains(text, secret) {
			t.Errorf("/metrics reveals %s", secret)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}
