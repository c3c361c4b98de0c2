package ocsptest_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

func TestVerify(t *testing.T) {
	for _, kind := range ocsptest.KeyTypes() {
		for _, delegated := range []bool{false, true} {
			ca, store := ocsptest.NewCA(ocsptest.Options{Key: kind}), ocsptest.NewStore()
			issuer := ca.Issuer()
			if delegated {
				issuer.ResponderCertificate, issuer.Signer = ca.Delegate(ocsptest.Options{Key: kind})
			}
			responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: store})
			require.NoError(t, err)
			cert := ca.Issue(ocsptest.Options{})
			store.Add(ca.ID, cert)
			client := ocsptest.Client{Handler: responder.Handler()}
			result, err := client.Query(t.Context(), ca.Certificate, cert)
			require.NoError(t, err)
			require.NoError(t, responder.Close())

			require.NoError(t, ocsptest.Verify(result.DER, ca.Certificate))
			another := ocsptest.NewCA(ocsptest.Options{Key: kind}).Certificate
			err = ocsptest.Verify(result.DER, another)
			require.Error(t, err, "%v, delegated: %v: another issuer", kind, delegated)
			at := bytes.LastIndex(result.DER, cert.SerialNumber.Bytes())
			result.DER[at] ^= 1
			err = ocsptest.Verify(result.DER, ca.Certificate)
			const want = "the signature does not verify"
			require.ErrorContains(t, err, want, "%v, delegated: %v", kind, delegated)
		}
	}
	unsigned := []byte("\x30\x03\x0a\x01\x06")
	require.Error(t, ocsptest.Verify(unsigned, ocsptest.NewCA(ocsptest.Options{}).Certificate))
}

// Any certificate of the issuer could sign that it is good, were it not for OCSPSigning.
func TestVerifyWantsOCSPSigning(t *testing.T) {
	ca := ocsptest.NewCA(ocsptest.Options{})
	other := ocsptest.NewCA(ocsptest.Options{Name: "Another CA"})
	answer := func(signer *x509.Certificate, key crypto.Signer) []byte {
		now := time.Now()
		der, err := xocsp.CreateResponse(ca.Certificate, signer, xocsp.Response{
			Status: xocsp.Good, SerialNumber: signer.SerialNumber, Certificate: signer,
			ThisUpdate: now, NextUpdate: now.Add(time.Hour),
		}, key)
		require.NoError(t, err)
		return der
	}
	require.NoError(t, ocsptest.Verify(answer(ca.Delegate(ocsptest.Options{})), ca.Certificate))
	err := ocsptest.Verify(answer(ca.IssueKey(ocsptest.Options{})), ca.Certificate)
	require.ErrorContains(t, err, "lacks OCSPSigning")
	err = ocsptest.Verify(answer(other.Delegate(ocsptest.Options{})), ca.Certificate)
	require.ErrorContains(t, err, "did not sign the delegate")
}
