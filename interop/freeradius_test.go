package interop_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/servers"
)

const radiusSecret = "interop"

// serveRADIUS runs FreeRADIUS with EAP-TLS and its OCSP check. It listens on TCP as well, which shows when it is ready.
func (w *world) serveRADIUS(t *testing.T, ocsp string) *servers.Server {
	return w.serve(t, w.good, "freeradius", map[string]string{"radiusd.conf": "$INCLUDE config\n", "config": `
name = radiusd
raddbdir = DIR
logdir = DIR
libdir = /usr/lib/freeradius
pidfile = DIR/pid
security {
	reject_delay = 0
}
client eapol_test {
	ipaddr = 127.0.0.1
	secret = ` + radiusSecret + `
	proto = *
}
modules {
	eap {
		default_eap_type = tls
		tls-config common {
			certificate_file = DIR/server.pem
			private_key_file = DIR/server.pem.key
			ca_file = DIR/ca.pem
			tls_min_version = "1.2"
			tls_max_version = "1.2"
			ocsp {
				enable = yes
				override_cert_url = no
				` + ocsp + `
			}
		}
		tls {
			tls = common
		}
	}
}
server default {
	listen {
		type = auth
		ipaddr = 127.0.0.1
		port = PORT
	}
	listen {
		type = auth
		proto = tcp
		ipaddr = 127.0.0.1
		port = PORT
	}
	authorize {
		eap
	}
	authenticate {
		eap
	}
}
`}, "-X", "-d", "DIR")
}

// authenticate has eapol_test log in with a certificate, and reports whether FreeRADIUS let it in.
func (w *world) authenticate(t *testing.T, s *servers.Server, l *leaf) bool {
	config := filepath.Join(w.dir, "eapol.conf")
	eapol := tool(t, "eapol_test", "eapoltest")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `network={
	key_mgmt=IEEE8021X
	eap=TLS
	identity="interop"
	ca_cert=%q
	client_cert=%q
	private_key=%q
}
`, w.rootFile, l.certFile, l.keyFile), 0o600))
	output, status := run(t, eapol, "-c", config, "-p", strconv.Itoa(s.Port), "-s", radiusSecret)
	if status == 0 {
		require.Contains(t, output, "\nSUCCESS")
		return true
	}
	require.Contains(t, output, "EAP: Received EAP-Failure", "it was not the server that refused")
	return false
}

func freeRADIUS(t *testing.T, options string) client {
	version := versionOf(t, "FreeRADIUS Version ", tool(t, "freeradius", "freeradius"), "-v")
	return client{name: "FreeRADIUS", version: version, options: options}
}

func TestFreeRADIUS(t *testing.T) {
	check := func(t *testing.T, s setup, options, ocsp string) {
		c := freeRADIUS(t, options)
		eachWorldOf(t, s, func(t *testing.T, w *world) {
			s := w.serveRADIUS(t, ocsp)
			w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
				require.Equal(t, l.name == "good", w.authenticate(t, s, l))
				requireLog(t, s, "ocsp: Cert status: "+l.name)
				if l.name == "revoked" {
					requireLog(t, s, "ocsp: Reason: keyCompromise")
				}
			})
		})
	}
	for _, nonce := range []string{"yes", "no"} {
		t.Run("nonce "+nonce, func(t *testing.T) {
			check(t, setup{embed: true}, "ocsp, use_nonce = "+nonce, "use_nonce = "+nonce)
		})
	}
	t.Run("intermediate", func(t *testing.T) {
		check(t, setup{embed: true, intermediate: true}, "ocsp, intermediate CA", "")
	})
}

// TestFreeRADIUSKnowsNoCA is why the tests above have a CA that signs itself embed its certificate: without that
// FreeRADIUS does not find it, though it has it as ca_file, and refuses every client, even where OCSP may fail.
func TestFreeRADIUSKnowsNoCA(t *testing.T) {
	for _, softfail := range []string{"no", "yes"} {
		t.Run("softfail "+softfail, func(t *testing.T) {
			c := freeRADIUS(t, "ocsp, softfail = "+softfail+", CA's certificate not embedded")
			w := newWorld(t, setup{})
			w.eachLeaf(t, c, func(t *testing.T, l *leaf) {
				s := w.serveRADIUS(t, "softfail = "+softfail)
				require.False(t, w.authenticate(t, s, l))
				requireLog(t, s, "ocsp: Couldn't verify OCSP basic response")
				requireLog(t, s, "signer certificate not found")
			})
		})
	}
}
