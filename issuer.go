package ocsp

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/fips140"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// Issuer is a CA whose certificates the responder answers for, and the key that signs those answers.
//
// Two issuers may share a certificate name with different keys. Two that share name and key, such as a CA
// and its renewed certificate, are one authority to a client. Of those that are valid when an answer is signed, the
// one that ends last signs it. The store is asked under each ID in turn.
//
// An issuer whose certificate or ResponderCertificate has expired, or is not yet valid, is no error. It signs nothing
// until it is valid: if no other issuer of its name and key can sign, its answers are tryLater. The log says so when
// New or SetIssuer takes the issuer, and with the first request of each hour.
//
// With GODEBUG=fips140=only, a key or a certificate that Go's FIPS 140-3 module refuses is an error of New and SetIssuer.
type Issuer struct {
	// ID names the CA to the store, usually the KMS's uid of its certificate. Empty is the lower-case hex
	// SHA-256 of the CA's SubjectPublicKeyInfo.
	ID string

	// Certificate is the CA's own certificate. Required. If the CA signs its own answers, its key usage should have
	// digitalSignature (RFC 5280 section 4.2.1.3). Without it the CA signs all the same, since clients do not ask for
	// it, and a warning is logged; under ProfileCABF it is an error.
	Certificate *x509.Certificate

	// Signer is the private key of ResponderCertificate or, without one, of Certificate. It may be any
	// crypto.Signer or crypto.MessageSigner; see SignerFunc for keys that live elsewhere. Required.
	Signer crypto.Signer

	// ResponderCertificate is a delegated responder's certificate (RFC 6960 section 4.2.2.2): issued directly by
	// Certificate, with the extended key usage OCSPSigning and, so that clients need not ask about it in
	// turn, id-pkix-ocsp-nocheck. It goes into every answer. CheckDelegate lists what New refuses about one, and what
	// it warns of. Nil lets the CA sign itself.
	ResponderCertificate *x509.Certificate

	// SignatureAlgorithm is what answers are signed with. Zero fits the key: SHA-256 with PKCS #1 v1.5 for RSA,
	// the hash as long as the curve for ECDSA, Ed25519 for its own; then a client's preference among the other
	// safe ones is honoured (RFC 6960 section 4.4.7) if Signer is one of Go's own private keys.
	SignatureAlgorithm x509.SignatureAlgorithm

	// ResponderID is how answers name their signer. Zero is ResponderIDByKey.
	ResponderID ResponderIDKind

	// EmbedCertificate puts the CA's certificate into answers that it signs itself. Apache's SSLOCSPEnable,
	// FreeRADIUS and SSSD's p11_child refuse every answer of a CA that leaves it out, though they have the
	// certificate; Go clients of an intermediate CA refuse answers that have it (golang.org/issue/59641). With
	// a ResponderCertificate, which all of them take, it changes nothing. Zero leaves it out.
	EmbedCertificate bool

	// CompromisedAt is since when the CA's own key must be taken for compromised. Then every certificate that
	// was good or on hold is answered as revoked since that time, with cACompromise (RFC 6960 section 2.7).
	// Zero is never.
	CompromisedAt time.Time

	// Store knows the certificates of this issuer, such as a tenant's own database. How many calls of it
	// may be under way and whether it is silent are matters of its own. Two stores are one if they are equal, so
	// give issuers with one connection pool the same pointer: a StoreFunc equals none, and a flood that fills the pool
	// through one store makes the other look silent. After SetIssuer with another store, what the former one said is
	// trusted for StatusTTL still; Invalidate ends that. Zero is Config.Store.
	Store CertStore

	// NameAliases are further DER encodings of the CA's subject that clients hash, for a CA that changed the
	// string type of its name in the certificates it issues. ResponderCertificate may be issued under one of them.
	// Zero is none.
	NameAliases [][]byte
}

// ResponderIDKind is a choice of RFC 6960 section 4.2.1's ResponderID.
type ResponderIDKind uint8

const (
	// ResponderIDByKey names the signer by the hash of its key, as RFC 9919 section 3.2.2 asks.
	ResponderIDByKey ResponderIDKind = iota
	// ResponderIDByName names the signer by its subject, for clients that know no other way.
	ResponderIDByName
)

