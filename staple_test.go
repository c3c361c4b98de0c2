package ocsp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// TestStaplingNeverWaits holds the example of Staple to what it promises: whatever the store or the signer does, a
// handshake takes no time. It gets the staple in hand until that has expired, then none, and a new one soon after
// the fault is over.
func TestStaplingNeverWaits(t *testing.T) {
	t.Parallel()
	caKey, leafKey := ocsptest.NewKey(ocsptest.P256), ocsptest.NewKey(ocsptest.P256)
	for name, test := range map[string]struct {
		fault  ocsptest.Fault
		signer bool // fails, not the store
	}{
		"store fails":  {ocsptest.Fail, false},
		"store hangs":  {ocsptest.Hang, false},
		"signer fails": {ocsptest.Fail, true},
		"signer hangs": {ocsptest.Hang, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, store := ocsptest.NewCA(ocsptest.Options{Signer: caKey}), ocsptest.NewStore()
				leaf := ca.Issue(ocsptest.Options{Signer: leafKey, Name: "kms.example"})
				store.Add(ca.ID, leaf)
				issuer, signer := ca.Issuer(), ocsptest.NewSigner(ca.Key)
				issuer.Signer = signer
				responder, err := ocsp.New(ocsp.Config{
					Issuers: []ocsp.Issuer{issuer}, Store: store,
					Logger: slog.New(slog.DiscardHandler), // of thousands of lines
				})
				require.NoError(t, err)
				setFault := store.SetFault
				if test.signer {
					setFault = signer.SetFault
				}
				s := &stapler{
					responder: responder,
					cert:      tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: leafKey, Leaf: leaf},
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer func() {
					setFault(ocsptest.Healthy)
					cancel()
					require.NoError(t, responder.Close())
				}()
				begin := time.Now()
				require.NoError(t, s.refresh(ctx))
				go s.run(ctx)

				// stapled does a handshake and returns its staple, nil for none.
				stapled := func() *xocsp.Response {
					before := time.Now()
					der := stapleOf(t, s, ca.Certificate)
					require.Zero(t, time.Since(before), "the handshake waited")
					if der == nil {
						return nil
					}
					req := ocsptest.Client{}.Request(ca.Certificate, leaf)
					require.NoError(t, ocsptest.Lint(req, der, ca.Certificate, time.Now()))
					answer, err := xocsp.ParseResponseForCert(der, leaf, ca.Certificate)
					require.NoError(t, err)
					return answer
				}
				first := stapled()
				require.Equal(t, xocsp.Good, first.Status)

				// The staple changes from its refresh point on, long before it expires.
				time.Sleep(first.NextUpdate.Sub(begin) - time.Hour)
				second := stapled()
				require.True(t, second.ThisUpdate.After(first.ThisUpdate), "it was not refreshed")

				// It outlives a fault until its nextUpdate, and no longer.
				setFault(test.fault)
				for time.Until(second.NextUpdate) > time.Hour {
					time.Sleep(time.Hour)
					require.Equal(t, second, stapled())
				}
				time.Sleep(time.Until(second.NextUpdate) - time.Second)
				require.Equal(t, second, stapled())
				time.Sleep(2 * time.Second)
				require.Nil(t, stapled())
				time.Sleep(24 * time.Hour)
				require.Nil(t, stapled())

				setFault(ocsptest.Healthy)
				time.Sleep(2 * time.Minute)
				third := stapled()
				require.NotNil(t, third)
				require.Equal(t, xocsp.Good, third.Status)

				store.Revoke(ca.ID, leaf.SerialNumber, ocsp.KeyCompromise, time.Now())
				time.Sleep(time.Hour)
				require.Equal(t, xocsp.Revoked, stapled().Status)
			})
		})
	}
}

// stapleOf does a handshake with a server that uses a stapler, and returns what was stapled.
func stapleOf(t *testing.T, s *stapler, root *x509.Certificate) []byte {
	clientEnd, serverEnd := net.Pipe()
	server := tls.Server(serverEnd, &tls.Config{GetCertificate: s.GetCertificate})
	served := make(chan error, 1)
	go func() { served <- server.HandshakeContext(t.Context()) }()
	roots := x509.NewCertPool()
	roots.AddCert(root)
	client := tls.Client(clientEnd, &tls.Config{
		RootCAs: roots, ServerName: "kms.example", MaxVersion: tls.VersionTLS12, // no tickets behind the handshake
	})
	require.NoError(t, client.HandshakeContext(t.Context()))
	require.NoError(t, <-served)
	defer func() { _, _ = clientEnd.Close(), serverEnd.Close() }()
	return client.ConnectionState().OCSPResponse
}
