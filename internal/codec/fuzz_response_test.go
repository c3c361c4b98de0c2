package codec

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"
)

// The ASN.1 of RFC 6960 section 4.2.1, for encoding/asn1.
type (
	secondResponse struct {
		Status asn1.Enumerated
		Bytes  struct {
			Type     asn1.ObjectIdentifier
			Response []byte
		} `asn1:"explicit,tag:0,optional"`
	}
	secondBasic       = basicOf[secondData]
	basicOf[Data any] struct {
		Data         Data
		Algorithm    secondAlgorithm
		Signature    asn1.BitString
		Certificates []asn1.RawValue `asn1:"explicit,tag:0,optional"`
	}
	secondData struct {
		Raw         asn1.RawContent
		Version     int `asn1:"explicit,tag:0,default:0,optional"`
		ResponderID asn1.RawValue
		ProducedAt  time.Time `asn1:"generalized"`
		Responses   []secondSingle
		Extensions  []secondExtension `asn1:"explicit,tag:1,optional"`
	}
	// shortData is what x/crypto/ocsp reads of a ResponseData.
	shortData struct {
		Raw         asn1.RawContent
		Version     int `asn1:"explicit,tag:0,default:0,optional"`
		ResponderID asn1.RawValue
		ProducedAt  time.Time `asn1:"generalized"`
		Responses   []secondSingle
	}
	secondSingle struct {
		Raw     asn1.RawContent
		CertID  secondCertID
		Good    asn1.Flag `asn1:"tag:0,optional"`
		Revoked struct {
			At     time.Time       `asn1:"generalized"`
			Reason asn1.Enumerated `asn1:"explicit,tag:0,optional"`
		} `asn1:"tag:1,optional"`
		Unknown    asn1.Flag         `asn1:"tag:2,optional"`
		ThisUpdate time.Time         `asn1:"generalized"`
		NextUpdate time.Time         `asn1:"generalized,explicit,tag:0,optional"`
		Extensions []secondExtension `asn1:"explicit,tag:1,optional"`
	}
)

// The syntax of a response, as far as ParseResponse relies on it.
var (
	responseShape = shaped("0aa0", map[byte]*shape{
		0xa0: wrapped("30", shaped("0604", nil)),
	})
	basicShape = shaped("303003(a0)?", nil)
	dataShape  = func() *shape {
		single := shaped("30(80|a1|82)18(a0)?(a1)?", map[byte]*shape{0xa0: wrapped("18", nil)})
		list := shaped("(30)*", map[byte]*shape{0x30: single})
		return shaped("(a0)?(a1|a2)1830(a1)?", map[byte]*shape{0x30: list})
	}()
)

// judgedResponse is a response with what each reader made of it.
type judgedResponse struct {
	der    []byte
	first  *Response
	outer  *secondResponse
	second *secondBasic
}

// readBasic has encoding/asn1 read a response.
func readBasic[Data any](der []byte, outer *secondResponse, basic *basicOf[Data]) error {
	rest, err := asn1.Unmarshal(der, outer)
	if err == nil && len(rest) == 0 {
		rest, err = asn1.Unmarshal(outer.Bytes.Response, basic)
	}
	if err == nil && len(rest) > 0 {
		err = errors.New("trailing octets")
	}
	return err
}

// judgeResponse has the two readers of this package's tests read a response. It returns their
// errors.
func judgeResponse(der []byte) (j *judgedResponse, first, second error) {
	j = &judgedResponse{der: der, outer: new(secondResponse), second: new(secondBasic)}
	j.first, first = ParseResponse(der)
	return j, first, readBasic(der, j.outer, j.second)
}

// refusedResponses are those that ParseResponse refuses and encoding/asn1 accepts.
var refusedResponses = []difference[*judgedResponse]{
	{"a response about no certificate or several", "", func(j *judgedResponse) bool {
		return len(j.second.Data.Responses) != 1
	}},
	{"a version that is written out", "", func(j *judgedResponse) bool {
		return tlv(tlv(j.second.Data.Raw).Bytes).FullBytes[0] == tagContext0
	}},
	{"a SingleResponse without nextUpdate", "", func(j *judgedResponse) bool {
		return j.second.Data.Responses[0].NextUpdate.IsZero()
	}},
	{"a time with a zone", "", func(j *judgedResponse) bool {
		d := &j.second.Data
		for _, at := range []time.Time{
			d.ProducedAt, d.Responses[0].ThisUpdate, d.Responses[0].NextUpdate,
		} {
			if at.Location() != time.UTC {
				return true
			}
		}
		return false
	}},
	{"a field that the syntax does not have, or a tag that its content does not fill", "",
		func(j *judgedResponse) bool {
			return !responseShape.fits(j.der) || !basicShape.fits(j.outer.Bytes.Response) ||
				!dataShape.fits(j.second.Data.Raw)
		}},
}

