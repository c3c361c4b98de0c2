package ocsp_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// sreqSignature is a Signature; the certs field is left out if there are none.
func sreqSignature(algorithm, signature []byte, certs ...[]byte) []byte {
	var field []byte
	if certs != nil {
		field = derTLV(0xa0, derSeq(certs...))
	}
	return derSeq(algorithm, derTLV(3, []byte{0}, signature), field)
}

// sreqSign signs a request with ECDSA and SHA-256.
func sreqSign(r *rig, q derRequest, key crypto.Signer, certs ...[]byte) derRequest {
	signature, err := crypto.SignMessage(key, rand.Reader, q.tbs(), crypto.SHA256)
	require.NoError(r, err)
	q.signature = sreqSignature(extECDSAWithSHA256, signature, certs...)
	return q
}

// sreqNamed is a plain request with a requestorName.
func sreqNamed(r *rig) derRequest {
	q := derPlain(r)
	q.name = derTLV(0xa1, derTLV(0xa4, r.ca.Certificate.RawSubject))
	return q
}

// sreqRig is a rig that wants requests signed by someone under the clients' CA.
func sreqRig(t *testing.T, clients *ocsptest.CA) *rig {
	return newRig(t, func(_ *rig, cfg *ocsp.Config) {
		cfg.RequestSigners = x509.NewCertPool()
		cfg.RequestSigners.AddCert(clients.Certificate)
	})
}

func TestT126SignatureIgnored(t *testing.T) {
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	cert, key := clients.IssueKey(ocsptest.Options{})
	for name, sign := range map[string]func(*rig) derRequest{
		"valid":          func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key, cert.Raw) },
		"without certs":  func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key) },
		"without a name": func(r *rig) derRequest { return sreqSign(r, derPlain(r), key, cert.Raw) },
		"garbage":        func(r *rig) derRequest { return sreqGarbage(r, extECDSAWithSHA256, []byte("garbage")) },
		"empty":          func(r *rig) derRequest { return sreqGarbage(r, extECDSAWithSHA256, nil) },
		"unused bits": func(r *rig) derRequest {
			q := sreqNamed(r)
			q.signature = derSeq(extECDSAWithSHA256, []byte{3, 2, 4, 0xf0})
			return q
		},
		"unknown algorithm":   func(r *rig) derRequest { return sreqGarbage(r, derSeq(derForeignOID), []byte("x")) },
		"SHA-1 with RSA":      func(r *rig) derRequest { return sreqGarbage(r, extSHA1WithRSA, make([]byte, 256)) },
		"garbage certificate": func(r *rig) derRequest { return sreqGarbage(r, extECDSAWithSHA256, nil, derSeq(derNull)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.requireAnswer(r.post(sign(r).der()), xocsp.Good)
		})
	}
}

func sreqGarbage(r *rig, algorithm, signature []byte, certs ...[]byte) derRequest {
	q := sreqNamed(r)
	q.signature = sreqSignature(algorithm, signature, certs...)
	return q
}

func TestT127SignatureRequired(t *testing.T) {
	r := sreqRig(t, ocsptest.NewCA(ocsptest.Options{}))
	derRefuse(r, xocsp.SignatureRequired, r.request(r.leaf))
	derRefuse(r, xocsp.SignatureRequired, sreqNamed(r).der())
	derRefuse(r, xocsp.Malformed, r.request(r.leaf)[1:]) // what cannot be read need not be signed
}

// sreqRSA is a certificate whose RSA key has so many bits, and no private key.
func sreqRSA(clients *ocsptest.CA, bits uint) []byte {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return clients.Issue(ocsptest.Options{Signer: publicKey{&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}}}).Raw
}

// publicKey is a key to certify.
type publicKey struct{ key crypto.PublicKey }

func (p publicKey) Public() crypto.PublicKey { return p.key }

func (publicKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("it cannot sign")
}

func TestT128SignatureTrusted(t *testing.T) {
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	cert, key := clients.IssueKey(ocsptest.Options{})
	department := clients.Intermediate(ocsptest.Options{})
	member, memberKey := department.IssueKey(ocsptest.Options{})
	for name, sign := range map[string]func(*rig) derRequest{
		"direct": func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key, cert.Raw) },
		"chain": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), memberKey, member.Raw, department.Certificate.Raw)
		},
		"with the root": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), key, cert.Raw, clients.Certificate.Raw)
		},
		"with a large key beside": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), key, cert.Raw, sreqRSA(clients, 8192))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := sreqRig(t, clients)
			r.requireAnswer(r.post(sign(r).der()), xocsp.Good)
		})
	}
}

