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
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"log/slog"
	"math/big"
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
	mlDSA := func(last, size int) []byte { // Go 1.27 parses such keys
		return derSeq(derSeq(derOID(2, 16, 840, 1, 101, 3, 4, 3, last)),
			derTLV(3, []byte{0}, make([]byte, size)))
	}
	ecCA := ocsptest.NewCA(ocsptest.Options{})
	number := func(n byte) []byte { return derTLV(2, []byte{n}) }
	for name, test := range map[string]struct {
		info []byte
		want string
	}{
		"id-RSASSA-PSS": {derSeq(derSeq(derOID(1, 2, 840, 113549, 1, 1, 10)), bits), "1.2.840.113549.1.1.10 (RSASSA-PSS)"},
		"Ed448":         {derSeq(derSeq(derOID(1, 3, 101, 113)), bits), "1.3.101.113 (Ed448)"},
		"ML-DSA-44":     {mlDSA(17, 1312), "2.16.840.1.101.3.4.3.17 (ML-DSA-44)"},
		"ML-DSA-65":     {mlDSA(18, 1952), "2.16.840.1.101.3.4.3.18 (ML-DSA-65)"},
		"ML-DSA-87":     {mlDSA(19, 2592), "2.16.840.1.101.3.4.3.19 (ML-DSA-87)"},
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
			unverified := ".ResponderCertificate cannot be verified, since the CA's key is of the algorithm " +
				test.want
			if issuer.Certificate.PublicKeyAlgorithm > x509.Ed25519 { // Go 1.27 can verify ML-DSA
				unverified = ".ResponderCertificate was not signed with the CA's present key"
			}
			check(issuer, unverified)

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

// notCritical leaves out that an extension of id-ce is critical.
func notCritical(arc int) func(*testing.T, *x509.Certificate) [][]byte {
	return changedExtensions(func(list [][]byte) [][]byte {
		for i, ext := range list {
			if oid := derOID(2, 5, 29, arc); bytes.HasPrefix(ext[2:], oid) {
				list[i] = derSeq(oid, bytes.TrimPrefix(ext[2+len(oid):], derTrue))
			}
		}
		return list
	})
}

// changedExtensions returns the elements of a TBSCertificate with other extensions.
func changedExtensions(change func([][]byte) [][]byte) func(*testing.T, *x509.Certificate) [][]byte {
	return func(t *testing.T, cert *x509.Certificate) [][]byte {
		tbs := derSplit(t, cert.RawTBSCertificate)
		last := len(tbs) - 1
		list := derSplit(t, derSplit(t, tbs[last])[0])
		tbs[last] = derTLV(0xa3, derSeq(change(list)...))
		return tbs
	}
}

// dropped leaves an extension of id-ce out.
func dropped(arc int) func(*testing.T, *x509.Certificate) [][]byte {
	return changedExtensions(func(list [][]byte) (kept [][]byte) {
		for _, ext := range list {
			if !bytes.HasPrefix(ext[2:], derOID(2, 5, 29, arc)) {
				kept = append(kept, ext)
			}
		}
		return kept
	})
}

// CheckDelegate has a finding for every rule that a delegate's certificate may break, and New and SetIssuer act upon the
// same findings.
func TestCheckDelegate(t *testing.T) {
	t.Parallel()
	ca := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.P384})
	p256 := ocsptest.NewCA(ocsptest.Options{})
	p256.Certificate = ocsptest.NewCA(ocsptest.Options{Signer: p256.Key, Adjust: func(t *x509.Certificate) { t.SubjectKeyId = bytes.Repeat([]byte{9}, 20) }}).Certificate
	rsaCA := ocsptest.NewCA(ocsptest.Options{Signer: keys[ocsptest.RSA2048](), Adjust: func(t *x509.Certificate) { t.SignatureAlgorithm = x509.SHA384WithRSA }})
	edCA := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519})
	extension := func(oid asn1.ObjectIdentifier, critical bool, value ...byte) func(*x509.Certificate) {
		return func(t *x509.Certificate) {
			t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: oid, Critical: critical, Value: value})
		}
	}
	noCheck := func(critical bool, value ...byte) func(*x509.Certificate) {
		return func(t *x509.Certificate) {
			t.ExtraExtensions = nil
			extension(ocsptest.NoCheck.Id, critical, value...)(t)
		}
	}
	anyPolicy, err := x509.OIDFromInts([]uint64{2, 5, 29, 32, 0})
	require.NoError(t, err)
	const warned, refused = "warning: ", "refused: "
	type want map[string]string // prefix and text in a finding -> rule
	same := func(prefix, text, rule string) [2]want {
		return [2]want{{prefix + text: rule}, {prefix + text: rule}}
	}
	onlyCABF := func(prefix, text, rule string) [2]want { return [2]want{{}, {prefix + text: rule}} }
	stricter := func(text, rule, cabf string) [2]want {
		return [2]want{{warned + text: rule}, {refused + text: cabf}}
	}
	for name, test := range map[string]struct {
		ca     *ocsptest.CA // nil is ca
		key    ocsptest.KeyType
		adjust func(*x509.Certificate)
		tbs    func(*testing.T, *x509.Certificate) [][]byte
		want   [2]want // under ProfilePrivate and ProfileCABF
	}{
		"nothing":       {want: [2]want{}},
		"nothing, RSA":  {ca: rsaCA, key: ocsptest.RSA2048, adjust: func(t *x509.Certificate) { t.SignatureAlgorithm = x509.SHA384WithRSA }},
		"nothing, P256": {ca: p256, key: ocsptest.P256},

		// RFC 6960 and RFC 5280.
		"no EKU":           {adjust: func(t *x509.Certificate) { t.ExtKeyUsage = nil }, want: [2]want{{refused + "lacks the extended key usage": "RFC 6960 section 4.2.2.2"}, {refused + "lacks the extended key usage": "RFC 6960 section 4.2.2.2"}}},
		"a CA":             {adjust: func(t *x509.Certificate) { t.IsCA, t.MaxPathLen = true, -1 }, want: same(refused, "is a CA certificate", "RFC 6960 section 4.2.2.2")},
		"no key usage bit": {adjust: func(t *x509.Certificate) { t.KeyUsage = x509.KeyUsageKeyAgreement }, want: [2]want{{refused + "has a key usage without digitalSignature": "RFC 5280 section 4.2.1.3"}, {refused + "has a key usage without digitalSignature": "RFC 5280 section 4.2.1.3", refused + "has a key usage beside": "TLS BR 7.1.2.8.7"}}},
		"an empty key usage": {adjust: func(t *x509.Certificate) {
			t.KeyUsage = 0
			extension(asn1.ObjectIdentifier{2, 5, 29, 15}, true, 3, 1, 0)(t)
		}, want: same(refused, "has a key usage without digitalSignature", "RFC 5280 section 4.2.1.3")},
		"unknown critical": {adjust: extension(asn1.ObjectIdentifier{1, 2, 3}, true, 5, 0), want: [2]want{{refused + "has the critical extension 1.2.3": "RFC 5280 section 4.2"}, {refused + "has the critical extension 1.2.3": "RFC 5280 section 4.2", warned + "has the extension 1.2.3": "TLS BR 7.1.2.8.2"}}},
		"unknown":          {adjust: extension(asn1.ObjectIdentifier{1, 2, 3}, false, 5, 0), want: onlyCABF(warned, "has the extension 1.2.3", "TLS BR 7.1.2.8.2")},

		// What there is a warning of, unless TLS BR refuse it.
		"another EKU":       {adjust: func(t *x509.Certificate) { t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth) }, want: stricter("has 1 extended key usages beside", "RFC 6960 section 4.2.2.2", "TLS BR 7.1.2.8.5")},
		"an unknown EKU":    {adjust: func(t *x509.Certificate) { t.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }, want: stricter("has 1 extended key usages beside", "RFC 6960 section 4.2.2.2", "TLS BR 7.1.2.8.5")},
		"no nocheck":        {adjust: func(t *x509.Certificate) { t.ExtraExtensions = nil }, want: stricter("lacks id-pkix-ocsp-nocheck", "RFC 6960 section 4.2.2.2.1", "TLS BR 7.1.2.8.6")},
		"nocheck, empty":    {adjust: noCheck(false), want: stricter("has id-pkix-ocsp-nocheck with the value", "RFC 6960 section 4.2.2.2.1", "TLS BR 7.1.2.8.6")},
		"nocheck, critical": {adjust: noCheck(true, 5, 0), want: stricter("has a critical id-pkix-ocsp-nocheck", "RFC 6960 section 4.2.2.2.1", "TLS BR 7.1.2.8.2")},
		"CDP":               {adjust: func(t *x509.Certificate) { t.CRLDistributionPoints = []string{"http://crl.test/"} }, want: stricter("has CRL distribution points", "RFC 6960 section 4.2.2.2", "TLS BR 7.1.2.8.2")},
		"SAN":               {adjust: func(t *x509.Certificate) { t.DNSNames = []string{"ocsp.test"} }, want: stricter("has a subject alternative name", "RFC 6960 section 4.2.2.2", "TLS BR 7.1.2.8.2")},
		"AIA OCSP":          {adjust: func(t *x509.Certificate) { t.OCSPServer = []string{"http://ocsp.test/"} }, want: [2]want{{warned + "names an OCSP responder": "RFC 6960 section 4.2.2.2"}, {warned + "names an OCSP responder": "RFC 6960 section 4.2.2.2", warned + "has authorityInfoAccess": "TLS BR 7.1.2.8.2"}}},
		"short serial":      {adjust: func(t *x509.Certificate) { t.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 55) }, want: same(warned, "has a serial number of less than 8 octets", "TLS BR 7.1.2.8")},
		"8 octets":          {adjust: func(t *x509.Certificate) { t.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 56) }},
		"weaker curve":      {key: ocsptest.P256, want: same(warned, "has a key (ECDSA, P-256) that is weaker than the CA's (ECDSA, P-384)", "NIST SP 800-57 part 1 section 5.6.1")},
		"weaker kind":       {ca: p256, key: ocsptest.RSA2048, want: same(warned, "has a key (RSA, 2048 bits) that is weaker than the CA's (ECDSA, P-256)", "NIST SP 800-57 part 1 section 5.6.1")},
		"stronger":          {ca: p256, key: ocsptest.P521},
		"weaker hash, RSA":  {ca: rsaCA, key: ocsptest.RSA2048, want: same(warned, "is signed with SHA-256", "NIST SP 800-57 part 1 section 5.6.1")},
		"weaker hash": {adjust: func(t *x509.Certificate) { t.SignatureAlgorithm = x509.ECDSAWithSHA256 }, want: [2]want{
			{warned + "is signed with SHA-256": "NIST SP 800-57 part 1 section 5.6.1"}, {warned + "is signed with SHA-256": "NIST SP 800-57 part 1 section 5.6.1", refused + "is signed with ECDSA-SHA256": "TLS BR 7.1.3.2"}}},

		// TLS BR 7.1.2.8, row by row.
		"long serial":     {adjust: func(t *x509.Certificate) { t.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 159) }, want: onlyCABF(refused, "has a serial number that is not above 0 and below 2^159", "TLS BR 7.1.2.8")},
		"no country":      {adjust: func(t *x509.Certificate) { t.Subject.Country = nil }, want: onlyCABF(refused, "has a subject without countryName", "TLS BR 7.1.2.10.2")},
		"no organization": {adjust: func(t *x509.Certificate) { t.Subject.Organization = nil }, want: onlyCABF(refused, "has a subject without organizationName", "TLS BR 7.1.2.10.2")},
		"no name":         {adjust: func(t *x509.Certificate) { t.Subject.CommonName = "" }, want: onlyCABF(refused, "has a subject without commonName", "TLS BR 7.1.2.10.2")},
		"Ed25519":         {ca: p256, key: ocsptest.Ed25519, want: onlyCABF(refused, "has an Ed25519 key", "TLS BR 7.1.3.1")},
		"Ed25519 CA":      {ca: edCA, key: ocsptest.P256, want: onlyCABF(refused, "is signed with Ed25519", "TLS BR 7.1.3.2")},
		"unique ID": {tbs: func(t *testing.T, cert *x509.Certificate) [][]byte {
			tbs := derSplit(t, cert.RawTBSCertificate)
			return append(tbs[:7:7], derTLV(0x82, []byte{0, 1}), tbs[7])
		}, want: onlyCABF(refused, "has an issuerUniqueID or a subjectUniqueID", "TLS BR 7.1.2.8")},

		// TLS BR 7.1.2.8.2, row by row.
		"no AKI":            {tbs: dropped(35), want: onlyCABF(refused, "lacks authorityKeyIdentifier", "TLS BR 7.1.2.8.2")},
		"other AKI":         {adjust: extension(asn1.ObjectIdentifier{2, 5, 29, 35}, false, 0x30, 3, 0x80, 1, 7), want: onlyCABF(refused, "has the authorityKeyIdentifier 07", "TLS BR 7.1.2.11.1")},
		"AKI with a serial": {adjust: extension(asn1.ObjectIdentifier{2, 5, 29, 35}, false, 0x30, 6, 0x80, 1, 7, 0x82, 1, 7), want: onlyCABF(refused, "has an authorityKeyIdentifier that is not", "TLS BR 7.1.2.11.1")},
		"no KU":             {adjust: func(t *x509.Certificate) { t.KeyUsage = 0 }, want: onlyCABF(refused, "lacks keyUsage", "TLS BR 7.1.2.8.2")},
		"KU, not critical":  {tbs: notCritical(15), want: onlyCABF(refused, "has keyUsage, not critical", "TLS BR 7.1.2.8.2")},
		"KU, more":          {adjust: func(t *x509.Certificate) { t.KeyUsage |= x509.KeyUsageContentCommitment }, want: onlyCABF(refused, "has a key usage beside digitalSignature", "TLS BR 7.1.2.8.7")},
		"no BC":             {tbs: dropped(19)},
		"BC, not critical":  {tbs: notCritical(19), want: onlyCABF(refused, "has basicConstraints, not critical", "TLS BR 7.1.2.8.2")},
		"name constraints":  {adjust: func(t *x509.Certificate) { t.PermittedDNSDomains = []string{"test"} }, want: onlyCABF(refused, "has nameConstraints", "TLS BR 7.1.2.8.2")},
		"policies":          {adjust: func(t *x509.Certificate) { t.Policies = []x509.OID{anyPolicy} }, want: onlyCABF(refused, "has certificatePolicies", "TLS BR 7.1.2.8.2")},
		"no SKI":            {tbs: dropped(14), want: onlyCABF(warned, "lacks subjectKeyIdentifier", "TLS BR 7.1.2.8.2")},
		"AIA issuers":       {adjust: func(t *x509.Certificate) { t.IssuingCertificateURL = []string{"http://ca.test/"} }, want: [2]want{{}, {warned + "has authorityInfoAccess": "TLS BR 7.1.2.8.2", refused + "has the access method 1.3.6.1.5.5.7.48.2": "TLS BR 7.1.2.8.3"}}},
		"SCT list":          {adjust: extension(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, false, 4, 2, 0, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			issuing := ca
			kind := ocsptest.P384
			if test.ca != nil {
				issuing, kind = test.ca, test.key
			} else if test.key != 0 || strings.HasPrefix(name, "weaker curve") {
				kind = test.key
			}
			issuer := issuing.Issuer()
			issuer.ResponderCertificate, issuer.Signer = issuing.Delegate(ocsptest.Options{Signer: strangerKeys[kind](), Adjust: test.adjust})
			if test.tbs != nil {
				outer, tbs := derSplit(t, issuer.ResponderCertificate.Raw), derSeq(test.tbs(t, issuer.ResponderCertificate)...)
				signature, err := crypto.SignMessage(issuing.Key, nil, tbs, crypto.SHA384)
				require.NoError(t, err)
				issuer.ResponderCertificate, err = x509.ParseCertificate(derSeq(tbs, outer[1], derTLV(3, []byte{0}, signature)))
				require.NoError(t, err)
			}
			for i, profile := range []ocsp.Profile{ocsp.ProfilePrivate, ocsp.ProfileCABF} {
				got := ocsp.CheckDelegate(issuer, profile)
				warnings := 0
				for text, rule := range test.want[i] {
					severity, fault, _ := strings.Cut(text, ": ")
					found := false
					for _, f := range got {
						found = found || f.Refused == (severity == "refused") && strings.HasPrefix(f.Problem, fault) && f.Rule == rule && f.Hint != "" && strings.Contains(f.String(), severity+": the certificate "+fault)
					}
					require.True(t, found, "%s (%s) in %v", text, rule, got)
				}
				require.Len(t, got, len(test.want[i]), "%v", got)

				var text bytes.Buffer
				responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: ocsptest.NewStore(), Profile: profile, Logger: slog.New(slog.NewTextHandler(&text, nil))})
				refusals := 0
				for _, f := range got {
					if f.Refused {
						refusals++
						require.ErrorContains(t, err, f.Problem, "all that is refused is told at once")
						require.ErrorContains(t, err, "ResponderCertificate ")
					} else {
						warnings++
					}
				}
				if refusals > 0 {
					require.Empty(t, text.String())
					continue
				}
				require.NoError(t, err)
				require.Equal(t, warnings, strings.Count(text.String(), "level=WARN"), text.String())
				require.NoError(t, responder.Close())
			}
		})
	}
}

