package main

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // for CertIDs
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// request is an OCSP request.
type request struct {
	der   []byte
	text  string // in base64
	nonce []byte
}

// asker makes requests about one certificate, and knows their answers.
type asker struct {
	issuer, cert *x509.Certificate
	ids          [][]byte // the ways to write the CertID, the usual one first
}

func newAsker(issuer, cert *x509.Certificate) (*asker, error) {
	var spki struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(issuer.RawSubjectPublicKeyInfo, &spki); err != nil {
		return nil, fmt.Errorf("the issuer's key: %w", err)
	}
	a := &asker{issuer: issuer, cert: cert}
	for _, null := range []bool{true, false} {
		for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
			prefix := codec.CertIDIssuer(hash, null, issuer.RawSubject, spki.Key.Bytes)
			a.ids = append(a.ids, codec.CertIDFrom(prefix, codec.SerialBytes(cert.SerialNumber)))
		}
	}
	return a, nil
}

// oidPadding is of an extension that nobody knows, under the arc for examples (RFC 5612 has 32473 for that).
var oidPadding = []byte{0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 1}

func (a *asker) make(id, nonce []byte, padding int) *request {
	r := codec.Request{Entries: []codec.RequestEntry{{CertID: codec.CertID{Raw: id}}}}
	if nonce != nil {
		r.Extensions = append(r.Extensions, codec.NonceExtension(nonce))
	}
	if padding > 0 {
		r.Extensions = append(r.Extensions, codec.Extension{OID: oidPadding, Value: make([]byte, padding)})
	}
	der := codec.AppendRequest(nil, &r)
	return &request{der: der, text: base64.StdEncoding.EncodeToString(der), nonce: nonce}
}

// plain is the usual request, of which caches may keep the answer.
func (a *asker) plain() *request { return a.make(a.ids[0], nil, 0) }

func randomNonce() []byte {
	nonce := make([]byte, 16+rand.IntN(17))
	for i := range nonce {
		nonce[i] = byte(rand.Uint32())
	}
	return nonce
}

// property is what a request must have.
type property struct {
	text    func(string) bool
	ones    bool // the nonce is ones, mostly, which makes slashes in base64
	padding int  // octets that an extension adds
}

// nonceLetters is how much of the base64 a nonce and what comes before it may take.
const nonceLetters = 60

func slashesInRow(text string) bool { return strings.Contains(text, "//") }

var (
	// rich has each letter that needs care, and no two slashes in a row.
	rich = property{text: func(s string) bool {
		return strings.Contains(s, "+") && strings.Contains(s, "/") && strings.HasSuffix(s, "==") && !slashesInRow(s)
	}}
	// doubled has two slashes in a row, in its nonce, and neither another one nor the end without padding where
	// one may be missing: if one gets lost, a responder can tell where it was.
	doubled = property{text: func(s string) bool {
		head, tail := s[:len(s)-nonceLetters], s[len(s)-nonceLetters:]
		return strings.Contains(tail, "//") && strings.Count(tail, "/") == 2 && strings.HasSuffix(s, "=") && strings.Contains(s, "+") && !slashesInRow(head)
	}}
	slashRun    = property{text: func(s string) bool { return strings.Contains(s, strings.Repeat("/", 30)) && strings.Contains(s, "+") }, ones: true}
	endsInSlash = property{text: func(s string) bool { return strings.HasSuffix(s, "/") && strings.Contains(s, "+") && !slashesInRow(s) }}
	// letterless asks for nothing.
	letterless = property{text: func(string) bool { return true }}
)

// sized has at least so many octets.
func sized(octets int) property { return property{text: letterless.text, padding: octets} }

// find makes a request with a property by trying nonces, which every responder has to accept, and other ways to
// write the CertID where the nonces do not do it.
func (a *asker) find(wanted property) (*request, bool) {
	const tries = 8000
	for _, id := range a.ids {
		for range tries {
			nonce := randomNonce()
			if wanted.ones {
				nonce = append(bytes.Repeat([]byte{0xff}, 26), nonce[:6]...)
			}
			if req := a.make(id, nonce, wanted.padding); wanted.text(req.text) {
				return req, true
			}
		}
	}
	return nil, false
}

// outcomeKind is what came back in place of the answer.
type outcomeKind int

const (
	noAnswer  outcomeKind = iota
	noContact             // nobody listens
	redirect
	refused      // an HTTP status
	notOCSP      // something else
	ocspError    // an OCSP reply without an answer
	otherAnswer  // an answer to something else, or one that is not right
	encoded      // a body with a Content-Encoding
	storedAnswer // an answer that a cache should not have given
	headersLost
)

// problem is what came back in place of the answer.
type problem struct {
	kind     outcomeKind
	status   int
	words    string
	location string
	sentPath string
}

