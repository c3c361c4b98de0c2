package codec

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	xocsp "golang.org/x/crypto/ocsp"
)

// The ASN.1 of RFC 6960 section 4.1.1, for encoding/asn1: a second reader, which shares nothing
// with ParseRequest.
type (
	secondRequest struct {
		TBS       secondTBS
		Signature secondSignature `asn1:"explicit,tag:0,optional"`
	}
	secondTBS struct {
		Raw           asn1.RawContent
		Version       int           `asn1:"explicit,tag:0,default:0,optional"`
		RequestorName asn1.RawValue `asn1:"explicit,tag:1,optional"`
		List          []secondEntry
		Extensions    []secondExtension `asn1:"explicit,tag:2,optional"`
	}
	secondEntry struct {
		CertID     secondCertID
		Extensions []secondExtension `asn1:"explicit,tag:0,optional"`
	}
	secondCertID struct {
		Raw               asn1.RawContent
		Hash              secondAlgorithm
		NameHash, KeyHash []byte
		Serial            *big.Int
	}
	secondAlgorithm struct {
		Raw        asn1.RawContent
		ID         asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	secondExtension struct {
		ID       asn1.ObjectIdentifier
		Critical bool `asn1:"optional"`
		Value    []byte
	}
	secondSignature struct {
		Raw          asn1.RawContent
		Algorithm    secondAlgorithm
		Value        asn1.BitString
		Certificates []asn1.RawValue `asn1:"explicit,tag:0,optional"`
	}
)

// requestShape is the syntax alone. What it takes may still have a value that is refused. The
// parameters of algorithms are not looked at.
var requestShape = func() *shape {
	extensions := wrapped("30", shaped("(30)*", map[byte]*shape{0x30: shaped("06(01)?04", nil)}))
	certificates := wrapped("30", shaped("(30)*", nil))
	signature := wrapped("30", shaped("3003(a0)?", map[byte]*shape{0xa0: certificates}))
	entry := shaped("30(a0)?", map[byte]*shape{
		0x30: shaped("30040402", nil), 0xa0: extensions,
	})
	tbs := shaped("(a0)?(a1)?30(a2)?", map[byte]*shape{
		0xa0: wrapped("02", nil), 0xa1: wrapped("..", nil),
		0x30: shaped("(30)*", map[byte]*shape{0x30: entry}), 0xa2: extensions,
	})
	return shaped("30(a0)?", map[byte]*shape{0x30: tbs, 0xa0: signature})
}()

// judgedRequest is a request with what each reader made of it.
type judgedRequest struct {
	der    []byte
	first  *Request
	second *secondRequest
	why    string // the reason of ParseRequest's error
}

// because returns a difference of requests that ParseRequest refuses for that reason.
func because(
	why, name string, holds func(second *secondRequest) bool,
) difference[*judgedRequest] {
	return difference[*judgedRequest]{name, why, func(j *judgedRequest) bool {
		return holds(j.second)
	}}
}

// refusedRequests are those that ParseRequest refuses and encoding/asn1 accepts. It refuses each of
// them.
var refusedRequests = []difference[*judgedRequest]{
	{"a field that the syntax does not have, or a tag that its content does not fill", "",
		func(j *judgedRequest) bool { return !requestShape.fits(j.der) }},
	because("version is not v1", "another version than v1",
		func(s *secondRequest) bool { return s.TBS.Version != 0 }),
	because("requestorName is not a GeneralName", "a requestorName that is not a GeneralName",
		func(s *secondRequest) bool {
			name := s.TBS.RequestorName.Bytes
			return len(name) > 0 && (name[0]&0xc0 != 0x80 || name[0]&0x1f > 8)
		}),
	because("no requestList", "an empty requestList",
		func(s *secondRequest) bool { return len(s.TBS.List) == 0 }),
	because("too many CertIDs", "more CertIDs than Limits.MaxCertIDs",
		func(s *secondRequest) bool { return len(s.TBS.List) > fuzzLimits.CertIDs }),
	because("too many extensions", "more than 16 extensions in one list",
		anyList(func(list []secondExtension) bool { return len(list) > fuzzLimits.Extensions })),
	because("extension given twice", "an extension given twice in one list",
		anyList(func(list []secondExtension) bool {
			return slices.ContainsFunc(list, func(e secondExtension) bool {
				same := func(o secondExtension) bool { return o.ID.Equal(e.ID) }
				return len(slices.DeleteFunc(slices.Clone(list), same)) < len(list)-1
			})
		})),
	because("unknown critical extension in request", "a critical extension of one Request",
		func(s *secondRequest) bool {
			return slices.ContainsFunc(s.TBS.List, func(e secondEntry) bool {
				return slices.ContainsFunc(e.Extensions, isCritical)
			})
		}),
	because("unknown critical extension", "an unknown critical extension of the request",
		func(s *secondRequest) bool {
			return slices.ContainsFunc(s.TBS.Extensions, func(e secondExtension) bool {
				return isCritical(e) && !e.ID.Equal(idNonce) && !e.ID.Equal(idAcceptable) &&
					!e.ID.Equal(idPreferred)
			})
		}),
	because("hashAlgorithm parameters are neither absent nor NULL",
		"parameters of a hash algorithm that are neither absent nor NULL",
		anyHash(func(id secondCertID, _ int) bool {
			return !bytes.HasSuffix(id.Hash.Raw, mustMarshal(id.Hash.ID)) &&
				!bytes.HasSuffix(id.Hash.Raw, append(mustMarshal(id.Hash.ID), 5, 0))
		})),
	because("issuer hash does not fit its algorithm", "an issuer hash of another length",
		anyHash(func(id secondCertID, size int) bool {
			return len(id.NameHash) != size || len(id.KeyHash) != size
		})),
	because("serialNumber too long", "a serialNumber of more than 64 octets",
		func(s *secondRequest) bool {
			return slices.ContainsFunc(s.TBS.List, func(e secondEntry) bool {
				return len(mustMarshal(e.CertID.Serial)) > 2+MaxSerial
			})
		}),
	because("nonce is not one OCTET STRING", "a nonce that is another element", badNonce),
	because("nonce length is not 1 to 128", "a nonce that is empty or longer than 128 octets",
		badNonce),
	because("bad acceptableResponses", "acceptableResponses that cannot be read",
		anyExtension(idAcceptable, func(value []byte) bool {
			list, ok := elements(value)
			return !ok || value[0] != tagSequence || slices.ContainsFunc(list, isNoOID)
		})),
	because("acceptableResponses without id-pkix-ocsp-basic",
		"acceptableResponses without id-pkix-ocsp-basic",
		anyExtension(idAcceptable, func(value []byte) bool {
			list, _ := elements(value)
			return !slices.ContainsFunc(list, func(e asn1.RawValue) bool {
				return bytes.Equal(e.FullBytes, mustMarshal(idBasic))
			})
		})),
	because("bad preferredSignatureAlgorithms",
		"preferredSignatureAlgorithms that cannot be read",
		anyExtension(idPreferred, func(value []byte) bool {
			list, _ := elements(value)
			return !preferredShape.fits(value) || value[0] != tagSequence ||
				slices.ContainsFunc(list, func(e asn1.RawValue) bool {
					return isNoOID(tlv(tlv(e.Bytes).Bytes))
				})
		})),
	because("too many certs", "more than 16 certificates beside the signature",
		func(s *secondRequest) bool {
			return len(s.Signature.Certificates) > maxSignatureCerts
		}),
}

// preferredShape is PreferredSignatureAlgorithms (RFC 6960 section 4.4.7.1).
var preferredShape = shaped("(30)+", map[byte]*shape{0x30: shaped("30(30)?", nil)})

// isNoOID reports whether an element is not an OBJECT IDENTIFIER. One with large arcs is.
func isNoOID(e asn1.RawValue) bool {
	var id asn1.ObjectIdentifier
	_, err := asn1.Unmarshal(e.FullBytes, &id)
	return err != nil && !hasLargeArc(err)
}

// hasLargeArc reports whether an error of encoding/asn1 means that an identifier has a larger arc
// than Go's type.
func hasLargeArc(err error) bool {
	return err != nil && strings.Contains(err.Error(), "base 128 integer too large")
}

// refusedByASN1 are the requests that ParseRequest accepts and encoding/asn1 refuses.
var refusedByASN1 = []difference[*judgedRequest]{
	{"an arc of an OBJECT IDENTIFIER above 2^31-1", "", func(j *judgedRequest) bool {
		return slices.ContainsFunc(j.first.oids(), func(oid []byte) bool {
			var id asn1.ObjectIdentifier
			_, err := asn1.Unmarshal(appendTLV(nil, tagOID, oid), &id)
			return hasLargeArc(err)
		})
	}},
	{"parameters of an unknown algorithm that are not DER", "", func(j *judgedRequest) bool {
		return slices.ContainsFunc(j.first.algorithms(), func(der []byte) bool {
			_, ok := elements(der)
			return !ok
		})
	}},
}

// refusedByOCSP are the requests that ParseRequest accepts and x/crypto/ocsp refuses.
var refusedByOCSP = append([]difference[*judgedRequest]{
	{"a signed request", "", func(j *judgedRequest) bool { return j.first.Signature.Raw != nil }},
	{"a request with a requestorName", "",
		func(j *judgedRequest) bool { return j.first.RequestorName != nil }},
	{"an unknown hash algorithm", "",
		func(j *judgedRequest) bool { return j.first.Entries[0].CertID.Hash == 0 }},
}, refusedByASN1...)

// skippedByOCSP is the difference of what both strict readers refuse.
const skippedByOCSP = "what encoding/asn1 refuses too, in a part that x/crypto/ocsp skips"

// shortRequest is what x/crypto/ocsp reads of a request that is not signed.
type shortRequest struct {
	TBS struct {
		Version       int           `asn1:"explicit,tag:0,default:0,optional"`
		RequestorName asn1.RawValue `asn1:"explicit,tag:1,optional"`
		List          []struct{ CertID secondCertID }
	}
}

// skippedRequestsByOCSP are the requests that only x/crypto/ocsp accepts: encoding/asn1 accepts
// them without what that does not read.
var skippedRequestsByOCSP = []difference[*judgedRequest]{
	{skippedByOCSP, "", func(j *judgedRequest) bool {
		rest, err := asn1.Unmarshal(j.der, new(shortRequest))
		return err == nil && len(rest) == 0
	}},
}

var (
	idBasic      = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	idNonce      = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}
	idAcceptable = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 4}
	idPreferred  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 8}

	// hashSizes are the lengths of the hashes in CertIDs.
	hashSizes = map[string]int{
		"1.3.14.3.2.26": 20, "2.16.840.1.101.3.4.2.1": 32,
		"2.16.840.1.101.3.4.2.2": 48, "2.16.840.1.101.3.4.2.3": 64,
	}
)

