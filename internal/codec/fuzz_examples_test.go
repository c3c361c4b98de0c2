package codec

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"

	xocsp "golang.org/x/crypto/ocsp"
)

// exampleRequests has a request for each kind of difference, by its name. They are seeds.
var exampleRequests = sync.OnceValue(func() map[string][]byte {
	sequence := func(parts ...[]byte) []byte { return appendTLV(nil, tagSequence, parts...) }
	issuer := CertIDIssuer(crypto.SHA256, true, []byte("name"), []byte("key"))
	id := CertIDFrom(issuer, []byte{7})
	with := func(change func(*Request)) []byte {
		req := Request{Entries: []RequestEntry{{CertID: CertID{Raw: id}}}}
		change(&req)
		return AppendRequest(nil, &req)
	}
	withID := func(raw []byte) []byte {
		return with(func(req *Request) { req.Entries[0].CertID.Raw = raw })
	}
	extension := func(oid, value []byte) []byte {
		return with(func(req *Request) { req.Extensions = []Extension{{OID: oid, Value: value}} })
	}
	extensions := func(n int, change func(i int, e *Extension)) []byte {
		return with(func(req *Request) {
			for i := range n {
				req.Extensions = append(req.Extensions, Extension{OID: []byte{0x2a, byte(i)}})
				change(i, &req.Extensions[i])
			}
		})
	}
	hashes := bytes.Repeat(appendTLV(nil, tagOctetString, make([]byte, 32)), 2)
	idOf := func(algorithm, hashes, serial []byte) []byte {
		return sequence(sequence(algorithm), hashes, appendTLV(nil, tagInteger, serial))
	}
	oid := func(content ...byte) []byte { return appendTLV(nil, tagOID, content) }
	sha256 := oid(oidSHA256...)
	signed := func(certificates int) []byte {
		certs := bytes.Repeat(sequence(), certificates)
		return with(func(req *Request) {
			req.Signature.Raw = sequence(signatureAlgorithms[0].der, []byte{tagBitString, 2, 0, 1},
				appendTLV(nil, tagContext0, sequence(certs)))
		})
	}
	version := with(func(req *Request) { req.VersionGiven = true })
	return map[string][]byte{
		"a field that the syntax does not have, or a tag that its content does not fill": withID(
			append(id[:len(id):len(id)], 5, 0)),
		"another version than v1": bytes.Replace(version,
			[]byte{tagContext0, 3, tagInteger, 1, 0}, []byte{tagContext0, 3, tagInteger, 1, 1}, 1),
		"a requestorName that is not a GeneralName": with(func(req *Request) {
			req.RequestorName = sequence()
		}),
		"an empty requestList": with(func(req *Request) { req.Entries = nil }),
		"more CertIDs than Limits.MaxCertIDs": with(func(req *Request) {
			for range fuzzLimits.CertIDs {
				req.Entries = append(req.Entries, req.Entries[0])
			}
		}),
		"more than 16 extensions in one list": extensions(17, func(int, *Extension) {}),
		"an extension given twice in one list": extensions(2, func(_ int, e *Extension) {
			e.OID = []byte{0x2a}
		}),
		"a critical extension of one Request": with(func(req *Request) {
			req.Entries[0].Extensions = []Extension{{OID: []byte{0x2a}, Critical: true}}
		}),
		"an unknown critical extension of the request": extensions(1, func(_ int, e *Extension) {
			e.Critical = true
		}),
		"parameters of a hash algorithm that are neither absent nor NULL": withID(
			idOf(append(sha256[:len(sha256):len(sha256)], 4, 0), hashes, []byte{7})),
		"an issuer hash of another length": withID(
			idOf(sha256, bytes.Repeat([]byte{4, 1, 9}, 2), []byte{7})),
		"a serialNumber of more than 64 octets": withID(
			idOf(sha256, hashes, bytes.Repeat([]byte{1}, 65))),
		"a nonce that is another element": extension(oidNonce, []byte{5, 0}),
		"a nonce that is empty or longer than 128 octets": extension(oidNonce,
			appendTLV(nil, tagOctetString, make([]byte, 129))),
		"acceptableResponses that cannot be read": extension(oidAcceptable, []byte{0x30, 1}),
		"acceptableResponses without id-pkix-ocsp-basic": extension(oidAcceptable,
			sequence(oid(0x2a))),
		"preferredSignatureAlgorithms that cannot be read": extension(oidPreferredSigAlgs,
			sequence()),
		"more than 16 certificates beside the signature": signed(17),
		"an arc of an OBJECT IDENTIFIER above 2^31-1": extension(
			[]byte{0x2a, 0x88, 0x80, 0x80, 0x80, 0}, nil),
		"parameters of an unknown algorithm that are not DER": withID(
			idOf(append(oid(0x2a), 4, 9), hashes, []byte{7})),
		"a signed request": signed(1),
		"a request with a requestorName": with(func(req *Request) {
			req.RequestorName = []byte{0x82, 1, 'x'}
		}),
		"an unknown hash algorithm": withID(idOf(oid(0x2a), hashes, []byte{7})),
		skippedByOCSP: withID(append(
			id[:len(id):len(id)], tagContext0, 4, tagSequence, 2, 5, 0)),
	}
})

