package ocsptest

import (
	"bytes"
	"crypto"
	_ "crypto/md5" // for a CertID that is to be refused
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"

	xocsp "golang.org/x/crypto/ocsp"
)

// certIDCases are the cases about how a request names a certificate, and about several of them: sections 3.4
// and 3.8 of the matrix.
var certIDCases = []conformanceCase{
	{Case{"T81", "CertIDs with SHA-1, SHA-256, SHA-384 and SHA-512: an answer each, with the same CertID", "RFC 6960 section 4.1.1", normative}, caseCertIDHashes},
	{Case{"T82", "hash parameters NULL or absent: an answer, with the CertID as sent", "RFC 5754 section 2", normative}, caseCertIDParameters},
	{Case{"T83", "hash parameters of another type: malformedRequest", "decided", decided}, posts(wantMalformed, wrongParameters)},
	{Case{"T84", "MD5, SHA-224 and unknown hashes: unauthorized", "decided: the syntax is right; as Boulder", decided}, posts(wantUnauthorized, unknownHashes)},
	{Case{"T85", "hashes that do not fit their algorithm: malformedRequest", "decided", decided}, posts(wantMalformed, wrongHashLengths)},
	{Case{"T86", "one or both hashes of another issuer: unauthorized, and never good", "RFC 6960 section 4.1.2, RFC 9919 section 3.2.3", normative},
		posts(wantUnauthorized.whenMild(notGood), foreignHashes)},
	{Case{"T88", "the issuer's name in another string type: unauthorized, or an answer if it is configured", "RFC 6960 section 4.1.1", normative}, caseReencodedName},
	{Case{"T89", "serial number 0: never good", "decided; RFC 5280 section 4.1.2.2", decided}, posts(wantNotGood, func(c *checker) []variant {
		return []variant{{"0", ask(c.id(new(big.Int))).der()}}
	})},
	{Case{"T90", "negative serial numbers: never good", "decided; RFC 5280 section 4.1.2.2", decided}, posts(wantNotGood, func(c *checker) []variant {
		return []variant{
			{"-1", ask(c.id(big.NewInt(-1))).der()},
			{"-32768", ask(c.id(big.NewInt(-32768))).der()},
			{"the good certificate's, negative", ask(c.id(new(big.Int).Neg(c.target.Good.SerialNumber))).der()},
		}
	})},
	{Case{"T92", "serial numbers of 21 to 64 octets: never good", "decided", decided}, posts(wantNotGood, func(c *checker) (variants []variant) {
		for _, n := range []int{21, 32, 64} {
			variants = append(variants, variant{fmt.Sprintf("%d octets", n), ask(c.longSerial(n)).der()})
		}
		return variants
	})},
	{Case{"T93", "a serial number of 4,000 octets: malformedRequest", "decided: a bound on resources", decided},
		posts(wantMalformed, func(c *checker) []variant { return []variant{{"4,000 octets", ask(c.longSerial(4000)).der()}} })},
	{Case{"T95", "a serial number under another CA that is served: judged by the CA in the CertID alone", "RFC 6960 section 4.1.1", normative}, caseForeignSerial},

	{Case{"T132", "good, revoked and never issued in one request: an answer for each, in order", "RFC 6960 section 4.2.2.3", normative}, caseSeveral},
	{Case{"T134", "the same certificate by SHA-1 and SHA-256: an answer for each, in order", "RFC 6960 section 4.2.2.3", normative}, caseTwice},
	{Case{"T135", "certificates of two served CAs in one request: unauthorized, unless one key may sign for both", "RFC 6960 section 4.2.2.2", normative}, caseTwoIssuers},
	{Case{"T136", "a CertID of a foreign issuer beside one's own: unknown, or unauthorized for all", "decided", decided}, caseForeignBeside},
	{Case{"T137", "1,000 CertIDs: malformedRequest, or too large", "decided: a bound on work", decided}, posts(wantMalformed.or(wantTooLarge), func(c *checker) []variant {
		return []variant{{"1,000 CertIDs", ask(slices.Repeat([]derCertID{c.goodID()}, 1000)...).der()}}
	})},
}

