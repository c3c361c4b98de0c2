package ocsp_test

import (
	"bytes"
	"context"
	"encoding/asn1"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// statusTime is the content of a GeneralizedTime element.
func statusTime(t time.Time) []byte {
	return derTLV(0x18, []byte(t.UTC().Format("20060102150405Z")))
}

// statusArchiveCutoff is the archive cutoff of an answer about one certificate, nil if it has none.
func statusArchiveCutoff(t *testing.T, response *xocsp.Response) *time.Time {
	for _, ext := range response.Extensions {
		if ext.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 6}) {
			var cutoff time.Time
			rest, err := asn1.UnmarshalWithParams(ext.Value, &cutoff, "generalized")
			require.NoError(t, err)
			require.Empty(t, rest)
			return &cutoff
		}
	}
	return nil
}

func TestT141Good(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, state := range []ocsp.State{ocsp.Active, ocsp.PreActive} {
		r.store.Set(r.ca.ID, r.leaf.SerialNumber, ocsp.Record{State: state})
		response := r.status(r.leaf)
		assert.Equal(t, xocsp.Good, response.Status)
		assert.True(t, response.ThisUpdate.Equal(r.clock.Now()))
		assert.True(t, response.NextUpdate.Equal(r.clock.Now().Add(24*time.Hour-time.Second)))
	}
}

func TestT142Unissued(t *testing.T) {
	t.Parallel()
	for _, profile := range []ocsp.Profile{ocsp.ProfilePrivate, ocsp.ProfileCABF} {
		for _, policy := range []ocsp.UnissuedPolicy{ocsp.UnissuedUnknown, ocsp.UnissuedUnauthorized, ocsp.UnissuedRevoked} {
			if profile == ocsp.ProfileCABF && policy == ocsp.UnissuedRevoked {
				continue // T161
			}
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Profile, cfg.Unissued = profile, policy })
			never := r.ca.Issue(ocsptest.Options{})
			switch policy {
			case ocsp.UnissuedUnknown:
				assert.Equal(t, xocsp.Unknown, r.status(never).Status)
			case ocsp.UnissuedUnauthorized:
				r.requireError(xocsp.Unauthorized, r.post(r.request(never)))
				r.requireError(xocsp.Unauthorized, r.post(r.request(r.leaf, never)))
				assert.Zero(t, r.signer.Calls())
			case ocsp.UnissuedRevoked:
				assert.Equal(t, xocsp.Revoked, r.status(never).Status)
			}
			r.store.Remove(r.ca.ID, r.leaf.SerialNumber) // one that was good, and is forgotten, is not good either
			result := r.post(r.request(r.leaf))
			if policy == ocsp.UnissuedUnauthorized {
				r.requireError(xocsp.Unauthorized, result)
			} else {
				r.requireAnswer(result, map[ocsp.UnissuedPolicy]int{ocsp.UnissuedUnknown: xocsp.Unknown, ocsp.UnissuedRevoked: xocsp.Revoked}[policy])
			}
		}
	}
}

func TestT143RevocationReasons(t *testing.T) {
	t.Parallel()
	for reason, code := range map[ocsp.Reason]int{
		ocsp.KeyCompromise: 1, ocsp.CACompromise: 2, ocsp.AffiliationChanged: 3, ocsp.Superseded: 4, ocsp.CessationOfOperation: 5,
		ocsp.CertificateHold: 6, ocsp.PrivilegeWithdrawn: 9, ocsp.AACompromise: 10,
	} {
		t.Run(reason.String(), func(t *testing.T) {
			r := newRig(t, nil)
			at := r.clock.Now().Add(-time.Hour)
			r.store.Revoke(r.ca.ID, r.leaf.SerialNumber, reason, at)
			result := r.query(r.leaf)
			assert.Equal(t, xocsp.Revoked, result.Responses[0].Status)
			assert.Equal(t, code, result.Responses[0].RevocationReason)
			assert.True(t, result.Responses[0].RevokedAt.Equal(at))
			info := derTLV(0xa1, statusTime(at), derTLV(0xa0, []byte{10, 1, byte(code)}))
			assert.Equal(t, 1, bytes.Count(result.DER, info))
		})
	}
}

