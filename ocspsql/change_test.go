package ocspsql_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspsql"
	"github.com/kmsocsp/ocsp/ocspsql/internal/dbtest"
)

var (
	at       = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	later    = at.Add(time.Hour)
	notAfter = time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)
)

// issue imports a certificate with a record and returns its serial.
func issue(tb testing.TB, store *ocspsql.Store, serial int64, record ocsp.Record) *big.Int {
	tb.Helper()
	n := big.NewInt(serial)
	record.NotAfter = notAfter
	_, err := store.Import(context.Background(), seq(ocspsql.Certificate{IssuerID: "ca", Serial: n, Record: record}), nil)
	require.NoError(tb, err)
	return n
}

func find(tb testing.TB, store ocsp.CertStore, serial *big.Int) ocsp.Record {
	tb.Helper()
	record, err := store.FindBySerial(context.Background(), "ca", serial)
	require.NoError(tb, err)
	record.NotAfter = time.Time{}
	return record
}

// Every state, and what each change makes of it, on every kind of database.
func TestChanges(t *testing.T) {
	active := ocsp.Record{State: ocsp.Active}
	hold := ocsp.Record{State: ocsp.Deactivated, Reason: ocsp.CertificateHold, RevokedAt: at}
	superseded := ocsp.Record{State: ocsp.Deactivated, Reason: ocsp.Superseded, RevokedAt: at}
	stolen := ocsp.Record{State: ocsp.Compromised, Reason: ocsp.KeyCompromise, RevokedAt: at, InvalidityDate: at.AddDate(0, 0, -1)}
	destroyed := ocsp.Record{State: ocsp.Destroyed, Reason: ocsp.Superseded, RevokedAt: at}
	both := ocsp.Record{State: ocsp.DestroyedCompromised, Reason: ocsp.CACompromise, RevokedAt: at}

	type change = func(store *ocspsql.Store, serial *big.Int) (bool, error)
	revoke := func(r ocspsql.Revocation) change {
		return func(store *ocspsql.Store, serial *big.Int) (bool, error) {
			return store.Revoke(context.Background(), "ca", serial, r)
		}
	}
	set := func(state ocsp.State) change {
		return func(store *ocspsql.Store, serial *big.Int) (bool, error) {
			return store.SetState(context.Background(), "ca", serial, state)
		}
	}
	release := func(store *ocspsql.Store, serial *big.Int) (bool, error) {
		return store.Release(context.Background(), "ca", serial)
	}
	tests := []struct {
		name   string
		from   ocsp.Record
		change change
		want   ocsp.Record // its RevokedAt zero in a revoked state: now
		err    error
	}{
		{"revoke", active, revoke(ocspsql.Revocation{Reason: ocsp.Superseded, At: at}), superseded, nil},
		{"revoke a certificate not yet in use", ocsp.Record{State: ocsp.PreActive}, revoke(ocspsql.Revocation{Reason: ocsp.Superseded, At: at}), superseded, nil},
		{"revoke as of now", active, revoke(ocspsql.Revocation{}), ocsp.Record{State: ocsp.Deactivated}, nil},
		{"revoke for a compromise", active, revoke(ocspsql.Revocation{Reason: ocsp.KeyCompromise, At: at, InvalidityDate: at.AddDate(0, 0, -1)}), stolen, nil},
		{"revoke again", superseded, revoke(ocspsql.Revocation{Reason: ocsp.Unspecified, At: later}), superseded, nil},
		{"revoke for a compromise what is revoked", superseded, revoke(ocspsql.Revocation{Reason: ocsp.KeyCompromise, At: later, InvalidityDate: at.AddDate(0, 0, -1)}), stolen, nil},
		{"revoke for a compromise what is destroyed", destroyed, revoke(ocspsql.Revocation{Reason: ocsp.CACompromise, At: later}), both, nil},
		{"revoke what is compromised", stolen, revoke(ocspsql.Revocation{Reason: ocsp.CACompromise, At: later}), stolen, nil},
		{"revoke what is destroyed", destroyed, revoke(ocspsql.Revocation{Reason: ocsp.Unspecified, At: later}), destroyed, nil},
		{"hold", active, revoke(ocspsql.Revocation{Reason: ocsp.CertificateHold, At: at}), hold, nil},
		{"hold again", hold, revoke(ocspsql.Revocation{Reason: ocsp.CertificateHold, At: later}), hold, nil},
		{"hold what is revoked", superseded, revoke(ocspsql.Revocation{Reason: ocsp.CertificateHold, At: later}), superseded, nil},
		{"make a hold final", hold, revoke(ocspsql.Revocation{Reason: ocsp.Superseded, At: later}), superseded, nil},
		{"revoke with removeFromCRL", active, revoke(ocspsql.Revocation{Reason: ocsp.RemoveFromCRL, At: at}), ocsp.Record{State: ocsp.Deactivated, Reason: ocsp.Unspecified, RevokedAt: at}, nil},
		{"compromise with removeFromCRL", active, revoke(ocspsql.Revocation{Reason: ocsp.RemoveFromCRL, State: ocsp.Compromised, At: at}), ocsp.Record{State: ocsp.Compromised, Reason: ocsp.Unspecified, RevokedAt: at}, nil},
		{"revoke again with removeFromCRL", superseded, revoke(ocspsql.Revocation{Reason: ocsp.RemoveFromCRL, At: later}), superseded, nil},
		{"revoke with removeFromCRL what is on hold", hold, revoke(ocspsql.Revocation{Reason: ocsp.RemoveFromCRL, At: later}), hold, ocspsql.ErrState},
		{"compromise with removeFromCRL what is on hold", hold, revoke(ocspsql.Revocation{Reason: ocsp.RemoveFromCRL, State: ocsp.Compromised, At: later}), ocsp.Record{State: ocsp.Compromised, Reason: ocsp.Unspecified, RevokedAt: at}, nil},
		{"release", hold, release, active, nil},
		{"release what is good", active, release, active, nil},
		{"release what is revoked", superseded, release, superseded, ocspsql.ErrState},
		{"release what is compromised", stolen, release, stolen, ocspsql.ErrState},
		{"activate", ocsp.Record{State: ocsp.PreActive}, set(ocsp.Active), active, nil},
		{"activate again", active, set(ocsp.Active), active, nil},
		{"activate what is on hold", hold, set(ocsp.Active), hold, ocspsql.ErrState},
		{"activate what is revoked", superseded, set(ocsp.Active), superseded, ocspsql.ErrState},
		{"activate what is destroyed", both, set(ocsp.Active), both, ocspsql.ErrState},
		{"back to the beginning", active, set(ocsp.PreActive), active, ocspsql.ErrState},
		{"deactivate", active, set(ocsp.Deactivated), ocsp.Record{State: ocsp.Deactivated}, nil},
		{"destroy", active, set(ocsp.Destroyed), ocsp.Record{State: ocsp.Destroyed}, nil},
		{"destroy what is revoked", superseded, set(ocsp.Destroyed), destroyed, nil},
		{"destroy what is on hold", hold, set(ocsp.Destroyed), ocsp.Record{State: ocsp.Destroyed, RevokedAt: at}, nil},
		{"destroy what is compromised", stolen, set(ocsp.Destroyed), stolen, ocspsql.ErrState},
		{"destroy what is compromised, as such", stolen, set(ocsp.DestroyedCompromised), ocsp.Record{State: ocsp.DestroyedCompromised, Reason: ocsp.KeyCompromise, RevokedAt: at, InvalidityDate: at.AddDate(0, 0, -1)}, nil},
		{"compromise what is revoked", superseded, set(ocsp.Compromised), ocsp.Record{State: ocsp.Compromised, RevokedAt: at}, nil},
	}
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		store, _ := newStore(t, kind)
		for i, test := range tests {
			serial := issue(t, store, int64(i), test.from)
			before := time.Now().Truncate(time.Second)
			changed, err := test.change(store, serial)
			require.ErrorIs(t, err, test.err, test.name)
			got := find(t, store, serial)
			if test.want.State > ocsp.Active && test.want.RevokedAt.IsZero() {
				require.False(t, got.RevokedAt.Before(before) || got.RevokedAt.After(time.Now()), "%s: %v", test.name, got.RevokedAt)
				got.RevokedAt = time.Time{}
			}
			require.Equal(t, test.want, got, test.name)
			require.Equal(t, test.want != test.from, changed, test.name)
		}
		for name, change := range map[string]change{"revoke": revoke(ocspsql.Revocation{}), "release": release, "set": set(ocsp.Active)} {
			_, err := change(store, big.NewInt(9999))
			require.ErrorIs(t, err, ocsp.ErrNotFound, name)
			require.ErrorContains(t, err, `serial 270f of issuer "ca"`)
		}
	})
}

