package ocsptest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// subject is a responder with the certificates that the suite asks about.
func subject(t *testing.T, opts ocsptest.Options, delegated bool, adjust func(*ocsp.Config)) ocsptest.Target {
	t.Helper()
	ca, other, store := ocsptest.NewCA(opts), ocsptest.NewCA(ocsptest.Options{Name: "Other CA"}), ocsptest.NewStore()
	good, revoked := ca.Issue(ocsptest.Options{}), ca.Issue(ocsptest.Options{})
	for strings.Contains(good.SerialNumber.Text(2), strings.Repeat("1", 12)) {
		good = ca.Issue(ocsptest.Options{}) // that one's base64 may have two slashes in a row in every request
	}
	store.Add(ca.ID, good)
	store.Revoke(ca.ID, revoked.SerialNumber, ocsp.KeyCompromise, time.Now().Add(-time.Hour))
	issuer := ca.Issuer()
	if delegated {
		issuer.ResponderCertificate, issuer.Signer = ca.Delegate(opts)
	}
	cfg := ocsp.Config{Issuers: []ocsp.Issuer{issuer, other.Issuer()}, Store: store}
	if adjust != nil {
		adjust(&cfg)
	}
	responder, err := ocsp.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, responder.Close()) })
	return ocsptest.Target{Handler: responder.Handler(), Issuer: ca.Certificate, Good: good, Revoked: revoked, Foreign: other.Certificate}
}

// requireConformance requires that no case fails, and that no other cases than those do not apply.
func requireConformance(t *testing.T, target ocsptest.Target, notApplicable ...string) {
	t.Helper()
	results, err := ocsptest.Conformance(t.Context(), target)
	require.NoError(t, err)
	require.Len(t, results, len(ocsptest.ConformanceCases()))
	var not []string
	for _, result := range results {
		switch result.Verdict {
		case ocsptest.Failed:
			t.Error(result)
		case ocsptest.NotApplicable:
			not = append(not, result.ID)
		}
	}
	assert.ElementsMatch(t, notApplicable, not)
}

func TestConformance(t *testing.T) {
	mux := func(h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/ocsp", h)
		mux.Handle("/ocsp/", h)
		return mux
	}
	for _, mount := range []struct {
		name          string
		wrap          func(http.Handler) http.Handler
		url           string
		notApplicable []string
	}{
		{"bare", func(h http.Handler) http.Handler { return h }, "", []string{"T35", "T121", "T144", "T160"}},
		{"at the root", func(h http.Handler) http.Handler { return h }, "/", []string{"T35", "T121", "T144", "T160"}},
		{"StripPrefix", func(h http.Handler) http.Handler { return http.StripPrefix("/a/b/ocsp", h) }, "/a/b/ocsp/", []string{"T35", "T121", "T144", "T160"}},
		{"Mount", func(h http.Handler) http.Handler { return ocsp.Mount("/ocsp", h, http.NewServeMux()) }, "/ocsp", []string{"T35", "T121", "T144", "T160"}},
		{"ServeMux", mux, "/ocsp", []string{"T34", "T121", "T144", "T160"}},
	} {
		t.Run(mount.name, func(t *testing.T) {
			t.Parallel()
			target := subject(t, ocsptest.Options{}, false, nil)
			target.Handler, target.URL = mount.wrap(target.Handler), mount.url
			requireConformance(t, target, mount.notApplicable...)
		})
	}
}

func TestConformanceOfSigners(t *testing.T) {
	for _, key := range []ocsptest.KeyType{ocsptest.P256, ocsptest.RSA2048, ocsptest.Ed25519} {
		for _, delegated := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, delegated %v", key, delegated), func(t *testing.T) {
				t.Parallel()
				requireConformance(t, subject(t, ocsptest.Options{Key: key}, delegated, nil), "T35", "T121", "T144", "T160")
			})
		}
	}
}

func TestConformanceOfConfigurations(t *testing.T) {
	for name, test := range map[string]struct {
		adjust        func(*ocsp.Config)
		ignored       bool
		notApplicable []string
	}{
		"strict":       {func(cfg *ocsp.Config) { cfg.Strict = true }, false, []string{"T35", "T121", "T144", "T160"}},
		"nonce":        {func(cfg *ocsp.Config) { cfg.Nonce = ocsp.NonceIgnore }, true, []string{"T35", "T144", "T160"}},
		"bare nonce":   {func(cfg *ocsp.Config) { cfg.Nonce = ocsp.NonceEchoBare }, false, []string{"T35", "T121", "T144", "T160"}},
		"unauthorized": {func(cfg *ocsp.Config) { cfg.Unissued = ocsp.UnissuedUnauthorized }, false, []string{"T35", "T121", "T144", "T160", "T172"}},
		"revoked":      {func(cfg *ocsp.Config) { cfg.Unissued = ocsp.UnissuedRevoked }, false, []string{"T35", "T121", "T144", "T172"}},
		"no cache":     {func(cfg *ocsp.Config) { cfg.Cache.Disabled = true }, false, []string{"T35", "T121", "T144", "T160", "T165", "T167", "T173", "T199"}},
		"short":        {func(cfg *ocsp.Config) { cfg.Validity = time.Minute }, false, []string{"T35", "T121", "T144", "T160"}},
		"long":         {func(cfg *ocsp.Config) { cfg.Validity = 240 * time.Hour; cfg.Backdate = time.Hour }, false, []string{"T35", "T121", "T144", "T160"}},
		"by name":      {func(cfg *ocsp.Config) { cfg.Issuers[0].ResponderID = ocsp.ResponderIDByName }, false, []string{"T35", "T121", "T144", "T160"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := subject(t, ocsptest.Options{}, false, test.adjust)
			target.NonceIgnored = test.ignored
			requireConformance(t, target, test.notApplicable...)
		})
	}
}

