package ocsp

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// DelegateFinding is one fault of a certificate that signs answers.
type DelegateFinding struct {
	// Refused reports whether New and SetIssuer return an error because of it. Otherwise they log a
	// warning.
	Refused bool

	// Problem describes it, with the certificate as its subject: "lacks the extended key usage
	// OCSPSigning".
	Problem string

	// Hint describes how to correct it.
	Hint string

	// Rule is the section that the certificate violates, such as "RFC 6960 section 4.2.2.2" or "TLS
	// BR 7.1.2.8.6".
	Rule string
}

// String returns the finding in one line.
func (f DelegateFinding) String() string {
	severity := "warning"
	if f.Refused {
		severity = "refused"
	}
	return fmt.Sprintf("%s: the certificate %s: %s (%s)", severity, f.Problem, f.Hint, f.Rule)
}

// CheckDelegate returns the faults of a delegated responder's certificate. It is for hosts that
// issue such certificates. New and SetIssuer apply the same rules: RFC 6960 section 4.2.2.2 and,
// under ProfileCABF, each row of TLS BR 7.1.2.8 that a certificate shows. If there are no findings,
// they accept the certificate without a warning.
//
// CheckDelegate reads Certificate, ResponderCertificate and NameAliases of the issuer. It checks
// neither whether the certificates are valid now, nor whether Signer has the certificate's key. It
// is safe for concurrent use.
func CheckDelegate(issuer Issuer, profile Profile) []DelegateFinding {
	c := delegateCheck{cert: issuer.ResponderCertificate, ca: issuer.Certificate, profile: profile}
	for _, given := range []struct {
		field string
		cert  *x509.Certificate
	}{{fieldCertificate, c.ca}, {fieldResponder, c.cert}} {
		if given.cert == nil || len(given.cert.Raw) == 0 {
			c.refuse("RFC 5280 section 4.1", "parse it from DER with x509.ParseCertificate",
				"in the field %s is nil or was not parsed", given.field)
		}
	}
	if len(c.findings) > 0 {
		return c.findings
	}
	c.checkIssuer(issuer.NameAliases)
	c.checkUsages()
	c.checkKey()
	c.checkExtensions()
	c.checkStrength()
	if profile == ProfileCABF {
		c.checkProfile()
		c.checkProfileExtensions()
	}
	return c.findings
}

// checkFindings checks the certificate that signs. It returns the warnings, or an error with all
// faults that are refused.
func checkFindings(cfg *Issuer, profile Profile) (warnings []DelegateFinding, err error) {
	field, findings := fieldResponder, []DelegateFinding(nil)
	if cfg.ResponderCertificate != nil {
		findings = CheckDelegate(*cfg, profile)
	} else {
		field, findings = fieldCertificate, checkOwnUsage(cfg.Certificate, profile)
	}
	isWarning := func(f DelegateFinding) bool { return !f.Refused }
	refused := slices.DeleteFunc(slices.Clone(findings), isWarning)
	if len(refused) == 0 {
		return findings, nil
	}
	// List them all, so that one new certificate corrects them.
	var hints []string
	for i, f := range refused {
		also := ""
		if i > 0 {
			also = "it also " + f.Problem + ": "
		}
		hints = append(hints, also+f.Hint+" ("+f.Rule+")")
	}
	return nil, fieldError(field, strings.Join(hints, "; "), "%s", refused[0].Problem)
}

// checkOwnUsage checks the certificate of a CA that signs its own answers. RFC 6960 does not
// require digitalSignature, and clients do not check it.
func checkOwnUsage(ca *x509.Certificate, profile Profile) []DelegateFinding {
	if !mayNotSign(ca) {
		return nil
	}
	f := DelegateFinding{
		Problem: "has a key usage without digitalSignature, so clients may refuse what it signs",
		Hint:    "reissue it with that usage, or use a delegated responder's certificate that has it",
		Rule:    "RFC 5280 section 4.2.1.3",
	}
	if profile == ProfileCABF {
		f.Refused, f.Rule = true, "TLS BR 7.1.2.10.7"
	}
	return []DelegateFinding{f}
}

// mayNotSign reports whether a certificate has a key usage without digitalSignature. The key usage
// may be empty.
func mayNotSign(cert *x509.Certificate) bool {
	isKeyUsage := func(e pkix.Extension) bool { return e.Id.Equal(oidKeyUsage) }
	return slices.ContainsFunc(cert.Extensions, isKeyUsage) &&
		cert.KeyUsage&x509.KeyUsageDigitalSignature == 0
}

// delegateCheck collects findings.
type delegateCheck struct {
	cert, ca *x509.Certificate
	profile  Profile
	findings []DelegateFinding
}

