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
	// errClosed is hostcall.ErrClosed for callers of a Responder.
	errClosed    = fmt.Errorf("ocsp: the responder is %w", hostcall.ErrClosed)
	errOvertaken = errors.New("ocsp: no answer could be completed before it was out of date")
)

// hostError is an error of one of the host's components while it worked for an answer.
type hostError struct {
	component string // "store" or "signer"
	issuerID  string
	serial    *big.Int // nil: the error concerns no certificate in particular
	err       error
}

func (e *hostError) Error() string {
	err := strings.TrimPrefix(fmt.Sprint(e.err), "ocsp: ") // the text already begins with it
	if e.serial == nil {
		return fmt.Sprintf("ocsp: %s: issuer %q: %s", e.component, e.issuerID, err)
	}
	return fmt.Sprintf("ocsp: %s: issuer %q, serial %x: %s", e.component, e.issuerID, e.serial, err)
}

func (e *hostError) Unwrap() error { return e.err }

// wrapHostError adds the component's name to its error. Errors that already name a component, and
// those of the responder itself, are returned as they are.
func wrapHostError(component, issuerID string, serial *big.Int, err error) error {
	var named *hostError
	switch {
	case errors.Is(err, hostcall.ErrClosed):
		return errClosed
	case errors.As(err, &named), errors.Is(err, errOvertaken):
		return err
	}
	return &hostError{component, issuerID, serial, err}
}

// ConfigError reports a field of a Config or an Issuer that cannot be used. SetIssuer returns one.
// New joins those of several fields (errors.Join); errors.As then returns the first.
type ConfigError struct {
	// Field is the path of the field, such as "Cache.StatusTTL". For a field of an issuer it is
	// "Issuers[0].Signer" in errors of New, and "Signer" in errors of SetIssuer.
	Field string

	// Problem describes what is wrong, with the field as its subject: "is nil".
	Problem string

	// Hint describes what to do: "give the private key as a crypto.Signer".
	Hint string

	where string // "config", or the issuer passed to SetIssuer
	cause error  // quoted in Problem; nil for none
}

// Error returns the field, the problem and the hint in one line.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("ocsp: %s: the field %s %s: %s", e.where, e.Field, e.Problem, e.Hint)
}

// Unwrap returns the error that Problem quotes, such as one of Issuer.Signer. It returns nil if
// there is none.
func (e *ConfigError) Unwrap() error { return e.cause }

// fieldError returns a ConfigError. Its problem is formatted as by fmt.Errorf.
func fieldError(field, hint, format string, args ...any) error {
	problem := fmt.Errorf(format, args...)
	return &ConfigError{
		Field: field, Problem: problem.Error(), Hint: hint,
		where: "config", cause: errors.Unwrap(problem),
	}
}

// ofIssuer adds the issuer to a ConfigError about one of its fields.
func ofIssuer(where, path string, err error) error {
	var e *ConfigError
	if errors.As(err, &e) {
		e.where, e.Field = where, path+e.Field
	}
	return err
}

// configErrors collects at most one error for each field, because a second one may only follow from
// the first.
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

// none reports whether none of the fields has an error so far.
func (c *configErrors) none(fields ...string) bool {
	return !slices.ContainsFunc(fields, func(f string) bool { return slices.Contains(c.fields, f) })
}
