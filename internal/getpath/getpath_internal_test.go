package getpath

import (
	"encoding/base64"
	"testing"
)

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
