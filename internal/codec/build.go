package codec

import (
	"crypto"
	"crypto/fips140"
	_ "crypto/sha1" // for identifiers
	"math/big"
	"math/bits"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// CertIDIssuer returns the part of a CertID that identifies the issuer (RFC 6960 section 4.1.1):
// the hash algorithm, with NULL parameters or none, and the hashes of the issuer's name, given as
// DER, and of its key, given as the content of the BIT STRING.
func CertIDIssuer(hash crypto.Hash, nullParameters bool, name, publicKey []byte) []byte {
	i := slices.IndexFunc(hashAlgorithms, func(a hashAlgorithm) bool { return a.hash == hash })
	oid := appendTLV(nil, tagOID, hashAlgorithms[i].oid)
	if nullParameters {
		oid = append(oid, derNull...)
	}
	der := appendTLV(nil, tagSequence, oid)
	for _, data := range [][]byte{name, publicKey} {
		der = appendTLV(der, tagOctetString, identifier(hash, data))
	}
	return der
}

// identifier returns the hash that identifies a name or a key. The protocol requires SHA-1 for some
// of them, which GODEBUG=fips140=only refuses. It is allowed here because no security depends on
// it: an identifier selects the issuer or the signer's key, and signatures are made and verified
// with other hashes.
func identifier(hash crypto.Hash, data []byte) (sum []byte) {
	fips140.WithoutEnforcement(func() {
		h := hash.New()
		h.Write(data)
		sum = h.Sum(nil)
	})
	return sum
}

// CertIDFrom returns a CertID made of its issuer part and a serial's content octets.
func CertIDFrom(issuer, serial []byte) []byte {
	return appendTLV(nil, tagSequence, issuer, appendTLV(nil, tagInteger, serial))
}

// SerialBytes returns the content octets of the INTEGER n: two's complement, minimal.
func SerialBytes(n *big.Int) []byte {
	var b cryptobyte.Builder
	b.AddASN1BigInt(n)
	element, body := cryptobyte.String(b.BytesOrPanic()), cryptobyte.String(nil)
	element.ReadASN1(&body, asn1.INTEGER)
	return body
}

// SerialInt is the inverse of SerialBytes. For serials of the lengths that RFC 5280 allows it
// allocates once.
func SerialInt(content []byte) *big.Int {
	const wordBytes = bits.UintSize / 8
	var v struct {
		n     big.Int
		words [24 / wordBytes]big.Word
	}
	if len(content) > wordBytes*len(v.words) || len(content) > 0 && content[0]&0x80 != 0 {
		return longSerialInt(content)
	}
	for i := range content {
		v.words[i/wordBytes] |= big.Word(content[len(content)-1-i]) << (8 * (i % wordBytes))
	}
	return v.n.SetBits(v.words[:])
}

func longSerialInt(content []byte) *big.Int {
	n := new(big.Int).SetBytes(content)
	if len(content) > 0 && content[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(content))))
	}
	return n
}

// AppendRequest appends the DER of a request, made of VersionGiven, RequestorName, the entries'
// CertID.Raw and extensions, Extensions and Signature.Raw. It ignores the fields that ParseRequest
// derives.
func AppendRequest(dst []byte, req *Request) []byte {
	return appendTLV(dst, tagSequence,
		AppendTBSRequest(nil, req), optional(tagContext0, req.Signature.Raw))
}

// AppendTBSRequest appends the part of a request that its signature covers.
func AppendTBSRequest(dst []byte, req *Request) []byte {
	var version, list []byte
	if req.VersionGiven {
		version = []byte{tagContext0, 3, tagInteger, 1, 0}
	}
	for _, e := range req.Entries {
		extensions := extensionsField(tagContext0, e.Extensions, e.ExtensionsGiven)
		list = appendTLV(list, tagSequence, e.CertID.Raw, extensions)
	}
	return appendTLV(dst, tagSequence, version, optional(tagContext1, req.RequestorName),
		appendTLV(nil, tagSequence, list),
		extensionsField(tagContext2, req.Extensions, req.ExtensionsGiven))
}

// optional returns an explicitly tagged field, or nothing for nil.
func optional(tag byte, content []byte) []byte {
	if content == nil {
		return nil
	}
	return appendTLV(nil, tag, content)
}

func extensionsField(tag byte, list []Extension, given bool) []byte {
	if len(list) == 0 && !given {
		return nil
	}
	var der []byte
	for _, e := range list {
		var critical []byte
		if e.CriticalGiven || e.Critical {
			critical = []byte{1, 1, 0}
			if e.Critical {
				critical[2] = 0xff
			}
		}
		der = appendTLV(der, tagSequence,
			appendTLV(nil, tagOID, e.OID), critical, appendTLV(nil, tagOctetString, e.Value))
	}
	return appendTLV(nil, tag, appendTLV(nil, tagSequence, der))
}

// NonceExtension returns the request extension for a nonce.
func NonceExtension(nonce []byte) Extension {
	return Extension{OID: oidNonce, Value: appendTLV(nil, tagOctetString, nonce)}
}
