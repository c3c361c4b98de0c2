package ocsptest

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"maps"
	"net/http"
	"slices"

	xocsp "golang.org/x/crypto/ocsp"
)

// statusCases are the cases about what is said of the given certificates: section 3.9 of the matrix.
var statusCases = []conformanceCase{
	{Case{"T141", "a certificate that is not revoked: good", "RFC 6960 section 2.2", normative}, posts(wantGood, func(c *checker) []variant {
		return []variant{{"the good certificate", c.plain()}}
	})},
	{Case{"T142", "a serial number that was never issued: never good", "RFC 6960 section 2.2, TLS BR 4.9.9", normative}, posts(wantNotGood, func(c *checker) []variant {
		return []variant{{"a serial number that was never issued", ask(c.id(c.unissued)).der()}}
	})},
	{Case{"T143", "a revoked certificate: revoked, with a reason that there is", "RFC 5280 section 5.3.1", normative}, caseRevoked},
	{Case{"T144", "the reason unspecified: left out", "RFC 5280 section 5.3.1, TLS BR 7.2.2", normative}, caseUnspecified},
	{Case{"T160", "revoked for what was never issued: on hold since 1970, and the extension that says so", "RFC 6960 sections 2.2 and 4.4.8", normative}, caseExtendedRevoke},
}

// revoked asks about the revoked certificate and returns what the answer says about its revocation, and whether
// the reason is written out.
func (p *probe) revoked() (ex *exchange, info revokedInfo, reasoned bool, err error) {
	if p.target.Revoked == nil {
		return nil, revokedInfo{}, false, notApplicable("no revoked certificate was given")
	}
	serial := p.target.Revoked.SerialNumber
	ex = p.do(message{what: "the revoked certificate", body: ask(p.id(serial)).der()})
	w := want{text: "a signed revoked", ok: func(_ *probe, ex *exchange) bool { return ex.says(serial, certRevoked) }}
	if err := w.judge(p, ex); err != nil {
		return ex, revokedInfo{}, false, err
	}
	info = ex.basic().Data.Responses[0].Revoked
	// encoding/asn1 does not tell an absent reason from 0.
	return ex, info, info.Reason != 0 || bytes.Contains(ex.body, []byte{0xa0, 3, 10, 1, 0}), nil
}

func caseRevoked(p *probe) error {
	ex, info, reasoned, err := p.revoked()
	if err != nil {
		return err
	}
	if reasoned && info.Reason != 0 && !validReason(info.Reason) {
		return wrong(ex, "the reason is %d", info.Reason)
	}
	return nil
}

// validReason reports whether an answer may give a CRLReason (RFC 5280 section 5.3.1).
func validReason(r asn1.Enumerated) bool {
	return r >= 1 && r <= 6 || r == 9 || r == 10
}

func caseUnspecified(p *probe) error {
	ex, info, reasoned, err := p.revoked()
	switch {
	case err != nil:
		return err
	case reasoned && info.Reason == 0:
		return wrong(ex, "the reason unspecified (0) is written out")
	case reasoned:
		return notApplicable(fmt.Sprintf("the certificate was revoked with reason %d", info.Reason))
	}
	return nil
}

func caseExtendedRevoke(p *probe) error {
	ex := p.do(message{what: "a serial number that was never issued", body: ask(p.id(p.unissued)).der()})
	if !ex.says(p.unissued, certRevoked) {
		return notApplicable("what was never issued is not called revoked: " + ex.response())
	}
	data := ex.basic().Data
	r := data.Responses[0]
	switch {
	case r.Revoked.Reason != xocsp.CertificateHold:
		return wrong(ex, "the reason is %d, and not certificateHold (6)", r.Revoked.Reason)
	case r.Revoked.RevokedAt.Unix() != 0:
		return wrong(ex, "revocationTime is %v, and not 1970-01-01", r.Revoked.RevokedAt)
	case !slices.ContainsFunc(data.Extensions, func(e pkix.Extension) bool {
		return e.Id.Equal(oidExtendedRevok) && !e.Critical && bytes.Equal(e.Value, derNull)
	}):
		return wrong(ex, "responseExtensions lack the extended revoked definition, %v with NULL", oidExtendedRevok)
	}
	for _, e := range r.Extensions {
		if e.Id.Equal(oidCRLID) || len(e.Id) == 4 && e.Id[:3].Equal(oidCRLReason[:3]) { // an arc of those for CRL entries
			return wrong(ex, "singleExtensions have %v, which is about a CRL", e.Id)
		}
	}
	return nil
}