func (c *delegateCheck) add(refused bool, rule, hint, format string, args ...any) {
	c.findings = append(c.findings, DelegateFinding{
		Refused: refused, Problem: fmt.Sprintf(format, args...), Hint: hint, Rule: rule,
	})
}

func (c *delegateCheck) refuse(rule, hint, format string, args ...any) {
	c.add(true, rule, hint, format, args...)
}

// warn adds a warning. Under ProfileCABF the finding is refused if cabf, its rule there, is not
// empty.
func (c *delegateCheck) warn(rule, cabf, hint, format string, args ...any) {
	refused := cabf != "" && c.profile == ProfileCABF
	if refused {
		rule = cabf
	}
	c.add(refused, rule, hint, format, args...)
}

const ruleDelegate = "RFC 6960 section 4.2.2.2"

// checkIssuer checks that the CA issued the certificate, under its name and with its key.
func (c *delegateCheck) checkIssuer(aliases [][]byte) {
	isIssuer := func(name []byte) bool { return bytes.Equal(name, c.cert.RawIssuer) }
	switch {
	case bytes.Equal(c.cert.RawIssuer, c.ca.RawSubject):
	case slices.ContainsFunc(aliases, isIssuer):
		if c.profile == ProfileCABF {
			c.refuse("TLS BR 7.1.2.8",
				"reissue it with the CA's subject as its issuer, octet for octet",
				"was issued under a NameAlias of the CA")
		}
	case c.cert.Issuer.String() == c.ca.Subject.String():
		c.refuse(ruleDelegate,
			"reissue it with the CA's subject as its issuer, octet for octet, or "+hintNameAliases,
			"was issued by %s", encodedDifferently(c.cert.Issuer))
	default:
		c.refuse(ruleDelegate, "a delegate must be issued directly by the CA it answers for",
			"was issued by %q, not by the CA %q", c.cert.Issuer, c.ca.Subject)
		return // nor with its key
	}
	switch err := checkSignedBy(c.cert, c.ca); {
	case err == nil:
	case isUnverifiable(err) && checkKnownKey("", c.ca) != nil:
		c.refuse(ruleDelegate, "use a CA with RSA (rsaEncryption), ECDSA or Ed25519",
			"cannot be verified, since the CA's key is of the algorithm %s", keyAlgorithm(c.ca))
	case isUnverifiable(err):
		hint := "reissue it with SHA-256 or longer"
		if fips140.Enforced() {
			hint += ", as GODEBUG=fips140=only demands"
		}
		c.refuse(ruleDelegate, hint, "cannot be verified (%v)", err)
	default:
		c.refuse(ruleDelegate, "reissue it with that key",
			"was not signed with the CA's present key (%v)", err)
	}
}

// checkUsages checks key usage, extended key usage and basicConstraints.
func (c *delegateCheck) checkUsages() {
	if !slices.Contains(c.cert.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		c.refuse(ruleDelegate, "reissue it with id-kp-OCSPSigning",
			"lacks the extended key usage OCSPSigning")
	} else if n := len(c.cert.ExtKeyUsage) + len(c.cert.UnknownExtKeyUsage); n > 1 {
		c.warn(ruleDelegate, "TLS BR 7.1.2.8.5", "reissue it with id-kp-OCSPSigning alone",
			"has %d extended key usages beside OCSPSigning, so its key can do more than answer",
			n-1)
	}
	if c.cert.IsCA {
		c.refuse(ruleDelegate, "use one that is not", "is a CA certificate")
	}
	if mayNotSign(c.cert) {
		c.refuse("RFC 5280 section 4.2.1.3", "reissue it with that usage",
			"has a key usage without digitalSignature, so clients may refuse what it signs")
	}
}

// checkKey checks whether the certificate's key can sign answers.
func (c *delegateCheck) checkKey() {
	err := checkKnownKey(fieldResponder, c.cert)
	if err == nil {
		err = checkFIPS(fieldResponder, c.cert)
	}
	if err == nil {
		_, err = algorithmsFor(c.cert.PublicKey, c.profile)
	}
	var fault *ConfigError
	if errors.As(err, &fault) {
		what := fault.Problem
		if fault.Field == fieldSigner { // its problem describes a key
			what = "has a key that " + what
		}
		c.refuse("RFC 6960 section 4.3", fault.Hint, "%s", what)
	}
}

var (
	oidNoCheck          = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}
	oidAccessOCSP       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidNameConstraints  = asn1.ObjectIdentifier{2, 5, 29, 30}
	oidCRLPoints        = asn1.ObjectIdentifier{2, 5, 29, 31}
	oidPolicies         = asn1.ObjectIdentifier{2, 5, 29, 32}
	oidAuthorityKeyID   = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidInfoAccess       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}
	oidTimestamps       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
)

