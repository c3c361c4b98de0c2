// Package cluster runs replicas of the example KMS as processes of their own, on one machine, and
// counts what clients see while certificates are revoked and servers fail. The cluster command and
// the tests of consistency and faults use it.
package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
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
	"syscall"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/api"
	"github.com/kmsocsp/ocsp/examples/kms/internal/ca"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/counters"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/examples/kms/internal/keyfile"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// AheadVariable is the environment variable that has a replica's Ahead.
const AheadVariable = "KMS_CLOCK_AHEAD"

const (
	startTimeout   = 30 * time.Second
	stopTimeout    = 20 * time.Second
	probeInterval  = 20 * time.Millisecond
	clientTimeout  = 15 * time.Second
	maxConnections = 64 // idle ones to a replica
)

// Replica is a process of the KMS.
type Replica struct {
	Dir    string // its data directory
	Client *api.Client
	CA     *x509.Certificate
	// Ahead is how far its clock is ahead of this process's, from its next Start on. The program
	// reads it from the environment variable AheadVariable: the KMS itself does not, tests do.
	Ahead time.Duration

	program string
	cmd     *exec.Cmd // nil unless it runs
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

// StartOne starts a program as a replica with that configuration, on a free port, and returns when
// it answers.
func StartOne(ctx context.Context, program, dir string, cfg config.Config) (*Replica, error) {
	var err error
	if cfg.Server.Listen, err = freeAddress(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := cfg.Write(dir); err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: maxConnections}
	client := &api.Client{
		URL: cfg.URL(), Token: cfg.Server.Token,
		HTTP: &http.Client{Transport: transport, Timeout: clientTimeout},
	}
	r := &Replica{program: program, Dir: dir, Client: client}
	if err := r.Start(ctx); err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	text, err := os.ReadFile(filepath.Join(dir, ca.File))
	if err == nil {
		r.CA, err = parsePEM(text)
	}
	if err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}

func parsePEM(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// freeAddress returns an address that no process listens on.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// Start starts the process, and returns when it answers.
func (r *Replica) Start(ctx context.Context) error {
	cmd := exec.Command(r.program, "serve", "-data", r.Dir)
	cmd.Stdout, cmd.Stderr = io.Discard, &r.log
	cmd.Env = append(os.Environ(), AheadVariable+"="+r.Ahead.String())
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	r.cmd, r.ended = cmd, ended
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	timeout := time.After(startTimeout)
	for {
		if _, err := r.Counters(ctx); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case err := <-ended:
			r.cmd = nil
			return fmt.Errorf("%s ended: %w\n%s", r.Dir, err, r.Log())
		case <-timeout:
			return fmt.Errorf("%s does not answer\n%s", r.Dir, r.Log())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Kill ends the process as a failing machine would.
func (r *Replica) Kill() error {
	if r.cmd == nil {
		return nil
	}
	err := r.cmd.Process.Kill()
	<-r.ended
	r.cmd = nil
	return err
}

// Stop interrupts the process and waits for its end.
func (r *Replica) Stop() error {
	r.Client.HTTP.CloseIdleConnections()
	if r.cmd == nil {
		return nil
	}
	err := r.cmd.Process.Signal(os.Interrupt)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil // its exit status follows
	}
	select {
	case ended := <-r.ended:
		r.cmd = nil
		if ended != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w\n%s", r.Dir, ended, r.Log()))
		}
		return err
	case <-time.After(stopTimeout):
		return errors.Join(err, fmt.Errorf("%s does not end", r.Dir), r.Kill())
	}
}

// Log returns what the process has logged.
func (r *Replica) Log() string { return r.log.String() }

// Counters returns the counters of the replica.
func (r *Replica) Counters(ctx context.Context) (counters.Snapshot, error) {
	var s counters.Snapshot
	err := r.Client.Call(ctx, http.MethodGet, "counters", nil, &s)
	return s, err
}

// Query asks the replica about a certificate. It returns the status of a verified answer ("good",
// "on hold", "revoked", "unknown"), the OCSP error ("try later"), "no answer", or an error that
// begins with "wrong".
func (r *Replica) Query(ctx context.Context, cert *x509.Certificate) string {
	status, _ := r.ask(ctx, cert, Post)
	return status
}

// ask asks a question. It also reports whether the replica says that the answer is one that stands
// in for a store that does not answer, which the replicas of tests do.
func (r *Replica) ask(
	ctx context.Context, cert *x509.Certificate, how Question,
) (status string, stale bool) {
	client := ocsptest.Client{
		URL: r.Client.URL + "/ocsp", HTTP: r.Client.HTTP,
		Now: func() time.Time { return time.Now().Add(r.Ahead) },
	}
	switch how {
	case Get:
		client.Method = http.MethodGet
	case Nonce:
		client.Nonce, client.NonceOptional = []byte(rand.Text()), true
	}
	result, err := client.Query(ctx, r.CA, cert)
	var refused xocsp.ResponseError
	switch {
	case errors.As(err, &refused):
		return refused.Status.String(), false
	case err != nil && result == nil:
		return NoAnswer, false
	case err != nil:
		return "wrong: " + err.Error(), false
	}
	stale = result.Header.Get(OutcomeHeader) == ocsp.OutcomeStale.String()
	nonce, err := ocsptest.ResponseNonce(result.DER)
	if err != nil || how == Nonce && nonce == nil && !stale { // what stands in was signed for others
		return fmt.Sprintf("wrong: the nonce is missing: %v", err), false
	}
	answer := result.Responses[0]
	switch {
	case answer.Status == xocsp.Good:
		return Good, stale
	case answer.Status == xocsp.Revoked && answer.RevocationReason == xocsp.CertificateHold:
		return OnHold, stale
	case answer.Status == xocsp.Revoked:
		return Revoked, stale
	default:
		return "unknown", stale
	}
}

// Certify issues a certificate through the replica.
func (r *Replica) Certify(ctx context.Context) (uid string, cert *x509.Certificate, err error) {
	var made api.Certificate
	request := api.CertifyRequest{Name: strings.ToLower(rand.Text()[:12])}
	if err := r.Client.Call(ctx, http.MethodPost, "certificates", request, &made); err != nil {
		return "", nil, err
	}
	cert, err = parsePEM([]byte(made.Certificate))
	return made.UID, cert, err
}

// change makes a change to a certificate through the replica.
func (r *Replica) change(ctx context.Context, uid string, verb Verb) error {
	var cert api.Certificate
	request := api.RevokeRequest{} // the other changes have no parameters
	if verb == Revoke {
		request.Reason = "keyCompromise"
	}
	return r.Client.Call(ctx, http.MethodPost, "certificates/"+uid+"/"+string(verb), request, &cert)
}

// Pause stops the process as it is, and Resume lets it go on.
func (r *Replica) Pause() error { return r.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (r *Replica) Resume() error { return r.cmd.Process.Signal(syscall.SIGCONT) }

// copyKey gives a replica the CA's key of another one. In production the key would be in an HSM.
func copyKey(from, to string) error {
	key, err := keyfile.Read(keyfile.Path(from, inventory.KindCA))
	if err != nil {
		return err
	}
	path := keyfile.Path(to, inventory.KindCA)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return keyfile.Create(path, key)
}
