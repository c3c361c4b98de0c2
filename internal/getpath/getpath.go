// Package getpath finds the OCSP request in the path of a GET (RFC 6960 appendix A.1, RFC 9919
// section 6).
package getpath

import (
	"encoding/hex"
	"iter"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	maxMissingSlashes = 3    // how many missing slashes are put back at most
	maxRepairs        = 64   // how many ways to put them back are tried at most
	maxRepairLetters  = 2048 // the length of the longest request for which that is tried
	maxDecodings      = 8    // how many parts of one path are decoded at most
)

// Find finds the request in a path that net/http has percent-decoded once, and decodes it into buf.
// If the path has no request, der is empty.
//
// The request is the first part of the path, from behind a slash to the end, that is the base64 of
// exactly one DER SEQUENCE framed like a request. Any prefix may stand before it. DER states its
// own length, so missing padding and slashes behind the request are ignored, and so are line
// breaks.
//
// Routers that clean paths merge adjacent slashes, which base64 may contain, and may drop one at
// the end. Find puts them back if exactly one way to do so gives a request that accept accepts.
// Otherwise it decodes a path that was percent-encoded twice again. repaired reports that the
// request was found in one of these two ways. It may then be another request that was cut short on
// its way.
func Find(path string, buf []byte, accept func(der []byte) bool) (der []byte, repaired bool) {
	path = joinLines(path)
	if der, repaired = FindStrict(path, buf, accept); len(der) > 0 {
		return der, repaired
	}
	return decodeTwice(path, der, accept)
}

// FindStrict is like Find, but line breaks and a second percent-encoding are errors, as RFC 9919
// section 6 has it.
func FindStrict(
	path string, buf []byte, accept func(der []byte) bool,
) (der []byte, repaired bool) {
	var short string // the first part that would be a request with a few more slashes
	missing, decodings := 0, 0
	trimmed := strings.TrimRight(path, "=")
	padded := len(trimmed) < len(path)
	for start, need := range candidates(trimmed) {
		if decodings == maxDecodings {
			break
		}
		part := trimmed[start:]
		switch {
		case need <= len(part):
			decodings++
			if der, ok := decode(buf[:0], path[start:], need); ok && framed(der) {
				return der, false
			}
		case short == "" && need-len(part) <= maxMissingSlashes && need <= maxRepairLetters:
			short, missing = part, need-len(part)
		}
	}
	if short == "" {
		return buf[:0], false
	}
	return putSlashesBack(short, buf[:0], missing, !padded, accept)
}

// candidates iterates over the positions in a path where a request may begin, with the number of
// base64 letters that it would have.
func candidates(path string) iter.Seq2[int, int] {
	return func(yield func(start, need int) bool) {
		for start := range len(path) {
			// M is the first six bits of a SEQUENCE.
			if path[start] != 'M' || start > 0 && path[start-1] != '/' {
				continue
			}
			if need, ok := lettersNeeded(path[start:]); ok && !yield(start, need) {
				return
			}
		}
	}
}

// decodeTwice appends to buf the request in a path that is still percent-encoded, as some clients
// and proxies send it. The path must contain exactly one request that accept accepts. Slashes are
// not put back: a path is repaired in one way only.
func decodeTwice(path string, buf []byte, accept func(der []byte) bool) ([]byte, bool) {
	if strings.IndexByte(path, '%') < 0 {
		return buf, false
	}
	path = joinLines(unescape(path))
	var only []byte
	decodings := 0
	for start, need := range candidates(path) {
		part := path[start:]
		if need > len(part) {
			continue
		}
		if decodings++; decodings > maxDecodings {
			return buf, false // too many to be sure that only one is a request
		}
		if der, ok := decode(nil, part, need); ok && accept(der) {
			if only != nil {
				return buf, false
			}
			only = der
		}
	}
	return append(buf, only...), only != nil
}

// unescape percent-decodes every valid escape. Others stay as they are, since a prefix may contain
// a percent sign. A plus stays a plus.
func unescape(path string) string {
	var b strings.Builder
	for {
		at := strings.IndexByte(path, '%')
		if at < 0 {
			b.WriteString(path)
			return b.String()
		}
		b.WriteString(path[:at])
		var octet [1]byte
		if path = path[at:]; len(path) >= 3 {
			if _, err := hex.Decode(octet[:], []byte(path[1:3])); err == nil {
				b.Write(octet[:])
				path = path[3:]
				continue
			}
		}
		b.WriteByte('%')
		path = path[1:]
	}
}

// joinLines removes line breaks, which RFC 9919 section 6 forbids clients to send.
func joinLines(path string) string {
	if strings.IndexByte(path, '\n') < 0 && strings.IndexByte(path, '\r') < 0 {
		return path
	}
	return strings.NewReplacer("\r", "", "\n", "").Replace(path)
}