// issuer is a checked Issuer.
type issuer struct {
	Issuer
	name     string // RawSubject and the key: what makes an authority
	signer   *signer
	lane     *storeLane
	findings []DelegateFinding // warnings about the certificate that signs
}

// checkTime returns an error if a certificate of the issuer is not valid now.
func (i *issuer) checkTime(now time.Time) error {
	if err := checkTime(fieldCertificate, i.Certificate, now); err != nil || i.ResponderCertificate == nil {
		return err
	}
	return checkTime(fieldResponder, i.ResponderCertificate, now)
}

// issuerError is why an Issuer cannot be used. Its parts are apart for NewFromSettings, since whoever writes settings
// knows the fields by other names, and has other cures.
type issuerError struct {
	fields  []string // of Issuer
	fault   error    // goes on from "the field Signer"
	cure    string
	setting string // the cure in settings and the KMS; "" is cure
}

func (e *issuerError) Error() string {
	if len(e.fields) > 1 {
		return fmt.Sprintf("the fields %s %v: %s", strings.Join(e.fields, " and "), e.fault, e.cure)
	}
	return fmt.Sprintf("the field %s %v: %s", e.fields[0], e.fault, e.cure)
}

func (e *issuerError) Unwrap() error { return e.fault }

// The fields of an Issuer that settings give.
const (
	fieldCertificate = "Certificate"
	fieldResponder   = "ResponderCertificate"
	fieldSigner      = "Signer"
	fieldAlgorithm   = "SignatureAlgorithm"
)

// notParsed is for a certificate that somebody put together by hand.
func notParsed(field string) error {
	return &issuerError{
		fields: []string{field}, fault: errors.New("was not parsed from DER"), cure: "use x509.ParseCertificate",
		setting: "the KMS must make it with x509.ParseCertificate",
	}
}

