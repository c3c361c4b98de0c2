package ocsp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
)

// SignerFunc makes a crypto.Signer of a function that signs with a key elsewhere: a remote KMS, a cloud
// service, an HSM session that takes a context. digest is the hash that opts.HashFunc names, or the whole
// message when that is zero, as it is for Ed25519. The context ends at SigningOptions.Timeout.
func SignerFunc(pub crypto.PublicKey, sign func(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error)) crypto.Signer {
	return &funcSigner{pub, sign}
}

type funcSigner struct {
	pub  crypto.PublicKey
	sign func(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (f *funcSigner) Public() crypto.PublicKey { return f.pub }

func (f *funcSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return f.sign(context.Background(), digest, opts)
}

// algorithm is one way in which a key signs.
type algorithm struct {
	alg  x509.SignatureAlgorithm
	der  []byte // AlgorithmIdentifier
	opts crypto.SignerOpts
}

// signer is a key ready to sign answers, with everything that goes into each of them.
type signer struct {
	seq         uint64 // tells signers apart; never used twice
	key         crypto.Signer
	opaque      bool              // not one of Go's own keys: each signature is verified
	lane        *lane             // the budget for its signatures
	certificate *x509.Certificate // of the key
	algorithms  []algorithm       // the first is the default
	responderID []byte
	certs       []byte   // the certs field, nil when the CA signs itself
	fingerprint [32]byte // of all that answers inherit from the signer, for shared caches

	notBefore, notAfter int64 // between them answers may be valid, seconds since 1970
	endIsNear           int64 // from then on the operator is warned, likewise
	warned              atomic.Int64

	failure atomic.Pointer[error] // why the last renewal of an answer failed; nil if it did not
}

// unfit is for a key that no answer can be signed with.
func unfit(cure, format string, args ...any) error {
	return &issuerError{fields: []string{fieldSigner}, fault: fmt.Errorf(format, args...), cure: cure}
}

// algorithmsFor lists what a public key can safely sign with, the default first.
func algorithmsFor(pub crypto.PublicKey) ([]algorithm, error) {
	var list []x509.SignatureAlgorithm
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if pub.N.BitLen() < 2048 {
			return nil, unfit("use at least 2048", "is an RSA key with %d bits", pub.N.BitLen())
		}
		list = []x509.SignatureAlgorithm{x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
			x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS}
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
			list = []x509.SignatureAlgorithm{x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512}
		case elliptic.P384():
			list = []x509.SignatureAlgorithm{x509.ECDSAWithSHA384, x509.ECDSAWithSHA256, x509.ECDSAWithSHA512}
		case elliptic.P521():
			list = []x509.SignatureAlgorithm{x509.ECDSAWithSHA512, x509.ECDSAWithSHA256, x509.ECDSAWithSHA384}
		default:
			return nil, unfit("use P-256, P-384 or P-521", "is on the curve %s, which is not supported", pub.Curve.Params().Name)
		}
	case ed25519.PublicKey:
		list = []x509.SignatureAlgorithm{x509.PureEd25519}
	default:
		return nil, unfit("use RSA, ECDSA or Ed25519", "has a public key of type %T, which is not supported", pub)
	}
	algorithms := make([]algorithm, len(list))
	for i, alg := range list {
		algorithms[i] = algorithm{alg, codec.AlgorithmIdentifier(alg), signerOpts(alg)}
	}
	return algorithms, nil
}

func signerOpts(alg x509.SignatureAlgorithm) crypto.SignerOpts {
	switch alg {
	case x509.SHA256WithRSA, x509.ECDSAWithSHA256:
		return crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512:
		return crypto.SHA512
	case x509.SHA256WithRSAPSS:
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	case x509.SHA384WithRSAPSS:
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA384}
	case x509.SHA512WithRSAPSS:
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA512}
	default:
		return crypto.Hash(0)
	}
}