// nearRequests are at the limits of what is accepted, or do not fill a tag in another place.
var nearRequests = sync.OnceValue(func() (list [][]byte) {
	examples := exampleRequests()
	explicit := appendTLV(nil, tagContext2, appendTLV(nil, tagSequence))
	id := examples["an unknown hash algorithm"]
	request := tlv(tlv(id).Bytes)
	for _, tail := range [][]byte{
		explicit, {tagContext2, 4, tagSequence, 0, 5, 0},
		// An extension whose critical flag is neither FALSE nor TRUE.
		{tagContext2, 12, tagSequence, 10, tagSequence, 8, tagOID, 1, 0x2a, 1, 1, 2, 4, 0},
	} {
		tbs := appendTLV(nil, tagSequence, request.Bytes, tail)
		list = append(list, appendTLV(nil, tagSequence, tbs))
	}
	issuer := CertIDIssuer(crypto.SHA1, false, []byte("name"), []byte("key"))
	for _, serial := range [][]byte{
		{0x80}, {0, 0x7f}, {0xff, 0x80}, bytes.Repeat([]byte{1}, 21), bytes.Repeat([]byte{1}, 64),
	} {
		for _, after := range [][]byte{nil, {5, 0}} { // the CertID
			der := appendTLV(nil, tagSequence, CertIDFrom(issuer, serial), after)
			for range 3 { // the list, tbsRequest, the request
				der = appendTLV(nil, tagSequence, der)
			}
			list = append(list, der)
		}
	}
	return list
})

// Each kind of difference has a seed that is of this kind and refused for no other reason.
func TestExampleRequests(t *testing.T) {
	t.Parallel()
	examples := exampleRequests()
	for _, list := range [][]difference[*judgedRequest]{
		refusedRequests, refusedByASN1, refusedByOCSP, skippedRequestsByOCSP,
	} {
		for _, d := range list {
			der, ok := examples[d.name]
			if !ok {
				t.Errorf("there is no request that is %s", d.name)
				continue
			}
			j, err, secondErr := judge(der)
			verdict := fmt.Sprintf("ParseRequest: %v; encoding/asn1: %v: %x", err, secondErr, der)
			if !d.holds(j) || d.why != "" && d.why != j.why {
				t.Errorf("not %s: %s", d.name, verdict)
			}
		}
	}
}

// responseParts are the elements of a response, in their order.
type responseParts struct {
	status, kind      []byte // of OCSPResponse and ResponseBytes
	version, id       []byte // of ResponseData
	produced          []byte
	certID, certState []byte // of SingleResponse
	this, next        []byte
	more              []byte // what follows nextUpdate
	singles           int    // how many there are
	extensions        []byte // of ResponseData
	algorithm         []byte
	signature, certs  []byte
}

// goodParts are those of a response that this package may write.
func goodParts() responseParts {
	issuer := CertIDIssuer(crypto.SHA256, true, []byte("name"), []byte("key"))
	return responseParts{
		status: []byte{tagEnumerated, 1, byte(Successful)}, kind: responseType,
		id: ByKey([]byte("key")), produced: appendTime(nil, 1),
		certID: CertIDFrom(issuer, []byte{7}), certState: []byte{0x80, 0},
		this: appendTime(nil, 2), next: appendTime(nil, 3), singles: 1,
		algorithm: signatureAlgorithms[0].der, signature: []byte{tagBitString, 2, 0, 1},
	}
}

// tbs returns the ResponseData.
func (p *responseParts) tbs() []byte {
	next := p.next
	if next != nil {
		next = appendTLV(nil, tagContext0, next)
	}
	single := appendTLV(nil, tagSequence, p.certID, p.certState, p.this, next, p.more)
	list := appendTLV(nil, tagSequence, bytes.Repeat(single, p.singles))
	return appendTLV(nil, tagSequence, p.version, p.id, p.produced, list, p.extensions)
}

func (p *responseParts) der() []byte {
	basic := appendTLV(nil, tagSequence, p.tbs(), p.algorithm, p.signature, p.certs)
	octets := appendTLV(nil, tagOctetString, basic)
	explicit := appendTLV(nil, tagContext0, appendTLV(nil, tagSequence, p.kind, octets))
	return appendTLV(nil, tagSequence, p.status, explicit)
}

