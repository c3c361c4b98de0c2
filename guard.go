package ocsp

import (
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// errClosed is hostcall.ErrClosed for those who ask a Responder.
var errClosed = fmt.Errorf("ocsp: the responder is %w", hostcall.ErrClosed)

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
