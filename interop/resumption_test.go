package interop_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/servers"
)

// TestResumption tells which servers that check certificates of clients let in a client whose certificate was revoked
// since, if it resumes a session.
func TestResumption(t *testing.T) {
	behind := httptest.NewServer(http.NotFoundHandler())
	defer behind.Close()
	serveNginx := func(t *testing.T, w *world, more string) *servers.Server {
		return w.serveNginx(t, w.good, "ssl_client_certificate DIR/ca.pem; ssl_verify_client on; ssl_ocsp on; "+more)
	}
	serveApache := func(t *testing.T, w *world, more string) *servers.Server {
		return w.serveApache(t, w.good, "SSLCACertificateFile DIR/ca.pem\nSSLVerifyClient require\n"+
			"SSLOCSPEnable on\nSSLOCSPResponderCertificateFile DIR/ca.pem\n"+more)
	}
	serveStunnel := func(t *testing.T, w *world, more string) *servers.Server {
		return w.serveStunnel(t, "cert = DIR/server.pem\nkey = DIR/server.pem.key\nconnect = "+behind.Listener.Addr().String()+"\nOCSPaia = yes\n"+more)
	}
	for name, test := range map[string]struct {
		serve  func(t *testing.T, w *world, more string) *servers.Server
		more   string // of its configuration
		letsIn bool
	}{
		"nginx":                     {serve: serveNginx},
		"nginx, ssl_ocsp_cache":     {serve: serveNginx, more: "ssl_ocsp_cache shared:ocsp:1m;", letsIn: true},
		"Apache":                    {serve: serveApache, letsIn: true},
		"Apache, no tickets":        {serve: serveApache, more: "SSLSessionTickets off"},
		"stunnel":                   {serve: serveStunnel, letsIn: true},
		"stunnel, sessionResume no": {serve: serveStunnel, more: "sessionResume = no"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{})
			s := test.serve(t, w, test.more)
			config := w.trusting()
			config.Certificates = []tls.Certificate{{Certificate: [][]byte{w.good.cert.Raw}, PrivateKey: w.good.key}}
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			status, err := get("https://"+s.Address()+"/", config)
			require.NoError(t, err)
			require.NotEqual(t, http.StatusBadRequest, status)

			w.store.Revoke(w.ca.ID, w.good.cert.SerialNumber, ocsp.KeyCompromise, time.Now())
			status, err = get("https://"+s.Address()+"/", config)
			require.Equal(t, test.letsIn, err == nil && status != http.StatusBadRequest, "%d %v", status, err)
			if !test.letsIn {
				requireLog(t, s, "revoked")
			}
		})
	}
}
