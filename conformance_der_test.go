package ocsp_test

import (
	"bytes"
	"crypto"
	"crypto/fips140"
	"crypto/x509"
	"encoding/asn1"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// derTLV writes an element with the shortest length. It knows nothing of what it writes, so that a test can
// put anything anywhere.
func derTLV(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	der := []byte{tag, byte(len(content))}
	if n := len(content); n > 0xff {
		der = []byte{tag, 0x82, byte(n >> 8), byte(n)}
	} else if n > 0x7f {
		der = []byte{tag, 0x81, byte(n)}
	}
	return append(der, content...)
}

func derSeq(parts ...[]byte) []byte { return derTLV(0x30, parts...) }

func derOctets(content []byte) []byte { return derTLV(4, content) }

func derOID(arcs ...int) []byte {
	der, err := asn1.Marshal(asn1.ObjectIdentifier(arcs))
	if err != nil {
		panic(err)
	}
	return der
}

// derSplit returns the elements inside a constructed element.
func derSplit(t require.TestingT, der []byte) (parts [][]byte) {
	var outer asn1.RawValue
	rest, err := asn1.Unmarshal(der, &outer)
	require.NoError(t, err)
	require.Empty(t, rest)
	for rest = outer.Bytes; len(rest) > 0; {
		var part asn1.RawValue
		rest, err = asn1.Unmarshal(rest, &part)
		require.NoError(t, err)
		parts = append(parts, part.FullBytes)
	}
	return parts
}

var (
	derNull  = []byte{5, 0}
	derTrue  = []byte{1, 1, 0xff}
	derFalse = []byte{1, 1, 0}
	derSHA1  = derOID(1, 3, 14, 3, 2, 26)

	derNonceOID     = derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 2)
	derForeignOID   = derOID(1, 3, 6, 1, 4, 1, 99999, 7) // of an extension that nobody knows
	derForeignValue = derOctets([]byte("anything"))
)

// derExt is an Extension; flag is the critical field as written, nil for none.
func derExt(oid, flag, value []byte) []byte { return derSeq(oid, flag, derOctets(value)) }

func derNonceExt(nonce []byte) []byte { return derExt(derNonceOID, nil, derOctets(nonce)) }

// derCertID is a CertID taken apart, each field but the serial a whole element.
type derCertID struct{ algorithm, nameHash, keyHash, serial, tail []byte }

// derIDOf is the usual CertID: SHA-1 with NULL parameters.
func derIDOf(issuer *x509.Certificate, serial *big.Int) derCertID {
	return derIDHashed(issuer, serial, crypto.SHA1, derSHA1)
}

func derIDHashed(issuer *x509.Certificate, serial *big.Int, hash crypto.Hash, oid []byte) derCertID {
	number, err := asn1.Marshal(serial)
	if err != nil {
		panic(err)
	}
	return derCertID{
		algorithm: derSeq(oid, derNull),
		nameHash:  derOctets(derHash(hash, issuer.RawSubject)),
		keyHash:   derOctets(derHash(hash, derKeyBits(issuer))),
		serial:    number,
	}
}

func (id derCertID) der() []byte {
	return derSeq(id.algorithm, id.nameHash, id.keyHash, id.serial, id.tail)
}

func derHash(hash crypto.Hash, data []byte) (sum []byte) {
	fips140.WithoutEnforcement(func() {
		h := hash.New()
		h.Write(data)
		sum = h.Sum(nil)
	})
	return sum
}

// derKeyBits is what key hashes are made of: the BIT STRING's content without the count of unused bits.
func derKeyBits(cert *x509.Certificate) []byte {
	var spki struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &spki); err != nil {
		panic(err)
	}
	return spki.Key.Bytes
}

// derRequest is a request taken apart. Nil fields are left out.
type derRequest struct {
	version, name []byte
	entries       [][]byte // of requestList
	extensions    [][]byte // of requestExtensions
	tail          []byte   // behind the last field of TBSRequest
	signature     []byte   // the Signature, inside [0]
}

func (q derRequest) tbs() []byte {
	var extensions []byte
	if q.extensions != nil {
		extensions = derTLV(0xa2, derSeq(q.extensions...))
	}
	return derSeq(q.version, q.name, derSeq(q.entries...), extensions, q.tail)
}

func (q derRequest) der() []byte {
	if q.signature == nil {
		return derSeq(q.tbs())
	}
	return derSeq(q.tbs(), derTLV(0xa0, q.signature))
}

// derPlain is a request for the rig's active certificate, to be changed.
func derPlain(r *rig) derRequest { return derAsk(derIDOf(r.ca.Certificate, r.leaf.SerialNumber)) }

