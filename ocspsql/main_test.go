package ocspsql_test

import (
	"os"
	"testing"

	"github.com/kmsocsp/ocsp/ocspsql/internal/dbtest"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }
