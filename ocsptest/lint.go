package ocsptest

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // for key hashes
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The ASN.1 of RFC 6960 section 4.2.1, for encoding/asn1: a second reader, which shares nothing with the
// responder's own.
type response struct {
	Status asn1.Enumerated
	Bytes  responseBytes `asn1:"explicit,tag:0,optional"`
}

type responseBytes struct {
	Type     asn1.ObjectIdentifier
	Response []byte
}

type basicResponse struct {
	Data         responseData
	Algorithm    asn1.RawValue
	Signature    asn1.BitString
	Certificates []asn1.RawValue `asn1:"explicit,tag:0,optional"`
}

type responseData struct {
	Raw         asn1.RawContent
	Version     int `asn1:"explicit,tag:0,default:0,optional"`
	ResponderID asn1.RawValue
	ProducedAt  time.Time `asn1:"generalized"`
	Responses   []singleResponse
	Extensions  []pkix.Extension `asn1:"explicit,tag:1,optional"`
}

type singleResponse struct {
	CertID     asn1.RawValue
	Good       asn1.Flag        `asn1:"tag:0,optional"`
	Revoked    revokedInfo      `asn1:"tag:1,optional"`
	Unknown    asn1.Flag        `asn1:"tag:2,optional"`
	ThisUpdate time.Time        `asn1:"generalized"`
	NextUpdate time.Time        `asn1:"generalized,explicit,tag:0,optional"`
	Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
}

type revokedInfo struct {
	RevokedAt time.Time       `asn1:"generalized"`
	Reason    asn1.Enumerated `asn1:"explicit,tag:0,optional"`
}

// The request's side, as far as Lint looks at it.
type request struct {
	TBS       tbsRequest
	Signature asn1.RawValue `asn1:"explicit,tag:0,optional"`
}

type tbsRequest struct {
	Version       int           `asn1:"explicit,tag:0,default:0,optional"`
	RequestorName asn1.RawValue `asn1:"explicit,tag:1,optional"`
	List          []struct {
		CertID     asn1.RawValue
		Extensions []pkix.Extension `asn1:"explicit,tag:0,optional"`
	}
	Extensions []pkix.Extension `asn1:"explicit,tag:2,optional"`
}

var (
	oidBasic         = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	oidNonce         = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}
	oidExtendedRevok = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 9}
	oidCRLID         = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 3}
	oidArchiveCutoff = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 6}
	oidCRLReason     = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidInvalidity    = asn1.ObjectIdentifier{2, 5, 29, 24}
)

// signatureAlgorithms knows the one right encoding of each AlgorithmIdentifier (RFC 4055, RFC 5758, RFC 8410),
// and whether x/crypto/ocsp reads it.
var signatureAlgorithms = map[string]struct {
	algorithm x509.SignatureAlgorithm
	xcrypto   bool
}{
	"300d06092a864886f70d01010b0500": {x509.SHA256WithRSA, true},
	"300d06092a864886f70d01010c0500": {x509.SHA384WithRSA, true},
	"300d06092a864886f70d01010d0500": {x509.SHA512WithRSA, true},
	"300a06082a8648ce3d040302":       {x509.ECDSAWithSHA256, true},
	"300a06082a8648ce3d040303":       {x509.ECDSAWithSHA384, true},
	"300a06082a8648ce3d040304":       {x509.ECDSAWithSHA512, true},
	"300506032b6570":                 {x509.PureEd25519, false},
	pss("01", "20"):                  {x509.SHA256WithRSAPSS, false},
	pss("02", "30"):                  {x509.SHA384WithRSAPSS, false},
	pss("03", "40"):                  {x509.SHA512WithRSAPSS, false},
}

// pss is RSASSA-PSS with a SHA-2 hash, given by the end of its OID, and a salt.
func pss(hash, salt string) string {
	sha2 := "300d06096086480165030402" + hash + "0500"
	return "304106092a864886f70d01010a3034a00f" + sha2 + "a11c301a06092a864886f70d010108" + sha2 + "a2030201" + salt
}

