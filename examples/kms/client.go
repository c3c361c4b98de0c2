package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"
)

// client talks to a running KMS.
type client struct {
	url, token string
	http       *http.Client
}

const clientTimeout = 30 * time.Second

// newClient reads the URL and the token from a data directory.
func newClient(dir string) (*client, error) {
	cfg, err := loadConfig(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: start the server first, or name its directory with -data", err)
	}
	if err != nil {
		return nil, err
	}
	return &client{cfg.url(), cfg.Server.Token, &http.Client{Timeout: clientTimeout}}, nil
}

// call sends a request, with a JSON body if there is one, and reads the JSON answer.
func (c *client) call(ctx context.Context, method, path string, body, into any) error {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+"/api/"+path, reader)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%w: is the server running?", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		var refused errorJSON
		if json.NewDecoder(res.Body).Decode(&refused) != nil || refused.Error == "" {
			return errors.New(res.Status)
		}
		return errors.New(refused.Error)
	}
	return json.NewDecoder(res.Body).Decode(into)
}

func certifyFlags(inv *invocation, fs *flag.FlagSet) {
	fs.StringVar(&inv.out, "out", "", "the `directory` for NAME.pem and NAME.key (default: the data directory)")
	fs.BoolVar(&inv.preActive, "pre-active", false, "issue it in the state PreActive, to be activated later")
}

func certifyCommand(ctx context.Context, inv *invocation) error {
	c, err := newClient(inv.data)
	if err != nil {
		return err
	}
	if err := checkName(inv.operand); err != nil {
		return err
	}
	dir := inv.out
	if dir == "" {
		dir = inv.data
	}
	files, err := newPair(dir, inv.operand)
	if err != nil {
		return err
	}
	var made certificateJSON
	if err := c.call(ctx, http.MethodPost, "certificates", certifyRequest{Name: inv.operand, PreActive: inv.preActive}, &made); err != nil {
		return errors.Join(err, files.remove())
	}
	if err := files.write([]byte(made.Certificate), []byte(made.Key)); err != nil {
		return err
	}
	fmt.Fprintf(inv.stdout, "%s is %s: %s, %s\n", made.UID, made.State, files.cert, files.key)
	return nil
}

func listCommand(ctx context.Context, inv *invocation) error {
	c, err := newClient(inv.data)
	if err != nil {
		return err
	}
	var list []certificateJSON
	if err := c.call(ctx, http.MethodGet, "certificates", nil, &list); err != nil {
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
	req := revokeRequest{Reason: inv.reason}
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

// revokeDirectly revokes in the database. The server, if one runs, is not told.
func (inv *invocation) revokeDirectly(ctx context.Context, req revokeRequest) error {
	cfg, err := loadConfig(inv.data)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: start the server first, or name its directory with -data", err)
	}
	if err != nil {
		return err
	}
	c, err := revocation(req.Reason, req.CompromisedAt, time.Now())
	if err != nil {
		return err
	}
	store, err := cfg.Store.open(ctx, inv.data, cfg.Replicas.secret())
	if err != nil {
		return err
	}
	o, err := store.apply(ctx, inv.operand, c)
	if err != nil {
		return errors.Join(err, store.close())
	}
	inv.printState(o.json())
	return store.close()
}

// post does something to the certificate that the command line names.
func (inv *invocation) post(ctx context.Context, verb string, body any) error {
	c, err := newClient(inv.data)
	if err != nil {
		return err
	}
	var cert certificateJSON
	if err := c.call(ctx, http.MethodPost, "certificates/"+url.PathEscape(inv.operand)+"/"+verb, body, &cert); err != nil {
		return err
	}
	inv.printState(cert)
	return nil
}

func (inv *invocation) printState(cert certificateJSON) {
	fmt.Fprintf(inv.stdout, "%s is %s", cert.UID, cert.State)
	if !cert.RevokedAt.IsZero() {
		fmt.Fprintf(inv.stdout, ", revoked at %s", cert.RevokedAt.Format(time.RFC3339))
	}
	fmt.Fprintln(inv.stdout)
}

func countersCommand(ctx context.Context, inv *invocation) error {
	c, err := newClient(inv.data)
	if err != nil {
		return err
	}
	var counters countersJSON
	if err := c.call(ctx, http.MethodGet, "counters", nil, &counters); err != nil {
		return err
	}
	return json.NewEncoder(inv.stdout).Encode(counters)
}
