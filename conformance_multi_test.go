package ocsp_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// multiAsk is a request for several CertIDs.
func multiAsk(ids ...derCertID) []byte {
	var q derRequest
	for _, id := range ids {
		q.entries = append(q.entries, derSeq(id.der()))
	}
	return q.der()
}

func TestT132SeveralStatuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	revoked, never := r.issue(), r.ca.Issue(ocsptest.Options{})
	r.revoke(revoked, ocsp.KeyCompromise)
	for range 2 {
		responses := r.query(r.leaf, revoked, never).Responses
		require.Len(t, responses, 3)
		assert.Equal(t, []int{xocsp.Good, xocsp.Revoked, xocsp.Unknown}, []int{responses[0].Status, responses[1].Status, responses[2].Status})
		assert.Equal(t, xocsp.KeyCompromise, responses[1].RevocationReason)
		responses = r.query(never, revoked, r.leaf).Responses
		assert.Equal(t, []int{xocsp.Unknown, xocsp.Revoked, xocsp.Good}, []int{responses[0].Status, responses[1].Status, responses[2].Status})
	}
	assert.Equal(t, 4, r.signer.Calls()) // one for each answer, however many certificates
}

func TestT134SameCertificateTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	sha1 := derIDOf(r.ca.Certificate, r.leaf.SerialNumber)
	sha256 := derIDHashed(r.ca.Certificate, r.leaf.SerialNumber, crypto.SHA256, certIDHashes["SHA-256"].oid)
	r.requireAnswer(r.post(multiAsk(sha1, sha256)), xocsp.Good, xocsp.Good) // Lint: each is mirrored
	r.requireAnswer(r.post(multiAsk(sha256, sha1)), xocsp.Good, xocsp.Good)
	r.requireAnswer(r.post(multiAsk(sha1, sha1)), xocsp.Good, xocsp.Good)
	r.revoke(r.leaf, ocsp.Superseded)
	r.requireAnswer(r.post(multiAsk(sha1, sha256)), xocsp.Revoked, xocsp.Revoked)
}

func TestT135TwoIssuers(t *testing.T) {
	t.Parallel()
	second := ocsptest.NewCA(ocsptest.Options{Name: "Second CA"})
	alias := derSeq(derTLV(0x31, derSeq(derOID(2, 5, 4, 3), derTLV(12, []byte("Test CA")))))
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
		cfg.Issuers[0].NameAliases = [][]byte{alias}
		cfg.Issuers = append(cfg.Issuers, second.Issuer())
	})
	theirs := second.Issue(ocsptest.Options{})
	r.store.Add(second.ID, theirs)
	ours := derIDOf(r.ca.Certificate, r.leaf.SerialNumber)
	derRefuse(r, xocsp.Unauthorized, multiAsk(ours, derIDOf(second.Certificate, theirs.SerialNumber)))
	derRefuse(r, xocsp.Unauthorized, multiAsk(derIDOf(second.Certificate, theirs.SerialNumber), ours))

	aliased := ours
	aliased.nameHash = derOctets(derHash(crypto.SHA1, alias))
	r.requireAnswer(r.post(multiAsk(ours, aliased)), xocsp.Good, xocsp.Good) // one key for both names
}

func TestT136ForeignIssuer(t *testing.T) {
	t.Parallel()
	foreign := ocsptest.NewCA(ocsptest.Options{Name: "Foreign CA"})
	for name, strict := range map[string]bool{"lenient": false, "strict": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Strict = strict })
			ours := derIDOf(r.ca.Certificate, r.leaf.SerialNumber)
			theirs := derIDOf(foreign.Certificate, r.leaf.SerialNumber) // a serial that is good with our CA
			if strict {
				derRefuse(r, xocsp.Unauthorized, multiAsk(ours, theirs))
				derRefuse(r, xocsp.Unauthorized, multiAsk(theirs, ours))
			} else {
				multiRequireStatuses(r, r.post(multiAsk(ours, theirs)), xocsp.Good, xocsp.Unknown)
				multiRequireStatuses(r, r.post(multiAsk(theirs, ours)), xocsp.Unknown, xocsp.Good)
			}
			derRefuse(r, xocsp.Unauthorized, multiAsk(theirs, theirs))
		})
	}
}

// multiRequireStatuses is requireAnswer for entries that share a serial: x/crypto/ocsp reads them, but cannot
// tell them apart.
func multiRequireStatuses(r *rig, result *ocsptest.Result, statuses ...int) {
	r.Helper()
	require.NoError(r, ocsptest.Lint(result.Request, result.DER, r.ca.Certificate, r.clock.Now()))
	_, err := ocsptest.Parse(result.DER, r.ca.Certificate)
	require.NoError(r, err)
	singles := derSplit(r, signTakeApart(r, result.DER).tbs[2])
	require.Len(r, singles, len(statuses))
	for i, status := range statuses {
		require.Equal(r, byte(status), derSplit(r, singles[i])[1][0]&0x1f, i)
	}
}