func TestT144ReasonUnspecified(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.revoke(r.leaf, ocsp.Unspecified)
	result := r.query(r.leaf)
	assert.Equal(t, xocsp.Revoked, result.Responses[0].Status)
	assert.Equal(t, 1, bytes.Count(result.DER, derTLV(0xa1, statusTime(r.clock.Now()))), "revokedInfo is not just a time")
}

// removeFromCRL belongs in delta CRLs. Beside a revoked State it releases nothing, whoever wrote it there.
func TestT146RemoveFromCRL(t *testing.T) {
	t.Parallel()
	crl8, err := ocsp.ReasonFromCRL(8)
	require.NoError(t, err)
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	plain := derTLV(0xa1, statusTime(at)) // RevokedInfo without a reason
	for _, test := range []struct {
		record ocsp.Record
		want   ocsp.Status // Unknown: internalError
	}{
		{ocsp.Record{State: ocsp.PreActive, Reason: crl8}, ocsp.Good},
		{ocsp.Record{State: ocsp.Active, Reason: crl8}, ocsp.Good},
		{ocsp.Record{State: ocsp.Deactivated, Reason: crl8, RevokedAt: at}, ocsp.Revoked},
		{ocsp.Record{State: ocsp.Compromised, Reason: crl8, RevokedAt: at}, ocsp.Revoked},
		{ocsp.Record{State: ocsp.Destroyed, Reason: crl8, RevokedAt: at}, ocsp.Revoked},
		{ocsp.Record{State: ocsp.DestroyedCompromised, Reason: crl8, RevokedAt: at}, ocsp.Revoked},
		{ocsp.Record{State: ocsp.Deactivated, Reason: crl8}, ocsp.Unknown},
		{ocsp.Record{State: ocsp.Destroyed, Reason: crl8}, ocsp.Unknown},
		{ocsp.Record{State: ocsp.Active, Reason: crl8, RevokedAt: at}, ocsp.Unknown},
		{ocsp.Record{State: ocsp.PreActive, Reason: crl8, InvalidityDate: at}, ocsp.Unknown},
	} {
		for name, ttl := range map[string]time.Duration{"StatusTTL 0": 0, "StatusTTL 1h": time.Hour} {
			t.Run(fmt.Sprintf("%v, RevokedAt %t, InvalidityDate %t, %s", test.record.State, !test.record.RevokedAt.IsZero(), !test.record.InvalidityDate.IsZero(), name), func(t *testing.T) {
				r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = ttl })
				r.revoke(r.leaf, ocsp.CertificateHold)
				assert.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
				r.store.Set(r.ca.ID, r.leaf.SerialNumber, test.record)
				require.NoError(t, r.responder.Invalidate(t.Context(), r.ca.ID, r.leaf.SerialNumber))
				for range 2 { // signed, and then cached
					if test.want == ocsp.Unknown {
						r.requireError(xocsp.InternalError, r.post(r.request(r.leaf)))
						continue
					}
					result := r.query(r.leaf)
					if test.want == ocsp.Good {
						assert.Equal(t, xocsp.Good, result.Responses[0].Status)
						continue
					}
					assert.Equal(t, xocsp.Revoked, result.Responses[0].Status)
					assert.Equal(t, 1, bytes.Count(result.DER, plain), "RevokedInfo is not just the time")
				}
			})
		}
	}
}

// One line an hour and issuer says so, however many ask.
func TestT146IsLogged(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&text, nil)) })
	lines := func() int {
		text.Reset()
		for range 5 {
			assert.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
			assert.Equal(t, xocsp.Revoked, r.query(r.issue(), r.leaf).Responses[1].Status)
		}
		return strings.Count(text.String(), "removeFromCRL")
	}
	r.store.Set(r.ca.ID, r.leaf.SerialNumber, ocsp.Record{State: ocsp.Active, Reason: ocsp.RemoveFromCRL})
	assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)
	assert.Empty(t, text.String(), "beside a good State it contradicts nothing")

	r.revoke(r.leaf, ocsp.RemoveFromCRL)
	assert.Equal(t, 1, lines())
	assert.Contains(t, text.String(), fmt.Sprintf("issuer=%q", r.ca.ID))
	assert.Contains(t, text.String(), "serial="+r.leaf.SerialNumber.Text(16))
	assert.Contains(t, text.String(), "level=WARN")
	r.clock.Advance(time.Hour - time.Second)
	assert.Zero(t, lines())
	r.clock.Advance(time.Second)
	assert.Equal(t, 1, lines())
}

