package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	_ "crypto/md5" // for a CertID that is refused
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

var certIDHashes = map[string]struct {
	hash crypto.Hash
	oid  []byte
}{
	"SHA-1":   {crypto.SHA1, derSHA1},
	"SHA-256": {crypto.SHA256, derOID(2, 16, 840, 1, 101, 3, 4, 2, 1)},
	"SHA-384": {crypto.SHA384, derOID(2, 16, 840, 1, 101, 3, 4, 2, 2)},
	"SHA-512": {crypto.SHA512, derOID(2, 16, 840, 1, 101, 3, 4, 2, 3)},
}

// certIDAnswer asks about one CertID and requires that the answer repeats it.
func certIDAnswer(r *rig, id derCertID, status int) *xocsp.Response {
	r.Helper()
	result := r.post(derAsk(id).der())
	response := r.requireAnswer(result, status)[0]
	require.Equal(r, 1, bytes.Count(result.DER, id.der()), "the CertID is not mirrored")
	return response
}

// certIDFor is the rig as a client of another CA sees it.
func certIDFor(r *rig, ca *ocsptest.CA) *rig {
	other := *r
	other.ca = ca
	return &other
}

func TestT81CertIDHashes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	revoked := r.issue()
	r.revoke(revoked, ocsp.KeyCompromise)
	for name, h := range certIDHashes {
		t.Run(name, func(t *testing.T) {
			r := *r
			r.T = t
			certIDAnswer(&r, derIDHashed(r.ca.Certificate, r.leaf.SerialNumber, h.hash, h.oid), xocsp.Good)
			certIDAnswer(&r, derIDHashed(r.ca.Certificate, revoked.SerialNumber, h.hash, h.oid), xocsp.Revoked)
		})
	}
	assert.Equal(t, 2*len(certIDHashes), r.signer.Calls()) // none was answered with another's CertID
}

func TestT82CertIDParameters(t *testing.T) {
	t.Parallel()
	for name, h := range certIDHashes {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			null := derIDHashed(r.ca.Certificate, r.leaf.SerialNumber, h.hash, h.oid)
			absent := null
			absent.algorithm = derSeq(h.oid)
			for range 2 { // signed, then cached
				certIDAnswer(r, null, xocsp.Good)
				certIDAnswer(r, absent, xocsp.Good)
			}
			assert.Equal(t, 2, r.signer.Calls())
		})
	}
}

func TestT83CertIDParameterTypes(t *testing.T) {
	t.Parallel()
	requests := map[string]func(*rig) []byte{}
	for name, parameters := range map[string][]byte{
		"NULL, BER":    {5, 0x81, 0},
		"context NULL": {0x85, 0},
	} {
		requests[name] = func(r *rig) []byte {
			id := derIDOf(r.ca.Certificate, r.leaf.SerialNumber)
			id.algorithm = derSeq(derSHA1, parameters)
			return derAsk(id).der()
		}
	}
	derRefuseAll(t, xocsp.Malformed, requests)
}

func TestT86CertIDOneHashWrong(t *testing.T) {
	t.Parallel()
	for hash, h := range certIDHashes {
		t.Run(hash, func(t *testing.T) {
			changed := func(change func(id *derCertID, other derCertID)) func(*rig) []byte {
				return func(r *rig) []byte {
					id := derIDHashed(r.ca.Certificate, r.leaf.SerialNumber, h.hash, h.oid)
					stranger := ocsptest.NewCA(ocsptest.Options{Name: "Stranger"}).Certificate
					change(&id, derIDHashed(stranger, r.leaf.SerialNumber, h.hash, h.oid))
					return derAsk(id).der()
				}
			}
			derRefuseAll(t, xocsp.Unauthorized, map[string]func(*rig) []byte{
				"name":           changed(func(id *derCertID, other derCertID) { id.nameHash = other.nameHash }),
				"key":            changed(func(id *derCertID, other derCertID) { id.keyHash = other.keyHash }),
				"both":           changed(func(id *derCertID, other derCertID) { *id = other }),
				"swapped":        changed(func(id *derCertID, _ derCertID) { id.nameHash, id.keyHash = id.keyHash, id.nameHash }),
				"last bit, key":  changed(func(id *derCertID, _ derCertID) { id.keyHash[len(id.keyHash)-1] ^= 1 }),
				"last bit, name": changed(func(id *derCertID, _ derCertID) { id.nameHash[len(id.nameHash)-1] ^= 1 }),
			})
		})
	}
}