func TestT129SignatureNotTrusted(t *testing.T) {
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	cert, key := clients.IssueKey(ocsptest.Options{})
	other, otherKey := clients.IssueKey(ocsptest.Options{})
	stranger, strangerKey := ocsptest.NewCA(ocsptest.Options{Name: "Clients"}).IssueKey(ocsptest.Options{})
	expired, expiredKey := clients.IssueKey(ocsptest.Options{NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(-1, 0, 0)})
	early, earlyKey := clients.IssueKey(ocsptest.Options{NotBefore: time.Now().AddDate(1, 0, 0)})
	for name, sign := range map[string]func(*rig) derRequest{
		"garbage":           func(r *rig) derRequest { return sreqGarbage(r, extECDSAWithSHA256, []byte("garbage"), cert.Raw) },
		"empty":             func(r *rig) derRequest { return sreqGarbage(r, extECDSAWithSHA256, nil, cert.Raw) },
		"unknown algorithm": func(r *rig) derRequest { return sreqGarbage(r, derSeq(derForeignOID), []byte("x"), cert.Raw) },
		"of another request": func(r *rig) derRequest {
			q := sreqNamed(r)
			q.signature = sreqSign(r, derPlain(r), key, cert.Raw).signature
			return q
		},
		"of another key":      func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), otherKey, cert.Raw) },
		"untrusted":           func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), strangerKey, stranger.Raw) },
		"untrusted beside":    func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), strangerKey, stranger.Raw, other.Raw) },
		"own root":            func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), r.ca.Key, r.ca.Certificate.Raw) },
		"expired":             func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), expiredKey, expired.Raw) },
		"not yet valid":       func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), earlyKey, early.Raw) },
		"no certs":            func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key) },
		"empty certs":         func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key, [][]byte{}...) },
		"garbage certificate": func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key, derSeq(derNull)) },
		"huge key beside":     func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key, cert.Raw, sreqRSA(clients, 8193)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := sreqRig(t, clients)
			derRefuse(r, xocsp.Unauthorized, sign(r).der())
			r.requireAnswer(r.post(sreqSign(r, sreqNamed(r), key, cert.Raw).der()), xocsp.Good)
		})
	}
	t.Run("expired by the responder's clock", func(t *testing.T) {
		r := sreqRig(t, clients)
		soon, soonKey := clients.IssueKey(ocsptest.Options{NotAfter: r.clock.Now().Add(time.Hour)})
		request := sreqSign(r, sreqNamed(r), soonKey, soon.Raw).der()
		r.requireAnswer(r.post(request), xocsp.Good)
		r.clock.Advance(time.Hour + time.Second)
		derRefuse(r, xocsp.Unauthorized, request)
	})
}

func TestT130SignatureWithoutName(t *testing.T) {
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	cert, key := clients.IssueKey(ocsptest.Options{})
	r := sreqRig(t, clients)
	derRefuse(r, xocsp.Unauthorized, sreqSign(r, derPlain(r), key, cert.Raw).der())
}

func TestT131ManyCertificates(t *testing.T) {
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	cert, key := clients.IssueKey(ocsptest.Options{})
	certs := [][]byte{cert.Raw}
	for len(certs) < 50 {
		certs = append(certs, clients.Certificate.Raw)
	}
	large := func(_ *rig, cfg *ocsp.Config) { cfg.Limits.MaxRequestBytes = 1 << 20 }
	required := func(r *rig, cfg *ocsp.Config) {
		large(r, cfg)
		cfg.RequestSigners = x509.NewCertPool()
		cfg.RequestSigners.AddCert(clients.Certificate)
	}
	for name, policy := range map[string]func(*rig, *ocsp.Config){"ignored": large, "required": required} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, policy)
			derRefuse(r, xocsp.Malformed, sreqSign(r, sreqNamed(r), key, certs...).der())
			derRefuse(r, xocsp.Malformed, sreqSign(r, sreqNamed(r), key, certs[:17]...).der())
			r.requireAnswer(r.post(sreqSign(r, sreqNamed(r), key, certs[:16]...).der()), xocsp.Good)
		})
	}
}
