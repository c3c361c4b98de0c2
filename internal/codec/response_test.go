package codec_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp/internal/codec"
)

const now = 1_790_000_000

func single(status codec.CertStatus, change func(*codec.Single)) codec.Single {
	s := codec.Single{
		CertID: certID(crypto.SHA1, true, 7).Raw, Status: status, RevokedAt: codec.NoTime, InvalidityDate: codec.NoTime,
		ThisUpdate: now, NextUpdate: now + 3600, ArchiveCutoff: codec.NoTime,
	}
	if change != nil {
		change(&s)
	}
	return s
}

// responses are all shapes that an answer can take.
func responses() map[string]codec.ResponseData {
	data := func(singles ...codec.Single) codec.ResponseData {
		return codec.ResponseData{ResponderID: codec.ByKey([]byte("key")), ProducedAt: now, Singles: singles}
	}
	revoked := func(s *codec.Single) { s.RevokedAt, s.Reason = now-60, 4 }
	all := map[string]codec.ResponseData{
		"good":              data(single(codec.Good, nil)),
		"unknown":           data(single(codec.Unknown, nil)),
		"revoked":           data(single(codec.Revoked, revoked)),
		"without reason":    data(single(codec.Revoked, func(s *codec.Single) { s.RevokedAt = 0 })),
		"archive cutoff":    data(single(codec.Good, func(s *codec.Single) { s.ArchiveCutoff = now - 1 })),
		"invalidity date":   data(single(codec.Revoked, func(s *codec.Single) { revoked(s); s.InvalidityDate = now - 90 })),
		"all single exts":   data(single(codec.Revoked, func(s *codec.Single) { revoked(s); s.InvalidityDate, s.ArchiveCutoff = now-90, 0 })),
		"several":           data(single(codec.Good, nil), single(codec.Unknown, nil), single(codec.Revoked, revoked)),
		"seven, long":       data(make7()...),
		"first year":        data(single(codec.Revoked, func(s *codec.Single) { s.RevokedAt = codec.NoTime + 1 })),
		"last year":         data(single(codec.Good, func(s *codec.Single) { s.NextUpdate = 253402300799 })),
		"by name":           {ResponderID: codec.ByName([]byte{0x30, 0}), ProducedAt: now, Singles: []codec.Single{single(codec.Good, nil)}},
		"nonce":             {ResponderID: codec.ByKey(nil), ProducedAt: now, Singles: []codec.Single{single(codec.Good, nil)}, Nonce: []byte{1}},
		"long nonce":        {ResponderID: codec.ByKey(nil), ProducedAt: now, Singles: []codec.Single{single(codec.Good, nil)}, Nonce: bytes.Repeat([]byte{9}, 128)},
		"extended revoke":   {ResponderID: codec.ByKey(nil), ProducedAt: now, Singles: []codec.Single{single(codec.Revoked, func(s *codec.Single) { s.RevokedAt, s.Reason = 0, 6 })}, ExtendedRevoke: true},
		"nonce and revoked": {ResponderID: codec.ByKey(nil), ProducedAt: now, Singles: []codec.Single{single(codec.Revoked, revoked)}, Nonce: []byte{1, 2}, ExtendedRevoke: true},
	}
	return all
}

func make7() []codec.Single {
	list := make([]codec.Single, 7)
	for i := range list {
		list[i] = single(codec.Good, func(s *codec.Single) { s.CertID = certID(crypto.SHA512, false, int64(i)).Raw })
	}
	return list
}

var algorithm = codec.AlgorithmIdentifier(x509.ECDSAWithSHA256)

func TestResponseRoundTrip(t *testing.T) {
	for name, data := range responses() {
		t.Run(name, func(t *testing.T) {
			tbs, signature := data.AppendTBS(nil), bytes.Repeat([]byte{7}, 70)
			for _, certs := range [][]byte{nil, codec.CertsField([]byte{0x30, 0})} {
				der := codec.AppendResponse([]byte("prefix"), tbs, algorithm, signature, certs)[len("prefix"):]
				response, err := codec.ParseResponse(der)
				if len(data.Singles) > 1 {
					require.Error(t, err)
				} else {
					require.NoError(t, err)
					single := data.Singles[0]
					assert.Equal(t, &codec.Response{
						TBS: tbs, Signature: signature, CertID: single.CertID,
						ProducedAt: data.ProducedAt, ThisUpdate: single.ThisUpdate, NextUpdate: single.NextUpdate,
					}, response)
				}

				// A second reader agrees that it is DER, whole.
				var outer asn1.RawValue
				rest, err := asn1.Unmarshal(der, &outer)
				require.NoError(t, err)
				assert.Empty(t, rest)

				for n := range der {
					_, err := codec.ParseResponse(der[:n])
					assert.Error(t, err)
				}
			}
		})
	}
}

// TestResponseIsReadByOthers signs an answer of each single-entry shape and reads it with
// x/crypto/ocsp.
func TestResponseIsReadByOthers(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for name, data := range responses() {
		if len(data.Singles) > 1 || name == "by name" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			tbs := data.AppendTBS(nil)
			signature, err := crypto.SignMessage(key, rand.Reader, tbs, crypto.SHA256)
			require.NoError(t, err)
			response, err := xocsp.ParseResponse(codec.AppendResponse(nil, tbs, algorithm, signature, nil), &x509.Certificate{PublicKey: &key.PublicKey, PublicKeyAlgorithm: x509.ECDSA})
			require.NoError(t, err)
			want := data.Singles[0]
			assert.Equal(t, int(want.Status), response.Status)
			assert.Equal(t, int64(7), response.SerialNumber.Int64())
			assert.Equal(t, time.Unix(want.ThisUpdate, 0).UTC(), response.ThisUpdate)
			assert.Equal(t, time.Unix(want.NextUpdate, 0).UTC(), response.NextUpdate)
			assert.Equal(t, time.Unix(data.ProducedAt, 0).UTC(), response.ProducedAt)
			if want.Status == codec.Revoked {
				assert.Equal(t, int(want.Reason), response.RevocationReason)
				assert.Equal(t, time.Unix(want.RevokedAt, 0).UTC(), response.RevokedAt)
			}
		})
	}
}

func TestErrorResponse(t *testing.T) {
	assert.Equal(t, []byte{0x30, 3, 10, 1, 6}, codec.ErrorResponse(codec.Unauthorized))
	_, err := xocsp.ParseResponse(codec.ErrorResponse(codec.TryLater), nil)
	assert.Equal(t, xocsp.ResponseError{Status: xocsp.TryLater}, err)
}
