package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// requireOpenSSL skips a test where there is no openssl, or fails it if OCSP_REQUIRE_TOOLS is 1.
func requireOpenSSL(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err == nil {
		return
	}
	if os.Getenv("OCSP_REQUIRE_TOOLS") == "1" {
		t.Fatal("openssl is missing: apt-get install openssl")
	}
	t.Skip("openssl is missing: apt-get install openssl")
}

func TestDemo(t *testing.T) {
	requireOpenSSL(t)
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, t.TempDir(), ""), out.String())
	for _, want := range []string{
		"1: good", "1: revoked", "Reason: keyCompromise", "2: revoked",
		"Reason: cessationOfOperation", "3: unknown", "25 checks passed",
	} {
		assert.Contains(t, out.String(), want)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	requireOpenSSL(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out := cancelled{cancel: cancel}
	require.NoError(t, run(ctx, &out, t.TempDir(), "127.0.0.1:0"), out.String())
}

// cancelled calls cancel when the demonstration has begun to serve.
type cancelled struct {
	bytes.Buffer
	cancel func()
}

func (c *cancelled) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "serving http://") {
		c.cancel()
	}
	return c.Buffer.Write(p)
}

func TestWithoutOpenSSL(t *testing.T) {
	t.Setenv("PATH", "")
	err := run(t.Context(), &bytes.Buffer{}, t.TempDir(), "")
	assert.ErrorContains(t, err, "install it, and run this again")
}
