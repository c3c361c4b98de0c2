package ocsp

import (
	"encoding/hex"
	"iter"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/kmsocsp/ocsp/internal/codec"
)

const (
	// maxRepairSlashes is how many lost slashes are put back at the most.
	maxRepairSlashes = 3
	// maxRepairs bounds the ways that are tried to put them back.
	maxRepairs = 64
	// maxRepairLetters bounds the requests for which that is tried.
	maxRepairLetters = 2048
	// maxDecodings bounds the parts of one path that are decoded.
	maxDecodings = 8
)

// getRequest finds the request in the path of a GET (RFC 6960 appendix A.1, RFC 9919 section 6), which net/http
// has percent-decoded once, and decodes it into buf. It is the first part of the path, after a slash and up to
// the end, that is the base64 of exactly one DER SEQUENCE framed like a request, so that any prefix may stand
// before it, stripped or not. DER says how long it is, whatever the path ends with: missing padding and slashes
// behind the request do no harm. Unless strict, line breaks do no harm either.
//
// A router that cleans paths makes one slash of several, which base64 may contain, and may drop one at the end.
// They are put back if exactly one way to do so gives a request that accept takes. Otherwise, unless strict, a path that
// was percent-encoded twice is decoded again. repaired reports that the request was found in one of these ways, and may
// be another one that was cut short on its way.
//
// Without a request in the path there is nothing in what it returns.
func getRequest(path string, buf []byte, strict bool, accept func(der []byte) bool) (der []byte, repaired bool) {
	if !strict {
		path = joinLines(path)
	}
	var short string // the first part that would be a request if it had a few more slashes
	missing, decodings := 0, 0
	trimmed := strings.TrimRight(path, "=")
	padded := len(trimmed) < len(path)
	for start, need := range heads(trimmed) {
		if decodings == maxDecodings {
			break
		}
		letters := trimmed[start:]
		switch {
		case need <= len(letters):
			decodings++
			if der, ok := decodeLetters(buf, path[start:], need); ok && framed(der) {
				return der, false
			}
		case short == "" && need-len(letters) <= maxRepairSlashes && need <= maxRepairLetters:
			short, missing = letters, need-len(letters)
		}
	}
	if short != "" {
		if der, ok := repairSlashes(buf[:0], short, missing, !padded, accept); ok {
			return der, true
		}
	}
	if strict {
		return buf[:0], false
	}
	return decodeTwice(buf[:0], path, accept)
}

// heads are where in a path a request may begin, and how many base64 letters it would have.
func heads(path string) iter.Seq2[int, int] {
	return func(yield func(start, need int) bool) {
		for start := range len(path) {
			if path[start] != 'M' || start > 0 && path[start-1] != '/' { // a SEQUENCE's first six bits
				continue
			}
			if need, ok := lettersNeeded(path[start:]); ok && !yield(start, need) {
				return
			}
		}
	}
}

// decodeTwice finds the request in a path that is still percent-encoded, as some clients and proxies send it. It puts back
// no slashes: one guess at a time. All that the path may be must be exactly one request that accept takes.
func decodeTwice(buf []byte, path string, accept func(der []byte) bool) ([]byte, bool) {
	if strings.IndexByte(path, '%') < 0 {
		return buf, false
	}
	path = joinLines(unescape(path))
	var only []byte
	decodings := 0
	for start, need := range heads(path) {
		part := path[start:]
		if need > len(part) {
			continue
		}
		if decodings++; decodings > maxDecodings {
			return buf, false // too many to tell
		}
		if der, ok := decodeLetters(nil, part, need); ok && accept(der) {
			if only != nil {
				return buf, false
			}
			only = der
		}
	}
	return append(buf, only...), only != nil
}

// unescape percent-decodes what it can, since a prefix may have a percent sign of its own. A plus stays one.
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

// joinLines takes out the line breaks of base64 in lines, which RFC 9919 section 6 forbids clients to send.
func joinLines(path string) string {
	if strings.IndexByte(path, '\n') < 0 && strings.IndexByte(path, '\r') < 0 {
		return path
	}
	return strings.NewReplacer("\r", "", "\n", "").Replace(path)
}

// framed reports whether der is one SEQUENCE that begins with another, as a request does. A prefix that happens
// to look like the head of a SEQUENCE as long as the path's rest does not get that far.
func framed(der cryptobyte.String) bool {
	var body cryptobyte.String
	return der.ReadASN1(&body, asn1.SEQUENCE) && der.Empty() && body.SkipASN1(asn1.SEQUENCE)
}

