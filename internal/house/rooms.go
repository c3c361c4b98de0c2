package house

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path of the root package.
const Module = "github.com/kmsocsp/ocsp"

// Rooms are the packages below internal that the root package is made of. For each stands what it
// may import besides the standard library; a path that ends in a slash stands for all below it.
// None of them imports net/http: that is the root's.
var Rooms = map[string][]string{
	Module + "/internal/codec":    {"golang.org/x/crypto/cryptobyte", "golang.org/x/crypto/cryptobyte/"},
	Module + "/internal/getpath":  {"golang.org/x/crypto/cryptobyte", "golang.org/x/crypto/cryptobyte/"},
	Module + "/internal/hostcall": nil,
	Module + "/internal/statuses": nil,
	Module + "/internal/signed":   {"github.com/patrickmn/go-cache"},
}

// Imports returns what each of the packages that patterns match imports without its tests.
func Imports(dir string, patterns ...string) (map[string][]string, error) {
	args := []string{"list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}"}
	out, err := Go(dir, append(args, patterns...)...)
	if err != nil {
		return nil, err
	}
	imports := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		imports[fields[0]] = fields[1:]
	}
	return imports, nil
}

// Trespasses returns a sentence for each import that Rooms does not allow. A room that is not among
// imports imports nothing.
func Trespasses(imports map[string][]string) []string {
	var found []string
	for room, allowed := range Rooms {
		for _, path := range imports[room] {
			if !mayImport(allowed, path) {
				found = append(found, fmt.Sprintf("%s must not import %s", room, path))
			}
		}
	}
	slices.Sort(found)
	return found
}

func mayImport(allowed []string, path string) bool {
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return path != "net/http" && !strings.HasPrefix(path, "net/http/")
	}
	return slices.ContainsFunc(allowed, func(a string) bool {
		return path == a || strings.HasSuffix(a, "/") && strings.HasPrefix(path, a)
	})
}
