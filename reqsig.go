package ocsp

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// Bounds on what a client can make Config.RequestSigners cost. Anybody can send certificates and signatures, so all of
// it is work for strangers.
const (
	maxSignerCerts    = 4
	maxSignerBits     = 4096
	maxSignerExponent = 65537
	signerWaiting     = 256
)

var (
	errUnsigned    = errors.New("ocsp: the request is not signed")
	errSigner      = errors.New("ocsp: the request's signer is not trusted")
	errSignerCerts = fmt.Errorf("ocsp: more than %d certificates beside the request's signature", maxSignerCerts)
)

// requestSigners checks the signatures of requests (RFC 6960 section 4.1.2).
type requestSigners struct {
	roots *x509.CertPool
	lane  *hostcall.Lane // leaves half of the processors to answers
}

// newRequestSigners returns nil if there are no roots.
func newRequestSigners(roots *x509.CertPool) *requestSigners {
	if roots == nil {
		return nil
	}
	return &requestSigners{roots, hostcall.NewLane(max(1, runtime.GOMAXPROCS(0)/2), signerWaiting)}
}

// check applies Config.RequestSigners: the first certificate beside the signature must verify it and
// chain to one of the roots, and the request must name its requestor.
func (s *requestSigners) check(
	ctx context.Context, req *codec.Request, now func() time.Time, deadline time.Time,
) (Outcome, error) {
	sig := &req.Signature
	switch {
	case sig.Raw == nil:
		return OutcomeSigRequired, errUnsigned
	case len(sig.Certificates) > maxSignerCerts:
		return OutcomeMalformed, errSignerCerts
	case req.RequestorName == nil || len(sig.Certificates) == 0:
		return OutcomeUnauthorized, errSigner
	}
	if err := s.lane.Acquire(ctx, time.Until(deadline)); err != nil {
		return OutcomeTryLater, fmt.Errorf("ocsp: the request's signature was not verified: %w", err)
	}
	defer s.lane.Release()
	certs := make([]*x509.Certificate, len(sig.Certificates))
	for i, der := range sig.Certificates {
		var err error
		if certs[i], err = x509.ParseCertificate(der); err != nil || isHugeKey(certs[i]) {
			return OutcomeUnauthorized, errSigner
		}
	}
	signer := certs[0]
	if !isRequestSigner(certs, s.roots, now()) || signer.CheckSignature(sig.Algorithm, req.TBS, sig.Value) != nil {
		return OutcomeUnauthorized, errSigner
	}
	return 0, nil
}

// isRequestSigner reports whether the first of the certificates chains to one of the roots. It goes from the
// roots down, and changes certs: no key verifies a signature before a root has vouched for it. From the first certificate
// up, x509.Certificate.Verify would try the keys that a client chose, each with each.
func isRequestSigner(certs []*x509.Certificate, roots *x509.CertPool, now time.Time) bool {
	vouched := x509.VerifyOptions{
		Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for more := true; more; {
		more = false
		for i, cert := range certs {
			if cert == nil {
				continue
			}
			if _, err := cert.Verify(vouched); err != nil {
				continue
			}
			if i == 0 {
				return true
			}
			vouched.Intermediates.AddCert(cert)
			certs[i], more = nil, true
		}
	}
	return false
}

// isHugeKey reports whether a client's key is one that would cost far more to verify with than any key in use.
func isHugeKey(cert *x509.Certificate) bool {
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	return ok && (key.N.BitLen() > maxSignerBits || key.E > maxSignerExponent)
}
