package interop_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/servers"
)

// serveHAProxy runs HAProxy with an answer to staple, if any.
func (w *world) serveHAProxy(t *testing.T, l *leaf, answer []byte) *servers.Server {
	return w.serve(t, l, "haproxy", map[string]string{"server.pem.ocsp": string(answer), "config": `global
	stats socket DIR/socket level admin
defaults
	mode http
	timeout connect 10s
	timeout client 10s
	timeout server 10s
frontend tls
	bind ADDRESS ssl crt DIR/server.pem
	http-request return status 200
`}, "-f", "DIR/config", "-db")
}

// command sends one to HAProxy's socket and returns what it says.
func command(t *testing.T, s *servers.Server, line string) string {
	conn, err := net.Dial("unix", filepath.Join(s.Dir(), "socket"))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprintln(conn, line)
	require.NoError(t, err)
	reply, err := io.ReadAll(conn)
	require.NoError(t, err)
	return string(reply)
}

// fetch lets OpenSSL fetch an answer, as the manual of HAProxy has it.
func (w *world) fetch(t *testing.T, l *leaf) []byte {
	file := filepath.Join(w.dir, l.name+".der")
	output, status := run(t, tool(t, "openssl", "openssl"), "ocsp", "-issuer", w.caFile, "-cert", l.certFile, "-url", w.url,
		"-CAfile", w.rootFile, "-no_nonce", "-respout", file)
	require.Zero(t, status, output)
	require.NotEmpty(t, w.drain(), "HAProxy did not ask, so this is not its")
	answer, err := os.ReadFile(file)
	require.NoError(t, err)
	return answer
}

func TestHAProxy(t *testing.T) {
	version := versionOf(t, "version ", tool(t, "haproxy", "haproxy"), "-v")
	staples := func(options string) client {
		return client{name: "HAProxy", version: version, options: options, silent: "staples an answer that it is given"}
	}
	t.Run("file", func(t *testing.T) {
		eachWorld(t, func(t *testing.T, w *world) {
			w.eachLeaf(t, staples(".ocsp file"), func(t *testing.T, l *leaf) {
				s := w.serveHAProxy(t, l, w.fetch(t, l))
				w.requireHAProxy(t, s, l)
				if l.name == "unknown" {
					requireLog(t, s, "OCSP single response: certificate status is unknown. Content will be ignored.")
				}
			})
		})
	})
	set := func(t *testing.T, w *world, s *servers.Server, l *leaf) string {
		return command(t, s, "set ssl ocsp-response "+base64.StdEncoding.EncodeToString(w.fetch(t, l)))
	}
	t.Run("socket", func(t *testing.T) {
		c := staples("set ssl ocsp-response")
		eachWorld(t, func(t *testing.T, w *world) {
			w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
				s := w.serveHAProxy(t, l, nil)
				require.Empty(t, w.handshake(t, s, l))
				want := "OCSP Response updated!\n"
				if l.name == "unknown" {
					want = "OCSP single response: certificate status is unknown.\n"
				}
				require.Contains(t, set(t, w, s, l), want)
				w.requireHAProxy(t, s, l)
			})
			w.run(t, c, "good, then revoked", func(t *testing.T) {
				s := w.serveHAProxy(t, w.good, w.fetch(t, w.good))
				w.requireHAProxy(t, s, w.good)
				w.store.Revoke(w.ca.ID, w.good.cert.SerialNumber, ocsp.KeyCompromise, time.Now())
				w.good.name = "revoked"
				require.Contains(t, set(t, w, s, w.good), "OCSP Response updated!\n")
				w.requireHAProxy(t, s, w.good)
			})
		})
	})
	t.Run("short", func(t *testing.T) {
		// It takes five minutes off the time that an answer is valid for, and does not say so.
		eachWorldOf(t, setup{validity: 5 * time.Minute}, func(t *testing.T, w *world) {
			w.run(t, staples("set ssl ocsp-response"), "good", func(t *testing.T) {
				s := w.serveHAProxy(t, w.good, nil)
				require.Contains(t, set(t, w, s, w.good), "OCSP Response updated!\n")
				require.Empty(t, w.handshake(t, s, w.good))
			})
		})
	})
}

// requireHAProxy checks what it staples once it was given the answer about its certificate.
func (w *world) requireHAProxy(t *testing.T, s *servers.Server, l *leaf) {
	staple := w.handshake(t, s, l)
	if l.name == "unknown" {
		require.Empty(t, staple)
		return
	}
	w.requireStaple(t, staple, l)
	if l.name == "good" {
		w.requireCurlAccepts(t, s.Address())
	}
}
