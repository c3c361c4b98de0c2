package ocsp

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
	"github.com/kmsocsp/ocsp/internal/statuses"
)

var (
	errNoIssuer = errors.New("ocsp: no configured issuer has these hashes")
	errForeign  = errors.New("ocsp: the request names issuers that no one key can answer for")
)

// issuer is a checked Issuer.
type issuer struct {
	Issuer
	name     string // RawSubject and SubjectPublicKeyInfo, which identify the authority
	signer   *signer
	lane     *storeLane
	findings []DelegateFinding // warnings about the certificate that signs
}

// checkTime returns an error if a certificate of the issuer is not valid now.
func (i *issuer) checkTime(now time.Time) error {
	err := checkTime(fieldCertificate, i.Certificate, now)
	if err != nil || i.ResponderCertificate == nil {
		return err
	}
	return checkTime(fieldResponder, i.ResponderCertificate, now)
}

// check validates an Issuer and prepares its signer. The error is a *ConfigError.
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
		return nil, fieldError("ResponderID", "use ResponderIDByKey or ResponderIDByName",
			"is %d", cfg.ResponderID)
	}
	if y := cfg.CompromisedAt.UTC().Year(); y < 2 && !cfg.CompromisedAt.IsZero() || y > 9999 {
		return nil, fieldError("CompromisedAt", "it must be zero or from 2 to 9999",
			"has the year %d", y)
	}
	if slices.ContainsFunc(cfg.NameAliases, func(n []byte) bool { return !isSequence(n) }) {
		return nil, fieldError("NameAliases", "use the RawSubject of a certificate",
			"has a name that is not the DER of a SEQUENCE")
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

// authority is what clients regard as one CA: one name and one key.
type authority struct {
	number      uint64       // in the identities of its answers; never reused
	asked       uint64       // in the keys of statuses; never used with other IDs or stores
	ids         []string     // of its issuers, in the order of configuration
	sources     []source     // the stores of its issuers, in that order
	signers     []*signer    // at least one; see lineUp
	compromised int64        // when its key was, in seconds since 1970, or codec.NoTime
	encodings   []string     // of CertID.Issuer
	warned      atomic.Int64 // when warnOfRemoveFromCRL last logged, in seconds since 1970
}

// source is a store and the IDs with which it is called about an authority's certificates.
type source struct {
	lane  *storeLane
	calls *hostcall.Lane // the authority's share of the lane, or all of it
	first int            // the index of the first ID in authority.ids
	ids   []string
}

// certificate returns the identity of a certificate in answers.
func (a *authority) certificate(serial []byte) [28]byte { return statuses.NewKey(a.number, serial) }

// status returns the key of a certificate in the memory of statuses.
func (a *authority) status(serial []byte) statuses.Key { return statuses.NewKey(a.asked, serial) }

// same reports whether two sources of authorities with the same IDs are the same.
func (s source) same(t source) bool { return s.lane == t.lane && s.first == t.first }

// signerAt returns the signer that is valid at now and ends last. If none is valid it returns one
// that is not.
func (a *authority) signerAt(now time.Time) *signer {
	last := len(a.signers) - 1
	if last > 0 {
		for at := now.Unix(); last > 0 && at < a.signers[last].notBefore; {
			last--
		}
	}
	return a.signers[last]
}

// lineUp sets the signers to those that signerAt can choose, in order: each begins and ends later
// than the one before. A signer is never chosen if another one begins no later and ends no earlier.
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

// issuers holds the issuers of a Responder.
type issuers struct {
	cfg     *Config
	present atomic.Pointer[registry]
	numbers atomic.Uint64 // of signers and authorities

	mu      sync.Mutex // held while present is replaced
	budgets budgets    // for signatures
	stores  storeLanes
}

// open initializes s. The Config MUST have its defaults.
func (s *issuers) open(cfg *Config) {
	s.cfg, s.budgets, s.stores = cfg, newBudgets(cfg.Signing), newStoreLanes(cfg)
	s.present.Store(&registry{})
}

// load returns the present registry, nil for a disabled Responder.
func (s *issuers) load() *registry { return s.present.Load() }

// number returns a number for a new signer or authority.
func (s *issuers) number() uint64 { return s.numbers.Add(1) }

// addAll adds the issuers of a Config. It returns the index of the one at fault.
func (s *issuers) addAll(all []Issuer) (at int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	var list []*issuer
	for i, cfg := range all {
		iss, err := s.check(cfg)
		if err == nil && seen[iss.ID] {
			err = fieldError("ID", "give each its own",
				"is %q, like that of an earlier issuer", iss.ID)
		}
		if err != nil {
			return i, err
		}
		seen[iss.ID] = true
		iss.lane, iss.signer.budget = s.stores.of(iss.Store), s.budgets.of(iss.signer)
		list = append(list, iss)
	}
	next, at, err := newRegistry(list, s.load(), s.number)
	if err == nil {
		s.replace(next)
	}
	return at, err
}

// set adds a checked issuer, or replaces the one with its ID. It returns an error if the issuer is not
// valid now and would replace one that is.
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
	list := slices.Clone(s.load().issuers)
	iss.lane = s.stores.of(iss.Store)
	if i := slices.IndexFunc(list, func(o *issuer) bool { return o.ID == iss.ID }); i >= 0 {
		list[i] = iss
	} else {
		list = append(list, iss)
	}
	next, _, err := newRegistry(list, s.load(), s.number)
	if err != nil {
		s.stores.prune(storeUsers(s.load().issuers))
		return err
	}
	iss.signer.budget = s.budgets.of(iss.signer)
	s.replace(next)
	return nil
}

