package ocspredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/kmsocsp/ocsp"
)

// escape keeps Redis from reading a pattern into a prefix.
var escape = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// maxValue bounds what is read and written: no signed answer is nearly as large.
const maxValue = 64 << 10

// Cache is an ocsp.RemoteCache in Redis, for CacheOptions.Remote. Each call is one round trip. What it holds needs no
// secrecy, being what clients are sent, and no trust, since the Responder verifies it; so it has no keys.
type Cache struct {
	client redis.UniversalClient
	prefix string
}

var _ ocsp.RemoteCache = (*Cache)(nil)

// NewCache makes a Cache. It talks to Redis when it is first used.
func NewCache(o Options) (*Cache, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("ocspredis: cache: %w", err)
	}
	return &Cache{o.Client, o.Prefix + "a:"}, nil
}

// Get implements ocsp.RemoteCache.
func (c *Cache) Get(ctx context.Context, key string) ([]byte, error) {
	// One octet above the limit is enough to know.
	value, err := c.client.GetRange(ctx, c.prefix+key, 0, maxValue).Bytes()
	switch {
	case errors.Is(err, redis.Nil), err == nil && len(value) == 0: // GETRANGE of nothing is empty
		return nil, ocsp.ErrCacheMiss
	case err != nil:
		return nil, fmt.Errorf("ocspredis: cache: get: %w", err)
	case len(value) > maxValue:
		return nil, fmt.Errorf("ocspredis: cache: get: a value has more than %d octets", maxValue)
	}
	return value, nil
}

// Put implements ocsp.RemoteCache.
func (c *Cache) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if len(value) == 0 || len(value) > maxValue {
		return fmt.Errorf("ocspredis: cache: put: the value has %d octets: use 1 to %d", len(value), maxValue)
	}
	if ttl < time.Millisecond {
		return fmt.Errorf("ocspredis: cache: put: the ttl is %v: use a millisecond or more", ttl)
	}
	if err := c.client.Set(ctx, c.prefix+key, value, ttl).Err(); err != nil {
		return fmt.Errorf("ocspredis: cache: put: %w", err)
	}
	return nil
}

// Delete implements ocsp.RemoteCache.
func (c *Cache) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = c.prefix + key
	}
	if err := c.client.Unlink(ctx, names...).Err(); err != nil {
		return fmt.Errorf("ocspredis: cache: delete: %w", err)
	}
	return nil
}