func TestT88ReencodedName(t *testing.T) {
	t.Parallel()
	name := func(stringType byte, r *rig) []byte {
		return derSeq(derTLV(0x31, derSeq(derOID(2, 5, 4, 3), derTLV(stringType, []byte(r.ca.Certificate.Subject.CommonName)))))
	}
	request := func(r *rig) derCertID {
		require.Equal(r, name(19, r), r.ca.Certificate.RawSubject) // PrintableString
		id := derIDOf(r.ca.Certificate, r.leaf.SerialNumber)
		id.nameHash = derOctets(derHash(crypto.SHA1, name(12, r))) // UTF8String
		return id
	}
	r := newRig(t, nil)
	derRefuse(r, xocsp.Unauthorized, derAsk(request(r)).der())

	r = newRig(t, func(r *rig, cfg *ocsp.Config) { cfg.Issuers[0].NameAliases = [][]byte{name(12, r)} })
	certIDAnswer(r, request(r), xocsp.Good)
	certIDAnswer(r, derIDOf(r.ca.Certificate, r.leaf.SerialNumber), xocsp.Good)
	r.revoke(r.leaf, ocsp.KeyCompromise)
	certIDAnswer(r, request(r), xocsp.Revoked)
}

// certIDSerial asks about a serial's content octets, which the store does not know and must be asked about.
func certIDSerial(t *testing.T, content []byte, serial *big.Int) {
	t.Helper()
	r := newRig(t, nil)
	id := derIDOf(r.ca.Certificate, serial)
	require.Equal(t, derTLV(2, content), id.serial)
	certIDAnswer(r, id, xocsp.Unknown)
	require.Equal(t, 1, r.store.Calls())
	// The store is asked about this very number, not about one that looks like it.
	r.store.Set(r.ca.ID, new(big.Int).Neg(serial), ocsp.Record{State: ocsp.Active})
	r.store.Set(r.ca.ID, new(big.Int).SetBytes(content), ocsp.Record{State: ocsp.Active})
	r.store.Remove(r.ca.ID, serial)
	certIDAnswer(r, id, xocsp.Unknown)
	r.store.Set(r.ca.ID, serial, ocsp.Record{State: ocsp.Active})
	certIDAnswer(r, id, xocsp.Good)

	r = newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Unissued = ocsp.UnissuedUnauthorized })
	r.requireError(xocsp.Unauthorized, r.post(derAsk(derIDOf(r.ca.Certificate, serial)).der()))
}

func TestT89SerialZero(t *testing.T) { certIDSerial(t, []byte{0}, new(big.Int)) }

func TestT90SerialNegative(t *testing.T) {
	t.Parallel()
	certIDSerial(t, []byte{0xff}, big.NewInt(-1))
	certIDSerial(t, []byte{0x80, 0}, big.NewInt(-32768))
}

func TestT92SerialLong(t *testing.T) {
	t.Parallel()
	for _, n := range []int{21, 32, 64} {
		content := bytes.Repeat([]byte{0x41}, n)
		certIDSerial(t, content, new(big.Int).SetBytes(content))
	}
}

func TestT93SerialTooLong(t *testing.T) {
	t.Parallel()
	requests := map[string]func(*rig) []byte{}
	for name, content := range map[string][]byte{
		"65": bytes.Repeat([]byte{0x41}, 65), "64 and a sign": append([]byte{0}, bytes.Repeat([]byte{0xff}, 64)...), "4000": bytes.Repeat([]byte{0x41}, 4000),
	} {
		requests[name] = func(r *rig) []byte {
			id := derIDOf(r.ca.Certificate, r.leaf.SerialNumber)
			id.serial = derTLV(2, content)
			return derAsk(id).der()
		}
	}
	derRefuseAll(t, xocsp.Malformed, requests)
}

