package ocsp_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// Content that the requests of this file carry in their extensions.
var (
	extAcceptable = derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 4)
	extPreferred  = derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 8)
	extLocator    = derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 7)
	extBasic      = derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 1)

	extSHA1WithRSA     = derSeq(derOID(1, 2, 840, 113549, 1, 1, 5), derNull)
	extSHA256WithRSA   = derSeq(derOID(1, 2, 840, 113549, 1, 1, 11), derNull)
	extECDSAWithSHA1   = derSeq(derOID(1, 2, 840, 10045, 4, 1))
	extECDSAWithSHA256 = derSeq(derOID(1, 2, 840, 10045, 4, 3, 2))
	extECDSAWithSHA384 = derSeq(derOID(1, 2, 840, 10045, 4, 3, 3))
	extECDSAWithSHA512 = derSeq(derOID(1, 2, 840, 10045, 4, 3, 4))
)

// extWith is a plain request with request extensions.
func extWith(r *rig, extensions ...[]byte) []byte {
	q := derPlain(r)
	q.extensions = extensions
	return q.der()
}

// extSingle is a plain request with single extensions.
func extSingle(r *rig, extensions ...[]byte) []byte {
	return derAsk(derIDOf(r.ca.Certificate, r.leaf.SerialNumber), extensions...).der()
}

// extRequireNonce requires that an answer carries that nonce, none if nil.
func extRequireNonce(r *rig, want []byte, result *ocsptest.Result) {
	r.Helper()
	nonce, err := ocsptest.ResponseNonce(result.DER)
	require.NoError(r, err)
	require.Equal(r, want, nonce)
}

func TestT98UnknownExtension(t *testing.T) {
	t.Parallel()
	for name, build := range map[string]func(*rig, ...[]byte) []byte{"request": extWith, "single": extSingle} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			result := r.post(build(r, derExt(derForeignOID, nil, derForeignValue)))
			r.requireAnswer(result, xocsp.Good)
			assert.False(t, bytes.Contains(result.DER, derForeignOID), "echoed")
			assert.Equal(t, r.query(r.leaf).DER, result.DER) // ignored, so the answer serves others too
			assert.Equal(t, 1, r.signer.Calls())
		})
	}
}

func TestT99UnknownCriticalExtension(t *testing.T) {
	t.Parallel()
	derRefuseAll(t, xocsp.Malformed, map[string]func(*rig) []byte{
		"alone": func(r *rig) []byte { return extWith(r, derExt(derForeignOID, derTrue, derForeignValue)) },
		"after a nonce": func(r *rig) []byte {
			return extWith(r, derNonceExt(make([]byte, 16)), derExt(derForeignOID, derTrue, derForeignValue))
		},
		"service locator": func(r *rig) []byte { return extWith(r, derExt(extLocator, derTrue, derSeq())) },
	})
}

func TestT102AcceptableResponses(t *testing.T) {
	t.Parallel()
	for name, list := range map[string][][]byte{
		"basic": {extBasic}, "basic and other": {extBasic, derForeignOID}, "other and basic": {derForeignOID, extBasic},
	} {
		for flag, critical := range map[string][]byte{"": nil, ", critical": derTrue} {
			t.Run(name+flag, func(t *testing.T) {
				r := newRig(t, nil)
				r.requireAnswer(r.post(extWith(r, derExt(extAcceptable, critical, derSeq(list...)))), xocsp.Good)
			})
		}
	}
}

func TestT103AcceptableResponsesWithoutBasic(t *testing.T) {
	t.Parallel()
	requests := map[string]func(*rig) []byte{}
	for name, value := range map[string][]byte{
		"other": derSeq(derForeignOID), "empty": derSeq(), "nothing": {}, "garbage": {0xde, 0xad}, "bare OID": extBasic,
		"not an OID": derSeq(extBasic, derNull), "trailing": append(derSeq(extBasic), 0), "longer": derSeq(append(append([]byte{6, extBasic[1] + 1}, extBasic[2:]...), 1)),
	} {
		requests[name] = func(r *rig) []byte { return extWith(r, derExt(extAcceptable, nil, value)) }
	}
	derRefuseAll(t, xocsp.Malformed, requests)
}

