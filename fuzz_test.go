package ocsp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// vectors returns the requests under testdata.
func vectors(tb testing.TB, folders ...string) [][]byte {
	tb.Helper()
	var list [][]byte
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join("testdata", folder, "*.hex"))
		require.NoError(tb, err)
		require.NotEmpty(tb, files)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(tb, err)
			der, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
			require.NoError(tb, err)
			list = append(list, der)
		}
	}
	return list
}

// FuzzHandler: any method, path and body gets a well-formed HTTP and OCSP answer.
func FuzzHandler(f *testing.F) {
	ca := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519})
	responder, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{ca.Issuer()},
		Store: ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
			return ocsp.Record{State: ocsp.Active}, nil
		}),
	})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, responder.Close()) })
	handler := responder.Handler()
	leaf := ca.Issue(ocsptest.Options{})
	for _, der := range append(vectors(f, "requests", "malformed"), ocsptest.Client{}.Request(ca.Certificate, leaf), ocsptest.Client{Nonce: []byte("n")}.Request(ca.Certificate, leaf, leaf)) {
		f.Add("POST", "/ocsp", "application/ocsp-request", der)
		f.Add("GET", "/ocsp/"+base64.StdEncoding.EncodeToString(der), "", []byte{})
		f.Add("HEAD", "/"+base64.RawURLEncoding.EncodeToString(der), `"x", W/"y"`, []byte{})
	}
	f.Fuzz(func(t *testing.T, method, requestPath, header string, body []byte) {
		req := &http.Request{Method: method, URL: &url.URL{Path: requestPath}, Header: http.Header{}, Body: http.NoBody, ContentLength: -1}
		req.Header.Set("Content-Type", header)
		req.Header.Set("If-None-Match", header)
		rec := httptest.NewRecorder()
		rec.Body = new(bytes.Buffer)
		if method == http.MethodPost {
			req = req.Clone(context.Background())
			req.Body = httptest.NewRequest(method, "/", bytes.NewReader(body)).Body
		}
		handler.ServeHTTP(rec, req)
		switch rec.Code {
		case http.StatusOK:
			if ct := rec.Header().Get("Content-Type"); ct != "application/ocsp-response" {
				t.Fatalf("content type %q", ct)
			}
			if method == http.MethodHead {
				if rec.Body.Len() > 0 {
					t.Fatal("HEAD with a body")
				}
				return
			}
			status, err := ocsptest.ErrorStatus(rec.Body.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if status == 0 && method == http.MethodPost {
				if err := ocsptest.Lint(body, rec.Body.Bytes(), ca.Certificate, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
		case http.StatusNotModified, http.StatusNoContent, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong:
		default:
			t.Fatalf("HTTP status %d", rec.Code)
		}
	})
}
