package ocsptest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp/internal/codec"
)

// Query asks a handler about one certificate and verifies the answer. An OCSP error is an
// xocsp.ResponseError, which errors.As finds. Mind that the answer's Status and RevocationReason are the numbers
// of x/crypto/ocsp (xocsp.Good is 0) and not package ocsp's.
func Query(h http.Handler, issuer, cert *x509.Certificate) (*xocsp.Response, error) {
	result, err := Client{Handler: h}.Query(context.Background(), issuer, cert)
	if err != nil {
		return nil, err
	}
	return result.Responses[0], nil
}

// Client is an OCSP client. Every zero field but the target has a default.
type Client struct {
	// Handler is what to ask, without a network. Nil asks URL.
	Handler http.Handler
	// URL is where to ask: the responder's URL, such as a certificate's OCSPServer. With a Handler it is the
	// path; zero is "/ocsp".
	URL string
	// HTTP sends the requests. Nil is http.DefaultClient.
	HTTP *http.Client
	// Method is "GET" or "POST". Zero is POST.
	Method string
	// Hash is that of the CertIDs. Zero is SHA-1.
	Hash crypto.Hash
	// NoParameters leaves out the hash algorithm's NULL parameters.
	NoParameters bool
	// Nonce goes into the request, and must come back. Nil sends none.
	Nonce []byte
	// NonceOptional accepts an answer without the nonce.
	NonceOptional bool
	// Header goes into the HTTP request.
	Header http.Header
	// Now is the clock that answers are judged by. Nil is time.Now.
	Now func() time.Time
}

// Result is what came back.
type Result struct {
	Request    []byte // DER
	DER        []byte // the body
	StatusCode int    // HTTP
	Header     http.Header
	Responses  []*xocsp.Response // one for each certificate, set by Query
}

// Query asks about certificates of one issuer and verifies the answer: the signature, the times, and all that
// Lint checks. On an error the Result is there if an HTTP answer is.
func (c Client) Query(ctx context.Context, issuer *x509.Certificate, certs ...*x509.Certificate) (*Result, error) {
	result, err := c.Send(ctx, c.Request(issuer, certs...))
	if err != nil {
		return nil, err
	}
	if result.StatusCode != http.StatusOK {
		return result, fmt.Errorf("ocsptest: HTTP status %d", result.StatusCode)
	}
	if ct := result.Header.Get("Content-Type"); ct != "application/ocsp-response" {
		return result, fmt.Errorf("ocsptest: content type %q", ct)
	}
	if status, err := ErrorStatus(result.DER); err != nil {
		return result, err
	} else if status != xocsp.Success {
		return result, xocsp.ResponseError{Status: status}
	}
	if err := Lint(result.Request, result.DER, issuer, c.now()); err != nil {
		return result, err
	}
	if result.Responses, err = Parse(result.DER, issuer); err != nil {
		return result, err
	}
	nonce, err := ResponseNonce(result.DER)
	if err != nil {
		return result, err
	}
	if !bytes.Equal(nonce, c.Nonce) && (nonce != nil || !c.NonceOptional) {
		return result, fmt.Errorf("ocsptest: nonce %x came back as %x", c.Nonce, nonce)
	}
	return result, nil
}

func (c Client) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// Request returns the DER of the request that Query sends.
func (c Client) Request(issuer *x509.Certificate, certs ...*x509.Certificate) []byte {
	hash := c.Hash
	if hash == 0 {
		hash = crypto.SHA1
	}
	var spki struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(issuer.RawSubjectPublicKeyInfo, &spki); err != nil {
		panic("ocsptest: " + err.Error())
	}
	prefix := codec.CertIDIssuer(hash, !c.NoParameters, issuer.RawSubject, spki.Key.Bytes)
	var req codec.Request
	for _, cert := range certs {
		id := codec.CertIDFrom(prefix, codec.SerialBytes(cert.SerialNumber))
		req.Entries = append(req.Entries, codec.RequestEntry{CertID: codec.CertID{Raw: id}})
	}
	if c.Nonce != nil {
		req.Extensions = append(req.Extensions, codec.NonceExtension(c.Nonce))
	}
	return codec.AppendRequest(nil, &req)
}

