package ocsptest

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
)

// bench is a responder without fault, to break.
type bench struct {
	ca, other     *CA
	store         *Store
	good, revoked *x509.Certificate
	config        ocsp.Config
}

func newBench(key KeyType) *bench {
	b := &bench{ca: NewCA(Options{Key: key}), other: NewCA(Options{Name: "Other CA"}), store: NewStore()}
	// A serial with two octets of ones in a row has two slashes in a row in every spelling of its requests, so
	// that cases about others do not apply.
	b.good, b.revoked = b.ca.Issue(Options{Serial: big.NewInt(0x5a5b_5c5d_5e5f)}), b.ca.Issue(Options{})
	b.store.Add(b.ca.ID, b.good)
	b.store.Revoke(b.ca.ID, b.revoked.SerialNumber, ocsp.KeyCompromise, time.Now().Add(-time.Hour))
	b.config = ocsp.Config{Issuers: []ocsp.Issuer{b.ca.Issuer(), b.other.Issuer()}, Store: b.store}
	return b
}

func (b *bench) handler() http.Handler { return must(ocsp.New(b.config)).Handler() }

// target is what the suite is told about the responder.
func (b *bench) target(h http.Handler, ids ...string) Target {
	return Target{
		Handler: h, Issuer: b.ca.Certificate, Good: b.good, Revoked: b.revoked, Foreign: b.other.Certificate,
		Only: func(c Case) bool { return len(ids) == 0 || slices.Contains(ids, c.ID) },
	}
}

// requests changes POST bodies on their way in.
func requests(h http.Handler, change func(der []byte) []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost && req.Body != nil && req.ContentLength < 1<<20 {
			body := must(io.ReadAll(req.Body))
			changed := change(bytes.Clone(body))
			req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(changed)), int64(len(changed))
		}
		h.ServeHTTP(w, req)
	})
}

// replies changes replies on their way out. Content-Length follows the body, unless change takes it away.
func replies(h http.Handler, change func(req *http.Request, res *http.Response)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		res := rec.Result()
		change(req, res)
		body := must(io.ReadAll(res.Body))
		if res.Header.Get("Content-Length") != "" && req.Method != http.MethodHead {
			res.Header.Set("Content-Length", strconv.Itoa(len(body)))
		}
		for name, values := range res.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(res.StatusCode)
		_ = http.NewResponseController(w).Flush() // so that net/http adds no Content-Length
		_, _ = w.Write(body)
	})
}

// answers changes signed answers, and signs them again with the CA's key.
func (b *bench) answers(h http.Handler, change func(request []byte, basic *basicResponse)) http.Handler {
	return b.der(h, func(request []byte, outer *response, basic *basicResponse) []byte {
		change(request, basic)
		return b.sign(outer, basic)
	})
}

// der replaces signed answers to POSTs, and to GETs whose path ends in plain base64.
func (b *bench) der(h http.Handler, change func(request []byte, outer *response, basic *basicResponse) []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var request []byte
		if req.Method == http.MethodPost && req.Body != nil && req.ContentLength < 1<<20 {
			request = must(io.ReadAll(req.Body))
			req.Body = io.NopCloser(bytes.NewReader(request))
		} else if _, text, ok := strings.Cut(req.URL.Path, "/ocsp/"); ok {
			request, _ = base64.StdEncoding.DecodeString(text)
		}
		replies(h, func(_ *http.Request, res *http.Response) {
			der := must(io.ReadAll(res.Body))
			if outer, basic, err := unmarshal(der); err == nil && len(request) > 0 {
				der = change(request, outer, basic)
			}
			res.Body = io.NopCloser(bytes.NewReader(der))
		}).ServeHTTP(w, req)
	})
}

// sign writes an answer from its fields.
func (b *bench) sign(outer *response, basic *basicResponse) []byte {
	basic.Data.Raw = nil
	tbs := must(asn1.Marshal(basic.Data))
	return b.signTBS(outer, basic, tbs)
}

// signTBS signs a ResponseData that may be no DER.
func (b *bench) signTBS(outer *response, basic *basicResponse, tbs []byte) []byte {
	digest := sha256.Sum256(tbs)
	signature := must(b.ca.Key.Sign(rand.Reader, digest[:], crypto.SHA256))
	return wrapBasic(derSeq(tbs, basic.Algorithm.FullBytes, derTLV(3, []byte{0}, signature), certsField(basic)))
}

func certsField(basic *basicResponse) []byte {
	if len(basic.Certificates) == 0 {
		return nil
	}
	var certs []byte
	for _, c := range basic.Certificates {
		certs = append(certs, c.FullBytes...)
	}
	return derTLV(0xa0, derSeq(certs))
}

func wrapBasic(basic []byte) []byte {
	return derSeq([]byte{10, 1, 0}, derTLV(0xa0, derSeq(derBasicOID, derOctets(basic))))
}

// each changes every SingleResponse.
func (b *bench) each(h http.Handler, change func(r *singleResponse)) http.Handler {
	return b.answers(h, func(_ []byte, basic *basicResponse) {
		for i := range basic.Data.Responses {
			change(&basic.Data.Responses[i])
		}
	})
}

// nonceOf changes the nonces of answers.
func (b *bench) nonceOf(h http.Handler, change func(list []pkix.Extension) []pkix.Extension) http.Handler {
	return b.answers(h, func(_ []byte, basic *basicResponse) { basic.Data.Extensions = change(basic.Data.Extensions) })
}

func header(h http.Handler, change func(h http.Header)) http.Handler {
	return replies(h, func(_ *http.Request, res *http.Response) { change(res.Header) })
}

// swap replaces octets.
func swap(old, new []byte) func([]byte) []byte {
	return func(der []byte) []byte { return bytes.ReplaceAll(der, old, new) }
}

// firstElement cuts off what stands behind the first element.
func firstElement(der []byte) []byte {
	var element asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &element); err == nil {
		return der[:len(der)-len(rest)]
	}
	return der
}