// extAlgorithm is the signature algorithm of an answer.
func extAlgorithm(r *rig, der []byte) []byte { return signTakeApart(r, der).algorithm }

// extPrefer is a request with PreferredSignatureAlgorithms.
func extPrefer(r *rig, algorithms ...[]byte) []byte {
	var list [][]byte
	for _, a := range algorithms {
		list = append(list, derSeq(a))
	}
	return extWith(r, derExt(extPreferred, nil, derSeq(list...)))
}

// extOwnKey signs with a key of Go's own, whose algorithms a client may choose from.
func extOwnKey(r *rig, cfg *ocsp.Config) { cfg.Issuers[0].Signer = r.ca.Key }

func TestT104PreferredSignatureAlgorithms(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		preferred [][]byte
		want      []byte
	}{
		"second is supported": {[][]byte{extSHA256WithRSA, extECDSAWithSHA512}, extECDSAWithSHA512},
		"unknown first":       {[][]byte{derSeq(derForeignOID), extECDSAWithSHA384}, extECDSAWithSHA384},
		"weak first":          {[][]byte{extECDSAWithSHA1, extECDSAWithSHA384}, extECDSAWithSHA384},
		"first of two":        {[][]byte{extECDSAWithSHA512, extECDSAWithSHA384}, extECDSAWithSHA512},
		"the default":         {[][]byte{extECDSAWithSHA256, extECDSAWithSHA512}, extECDSAWithSHA256},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, extOwnKey)
			for range 2 { // signed, then cached
				result := r.post(extPrefer(r, test.preferred...))
				r.requireAnswer(result, xocsp.Good)
				assert.Equal(t, test.want, extAlgorithm(r, result.DER))
				assert.Equal(t, extECDSAWithSHA256, extAlgorithm(r, r.query(r.leaf).DER)) // who asks for nothing gets the default
			}
		})
	}
	t.Run("with key algorithm", func(t *testing.T) {
		r := newRig(t, extOwnKey)
		key := derSeq(derOID(1, 2, 840, 10045, 2, 1), derOID(1, 2, 840, 10045, 3, 1, 7))
		result := r.post(extWith(r, derExt(extPreferred, nil, derSeq(derSeq(extECDSAWithSHA384, key)))))
		r.requireAnswer(result, xocsp.Good)
		assert.Equal(t, extECDSAWithSHA384, extAlgorithm(r, result.DER))
	})
}

func TestT105PreferredSignatureAlgorithmsUnfit(t *testing.T) {
	t.Parallel()
	for name, preferred := range map[string][][]byte{
		"SHA-1": {extECDSAWithSHA1, extSHA1WithRSA}, "other key": {extSHA256WithRSA}, "unknown": {derSeq(derForeignOID)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, extOwnKey)
			result := r.post(extPrefer(r, preferred...))
			r.requireAnswer(result, xocsp.Good)
			assert.Equal(t, extECDSAWithSHA256, extAlgorithm(r, result.DER))
		})
	}
	t.Run("SHA-1 with RSA", func(t *testing.T) {
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			r.ca = ocsptest.NewCA(ocsptest.Options{Signer: keys[ocsptest.RSA2048]()})
			r.leaf = r.issue()
			cfg.Issuers = []ocsp.Issuer{r.ca.Issuer()}
		})
		result := r.post(extPrefer(r, extSHA1WithRSA))
		r.requireAnswer(result, xocsp.Good)
		assert.Equal(t, extSHA256WithRSA, extAlgorithm(r, result.DER))
	})
}

