package codec

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
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
	secondBasic struct {
		Data         secondData
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

// read has encoding/asn1 read the response.
func (j *judgedResponse) read() error {
	rest, err := asn1.Unmarshal(j.der, j.outer)
	if err == nil && len(rest) == 0 {
		rest, err = asn1.Unmarshal(j.outer.Bytes.Response, j.second)
	}
	if err == nil && len(rest) > 0 {
		err = errors.New("trailing octets")
	}
	return err
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

// refusedResponsesByOCSP are those that this package may write and x/crypto/ocsp refuses.
var refusedResponsesByOCSP = []difference[*judgedResponse]{
	{"a CertID with an unknown hash algorithm", "", func(j *judgedResponse) bool {
		return hashSizes[j.second.Data.Responses[0].CertID.Hash.ID.String()] == 0
	}},
	{"an embedded certificate that did not sign the response", "", func(j *judgedResponse) bool {
		if len(j.second.Certificates) == 0 {
			return false
		}
		cert, err := x509.ParseCertificate(j.second.Certificates[0].FullBytes)
		return err != nil || cert.CheckSignature(signatureAlgorithmOf(j.second.Algorithm.Raw),
			j.second.Data.Raw, j.second.Signature.Bytes) != nil
	}},
	{"a responderID that is neither a name nor a hash", "", func(j *judgedResponse) bool {
		id := j.second.Data.ResponderID
		var name pkix.RDNSequence
		var hash []byte
		rest, err := asn1.Unmarshal(id.Bytes, &name)
		if id.Tag == 2 {
			rest, err = asn1.Unmarshal(id.Bytes, &hash)
		}
		return err != nil || len(rest) > 0
	}},
}

// skippedResponse is the difference of the responses that ParseResponse accepts and the others do
// not: it skips what it need not know, and its callers compare.
const skippedResponse = "a response that is not, octet for octet, what this package writes"

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

// FuzzDifferentialResponse compares ParseResponse with encoding/asn1 and x/crypto/ocsp. What they
// judge differently must be of a kind that is listed above. Of what they accept they must read the
// same values. A response that this package writes must be accepted by all.
func FuzzDifferentialResponse(f *testing.F) {
	seeds(f, "responses")
	f.Fuzz(func(t *testing.T, der []byte) {
		j := &judgedResponse{der: der, outer: new(secondResponse), second: new(secondBasic)}
		var err error
		j.first, err = ParseResponse(der)
		secondErr := j.read()
		other, otherErr := xocsp.ParseResponse(der, nil)
		switch {
		case err != nil && secondErr == nil:
			if !explained(refusedResponses, "", j) {
				t.Fatalf("encoding/asn1 accepts, ParseResponse does not: %x", der)
			}
		case err == nil && secondErr == nil:
			d := &j.second.Data
			if len(d.Responses) != 1 || !bytes.Equal(j.first.TBS, d.Raw) ||
				!bytes.Equal(j.first.Signature, j.second.Signature.Bytes) ||
				!bytes.Equal(j.first.CertID, d.Responses[0].CertID.Raw) ||
				j.first.ProducedAt != d.ProducedAt.Unix() ||
				j.first.ThisUpdate != d.Responses[0].ThisUpdate.Unix() ||
				j.first.NextUpdate != d.Responses[0].NextUpdate.Unix() {
				t.Fatalf("encoding/asn1 reads %+v, ParseResponse %+v: %x", j.second, j.first, der)
			}
			if otherErr != nil && !explained(refusedResponsesByOCSP, "", j) &&
				bytes.Equal(j.rewritten(), der) {
				t.Fatalf("this package may write, x/crypto/ocsp refuses (%v): %x", otherErr, der)
			}
		}
		if err == nil && otherErr == nil &&
			(j.first.ProducedAt != other.ProducedAt.Unix() ||
				j.first.ThisUpdate != other.ThisUpdate.Unix() ||
				j.first.NextUpdate != other.NextUpdate.Unix() ||
				!bytes.Equal(j.first.TBS, other.TBSResponseData)) {
			t.Fatalf("x/crypto/ocsp reads %+v, ParseResponse %+v: %x", other, j.first, der)
		}
	})
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

		j := &judgedResponse{der: der, outer: new(secondResponse), second: new(secondBasic)}
		if err := j.read(); err != nil {
			t.Fatalf("encoding/asn1: %v: %x", err, der)
		}
		if again := j.rewritten(); !bytes.Equal(again, der) {
			t.Fatalf("%x\nis written again as\n%x", der, again)
		}
		first, err := ParseResponse(der)
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
