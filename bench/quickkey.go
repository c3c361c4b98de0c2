package main

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"io"
	"math/big"
	"math/bits"
)

// quickKey is an RSA key of 2048 bits that signs in microseconds and keeps nothing secret: its modulus is the product of
// the 64 greatest primes below 2^32 that fit, each of which has its own small exponent. Its signatures are as long as any
// other's, and verify, so that a million answers can be signed in a minute, and what they take be measured.
type quickKey struct {
	public rsa.PublicKey
	parts  []quickPart
}

type quickPart struct {
	prime, exponent uint64
	others          *big.Int // the modulus without this prime
	inverse         uint64   // of that, modulo the prime
}

func newQuickKey() *quickKey {
	const exponent = 3
	k := &quickKey{public: rsa.PublicKey{N: big.NewInt(1), E: exponent}}
	for p := uint64(1)<<32 - 1; len(k.parts) < 64; p -= 2 {
		prime := new(big.Int).SetUint64(p)
		if d := new(big.Int).ModInverse(big.NewInt(exponent), new(big.Int).SetUint64(p-1)); d != nil && prime.ProbablyPrime(0) {
			k.parts = append(k.parts, quickPart{prime: p, exponent: d.Uint64()})
			k.public.N.Mul(k.public.N, prime)
		}
	}
	for i := range k.parts {
		p := new(big.Int).SetUint64(k.parts[i].prime)
		k.parts[i].others = new(big.Int).Div(k.public.N, p)
		k.parts[i].inverse = new(big.Int).ModInverse(k.parts[i].others, p).Uint64()
	}
	return k
}

// Public implements crypto.Signer.
func (k *quickKey) Public() crypto.PublicKey { return &k.public }

// sha256Prefix comes before a SHA-256 in what PKCS #1 version 1.5 signs (RFC 8017 section 9.2).
var sha256Prefix = []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}

// Sign implements crypto.Signer, for PKCS #1 version 1.5 and SHA-256.
func (k *quickKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, pss := opts.(*rsa.PSSOptions); pss || opts.HashFunc() != crypto.SHA256 {
		return nil, errors.New("quickKey signs PKCS #1 version 1.5 with SHA-256")
	}
	padded := make([]byte, k.public.Size())
	for i := range padded {
		padded[i] = 0xff
	}
	padded[0], padded[1] = 0, 1
	tail := padded[len(padded)-len(sha256Prefix)-len(digest)-1:]
	tail[0] = 0
	copy(tail[1:], sha256Prefix)
	copy(tail[1+len(sha256Prefix):], digest)
	message := new(big.Int).SetBytes(padded).Bits()
	sum, term, factor := new(big.Int), new(big.Int), new(big.Int)
	for _, part := range k.parts {
		var rest uint64
		for i := len(message) - 1; i >= 0; i-- {
			rest = bits.Rem64(rest, uint64(message[i]), part.prime)
		}
		root := uint64(1)
		for d := part.exponent; d > 0; d >>= 1 {
			if d&1 == 1 {
				root = root * rest % part.prime
			}
			rest = rest * rest % part.prime
		}
		sum.Add(sum, term.Mul(part.others, factor.SetUint64(root*part.inverse%part.prime)))
	}
	return sum.Mod(sum, k.public.N).FillBytes(padded), nil
}