func (c *checker) longSerial(n int) derCertID {
	id := c.goodID()
	id.serial = derTLV(2, bytes.Repeat([]byte{0x41}, n))
	return id
}

// mirrored requires a good answer that repeats the CertID octet for octet.
func mirrored(p *probe, ex *exchange, id derCertID) error {
	if err := wantGood.judge(p, ex); err != nil {
		return err
	}
	if got := ex.basic().Data.Responses[0].CertID.FullBytes; !bytes.Equal(got, id.der()) {
		return wrong(ex, "%s: the CertID came back as %x", ex.what, got)
	}
	return nil
}

func caseCertIDHashes(p *probe) error {
	var t tally
	for _, h := range certIDHashes() {
		id := idHashed(p.target.Issuer, p.target.Good.SerialNumber, h)
		t.add(h.name, mirrored(p, p.do(message{what: h.name, body: ask(id).der()}), id))
	}
	return t.err()
}

func caseCertIDParameters(p *probe) error {
	var t tally
	for _, h := range certIDHashes()[:2] {
		null := idHashed(p.target.Issuer, p.target.Good.SerialNumber, h)
		absent := null
		absent.algorithm = derSeq(h.oid)
		// In turns, since a cache may hold the one for the other.
		for i, id := range []derCertID{null, absent, null, absent} {
			what := h.name + [...]string{", NULL", ", absent"}[i%2]
			t.add(what, mirrored(p, p.do(message{what: what, body: ask(id).der()}), id))
		}
	}
	return t.err()
}

func wrongParameters(c *checker) (variants []variant) {
	for _, v := range []variant{
		{"a SEQUENCE", derSeq()}, {"an INTEGER", []byte{2, 1, 0}}, {"an OID", derStrangeOID}, {"two NULLs", bytes.Repeat(derNull, 2)},
		{"a NULL with content", []byte{5, 1, 0}}, {"an octet", []byte{0xff}},
	} {
		id := c.goodID()
		id.algorithm = derSeq(certIDHashes()[0].oid, v.der)
		variants = append(variants, variant{v.what, ask(id).der()})
	}
	return variants
}

func unknownHashes(c *checker) (variants []variant) {
	for _, h := range []certIDHash{
		{"MD5", crypto.MD5, derOID(1, 2, 840, 113549, 2, 5)},
		{"SHA-224", crypto.SHA224, derOID(2, 16, 840, 1, 101, 3, 4, 2, 4)},
		{"an unknown OID", crypto.SHA1, derOID(1, 3, 6, 1, 4, 1, 99999, 1)},
		{"the OID of SHA-1 with one more arc", crypto.SHA1, derOID(1, 3, 14, 3, 2, 26, 1)},
	} {
		variants = append(variants, variant{h.name, ask(idHashed(c.target.Issuer, c.target.Good.SerialNumber, h)).der()})
	}
	return variants
}

func wrongHashLengths(c *checker) (variants []variant) {
	for _, v := range []struct {
		what      string
		name, key int
	}{{"both empty", 0, 0}, {"the name's empty", 0, 20}, {"the key's empty", 20, 0}, {"the name's 19 octets", 19, 20}, {"the key's 21 octets", 20, 21}, {"both 32 octets", 32, 32}} {
		id, more := c.goodID(), make([]byte, 32)
		id.nameHash = derOctets(append(id.nameHash[2:], more...)[:v.name])
		id.keyHash = derOctets(append(id.keyHash[2:], more...)[:v.key])
		variants = append(variants, variant{v.what, ask(id).der()})
	}
	id := c.goodID()
	id.algorithm = derSeq(certIDHashes()[1].oid, derNull)
	return append(variants, variant{"those of SHA-1 under the OID of SHA-256", ask(id).der()})
}

