package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
)

// demo runs commands in the data directory of a server of its own, and shows and checks what they print.
type demo struct {
	out            io.Writer
	dir            string
	server         *kms
	checks, failed int
}

// with runs something while a server with that configuration serves on a free port.
func (d *demo) with(ctx context.Context, title string, cfg config, something func() error) error {
	fmt.Fprintf(d.out, "\n=== %s\n", title)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	cfg.Server.Listen = listener.Addr().String()
	if d.server, err = startIn(ctx, d.dir, cfg); err != nil {
		return errors.Join(err, listener.Close())
	}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.server.serve(serving, listener) }()
	err = something()
	stop()
	return errors.Join(err, <-ended)
}

// startIn opens a KMS with that configuration.
func startIn(ctx context.Context, dir string, cfg config) (*kms, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := cfg.write(dir); err != nil {
		return nil, err
	}
	k, err := openKMS(ctx, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if err := k.issueFirst(ctx); err != nil {
		return nil, errors.Join(err, k.close())
	}
	return k, nil
}

// query asks openssl about the certificate in a file.
func (d *demo) query(ctx context.Context, file string, flags ...string) (string, error) {
	return d.ask(ctx, append([]string{"-cert", file}, flags...)...)
}

// ask has openssl send a request.
func (d *demo) ask(ctx context.Context, flags ...string) (string, error) {
	args := append([]string{"ocsp", "-issuer", caFile}, flags...)
	return d.run(ctx, "openssl", append(args, "-CAfile", caFile, "-url", d.server.cfg.url()+"/ocsp/")...)
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
	req, err := http.NewRequestWithContext(ctx, method, d.server.cfg.url()+path, bytes.NewReader(body))
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

// check reports whether a promise was kept.
func (d *demo) check(promise string, kept bool) {
	d.checks++
	if kept {
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
