package interop_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp/internal/servers"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// What TLS servers have in common: they run on a configuration file, staple, and check certificates of clients.

// patience is how long a server may take for anything.
const patience = 30 * time.Second

// serve runs a server until the test ends, and shows its log if that fails. Beside the given files it has the
// certificate that it shows with the CA's (server.pem), the key (server.pem.key), and the CAs' certificates (ca.pem).
// servers.Configured says what stands in the file "config".
func (w *world) serve(t *testing.T, l *leaf, program string, files map[string]string, args ...string) *servers.Server {
	tool(t, program, program) // or the test is skipped
	read := func(path string) string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
	ca := read(w.caFile)
	files["server.pem"], files["server.pem.key"], files["ca.pem"] = read(l.certFile)+ca, read(l.keyFile), ca
	if w.intermediate {
		files["ca.pem"] += read(w.rootFile)
	}
	s, err := servers.Configured(program, files, args...)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s said:\n%s", program, s.Log())
		}
		require.NoError(t, s.Remove())
	})
	return s
}

// handshake does one with a server, which must show a certificate, and returns the answer stapled to it, if any.
func (w *world) handshake(t *testing.T, s *servers.Server, l *leaf) []byte {
	conn, err := tls.Dial("tcp", s.Address(), w.trusting())
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	require.Equal(t, l.cert.Raw, conn.ConnectionState().PeerCertificates[0].Raw)
	return conn.ConnectionState().OCSPResponse
}

func (w *world) trusting() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(w.root.Certificate)
	return &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
}

// requireStaple checks that an answer is in order and says about a certificate what is so.
func (w *world) requireStaple(t *testing.T, staple []byte, l *leaf) {
	require.NotEmpty(t, staple, "nothing is stapled")
	require.NoError(t, ocsptest.Lint(ocsptest.Client{}.Request(w.ca.Certificate, l.cert), staple, w.ca.Certificate, time.Now()))
	answers, err := ocsptest.Parse(staple, w.ca.Certificate)
	require.NoError(t, err)
	require.Len(t, answers, 1)
	require.Equal(t, l.cert.SerialNumber, answers[0].SerialNumber)
	require.Equal(t, l.name, map[int]string{xocsp.Good: "good", xocsp.Revoked: "revoked", xocsp.Unknown: "unknown"}[answers[0].Status])
	if l.name == "revoked" {
		require.Equal(t, xocsp.KeyCompromise, answers[0].RevocationReason)
	}
}

// get makes an HTTPS request with a certificate.
func (w *world) get(s *servers.Server, l *leaf) (status int, err error) {
	config := w.trusting()
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{l.cert.Raw}, PrivateKey: l.key}}
	return get("https://"+s.Address()+"/", config)
}

// get makes an HTTP request on a connection of its own.
func get(url string, config *tls.Config) (status int, err error) {
	c := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: patience}
	response, err := c.Get(url)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// requireRefused checks that a server has ended the connection. Its alert may be lost to us: we write while it closes.
func requireRefused(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	require.False(t, os.IsTimeout(err), "%v", err)
}

// requireLetIn checks that a server let in who has the good certificate, who got an HTTP status, and nobody else, and
// what it says about each.
func requireLetIn(t *testing.T, s *servers.Server, l *leaf, wanted, status int, err error, says map[string]string) {
	t.Helper()
	if l.name == "good" {
		require.NoError(t, err)
		require.Equal(t, wanted, status)
	} else {
		requireRefused(t, err)
	}
	requireLog(t, s, says[l.name])
}

// requireLog waits until a server's log has a text.
func requireLog(t *testing.T, s *servers.Server, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(s.Log(), text) }, patience, 20*time.Millisecond, "not in the log: %s", text)
}
