package codec

import (
	"bytes"
	"crypto"
	"crypto/x509"
	encodingasn1 "encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	// MaxNonce is the longest nonce that RFC 9654 section 2.1 allows, in octets.
	MaxNonce = 128
	// MaxSerial is the longest serial number accepted, in octets. RFC 5280 section 4.1.2.2 allows 20.
	MaxSerial = 64
	// maxSignatureCerts bounds the certificates beside a request's signature.
	maxSignatureCerts = 16
)

// ErrMalformed is wrapped by every error of ParseRequest.
var ErrMalformed = errors.New("malformed OCSP request")

// ReadLimits bounds what ParseRequest accepts.
type ReadLimits struct {
	CertIDs    int  // entries in the request list
	Extensions int  // extensions in one list
	Strict     bool // refuse empty extension lists
}

// Request is a parsed OCSPRequest (RFC 6960 section 4.1.1). Its slices point into the parsed bytes.
type Request struct {
	VersionGiven    bool   // the default version v1 is encoded
	RequestorName   []byte // the GeneralName, nil if absent
	Entries         []RequestEntry
	Extensions      []Extension
	ExtensionsGiven bool      // there is an extension list, perhaps an empty one
	TBS             []byte    // the bytes that a signature covers
	Signature       Signature // zero if the request is not signed

	// The values of known request extensions.
	Nonce     []byte
	NonceForm NonceForm
	Preferred []x509.SignatureAlgorithm // in the client's order, without unknown ones
}

// RequestEntry is one Request of the list.
type RequestEntry struct {
	CertID          CertID
	Extensions      []Extension
	ExtensionsGiven bool
}

// CertID identifies a certificate (RFC 6960 section 4.1.1). Equal Issuer bytes mean the same hash
// algorithm, parameters and hashes, so they are the key of an issuer table.
type CertID struct {
	Raw    []byte      // the whole CertID, repeated in the answer
	Issuer []byte      // hashAlgorithm, issuerNameHash and issuerKeyHash as encoded
	Hash   crypto.Hash // 0 if the algorithm is not one of CertIDHashes
	Serial []byte      // two's complement, minimal
}

// Extension is an X.509 Extension.
type Extension struct {
	OID           []byte // content octets
	Critical      bool
	CriticalGiven bool // the field is encoded, perhaps with its default FALSE
	Value         []byte
}

// NonceForm is how a request encodes its nonce.
type NonceForm uint8

const (
	// NonceAbsent: there is no nonce.
	NonceAbsent NonceForm = iota
	// NonceWrapped: an OCTET STRING inside the extension value, as RFC 9654 section 2.1 requires.
	NonceWrapped
	// NonceBare: the extension value is the nonce itself, as clients older than RFC 6960 send it.
	NonceBare
)

// Reset empties a request and drops its references to the parsed bytes. It keeps its slices for the
// next request. It sets the fields one by one, which is faster than assigning a whole Request.
func (req *Request) Reset() {
	for i := range req.Entries {
		e := &req.Entries[i]
		clear(e.Extensions)
		e.CertID, e.Extensions, e.ExtensionsGiven = CertID{}, e.Extensions[:0], false
	}
	clear(req.Extensions)
	req.VersionGiven, req.RequestorName, req.Entries = false, nil, req.Entries[:0]
	req.Extensions, req.ExtensionsGiven = req.Extensions[:0], false
	req.TBS, req.Signature = nil, Signature{}
	req.Nonce, req.NonceForm, req.Preferred = nil, NonceAbsent, req.Preferred[:0]
}

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// ParseRequest reads exactly one DER OCSPRequest from der into req. It reuses the slices of req:
// once they have grown, a request that is not signed costs no allocation.
func ParseRequest(der []byte, req *Request, lim ReadLimits) error {
	req.Reset()
	input := cryptobyte.String(der)
	var outer, tbs cryptobyte.String
	if !readASN1(&input, &outer, asn1.SEQUENCE) || !input.Empty() {
		return malformed("not exactly one SEQUENCE")
	}
	if !readElement(&outer, &tbs) {
		return malformed("no tbsRequest")
	}
	req.TBS = tbs
	var signature cryptobyte.String
	var signed bool
	if !outer.ReadOptionalASN1(&signature, &signed, tagContext0) || !outer.Empty() {
		return malformed("unexpected field after tbsRequest")
	}
	if signed {
		if err := req.Signature.read(signature); err != nil {
			return err
		}
	}
	if err := req.readTBS(tbs, lim); err != nil {
		return err
	}
	return req.readKnownExtensions()
}

