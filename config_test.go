package ocsp_test

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

func TestNewNamesTheFieldAtFault(t *testing.T) {
	t.Parallel()
	ca := ocsptest.NewCA(ocsptest.Options{})
	for _, c := range []struct {
		field  string
		change func(*ocsp.Config)
	}{
		{"Store", func(c *ocsp.Config) { c.Store = nil }},
		{"Issuers", func(c *ocsp.Config) { c.Issuers = nil }},
		{"Issuers[1]", func(c *ocsp.Config) { c.Issuers = append(c.Issuers, c.Issuers[0]) }},
		{"Issuers[1]", func(c *ocsp.Config) { c.Issuers = append(c.Issuers, ocsp.Issuer{}) }},
		{"Validity", func(c *ocsp.Config) { c.Validity = -1 }},
		{"Validity", func(c *ocsp.Config) { c.Validity = 9 * time.Second }},
		{"Validity", func(c *ocsp.Config) { c.Validity = 100 * 366 * 24 * time.Hour }},
		{"Validity", func(c *ocsp.Config) { c.Validity = time.Minute + time.Millisecond }},
		{"Validity", func(c *ocsp.Config) { c.Profile, c.Validity = ocsp.ProfileCABF, 8*time.Hour-time.Second }},
		{"Validity", func(c *ocsp.Config) { c.Profile, c.Validity = ocsp.ProfileCABF, 240*time.Hour+time.Second }},
		{"Unissued", func(c *ocsp.Config) { c.Profile, c.Unissued = ocsp.ProfileCABF, ocsp.UnissuedRevoked }},
		{"Backdate", func(c *ocsp.Config) { c.Backdate = -time.Second }},
		{"Backdate", func(c *ocsp.Config) { c.Backdate = 12 * time.Hour }},
		{"MaxAge", func(c *ocsp.Config) { c.MaxAge = time.Millisecond }},
		{"Retention", func(c *ocsp.Config) { c.Retention = -time.Hour }},
		{"Timeout", func(c *ocsp.Config) { c.Timeout = -1 }},
		{"Nonce", func(c *ocsp.Config) { c.Nonce = 9 }},
		{"Unissued", func(c *ocsp.Config) { c.Unissued = 9 }},
		{"Profile", func(c *ocsp.Config) { c.Profile = 9 }},
		{"Cache.StatusTTL", func(c *ocsp.Config) { c.Cache.StatusTTL = -1 }},
		{"Cache.MaxEntries", func(c *ocsp.Config) { c.Cache.MaxEntries = -1 }},
		{"Cache.Disabled", func(c *ocsp.Config) { c.Cache.Disabled, c.Cache.StatusTTL = true, 1 }},
		{"Signing.MaxConcurrent", func(c *ocsp.Config) { c.Signing.MaxConcurrent = -1 }},
		{"Signing.MaxWaiting", func(c *ocsp.Config) { c.Signing.MaxWaiting = -1 }},
		{"Signing.Timeout", func(c *ocsp.Config) { c.Signing.Timeout = -1 }},
		{"Limits.MaxRequestBytes", func(c *ocsp.Config) { c.Limits.MaxRequestBytes = -1 }},
		{"Limits.MaxRequestBytes", func(c *ocsp.Config) { c.Limits.MaxRequestBytes = 65 }},
		{"Limits.MaxPathBytes", func(c *ocsp.Config) { c.Limits.MaxPathBytes = -1 }},
		{"Limits.MaxCertIDs", func(c *ocsp.Config) { c.Limits.MaxCertIDs = -1 }},
		{"Limits.MaxExtensions", func(c *ocsp.Config) { c.Limits.MaxExtensions = -1 }},
		{"ResponderID", func(c *ocsp.Config) { c.Issuers[0].ResponderID = 9 }},
		{"CompromisedAt", func(c *ocsp.Config) { c.Issuers[0].CompromisedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"CompromisedAt", func(c *ocsp.Config) { c.Issuers[0].CompromisedAt = time.Time{}.Add(1) }},
		{"NameAliases", func(c *ocsp.Config) { c.Issuers[0].NameAliases = [][]byte{[]byte("CN=x")} }},
	} {
		cfg := ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: ocsptest.NewStore()}
		c.change(&cfg)
		_, err := ocsp.New(cfg)
		require.ErrorContains(t, err, c.field)
		require.Regexp(t, "^ocsp: config: .+: .+", err.Error(), "the cure follows the fault")
	}
}