// standingCases hold for every reply of the run.
var standingCases = []conformanceCase{
	{Case{"P1", "every OCSP reply: HTTP status 200 and Content-Type application/ocsp-response", "decided: RFC 6960 A.2; openssl shows no other", decided}, standingCase("P1")},
	{Case{"T170", "every OCSP error: no-store or no-cache, no Expires, no ETag", "RFC 9919 section 7.2", normative}, standingCase("T170")},
	{Case{"T171", "every answer: no no-cache, no-store or Pragma", "RFC 9919 section 7.2", normative}, standingCase("T171")},
	{Case{"T154", "every answer: no revocationTime after thisUpdate", "decided", decided}, standingCase("T154")},
	{Case{"T177", "every answer: nextUpdate has not passed", "RFC 6960 sections 3.2 and 4.2.2.1", normative}, standingCase("T177")},
	{Case{"T190", "every answer: DER that encodes to itself", "RFC 6960 section 4.2.1", normative}, standingCase("T190")},
	{Case{"T191", "every answer: no version, and a responderID that is the signer's", "RFC 6960 section 4.2.1", normative}, standingCase("T191")},
	{Case{"T192", "every answer: thisUpdate ≤ producedAt ≤ now, thisUpdate < nextUpdate ≤ the signer's notAfter", "RFC 6960 section 2.4, zlint", normative}, standingCase("T192")},
	{Case{"T193", "every answer: the CertIDs of the request, all and in order", "RFC 6960 sections 3.2 and 4.2.2.3", normative}, standingCase("T193")},
	{Case{"T194", "every answer: the certificate of a delegate that may sign, and none when the CA signs", "RFC 6960 section 4.2.2.2; golang/go#59641", normative}, standingCase("T194")},
	{Case{"T195", "every answer: no empty lists, no critical extensions, and each where it belongs", "RFC 6960 section 4.4, TLS BR 7.3.2", normative}, standingCase("T195")},
	{Case{"T196", "every answer: a signature that verifies, by a strong algorithm", "RFC 6960 section 3.2", normative}, standingCase("T196")},
	{Case{"T197", "every answer: golang.org/x/crypto/ocsp accepts it", "decided: interoperability", decided}, standingCase("T197")},
}

// standingCase reports what was found against an assertion in the whole run. A few requests make sure that there
// is something to judge.
func standingCase(id string) func(*probe) error {
	return func(p *probe) error {
		if !p.basics {
			p.basics = true
			p.askBasics()
		}
		p.last = nil
		if p.signed == 0 {
			return wrong(nil, "not one signed answer came back")
		}
		found := p.findings[id]
		if found == nil {
			return nil
		}
		f := found.failure
		if found.count > 1 {
			f.detail += fmt.Sprintf(" [and %d more]", found.count-1)
		}
		return &f
	}
}

// askBasics makes one request of each usual kind.
func (p *probe) askBasics() {
	id := p.goodID()
	serials := []derCertID{id, idHashed(p.target.Issuer, p.target.Good.SerialNumber, certIDHashes()[1]), p.id(p.unissued)}
	if p.target.Revoked != nil {
		serials = append(serials, p.id(p.target.Revoked.SerialNumber))
	}
	for _, id := range serials {
		der := ask(id).der()
		p.do(message{what: "a plain request", body: der})
		p.get("a plain request", escaped(der), der)
	}
	p.do(message{what: "several CertIDs", body: ask(serials...).der()})
	p.do(message{what: "a nonce", body: p.with(derNonce(randomNonce(32)))})
	p.do(message{what: "a foreign issuer", body: ask(p.strange()).der()})
	p.do(message{what: "no request", body: []byte{0x30, 0}, unlinted: true})
}

// note checks an exchange for what must hold for all, and counts.
func (p *probe) note(m message, ex *exchange) {
	status, basic := ex.ocspError(), ex.basic()
	if status == xocsp.Success && basic == nil || ex.status == http.StatusNotModified {
		return
	}
	found := func(id string, decided bool, format string, args ...any) {
		s := p.findings[id]
		if s == nil {
			s = &standing{failure: failure{detail: fmt.Sprintf(format, args...), ex: ex, decided: decided}}
			p.findings[id] = s
		}
		s.count++
	}
	if ct := ex.header.Get("Content-Type"); ex.status != http.StatusOK || ct != "application/ocsp-response" {
		found("P1", false, "HTTP status %d and Content-Type %q", ex.status, ct)
	}
	directives := cacheControl(ex.header)
	_, noStore := directives["no-store"]
	_, noCache := directives["no-cache"]
	if status != xocsp.Success {
		if !noStore && !noCache || ex.header.Get("Expires") != "" || ex.header.Get("Etag") != "" {
			found("T170", false, "an error with Cache-Control %q, Expires %q, ETag %q", ex.header.Get("Cache-Control"), ex.header.Get("Expires"), ex.header.Get("Etag"))
		}
		return
	}
	if noStore || noCache || ex.header.Get("Pragma") != "" {
		found("T171", false, "an answer with Cache-Control %q, Pragma %q", ex.header.Get("Cache-Control"), ex.header.Get("Pragma"))
	}
	if m.unlinted {
		return
	}
	p.signed++
	issuer := m.issuer
	if issuer == nil {
		issuer = p.target.Issuer
	}
	findings, err := lint(ex.sent, ex.body, issuer, p.target.Now())
	if err != nil {
		found("T190", false, "%v", err)
		return
	}
	// One thing may be wrong with each of several entries; that is one answer.
	byID := map[string]finding{}
	for _, f := range findings {
		if _, ok := byID[f.id]; !ok {
			byID[f.id] = f
		}
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		found(id, byID[id].detail == noNextUpdate, "%s", byID[id].detail)
	}
	if len(basic.Certificates) > 0 && bytes.Equal(basic.Certificates[0].FullBytes, issuer.Raw) {
		// RFC 6960 permits it, but some clients take the first certificate for a delegate's.
		found("T194", true, "the CA signed, and its certificate is there all the same")
	}
	if byID["T196"].id == "" {
		if _, err := Parse(ex.body, issuer); err != nil {
			found("T197", false, "%v", err)
		}
	}
}
