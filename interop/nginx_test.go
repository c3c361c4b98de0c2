package interop_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/servers"
)

// serveNginx runs nginx with directives of its server block.
func (w *world) serveNginx(t *testing.T, l *leaf, directives string) *servers.Server {
	return w.serve(t, l, "nginx", map[string]string{"config": `pid DIR/pid;
error_log stderr info;
events {}
http {
	access_log off;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
	server {
		listen ADDRESS ssl;
		ssl_certificate DIR/server.pem;
		ssl_certificate_key DIR/server.pem.key;
		` + directives + `
		return 204;
	}
}
`}, "-p", "DIR", "-e", "stderr", "-c", "DIR/config", "-g", "daemon off;")
}

func nginx(t *testing.T, options string) client {
	return client{name: "nginx", version: versionOf(t, "nginx/", tool(t, "nginx", "nginx"), "-v"), options: options}
}

func TestNginxStapling(t *testing.T) {
	c := nginx(t, "ssl_stapling on")
	eachWorld(t, func(t *testing.T, w *world) {
		w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
			s := w.serveNginx(t, l, `
		ssl_stapling on;
		ssl_stapling_verify on;
		ssl_trusted_certificate DIR/ca.pem;`)
			// It asks when the first client comes, who does not wait for the answer.
			staple := w.handshake(t, s, l)
			require.Empty(t, staple)
			if l.name == "good" {
				for deadline := time.Now().Add(patience); staple == nil && time.Now().Before(deadline); {
					staple = w.handshake(t, s, l)
				}
				w.requireStaple(t, staple, l)
				w.requireCurlAccepts(t, s.Address())
				return
			}
			requireLog(t, s, `certificate status "`+l.name+`" in the OCSP response`)
			require.Empty(t, w.handshake(t, s, l))
		})
	})
}

func TestNginxClientCertificates(t *testing.T) {
	serve := func(t *testing.T, w *world, directives string) *servers.Server {
		return w.serveNginx(t, w.good, `
		ssl_client_certificate DIR/ca.pem;
		ssl_verify_client on;
		ssl_verify_depth 2;
		`+directives)
	}
	// check makes requests with each certificate: HTTP says what came of it, after the handshake.
	check := func(t *testing.T, w *world, s *servers.Server, c client) {
		w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
			status, err := w.get(s, l)
			require.NoError(t, err)
			switch l.name {
			case "good":
				require.Equal(t, http.StatusNoContent, status)
			case "revoked":
				require.Equal(t, http.StatusBadRequest, status)
				requireLog(t, s, "client SSL certificate verify error: certificate revoked")
			case "unknown":
				require.Equal(t, http.StatusBadRequest, status)
				requireLog(t, s, "client SSL certificate verify error: certificate status unknown")
			}
		})
	}
	t.Run("on", func(t *testing.T) {
		eachWorld(t, func(t *testing.T, w *world) {
			check(t, w, serve(t, w, "ssl_ocsp on;"), nginx(t, "ssl_ocsp on"))
		})
	})
	t.Run("leaf", func(t *testing.T) {
		eachWorldOf(t, setup{intermediate: true}, func(t *testing.T, w *world) {
			// With "on" it asks about the intermediate CA's certificate, too, and there is nobody who knows that.
			status, err := w.get(serve(t, w, "ssl_ocsp on;"), w.good)
			require.NoError(t, err)
			require.Equal(t, http.StatusBadRequest, status)
			check(t, w, serve(t, w, "ssl_ocsp leaf; ssl_ocsp_responder "+w.url+";"), nginx(t, "ssl_ocsp leaf"))
		})
	})
}