func TestIssue(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		store, _ := newStore(t, kind)
		c := ocspsql.Certificate{IssuerID: "ca", Serial: big.NewInt(0x1234), Record: ocsp.Record{State: ocsp.Active}}
		require.NoError(t, store.Issue(t.Context(), c))
		err := store.Issue(t.Context(), c)
		require.ErrorIs(t, err, ocspsql.ErrExists)
		require.ErrorContains(t, err, `issue serial 1234 of issuer "ca"`)
		c.Serial = nil
		require.ErrorContains(t, store.Issue(t.Context(), c), "the serial is nil")
		c.Serial, c.IssuerID = big.NewInt(1), ""
		require.ErrorContains(t, store.Issue(t.Context(), c), "the issuer's ID has 0 octets")
		c.IssuerID, c.Record.State = "ca", ocsp.Destroyed
		require.ErrorContains(t, store.Issue(t.Context(), c), "no time of revocation")
		c.Record.RevokedAt = at
		require.ErrorContains(t, store.Issue(t.Context(), c), "use Import")
		c.Serial = new(big.Int).Lsh(big.NewInt(1), 511)
		require.ErrorContains(t, store.Issue(t.Context(), c), "the serial has 65 octets")
		_, err = store.Revoke(t.Context(), "ca", c.Serial, ocspsql.Revocation{})
		require.ErrorContains(t, err, "the serial has 65 octets")
		require.NoError(t, store.Issue(t.Context(), ocspsql.Certificate{IssuerID: "ca", Serial: big.NewInt(2), Record: ocsp.Record{State: ocsp.Active, Reason: ocsp.RemoveFromCRL}}))
		require.Equal(t, ocsp.Record{State: ocsp.Active}, find(t, store, big.NewInt(2)), "beside a good state it is no reason")
		_, err = store.Revoke(t.Context(), "ca", big.NewInt(0x1234), ocspsql.Revocation{State: ocsp.Destroyed})
		require.ErrorContains(t, err, "use Deactivated or Compromised")
	})
}

