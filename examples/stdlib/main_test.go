package main

import (
	"testing"

	"github.com/kmsocsp/ocsp/examples/internal/mounttest"
)

func TestMount(t *testing.T) { mounttest.Run(t, handler) }