func TestT95SerialOfAnotherCA(t *testing.T) {
	t.Parallel()
	second := ocsptest.NewCA(ocsptest.Options{Name: "Second CA"})
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Issuers = append(cfg.Issuers, second.Issuer()) })
	theirs := second.Issue(ocsptest.Options{})
	r.store.Add(second.ID, theirs)
	other := certIDFor(r, second)
	for range 2 { // with and without something cached about the same serial
		certIDAnswer(r, derIDOf(r.ca.Certificate, theirs.SerialNumber), xocsp.Unknown)
		certIDAnswer(other, derIDOf(second.Certificate, r.leaf.SerialNumber), xocsp.Unknown)
		certIDAnswer(other, derIDOf(second.Certificate, theirs.SerialNumber), xocsp.Good)
		certIDAnswer(r, derIDOf(r.ca.Certificate, r.leaf.SerialNumber), xocsp.Good)
	}
	// One serial, two certificates.
	r.store.Add(second.ID, r.leaf)
	r.revoke(r.leaf, ocsp.Superseded)
	certIDAnswer(r, derIDOf(r.ca.Certificate, r.leaf.SerialNumber), xocsp.Revoked)
	certIDAnswer(other, derIDOf(second.Certificate, r.leaf.SerialNumber), xocsp.Good)
}

func TestT96SameNameOtherKey(t *testing.T) {
	t.Parallel()
	twin := ocsptest.NewCA(ocsptest.Options{})
	twin.ID = "twin"
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		require.Equal(t, r.ca.Certificate.RawSubject, twin.Certificate.RawSubject)
		cfg.Issuers = append(cfg.Issuers, twin.Issuer())
	})
	// Each answer is verified with the key of the CA it was asked about.
	r.store.Add(twin.ID, r.leaf)
	r.revoke(r.leaf, ocsp.Superseded)
	for range 2 {
		certIDAnswer(r, derIDOf(r.ca.Certificate, r.leaf.SerialNumber), xocsp.Revoked)
		certIDAnswer(certIDFor(r, twin), derIDOf(twin.Certificate, r.leaf.SerialNumber), xocsp.Good)
	}
	assert.Equal(t, 1, r.signer.Calls())
}

func TestT97RenewedCA(t *testing.T) {
	t.Parallel()
	first := ocsptest.NewCA(ocsptest.Options{})
	renewed := ocsptest.NewCA(ocsptest.Options{Signer: first.Key})
	renewed.ID = "renewed"
	require.NotEqual(t, first.Certificate.Raw, renewed.Certificate.Raw)
	for name, configured := range map[string][]*ocsptest.CA{"first": {first}, "renewed": {renewed}, "both": {first, renewed}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
				cfg.Issuers = nil
				for _, ca := range configured {
					cfg.Issuers = append(cfg.Issuers, ca.Issuer())
				}
			})
			var certs []*x509.Certificate
			for _, ca := range configured { // the store knows each certificate under one ID only
				certs = append(certs, ca.Issue(ocsptest.Options{}))
				r.store.Add(ca.ID, certs[len(certs)-1])
			}
			for _, client := range []*ocsptest.CA{first, renewed} { // which certificate the client has
				for _, cert := range certs {
					certIDAnswer(certIDFor(r, client), derIDOf(client.Certificate, cert.SerialNumber), xocsp.Good)
				}
			}
		})
	}
}

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

// sreqSignature is a Signature; the certs field is left out if there are none.
func sreqSignature(algorithm, signature []byte, certs ...[]byte) []byte {
	var field []byte
	if certs != nil {
		field = derTLV(0xa0, derSeq(certs...))
	}
	return derSeq(algorithm, derTLV(3, []byte{0}, signature), field)
}

// sreqSign signs a request with ECDSA and SHA-256.
func sreqSign(r *rig, q derRequest, key crypto.Signer, certs ...[]byte) derRequest {
	signature, err := crypto.SignMessage(key, rand.Reader, q.tbs(), crypto.SHA256)
	require.NoError(r, err)
	q.signature = sreqSignature(extECDSAWithSHA256, signature, certs...)
	return q
}

// sreqNamed is a plain request with a requestorName.
func sreqNamed(r *rig) derRequest {
	q := derPlain(r)
	q.name = derTLV(0xa1, derTLV(0xa4, r.ca.Certificate.RawSubject))
	return q
}

// sreqRig is a rig that wants requests signed by someone under the clients' CA.
func sreqRig(t *testing.T, clients *ocsptest.CA) *rig {
	return newRig(t, func(_ *rig, cfg *ocsp.Config) {
		cfg.RequestSigners = x509.NewCertPool()
		cfg.RequestSigners.AddCert(clients.Certificate)
	})
}

