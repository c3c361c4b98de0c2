package ocspredis

import (
	"context"
	"crypto/fips140"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/kmsocsp/ocsp"
)

// Store is a set of certificates in Redis: an ocsp.CertStore and the means to keep it. It is safe for concurrent
// use, also by many processes.
type Store struct {
	client redis.UniversalClient
	keys   ring
	prefix string
}

var _ ocsp.CertStore = (*Store)(nil)

// DefaultPrefix begins the names of all that this package writes. The braces keep it in one slot of a cluster,
// where scripts can reach all of an entry's names.
const DefaultPrefix = "{ocsp}:"

// Options are the options of Store, Cache and Feed.
type Options struct {
	// Client is a client of Redis 6.2 or later. It remains the host's, who closes it. Required.
	Client redis.UniversalClient

	// Keys are the secrets. Required by Store and Feed.
	Keys Keys

	// Prefix begins all names in Redis. Zero is DefaultPrefix.
	Prefix string

	// MaxLag is the longest time that a change may go unheard on the Feed. At least 100 ms. Zero is 2 s.
	MaxLag time.Duration

	// Logger gets the warning of NewStore. Zero is slog.Default().
	Logger *slog.Logger
}

func (o *Options) check() error {
	if o.Client == nil {
		return errors.New("the field Client is nil: give a client")
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	return nil
}

// NewStore makes a Store. It asks Redis for its maxmemory-policy, for up to 2 seconds, and refuses one of allkeys-*: a
// certificate that is evicted would be answered as never issued. Entries have no TTL, so volatile-* spares them. If the
// policy cannot be read, since INFO is forbidden or the server does not answer, Options.Logger gets a warning, and the
// Store is made. It is not looked at again.
func NewStore(o Options) (*Store, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("ocspredis: store: %w", err)
	}
	keys, err := o.Keys.ring()
	if err != nil {
		return nil, fmt.Errorf("ocspredis: store: %w", err)
	}
	if err := o.checkPolicy(); err != nil {
		return nil, fmt.Errorf("ocspredis: store: %w", err)
	}
	return &Store{o.Client, keys, o.Prefix + "c:"}, nil
}

// FindBySerial implements ocsp.CertStore. It is one round trip. The error is ocsp.ErrNotFound if Redis has said
// that there is no entry, and only then. It wraps ocsp.ErrInvalidRecord if there is one that cannot be read.
func (s *Store) FindBySerial(ctx context.Context, issuerID string, serial *big.Int) (ocsp.Record, error) {
	e, err := s.find(ctx, issuerID, serial)
	if err == nil && e.value == "" {
		err = ocsp.ErrNotFound
	}
	if err != nil {
		return ocsp.Record{}, fmt.Errorf("ocspredis: find %s: %w", title(issuerID, serial), err)
	}
	return e.Record, nil
}

// title says which certificate an error is about. A serial from the network is not repeated at any length.
func title(issuerID string, serial *big.Int) string {
	text := serial.Text(16)
	if len(text) > 2*maxSerial+2 {
		text = text[:2*maxSerial+2] + "…"
	}
	return fmt.Sprintf("serial %s of issuer %q", text, issuerID)
}

// entry is what Redis has of a certificate.
type entry struct {
	Certificate
	names []string // under each key, the current first
	value string   // as it is in Redis; "" for none
}

// find reads the certificate under all keys at once. At most one of its names is there.
func (s *Store) find(ctx context.Context, issuerID string, serial *big.Int) (entry, error) {
	e := entry{Certificate: Certificate{IssuerID: issuerID, Serial: serial}}
	number := octets(serial)
	for _, k := range s.keys {
		e.names = append(e.names, s.prefix+k.name(issuerID, number))
	}
	values, err := s.client.MGet(ctx, e.names...).Result()
	if errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) {
		// The client has much to do, which is no failure of the store: see ocsp.CacheOptions.StorePatience.
		err = fmt.Errorf("%w: %w", err, context.DeadlineExceeded)
	}
	if err != nil {
		return e, err
	}
	for i, value := range values {
		text, ok := value.(string)
		if !ok {
			continue // nil
		}
		c, err := s.read(text, e.names[i])
		if err != nil {
			return e, err
		}
		if c.IssuerID != issuerID || c.Serial.Cmp(serial) != 0 {
			return e, fmt.Errorf("the entry cannot be read: %w: it is another certificate's", ocsp.ErrInvalidRecord)
		}
		e.Record, e.value = c.Record, text
		return e, nil
	}
	return e, nil
}

// read is an entry's certificate. Whatever keeps it from being read, the error says that there is one: also where it
// does not decrypt, since who can write to Redis would else spoil a revocation to make the good from before last.
func (s *Store) read(value, name string) (Certificate, error) {
	text, err := s.keys.open([]byte(value), name)
	if err == nil {
		var c Certificate
		if c, err = decode(text); err == nil {
			return c, nil
		}
	}
	return Certificate{}, fmt.Errorf("the entry cannot be read: %w: %w", ocsp.ErrInvalidRecord, err)
}

// swap puts a new value in the place of the one that was read, ARGV[1], under the current name, KEYS[1], unless
// another writer was faster. "" is none.
var swap = newScript(`
for i, name in ipairs(KEYS) do
	local value = redis.call('GET', name)
	if value then
		if value ~= ARGV[1] then return 0 end
		if i > 1 then redis.call('DEL', name) end
		redis.call('SET', KEYS[1], ARGV[2])
		return 1
	end
end
if ARGV[1] ~= '' then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1`)

// newScript makes a script, whose name in Redis is its SHA-1. GODEBUG=fips140=only refuses SHA-1 and would end the
// program here; it is allowed because no security rests on the name.
func newScript(source string) (script *redis.Script) {
	fips140.WithoutEnforcement(func() { script = redis.NewScript(source) })
	return script
}

