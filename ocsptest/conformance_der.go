package ocsptest

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
)

// derCases are the cases about the structure of requests: section 3.3 of the matrix.
var derCases = []conformanceCase{
	{Case{"T58", "a request cut short anywhere: malformedRequest", "RFC 6960 section 2.3", normative}, posts(wantMalformed, truncated)},
	{Case{"T59", "octets behind the request: malformedRequest", "RFC 6960 section 2.3; X.690", normative}, posts(wantMalformed, trailing)},
	{Case{"T60", "a length that is too long, too short or not minimal: malformedRequest", "X.690", normative}, posts(wantMalformed, wrongLengths)},
	{Case{"T61", "indefinite lengths: malformedRequest", "X.690 section 10.1", normative}, posts(wantMalformed, indefinite)},
	{Case{"T65", "10,000 nested elements: malformedRequest, ignored or too large", "decided: a constant stack", decided},
		posts(wantMalformed.or(wantGood).or(wantTooLarge), nested)},
	{Case{"T66", "the default version written out: an answer", "decided: old clients write it", decided}, posts(wantGood, func(c *checker) []variant {
		q := ask(c.goodID())
		q.version = []byte{0xa0, 3, 2, 1, 0}
		return []variant{{"version v1 written out", q.der()}}
	})},
	{Case{"T67", "another version, or none that is one: malformedRequest", "RFC 6960 section 4.1.1", normative}, posts(wantMalformed, versions)},
	{Case{"T68", "an unsigned request with a requestorName: an answer, as if it were absent", "RFC 9919 section 3.1.2", normative}, posts(wantGood, requestorNames)},
	{Case{"T70", "an empty requestList: malformedRequest", "RFC 6960 section 4.1.1", normative}, posts(wantMalformed, func(*checker) []variant {
		return []variant{
			{"an empty requestList", derSeq(derSeq(derSeq()))},
			{"no requestList", derSeq(derSeq())},
			{"an empty requestList and a nonce", derRequest{extensions: [][]byte{derNonce(randomNonce(16))}}.der()},
			{"an empty OCSPRequest", derSeq()},
		}
	})},
	{Case{"T71", "a requestList that is none: malformedRequest", "RFC 6960 section 4.1.1", normative}, posts(wantMalformed, wrongLists)},
	{Case{"T72", "a CertID with members missing, added or of another type: malformedRequest", "RFC 6960 section 4.1.1", normative}, posts(wantMalformed, wrongCertIDs)},
	{Case{"T74", "members that TBSRequest does not have: malformedRequest", "RFC 6960 section 4.1.1", normative}, posts(wantMalformed, extraMembers)},
	{Case{"T77", "critical FALSE written out: an answer", "decided: a common habit of encoders", decided}, posts(wantGood, func(c *checker) []variant {
		return []variant{
			{"of an unknown extension", c.with(derExt(derStrangeOID, derFalse, derStrangeValue))},
			{"of a nonce", c.with(derExt(derNonceOID, derFalse, derOctets(randomNonce(32))))},
		}
	})},
	{Case{"T78", "an empty list of extensions: an answer, or malformedRequest if strict", "decided: RFC 5280 section 4.1 wants one or more", decided},
		posts(wantGood.or(wantMalformed), func(c *checker) []variant {
			return []variant{{"of the request", c.with([][]byte{}...)}, {"of a single request", askSingle(c.goodID()).der()}}
		})},
	{Case{"T79", "extensions that are none: malformedRequest", "RFC 6960 section 4.1.1, RFC 5280 section 4.1", normative}, posts(wantMalformed, garbageExtensions)},
	{Case{"T80", "a response sent as a request: malformedRequest", "RFC 6960 section 4.1.1", normative}, caseResponsePosted},
}

func truncated(c *checker) (variants []variant) {
	der := c.plain()
	for n := range len(der) {
		variants = append(variants, variant{fmt.Sprintf("%d of %d octets", n, len(der)), der[:n]})
	}
	return variants
}

func trailing(c *checker) []variant {
	der := c.plain()
	return []variant{
		{"a zero octet", append(slices.Clone(der), 0)},
		{"a NULL", append(slices.Clone(der), derNull...)},
		{"a line feed", append(slices.Clone(der), '\n')},
		{"the same request", append(slices.Clone(der), der...)},
		{"a NULL inside the OCSPRequest", derSeq(ask(c.goodID()).tbs(), derNull)},
	}
}