// Two programs change the same certificates at once, one to hold and release them, one to revoke them for good.
// No release undoes a revocation, and the time of a revocation never moves.
func TestWritersAtOnce(t *testing.T) {
	onAll(t, func(t *testing.T, kind dbtest.Kind) {
		dsn := dbtest.New(t, kind)
		first, second := openStore(t, dsn.Open(t), dialects[kind]), openStore(t, dsn.Open(t), dialects[kind])
		for i := range int64(20) {
			serial := issue(t, first, i, ocsp.Record{State: ocsp.Active})
			var wg sync.WaitGroup
			errs := make(chan error, 2)
			wg.Go(func() {
				errs <- func() error {
					for range 5 {
						if _, err := first.Revoke(context.Background(), "ca", serial, ocspsql.Revocation{Reason: ocsp.CertificateHold, At: at}); err != nil {
							return err
						}
						if _, err := first.Release(context.Background(), "ca", serial); err != nil && !errors.Is(err, ocspsql.ErrState) {
							return err
						}
					}
					return nil
				}()
			})
			wg.Go(func() {
				errs <- func() error {
					if _, err := second.Revoke(context.Background(), "ca", serial, ocspsql.Revocation{Reason: ocsp.KeyCompromise, At: at}); err != nil {
						return err
					}
					for range 5 {
						record, err := first.FindBySerial(context.Background(), "ca", serial)
						if err != nil {
							return err
						}
						if record.State != ocsp.Compromised || !record.RevokedAt.Equal(at) {
							return fmt.Errorf("revoked for good, and then %v at %v", record.State, record.RevokedAt)
						}
					}
					return nil
				}()
			})
			wg.Wait()
			require.NoError(t, <-errs)
			require.NoError(t, <-errs)
		}
	})
}