func (req *Request) readTBS(element cryptobyte.String, lim ReadLimits) error {
	var tbs, field cryptobyte.String
	if !readASN1(&element, &tbs, asn1.SEQUENCE) {
		return malformed("no tbsRequest")
	}
	if !tbs.ReadOptionalASN1(&field, &req.VersionGiven, tagContext0) {
		return malformed("bad version")
	}
	if req.VersionGiven && !bytes.Equal(field, []byte{tagInteger, 1, 0}) {
		return malformed("version is not v1")
	}
	var present bool
	if !tbs.ReadOptionalASN1(&field, &present, tagContext1) {
		return malformed("bad requestorName")
	}
	if present {
		if !isGeneralName(field) {
			return malformed("requestorName is not a GeneralName")
		}
		req.RequestorName = field
	}
	var list cryptobyte.String
	if !readASN1(&tbs, &list, asn1.SEQUENCE) || list.Empty() {
		return malformed("no requestList")
	}
	for !list.Empty() {
		if len(req.Entries) == lim.CertIDs {
			return malformed("too many CertIDs")
		}
		if err := req.readEntry(&list, lim); err != nil {
			return err
		}
	}
	var err error
	req.Extensions, req.ExtensionsGiven, err = readOptionalExtensions(
		&tbs, tagContext2, req.Extensions, lim)
	if err != nil {
		return err
	}
	if !tbs.Empty() {
		return malformed("unexpected field in tbsRequest")
	}
	return nil
}

// readEntry appends the next Request of the list to Entries. It reuses the slices of an earlier
// request.
func (req *Request) readEntry(list *cryptobyte.String, lim ReadLimits) error {
	var request cryptobyte.String
	if !readASN1(list, &request, asn1.SEQUENCE) {
		return malformed("request is not a SEQUENCE")
	}
	if n := len(req.Entries); n < cap(req.Entries) {
		req.Entries = req.Entries[:n+1]
	} else {
		req.Entries = append(req.Entries, RequestEntry{})
	}
	entry := &req.Entries[len(req.Entries)-1]
	if err := entry.CertID.read(&request); err != nil {
		return err
	}
	var err error
	entry.Extensions, entry.ExtensionsGiven, err = readOptionalExtensions(
		&request, tagContext0, entry.Extensions[:0], lim)
	if err != nil {
		return err
	}
	if !request.Empty() {
		return malformed("unexpected field in request")
	}
	for i := range entry.Extensions {
		if entry.Extensions[i].Critical {
			return malformed("unknown critical extension in request")
		}
	}
	return nil
}

// read reads one CertID. One with an unknown hash algorithm is well-formed and its hashes may have
// any length; no issuer matches it.
func (id *CertID) read(s *cryptobyte.String) error {
	*id = CertID{}
	var element, body, algorithm, oid, nameHash, keyHash cryptobyte.String
	if !readElement(s, &element) {
		return malformed("no CertID")
	}
	id.Raw = element
	if !readASN1(&element, &body, asn1.SEQUENCE) {
		return malformed("no CertID")
	}
	content := []byte(body)
	if !readASN1(&body, &algorithm, asn1.SEQUENCE) ||
		!readASN1(&algorithm, &oid, asn1.OBJECT_IDENTIFIER) || !isOID(oid) {
		return malformed("bad hashAlgorithm")
	}
	id.Hash = hashByOID(oid)
	if id.Hash != 0 && !algorithm.Empty() && !bytes.Equal(algorithm, derNull) {
		return malformed("hashAlgorithm parameters are neither absent nor NULL")
	}
	if !readASN1(&body, &nameHash, asn1.OCTET_STRING) ||
		!readASN1(&body, &keyHash, asn1.OCTET_STRING) {
		return malformed("bad issuer hashes")
	}
	if id.Hash != 0 && (len(nameHash) != id.Hash.Size() || len(keyHash) != id.Hash.Size()) {
		return malformed("issuer hash does not fit its algorithm")
	}
	id.Issuer = content[:len(content)-len(body)]
	if !readASN1(&body, (*cryptobyte.String)(&id.Serial), asn1.INTEGER) ||
		!isMinimalInteger(id.Serial) {
		return malformed("bad serialNumber")
	}
	if len(id.Serial) > MaxSerial {
		return malformed("serialNumber too long")
	}
	if !body.Empty() {
		return malformed("unexpected field in CertID")
	}
	return nil
}

