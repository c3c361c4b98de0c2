package ocsp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/house"
)

// What the layout may grow to. Lower them when the code gets simpler. scripts/house prints more.
const (
	maxKnot             = 4 // files of the root that all reach each other by what they name
	maxResponderMethods = 15
)

// The files of the root package can be read and changed one at a time, as far as the limits say.
func TestKnotStaysSmall(t *testing.T) {
	t.Parallel()
	root, err := house.Load(".")
	require.NoError(t, err)
	knot := root.Knot()
	require.LessOrEqual(t, len(knot), maxKnot, "%v reach each other by what they name", knot)
	methods, _ := root.Methods("Responder")
	require.NotZero(t, methods)
	require.LessOrEqual(t, methods, maxResponderMethods)
}

// Imports between the packages of the module point one way.
func TestRoomsImportOneWay(t *testing.T) {
	t.Parallel()
	imports, err := house.Imports(".", "./internal/...")
	require.NoError(t, err)
	require.Contains(t, imports, house.Module+"/internal/codec")
	require.Empty(t, house.Trespasses(imports))
}