// refusedResponsesByASN1 are those that ParseResponse accepts and encoding/asn1 refuses.
var refusedResponsesByASN1 = []difference[*judgedResponse]{
	{"a part that ParseResponse skips and encoding/asn1 cannot read", "",
		func(j *judgedResponse) bool { return j.readable(bytes.Clone) }},
	{"a time with a fraction of a second", "", func(j *judgedResponse) bool {
		fractions := 0
		whole := func(at []byte) []byte {
			text := tlv(at).Bytes
			if fraction.Match(text) {
				fractions++
				at = appendTLV(nil, tagGeneralizedTime, text[:14], []byte("Z"))
			}
			return at
		}
		return j.readable(whole) && fractions > 0
	}},
}

var fraction = regexp.MustCompile(`^[0-9]{14}[.,][0-9]+Z$`)

// readable reports whether encoding/asn1 reads the same values as ParseResponse from what that does
// not skip. The rest is replaced by what this package writes. The times pass through a function.
func (j *judgedResponse) readable(at func([]byte) []byte) bool {
	p := goodParts()
	basic := within(j.der, 1, 0, 1, 0)
	single := within(basic, 0, 2, 0)
	p.produced, p.this, p.next = at(within(basic, 0, 1)), at(within(single, 2)),
		at(within(single, 3, 0))
	p.signature = within(basic, 2)
	mended, err, secondErr := judgeResponse(p.der())
	return err == nil && secondErr == nil && mended.first.values() == mended.second.Data.values() &&
		mended.first.times() == j.first.times() &&
		bytes.Equal(mended.second.Signature.Bytes, j.first.Signature)
}

// within returns the element to which a path leads: the number of an element in der, the number of
// one in that, and so on. What comes after it is not read.
func within(der []byte, path ...int) []byte {
	for _, n := range path {
		rest := tlv(der).Bytes
		for range n {
			rest = rest[len(tlv(rest).FullBytes):]
		}
		der = tlv(rest).FullBytes
	}
	return der
}

// skippedResponsesByOCSP are those that only x/crypto/ocsp accepts: what encoding/asn1 refuses is
// not read by it, and the rest is of a kind that ParseResponse refuses.
var skippedResponsesByOCSP = []difference[*judgedResponse]{
	{skippedByOCSP, "", func(j *judgedResponse) bool {
		var short basicOf[shortData]
		if readBasic(j.der, j.outer, &short) != nil {
			return false
		}
		d := &short.Data
		return explained(refusedResponses, "", &judgedResponse{
			der: j.der, outer: j.outer, second: &secondBasic{
				Data: secondData{
					Raw: d.Raw, Version: d.Version, ResponderID: d.ResponderID,
					ProducedAt: d.ProducedAt, Responses: d.Responses,
				},
				Algorithm: short.Algorithm, Signature: short.Signature,
				Certificates: short.Certificates,
			},
		})
	}},
}

// refusedResponsesByOCSP are those that only x/crypto/ocsp refuses.
var refusedResponsesByOCSP = []difference[*judgedResponse]{
	{"an error status beside an answer", "", func(j *judgedResponse) bool {
		return j.outer.Status != asn1.Enumerated(Successful)
	}},
	{"another responseType than id-pkix-ocsp-basic", "", func(j *judgedResponse) bool {
		return !j.outer.Bytes.Type.Equal(idBasic)
	}},
	{"a critical extension of a SingleResponse", "", func(j *judgedResponse) bool {
		return slices.ContainsFunc(j.second.Data.Responses[0].Extensions, isCritical)
	}},
	{"a CertID with an unknown hash algorithm", "", func(j *judgedResponse) bool {
		return hashSizes[j.second.Data.Responses[0].CertID.Hash.ID.String()] == 0
	}},
	{"an embedded certificate and an algorithm that x/crypto/ocsp does not know", "",
		func(j *judgedResponse) bool {
			return len(j.second.Certificates) > 0 &&
				!slices.Contains(knownByOCSP, j.second.Algorithm.ID.String())
		}},
	{"an embedded certificate that did not sign the response", "", func(j *judgedResponse) bool {
		if len(j.second.Certificates) == 0 {
			return false
		}
		cert, err := x509.ParseCertificate(j.second.Certificates[0].FullBytes)
		return err != nil || cert.CheckSignature(signatureAlgorithmOf(j.second.Algorithm.Raw),
			j.second.Data.Raw, j.second.Signature.RightAlign()) != nil
	}},
	{"a responderID that is neither a name nor a hash", "", func(j *judgedResponse) bool {
		id := j.second.Data.ResponderID
		var name pkix.RDNSequence
		var hash []byte
		rest, err := id.Bytes, errors.New("another choice")
		switch id.Tag {
		case 1:
			rest, err = asn1.Unmarshal(id.Bytes, &name)
		case 2:
			rest, err = asn1.Unmarshal(id.Bytes, &hash)
		}
		return err != nil || len(rest) > 0
	}},
}