// judge returns nil if ex is the answer to req.
func (a *asker) judge(ex *exchange, req *request) *problem {
	p := &problem{status: ex.status, sentPath: ex.path}
	switch {
	case ex.err != nil && ex.unconnected:
		p.kind, p.words = noContact, "no connection: "+ex.err.Error()
	case ex.err != nil:
		p.kind, p.words = noAnswer, "no answer: "+ex.err.Error()
	case ex.status/100 == 3:
		p.kind, p.location = redirect, ex.header.Get("Location")
		p.words = fmt.Sprintf("HTTP status %d, to %s", ex.status, shorten(p.location))
	case ex.status != http.StatusOK:
		p.kind, p.words = refused, fmt.Sprintf("HTTP status %d, %s", ex.status, describe(ex))
	case ex.header.Get("Content-Encoding") != "":
		p.kind, p.words = encoded, "a body encoded with "+ex.header.Get("Content-Encoding")
	case ex.method == http.MethodHead:
		if ex.header.Get("Content-Type") == "application/ocsp-response" {
			return nil
		}
		p.kind, p.words = notOCSP, fmt.Sprintf("HTTP status 200 for %q", ex.header.Get("Content-Type"))
	default:
		return a.judgeBody(ex, req, p)
	}
	return p
}

func (a *asker) judgeBody(ex *exchange, req *request, p *problem) *problem {
	status, err := ocsptest.ErrorStatus(ex.body)
	if err != nil {
		p.kind, p.words = notOCSP, "HTTP status 200, "+describe(ex)
		return p
	}
	if status != xocsp.Success {
		p.kind, p.words = ocspError, "OCSP status "+statusName(status)
		return p
	}
	p.kind = otherAnswer
	var answers []*xocsp.Response
	if err = ocsptest.Verify(ex.body, a.issuer); err == nil {
		answers, err = ocsptest.Parse(ex.body, nil)
	}
	if err != nil {
		p.words = "an answer that is not right: " + err.Error()
		return p
	}
	if len(answers) == 0 || answers[0].SerialNumber.Cmp(a.cert.SerialNumber) != 0 {
		p.words = "an answer about another certificate"
		return p
	}
	if nonce, err := ocsptest.ResponseNonce(ex.body); err != nil || nonce != nil && !bytes.Equal(nonce, req.nonce) {
		p.words = "an answer with another nonce"
		return p
	}
	return nil
}

func statusName(status xocsp.ResponseStatus) string {
	names := map[xocsp.ResponseStatus]string{
		xocsp.Malformed: "malformedRequest", xocsp.InternalError: "internalError", xocsp.TryLater: "tryLater",
		xocsp.SignatureRequired: "sigRequired", xocsp.Unauthorized: "unauthorized",
	}
	if name, ok := names[status]; ok {
		return name
	}
	return strconv.Itoa(int(status))
}

// describe says what a body is that is no OCSP reply.
func describe(ex *exchange) string {
	s := fmt.Sprintf("%d octets of %q", len(ex.body), ex.header.Get("Content-Type"))
	text := string(ex.body[:min(len(ex.body), 1024)])
	if _, rest, ok := strings.Cut(text, "<title>"); ok {
		text, _, _ = strings.Cut(rest, "</title>")
	}
	text = strings.Join(strings.Fields(text), " ")
	if strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) < 0 && text != "" {
		s += ": " + strconv.Quote(shorten(text))
	}
	return s
}

// echoes reports whether an answer has the nonce.
func (a *asker) echoes(ex *exchange, req *request) bool {
	nonce, err := ocsptest.ResponseNonce(ex.body)
	return err == nil && bytes.Equal(nonce, req.nonce)
}

// nextUpdate returns that of an answer that judge accepts.
func (a *asker) nextUpdate(ex *exchange) time.Time {
	answers, err := ocsptest.Parse(ex.body, a.issuer)
	if err != nil || len(answers) == 0 {
		return time.Time{}
	}
	return answers[0].NextUpdate
}

// maxAge returns that of Cache-Control, and false if a shared cache must not keep the reply.
func maxAge(h http.Header) (seconds int, ok bool) {
	for part := range strings.SplitSeq(strings.ToLower(strings.Join(h.Values("Cache-Control"), ",")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "no-store", "private", "no-cache":
			return 0, false
		case "max-age":
			n, err := strconv.Atoi(strings.Trim(value, `"`))
			if err != nil {
				return 0, false
			}
			seconds, ok = n, true
		}
	}
	return seconds, ok
}

// stale says in words why an answer is too old, "" if it is not.
func stale(ex *exchange, nextUpdate, now time.Time) string {
	if !nextUpdate.IsZero() && now.After(nextUpdate) {
		return "an answer whose nextUpdate was " + nextUpdate.UTC().Format(time.RFC3339) + ageOf(ex)
	}
	age, err := strconv.Atoi(ex.header.Get("Age"))
	if limit, ok := maxAge(ex.header); err == nil && ok && age > limit {
		return fmt.Sprintf("an answer of Age %d, whose max-age is %d", age, limit)
	}
	return ""
}

// shorten leaves out the middle of long texts.
func shorten(s string) string {
	const side = 70
	if len(s) <= 2*side+1 {
		return s
	}
	return s[:side] + "…" + s[len(s)-side:]
}

// cleaned is a path with one slash for several.
func cleaned(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}