func wrongLengths(c *checker) []variant {
	// A short request has all of its lengths in one octet.
	der := c.plain()
	longForm := append([]byte{0x30, 0x82, 0, 0}, der[2:]...)
	longForm[2], longForm[3] = byte((len(der)-2)>>8), byte(len(der)-2)
	variants := []variant{
		{"an outer length of four gigabytes", []byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30}},
	}
	if len(der) < 0x80 {
		variants = append(variants, variant{"an outer length that is not minimal", longForm})
		for i, name := range []string{"the outer length", "that of tbsRequest", "that of requestList", "that of the Request"} {
			for _, by := range []int{1, -1} {
				changed := slices.Clone(der)
				changed[1+2*i] += byte(by)
				variants = append(variants, variant{fmt.Sprintf("%s %+d", name, by), changed})
			}
		}
	}
	return variants
}

func indefinite(c *checker) []variant {
	open := func(tag byte, content []byte) []byte { return append(append([]byte{tag, 0x80}, content...), 0, 0) }
	q, id := ask(c.goodID()), c.goodID()
	withTail := q
	withTail.tail = open(0xa2, derSeq(derNonce(randomNonce(16))))
	id.nameHash = derTLV(0x24, id.nameHash)
	return []variant{
		{"of the OCSPRequest", open(0x30, q.tbs())},
		{"of the TBSRequest", derSeq(open(0x30, derSeq(q.entries...)))},
		{"of the requestList", derSeq(derSeq(open(0x30, q.entries[0])))},
		{"of the extensions", withTail.der()},
		{"a constructed OCTET STRING", ask(id).der()},
	}
}

func nested(c *checker) (variants []variant) {
	deep := derNull
	for range 10_000 {
		deep = derTLV(0x30, deep)
	}
	q := ask(c.goodID())
	q.name = derTLV(0xa1, derTLV(0xa4, deep))
	return []variant{{"10,000 nested SEQUENCEs as the requestorName", q.der()}}
}

func versions(c *checker) (variants []variant) {
	for _, v := range []variant{
		{"v2", []byte{0xa0, 3, 2, 1, 1}}, {"-1", []byte{0xa0, 3, 2, 1, 0xff}}, {"two octets", []byte{0xa0, 4, 2, 2, 0, 0}},
		{"256", []byte{0xa0, 4, 2, 2, 1, 0}}, {"an empty INTEGER", []byte{0xa0, 2, 2, 0}}, {"nothing", []byte{0xa0, 0}},
		{"an OCTET STRING", []byte{0xa0, 3, 4, 1, 0}}, {"an ENUMERATED", []byte{0xa0, 3, 10, 1, 0}}, {"not tagged", []byte{2, 1, 0}},
		{"tagged implicitly", []byte{0x80, 1, 0}}, {"twice", []byte{0xa0, 3, 2, 1, 0, 0xa0, 3, 2, 1, 0}},
	} {
		q := ask(c.goodID())
		q.version = v.der
		variants = append(variants, variant{"version " + v.what, q.der()})
	}
	return variants
}

func requestorNames(c *checker) (variants []variant) {
	for _, v := range []variant{
		{"directoryName", derTLV(0xa4, c.target.Issuer.RawSubject)},
		{"rfc822Name", derTLV(0x81, []byte("client@example.test"))},
		{"URI", derTLV(0x86, []byte("https://client.example.test/"))},
		{"otherName", derTLV(0xa0, derOID(1, 3, 6, 1, 4, 1, 311, 20, 2, 3), derTLV(0xa0, derTLV(12, []byte("client"))))},
	} {
		q := ask(c.goodID())
		q.name = derTLV(0xa1, v.der)
		variants = append(variants, variant{v.what, q.der()})
	}
	return variants
}

func wrongLists(c *checker) []variant {
	q, id := ask(c.goodID()), c.goodID().der()
	return []variant{
		{"a SET", derSeq(derSeq(derTLV(0x31, q.entries...)))},
		{"a Request without CertID", derSeq(derSeq(derSeq(derSeq())))},
		{"a Request with extensions only", derSeq(derSeq(derSeq(derSeq(derTLV(0xa0, derSeq(derExt(derStrangeOID, nil, derStrangeValue)))))))},
		{"a CertID in the place of a Request", derSeq(derSeq(derSeq(id)))},
		{"a Request, and a NULL", derSeq(derSeq(derSeq(q.entries[0], derNull)))},
	}
}