// malformedIs answers requests that are malformed with what the plain request gets.
func (b *bench) malformedIs(h http.Handler, when func(der []byte) bool) http.Handler {
	return requests(h, func(der []byte) []byte {
		if when(der) {
			return Client{}.Request(b.ca.Certificate, b.good)
		}
		return der
	})
}

func setBody(res *http.Response, body []byte) {
	res.Body = io.NopCloser(bytes.NewReader(body))
}

// fault breaks a responder in one way.
type fault struct {
	name   string
	caught []string // the cases that must fail
	adjust func(*bench)
	wrap   func(b *bench, h http.Handler) http.Handler
	hangs  bool // so that waiting for longer is of no use
}

// answerFaults are in signed answers.
var answerFaults = []fault{
	{name: "the signature is bad", caught: []string{"T196"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.der(h, func(_ []byte, outer *response, basic *basicResponse) []byte {
			der := b.sign(outer, basic)
			der[len(der)-1] ^= 1
			return der
		})
	}},
	{name: "another key signed", caught: []string{"T196"}, wrap: func(b *bench, h http.Handler) http.Handler {
		stranger := &bench{ca: NewCA(Options{})}
		return b.der(h, func(_ []byte, outer *response, basic *basicResponse) []byte { return stranger.sign(outer, basic) })
	}},
	{name: "stale", caught: []string{"T177", "T163"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.each(h, func(r *singleResponse) {
			r.ThisUpdate, r.NextUpdate = r.ThisUpdate.Add(-48*time.Hour), r.NextUpdate.Add(-48*time.Hour)
		})
	}},
	{name: "no nextUpdate", caught: []string{"T192"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.each(h, func(r *singleResponse) { r.NextUpdate = time.Time{} })
	}},
	{name: "thisUpdate after producedAt", caught: []string{"T192"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.each(h, func(r *singleResponse) { r.ThisUpdate = r.ThisUpdate.Add(time.Minute) })
	}},
	{name: "producedAt in the future", caught: []string{"T192"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.answers(h, func(_ []byte, basic *basicResponse) { basic.Data.ProducedAt = basic.Data.ProducedAt.Add(time.Hour) })
	}},
	{name: "revocationTime in the future", caught: []string{"T154"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.each(h, func(r *singleResponse) {
			if r.status() == certRevoked {
				r.Revoked.RevokedAt = r.Revoked.RevokedAt.Add(24 * time.Hour)
			}
		})
	}},
	{name: "CertIDs with SHA-1 whatever was asked", caught: []string{"T81", "T193"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.each(h, func(r *singleResponse) {
			c := &checker{target: Target{Issuer: b.ca.Certificate}}
			r.CertID.FullBytes = c.id(r.serial()).der()
		})
	}},
	{name: "parameters of CertIDs normalized", caught: []string{"T82", "T193"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.each(h, func(r *singleResponse) {
			r.CertID.FullBytes = derSeq(append(derSeq(certIDHashes()[0].oid, derNull), r.CertID.Bytes[len(firstElement(r.CertID.Bytes)):]...))
		})
	}},
	{name: "only the first of several answered", caught: []string{"T132", "T134", "T193"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.answers(h, func(_ []byte, basic *basicResponse) { basic.Data.Responses = basic.Data.Responses[:1] })
	}},
	{name: "several answered in another order", caught: []string{"T132", "T193"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.answers(h, func(_ []byte, basic *basicResponse) { slices.Reverse(basic.Data.Responses) })
	}},
	{name: "the version written out", caught: []string{"T190"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.der(h, func(_ []byte, outer *response, basic *basicResponse) []byte {
			var tbs asn1.RawValue
			_ = must(asn1.Unmarshal(basic.Data.Raw, &tbs))
			return b.signTBS(outer, basic, derSeq([]byte{0xa0, 3, 2, 1, 0}, tbs.Bytes))
		})
	}},
	{name: "responderID is somebody else", caught: []string{"T191"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.answers(h, func(_ []byte, basic *basicResponse) {
			sum := sha1.Sum([]byte("somebody else"))
			basic.Data.ResponderID = asn1.RawValue{FullBytes: derTLV(0xa2, derOctets(sum[:]))}
		})
	}},
	{name: "the CA's certificate though the CA signs", caught: []string{"T194"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.answers(h, func(_ []byte, basic *basicResponse) {
			basic.Certificates = []asn1.RawValue{{FullBytes: b.ca.Certificate.Raw}}
		})
	}},
	{name: "a delegate that may not sign", caught: []string{"T194"}, wrap: func(b *bench, h http.Handler) http.Handler {
		cert, key := b.ca.IssueKey(Options{})
		delegate := &bench{ca: &CA{Certificate: cert, Key: key}}
		return b.der(h, func(_ []byte, outer *response, basic *basicResponse) []byte {
			sum := sha1.Sum(keyBits(cert))
			basic.Data.ResponderID = asn1.RawValue{FullBytes: derTLV(0xa2, derOctets(sum[:]))}
			basic.Certificates = []asn1.RawValue{{FullBytes: cert.Raw}}
			return delegate.sign(outer, basic)
		})
	}},
	{name: "empty lists of extensions", caught: []string{"T195"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.der(h, func(_ []byte, outer *response, basic *basicResponse) []byte {
			var tbs asn1.RawValue
			_ = must(asn1.Unmarshal(basic.Data.Raw, &tbs))
			if basic.Data.Extensions != nil {
				return b.sign(outer, basic)
			}
			return b.signTBS(outer, basic, derSeq(tbs.Bytes, derTLV(0xa1, derSeq())))
		})
	}},
	{name: "a reasonCode among the single extensions", caught: []string{"T195"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.each(h, func(r *singleResponse) {
			r.Extensions = append(r.Extensions, pkix.Extension{Id: oidCRLReason, Value: []byte{10, 1, 1}})
		})
	}},
	{name: "the reason unspecified written out", caught: []string{"T144"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.der(h, func(_ []byte, outer *response, basic *basicResponse) []byte {
			tbs := bytes.ReplaceAll(basic.Data.Raw, []byte{0xa0, 3, 10, 1, 1}, []byte{0xa0, 3, 10, 1, 0})
			return b.signTBS(outer, basic, tbs)
		})
	}},
	{name: "a reason that does not exist", caught: []string{"T143"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.each(h, func(r *singleResponse) {
			if r.status() == certRevoked {
				r.Revoked.Reason = 7
			}
		})
	}},
	{name: "the reason removeFromCRL, which only delta CRLs have", caught: []string{"T143"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.each(h, func(r *singleResponse) {
			if r.status() == certRevoked {
				r.Revoked.Reason = 8
			}
		})
	}},
	{name: "everything is good", caught: []string{"T142", "T143", "T132", "T89", "T90", "T92"}, adjust: func(b *bench) {
		b.config.Store = ocsp.CertStoreFunc(func(context.Context, string, *big.Int) (ocsp.Record, error) {
			return ocsp.Record{State: ocsp.Active}, nil
		})
	}},
	{name: "never issued is revoked, and nothing says so", caught: []string{"T160"}, adjust: unissuedRevoked, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.answers(h, func(_ []byte, basic *basicResponse) {
			basic.Data.Extensions = slices.DeleteFunc(basic.Data.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidExtendedRevok) })
			if len(basic.Data.Extensions) == 0 {
				basic.Data.Extensions = nil
			}
		})
	}},
	{name: "never issued is revoked since now", caught: []string{"T160"}, adjust: unissuedRevoked, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.each(h, func(r *singleResponse) {
			if r.status() == certRevoked {
				r.Revoked.RevokedAt = r.ThisUpdate
			}
		})
	}},
	{name: "never issued is revoked for no reason", caught: []string{"T160"}, adjust: unissuedRevoked, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.each(h, func(r *singleResponse) { r.Revoked.Reason = 0 })
	}},
	{name: "never issued is revoked by a CRL", caught: []string{"T160", "T195"}, adjust: unissuedRevoked, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.each(h, func(r *singleResponse) {
			if r.status() == certRevoked {
				r.Extensions = []pkix.Extension{{Id: oidCRLID, Value: derSeq()}}
			}
		})
	}},
	{name: "everything is unknown", caught: []string{"T141"}, adjust: func(b *bench) { b.config.Store = NewStore() }},
	{name: "a serial number's sign is lost", caught: []string{"T90"}, adjust: func(b *bench) {
		b.config.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
			return b.store.FindBySerial(ctx, id, new(big.Int).Abs(serial))
		})
	}},
	{name: "the issuer in the CertID does not count for the store", caught: []string{"T95"}, adjust: func(b *bench) {
		b.config.Store = ocsp.CertStoreFunc(func(ctx context.Context, _ string, serial *big.Int) (ocsp.Record, error) {
			return b.store.FindBySerial(ctx, b.ca.ID, serial)
		})
	}},
	{name: "the CA's data for a foreign issuer", caught: []string{"T86", "T136"}, wrap: func(b *bench, h http.Handler) http.Handler {
		c := &checker{target: b.target(nil)}
		ours, theirs := c.goodID(), c.strange()
		return b.answers(requests(h, func(der []byte) []byte {
			return swap(theirs.keyHash, ours.keyHash)(swap(theirs.nameHash, ours.nameHash)(der))
		}), func(request []byte, basic *basicResponse) {
			for i := range basic.Data.Responses {
				if bytes.Contains(request, theirs.keyHash) {
					basic.Data.Responses[i].CertID.FullBytes = theirs.der()
				}
			}
		})
	}},
}