func TestT147HoldAndRelease(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for range 3 {
		assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)
		r.revoke(r.leaf, ocsp.CertificateHold)
		for range 2 {
			response := r.status(r.leaf)
			assert.Equal(t, xocsp.Revoked, response.Status)
			assert.Equal(t, xocsp.CertificateHold, response.RevocationReason)
		}
		r.store.Add(r.ca.ID, r.leaf)
	}
	t.Run("with a StatusTTL", func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Cache.StatusTTL = time.Hour })
		assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)
		r.revoke(r.leaf, ocsp.CertificateHold)
		require.NoError(t, r.responder.Invalidate(t.Context(), r.ca.ID, r.leaf.SerialNumber))
		assert.Equal(t, xocsp.Revoked, r.status(r.leaf).Status)
		r.store.Add(r.ca.ID, r.leaf)
		require.NoError(t, r.responder.Invalidate(t.Context(), r.ca.ID, r.leaf.SerialNumber))
		assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)
	})
}

func TestT148RevokedAndExpired(t *testing.T) {
	t.Parallel()
	for name, retention := range map[string]time.Duration{"default": 0, "forever": ocsp.RetainForever, "thirty days": 30 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Retention = retention })
			at := r.clock.Now().Add(-48 * time.Hour)
			r.store.Set(r.ca.ID, r.leaf.SerialNumber, ocsp.Record{
				State: ocsp.Compromised, RevokedAt: at, NotAfter: r.clock.Now().Add(-24 * time.Hour),
			})
			response := r.status(r.leaf)
			assert.Equal(t, xocsp.Revoked, response.Status)
			assert.Equal(t, xocsp.KeyCompromise, response.RevocationReason)
			assert.True(t, response.RevokedAt.Equal(at))
		})
	}
}

func TestT149Expired(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		retention time.Duration
		ago       time.Duration // since the certificate expired
		cutoff    func(*rig) time.Time
		gone      bool
	}{
		"default":                   {ago: 400 * day},
		"forever":                   {retention: ocsp.RetainForever, ago: 400 * day, cutoff: func(r *rig) time.Time { return r.ca.Certificate.NotBefore }},
		"retained":                  {retention: 30 * day, ago: 29 * day, cutoff: func(r *rig) time.Time { return r.clock.Now().Add(-30 * day) }},
		"retained, the last second": {retention: 30 * day, ago: 30 * day, cutoff: func(r *rig) time.Time { return r.clock.Now().Add(-30 * day) }},
		"no more":                   {retention: 30 * day, ago: 30*day + time.Second, gone: true},
		"long gone":                 {retention: time.Second, ago: 400 * day, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Retention = test.retention })
			r.store.Set(r.ca.ID, r.leaf.SerialNumber, ocsp.Record{State: ocsp.Active, NotAfter: r.clock.Now().Add(-test.ago)})
			if test.gone {
				r.requireError(xocsp.Unauthorized, r.post(r.request(r.leaf)))
				r.requireError(xocsp.Unauthorized, r.post(r.request(r.issue(), r.leaf)))
				assert.Zero(t, r.signer.Calls())
				return
			}
			response := r.status(r.leaf)
			assert.Equal(t, xocsp.Good, response.Status)
			cutoff := statusArchiveCutoff(t, response)
			if test.cutoff == nil {
				assert.Nil(t, cutoff)
				return
			}
			require.NotNil(t, cutoff)
			assert.True(t, cutoff.Equal(test.cutoff(r)), "%v", cutoff)
		})
	}
	t.Run("expires while cached", func(t *testing.T) {
		r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Retention = time.Second })
		end := r.clock.Now().Add(time.Hour)
		r.store.Set(r.ca.ID, r.leaf.SerialNumber, ocsp.Record{State: ocsp.Active, NotAfter: end})
		assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)
		r.clock.Set(end.Add(2 * time.Second))
		r.requireError(xocsp.Unauthorized, r.post(r.request(r.leaf)))
	})
}