// What could be made of a path that lost slashes is believed for several certificates only if all were issued.
func TestSlashesMergedForSeveral(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	// What is the same in all requests must have no two slashes in a row, wherever they fall.
	for strings.Contains(new(big.Int).SetBytes(r.request(r.leaf, r.leaf)).Text(2), strings.Repeat("1", 12)) {
		r = newRig(t, nil)
	}
	repaired := 0
	for range 10_000 {
		serial := make([]byte, 16)
		_, err := rand.Read(serial)
		require.NoError(t, err)
		serial[0], serial[10], serial[11] = 0x40, 0xff, 0xff
		cert := &x509.Certificate{SerialNumber: new(big.Int).SetBytes(serial)}
		der := r.request(r.leaf, cert)
		text := base64.StdEncoding.EncodeToString(der)
		if strings.Count(text[len(text)-24:], "/") != 2 || strings.Count(text, "//") != 1 || !strings.HasSuffix(text, "=") {
			continue
		}
		target := "/ocsp/" + strings.Replace(text, "//", "/", 1)
		r.store.Add(r.ca.ID, cert)
		result := pathGet(r, target, der)
		if len(result.DER) == 5 { // there is more than one repair
			continue
		}
		r.requireAnswer(result, xocsp.Good, xocsp.Good)
		r.store.Remove(r.ca.ID, cert.SerialNumber)
		r.requireError(xocsp.Malformed, pathGet(r, target, der))
		r.requireAnswer(pathGet(r, "/ocsp/"+text, der), xocsp.Good, xocsp.Unknown)
		if repaired++; repaired == 5 {
			return
		}
	}
	require.FailNow(t, "no request was repaired")
}

func TestT137CertIDLimit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ limit, allowed int }{"default": {0, 32}, "three": {3, 3}, "one": {1, 1}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Limits.MaxCertIDs = test.limit })
			var ids []derCertID
			var statuses []int
			for i := range test.allowed {
				ids, statuses = append(ids, derIDOf(r.ca.Certificate, big.NewInt(int64(1000+i)))), append(statuses, xocsp.Unknown)
			}
			derRefuse(r, xocsp.Malformed, multiAsk(append(ids, derIDOf(r.ca.Certificate, r.leaf.SerialNumber))...))
			r.requireAnswer(r.post(multiAsk(ids...)), statuses...)
		})
	}
}

func TestT139StoreFailsForSecond(t *testing.T) {
	t.Parallel()
	var broken *big.Int
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
			if broken != nil && serial.Cmp(broken) == 0 {
				return ocsp.Record{}, ocsptest.ErrInjected
			}
			return r.store.FindBySerial(ctx, id, serial)
		})
	})
	second := r.issue()
	broken = second.SerialNumber
	for _, request := range [][]byte{r.request(r.leaf, second), r.request(second, r.leaf)} {
		r.requireError(xocsp.TryLater, r.post(request))
	}
	assert.Zero(t, r.signer.Calls())
	r.query(r.leaf) // the first alone has an answer, and it is not from a cache
	assert.Equal(t, 1, r.signer.Calls())
	broken = nil
	r.requireAnswer(r.post(r.request(r.leaf, second)), xocsp.Good, xocsp.Good)
}

func TestT140CachingOfSeveral(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	end := r.clock.Now().Add(time.Hour)
	short := r.issue()
	r.store.Set(r.ca.ID, short.SerialNumber, ocsp.Record{State: ocsp.Active, NotAfter: end})
	client := r.client()
	client.Method = http.MethodGet
	result, err := client.Query(t.Context(), r.ca.Certificate, r.leaf, short)
	require.NoError(t, err)
	for _, response := range result.Responses {
		assert.False(t, response.NextUpdate.After(end))
	}
	assert.Equal(t, end.UTC().Format(http.TimeFormat), result.Header.Get("Expires"))
	value, ok := strings.CutPrefix(result.Header.Get("Cache-Control"), "max-age=")
	require.True(t, ok)
	value, rest, _ := strings.Cut(value, ",")
	assert.Equal(t, " public, no-transform, must-revalidate", rest)
	age, err := strconv.Atoi(value)
	require.NoError(t, err)
	// Half of the shortest window, which is far less than the refresh point of the other's 24 hours.
	assert.InDelta(t, 1800, age, 1)

	result, err = client.Query(t.Context(), r.ca.Certificate, r.leaf, r.ca.Issue(ocsptest.Options{}))
	require.NoError(t, err)
	assert.Equal(t, "max-age=0, no-transform, must-revalidate", result.Header.Get("Cache-Control"), "one entry is unknown")
}