func isCritical(e secondExtension) bool { return e.Critical }

func mustMarshal(v any) []byte {
	der, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return der
}

// anyList reports whether one of a request's lists of extensions is so.
func anyList(holds func([]secondExtension) bool) func(*secondRequest) bool {
	return func(s *secondRequest) bool {
		return holds(s.TBS.Extensions) || slices.ContainsFunc(s.TBS.List,
			func(e secondEntry) bool { return holds(e.Extensions) })
	}
}

// anyHash reports whether one of a request's CertIDs with a known hash, of that size, is so.
func anyHash(holds func(id secondCertID, size int) bool) func(*secondRequest) bool {
	return func(s *secondRequest) bool {
		return slices.ContainsFunc(s.TBS.List, func(e secondEntry) bool {
			size, known := hashSizes[e.CertID.Hash.ID.String()]
			return known && holds(e.CertID, size)
		})
	}
}

// anyExtension reports whether that extension of the request has such a value.
func anyExtension(
	id asn1.ObjectIdentifier, holds func(value []byte) bool,
) func(*secondRequest) bool {
	return func(s *secondRequest) bool {
		return slices.ContainsFunc(s.TBS.Extensions, func(e secondExtension) bool {
			return e.ID.Equal(id) && holds(e.Value)
		})
	}
}