// lettersNeeded returns how many base64 letters the DER element takes that s begins with.
func lettersNeeded(s string) (int, bool) {
	const most = 8 // letters: six octets, enough for a tag and a length of up to three octets
	s = strings.TrimRight(s[:min(len(s), most)], "=")
	var room [6]byte
	head, ok := appendDecoded(room[:0], s[:len(s)-len(s)%4])
	if !ok || len(head) < 2 || head[0] != 0x30 {
		return 0, false
	}
	size := 2 + int(head[1])
	if head[1] >= 0x80 {
		long := int(head[1] & 0x7f)
		if long < 1 || long > 3 || len(head) < 2+long {
			return 0, false
		}
		size = 0
		for _, b := range head[2 : 2+long] {
			size = size<<8 | int(b)
		}
		size += 2 + long
	}
	return (size*8 + 5) / 6, true
}

// decodeLetters decodes the first need letters of s, behind which only padding and slashes may stand.
func decodeLetters(buf []byte, s string, need int) ([]byte, bool) {
	if len(s) < need {
		return buf, false
	}
	tail := s[need:]
	padding := 0
	for padding < len(tail) && tail[padding] == '=' {
		padding++
	}
	if padding > (4-need%4)%4 {
		return buf, false
	}
	for i := padding; i < len(tail); i++ {
		if tail[i] != '/' {
			return buf, false
		}
	}
	return appendDecoded(buf[:0], s[:need])
}

const noLetter = 0xff

// letters are the values of base64's letters, and of the URL-safe ones, and of the space that a form decoder makes of
// a plus. Anything else is none, line breaks included, which Go's decoder would skip.
var letters = func() (values [256]byte) {
	for i := range values {
		values[i] = noLetter
	}
	for value, letter := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		values[letter] = byte(value)
	}
	values['-'], values[' '], values['_'] = values['+'], values['+'], values['/']
	return values
}()

// appendDecoded appends what base64 letters without padding stand for. Bits that stand for nothing must be zero. Every
// GET goes through it, in one pass, where putting the letters right for package encoding/base64 would take another.
func appendDecoded(dst []byte, s string) ([]byte, bool) {
	for len(s) >= 4 {
		a, b, c, d := letters[s[0]], letters[s[1]], letters[s[2]], letters[s[3]]
		if a|b|c|d == noLetter {
			return dst, false
		}
		dst = append(dst, a<<2|b>>4, b<<4|c>>2, c<<6|d)
		s = s[4:]
	}
	var rest [3]byte
	for i := range len(s) {
		if rest[i] = letters[s[i]]; rest[i] == noLetter {
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
	return dst, false // one letter is no octet
}

// repairSlashes tries all ways to put missing slashes behind the runs of slashes that are there and, if atEnd,
// behind the whole, unless they are too many to tell that only one gives a request.
func repairSlashes(buf []byte, s string, missing int, atEnd bool, accept func(der []byte) bool) ([]byte, bool) {
	var runs []int // where runs of slashes end
	for i := range len(s) {
		if i+1 == len(s) && atEnd || s[i] == '/' && (i+1 == len(s) || s[i+1] != '/') {
			runs = append(runs, i+1)
		}
	}
	if n := len(runs); n == 0 || repairs(n, missing) > maxRepairs {
		return buf, false
	}
	var found []byte
	count := 0
	scratch := make([]byte, 0, len(s)+missing)
	var place func(done, from, missing int)
	place = func(done, from, missing int) { // scratch holds s[:done], repaired
		kept := len(scratch)
		if missing == 0 {
			scratch = append(scratch, s[done:]...)
			if der, ok := decodeLetters(nil, string(scratch), len(scratch)); ok && accept(der) {
				found = der
				count++
			}
		}
		for i := from; missing > 0 && i < len(runs) && count < 2; i++ {
			scratch = append(append(scratch[:kept], s[done:runs[i]]...), '/')
			place(runs[i], i, missing-1)
		}
		scratch = scratch[:kept]
	}
	place(0, 0, missing)
	if count != 1 {
		return buf, false
	}
	return append(buf, found...), true
}

// repairs returns in how many ways slashes can be put behind n runs.
func repairs(n, slashes int) int {
	ways := 1
	for i := range slashes {
		ways = ways * (n + i) / (i + 1)
	}
	return ways
}

// acceptRepair reports whether a request that was guessed at is one that could be answered: anything less could as well
// be another client's request.
func (r *Responder) acceptRepair(der []byte) bool {
	var req codec.Request
	if codec.ParseRequest(der, &req, r.limits) != nil {
		return false
	}
	reg := r.registry.Load()
	for i := range req.Entries {
		if _, ok := reg.byCertID[string(req.Entries[i].CertID.Issuer)]; !ok {
			return false
		}
	}
	return true
}
