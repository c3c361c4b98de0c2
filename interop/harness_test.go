package interop_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// setup says what a world is made of.
type setup struct {
	key          ocsptest.KeyType
	delegated    bool // a responder certificate signs, not the CA
	intermediate bool // the CA is one below the root
	embed        bool // ocsp.Issuer.EmbedCertificate
	validity     time.Duration
}

func (s setup) String() string {
	signing := "CA-signed"
	if s.delegated {
		signing = "delegated"
	}
	return s.key.String() + "/" + signing
}

// world is a CA, its responder behind a real HTTP server, and three certificates, all with their files.
type world struct {
	setup
	root      *ocsptest.CA // what clients trust: the CA, unless that is an intermediate one
	ca        *ocsptest.CA
	store     *ocsptest.Store
	responder *ocsp.Responder
	url       string // of the responder, as in the certificates
	dir       string // a temporary folder

	rootFile, caFile string // PEM
	good             *leaf
	revoked          *leaf // for keyCompromise
	unknown          *leaf // never stored

	mu   sync.Mutex
	seen []request
}

// leaf is a certificate of the CA for localhost and 127.0.0.1.
type leaf struct {
	name  string // what OCSP says: "good", "revoked" or "unknown"
	cert  *x509.Certificate
	key   crypto.Signer
	chain string // PEM file: the certificate, then the CA's if that is not the root

	certFile, keyFile string // PEM
}

func (w *world) leaves() []*leaf { return []*leaf{w.good, w.revoked, w.unknown} }

// eachWorld runs f in the four worlds: RSA and ECDSA, signed by the CA and by a delegated responder.
func eachWorld(t *testing.T, f func(t *testing.T, w *world)) { eachWorldOf(t, setup{}, f) }

// eachWorldOf is eachWorld with what else s asks for.
func eachWorldOf(t *testing.T, s setup, f func(t *testing.T, w *world)) {
	for _, key := range []ocsptest.KeyType{ocsptest.RSA2048, ocsptest.P256} {
		for _, delegated := range []bool{false, true} {
			s.key, s.delegated = key, delegated
			t.Run(s.String(), func(t *testing.T) { f(t, newWorld(t, s)) })
		}
	}
}

// keyOf returns the key of a role. It is made once: RSA keys take long.
func keyOf(kind ocsptest.KeyType, role string) crypto.Signer {
	key, _ := keys.LoadOrStore(fmt.Sprint(kind, role), sync.OnceValue(func() crypto.Signer { return ocsptest.NewKey(kind) }))
	return key.(func() crypto.Signer)()
}

var keys sync.Map

func newWorld(t *testing.T, s setup) *world {
	w := &world{setup: s, store: ocsptest.NewStore(), dir: t.TempDir()}
	w.root = ocsptest.NewCA(ocsptest.Options{Signer: keyOf(s.key, "root"), Name: "Interop Root"})
	w.ca = w.root
	if s.intermediate {
		w.ca = w.root.Intermediate(ocsptest.Options{Signer: keyOf(s.key, "intermediate"), Name: "Interop Intermediate"})
	}
	issuer := w.ca.Issuer()
	issuer.EmbedCertificate = s.embed
	if s.delegated {
		issuer.ResponderCertificate, issuer.Signer = w.ca.Delegate(ocsptest.Options{Signer: keyOf(s.key, "responder"), Name: "Interop Responder"})
	}
	var err error
	w.responder, err = ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{issuer}, Store: w.store, Validity: s.validity})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.responder.Close()) })
	server := httptest.NewServer(w.record(ocsp.Mount("/ocsp", w.responder.Handler(), nil)))
	t.Cleanup(server.Close)
	w.url = server.URL + "/ocsp"

	w.rootFile = w.writePEM(t, "root.pem", "CERTIFICATE", w.root.Certificate.Raw)
	w.caFile = w.writePEM(t, "ca.pem", "CERTIFICATE", w.ca.Certificate.Raw)
	w.good, w.revoked, w.unknown = w.issue(t, "good", time.Time{}), w.issue(t, "revoked", time.Time{}), w.issue(t, "unknown", time.Time{})
	w.store.Add(w.ca.ID, w.good.cert)
	w.store.Revoke(w.ca.ID, w.revoked.cert.SerialNumber, ocsp.KeyCompromise, time.Now().Add(-time.Hour))
	return w
}

