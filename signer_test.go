package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// A key that lacks its numbers is an error and not a panic.
func TestNewRefusesHalfAKey(t *testing.T) {
	t.Parallel()
	ec := ocsptest.NewCA(ocsptest.Options{})
	rsaCA := ocsptest.NewCA(ocsptest.Options{Signer: keys[ocsptest.RSA2048]()})
	for name, test := range map[string]struct {
		ca  *ocsptest.CA
		key crypto.Signer
	}{
		"ECDSA, public":   {ec, &ecdsa.PrivateKey{PublicKey: *ec.Key.Public().(*ecdsa.PublicKey)}},
		"ECDSA, nothing":  {ec, &ecdsa.PrivateKey{}},
		"RSA, public":     {rsaCA, &rsa.PrivateKey{PublicKey: *rsaCA.Key.Public().(*rsa.PublicKey)}},
		"RSA, nothing":    {rsaCA, &rsa.PrivateKey{}},
		"Ed25519, nil":    {ec, ed25519.PrivateKey(nil)},
		"another's, null": {ec, ocsp.NewSigner((*ecdsa.PublicKey)(nil), nil)},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := test.ca.Issuer()
			issuer.Signer = test.key
			_, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: ocsptest.NewStore()})
			require.ErrorContains(t, err, "ocsp: config: the field Issuers[0].")
			require.ErrorContains(t, err, "Signer")
		})
	}
}

// What a signer returns is not its own any more once it signs again.
func TestSignerSignsIntoTheSameMemory(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		var buf []byte
		cfg.Issuers[0].Signer = ocsp.NewSigner(r.ca.Key.Public(), func(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
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

// withKey returns a certificate with another SubjectPublicKeyInfo. Its signature does not count.
func withKey(t *testing.T, cert *x509.Certificate, info []byte) *x509.Certificate {
	t.Helper()
	outer, tbs := derSplit(t, cert.Raw), derSplit(t, cert.RawTBSCertificate)
	tbs[6] = info
	cert, err := x509.ParseCertificate(derSeq(derSeq(tbs...), outer[1], outer[2]))
	require.NoError(t, err)
	return cert
}

// A key that Go does not know is named by the OID of its algorithm. The error does not call it a mismatch.
func TestKeysThatGoDoesNotKnowAreNamed(t *testing.T) {
	t.Parallel()
	bits := derTLV(3, []byte{0}, make([]byte, 57))
	ecCA := ocsptest.NewCA(ocsptest.Options{})
	number := func(n byte) []byte { return derTLV(2, []byte{n}) }
	for name, test := range map[string]struct {
		info []byte
		want string
	}{
		"id-RSASSA-PSS": {derSeq(derSeq(derOID(1, 2, 840, 113549, 1, 1, 10)), bits), "1.2.840.113549.1.1.10 (RSASSA-PSS)"},
		"Ed448":         {derSeq(derSeq(derOID(1, 3, 101, 113)), bits), "1.3.101.113 (Ed448)"},
		"ML-DSA-44":     {derSeq(derSeq(derOID(2, 16, 840, 1, 101, 3, 4, 3, 17)), bits), "2.16.840.1.101.3.4.3.17 (ML-DSA-44)"},
		"ML-DSA-65":     {derSeq(derSeq(derOID(2, 16, 840, 1, 101, 3, 4, 3, 18)), bits), "2.16.840.1.101.3.4.3.18 (ML-DSA-65)"},
		"ML-DSA-87":     {derSeq(derSeq(derOID(2, 16, 840, 1, 101, 3, 4, 3, 19)), bits), "2.16.840.1.101.3.4.3.19 (ML-DSA-87)"},
		"DSA":           {derSeq(derSeq(derOID(1, 2, 840, 10040, 4, 1), derSeq(number(23), number(11), number(4))), derTLV(3, []byte{0}, number(8))), "1.2.840.10040.4.1 (DSA)"},
		"X25519":        {derSeq(derSeq(derOID(1, 3, 101, 110)), derTLV(3, []byte{0}, make([]byte, 32))), "1.3.101.110 (X25519)"},
		"nobody's":      {derSeq(derSeq(derOID(1, 2, 3, 4)), bits), "1.2.3.4"},
	} {
		t.Run(name, func(t *testing.T) {
			want := "has a key of the algorithm " + test.want
			check := func(issuer ocsp.Issuer, wants ...string) {
				t.Helper()
				_, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: ocsptest.NewStore()})
				for _, want := range wants {
					require.ErrorContains(t, err, want)
				}
				require.NotContains(t, err.Error(), "is for another key")
			}
			issuer := ecCA.Issuer()
			issuer.Certificate = withKey(t, ecCA.Certificate, test.info)
			check(issuer, ".Certificate "+want)

			delegate, key := ecCA.Delegate(ocsptest.Options{})
			issuer.ResponderCertificate, issuer.Signer = delegate, key
			check(issuer, ".ResponderCertificate cannot be verified, since the CA's key is of the algorithm "+test.want)

			issuer = ecCA.Issuer()
			issuer.ResponderCertificate = withKey(t, delegate, test.info)
			check(issuer, ".ResponderCertificate "+want)
			require.Contains(t, findings(issuer, ocsp.ProfilePrivate), want)
		})
	}
}

// findings is what CheckDelegate finds, a line each.
func findings(issuer ocsp.Issuer, profile ocsp.Profile) string {
	var text strings.Builder
	for _, f := range ocsp.CheckDelegate(issuer, profile) {
		fmt.Fprintln(&text, f)
	}
	return text.String()
}

// publicSigner is a key with another public key, or none.
type publicSigner struct {
	crypto.Signer
	public crypto.PublicKey
}

func (s publicSigner) Public() crypto.PublicKey { return s.public }

func TestPublicThatReturnsNoPointerIsNamed(t *testing.T) {
	t.Parallel()
	ec := ocsptest.NewCA(ocsptest.Options{})
	rsaCA := ocsptest.NewCA(ocsptest.Options{Signer: keys[ocsptest.RSA2048]()})
	ed := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519})
	edPublic := ed.Key.Public().(ed25519.PublicKey)
	for name, test := range map[string]struct {
		ca     *ocsptest.CA
		public crypto.PublicKey
		want   string
	}{
		"nil":                   {ec, nil, "has a method Public that returns nil"},
		"ECDSA, a nil pointer":  {ec, (*ecdsa.PublicKey)(nil), "has a method Public that returns nil"},
		"RSA, a nil pointer":    {rsaCA, (*rsa.PublicKey)(nil), "has a method Public that returns nil"},
		"Ed25519, nil":          {ed, ed25519.PublicKey(nil), "has a method Public that returns nil"},
		"ECDSA, by value":       {ec, *ec.Key.Public().(*ecdsa.PublicKey), "has a method Public that returns a ecdsa.PublicKey, which package crypto does not know as a key: return a *ecdsa.PublicKey"},
		"RSA, by value":         {rsaCA, *rsaCA.Key.Public().(*rsa.PublicKey), "has a method Public that returns a rsa.PublicKey, which package crypto does not know as a key: return a *rsa.PublicKey"},
		"Ed25519, by reference": {ed, &edPublic, "has a method Public that returns a *ed25519.PublicKey, which package crypto does not know as a key: return a ed25519.PublicKey"},
		"something else":        {ec, "a key", "has a public key of type string, which is not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := test.ca.Issuer()
			for _, key := range []crypto.Signer{publicSigner{test.ca.Key, test.public}, ocsp.NewSigner(test.public, nil)} {
				issuer.Signer = key
				_, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: ocsptest.NewStore()})
				require.ErrorContains(t, err, "Signer "+test.want)
				require.NotContains(t, err.Error(), "is for another key")
			}
		})
	}
}