func foreignHashes(c *checker) (variants []variant) {
	flip := func(element []byte) []byte {
		changed := slices.Clone(element)
		changed[len(changed)-1] ^= 1
		return changed
	}
	for _, v := range []struct {
		what   string
		change func(*derCertID)
	}{
		{"another name", func(id *derCertID) { id.nameHash = c.strange().nameHash }},
		{"another key", func(id *derCertID) { id.keyHash = c.strange().keyHash }},
		{"another issuer", func(id *derCertID) { *id = c.strange() }},
		{"name and key swapped", func(id *derCertID) { id.nameHash, id.keyHash = id.keyHash, id.nameHash }},
		{"the last bit of the name's hash", func(id *derCertID) { id.nameHash = flip(id.nameHash) }},
		{"the last bit of the key's hash", func(id *derCertID) { id.keyHash = flip(id.keyHash) }},
	} {
		id := c.goodID()
		v.change(&id)
		variants = append(variants, variant{v.what, ask(id).der()})
	}
	return variants
}

// attributeSET is a RelativeDistinguishedName; encoding/asn1 goes by the name's end.
type attributeSET []asn1.RawValue

// caseReencodedName writes the issuer's name with the other of PrintableString and UTF8String.
func caseReencodedName(p *probe) error {
	other := map[int]byte{asn1.TagPrintableString: asn1.TagUTF8String, asn1.TagUTF8String: asn1.TagPrintableString}
	var rdns []attributeSET
	if _, err := asn1.Unmarshal(p.target.Issuer.RawSubject, &rdns); err != nil {
		return notApplicable("the issuer's name cannot be taken apart")
	}
	changed := 0
	var der []byte
	for _, rdn := range rdns {
		var set []byte
		for _, attribute := range rdn {
			var av struct {
				Type  asn1.ObjectIdentifier
				Value asn1.RawValue
			}
			if _, err := asn1.Unmarshal(attribute.FullBytes, &av); err != nil {
				return notApplicable("the issuer's name cannot be taken apart")
			}
			value := slices.Clone(av.Value.FullBytes)
			if tag, ok := other[av.Value.Tag]; ok && av.Value.Class == asn1.ClassUniversal {
				value[0] = tag
				changed++
			}
			set = append(set, derSeq(derOID(av.Type...), value)...)
		}
		der = append(der, derTLV(0x31, set)...)
	}
	if changed == 0 {
		return notApplicable("the issuer's name has no string that could have another type")
	}
	id := p.goodID()
	id.nameHash = derOctets(sum(crypto.SHA1, derSeq(der)))
	ex := p.do(message{what: "the issuer's name with PrintableString and UTF8String exchanged", body: ask(id).der()})
	return wantUnauthorized.or(wantGood).whenMild(notGood).judge(p, ex)
}

func caseForeignSerial(p *probe) error {
	if p.target.Foreign == nil {
		return notApplicable("no other CA was given")
	}
	id := idHashed(p.target.Foreign, p.target.Good.SerialNumber, certIDHashes()[0])
	ex := p.do(message{what: "the good certificate's serial number under the other CA", body: ask(id).der(), issuer: p.target.Foreign})
	return wantNotGood.judge(p, ex)
}

// expected is an entry that an answer must have.
type expected struct {
	id       derCertID
	statuses []certStatus
}

// several asks about CertIDs in one request and requires an entry for each, in order.
func several(p *probe, what string, entries ...expected) error {
	var ids []derCertID
	for _, e := range entries {
		ids = append(ids, e.id)
	}
	ex := p.do(message{what: what, body: ask(ids...).der()})
	return ex.hasEntries(entries)
}

