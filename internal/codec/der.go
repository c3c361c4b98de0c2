// Package codec decodes and encodes OCSP requests and responses: RFC 6960 with the nonce of RFC
// 9654 and the profile of RFC 9919. It reads strict DER and writes DER. It has no clock, I/O, HTTP
// or policy.
//
// Reading uses cryptobyte. Writing appends to a buffer of the caller in one pass, because sizes are
// computed first.
package codec

import (
	"encoding/binary"
	"math/bits"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	tagInteger         = byte(asn1.INTEGER)
	tagBitString       = byte(asn1.BIT_STRING)
	tagOctetString     = byte(asn1.OCTET_STRING)
	tagNull            = byte(asn1.NULL)
	tagOID             = byte(asn1.OBJECT_IDENTIFIER)
	tagEnumerated      = byte(asn1.ENUM)
	tagGeneralizedTime = byte(asn1.GeneralizedTime)
	tagSequence        = byte(asn1.SEQUENCE)

	// Constructed context-specific tags, used for explicit tagging. They are untyped, to be used as
	// the reader's asn1.Tag and as the writer's byte.
	tagContext0 = 0xa0
	tagContext1 = 0xa1
	tagContext2 = 0xa2
)

// appendLength appends a DER length.
func appendLength(dst []byte, n int) []byte {
	if n < 0x80 {
		return append(dst, byte(n))
	}
	var be [8]byte
	binary.BigEndian.PutUint64(be[:], uint64(n))
	i := 0
	for be[i] == 0 {
		i++
	}
	dst = append(dst, 0x80|byte(8-i))
	return append(dst, be[i:]...)
}

// sizeTLV returns the size of an element whose content has n octets.
func sizeTLV(n int) int {
	if n < 0x80 {
		return 2 + n
	}
	return 2 + (bits.Len(uint(n))+7)/8 + n
}

// appendTLV appends an element whose content is the concatenation of parts.
func appendTLV(dst []byte, tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	dst = appendLength(append(dst, tag), n)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}

const generalizedTimeLayout = "20060102150405Z"

// sizeTime is the size of an encoded GeneralizedTime.
const sizeTime = 2 + len(generalizedTimeLayout)

// appendTime appends a GeneralizedTime in whole seconds (RFC 5280 section 4.1.2.5.2).
func appendTime(dst []byte, unix int64) []byte {
	dst = append(dst, tagGeneralizedTime, byte(len(generalizedTimeLayout)))
	t := time.Unix(unix, 0).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = AppendDecimals(dst, year/100, year%100, int(month), day, hour, minute, second)
	return append(dst, 'Z')
}

// AppendDecimals appends numbers from 0 to 99 with two digits each. Every answer has dates, and
// Time.AppendFormat takes three times as long.
func AppendDecimals(dst []byte, numbers ...int) []byte {
	for _, n := range numbers {
		dst = append(dst, '0'+byte(n/10), '0'+byte(n%10))
	}
	return dst
}

// readASN1 is s.ReadASN1(out, tag), and faster for lengths below 128, which nearly all elements of
// a request have.
func readASN1(s, out *cryptobyte.String, tag asn1.Tag) bool {
	if in := *s; len(in) >= 2 && in[0] == byte(tag) && int(in[1]) <= min(len(in)-2, 0x7f) {
		*out, *s = in[2:2+in[1]], in[2+in[1]:]
		return true
	}
	return s.ReadASN1(out, tag)
}

// readElement is s.ReadASN1Element(out, asn1.SEQUENCE), and faster for lengths below 128.
func readElement(s, out *cryptobyte.String) bool {
	if in := *s; len(in) >= 2 && in[0] == tagSequence && int(in[1]) <= min(len(in)-2, 0x7f) {
		*out, *s = in[:2+in[1]], in[2+in[1]:]
		return true
	}
	return s.ReadASN1Element(out, asn1.SEQUENCE)
}
