package ocsp

import (
	"crypto/rsa"
	"crypto/x509"

	"github.com/kmsocsp/ocsp/internal/codec"
)

// checkRequestSigner applies Config.RequestSigners (RFC 6960 section 4.1.2): the first certificate beside the
// signature must verify it and chain to one of the roots, and the request must name its requestor.
func (r *Responder) checkRequestSigner(req *codec.Request) (Outcome, error) {
	sig := &req.Signature
	if sig.Raw == nil {
		return OutcomeSigRequired, errUnsigned
	}
	if req.RequestorName == nil || len(sig.Certificates) == 0 {
		return OutcomeUnauthorized, errSigner
	}
	certs := make([]*x509.Certificate, len(sig.Certificates))
	intermediates := x509.NewCertPool()
	var err error
	for i, der := range sig.Certificates {
		if certs[i], err = x509.ParseCertificate(der); err != nil || isHugeKey(certs[i]) {
			return OutcomeUnauthorized, errSigner
		}
		intermediates.AddCert(certs[i])
	}
	_, err = certs[0].Verify(x509.VerifyOptions{
		Roots: r.cfg.RequestSigners, Intermediates: intermediates, CurrentTime: r.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil || certs[0].CheckSignature(sig.Algorithm, req.TBS, sig.Value) != nil {
		return OutcomeUnauthorized, errSigner
	}
	return 0, nil
}

// isHugeKey reports whether a client's key is one that would cost far more to verify with than any key in use.
func isHugeKey(cert *x509.Certificate) bool {
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	return ok && key.N.BitLen() > 8192
}
