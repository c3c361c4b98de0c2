package main

import (
	"testing"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/internal/mounttest"
)

func TestMain(m *testing.M) { mounttest.Main(m, main) }

func TestMount(t *testing.T) { mounttest.Run(t, handler) }

func TestStore(t *testing.T) { mounttest.Store(t, store{"ca": {"1": {State: ocsp.Active}}}) }

func TestTakenPort(t *testing.T) { mounttest.TakenPort(t) }
