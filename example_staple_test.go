package ocsp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// stapler keeps the answer about a TLS server's certificate. Handshakes staple the one in hand and never wait for
// the responder.
type stapler struct {
	responder *ocsp.Responder
	cert      tls.Certificate // with its Leaf
	current   atomic.Pointer[staple]
}

// staple is a certificate with an answer that is valid until nextUpdate.
type staple struct {
	cert       tls.Certificate
	nextUpdate time.Time
}

// GetCertificate is for tls.Config. Once the answer in hand has expired, handshakes go on without one.
func (s *stapler) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if st := s.current.Load(); st != nil && time.Now().Before(st.nextUpdate) {
		return &st.cert, nil
	}
	return &s.cert, nil
}

// refresh gets an answer. If that fails, the old one stays.
func (s *stapler) refresh(ctx context.Context) error {
	der, err := s.responder.Staple(ctx, s.cert.Leaf)
	if err != nil {
		return err
	}
	answer, err := xocsp.ParseResponse(der, nil) // for its nextUpdate; it is our own
	if err != nil {
		return err
	}
	st := &staple{cert: s.cert, nextUpdate: answer.NextUpdate}
	st.cert.OCSPStaple = der
	s.current.Store(st)
	return nil
}

// run refreshes the answer until ctx is done, each time that half of what is left of it has passed: after an hour
// at the latest, so that a revocation shows, and after a minute at the earliest. Until its refresh point the answer
// comes from the responder's cache and costs no signature.
func (s *stapler) run(ctx context.Context) {
	for {
		var left time.Duration
		if st := s.current.Load(); st != nil {
			left = time.Until(st.nextUpdate)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(max(left/2, time.Minute), time.Hour)):
		}
		if err := s.refresh(ctx); err != nil && ctx.Err() == nil {
			log.Printf("stapling: %v", err)
		}
	}
}

// A TLS server staples answers about its own certificate from the responder in its own process. It keeps the last
// answer and refreshes it beside the handshakes.
func ExampleResponder_Staple() {
	ca, store := ocsptest.NewCA(ocsptest.Options{}), ocsptest.NewStore()
	leaf, key := ca.IssueKey(ocsptest.Options{Name: "kms.example"})
	store.Add(ca.ID, leaf)
	responder, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = responder.Close() }()

	s := &stapler{
		responder: responder,
		cert:      tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf},
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := s.refresh(ctx); err != nil {
		log.Printf("starting without a staple: %v", err)
	}
	go s.run(ctx)

	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{GetCertificate: s.GetCertificate}
	server.StartTLS()
	defer server.Close()

	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	config := &tls.Config{RootCAs: roots, ServerName: "kms.example"}
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), config)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	stapled := conn.ConnectionState().OCSPResponse
	answer, err := xocsp.ParseResponseForCert(stapled, leaf, ca.Certificate)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Status == xocsp.Good, answer.NextUpdate.Sub(answer.ThisUpdate))
	// Output: true 23h59m59s
}
