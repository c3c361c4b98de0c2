package ocspredis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// policyWait bounds the wait for the server's maxmemory-policy.
const policyWait = 2 * time.Second

// errEvicts is wrapped by the error of a policy under which certificates may be evicted.
var errEvicts = errors.New("under it the server removes certificates when memory is short, which are then answered as never issued: " +
	"set it to noeviction, or to volatile-lru if a cache shares the server")

// checkPolicy refuses a server that may evict certificates. One whose policy cannot be read is logged.
func (o *Options) checkPolicy() error {
	ctx, cancel := context.WithTimeout(context.Background(), policyWait)
	defer cancel()
	read := make(chan error, 1)
	go func() { read <- readPolicies(ctx, o.Client) }() // a client may have no timeouts of its own
	var err error
	select {
	case err = <-read:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil || errors.Is(err, errEvicts) {
		return err
	}
	logger := o.Logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.Warn("ocspredis: the server's maxmemory-policy cannot be read; make sure that it is noeviction or volatile-*, since a certificate that is evicted is answered as never issued",
		slog.Any("error", err))
	return nil
}

// readPolicies reads the policy of every server that certificates may be on.
func readPolicies(ctx context.Context, client redis.UniversalClient) error {
	var mu sync.Mutex
	var errs []error
	each := func(ctx context.Context, node *redis.Client) error {
		err := readPolicy(ctx, node)
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
		return nil
	}
	var err error
	switch c := client.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, each)
	case *redis.Ring:
		err = c.ForEachShard(ctx, each)
	default:
		err = readPolicy(ctx, c)
	}
	return errors.Join(append(errs, err)...)
}

func readPolicy(ctx context.Context, client redis.Cmdable) error {
	info, err := client.Info(ctx, "memory").Result()
	if err != nil {
		return err
	}
	policy := ""
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, "maxmemory_policy:"); ok {
			policy = strings.TrimSpace(value)
		}
	}
	switch {
	case policy == "noeviction", strings.HasPrefix(policy, "volatile-"): // which spares what has no TTL
		return nil
	case strings.HasPrefix(policy, "allkeys-"):
		return fmt.Errorf("the server's maxmemory-policy is %s: %w", policy, errEvicts)
	default:
		return fmt.Errorf("INFO has %q for maxmemory_policy", policy)
	}
}