// knownByOCSP are the signature algorithms of x/crypto/ocsp that crypto/x509 still verifies.
var knownByOCSP = []string{
	"1.2.840.113549.1.1.11", "1.2.840.113549.1.1.12", "1.2.840.113549.1.1.13",
	"1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3", "1.2.840.10045.4.3.4",
}

// rewritten returns what this package writes of the values that encoding/asn1 read.
func (j *judgedResponse) rewritten() []byte {
	d := ResponseData{
		ResponderID: j.second.Data.ResponderID.FullBytes,
		ProducedAt:  j.second.Data.ProducedAt.Unix(),
	}
	for i := range j.second.Data.Responses {
		d.Singles = append(d.Singles, j.second.Data.Responses[i].single())
	}
	for _, e := range j.second.Data.Extensions {
		switch {
		case e.ID.Equal(idNonce):
			var nonce asn1.RawValue
			if _, err := asn1.Unmarshal(e.Value, &nonce); err == nil {
				d.Nonce = nonce.Bytes
			}
		case e.ID.Equal(idExtendedRevoke):
			d.ExtendedRevoke = true
		}
	}
	var certs []byte
	if list := j.second.Certificates; list != nil {
		var all [][]byte
		for _, cert := range list {
			all = append(all, cert.FullBytes)
		}
		certs = CertsField(all...)
	}
	return AppendResponse(nil, d.AppendTBS(nil), j.second.Algorithm.Raw, j.second.Signature.Bytes,
		certs)
}

var (
	idExtendedRevoke = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 9}
	idArchiveCutoff  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 6}
	idInvalidityDate = asn1.ObjectIdentifier{2, 5, 29, 24}
)

func (s *secondSingle) single() Single {
	single := Single{
		CertID: s.CertID.Raw, Status: Revoked, Reason: byte(s.Revoked.Reason),
		RevokedAt: s.Revoked.At.Unix(), ThisUpdate: s.ThisUpdate.Unix(),
		NextUpdate: s.NextUpdate.Unix(), ArchiveCutoff: NoTime, InvalidityDate: NoTime,
	}
	switch {
	case bool(s.Good):
		single.Status = Good
	case bool(s.Unknown):
		single.Status = Unknown
	}
	for _, e := range s.Extensions {
		var at time.Time
		if _, err := asn1.UnmarshalWithParams(e.Value, &at, "generalized"); err != nil {
			continue
		}
		switch {
		case e.ID.Equal(idArchiveCutoff):
			single.ArchiveCutoff = at.Unix()
		case e.ID.Equal(idInvalidityDate):
			single.InvalidityDate = at.Unix()
		}
	}
	return single
}

// responseValues are what all three readers take from a response.
type responseValues struct {
	tbs string
	responseTimes
}

type responseTimes struct{ producedAt, thisUpdate, nextUpdate int64 }

func (r *Response) times() responseTimes {
	return responseTimes{r.ProducedAt, r.ThisUpdate, r.NextUpdate}
}

func (r *Response) values() responseValues { return responseValues{string(r.TBS), r.times()} }

// values returns those of a response about one certificate.
func (d *secondData) values() responseValues {
	single := &d.Responses[0]
	return responseValues{string(d.Raw), responseTimes{
		d.ProducedAt.Unix(), single.ThisUpdate.Unix(), single.NextUpdate.Unix(),
	}}
}

// FuzzDifferentialResponse compares ParseResponse with encoding/asn1 and x/crypto/ocsp. What they
// judge differently must be of a kind that is listed above. Of what they accept they must read the
// same values.
func FuzzDifferentialResponse(f *testing.F) {
	seeds(f, "responses")
	for _, der := range exampleResponses() {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		j, err, secondErr := judgeResponse(der)
		other, otherErr := xocsp.ParseResponse(der, nil)
		verdict := func() string {
			const text = "ParseResponse: %v; encoding/asn1: %v; x/crypto/ocsp: %v: %x"
			return fmt.Sprintf(text, err, secondErr, otherErr, der)
		}
		if list := responseDifferences(err, secondErr, otherErr); list != nil &&
			!explained(list, "", j) {
			t.Fatalf("not of a kind: %s", verdict())
		}
		values := map[responseValues]string{}
		if err == nil {
			values[j.first.values()] = "ParseResponse"
		}
		if secondErr == nil && len(j.second.Data.Responses) == 1 {
			values[j.second.Data.values()] = "encoding/asn1"
		}
		if otherErr == nil {
			values[responseValues{string(other.TBSResponseData), responseTimes{
				other.ProducedAt.Unix(), other.ThisUpdate.Unix(), other.NextUpdate.Unix(),
			}}] = "x/crypto/ocsp"
		}
		if len(values) > 1 {
			t.Fatalf("they read other values: %v: %s", values, verdict())
		}
		if err == nil && secondErr == nil &&
			(!bytes.Equal(j.first.Signature, j.second.Signature.Bytes) ||
				!bytes.Equal(j.first.CertID, j.second.Data.Responses[0].CertID.Raw)) {
			t.Fatalf("encoding/asn1 reads %+v, ParseResponse %+v: %x", j.second, j.first, der)
		}
	})
}

