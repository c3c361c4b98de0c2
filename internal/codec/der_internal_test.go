package codec

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// FuzzReadASN1 compares the reader for short lengths with cryptobyte's.
func FuzzReadASN1(f *testing.F) {
	for _, der := range []string{"", "\x30", "\x30\x00", "\x30\x01", "\x30\x01\x05\x06", "\x30\x7f", "\x30\x80\x00\x00", "\x30\x81\x01\x00", "\x30\x81\x80", "\x04\x02\x01\x02\x03", "\x1f\x01\x00"} {
		f.Add([]byte(der))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		for _, tag := range []asn1.Tag{asn1.SEQUENCE, asn1.OCTET_STRING, tagContext0} {
			var got, want cryptobyte.String
			rest, wantRest := cryptobyte.String(der), cryptobyte.String(der)
			require.Equal(t, wantRest.ReadASN1(&want, tag), readASN1(&rest, &got, tag))
			require.Equal(t, []byte(want), []byte(got))
			require.Equal(t, []byte(wantRest), []byte(rest))
		}
		var got, want cryptobyte.String
		rest, wantRest := cryptobyte.String(der), cryptobyte.String(der)
		require.Equal(t, wantRest.ReadASN1Element(&want, asn1.SEQUENCE), readElement(&rest, &got))
		require.Equal(t, []byte(want), []byte(got))
		require.Equal(t, []byte(wantRest), []byte(rest))
	})
}
