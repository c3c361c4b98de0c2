package ocsp_test

import (
	"context"
	"math/big"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// gate is a store whose calls report that they came, and return when they are let go. What they return
// is what the store says then.
type gate struct {
	*ocsptest.Store
	came  chan string
	leave chan struct{}
	once  sync.Once
}

func newGate() *gate {
	return &gate{Store: ocsptest.NewStore(), came: make(chan string, 100), leave: make(chan struct{})}
}

func (g *gate) open() { g.once.Do(func() { close(g.leave) }) }

func (g *gate) FindBySerial(ctx context.Context, id string, serial *big.Int) (ocsp.Record, error) {
	g.came <- id
	<-g.leave
	return g.Store.FindBySerial(ctx, id, serial)
}

// What a request that came before SetIssuer reads from the former store after Invalidate has returned is
// not trusted by others.
func TestFormerStoreIsNotTrustedAfterInvalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		former := newGate()
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Now, cfg.Cache.StatusTTL = nil, time.Hour
			cfg.Issuers[0].Store = former
		})
		defer former.open()
		former.Add(r.ca.ID, r.leaf)
		early := r.ask(r.request(r.leaf))
		synctest.Wait()
		require.Len(t, former.came, 1)
		issuer := r.ca.Issuer()
		issuer.Signer = r.signer
		issuer.Store = r.store // in which the certificate is revoked
		r.revoke(r.leaf, ocsp.KeyCompromise)
		require.NoError(t, r.responder.SetIssuer(issuer))
		require.NoError(t, r.responder.Invalidate(r.Context(), r.ca.ID, r.leaf.SerialNumber))
		former.open()
		<-early
		time.Sleep(time.Second)
		r.says(xocsp.Revoked)
	})
}

// A request that comes after SetIssuer does not join a read of the former store.
func TestFormerStoreIsNotJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		former := newGate()
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Now = nil
			cfg.Timeout, cfg.Cache.StorePatience = 10*time.Second, 7*time.Second
			cfg.Issuers[0].Store = former
		})
		defer former.open()
		former.Add(r.ca.ID, r.leaf)
		r.ask(r.request(r.leaf)) // begins a read
		synctest.Wait()
		r.ask(r.request(r.leaf)) // begins another after 2.5 s
		synctest.Wait()
		issuer := r.ca.Issuer()
		issuer.Signer = r.signer
		issuer.Store = r.store
		r.revoke(r.leaf, ocsp.KeyCompromise)
		require.NoError(t, r.responder.SetIssuer(issuer))
		time.Sleep(time.Second)
		late := r.ask(r.request(r.leaf))
		time.Sleep(4 * time.Second)
		former.open()
		r.clock.Set(time.Now())
		r.requireAnswer(<-late, xocsp.Revoked)
	})
}

// An issuer that joins its authority does not break requests that came before it.
func TestIssuerJoinsUnderARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig, cfg *ocsp.Config) {
			cfg.Now, cfg.Cache.StatusTTL = nil, time.Hour
		})
		r.signer.SetFault(ocsptest.Hang)
		early := make(chan ocsp.Answer, 1)
		go func() { early <- r.responder.Respond(context.Background(), r.request(r.leaf)) }()
		synctest.Wait()
		r.store.Remove(r.ca.ID, r.leaf.SerialNumber)
		r.store.Add("renewed", r.leaf)
		require.NoError(t, r.responder.SetIssuer(r.renewed("renewed", ocsptest.Options{NotAfter: time.Now().AddDate(20, 0, 0)})))
		require.NoError(t, r.responder.Invalidate(r.Context(), r.ca.ID, r.leaf.SerialNumber))
		a := r.responder.Respond(r.Context(), r.request(r.leaf))
		require.Equal(t, "signed", a.Outcome.String(), "%v", a.Err)
		require.Equal(t, "renewed", a.Responses[0].IssuerID)
		r.signer.SetFault(ocsptest.Healthy)
		a = <-early
		require.False(t, a.Outcome.IsError(), "%v", a.Err)
	})
}

// The IDs that an answer names are those of the registry, also when an ID joins before others.
func TestIssuerIDsMove(t *testing.T) {
	var x, y *ocsptest.CA
	r := newRig(t, func(r *rig, cfg *ocsp.Config) {
		x, y = ocsptest.NewCA(ocsptest.Options{}), r.ca
		first, second := x.Issuer(), y.Issuer()
		first.ID, second.ID = "first", "second"
		r.ca.ID = "second"
		cfg.Issuers = []ocsp.Issuer{first, second}
		cfg.Cache.StatusTTL = time.Hour
	})
	r.store.Add("second", r.leaf)
	a := r.responder.Respond(r.Context(), r.request(r.leaf))
	require.Equal(t, "second", a.Responses[0].IssuerID)
	moved := y.Issuer()
	moved.ID = "first"
	require.NoError(t, r.responder.SetIssuer(moved))
	a = r.responder.Respond(r.Context(), r.request(r.leaf))
	require.Equal(t, "second", a.Responses[0].IssuerID)
}