func (ex *exchange) hasEntries(entries []expected) error {
	basic := ex.basic()
	if basic == nil || ex.err != nil {
		return wrong(ex, "%s: want a signed answer, got %s", ex.what, ex.response())
	}
	if got := len(basic.Data.Responses); got != len(entries) {
		return wrong(ex, "%s: %d entries to %d CertIDs", ex.what, got, len(entries))
	}
	for i, e := range entries {
		r := &basic.Data.Responses[i]
		if !bytes.Equal(r.CertID.FullBytes, e.id.der()) {
			return wrong(ex, "%s: entry %d is not about CertID %d", ex.what, i+1, i+1)
		}
		if !slices.Contains(e.statuses, r.status()) {
			return wrong(ex, "%s: entry %d says %s, want %v", ex.what, i+1, r.status(), e.statuses)
		}
	}
	return nil
}

func caseSeveral(p *probe) error {
	good := expected{p.goodID(), []certStatus{certGood}}
	never := expected{p.id(p.unissued), []certStatus{certUnknown, certRevoked}}
	list := []expected{good}
	if p.target.Revoked != nil {
		list = append(list, expected{p.id(p.target.Revoked.SerialNumber), []certStatus{certRevoked}})
	}
	var t tally
	issued := func(what string, entries []expected) {
		if len(entries) > 1 {
			t.add(what, several(p, what, entries...))
		}
	}
	issued("good and revoked", list)
	slices.Reverse(list)
	issued("revoked and good", list)
	// A responder may answer for nothing that was never issued.
	for _, entries := range [][]expected{append(slices.Clone(list), never), append([]expected{never}, list...)} {
		const what = "with one that was never issued"
		if err := several(p, what, entries...); err != nil && p.last.ocspError() == xocsp.Unauthorized {
			t.add(what, nil)
		} else {
			t.add(what, err)
		}
	}
	return t.err()
}

func caseTwice(p *probe) error {
	byHash := func(i int) expected {
		return expected{idHashed(p.target.Issuer, p.target.Good.SerialNumber, certIDHashes()[i]), []certStatus{certGood}}
	}
	var t tally
	t.add("SHA-1, SHA-256", several(p, "SHA-1, SHA-256", byHash(0), byHash(1)))
	t.add("SHA-256, SHA-1", several(p, "SHA-256, SHA-1", byHash(1), byHash(0)))
	t.add("SHA-1 twice", several(p, "SHA-1 twice", byHash(0), byHash(0)))
	return t.err()
}

func caseTwoIssuers(p *probe) error {
	if p.target.Foreign == nil {
		return notApplicable("no other CA was given")
	}
	if bytes.Equal(p.target.Foreign.RawSubjectPublicKeyInfo, p.target.Issuer.RawSubjectPublicKeyInfo) {
		return notApplicable("the other CA has the same key")
	}
	theirs := idHashed(p.target.Foreign, p.target.Good.SerialNumber, certIDHashes()[0])
	// An answer that says unknown of what it cannot sign for harms nobody.
	return posts(wantUnauthorized.whenMild(func(_ *probe, ex *exchange) bool { return entrySays(ex, theirs, certUnknown) || ex.basic() == nil }),
		func(c *checker) []variant {
			return []variant{{"ours and theirs", ask(c.goodID(), theirs).der()}, {"theirs and ours", ask(theirs, c.goodID()).der()}}
		})(p)
}

// entrySays reports whether the entry about a CertID has that status.
func entrySays(ex *exchange, id derCertID, status certStatus) bool {
	basic := ex.basic()
	return basic != nil && slices.ContainsFunc(basic.Data.Responses, func(r singleResponse) bool {
		return bytes.Equal(r.CertID.FullBytes, id.der()) && r.status() == status
	})
}

func caseForeignBeside(p *probe) error {
	ours := expected{p.goodID(), []certStatus{certGood}}
	theirs := expected{p.strange(), []certStatus{certUnknown}}
	var t tally
	for _, entries := range [][]expected{{ours, theirs}, {theirs, ours}} {
		const what = "one's own and a foreign CertID"
		err := several(p, what, entries...)
		if p.last.ocspError() == xocsp.Unauthorized {
			err = nil
		}
		t.add(what, err)
	}
	return t.err()
}
