package codec_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/codec"
)

var limits = codec.ReadLimits{CertIDs: 4, Extensions: 3}

// vectors returns the files of a folder under testdata, without their ".hex". A folder that is
// empty by mistake would let every test over it pass.
func vectors(tb testing.TB, folder string) map[string][]byte {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", folder, "*.hex"))
	require.NoError(tb, err)
	require.NotEmpty(tb, files)
	list := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(tb, err)
		der, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		require.NoError(tb, err, file)
		list[strings.TrimSuffix(filepath.Base(file), ".hex")] = der
	}
	return list
}

// certID returns a CertID that names nobody.
func certID(hash crypto.Hash, null bool, serial int64) codec.CertID {
	return codec.CertID{Raw: codec.CertIDFrom(codec.CertIDIssuer(hash, null, []byte("name"), []byte("key")), codec.SerialBytes(big.NewInt(serial)))}
}

func encode(change func(*codec.Request)) []byte {
	req := codec.Request{Entries: []codec.RequestEntry{{CertID: certID(crypto.SHA256, true, 7)}}}
	if change != nil {
		change(&req)
	}
	return codec.AppendRequest(nil, &req)
}

func TestParseRequestReadsEverything(t *testing.T) {
	der := encode(func(req *codec.Request) {
		req.VersionGiven = true
		req.RequestorName = []byte{0x82, 1, 'x'}
		req.Entries = append(req.Entries, codec.RequestEntry{
			CertID:     certID(crypto.SHA1, false, -129),
			Extensions: []codec.Extension{{OID: []byte{0x2a, 3}, CriticalGiven: true, Value: []byte{5, 0}}},
		})
		req.Extensions = []codec.Extension{codec.NonceExtension([]byte("nonce")), {OID: []byte{0x2a, 4}, Value: []byte{}}}
		req.Signature.Raw = []byte{0x30, 11, 0x30, 5, 6, 3, 0x2b, 101, 112, 3, 2, 0, 0xff}
	})
	var req codec.Request
	require.NoError(t, codec.ParseRequest(der, &req, limits))
	assert.True(t, req.VersionGiven)
	assert.Equal(t, []byte{0x82, 1, 'x'}, req.RequestorName)
	require.Len(t, req.Entries, 2)
	first, second := req.Entries[0].CertID, req.Entries[1].CertID
	assert.Equal(t, crypto.SHA256, first.Hash)
	assert.Equal(t, crypto.SHA1, second.Hash)
	assert.Equal(t, codec.CertIDIssuer(crypto.SHA256, true, []byte("name"), []byte("key")), first.Issuer)
	assert.Equal(t, codec.CertIDIssuer(crypto.SHA1, false, []byte("name"), []byte("key")), second.Issuer)
	assert.Equal(t, int64(-129), codec.SerialInt(second.Serial).Int64())
	assert.Equal(t, []byte("nonce"), req.Nonce)
	assert.Equal(t, codec.NonceWrapped, req.NonceForm)
	assert.True(t, bytes.Contains(der, req.TBS))
	assert.Equal(t, x509.PureEd25519, req.Signature.Algorithm)
	assert.Equal(t, []byte{0xff}, req.Signature.Value)
	assert.Empty(t, req.Signature.Certificates)
	assert.Equal(t, der, codec.AppendRequest(nil, &req))
}

func TestParseRequestReusesItsSlices(t *testing.T) {
	small := encode(func(req *codec.Request) {
		req.Extensions = []codec.Extension{codec.NonceExtension(bytes.Repeat([]byte{1}, 32))}
	})
	var req codec.Request
	require.NoError(t, codec.ParseRequest(small, &req, limits))
	allocs := testing.AllocsPerRun(100, func() {
		if codec.ParseRequest(small, &req, limits) != nil {
			t.Fatal("no longer a request")
		}
	})
	assert.LessOrEqual(t, allocs, 1.0)

	// What an earlier request had must not show through in the next.
	require.NoError(t, codec.ParseRequest(encode(nil), &req, limits))
	assert.Nil(t, req.Nonce)
	assert.Empty(t, req.Extensions)
	assert.Empty(t, req.Entries[0].Extensions)
}

