package main

import (
	"fmt"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/ocspredis"
	"github.com/kmsocsp/ocsp/ocspsql/pgfeed"
)

// openShared sets what several replicas share: a cache of signed answers, and a feed of each
// other's changes, which makes a long status_ttl_secs safe. One replica needs neither.
func (k *kms) openShared(o *ocsp.CacheOptions) error {
	c := k.cfg.Replicas
	if c.SharedCache != "" {
		client, err := inventory.RedisClient(c.SharedCache)
		if err != nil {
			return fmt.Errorf("[replicas] shared_cache: %w", err)
		}
		k.closers = append(k.closers, client.Close)
		if o.Remote, err = ocspredis.NewCache(ocspredis.Options{Client: client}); err != nil {
			return err
		}
	}
	switch config.Scheme(c.Changes) {
	case inventory.PostgreSQL:
		feed, err := pgfeed.New(pgfeed.Options{Conn: c.Changes})
		if err != nil {
			return fmt.Errorf("[replicas] changes: %w", err)
		}
		o.Feed = feed
		k.closers = append(k.closers, feed.Close)
	case inventory.Redis:
		client, err := inventory.RedisClient(c.Changes)
		if err != nil {
			return fmt.Errorf("[replicas] changes: %w", err)
		}
		k.closers = append(k.closers, client.Close)
		keys := inventory.RedisKeys(c.SecretBytes())
		o.Feed, err = ocspredis.NewFeed(ocspredis.Options{Client: client, Keys: keys})
		if err != nil {
			return err
		}
	}
	return nil
}