func unmarshal(der []byte) (*response, *basicResponse, error) {
	var outer response
	var basic basicResponse
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 || outer.Status != 0 || !outer.Bytes.Type.Equal(oidBasic) {
		return nil, nil, fmt.Errorf("ocsptest: not a successful basic OCSPResponse (%v)", err)
	}
	if rest, err := asn1.Unmarshal(outer.Bytes.Response, &basic); err != nil || len(rest) > 0 {
		return nil, nil, fmt.Errorf("ocsptest: not a BasicOCSPResponse (%v)", err)
	}
	return &outer, &basic, nil
}

// Lint checks what must hold for every signed answer: DER, the responder's ID, the order of its times, the
// request's CertIDs mirrored, which certificates and extensions stand where, and the signature. It returns all
// that is wrong, joined.
func Lint(requestDER, responseDER []byte, issuer *x509.Certificate, now time.Time) error {
	findings, err := lint(requestDER, responseDER, issuer, now)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range findings {
		errs = append(errs, fmt.Errorf("ocsptest: lint: %s: %s", f.id, f.detail))
	}
	return errors.Join(errs...)
}

// finding is what is wrong with a signed answer, under the number of the assertion that does not hold.
type finding struct{ id, detail string }

// lint is Lint for those who need to tell the assertions apart. Its error says that there is no signed answer.
func lint(requestDER, responseDER []byte, issuer *x509.Certificate, now time.Time) (findings []finding, err error) {
	wrong := func(id, format string, args ...any) {
		findings = append(findings, finding{id, fmt.Sprintf(format, args...)})
	}
	outer, basic, err := unmarshal(responseDER)
	if err != nil {
		return nil, err
	}
	lintEncoding(wrong, responseDER, *outer, *basic)
	signer := lintCertificates(wrong, basic, issuer)
	if signer == nil {
		return findings, nil
	}
	if err := verify(basic, signer); err != nil {
		wrong("T196", "the signature does not verify: %v", err)
	}
	lintResponderID(wrong, basic.Data, signer)
	lintCertIDs(wrong, requestDER, basic.Data.Responses)
	lintTimes(wrong, basic, signer, now)
	lintExtensions(wrong, basic)
	return findings, nil
}

type report func(id, format string, args ...any)

// lintEncoding: T190.
func lintEncoding(wrong report, der []byte, outer response, basic basicResponse) {
	basic.Data.Raw = nil // write it again from its fields
	again, err := asn1.Marshal(basic)
	if err == nil {
		outer.Bytes.Response = again
		again, err = asn1.Marshal(outer)
	}
	if err != nil || !bytes.Equal(again, der) {
		wrong("T190", "encoding the answer again gives other bytes (%v)", err)
	}
}

