package mounttest

import (
	"bytes"
	"context"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/kmsocsp/ocsp"
)

// asExample makes a test binary run the example.
const asExample = "MOUNTTEST_AS_EXAMPLE"

// Main is an example's TestMain.
func Main(m *testing.M, main func()) {
	if os.Getenv(asExample) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Store requires that a store that has serial 1 of the issuer "ca" looks at both.
func Store(t *testing.T, store ocsp.CertStore) {
	t.Helper()
	if record, err := store.FindBySerial(t.Context(), "ca", big.NewInt(1)); err != nil || record.State != ocsp.Active {
		t.Errorf("serial 1 is %v, error %v", record.State, err)
	}
	for issuerID, serial := range map[string]int64{"ca": 2, "another": 1} {
		if record, err := store.FindBySerial(t.Context(), issuerID, big.NewInt(serial)); !errors.Is(err, ocsp.ErrNotFound) {
			t.Errorf("serial %d of issuer %q is %v, error %v", serial, issuerID, record.State, err)
		}
	}
}

// TakenPort requires that an example whose port is another's fails, before it prints what to try.
func TakenPort(t *testing.T) {
	t.Helper()
	// The tests of the other examples may have the port now, and may give it back in the middle of this one.
	for range 100 {
		if listener, err := net.Listen("tcp", "127.0.0.1:8080"); err == nil {
			defer func() { _ = listener.Close() }()
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, log bytes.Buffer
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), asExample+"=1", "TMPDIR="+t.TempDir()), &out, &log
	err := cmd.Run()
	if err == nil || ctx.Err() != nil || !bytes.Contains(log.Bytes(), []byte("127.0.0.1:8080")) {
		t.Errorf("it ended with %v and said %q", err, log.String())
	}
	if out.Len() > 0 {
		t.Errorf("it printed %q", out.String())
	}
}
