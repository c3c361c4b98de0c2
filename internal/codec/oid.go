package codec

import (
	"bytes"
	"crypto"
	"crypto/x509"
)

// The content octets of the object identifiers that the protocol uses.
var (
	oidBasic            = []byte{0x2b, 6, 1, 5, 5, 7, 48, 1, 1}
	oidNonce            = []byte{0x2b, 6, 1, 5, 5, 7, 48, 1, 2}
	oidAcceptable       = []byte{0x2b, 6, 1, 5, 5, 7, 48, 1, 4}
	oidArchiveCutoff    = []byte{0x2b, 6, 1, 5, 5, 7, 48, 1, 6}
	oidPreferredSigAlgs = []byte{0x2b, 6, 1, 5, 5, 7, 48, 1, 8}
	oidExtendedRevoke   = []byte{0x2b, 6, 1, 5, 5, 7, 48, 1, 9}
	oidInvalidityDate   = []byte{0x55, 29, 24}
	oidSHA1             = []byte{0x2b, 14, 3, 2, 26}
	oidSHA256           = []byte{0x60, 0x86, 0x48, 1, 101, 3, 4, 2, 1}
	oidSHA384           = []byte{0x60, 0x86, 0x48, 1, 101, 3, 4, 2, 2}
	oidSHA512           = []byte{0x60, 0x86, 0x48, 1, 101, 3, 4, 2, 3}
	oidRSAWithSHA256    = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 11}
	oidRSAWithSHA384    = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 12}
	oidRSAWithSHA512    = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 13}
	oidRSAPSS           = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 10}
	oidMGF1             = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 8}
	oidECDSAWithSHA256  = []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2}
	oidECDSAWithSHA384  = []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3}
	oidECDSAWithSHA512  = []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4}
	oidEd25519          = []byte{0x2b, 101, 112}
	derNull             = []byte{tagNull, 0}
	hashAlgorithms      = []hashAlgorithm{
		{crypto.SHA1, oidSHA1}, {crypto.SHA256, oidSHA256},
		{crypto.SHA384, oidSHA384}, {crypto.SHA512, oidSHA512},
	}
	signatureAlgorithms = buildSignatureAlgorithms()
)

type hashAlgorithm struct {
	hash crypto.Hash
	oid  []byte
}

// hashByOID returns the CertID hash that an OID identifies, 0 if this package does not compute it.
func hashByOID(oid []byte) crypto.Hash {
	for _, a := range hashAlgorithms {
		if bytes.Equal(oid, a.oid) {
			return a.hash
		}
	}
	return 0
}

// CertIDHashes returns the hash algorithms of CertIDs that ParseRequest recognizes.
func CertIDHashes() []crypto.Hash {
	return []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512}
}

type signatureAlgorithm struct {
	alg x509.SignatureAlgorithm
	oid []byte
	der []byte // the whole AlgorithmIdentifier

	// bare is der without parameters, as some clients write it. It is nil for PSS, whose parameters
	// name the hash.
	bare []byte
}

// buildSignatureAlgorithms encodes each AlgorithmIdentifier: NULL parameters for RSA, none for
// ECDSA and Ed25519, the full parameters for PSS (RFC 4055, RFC 5758, RFC 8410).
func buildSignatureAlgorithms() []signatureAlgorithm {
	list := []signatureAlgorithm{
		{alg: x509.SHA256WithRSA, oid: oidRSAWithSHA256, der: derNull},
		{alg: x509.SHA384WithRSA, oid: oidRSAWithSHA384, der: derNull},
		{alg: x509.SHA512WithRSA, oid: oidRSAWithSHA512, der: derNull},
		{alg: x509.SHA256WithRSAPSS, oid: oidRSAPSS, der: pssParameters(oidSHA256, 32)},
		{alg: x509.SHA384WithRSAPSS, oid: oidRSAPSS, der: pssParameters(oidSHA384, 48)},
		{alg: x509.SHA512WithRSAPSS, oid: oidRSAPSS, der: pssParameters(oidSHA512, 64)},
		{alg: x509.ECDSAWithSHA256, oid: oidECDSAWithSHA256},
		{alg: x509.ECDSAWithSHA384, oid: oidECDSAWithSHA384},
		{alg: x509.ECDSAWithSHA512, oid: oidECDSAWithSHA512},
		{alg: x509.PureEd25519, oid: oidEd25519},
	}
	for i, a := range list {
		oid := appendTLV(nil, tagOID, a.oid)
		list[i].der = appendTLV(nil, tagSequence, oid, a.der)
		if !bytes.Equal(a.oid, oidRSAPSS) {
			list[i].bare = appendTLV(nil, tagSequence, oid)
		}
	}
	return list
}

// pssParameters returns RSASSA-PSS-params with MGF1 over the same hash and a salt as long as the
// hash. The trailer field has its default value and is omitted (RFC 4055 section 3.1).
func pssParameters(hashOID []byte, saltLength byte) []byte {
	hash := appendTLV(nil, tagSequence, appendTLV(nil, tagOID, hashOID), derNull)
	mgf := appendTLV(nil, tagSequence, appendTLV(nil, tagOID, oidMGF1), hash)
	return appendTLV(nil, tagSequence,
		appendTLV(nil, tagContext0, hash),
		appendTLV(nil, tagContext1, mgf),
		appendTLV(nil, tagContext2, appendTLV(nil, tagInteger, []byte{saltLength})))
}

// AlgorithmIdentifier returns the DER of a signature algorithm's AlgorithmIdentifier, nil if
// answers are not signed with it. The result MUST NOT be modified.
func AlgorithmIdentifier(alg x509.SignatureAlgorithm) []byte {
	for _, a := range signatureAlgorithms {
		if a.alg == alg {
			return a.der
		}
	}
	return nil
}

// signatureAlgorithmOf returns the algorithm of an AlgorithmIdentifier.
func signatureAlgorithmOf(der []byte) x509.SignatureAlgorithm {
	for _, a := range signatureAlgorithms {
		if bytes.Equal(der, a.der) || bytes.Equal(der, a.bare) {
			return a.alg
		}
	}
	return x509.UnknownSignatureAlgorithm
}
