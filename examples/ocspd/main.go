// Command ocspd is a stand-alone OCSP server: keys in PEM files, statuses in a SQL database.
package main

import (
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pelletier/go-toml/v2"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspconfig"
	"github.com/kmsocsp/ocsp/ocspotel"
	"github.com/kmsocsp/ocsp/ocspsql"
)

// kms is the settings, which ocspd.toml explains, and their store. It is an ocspconfig.KMS.
type kms struct {
	Server struct{ Listen, Admin string }
	PEM    map[string]struct{ Certificate, Key string }
	Store  struct {
		Driver, Source, Query, Serial string
		Migrate                       bool
	}
	OCSP           ocspconfig.Settings
	ocsp.CertStore `toml:"-"`
}

func (k *kms) Certificate(_ context.Context, uid string) (*x509.Certificate, error) {
	text, err := os.ReadFile(k.PEM[uid].Certificate)
	if block, _ := pem.Decode(text); block != nil {
		return x509.ParseCertificate(block.Bytes)
	}
	const wrong = "[pem.%s] certificate: give its file in PEM: %w"
	return nil, fmt.Errorf(wrong, uid, cmp.Or(err, errors.New("it has no PEM")))
}

func (k *kms) Signer(_ context.Context, uid string) (crypto.Signer, error) {
	pair, err := tls.LoadX509KeyPair(k.PEM[uid].Certificate, k.PEM[uid].Key)
	if err != nil {
		return nil, fmt.Errorf("[pem.%s] key: give its file in PEM, not encrypted: %w", uid, err)
	}
	return pair.PrivateKey.(crypto.Signer), nil // every key that package tls reads is one
}

// open opens the store. Its pool has a connection for each call that the responder may make.
func (k *kms) open(ctx context.Context) ocsp.CertStore {
	drivers := []string{"", "pgx", "sqlite", "mysql"}                   // as ocspsql.Dialect
	serials := []string{"", "unsigned", "hex", "decimal", "hex-octets"} // as ocspsql.SerialForm
	dialect, form := slices.Index(drivers, k.Store.Driver), slices.Index(serials, k.Store.Serial)
	if dialect < 1 || form < 0 {
		log.Fatalf("driver must be one of %q, serial one of %q", drivers[1:], serials)
	}
	db := must(sql.Open(k.Store.Driver, k.Store.Source))
	db.SetMaxOpenConns(k.OCSP.MaxStoreCalls)
	db.SetMaxIdleConns(k.OCSP.MaxStoreCalls)
	if sql := k.Store.Query; sql != "" {
		return must(ocspsql.OpenQuery(ctx, db, ocspsql.Query{SQL: sql, Serial: ocspsql.SerialForm(form)}))
	}
	if k.Store.Migrate {
		must(0, ocspsql.Migrate(ctx, db, ocspsql.Dialect(dialect)))
	}
	log.SetPrefix(fmt.Sprintf("%smigrate = %t (true: make it): ", log.Prefix(), k.Store.Migrate))
	return must(ocspsql.Open(ctx, db, ocspsql.Dialect(dialect)))
}

func main() {
	path := flag.String("config", "ocspd.toml", "the file of settings")
	flag.Parse()
	k := kms{OCSP: ocspconfig.Settings{Enabled: true, MaxStoreCalls: 16}}
	log.SetPrefix("-config " + *path + ": ")
	err := toml.NewDecoder(must(os.Open(*path))).DisallowUnknownFields().Decode(&k)
	if lines, ok := err.(fmt.Stringer); ok {
		log.Fatalf("correct or remove these lines:\n%s", lines.String())
	}
	must(0, err)
	if s := k.Server; s.Listen == "" || s.Admin == "" { // net/http would take port 80 everywhere
		log.Fatalf("[server] listen = %q, admin = %q: give both an address and port", s.Listen, s.Admin)
	}
	ctx := context.Background()
	provider := metric.NewMeterProvider(metric.WithReader(must(prometheus.New())))
	observer := must(ocspotel.New(ocspotel.Options{MeterProvider: provider}))
	var issuer ocsp.Issuer
	option := func(c *ocsp.Config) { issuer, c.Observe = c.Issuers[0], observer.Observe }
	responder := must(ocspconfig.New(ctx, k.OCSP, &k, option))
	ca := must(k.Certificate(ctx, k.OCSP.CAUID))
	log.SetPrefix(*path + ": [store] ")
	k.CertStore = k.open(ctx) // after all else is read: a faulty start makes no database
	log.SetPrefix("")
	ready := func(w http.ResponseWriter, r *http.Request) { // a lookup: no answer that counts
		_, err := k.FindBySerial(r.Context(), k.OCSP.CAUID, ca.SerialNumber)
		if err != nil && !errors.Is(err, ocsp.ErrNotFound) {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}
	admin := http.NewServeMux()
	admin.Handle("/metrics", promhttp.Handler())
	admin.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	admin.Handle("/readyz", http.TimeoutHandler(http.HandlerFunc(ready), 5*time.Second, "store: slow"))
	server := &http.Server{Addr: k.Server.Listen, Handler: responder.Handler()}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
	log.Printf("starts: listen %s, admin %s, CA %s, signer [pem.%s]", k.Server.Listen,
		k.Server.Admin, ca.Subject, cmp.Or(k.OCSP.ResponderUID, k.OCSP.CAUID))
	go serve("admin", &http.Server{Addr: k.Server.Admin, Handler: admin})
	go serve("listen", server)
	for <-signals == syscall.SIGHUP {
		checked, err := ocspconfig.New(ctx, k.OCSP, &k, option) // of what the files hold now
		if err == nil {
			err = errors.Join(checked.Close(), responder.SetIssuer(issuer))
		}
		log.Printf("certificates and key read again; error: %v", err)
	}
	log.Print(must("ended", errors.Join(server.Shutdown(ctx), responder.Close()))) // in bounded time
}

func serve(key string, s *http.Server) {
	s.ReadTimeout, s.WriteTimeout, s.IdleTimeout = 10*time.Second, 20*time.Second, time.Minute
	if err := s.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatalf("[server] %s = %q: give a free address and port: %v", key, s.Addr, err)
	}
}

// must ends the process for an error.
func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