// derAsk is a request for one CertID with single extensions.
func derAsk(id derCertID, extensions ...[]byte) derRequest {
	entry := derSeq(id.der())
	if extensions != nil {
		entry = derSeq(id.der(), derTLV(0xa0, derSeq(extensions...)))
	}
	return derRequest{entries: [][]byte{entry}}
}

// derRefuse requires that a request gets that error before anything was looked up or signed.
func derRefuse(r *rig, want xocsp.ResponseStatus, request []byte) {
	r.Helper()
	lookups, signatures := r.store.Calls(), r.signer.Calls()
	r.requireError(want, r.post(request))
	require.Equal(r, lookups, r.store.Calls(), "the store was asked")
	require.Equal(r, signatures, r.signer.Calls(), "something was signed")
}

// derRefuseAll is derRefuse for a table of changes to a plain request, each on a rig of its own.
func derRefuseAll(t *testing.T, want xocsp.ResponseStatus, requests map[string]func(*rig) []byte) {
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			derRefuse(r, want, request(r))
			r.requireAnswer(r.post(derPlain(r).der()), xocsp.Good) // so it was the change
		})
	}
}

// A request that is refused costs neither a lookup nor a signature, and everything is answered as the
// conformance suite wants it. The tests of single numbers ask what the suite does not.
func TestConformanceSuite(t *testing.T) {
	t.Parallel()
	for _, strict := range []bool{false, true} {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Now, cfg.Strict = nil, strict })
		revoked := r.issue()
		r.revoke(revoked, ocsp.KeyCompromise)
		refused := 0
		results, err := ocsptest.Conformance(t.Context(), ocsptest.Target{
			Issuer: r.ca.Certificate, Good: r.leaf, Revoked: revoked,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				lookups, signatures := r.store.Calls(), r.signer.Calls()
				rec := httptest.NewRecorder()
				r.handler.ServeHTTP(rec, req)
				status, err := ocsptest.ErrorStatus(rec.Body.Bytes())
				if err == nil && (status == xocsp.Malformed || status == xocsp.Unauthorized) {
					refused++
					assert.Equal(t, lookups, r.store.Calls(), "the store was asked")
					assert.Equal(t, signatures, r.signer.Calls(), "something was signed")
				}
				maps.Copy(w.Header(), rec.Header())
				w.WriteHeader(rec.Code)
				_, _ = w.Write(rec.Body.Bytes())
			}),
		})
		require.NoError(t, err)
		require.Len(t, results, len(ocsptest.ConformanceCases()))
		for _, result := range results {
			assert.NotEqual(t, ocsptest.Failed, result.Verdict, result)
		}
		require.Greater(t, refused, 200)
	}
}

// derRich is a request with every field there is.
func derRich(r *rig) derRequest {
	q := derAsk(derIDOf(r.ca.Certificate, r.leaf.SerialNumber), derExt(derForeignOID, derFalse, derForeignValue))
	q.entries = append(q.entries, derPlain(r).entries...)
	q.version = []byte{0xa0, 3, 2, 1, 0}
	q.name = derTLV(0xa1, derTLV(0x82, []byte("client.test")))
	q.extensions = [][]byte{derNonceExt(bytes.Repeat([]byte{7}, 32))}
	q.signature = derSeq(derSeq(derOID(1, 2, 840, 10045, 4, 3, 2)), []byte{3, 3, 0, 1, 2}, derTLV(0xa0, derSeq(r.leaf.Raw)))
	return q
}

func TestT58Truncation(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, request := range [][]byte{derPlain(r).der(), derRich(r).der()} {
		for n := range len(request) {
			derRefuse(r, xocsp.Malformed, request[:n])
		}
	}
	r.requireAnswer(r.post(derRich(r).der()), xocsp.Good, xocsp.Good)
}

func TestT60WrongLength(t *testing.T) {
	t.Parallel()
	derRefuseAll(t, xocsp.Malformed, map[string]func(*rig) []byte{
		"serial too short": func(r *rig) []byte { return derBump(derPlain(r).der(), 0x35+12, -1) },
		"long form": func(r *rig) []byte {
			der := derPlain(r).der()
			return append([]byte{0x30, 0x81, der[1]}, der[2:]...)
		},
	})
}

// derBump changes one octet, which must not leave the request as it was.
func derBump(der []byte, at, by int) []byte {
	der[at] += byte(by)
	return der
}

func TestT65DeepNesting(t *testing.T) {
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Limits.MaxRequestBytes = 1 << 20 })
	for name, deep := range map[string][]byte{"closed": derNull, "open": {0x30, 0x84, 0x7f}} {
		for range 10_000 {
			deep = derTLV(0x30, deep)
		}
		q := derPlain(r)
		q.name = derTLV(0xa1, derTLV(0xa4, deep))
		allocations := testing.AllocsPerRun(1, func() { r.requireAnswer(r.post(q.der()), xocsp.Good) })
		assert.Less(t, allocations, 5000.0, name) // not one for each level, in the test's own readers either
	}
	// By default such a request is too large to begin with.
	r = newRig(t, nil)
	assert.Equal(t, 413, r.post(make([]byte, 40_000)).StatusCode)
}