func unissuedRevoked(b *bench) { b.config.Unissued = ocsp.UnissuedRevoked }

// nonceFaults are about nonces and other extensions.
var nonceFaults = []fault{
	{name: "no nonce", caught: []string{"T112"}, adjust: func(b *bench) { b.config.Nonce = ocsp.NonceIgnore }},
	{name: "a wrong nonce", caught: []string{"T112", "T111", "T113", "T124"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.nonceOf(h, func(list []pkix.Extension) []pkix.Extension {
			for i := range list {
				list[i].Value[len(list[i].Value)-1] ^= 1
			}
			return list
		})
	}},
	{name: "a cached answer with another's nonce", caught: []string{"T112"}, wrap: func(b *bench, h http.Handler) http.Handler {
		var mu sync.Mutex
		kept := map[string][]byte{}
		return b.der(h, func(request []byte, outer *response, basic *basicResponse) []byte {
			mu.Lock()
			defer mu.Unlock()
			key := string(basic.Data.Responses[0].CertID.FullBytes)
			if kept[key] == nil {
				kept[key] = b.sign(outer, basic)
			}
			return kept[key]
		})
	}},
	{name: "a nonce for those who sent none", caught: []string{"T112"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.nonceOf(h, func(list []pkix.Extension) []pkix.Extension {
			if list == nil {
				list = []pkix.Extension{{Id: oidNonce, Value: derOctets(make([]byte, 16))}}
			}
			return list
		})
	}},
	{name: "a critical nonce stays critical", caught: []string{"T119", "T195"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.answers(h, func(request []byte, basic *basicResponse) {
			for i := range basic.Data.Extensions {
				basic.Data.Extensions[i].Critical = bytes.Contains(request, append(bytes.Clone(derNonceOID), derTrue...))
			}
		})
	}},
	{name: "nonces of 0 octets accepted", caught: []string{"T110"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.malformedIs(h, func(der []byte) bool { return bytes.Contains(der, derNonce(nil)) })
	}},
	{name: "nonces of 129 octets accepted", caught: []string{"T114"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.malformedIs(h, func(der []byte) bool { return bytes.Contains(der, []byte{4, 0x81, 0x84, 4, 0x81, 0x81}) })
	}},
	{name: "nonces of 31 octets refused", caught: []string{"T112"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return requests(h, func(der []byte) []byte {
			if bytes.Contains(der, []byte{4, 33, 4, 31}) {
				return nil
			}
			return der
		})
	}},
	{name: "a nonce is taken once", caught: []string{"T122"}, wrap: func(b *bench, h http.Handler) http.Handler {
		var seen sync.Map
		return requests(h, func(der []byte) []byte {
			if _, again := seen.LoadOrStore(string(der), true); again && bytes.Contains(der, derNonceOID) {
				return nil
			}
			return der
		})
	}},
	{name: "an answer with a nonce may be kept", caught: []string{"T124"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return header(h, func(h http.Header) {
			if strings.Contains(h.Get("Cache-Control"), "max-age=0") {
				h.Set("Cache-Control", "max-age=3600, public, no-transform, must-revalidate")
			}
		})
	}},
	{name: "all extensions echoed", caught: []string{"T98", "T195"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.answers(h, func(request []byte, basic *basicResponse) {
			if bytes.Contains(request, derStrangeOID) {
				basic.Data.Extensions = append(basic.Data.Extensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 7}, Value: derStrangeValue})
			}
		})
	}},
	{name: "unknown critical extensions passed over", caught: []string{"T99", "T100"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return requests(h, swap(append(bytes.Clone(derStrangeOID), derTrue...), append(bytes.Clone(derStrangeOID), derFalse...)))
	}},
	{name: "AcceptableResponses passed over", caught: []string{"T103"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return requests(h, swap(derAcceptableOID, derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 99)))
	}},
	{name: "PreferredSignatureAlgorithms passed over", caught: []string{"T106"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return requests(h, swap(derPreferredOID, derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 99)))
	}},
	{name: "PreferredSignatureAlgorithms refused", caught: []string{"T104", "T105"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return refuses(h, func(der []byte) bool { return bytes.Contains(der, derPreferredOID) })
	}},
	{name: "AcceptableResponses refused", caught: []string{"T102"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return refuses(h, func(der []byte) bool { return bytes.Contains(der, derAcceptableOID) })
	}},
	{name: "service locators refused", caught: []string{"T107"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return refuses(h, func(der []byte) bool { return bytes.Contains(der, derLocatorOID) })
	}},
	{name: "unwrapped nonces refused", caught: []string{"T115"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return refuses(h, func(der []byte) bool { return bytes.HasSuffix(der, derOctets(bytes.Repeat([]byte{0xff}, 16))) })
	}},
	{name: "signed requests refused", caught: []string{"T126"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return refuses(h, func(der []byte) bool { return bytes.Contains(der, []byte{3, 3, 0, 1, 2}) })
	}},
}