// The error explains a signature that is r and s side by side.
func TestRawSignatureGetsAHint(t *testing.T) {
	t.Parallel()
	for _, kind := range []ocsptest.KeyType{ocsptest.P256, ocsptest.P384, ocsptest.P521} {
		t.Run(kind.String(), func(t *testing.T) {
			spoilt := false
			r := newRig(t, func(r *rig, cfg *ocsp.Config) {
				signCA(r, cfg, ocsptest.Options{Signer: keys[kind]()})
				public := r.ca.Key.Public().(*ecdsa.PublicKey)
				cfg.Issuers[0].Signer = ocsp.NewSigner(public, func(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
					der, err := r.ca.Key.Sign(rand.Reader, digest, opts)
					if err != nil {
						return nil, err
					}
					size := (public.Curve.Params().BitSize + 7) / 8
					raw := make([]byte, 0, 2*size)
					for _, number := range derSplit(t, der) {
						digits := bytes.TrimLeft(number[2:], "\x00")
						raw = append(append(raw, make([]byte, size-len(digits))...), digits...)
					}
					if spoilt {
						raw[size-1] ^= 1
					}
					return raw, nil
				})
			})
			err := r.responder.Respond(t.Context(), r.request(r.leaf)).Err
			require.ErrorContains(t, err, "a wrong signature")
			require.ErrorContains(t, err, "r and s side by side")
			require.ErrorContains(t, err, "ASN.1")
			spoilt = true
			err = r.responder.Respond(t.Context(), r.request(r.leaf)).Err
			require.ErrorContains(t, err, "a wrong signature")
			require.NotContains(t, err.Error(), "side by side")
		})
	}
}

// rsaKey generates a key whose modulus has so many bits.
func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	require.Equal(t, bits, key.N.BitLen())
	return key
}

// Some generators of 2048 bits leave the first bit zero.
func TestRSAModulusOf2047Bits(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(r *rig, cfg *ocsp.Config) { signCA(r, cfg, ocsptest.Options{Signer: rsaKey(t, 2047)}) })
	files := signFiles(t, r.ca.Certificate, r.leaf, r.query(r.leaf).DER)
	output := signOpenSSL(t, "ocsp", "-respin", files[2], "-issuer", files[0], "-cert", files[1], "-CAfile", files[0], "-no_nonce")
	require.Contains(t, output, "Response verify OK")
	_, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{r.ca.Issuer()}, Store: r.store, Profile: ocsp.ProfileCABF})
	require.ErrorContains(t, err, "is an RSA key with 2047 bits: use at least 2048")
	small := ocsptest.NewCA(ocsptest.Options{Signer: rsaKey(t, 2046)}).Issuer()
	_, err = ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{small}, Store: r.store})
	require.ErrorContains(t, err, "is an RSA key with 2046 bits: use at least 2048")
}

// The crypto module of FIPS 140 has no RSA below 2048 bits. GODEBUG is read when a process starts.
func TestRSAModulusOf2047BitsUnderFIPS(t *testing.T) {
	t.Parallel()
	if fips140.Enforced() {
		ca := ocsptest.NewCA(ocsptest.Options{})
		number := append([]byte{0x7f}, bytes.Repeat([]byte{0xff}, 255)...)
		info := derSeq(derSeq(derOID(1, 2, 840, 113549, 1, 1, 1), derNull), derTLV(3, []byte{0}, derSeq(derTLV(2, number), derTLV(2, []byte{1, 0, 1}))))
		issuer := ca.Issuer()
		issuer.Certificate = withKey(t, ca.Certificate, info)
		_, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: ocsptest.NewStore()})
		require.ErrorContains(t, err, "a key that GODEBUG=fips140=only refuses")
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Contains(t, string(output), "--- PASS: "+t.Name())
}
