// Package api is the HTTP API of the example KMS: its handler and its client.
package api

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/counters"
	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/examples/kms/internal/keyfile"
)

// KMS changes certificates.
type KMS interface {
	// Certify issues a certificate and returns it with its key.
	Certify(ctx context.Context, name string, state ocsp.State) (inventory.Object, crypto.Signer, error)
	// Change makes a change to a certificate and returns it as it is afterwards.
	Change(ctx context.Context, uid string, c inventory.Change) (inventory.Object, error)
}

// Certificate is a certificate in an answer.
type Certificate struct {
	UID           string    `json:"uid"`
	Name          string    `json:"name"`
	Serial        string    `json:"serial"` // hexadecimal
	State         string    `json:"state"`
	Reason        string    `json:"reason,omitempty"`
	RevokedAt     time.Time `json:"revoked_at,omitzero"`
	CompromisedAt time.Time `json:"compromised_at,omitzero"`
	NotAfter      time.Time `json:"not_after"`
	Certificate   string    `json:"certificate,omitempty"` // PEM; not in a list
	Key           string    `json:"key,omitempty"`         // PEM, PKCS #8; only when it is made
}

// NewCertificate returns what the API sends of an object.
func NewCertificate(o inventory.Object) Certificate {
	return Certificate{
		UID: o.UID, Name: o.Name, Serial: o.Serial.Text(16), State: o.State.String(), Reason: o.Reason.String(),
		RevokedAt: o.RevokedAt, CompromisedAt: o.InvalidityDate, NotAfter: o.NotAfter,
	}
}

// CertifyRequest is the body of a request to issue a certificate.
type CertifyRequest struct {
	Name      string `json:"name"`
	PreActive bool   `json:"pre_active,omitempty"`
}

// RevokeRequest is the body of a request to revoke a certificate.
type RevokeRequest struct {
	Reason        string    `json:"reason,omitempty"`
	CompromisedAt time.Time `json:"compromised_at,omitzero"`
}

type errorJSON struct {
	Error string `json:"error"`
}

// MaxBody is the size of the largest body that the server reads.
const MaxBody = 64 << 10

// Handler is the API without its authentication.
type Handler struct {
	KMS      KMS
	Store    inventory.Store
	CA       *x509.Certificate
	Counters *counters.Counters
	Logger   *slog.Logger
}

// Routes adds the paths of the API to a router.
func (h *Handler) Routes(r chi.Router) {
	r.Post("/certificates", h.answer(h.postCertificate))
	r.Get("/certificates", h.answer(h.listCertificates))
	r.Get("/certificates/{uid}", h.answer(h.getCertificate))
	for path, action := range map[string]inventory.Action{
		"activate": inventory.Activate, "destroy": inventory.Destroy,
		"hold": inventory.Hold, "release": inventory.Release,
	} {
		r.Post("/certificates/{uid}/"+path, h.answer(func(r *http.Request) (any, error) {
			return h.applyTo(r, inventory.Change{Action: action})
		}))
	}
	r.Post("/certificates/{uid}/revoke", h.answer(h.revokeCertificate))
	r.Get("/ca", h.getCA)
	r.Get("/counters", h.answer(func(*http.Request) (any, error) { return h.Counters.Snapshot(), nil }))
}

// Refusal returns the status code for an error and the error to send. An error that is not the
// client's is logged and not sent.
func Refusal(logger *slog.Logger, r *http.Request, err error) (int, error) {
	switch {
	case errors.Is(err, inventory.ErrInvalid):
		return http.StatusBadRequest, err
	case errors.Is(err, inventory.ErrNotFound):
		return http.StatusNotFound, err
	case errors.Is(err, inventory.ErrConflict):
		return http.StatusConflict, err
	default:
		logger.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		return http.StatusInternalServerError, errors.New("internal error: see the server's log")
	}
}

// answer returns a handler that sends a result, or an error with its status code, as JSON.
func (h *Handler) answer(serve func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		code := http.StatusOK
		result, err := serve(r)
		if err != nil {
			code, err = Refusal(h.Logger, r, err)
			result = errorJSON{err.Error()}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(result) // an error means that the client has gone away
	}
}

func (h *Handler) postCertificate(r *http.Request) (any, error) {
	var req CertifyRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	state := ocsp.Active
	if req.PreActive {
		state = ocsp.PreActive
	}
	o, key, err := h.KMS.Certify(r.Context(), req.Name, state)
	if err != nil {
		return nil, err
	}
	text, err := keyfile.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	result := NewCertificate(o)
	result.Certificate, result.Key = string(keyfile.EncodeCertificate(o.DER)), string(text)
	return result, nil
}

func (h *Handler) listCertificates(r *http.Request) (any, error) {
	objects, err := h.Store.List(r.Context(), inventory.KindCertificate)
	list := make([]Certificate, len(objects))
	for i, o := range objects {
		list[i] = NewCertificate(o)
	}
	return list, err
}

func (h *Handler) getCertificate(r *http.Request) (any, error) {
	o, err := h.Store.Get(r.Context(), chi.URLParam(r, "uid"))
	if err != nil {
		return nil, err
	}
	result := NewCertificate(o)
	result.Certificate = string(keyfile.EncodeCertificate(o.DER))
	return result, nil
}

func (h *Handler) revokeCertificate(r *http.Request) (any, error) {
	var req RevokeRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	c, err := inventory.Revocation(req.Reason, req.CompromisedAt, time.Now())
	if err != nil {
		return nil, err
	}
	return h.applyTo(r, c)
}

// applyTo makes a change to the certificate in the path.
func (h *Handler) applyTo(r *http.Request, c inventory.Change) (any, error) {
	o, err := h.KMS.Change(r.Context(), chi.URLParam(r, "uid"), c)
	if err != nil {
		return nil, err
	}
	return NewCertificate(o), nil
}

func (h *Handler) getCA(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-pem-file")
	// An error means that the client has gone away.
	_, _ = w.Write(keyfile.EncodeCertificate(h.CA.Raw))
}

// decode reads a JSON body. An empty body is an empty object.
func decode(r *http.Request, into any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w body: %w", inventory.ErrInvalid, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w body: more than one JSON value", inventory.ErrInvalid)
	}
	return nil
}