// All that is wrong is named at once, each field once, and none because of another that is wrong.
func TestNewNamesAllFieldsAtFault(t *testing.T) {
	t.Parallel()
	_, err := ocsp.New(ocsp.Config{})
	require.EqualError(t, err, "ocsp: config: the field Store is nil: give a CertStore\n"+
		"ocsp: config: the field Issuers is empty: give at least one CA")

	for want, change := range map[string]func(*ocsp.Config){
		"Validity is -1ns: it must not be negative": func(c *ocsp.Config) { c.Validity = -1 },
		"Validity is 1m0s: ProfileCABF": func(c *ocsp.Config) {
			c.Profile, c.Validity, c.Backdate = ocsp.ProfileCABF, time.Minute, 40*time.Second
		},
		"Backdate is 1708000h0m0s: ": func(c *ocsp.Config) { c.Backdate = 1708000 * time.Hour }, // twice this overflows
		"Cache.StatusTTL is -1s: ":   func(c *ocsp.Config) { c.Cache.Disabled, c.Cache.StatusTTL = true, -time.Second },
		"Cache.MaxEntries is -1: ":   func(c *ocsp.Config) { c.Cache.Disabled, c.Cache.MaxEntries = true, -1 },
	} {
		cfg := ocsp.Config{Issuers: []ocsp.Issuer{{}}, Store: ocsptest.NewStore()}
		change(&cfg)
		_, err := ocsp.New(cfg)
		require.ErrorContains(t, err, "ocsp: config: the field "+want)
		require.NotContains(t, err.Error(), "\n", want)
	}

	cfg := ocsp.Config{Store: ocsptest.NewStore(), Issuers: []ocsp.Issuer{{}}, Nonce: 9, Unissued: 9}
	cfg.Cache.Disabled, cfg.Cache.StatusTTL, cfg.Cache.MaxEntries = true, time.Second, -1
	_, err = ocsp.New(cfg)
	for _, field := range []string{"Nonce", "Unissued", "Cache.MaxEntries", "Cache.Disabled"} {
		require.ErrorContains(t, err, "ocsp: config: the field "+field+" ")
	}
}

func TestLogger(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(&text, nil))
		cfg.Issuers[0].ResponderCertificate, cfg.Issuers[0].Signer = r.ca.Delegate(ocsptest.Options{Adjust: withoutNoCheck})
	})
	require.Contains(t, text.String(), "id-pkix-ocsp-nocheck")
	text.Reset()
	r.post([]byte("what clients do wrong is not logged"))
	require.Empty(t, text.String())
	r.store.SetFault(ocsptest.Fail)
	for range 100 {
		r.post(r.request(r.leaf))
	}
	require.Contains(t, text.String(), "injected fault")
	require.LessOrEqual(t, strings.Count(text.String(), "\n"), 3, "an outsider cannot flood the log")
	r.store.SetFault(ocsptest.Panic)
	r.post(r.request(r.leaf))
	require.Contains(t, text.String(), "stack=")
}

// Two certificates of one CA key are one authority: each is found, and Invalidate works under either ID.
func TestRenewedCACertificate(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		renewed := ocsptest.NewCA(ocsptest.Options{Signer: r.ca.Key})
		issuer := renewed.Issuer()
		issuer.ID = "renewed"
		cfg.Issuers = append(cfg.Issuers, issuer)
		cfg.Cache.StatusTTL = time.Hour
	})
	later := r.ca.Issue(ocsptest.Options{})
	r.store.Add("renewed", later)
	require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
	require.Equal(t, xocsp.Good, r.status(later).Status)
	answer := r.responder.Respond(context.Background(), r.request(later))
	require.Equal(t, "renewed", answer.Responses[0].IssuerID)
	r.store.Revoke("renewed", later.SerialNumber, ocsp.Superseded, r.clock.Now())
	require.NoError(t, r.responder.Invalidate(context.Background(), "renewed", later.SerialNumber))
	require.Equal(t, xocsp.Revoked, r.status(later).Status)
	r.responder.RemoveIssuer(r.ca.ID)
	require.Equal(t, xocsp.Unknown, r.status(r.leaf).Status, "nobody knows it any more")
	require.Equal(t, xocsp.Revoked, r.status(later).Status)
}

