package ocsptest

import (
	"bytes"
	"crypto"
	"crypto/fips140"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
)

// derTLV writes an element with the shortest length. It knows nothing of what it writes, so that anything can
// stand anywhere.
func derTLV(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	der := []byte{tag, byte(len(content))}
	switch n := len(content); {
	case n > 0xffff:
		der = []byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}
	case n > 0xff:
		der = []byte{tag, 0x82, byte(n >> 8), byte(n)}
	case n > 0x7f:
		der = []byte{tag, 0x81, byte(n)}
	}
	return append(der, content...)
}

func derSeq(parts ...[]byte) []byte { return derTLV(0x30, parts...) }

func derOctets(content []byte) []byte { return derTLV(4, content) }

func derOID(arcs ...int) []byte { return must(asn1.Marshal(asn1.ObjectIdentifier(arcs))) }

func derInteger(n *big.Int) []byte { return must(asn1.Marshal(n)) }

var (
	derNull  = []byte{5, 0}
	derTrue  = []byte{1, 1, 0xff}
	derFalse = []byte{1, 1, 0}

	derNonceOID      = derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 2)
	derBasicOID      = derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 1)
	derAcceptableOID = derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 4)
	derLocatorOID    = derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 7)
	derPreferredOID  = derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 8)
	derStrangeOID    = derOID(1, 3, 6, 1, 4, 1, 99999, 7) // of an extension that nobody knows
	derStrangeValue  = derOctets([]byte("anything"))
)

// certIDHash is a hash algorithm of CertIDs.
type certIDHash struct {
	name string
	hash crypto.Hash
	oid  []byte
}

func certIDHashes() []certIDHash {
	return []certIDHash{
		{"SHA-1", crypto.SHA1, derOID(1, 3, 14, 3, 2, 26)},
		{"SHA-256", crypto.SHA256, derOID(2, 16, 840, 1, 101, 3, 4, 2, 1)},
		{"SHA-384", crypto.SHA384, derOID(2, 16, 840, 1, 101, 3, 4, 2, 2)},
		{"SHA-512", crypto.SHA512, derOID(2, 16, 840, 1, 101, 3, 4, 2, 3)},
	}
}

// derExt is an Extension; flag is the critical field as written, nil for none.
func derExt(oid, flag, value []byte) []byte { return derSeq(oid, flag, derOctets(value)) }

func derNonce(nonce []byte) []byte { return derExt(derNonceOID, nil, derOctets(nonce)) }

// derCertID is a CertID taken apart, each field a whole element.
type derCertID struct{ algorithm, nameHash, keyHash, serial, tail []byte }

func (id derCertID) der() []byte {
	return derSeq(id.algorithm, id.nameHash, id.keyHash, id.serial, id.tail)
}

// sum hashes what a CertID or a ResponderID names, also with a hash that GODEBUG=fips140=only refuses.
func sum(hash crypto.Hash, data []byte) (digest []byte) {
	fips140.WithoutEnforcement(func() {
		h := hash.New()
		h.Write(data)
		digest = h.Sum(nil)
	})
	return digest
}

// keyBits is what key hashes are made of: the BIT STRING's content without the count of unused bits.
func keyBits(cert *x509.Certificate) []byte {
	var spki struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	_ = must(asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &spki)) // crypto/x509 has read it
	return spki.Key.Bytes
}

func idHashed(issuer *x509.Certificate, serial *big.Int, h certIDHash) derCertID {
	return derCertID{
		algorithm: derSeq(h.oid, derNull),
		nameHash:  derOctets(sum(h.hash, issuer.RawSubject)),
		keyHash:   derOctets(sum(h.hash, keyBits(issuer))),
		serial:    derInteger(serial),
	}
}

// id is the usual CertID: SHA-1 with NULL parameters.
func (c *checker) id(serial *big.Int) derCertID {
	return idHashed(c.target.Issuer, serial, certIDHashes()[0])
}

func (c *checker) goodID() derCertID { return c.id(c.target.Good.SerialNumber) }

// strange is the CertID of an issuer that nobody serves, with Good's serial number.
func (c *checker) strange() derCertID {
	id := c.goodID()
	id.nameHash = derOctets(sum(crypto.SHA1, []byte("the name of nobody's CA")))
	id.keyHash = derOctets(sum(crypto.SHA1, []byte("the key of nobody's CA")))
	return id
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

// ask is a request about CertIDs.
func ask(ids ...derCertID) derRequest {
	var q derRequest
	for _, id := range ids {
		q.entries = append(q.entries, derSeq(id.der()))
	}
	return q
}

// askSingle is a request about one CertID, with single extensions.
func askSingle(id derCertID, extensions ...[]byte) derRequest {
	return derRequest{entries: [][]byte{derSeq(id.der(), derTLV(0xa0, derSeq(extensions...)))}}
}

// plain is the simplest request there is for the good certificate.
func (c *checker) plain() []byte { return ask(c.goodID()).der() }

// with is that request with request extensions.
func (c *checker) with(extensions ...[]byte) []byte {
	q := ask(c.goodID())
	q.extensions = extensions
	return q.der()
}

// spelled makes a request about the good certificate whose standard base64 has a wanted property, by trying
// nonces, which every responder has to accept. The part before the nonce is one without two slashes in a row
// where there is one, since routers act on those. If that part alone keeps a request from having the property,
// the CertID is encoded in another way.
func (c *checker) spelled(wanted func(text string) bool) (der []byte, text string, err error) {
	ids := []derCertID{}
	for _, h := range certIDHashes() {
		id := idHashed(c.target.Issuer, c.target.Good.SerialNumber, h)
		bare := id
		bare.algorithm = derSeq(h.oid)
		ids = append(ids, id, bare)
	}
	slices.SortStableFunc(ids, func(a, b derCertID) int {
		return strings.Count(base64Of(ask(a).der()), "//") - strings.Count(base64Of(ask(b).der()), "//")
	})
	const tries = 200_000
	for try := range tries {
		q := ask(ids[try*len(ids)/tries])
		nonce := make([]byte, 16+rand.IntN(17))
		for i := range nonce {
			nonce[i] = byte(rand.Uint32())
		}
		// Mostly ones make slashes likely, for properties that are about them.
		if try%2 == 1 {
			for i := len(nonce) - 3; i < len(nonce); i++ {
				nonce[i] = 0xff
			}
		}
		q.extensions = [][]byte{derNonce(nonce)}
		der = q.der()
		if text = base64Of(der); wanted(text) {
			return der, text, nil
		}
	}
	return nil, "", notApplicable("no request about the certificate has the base64 that it takes")
}

// undoubled makes requests until the base64 of one has no two slashes in a row, which routers act on. If what stays
// the same in all of them has some, the last one has to do.
func undoubled[T any](build func() (part T, request []byte)) (part T, request []byte) {
	for range 100 {
		if part, request = build(); !doubled(base64Of(request)) {
			break
		}
	}
	return part, request
}

func base64Of(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

// rich is wanted of requests in whose base64 every letter that needs care stands, but no two slashes in a row.
func rich(text string) bool {
	return strings.Contains(text, "+") && strings.Contains(text, "/") && strings.HasSuffix(text, "==") && !doubled(text)
}

func doubled(text string) bool { return strings.Contains(text, "//") }

// padded is wanted of requests with so much padding.
func padded(n int) func(string) bool {
	return func(text string) bool { return len(text)-len(strings.TrimRight(text, "=")) == n && !doubled(text) }
}
