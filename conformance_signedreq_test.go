package ocsp_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
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
	t.Parallel()
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
	t.Parallel()
	r := sreqRig(t, ocsptest.NewCA(ocsptest.Options{}))
	derRefuse(r, xocsp.SignatureRequired, r.request(r.leaf))
	derRefuse(r, xocsp.SignatureRequired, sreqNamed(r).der())
	derRefuse(r, xocsp.Malformed, r.request(r.leaf)[1:]) // what cannot be read need not be signed
}

// sreqRSA is a certificate whose RSA key has so many bits and that exponent, and no private key.
func sreqRSA(clients *ocsptest.CA, bits uint, e int) []byte {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return clients.Issue(ocsptest.Options{Signer: publicKey{&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: e}}}).Raw
}

// publicKey is a key to certify.
type publicKey struct{ key crypto.PublicKey }

func (p publicKey) Public() crypto.PublicKey { return p.key }

func (publicKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("it cannot sign")
}

func TestT128SignatureTrusted(t *testing.T) {
	t.Parallel()
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	cert, key := clients.IssueKey(ocsptest.Options{})
	department := clients.Intermediate(ocsptest.Options{})
	member, memberKey := department.IssueKey(ocsptest.Options{})
	section := department.Intermediate(ocsptest.Options{Name: "Section"})
	team := section.Intermediate(ocsptest.Options{Name: "Team"})
	deep, deepKey := team.IssueKey(ocsptest.Options{})
	for name, sign := range map[string]func(*rig) derRequest{
		"direct": func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), key, cert.Raw) },
		"chain": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), memberKey, member.Raw, department.Certificate.Raw)
		},
		"with the root": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), key, cert.Raw, clients.Certificate.Raw)
		},
		"three CAs between": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), deepKey, deep.Raw, team.Certificate.Raw, section.Certificate.Raw, department.Certificate.Raw)
		},
		"three CAs between, in another order": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), deepKey, deep.Raw, section.Certificate.Raw, department.Certificate.Raw, team.Certificate.Raw)
		},
		"with a large key beside": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), key, cert.Raw, sreqRSA(clients, 4096, 65537))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := sreqRig(t, clients)
			r.requireAnswer(r.post(sign(r).der()), xocsp.Good)
		})
	}
}

func TestT129SignatureNotTrusted(t *testing.T) {
	t.Parallel()
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	cert, key := clients.IssueKey(ocsptest.Options{})
	other, otherKey := clients.IssueKey(ocsptest.Options{})
	stranger, strangerKey := ocsptest.NewCA(ocsptest.Options{Name: "Clients"}).IssueKey(ocsptest.Options{})
	expired, expiredKey := clients.IssueKey(ocsptest.Options{NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(-1, 0, 0)})
	early, earlyKey := clients.IssueKey(ocsptest.Options{NotBefore: time.Now().AddDate(1, 0, 0)})
	member, memberKey := clients.Intermediate(ocsptest.Options{}).IssueKey(ocsptest.Options{})
	closed := clients.Intermediate(ocsptest.Options{NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(-1, 0, 0)})
	old, oldKey := closed.IssueKey(ocsptest.Options{})
	forged, forgedKey := (&ocsptest.CA{Certificate: cert, Key: key}).IssueKey(ocsptest.Options{})
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
		"huge key beside": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), key, cert.Raw, sreqRSA(clients, 4097, 65537))
		},
		"huge exponent beside": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), key, cert.Raw, sreqRSA(clients, 2048, 65539))
		},
		"a CA between is missing": func(r *rig) derRequest { return sreqSign(r, sreqNamed(r), memberKey, member.Raw) },
		"a CA between is expired": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), oldKey, old.Raw, closed.Certificate.Raw)
		},
		"a certificate between is not a CA's": func(r *rig) derRequest {
			return sreqSign(r, sreqNamed(r), forgedKey, forged.Raw, cert.Raw)
		},
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
	t.Parallel()
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	cert, key := clients.IssueKey(ocsptest.Options{})
	r := sreqRig(t, clients)
	derRefuse(r, xocsp.Unauthorized, sreqSign(r, derPlain(r), key, cert.Raw).der())
}

func TestT131ManyCertificates(t *testing.T) {
	t.Parallel()
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
	for name, test := range map[string]struct {
		policy func(*rig, *ocsp.Config)
		most   int
	}{"ignored": {large, 16}, "required": {required, 4}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, test.policy)
			derRefuse(r, xocsp.Malformed, sreqSign(r, sreqNamed(r), key, certs...).der())
			derRefuse(r, xocsp.Malformed, sreqSign(r, sreqNamed(r), key, certs[:test.most+1]...).der())
			r.requireAnswer(r.post(sreqSign(r, sreqNamed(r), key, certs[:test.most]...).der()), xocsp.Good)
		})
	}
}

