package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// pair is the two files of a certificate and its key. They are made before the certificate is, so that one
// that is issued can also be written, and never over others.
type pair struct {
	cert, key string
}

// newPair makes the empty files NAME.pem and NAME.key.
func newPair(dir, name string) (pair, error) {
	p := pair{filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")}
	err := writeNew(p.cert, nil)
	if err == nil {
		if err = writeNew(p.key, nil); err != nil {
			err = errors.Join(err, os.Remove(p.cert))
		}
	}
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w: choose another name or another directory", err)
	}
	return p, err
}

func (p pair) write(certPEM, keyPEM []byte) error {
	return errors.Join(os.WriteFile(p.cert, certPEM, 0o600), os.WriteFile(p.key, keyPEM, 0o600))
}

func (p pair) remove() error {
	return errors.Join(os.Remove(p.cert), os.Remove(p.key))
}