// badNonce reports whether a nonce is neither an OCTET STRING of 1 to 128 octets nor as many octets
// that are no element.
var badNonce = anyExtension(idNonce, func(value []byte) bool {
	var e asn1.RawValue
	rest, err := asn1.Unmarshal(value, &e)
	if len(value) > 0 && value[0]&0x1f == 0x1f {
		err = errors.New("no reader of this package has tags above 30")
	}
	isString := err == nil && e.Class == asn1.ClassUniversal && e.Tag == asn1.TagOctetString &&
		!e.IsCompound
	switch {
	case isString && len(rest) == 0:
		value = e.Bytes
	case isString, err == nil && len(rest) == 0:
		return true
	}
	return len(value) == 0 || len(value) > MaxNonce
})

// oids returns the identifiers in a request.
func (req *Request) oids() (list [][]byte) {
	for _, e := range req.Extensions {
		list = append(list, e.OID)
	}
	for _, entry := range req.Entries {
		for _, e := range entry.Extensions {
			list = append(list, e.OID)
		}
	}
	for _, der := range req.algorithms() {
		var e asn1.RawValue
		outer := tlv(der)
		if _, err := asn1.Unmarshal(outer.Bytes, &e); err == nil {
			list = append(list, e.Bytes)
		}
	}
	return list
}