// newSigner checks the signing side of an issuer.
func (r *Responder) newSigner(cfg *Issuer) (*signer, error) {
	if isNil(cfg.Signer) {
		return nil, unfit("give the private key as a crypto.Signer", "is nil")
	}
	if key, ok := cfg.Signer.(ed25519.PrivateKey); ok && len(key) != ed25519.PrivateKeySize {
		return nil, unfit(fmt.Sprintf("an Ed25519 private key has %d octets", ed25519.PrivateKeySize), "is nil or cut short")
	}
	now := r.now()
	ca, cert, field := cfg.Certificate, cfg.Certificate, fieldCertificate
	if err := checkCA(ca, now); err != nil {
		return nil, err
	}
	if cfg.ResponderCertificate != nil {
		cert, field = cfg.ResponderCertificate, fieldResponder
		if err := checkDelegate(cert, ca, now); err != nil {
			return nil, err
		}
		if !hasNoCheck(cert) {
			r.cfg.Logger.Warn("ocsp: the delegated responder's certificate lacks id-pkix-ocsp-nocheck, so clients may ask for its own status or refuse its answers; issue it with that extension",
				slog.String("issuer", cfg.ID), slog.String("subject", cert.Subject.String()))
		}
	}
	if cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, &issuerError{
			fields: []string{field}, fault: errors.New("has a key usage without digitalSignature, so clients may refuse what it signs"),
			cure:    "reissue it with that usage or use a ResponderCertificate that has it",
			setting: "reissue it with that usage or let responder_uid name one that has it",
		}
	}
	var pub crypto.PublicKey
	matches, err := protect(context.Background(), func(context.Context) (bool, error) {
		pub = cfg.Signer.Public()
		key, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		return ok && key.Equal(pub), nil
	})
	if err != nil { // such as of a key without numbers
		return nil, unfit("give the whole private key", "cannot be compared with the certificate's key (%w)", err)
	}
	if !matches {
		return nil, &issuerError{
			fields: []string{fieldSigner, field}, fault: errors.New("do not match"),
			cure:    "the certificate is for another key than the signer's",
			setting: "give the uid of a certificate to which the KMS returns the key",
		}
	}
	algorithms, err := algorithmsFor(pub)
	if err != nil {
		return nil, err
	}
	opaque := !isGoKey(cfg.Signer)
	if cfg.SignatureAlgorithm != 0 {
		i := slices.IndexFunc(algorithms, func(a algorithm) bool { return a.alg == cfg.SignatureAlgorithm })
		if i < 0 {
			names := algorithmNames(algorithms)
			return nil, &issuerError{
				fields: []string{fieldAlgorithm}, fault: fmt.Errorf("is %v, which this key cannot safely sign with", cfg.SignatureAlgorithm),
				cure:    fmt.Sprintf("leave it zero or use one of %v", names),
				setting: `use "` + strings.Join(names, `", "`) + `", or leave it out`,
			}
		}
		algorithms = algorithms[i : i+1]
	} else if opaque {
		algorithms = algorithms[:1] // such keys are often tied to one algorithm
	}
	s := &signer{
		seq: r.seq.Add(1), key: cfg.Signer, opaque: opaque, certificate: cert, algorithms: algorithms,
		responderID: codec.ByKey(publicKeyBits(cert)),
		notBefore:   max(cert.NotBefore.Unix(), ca.NotBefore.Unix()),
		notAfter:    min(cert.NotAfter.Unix(), ca.NotAfter.Unix()),
	}
	s.endIsNear = s.notAfter - min(2*int64(r.cfg.Validity/time.Second), (s.notAfter-s.notBefore)/4)
	if cfg.ResponderID == ResponderIDByName {
		s.responderID = codec.ByName(cert.RawSubject)
	}
	if cfg.ResponderCertificate != nil || cfg.EmbedCertificate {
		s.certs = codec.CertsField(cert.Raw)
	}
	s.fingerprint = sha256.Sum256(bytes.Join([][]byte{cert.Raw, s.responderID, s.certs}, []byte{0}))
	if !opaque {
		if _, err := protect(context.Background(), s.selfTest); err != nil {
			cure := "give the whole private key"
			if fips140.Enforced() {
				cure += ", and one of two primes of the same length, as GODEBUG=fips140=only demands"
			}
			return nil, unfit(cure, "failed at a trial signature (%w)", err)
		}
	}
	return s, nil
}

