package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp/internal/servers"
	"github.com/kmsocsp/ocsp/ocsptest"
)

const (
	replicaCount   = 3
	replicaStart   = 30 * time.Second
	replicaProbe   = 20 * time.Millisecond
	clusterIdle    = 64 // connections kept to a replica
	clientPatience = 15 * time.Second
)

// cluster is replicas of this program on this machine, over the same servers and with copies of one directory's
// configuration.
type cluster struct {
	program  string
	replicas []*replica
	ca       *x509.Certificate
	http     *http.Client
}

// replica is one of the processes.
type replica struct {
	cluster *cluster
	dir     string
	client  *client
	cmd     *exec.Cmd
	ended   chan error
	log     lockedBuffer
}

// lockedBuffer is a bytes.Buffer for two goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newCluster starts replicas of a program in folders below dir.
func newCluster(ctx context.Context, program, dir string, cfg config) (_ *cluster, err error) {
	transport := &http.Transport{MaxIdleConnsPerHost: clusterIdle}
	c := &cluster{program: program, http: &http.Client{Transport: transport, Timeout: clientPatience}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	for i := range replicaCount {
		r := &replica{cluster: c, dir: filepath.Join(dir, fmt.Sprintf("replica%d", i+1))}
		if cfg.Server.Listen, err = freeAddress(); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Join(r.dir, keyDir), 0o700); err != nil {
			return nil, err
		}
		if i > 0 {
			// The CA's key is the same everywhere. In life it would be in an HSM.
			key, err := readSecret(keyFile(c.replicas[0].dir, kindCA))
			if err == nil {
				err = writeNew(keyFile(r.dir, kindCA), key)
			}
			if err != nil {
				return nil, err
			}
		}
		if err := cfg.write(r.dir); err != nil {
			return nil, err
		}
		r.client = &client{cfg.url(), cfg.Server.Token, c.http}
		c.replicas = append(c.replicas, r)
		if err := r.start(ctx); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(filepath.Join(c.replicas[0].dir, caFile))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	c.ca, err = x509.ParseCertificate(block.Bytes)
	return c, err
}

// freeAddress returns an address that nobody listens on.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// start starts the process, and returns when it answers.
func (r *replica) start(ctx context.Context) error {
	cmd := exec.Command(r.cluster.program, "serve", "-data", r.dir)
	cmd.Stdout, cmd.Stderr = io.Discard, &r.log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	r.cmd, r.ended = cmd, ended
	tick := time.NewTicker(replicaProbe)
	defer tick.Stop()
	timeout := time.After(replicaStart)
	for {
		var counters countersJSON
		if r.client.call(ctx, http.MethodGet, "counters", nil, &counters) == nil {
			return nil
		}
		select {
		case <-tick.C:
		case err := <-ended:
			r.cmd = nil
			return fmt.Errorf("%s ended: %w\n%s", r.dir, err, r.log.String())
		case <-timeout:
			return fmt.Errorf("%s does not answer\n%s", r.dir, r.log.String())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// kill ends the process as a failing machine would.
func (r *replica) kill() error {
	if r.cmd == nil {
		return nil
	}
	err := r.cmd.Process.Kill()
	<-r.ended
	r.cmd = nil
	return err
}

// stop ends all processes in order.
func (c *cluster) stop() error {
	var errs []error
	for _, r := range c.replicas {
		if r.cmd == nil {
			continue
		}
		errs = append(errs, r.cmd.Process.Signal(os.Interrupt))
		select {
		case err := <-r.ended:
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w\n%s", r.dir, err, r.log.String()))
			}
		case <-time.After(2 * shutdownTime):
			errs = append(errs, fmt.Errorf("%s does not end", r.dir), r.kill())
		}
		r.cmd = nil
	}
	c.http.CloseIdleConnections()
	return errors.Join(errs...)
}

// query asks a replica about a certificate. It returns what a verified answer says ("good", "revoked", "unknown"),
// the OCSP error ("tryLater"), or "no answer".
func (r *replica) query(ctx context.Context, cert *x509.Certificate) string {
	result, err := ocsptest.Client{URL: r.client.url + "/ocsp", HTTP: r.cluster.http}.Query(ctx, r.cluster.ca, cert)
	var refused xocsp.ResponseError
	switch {
	case errors.As(err, &refused):
		return refused.Status.String()
	case err != nil && result == nil:
		return "no answer"
	case err != nil:
		return "wrong: " + err.Error()
	}
	return [...]string{xocsp.Good: "good", xocsp.Revoked: "revoked", xocsp.Unknown: "unknown"}[result.Responses[0].Status]
}

// certify has a replica issue a certificate.
func (r *replica) certify(ctx context.Context) (uid string, cert *x509.Certificate, err error) {
	var made certificateJSON
	name := strings.ToLower(rand.Text()[:12])
	if err := r.client.call(ctx, http.MethodPost, "certificates", certifyRequest{Name: name}, &made); err != nil {
		return "", nil, err
	}
	block, _ := pem.Decode([]byte(made.Certificate))
	cert, err = x509.ParseCertificate(block.Bytes)
	return made.UID, cert, err
}

func (r *replica) revoke(ctx context.Context, uid string) error {
	var cert certificateJSON
	return r.client.call(ctx, http.MethodPost, "certificates/"+uid+"/revoke", revokeRequest{Reason: "keyCompromise"}, &cert)
}

// tally counts what clients saw.
type tally struct {
	mu    sync.Mutex
	seen  map[string]int
	late  int           // answers that said good after the revocation had returned
	worst time.Duration // the longest that one said so
}

func (t *tally) add(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = map[string]int{}
	}
	t.seen[what]++
}

func (t *tally) addLate(after time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.late++
	t.worst = max(t.worst, after)
}

// String lists what was seen.
func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("%v; good after a revocation had returned: %d, for %v at the most", t.seen, t.late, t.worst.Round(time.Millisecond))
}

// round issues a certificate through one replica, has others say good, revokes it through the first, and asks the
// others until they all say revoked.
func (c *cluster) round(ctx context.Context, n int, t *tally) error {
	writer := c.replicas[n%len(c.replicas)]
	uid, cert, err := writer.certify(ctx)
	if err != nil {
		return err
	}
	for _, r := range c.replicas {
		if got := r.query(ctx, cert); got != "good" {
			return fmt.Errorf("a new certificate is %s", got)
		}
		t.add("good")
	}
	if err := writer.revoke(ctx, uid); err != nil {
		return err
	}
	returned := time.Now()
	for i := range c.replicas {
		r := c.replicas[(n+1+i)%len(c.replicas)]
		for {
			asked := time.Now()
			got := r.query(ctx, cert)
			t.add(got)
			if got == "revoked" {
				break
			}
			if got != "good" {
				return fmt.Errorf("a revoked certificate is %s", got)
			}
			// It may have been made at any time since the question.
			t.addLate(asked.Sub(returned))
			if asked.Sub(returned) > clientPatience {
				return errors.New("a revoked certificate stays good")
			}
		}
	}
	return nil
}

// rounds makes rounds, several at a time, and ends with the first error.
func (c *cluster) rounds(ctx context.Context, n, at int, t *tally) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var group sync.WaitGroup
	for range at {
		group.Go(func() {
			for i := range next {
				if err := c.round(ctx, i, t); err != nil {
					cancel(fmt.Errorf("round %d: %w", i, err))
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	group.Wait()
	return context.Cause(ctx)
}

// load queries certificates at all replicas until ctx ends.
func (c *cluster) load(ctx context.Context, certs []*x509.Certificate, workers int, t *tally) *sync.WaitGroup {
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; ctx.Err() == nil; i++ {
				if got := c.replicas[i%len(c.replicas)].query(ctx, certs[i/len(c.replicas)%len(certs)]); ctx.Err() == nil {
					t.add(got)
				}
			}
		})
	}
	return &group
}

// clusterConfig is for replicas over PostgreSQL, with a cache and a bus in Redis.
func clusterConfig(postgres, redis string) config {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails
	cfg := defaultConfig()
	cfg.Store.URL = postgres
	cfg.Replicas = replicasConfig{SharedCache: redis, Changes: redis, Secret: hex.EncodeToString(secret)}
	cfg.OCSP.StatusTTLSecs = 3600
	return cfg
}

const (
	demoRounds  = 300
	demoWorkers = 4
	demoCerts   = 20
	demoPause   = 2 * time.Second // for which what is stopped stays so
)

// wait waits while clients see what a fault does.
func wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(demoPause):
		return nil
	}
}