// A serial number may make the base64 of a request end in a slash, behind which a path may begin another.
func TestConformanceOfASerialEndingInASlash(t *testing.T) {
	ca, store := ocsptest.NewCA(ocsptest.Options{}), ocsptest.NewStore()
	good := ca.Issue(ocsptest.Options{Serial: new(big.Int).SetBytes(append(bytes.Repeat([]byte{0x9a}, 15), 0x3f))})
	require.True(t, strings.HasSuffix(base64.StdEncoding.EncodeToString(ocsptest.Client{}.Request(ca.Certificate, good)), "/"))
	store.Add(ca.ID, good)
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store})
	require.NoError(t, err)
	defer func() { assert.NoError(t, responder.Close()) }()
	requireConformance(t, ocsptest.Target{Handler: responder.Handler(), Issuer: ca.Certificate, Good: good}, "T35", "T95", "T121", "T135", "T143", "T144", "T160")
}

func TestConformanceNeedsATarget(t *testing.T) {
	whole := subject(t, ocsptest.Options{}, false, nil)
	for want, change := range map[string]func(*ocsptest.Target){
		"the field Issuer is nil":   func(t *ocsptest.Target) { t.Issuer = nil },
		"the field Good is nil":     func(t *ocsptest.Target) { t.Good = nil },
		"give a Handler or a URL":   func(t *ocsptest.Target) { t.Handler = nil },
		"absolute http or https":    func(t *ocsptest.Target) { t.Handler, t.URL = nil, "/ocsp" },
		"no contact with http://12": func(t *ocsptest.Target) { t.Handler, t.URL = nil, "http://127.0.0.1:1/ocsp" },
		"there is no responder":     func(t *ocsptest.Target) { t.Handler = http.NotFoundHandler() },
		"neither a POST (HTTP status 405, 0 octets of \"\") nor a GET (HTTP status 404, ": func(t *ocsptest.Target) {
			t.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.Method == http.MethodPost {
					w.WriteHeader(http.StatusMethodNotAllowed)
					return
				}
				http.NotFound(w, req)
			})
		},
		"give the credentials": func(t *ocsptest.Target) {
			t.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
		},
	} {
		target := whole
		change(&target)
		_, err := ocsptest.Conformance(t.Context(), target)
		assert.ErrorContains(t, err, want)
	}
}

func TestConformanceEndsWithItsContext(t *testing.T) {
	target := subject(t, ocsptest.Options{}, false, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	handler, served := target.Handler, 0
	target.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if served++; served > 1 { // contact is made, and then there is silence
			cancel()
			<-req.Context().Done()
			return
		}
		handler.ServeHTTP(w, req)
	})
	results, err := ocsptest.Conformance(ctx, target)
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, results)
}

// docs/CONFORMANCE.md names each case that the project's own tests have and the suite does not, and no other.
func TestConformanceTellsWhatItLeavesOut(t *testing.T) {
	suite := map[string]bool{}
	for _, c := range ocsptest.ConformanceCases() {
		suite[c.ID] = true
	}
	var missing []string
	files, err := filepath.Glob("../*_test.go")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, match := range regexp.MustCompile(`(?m)^func Test(T\d+[a-z]?)`).FindAllSubmatch(text, -1) {
			if id := string(match[1]); !suite[id] {
				missing = append(missing, id)
			}
		}
	}
	page, err := os.ReadFile("../docs/CONFORMANCE.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(page), "are not in the suite:")
	table, _, _ = strings.Cut(table, "The suite has a test")
	var told []string
	for _, match := range regexp.MustCompile(`(?m)^\| (T[^|]+) \|`).FindAllStringSubmatch(table, -1) {
		for _, part := range strings.Split(match[1], ", ") {
			var first, last int
			if regexp.MustCompile(`^T\d+[a-z]$`).MatchString(part) {
				told = append(told, part)
				continue
			}
			if n, _ := fmt.Sscanf(part, "T%d to T%d", &first, &last); n == 1 {
				last = first
			}
			for id := first; id <= last; id++ {
				told = append(told, fmt.Sprintf("T%d", id))
			}
		}
	}
	slices.Sort(missing)
	assert.ElementsMatch(t, slices.Compact(missing), told)
}

// What a result has nothing of is not printed.
func TestCaseResultString(t *testing.T) {
	c := ocsptest.Case{ID: "T1", Title: "title", Source: "source"}
	assert.Equal(t, "T1   fail decided   title (source)\n     detail", ocsptest.CaseResult{Case: c, Detail: "detail"}.String())
	assert.Equal(t, "T1   fail decided   title (source)\n     detail\n     sent: words\n           0102\n     got:  no answer",
		ocsptest.CaseResult{Case: c, Detail: "detail", Request: "words", Sent: []byte{1, 2}, Response: "no answer"}.String())
}
