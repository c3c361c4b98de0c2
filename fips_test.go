package ocsp_test

import (
	"crypto"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// fipsOnly reports whether the test runs with GODEBUG=fips140=only. If not, it runs it again in a process that does,
// since the setting is read when a program starts.
func fipsOnly(t *testing.T) bool {
	t.Helper()
	if fips140.Enforced() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.count", "1")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Contains(t, string(output), "--- PASS: "+t.Name()+" ")
	return false
}

func TestFIPSOnlyAnswers(t *testing.T) {
	t.Parallel()
	if !fipsOnly(t) {
		return
	}
	for _, kind := range ocsptest.KeyTypes() {
		for _, delegated := range []bool{false, true} {
			t.Run(fmt.Sprint(kind, ", delegated ", delegated), func(t *testing.T) {
				cache := ocsptest.NewRemoteCache()
				ca := ocsptest.NewCA(ocsptest.Options{Signer: keys[kind]()})
				issuer := ca.Issuer()
				if delegated {
					issuer.ResponderCertificate, issuer.Signer = ca.Delegate(ocsptest.Options{Signer: strangerKeys[kind]()})
				}
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					r.ca = ca
					r.leaf = r.issue()
					cfg.Issuers, cfg.Cache.Remote = []ocsp.Issuer{issuer}, cache
				})
				for _, method := range []string{http.MethodGet, http.MethodPost} {
					for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
						for _, nonce := range [][]byte{nil, []byte("a nonce")} {
							client := r.client()
							client.Method, client.Hash, client.Nonce = method, hash, nonce
							_, err := client.Query(t.Context(), ca.Certificate, r.leaf)
							require.NoError(t, err)
						}
					}
				}
				require.Equal(t, r.query(r.leaf).DER, r.query(r.leaf).DER, "a cached answer")
				staple, err := r.responder.Staple(t.Context(), r.leaf)
				require.NoError(t, err)
				require.NoError(t, ocsptest.Lint(r.request(r.leaf), staple, ca.Certificate, r.clock.Now()))
				require.Eventually(t, func() bool { return len(cache.Values()) > 0 }, 10*time.Second, time.Millisecond)

				opaque := issuer // as a key in an HSM, whose signatures are verified
				opaque.Signer = ocsptest.NewSigner(issuer.Signer)
				opaque.ResponderID = ocsp.ResponderIDByName
				require.NoError(t, r.responder.SetIssuer(opaque))
				require.Equal(t, xocsp.Good, r.status(r.leaf).Status)

				r.revoke(r.leaf, ocsp.KeyCompromise)
				require.NoError(t, r.responder.Invalidate(t.Context(), ca.ID, r.leaf.SerialNumber))
				require.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
				require.Equal(t, xocsp.Good, r.status(r.issue()).Status)
			})
		}
	}
	t.Run("each algorithm of RSA", func(t *testing.T) {
		ca := ocsptest.NewCA(ocsptest.Options{Signer: keys[ocsptest.RSA2048]()})
		for _, algorithm := range []x509.SignatureAlgorithm{x509.SHA256WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA512WithRSAPSS} {
			r := newRig(t, func(r *rig, cfg *ocsp.Config) {
				signCA(r, cfg, ocsptest.Options{Signer: ca.Key})
				cfg.Issuers[0].SignatureAlgorithm = algorithm
			})
			require.Equal(t, xocsp.Good, r.status(r.leaf).Status)
		}
	})
	t.Run("signed requests", func(t *testing.T) {
		clients := ocsptest.NewCA(ocsptest.Options{Name: "Clients"})
		cert, key := clients.IssueKey(ocsptest.Options{})
		r := sreqRig(t, clients)
		r.requireAnswer(r.post(sreqSign(r, sreqNamed(r), key, cert.Raw).der()), xocsp.Good)
		derRefuse(r, xocsp.Unauthorized, sreqGarbage(r, extSHA1WithRSA, make([]byte, 256), sreqRSA(clients, 2049, 65537)).der())
	})
	t.Run("the conformance suite", func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Now = nil })
		revoked := r.issue()
		r.revoke(revoked, ocsp.KeyCompromise)
		results, err := ocsptest.Conformance(t.Context(), ocsptest.Target{
			Handler: r.handler, Issuer: r.ca.Certificate, Good: r.leaf, Revoked: revoked,
		})
		require.NoError(t, err)
		require.Greater(t, len(results), 100)
		for _, result := range results {
			if result.Verdict == ocsptest.Failed {
				t.Error(result)
			}
		}
	})
}

// fipsRSA makes an RSA key with primes of those lengths in bits, which need not be one that the FIPS module allows.
func fipsRSA(t *testing.T, e int, bits ...int) *rsa.PrivateKey {
	t.Helper()
	one := big.NewInt(1)
	size := 0
	for _, n := range bits {
		size += n
	}
	var key *rsa.PrivateKey
	var phi *big.Int
	for key == nil || key.N.BitLen() != size { // three primes may have a product of a bit less
		key, phi = &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: one, E: e}}, one
		fipsPrimes(t, key, &phi, bits)
	}
	key.D = new(big.Int).ModInverse(big.NewInt(int64(e)), phi)
	require.NoError(t, key.Validate())
	key.Precompute()
	return key
}