// lintCertificates: T194. It returns the certificate that must have signed.
func lintCertificates(wrong report, basic *basicResponse, issuer *x509.Certificate) *x509.Certificate {
	if len(basic.Certificates) == 0 {
		return issuer
	}
	signer, err := x509.ParseCertificate(basic.Certificates[0].FullBytes)
	switch {
	case err != nil:
		wrong("T194", "the first certificate is not one: %v", err)
		return nil
	case signer.Equal(issuer):
	case !slices.Contains(signer.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		wrong("T194", "the delegate lacks OCSPSigning")
	case issuer.CheckSignature(signer.SignatureAlgorithm, signer.RawTBSCertificate, signer.Signature) != nil:
		wrong("T194", "the issuer did not sign the delegate")
	}
	if len(basic.Certificates) > 1 {
		wrong("T194", "%d certificates instead of one", len(basic.Certificates))
	}
	return signer
}

func verify(basic *basicResponse, signer *x509.Certificate) error {
	known, ok := signatureAlgorithms[hex.EncodeToString(basic.Algorithm.FullBytes)]
	if !ok {
		return fmt.Errorf("%x is no AlgorithmIdentifier, or is not encoded as it must be", basic.Algorithm.FullBytes)
	}
	return signer.CheckSignature(known.algorithm, basic.Data.Raw, basic.Signature.RightAlign())
}

// lintResponderID: T191. That the version, v1, is not written out is part of T190.
func lintResponderID(wrong report, data responseData, signer *x509.Certificate) {
	if data.Version != 0 {
		wrong("T191", "the version is %d", data.Version)
	}
	id := data.ResponderID
	var spki struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(signer.RawSubjectPublicKeyInfo, &spki); err != nil {
		wrong("T191", "the signer's key: %v", err)
		return
	}
	switch id.Tag {
	case 1:
		if !bytes.Equal(id.Bytes, signer.RawSubject) {
			wrong("T191", "byName is not the signer's subject")
		}
	case 2:
		var hash []byte
		if rest, err := asn1.Unmarshal(id.Bytes, &hash); err != nil || len(rest) > 0 || !bytes.Equal(hash, sum(crypto.SHA1, spki.Key.Bytes)) {
			wrong("T191", "byKey is not the SHA-1 of the signer's key")
		}
	default:
		wrong("T191", "responderID has tag %d", id.Tag)
	}
}

// lintCertIDs: T193.
func lintCertIDs(wrong report, requestDER []byte, responses []singleResponse) {
	var req request
	if _, err := asn1.Unmarshal(requestDER, &req); err != nil {
		wrong("T193", "the request cannot be read: %v", err)
		return
	}
	if len(req.TBS.List) != len(responses) {
		wrong("T193", "%d answers to %d CertIDs", len(responses), len(req.TBS.List))
		return
	}
	for i := range responses {
		if !bytes.Equal(req.TBS.List[i].CertID.FullBytes, responses[i].CertID.FullBytes) {
			wrong("T193", "CertID %d is not mirrored", i)
		}
	}
}

// noNextUpdate is what RFC 6960 allows and the profile of RFC 9919 does not.
const noNextUpdate = "nextUpdate is missing"

// lintTimes: T192, T154 and T177.
func lintTimes(wrong report, basic *basicResponse, signer *x509.Certificate, now time.Time) {
	produced := basic.Data.ProducedAt
	if produced.After(now.Add(time.Second)) {
		wrong("T192", "producedAt %v is later than now, %v", produced, now)
	}
	for _, r := range basic.Data.Responses {
		if revoked := r.Revoked.RevokedAt; revoked.After(r.ThisUpdate) {
			wrong("T154", "revocationTime %v is later than thisUpdate %v", revoked, r.ThisUpdate)
		}
		if r.ThisUpdate.After(produced) {
			wrong("T192", "thisUpdate %v is later than producedAt %v", r.ThisUpdate, produced)
		}
		if r.NextUpdate.IsZero() {
			wrong("T192", noNextUpdate)
			continue
		}
		if !r.NextUpdate.After(r.ThisUpdate) {
			wrong("T192", "nextUpdate %v is not later than thisUpdate %v", r.NextUpdate, r.ThisUpdate)
		}
		if r.NextUpdate.After(signer.NotAfter) {
			wrong("T192", "nextUpdate %v is later than the signer's end, %v", r.NextUpdate, signer.NotAfter)
		}
		if !r.NextUpdate.After(now) {
			wrong("T177", "nextUpdate %v has passed at %v", r.NextUpdate, now)
		}
	}
}

// lintExtensions: T195; that none is critical includes the nonce.
func lintExtensions(wrong report, basic *basicResponse) {
	check := func(where string, list []pkix.Extension, allowed ...asn1.ObjectIdentifier) {
		if list != nil && len(list) == 0 {
			wrong("T195", "%s is an empty list", where)
		}
		for i, ext := range list {
			if ext.Critical {
				wrong("T195", "%s %v is critical", where, ext.Id)
			}
			if !slices.ContainsFunc(allowed, ext.Id.Equal) {
				wrong("T195", "%v does not belong into %s", ext.Id, where)
			}
			if slices.ContainsFunc(list[:i], func(e pkix.Extension) bool { return e.Id.Equal(ext.Id) }) {
				wrong("T195", "%s %v stands twice", where, ext.Id)
			}
		}
	}
	if basic.Certificates != nil && len(basic.Certificates) == 0 {
		wrong("T195", "certs is an empty list")
	}
	check("responseExtensions", basic.Data.Extensions, oidNonce, oidExtendedRevok)
	for _, r := range basic.Data.Responses {
		check("singleExtensions", r.Extensions, oidArchiveCutoff, oidInvalidity)
		if slices.ContainsFunc(r.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidCRLReason) }) {
			wrong("T195", "reasonCode stands in singleExtensions")
		}
	}
}
