package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"github.com/kmsocsp/ocsp/examples/kms/internal/ca"
	"github.com/kmsocsp/ocsp/examples/kms/internal/cluster"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
)

// demo runs commands in the data directory of a server, and shows and checks what they print.
type demo struct {
	out            io.Writer
	dir            string
	server         *cluster.Replica
	store          inventory.Store // the server's, opened a second time
	checks, failed int
}

// with calls f while a server with that configuration runs as a process of its own.
func (d *demo) with(ctx context.Context, title string, cfg config.Config, f func() error) error {
	fmt.Fprintf(d.out, "\n=== %s\n", title)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if d.server, err = cluster.StartOne(ctx, self, d.dir, cfg); err != nil {
		return err
	}
	if d.store, err = inventory.Open(ctx, cfg.Store.URL, d.dir, nil); err != nil {
		return errors.Join(err, d.server.Stop())
	}
	return errors.Join(f(), d.store.Close(), d.server.Stop())
}

// query asks openssl about the certificate in a file.
func (d *demo) query(ctx context.Context, file string, flags ...string) (string, error) {
	return d.ask(ctx, append([]string{"-cert", file}, flags...)...)
}

// ask has openssl send a request.
func (d *demo) ask(ctx context.Context, flags ...string) (string, error) {
	args := append([]string{"ocsp", "-issuer", ca.File}, flags...)
	return d.run(ctx, "openssl", append(args, "-CAfile", ca.File, "-url", d.server.Client.URL+"/ocsp/")...)
}

// kms runs this program again, as another process.
func (d *demo) kms(ctx context.Context, args ...string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return d.run(ctx, self, append(args, "-data", ".")...)
}

// run runs a command in the data directory, shows it, and shows and returns what it prints.
func (d *demo) run(ctx context.Context, name string, args ...string) (string, error) {
	shown := name
	if name != "openssl" {
		shown = "kms"
	}
	fmt.Fprintf(d.out, "$ %s %s\n", shown, strings.Join(args, " "))
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.dir, &output, &output
	err := cmd.Run()
	_, _ = d.out.Write(output.Bytes())
	if err != nil {
		return "", fmt.Errorf("%s: %w", shown, err)
	}
	return output.String(), nil
}

// status sends an HTTP request, and shows it with the code that comes back.
func (d *demo) status(ctx context.Context, method, path string, body []byte) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, d.server.Client.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(d.out, "%s %s: %s\n", method, path, res.Status)
	return res.StatusCode, res.Body.Close()
}

// check shows and counts whether a promise holds.
func (d *demo) check(promise string, holds bool) {
	d.checks++
	if holds {
		fmt.Fprintf(d.out, "  ok: %s\n", promise)
		return
	}
	d.failed++
	fmt.Fprintf(d.out, "  FAILED: %s\n", promise)
}

// contains reports whether a line of the output ends with that text.
func contains(output, text string) bool {
	for line := range strings.Lines(output) {
		if strings.HasSuffix(strings.TrimSpace(line), text) {
			return true
		}
	}
	return false
}
