package ocsptest_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

var issuerIDs = [2]string{"ca-1", "ca-2"}

func put(store *ocsptest.Store) func(context.Context, string, *big.Int, ocsp.Record) error {
	return func(_ context.Context, issuerID string, serial *big.Int, record ocsp.Record) error {
		store.Set(issuerID, serial, record)
		return nil
	}
}

func TestStoreInMemory(t *testing.T) {
	store := ocsptest.NewStore()
	for range 2 { // it need not be empty
		require.NoError(t, ocsptest.TestStore(ocsptest.StoreFixture{Store: store, Put: put(store), IssuerIDs: issuerIDs}))
	}
}

// A store that need not wait need not look at the context.
func TestStoreThatIgnoresTheContext(t *testing.T) {
	store := ocsptest.NewStore()
	ignoring := ocsp.CertStoreFunc(func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
		return store.FindBySerial(context.WithoutCancel(ctx), issuerID, serial)
	})
	require.NoError(t, ocsptest.TestStore(ocsptest.StoreFixture{Store: ignoring, Put: put(store), IssuerIDs: issuerIDs}))
}

// A store that waits under a context that has ended is not waited for.
func TestStoreThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, release := ocsptest.NewStore(), make(chan struct{})
		blocking := ocsp.CertStoreFunc(func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
			if ctx.Err() != nil {
				<-release
			}
			return store.FindBySerial(ctx, issuerID, serial)
		})
		err := ocsptest.TestStore(ocsptest.StoreFixture{Store: blocking, Put: put(store), IssuerIDs: issuerIDs})
		close(release)
		require.ErrorContains(t, err, "ocsptest: store: cancelled context: no answer within")
	})
}