// exampleResponses has a response for each kind of difference, by its name. They are seeds.
var exampleResponses = sync.OnceValue(func() map[string][]byte {
	with := func(change func(*responseParts)) []byte {
		p := goodParts()
		change(&p)
		return p.der()
	}
	version := appendTLV(nil, tagContext0, []byte{tagInteger, 1, 0})
	extension := func(tail ...byte) []byte { // the content of one, after its identifier
		one := appendTLV(nil, tagSequence, append([]byte{tagOID, 1, 0x2a}, tail...))
		return appendTLV(nil, tagContext1, appendTLV(nil, tagSequence, one))
	}
	at := func(text string) []byte { return appendTLV(nil, tagGeneralizedTime, []byte(text)) }
	return map[string][]byte{
		"a response about no certificate or several": with(func(p *responseParts) {
			p.singles = 2
		}),
		"a version that is written out": with(func(p *responseParts) {
			p.version = version
		}),
		"a SingleResponse without nextUpdate": with(func(p *responseParts) {
			p.next = nil
		}),
		"a time with a zone": with(func(p *responseParts) {
			p.this = at("20260102030405+0100")
		}),
		"a field that the syntax does not have, or a tag that its content does not fill": with(
			func(p *responseParts) { // a UTCTime
				p.produced = appendTLV(nil, 0x17, []byte("260102030405Z"))
			}),
		"a part that ParseResponse skips and encoding/asn1 cannot read": with(
			func(p *responseParts) { p.certState = []byte{0x83, 0} }),
		"a time with a fraction of a second": with(func(p *responseParts) {
			p.next = at("20260102030405,5Z")
		}),
		skippedByOCSP: with(func(p *responseParts) {
			p.version, p.extensions = version, extension(5, 0)
		}),
		"an error status beside an answer": with(func(p *responseParts) {
			p.status = []byte{tagEnumerated, 1, byte(TryLater)}
		}),
		"another responseType than id-pkix-ocsp-basic": with(func(p *responseParts) {
			p.kind = []byte{tagOID, 1, 0x2a}
		}),
		"a critical extension of a SingleResponse": with(func(p *responseParts) {
			p.more = extension(1, 1, 0xff, tagOctetString, 0)
		}),
		"a CertID with an unknown hash algorithm": with(func(p *responseParts) {
			p.certID = bytes.Replace(p.certID, oidSHA256, bytes.Repeat([]byte{0x2a}, len(oidSHA256)), 1)
		}),
		"an embedded certificate and an algorithm that x/crypto/ocsp does not know": with(
			func(p *responseParts) {
				key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
				template := &x509.Certificate{SerialNumber: big.NewInt(1)}
				cert, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
				if err != nil {
					panic(err)
				}
				p.algorithm = AlgorithmIdentifier(x509.PureEd25519)
				p.signature = appendTLV(nil, tagBitString, []byte{0}, ed25519.Sign(key, p.tbs()))
				p.certs = CertsField(cert)
			}),
		"an embedded certificate that did not sign the response": with(func(p *responseParts) {
			p.certs = CertsField([]byte{tagSequence, 0})
		}),
		"a responderID that is neither a name nor a hash": with(func(p *responseParts) {
			p.id = []byte{0xa3, 0}
		}),
	}
})

// Each kind of difference has a seed that the readers judge so, and that is of no other kind.
func TestExampleResponses(t *testing.T) {
	t.Parallel()
	examples := exampleResponses()
	good := goodParts()
	if j, err, secondErr := judgeResponse(good.der()); err != nil || secondErr != nil {
		t.Errorf("ParseResponse: %v; encoding/asn1: %v: %x", err, secondErr, j.der)
	}
	for _, list := range [][]difference[*judgedResponse]{
		refusedResponses, refusedResponsesByASN1, refusedResponsesByOCSP, skippedResponsesByOCSP,
	} {
		for _, d := range list {
			der, ok := examples[d.name]
			if !ok {
				t.Errorf("there is no response that is %s", d.name)
				continue
			}
			j, err, secondErr := judgeResponse(der)
			_, otherErr := xocsp.ParseResponse(der, nil)
			var kinds []string
			for _, of := range responseDifferences(err, secondErr, otherErr) {
				if of.holds(j) {
					kinds = append(kinds, of.name)
				}
			}
			if !slices.Equal(kinds, []string{d.name}) {
				t.Errorf("not %s, but %q: ParseResponse: %v; encoding/asn1: %v; x/crypto/ocsp: %v: %x",
					d.name, kinds, err, secondErr, otherErr, der)
			}
		}
	}
}