// Missing certificates are findings, not panics.
func TestCheckDelegateWithoutCertificates(t *testing.T) {
	t.Parallel()
	ca := ocsptest.NewCA(ocsptest.Options{})
	delegate, _ := ca.Delegate(ocsptest.Options{})
	for want, issuer := range map[string]ocsp.Issuer{
		"in the field Certificate":          {ResponderCertificate: delegate},
		"in the field ResponderCertificate": {Certificate: ca.Certificate, ResponderCertificate: &x509.Certificate{}},
	} {
		got := ocsp.CheckDelegate(issuer, ocsp.ProfileCABF)
		require.Len(t, got, 1)
		require.True(t, got[0].Refused)
		require.Contains(t, got[0].Problem, want)
	}
}

// CheckDelegate has no findings about the delegates of ocsptest.
func TestDelegatesOfOcsptestAreFaultless(t *testing.T) {
	t.Parallel()
	for _, kind := range ocsptest.KeyTypes() {
		ca := ocsptest.NewCA(ocsptest.Options{Key: kind})
		for _, issuing := range []*ocsptest.CA{ca, ca.Intermediate(ocsptest.Options{Key: kind})} {
			issuer := issuing.Issuer()
			issuer.ResponderCertificate, _ = issuing.Delegate(ocsptest.Options{Key: kind})
			require.Empty(t, ocsp.CheckDelegate(issuer, ocsp.ProfilePrivate))
			if kind != ocsptest.Ed25519 { // which TLS BR do not know
				require.Empty(t, ocsp.CheckDelegate(issuer, ocsp.ProfileCABF))
			}
		}
	}
}

// A delegate that is signed with SHA-1 is weaker than one with SHA-256, and one with MD5 cannot be verified.
func TestDelegateWithAnOldHash(t *testing.T) {
	t.Parallel()
	ca := ocsptest.NewCA(ocsptest.Options{Signer: keys[ocsptest.RSA2048]()})
	issuer := ca.Issuer()
	delegate, _ := ca.Delegate(ocsptest.Options{Signer: strangerKeys[ocsptest.RSA2048]()})
	issuer.ResponderCertificate = resigned(t, delegate, ca.Key, 5, crypto.SHA1)
	require.Contains(t, findings(issuer, ocsp.ProfilePrivate), "warning: the certificate is signed with SHA-1, and so with a hash that is weaker than SHA-256")
	require.Contains(t, findings(issuer, ocsp.ProfileCABF), "refused: the certificate is signed with SHA1-RSA")
	issuer.ResponderCertificate = resigned(t, delegate, ca.Key, 4, crypto.MD5)
	require.Contains(t, findings(issuer, ocsp.ProfilePrivate), "refused: the certificate cannot be verified (x509: cannot verify signature: insecure algorithm MD5-RSA)")
}
