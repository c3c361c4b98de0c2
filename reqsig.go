package ocsp

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"runtime"
	"time"

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

var errSignerCerts = fmt.Errorf("ocsp: more than %d certificates beside the request's signature", maxSignerCerts)

// newVerifying returns the lane of the requests whose signatures are verified: half of the processors is left to answers.
func newVerifying() *hostcall.Lane {
	return hostcall.NewLane(max(1, runtime.GOMAXPROCS(0)/2), signerWaiting)
}

// checkRequestSigner applies Config.RequestSigners (RFC 6960 section 4.1.2): the first certificate beside the
// signature must verify it and chain to one of the roots, and the request must name its requestor.
func (r *Responder) checkRequestSigner(ctx context.Context, x *exchange) (Outcome, error) {
	sig := &x.req.Signature
	switch {
	case sig.Raw == nil:
		return OutcomeSigRequired, errUnsigned
	case len(sig.Certificates) > maxSignerCerts:
		return OutcomeMalformed, errSignerCerts
	case x.req.RequestorName == nil || len(sig.Certificates) == 0:
		return OutcomeUnauthorized, errSigner
	}
	if err := r.verifying.Acquire(ctx, r.cfg.remaining(x)); err != nil {
		return OutcomeTryLater, fmt.Errorf("ocsp: the request's signature was not verified: %w", err)
	}
	defer r.verifying.Release()
	now := r.clock.now()
	certs := make([]*x509.Certificate, len(sig.Certificates))
	for i, der := range sig.Certificates {
		var err error
		if certs[i], err = x509.ParseCertificate(der); err != nil || isHugeKey(certs[i]) {
			return OutcomeUnauthorized, errSigner
		}
	}
	signer := certs[0]
	if !isRequestSigner(certs, r.cfg.RequestSigners, now) || signer.CheckSignature(sig.Algorithm, x.req.TBS, sig.Value) != nil {
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
