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
	"sync"
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
	// crypto.Signer or crypto.MessageSigner; see NewSigner for keys that live elsewhere. Required.
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
	// give issuers with one connection pool the same pointer: a CertStoreFunc equals none, and a flood that fills the pool
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

// The fields of an Issuer that errors name in several places.
const (
	fieldCertificate = "Certificate"
	fieldResponder   = "ResponderCertificate"
	fieldSigner      = "Signer"
	fieldAlgorithm   = "SignatureAlgorithm"
)

// notParsed is for a certificate that somebody put together by hand.
func notParsed(field string) error {
	return fieldError(field, "it must come from x509.ParseCertificate", "was not parsed from DER")
}

// check checks an Issuer and prepares its signer. The error names the field and the cure.
func (s *issuers) check(cfg Issuer) (*issuer, error) {
	if cfg.Certificate == nil {
		return nil, fieldError(fieldCertificate, "give the CA's certificate", "is nil")
	}
	if len(cfg.Certificate.Raw) == 0 {
		return nil, notParsed(fieldCertificate)
	}
	if cfg.ID == "" {
		sum := sha256.Sum256(cfg.Certificate.RawSubjectPublicKeyInfo)
		cfg.ID = hex.EncodeToString(sum[:])
	}
	if cfg.ResponderID > ResponderIDByName {
		return nil, fieldError("ResponderID", "use ResponderIDByKey or ResponderIDByName", "is %d", cfg.ResponderID)
	}
	if y := cfg.CompromisedAt.UTC().Year(); y < 2 && !cfg.CompromisedAt.IsZero() || y > 9999 {
		return nil, fieldError("CompromisedAt", "it must be zero or from 2 to 9999", "has the year %d", y)
	}
	if slices.ContainsFunc(cfg.NameAliases, func(n []byte) bool { return !isSequence(n) }) {
		return nil, fieldError("NameAliases", "use the RawSubject of a certificate", "has a name that is not the DER of a SEQUENCE")
	}
	signer, findings, err := newSigner(&cfg, s.cfg, s.number)
	if err != nil {
		return nil, err
	}
	if cfg.Store == nil && s.cfg.Store == nil {
		return nil, fieldError("Store", "give a CertStore", "is nil, and so is Config.Store")
	}
	name := string(cfg.Certificate.RawSubject) + string(cfg.Certificate.RawSubjectPublicKeyInfo)
	return &issuer{Issuer: cfg, name: name, signer: signer, findings: findings}, nil
}

func isSequence(der cryptobyte.String) bool {
	return der.SkipASN1(asn1.SEQUENCE) && der.Empty()
}

// authority is what a client takes for one CA: one name and one key.
type authority struct {
	number      uint64    // in its certificates' keys in the cache; never used for another authority
	ids         []string  // of its issuers, in the order of configuration
	sources     []source  // where they are asked for
	signers     []*signer // at least one; see lineUp
	compromised int64     // codec.NoTime: it is not
	encodings   []string
	warned      atomic.Int64 // when warnOfRemoveFromCRL last did, in seconds since 1970
}

// source is a store and the IDs under which it is asked about an authority's certificates.
type source struct {
	lane   *storeLane
	places *hostcall.Lane // of the lane, for this authority
	first  int            // the index of the first ID in authority.ids
	ids    []string
}

// signerAt returns the signer that is valid at that time and ends last. If none is valid, it returns one that is not.
func (a *authority) signerAt(now time.Time) *signer {
	last := len(a.signers) - 1
	if last > 0 {
		for at := now.Unix(); last > 0 && at < a.signers[last].notBefore; {
			last--
		}
	}
	return a.signers[last]
}

// lineUp sets the signers to those that are chosen at some time, in that order: each begins and ends later than the one
// before. A signer is never chosen if another one begins no later and ends no earlier.
func (a *authority) lineUp(signers []*signer) {
	slices.SortStableFunc(signers, func(s, t *signer) int {
		return cmp.Or(cmp.Compare(s.notBefore, t.notBefore), cmp.Compare(t.notAfter, s.notAfter))
	})
	for _, s := range signers {
		if n := len(a.signers); n == 0 || s.notAfter > a.signers[n-1].notAfter {
			a.signers = append(a.signers, s)
		}
	}
}