func TestParseRequestRefuses(t *testing.T) {
	extension := func(oid byte, critical bool, value ...byte) codec.Extension {
		return codec.Extension{OID: []byte{0x2b, 6, 1, 5, 5, 7, 48, 1, oid}, Critical: critical, Value: value}
	}
	withExtensions := func(list ...codec.Extension) []byte {
		return encode(func(req *codec.Request) { req.Extensions = list })
	}
	raw := func(certID ...byte) []byte {
		return encode(func(req *codec.Request) { req.Entries[0].CertID.Raw = certID })
	}
	issuer := codec.CertIDIssuer(crypto.SHA1, true, nil, nil)
	for name, der := range map[string][]byte{
		"nothing":          {},
		"a second request": append(encode(nil), encode(nil)...),
		"no entries":       encode(func(req *codec.Request) { req.Entries = nil }),
		"too many entries": encode(func(req *codec.Request) {
			req.Entries = make([]codec.RequestEntry, 0)
			for i := range 5 {
				req.Entries = append(req.Entries, codec.RequestEntry{CertID: certID(crypto.SHA1, true, int64(i))})
			}
		}),
		"requestor is no name":   encode(func(req *codec.Request) { req.RequestorName = []byte{0x30, 0} }),
		"requestor is two names": encode(func(req *codec.Request) { req.RequestorName = []byte{0x82, 0, 0x82, 0} }),
		"requestor is a ninth":   encode(func(req *codec.Request) { req.RequestorName = []byte{0x89, 0} }),
		"signature is not one":   encode(func(req *codec.Request) { req.Signature.Raw = []byte{5, 0} }),
		"signature has unused bits": encode(func(req *codec.Request) {
			req.Signature.Raw = []byte{0x30, 11, 0x30, 5, 6, 3, 0x2b, 101, 112, 3, 2, 1, 0xff}
		}),
		"signature with a tail": encode(func(req *codec.Request) {
			req.Signature.Raw = []byte{0x30, 13, 0x30, 5, 6, 3, 0x2b, 101, 112, 3, 2, 0, 0xff, 5, 0}
		}),
		"certs are not a list": encode(func(req *codec.Request) {
			req.Signature.Raw = []byte{0x30, 15, 0x30, 5, 6, 3, 0x2b, 101, 112, 3, 2, 0, 0xff, 0xa0, 2, 5, 0}
		}),
		"certs hold something else": encode(func(req *codec.Request) {
			req.Signature.Raw = []byte{0x30, 17, 0x30, 5, 6, 3, 0x2b, 101, 112, 3, 2, 0, 0xff, 0xa0, 4, 0x30, 2, 5, 0}
		}),
		"no extension after the tag": append([]byte{0x30, 2}, 0xa2, 0),
		"CertID is no sequence":      raw(5, 0),
		"CertID is empty":            raw(0x30, 0),
		"serial is empty":            raw(codec.CertIDFrom(issuer, nil)...),
		"serial is padded":           raw(codec.CertIDFrom(issuer, []byte{0, 1})...),
		"negative serial is padded":  raw(codec.CertIDFrom(issuer, []byte{0xff, 0x80})...),
		"serial is too long":         raw(codec.CertIDFrom(issuer, bytes.Repeat([]byte{1}, 65))...),
		"hash OID is empty":          raw(codec.CertIDFrom(append([]byte{0x30, 2, 6, 0}, issuer[11:]...), []byte{1})...),
		"hash OID is padded":         raw(codec.CertIDFrom(append([]byte{0x30, 4, 6, 2, 0x80, 1}, issuer[11:]...), []byte{1})...),
		"hash OID is cut":            raw(codec.CertIDFrom(append([]byte{0x30, 3, 6, 1, 0x81}, issuer[11:]...), []byte{1})...),
		"too many extensions":        withExtensions(extension(40, false), extension(41, false), extension(42, false), extension(43, false)),
		"extension twice":            withExtensions(extension(40, false), extension(40, false)),
		"unknown critical":           withExtensions(extension(40, true)),
		"nonce of no octets":         withExtensions(extension(2, false, 4, 0)),
		"nonce with a tail":          withExtensions(extension(2, false, 4, 1, 1, 0)),
		"nonce in another TLV":       withExtensions(extension(2, false, 5, 0)),
		"no response type at all":    withExtensions(extension(4, false, 0x30, 0)),
		"response types not OIDs":    withExtensions(extension(4, false, 0x30, 2, 5, 0)),
		"response types not a list":  withExtensions(extension(4, false, 5, 0)),
		"no preferred algorithm":     withExtensions(extension(8, false, 0x30, 0)),
		"preferred not a list":       withExtensions(extension(8, false, 5, 0)),
		"preferred without OID":      withExtensions(extension(8, false, 0x30, 4, 0x30, 2, 0x30, 0)),
		"preferred with bad key alg": withExtensions(extension(8, false, 0x30, 11, 0x30, 9, 0x30, 5, 6, 3, 0x2b, 101, 112, 5, 0)),
		"critical entry extension":   encode(func(req *codec.Request) { req.Entries[0].Extensions = []codec.Extension{extension(7, true)} }),
	} {
		t.Run(name, func(t *testing.T) {
			var req codec.Request
			require.ErrorIs(t, codec.ParseRequest(der, &req, limits), codec.ErrMalformed)
		})
	}
}

