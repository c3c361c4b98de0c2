package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/redis/go-redis/v9"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspredis"
	"github.com/kmsocsp/ocsp/ocspsql/pgfeed"
)

// secretID names the one secret in Redis, where there could be several.
const secretID = "kms"

// links are connections to what replicas share. The zero value is none.
type links []io.Closer

func (l links) close() error {
	var errs []error
	for _, c := range l {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// open puts what replicas share into the options.
func (c replicasConfig) open(o *ocsp.CacheOptions) (l links, err error) {
	if c.SharedCache != "" {
		client, err := newRedis(c.SharedCache)
		if err != nil {
			return l, fmt.Errorf("[replicas] shared_cache: %w", err)
		}
		l = append(l, client)
		if o.Shared, err = ocspredis.NewCache(ocspredis.Options{Client: client}); err != nil {
			return l, err
		}
	}
	switch scheme(c.Changes) {
	case schemePostgreSQL:
		feed, err := pgfeed.New(pgfeed.Options{Conn: c.Changes})
		if err != nil {
			return l, fmt.Errorf("[replicas] changes: %w", err)
		}
		o.Changes, l = feed, append(l, feed)
	case schemeRedis:
		client, err := newRedis(c.Changes)
		if err != nil {
			return l, fmt.Errorf("[replicas] changes: %w", err)
		}
		l = append(l, client)
		if o.Changes, err = ocspredis.NewBus(ocspredis.Options{Client: client, Keys: redisKeys(c.secret())}); err != nil {
			return l, err
		}
	}
	return l, nil
}

func redisKeys(secret []byte) ocspredis.Keys {
	return ocspredis.Keys{Current: secretID, Secrets: map[string][]byte{secretID: secret}}
}

// newRedis makes a client. Its error does not repeat the URL.
func newRedis(url string) (*redis.Client, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New(`use a URL such as "redis://:PASSWORD@HOST:6379/0"`)
	}
	return redis.NewClient(o), nil
}
