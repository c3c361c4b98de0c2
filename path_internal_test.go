package ocsp

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzAppendDecoded compares with package encoding/base64.
func FuzzAppendDecoded(f *testing.F) {
	for _, s := range []string{"", "A", "AA", "AB", "AAA", "AAB", "AAAA", "MEIw", "+/-_ ", "AA==", "A\nAA", "AAA\r", "A\x00AA", "\xff\xff\xff\xff", strings.Repeat("Mz9/", 40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := appendDecoded([]byte("x"), s)
		want, err := base64.RawStdEncoding.Strict().DecodeString(strings.NewReplacer("-", "+", "_", "/", " ", "+").Replace(s))
		require.Equal(t, err == nil && !strings.ContainsAny(s, "\r\n"), ok)
		if ok {
			require.Equal(t, "x"+string(want), string(got))
		}
	})
}

// BenchmarkGetRequest measures the extraction of a request from a path, behind a mount of usual length.
func BenchmarkGetRequest(b *testing.B) {
	der := make([]byte, 112)
	der[0], der[1], der[2], der[3] = 0x30, 110, 0x30, 108
	path := "/pki/ocsp/" + base64.StdEncoding.EncodeToString(der)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		if buf, _ = getRequest(path, buf, nil); len(buf) != len(der) {
			b.Fatal("no request found")
		}
	}
}
