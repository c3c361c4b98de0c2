package codec

import (
	"crypto"
	encodingasn1 "encoding/asn1"
	"errors"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// ResponseStatus is an OCSPResponseStatus (RFC 6960 section 4.2.1).
type ResponseStatus byte

// The response statuses. 4 is not used.
const (
	Successful       ResponseStatus = 0
	MalformedRequest ResponseStatus = 1
	InternalError    ResponseStatus = 2
	TryLater         ResponseStatus = 3
	SigRequired      ResponseStatus = 5
	Unauthorized     ResponseStatus = 6
)

// ErrorResponse returns the DER of a response that has only an error status.
func ErrorResponse(status ResponseStatus) []byte {
	return []byte{tagSequence, 3, tagEnumerated, 1, byte(status)}
}

// CertStatus is a choice of CertStatus, numbered like its tag.
type CertStatus byte

// The certificate statuses.
const (
	Good    CertStatus = 0
	Revoked CertStatus = 1
	Unknown CertStatus = 2
)

// NoReason is an absent revocationReason. It is the code "unspecified", which is never encoded.
const NoReason = 0

// NoTime is an absent time. It is the second of the zero time.Time, in which no certificate is
// valid.
const NoTime int64 = -62135596800

// Single is one SingleResponse. Times are seconds since 1970.
type Single struct {
	CertID         []byte // as in the request
	Status         CertStatus
	RevokedAt      int64 // NoTime unless revoked
	Reason         byte  // the CRLReason code, NoReason if absent
	InvalidityDate int64 // NoTime if absent
	ThisUpdate     int64
	NextUpdate     int64
	ArchiveCutoff  int64 // NoTime if absent
}

// ResponseData is the signed part of a response. Its version v1 is the default and not encoded.
type ResponseData struct {
	ResponderID    []byte // from ByName or ByKey
	ProducedAt     int64
	Singles        []Single
	Nonce          []byte // nil if absent
	ExtendedRevoke bool   // RFC 6960 section 4.4.8
}

// ByName returns a ResponderID that is the signing certificate's subject, given as DER.
func ByName(subject []byte) []byte { return appendTLV(nil, tagContext1, subject) }

// ByKey returns a ResponderID that is the SHA-1 of the signing key, given as the content of its BIT
// STRING without the octet that counts unused bits (RFC 6960 section 4.2.1).
func ByKey(publicKey []byte) []byte {
	hash := identifier(crypto.SHA1, publicKey)
	return appendTLV(nil, tagContext2, appendTLV(nil, tagOctetString, hash))
}

// CertsField returns the certs field of a basic response.
func CertsField(certs ...[]byte) []byte {
	return appendTLV(nil, tagContext0, appendTLV(nil, tagSequence, certs...))
}

const (
	sizeReason = 5 // [0] { ENUMERATED }
	sizeChoice = 2 // an implicitly tagged NULL
)

// statusSize returns the size of the CertStatus element.
func (s *Single) statusSize() int {
	if s.Status != Revoked {
		return sizeChoice
	}
	return sizeTLV(s.revokedInfoSize())
}

func (s *Single) revokedInfoSize() int {
	if s.Reason == NoReason {
		return sizeTime
	}
	return sizeTime + sizeReason
}

// sizeTimeExtension returns the size of a non-critical extension whose value is a GeneralizedTime.
func sizeTimeExtension(oid []byte) int {
	return sizeTLV(sizeTLV(len(oid)) + sizeTLV(sizeTime))
}

func appendTimeExtension(dst, oid []byte, unix int64) []byte {
	dst = appendLength(append(dst, tagSequence), sizeTLV(len(oid))+sizeTLV(sizeTime))
	dst = appendTLV(dst, tagOID, oid)
	return appendTime(append(dst, tagOctetString, byte(sizeTime)), unix)
}

func (s *Single) extensionsSize() int {
	n := 0
	if s.ArchiveCutoff != NoTime {
		n += sizeTimeExtension(oidArchiveCutoff)
	}
	if s.InvalidityDate != NoTime {
		n += sizeTimeExtension(oidInvalidityDate)
	}
	return n
}

// contentSize returns the size of the SingleResponse without its tag and length.
func (s *Single) contentSize() int {
	n := len(s.CertID) + s.statusSize() + sizeTime + sizeTLV(sizeTime)
	if e := s.extensionsSize(); e > 0 {
		n += sizeTLV(sizeTLV(e))
	}
	return n
}

func (s *Single) append(dst []byte) []byte {
	dst = appendLength(append(dst, tagSequence), s.contentSize())
	dst = append(dst, s.CertID...)
	if s.Status == Revoked {
		dst = append(dst, tagContext1, byte(s.revokedInfoSize()))
		dst = appendTime(dst, s.RevokedAt)
		if s.Reason != NoReason {
			dst = append(dst, tagContext0, 3, tagEnumerated, 1, s.Reason)
		}
	} else {
		dst = append(dst, 0x80|byte(s.Status), 0)
	}
	dst = appendTime(dst, s.ThisUpdate)
	dst = appendTime(append(dst, tagContext0, byte(sizeTime)), s.NextUpdate)
	if n := s.extensionsSize(); n > 0 {
		dst = appendLength(append(dst, tagContext1), sizeTLV(n))
		dst = appendLength(append(dst, tagSequence), n)
		if s.ArchiveCutoff != NoTime {
			dst = appendTimeExtension(dst, oidArchiveCutoff, s.ArchiveCutoff)
		}
		if s.InvalidityDate != NoTime {
			dst = appendTimeExtension(dst, oidInvalidityDate, s.InvalidityDate)
		}
	}
	return dst
}

// extendedRevokeExtension is the whole extension. Its value is NULL.
var extendedRevokeExtension = appendTLV(nil, tagSequence,
	appendTLV(nil, tagOID, oidExtendedRevoke), appendTLV(nil, tagOctetString, derNull))

func (d *ResponseData) nonceContentSize() int {
	return sizeTLV(len(oidNonce)) + sizeTLV(sizeTLV(len(d.Nonce)))
}

func (d *ResponseData) extensionsSize() int {
	n := 0
	if d.Nonce != nil {
		n += sizeTLV(d.nonceContentSize())
	}
	if d.ExtendedRevoke {
		n += len(extendedRevokeExtension)
	}
	return n
}

// AppendTBS appends the ResponseData's DER, the bytes to sign.
func (d *ResponseData) AppendTBS(dst []byte) []byte {
	responses := 0
	for i := range d.Singles {
		responses += sizeTLV(d.Singles[i].contentSize())
	}
	extensions := d.extensionsSize()
	size := len(d.ResponderID) + sizeTime + sizeTLV(responses)
	if extensions > 0 {
		size += sizeTLV(sizeTLV(extensions))
	}
	dst = appendLength(append(dst, tagSequence), size)
	dst = append(dst, d.ResponderID...)
	dst = appendTime(dst, d.ProducedAt)
	dst = appendLength(append(dst, tagSequence), responses)
	for i := range d.Singles {
		dst = d.Singles[i].append(dst)
	}
	if extensions > 0 {
		dst = appendLength(append(dst, tagContext1), sizeTLV(extensions))
		dst = appendLength(append(dst, tagSequence), extensions)
		if d.Nonce != nil {
			dst = appendLength(append(dst, tagSequence), d.nonceContentSize())
			dst = appendTLV(dst, tagOID, oidNonce)
			dst = appendLength(append(dst, tagOctetString), sizeTLV(len(d.Nonce)))
			dst = appendTLV(dst, tagOctetString, d.Nonce)
		}
		if d.ExtendedRevoke {
			dst = append(dst, extendedRevokeExtension...)
		}
	}
	return dst
}

// responseType is the responseType field of ResponseBytes.
var responseType = appendTLV(nil, tagOID, oidBasic)

// AppendResponse appends a successful OCSPResponse. algorithm is an AlgorithmIdentifier, certs is
// from CertsField or nil.
func AppendResponse(dst, tbs, algorithm, signature, certs []byte) []byte {
	basic := len(tbs) + len(algorithm) + sizeTLV(1+len(signature)) + len(certs)
	responseBytes := len(responseType) + sizeTLV(sizeTLV(basic))
	dst = slices.Grow(dst, sizeTLV(3+sizeTLV(sizeTLV(responseBytes))))
	dst = appendLength(append(dst, tagSequence), 3+sizeTLV(sizeTLV(responseBytes)))
	dst = append(dst, tagEnumerated, 1, byte(Successful))
	dst = appendLength(append(dst, tagContext0), sizeTLV(responseBytes))
	dst = appendLength(append(dst, tagSequence), responseBytes)
	dst = append(dst, responseType...)
	dst = appendLength(append(dst, tagOctetString), sizeTLV(basic))
	dst = appendLength(append(dst, tagSequence), basic)
	dst = append(dst, tbs...)
	dst = append(dst, algorithm...)
	dst = appendLength(append(dst, tagBitString), 1+len(signature))
	dst = append(append(dst, 0), signature...)
	return append(dst, certs...)
}

// Response has fields of a successful OCSPResponse about one certificate. Its slices point into the
// parsed bytes.
type Response struct {
	TBS        []byte // the ResponseData, which is signed
	Signature  []byte
	CertID     []byte
	ProducedAt int64
	ThisUpdate int64
	NextUpdate int64
}

var errNotOurs = errors.New("not a response about one certificate that this package writes")

// ParseResponse reads from a response what is needed to encode it again. It skips everything else,
// which may be anything: callers MUST encode the response again and compare the bytes.
func ParseResponse(der []byte) (*Response, error) {
	var r Response
	if !r.read(der) {
		return nil, errNotOurs
	}
	return &r, nil
}

func (r *Response) read(der cryptobyte.String) bool {
	var outer, explicit, responseBytes, octets, basic cryptobyte.String
	var element, tbs, responses, single, other cryptobyte.String
	var bits encodingasn1.BitString
	var tag asn1.Tag
	if !der.ReadASN1(&outer, asn1.SEQUENCE) ||
		!outer.SkipASN1(asn1.ENUM) ||
		!outer.ReadASN1(&explicit, tagContext0) ||
		!explicit.ReadASN1(&responseBytes, asn1.SEQUENCE) ||
		!responseBytes.SkipASN1(asn1.OBJECT_IDENTIFIER) ||
		!responseBytes.ReadASN1(&octets, asn1.OCTET_STRING) ||
		!octets.ReadASN1(&basic, asn1.SEQUENCE) ||
		!basic.ReadASN1Element(&element, asn1.SEQUENCE) ||
		!basic.SkipASN1(asn1.SEQUENCE) ||
		!basic.ReadASN1BitString(&bits) {
		return false
	}
	r.TBS, r.Signature = element, bits.Bytes
	return element.ReadASN1(&tbs, asn1.SEQUENCE) &&
		tbs.ReadAnyASN1(&other, &tag) && // the ResponderID
		readTime(&tbs, &r.ProducedAt) &&
		tbs.ReadASN1(&responses, asn1.SEQUENCE) &&
		responses.ReadASN1(&single, asn1.SEQUENCE) && responses.Empty() &&
		single.ReadASN1Element((*cryptobyte.String)(&r.CertID), asn1.SEQUENCE) &&
		single.ReadAnyASN1(&other, &tag) && // the CertStatus
		readTime(&single, &r.ThisUpdate) &&
		single.ReadASN1(&other, tagContext0) && readTime(&other, &r.NextUpdate)
}

func readTime(s *cryptobyte.String, unix *int64) bool {
	var text cryptobyte.String
	if !s.ReadASN1(&text, asn1.GeneralizedTime) {
		return false
	}
	t, err := time.Parse(generalizedTimeLayout, string(text))
	*unix = t.Unix()
	return err == nil
}