// refuses answers what matches as malformed.
func refuses(h http.Handler, when func(der []byte) bool) http.Handler {
	return requests(h, func(der []byte) []byte {
		if when(der) {
			return nil
		}
		return der
	})
}

// requestFaults are about what is taken for a request.
var requestFaults = []fault{
	{name: "trailing octets accepted", caught: []string{"T59"}, wrap: func(b *bench, h http.Handler) http.Handler { return requests(h, firstElement) }},
	{name: "requests cut short accepted", caught: []string{"T58"}, wrap: func(b *bench, h http.Handler) http.Handler {
		whole := Client{}.Request(b.ca.Certificate, b.good)
		return b.malformedIs(h, func(der []byte) bool { return len(der) == len(whole)-1 && bytes.HasPrefix(whole, der) })
	}},
	{name: "BER accepted", caught: []string{"T61"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.malformedIs(h, func(der []byte) bool { return bytes.HasPrefix(der, []byte{0x30, 0x80}) })
	}},
	{name: "every version accepted", caught: []string{"T67"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.malformedIs(h, func(der []byte) bool { return bytes.Contains(der, []byte{0xa0, 3, 2, 1, 1}) })
	}},
	{name: "requestorName refused", caught: []string{"T68"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return refuses(h, func(der []byte) bool { return bytes.Contains(der, []byte("client.example.test")) })
	}},
	{name: "a version written out refused", caught: []string{"T66"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return refuses(h, func(der []byte) bool { return len(der) > 9 && bytes.Equal(der[4:9], []byte{0xa0, 3, 2, 1, 0}) })
	}},
	{name: "an empty requestList is answered unauthorized", caught: []string{"T70"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return errorFor(h, func(der []byte) bool { return bytes.Equal(der, derSeq(derSeq(derSeq()))) }, xocsp.Unauthorized)
	}},
	{name: "responses are answered", caught: []string{"T80"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.malformedIs(h, func(der []byte) bool { return bytes.Contains(der, []byte{10, 1, 0, 0xa0}) })
	}},
	{name: "only SHA-1", caught: []string{"T81"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return errorFor(h, func(der []byte) bool { return bytes.Contains(der, certIDHashes()[1].oid) }, xocsp.Unauthorized)
	}},
	{name: "only NULL parameters", caught: []string{"T82"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return refuses(h, func(der []byte) bool { return bytes.Contains(der, derSeq(certIDHashes()[0].oid)) })
	}},
	{name: "MD5 is malformed", caught: []string{"T84"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return refuses(h, func(der []byte) bool { return bytes.Contains(der, derOID(1, 2, 840, 113549, 2, 5)) })
	}},
	{name: "a serial number of any length", caught: []string{"T93"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return errorFor(h, func(der []byte) bool { return len(der) > 4000 && len(der) < 4200 }, xocsp.Unauthorized)
	}},
	{name: "CertIDs without limit", caught: []string{"T137"}, adjust: func(b *bench) {
		b.config.Limits.MaxCertIDs, b.config.Limits.MaxRequestBytes = 10_000, 1<<20
	}},
	{name: "lengths do not matter", caught: []string{"T60"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.malformedIs(h, func(der []byte) bool { return len(der) > 2 && len(der) < 0x80 && int(der[1])+1 == len(der) })
	}},
	{name: "nesting overflows the stack", caught: []string{"T65"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return req.ContentLength > 10_000 }, http.StatusInternalServerError)
	}},
	{name: "a SET is a SEQUENCE", caught: []string{"T71"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.malformedIs(h, func(der []byte) bool { return len(der) > 4 && der[4] == 0x31 })
	}},
	{name: "a fifth member of CertIDs accepted", caught: []string{"T72"}, wrap: func(b *bench, h http.Handler) http.Handler {
		serial := derInteger(b.good.SerialNumber)
		return b.malformedIs(h, func(der []byte) bool { return bytes.HasSuffix(der, append(serial, derNull...)) })
	}},
	{name: "unknown members accepted", caught: []string{"T74"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.malformedIs(h, func(der []byte) bool { return bytes.HasSuffix(der, derTLV(0xa9, derNull)) })
	}},
	{name: "critical FALSE refused", caught: []string{"T77"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return refuses(h, func(der []byte) bool { return bytes.Contains(der, append(bytes.Clone(derNonceOID), derFalse...)) })
	}},
	{name: "empty lists are answered internalError", caught: []string{"T78"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return errorFor(h, func(der []byte) bool { return bytes.HasSuffix(der, []byte{0xa2, 2, 0x30, 0}) }, xocsp.InternalError)
	}},
	{name: "extensions are not read", caught: []string{"T79"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.malformedIs(h, func(der []byte) bool { return bytes.HasSuffix(der, derTLV(0xa2, derNull)) })
	}},
	{name: "hash parameters do not matter", caught: []string{"T83"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.malformedIs(h, func(der []byte) bool { return bytes.Contains(der, append(bytes.Clone(certIDHashes()[0].oid), 2, 1, 0)) })
	}},
	{name: "empty hashes match", caught: []string{"T85"}, wrap: func(b *bench, h http.Handler) http.Handler {
		return b.malformedIs(h, func(der []byte) bool { return bytes.Contains(der, []byte{4, 0, 4, 0}) })
	}},
	{name: "an unknown name is answered internalError", caught: []string{"T88"}, wrap: func(b *bench, h http.Handler) http.Handler {
		id := (&checker{target: b.target(nil)}).goodID()
		return errorFor(h, func(der []byte) bool { return bytes.Contains(der, id.keyHash) && !bytes.Contains(der, id.nameHash) }, xocsp.InternalError)
	}},
	{name: "two issuers are answered with the first one's data", caught: []string{"T135"}, wrap: func(b *bench, h http.Handler) http.Handler {
		theirs := idHashed(b.other.Certificate, b.good.SerialNumber, certIDHashes()[0]).der()
		return b.malformedIs(h, func(der []byte) bool { return bytes.Contains(der, theirs) && len(der) > 2*len(theirs) })
	}},
	{name: "extensions without limit", caught: []string{"T108"}, adjust: func(b *bench) { b.config.Limits.MaxExtensions = 10_000 }},
}

