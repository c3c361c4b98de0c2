package ocsp_test

import (
	"bytes"
	"crypto"
	_ "crypto/md5" // for a CertID that is refused
	"crypto/x509"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

var certIDHashes = map[string]struct {
	hash crypto.Hash
	oid  []byte
}{
	"SHA-1":   {crypto.SHA1, derSHA1},
	"SHA-256": {crypto.SHA256, derOID(2, 16, 840, 1, 101, 3, 4, 2, 1)},
	"SHA-384": {crypto.SHA384, derOID(2, 16, 840, 1, 101, 3, 4, 2, 2)},
	"SHA-512": {crypto.SHA512, derOID(2, 16, 840, 1, 101, 3, 4, 2, 3)},
}

// certIDAnswer asks about one CertID and requires that the answer repeats it.
func certIDAnswer(r *rig, id derCertID, status int) *xocsp.Response {
	r.Helper()
	result := r.post(derAsk(id).der())
	response := r.requireAnswer(result, status)[0]
	require.Equal(r, 1, bytes.Count(result.DER, id.der()), "the CertID is not mirrored")
	return response
}

// certIDFor is the rig as a client of another CA sees it.
func certIDFor(r *rig, ca *ocsptest.CA) *rig {
	other := *r
	other.ca = ca
	return &other
}

func TestT81CertIDHashes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	revoked := r.issue()
	r.revoke(revoked, ocsp.KeyCompromise)
	for name, h := range certIDHashes {
		t.Run(name, func(t *testing.T) {
			r := *r
			r.T = t
			certIDAnswer(&r, derIDHashed(r.ca.Certificate, r.leaf.SerialNumber, h.hash, h.oid), xocsp.Good)
			certIDAnswer(&r, derIDHashed(r.ca.Certificate, revoked.SerialNumber, h.hash, h.oid), xocsp.Revoked)
		})
	}
	assert.Equal(t, 2*len(certIDHashes), r.signer.Calls()) // none was answered with another's CertID
}

func TestT82CertIDParameters(t *testing.T) {
	t.Parallel()
	for name, h := range certIDHashes {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			null := derIDHashed(r.ca.Certificate, r.leaf.SerialNumber, h.hash, h.oid)
			absent := null
			absent.algorithm = derSeq(h.oid)
			for range 2 { // signed, then cached
				certIDAnswer(r, null, xocsp.Good)
				certIDAnswer(r, absent, xocsp.Good)
			}
			assert.Equal(t, 2, r.signer.Calls())
		})
	}
}

func TestT83CertIDParameterTypes(t *testing.T) {
	t.Parallel()
	requests := map[string]func(*rig) []byte{}
	for name, parameters := range map[string][]byte{
		"NULL, BER":    {5, 0x81, 0},
		"context NULL": {0x85, 0},
	} {
		requests[name] = func(r *rig) []byte {
			id := derIDOf(r.ca.Certificate, r.leaf.SerialNumber)
			id.algorithm = derSeq(derSHA1, parameters)
			return derAsk(id).der()
		}
	}
	derRefuseAll(t, xocsp.Malformed, requests)
}

func TestT86CertIDOneHashWrong(t *testing.T) {
	t.Parallel()
	for hash, h := range certIDHashes {
		t.Run(hash, func(t *testing.T) {
			changed := func(change func(id *derCertID, other derCertID)) func(*rig) []byte {
				return func(r *rig) []byte {
					id := derIDHashed(r.ca.Certificate, r.leaf.SerialNumber, h.hash, h.oid)
					stranger := ocsptest.NewCA(ocsptest.Options{Name: "Stranger"}).Certificate
					change(&id, derIDHashed(stranger, r.leaf.SerialNumber, h.hash, h.oid))
					return derAsk(id).der()
				}
			}
			derRefuseAll(t, xocsp.Unauthorized, map[string]func(*rig) []byte{
				"name":           changed(func(id *derCertID, other derCertID) { id.nameHash = other.nameHash }),
				"key":            changed(func(id *derCertID, other derCertID) { id.keyHash = other.keyHash }),
				"both":           changed(func(id *derCertID, other derCertID) { *id = other }),
				"swapped":        changed(func(id *derCertID, _ derCertID) { id.nameHash, id.keyHash = id.keyHash, id.nameHash }),
				"last bit, key":  changed(func(id *derCertID, _ derCertID) { id.keyHash[len(id.keyHash)-1] ^= 1 }),
				"last bit, name": changed(func(id *derCertID, _ derCertID) { id.nameHash[len(id.nameHash)-1] ^= 1 }),
			})
		})
	}
}

