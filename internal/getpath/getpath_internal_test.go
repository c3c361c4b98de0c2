package getpath

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

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
			all := slowlyDecodedTwice(path, accept)
			require.Len(t, all, 1)
			require.Equal(t, all[0], der)
		default:
			require.False(t, repaired)
			few := strings.Count(path, "M")+strings.Count(path, "%") <= maxDecodings
			if few && strings.Contains(path, "%") {
				require.NotEqual(t, 1, len(slowlyDecodedTwice(path, accept)))
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

// BenchmarkFind measures the extraction of a request from a path, behind a mount of usual length.
func BenchmarkFind(b *testing.B) {
	der := make([]byte, 112)
	der[0], der[1], der[2], der[3] = 0x30, 110, 0x30, 108
	path := "/pki/ocsp/" + base64.StdEncoding.EncodeToString(der)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		if buf, _ = Find(path, buf, nil); len(buf) != len(der) {
			b.Fatal("no request found")
		}
	}
}