// errorFor answers what matches with an OCSP error.
func errorFor(h http.Handler, when func(der []byte) bool, status xocsp.ResponseStatus) http.Handler {
	matched := false
	return replies(requests(h, func(der []byte) []byte {
		matched = when(der)
		return der
	}), func(_ *http.Request, res *http.Response) {
		if matched {
			setBody(res, []byte{0x30, 3, 10, 1, byte(status)})
		}
		matched = false
	})
}

// httpFaults are about HTTP.
var httpFaults = []fault{
	{name: "HTTP status 400 for errors", caught: []string{"P1"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return replies(h, func(_ *http.Request, res *http.Response) {
			if res.Header.Get("Content-Length") == "5" {
				res.StatusCode = http.StatusBadRequest
			}
		})
	}},
	{name: "plain HTTP status 400 for what is malformed", caught: []string{"T5", "T18", "T56", "T58", "T59", "T110"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return replies(h, func(_ *http.Request, res *http.Response) {
			if res.Header.Get("Content-Length") == "5" {
				res.StatusCode = http.StatusBadRequest
				setBody(res, []byte("bad request\n"))
			}
		})
	}},
	{name: "a wrong content type", caught: []string{"T1", "P1"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return header(h, func(h http.Header) { h.Set("Content-Type", "application/octet-stream") })
	}},
	{name: "no Content-Length", caught: []string{"T1"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return header(h, func(h http.Header) { h.Del("Content-Length") })
	}},
	{name: "strict about the case of the content type", caught: []string{"T2"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return strings.Contains(req.Header.Get("Content-Type"), "OCSP") }, http.StatusUnsupportedMediaType)
	}},
	{name: "no Content-Type: 400", caught: []string{"T3"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool {
			return req.Method == http.MethodPost && req.Header.Get("Content-Type") == ""
		}, http.StatusBadRequest)
	}},
	{name: "text/plain: 400", caught: []string{"T4"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return req.Header.Get("Content-Type") == "text/plain" }, http.StatusBadRequest)
	}},
	{name: "Accept counts", caught: []string{"T14"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return req.Header.Get("Accept") == "text/html" }, http.StatusNotAcceptable)
	}},
	{name: "HTTP/2 is refused", caught: []string{"T17"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return req.ProtoMajor == 2 }, http.StatusHTTPVersionNotSupported)
	}},
	{name: "an empty body hangs", hangs: true, caught: []string{"T5"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPost && req.ContentLength == 0 {
				<-req.Context().Done()
				return
			}
			h.ServeHTTP(w, req)
		})
	}},
	{name: "a nil Body panics", caught: []string{"T6"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPost {
				req.Body = io.NopCloser(req.Body)
				_, _ = req.Body.Read(nil)
			}
			h.ServeHTTP(w, req)
		})
	}},
	{name: "the whole body is read", hangs: true, caught: []string{"T7", "T9"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPost && req.Body != nil {
				body, _ := io.ReadAll(req.Body)
				req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
				if len(body) > 1<<20 {
					_, _ = w.Write([]byte{0x30, 3, 10, 1, 1})
					return
				}
			}
			h.ServeHTTP(w, req)
		})
	}},
	{name: "chunked bodies refused", caught: []string{"T8"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return req.ContentLength < 0 }, http.StatusLengthRequired)
	}},
	{name: "answers in gzip", caught: []string{"T15"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return replies(h, func(req *http.Request, res *http.Response) {
			if strings.Contains(req.Header.Get("Accept-Encoding"), "gzip") {
				res.Header.Set("Content-Encoding", "gzip")
			}
		})
	}},
	{name: "Content-Encoding passed over", caught: []string{"T13"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			req.Header.Del("Content-Encoding")
			h.ServeHTTP(w, req)
		})
	}},
	{name: "POST with a slash is redirected", caught: []string{"T19"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/ocsp/", h)
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPost && req.URL.Path == "/ocsp/" {
				http.Redirect(w, req, "/ocsp", http.StatusMovedPermanently)
				return
			}
			h.ServeHTTP(w, req)
		})
	}},
	{name: "no HEAD", caught: []string{"T20"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return req.Method == http.MethodHead }, http.StatusMethodNotAllowed)
	}},
	{name: "OPTIONS is served like POST", caught: []string{"T21"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return req.Method == http.MethodOptions }, http.StatusOK)
	}},
	{name: "PUT is POST", caught: []string{"T22"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPut {
				req.Method = http.MethodPost
			}
			h.ServeHTTP(w, req)
		})
	}},
	{name: "no Allow", caught: []string{"T21", "T22"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return header(h, func(h http.Header) { h.Del("Allow") })
	}},
	{name: "404 for the bare mount", caught: []string{"T23"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool {
			return req.Method == http.MethodGet && strings.Trim(req.URL.Path, "/") == "ocsp"
		}, http.StatusNotFound)
	}},
	{name: "ranges", caught: []string{"T24"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return replies(h, func(req *http.Request, res *http.Response) {
			if req.Header.Get("Range") != "" {
				res.StatusCode = http.StatusPartialContent
				setBody(res, must(io.ReadAll(res.Body))[:2])
			}
		})
	}},
	{name: "a prefix from the client counts", caught: []string{"T28"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return req.Header.Get("X-Original-Url") != "" }, http.StatusNotFound)
	}},
}

