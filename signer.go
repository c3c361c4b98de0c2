package ocsp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// signer is a key that signs answers, with everything of it that each answer contains.
type signer struct {
	number      uint64 // never reused
	key         crypto.Signer
	external    bool              // not one of Go's own keys: each signature is verified
	budget      *budget           // for its signatures
	certificate *x509.Certificate // of the key
	ca          *x509.Certificate // that issued the certificates answered for
	algorithms  []algorithm       // the first is the default
	responderID []byte
	certs       []byte   // the certs field, nil if answers have no certificate
	fingerprint [32]byte // of the certificate, responderID and certs, for remote caches

	// In seconds since 1970.
	notBefore, notAfter int64        // answers are valid between them
	endIsNear           int64        // the operator is warned from then on
	warned              atomic.Int64 // the last warning

	failure atomic.Pointer[error] // the error of the last renewal of an answer; nil if it succeeded
}

// newSigner validates the signing side of an issuer, except for the time. It also returns the
// warnings about the certificate that signs.
func newSigner(cfg *Issuer, c *Config, number func() uint64) (*signer, []DelegateFinding, error) {
	if isNil(cfg.Signer) {
		return nil, nil, fieldError(fieldSigner, "give the private key as a crypto.Signer",
			"is nil")
	}
	if key, ok := cfg.Signer.(ed25519.PrivateKey); ok && len(key) != ed25519.PrivateKeySize {
		hint := fmt.Sprintf("an Ed25519 private key has %d octets", ed25519.PrivateKeySize)
		return nil, nil, fieldError(fieldSigner, hint, "is nil or cut short")
	}
	ca, cert, field := cfg.Certificate, cfg.Certificate, fieldCertificate
	if err := checkCA(ca); err != nil {
		return nil, nil, err
	}
	if cfg.ResponderCertificate != nil {
		cert, field = cfg.ResponderCertificate, fieldResponder
		if len(cert.Raw) == 0 {
			return nil, nil, notParsed(field)
		}
	}
	if err := checkKnownKey(field, cert); err != nil {
		return nil, nil, err
	}
	if err := checkFIPS(field, cert); err != nil {
		return nil, nil, err
	}
	algorithms, err := algorithmsFor(cert.PublicKey, c.Profile)
	if err != nil {
		return nil, nil, err
	}
	findings, err := checkFindings(cfg, c.Profile)
	if err != nil {
		return nil, nil, err
	}
	if err := checkMatch(cfg.Signer, field, cert); err != nil {
		return nil, nil, err
	}
	external := !isGoKey(cfg.Signer)
	if cfg.SignatureAlgorithm != 0 {
		isChosen := func(a algorithm) bool { return a.alg == cfg.SignatureAlgorithm }
		i := slices.IndexFunc(algorithms, isChosen)
		if i < 0 {
			hint := "leave it out or use one of " + strings.Join(algorithmNames(algorithms), ", ")
			return nil, nil, fieldError(fieldAlgorithm, hint,
				"is %v, which this key cannot safely sign with", cfg.SignatureAlgorithm)
		}
		algorithms = algorithms[i : i+1]
	} else if external {
		algorithms = algorithms[:1] // such keys are often tied to one algorithm
	}
	s := &signer{
		number: number(), key: cfg.Signer, external: external,
		certificate: cert, ca: ca, algorithms: algorithms,
		responderID: codec.ByKey(publicKeyBits(cert)),
		notBefore:   max(cert.NotBefore.Unix(), ca.NotBefore.Unix()),
		notAfter:    min(cert.NotAfter.Unix(), ca.NotAfter.Unix()),
	}
	s.endIsNear = s.notAfter - min(2*int64(c.Validity/time.Second), (s.notAfter-s.notBefore)/4)
	if cfg.ResponderID == ResponderIDByName {
		s.responderID = codec.ByName(cert.RawSubject)
	}
	if cfg.ResponderCertificate != nil || cfg.EmbedCertificate {
		s.certs = codec.CertsField(cert.Raw)
	}
	s.fingerprint = sha256.Sum256(bytes.Join([][]byte{cert.Raw, s.responderID, s.certs}, []byte{0}))
	if !external {
		if _, err := hostcall.Protect(context.Background(), s.selfTest); err != nil {
			hint := "give the whole private key"
			if fips140.Enforced() {
				hint += ", and one of two primes of the same length, " +
					"as GODEBUG=fips140=only demands"
			}
			return nil, nil, fieldError(fieldSigner, hint, "failed at a trial signature (%w)", err)
		}
	}
	return s, findings, nil
}

// checkMatch returns an error if a key is not the certificate's.
func checkMatch(key crypto.Signer, field string, cert *x509.Certificate) error {
	var pub crypto.PublicKey
	absent := false
	matches, err := hostcall.Protect(context.Background(), func(context.Context) (bool, error) {
		pub = key.Public()
		if ed, ok := pub.(ed25519.PublicKey); isNil(pub) || ok && ed == nil {
			absent = true
			return false, nil
		}
		own, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		return ok && own.Equal(pub), nil
	})
	switch {
	case absent:
		return fieldError(fieldSigner,
			"Public must return the public key, as the certificate's PublicKey is",
			"has a method Public that returns nil")
	case err != nil: // such as a key whose numbers are nil
		return fieldError(fieldSigner, "give the whole private key",
			"cannot be compared with the certificate's key (%w)", err)
	case matches:
		return nil
	}
	switch pub := pub.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		return fieldError(field, "give the key of this certificate, or the certificate of this key",
			"is for another key than the signer's")
	case rsa.PublicKey, ecdsa.PublicKey, *ed25519.PublicKey:
		return fieldError(fieldSigner, fmt.Sprintf("return a %T", cert.PublicKey),
			"has a method Public that returns a %T, which package crypto does not know as a key",
			pub)
	default:
		return fieldError(fieldSigner, "use RSA, ECDSA or Ed25519",
			"has a public key of type %T, which is not supported", pub)
	}
}