// newIssuer checks an Issuer and prepares its signer. The error names the field and the cure.
func (r *Responder) newIssuer(cfg Issuer) (*issuer, error) {
	if cfg.Certificate == nil {
		return nil, &issuerError{fields: []string{fieldCertificate}, fault: errors.New("is nil"), cure: "give the CA's certificate"}
	}
	if len(cfg.Certificate.Raw) == 0 {
		return nil, notParsed(fieldCertificate)
	}
	if cfg.ID == "" {
		sum := sha256.Sum256(cfg.Certificate.RawSubjectPublicKeyInfo)
		cfg.ID = hex.EncodeToString(sum[:])
	}
	if cfg.ResponderID > ResponderIDByName {
		return nil, fmt.Errorf("the field ResponderID is %d: use ResponderIDByKey or ResponderIDByName", cfg.ResponderID)
	}
	if y := cfg.CompromisedAt.UTC().Year(); y < 2 && !cfg.CompromisedAt.IsZero() || y > 9999 {
		return nil, fmt.Errorf("the field CompromisedAt has the year %d: it must be zero or from 2 to 9999", y)
	}
	if slices.ContainsFunc(cfg.NameAliases, func(n []byte) bool { return !isSequence(n) }) {
		return nil, errors.New("the field NameAliases has a name that is not the DER of a SEQUENCE: use the RawSubject of a certificate")
	}
	s, findings, err := r.newSigner(&cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Store == nil && r.cfg.Store == nil {
		return nil, errors.New("the field Store is nil, and so is Config.Store: give a CertStore")
	}
	name := string(cfg.Certificate.RawSubject) + string(cfg.Certificate.RawSubjectPublicKeyInfo)
	return &issuer{Issuer: cfg, name: name, signer: s, findings: findings}, nil
}

func isSequence(der cryptobyte.String) bool {
	return der.SkipASN1(asn1.SEQUENCE) && der.Empty()
}

// authority is what a client takes for one CA: one name and one key.
type authority struct {
	number      uint64       // in its certificates' keys in the cache; never used for another authority
	retired     *atomic.Bool // the number is not in use any more: Invalidate does not reach what is cached under it
	ids         []string     // of its issuers, in the order of configuration
	sources     []source     // where they are asked for
	signers     []candidate  // at least one; see lineUp
	compromised int64        // codec.NoTime: it is not
	encodings   []string
	warned      atomic.Int64 // when warnOfRemoveFromCRL last did, in seconds since 1970
}

// source is a store and the IDs under which it is asked about an authority's certificates.
type source struct {
	lane  *storeLane
	calls *hostcall.Lane // of the lane, for this authority
	ids   []string
}

// stages returns those of a read about one of the authority's certificates.
func (a *authority) stages() []stage {
	list := make([]stage, len(a.sources))
	for i := range list {
		if list[i].source = &a.sources[i]; i < len(list)-1 {
			list[i].over = make(chan struct{})
		}
	}
	return list
}

// candidate is a signer that an authority chooses by time.
type candidate struct {
	*signer
	id uint64 // in the identity of its replies; higher than that of any signer that was chosen before
}

// signerAt returns the signer that is valid at that time and ends last. If none is valid, it returns one that is not.
func (a *authority) signerAt(now time.Time) *candidate {
	last := len(a.signers) - 1
	if last > 0 {
		for at := now.Unix(); last > 0 && at < a.signers[last].notBefore; {
			last--
		}
	}
	return &a.signers[last]
}

// lineUp sets the signers to those that are chosen at some time, in that order: each begins and ends later than the one
// before. A signer is never chosen if another one begins no later and ends no earlier.
//
// A cache drops a reply whose signer has a lower id than one it has seen. So a signer gets a new id if one with a
// higher id is chosen before it, or was chosen and is gone.
func (a *authority) lineUp(signers []*signer, before *authority, nextNumber func() uint64) {
	slices.SortStableFunc(signers, func(s, t *signer) int {
		return cmp.Or(cmp.Compare(s.notBefore, t.notBefore), cmp.Compare(t.notAfter, s.notAfter))
	})
	var known []candidate
	if before != nil {
		known = before.signers
	}
	for _, s := range signers {
		if n := len(a.signers); n > 0 && s.notAfter <= a.signers[n-1].notAfter {
			continue
		}
		c := candidate{s, s.seq}
		if i := slices.IndexFunc(known, func(k candidate) bool { return k.signer == s }); i >= 0 {
			c.id = known[i].id
		}
		a.signers = append(a.signers, c)
	}
	var last uint64
	for _, k := range known {
		if !slices.ContainsFunc(a.signers, func(c candidate) bool { return c.signer == k.signer }) {
			last = max(last, k.id)
		}
	}
	for i := range a.signers {
		c := &a.signers[i]
		if c.id <= last {
			c.id = nextNumber()
		}
		last = c.id
	}
}

// replyID is the identity of the replies that one of its signers makes.
func (m certIDMatch) replyID(s *candidate) replyID { return replyID{s.id, m.encoding} }

// registry finds the authority for a CertID. It is replaced, never changed.
type registry struct {
	issuers  []*issuer // in the order of configuration
	byName   map[string]*authority
	byID     map[string]*authority
	byCertID map[string]certIDMatch // CertID.Issuer -> authority
}

// certIDMatch is an authority and which of its encodings the CertID has.
type certIDMatch struct {
	*authority
	encoding int
}

// newRegistry groups issuers into authorities. An authority about which nothing changed since the old registry
// but its signers, or IDs that joined, keeps its number, so that what is cached about its certificates stays.
func newRegistry(issuers []*issuer, old *registry, nextNumber func() uint64) (*registry, error) {
	reg := &registry{
		issuers:  issuers,
		byName:   map[string]*authority{},
		byID:     map[string]*authority{},
		byCertID: map[string]certIDMatch{},
	}
	signers := map[string][]*signer{}
	for _, iss := range issuers {
		a := reg.byName[iss.name]
		if a == nil {
			a = &authority{compromised: codec.NoTime}
			reg.byName[iss.name] = a
		}
		signers[iss.name] = append(signers[iss.name], iss.signer)
		a.ids = append(a.ids, iss.ID)
		if n := len(a.sources); n > 0 && a.sources[n-1].lane == iss.lane {
			a.sources[n-1].ids = append(a.sources[n-1].ids, iss.ID)
		} else {
			a.sources = append(a.sources, source{lane: iss.lane, ids: []string{iss.ID}})
		}
		reg.byID[iss.ID] = a
		if at := iss.CompromisedAt.Unix(); at != codec.NoTime && (a.compromised == codec.NoTime || at < a.compromised) {
			a.compromised = at
		}
		key := publicKeyBits(iss.Certificate)
		for _, name := range append([][]byte{iss.Certificate.RawSubject}, iss.NameAliases...) {
			for _, hash := range codec.CertIDHashes() {
				for _, null := range []bool{true, false} {
					certID := string(codec.CertIDIssuer(hash, null, name, key))
					switch match, ok := reg.byCertID[certID]; {
					case !ok:
						reg.byCertID[certID] = certIDMatch{a, len(a.encodings)}
						a.encodings = append(a.encodings, certID)
					case match.authority != a:
						return nil, fmt.Errorf("the field NameAliases makes the issuers %q and %q one to clients, who know a CA by name and key: drop the alias", match.ids[0], iss.ID)
					}
				}
			}
		}
	}
	users := map[*storeLane]map[string]bool{}
	for _, iss := range issuers {
		if users[iss.lane] == nil {
			users[iss.lane] = map[string]bool{}
		}
		users[iss.lane][iss.name] = true
	}
	for name, a := range reg.byName {
		for i := range a.sources {
			src := &a.sources[i]
			if src.calls = src.lane.calls; len(users[src.lane]) > 1 {
				src.calls = src.lane.share(name)
			}
		}
		lost := func(id string) bool { return reg.byID[id] != a }
		before := old.byName[name]
		a.lineUp(signers[name], before, nextNumber)
		if before != nil && before.compromised == a.compromised && slices.Equal(before.encodings, a.encodings) && !slices.ContainsFunc(before.ids, lost) {
			a.number, a.retired = before.number, before.retired
		} else {
			a.number, a.retired = nextNumber(), new(atomic.Bool)
		}
	}
	return reg, nil
}

// with returns the registry with one issuer added, or replaced if its ID is there.
func (reg *registry) with(iss *issuer, nextNumber func() uint64) (*registry, error) {
	list := slices.Clone(reg.issuers)
	if i := slices.IndexFunc(list, func(o *issuer) bool { return o.ID == iss.ID }); i >= 0 {
		list[i] = iss
	} else {
		list = append(list, iss)
	}
	return newRegistry(list, reg, nextNumber)
}

// retire ends the numbers that the next registry does not have, before it takes this one's place.
func (reg *registry) retire(next *registry) {
	for name, a := range reg.byName {
		if b := next.byName[name]; b == nil || b.number != a.number {
			a.retired.Store(true)
		}
	}
}

// without returns the registry without the issuer of that ID.
func (reg *registry) without(id string, nextNumber func() uint64) (*registry, error) {
	list := slices.DeleteFunc(slices.Clone(reg.issuers), func(o *issuer) bool { return o.ID == id })
	return newRegistry(list, reg, nextNumber)
}

// number returns that of an issuer's authority, and one that no authority has if there is no such issuer.
func (reg *registry) number(id string) uint64 {
	if a := reg.byID[id]; a != nil {
		return a.number
	}
	return 0
}

// issuerOf returns how a certificate's CertID names, with SHA-1, the issuer that signed the certificate.
func (reg *registry) issuerOf(leaf *x509.Certificate) (certIDIssuer []byte, err error) {
	type unverified struct {
		a            *authority
		certIDIssuer []byte
		identified   bool // by a SubjectKeyId that is the leaf's AuthorityKeyId
		other        bool // by SubjectKeyIds that all are others
	}
	var undecided []unverified
	var refusal error
	named := false
	for _, iss := range reg.issuers {
		a := reg.byID[iss.ID]
		certID := codec.CertIDIssuer(crypto.SHA1, true, leaf.RawIssuer, publicKeyBits(iss.Certificate))
		if reg.byCertID[string(certID)].authority != a {
			continue
		}
		named = true
		err := checkSignedBy(leaf, iss.Certificate)
		if err == nil {
			return certID, nil
		}
		if !isUnverifiable(err) {
			continue
		}
		refusal = err
		i := slices.IndexFunc(undecided, func(u unverified) bool { return u.a == a })
		if i < 0 {
			i, undecided = len(undecided), append(undecided, unverified{a: a, certIDIssuer: certID, other: true})
		}
		id, its := leaf.AuthorityKeyId, iss.Certificate.SubjectKeyId
		undecided[i].identified = undecided[i].identified || len(id) > 0 && bytes.Equal(id, its)
		undecided[i].other = undecided[i].other && len(id) > 0 && len(its) > 0 && !bytes.Equal(id, its)
	}
	switch {
	case len(undecided) > 0:
	case named:
		return nil, fmt.Errorf("no configured issuer signed the certificate, though one has the name %q", leaf.Issuer)
	default:
		return nil, reg.explainForeign(leaf)
	}
	identified := slices.DeleteFunc(slices.Clone(undecided), func(u unverified) bool { return !u.identified })
	switch {
	case len(identified) == 1:
		return identified[0].certIDIssuer, nil
	case len(undecided) == 1 && !undecided[0].other:
		return undecided[0].certIDIssuer, nil
	}
	why := "it has no AuthorityKeyId"
	if len(leaf.AuthorityKeyId) > 0 {
		why = fmt.Sprintf("its AuthorityKeyId %x is the SubjectKeyId of %d of them", leaf.AuthorityKeyId, len(identified))
	}
	return nil, fmt.Errorf("%d configured issuers have the name %q, and none is known to have signed the certificate: its signature cannot be verified (%w), and %s",
		len(undecided), leaf.Issuer, refusal, why)
}

// explainForeign returns the error for a certificate under a name that no issuer has.
func (reg *registry) explainForeign(leaf *x509.Certificate) error {
	for _, iss := range reg.issuers {
		if iss.Certificate.Subject.String() != leaf.Issuer.String() {
			continue
		}
		if err := checkSignedBy(leaf, iss.Certificate); err == nil || isUnverifiable(err) {
			return fmt.Errorf("%w: the certificate's issuer is %s: %s", errNoIssuer, encodedDifferently(leaf.Issuer), cureNameAliases)
		}
	}
	return errNoIssuer
}

// cureNameAliases is for a name that is encoded in another way than the CA's subject.
const cureNameAliases = "add the certificate's RawIssuer to the CA's Issuer.NameAliases"

// encodedDifferently describes a name that prints like the CA's.
func encodedDifferently(name pkix.Name) string {
	return fmt.Sprintf("%q, like the CA's name but encoded differently, as with another string type", name)
}

// checkSignedBy verifies the signature of a certificate with the CA's key, and nothing else.
func checkSignedBy(cert, ca *x509.Certificate) error {
	if hashOf(cert.SignatureAlgorithm) == crypto.SHA1 && fips140.Enforced() { // package x509 would panic
		return x509.InsecureAlgorithmError(cert.SignatureAlgorithm)
	}
	return ca.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
}

// isUnverifiable reports whether an error of checkSignedBy means that Go does not verify the algorithm. Then it says
// nothing about the signature.
func isUnverifiable(err error) bool {
	var insecure x509.InsecureAlgorithmError
	return errors.As(err, &insecure) || errors.Is(err, x509.ErrUnsupportedAlgorithm)
}

// publicKeyBits returns the content of the BIT STRING in a certificate's SubjectPublicKeyInfo, which is what
// key hashes are made of.
func publicKeyBits(cert *x509.Certificate) []byte {
	spki, bits := cryptobyte.String(cert.RawSubjectPublicKeyInfo), cryptobyte.String(nil)
	if !spki.ReadASN1(&spki, asn1.SEQUENCE) || !spki.SkipASN1(asn1.SEQUENCE) || !spki.ReadASN1(&bits, asn1.BIT_STRING) || len(bits) == 0 {
		return nil // x509.ParseCertificate lets no such key through
	}
	return bits[1:]
}
