package ocsp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/signed"
)

type (
	answerID     = signed.ID[certStatus]
	signedAnswer = signed.Answer[certStatus]
)

// wireAnswer is a signed answer as it is sent. Those that hang on a status are immutable.
type wireAnswer struct {
	signedAnswer // its signature is a part of der
	der          []byte
	header       *headerValues // nil: made for each response
}

// newWireAnswer returns an answer to hang on a status.
func newWireAnswer(a signedAnswer, der []byte) *wireAnswer {
	w := &wireAnswer{signedAnswer: a, der: der}
	i := bytes.LastIndex(der, a.Signature)
	w.Signature = der[i : i+len(a.Signature) : i+len(a.Signature)]
	w.header = newHeaderValues(a.Digest, &a.Life, len(der))
	return w
}

// headerValues are the header values of a reply that HTTP caches may store, except for
// Cache-Control.
type headerValues struct {
	caching [3][1]string // Etag, Expires, Last-Modified
	length  [1]string
}

// newHeaderValues makes them of one string, which is one allocation.
func newHeaderValues(digest [sha256.Size]byte, l *signed.Life, size int) *headerValues {
	var room [160]byte
	var ends [3]int
	b := append(hex.AppendEncode(append(room[:0], '"'), digest[:]), '"')
	ends[0] = len(b)
	b = appendHTTPTime(b, l.NextUpdate)
	ends[1] = len(b)
	b = appendHTTPTime(b, l.ThisUpdate)
	ends[2] = len(b)
	b = strconv.AppendInt(b, int64(size), 10)
	text := string(b)
	return &headerValues{
		caching: [3][1]string{{text[:ends[0]]}, {text[ends[0]:ends[1]]}, {text[ends[1]:ends[2]]}},
		length:  [1]string{text[ends[2]:]},
	}
}

// appendHTTPTime appends a date in http.TimeFormat. It is much faster than time.AppendFormat.
func appendHTTPTime(dst []byte, unix int64) []byte {
	t := time.Unix(unix, 0).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = append(append(dst, t.Weekday().String()[:3]...), ", "...)
	dst = append(codec.AppendDecimals(dst, day), ' ')
	dst = append(append(dst, month.String()[:3]...), ' ')
	dst = append(codec.AppendDecimals(dst, year/100, year%100), ' ')
	dst = append(codec.AppendDecimals(dst, hour), ':')
	dst = append(codec.AppendDecimals(dst, minute), ':')
	return append(codec.AppendDecimals(dst, second), " GMT"...)
}
