package keyfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Pair is the two files of a certificate and its key. They are created before the certificate is
// issued, so that an issued certificate can be written and no file is overwritten.
type Pair struct {
	Certificate, Key string
}

// NewPair creates the empty files NAME.pem and NAME.key.
func NewPair(dir, name string) (Pair, error) {
	p := Pair{filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")}
	err := Create(p.Certificate, nil)
	if err == nil {
		if err = Create(p.Key, nil); err != nil {
			err = errors.Join(err, os.Remove(p.Certificate))
		}
	}
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w: choose another name or another directory", err)
	}
	return p, err
}

// Write writes both, in PEM.
func (p Pair) Write(certificate, key []byte) error {
	return errors.Join(os.WriteFile(p.Certificate, certificate, 0o600), os.WriteFile(p.Key, key, 0o600))
}

// Remove removes both files.
func (p Pair) Remove() error {
	return errors.Join(os.Remove(p.Certificate), os.Remove(p.Key))
}
