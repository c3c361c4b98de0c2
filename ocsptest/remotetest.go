package ocsptest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kmsocsp/ocsp"
)

// cacheTTL is how long TestRemoteCache has a value kept whose end it waits for.
const cacheTTL = time.Second

// TestRemoteCache checks that a cache keeps the contract of [ocsp.RemoteCache], time to live included, which it waits for.
// It returns nil, or an error that joins all it found, each naming the check that failed. Keys are random, so the
// cache need not be empty. Run it under the race detector, and against the server that production uses.
func TestRemoteCache(cache ocsp.RemoteCache) error {
	if cache == nil {
		return errors.New("ocsptest: cache: the cache is nil")
	}
	var found []error
	for _, check := range []struct {
		name string
		run  func(ocsp.RemoteCache) error
	}{
		{"miss", checkCacheMiss},
		{"values", checkCacheValues},
		{"keys", checkCacheKeys},
		{"delete", checkCacheDelete},
		{"aliasing", checkCacheAliasing},
		{"time to live", checkCacheTTL},
		{"cancelled context", checkCacheCancelled},
		{"concurrency", checkCacheConcurrent},
	} {
		if err := check.run(cache); err != nil {
			found = append(found, fmt.Errorf("ocsptest: cache: %s: %w", check.name, err))
		}
	}
	return errors.Join(found...)
}

func cacheKey() (key string) {
	outside(func() { key = strings.ToLower(rand.Text()) })
	return key
}

// wantCached requires a value, or for nil a miss.
func wantCached(cache ocsp.RemoteCache, key string, want []byte) error {
	got, err := cache.Get(context.Background(), key)
	switch {
	case want == nil && errors.Is(err, ocsp.ErrCacheMiss):
		return nil
	case want == nil:
		return fmt.Errorf("Get returned %d octets and the error %v, want ErrCacheMiss", len(got), err)
	case err != nil:
		return fmt.Errorf("Get: %w", err)
	case !bytes.Equal(got, want):
		return fmt.Errorf("Get returned %x, want %x", got[:min(len(got), 40)], want[:min(len(want), 40)])
	}
	return nil
}

func putCached(cache ocsp.RemoteCache, key string, value []byte) error {
	if err := cache.Put(context.Background(), key, value, time.Hour); err != nil {
		return fmt.Errorf("Put of %d octets: %w", len(value), err)
	}
	return nil
}

func checkCacheMiss(cache ocsp.RemoteCache) error { return wantCached(cache, cacheKey(), nil) }

// checkCacheValues puts values that are no text, and one in the place of another.
func checkCacheValues(cache ocsp.RemoteCache) error {
	key, large := cacheKey(), make([]byte, 16<<10)
	outside(func() { _, _ = rand.Read(large) }) // never fails
	var errs []error
	for _, value := range [][]byte{{0x30, 0}, {0}, []byte("\r\n\x00\xff"), large, {0x30}} {
		errs = append(errs, putCached(cache, key, value), wantCached(cache, key, value))
	}
	return errors.Join(errs...)
}

// checkCacheKeys puts under keys that differ in little, up to the longest.
func checkCacheKeys(cache ocsp.RemoteCache) error {
	long := (cacheKey() + strings.Repeat("0123456789abcdef", 5))[:80]
	keys := []string{long, long[:79], long[:79] + "g", long[:40]}
	var errs []error
	for i, key := range keys {
		errs = append(errs, putCached(cache, key, []byte{byte(i)}))
	}
	for i, key := range keys {
		errs = append(errs, wantCached(cache, key, []byte{byte(i)}))
	}
	return errors.Join(errs...)
}

func checkCacheDelete(cache ocsp.RemoteCache) error {
	a, b, c, absent := cacheKey(), cacheKey(), cacheKey(), cacheKey()
	value := []byte("value")
	errs := []error{putCached(cache, a, value), putCached(cache, b, value), putCached(cache, c, value)}
	for _, keys := range [][]string{{a, absent, b}, {a, b}, {absent}, {}} {
		if err := cache.Delete(context.Background(), keys...); err != nil {
			errs = append(errs, fmt.Errorf("Delete of %d keys: %w", len(keys), err))
		}
	}
	return errors.Join(append(errs, wantCached(cache, a, nil), wantCached(cache, b, nil), wantCached(cache, c, value))...)
}

// checkCacheAliasing changes what was put and what was got.
func checkCacheAliasing(cache ocsp.RemoteCache) error {
	key, value := cacheKey(), []byte("value")
	if err := putCached(cache, key, value); err != nil {
		return err
	}
	value[0] = 'V'
	got, err := cache.Get(context.Background(), key)
	if err != nil {
		return fmt.Errorf("Get: %w", err)
	}
	if string(got) != "value" {
		return fmt.Errorf("Put kept the caller's octets: it says %q after they changed", got)
	}
	return nil
}

// checkCacheTTL waits for a value to go, for ten times as long as it should take.
func checkCacheTTL(cache ocsp.RemoteCache) error {
	brief, lasting := cacheKey(), cacheKey()
	if err := cache.Put(context.Background(), brief, []byte("brief"), cacheTTL); err != nil {
		return fmt.Errorf("Put: %w", err)
	}
	if err := putCached(cache, lasting, []byte("lasting")); err != nil {
		return err
	}
	tick := time.NewTicker(cacheTTL / 10)
	defer tick.Stop()
	for end := time.Now().Add(10 * cacheTTL); ; <-tick.C {
		err := wantCached(cache, brief, nil)
		if err == nil {
			return wantCached(cache, lasting, []byte("lasting"))
		}
		if time.Now().After(end) {
			return fmt.Errorf("a value was there %v after its %v were over: %w", 9*cacheTTL, cacheTTL, err)
		}
	}
}

// checkCacheCancelled requires that a context that has ended does no harm.
func checkCacheCancelled(cache ocsp.RemoteCache) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := cache.Put(ctx, cacheKey(), []byte("value"), time.Hour); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("Put returned %w, want nil or context.Canceled", err)
	}
	switch _, err := cache.Get(ctx, cacheKey()); {
	case err == nil:
		return errors.New("Get of a key that is not there succeeded")
	case !errors.Is(err, context.Canceled) && !errors.Is(err, ocsp.ErrCacheMiss):
		return fmt.Errorf("Get returned %w, want context.Canceled or, from a cache that need not wait, ErrCacheMiss", err)
	}
	return nil
}

func checkCacheConcurrent(cache ocsp.RemoteCache) error {
	key := cacheKey()
	values := [][]byte{bytes.Repeat([]byte{1}, 500), bytes.Repeat([]byte{2}, 700)}
	var group sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		group.Go(func() {
			for range 50 {
				ctx := context.Background()
				if err := cache.Put(ctx, key, values[i%2], time.Hour); err != nil {
					errs[i] = err
				}
				got, err := cache.Get(ctx, key)
				if err != nil && !errors.Is(err, ocsp.ErrCacheMiss) {
					errs[i] = err
				}
				if err == nil && !bytes.Equal(got, values[0]) && !bytes.Equal(got, values[1]) {
					errs[i] = fmt.Errorf("Get returned %d octets that nobody put", len(got))
				}
				if i == 0 {
					if err := cache.Delete(ctx, key); err != nil {
						errs[i] = err
					}
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}