func (s *Store) seal(e entry) string { return string(s.keys.seal(e.encode(), e.names[0])) }

// write puts a record in the place of what was read; false: another writer was faster.
func (s *Store) write(ctx context.Context, e entry, record ocsp.Record) (bool, error) {
	e.Record = record
	n, err := swap.Run(ctx, s.client, e.names, e.value, s.seal(e)).Int()
	return n == 1, err
}

// Issue adds a certificate, PreActive or Active. Call it before the certificate leaves the CA, or its first user
// is told that it does not exist. The error is ErrExists if the issuer has used that serial already.
func (s *Store) Issue(ctx context.Context, c Certificate) error {
	err := c.check()
	if err == nil && !isGood(c.Record.State) {
		err = fmt.Errorf("the state %v is not one to issue in: use Import for what was revoked elsewhere", c.Record.State)
	}
	if err != nil {
		return fmt.Errorf("ocspredis: issue in the name of %q: %w", c.IssuerID, err)
	}
	e, err := s.find(ctx, c.IssuerID, c.Serial)
	if err == nil && e.value != "" {
		err = ErrExists
	}
	if err == nil {
		var written bool
		if written, err = s.write(ctx, e, c.Record); err == nil && !written {
			err = ErrExists
		}
	}
	if err != nil {
		return fmt.Errorf("ocspredis: issue %s: %w", title(c.IssuerID, c.Serial), err)
	}
	return nil
}

// Revoke revokes a certificate and reports whether that changed anything. When it has returned without an
// error the certificate is revoked, whoever did it, so it may be repeated. A certificate that is revoked
// already stays as it is, but for two changes for the worse: a hold becomes final, and a deactivated or
// destroyed certificate compromised. The time of the first revocation always stands.
//
// The error is ocsp.ErrNotFound if there is no such certificate, and ErrState if one that is on hold would become
// Deactivated with RemoveFromCRL: it stays on hold, since that may be meant as Release.
func (s *Store) Revoke(ctx context.Context, issuerID string, serial *big.Int, v Revocation) (changed bool, err error) {
	r, err := v.rule()
	if err != nil {
		return false, fmt.Errorf("ocspredis: revoke: %w", err)
	}
	return s.change(ctx, "revoke", issuerID, serial, r)
}

// Release ends a hold: the certificate is Active again. It reports whether that changed anything; what is good
// stays so. The error is ErrState if the certificate is revoked for good, and ocsp.ErrNotFound if there is none.
func (s *Store) Release(ctx context.Context, issuerID string, serial *big.Int) (changed bool, err error) {
	return s.change(ctx, "release", issuerID, serial, release)
}

// SetState moves a certificate along the KMIP life cycle, and reports whether that changed anything: from
// PreActive to Active, and from there, as of now, to the revoked states, each of which only leads to worse ones.
// The reason stays if the new state allows it; a hold ends, and a compromise has its own. The error is ErrState
// if there is no way, above all none back to good, and ocsp.ErrNotFound if there is no such certificate.
func (s *Store) SetState(ctx context.Context, issuerID string, serial *big.Int, state ocsp.State) (changed bool, err error) {
	r, err := moveTo(state, time.Now())
	if err != nil {
		return false, fmt.Errorf("ocspredis: set state: %w", err)
	}
	return s.change(ctx, "set the state of", issuerID, serial, r)
}

// Update replaces a certificate's record with what next makes of it, and reports whether that changed anything. It
// is for hosts with a life cycle of their own. When another writer is faster next is called again. The error is
// next's own; ErrState if it makes a revoked certificate good, which only Release does, or moves the time of its
// revocation; or ocsp.ErrNotFound if there is no such certificate.
func (s *Store) Update(ctx context.Context, issuerID string, serial *big.Int, next func(now ocsp.Record) (ocsp.Record, error)) (changed bool, err error) {
	return s.change(ctx, "update", issuerID, serial, func(now ocsp.Record) (ocsp.Record, error) {
		record, err := next(now)
		switch {
		case err != nil || isGood(now.State):
			return record, err
		case isGood(record.State):
			return now, fmt.Errorf("%w: it is %v, and only Release makes it good", ErrState, now.State)
		case !record.RevokedAt.Equal(now.RevokedAt):
			return now, fmt.Errorf("%w: the time of its revocation does not move", ErrState)
		}
		return record, nil
	})
}

// Pauses before a writer that others were faster than tries again: random, and doubled from the first to the
// last, so that no number of writers keeps one out.
const (
	firstPause = time.Millisecond
	lastPause  = 100 * time.Millisecond
)

// change applies a rule to what is there, and begins again when another writer was faster.
func (s *Store) change(ctx context.Context, verb, issuerID string, serial *big.Int, apply rule) (changed bool, err error) {
	if serial == nil {
		return false, fmt.Errorf("ocspredis: %s a certificate of issuer %q: the serial is nil", verb, issuerID)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("ocspredis: %s %s: %w", verb, title(issuerID, serial), err)
		}
	}()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		e, err := s.find(ctx, issuerID, serial)
		if err != nil {
			return false, err
		}
		if e.value == "" {
			return false, ocsp.ErrNotFound
		}
		next, err := apply(e.Record)
		next = plain(next)
		if err != nil || next == e.Record {
			return false, err
		}
		if err := (Certificate{issuerID, serial, next}).check(); err != nil {
			return false, err
		}
		if written, err := s.write(ctx, e, next); err != nil || written {
			return written, err
		}
		wait, err := rand.Int(rand.Reader, big.NewInt(int64(pause)))
		if err != nil {
			return false, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(time.Duration(wait.Int64())):
		}
	}
}