func wrongCertIDs(c *checker) (variants []variant) {
	retag := func(element []byte, tag byte) []byte { return append([]byte{tag}, element[1:]...) }
	for _, v := range []struct {
		what   string
		change func(*derCertID)
	}{
		{"no serialNumber", func(id *derCertID) { id.serial = nil }},
		{"no issuerKeyHash", func(id *derCertID) { id.keyHash = nil }},
		{"no hashAlgorithm", func(id *derCertID) { id.algorithm = nil }},
		{"a fifth member", func(id *derCertID) { id.tail = derNull }},
		{"two serialNumbers", func(id *derCertID) { id.tail = id.serial }},
		{"serialNumber is an OCTET STRING", func(id *derCertID) { id.serial = retag(id.serial, 4) }},
		{"serialNumber is empty", func(id *derCertID) { id.serial = []byte{2, 0} }},
		{"serialNumber has octets to spare", func(id *derCertID) { id.serial = derTLV(2, []byte{0, 0}, id.serial[2:]) }},
		{"issuerNameHash is an INTEGER", func(id *derCertID) { id.nameHash = retag(id.nameHash, 2) }},
	} {
		id := c.goodID()
		v.change(&id)
		variants = append(variants, variant{v.what, ask(id).der()})
	}
	return variants
}

func extraMembers(c *checker) (variants []variant) {
	extensions := func(tag byte) []byte { return derTLV(tag, derSeq(derNonce(randomNonce(16)))) }
	for _, v := range []variant{
		{"[3]", derTLV(0xa3, derNull)}, {"[9]", derTLV(0xa9, derNull)}, {"[3] primitive", derTLV(0x83, []byte{1})}, {"a NULL", derNull},
		{"extensions with tag [0]", extensions(0xa0)}, {"extensions twice", append(extensions(0xa2), extensions(0xa2)...)},
	} {
		q := ask(c.goodID())
		q.tail = v.der
		variants = append(variants, variant{v.what, q.der()})
	}
	return append(variants,
		variant{"[1] in the Request", derRequest{entries: [][]byte{derSeq(c.goodID().der(), derTLV(0xa1, derNull))}}.der()},
		variant{"[1] behind the TBSRequest", derSeq(ask(c.goodID()).tbs(), derTLV(0xa1, derNull))})
}

func garbageExtensions(c *checker) (variants []variant) {
	strange := derExt(derStrangeOID, nil, derStrangeValue)
	for _, v := range []variant{
		{"nothing", nil}, {"octets", []byte{0xde, 0xad, 0xbe, 0xef}}, {"a NULL", derNull}, {"a SET", derTLV(0x31, strange)},
		{"two lists", bytes.Repeat(derSeq(strange), 2)}, {"an INTEGER in the list", derSeq([]byte{2, 1, 0})}, {"an empty Extension", derSeq(derSeq())},
		{"an Extension without value", derSeq(derSeq(derStrangeOID))}, {"an Extension without OID", derSeq(derSeq(derStrangeValue))},
		{"an OID cut short", derSeq(derExt([]byte{6, 2, 0x2b, 0x86}, nil, derStrangeValue))},
		{"a BER TRUE", derSeq(derExt(derStrangeOID, []byte{1, 1, 1}, derStrangeValue))},
		{"a value that is no OCTET STRING", derSeq(derSeq(derStrangeOID, derNull))},
		{"a NULL behind the value", derSeq(derSeq(derStrangeOID, derStrangeValue, derNull))},
		{"the same extension twice", derSeq(strange, strange)},
	} {
		q := ask(c.goodID())
		q.tail = derTLV(0xa2, v.der)
		variants = append(variants,
			variant{v.what + ", of the request", q.der()},
			variant{v.what + ", of a single request", derRequest{entries: [][]byte{derSeq(c.goodID().der(), derTLV(0xa0, v.der))}}.der()})
	}
	return variants
}

func caseResponsePosted(p *probe) error {
	answer := p.do(message{what: "a plain request", body: p.plain()})
	variants := []variant{{"the error unauthorized", []byte{0x30, 3, 10, 1, 6}}}
	if answer.status == http.StatusOK && answer.basic() != nil {
		variants = append(variants, variant{"a signed answer", answer.body})
	}
	return posts(wantMalformed, func(*checker) []variant { return variants })(p)
}
