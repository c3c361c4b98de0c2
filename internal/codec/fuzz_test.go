package codec

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Fuzz targets are in the package that they are about, because OSS-Fuzz builds no others.

var fuzzLimits = ReadLimits{CertIDs: 32, Extensions: 16}

// seeds adds the vectors of folders under testdata. TestVectors fails if there are none; a fuzzer
// that runs elsewhere does without.
func seeds(f *testing.F, folders ...string) {
	for _, folder := range folders {
		files, _ := filepath.Glob(filepath.Join("..", "..", "testdata", folder, "*.hex"))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			der, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(der)
		}
	}
}

// FuzzParseRequest: no panic, and what is accepted is written again to the same bytes.
func FuzzParseRequest(f *testing.F) {
	seeds(f, "requests", "malformed")
	f.Fuzz(func(t *testing.T, der []byte) {
		var req Request
		if ParseRequest(der, &req, fuzzLimits) != nil {
			return
		}
		if again := AppendRequest(nil, &req); !bytes.Equal(again, der) {
			t.Fatalf("%x\nis written again as\n%x", der, again)
		}
		if len(req.Entries) > fuzzLimits.CertIDs || len(req.Extensions) > fuzzLimits.Extensions ||
			len(req.Nonce) > MaxNonce {
			t.Fatal("a limit was passed")
		}
	})
}

// FuzzParseResponse: no panic, and what is read is of the response.
func FuzzParseResponse(f *testing.F) {
	seeds(f, "responses")
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := ParseResponse(der)
		if err != nil {
			return
		}
		for _, part := range [][]byte{r.TBS, r.Signature} {
			if !bytes.Contains(der, part) {
				t.Fatalf("%x\nis not in\n%x", part, der)
			}
		}
		if !bytes.Contains(r.TBS, r.CertID) {
			t.Fatalf("the CertID %x\nis not in\n%x", r.CertID, r.TBS)
		}
	})
}

// FuzzReadASN1 compares the readers for short lengths with cryptobyte's.
func FuzzReadASN1(f *testing.F) {
	for _, der := range []string{
		"", "\x30", "\x30\x00", "\x30\x01", "\x30\x01\x05\x06", "\x30\x7f", "\x30\x80\x00\x00",
		"\x30\x81\x01\x00", "\x30\x81\x80", "\x04\x02\x01\x02\x03", "\x1f\x01\x00",
	} {
		f.Add([]byte(der))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		var got, want cryptobyte.String
		rest, wantRest := cryptobyte.String(der), cryptobyte.String(der)
		same := func(what asn1.Tag, ok, wantOK bool) {
			if ok != wantOK || !bytes.Equal(got, want) || !bytes.Equal(rest, wantRest) {
				t.Fatalf("%#x of %x: %v %x before %x, want %v %x before %x",
					what, der, ok, got, rest, wantOK, want, wantRest)
			}
			got, want, rest, wantRest = nil, nil, der, der
		}
		for _, tag := range []asn1.Tag{asn1.SEQUENCE, asn1.OCTET_STRING, tagContext0} {
			same(tag, readASN1(&rest, &got, tag), wantRest.ReadASN1(&want, tag))
		}
		same(asn1.SEQUENCE, readElement(&rest, &got),
			wantRest.ReadASN1Element(&want, asn1.SEQUENCE))
	})
}
