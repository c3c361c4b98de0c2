package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/kmsocsp/ocsp"
)

// certificateJSON is a certificate as the API shows it.
type certificateJSON struct {
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

func (o object) json() certificateJSON {
	return certificateJSON{
		UID: o.uid, Name: o.name, Serial: o.serial.Text(16), State: o.state.String(), Reason: o.reason.String(),
		RevokedAt: o.revokedAt, CompromisedAt: o.compromisedAt, NotAfter: o.notAfter,
	}
}

type certifyRequest struct {
	Name      string `json:"name"`
	PreActive bool   `json:"pre_active,omitempty"`
}

type revokeRequest struct {
	Reason        string    `json:"reason,omitempty"`
	CompromisedAt time.Time `json:"compromised_at,omitzero"`
}

type errorJSON struct {
	Error string `json:"error"`
}

const maxBody = 64 << 10

// routes adds the API.
func (k *kms) routes(r chi.Router) {
	r.Post("/certificates", k.answer(k.postCertificate))
	r.Get("/certificates", k.answer(k.listCertificates))
	r.Get("/certificates/{uid}", k.answer(k.getCertificate))
	r.Post("/certificates/{uid}/activate", k.answer(func(r *http.Request) (any, error) { return k.applyTo(r, change{action: activate}) }))
	r.Post("/certificates/{uid}/destroy", k.answer(func(r *http.Request) (any, error) { return k.applyTo(r, change{action: destroy}) }))
	r.Post("/certificates/{uid}/revoke", k.answer(k.revokeCertificate))
	r.Get("/ca", k.getCA)
	r.Get("/counters", k.answer(func(*http.Request) (any, error) { return k.counters.snapshot(), nil }))
}

// refusal returns the status code for an error and what to tell of it. Errors that are not the client's are logged
// and not told.
func (k *kms) refusal(r *http.Request, err error) (int, error) {
	switch {
	case errors.Is(err, errInvalid):
		return http.StatusBadRequest, err
	case errors.Is(err, errNotFound):
		return http.StatusNotFound, err
	case errors.Is(err, errConflict):
		return http.StatusConflict, err
	default:
		k.logger.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		return http.StatusInternalServerError, errors.New("internal error: see the server's log")
	}
}

// answer makes a handler that sends a result, or an error with its status code, as JSON.
func (k *kms) answer(serve func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		code := http.StatusOK
		result, err := serve(r)
		if err != nil {
			code, err = k.refusal(r, err)
			result = errorJSON{err.Error()}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(result) // a client that is gone needs no answer
	}
}

func (k *kms) postCertificate(r *http.Request) (any, error) {
	var req certifyRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	state := ocsp.Active
	if req.PreActive {
		state = ocsp.PreActive
	}
	o, key, err := k.certify(r.Context(), req.Name, state)
	if err != nil {
		return nil, err
	}
	text, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	result := o.json()
	result.Certificate, result.Key = string(certPEM(o.der)), string(text)
	return result, nil
}

func (k *kms) listCertificates(r *http.Request) (any, error) {
	objects, err := k.store.list(r.Context(), kindCertificate)
	list := make([]certificateJSON, len(objects))
	for i, o := range objects {
		list[i] = o.json()
	}
	return list, err
}

func (k *kms) getCertificate(r *http.Request) (any, error) {
	o, err := k.store.get(r.Context(), chi.URLParam(r, "uid"))
	if err != nil {
		return nil, err
	}
	result := o.json()
	result.Certificate = string(certPEM(o.der))
	return result, nil
}

func (k *kms) revokeCertificate(r *http.Request) (any, error) {
	var req revokeRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	o, err := k.revoke(r.Context(), chi.URLParam(r, "uid"), req.Reason, req.CompromisedAt)
	if err != nil {
		return nil, err
	}
	return o.json(), nil
}

// applyTo makes a change to the certificate in the path.
func (k *kms) applyTo(r *http.Request, c change) (any, error) {
	o, err := k.change(r.Context(), chi.URLParam(r, "uid"), c)
	if err != nil {
		return nil, err
	}
	return o.json(), nil
}

func (k *kms) getCA(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = w.Write(certPEM(k.ca.cert.Raw)) // a client that is gone needs no answer
}

// decode reads a JSON body. None at all is like an empty object.
func decode(r *http.Request, into any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w body: %w", errInvalid, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w body: more than one JSON value", errInvalid)
	}
	return nil
}
