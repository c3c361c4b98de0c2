package ocspredis

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
)

// Keys are the secrets that what is in Redis is encrypted and found with. All replicas need the same.
//
// A key encrypts at most 2^32 texts, each an entry written or a message on the feed, by all replicas together: nonces
// are random, and NIST SP 800-38D section 8.3 sets that bound for them. At 1,000 a second it is reached in 49 days.
// Nothing counts them, so change the key in time.
//
// To change them without downtime: add the new key everywhere; then make it Current everywhere; then call
// Store.Rewrap; then remove the old key.
type Keys struct {
	// Current is the ID of the key to write with. Required.
	Current string

	// Secrets are the keys to read with, by ID: 32 random octets each. IDs have 1 to 32 octets and are no
	// secrets. At least the current one.
	Secrets map[string][]byte
}

const (
	secretSize = 32
	maxKeyID   = 32
)

// key is one of the keys, with what is derived from it.
type key struct {
	id    string
	label []byte // of the MACs that name certificates
	value cipher.AEAD
}

// ring is all keys, the current one first.
type ring []*key

func (k Keys) ring() (ring, error) {
	if _, ok := k.Secrets[k.Current]; !ok {
		return nil, fmt.Errorf("the field Keys.Current is %q, and Keys.Secrets has no such key", k.Current)
	}
	ids := slices.Sorted(maps.Keys(k.Secrets))
	slices.SortStableFunc(ids, func(a, b string) int {
		switch k.Current {
		case a:
			return -1
		case b:
			return 1
		}
		return 0
	})
	var r ring
	for _, id := range ids {
		secret := k.Secrets[id]
		if len(id) == 0 || len(id) > maxKeyID {
			return nil, fmt.Errorf("the field Keys.Secrets has an ID of %d octets: use 1 to %d", len(id), maxKeyID)
		}
		if len(secret) != secretSize {
			return nil, fmt.Errorf("the field Keys.Secrets has %d octets under %q: use %d random ones", len(secret), id, secretSize)
		}
		label, err := hkdf.Key(sha256.New, secret, nil, "ocspredis label", secretSize)
		if err != nil {
			return nil, err
		}
		value, err := hkdf.Key(sha256.New, secret, nil, "ocspredis value", secretSize)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(value)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		r = append(r, &key{id, label, aead})
	}
	return r, nil
}

// name returns the certificate's name under the key: a MAC of issuer and serial.
func (k *key) name(issuerID string, serial []byte) string {
	mac := hmac.New(sha256.New, k.label)
	mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(issuerID))))
	mac.Write([]byte(issuerID))
	mac.Write(serial)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// seal encrypts a text under the current key and binds it to the place where it is kept.
func (r ring) seal(text []byte, place string) []byte {
	k := r[0]
	sealed := append([]byte{byte(len(k.id))}, k.id...)
	return k.value.Seal(sealed, nil, text, []byte(place))
}

var errForged = errors.New("it was not written with these keys, or not in this place, or was changed")

// open is the inverse of seal.
func (r ring) open(sealed []byte, place string) ([]byte, error) {
	id, rest, ok := cutText(sealed)
	if !ok {
		return nil, errForged
	}
	for _, k := range r {
		if k.id == string(id) {
			text, err := k.value.Open(nil, nil, rest, []byte(place))
			if err != nil {
				return nil, errForged
			}
			return text, nil
		}
	}
	return nil, errors.New("it was written with a key that is not configured")
}

// cutText returns the text at the beginning of b, which follows an octet with its length, and what
// comes after it.
func cutText(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || len(b)-1 < int(b[0]) {
		return nil, nil, false
	}
	n := 1 + int(b[0])
	return b[1:n], b[n:], true
}

// octets returns a serial number as in a certificate's DER: two's complement, as short as may be.
func octets(n *big.Int) []byte {
	switch n.Sign() {
	case 0:
		return []byte{0}
	case 1:
		b := n.Bytes()
		if b[0] >= 0x80 {
			b = append([]byte{0}, b...)
		}
		return b
	}
	size := uint(new(big.Int).Not(n).BitLen()/8 + 1)
	b := new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), 8*size)).Bytes()
	return b
}

// fromOctets is the inverse of octets.
func fromOctets(b []byte) *big.Int {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n
}