// issue makes a certificate that ends when told, or in ten years.
func (w *world) issue(t *testing.T, name string, notAfter time.Time) *leaf {
	l := &leaf{name: name, key: keyOf(w.key, "leaf")}
	l.cert = w.ca.Issue(ocsptest.Options{Signer: l.key, Name: name + ".test", NotAfter: notAfter, OCSPServer: w.url, Adjust: func(c *x509.Certificate) {
		if w.key == ocsptest.RSA2048 {
			c.KeyUsage |= x509.KeyUsageKeyEncipherment // NSS wants it
		}
	}})
	der, err := x509.MarshalPKCS8PrivateKey(l.key)
	require.NoError(t, err)
	l.certFile = w.writePEM(t, name+".pem", "CERTIFICATE", l.cert.Raw)
	l.keyFile = w.writePEM(t, name+".key", "PRIVATE KEY", der)
	certs := [][]byte{l.cert.Raw}
	if w.intermediate {
		certs = append(certs, w.ca.Certificate.Raw)
	}
	l.chain = w.writePEM(t, name+"-chain.pem", "CERTIFICATE", certs...)
	return l
}

// writePEM writes a file into the world's folder and returns its path.
func (w *world) writePEM(t *testing.T, name, kind string, blocks ...[]byte) string {
	var b bytes.Buffer
	for _, block := range blocks {
		require.NoError(t, pem.Encode(&b, &pem.Block{Type: kind, Bytes: block}))
	}
	path := filepath.Join(w.dir, name)
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}

// client is who asks. Its name and options are a row's first cells in docs/INTEROP.md.
type client struct {
	name, version string
	options       string // what this case makes it do, as it is called there
	silent        string // what it does if it asks nobody itself but is given an answer
}

// eachLeaf runs a case for each of the three certificates. A case fails, too, if the client did not ask.
func (w *world) eachLeaf(t *testing.T, c client, f func(t *testing.T, l *leaf)) {
	for _, l := range w.leaves() {
		w.run(t, c, l.name, func(t *testing.T) { f(t, l) })
	}
}

// run runs one case, prints the line about it, and takes what was asked into the table.
func (w *world) run(t *testing.T, c client, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		w.drain() // what came late for an earlier case
		f(t)
		if t.Failed() {
			return
		}
		requests := w.drain()
		if len(requests) == 0 && c.silent == "" {
			t.Fatalf("%s %s asked nothing", c.name, c.version)
		}
		table.add(c, requests)
		fmt.Printf("%s %s %s: %s, %s: %s\n", c.name, c.version, c.options, w.setup, name, describe(c, requests))
	})
}

// serveTLS serves HTTPS with the certificate, the CA's and the stapled answer, if any, and returns the port.
func (w *world) serveTLS(t *testing.T, l *leaf, staple []byte) string {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that refuse the certificate
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{
		Certificate: [][]byte{l.cert.Raw, w.ca.Certificate.Raw}, PrivateKey: l.key, OCSPStaple: staple,
	}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return strconv.Itoa(server.Listener.Addr().(*net.TCPAddr).Port)
}

// request is what the responder got.
type request struct {
	method, where, contentType string
	encoded, raw               bool // the base64 in a path has percent-encoded letters, or letters that could be
	hash                       string
	certs                      int
	nonce                      string // its length
	others                     []string
	err                        error
}

func (w *world) drain() []request {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.seen
	w.seen = nil
	return seen
}

// record notes each request on its way.
func (w *world) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		seen := request{method: r.Method, contentType: r.Header.Get("Content-Type"), where: "body"}
		var der []byte
		if r.Method == http.MethodPost {
			der, seen.err = io.ReadAll(http.MaxBytesReader(rw, r.Body, 1<<20))
			r.Body = io.NopCloser(bytes.NewReader(der))
		} else {
			seen.where = "path"
			letters := strings.TrimPrefix(r.URL.EscapedPath(), "/ocsp/")
			seen.encoded, seen.raw = strings.Contains(letters, "%"), strings.ContainsAny(letters, "+/=")
			letters, seen.err = url.PathUnescape(letters)
			if seen.err == nil {
				der, seen.err = base64.StdEncoding.DecodeString(letters)
			}
		}
		if seen.err == nil {
			seen.read(der)
		}
		w.mu.Lock()
		w.seen = append(w.seen, seen)
		w.mu.Unlock()
		next.ServeHTTP(rw, r)
	})
}