func TestT67Version(t *testing.T) {
	t.Parallel()
	requests := map[string]func(*rig) []byte{}
	for name, version := range map[string][]byte{
		"two integers":      {0xa0, 6, 2, 1, 0, 2, 1, 0},
		"integer, too long": {0xa0, 3, 2, 2, 0},
	} {
		requests[name] = func(r *rig) []byte {
			q := derPlain(r)
			q.version = version
			return q.der()
		}
	}
	derRefuseAll(t, xocsp.Malformed, requests)
}

func TestT68RequestorName(t *testing.T) {
	t.Parallel()
	for name, general := range map[string]func(*rig) []byte{
		"directoryName": func(r *rig) []byte { return derTLV(0xa4, r.ca.Certificate.RawSubject) },
		"rfc822Name":    func(*rig) []byte { return derTLV(0x81, []byte("client@example.test")) },
		"URI":           func(*rig) []byte { return derTLV(0x86, []byte("https://client.example.test/")) },
		"otherName": func(*rig) []byte {
			return derTLV(0xa0, derOID(1, 3, 6, 1, 4, 1, 311, 20, 2, 3), derTLV(0xa0, derTLV(12, []byte("client"))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			plain := r.query(r.leaf)
			q := derPlain(r)
			q.name = derTLV(0xa1, general(r))
			result := r.post(q.der())
			r.requireAnswer(result, xocsp.Good)
			assert.Equal(t, plain.DER, result.DER) // as if absent, so from the cache
			assert.Equal(t, 1, r.signer.Calls())
		})
	}
}

func TestT72CertIDMembers(t *testing.T) {
	t.Parallel()
	changed := func(change func(*derCertID)) func(*rig) []byte {
		return func(r *rig) []byte {
			id := derIDOf(r.ca.Certificate, r.leaf.SerialNumber)
			change(&id)
			return derAsk(id).der()
		}
	}
	derRefuseAll(t, xocsp.Malformed, map[string]func(*rig) []byte{
		"negative serial, padded": changed(func(id *derCertID) { id.serial = []byte{2, 2, 0xff, 0xff} }),
	})
}

func TestT74ExtraMember(t *testing.T) {
	t.Parallel()
	derRefuseAll(t, xocsp.Malformed, map[string]func(*rig) []byte{
		"a second list": func(r *rig) []byte {
			q := derPlain(r)
			q.tail = derSeq(derSeq(derSHA1))
			return q.der()
		},
	})
}

func TestT78EmptyExtensions(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]func(*rig) []byte{
		"request": func(r *rig) []byte {
			q := derPlain(r)
			q.extensions = [][]byte{}
			return q.der()
		},
		"single": func(r *rig) []byte {
			return derAsk(derIDOf(r.ca.Certificate, r.leaf.SerialNumber), [][]byte{}...).der()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			der := request(r)
			require.True(t, bytes.Contains(der, []byte{2, 0x30, 0}))
			r.requireAnswer(r.post(der), xocsp.Good)

			r = newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Strict = true })
			derRefuse(r, xocsp.Malformed, request(r))
			r.requireAnswer(r.post(derPlain(r).der()), xocsp.Good)
		})
	}
}

func TestT79GarbageExtensions(t *testing.T) {
	t.Parallel()
	requests := map[string]func(*rig) []byte{}
	for name, content := range map[string][]byte{
		"empty OID":        derSeq(derExt([]byte{6, 0}, nil, derForeignValue)),
		"OID with padding": derSeq(derExt([]byte{6, 3, 0x2b, 0x80, 1}, nil, derForeignValue)),
		"long BOOLEAN":     derSeq(derExt(derForeignOID, []byte{1, 2, 0, 0}, derForeignValue)),
		"two flags":        derSeq(derExt(derForeignOID, append(clone(derFalse), derFalse...), derForeignValue)),
		"cut short":        derSeq(derExt(derForeignOID, nil, derForeignValue)[:9]),
	} {
		requests[name] = func(r *rig) []byte {
			q := derPlain(r)
			q.tail = derTLV(0xa2, content)
			return q.der()
		}
		requests[name+", single"] = func(r *rig) []byte {
			id := derIDOf(r.ca.Certificate, r.leaf.SerialNumber).der()
			return derRequest{entries: [][]byte{derSeq(id, derTLV(0xa0, content))}}.der()
		}
	}
	derRefuseAll(t, xocsp.Malformed, requests)
}