// remove removes the issuer with that ID, if any.
func (s *issuers) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	removed := func(i *issuer) bool { return i.ID == id }
	list := slices.DeleteFunc(slices.Clone(s.load().issuers), removed)
	// There is no error: fewer issuers have no new conflicts.
	if next, _, err := newRegistry(list, s.load(), s.number); err == nil {
		s.replace(next)
	}
}

// replace publishes the next registry. Callers MUST hold s.mu.
func (s *issuers) replace(next *registry) {
	s.present.Store(next)
	s.stores.prune(storeUsers(next.issuers))
	used := map[*budget]bool{}
	for _, iss := range next.issuers {
		used[iss.signer.budget] = true
	}
	s.budgets.prune(used)
}

// storeUsers returns the names of the issuers of each store.
func storeUsers(issuers []*issuer) map[*storeLane]map[string]bool {
	users := map[*storeLane]map[string]bool{}
	for _, iss := range issuers {
		if users[iss.lane] == nil {
			users[iss.lane] = map[string]bool{}
		}
		users[iss.lane][iss.name] = true
	}
	return users
}

// close stops the watches of all stores.
func (s *issuers) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stores.close()
}

// registry maps CertIDs to authorities. It is immutable: changes publish a new one.
type registry struct {
	issuers  []*issuer // in the order of configuration
	byName   map[string]*authority
	byID     map[string]*authority
	byCertID map[string]certIDMatch // CertID.Issuer -> authority
}

// certIDMatch is the authority of a CertID and the index of the CertID's encoding.
type certIDMatch struct {
	*authority
	encoding int
}

// newRegistry groups issuers into authorities. An authority keeps its number, and so its cached
// certificates, if nothing changed since the old registry except its signers and added IDs.
func newRegistry(
	issuers []*issuer, old *registry, nextNumber func() uint64,
) (_ *registry, at int, err error) {
	reg := &registry{
		issuers:  issuers,
		byName:   map[string]*authority{},
		byID:     map[string]*authority{},
		byCertID: map[string]certIDMatch{},
	}
	signers := map[string][]*signer{}
	for i, iss := range issuers {
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
			a.sources = append(a.sources,
				source{lane: iss.lane, first: len(a.ids) - 1, ids: []string{iss.ID}})
		}
		reg.byID[iss.ID] = a
		at := iss.CompromisedAt.Unix()
		if at != codec.NoTime && (a.compromised == codec.NoTime || at < a.compromised) {
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
						const problem = "makes the issuers %q and %q one to clients, " +
							"who know a CA by name and key"
						return nil, i, fieldError("NameAliases", "drop the alias", problem,
							match.ids[0], iss.ID)
					}
				}
			}
		}
	}
	users := storeUsers(issuers)
	for name, a := range reg.byName {
		for i := range a.sources {
			src := &a.sources[i]
			if src.calls = src.lane.calls; len(users[src.lane]) > 1 {
				src.calls = src.lane.share(name)
			}
		}
		a.lineUp(signers[name])
		lost := func(id string) bool { return reg.byID[id] != a }
		before := old.byName[name]
		if before != nil && before.compromised == a.compromised &&
			slices.Equal(before.encodings, a.encodings) && !slices.ContainsFunc(before.ids, lost) {
			a.number = before.number
		} else {
			a.number = nextNumber()
		}
		// What the stores reported is known only while the same stores are asked under the same IDs:
		// a request from before a change must not answer those that came after it.
		if before != nil && before.number == a.number && slices.Equal(before.ids, a.ids) &&
			slices.EqualFunc(before.sources, a.sources, source.same) {
			a.asked = before.asked
		} else {
			a.asked = nextNumber()
		}
	}
	return reg, 0, nil
}