// issuers are the issuers of a Responder.
type issuers struct {
	cfg     *Config
	present atomic.Pointer[registry]
	numbers atomic.Uint64 // of signers and authorities

	mu      sync.Mutex // held while present is replaced
	budgets budgets    // for signatures
	stores  storeLanes
}

// open prepares for issuers. The Config has its defaults.
func (s *issuers) open(cfg *Config) {
	s.cfg, s.budgets, s.stores = cfg, newBudgets(cfg.Signing), newStoreLanes(cfg)
	s.present.Store(&registry{})
}

// load returns the present registry. It is nil for a disabled Responder.
func (s *issuers) load() *registry { return s.present.Load() }

// number returns a number for a new signer or authority.
func (s *issuers) number() uint64 { return s.numbers.Add(1) }

// add adds a checked issuer, or replaces the one with its ID.
func (s *issuers) add(iss *issuer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(iss)
}

// set is add, but one that is not valid now replaces none that is.
func (s *issuers) set(iss *issuer, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, old := range s.load().issuers {
		if old.ID == iss.ID && old.checkTime(now) == nil {
			if err := iss.checkTime(now); err != nil {
				return err
			}
		}
	}
	return s.put(iss)
}

// put is add. s.mu is locked.
func (s *issuers) put(iss *issuer) error {
	list := slices.Clone(s.load().issuers)
	iss.lane = s.stores.of(iss.Store)
	if i := slices.IndexFunc(list, func(o *issuer) bool { return o.ID == iss.ID }); i >= 0 {
		list[i] = iss
	} else {
		list = append(list, iss)
	}
	next, err := newRegistry(list, s.load(), s.number)
	if err != nil {
		s.stores.prune(s.load().issuers)
		return err
	}
	iss.signer.budget = s.budgets.of(iss.signer)
	s.replace(next)
	return nil
}

// remove removes the issuer with that ID, if there is one.
func (s *issuers) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(s.load().issuers), func(o *issuer) bool { return o.ID == id })
	if next, err := newRegistry(list, s.load(), s.number); err == nil { // fewer issuers have no new conflicts
		s.replace(next)
	}
}

// replace makes the next registry the present one. s.mu is locked.
func (s *issuers) replace(next *registry) {
	s.present.Store(next)
	s.stores.prune(next.issuers)
	s.budgets.prune(next.issuers)
}

// close ends the watch of all stores.
func (s *issuers) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stores.close()
}

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
			a.sources = append(a.sources, source{lane: iss.lane, first: len(a.ids) - 1, ids: []string{iss.ID}})
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
						return nil, fieldError("NameAliases", "drop the alias",
							"makes the issuers %q and %q one to clients, who know a CA by name and key", match.ids[0], iss.ID)
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
			if src.places = src.lane.calls; len(users[src.lane]) > 1 {
				src.places = src.lane.share(name)
			}
		}
		lost := func(id string) bool { return reg.byID[id] != a }
		before := old.byName[name]
		a.lineUp(signers[name])
		if before != nil && before.compromised == a.compromised && slices.Equal(before.encodings, a.encodings) && !slices.ContainsFunc(before.ids, lost) {
			a.number = before.number
		} else {
			a.number = nextNumber()
		}
	}
	return reg, nil
}

// matchAll finds the issuers of a request with several CertIDs, and the one authority that signs the answer.
func (reg *registry) matchAll(entries []codec.RequestEntry, strict bool) (matches []certIDMatch, signing *authority, err error) {
	matches = make([]certIDMatch, len(entries))
	for i := range entries {
		match, ok := reg.byCertID[string(entries[i].CertID.Issuer)]
		switch {
		case !ok && strict:
			return nil, nil, errNoIssuer
		case ok && signing != nil && match.authority != signing:
			return nil, nil, errForeign
		case ok:
			matches[i], signing = match, match.authority
		}
	}
	if signing == nil {
		return nil, nil, errNoIssuer
	}
	return matches, signing, nil
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
			return fmt.Errorf("%w: the certificate's issuer is %s: %s", errNoIssuer, encodedDifferently(leaf.Issuer), hintNameAliases)
		}
	}
	return errNoIssuer
}

// hintNameAliases is for a name that is encoded in another way than the CA's subject.
const hintNameAliases = "add the certificate's RawIssuer to the CA's Issuer.NameAliases"

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
