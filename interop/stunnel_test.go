package interop_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kmsocsp/ocsp/internal/servers"
)

// serveStunnel runs stunnel with options of its one service.
func (w *world) serveStunnel(t *testing.T, options string) *servers.Server {
	return w.serve(t, w.good, "stunnel4", map[string]string{"config": `foreground = yes
pid =
syslog = no
debug = info
[service]
accept = ADDRESS
CAfile = DIR/ca.pem
verifyChain = yes
` + options + "\n"}, "DIR/config")
}

func TestStunnel(t *testing.T) {
	version := versionOf(t, "stunnel ", tool(t, "stunnel4", "stunnel4"), "-version")
	for _, options := range []string{"OCSPaia = yes", "OCSPaia = yes, OCSPnonce = yes", "OCSP = URL"} {
		eachStunnelWorld := func(t *testing.T, role string, f func(t *testing.T, w *world, c client, lines string)) {
			t.Run(role+" "+options, func(t *testing.T) {
				c := client{name: "stunnel", version: version, options: options + ", " + role}
				eachWorld(t, func(t *testing.T, w *world) {
					f(t, w, c, strings.NewReplacer(", ", "\n", "URL", w.url).Replace(options))
				})
			})
		}
		eachStunnelWorld(t, "server", func(t *testing.T, w *world, c client, lines string) {
			behind := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(behind.Close)
			s := w.serveStunnel(t, "cert = DIR/server.pem\nkey = DIR/server.pem.key\nconnect = "+behind.Listener.Addr().String()+"\n"+lines)
			w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
				status, err := w.get(s, l)
				requireStunnel(t, s, l, status, err)
			})
		})
		eachStunnelWorld(t, "client", func(t *testing.T, w *world, c client, lines string) {
			w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
				// Sessions that it resumes are not checked again.
				s := w.serveStunnel(t, "client = yes\nsessionResume = no\ncheckIP = 127.0.0.1\nconnect = 127.0.0.1:"+w.serveTLS(t, l, nil)+"\n"+lines)
				// The connection that showed that it listens went on to the server, and made it ask.
				requireLog(t, s, "[0]: Connection ")
				w.drain()
				status, err := get("http://"+s.Address()+"/", nil)
				requireStunnel(t, s, l, status, err)
			})
		})
	}
}

// requireStunnel checks what came of an HTTP request through stunnel.
func requireStunnel(t *testing.T, s *servers.Server, l *leaf, status int, err error) {
	requireLetIn(t, s, l, http.StatusNotFound, status, err, map[string]string{
		"good":    "[1]: OCSP: Certificate accepted\n",
		"revoked": "OCSP: Certificate revoked: 1: keyCompromise\n",
		"unknown": "OCSP: Unknown verification status\n",
	})
}
