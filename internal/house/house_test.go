package house_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/house"
)

// The files of testdata/knot name each other in each way that ties files together, and some in ways
// that do not.
func TestKnot(t *testing.T) {
	p, err := house.Load("testdata/knot")
	require.NoError(t, err)
	require.Equal(t, []string{"embeds.go", "field.go", "generic.go", "method.go"}, p.Knot())
	methods, files := p.Methods("Responder")
	require.Equal(t, 3, methods)
	require.Equal(t, 2, files)
	methods, _ = p.Methods("missing")
	require.Zero(t, methods)
	require.Equal(t, []string{"holder", "pair"}, p.TypesUsed(func(file, function string) bool {
		return file == "method.go" && function == "Responder.Use"
	}))
	require.Empty(t, p.TypesUsed(func(string, string) bool { return false }))
}

func TestLoadRefusesWhatDoesNotCompile(t *testing.T) {
	_, err := house.Load("testdata")
	require.Error(t, err)
}

// An import that a room may not have is found, whichever room it is.
func TestTrespasses(t *testing.T) {
	const internal = house.Module + "/internal/"
	for room := range house.Rooms {
		for _, path := range []string{
			house.Module, house.Module + "/ocsptest", internal + "servers",
			"net/http", "net/http/httptest", "golang.org/x/net/http2",
		} {
			found := house.Trespasses(map[string][]string{room: {"errors", path}})
			require.Equal(t, []string{room + " must not import " + path}, found)
		}
	}
	require.Len(t, house.Trespasses(map[string][]string{
		internal + "hostcall": {internal + "statuses"},
		internal + "statuses": {
			internal + "signed", "golang.org/x/sync/singleflight", "github.com/patrickmn/go-cache",
		},
		internal + "signed":  {internal + "codec", internal + "hostcall"},
		internal + "getpath": {internal + "signed"},
		internal + "codec":   {internal + "getpath"},
	}), 8)
	require.Empty(t, house.Trespasses(map[string][]string{
		internal + "hostcall": {"context", "sync"},
		internal + "statuses": {"sync", "time"},
		internal + "signed":   {"crypto", "github.com/patrickmn/go-cache"},
		internal + "getpath":  {"net/url", "golang.org/x/crypto/cryptobyte"},
		internal + "codec":    {"golang.org/x/crypto/cryptobyte", "golang.org/x/crypto/cryptobyte/asn1"},
		internal + "servers":  {"net/http"},
		house.Module:          {"net/http", internal + "codec"},
	}))
	require.Empty(t, house.Trespasses(nil))
}

func TestImports(t *testing.T) {
	imports, err := house.Imports("testdata/knot", ".")
	require.NoError(t, err)
	const knot = house.Module + "/internal/house/testdata/knot"
	require.Equal(t, map[string][]string{knot: {"strings"}}, imports)
}