func TestT150SubordinateCA(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	sub := r.ca.Intermediate(ocsptest.Options{})
	r.store.Add(r.ca.ID, sub.Certificate)
	assert.Equal(t, xocsp.Good, r.status(sub.Certificate).Status)
	for _, record := range []ocsp.Record{
		{State: ocsp.Compromised, Reason: ocsp.CACompromise},
		{State: ocsp.Deactivated, Reason: ocsp.CessationOfOperation},
		{State: ocsp.Deactivated}, // the state gives the reason
		{State: ocsp.Compromised},
	} {
		record.RevokedAt = r.clock.Now().Add(-time.Hour)
		r.store.Set(r.ca.ID, sub.Certificate.SerialNumber, record)
		response := r.status(sub.Certificate)
		assert.Equal(t, xocsp.Revoked, response.Status)
		assert.NotZero(t, response.RevocationReason)
	}
}

func TestT151OwnSerial(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	assert.Equal(t, xocsp.Unknown, r.status(r.ca.Certificate).Status)
	r.store.Add(r.ca.ID, r.ca.Certificate)
	assert.Equal(t, xocsp.Good, r.status(r.ca.Certificate).Status)
	r.revoke(r.ca.Certificate, ocsp.CACompromise)
	assert.Equal(t, xocsp.Revoked, r.status(r.ca.Certificate).Status)
}

func TestT152DelegateSerial(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		cfg.Issuers[0].ResponderCertificate, cfg.Issuers[0].Signer = r.ca.Delegate(ocsptest.Options{})
		r.leaf = cfg.Issuers[0].ResponderCertificate
		r.store.Add(r.ca.ID, r.leaf)
	})
	assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)
}

func TestT153CompromisedCA(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	at := r.clock.Now().Add(-48 * time.Hour)
	held, lost, never := r.issue(), r.issue(), r.ca.Issue(ocsptest.Options{})
	r.revoke(held, ocsp.CertificateHold)
	r.store.Revoke(r.ca.ID, lost.SerialNumber, ocsp.KeyCompromise, at.Add(time.Hour))
	assert.Equal(t, xocsp.Good, r.status(r.leaf).Status) // cached by now
	issuer := r.ca.Issuer()
	issuer.Signer, issuer.CompromisedAt = r.signer, at
	require.NoError(t, r.responder.SetIssuer(issuer))
	for range 2 {
		for _, cert := range r.query(r.leaf, held).Responses {
			assert.Equal(t, xocsp.Revoked, cert.Status)
			assert.Equal(t, xocsp.CACompromise, cert.RevocationReason)
			assert.True(t, cert.RevokedAt.Equal(at))
		}
		response := r.status(r.leaf)
		assert.Equal(t, xocsp.Revoked, response.Status)
		assert.Equal(t, xocsp.CACompromise, response.RevocationReason)
		assert.True(t, response.RevokedAt.Equal(at))
	}
	response := r.status(lost)
	assert.Equal(t, xocsp.KeyCompromise, response.RevocationReason) // it was revoked on its own account
	assert.True(t, response.RevokedAt.Equal(at.Add(time.Hour)))
	assert.Equal(t, xocsp.Unknown, r.status(never).Status)

	issuer.CompromisedAt = time.Time{} // a false alarm
	require.NoError(t, r.responder.SetIssuer(issuer))
	assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)

	// What was never issued stays on hold since 1970, as T160 has it.
	r = newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Unissued, cfg.Issuers[0].CompromisedAt = ocsp.UnissuedRevoked, at })
	response = r.status(r.ca.Issue(ocsptest.Options{}))
	assert.Equal(t, xocsp.CertificateHold, response.RevocationReason)
	assert.Zero(t, response.RevokedAt.Unix())
}

func TestT154RevokedInTheFuture(t *testing.T) {
	t.Parallel()
	for name, backdate := range map[string]time.Duration{"plain": 0, "backdated": time.Hour} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Backdate = backdate })
			r.store.Revoke(r.ca.ID, r.leaf.SerialNumber, ocsp.KeyCompromise, r.clock.Now().Add(time.Hour))
			response := r.status(r.leaf)
			assert.Equal(t, xocsp.Revoked, response.Status)
			assert.True(t, response.RevokedAt.Equal(response.ThisUpdate), "%v", response.RevokedAt)
			assert.True(t, response.ThisUpdate.Equal(r.clock.Now().Add(-backdate)))
		})
	}
}