// readOptionalExtensions reads an explicitly tagged Extensions field and appends it to list.
func readOptionalExtensions(
	s *cryptobyte.String, tag asn1.Tag, list []Extension, lim ReadLimits,
) ([]Extension, bool, error) {
	var field, extensions cryptobyte.String
	var present bool
	if !s.ReadOptionalASN1(&field, &present, tag) {
		return list, false, malformed("bad extensions")
	}
	if !present {
		return list, false, nil
	}
	if !readASN1(&field, &extensions, asn1.SEQUENCE) || !field.Empty() {
		return list, true, malformed("extensions are not one SEQUENCE")
	}
	if lim.Strict && extensions.Empty() {
		return list, true, malformed("empty extensions")
	}
	for !extensions.Empty() {
		if len(list) == lim.Extensions {
			return list, true, malformed("too many extensions")
		}
		var ext Extension
		if err := ext.read(&extensions); err != nil {
			return list, true, err
		}
		for i := range list {
			if bytes.Equal(list[i].OID, ext.OID) {
				return list, true, malformed("extension given twice")
			}
		}
		list = append(list, ext)
	}
	return list, true, nil
}

func (ext *Extension) read(s *cryptobyte.String) error {
	var body, flag cryptobyte.String
	if !readASN1(s, &body, asn1.SEQUENCE) {
		return malformed("extension is not a SEQUENCE")
	}
	if !readASN1(&body, (*cryptobyte.String)(&ext.OID), asn1.OBJECT_IDENTIFIER) ||
		!isOID(ext.OID) {
		return malformed("bad extnID")
	}
	if !body.ReadOptionalASN1(&flag, &ext.CriticalGiven, asn1.BOOLEAN) {
		return malformed("bad critical flag")
	}
	if ext.CriticalGiven {
		if len(flag) != 1 || (flag[0] != 0 && flag[0] != 0xff) {
			return malformed("bad critical flag")
		}
		ext.Critical = flag[0] == 0xff
	}
	if !readASN1(&body, (*cryptobyte.String)(&ext.Value), asn1.OCTET_STRING) ||
		!body.Empty() {
		return malformed("bad extnValue")
	}
	return nil
}

