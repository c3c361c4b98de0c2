package ocsp

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

var (
	// errClosed is hostcall.ErrClosed for those who ask a Responder.
	errClosed    = fmt.Errorf("ocsp: the responder is %w", hostcall.ErrClosed)
	errOvertaken = errors.New("ocsp: the certificate's status keeps changing")
)

// hostError is an error of one of the host's components, in an answer about a certificate.
type hostError struct {
	component string // "store" or "signer"
	issuerID  string
	serial    *big.Int // nil: the certificate does not matter
	err       error
}

func (e *hostError) Error() string {
	err := strings.TrimPrefix(fmt.Sprint(e.err), "ocsp: ") // which the text begins with already
	if e.serial == nil {
		return fmt.Sprintf("ocsp: %s: issuer %q: %s", e.component, e.issuerID, err)
	}
	return fmt.Sprintf("ocsp: %s: issuer %q, serial %x: %s", e.component, e.issuerID, e.serial, err)
}

func (e *hostError) Unwrap() error { return e.err }

// blame names the component that returned an error, unless the error names one or is no component's.
func blame(component, issuerID string, serial *big.Int, err error) error {
	var known *hostError
	switch {
	case errors.Is(err, hostcall.ErrClosed):
		return errClosed
	case errors.As(err, &known), errors.Is(err, errOvertaken):
		return err
	}
	return &hostError{component, issuerID, serial, err}
}

// ConfigError is a field of a Config or an Issuer that cannot be used. New and SetIssuer return it. New joins the errors
// of several fields (errors.Join): errors.As then gets the first.
type ConfigError struct {
	// Field is the path of the field, such as "Cache.StatusTTL". New says "Issuers[0].Signer" of an issuer's, and
	// SetIssuer "Signer".
	Field string

	// Problem is what is wrong with the field, which is its subject: "is nil".
	Problem string

	// Hint is what to do about it: "give the private key as a crypto.Signer".
	Hint string

	where string // "config", or the issuer that SetIssuer was given
	cause error  // which Problem quotes; nil for none
}

// Error returns the field, the problem and the hint in one line.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("ocsp: %s: the field %s %s: %s", e.where, e.Field, e.Problem, e.Hint)
}

// Unwrap returns the error that Problem quotes, such as one of Issuer.Signer, or nil.
func (e *ConfigError) Unwrap() error { return e.cause }

// fieldError returns a ConfigError whose problem is formatted as by fmt.Errorf.
func fieldError(field, hint, format string, args ...any) error {
	problem := fmt.Errorf(format, args...)
	return &ConfigError{Field: field, Problem: problem.Error(), Hint: hint, where: "config", cause: errors.Unwrap(problem)}
}

// ofIssuer returns a ConfigError about an issuer with its context.
func ofIssuer(where, path string, err error) error {
	var e *ConfigError
	if errors.As(err, &e) {
		e.where, e.Field = where, path+e.Field
	}
	return err
}

// configErrors collects errors, one for each field: a second one may only follow from the first.
type configErrors struct {
	errs   []error
	fields []string
}

func (c *configErrors) add(field, hint, format string, args ...any) {
	if c.none(field) {
		c.fields = append(c.fields, field)
		c.errs = append(c.errs, fieldError(field, hint, format, args...))
	}
}

// none reports whether nothing is wrong with any of the fields so far.
func (c *configErrors) none(fields ...string) bool {
	return !slices.ContainsFunc(fields, func(f string) bool { return slices.Contains(c.fields, f) })
}