func TestT126SignatureIgnored(t *testing.T) {
	t.Parallel()
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	cert, key := clients.IssueKey(ocsptest.Options{})
	for name, sign := range map[string]func(*rig) derRequest{
		"valid":          func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key, cert.Raw) },
		"without certs":  func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key) },
		"without a name": func(r *rig) derRequest { return sreqSign(r, derPlain(r), key, cert.Raw) },
		"garbage":        func(r *rig) derRequest { return sreqGarbage(r, extECDSAWithSHA256, []byte("garbage")) },
		"empty":          func(r *rig) derRequest { return sreqGarbage(r, extECDSAWithSHA256, nil) },
		"unused bits": func(r *rig) derRequest {
			q := sreqNamed(r)
			q.signature = derSeq(extECDSAWithSHA256, []byte{3, 2, 4, 0xf0})
			return q
		},
		"unknown algorithm":   func(r *rig) derRequest { return sreqGarbage(r, derSeq(derForeignOID), []byte("x")) },
		"SHA-1 with RSA":      func(r *rig) derRequest { return sreqGarbage(r, extSHA1WithRSA, make([]byte, 256)) },
		"garbage certificate": func(r *rig) derRequest { return sreqGarbage(r, extECDSAWithSHA256, nil, derSeq(derNull)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.requireAnswer(r.post(sign(r).der()), xocsp.Good)
		})
	}
}

func sreqGarbage(r *rig, algorithm, signature []byte, certs ...[]byte) derRequest {
	q := sreqNamed(r)
	q.signature = sreqSignature(algorithm, signature, certs...)
	return q
}

func TestT127SignatureRequired(t *testing.T) {
	t.Parallel()
	r := sreqRig(t, ocsptest.NewCA(ocsptest.Options{}))
	derRefuse(r, xocsp.SignatureRequired, r.request(r.leaf))
	derRefuse(r, xocsp.SignatureRequired, sreqNamed(r).der())
	derRefuse(r, xocsp.Malformed, r.request(r.leaf)[1:]) // what cannot be read need not be signed
}

// sreqRSA is a certificate whose RSA key has so many bits and that exponent, and no private key.
func sreqRSA(clients *ocsptest.CA, bits uint, e int) []byte {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return clients.Issue(ocsptest.Options{Signer: publicKey{&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: e}}}).Raw
}

// publicKey is a key to certify.
type publicKey struct{ key crypto.PublicKey }

func (p publicKey) Public() crypto.PublicKey { return p.key }

func (publicKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("it cannot sign")
}

func TestT128SignatureTrusted(t *testing.T) {
	t.Parallel()
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	cert, key := clients.IssueKey(ocsptest.Options{})
	department := clients.Intermediate(ocsptest.Options{})
	member, memberKey := department.IssueKey(ocsptest.Options{})
	section := department.Intermediate(ocsptest.Options{Name: "Section"})
	team := section.Intermediate(ocsptest.Options{Name: "Team"})
	deep, deepKey := team.IssueKey(ocsptest.Options{})
	for name, sign := range map[string]func(*rig) derRequest{
		"direct": func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key, cert.Raw) },
		"chain": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), memberKey, member.Raw, department.Certificate.Raw)
		},
		"with the root": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), key, cert.Raw, clients.Certificate.Raw)
		},
		"three CAs between": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), deepKey, deep.Raw, team.Certificate.Raw, section.Certificate.Raw, department.Certificate.Raw)
		},
		"three CAs between, in another order": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), deepKey, deep.Raw, section.Certificate.Raw, department.Certificate.Raw, team.Certificate.Raw)
		},
		"with a large key beside": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), key, cert.Raw, sreqRSA(clients, 4096, 65537))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := sreqRig(t, clients)
			r.requireAnswer(r.post(sign(r).der()), xocsp.Good)
		})
	}
}