// Each fault is found by the check that is there for it, and by no other but those named.
func TestStoreFindsFaults(t *testing.T) {
	type find = func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error)
	for _, test := range []struct {
		name   string
		faulty func(find) find
		put    func(issuerID *string, serial *big.Int, record *ocsp.Record) // what Put makes of its arguments
		checks []string
		reason string
	}{
		{
			name: "looks up by serial alone",
			faulty: func(find find) find {
				return func(ctx context.Context, _ string, serial *big.Int) (ocsp.Record, error) {
					return find(ctx, issuerIDs[0], serial)
				}
			},
			put:    func(issuerID *string, _ *big.Int, _ *ocsp.Record) { *issuerID = issuerIDs[0] },
			checks: []string{"issuer binding", "CA certificates"},
			reason: "a serial number that only another issuer used",
		},
		{
			name: "not found is an error of its own",
			faulty: func(find find) find {
				return func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
					record, err := find(ctx, issuerID, serial)
					if errors.Is(err, ocsp.ErrNotFound) {
						err = errors.New("sql: no rows in result set")
					}
					return record, err
				}
			},
			checks: []string{"issuer binding", "never issued", "serial numbers", "CA certificates", "ownership of the serial"},
			reason: "gave an error that is not ErrNotFound: sql: no rows",
		},
		{
			name: "what it does not know is good",
			faulty: func(find find) find {
				return func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
					record, err := find(ctx, issuerID, serial)
					if errors.Is(err, ocsp.ErrNotFound) {
						return ocsp.Record{State: ocsp.Active}, nil
					}
					return record, err
				}
			},
			checks: []string{"issuer binding", "never issued", "serial numbers", "CA certificates", "ownership of the serial"},
			reason: "a serial number never put",
		},
		{
			name: "drops the sign",
			faulty: func(find find) find {
				return func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
					return find(ctx, issuerID, new(big.Int).Abs(serial))
				}
			},
			checks: []string{"serial numbers"},
			reason: "another's serial number with the sign changed",
		},
		{
			name: "keeps 64 bits of the serial",
			faulty: func(find find) find {
				return func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
					return find(ctx, issuerID, new(big.Int).SetUint64(serial.Uint64()))
				}
			},
			put:    func(_ *string, serial *big.Int, _ *ocsp.Record) { serial.SetUint64(serial.Uint64()) },
			checks: []string{"serial numbers"},
			reason: "another's serial number with an octet before it",
		},
		{
			name: "refuses serials longer than 20 octets",
			faulty: func(find find) find {
				return func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
					if serial.BitLen() > 160 {
						return ocsp.Record{}, errors.New("value too long for type bytea")
					}
					return find(ctx, issuerID, serial)
				}
			},
			checks: []string{"never issued", "serial numbers"},
			reason: "a serial number of 64 octets",
		},
		{
			name: "writes whole octets of hex and asks without leading zeros",
			put: func(_ *string, serial *big.Int, _ *ocsp.Record) {
				if len(serial.Text(16))%2 == 1 {
					serial.Lsh(serial, 600) // which nothing asks for
				}
			},
			checks: []string{"serial numbers"},
			reason: "certificate not found",
		},
		{
			name:   "knows compromised as revoked only",
			put:    func(_ *string, _ *big.Int, record *ocsp.Record) { record.State = min(record.State, ocsp.Deactivated) },
			checks: []string{"issuer binding", "states and reasons", "times", "concurrent revocation"},
			reason: "another State than was put: put Compromised",
		},
		{
			name: "confuses unspecified with no reason",
			put: func(_ *string, _ *big.Int, record *ocsp.Record) {
				if record.Reason == ocsp.Unspecified {
					record.Reason = 0
				}
			},
			checks: []string{"states and reasons"},
			reason: "another Reason than was put: put Compromised unspecified",
		},
		{
			name: "takes removeFromCRL for a release",
			put: func(_ *string, _ *big.Int, record *ocsp.Record) {
				if record.Reason == ocsp.RemoveFromCRL {
					*record = ocsp.Record{State: ocsp.Active, NotAfter: record.NotAfter}
				}
			},
			checks: []string{"states and reasons"},
			reason: "another State than was put: put Destroyed removeFromCRL",
		},
		{
			name: "takes removeFromCRL for no reason given",
			put: func(_ *string, _ *big.Int, record *ocsp.Record) {
				if record.Reason == ocsp.RemoveFromCRL {
					record.Reason = 0
				}
			},
			checks: []string{"states and reasons"},
			reason: "another Reason than was put: put Deactivated removeFromCRL",
		},
		{
			name: "takes removeFromCRL for a revocation",
			put: func(_ *string, _ *big.Int, record *ocsp.Record) {
				if record.Reason == ocsp.RemoveFromCRL && record.RevokedAt.IsZero() {
					record.State, record.RevokedAt = ocsp.Deactivated, time.Now()
				}
			},
			checks: []string{"states and reasons"},
			reason: "another State than was put: put Active removeFromCRL",
		},
		{
			name: "does not know whether it is not there or cannot be read",
			faulty: func(find find) find {
				return func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
					record, err := find(ctx, issuerID, serial)
					if errors.Is(err, ocsp.ErrNotFound) {
						err = fmt.Errorf("%w: %w", ocsp.ErrInvalidRecord, err)
					}
					return record, err
				}
			},
			checks: []string{"issuer binding", "never issued", "serial numbers", "CA certificates", "ownership of the serial"},
			reason: "gave an error that wraps ErrInvalidRecord",
		},
		{
			name: "revoked as of now",
			faulty: func(find find) find {
				return func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
					record, err := find(ctx, issuerID, serial)
					if !record.RevokedAt.IsZero() {
						record.RevokedAt = time.Now()
					}
					return record, err
				}
			},
			checks: []string{"issuer binding", "states and reasons", "times", "CA certificates", "ownership of the serial", "concurrent revocation"},
			reason: "the times moved between two reads",
		},
		{
			name: "times of day in the wrong zone",
			put: func(_ *string, _ *big.Int, record *ocsp.Record) {
				if at := record.RevokedAt; !at.IsZero() {
					record.RevokedAt = time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), 0, time.UTC)
				}
			},
			checks: []string{"times"},
			reason: "another RevokedAt than was put",
		},
		{
			name: "32 bits of time",
			put: func(_ *string, _ *big.Int, record *ocsp.Record) {
				if !record.NotAfter.IsZero() {
					record.NotAfter = time.Unix(int64(int32(record.NotAfter.Unix())), 0)
				}
			},
			checks: []string{"issuer binding", "serial numbers", "times", "CA certificates", "cancelled context", "concurrent revocation"},
			reason: "another NotAfter than was put",
		},
		{
			name: "keeps the serial",
			faulty: func(find find) find {
				var mu sync.Mutex
				type key struct {
					issuerID string
					serial   *big.Int
				}
				var last key
				var record ocsp.Record
				return func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
					if ctx.Err() != nil {
						return ocsp.Record{}, ctx.Err()
					}
					mu.Lock()
					defer mu.Unlock()
					if last.serial != nil && last.issuerID == issuerID && last.serial.Cmp(serial) == 0 && record.State != ocsp.Active {
						return record, nil
					}
					found, err := find(ctx, issuerID, serial)
					if err == nil {
						last, record = key{issuerID, serial}, found
					}
					return found, err
				}
			},
			checks: []string{"ownership of the serial"},
			reason: "the number that a serial handed to the store was changed to afterwards",
		},
		{
			name: "changes the serial",
			faulty: func(find find) find {
				return func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
					record, err := find(ctx, issuerID, serial)
					serial.Add(serial, big.NewInt(1))
					return record, err
				}
			},
			checks: []string{"ownership of the serial"},
			reason: "the store changed the serial",
		},
		{
			name: "a cancelled read is not found",
			faulty: func(find find) find {
				return func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
					record, err := find(ctx, issuerID, serial)
					if err != nil {
						err = ocsp.ErrNotFound
					}
					return record, err
				}
			},
			checks: []string{"cancelled context"},
			reason: "under a context that has ended (context canceled): ErrNotFound for a certificate that is there",
		},
		{
			name: "a cancelled read is an empty record",
			faulty: func(find find) find {
				return func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
					record, err := find(ctx, issuerID, serial)
					if ctx.Err() != nil {
						err = nil
					}
					return record, err
				}
			},
			checks: []string{"cancelled context"},
			reason: "under a context that has ended (context canceled): another State than was put",
		},
		{
			name: "a cancelled read of what was never issued is good",
			faulty: func(find find) find {
				return func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
					record, err := find(context.WithoutCancel(ctx), issuerID, serial)
					if ctx.Err() != nil && err != nil {
						return ocsp.Record{State: ocsp.Active}, nil
					}
					return record, err
				}
			},
			checks: []string{"cancelled context"},
			reason: "a serial number never put was found",
		},
		{
			name: "a replica that lags behind",
			faulty: func(find find) find {
				var mu sync.Mutex
				seen := map[string]ocsp.Record{}
				return func(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
					record, err := find(ctx, issuerID, serial)
					if err != nil {
						return record, err
					}
					mu.Lock()
					defer mu.Unlock()
					key := issuerID + serial.String()
					if old, ok := seen[key]; ok {
						return old, nil
					}
					seen[key] = record
					return record, nil
				}
			},
			checks: []string{"concurrent revocation"},
			reason: "Put had returned: true): another State than was put: put Compromised keyCompromise",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := ocsptest.NewStore()
			fixture := ocsptest.StoreFixture{Store: store, IssuerIDs: issuerIDs}
			if test.faulty != nil {
				fixture.Store = ocsp.CertStoreFunc(test.faulty(store.FindBySerial))
			}
			fixture.Put = func(ctx context.Context, issuerID string, serial *big.Int, record ocsp.Record) error {
				if test.put != nil {
					test.put(&issuerID, serial, &record)
				}
				return put(store)(ctx, issuerID, serial, record)
			}
			err := ocsptest.TestStore(fixture)
			require.Error(t, err)
			t.Log(err)
			var checks []string
			for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
				name, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "ocsptest: store: "), ":")
				checks = append(checks, name)
			}
			require.Equal(t, test.checks, checks)
			require.ErrorContains(t, err, test.reason)
		})
	}
}