// fipsPrimes gives a key primes of those lengths, and multiplies phi by what each adds.
func fipsPrimes(t *testing.T, key *rsa.PrivateKey, phi **big.Int, bits []int) {
	t.Helper()
	one := big.NewInt(1)
	for _, n := range bits {
		for {
			prime, err := rand.Prime(rand.Reader, n)
			require.NoError(t, err)
			less := new(big.Int).Sub(prime, one)
			if new(big.Int).GCD(nil, nil, less, big.NewInt(int64(key.E))).Cmp(one) == 0 {
				key.Primes = append(key.Primes, prime)
				key.N, *phi = new(big.Int).Mul(key.N, prime), new(big.Int).Mul(*phi, less)
				break
			}
		}
	}
}

// What cannot work is an error of New and SetIssuer, not a panic and not an issuer whose answers are all tryLater.
func TestFIPSOnlyRefusals(t *testing.T) {
	t.Parallel()
	if !fipsOnly(t) {
		return
	}
	ca := ocsptest.NewCA(ocsptest.Options{})
	small := sync.OnceValue(func() *rsa.PrivateKey { return fipsRSA(t, 3, 1024, 1024) })
	r := newRig(t, nil)
	for name, test := range map[string]struct {
		issuer func() ocsp.Issuer // made where nothing is enforced
		want   []string
	}{
		"a small exponent": {
			func() ocsp.Issuer {
				return ocsptest.NewCA(ocsptest.Options{Signer: small()}).Issuer()
			},
			[]string{"Certificate", "exponent", "65537", "fips140=only"},
		},
		"an odd length": {
			func() ocsp.Issuer {
				return ocsptest.NewCA(ocsptest.Options{Signer: fipsRSA(t, 65537, 1024, 1025)}).Issuer()
			},
			[]string{"Certificate", "odd size", "fips140=only"},
		},
		"a small exponent in an HSM": {
			func() ocsp.Issuer {
				issuer := ocsptest.NewCA(ocsptest.Options{Signer: small()}).Issuer()
				issuer.Signer = ocsptest.NewSigner(issuer.Signer)
				return issuer
			},
			[]string{"Certificate", "exponent", "fips140=only"},
		},
		"a delegate of a short key": {
			func() ocsp.Issuer {
				of := ocsptest.NewCA(ocsptest.Options{Signer: fipsRSA(t, 65537, 512, 512)})
				issuer := of.Issuer()
				issuer.ResponderCertificate, issuer.Signer = of.Delegate(ocsptest.Options{})
				return issuer
			},
			[]string{"Certificate", "smaller than 2048", "fips140=only"},
		},
		"a delegate with a small exponent": {
			func() ocsp.Issuer {
				issuer := ca.Issuer()
				issuer.ResponderCertificate, issuer.Signer = ca.Delegate(ocsptest.Options{Signer: small()})
				return issuer
			},
			[]string{"ResponderCertificate", "exponent", "fips140=only"},
		},
		"a delegate signed with SHA-1": {
			func() ocsp.Issuer {
				issuer := ca.Issuer()
				issuer.ResponderCertificate, issuer.Signer = ca.Delegate(ocsptest.Options{Adjust: func(c *x509.Certificate) {
					c.SignatureAlgorithm = x509.ECDSAWithSHA1
				}})
				return issuer
			},
			[]string{"ResponderCertificate", "ECDSA-SHA1", "SHA-256", "fips140=only"},
		},
		"three primes": {
			func() ocsp.Issuer {
				return ocsptest.NewCA(ocsptest.Options{Signer: fipsRSA(t, 65537, 683, 683, 682)}).Issuer()
			},
			[]string{"Signer", "multi-prime", "fips140=only"},
		},
		"primes of different lengths": {
			func() ocsp.Issuer {
				return ocsptest.NewCA(ocsptest.Options{Signer: fipsRSA(t, 65537, 1000, 1048)}).Issuer()
			},
			[]string{"Signer", "different sizes", "fips140=only"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var issuer ocsp.Issuer
			fips140.WithoutEnforcement(func() { issuer = test.issuer() })
			_, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: r.store})
			require.Error(t, err)
			for _, text := range test.want {
				require.ErrorContains(t, err, text)
			}
			if test.want[0] == "ResponderCertificate" {
				refused := slices.ContainsFunc(ocsp.CheckDelegate(issuer, ocsp.ProfilePrivate), func(f ocsp.DelegateFinding) bool {
					return f.Refused && strings.Contains(f.String(), "fips140=only")
				})
				require.True(t, refused, "what New refuses is a finding")
			}
			issuer.ID = r.ca.ID
			require.Error(t, r.responder.SetIssuer(issuer))
			require.Equal(t, xocsp.Good, r.status(r.leaf).Status, "the issuer before it signs on")
		})
	}
}