// algorithms returns the AlgorithmIdentifiers in a request.
func (req *Request) algorithms() (list [][]byte) {
	for _, e := range req.Entries {
		list = append(list, tlv(tlv(e.CertID.Raw).Bytes).FullBytes)
	}
	if raw := req.Signature.Raw; raw != nil {
		list = append(list, tlv(tlv(raw).Bytes).FullBytes)
	}
	return list
}

// tlv returns the first element in der.
func tlv(der []byte) (e asn1.RawValue) {
	if _, err := asn1.Unmarshal(der, &e); err != nil {
		panic(err)
	}
	return e
}

// judge has the two strict readers read a request. It returns their errors.
func judge(der []byte) (j *judgedRequest, first, second error) {
	j = &judgedRequest{der: der, first: new(Request), second: new(secondRequest)}
	if first = ParseRequest(der, j.first, fuzzLimits); first != nil {
		j.why = strings.TrimPrefix(first.Error(), ErrMalformed.Error()+": ")
	}
	rest, second := asn1.Unmarshal(der, j.second)
	if len(rest) > 0 {
		second = errors.New("trailing octets")
	}
	return j, first, second
}

// FuzzDifferentialRequest compares ParseRequest with encoding/asn1 and x/crypto/ocsp. A request
// that they judge differently must be of a kind that is listed above. Of those that they accept
// they must read the same values.
func FuzzDifferentialRequest(f *testing.F) {
	seeds(f, "requests", "malformed")
	for _, der := range exampleRequests() {
		f.Add(der)
	}
	for _, der := range nearRequests() {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		j, err, secondErr := judge(der)
		other, otherErr := xocsp.ParseRequest(der)
		explain := func(list []difference[*judgedRequest], who string, their error) {
			if !explained(list, j.why, j) {
				t.Fatalf("ParseRequest: %v; %s: %v: %x", err, who, their, der)
			}
		}
		switch {
		case err == nil && !requestShape.fits(der):
			t.Fatalf("accepted, and has not the syntax of a request: %x", der)
		case err == nil && secondErr == nil:
			j.compare(t)
			for _, d := range refusedRequests {
				if d.holds(j) {
					t.Fatalf("accepted, and it is %s: %x", d.name, der)
				}
			}
		case err == nil:
			explain(refusedByASN1, "encoding/asn1", secondErr)
		case secondErr == nil:
			explain(refusedRequests, "encoding/asn1", secondErr)
		}
		switch {
		case err == nil && otherErr != nil:
			explain(refusedByOCSP, "x/crypto/ocsp", otherErr)
		case err != nil && secondErr != nil && otherErr == nil:
			explain(skippedRequestsByOCSP, "x/crypto/ocsp", nil)
		}
		if otherErr != nil {
			return
		}
		if err == nil {
			id := j.first.Entries[0].CertID
			hashes := appendTLV(appendTLV(nil, tagOctetString, other.IssuerNameHash),
				tagOctetString, other.IssuerKeyHash)
			if id.Hash != other.HashAlgorithm || !bytes.HasSuffix(id.Issuer, hashes) ||
				SerialInt(id.Serial).Cmp(other.SerialNumber) != 0 {
				t.Fatalf("x/crypto/ocsp reads %+v, ParseRequest %+v: %x", other, id, der)
			}
		}
		if secondErr == nil {
			id := j.second.TBS.List[0].CertID
			if hashSizes[id.Hash.ID.String()] != other.HashAlgorithm.Size() ||
				!bytes.Equal(id.NameHash, other.IssuerNameHash) ||
				!bytes.Equal(id.KeyHash, other.IssuerKeyHash) ||
				id.Serial.Cmp(other.SerialNumber) != 0 {
				t.Fatalf("x/crypto/ocsp reads %+v, encoding/asn1 %+v: %x", other, id, der)
			}
		}
	})
}