// A CA with a new key is another authority. What the old key issued is answered for as long as the old issuer is kept
// under another ID, as SetIssuer's documentation says.
func TestRekeyedCA(t *testing.T) {
	t.Parallel()
	rekeyed := ocsptest.NewCA(ocsptest.Options{})
	fresh := rekeyed.Issue(ocsptest.Options{})
	change := func(r *rig, keep bool) {
		if keep {
			old := r.ca.Issuer()
			old.ID = "old"
			require.NoError(t, r.responder.SetIssuer(old))
		}
		issuer := rekeyed.Issuer()
		issuer.ID = r.ca.ID
		r.store.Add(r.ca.ID, fresh)
		require.NoError(t, r.responder.SetIssuer(issuer))
		answer, err := ocsptest.Query(r.responder.Handler(), rekeyed.Certificate, fresh)
		require.NoError(t, err)
		require.Equal(t, xocsp.Good, answer.Status)
	}
	kept := newRig(t, nil)
	kept.store.Add("old", kept.leaf)
	change(kept, true)
	require.Equal(t, xocsp.Good, kept.status(kept.leaf).Status)

	lost := newRig(t, nil)
	change(lost, false)
	require.Equal(t, ocsp.OutcomeUnauthorized, lost.responder.Respond(context.Background(), lost.request(lost.leaf)).Outcome)
}

func TestDefaultIssuerID(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Issuers[0].ID = "" })
	answer := r.responder.Respond(context.Background(), r.request(r.leaf))
	require.Len(t, answer.Responses, 1)
	require.Regexp(t, "^[0-9a-f]{64}$", answer.Responses[0].IssuerID)
	require.Equal(t, ocsp.Unknown, answer.Responses[0].Status)
	require.False(t, answer.Cacheable)
}

// The zero Responder answers 404 to everything, and nothing that is done to it does harm.
func TestZeroResponderIsDisabled(t *testing.T) {
	t.Parallel()
	ca := ocsptest.NewCA(ocsptest.Options{})
	leaf := ca.Issue(ocsptest.Options{})
	request := ocsptest.Client{}.Request(ca.Certificate, leaf)
	var r ocsp.Responder
	for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "PUT"} {
		for _, path := range []string{"/", "/ocsp", "/ocsp/", "/ocsp/MFE"} {
			recorder := httptest.NewRecorder()
			r.Handler().ServeHTTP(recorder, httptest.NewRequest(method, path, bytes.NewReader(request)))
			require.Equal(t, http.StatusNotFound, recorder.Code)
			got := r.RespondHTTP(t.Context(), &ocsp.HTTPRequest{Method: method, Path: path, Body: request})
			require.Equal(t, http.StatusNotFound, got.StatusCode)
		}
	}
	require.Equal(t, ocsp.OutcomeUnauthorized, r.Respond(t.Context(), request).Outcome)
	_, err := r.Staple(t.Context(), leaf)
	require.ErrorContains(t, err, "disabled")
	require.NoError(t, r.SetIssuer(ca.Issuer()))
	require.Empty(t, r.Issuers())
	r.RemoveIssuer(ca.ID)
	require.NoError(t, r.Invalidate(t.Context(), ca.ID, leaf.SerialNumber))
	require.NoError(t, r.Close())
}

// An error names the field by its path, the problem and a hint, also where it is one of several.
func TestConfigError(t *testing.T) {
	t.Parallel()
	ca := ocsptest.NewCA(ocsptest.Options{})
	store := ocsptest.NewStore()
	keyless := ca.Issuer()
	keyless.Signer = nil
	for want, cfg := range map[string]ocsp.Config{
		"ocsp: config: the field Store is nil: give a CertStore\nocsp: config: the field Issuers is empty: give at least one CA": {},
		"ocsp: config: the field Validity is 5s: use 10s to 87840h0m0s, an hour or more if answers are to be stapled": {
			Store: store, Issuers: []ocsp.Issuer{ca.Issuer()}, Validity: 5 * time.Second,
		},
		"ocsp: config: the field Issuers[1].Signer is nil: give the private key as a crypto.Signer": {
			Store: store, Issuers: []ocsp.Issuer{ca.Issuer(), keyless},
		},
		"ocsp: config: the field Issuers[1].ID is \"" + ca.ID + "\", like that of an earlier issuer: give each its own": {
			Store: store, Issuers: []ocsp.Issuer{ca.Issuer(), ca.Issuer()},
		},
	} {
		_, err := ocsp.New(cfg)
		require.EqualError(t, err, want)
		var e *ocsp.ConfigError
		require.ErrorAs(t, err, &e)
		require.Equal(t, "ocsp: config: the field "+e.Field+" "+e.Problem+": "+e.Hint, strings.Split(want, "\n")[0])
	}

	r, err := ocsp.New(ocsp.Config{Store: store, Issuers: []ocsp.Issuer{ca.Issuer()}})
	require.NoError(t, err)
	defer r.Close()
	err = r.SetIssuer(keyless)
	require.EqualError(t, err, `ocsp: issuer "`+ca.ID+`": the field Signer is nil: give the private key as a crypto.Signer`)
	var e *ocsp.ConfigError
	require.ErrorAs(t, err, &e)
	require.Equal(t, "Signer", e.Field)
}

