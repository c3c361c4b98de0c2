package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
)

const replicaCount = 3

// Cluster is replicas over the same servers, with one configuration.
type Cluster struct {
	Replicas []*Replica

	begun time.Time
}

// Start starts replicas of a program, with data directories below dir.
func Start(ctx context.Context, program, dir string, cfg config.Config) (*Cluster, error) {
	c := &Cluster{begun: time.Now()}
	for i := range replicaCount {
		replicaDir := filepath.Join(dir, fmt.Sprintf("replica%d", i+1))
		if i > 0 {
			if err := copyKey(c.Replicas[0].Dir, replicaDir); err != nil {
				return nil, errors.Join(err, c.Stop())
			}
		}
		r, err := StartOne(ctx, program, replicaDir, cfg)
		if err != nil {
			return nil, errors.Join(err, c.Stop())
		}
		c.Replicas = append(c.Replicas, r)
	}
	return c, nil
}

// Stop stops all replicas that run.
func (c *Cluster) Stop() error {
	var errs []error
	for _, r := range c.Replicas {
		errs = append(errs, r.Stop())
	}
	return errors.Join(errs...)
}

// Config is for replicas over PostgreSQL, with a remote cache and a feed in Redis.
func Config(postgres, redis string) config.Config {
	secret := make([]byte, inventory.SecretSize)
	_, _ = rand.Read(secret) // never fails
	cfg := config.Default()
	cfg.Store.URL = postgres
	cfg.Replicas = config.Replicas{SharedCache: redis, Changes: redis, Secret: hex.EncodeToString(secret)}
	cfg.OCSP.StatusTTLSecs = 3600
	return cfg
}
