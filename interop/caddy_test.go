package interop_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/servers"
)

// serveCaddy runs Caddy with a certificate of ours, so that it has nothing to ask anybody else for.
func (w *world) serveCaddy(t *testing.T, l *leaf) *servers.Server {
	return w.serve(t, l, "caddy", map[string]string{"config": `{
	admin off
	auto_https off
	storage file_system DIR/storage
	servers {
		protocols h1
	}
}
https://ADDRESS {
	bind 127.0.0.1
	tls DIR/server.pem DIR/server.pem.key
	respond 204
}
`}, "run", "--config", "DIR/config", "--adapter", "caddyfile")
}

func TestCaddy(t *testing.T) {
	c := client{name: "Caddy", version: versionOf(t, "", tool(t, "caddy", "caddy"), "version"), options: "tls"}
	eachWorld(t, func(t *testing.T, w *world) {
		// It asks before it listens. Without a good answer it staples nothing, and says nothing.
		w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
			s := w.serveCaddy(t, l)
			staple := w.handshake(t, s, l)
			if l.name == "good" {
				w.requireStaple(t, staple, l)
				w.requireCurlAccepts(t, s.Address())
				return
			}
			require.Empty(t, staple)
		})
		w.run(t, c, "ends before the answer", func(t *testing.T) {
			l := w.issue(t, "short", time.Now().Add(12*time.Hour))
			w.store.Set(w.ca.ID, l.cert.SerialNumber, ocsp.Record{State: ocsp.Active}) // NotAfter is left out
			s := w.serveCaddy(t, l)
			require.Empty(t, w.handshake(t, s, l))
			requireLog(t, s, "valid after certificate expiration")
		})
		w.run(t, c, "ends with the answer", func(t *testing.T) {
			l := w.issue(t, "short", time.Now().Add(12*time.Hour))
			w.store.Add(w.ca.ID, l.cert)
			staple := w.handshake(t, w.serveCaddy(t, l), l)
			l.name = "good" // which the answer says
			w.requireStaple(t, staple, l)
		})
		w.run(t, c, "good, then revoked", func(t *testing.T) {
			s := w.serveCaddy(t, w.good)
			w.requireStaple(t, w.handshake(t, s, w.good), w.good)
			require.NoError(t, s.Stop())
			w.store.Revoke(w.ca.ID, w.good.cert.SerialNumber, ocsp.KeyCompromise, time.Now())
			require.NoError(t, s.Start())
			// The answer is in its folder, and it does not ask again before half of that answer's time.
			w.requireStaple(t, w.handshake(t, s, w.good), w.good)
		})
	})
}