// unless answers what matches with an HTTP status, and passes on the rest.
func unless(h http.Handler, when func(*http.Request) bool, code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if when(req) {
			http.Error(w, http.StatusText(code), code)
			return
		}
		h.ServeHTTP(w, req)
	})
}

// text is the part of a path that is the request.
func text(req *http.Request, change func(escaped string) string) *http.Request {
	prefix, rest, ok := strings.Cut(req.URL.EscapedPath(), "/ocsp/")
	if !ok || req.Method != http.MethodGet {
		return req
	}
	path := prefix + "/ocsp/" + change(rest)
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return req
	}
	req.URL.Path, req.URL.RawPath = decoded, path
	return req
}

func texts(h http.Handler, change func(escaped string) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { h.ServeHTTP(w, text(req, change)) })
}

// pathFaults are about the path of a GET.
var pathFaults = []fault{
	{name: "no GET", caught: []string{"T29", "T30", "T31", "T32", "T36", "T162"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return req.Method == http.MethodGet }, http.StatusMethodNotAllowed)
	}},
	{name: "a plus sign is lost", caught: []string{"T30", "T32"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return texts(h, func(s string) string { return strings.ReplaceAll(s, "+", "") })
	}},
	{name: "decoded twice", caught: []string{"T31", "T29"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return texts(h, func(s string) string { return strings.NewReplacer("%2B", "", "%2b", "").Replace(s) })
	}},
	{name: "no space for plus", caught: []string{"T33"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return texts(h, func(s string) string { return strings.ReplaceAll(s, "%20", ".") })
	}},
	{name: "slashes merged", caught: []string{"T34", "T36"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return texts(h, func(s string) string {
			if s = strings.ReplaceAll(s, "%2F", "/"); strings.Contains(s, "//") {
				return strings.ReplaceAll(s, "//", "/") + "." // nothing that could be put right again
			}
			return s
		})
	}},
	{name: "a redirect into nowhere", caught: []string{"T35"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if strings.Contains(req.URL.EscapedPath(), "//") {
				http.Redirect(w, req, "/nowhere", http.StatusMovedPermanently)
				return
			}
			unless(h, func(req *http.Request) bool { return req.URL.Path == "/nowhere" }, http.StatusNotFound).ServeHTTP(w, req)
		})
	}},
	{name: "a redirect to another's answer", caught: []string{"T35"}, wrap: func(b *bench, h http.Handler) http.Handler {
		theirs := "/ocsp/" + escaped(Client{}.Request(b.ca.Certificate, b.revoked))
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if strings.Contains(req.URL.EscapedPath(), "//") {
				http.Redirect(w, req, theirs, http.StatusMovedPermanently)
				return
			}
			h.ServeHTTP(w, req)
		})
	}},
	{name: "no slashes before the request", caught: []string{"T37"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return strings.HasPrefix(req.URL.Path, "/ocsp//") }, http.StatusNotFound)
	}},
	{name: "slashes at the end are cut off", caught: []string{"T39"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return texts(h, func(s string) string {
			if cut := strings.TrimSuffix(strings.TrimSuffix(s, "%2F"), "/"); cut != s && len(cut)%4 != 0 {
				return cut + "~"
			}
			return s
		})
	}},
	{name: "no slash behind the request", caught: []string{"T38"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return strings.HasSuffix(req.URL.Path, "=/") }, http.StatusNotFound)
	}},
	{name: "no URL-safe alphabet", caught: []string{"T40", "T41"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return texts(h, func(s string) string { return strings.NewReplacer("-", ".", "_", ".").Replace(s) })
	}},
	{name: "padding is required", caught: []string{"T42"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return texts(h, func(s string) string {
			if decoded, _ := url.PathUnescape(s); len(decoded)%4 != 0 {
				return "."
			}
			return s
		})
	}},
	{name: "padding does not matter", caught: []string{"T43", "T57"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return texts(h, func(s string) string { return strings.NewReplacer("=", "", "%3D", "").Replace(s) })
	}},
	{name: "tabs are skipped", caught: []string{"T44"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return texts(h, func(s string) string { return strings.ReplaceAll(s, "%09", "") })
	}},
	{name: "400 for base64 in lines", caught: []string{"T44"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return strings.Contains(req.URL.Path, "\n") }, http.StatusBadRequest)
	}},
	{name: "400 for what is encoded twice", caught: []string{"T45"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return strings.Contains(req.URL.Path, "%") }, http.StatusBadRequest)
	}},
	{name: "dots are skipped", caught: []string{"T48"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return texts(h, func(s string) string { return strings.NewReplacer("/./", "", "/../", "").Replace(s) })
	}},
	{name: "a query is part of the path", caught: []string{"T49", "T50"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if query, err := url.QueryUnescape(req.URL.RawQuery); err == nil && query != "" && req.Method == http.MethodGet {
				req.URL.Path += "/" + strings.TrimPrefix(query, "request=")
				req.URL.RawPath = ""
			}
			h.ServeHTTP(w, req)
		})
	}},
	{name: "255 octets at the most", caught: []string{"T52", "T53"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool { return len(req.URL.EscapedPath()) > 255 }, http.StatusBadRequest)
	}},
	{name: "400 for what is no DER", caught: []string{"T56"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool {
			return req.Method == http.MethodGet && !strings.HasPrefix(req.URL.Path, "/ocsp/MH") && !strings.HasPrefix(req.URL.Path, "/ocsp/MF")
		}, http.StatusBadRequest)
	}},
	{name: "garbage before the request", caught: []string{"T57"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return texts(h, func(s string) string { return strings.TrimLeft(s, "A=") })
	}},
}

