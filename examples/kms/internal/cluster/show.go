package cluster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/kmsocsp/ocsp/internal/servers"
)

const (
	showRounds  = 300
	showWorkers = 4
	showCerts   = 20
	showPause   = 2 * time.Second // how long a fault lasts
)

// wait waits while a fault lasts.
func wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(showPause):
		return nil
	}
}

// Show starts PostgreSQL, Redis and replicas of this program, and reports what clients see while
// certificates are revoked, a replica is killed, and the servers are stopped.
func Show(ctx context.Context, out io.Writer) (err error) {
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	dir, err := os.MkdirTemp("", "kms-cluster")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	say("starting PostgreSQL and Redis")
	postgres, err := servers.PostgreSQL()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, postgres.Remove()) }()
	redis, err := servers.Redis()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, redis.Remove()) }()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	c, err := Start(ctx, program, dir, Config(postgres.PostgresURL("postgres"), redis.RedisURL()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	for _, r := range c.Replicas {
		say("replica at %s, StatusTTL 1 h, changes and a remote cache through Redis", r.Client.URL)
	}
	var certs []*x509.Certificate
	for range showCerts {
		_, cert, err := c.Replicas[0].Certify(ctx)
		if err != nil {
			return err
		}
		certs = append(certs, cert)
	}
	phase := func(title string, do func() error) error {
		loading, stop := context.WithCancel(ctx)
		var seen Tally
		group := c.Load(loading, certs, showWorkers, &seen)
		begin := time.Now()
		err := do()
		stop()
		group.Wait()
		say("%-58s %5.1f s  others saw %v", title, time.Since(begin).Seconds(), seen.Seen)
		return err
	}
	var revocations Tally
	err = errors.Join(
		phase(fmt.Sprintf("%d certificates issued at one, revoked, asked at all", showRounds), func() error {
			return c.Rounds(ctx, showRounds, showWorkers, &revocations, 0, func(*Certificate) error { return nil })
		}),
		phase("a replica killed and started again", func() error {
			return errors.Join(c.Replicas[2].Kill(), wait(ctx), c.Replicas[2].Start(ctx))
		}),
		phase("Redis stopped and started again", func() error {
			return errors.Join(redis.Stop(), wait(ctx), redis.Start())
		}),
		phase("PostgreSQL stopped and started again", func() error {
			return errors.Join(postgres.Stop(), wait(ctx), postgres.Start())
		}),
	)
	say("revocations: %v", &revocations)
	for i, r := range c.Replicas {
		n, err := r.Counters(ctx)
		if err != nil {
			return err
		}
		say("replica %d: answers %v, signatures %d, database reads %d", i+1, n.Answers, n.Signatures, n.StoreReads)
	}
	return err
}
