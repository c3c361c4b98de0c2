package main

import (
	"testing"

	"github.com/kmsocsp/ocsp/examples/internal/mounttest"
)

func TestConformance(t *testing.T) { mounttest.Conformance(t, handler) }