func TestT155InvalidRecords(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, record := range map[string]ocsp.Record{
		"revokedAt zero":       {State: ocsp.Deactivated, Reason: ocsp.Superseded},
		"revokedAt year 10000": {State: ocsp.Deactivated, RevokedAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"revokedAt year 1":     {State: ocsp.Deactivated, RevokedAt: time.Time{}.Add(1)},
		"compromisedAt year 1": {State: ocsp.Compromised, RevokedAt: now, InvalidityDate: time.Time{}.Add(time.Hour)},
		"notAfter year 1":      {State: ocsp.Active, NotAfter: time.Time{}.Add(1)},
		"no state":             {},
		"state 7":              {State: 7, RevokedAt: now},
		"reason 200":           {State: ocsp.Deactivated, Reason: 200, RevokedAt: now},
		"active and revoked":   {State: ocsp.Active, RevokedAt: now},
		"active with a reason": {State: ocsp.Active, Reason: ocsp.KeyCompromise},
		"active, compromised":  {State: ocsp.Active, InvalidityDate: now},
		"compromised, on hold": {State: ocsp.Compromised, Reason: ocsp.CertificateHold, RevokedAt: now},
		"destroyed, on hold":   {State: ocsp.Destroyed, Reason: ocsp.CertificateHold, RevokedAt: now},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			for _, cached := range []bool{false, true} {
				if cached { // nor does an earlier answer stand in
					r.store.Add(r.ca.ID, r.leaf)
					assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)
				}
				r.store.Set(r.ca.ID, r.leaf.SerialNumber, record)
				signed := r.signer.Calls()
				r.requireError(xocsp.InternalError, r.post(r.request(r.leaf)))
				r.requireError(xocsp.InternalError, r.post(r.request(r.issue(), r.leaf)))
				assert.Equal(t, signed, r.signer.Calls())
			}
		})
	}
}

// An error that is both ErrInvalidRecord and ErrNotFound counts as ErrInvalidRecord: the
// certificate may be revoked.
func TestInvalidRecordOutranksNotFound(t *testing.T) {
	t.Parallel()
	for name, both := range map[string]error{
		"not found first":  fmt.Errorf("%w: %w", ocsp.ErrNotFound, ocsp.ErrInvalidRecord),
		"not found last":   fmt.Errorf("%w: %w", ocsp.ErrInvalidRecord, ocsp.ErrNotFound),
		"joined":           errors.Join(ocsp.ErrNotFound, ocsp.ErrInvalidRecord),
		"wrapped by layer": fmt.Errorf("kms: %w", fmt.Errorf("%w: %w", fmt.Errorf("row: %w", ocsp.ErrNotFound), fmt.Errorf("state: %w", ocsp.ErrInvalidRecord))),
	} {
		for _, policy := range []ocsp.UnissuedPolicy{ocsp.UnissuedUnknown, ocsp.UnissuedUnauthorized, ocsp.UnissuedRevoked} {
			t.Run(fmt.Sprintf("%s, policy %d", name, policy), func(t *testing.T) {
				var fails atomic.Bool
				r := newRig(t, func(r *rig, cfg *ocsp.Config) {
					cfg.Unissued = policy
					first := cfg.Issuers[0] // the store is asked under its ID first, and the second knows the certificate
					first.ID = "first"
					cfg.Issuers = append([]ocsp.Issuer{first}, cfg.Issuers...)
					cfg.Store = ocsp.CertStoreFunc(func(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
						if id == "first" && fails.Load() {
							return ocsp.Record{}, both
						}
						return r.store.FindBySerial(ctx, id, serial)
					})
				})
				assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)
				fails.Store(true)
				signed := r.signer.Calls()
				r.requireError(xocsp.InternalError, r.post(r.request(r.leaf)))
				r.requireError(xocsp.InternalError, r.post(r.request(r.issue())))
				assert.Equal(t, signed, r.signer.Calls())
				fails.Store(false)
				assert.Equal(t, xocsp.Good, r.status(r.leaf).Status)
			})
		}
	}
}

// statusRequireEnd requires that answers end with what they depend on, and that there is none after it.
func statusRequireEnd(r *rig, end time.Time) {
	r.Helper()
	require.True(r, r.status(r.leaf).NextUpdate.Equal(end), "%v", end)
	r.clock.Set(end.Add(-time.Second))
	require.True(r, r.status(r.leaf).NextUpdate.Equal(end), "%v", end)
	for _, late := range []time.Duration{0, time.Second, 48 * time.Hour} {
		r.clock.Set(end.Add(late))
		r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
	}
}