func TestT88ReencodedName(t *testing.T) {
	t.Parallel()
	name := func(stringType byte, r *rig) []byte {
		return derSeq(derTLV(0x31, derSeq(derOID(2, 5, 4, 3), derTLV(stringType, []byte(r.ca.Certificate.Subject.CommonName)))))
	}
	request := func(r *rig) derCertID {
		require.Equal(r, name(19, r), r.ca.Certificate.RawSubject) // PrintableString
		id := derIDOf(r.ca.Certificate, r.leaf.SerialNumber)
		id.nameHash = derOctets(derHash(crypto.SHA1, name(12, r))) // UTF8String
		return id
	}
	r := newRig(t, nil)
	derRefuse(r, xocsp.Unauthorized, derAsk(request(r)).der())

	r = newRig(t, func(r *rig, cfg *ocsp.Config) { cfg.Issuers[0].NameAliases = [][]byte{name(12, r)} })
	certIDAnswer(r, request(r), xocsp.Good)
	certIDAnswer(r, derIDOf(r.ca.Certificate, r.leaf.SerialNumber), xocsp.Good)
	r.revoke(r.leaf, ocsp.KeyCompromise)
	certIDAnswer(r, request(r), xocsp.Revoked)
}

// certIDSerial asks about a serial's content octets, which the store does not know and must be asked about.
func certIDSerial(t *testing.T, content []byte, serial *big.Int) {
	t.Helper()
	r := newRig(t, nil)
	id := derIDOf(r.ca.Certificate, serial)
	require.Equal(t, derTLV(2, content), id.serial)
	certIDAnswer(r, id, xocsp.Unknown)
	require.Equal(t, 1, r.store.Calls())
	// The store is asked about this very number, not about one that looks like it.
	r.store.Set(r.ca.ID, new(big.Int).Neg(serial), ocsp.Record{State: ocsp.Active})
	r.store.Set(r.ca.ID, new(big.Int).SetBytes(content), ocsp.Record{State: ocsp.Active})
	r.store.Remove(r.ca.ID, serial)
	certIDAnswer(r, id, xocsp.Unknown)
	r.store.Set(r.ca.ID, serial, ocsp.Record{State: ocsp.Active})
	certIDAnswer(r, id, xocsp.Good)

	r = newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Unissued = ocsp.UnissuedUnauthorized })
	r.requireError(xocsp.Unauthorized, r.post(derAsk(derIDOf(r.ca.Certificate, serial)).der()))
}

func TestT89SerialZero(t *testing.T) { certIDSerial(t, []byte{0}, new(big.Int)) }

func TestT90SerialNegative(t *testing.T) {
	t.Parallel()
	certIDSerial(t, []byte{0xff}, big.NewInt(-1))
	certIDSerial(t, []byte{0x80, 0}, big.NewInt(-32768))
}

func TestT92SerialLong(t *testing.T) {
	t.Parallel()
	for _, n := range []int{21, 32, 64} {
		content := bytes.Repeat([]byte{0x41}, n)
		certIDSerial(t, content, new(big.Int).SetBytes(content))
	}
}

