// Command kms is a small key management server that embeds the OCSP responder: a CA, its
// certificates with KMIP states in a SQLite file, an HTTP API behind a bearer token, and OCSP under
// /ocsp.
//
// Without arguments it serves from the directory .kms, which it creates on the first start, and
// prints openssl lines to try. Its other commands talk to the running server; kms -h lists them.
//
// This file is what another KMS has to write. Read it from top to bottom: open, newResponder,
// FindBySerial, Signer, Change, handler. The files replicas.go and metrics.go show options. The
// packages below internal are the rest of the KMS, which an embedder has already.
package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/api"
	"github.com/kmsocsp/ocsp/examples/kms/internal/ca"
	"github.com/kmsocsp/ocsp/examples/kms/internal/cli"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/counters"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/examples/kms/internal/keyfile"
	"github.com/kmsocsp/ocsp/examples/kms/internal/page"
	"github.com/kmsocsp/ocsp/ocspconfig"
)

func main() { run(serve) }

func run(serve cli.Serve) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Run(ctx, serve, os.Args[1:], os.Stdout, os.Stderr))
}

// kms is the key management server.
type kms struct {
	dir       string
	cfg       config.Config
	store     inventory.Store
	ca        *ca.CA
	responder *ocsp.Responder
	counters  counters.Counters
	metrics   *metrics
	page      *page.Page
	logger    *slog.Logger
	now       func() time.Time // nil is time.Now

	closers []func() error
}

var (
	_ ocspconfig.KMS = (*kms)(nil)
	_ api.KMS        = (*kms)(nil)
)

// open opens a data directory. The first time it creates the directory, the configuration and the
// CA.
func open(ctx context.Context, dir string, logger *slog.Logger) (*kms, error) {
	return openBy(ctx, dir, logger, nil)
}

// openBy opens a data directory of a KMS that has that clock.
func openBy(
	ctx context.Context, dir string, logger *slog.Logger, now func() time.Time,
) (_ *kms, err error) {
	k := &kms{dir: dir, logger: logger, now: now}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.close())
		}
	}()
	if k.cfg, err = config.LoadOrCreate(dir); err != nil {
		return nil, err
	}
	k.store, err = inventory.Open(ctx, k.cfg.Store.URL, dir, k.cfg.Replicas.SecretBytes())
	if err != nil {
		return nil, err
	}
	k.closers = append(k.closers, k.store.Close)
	if k.ca, err = ca.Open(ctx, dir, k.cfg, k.store); err != nil {
		return nil, err
	}
	if k.metrics, err = newMetrics(&k.counters); err != nil {
		return nil, err
	}
	k.closers = append(k.closers, k.metrics.close)
	if k.responder, err = k.newResponder(ctx); err != nil {
		return nil, err
	}
	k.closers = append(k.closers, k.responder.Close)
	k.page = k.newPage(k.ocspHandler(), time.Now)
	return k, nil
}

