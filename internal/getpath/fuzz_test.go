package getpath

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"math/big"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/codec"
)

// fuzzIssuer is the part of a CertID that names the issuer in all requests of FuzzGetPath. Its
// base64 has neither two slashes in a row nor "/M".
var fuzzIssuer = codec.CertIDIssuer(crypto.SHA1, true, []byte("name"), []byte("key"))

// fuzzRequest makes a request for a serial.
func fuzzRequest(serial []byte) []byte {
	id := codec.CertID{Raw: codec.CertIDFrom(fuzzIssuer, serial)}
	return codec.AppendRequest(nil, &codec.Request{Entries: []codec.RequestEntry{{CertID: id}}})
}

// acceptFuzz accepts a request for certificates of fuzzIssuer.
func acceptFuzz(der []byte) bool {
	var req codec.Request
	limits := codec.ReadLimits{CertIDs: 32, Extensions: 16}
	return codec.ParseRequest(der, &req, limits) == nil &&
		!slices.ContainsFunc(req.Entries, func(e codec.RequestEntry) bool {
			return !bytes.Equal(e.CertID.Issuer, fuzzIssuer)
		})
}

// FuzzGetPath: whatever stands before and behind a request, and however routers cleaned the path,
// Find finds the request that was sent, or none.
func FuzzGetPath(f *testing.F) {
	f.Add([]byte{1}, "/ocsp/", "", uint8(0))
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff, 0xfc}, "/", "/", uint8(1))
	f.Add(bytes.Repeat([]byte{0xff}, 20), "//a/b/", "==", uint8(2))
	f.Add([]byte{0x3f, 0xff}, "/MAA/", "///", uint8(3))
	f.Add([]byte{0x3f, 0xef, 0xff}, "/100%/", "/", uint8(4))
	f.Add([]byte{0x3f, 0xff, 0xfb}, "/a%2Fb/", "", uint8(5))
	f.Fuzz(func(t *testing.T, serial []byte, prefix, suffix string, form uint8) {
		n := new(big.Int).SetBytes(serial[:min(len(serial), 60)])
		der := fuzzRequest(codec.SerialBytes(n))
		text := base64.StdEncoding.EncodeToString(der)
		form %= 6
		switch form {
		case 1:
			text = strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(text)
		case 2:
			text = strings.ReplaceAll(text, "+", " ")
		case 3:
			text = strings.TrimPrefix(path.Clean("/"+text), "/") // as a mux does
		case 4:
			text = url.QueryEscape(text) // which net/http has decoded once already
		case 5:
			lines := slices.Collect(slices.Chunk([]byte(text), 64))
			text = string(bytes.Join(lines, []byte("\r\n"))) + "\r\n"
		}
		prefix = "/" + prefix
		if !strings.HasSuffix(prefix, "/") {
			prefix += "/"
		}
		got, _ := Find(prefix+text+suffix, nil, acceptFuzz)
		// A prefix or suffix may contain another request. A slash at the end of a path that lost
		// one inside may be the last letter of another request.
		if strings.Trim(suffix, "/=") != "" || strings.Contains(prefix, "/M") ||
			strings.ContainsAny(prefix, "%\r\n") || form == 3 && suffix != "" {
			return
		}
		if len(got) > 0 || form != 3 && strings.Trim(suffix, "/") == "" {
			require.Equal(t, der, got)
		}
	})
}

// FuzzAppendDecoded compares with package encoding/base64.
func FuzzAppendDecoded(f *testing.F) {
	for _, s := range []string{
		"", "A", "AA", "AB", "AAA", "AAB", "AAAA", "MEIw", "+/-_ ", "AA==", "A\nAA", "AAA\r",
		"A\x00AA", "\xff\xff\xff\xff", strings.Repeat("Mz9/", 40),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := appendDecoded([]byte("x"), s)
		standard := strings.NewReplacer("-", "+", "_", "/", " ", "+").Replace(s)
		want, err := base64.RawStdEncoding.Strict().DecodeString(standard)
		require.Equal(t, err == nil && !strings.ContainsAny(s, "\r\n"), ok)
		if ok {
			require.Equal(t, "x"+string(want), string(got))
		}
	})
}

// FuzzFind compares the results with those of a slow reader: nothing is guessed where there is more
// than one possibility, nor by FindStrict.
func FuzzFind(f *testing.F) {
	der := []byte{0x30, 8, 0x30, 6, 0xff, 0xef, 0xbe, 0xfb, 0xff, 0xbf}
	text := base64.StdEncoding.EncodeToString(der)
	outer := []byte{0x30, 17, 0x30, 3, 0xff, 0xff, 0xff, 0x04, 0xff}
	nested := base64.StdEncoding.EncodeToString(append(outer, der...))
	for _, s := range []string{
		"", "/", "%", "/%", "/M", "/MAA%", "/%4d", text, "/" + text, "/%2F" + text,
		"/ocsp/" + url.QueryEscape(text), "/100%/" + url.QueryEscape(text),
		"/" + strings.ReplaceAll(text, "/", "\n/"), "/" + nested,
		"/" + url.QueryEscape(nested), "/x%25/" + url.QueryEscape(url.QueryEscape(nested)),
		strings.Repeat("/M", 20), strings.Repeat("%2FMAA", 20), "/" + strings.TrimRight(text, "="),
		"/" + text + "%2F%2F", "/" + text + "%0A",
	} {
		f.Add(s)
	}
	accept := func(der []byte) bool { return framed(der) && len(der) < 100 }
	f.Fuzz(func(t *testing.T, path string) {
		der, repaired := Find(path, nil, accept)
		joined := strings.NewReplacer("\r", "", "\n", "").Replace(path)
		exact, strictly := FindStrict(joined, nil, accept)
		switch {
		case len(exact) > 0: // the second decoding is for paths in which nothing is found
			require.Equal(t, exact, der)
			require.Equal(t, strictly, repaired)
		case len(der) > 0:
			require.True(t, repaired)
			require.True(t, accept(der))
			all := slowlyDecodedTwice(joined, accept)
			require.Len(t, all, 1)
			require.Equal(t, all[0], der)
		default:
			require.False(t, repaired)
			few := strings.Count(path, "M")+strings.Count(path, "%") <= maxDecodings
			if few && strings.Contains(path, "%") {
				require.NotEqual(t, 1, len(slowlyDecodedTwice(joined, accept)))
			}
		}
	})
}

// slowlyDecodedTwice lists the requests in a path that is decoded again.
func slowlyDecodedTwice(path string, accept func([]byte) bool) (all [][]byte) {
	path = regexp.MustCompile("%[0-9A-Fa-f]{2}").ReplaceAllStringFunc(path, func(s string) string {
		s, _ = url.PathUnescape(s)
		return s
	})
	path = strings.NewReplacer("\r", "", "\n", "").Replace(path)
	standard := strings.NewReplacer("-", "+", "_", "/", " ", "+")
	for start := range path {
		if start > 0 && path[start-1] != '/' {
			continue
		}
		rest := strings.TrimRight(path[start:], "/")
		for slashes := range len(path) - start - len(rest) + 1 { // of those at the end
			letters := strings.TrimRight(rest+strings.Repeat("/", slashes), "=")
			if padding := len(rest) + slashes - len(letters); padding > (4-len(letters)%4)%4 {
				continue
			}
			der, err := base64.RawStdEncoding.Strict().DecodeString(standard.Replace(letters))
			if err == nil && accept(der) {
				all = append(all, der)
			}
		}
	}
	return all
}