// readKnownExtensions interprets the request extensions. An unknown critical one is an error.
func (req *Request) readKnownExtensions() error {
	for i := range req.Extensions {
		ext := &req.Extensions[i]
		var err error
		switch {
		case bytes.Equal(ext.OID, oidNonce):
			err = req.readNonce(ext.Value)
		case bytes.Equal(ext.OID, oidAcceptable):
			err = checkAcceptable(ext.Value)
		case bytes.Equal(ext.OID, oidPreferredSigAlgs):
			err = req.readPreferred(ext.Value)
		case ext.Critical:
			err = malformed("unknown critical extension")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readNonce reads a nonce. A value that is one OCTET STRING is a wrapped nonce, and one that is no
// TLV is the bare nonce of an old client. Anything between the two is malformed.
func (req *Request) readNonce(value cryptobyte.String) error {
	req.Nonce, req.NonceForm = value, NonceBare
	var element, content cryptobyte.String
	var tag asn1.Tag
	rest := value
	if rest.ReadAnyASN1Element(&element, &tag) && (tag == asn1.OCTET_STRING || rest.Empty()) {
		if tag != asn1.OCTET_STRING || !rest.Empty() || !readASN1(&element, &content, tag) {
			return malformed("nonce is not one OCTET STRING")
		}
		req.Nonce, req.NonceForm = content, NonceWrapped
	}
	if len(req.Nonce) == 0 || len(req.Nonce) > MaxNonce {
		return malformed("nonce length is not 1 to 128")
	}
	return nil
}

// checkAcceptable returns an error if the client does not accept basic responses, the only type
// that exists (RFC 6960 section 4.4.3).
func checkAcceptable(value cryptobyte.String) error {
	var list, oid cryptobyte.String
	if !readASN1(&value, &list, asn1.SEQUENCE) || !value.Empty() {
		return malformed("bad acceptableResponses")
	}
	basic := false
	for !list.Empty() {
		if !readASN1(&list, &oid, asn1.OBJECT_IDENTIFIER) || !isOID(oid) {
			return malformed("bad acceptableResponses")
		}
		basic = basic || bytes.Equal(oid, oidBasic)
	}
	if !basic {
		return malformed("acceptableResponses without id-pkix-ocsp-basic")
	}
	return nil
}

// readPreferred reads PreferredSignatureAlgorithms (RFC 6960 section 4.4.7.1).
func (req *Request) readPreferred(value cryptobyte.String) error {
	var list, one, algorithm, body, oid, key cryptobyte.String
	if !readASN1(&value, &list, asn1.SEQUENCE) || !value.Empty() || list.Empty() {
		return malformed("bad preferredSignatureAlgorithms")
	}
	for !list.Empty() {
		if !readASN1(&list, &one, asn1.SEQUENCE) || !readElement(&one, &algorithm) {
			return malformed("bad preferredSignatureAlgorithms")
		}
		element := algorithm
		if !readASN1(&element, &body, asn1.SEQUENCE) ||
			!readASN1(&body, &oid, asn1.OBJECT_IDENTIFIER) || !isOID(oid) {
			return malformed("bad preferredSignatureAlgorithms")
		}
		if !one.Empty() && (!readASN1(&one, &key, asn1.SEQUENCE) || !one.Empty()) {
			return malformed("bad preferredSignatureAlgorithms")
		}
		if alg := signatureAlgorithmOf(algorithm); alg != x509.UnknownSignatureAlgorithm {
			req.Preferred = append(req.Preferred, alg)
		}
	}
	return nil
}

// Signature is the optionalSignature of a request (RFC 6960 section 4.1.1).
type Signature struct {
	Raw          []byte                  // the whole Signature
	Algorithm    x509.SignatureAlgorithm // x509.UnknownSignatureAlgorithm if not supported
	Value        []byte
	Certificates [][]byte
}

// read parses one Signature and does not verify it.
func (sig *Signature) read(input cryptobyte.String) error {
	sig.Raw = input
	var body, algorithm, element, oid, field, list, cert cryptobyte.String
	var bits encodingasn1.BitString
	var present bool
	if !readASN1(&input, &body, asn1.SEQUENCE) || !input.Empty() ||
		!readElement(&body, &algorithm) {
		return malformed("bad optionalSignature")
	}
	element = algorithm
	if !readASN1(&element, &field, asn1.SEQUENCE) ||
		!readASN1(&field, &oid, asn1.OBJECT_IDENTIFIER) || !isOID(oid) {
		return malformed("bad signatureAlgorithm")
	}
	sig.Algorithm = signatureAlgorithmOf(algorithm)
	if !body.ReadASN1BitString(&bits) {
		return malformed("bad signature")
	}
	sig.Value = bits.Bytes
	if !body.ReadOptionalASN1(&field, &present, tagContext0) || !body.Empty() {
		return malformed("unexpected field in optionalSignature")
	}
	if !present {
		return nil
	}
	if !readASN1(&field, &list, asn1.SEQUENCE) || !field.Empty() {
		return malformed("bad certs")
	}
	for !list.Empty() {
		if len(sig.Certificates) == maxSignatureCerts {
			return malformed("too many certs")
		}
		if !readElement(&list, &cert) {
			return malformed("bad certs")
		}
		sig.Certificates = append(sig.Certificates, cert)
	}
	return nil
}

// isGeneralName reports whether b is one element with the tag of a GeneralName choice. Its content
// is not read anywhere.
func isGeneralName(b cryptobyte.String) bool {
	var element cryptobyte.String
	var tag asn1.Tag
	return b.ReadAnyASN1Element(&element, &tag) && b.Empty() && tag&0xc0 == 0x80 && tag&0x1f <= 8
}

// isOID reports whether the content octets of an OBJECT IDENTIFIER are complete and minimal (X.690
// 8.19).
func isOID(b []byte) bool {
	start := true
	for _, c := range b {
		if start && c == 0x80 {
			return false
		}
		start = c&0x80 == 0
	}
	return len(b) > 0 && start
}

// isMinimalInteger reports whether the content octets of an INTEGER are minimal (X.690 8.3.2).
func isMinimalInteger(b []byte) bool {
	if len(b) < 2 {
		return len(b) == 1
	}
	return !(b[0] == 0 && b[1]&0x80 == 0) && !(b[0] == 0xff && b[1]&0x80 != 0)
}