// responseData returns what is the same in all responses that the signer makes. Whatever is added to
// it belongs in the fingerprint too, so that replicas that differ in it do not share answers.
func (s *signer) responseData() codec.ResponseData {
	return codec.ResponseData{ResponderID: s.responderID}
}

// choose returns the index of the algorithm to sign with (RFC 6960 section 4.4.7.2).
func (s *signer) choose(preferred []x509.SignatureAlgorithm) int {
	for _, p := range preferred {
		for i := range s.algorithms {
			if s.algorithms[i].alg == p {
				return i
			}
		}
	}
	return 0
}

// sign returns one signature over message. It may block as long as the key does.
func (s *signer) sign(ctx context.Context, algorithm int, message []byte) ([]byte, error) {
	a := &s.algorithms[algorithm]
	var sig []byte
	var err error
	if f, ok := s.key.(*funcSigner); ok {
		digest := message
		if h := a.opts.HashFunc(); h != 0 {
			hash := h.New()
			hash.Write(message)
			digest = hash.Sum(nil)
		}
		sig, err = f.sign(ctx, digest, a.opts)
	} else {
		sig, err = crypto.SignMessage(s.key, rand.Reader, message, a.opts)
	}
	if err != nil {
		return nil, err
	}
	if s.external {
		sig = bytes.Clone(sig) // the host may sign into the same memory again
		if err := s.verify(algorithm, message, sig); err != nil {
			return nil, fmt.Errorf("a wrong signature: %w%s", err, s.hint(algorithm, message, sig))
		}
	}
	return sig, nil
}

// hint explains a signature that is correct and has the wrong format.
func (s *signer) hint(algorithm int, message, sig []byte) string {
	pub, ok := s.certificate.PublicKey.(*ecdsa.PublicKey)
	if !ok || len(sig) != (pub.Curve.Params().BitSize+7)/8*2 {
		return ""
	}
	half := len(sig) / 2
	a, b := new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:])
	der, err := asn1.Marshal(struct{ R, S *big.Int }{a, b})
	if err != nil || s.verify(algorithm, message, der) != nil {
		return ""
	}
	return "; it is r and s side by side (IEEE P1363), " +
		"and crypto.Signer wants them as an ASN.1 SEQUENCE (RFC 3279 section 2.2.3)"
}

func (s *signer) verify(algorithm int, message, sig []byte) error {
	return s.certificate.CheckSignature(s.algorithms[algorithm].alg, message, sig)
}

// errNotValidNow is the error of a signer whose certificate, or its CA's, has expired or is not
// valid yet.
var errNotValidNow = errors.New(
	"is not valid now: renew it and call SetIssuer, or wait for its time")

// validAt returns an error if no answer can be signed at that time.
func (s *signer) validAt(now int64) error {
	if s.notBefore <= now && now < s.notAfter {
		return nil
	}
	return fmt.Errorf("the signing certificate %q, or its CA's, with the life from %s to %s, %w",
		s.certificate.Subject, time.Unix(s.notBefore, 0).UTC().Format(time.RFC3339),
		time.Unix(s.notAfter, 0).UTC().Format(time.RFC3339), errNotValidNow)
}

// selfTest makes and verifies one signature.
func (s *signer) selfTest(ctx context.Context) (struct{}, error) {
	message := []byte("ocsp signer self-test")
	sig, err := s.sign(ctx, 0, message)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, s.verify(0, message, sig)
}

// budget bounds the concurrent and the waiting signatures of one key that can hang, or of all of
// Go's own keys together.
type budget struct {
	all         *hostcall.Lane
	uncacheable *hostcall.Lane // a part of all, for answers that cannot be cached
}

// budgets holds the budgets of all keys. They share nothing, so that a key that hangs delays no
// other.
//
// A budget belongs to the public key and not to the crypto.Signer: another Signer for the key, such
// as with a renewed certificate, uses the same HSM, where calls that hang are still in progress.
// Go's own keys cannot hang and compete for the processors, so they share one budget.
type budgets struct {
	opts     SigningOptions
	goKeys   *budget
	external map[string]*budget // by SubjectPublicKeyInfo
}

func newBudgets(opts SigningOptions) budgets {
	return budgets{opts, newBudget(opts, max(1, runtime.GOMAXPROCS(0)/2)), map[string]*budget{}}
}

// newBudget returns a budget of opts.MaxConcurrent signatures at a time. At most uncacheable of them
// are for answers that cannot be cached.
func newBudget(opts SigningOptions, uncacheable int) *budget {
	n := opts.MaxConcurrent
	uncacheable = min(uncacheable, max(1, n/4*3+n%4*3/4)) // three times n may overflow
	all := hostcall.NewLane(n, opts.MaxWaiting)
	return &budget{all: all, uncacheable: all.Part(uncacheable, opts.MaxWaiting/2)}
}

// of returns the budget of a signer.
func (b *budgets) of(s *signer) *budget {
	if !s.external {
		return b.goKeys
	}
	key := string(s.certificate.RawSubjectPublicKeyInfo)
	if b.external[key] == nil {
		b.external[key] = newBudget(b.opts, b.opts.MaxConcurrent)
	}
	return b.external[key]
}

// prune drops the budgets that are not used and have no call in progress.
func (b *budgets) prune(used map[*budget]bool) {
	maps.DeleteFunc(b.external, func(_ string, each *budget) bool {
		return !used[each] && each.all.Idle()
	})
}