func TestT93SerialTooLong(t *testing.T) {
	t.Parallel()
	requests := map[string]func(*rig) []byte{}
	for name, content := range map[string][]byte{
		"65": bytes.Repeat([]byte{0x41}, 65), "64 and a sign": append([]byte{0}, bytes.Repeat([]byte{0xff}, 64)...), "4000": bytes.Repeat([]byte{0x41}, 4000),
	} {
		requests[name] = func(r *rig) []byte {
			id := derIDOf(r.ca.Certificate, r.leaf.SerialNumber)
			id.serial = derTLV(2, content)
			return derAsk(id).der()
		}
	}
	derRefuseAll(t, xocsp.Malformed, requests)
}

func TestT95SerialOfAnotherCA(t *testing.T) {
	t.Parallel()
	second := ocsptest.NewCA(ocsptest.Options{Name: "Second CA"})
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Issuers = append(cfg.Issuers, second.Issuer()) })
	theirs := second.Issue(ocsptest.Options{})
	r.store.Add(second.ID, theirs)
	other := certIDFor(r, second)
	for range 2 { // with and without something cached about the same serial
		certIDAnswer(r, derIDOf(r.ca.Certificate, theirs.SerialNumber), xocsp.Unknown)
		certIDAnswer(other, derIDOf(second.Certificate, r.leaf.SerialNumber), xocsp.Unknown)
		certIDAnswer(other, derIDOf(second.Certificate, theirs.SerialNumber), xocsp.Good)
		certIDAnswer(r, derIDOf(r.ca.Certificate, r.leaf.SerialNumber), xocsp.Good)
	}
	// One serial, two certificates.
	r.store.Add(second.ID, r.leaf)
	r.revoke(r.leaf, ocsp.Superseded)
	certIDAnswer(r, derIDOf(r.ca.Certificate, r.leaf.SerialNumber), xocsp.Revoked)
	certIDAnswer(other, derIDOf(second.Certificate, r.leaf.SerialNumber), xocsp.Good)
}

func TestT96SameNameOtherKey(t *testing.T) {
	t.Parallel()
	twin := ocsptest.NewCA(ocsptest.Options{})
	twin.ID = "twin"
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		require.Equal(t, r.ca.Certificate.RawSubject, twin.Certificate.RawSubject)
		cfg.Issuers = append(cfg.Issuers, twin.Issuer())
	})
	// Each answer is verified with the key of the CA it was asked about.
	r.store.Add(twin.ID, r.leaf)
	r.revoke(r.leaf, ocsp.Superseded)
	for range 2 {
		certIDAnswer(r, derIDOf(r.ca.Certificate, r.leaf.SerialNumber), xocsp.Revoked)
		certIDAnswer(certIDFor(r, twin), derIDOf(twin.Certificate, r.leaf.SerialNumber), xocsp.Good)
	}
	assert.Equal(t, 1, r.signer.Calls())
}

func TestT97RenewedCA(t *testing.T) {
	t.Parallel()
	first := ocsptest.NewCA(ocsptest.Options{})
	renewed := ocsptest.NewCA(ocsptest.Options{Signer: first.Key})
	renewed.ID = "renewed"
	require.NotEqual(t, first.Certificate.Raw, renewed.Certificate.Raw)
	for name, configured := range map[string][]*ocsptest.CA{"first": {first}, "renewed": {renewed}, "both": {first, renewed}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) {
				cfg.Issuers = nil
				for _, ca := range configured {
					cfg.Issuers = append(cfg.Issuers, ca.Issuer())
				}
			})
			var certs []*x509.Certificate
			for _, ca := range configured { // the store knows each certificate under one ID only
				certs = append(certs, ca.Issue(ocsptest.Options{}))
				r.store.Add(ca.ID, certs[len(certs)-1])
			}
			for _, client := range []*ocsptest.CA{first, renewed} { // which certificate the client has
				for _, cert := range certs {
					certIDAnswer(certIDFor(r, client), derIDOf(client.Certificate, cert.SerialNumber), xocsp.Good)
				}
			}
		})
	}
}