func TestT106PreferredSignatureAlgorithmsGarbage(t *testing.T) {
	t.Parallel()
	requests := map[string]func(*rig) []byte{}
	for name, value := range map[string][]byte{
		"nothing": {}, "octets": {0xde, 0xad}, "empty list": derSeq(), "NULL": derNull, "empty entry": derSeq(derSeq()),
		"algorithm unwrapped": derSeq(extECDSAWithSHA256), "no OID": derSeq(derSeq(derSeq(derNull))),
		"trailing": append(derSeq(derSeq(extECDSAWithSHA256)), 0), "third member": derSeq(derSeq(extECDSAWithSHA256, extECDSAWithSHA256, extECDSAWithSHA256)),
	} {
		requests[name] = func(r *rig) []byte { return extWith(r, derExt(extPreferred, nil, value)) }
	}
	derRefuseAll(t, xocsp.Malformed, requests)
}

func TestT107ServiceLocator(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	result := r.post(extSingle(r, derExt(extLocator, nil, derSeq(r.ca.Certificate.RawSubject))))
	r.requireAnswer(result, xocsp.Good)
	assert.Equal(t, r.query(r.leaf).DER, result.DER)
}

func TestT108ManyExtensions(t *testing.T) {
	t.Parallel()
	many := func(n int) (list [][]byte) {
		for i := range n {
			list = append(list, derExt(derOID(1, 3, 6, 1, 4, 1, 99999, 8, i), nil, derForeignValue))
		}
		return list
	}
	for name, build := range map[string]func(*rig, ...[]byte) []byte{"request": extWith, "single": extSingle} {
		for _, limit := range []int{0, 3} {
			t.Run(fmt.Sprintf("%s, %d", name, limit), func(t *testing.T) {
				r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Limits.MaxExtensions = limit })
				allowed := max(limit, 16*(1-min(limit, 1)))
				derRefuse(r, xocsp.Malformed, build(r, many(allowed+1)...))
				derRefuse(r, xocsp.Malformed, build(r, many(33)...))
				r.requireAnswer(r.post(build(r, many(allowed)...)), xocsp.Good)
			})
		}
	}
}

// extNonces posts nonces of those lengths and requires each back.
func extNonces(t *testing.T, lengths ...int) {
	for _, n := range lengths {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := newRig(t, nil)
			nonce := bytes.Repeat([]byte{0x5a}, n)
			result := r.post(extWith(r, derNonceExt(nonce)))
			r.requireAnswer(result, xocsp.Good)
			extRequireNonce(r, nonce, result)
			assert.Equal(t, "max-age=0, no-transform, must-revalidate", result.Header.Get("Cache-Control"))
		})
	}
}

// extBadNonces posts nonces of those lengths and requires malformedRequest, whatever the policy.
func extBadNonces(t *testing.T, lengths ...int) {
	for _, policy := range []ocsp.NoncePolicy{ocsp.NonceEcho, ocsp.NonceIgnore, ocsp.NonceRequire, ocsp.NonceEchoBare} {
		for _, n := range lengths {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Nonce = policy })
			derRefuse(r, xocsp.Malformed, extWith(r, derNonceExt(make([]byte, n))))
		}
	}
}

func TestT110EmptyNonce(t *testing.T) { extBadNonces(t, 0) }

func TestT111ShortNonce(t *testing.T) { extNonces(t, 1, 15) }

func TestT112UsualNonce(t *testing.T) { extNonces(t, 16, 31, 32) }

func TestT113LongNonce(t *testing.T) { extNonces(t, 33, 64, 127, 128) }

func TestT114TooLongNonce(t *testing.T) { extBadNonces(t, 129, 1024) }

