// Package knot is what the tests of package house measure.
package knot

import "strings"

// apart is named by nobody, and names nobody.
func apart() string { return strings.ToUpper("") }
