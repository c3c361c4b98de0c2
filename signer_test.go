package ocsp_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// A key that lacks its numbers is an error and not a panic.
func TestNewRefusesHalfAKey(t *testing.T) {
	ec := ocsptest.NewCA(ocsptest.Options{})
	rsaCA := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.RSA2048})
	for name, test := range map[string]struct {
		ca  *ocsptest.CA
		key crypto.Signer
	}{
		"ECDSA, public":   {ec, &ecdsa.PrivateKey{PublicKey: *ec.Key.Public().(*ecdsa.PublicKey)}},
		"ECDSA, nothing":  {ec, &ecdsa.PrivateKey{}},
		"RSA, public":     {rsaCA, &rsa.PrivateKey{PublicKey: *rsaCA.Key.Public().(*rsa.PublicKey)}},
		"RSA, nothing":    {rsaCA, &rsa.PrivateKey{}},
		"Ed25519, nil":    {ec, ed25519.PrivateKey(nil)},
		"another's, null": {ec, ocsp.SignerFunc((*ecdsa.PublicKey)(nil), nil)},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := test.ca.Issuer()
			issuer.Signer = test.key
			_, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: ocsptest.NewStore()})
			require.ErrorContains(t, err, "ocsp: config: Issuers[0]: ")
			require.ErrorContains(t, err, "Signer")
		})
	}
}

// What a signer returns is not its own any more once it signs again.
func TestSignerSignsIntoTheSameMemory(t *testing.T) {
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		var buf []byte
		cfg.Issuers[0].Signer = ocsp.SignerFunc(r.ca.Key.Public(), func(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
			sig, err := r.ca.Key.Sign(rand.Reader, digest, opts)
			buf = append(buf[:0], sig...)
			return buf, err
		})
	})
	// One certificate's answers, of which there are more than can be kept as they are sent: others are only kept by signature.
	answers := map[string][]byte{}
	for range 2 {
		for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			for _, bare := range []bool{false, true} {
				client := r.client()
				client.Hash, client.NoParameters = hash, bare
				result, err := client.Query(t.Context(), r.ca.Certificate, r.leaf)
				require.NoError(t, err)
				form := fmt.Sprint(hash, bare)
				if answers[form] != nil {
					require.Equal(t, answers[form], result.DER)
				}
				answers[form] = result.DER
			}
		}
	}
	require.Len(t, answers, 8)
}