// extensionNames names the extensions that requests may have (RFC 6960 section 4.4).
var extensionNames = map[string]string{
	"\x2b\x06\x01\x05\x05\x07\x30\x01\x04": "acceptable responses",
	"\x2b\x06\x01\x05\x05\x07\x30\x01\x07": "service locator",
	"\x2b\x06\x01\x05\x05\x07\x30\x01\x08": "preferred signature algorithms",
}

const nonceOID = "\x2b\x06\x01\x05\x05\x07\x30\x01\x02"

func (r *request) read(der []byte) {
	var req codec.Request
	if r.err = codec.ParseRequest(der, &req, codec.ReadLimits{CertIDs: 100, Extensions: 100}); r.err != nil {
		return
	}
	r.certs, r.hash, r.nonce = len(req.Entries), req.Entries[0].CertID.Hash.String(), "none"
	if req.NonceForm != codec.NonceAbsent {
		r.nonce = fmt.Sprint(len(req.Nonce))
	}
	if req.NonceForm == codec.NonceBare {
		r.nonce += " (bare)"
	}
	extensions := req.Extensions
	for _, entry := range req.Entries {
		extensions = append(extensions, entry.Extensions...)
	}
	for _, ext := range extensions {
		if string(ext.OID) == nonceOID {
			continue
		}
		name := extensionNames[string(ext.OID)]
		if name == "" {
			name = fmt.Sprintf("OID %x", ext.OID)
		}
		r.others = append(r.others, name)
	}
	if req.RequestorName != nil {
		r.others = append(r.others, "requestor name")
	}
	if req.Signature.Raw != nil {
		r.others = append(r.others, "signature")
	}
}

func (r *request) String() string {
	if r.err != nil {
		return fmt.Sprintf("%s with an unreadable request: %v", r.method, r.err)
	}
	s := fmt.Sprintf("%s, %d × %s, nonce %s", r.method, r.certs, r.hash, r.nonce)
	return strings.Join(append([]string{s}, r.others...), ", ")
}

func describe(c client, requests []request) string {
	if len(requests) == 0 {
		return c.silent
	}
	var all []string
	for _, r := range requests {
		all = append(all, r.String())
	}
	return strings.Join(all, "; ")
}

// tool returns the path of a program. Where it is missing the test is skipped, or fails if OCSP_REQUIRE_TOOLS is 1.
func tool(t *testing.T, program, aptPackage string) string {
	t.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(t, program, aptPackage)
	return ""
}

func missing(t *testing.T, what, aptPackage string) {
	t.Helper()
	message := fmt.Sprintf("%s is missing: apt-get install %s, or scripts/install.sh clients", what, aptPackage)
	if os.Getenv("OCSP_REQUIRE_TOOLS") == "1" {
		t.Fatal(message)
	}
	table.cut()
	t.Skip(message)
}

// run runs a program to its end and returns what it printed, and its exit status.
func run(t *testing.T, program string, args ...string) (output string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "no_proxy=127.0.0.1,localhost", "NO_PROXY=127.0.0.1,localhost")
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); ctx.Err() == nil && errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	require.NoError(t, err, "%s %v\n%s", program, args, out)
	return string(out), 0
}

// versionOf returns the word of a program's output that follows the one given, or its first line.
func versionOf(t *testing.T, after, program string, args ...string) string {
	t.Helper()
	output, _ := run(t, program, args...)
	line, _, _ := strings.Cut(strings.TrimSpace(output), "\n")
	if _, rest, ok := strings.Cut(output, after); ok && after != "" {
		line = strings.Fields(rest + " ?")[0]
	}
	return strings.Trim(line, ",;() ")
}