func TestT129SignatureNotTrusted(t *testing.T) {
	t.Parallel()
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	cert, key := clients.IssueKey(ocsptest.Options{})
	other, otherKey := clients.IssueKey(ocsptest.Options{})
	stranger, strangerKey := ocsptest.NewCA(ocsptest.Options{Name: "Clients"}).IssueKey(ocsptest.Options{})
	expired, expiredKey := clients.IssueKey(ocsptest.Options{NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(-1, 0, 0)})
	early, earlyKey := clients.IssueKey(ocsptest.Options{NotBefore: time.Now().AddDate(1, 0, 0)})
	member, memberKey := clients.Intermediate(ocsptest.Options{}).IssueKey(ocsptest.Options{})
	closed := clients.Intermediate(ocsptest.Options{NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(-1, 0, 0)})
	old, oldKey := closed.IssueKey(ocsptest.Options{})
	forged, forgedKey := (&ocsptest.CA{Certificate: cert, Key: key}).IssueKey(ocsptest.Options{})
	for name, sign := range map[string]func(*rig) derRequest{
		"garbage":           func(r *rig) derRequest { return sreqGarbage(r, extECDSAWithSHA256, []byte("garbage"), cert.Raw) },
		"empty":             func(r *rig) derRequest { return sreqGarbage(r, extECDSAWithSHA256, nil, cert.Raw) },
		"unknown algorithm": func(r *rig) derRequest { return sreqGarbage(r, derSeq(derForeignOID), []byte("x"), cert.Raw) },
		"of another request": func(r *rig) derRequest {
			q := sreqNamed(r)
			q.signature = sreqSign(r, derPlain(r), key, cert.Raw).signature
			return q
		},
		"of another key":      func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), otherKey, cert.Raw) },
		"untrusted":           func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), strangerKey, stranger.Raw) },
		"untrusted beside":    func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), strangerKey, stranger.Raw, other.Raw) },
		"own root":            func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), r.ca.Key, r.ca.Certificate.Raw) },
		"expired":             func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), expiredKey, expired.Raw) },
		"not yet valid":       func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), earlyKey, early.Raw) },
		"no certs":            func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key) },
		"empty certs":         func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key, [][]byte{}...) },
		"garbage certificate": func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key, derSeq(derNull)) },
		"huge key beside": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), key, cert.Raw, sreqRSA(clients, 4097, 65537))
		},
		"huge exponent beside": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), key, cert.Raw, sreqRSA(clients, 2048, 65539))
		},
		"a CA between is missing": func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), memberKey, member.Raw) },
		"a CA between is expired": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), oldKey, old.Raw, closed.Certificate.Raw)
		},
		"a certificate between is not a CA's": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), forgedKey, forged.Raw, cert.Raw)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := sreqRig(t, clients)
			derRefuse(r, xocsp.Unauthorized, sign(r).der())
			r.requireAnswer(r.post(sreqSign(r, sreqNamed(r), key, cert.Raw).der()), xocsp.Good)
		})
	}
	t.Run("expired by the responder's clock", func(t *testing.T) {
		r := sreqRig(t, clients)
		soon, soonKey := clients.IssueKey(ocsptest.Options{NotAfter: r.clock.Now().Add(time.Hour)})
		request := sreqSign(r, sreqNamed(r), soonKey, soon.Raw).der()
		r.requireAnswer(r.post(request), xocsp.Good)
		r.clock.Advance(time.Hour + time.Second)
		derRefuse(r, xocsp.Unauthorized, request)
	})
}

func TestT130SignatureWithoutName(t *testing.T) {
	t.Parallel()
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	cert, key := clients.IssueKey(ocsptest.Options{})
	r := sreqRig(t, clients)
	derRefuse(r, xocsp.Unauthorized, sreqSign(r, derPlain(r), key, cert.Raw).der())
}

func TestT131ManyCertificates(t *testing.T) {
	t.Parallel()
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	cert, key := clients.IssueKey(ocsptest.Options{})
	certs := [][]byte{cert.Raw}
	for len(certs) < 50 {
		certs = append(certs, clients.Certificate.Raw)
	}
	large := func(_ *rig, cfg *ocsp.Config) { cfg.Limits.MaxRequestBytes = 1 << 20 }
	required := func(r *rig, cfg *ocsp.Config) {
		large(r, cfg)
		cfg.RequestSigners = x509.NewCertPool()
		cfg.RequestSigners.AddCert(clients.Certificate)
	}
	for name, test := range map[string]struct {
		policy func(*rig, *ocsp.Config)
		most   int
	}{"ignored": {large, 16}, "required": {required, 4}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, test.policy)
			derRefuse(r, xocsp.Malformed, sreqSign(r, sreqNamed(r), key, certs...).der())
			derRefuse(r, xocsp.Malformed, sreqSign(r, sreqNamed(r), key, certs[:test.most+1]...).der())
			r.requireAnswer(r.post(sreqSign(r, sreqNamed(r), key, certs[:test.most]...).der()), xocsp.Good)
		})
	}
}

