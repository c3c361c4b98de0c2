package main

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// newAuthority returns a CA and its responder, which certmagic reaches over HTTP.
func newAuthority(t *testing.T) (*authority, *ocsp.Responder) {
	t.Helper()
	ca := &authority{CA: ocsptest.NewCA(ocsptest.Options{}), store: ocsptest.NewStore()}
	responder, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{ca.Issuer()}, Store: ca.store, Validity: 10 * time.Second,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, responder.Close()) })
	server := httptest.NewServer(responder.Handler())
	t.Cleanup(server.Close)
	ca.url = server.URL
	return ca, responder
}

func serve(t *testing.T, config *tls.Config) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = config
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// staple returns the stapled answer, after its verification, and the serial of the certificate.
func staple(t *testing.T, ca *authority, address, name string) (status int, serial string) {
	t.Helper()
	config := &tls.Config{ServerName: name, InsecureSkipVerify: true} // the staple is verified below
	conn, err := tls.Dial("tcp", address, config)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	state := conn.ConnectionState()
	leaf := state.PeerCertificates[0]
	require.NoError(t, leaf.CheckSignatureFrom(ca.Certificate))
	if len(state.OCSPResponse) == 0 {
		return -1, leaf.SerialNumber.String()
	}
	answer, err := xocsp.ParseResponseForCert(state.OCSPResponse, leaf, ca.Certificate)
	require.NoError(t, err)
	return answer.Status, leaf.SerialNumber.String()
}

// certmagic staples a good answer, and replaces the certificate after its revocation.
func TestCertmagic(t *testing.T) {
	t.Parallel()
	ca, _ := newAuthority(t)
	config, err := manage(t.Context(), ca, t.TempDir(), "magic.example", 200*time.Millisecond)
	require.NoError(t, err)
	address := serve(t, config)
	status, first := staple(t, ca, address, "magic.example")
	require.Equal(t, xocsp.Good, status)

	cert, err := config.GetCertificate(&tls.ClientHelloInfo{ServerName: "magic.example"})
	require.NoError(t, err)
	ca.store.Revoke(ca.ID, cert.Leaf.SerialNumber, ocsp.Superseded, time.Now())
	require.Eventually(t, func() bool {
		status, serial := staple(t, ca, address, "magic.example")
		return status == xocsp.Good && serial != first
	}, time.Minute, 100*time.Millisecond)
}

// The responder in the process staples good, and revoked with the first refresh after that. openssl
// says the same.
func TestOwnStaple(t *testing.T) {
	t.Parallel()
	ca, responder := newAuthority(t)
	leaf, key := ca.IssueKey(ocsptest.Options{Name: "own.example"})
	ca.store.Add(ca.ID, leaf)
	s := &stapler{responder: responder}
	s.current.Store(&tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.run(ctx, 50*time.Millisecond); close(ended) }()
	address := serve(t, &tls.Config{GetCertificate: s.GetCertificate})
	is := func(want int) func() bool {
		return func() bool { got, _ := staple(t, ca, address, "own.example"); return got == want }
	}
	openssl := func() string {
		cmd := exec.Command("openssl", "s_client", "-status", "-connect", address,
			"-servername", "own.example")
		cmd.Stdin = strings.NewReader("")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	require.Eventually(t, is(xocsp.Good), 20*time.Second, 20*time.Millisecond)
	require.Contains(t, openssl(), "Cert Status: good")
	ca.store.Revoke(ca.ID, leaf.SerialNumber, ocsp.KeyCompromise, time.Now())
	require.Eventually(t, is(xocsp.Revoked), 20*time.Second, 20*time.Millisecond)
	require.Contains(t, openssl(), "Cert Status: revoked")
	cancel()
	<-ended

	// Without an answer the old one is stapled while it is valid, and none after that.
	ca.store.Remove(ca.ID, leaf.SerialNumber)
	require.Error(t, s.refresh(t.Context()))
	require.True(t, is(xocsp.Revoked)())
	require.Eventually(t, func() bool {
		return s.refresh(t.Context()) != nil && is(-1)()
	}, 30*time.Second, 200*time.Millisecond)
}