// isNil reports whether there is no key, though perhaps a type for one.
func isNil(key crypto.Signer) bool {
	v := reflect.ValueOf(key)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

// isGoKey reports whether the key is one that lives in this process and whose signatures need no checking.
func isGoKey(key crypto.Signer) bool {
	switch key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return true
	}
	return false
}

func algorithmNames(list []algorithm) []string {
	names := make([]string, len(list))
	for i, a := range list {
		names[i] = a.alg.String()
	}
	return names
}

func checkTime(field string, cert *x509.Certificate, now time.Time) error {
	if now.Before(cert.NotBefore) {
		return &issuerError{
			fields: []string{field}, fault: fmt.Errorf("is not valid before %s", cert.NotBefore.UTC().Format(time.RFC3339)),
			cure: "wait, or check the clock",
		}
	}
	if now.After(cert.NotAfter) {
		return &issuerError{
			fields: []string{field}, fault: fmt.Errorf("expired at %s", cert.NotAfter.UTC().Format(time.RFC3339)),
			cure: "renew it", setting: "renew it and give the new one's uid",
		}
	}
	return nil
}

// checkFIPS returns an error if GODEBUG=fips140=only is set and refuses the key of a certificate. Without it, New
// would accept a key in an HSM whose every signature fails the check.
func checkFIPS(field string, cert *x509.Certificate) error {
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok || !fips140.Enforced() {
		return nil // the module has all curves that algorithmsFor accepts, and Ed25519
	}
	err := rsa.VerifyPKCS1v15(key, crypto.SHA256, make([]byte, sha256.Size), make([]byte, key.Size()))
	if errors.Is(err, rsa.ErrVerification) {
		return nil // a wrong signature, but a key that it takes
	}
	return &issuerError{
		fields: []string{field}, fault: fmt.Errorf("has a key that GODEBUG=fips140=only refuses (%w)", err),
		cure: "use an RSA key of 2048, 3072 or 4096 bits with the exponent 65537, or an ECDSA or Ed25519 key",
	}
}

func checkCA(ca *x509.Certificate, now time.Time) error {
	if ca.Version >= 3 && !(ca.BasicConstraintsValid && ca.IsCA) {
		return &issuerError{
			fields: []string{fieldCertificate}, fault: errors.New("is not a CA certificate"),
			cure:    "give the issuer's certificate, not one it issued",
			setting: "give the uid of the issuer's certificate, not of one it issued",
		}
	}
	if err := checkFIPS(fieldCertificate, ca); err != nil {
		return err
	}
	return checkTime(fieldCertificate, ca, now)
}

// checkDelegate applies RFC 6960 section 4.2.2.2 and the responder profile of the CA/B Forum (TLS BR 7.1.2.8).
func checkDelegate(cert, ca *x509.Certificate, now time.Time) error {
	refuse := func(cure, format string, args ...any) error {
		return &issuerError{fields: []string{fieldResponder}, fault: fmt.Errorf(format, args...), cure: cure}
	}
	switch {
	case len(cert.Raw) == 0:
		return notParsed(fieldResponder)
	case !bytes.Equal(cert.RawIssuer, ca.RawSubject):
		return refuse("a delegate must be issued directly by the CA it answers for", "was issued by %q, not by the CA %q", cert.Issuer, ca.Subject)
	case !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return refuse("reissue it with id-kp-OCSPSigning", "lacks the extended key usage OCSPSigning")
	case cert.IsCA:
		return refuse("use one that is not", "is a CA certificate")
	case fips140.Enforced() && (cert.SignatureAlgorithm == x509.SHA1WithRSA || cert.SignatureAlgorithm == x509.ECDSAWithSHA1):
		return refuse("reissue it with SHA-256", "is signed with %v, which GODEBUG=fips140=only refuses", cert.SignatureAlgorithm)
	}
	if err := checkFIPS(fieldResponder, cert); err != nil {
		return err
	}
	if err := ca.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
		return refuse("reissue it with that key", "was not signed with the CA's present key (%w)", err)
	}
	return checkTime(fieldResponder, cert, now)
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