// Anybody can send signatures, and certificates to build paths from. Over the budget for them a request is to come again
// later; what needs no verification is answered at once.
func TestRequestSignersWithinABudget(t *testing.T) {
	t.Parallel()
	const timeout, waiting = 5 * time.Second, 256
	synctest.Test(t, func(t *testing.T) {
		clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
		cert, key := clients.IssueKey(ocsptest.Options{})
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Timeout, cfg.Now = timeout, nil
			cfg.RequestSigners = x509.NewCertPool()
			cfg.RequestSigners.AddCert(clients.Certificate)
		})
		signed := sreqSign(r, sreqNamed(r), key, cert.Raw).der()
		many := sreqSign(r, sreqNamed(r), key, cert.Raw, cert.Raw, cert.Raw, cert.Raw, cert.Raw).der()
		unnamed := sreqSign(r, derPlain(r), key, cert.Raw).der()
		outcomes := func(n int) chan ocsp.Outcome {
			list := make(chan ocsp.Outcome, n)
			for range n {
				go func() { list <- r.responder.Respond(t.Context(), signed).Outcome }()
			}
			return list
		}
		require.Equal(t, ocsp.OutcomeSigned, <-outcomes(1))
		for _, giveBack := range []bool{true, false} {
			begun := time.Now()
			free := ocsp.TakeVerifying(r.responder)
			list := outcomes(waiting)
			synctest.Wait()
			require.Empty(t, list)
			for what, want := range map[string]ocsp.Outcome{string(signed): ocsp.OutcomeTryLater, string(r.request(r.leaf)): ocsp.OutcomeSigRequired,
				string(many): ocsp.OutcomeMalformed, string(unnamed): ocsp.OutcomeUnauthorized} {
				require.Equal(t, want, r.responder.Respond(t.Context(), []byte(what)).Outcome)
			}
			require.Equal(t, begun, time.Now())
			want := ocsp.OutcomeCached
			if giveBack {
				free()
			} else {
				want = ocsp.OutcomeTryLater
			}
			for range waiting {
				require.Equal(t, want, <-list)
			}
			if !giveBack {
				require.Equal(t, timeout, time.Since(begun))
				free()
			}
		}
		require.Equal(t, ocsp.OutcomeCached, <-outcomes(1))
	})
}

// The time that a request waits for its signature to be verified is part of Timeout, which the store's call after it does not
// prolong.
func TestRequestSignersWithinTimeout(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
			cert, key := clients.IssueKey(ocsptest.Options{})
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
				cfg.Now, cfg.Cache.StatusTTL = nil, ttl
				cfg.RequestSigners = x509.NewCertPool()
				cfg.RequestSigners.AddCert(clients.Certificate)
			})
			r.store.SetFault(ocsptest.Hang)
			giveBack := ocsp.TakeVerifying(r.responder)
			begun := time.Now()
			time.AfterFunc(8*time.Second, giveBack)
			answer := r.responder.Respond(t.Context(), sreqSign(r, sreqNamed(r), key, cert.Raw).der())
			require.Equal(t, ocsp.OutcomeTryLater, answer.Outcome)
			require.Equal(t, 10*time.Second, time.Since(begun))
		})
	}
}

// A client chooses its keys and names. If it could have each of its certificates tried as the issuer of each other, four
// of them would cost dozens of verifications with the slowest of keys.
func TestRequestSignersTriesNoKeyOfAStranger(t *testing.T) {
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	require.NoError(t, err)
	r := sreqRig(t, clients)
	// All have the root's name and one key, and differ in a name that keeps them apart in a path.
	var certs [][]byte
	for i := range 4 {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), RawSubject: clients.Certificate.RawSubject, DNSNames: []string{strings.Repeat("x", i+1) + ".example"},
			NotBefore: clients.Certificate.NotBefore, NotAfter: clients.Certificate.NotAfter, IsCA: true, BasicConstraintsValid: true,
		}
		cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		require.NoError(t, err)
		certs = append(certs, cert)
	}
	hostile := sreqSign(r, sreqNamed(r), key, certs...).der()
	digest := make([]byte, 64)
	signature, err := key.Sign(rand.Reader, digest, crypto.SHA512)
	require.NoError(t, err)
	least := func(f func()) time.Duration {
		best := time.Hour
		for range 10 {
			begun := time.Now()
			f()
			best = min(best, time.Since(begun))
		}
		return best
	}
	one := least(func() { require.True(t, ecdsa.VerifyASN1(&key.PublicKey, digest, signature)) })
	all := least(func() { require.Equal(t, ocsp.OutcomeUnauthorized, r.responder.Respond(t.Context(), hostile).Outcome) })
	require.Less(t, all, 3*one, "one verification with the client's key takes %v", one)
}