// Anybody can send signatures, and certificates to build paths from. Over the budget for them a request is to come again
// later; what needs no verification is answered at once.
func TestRequestSignersWithinABudget(t *testing.T) {
	t.Parallel()
	const timeout, waiting = 5 * time.Second, 256
	synctest.Test(t, func(t *testing.T) {
		clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
		cert, key := clients.IssueKey(ocsptest.Options{})
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
			cfg.Timeout, cfg.Now = timeout, nil
			cfg.RequestSigners = x509.NewCertPool()
			cfg.RequestSigners.AddCert(clients.Certificate)
		})
		signed := sreqSign(r, sreqNamed(r), key, cert.Raw).der()
		many := sreqSign(r, sreqNamed(r), key, cert.Raw, cert.Raw, cert.Raw, cert.Raw, cert.Raw).der()
		unnamed := sreqSign(r, derPlain(r), key, cert.Raw).der()
		outcomes := func(n int) chan ocsp.Outcome {
			list := make(chan ocsp.Outcome, n)
			for range n {
				go func() { list <- r.responder.Respond(t.Context(), signed).Outcome }()
			}
			return list
		}
		require.Equal(t, ocsp.OutcomeSigned, <-outcomes(1))
		for _, giveBack := range []bool{true, false} {
			begun := time.Now()
			free := ocsp.TakeVerifying(r.responder)
			list := outcomes(waiting)
			synctest.Wait()
			require.Empty(t, list)
			for what, want := range map[string]ocsp.Outcome{string(signed): ocsp.OutcomeTryLater, string(r.request(r.leaf)): ocsp.OutcomeSigRequired,
				string(many): ocsp.OutcomeMalformed, string(unnamed): ocsp.OutcomeUnauthorized} {
				require.Equal(t, want, r.responder.Respond(t.Context(), []byte(what)).Outcome)
			}
			require.Equal(t, begun, time.Now())
			want := ocsp.OutcomeCached
			if giveBack {
				free()
			} else {
				want = ocsp.OutcomeTryLater
			}
			for range waiting {
				require.Equal(t, want, <-list)
			}
			if !giveBack {
				require.Equal(t, timeout, time.Since(begun))
				free()
			}
		}
		require.Equal(t, ocsp.OutcomeCached, <-outcomes(1))
	})
}

// The time that a request waits for its signature to be verified is part of Timeout, which the store's call after it does not
// prolong.
func TestRequestSignersWithinTimeout(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{0, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
			cert, key := clients.IssueKey(ocsptest.Options{})
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
				cfg.Now, cfg.Cache.StatusTTL = nil, ttl
				cfg.RequestSigners = x509.NewCertPool()
				cfg.RequestSigners.AddCert(clients.Certificate)
			})
			r.store.SetFault(ocsptest.Hang)
			giveBack := ocsp.TakeVerifying(r.responder)
			begun := time.Now()
			time.AfterFunc(8*time.Second, giveBack)
			answer := r.responder.Respond(t.Context(), sreqSign(r, sreqNamed(r), key, cert.Raw).der())
			require.Equal(t, ocsp.OutcomeTryLater, answer.Outcome)
			require.Equal(t, 10*time.Second, time.Since(begun))
		})
	}
}

// A client chooses its keys and names. If it could have each of its certificates tried as the issuer of each other, four
// of them would cost dozens of verifications with the slowest of keys.
func TestRequestSignersTriesNoKeyOfAStranger(t *testing.T) {
	clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	require.NoError(t, err)
	r := sreqRig(t, clients)
	// All have the root's name and one key, and differ in a name that keeps them apart in a path.
	var certs [][]byte
	for i := range 4 {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), RawSubject: clients.Certificate.RawSubject, DNSNames: []string{strings.Repeat("x", i+1) + ".example"},
			NotBefore: clients.Certificate.NotBefore, NotAfter: clients.Certificate.NotAfter, IsCA: true, BasicConstraintsValid: true,
		}
		cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		require.NoError(t, err)
		certs = append(certs, cert)
	}
	hostile := sreqSign(r, sreqNamed(r), key, certs...).der()
	digest := make([]byte, 64)
	signature, err := key.Sign(rand.Reader, digest, crypto.SHA512)
	require.NoError(t, err)
	least := func(f func()) time.Duration {
		best := time.Hour
		for range 10 {
			begun := time.Now()
			f()
			best = min(best, time.Since(begun))
		}
		return best
	}
	one := least(func() { require.True(t, ecdsa.VerifyASN1(&key.PublicKey, digest, signature)) })
	all := least(func() { require.Equal(t, ocsp.OutcomeUnauthorized, r.responder.Respond(t.Context(), hostile).Outcome) })
	require.Less(t, all, 3*one, "one verification with the client's key takes %v", one)
}