// framed reports whether der is one SEQUENCE that begins with another, as a request is. A prefix
// that looks like the header of a SEQUENCE which is as long as the rest of the path fails this
// check.
func framed(der cryptobyte.String) bool {
	var body cryptobyte.String
	return der.ReadASN1(&body, asn1.SEQUENCE) && der.Empty() && body.SkipASN1(asn1.SEQUENCE)
}

// lettersNeeded returns the number of base64 letters of the DER SEQUENCE that s begins with.
func lettersNeeded(s string) (int, bool) {
	const most = 8 // letters: six octets, enough for a tag and a length of up to three octets
	s = strings.TrimRight(s[:min(len(s), most)], "=")
	var room [6]byte
	header, ok := appendDecoded(room[:0], s[:len(s)-len(s)%4])
	if !ok || len(header) < 2 || header[0] != 0x30 {
		return 0, false
	}
	size := 2 + int(header[1])
	if header[1] >= 0x80 {
		long := int(header[1] & 0x7f)
		if long < 1 || long > 3 || len(header) < 2+long {
			return 0, false
		}
		size = 0
		for _, b := range header[2 : 2+long] {
			size = size<<8 | int(b)
		}
		size += 2 + long
	}
	return (size*8 + 5) / 6, true
}

// decode appends to dst the first need letters of s, decoded. Only padding and slashes may follow
// them.
func decode(dst []byte, s string, need int) ([]byte, bool) {
	if len(s) < need {
		return dst, false
	}
	tail := strings.TrimLeft(s[need:], "=")
	if padding := len(s) - need - len(tail); padding > (4-need%4)%4 {
		return dst, false
	}
	if strings.Trim(tail, "/") != "" {
		return dst, false
	}
	return appendDecoded(dst, s[:need])
}

const invalid = 0xff

// values has the six bits of each base64 letter, of each URL-safe one, and of the space that a form
// decoder makes of a plus. All else is invalid, including line breaks, which package
// encoding/base64 skips.
var values = func() (list [256]byte) {
	for i := range list {
		list[i] = invalid
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for value, letter := range []byte(letters) {
		list[letter] = byte(value)
	}
	list['-'], list[' '], list['_'] = list['+'], list['+'], list['/']
	return list
}()

// appendDecoded decodes base64 without padding. Unused bits must be zero. Every GET passes through
// it, in one pass; replacing letters for package encoding/base64 would take another.
func appendDecoded(dst []byte, s string) ([]byte, bool) {
	for len(s) >= 4 {
		a, b, c, d := values[s[0]], values[s[1]], values[s[2]], values[s[3]]
		if a|b|c|d == invalid {
			return dst, false
		}
		dst = append(dst, a<<2|b>>4, b<<4|c>>2, c<<6|d)
		s = s[4:]
	}
	var rest [3]byte
	for i := range len(s) {
		if rest[i] = values[s[i]]; rest[i] == invalid {
			return dst, false
		}
	}
	a, b, c := rest[0], rest[1], rest[2]
	switch len(s) {
	case 0:
		return dst, true
	case 2:
		return append(dst, a<<2|b>>4), b&0x0f == 0
	case 3:
		return append(dst, a<<2|b>>4, b<<4|c>>2), c&0x03 == 0
	}
	return dst, false // one letter is less than an octet
}

// putSlashesBack appends to buf the request that s becomes with so many missing slashes. It tries
// all ways to put them behind the runs of slashes in s and, if atEnd, behind s. Exactly one of them
// must give a request that accept accepts; if there are too many ways to try, there is none.
func putSlashesBack(
	s string, buf []byte, missing int, atEnd bool, accept func(der []byte) bool,
) ([]byte, bool) {
	var ends []int // of runs of slashes
	for i := range len(s) {
		if i+1 == len(s) && atEnd || s[i] == '/' && (i+1 == len(s) || s[i+1] != '/') {
			ends = append(ends, i+1)
		}
	}
	if n := len(ends); n == 0 || ways(n, missing) > maxRepairs {
		return buf, false
	}
	var only []byte
	count := 0
	scratch := make([]byte, 0, len(s)+missing)
	var try func(done, from, missing int)
	try = func(done, from, missing int) { // scratch has s[:done] with slashes
		size := len(scratch)
		if missing == 0 {
			scratch = append(scratch, s[done:]...)
			if der, ok := decode(nil, string(scratch), len(scratch)); ok && accept(der) {
				only = der
				count++
			}
		}
		for i := from; missing > 0 && i < len(ends) && count < 2; i++ {
			scratch = append(append(scratch[:size], s[done:ends[i]]...), '/')
			try(ends[i], i, missing-1)
		}
		scratch = scratch[:size]
	}
	try(0, 0, missing)
	if count != 1 {
		return buf, false
	}
	return append(buf, only...), true
}

// ways returns the number of ways to put slashes behind n runs.
func ways(n, slashes int) int {
	count := 1
	for i := range slashes {
		count = count * (n + i) / (i + 1)
	}
	return count
}
