package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDemo(t *testing.T) {
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
