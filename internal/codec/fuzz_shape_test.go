package codec

import (
	"encoding/asn1"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shape is the syntax of an element as RFC 6960 gives it, for a second reader. tags matches the
// first octets of the elements in it, in hexadecimal. within has the shapes of those among them
// that have one, by their first octet.
type shape struct {
	tags   *regexp.Regexp
	within map[byte]*shape
}

func shaped(tags string, within map[byte]*shape) *shape {
	return &shape{regexp.MustCompile("^(" + tags + ")$"), within}
}

// wrapped is an explicit tag, which has one element.
func wrapped(tag string, in *shape) *shape {
	if in == nil {
		return shaped(tag, nil)
	}
	return shaped(tag, map[byte]*shape{0x30: in})
}

// fits reports whether der is one element with that content and nothing after it.
func (s *shape) fits(der []byte) bool {
	list, ok := elements(der)
	if !ok {
		return false
	}
	tags := make([]byte, 0, 64)
	for _, e := range list {
		tags = hex.AppendEncode(tags, e.FullBytes[:1])
		if in := s.within[e.FullBytes[0]]; in != nil && !in.fits(e.FullBytes) {
			return false
		}
	}
	return s.tags.Match(tags)
}

// elements returns the elements in the one element that der is.
func elements(der []byte) (list []asn1.RawValue, ok bool) {
	var outer asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 {
		return nil, false
	}
	for rest := outer.Bytes; len(rest) > 0; {
		var e asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &e); err != nil {
			return nil, false
		}
		list = append(list, e)
	}
	return list, true
}

// difference is a kind of input that two readers judge differently. docs/FUZZING.md has a row for
// each name. If why is not empty, it is the reason that the error of this package has.
type difference[T any] struct {
	name, why string
	holds     func(T) bool
}

// explained reports whether one of the differences holds of an input that was refused for that
// reason.
func explained[T any](list []difference[T], why string, input T) bool {
	return slices.ContainsFunc(list, func(d difference[T]) bool {
		return (d.why == "" || d.why == why) && d.holds(input)
	})
}

// Each kind of difference has a row in docs/FUZZING.md, and each row there is of a kind.
func TestDifferencesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "FUZZING.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Differences\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var rows []string
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, " | "); len(cells) > 2 && cells[0] != "| input" {
			rows = append(rows, strings.TrimPrefix(cells[0], "| "))
		}
	}
	var names []string
	for _, list := range [][]difference[*judgedRequest]{
		refusedRequests, refusedByASN1, refusedByOCSP, skippedRequestsByOCSP,
	} {
		for _, d := range list {
			names = append(names, d.name)
		}
	}
	for _, list := range [][]difference[*judgedResponse]{
		refusedResponses, refusedResponsesByASN1, refusedResponsesByOCSP, skippedResponsesByOCSP,
	} {
		for _, d := range list {
			names = append(names, d.name)
		}
	}
	sorted := func(list []string) []string {
		return slices.Compact(slices.Sorted(slices.Values(list)))
	}
	if rows, names := sorted(rows), sorted(names); !slices.Equal(rows, names) {
		t.Errorf("the table has %q, the targets have %q", rows, names)
	}
}
