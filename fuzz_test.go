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
	"path"
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

// fuzzResponder answers good for every serial, so that what matters is for whom.
func fuzzResponder(tb testing.TB, ca *ocsptest.CA, observe func(context.Context, ocsp.Event)) *ocsp.Responder {
	tb.Helper()
	responder, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{ca.Issuer()},
		Store: ocsp.StoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
			return ocsp.Record{State: ocsp.Active}, nil
		}),
		Observe: observe,
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, responder.Close()) })
	return responder
}

// FuzzGetPath: whatever stands before and after a request in the path, and however routers cleaned it, the
// answer is for the serial that was asked about or an error.
func FuzzGetPath(f *testing.F) {
	ca := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519})
	var event ocsp.Event
	handler := fuzzResponder(f, ca, func(_ context.Context, e ocsp.Event) { event = e }).Handler()
	f.Add([]byte{1}, "/ocsp/", "", uint8(0))
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff, 0xfc}, "/", "/", uint8(1))
	f.Add(bytes.Repeat([]byte{0xff}, 20), "//a/b/", "==", uint8(2))
	f.Add([]byte{0x3f, 0xff}, "/MAA/", "///", uint8(3))
	f.Add([]byte{0x3f, 0xef, 0xff}, "/100%/", "/", uint8(4))
	f.Add([]byte{0x3f, 0xff, 0xfb}, "/a%2Fb/", "", uint8(5))
	f.Fuzz(func(t *testing.T, serial []byte, prefix, suffix string, form uint8) {
		n := new(big.Int).SetBytes(serial[:min(len(serial), 60)])
		leaf := *ca.Certificate
		leaf.SerialNumber = n
		text := base64.StdEncoding.EncodeToString(ocsptest.Client{}.Request(ca.Certificate, &leaf))
		form %= 6
		switch form {
		case 1:
			text = strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(text)
		case 2:
			text = strings.ReplaceAll(text, "+", " ")
		case 3:
			text = strings.TrimPrefix(path.Clean("/"+text), "/") // as a mux does
		case 4:
			text = url.QueryEscape(text) // which net/http has decoded once already
		case 5:
			text = pathLines(text, "\r\n", 64)
		}
		prefix = "/" + prefix
		if !strings.HasSuffix(prefix, "/") {
			prefix += "/"
		}
		// A prefix or suffix that holds a request of its own asks about that. And a slash at the end of a path
		// that lost one inside is the last letter of another request, as far as anyone can tell.
		ours := len(strings.Trim(suffix, "/=")) == 0 && !strings.Contains(prefix, "/M") && !strings.ContainsAny(prefix, "%\r\n") && (form != 3 || suffix == "")
		event = ocsp.Event{}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: prefix + text + suffix}, Header: http.Header{}})
		if rec.Code == http.StatusRequestURITooLong {
			return
		}
		if event.Outcome == ocsp.OutcomeMalformed {
			if ours && form != 3 && strings.Trim(suffix, "/") == "" {
				t.Fatalf("asked about %x, which was not found in %q (%v)", n, prefix+text+suffix, event.Err)
			}
			return
		}
		if ours && (event.Serial == nil || event.Serial.Cmp(n) != 0) {
			t.Fatalf("asked about %x, answered about %x (%v)", n, event.Serial, event.Outcome)
		}
	})
}

// FuzzHandler: any method, path and body gets a well-formed HTTP and OCSP answer.
func FuzzHandler(f *testing.F) {
	ca := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519})
	handler := fuzzResponder(f, ca, nil).Handler()
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