// matchAll returns the issuers of a request with several CertIDs, and the one authority that signs
// the answer.
func (r *registry) matchAll(
	entries []codec.RequestEntry, strict bool,
) (matches []certIDMatch, signing *authority, err error) {
	matches = make([]certIDMatch, len(entries))
	for i := range entries {
		match, ok := r.byCertID[string(entries[i].CertID.Issuer)]
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

// issuerOf returns the issuer part of a CertID, with SHA-1, for the issuer that signed the
// certificate.
func (r *registry) issuerOf(leaf *x509.Certificate) (certIDIssuer []byte, err error) {
	type unverified struct {
		a            *authority
		certIDIssuer []byte
		identified   bool // a SubjectKeyId is the leaf's AuthorityKeyId
		other        bool // all SubjectKeyIds differ from it
	}
	var undecided []unverified
	var refusal error
	named := false
	for _, iss := range r.issuers {
		a := r.byID[iss.ID]
		key := publicKeyBits(iss.Certificate)
		certID := codec.CertIDIssuer(crypto.SHA1, true, leaf.RawIssuer, key)
		if r.byCertID[string(certID)].authority != a {
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
			i = len(undecided)
			undecided = append(undecided, unverified{a: a, certIDIssuer: certID, other: true})
		}
		u, id, its := &undecided[i], leaf.AuthorityKeyId, iss.Certificate.SubjectKeyId
		u.identified = u.identified || len(id) > 0 && bytes.Equal(id, its)
		u.other = u.other && len(id) > 0 && len(its) > 0 && !bytes.Equal(id, its)
	}
	switch {
	case len(undecided) > 0:
	case named:
		return nil, fmt.Errorf("no configured issuer signed the certificate, "+
			"though one has the name %q", leaf.Issuer)
	default:
		return nil, r.explainForeign(leaf)
	}
	unidentified := func(u unverified) bool { return !u.identified }
	identified := slices.DeleteFunc(slices.Clone(undecided), unidentified)
	switch {
	case len(identified) == 1:
		return identified[0].certIDIssuer, nil
	case len(undecided) == 1 && !undecided[0].other:
		return undecided[0].certIDIssuer, nil
	}
	why := "it has no AuthorityKeyId"
	if len(leaf.AuthorityKeyId) > 0 {
		why = fmt.Sprintf("its AuthorityKeyId %x is the SubjectKeyId of %d of them",
			leaf.AuthorityKeyId, len(identified))
	}
	return nil, fmt.Errorf("%d configured issuers have the name %q, and none is known to have "+
		"signed the certificate: its signature cannot be verified (%w), and %s",
		len(undecided), leaf.Issuer, refusal, why)
}

// explainForeign returns the error for a certificate whose issuer name no configured issuer has.
func (r *registry) explainForeign(leaf *x509.Certificate) error {
	for _, iss := range r.issuers {
		if iss.Certificate.Subject.String() != leaf.Issuer.String() {
			continue
		}
		if err := checkSignedBy(leaf, iss.Certificate); err == nil || isUnverifiable(err) {
			return fmt.Errorf("%w: the certificate's issuer is %s: %s",
				errNoIssuer, encodedDifferently(leaf.Issuer), hintNameAliases)
		}
	}
	return errNoIssuer
}

// succeeds reports whether another signer takes over from s before s ends.
func (a *authority) succeeds(s *signer) bool {
	return slices.ContainsFunc(a.signers, func(c *signer) bool {
		return c.notAfter > s.notAfter && c.notBefore < s.notAfter
	})
}

// announce logs the warnings about a new issuer, and whether it is not valid now.
func (i *issuer) announce(logger *slog.Logger, now time.Time) {
	warn := func(message string, attrs ...slog.Attr) {
		about := []slog.Attr{
			slog.String("issuer", i.ID),
			slog.String("subject", i.signer.certificate.Subject.String()),
		}
		logger.LogAttrs(context.Background(), slog.LevelWarn, message, append(about, attrs...)...)
	}
	for _, f := range i.findings {
		warn("ocsp: clients may refuse answers because of the certificate that signs them",
			slog.String("finding", f.Problem),
			slog.String("hint", f.Hint),
			slog.String("rule", f.Rule))
	}
	var fault *ConfigError
	if errors.As(i.checkTime(now), &fault) {
		warn("ocsp: an issuer is not valid now and signs nothing until it is",
			slog.String("certificate", fault.Field),
			slog.String("finding", fault.Problem),
			slog.String("hint", fault.Hint))
	}
}

// accepts reports whether a repaired request can be answered: all of its issuers are configured.
// Otherwise it may be part of another client's request.
func (r *registry) accepts(der []byte, limits codec.ReadLimits) bool {
	var req codec.Request
	if codec.ParseRequest(der, &req, limits) != nil {
		return false
	}
	return !slices.ContainsFunc(req.Entries, func(e codec.RequestEntry) bool {
		_, ok := r.byCertID[string(e.CertID.Issuer)]
		return !ok
	})
}