func TestStoreFixture(t *testing.T) {
	store := ocsptest.NewStore()
	for field, fixture := range map[string]ocsptest.StoreFixture{
		"Store":     {Put: put(store), IssuerIDs: issuerIDs},
		"Put":       {Store: store, IssuerIDs: issuerIDs},
		"IssuerIDs": {Store: store, Put: put(store)},
		"Reasons":   {Store: store, Put: put(store), IssuerIDs: issuerIDs, Reasons: []ocsp.Reason{ocsp.KeyCompromise, 99}},
		"could not put": {Store: store, IssuerIDs: issuerIDs, Put: func(context.Context, string, *big.Int, ocsp.Record) error {
			return ocsptest.ErrInjected
		}},
	} {
		require.ErrorContains(t, ocsptest.TestStore(fixture), field)
	}
}

// A KMS that keeps KMIP's revocation reason codes, which are seven, passes if the fixture says so.
func TestStoreOfSomeReasons(t *testing.T) {
	for name, reasons := range map[string][]ocsp.Reason{
		"KMIP's": {ocsp.Unspecified, ocsp.KeyCompromise, ocsp.CACompromise, ocsp.AffiliationChanged, ocsp.Superseded, ocsp.CessationOfOperation, ocsp.PrivilegeWithdrawn},
		"one":    {ocsp.Superseded},
		"all":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			store, asked := ocsptest.NewStore(), map[ocsp.State]map[ocsp.Reason]bool{}
			var mu sync.Mutex
			err := ocsptest.TestStore(ocsptest.StoreFixture{
				Store: store, IssuerIDs: issuerIDs, Reasons: reasons,
				Put: func(ctx context.Context, issuerID string, serial *big.Int, record ocsp.Record) error {
					if reasons != nil && record.Reason != 0 && !slices.Contains(reasons, record.Reason) {
						return fmt.Errorf("the reason %v is not one of this KMS", record.Reason)
					}
					mu.Lock()
					defer mu.Unlock()
					if asked[record.State] == nil {
						asked[record.State] = map[ocsp.Reason]bool{}
					}
					asked[record.State][record.Reason] = true
					return put(store)(ctx, issuerID, serial, record)
				},
			})
			require.NoError(t, err)
			for state := ocsp.PreActive; state <= ocsp.DestroyedCompromised; state++ {
				want := map[ocsp.Reason]bool{0: true}
				for reason := ocsp.Unspecified; reason <= ocsp.AACompromise; reason++ {
					known := reasons == nil || slices.Contains(reasons, reason)
					switch {
					case state <= ocsp.Active:
						known = known && reason == ocsp.RemoveFromCRL
					case state != ocsp.Deactivated:
						known = known && reason != ocsp.CertificateHold
					}
					if known {
						want[reason] = true
					}
				}
				require.Equal(t, want, asked[state], "%v", state)
			}
		})
	}
}

// RemoveFromCRL is answered as Unspecified is, so a store may keep either.
func TestStoreMayKeepRemoveFromCRLAsUnspecified(t *testing.T) {
	store := ocsptest.NewStore()
	err := ocsptest.TestStore(ocsptest.StoreFixture{Store: store, IssuerIDs: issuerIDs, Put: func(ctx context.Context, issuerID string, serial *big.Int, record ocsp.Record) error {
		if record.Reason == ocsp.RemoveFromCRL {
			if record.Reason = 0; record.State > ocsp.Active {
				record.Reason = ocsp.Unspecified
			}
		}
		return put(store)(ctx, issuerID, serial, record)
	}})
	require.NoError(t, err)
}