func TestIssuers(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	other := ocsptest.NewCA(ocsptest.Options{Name: "Other"}).Issuer()
	other.ID = ""
	require.NoError(t, r.responder.SetIssuer(other))
	ids := r.responder.Issuers()
	require.Len(t, ids, 2)
	require.Equal(t, r.ca.ID, ids[0])
	require.Len(t, ids[1], 64, "the default ID")
	r.responder.RemoveIssuer(ids[1])
	require.Equal(t, ids[:1], r.responder.Issuers())
}

// What can only be meant as no limit is refused where there must be one.
func TestNewRefusesBoundlessRequests(t *testing.T) {
	t.Parallel()
	ca := ocsptest.NewCA(ocsptest.Options{})
	_, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{ca.Issuer()}, Store: ocsptest.NewStore(),
		Limits: ocsp.Limits{MaxRequestBytes: math.MaxInt32, MaxPathBytes: math.MaxInt32},
	})
	require.ErrorContains(t, err, "the field Limits.MaxRequestBytes is 2147483647: use 1073741824 or less")
	require.ErrorContains(t, err, "the field Limits.MaxPathBytes is 2147483647: use 1073741824 or less")
}

// The greatest numbers are valid limits where no bound is needed.
func TestGreatestLimits(t *testing.T) {
	t.Parallel()
	for _, compact := range []bool{false, true} {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			const seconds = math.MaxInt64 / time.Second * time.Second
			cfg.MaxAge, cfg.Timeout, cfg.Retention = seconds, math.MaxInt64, seconds
			cfg.Cache = ocsp.CacheOptions{StatusTTL: math.MaxInt64, MaxEntries: math.MaxInt, Compact: compact}
			cfg.Signing = ocsp.SigningOptions{MaxConcurrent: math.MaxInt, MaxWaiting: math.MaxInt, Timeout: math.MaxInt64}
			cfg.Limits = ocsp.Limits{MaxRequestBytes: 1 << 30, MaxPathBytes: 1 << 30, MaxCertIDs: math.MaxInt, MaxExtensions: math.MaxInt}
		})
		for range 2 { // signed and cached
			require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			recorder := httptest.NewRecorder()
			req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(r.request(r.leaf, r.issue())))
			req.Header.Set("Content-Type", "application/ocsp-request")
			r.handler.ServeHTTP(recorder, req)
			require.Len(t, must(ocsptest.Parse(recorder.Body.Bytes(), r.ca.Certificate)), 2)
		}
		require.Equal(t, 3, r.signer.Calls())
		require.NoError(t, r.responder.Invalidate(t.Context(), r.ca.ID, r.leaf.SerialNumber))
		r.store.SetFault(ocsptest.Fail)
		r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
	}
}

// Three quarters of a very large MaxConcurrent do not overflow.
func TestGreatestNumberOfSignatures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Signing.MaxConcurrent, cfg.Signing.MaxWaiting = math.MaxInt/2, 1
		})
		client := r.client()
		client.Nonce = []byte("nonce")
		r.signer.SetFault(ocsptest.Hang)
		first := r.ask(client.Request(r.ca.Certificate, r.leaf))
		second := r.ask(client.Request(r.ca.Certificate, r.leaf))
		synctest.Wait()
		require.Equal(t, 2, r.signer.Calls())
		r.signer.SetFault(ocsptest.Healthy)
		r.requireAnswer(<-first, xocsp.Good)
		r.requireAnswer(<-second, xocsp.Good)
	})
}

// must returns a value that comes without an error.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