func TestStrictRefusesEmptyExtensions(t *testing.T) {
	der := encode(func(req *codec.Request) { req.ExtensionsGiven = true })
	var req codec.Request
	require.NoError(t, codec.ParseRequest(der, &req, limits))
	require.ErrorIs(t, codec.ParseRequest(der, &req, codec.ReadLimits{CertIDs: 1, Extensions: 1, Strict: true}), codec.ErrMalformed)
}

func TestPreferredAlgorithms(t *testing.T) {
	preferred := func(algorithms ...[]byte) []byte {
		var list []byte
		for _, a := range algorithms {
			list = append(list, append([]byte{0x30, byte(len(a))}, a...)...)
		}
		value := append([]byte{0x30, byte(len(list))}, list...)
		return encode(func(req *codec.Request) {
			req.Extensions = []codec.Extension{{OID: []byte{0x2b, 6, 1, 5, 5, 7, 48, 1, 8}, Value: value}}
		})
	}
	bareRSA := []byte{0x30, 11, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 12}
	unknown := []byte{0x30, 4, 6, 2, 0x2a, 3}
	var req codec.Request
	require.NoError(t, codec.ParseRequest(preferred(unknown, codec.AlgorithmIdentifier(x509.ECDSAWithSHA384), bareRSA), &req, limits))
	assert.Equal(t, []x509.SignatureAlgorithm{x509.ECDSAWithSHA384, x509.SHA384WithRSA}, req.Preferred)
	require.NoError(t, codec.ParseRequest(preferred(codec.AlgorithmIdentifier(x509.SHA512WithRSAPSS)), &req, limits))
	assert.Equal(t, []x509.SignatureAlgorithm{x509.SHA512WithRSAPSS}, req.Preferred)
	assert.Nil(t, codec.AlgorithmIdentifier(x509.SHA1WithRSA))
}

func TestSerialRoundTrip(t *testing.T) {
	for _, n := range []int64{0, 1, 127, 128, 255, 256, -1, -128, -129, 1 << 40} {
		assert.Equal(t, n, codec.SerialInt(codec.SerialBytes(big.NewInt(n))).Int64())
	}
	for _, sign := range []int64{3, -3} {
		for bits := range uint(500) {
			n := new(big.Int).Lsh(big.NewInt(sign), bits)
			assert.Zero(t, n.Cmp(codec.SerialInt(codec.SerialBytes(n))), bits)
		}
	}
	assert.Zero(t, codec.SerialInt(nil).Sign())
}

func TestVectors(t *testing.T) {
	var req codec.Request
	for name, der := range vectors(t, "requests") {
		assert.NoError(t, codec.ParseRequest(der, &req, codec.ReadLimits{CertIDs: 32, Extensions: 16}), name)
		assert.Equal(t, der, codec.AppendRequest(nil, &req), name)
	}
	for name, der := range vectors(t, "malformed") {
		assert.ErrorIs(t, codec.ParseRequest(der, &req, codec.ReadLimits{CertIDs: 32, Extensions: 16}), codec.ErrMalformed, name)
	}
}