// responseDifferences returns the kinds that explain why the readers judge a response differently,
// by their errors. It returns nil if they agree.
func responseDifferences(first, second, other error) []difference[*judgedResponse] {
	switch {
	case first == nil && second != nil:
		return refusedResponsesByASN1
	case first != nil && second == nil:
		return refusedResponses
	case first == nil && other != nil:
		return refusedResponsesByOCSP
	case first != nil && other == nil:
		return skippedResponsesByOCSP
	default:
		return nil
	}
}

// FuzzWriteResponse: encoding/asn1 and x/crypto/ocsp read what was written, and no other encoding
// of it is written.
func FuzzWriteResponse(f *testing.F) {
	f.Add(byte(0), byte(0), int64(0), int64(1), int64(2), int64(3), int64(-1), []byte{7}, []byte(nil))
	f.Add(byte(1), byte(4), int64(1e9), int64(1), int64(2), int64(-3), int64(4), []byte{0, 0x80},
		[]byte("n"))
	f.Fuzz(func(t *testing.T, status, reason byte, produced, this, next, revoked, extra int64,
		serial, nonce []byte) {
		// Times are those that GeneralizedTime has.
		inRange := func(unix int64) int64 {
			const first, last int64 = NoTime + 1, 253402300799
			return first + int64(uint64(unix-first)%uint64(last-first+1))
		}
		n := new(big.Int).SetBytes(serial[:min(len(serial), MaxSerial-1)])
		issuer := CertIDIssuer(CertIDHashes()[reason%4], status&8 == 0, []byte("name"), []byte("key"))
		want := Single{
			CertID: CertIDFrom(issuer, SerialBytes(n)), Status: CertStatus(status % 3),
			RevokedAt: inRange(revoked), Reason: reason % 11, InvalidityDate: NoTime,
			ThisUpdate: inRange(this), NextUpdate: inRange(next), ArchiveCutoff: NoTime,
		}
		if status&16 != 0 {
			want.InvalidityDate = inRange(extra)
		}
		if status&32 != 0 {
			want.ArchiveCutoff = inRange(-extra)
		}
		if want.Status != Revoked {
			want.RevokedAt, want.Reason = NoTime, NoReason
		}
		data := ResponseData{
			ResponderID: ByKey(nonce), ProducedAt: inRange(produced), Singles: []Single{want},
			Nonce: nonce, ExtendedRevoke: status&64 != 0,
		}
		if status&128 != 0 {
			data.ResponderID = ByName([]byte{0x30, 0})
		}
		const signature = "signature"
		der := AppendResponse(nil, data.AppendTBS(nil), signatureAlgorithms[0].der,
			[]byte(signature), nil)

		j, err, secondErr := judgeResponse(der)
		if secondErr != nil {
			t.Fatalf("encoding/asn1: %v: %x", secondErr, der)
		}
		if again := j.rewritten(); !bytes.Equal(again, der) {
			t.Fatalf("%x\nis written again as\n%x", der, again)
		}
		first := j.first
		if err != nil || first.ProducedAt != data.ProducedAt || !bytes.Equal(first.CertID, want.CertID) {
			t.Fatalf("ParseResponse: %+v, %v: %x", first, err, der)
		}
		got, err := xocsp.ParseResponse(der, nil)
		if err != nil {
			t.Fatalf("x/crypto/ocsp: %v: %x", err, der)
		}
		revokedAt := NoTime
		if want.Status == Revoked {
			revokedAt = got.RevokedAt.Unix()
		}
		if CertStatus(got.Status) != want.Status || got.SerialNumber.Cmp(n) != 0 ||
			got.ThisUpdate.Unix() != want.ThisUpdate || got.NextUpdate.Unix() != want.NextUpdate ||
			got.ProducedAt.Unix() != data.ProducedAt || revokedAt != want.RevokedAt ||
			got.RevocationReason != int(want.Reason) || string(got.Signature) != signature ||
			got.IssuerHash != CertIDHashes()[reason%4] {
			t.Fatalf("x/crypto/ocsp reads %+v, written was %+v: %x", got, want, der)
		}
	})
}