func TestT115RawNonce(t *testing.T) {
	t.Parallel()
	raws := map[string][]byte{
		"no tag":                  bytes.Repeat([]byte{0xff}, 16),
		"counts to 16":            {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		"cut short":               append([]byte{4, 20}, make([]byte, 14)...),
		"a TLV and more":          append([]byte{2, 1, 5}, make([]byte, 13)...),
		"one octet":               {7},
		"128 octets":              bytes.Repeat([]byte{0xff}, 128),
		"indefinite OCTET STRING": append([]byte{0x24, 0x80}, bytes.Repeat([]byte{0xff}, 14)...),
	}
	for name, raw := range raws {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			result := r.post(extWith(r, derExt(derNonceOID, nil, raw)))
			r.requireAnswer(result, xocsp.Good)
			extRequireNonce(r, nil, result)
			assert.Equal(t, r.query(r.leaf).DER, result.DER)

			r = newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Nonce = ocsp.NonceEchoBare })
			result = r.post(extWith(r, derExt(derNonceOID, nil, raw)))
			r.requireAnswer(result, xocsp.Good)
			extRequireNonce(r, raw, result) // which reads it wrapped
		})
	}
	bad := map[string][]byte{
		"INTEGER": {2, 1, 5}, "16 octets of SEQUENCE": append([]byte{0x30, 14}, make([]byte, 14)...), "NULL": derNull, "nothing": {},
		"OCTET STRING and more": append(derOctets(make([]byte, 13)), 0), "two OCTET STRINGs": append(derOctets(make([]byte, 16)), derOctets(make([]byte, 16))...),
		"constructed OCTET STRING": derTLV(0x24, derOctets(make([]byte, 16))), "129 octets": bytes.Repeat([]byte{0xff}, 129),
	}
	requests := map[string]func(*rig) []byte{}
	for name, raw := range bad {
		requests[name] = func(r *rig) []byte { return extWith(r, derExt(derNonceOID, nil, raw)) }
	}
	derRefuseAll(t, xocsp.Malformed, requests)
}

func TestT119CriticalNonce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	nonce := bytes.Repeat([]byte{9}, 32)
	result := r.post(extWith(r, derExt(derNonceOID, derTrue, derOctets(nonce))))
	r.requireAnswer(result, xocsp.Good)
	extRequireNonce(r, nonce, result)
	assert.True(t, bytes.Contains(result.DER, derNonceExt(nonce)), "the nonce is there, but not without a critical flag")
}

func TestT120NonceRequired(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Nonce = ocsp.NonceRequire })
	derRefuse(r, xocsp.Malformed, r.request(r.leaf))
	nonce := bytes.Repeat([]byte{9}, 32)
	result := r.post(extWith(r, derNonceExt(nonce)))
	r.requireAnswer(result, xocsp.Good)
	extRequireNonce(r, nonce, result)
}

func TestT121NonceIgnored(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Nonce = ocsp.NonceIgnore })
	plain := r.query(r.leaf)
	for i := range byte(3) {
		result := r.post(extWith(r, derNonceExt(bytes.Repeat([]byte{i}, 32))))
		r.requireAnswer(result, xocsp.Good)
		extRequireNonce(r, nil, result)
		assert.Equal(t, plain.DER, result.DER)
	}
	assert.Equal(t, 1, r.signer.Calls())
}

func TestT122NonceTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	request := extWith(r, derNonceExt(bytes.Repeat([]byte{9}, 32)))
	for range 2 {
		result := r.post(request)
		r.requireAnswer(result, xocsp.Good)
		extRequireNonce(r, bytes.Repeat([]byte{9}, 32), result)
	}
	assert.Equal(t, 2, r.signer.Calls())
}

func TestT124NonceByGet(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	nonce := bytes.Repeat([]byte{9}, 32)
	client := r.client()
	client.Method = http.MethodGet
	result, err := client.Send(t.Context(), extWith(r, derNonceExt(nonce)))
	require.NoError(t, err)
	r.requireAnswer(result, xocsp.Good)
	extRequireNonce(r, nonce, result)
	assert.Equal(t, "max-age=0, no-transform, must-revalidate", result.Header.Get("Cache-Control"))
	for _, name := range []string{"Expires", "Etag", "Last-Modified"} {
		assert.Empty(t, result.Header.Get(name), name)
	}
	// Nor is it kept for the next one.
	assert.False(t, slices.Equal(result.DER, r.query(r.leaf).DER))
}
