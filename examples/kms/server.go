package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/kmsocsp/ocsp"
)

// firstName is the name of the certificate that the first start issues, to have one to ask about.
const firstName = "example"

const shutdownTime = 10 * time.Second

// serveCommand serves until the context ends.
func serveCommand(ctx context.Context, inv *invocation) error {
	k, err := openKMS(ctx, inv.data, slog.New(slog.NewTextHandler(inv.stderr, nil)))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", k.cfg.Server.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("[server] listen: %w: stop what uses the address, or choose another in %s", err, filepath.Join(inv.data, configFile)), k.close())
	}
	if err := k.issueFirst(ctx); err != nil {
		return errors.Join(err, listener.Close(), k.close())
	}
	if err := k.printHints(ctx, inv.stdout); err != nil {
		return errors.Join(err, listener.Close(), k.close())
	}
	return k.serve(ctx, listener)
}

// serve serves until the context ends, lets requests under way finish, and closes the KMS.
func (k *kms) serve(ctx context.Context, listener net.Listener) error {
	if addr, ok := listener.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() {
		k.logger.WarnContext(ctx, "tokens and keys pass in plain HTTP: listen on a loopback address, behind a TLS proxy", "listen", addr)
	}
	server := &http.Server{
		Handler:           k.handler(),
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
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		// A client that dawdles is no reason to fail.
		k.logger.WarnContext(ctx, "connections that were still in use are closed", "error", err)
		_ = server.Close()
	}
	<-ended
	return k.close()
}

// handler routes to OCSP, the API, the metrics and the page.
func (k *kms) handler() http.Handler {
	router := chi.NewRouter()
	responder := k.responder.Handler()
	if k.cfg.OCSP.Enabled && k.cfg.OCSP.RequireAuth {
		responder = requireToken(k.cfg.Server.Token)(responder)
	}
	router.Mount("/ocsp", responder)
	router.Route("/api", func(r chi.Router) {
		r.Use(requireToken(k.cfg.Server.Token))
		k.routes(r)
	})
	router.With(requireToken(k.cfg.Server.Token)).Get("/metrics", k.metrics.handler.ServeHTTP)
	newPage(k, router, time.Now).routes(router)
	return router
}

// requireToken returns middleware that lets requests through that carry the bearer token.
func requireToken(token string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			if !strings.EqualFold(scheme, "Bearer") || !sameSecret(given, token) {
				w.Header().Set("WWW-Authenticate", "Bearer")
				w.Header().Set("Cache-Control", "no-store")
				http.Error(w, "unauthorized", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// issueFirst issues a certificate, and writes it into the data directory, if there is none yet.
func (k *kms) issueFirst(ctx context.Context) error {
	certs, err := k.store.list(ctx, kindCertificate)
	if err != nil || len(certs) > 0 {
		return err
	}
	files, err := newPair(k.dir, firstName)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s or %s is there, but the database that it belongs to is not: restore that, or move the files away", files.cert, files.key)
	}
	if err != nil {
		return err
	}
	o, key, err := k.certify(ctx, firstName, ocsp.Active)
	if err != nil {
		return errors.Join(err, files.remove())
	}
	text, err := keyPEM(key)
	if err != nil {
		return errors.Join(err, files.remove())
	}
	return files.write(certPEM(o.der), text)
}

// printHints prints a link to open and command lines to paste.
func (k *kms) printHints(ctx context.Context, w io.Writer) error {
	fmt.Fprintf(w, "KMS at %s, data in %s\n", k.cfg.url(), k.dir)
	fmt.Fprintf(w, "\nOpen it in a browser, once and within the hour with this link, later with the token in %s:\n  %s/login?code=%s\n",
		shellQuote(filepath.Join(k.dir, configFile)), k.cfg.url(), k.invitation.renew(time.Now()))
	certs, err := k.store.list(ctx, kindCertificate)
	if err != nil {
		return err
	}
	uid := "UID"
	if len(certs) > 0 {
		uid = certs[0].uid
	}
	token := fmt.Sprintf(`$(sed -n 's/^token = "\(.*\)"$/\1/p' %s)`, shellQuote(filepath.Join(k.dir, configFile)))
	ca, leaf := shellQuote(filepath.Join(k.dir, caFile)), filepath.Join(k.dir, firstName+".pem")
	if _, err := os.Stat(leaf); err == nil && k.cfg.OCSP.Enabled {
		header := ""
		if k.cfg.OCSP.RequireAuth {
			header = fmt.Sprintf(` -header "Authorization=Bearer %s"`, token)
		}
		fmt.Fprintf(w, "\nAsk about the first certificate, with a nonce and without one, which the cache can answer:\n")
		line := fmt.Sprintf("openssl ocsp -issuer %s -cert %s -CAfile %s -url %s/ocsp/%s", ca, shellQuote(leaf), ca, k.cfg.url(), header)
		fmt.Fprintf(w, "  %s\n  %s -no_nonce\n", line, line)
	}
	data := ""
	if k.dir != defaultData {
		data = " -data " + shellQuote(k.dir)
	}
	fmt.Fprintf(w, "\nChange it, and ask again:\n")
	for _, line := range []string{"list" + data, "certify" + data + " NAME", "revoke" + data + " -reason keyCompromise " + uid} {
		fmt.Fprintf(w, "  go run ./examples/kms %s\n", line)
	}
	fmt.Fprintf(w, "\nIts metrics, for Prometheus:\n  curl -H \"Authorization: Bearer %s\" %s/metrics\n", token, k.cfg.url())
	return nil
}

// shellQuote quotes a path for a shell, if it needs to be.
func shellQuote(path string) string {
	safe := func(r rune) bool {
		return r == '/' || r == '.' || r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	}
	if strings.IndexFunc(path, func(r rune) bool { return !safe(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