func TestT158SignerEnds(t *testing.T) {
	t.Parallel()
	var end time.Time
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		end = r.clock.Now().Add(3 * time.Hour)
		cfg.Issuers[0].ResponderCertificate, cfg.Issuers[0].Signer = r.ca.Delegate(ocsptest.Options{NotAfter: end})
	})
	statusRequireEnd(r, end)
}

func TestT159IssuerEnds(t *testing.T) {
	t.Parallel()
	for name, delegated := range map[string]bool{"direct": false, "delegated": true} {
		t.Run(name, func(t *testing.T) {
			var end time.Time
			r := newRig(t, func(r *rig, cfg *ocsp.Config) {
				end = r.clock.Now().Add(3 * time.Hour)
				r.ca = ocsptest.NewCA(ocsptest.Options{NotAfter: end})
				r.leaf = r.issue()
				cfg.Issuers = []ocsp.Issuer{r.ca.Issuer()}
				if delegated { // which outlives the CA
					cfg.Issuers[0].ResponderCertificate, cfg.Issuers[0].Signer = r.ca.Delegate(ocsptest.Options{})
				}
			})
			statusRequireEnd(r, end)
		})
	}
}

// A clock that was set back may be before all that answers depend on.
func TestSignerHasNotBegun(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	begin := r.ca.Certificate.NotBefore
	r.clock.Set(begin.Add(-time.Second))
	r.requireError(xocsp.TryLater, r.post(r.request(r.leaf)))
	assert.Zero(t, r.signer.Calls())
	r.clock.Set(begin)
	assert.True(t, r.status(r.leaf).ThisUpdate.Equal(begin))
}

func TestT160ExtendedRevoke(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Unissued = ocsp.UnissuedRevoked })
	extension := derSeq(derOID(1, 3, 6, 1, 5, 5, 7, 48, 1, 9), derOctets(derNull))
	result := r.query(r.ca.Issue(ocsptest.Options{}))
	response := result.Responses[0]
	assert.Equal(t, xocsp.Revoked, response.Status)
	assert.Equal(t, xocsp.CertificateHold, response.RevocationReason)
	assert.Empty(t, response.Extensions) // neither CrlID nor a CRL entry extension
	single := derSplit(t, derSplit(t, signTakeApart(r, result.DER).tbs[2])[0])
	assert.Equal(t, derTLV(0xa1, derTLV(0x18, []byte("19700101000000Z")), []byte{0xa0, 3, 10, 1, 6}), single[1])
	assert.Equal(t, derTLV(0xa1, derSeq(extension)), signTakeApart(r, result.DER).tbs[3])

	// Beside a nonce, and in an answer about several; but not where every certificate was issued.
	nonce := bytes.Repeat([]byte{1}, 16)
	q := derAsk(derIDOf(r.ca.Certificate, big.NewInt(77)))
	q.extensions = [][]byte{derNonceExt(nonce)}
	result = r.post(q.der())
	r.requireAnswer(result, xocsp.Revoked)
	assert.Equal(t, 1, bytes.Count(result.DER, extension))
	extRequireNonce(r, nonce, result)
	result = r.query(r.leaf, r.ca.Issue(ocsptest.Options{}))
	assert.Equal(t, 1, bytes.Count(result.DER, extension))
	assert.Equal(t, xocsp.Good, result.Responses[0].Status)
	assert.Zero(t, bytes.Count(r.query(r.leaf).DER, extension))
}

func TestT161ExtendedRevokeUnderCABF(t *testing.T) {
	t.Parallel()
	ca := ocsptest.NewCA(ocsptest.Options{})
	cfg := ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: ocsptest.NewStore(), Profile: ocsp.ProfileCABF, Unissued: ocsp.UnissuedRevoked}
	_, err := ocsp.New(cfg)
	require.ErrorContains(t, err, "Unissued")
	require.ErrorContains(t, err, "ProfileCABF")

	cfg.Unissued = ocsp.UnissuedUnknown
	responder, err := ocsp.New(cfg)
	require.NoError(t, err)
	require.NoError(t, responder.Close())

	// The other way into certificateHold.
	r := newRig(t, func(_ *rig, cfg *ocsp.Config) { cfg.Profile = ocsp.ProfileCABF })
	r.revoke(r.leaf, ocsp.CertificateHold)
	r.requireError(xocsp.InternalError, r.post(r.request(r.leaf)))
}