// cachingFaults are about what may be kept and for how long.
var cachingFaults = []fault{
	{name: "no-store on success", caught: []string{"T171", "T162"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return header(h, func(h http.Header) { h.Set("Cache-Control", "no-store") })
	}},
	{name: "errors may be kept", caught: []string{"T170"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return header(h, func(h http.Header) {
			if h.Get("Cache-Control") == "no-store" {
				h.Set("Cache-Control", "max-age=3600")
			}
		})
	}},
	{name: "a constant max-age beyond nextUpdate", caught: []string{"T163"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return header(h, func(h http.Header) { h.Set("Cache-Control", "max-age=604800, public, no-transform, must-revalidate") })
	}},
	{name: "a max-age beyond the refresh point", caught: []string{"T163"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return header(h, func(h http.Header) { h.Set("Cache-Control", "max-age=72000, public, no-transform, must-revalidate") })
	}},
	{name: "several are kept for as long as the first", caught: []string{"T140"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return replies(h, func(_ *http.Request, res *http.Response) {
			der := must(io.ReadAll(res.Body))
			setBody(res, der)
			if _, basic, err := unmarshal(der); err == nil && len(basic.Data.Responses) > 1 {
				res.Header.Set("Cache-Control", "max-age=3600, public, no-transform, must-revalidate")
			}
		})
	}},
	{name: "unknown may be kept", caught: []string{"T172"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return header(h, func(h http.Header) { h.Set("Cache-Control", "max-age=3600, public, no-transform, must-revalidate") })
	}},
	{name: "dates in UTC", caught: []string{"T162"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return header(h, func(h http.Header) {
			for _, name := range []string{"Expires", "Last-Modified"} {
				h.Set(name, strings.Replace(h.Get(name), "GMT", "UTC", 1))
			}
		})
	}},
	{name: "weak ETags", caught: []string{"T162"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return header(h, func(h http.Header) {
			if tag := h.Get("Etag"); tag != "" {
				h.Set("Etag", "W/"+tag)
			}
		})
	}},
	{name: "Expires after nextUpdate", caught: []string{"T162"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return header(h, func(h http.Header) {
			if h.Get("Expires") != "" {
				h.Set("Expires", farOff)
			}
		})
	}},
	{name: "If-None-Match passed over", caught: []string{"T165", "T167"}, wrap: withoutCondition("If-None-Match")},
	{name: "If-None-Match compared as a string", caught: []string{"T165"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if match := req.Header.Get("If-None-Match"); strings.ContainsAny(match, ",*") || strings.HasPrefix(match, "W/") {
				req.Header.Del("If-None-Match")
			}
			h.ServeHTTP(w, req)
		})
	}},
	{name: "304 for every If-None-Match", caught: []string{"T166", "T167"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("If-None-Match") != "" {
				req.Header.Set("If-None-Match", "*")
			}
			h.ServeHTTP(w, req)
		})
	}},
	{name: "304 without ETag", caught: []string{"T165"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return replies(h, func(_ *http.Request, res *http.Response) {
			if res.StatusCode == http.StatusNotModified {
				res.Header.Del("Etag")
			}
		})
	}},
	{name: "conditions of a POST count", caught: []string{"T169"}, wrap: func(_ *bench, h http.Handler) http.Handler {
		return unless(h, func(req *http.Request) bool {
			return req.Method == http.MethodPost && req.Header.Get("If-None-Match") != ""
		}, http.StatusPreconditionFailed)
	}},
	{name: "clients demand signatures", caught: []string{"T173"}, wrap: func(b *bench, h http.Handler) http.Handler {
		b.config.Cache.Disabled = true
		fresh := b.handler()
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Cache-Control") != "" {
				fresh.ServeHTTP(w, req)
				return
			}
			h.ServeHTTP(w, req)
		})
	}},
	{name: "a cache for each method", caught: []string{"T199"}, wrap: func(b *bench, h http.Handler) http.Handler {
		posts := b.handler()
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPost {
				posts.ServeHTTP(w, req)
				return
			}
			h.ServeHTTP(w, req)
		})
	}},
}