// clusterCommand starts PostgreSQL, Redis and replicas, and shows what clients see while certificates are
// revoked, a replica is killed and Redis is stopped.
func clusterCommand(ctx context.Context, inv *invocation) (err error) {
	out := bufio.NewWriter(inv.stdout)
	say := func(format string, args ...any) {
		fmt.Fprintf(out, format+"\n", args...)
		_ = out.Flush()
	}
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
	c, err := newCluster(ctx, program, dir, clusterConfig(postgres.PostgresURL("postgres"), redis.RedisURL()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	for _, r := range c.replicas {
		say("replica at %s, StatusTTL 1 h, changes and a shared cache through Redis", r.client.url)
	}
	var certs []*x509.Certificate
	for range demoCerts {
		_, cert, err := c.replicas[0].certify(ctx)
		if err != nil {
			return err
		}
		certs = append(certs, cert)
	}
	phase := func(title string, do func() error) error {
		loading, stop := context.WithCancel(ctx)
		var seen tally
		group := c.load(loading, certs, demoWorkers, &seen)
		begin := time.Now()
		err := do()
		stop()
		group.Wait()
		say("%-58s %5.1f s  others saw %v", title, time.Since(begin).Seconds(), seen.seen)
		return err
	}
	var revocations tally
	err = errors.Join(
		phase(fmt.Sprintf("%d certificates issued at one, revoked, asked at all", demoRounds), func() error {
			return c.rounds(ctx, demoRounds, demoWorkers, &revocations)
		}),
		phase("a replica killed and started again", func() error {
			return errors.Join(c.replicas[2].kill(), wait(ctx), c.replicas[2].start(ctx))
		}),
		phase("Redis stopped and started again", func() error {
			return errors.Join(redis.Stop(), wait(ctx), redis.Start())
		}),
		phase("PostgreSQL stopped and started again", func() error {
			return errors.Join(postgres.Stop(), wait(ctx), postgres.Start())
		}),
	)
	say("revocations: %v", &revocations)
	for i, r := range c.replicas {
		var n countersJSON
		if err := r.client.call(ctx, http.MethodGet, "counters", nil, &n); err != nil {
			return err
		}
		say("replica %d: answers %v, signatures %d, database reads %d", i+1, n.Answers, n.Signatures, n.StoreReads)
	}
	return err
}