// compare fails if the values that the readers took from one request differ.
func (j *judgedRequest) compare(t *testing.T) {
	first, second := j.first, &j.second.TBS
	same := bytes.Equal(first.TBS, second.Raw) && len(first.Entries) == len(second.List) &&
		bytes.Equal(first.RequestorName, second.RequestorName.Bytes) &&
		sameExtensions(first.Extensions, second.Extensions)
	for i := 0; same && i < len(first.Entries); i++ {
		a, b := &first.Entries[i], &second.List[i]
		var size int
		if a.CertID.Hash != 0 {
			size = a.CertID.Hash.Size()
		}
		same = bytes.Equal(a.CertID.Raw, b.CertID.Raw) &&
			SerialInt(a.CertID.Serial).Cmp(b.CertID.Serial) == 0 &&
			size == hashSizes[b.CertID.Hash.ID.String()] &&
			sameExtensions(a.Extensions, b.Extensions)
	}
	sig := &j.second.Signature
	same = same && (first.Signature.Raw != nil) == (len(sig.Raw) > 0) &&
		bytes.Equal(first.Signature.Value, sig.Value.Bytes) &&
		slices.EqualFunc(first.Signature.Certificates, sig.Certificates,
			func(a []byte, b asn1.RawValue) bool { return bytes.Equal(a, b.FullBytes) })
	if !same {
		t.Fatalf("encoding/asn1 reads %+v, ParseRequest %+v: %x", j.second, first, j.der)
	}
	if nonce := first.Nonce; nonce != nil &&
		!anyExtension(idNonce, func(v []byte) bool { return bytes.HasSuffix(v, nonce) })(j.second) {
		t.Fatalf("the nonce %x is not in %x", nonce, j.der)
	}
}

func sameExtensions(a []Extension, b []secondExtension) bool {
	return slices.EqualFunc(a, b, func(a Extension, b secondExtension) bool {
		return bytes.HasSuffix(mustMarshal(b.ID), a.OID) && a.Critical == b.Critical &&
			bytes.Equal(a.Value, b.Value)
	})
}