// Send sends a request, which need not be a well-formed one, and does not look at the answer.
func (c Client) Send(ctx context.Context, request []byte) (*Result, error) {
	target := c.URL
	if target == "" {
		target = "/ocsp"
	}
	var body io.Reader
	method := c.Method
	if method == http.MethodGet || method == http.MethodHead {
		target = strings.TrimSuffix(target, "/") + "/" + url.PathEscape(base64.StdEncoding.EncodeToString(request))
	} else {
		method, body = http.MethodPost, bytes.NewReader(request)
	}
	result := &Result{Request: request}
	if c.Handler != nil {
		req := httptest.NewRequestWithContext(ctx, method, target, body)
		c.setHeader(req)
		rec := httptest.NewRecorder()
		c.Handler.ServeHTTP(rec, req)
		result.StatusCode, result.Header, result.DER = rec.Code, rec.Header(), rec.Body.Bytes()
		return result, nil
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	c.setHeader(req)
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	result.StatusCode, result.Header = res.StatusCode, res.Header
	result.DER, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return result, err
}

func (c Client) setHeader(req *http.Request) {
	if req.Method == http.MethodPost {
		req.Header.Set("Content-Type", "application/ocsp-request")
	}
	for name, values := range c.Header {
		req.Header[name] = values
	}
}

// ErrorStatus returns the responseStatus of an OCSPResponse, xocsp.Success for a signed one.
func ErrorStatus(der []byte) (xocsp.ResponseStatus, error) {
	var r response
	if rest, err := asn1.Unmarshal(der, &r); err != nil || len(rest) > 0 {
		return 0, fmt.Errorf("ocsptest: not an OCSPResponse: %x", der)
	}
	if status := xocsp.ResponseStatus(r.Status); status != xocsp.Success && len(der) != 5 {
		return status, errors.New("ocsptest: an error answer carries more than its status")
	}
	return xocsp.ResponseStatus(r.Status), nil
}

// ResponseNonce returns the nonce of a signed answer, nil if it has none.
func ResponseNonce(der []byte) ([]byte, error) {
	_, basic, err := unmarshal(der)
	if err != nil {
		return nil, err
	}
	for _, ext := range basic.Data.Extensions {
		if ext.Id.Equal(oidNonce) {
			var nonce []byte
			if rest, err := asn1.Unmarshal(ext.Value, &nonce); err != nil || len(rest) > 0 {
				return nil, errors.New("ocsptest: the answer's nonce is not one OCTET STRING")
			}
			return nonce, nil
		}
	}
	return nil, nil
}

// Verify checks the signature of a signed answer and who made it: the issuer, or the first certificate
// in the answer, which the issuer must have signed for OCSPSigning. Unlike Lint it checks nothing more.
func Verify(der []byte, issuer *x509.Certificate) error {
	_, basic, err := unmarshal(der)
	if err != nil {
		return err
	}
	// Others may be those of a chain.
	basic.Certificates = basic.Certificates[:min(len(basic.Certificates), 1)]
	var errs []error
	signer := lintCertificates(func(_, format string, args ...any) {
		errs = append(errs, fmt.Errorf("ocsptest: "+format, args...))
	}, basic, issuer)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if err := verify(basic, signer); err != nil {
		return fmt.Errorf("ocsptest: the signature does not verify: %w", err)
	}
	return nil
}

// Parse reads a signed answer with x/crypto/ocsp and returns what it says about each certificate, in order.
// x/crypto/ocsp knows neither Ed25519 nor PSS: such an answer it reads without verifying it, which Lint does.
func Parse(der []byte, issuer *x509.Certificate) ([]*xocsp.Response, error) {
	outer, basic, err := unmarshal(der)
	if err != nil {
		return nil, err
	}
	if !signatureAlgorithms[hex.EncodeToString(basic.Algorithm.FullBytes)].xcrypto {
		basic.Certificates, issuer = nil, nil
		if outer.Bytes.Response, err = asn1.Marshal(*basic); err != nil {
			return nil, err
		}
		if der, err = asn1.Marshal(*outer); err != nil {
			return nil, err
		}
	}
	responses := make([]*xocsp.Response, len(basic.Data.Responses))
	first := map[string]*xocsp.Response{} // x/crypto/ocsp reads the first of a serial number, and all of der for it
	for i := range basic.Data.Responses {
		id, err := readCertID(basic.Data.Responses[i].CertID.FullBytes)
		if err != nil {
			return nil, fmt.Errorf("ocsptest: CertID: %w", err)
		}
		serial := id.Serial.String()
		if first[serial] == nil {
			first[serial], err = xocsp.ParseResponseForCert(der, &x509.Certificate{SerialNumber: id.Serial}, issuer)
			if err != nil {
				return nil, fmt.Errorf("ocsptest: x/crypto/ocsp: %w", err)
			}
		}
		responses[i] = first[serial]
	}
	return responses, nil
}

type certIDFields struct {
	Hash              pkix.AlgorithmIdentifier
	NameHash, KeyHash []byte
	Serial            *big.Int
}

func readCertID(der []byte) (id certIDFields, err error) {
	_, err = asn1.Unmarshal(der, &id)
	return id, err
}