// extension returns the content of an extension, and whether it is critical.
func (c *delegateCheck) extension(oid asn1.ObjectIdentifier) (value []byte, critical, ok bool) {
	for _, ext := range c.cert.Extensions {
		if ext.Id.Equal(oid) {
			return ext.Value, ext.Critical, true
		}
	}
	return nil, false, false
}

// checkExtensions checks the extensions that clients read under any profile.
func (c *delegateCheck) checkExtensions() {
	for _, oid := range c.cert.UnhandledCriticalExtensions {
		if !oid.Equal(oidNoCheck) {
			c.refuse("RFC 5280 section 4.2",
				"reissue it without that extension, or with it not critical",
				"has the critical extension %v, which is not known, so clients must refuse it", oid)
		}
	}
	const ruleNoCheck, cabfNoCheck = "RFC 6960 section 4.2.2.2.1", "TLS BR 7.1.2.8.6"
	switch value, critical, ok := c.extension(oidNoCheck); {
	case !ok:
		c.warn(ruleNoCheck, cabfNoCheck, "issue it with that extension",
			"lacks id-pkix-ocsp-nocheck, so clients may ask for its own status or refuse its "+
				"answers")
	case !bytes.Equal(value, asn1.NullBytes):
		c.warn(ruleNoCheck, cabfNoCheck, "reissue it with NULL as the extension's value",
			"has id-pkix-ocsp-nocheck with the value %x", value)
	case critical:
		c.warn(ruleNoCheck, "TLS BR 7.1.2.8.2", "reissue it with that extension not critical",
			"has a critical id-pkix-ocsp-nocheck, which not every client knows")
	}
	if _, _, ok := c.extension(oidCRLPoints); ok {
		c.warn(ruleDelegate, "TLS BR 7.1.2.8.2", "reissue it without them",
			"has CRL distribution points, which id-pkix-ocsp-nocheck makes idle")
	}
	if _, _, ok := c.extension(oidSubjectAltName); ok {
		c.warn(ruleDelegate, "TLS BR 7.1.2.8.2", "reissue it without that",
			"has a subject alternative name, so it may be taken for a server's or a person's")
	}
	if len(c.cert.OCSPServer) > 0 {
		c.warn(ruleDelegate, "", "reissue it without that",
			"names an OCSP responder in its authority information access, so clients may ask "+
				"it about itself without end")
	}
	if c.cert.SerialNumber != nil && c.cert.SerialNumber.BitLen() <= 7*8 {
		c.warn("TLS BR 7.1.2.8", "", "reissue it with 64 random bits or more",
			"has a serial number of less than 8 octets, so it may be foreseen")
	}
}

// checkStrength compares the certificate's key and hash with the CA's.
func (c *delegateCheck) checkStrength() {
	if a, b, ok := strengths(c.cert.PublicKey, c.ca.PublicKey); ok && a < b {
		c.warn("NIST SP 800-57 part 1 section 5.6.1", "",
			"reissue it for a key as strong as the CA's",
			"has a key (%s) that is weaker than the CA's (%s)", keyName(c.cert), keyName(c.ca))
	}
	own, its := hashOf(c.cert.SignatureAlgorithm), hashOf(c.ca.SignatureAlgorithm)
	if own == 0 || its == 0 || own.Size() >= its.Size() {
		return
	}
	pub, ok := c.ca.PublicKey.(*ecdsa.PublicKey)
	if ok && own.Size()*8 >= pub.Curve.Params().BitSize {
		return // ECDSA truncates a longer hash to the size of this key
	}
	c.warn("NIST SP 800-57 part 1 section 5.6.1", "",
		"reissue it with the hash that the CA's certificate is signed with",
		"is signed with %v, and so with a hash that is weaker than %v of the CA's certificate",
		own, its)
}

// strengths returns two numbers that compare the keys: their sizes if both are RSA, otherwise their
// bits of security. ok is false if they cannot be compared.
func strengths(a, b crypto.PublicKey) (int, int, bool) {
	x, isX := a.(*rsa.PublicKey)
	y, isY := b.(*rsa.PublicKey)
	if isX && isY {
		return x.Size(), y.Size(), true
	}
	p, q := securityBits(a), securityBits(b)
	return p, q, p > 0 && q > 0
}

