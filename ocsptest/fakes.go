package ocsptest

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kmsocsp/ocsp"
)

// Clock is a clock that stands still until it is moved. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that shows now.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// Now returns the time; it fits ocsp.Config.Now.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Set moves the clock to a time.
func (c *Clock) Set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// Advance moves the clock forward.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Fault is a way to fail.
type Fault uint8

const (
	// Healthy does not fail.
	Healthy Fault = iota
	// Fail returns ErrInjected.
	Fail
	// Hang does not return, whatever the context says, until the fault is changed.
	Hang
	// Panic panics.
	Panic
	// Wrong returns something wrong: a store an invalid Record, a signer a signature that does not verify, a
	// cache random octets.
	Wrong
)

// ErrInjected is the error of what was told to Fail.
var ErrInjected = errors.New("ocsptest: injected fault")

// faults makes what embeds it fail on command.
type faults struct {
	mu      sync.Mutex
	fault   Fault
	changed chan struct{} // closed when the fault changes
	calls   atomic.Int64
}

// SetFault makes calls fail from now on, and lets those that hang go on.
func (f *faults) SetFault(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// Calls returns how often it was called.
func (f *faults) Calls() int { return int(f.calls.Load()) }

// enter counts a call and applies the fault. It reports whether the result must be wrong.
func (f *faults) enter() (wrong bool, err error) {
	f.calls.Add(1)
	for {
		f.mu.Lock()
		fault := f.fault
		if fault == Hang && f.changed == nil {
			f.changed = make(chan struct{})
		}
		changed := f.changed
		f.mu.Unlock()
		switch fault {
		case Fail:
			return false, ErrInjected
		case Hang:
			<-changed
		case Panic:
			panic(ErrInjected)
		default:
			return fault == Wrong, nil
		}
	}
}

// Store is an ocsp.CertStore in memory. It is safe for concurrent use.
type Store struct {
	faults
	recordsMu sync.Mutex
	records   map[string]ocsp.Record
}

var _ ocsp.CertStore = (*Store)(nil)

// NewStore returns an empty store.
func NewStore() *Store { return &Store{records: map[string]ocsp.Record{}} }

func storeKey(issuerID string, serial *big.Int) string { return serial.Text(16) + " " + issuerID }

// Set stores a record, whatever it says.
func (s *Store) Set(issuerID string, serial *big.Int, record ocsp.Record) {
	s.recordsMu.Lock()
	defer s.recordsMu.Unlock()
	s.records[storeKey(issuerID, serial)] = record
}

// Add stores a certificate as active.
func (s *Store) Add(issuerID string, cert *x509.Certificate) {
	s.Set(issuerID, cert.SerialNumber, ocsp.Record{State: ocsp.Active, NotAfter: cert.NotAfter})
}

// Revoke stores a certificate as revoked: Compromised for the reasons KeyCompromise and CACompromise,
// Deactivated for all others.
func (s *Store) Revoke(issuerID string, serial *big.Int, reason ocsp.Reason, at time.Time) {
	state := ocsp.Deactivated
	if reason == ocsp.KeyCompromise || reason == ocsp.CACompromise {
		state = ocsp.Compromised
	}
	s.recordsMu.Lock()
	defer s.recordsMu.Unlock()
	key := storeKey(issuerID, serial)
	s.records[key] = ocsp.Record{State: state, Reason: reason, RevokedAt: at, NotAfter: s.records[key].NotAfter}
}

// Remove makes the store forget a certificate.
func (s *Store) Remove(issuerID string, serial *big.Int) {
	s.recordsMu.Lock()
	defer s.recordsMu.Unlock()
	delete(s.records, storeKey(issuerID, serial))
}

// FindBySerial implements ocsp.CertStore.
func (s *Store) FindBySerial(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
	wrong, err := s.enter()
	if wrong || err != nil {
		return ocsp.Record{}, err
	}
	if err := ctx.Err(); err != nil {
		return ocsp.Record{}, err
	}
	s.recordsMu.Lock()
	defer s.recordsMu.Unlock()
	record, ok := s.records[storeKey(issuerID, serial)]
	if !ok {
		return ocsp.Record{}, ocsp.ErrNotFound
	}
	return record, nil
}

// Signer wraps a key like one that lives in an HSM: what is behind it is not visible. It is safe for
// concurrent use.
type Signer struct {
	faults
	key crypto.Signer
}

var _ crypto.Signer = (*Signer)(nil)

// NewSigner wraps a key.
func NewSigner(key crypto.Signer) *Signer { return &Signer{key: key} }

// Public implements crypto.Signer.
func (s *Signer) Public() crypto.PublicKey { return s.key.Public() }

// Sign implements crypto.Signer.
func (s *Signer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	wrong, err := s.enter()
	if err != nil {
		return nil, err
	}
	var signature []byte
	outsideFor(s.key, func() { signature, err = s.key.Sign(rand, digest, opts) })
	if wrong && err == nil {
		signature[len(signature)-1] ^= 1
	}
	return signature, err
}

// RemoteCache is an ocsp.RemoteCache in memory. It keeps values for ever, which shows whether who reads them looks at
// their age. It is safe for concurrent use.
type RemoteCache struct {
	faults
	valuesMu sync.Mutex
	values   map[string][]byte
}

var _ ocsp.RemoteCache = (*RemoteCache)(nil)

// NewRemoteCache returns an empty cache.
func NewRemoteCache() *RemoteCache { return &RemoteCache{values: map[string][]byte{}} }

// Get implements ocsp.RemoteCache.
func (c *RemoteCache) Get(_ context.Context, key string) ([]byte, error) {
	wrong, err := c.enter()
	if err != nil {
		return nil, err
	}
	if wrong {
		return []byte("not an answer"), nil
	}
	c.valuesMu.Lock()
	defer c.valuesMu.Unlock()
	value, ok := c.values[key]
	if !ok {
		return nil, ocsp.ErrCacheMiss
	}
	return append([]byte(nil), value...), nil
}

// Put implements ocsp.RemoteCache.
func (c *RemoteCache) Put(_ context.Context, key string, value []byte, _ time.Duration) error {
	if _, err := c.enter(); err != nil {
		return err
	}
	c.valuesMu.Lock()
	defer c.valuesMu.Unlock()
	c.values[key] = append([]byte(nil), value...)
	return nil
}

// Delete implements ocsp.RemoteCache.
func (c *RemoteCache) Delete(_ context.Context, keys ...string) error {
	if _, err := c.enter(); err != nil {
		return err
	}
	c.valuesMu.Lock()
	defer c.valuesMu.Unlock()
	for _, key := range keys {
		delete(c.values, key)
	}
	return nil
}

// Values returns a copy of what is cached.
func (c *RemoteCache) Values() map[string][]byte {
	c.valuesMu.Lock()
	defer c.valuesMu.Unlock()
	values := make(map[string][]byte, len(c.values))
	for key, value := range c.values {
		values[key] = append([]byte(nil), value...)
	}
	return values
}

// Poison puts a value under every key that is there, whatever it holds.
func (c *RemoteCache) Poison(value []byte) {
	c.valuesMu.Lock()
	defer c.valuesMu.Unlock()
	for key := range c.values {
		c.values[key] = append([]byte(nil), value...)
	}
}
