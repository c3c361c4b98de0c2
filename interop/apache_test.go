package interop_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp/internal/servers"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// serveApache runs Apache with directives for all of the server.
func (w *world) serveApache(t *testing.T, l *leaf, directives string) *servers.Server {
	return w.serve(t, l, "apache2", map[string]string{"config": `ServerRoot DIR
ServerName 127.0.0.1
PidFile DIR/pid
DefaultRuntimeDir DIR
ErrorLog DIR/log
LogLevel ssl:info
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
LoadModule socache_shmcb_module /usr/lib/apache2/modules/mod_socache_shmcb.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
Listen ADDRESS
SSLEngine on
SSLCertificateFile DIR/server.pem
SSLCertificateKeyFile DIR/server.pem.key
SSLSessionCache none
Redirect 204 /
` + directives}, "-f", "DIR/config", "-DFOREGROUND")
}

func apache(t *testing.T, options string) client {
	return client{name: "Apache httpd", version: versionOf(t, "Apache/", tool(t, "apache2", "apache2"), "-v"), options: options}
}

func TestApacheStapling(t *testing.T) {
	for _, errors := range []string{"on", "off"} {
		t.Run("errors "+errors, func(t *testing.T) {
			c := apache(t, "SSLUseStapling on, SSLStaplingReturnResponderErrors "+errors)
			eachWorld(t, func(t *testing.T, w *world) {
				serve := func(t *testing.T, l *leaf) *servers.Server {
					return w.serveApache(t, l, `
SSLUseStapling on
SSLStaplingCache shmcb:DIR/staples(65536)
SSLStaplingReturnResponderErrors `+errors)
				}
				// It asks when the first client comes, who waits for the answer. Its manual says that with "off" unknown is
				// not stapled, but the setting is about OCSP errors.
				w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
					s := serve(t, l)
					w.requireStaple(t, w.handshake(t, s, l), l)
					if l.name == "good" {
						w.requireCurlAccepts(t, s.Address())
						return
					}
					requireLog(t, s, "stapling_check_response: response has certificate status "+l.name)
				})
				w.run(t, c, "store fails", func(t *testing.T) {
					w.store.SetFault(ocsptest.Fail)
					staple := w.handshake(t, serve(t, w.unknown), w.unknown) // of the others it has signed answers
					if errors == "off" {
						require.Empty(t, staple)
						return
					}
					status, err := ocsptest.ErrorStatus(staple)
					require.NoError(t, err)
					require.Equal(t, xocsp.TryLater, status)
				})
			})
		})
	}
}

func TestApacheClientCertificates(t *testing.T) {
	serve := func(t *testing.T, w *world, directives string) *servers.Server {
		return w.serveApache(t, w.good, `
SSLCACertificateFile DIR/ca.pem
SSLVerifyClient require
SSLVerifyDepth 2
`+directives)
	}
	check := func(t *testing.T, w *world, c client, directives string) {
		s := serve(t, w, directives)
		w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
			status, err := w.get(s, l)
			requireLetIn(t, s, l, http.StatusNoContent, status, err, map[string]string{
				"good":    "OCSP validation completed, certificate status: good",
				"revoked": "OCSP validation completed, certificate status: revoked",
				"unknown": "OCSP validation completed, certificate status: unknown",
			})
		})
	}
	for _, nonce := range []string{"on", "off"} {
		t.Run("nonce "+nonce, func(t *testing.T) {
			c := apache(t, "SSLOCSPEnable on, SSLOCSPUseRequestNonce "+nonce)
			eachWorldOf(t, setup{embed: true}, func(t *testing.T, w *world) {
				check(t, w, c, "SSLOCSPEnable on\nSSLOCSPUseRequestNonce "+nonce)
			})
		})
	}
	t.Run("responder's certificate", func(t *testing.T) {
		c := apache(t, "SSLOCSPEnable on, SSLOCSPResponderCertificateFile")
		eachWorld(t, func(t *testing.T, w *world) {
			check(t, w, c, "SSLOCSPEnable on\nSSLOCSPResponderCertificateFile DIR/ca.pem")
		})
	})
	t.Run("leaf", func(t *testing.T) {
		c := apache(t, "SSLOCSPEnable leaf")
		eachWorldOf(t, setup{intermediate: true, embed: true}, func(t *testing.T, w *world) {
			// With "on" it asks about the intermediate CA's certificate, too, and there is nobody who knows that.
			s := serve(t, w, "SSLOCSPEnable on")
			_, err := w.get(s, w.good)
			requireRefused(t, err)
			check(t, w, c, "SSLOCSPEnable leaf")
		})
	})
}

// TestApacheKnowsNoCA is why the tests above have a CA that signs itself embed its certificate: without that Apache
// does not find it, though it has it, and refuses good clients.
func TestApacheKnowsNoCA(t *testing.T) {
	w := newWorld(t, setup{})
	s := w.serveApache(t, w.good, `
SSLCACertificateFile DIR/ca.pem
SSLVerifyClient require
SSLOCSPEnable on`)
	_, err := w.get(s, w.good)
	requireRefused(t, err)
	requireLog(t, s, "signer certificate not found")
}