// securityBits returns the security strength of a key by NIST SP 800-57 part 1 table 2, 0 if it is
// not known.
func securityBits(pub crypto.PublicKey) int {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		for _, row := range [][2]int{{15360, 256}, {7680, 192}, {3072, 128}, {2047, 112}} {
			if pub.N.BitLen() >= row[0] {
				return row[1]
			}
		}
		return 80
	case *ecdsa.PublicKey:
		return min(pub.Curve.Params().BitSize/2, 256)
	case ed25519.PublicKey:
		return 128
	}
	return 0
}

// keyName describes a key briefly.
func keyName(cert *x509.Certificate) string {
	switch pub := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA, %d bits", pub.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA, " + pub.Curve.Params().Name
	}
	return cert.PublicKeyAlgorithm.String()
}

// checkProfile applies the rows of TLS BR 7.1.2.8. A certificate does not show when it was signed,
// which its row about validity needs (7.1.2.8.1), nor how random its serial number is.
func (c *delegateCheck) checkProfile() {
	cert := c.cert
	if cert.Version != 3 {
		c.refuse("TLS BR 7.1.2.8", "reissue it as X.509 version 3",
			"is of X.509 version %d", cert.Version)
	}
	if n := cert.SerialNumber; n == nil || n.Sign() <= 0 || n.BitLen() > 159 {
		c.refuse("TLS BR 7.1.2.8", "reissue it with another",
			"has a serial number that is not above 0 and below 2^159")
	}
	if !c.allowedAlgorithm() {
		c.refuse("TLS BR 7.1.3.2",
			"reissue it with RSA or ECDSA and the hash that fits the CA's key",
			"is signed with %v", cert.SignatureAlgorithm)
	}
	for _, name := range []struct {
		attribute string
		missing   bool
	}{
		{"countryName", len(cert.Subject.Country) == 0},
		{"organizationName", len(cert.Subject.Organization) == 0},
		{"commonName", cert.Subject.CommonName == ""},
	} {
		if name.missing {
			c.refuse("TLS BR 7.1.2.10.2", "reissue it with that attribute",
				"has a subject without %s", name.attribute)
		}
	}
	switch pub := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n >= 2048 && n%8 != 0 {
			c.refuse("TLS BR 6.1.5", "use another key",
				"has an RSA key with %d bits, which eight do not divide", n)
		}
	case ed25519.PublicKey:
		c.refuse("TLS BR 7.1.3.1", "use RSA or ECDSA", "has an Ed25519 key")
	}
	if hasUniqueID(cert) {
		c.refuse("TLS BR 7.1.2.8", "reissue it without that",
			"has an issuerUniqueID or a subjectUniqueID")
	}
}

// allowedAlgorithm reports whether TLS BR 7.1.3.2 allows the algorithm that the certificate is
// signed with.
func (c *delegateCheck) allowedAlgorithm() bool {
	hash := hashOf(c.cert.SignatureAlgorithm)
	switch pub := c.ca.PublicKey.(type) {
	case *rsa.PublicKey:
		return hash == crypto.SHA256 || hash == crypto.SHA384 || hash == crypto.SHA512
	case *ecdsa.PublicKey:
		fits := map[int]crypto.Hash{256: crypto.SHA256, 384: crypto.SHA384, 521: crypto.SHA512}
		return hash != 0 && hash == fits[pub.Curve.Params().BitSize]
	}
	return false
}

// hasUniqueID reports whether a certificate has one of the fields of X.509 version 2 that package
// x509 skips.
func hasUniqueID(cert *x509.Certificate) bool {
	tbs := cryptobyte.String(cert.RawTBSCertificate)
	version := cryptobyteasn1.Tag(0).Constructed().ContextSpecific()
	if !tbs.ReadASN1(&tbs, cryptobyteasn1.SEQUENCE) || !tbs.SkipOptionalASN1(version) {
		return false
	}
	for range 6 { // serialNumber to subjectPublicKeyInfo
		var element cryptobyte.String
		var tag cryptobyteasn1.Tag
		if !tbs.ReadAnyASN1(&element, &tag) {
			return false
		}
	}
	return tbs.PeekASN1Tag(cryptobyteasn1.Tag(1).ContextSpecific()) ||
		tbs.PeekASN1Tag(cryptobyteasn1.Tag(2).ContextSpecific())
}

// presence is what a profile demands about the presence of an extension.
type presence uint8

const (
	extAllowed presence = iota // or checked by checkUsages or checkExtensions
	extRequired
	extWanted
	extDiscouraged
	extForbidden
)

