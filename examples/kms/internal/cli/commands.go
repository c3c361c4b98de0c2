package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/kmsocsp/ocsp/examples/kms/internal/api"
	"github.com/kmsocsp/ocsp/examples/kms/internal/ca"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/counters"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/examples/kms/internal/keyfile"
)

const clientTimeout = 30 * time.Second

// loadConfig reads the configuration of the data directory, which the server has written.
func (inv *invocation) loadConfig() (config.Config, error) {
	cfg, err := config.Load(inv.data)
	if errors.Is(err, fs.ErrNotExist) {
		return cfg, fmt.Errorf("%w: start the server first, or name its directory with -data", err)
	}
	return cfg, err
}

// client returns a client of the server of the data directory.
func (inv *invocation) client() (*api.Client, error) {
	cfg, err := inv.loadConfig()
	if err != nil {
		return nil, err
	}
	return &api.Client{URL: cfg.URL(), Token: cfg.Server.Token, HTTP: &http.Client{Timeout: clientTimeout}}, nil
}

func certifyFlags(inv *invocation, fs *flag.FlagSet) {
	fs.StringVar(&inv.out, "out", "", "the `directory` for NAME.pem and NAME.key (default: the data directory)")
	fs.BoolVar(&inv.preActive, "pre-active", false, "issue it in the state PreActive, to be activated later")
}

func certifyCommand(ctx context.Context, inv *invocation) error {
	c, err := inv.client()
	if err != nil {
		return err
	}
	if err := ca.CheckName(inv.operand); err != nil {
		return err
	}
	dir := inv.out
	if dir == "" {
		dir = inv.data
	}
	files, err := keyfile.NewPair(dir, inv.operand)
	if err != nil {
		return err
	}
	var made api.Certificate
	if err := c.Call(ctx, http.MethodPost, "certificates", api.CertifyRequest{Name: inv.operand, PreActive: inv.preActive}, &made); err != nil {
		return errors.Join(err, files.Remove())
	}
	if err := files.Write([]byte(made.Certificate), []byte(made.Key)); err != nil {
		return err
	}
	fmt.Fprintf(inv.stdout, "%s is %s: %s, %s\n", made.UID, made.State, files.Certificate, files.Key)
	return nil
}

func listCommand(ctx context.Context, inv *invocation) error {
	c, err := inv.client()
	if err != nil {
		return err
	}
	var list []api.Certificate
	if err := c.Call(ctx, http.MethodGet, "certificates", nil, &list); err != nil {
		return err
	}
	table := tabwriter.NewWriter(inv.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "UID\tNAME\tSERIAL\tSTATE\tREVOKED AT\tREASON")
	for _, cert := range list {
		revokedAt := ""
		if !cert.RevokedAt.IsZero() {
			revokedAt = cert.RevokedAt.Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", cert.UID, cert.Name, cert.Serial, cert.State, revokedAt, cert.Reason)
	}
	return table.Flush()
}

func activateCommand(ctx context.Context, inv *invocation) error {
	return inv.post(ctx, "activate", nil)
}

func destroyCommand(ctx context.Context, inv *invocation) error {
	return inv.post(ctx, "destroy", nil)
}

func revokeFlags(inv *invocation, fs *flag.FlagSet) {
	fs.StringVar(&inv.reason, "reason", "", "why, as RFC 5280 spells it, such as keyCompromise (default: cessationOfOperation, implied)")
	fs.StringVar(&inv.compromisedAt, "compromised-at", "", "since when the key is compromised, as an RFC 3339 `time`")
	fs.BoolVar(&inv.direct, "direct", false, "write to the database without the server, as another process would")
}

func revokeCommand(ctx context.Context, inv *invocation) error {
	req := api.RevokeRequest{Reason: inv.reason}
	if inv.compromisedAt != "" {
		var err error
		if req.CompromisedAt, err = time.Parse(time.RFC3339, inv.compromisedAt); err != nil {
			return fmt.Errorf("-compromised-at: %w: use a time such as 2026-01-31T12:00:00Z", err)
		}
	}
	if inv.direct {
		return inv.revokeDirectly(ctx, req)
	}
	return inv.post(ctx, "revoke", req)
}

// revokeDirectly revokes in the database, without the server.
func (inv *invocation) revokeDirectly(ctx context.Context, req api.RevokeRequest) error {
	cfg, err := inv.loadConfig()
	if err != nil {
		return err
	}
	c, err := inventory.Revocation(req.Reason, req.CompromisedAt, time.Now())
	if err != nil {
		return err
	}
	store, err := inventory.Open(ctx, cfg.Store.URL, inv.data, cfg.Replicas.SecretBytes())
	if err != nil {
		return err
	}
	o, err := store.Apply(ctx, inv.operand, c)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	inv.printState(api.NewCertificate(o))
	return store.Close()
}

// post requests a change of the certificate that the command line names.
func (inv *invocation) post(ctx context.Context, verb string, body any) error {
	c, err := inv.client()
	if err != nil {
		return err
	}
	var cert api.Certificate
	if err := c.Call(ctx, http.MethodPost, "certificates/"+url.PathEscape(inv.operand)+"/"+verb, body, &cert); err != nil {
		return err
	}
	inv.printState(cert)
	return nil
}

func (inv *invocation) printState(cert api.Certificate) {
	fmt.Fprintf(inv.stdout, "%s is %s", cert.UID, cert.State)
	if !cert.RevokedAt.IsZero() {
		fmt.Fprintf(inv.stdout, ", revoked at %s", cert.RevokedAt.Format(time.RFC3339))
	}
	fmt.Fprintln(inv.stdout)
}

func countersCommand(ctx context.Context, inv *invocation) error {
	c, err := inv.client()
	if err != nil {
		return err
	}
	var s counters.Snapshot
	if err := c.Call(ctx, http.MethodGet, "counters", nil, &s); err != nil {
		return err
	}
	return json.NewEncoder(inv.stdout).Encode(s)
}