func withoutCondition(name string) func(*bench, http.Handler) http.Handler {
	return func(_ *bench, h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			req.Header.Del(name)
			h.ServeHTTP(w, req)
		})
	}
}

// Each fault fails the cases that are about it, and without the fault they pass.
func TestConformanceCatchesFaults(t *testing.T) {
	for _, f := range slices.Concat(answerFaults, nonceFaults, requestFaults, httpFaults, pathFaults, cachingFaults) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(P256)
			for id, verdict := range verdicts(t, b.target(b.handler(), f.caught...)) {
				// What was revoked for a reason cannot show whether none is left out, and unknown says nothing of revoked.
				if id != "T144" && id != "T160" && id != "T35" {
					assert.Equal(t, Passed, verdict, "%s, without the fault", id)
				}
			}
			if f.adjust != nil {
				f.adjust(b)
			}
			h := b.handler()
			if f.wrap != nil {
				h = f.wrap(b, h)
			}
			target := b.target(h, f.caught...)
			if f.hangs {
				target.CaseTimeout = time.Second
			}
			got := verdicts(t, target)
			for _, id := range f.caught {
				assert.Equal(t, Failed.String(), got[id].String(), id)
			}
		})
	}
}

func verdicts(t *testing.T, target Target) map[string]Verdict {
	t.Helper()
	results, err := Conformance(t.Context(), target)
	require.NoError(t, err)
	verdicts := map[string]Verdict{}
	for _, r := range results {
		verdicts[r.ID] = r.Verdict
		if r.Verdict == Failed {
			assert.NotEmpty(t, r.Detail)
			assert.NotEmpty(t, r.String())
		}
	}
	return verdicts
}

// A client can ask for a signature with SHA-1, which no responder must make.
func TestConformanceCatchesWeakSignatures(t *testing.T) {
	b := newBench(RSA2048)
	h := b.der(b.handler(), func(request []byte, outer *response, basic *basicResponse) []byte {
		if !bytes.Contains(request, algSHA1WithRSA) {
			return b.sign(outer, basic)
		}
		digest := sha1.Sum(basic.Data.Raw)
		signature := must(rsa.SignPKCS1v15(rand.Reader, b.ca.Key.(*rsa.PrivateKey), crypto.SHA1, digest[:]))
		return wrapBasic(derSeq(basic.Data.Raw, algSHA1WithRSA, derTLV(3, []byte{0}, signature)))
	})
	assert.Equal(t, map[string]Verdict{"T105": Failed, "T196": Failed}, verdicts(t, b.target(h, "T105", "T196")))
}

// A responder that is said to ignore nonces must not refuse them.
func TestConformanceCatchesRefusedNonces(t *testing.T) {
	b := newBench(P256)
	target := b.target(refuses(b.handler(), func(der []byte) bool { return bytes.Contains(der, derNonceOID) }), "T121")
	target.NonceIgnored = true
	assert.Equal(t, map[string]Verdict{"T121": Failed}, verdicts(t, target))
}

// golang/go#59641: x/crypto/ocsp takes the certificate of a CA under another one for a delegate's.
func TestConformanceCatchesWhatXCryptoRefuses(t *testing.T) {
	b := newBench(P256)
	b.ca = b.other.Intermediate(Options{})
	b.good = b.ca.Issue(Options{})
	b.store.Add(b.ca.ID, b.good)
	issuer := b.ca.Issuer()
	issuer.EmbedCertificate = true
	b.config.Issuers = []ocsp.Issuer{issuer}
	assert.Equal(t, map[string]Verdict{"T194": Failed, "T196": Passed, "T197": Failed}, verdicts(t, b.target(b.handler(), "T194", "T196", "T197")))
}

// net/http refuses bad escapes before a handler sees them. Another server may not.
func TestConformanceCatchesBadEscapes(t *testing.T) {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			reply := "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
			if strings.HasPrefix(line, http.MethodPost) { // contact is made
				reply = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n\x30\x03\x0a\x01\x03"
			}
			_, _ = io.WriteString(conn, reply)
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	b := newBench(P256)
	target := b.target(nil, "T46")
	target.Handler, target.URL = nil, "http://"+listener.Addr().String()+"/ocsp"
	assert.Equal(t, map[string]Verdict{"T46": Failed}, verdicts(t, target))
}

// A check that cannot fail is worth nothing.
func TestEveryCaseCanFail(t *testing.T) {
	covered := map[string]bool{"T46": true, "T105": true, "T121": true, "T196": true, "T197": true} // by tests of their own
	for _, f := range slices.Concat(answerFaults, nonceFaults, requestFaults, httpFaults, pathFaults, cachingFaults) {
		for _, id := range f.caught {
			covered[id] = true
		}
	}
	for _, c := range ConformanceCases() {
		assert.True(t, covered[c.ID], "no fault fails %s", c.ID)
	}
}

// A responder without any sense can neither stop the suite nor fill the memory.
func TestConformanceSurvives(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"silence":    func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() },
		"hanging up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"megabytes":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2<<20)) },
		"a redirect loop": func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, req.URL.String(), http.StatusTemporaryRedirect)
		},
		"a body cut short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			w.WriteHeader(200)
		},
		"noise":               func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(randomNonce(100)) },
		"success and nothing": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0x30, 3, 10, 1, 0}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(P256)
			whole, first := b.handler(), sync.Once{}
			target := b.target(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				answered := false
				first.Do(func() { answered = true }) // contact is made
				if answered {
					whole.ServeHTTP(w, req)
				} else {
					h(w, req)
				}
			}))
			target.CaseTimeout = 20 * time.Millisecond
			results, err := Conformance(t.Context(), target)
			require.NoError(t, err)
			for _, r := range results {
				if r.ID == "T1" {
					assert.Equal(t, Failed, r.Verdict)
				}
				assert.Less(t, len(r.Got), maxReply+1)
			}
		})
	}
}