// profileExtensions is the table of TLS BR 7.1.2.8.2. Package x509 refuses critical key identifiers
// and a critical information access, and no client accepts a critical list of timestamps.
var profileExtensions = []struct {
	oid      asn1.ObjectIdentifier
	name     string
	presence presence
	critical bool
}{
	{oidAuthorityKeyID, "authorityKeyIdentifier", extRequired, false},
	{oidExtKeyUsage, "extKeyUsage", extAllowed, false},
	{oidNoCheck, "id-pkix-ocsp-nocheck", extAllowed, false},
	{oidKeyUsage, "keyUsage", extRequired, true},
	{oidBasicConstraints, "basicConstraints", extAllowed, true},
	{oidNameConstraints, "nameConstraints", extForbidden, false},
	{oidSubjectAltName, "subjectAltName", extAllowed, false},
	{oidSubjectKeyID, "subjectKeyIdentifier", extWanted, false},
	{oidInfoAccess, "authorityInfoAccess", extDiscouraged, false},
	{oidPolicies, "certificatePolicies", extForbidden, false},
	{oidCRLPoints, "cRLDistributionPoints", extAllowed, false},
	{oidTimestamps, "a list of signed certificate timestamps", extAllowed, false},
}

// checkProfileExtensions applies the table of TLS BR 7.1.2.8.2 and those to which it refers.
func (c *delegateCheck) checkProfileExtensions() {
	const rule = "TLS BR 7.1.2.8.2"
	known := map[string]bool{}
	for _, row := range profileExtensions {
		known[row.oid.String()] = true
		switch _, critical, ok := c.extension(row.oid); {
		case !ok && row.presence == extRequired:
			c.refuse(rule, "reissue it with that extension", "lacks %s", row.name)
		case !ok && row.presence == extWanted:
			c.add(false, rule, "reissue it with that extension", "lacks %s", row.name)
		case !ok:
		case row.presence == extForbidden:
			c.refuse(rule, "reissue it without that extension", "has %s", row.name)
		case row.critical && !critical:
			c.refuse(rule, "reissue it with that extension critical",
				"has %s, not critical", row.name)
		case row.presence == extDiscouraged:
			c.add(false, rule, "reissue it without that extension",
				"has %s, which is not recommended", row.name)
		}
	}
	for _, ext := range c.cert.Extensions {
		if !known[ext.Id.String()] {
			c.add(false, rule, "reissue it without that extension",
				"has the extension %v, which is not recommended", ext.Id)
		}
	}
	c.checkProfileContents()
}

// checkProfileContents applies the tables to which TLS BR 7.1.2.8.2 refers.
func (c *delegateCheck) checkProfileContents() {
	if value, _, ok := c.extension(oidAuthorityKeyID); ok {
		want, err := asn1.Marshal(struct {
			ID []byte `asn1:"tag:0"`
		}{c.cert.AuthorityKeyId})
		if err != nil || len(c.cert.AuthorityKeyId) == 0 || !bytes.Equal(value, want) {
			c.refuse("TLS BR 7.1.2.11.1", "reissue it with the CA's SubjectKeyId alone",
				"has an authorityKeyIdentifier that is not a keyIdentifier alone")
		} else if !bytes.Equal(c.cert.AuthorityKeyId, c.ca.SubjectKeyId) {
			c.refuse("TLS BR 7.1.2.11.1", "reissue it with the CA's SubjectKeyId",
				"has the authorityKeyIdentifier %x, and the CA has the subjectKeyIdentifier %x",
				c.cert.AuthorityKeyId, c.ca.SubjectKeyId)
		}
	}
	if c.cert.KeyUsage&^x509.KeyUsageDigitalSignature != 0 {
		c.refuse("TLS BR 7.1.2.8.7", "reissue it with digitalSignature alone",
			"has a key usage beside digitalSignature")
	}
	value, _, ok := c.extension(oidBasicConstraints)
	if ok && !c.cert.IsCA && !bytes.Equal(value, []byte{0x30, 0}) {
		c.refuse("TLS BR 7.1.2.8.4", "reissue it with an empty SEQUENCE there, or without",
			"has basicConstraints with the value %x", value)
	}
	if value, _, ok = c.extension(oidInfoAccess); !ok {
		return
	}
	var accesses []struct {
		Method   asn1.ObjectIdentifier
		Location asn1.RawValue
	}
	rest, err := asn1.Unmarshal(value, &accesses)
	if err != nil || len(rest) > 0 || len(accesses) == 0 {
		c.refuse("TLS BR 7.1.2.8.3", "reissue it without that extension",
			"has an authorityInfoAccess that cannot be read, or is empty")
	}
	for _, access := range accesses {
		if !access.Method.Equal(oidAccessOCSP) {
			c.refuse("TLS BR 7.1.2.8.3", "reissue it without that access method",
				"has the access method %v in its authorityInfoAccess", access.Method)
		}
	}
}