// close closes everything in reverse order: the responder before the store that it reads.
func (k *kms) close() error {
	var errs []error
	for _, c := range slices.Backward(k.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// newResponder builds the responder from the [ocsp] block of the configuration. The block names the
// CA by its UID, and the responder asks the KMS for the rest: see ocspconfig.KMS, which
// FindBySerial, Certificate and Signer implement.
func (k *kms) newResponder(ctx context.Context) (*ocsp.Responder, error) {
	var shared ocsp.CacheOptions
	if err := k.openShared(&shared); err != nil {
		return nil, err
	}
	return ocspconfig.New(ctx, k.cfg.OCSP.Settings, k, func(c *ocsp.Config) {
		c.Logger, c.Observe, c.Now = k.logger, k.observe, k.now
		c.Cache.Remote, c.Cache.Feed = shared.Remote, shared.Feed
	})
}

// observe is called with each answer.
func (k *kms) observe(ctx context.Context, event ocsp.Event) {
	k.counters.Observe(ctx, event)
	k.metrics.Observe(ctx, event)
}

// FindBySerial implements ocsp.CertStore. It reads the database each time, so that the next answer
// has what other processes have written. A serial number that the CA never issued is
// ocsp.ErrNotFound. Any other error is a failure of the store, and never a status.
func (k *kms) FindBySerial(
	ctx context.Context, issuerID string, serial *big.Int,
) (ocsp.Record, error) {
	k.counters.StoreReads.Add(1)
	record, err := k.store.BySerial(ctx, issuerID, serial)
	if errors.Is(err, inventory.ErrNotFound) {
		return ocsp.Record{}, ocsp.ErrNotFound
	}
	return record, err
}

// Certificate implements ocspconfig.KMS.
func (k *kms) Certificate(ctx context.Context, uid string) (*x509.Certificate, error) {
	o, err := k.store.Get(ctx, uid)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(o.DER)
}

// Signer implements ocspconfig.KMS. In production it would return a signer whose key is in an HSM.
func (k *kms) Signer(ctx context.Context, uid string) (crypto.Signer, error) {
	o, err := k.store.Get(ctx, uid)
	if err != nil {
		return nil, err
	}
	if o.Kind == inventory.KindCertificate {
		return nil, fmt.Errorf("%s is a %s, whose key is not stored", uid, o.Kind)
	}
	key, err := keyfile.Load(keyfile.Path(k.dir, o.Kind))
	if err != nil {
		return nil, err
	}
	return k.counters.Signer(key), nil
}

// Certify issues a certificate and returns it with its new key, which is not stored. The responder
// need not be notified: it does not cache that a serial number is unknown.
func (k *kms) Certify(
	ctx context.Context, name string, state ocsp.State,
) (inventory.Object, crypto.Signer, error) {
	o, key, err := k.ca.Issue(ctx, name, state)
	if err != nil {
		return inventory.Object{}, nil, err
	}
	k.logger.InfoContext(ctx, "certified", "uid", o.UID, "name", name, "state", state)
	return o, key, nil
}

// Change changes the state of a certificate, such as to revoked, and invalidates the answers about
// it. An error does not mean that nothing was written: the connection to the store may break after
// the commit. So answers are invalidated after an error too, and callers make the change again. If
// the first call made it, the second is refused, and has invalidated it all the same.
func (k *kms) Change(
	ctx context.Context, uid string, c inventory.Change,
) (inventory.Object, error) {
	if k.now != nil {
		c.At = k.now()
	}
	o, err := k.store.Apply(ctx, uid, c)
	if o.Serial == nil { // it was not even read
		return o, err
	}
	// The change may be in the store, so an error here is logged and not returned. Without
	// status_ttl_secs every answer reads the store, and needs no Invalidate.
	stale := k.responder.Invalidate(context.WithoutCancel(ctx), o.IssuerUID, o.Serial)
	if stale != nil {
		const text = "answers from before the change may be served until status_ttl_secs have passed"
		k.logger.ErrorContext(ctx, text, "uid", uid, "error", stale)
	}
	if err == nil {
		k.logger.InfoContext(ctx, "changed", "uid", uid, "state", o.State, "reason", o.Reason)
	}
	return o, err
}

// ocspHandler returns the handler to mount under /ocsp. Clients that read the URL in a certificate
// have no token, so require_auth is off by default.
func (k *kms) ocspHandler() http.Handler {
	if k.cfg.OCSP.Enabled && k.cfg.OCSP.RequireAuth {
		return api.RequireToken(k.cfg.Server.Token)(k.responder.Handler())
	}
	return k.responder.Handler() // without enabled it answers 404
}

// handler routes to OCSP, the API, the metrics and the page. Leave out middleware that cleans
// paths, strips slashes or compresses /ocsp: the path of a GET is the request.
func (k *kms) handler() http.Handler {
	requireToken := api.RequireToken(k.cfg.Server.Token)
	router := chi.NewRouter()
	router.Mount("/ocsp", k.ocspHandler())
	router.Route("/api", func(r chi.Router) {
		r.Use(requireToken)
		k.api().Routes(r)
	})
	router.With(requireToken).Get("/metrics", k.metrics.handler.ServeHTTP)
	k.page.Routes(router)
	return router
}

func (k *kms) api() *api.Handler {
	return &api.Handler{
		KMS: k, Store: k.store, CA: k.ca.Certificate, Counters: &k.counters, Logger: k.logger,
	}
}

func (k *kms) newPage(ocspHandler http.Handler, now func() time.Time) *page.Page {
	return page.New(page.Options{
		API: k.api(), OCSP: ocspHandler, Disabled: !k.cfg.OCSP.Enabled,
		Token: k.cfg.Server.Token, Now: now,
	})
}

// serve opens the KMS, prints lines to try, and serves until the context ends.
func serve(ctx context.Context, dir string, stdout, stderr io.Writer) error {
	k, err := open(ctx, dir, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", k.cfg.Server.Listen)
	if err != nil {
		const text = "[server] listen: %w: stop what uses the address, or choose another in %s"
		return errors.Join(fmt.Errorf(text, err, filepath.Join(dir, config.File)), k.close())
	}
	uid, err := k.ca.IssueFirst(ctx, dir)
	if err != nil {
		return errors.Join(err, listener.Close(), k.close())
	}
	cli.PrintHints(stdout, dir, k.cfg, k.page.Invite(), uid)
	return k.serve(ctx, listener, k.handler())
}

// serve serves until the context ends, waits for requests in flight, and closes the KMS.
func (k *kms) serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	if addr, ok := listener.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() {
		const text = "tokens and keys are sent in plain HTTP: listen on loopback, behind a TLS proxy"
		k.logger.WarnContext(ctx, text, "listen", addr)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(k.logger.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return errors.Join(err, k.close())
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		// A slow client is not a failure.
		k.logger.WarnContext(ctx, "connections in use were closed", "error", err)
		_ = server.Close()
	}
	<-ended
	return k.close()
}