// sign makes one signature over message. It may block as long as the key does.
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
	if s.opaque {
		sig = bytes.Clone(sig) // the host may sign into the same memory again
		if err := s.verify(algorithm, message, sig); err != nil {
			return nil, fmt.Errorf("a wrong signature: %w", err)
		}
	}
	return sig, nil
}

func (s *signer) verify(algorithm int, message, sig []byte) error {
	return s.certificate.CheckSignature(s.algorithms[algorithm].alg, message, sig)
}

// warnOfEnd tells, once an hour, that a signing certificate will soon leave clients without answers.
func (r *Responder) warnOfEnd(ctx context.Context, issuerID string, s *signer, now int64) {
	const hour = 3600
	if now < s.endIsNear {
		return
	}
	if last := s.warned.Load(); now-last >= hour && s.warned.CompareAndSwap(last, now) {
		r.cfg.Logger.WarnContext(ctx, "ocsp: the certificate that answers are signed with, or its CA's, ends soon, and all answers end with it; renew it and call SetIssuer",
			slog.String("issuer", issuerID), slog.String("subject", s.certificate.Subject.String()), slog.Time("ends", time.Unix(s.notAfter, 0).UTC()))
	}
}

// selfTest signs and verifies once.
func (s *signer) selfTest(ctx context.Context) (struct{}, error) {
	message := []byte("ocsp signer self-test")
	sig, err := s.sign(ctx, 0, message)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, s.verify(0, message, sig)
}

// window is the life of an answer, in seconds since 1970.
type window struct {
	thisUpdate, producedAt, refreshAt, nextUpdate int64
}

// window returns the life of an answer that is made now. It stays within the life of the signing certificate,
// of the CA and, unless notAfter is codec.NoTime, of the certificate that the answer is about.
func (r *Responder) window(s *signer, now, notAfter int64) (window, error) {
	w := window{producedAt: now, thisUpdate: max(now-int64(r.cfg.Backdate/time.Second), s.notBefore)}
	w.nextUpdate = min(w.thisUpdate+int64(r.cfg.Validity/time.Second)-1, s.notAfter)
	if notAfter != codec.NoTime {
		w.nextUpdate = min(w.nextUpdate, notAfter)
	}
	if w.thisUpdate > now || w.nextUpdate <= now {
		return w, fmt.Errorf("the signing certificate %q is not valid now: renew it and call SetIssuer", s.certificate.Subject)
	}
	w.refreshAt = refreshPoint(w.thisUpdate, w.nextUpdate, now)
	return w, nil
}

// refreshPoint applies the CA/B Forum's rule for when a newer answer must be there (TLS BR 4.9.9). An answer
// whose window was cut so short that the point has passed gets half of what is left.
func refreshPoint(thisUpdate, nextUpdate, now int64) int64 {
	const hour = 3600
	at := min(nextUpdate-8*hour, thisUpdate+4*24*hour)
	if validity := nextUpdate - thisUpdate + 1; validity < 16*hour {
		at = thisUpdate + validity/2
	}
	if at <= now {
		at = now + (nextUpdate-now+1)/2
	}
	return at
}

// fresh reports whether the refresh point of an answer is at least a second away, so that it can be sent with a
// max-age of one or more.
func (w *window) fresh(now time.Time) bool { return w.alive(now) && ceilSecond(now) < w.refreshAt }

// alive reports whether an answer is valid: not past its end, nor, after the clock was set back, before its
// beginning.
func (w *window) alive(now time.Time) bool {
	return w.thisUpdate <= now.Unix() && now.Unix() < w.nextUpdate
}

// revokedAt returns the revocation time that an answer gives: none of the future.
func (w *window) revokedAt(s certStatus) int64 {
	if s.revokedAt > w.producedAt {
		return w.thisUpdate
	}
	return s.revokedAt
}

var oidNoCheck = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}

func hasNoCheck(cert *x509.Certificate) bool {
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(oidNoCheck) {
			return true
		}
	}
	return false
}
