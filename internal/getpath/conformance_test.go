package getpath_test

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/codec"
	"github.com/kmsocsp/ocsp/internal/getpath"
)

// issuer is the part of a CertID that names the issuer in all requests. Its base64 has neither two
// slashes in a row nor "/M", which would decide for every request what a test wants to vary.
var issuer = codec.CertIDIssuer(crypto.SHA1, true, []byte("name"), []byte("key"))

// fixed is the number of base64 letters before the serial.
const fixed = 88

// requestFor makes a request for a serial.
func requestFor(serial []byte, extensions ...codec.Extension) []byte {
	id := codec.CertID{Raw: codec.CertIDFrom(issuer, serial)}
	entries := []codec.RequestEntry{{CertID: id}}
	return codec.AppendRequest(nil, &codec.Request{
		Entries: entries, Extensions: extensions, ExtensionsGiven: len(extensions) > 0,
	})
}

// accept accepts a request for certificates of issuer.
func accept(der []byte) bool {
	var req codec.Request
	limits := codec.ReadLimits{CertIDs: 32, Extensions: 16}
	return codec.ParseRequest(der, &req, limits) == nil &&
		!slices.ContainsFunc(req.Entries, func(e codec.RequestEntry) bool {
			return !bytes.Equal(e.CertID.Issuer, issuer)
		})
}

// request makes a request whose standard base64 has the wanted property. Serials have 8 to 20
// octets, so padding of every length comes up.
func request(t *testing.T, wanted func(text string) bool) (der []byte, text string) {
	t.Helper()
	for range 1_000_000 {
		serial := make([]byte, 8+rand.IntN(13))
		for i := range serial {
			serial[i] = byte(rand.Uint32())
		}
		serial[0] = serial[0]&0x7f | 0x40
		der = requestFor(serial)
		if text = base64.StdEncoding.EncodeToString(der); wanted(text) {
			return der, text
		}
	}
	require.FailNow(t, "no such request")
	return nil, ""
}

// rich is wanted of requests with every letter that needs care at least twice, but no two slashes
// in a row.
func rich(text string) bool {
	return strings.Count(text, "+") >= 2 && strings.Count(text, "/") >= 2 &&
		strings.HasSuffix(text, "==") && !doubled(text)
}

func doubled(text string) bool { return strings.Contains(text, "//") }

// padded is wanted of requests with so much padding.
func padded(n int) func(string) bool {
	return func(text string) bool { return strings.Count(text, "=") == n }
}

// decoded is the path of a target as it stands in the request line.
func decoded(t *testing.T, target string) string {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	require.NoError(t, err)
	return u.Path
}

// requireFound requires that the request is found in each target, by its name, as it was sent.
func requireFound(t *testing.T, der []byte, targets map[string]string) {
	t.Helper()
	for name, target := range targets {
		t.Run(name, func(t *testing.T) {
			got, repaired := getpath.FindStrict(decoded(t, target), nil, accept)
			require.Equal(t, der, got)
			require.False(t, repaired)
			got, repaired = getpath.Find(decoded(t, target), nil, accept)
			require.Equal(t, der, got)
			require.False(t, repaired)
		})
	}
}

// requireLenient requires that the request is found in each target, but not by FindStrict.
func requireLenient(t *testing.T, der []byte, repaired bool, targets map[string]string) {
	t.Helper()
	for name, target := range targets {
		t.Run(name, func(t *testing.T) {
			got, ok := getpath.Find(decoded(t, target), nil, accept)
			require.Equal(t, der, got)
			require.Equal(t, repaired, ok)
			got, _ = getpath.FindStrict(decoded(t, target), nil, accept)
			require.Empty(t, got)
		})
	}
}

// requireNone requires that no request is found in any target.
func requireNone(t *testing.T, targets map[string]string) {
	t.Helper()
	for name, target := range targets {
		t.Run(name, func(t *testing.T) {
			got, repaired := getpath.Find(decoded(t, target), nil, accept)
			require.Empty(t, got)
			require.False(t, repaired)
			got, _ = getpath.FindStrict(decoded(t, target), nil, accept)
			require.Empty(t, got)
		})
	}
}

// escapeAll percent-encodes every letter.
func escapeAll(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// escapeAgain percent-encodes a text that is percent-encoded already.
func escapeAgain(escaped string) string { return strings.ReplaceAll(escaped, "%", "%25") }

// lines breaks base64 into lines of so many letters.
func lines(text, lineBreak string, letters int) string {
	var b strings.Builder
	for len(text) > letters {
		b.WriteString(text[:letters] + lineBreak)
		text = text[letters:]
	}
	return b.String() + text + lineBreak
}

func TestFixedLetters(t *testing.T) {
	text := base64.StdEncoding.EncodeToString(requestFor(make([]byte, 20)))[:fixed]
	require.NotContains(t, text, "//")
	require.NotContains(t, text, "/M")
}

func TestT29PercentEncoded(t *testing.T) {
	der, text := request(t, rich)
	lower := strings.ReplaceAll(escapeAll(text[1:]), "%2F", "%2f")
	requireFound(t, der, map[string]string{
		"as a query":   "/ocsp/" + url.QueryEscape(text),
		"as a path":    "/ocsp/" + url.PathEscape(text),
		"every letter": "/ocsp/" + escapeAll(text),
		"lower case":   "/ocsp/" + strings.ToLower(escapeAll("M")) + lower,
	})
}

func TestT30Raw(t *testing.T) {
	der, text := request(t, rich)
	requireFound(t, der, map[string]string{"raw": "/ocsp/" + text})
	for range 200 {
		der, text := request(t, func(string) bool { return true })
		got, _ := getpath.Find("/ocsp/"+text, nil, accept)
		require.Equal(t, der, got)
	}
}

func TestT31EscapedPlus(t *testing.T) {
	der, text := request(t, rich)
	requireFound(t, der, map[string]string{
		"%2B":  "/ocsp/" + strings.ReplaceAll(text, "+", "%2B"),
		"%2b":  "/ocsp/" + strings.ReplaceAll(text, "+", "%2b"),
		"some": "/ocsp/" + strings.Replace(text, "+", "%2B", 1),
	})
}

func TestT32EscapedSlashAndPadding(t *testing.T) {
	der, text := request(t, rich)
	some := strings.Replace(strings.Replace(text, "/", "%2F", 1), "=", "%3D", 1)
	requireFound(t, der, map[string]string{
		"%2F":  "/ocsp/" + strings.ReplaceAll(text, "/", "%2F"),
		"%2f":  "/ocsp/" + strings.ReplaceAll(text, "/", "%2f"),
		"%3D":  "/ocsp/" + strings.ReplaceAll(text, "=", "%3D"),
		"%3d":  "/ocsp/" + strings.ReplaceAll(text, "=", "%3d"),
		"some": "/ocsp/" + some,
		"both": "/ocsp/" + strings.NewReplacer("/", "%2F", "=", "%3D").Replace(text),
	})
}

func TestT33SpaceForPlus(t *testing.T) {
	der, text := request(t, rich)
	requireFound(t, der, map[string]string{
		"%20":  "/ocsp/" + strings.ReplaceAll(text, "+", "%20"),
		"some": "/ocsp/" + strings.Replace(text, "+", "%20", 1),
	})
}

func TestT35SlashesMerged(t *testing.T) {
	merge := func(text string) string {
		for doubled(text) {
			text = strings.ReplaceAll(text, "//", "/")
		}
		return text
	}
	anyPadding := func(text string) bool { return doubled(text) && strings.HasSuffix(text, "=") }
	unpadded := func(text string) bool { return doubled(text) && !strings.HasSuffix(text, "=") }
	for name, test := range map[string]struct {
		clean  func(string) string
		wanted func(string) bool
		found  int // at least, of 300
	}{
		// If a serial has other slashes too, there is more than one repair and so none.
		"merged": {merge, anyPadding, 200},
		// Without padding the slash may have been lost at the end.
		"merged, no padding": {merge, unpadded, 0},
		"path.Clean":         {path.Clean, doubled, 0},
		"path.Clean, at end": {path.Clean, func(s string) bool { return s[len(s)-1] == '/' }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			found := 0
			for range 300 {
				der, text := request(t, test.wanted)
				got, repaired := getpath.Find(test.clean("/ocsp/"+text), nil, accept)
				require.Equal(t, len(got) > 0, repaired)
				if repaired {
					require.Equal(t, der, got)
					found++
				}
			}
			require.GreaterOrEqual(t, found, test.found)
		})
	}
}

func TestT37LeadingSlashes(t *testing.T) {
	der, text := request(t, rich)
	targets := map[string]string{}
	for _, lead := range []string{
		"/", "//", "///", "/ocsp//", "/ocsp///", "//ocsp/", "//ocsp//////",
		"/ocsp/%2F", "/ocsp%2F%2F",
	} {
		targets[lead+" raw"] = lead + text
		targets[lead+" escaped"] = lead + url.PathEscape(text)
	}
	requireFound(t, der, targets)
}

func TestT38TrailingSlash(t *testing.T) {
	for padding := range 3 {
		der, text := request(t, padded(padding))
		bare := strings.TrimRight(text, "=")
		requireFound(t, der, map[string]string{
			fmt.Sprint("one, padding ", padding):     "/ocsp/" + text + "/",
			fmt.Sprint("two, padding ", padding):     "/ocsp/" + text + "//",
			fmt.Sprint("escaped, padding ", padding): "/ocsp/" + url.PathEscape(text) + "%2F",
			fmt.Sprint("one, without ", padding):     "/ocsp/" + bare + "/",
			fmt.Sprint("several, without ", padding): "/ocsp/" + bare + "////",
		})
	}
}

func TestT39LastLetterSlash(t *testing.T) {
	der, text := request(t, func(text string) bool {
		return strings.HasSuffix(text, "/") && !strings.HasSuffix(text, "//")
	})
	requireFound(t, der, map[string]string{
		"raw":              "/ocsp/" + text,
		"escaped":          "/ocsp/" + url.PathEscape(text),
		"URL-safe":         "/ocsp/" + strings.ReplaceAll(text, "/", "_"),
		"one more":         "/ocsp/" + text + "/",
		"escaped and more": "/ocsp/" + url.PathEscape(text) + "/",
	})
	der, text = request(t, func(text string) bool { return strings.HasSuffix(text, "//") })
	requireFound(t, der, map[string]string{"two": "/ocsp/" + text})
}

func TestT40URLSafe(t *testing.T) {
	der, _ := request(t, rich)
	requireFound(t, der, map[string]string{
		"padded":   "/ocsp/" + base64.URLEncoding.EncodeToString(der),
		"unpadded": "/ocsp/" + base64.RawURLEncoding.EncodeToString(der),
		"escaped":  "/ocsp/" + escapeAll(base64.URLEncoding.EncodeToString(der)),
	})
}

func TestT41BothAlphabets(t *testing.T) {
	der, text := request(t, rich)
	mixed := strings.Replace(strings.Replace(text, "+", "-", 1), "/", "_", 1)
	require.Contains(t, mixed, "+")
	require.Contains(t, mixed, "/")
	requireFound(t, der, map[string]string{
		"raw":          "/ocsp/" + mixed,
		"escaped":      "/ocsp/" + url.PathEscape(mixed),
		"with a space": "/ocsp/" + strings.Replace(mixed, "+", "%20", 1),
	})
}

func TestT42MissingPadding(t *testing.T) {
	for padding := 1; padding <= 2; padding++ {
		der, text := request(t, padded(padding))
		targets := map[string]string{}
		for left := range padding {
			target := "/ocsp/" + text[:len(text)-padding+left]
			targets[fmt.Sprintf("%d of %d", left, padding)] = target
		}
		requireFound(t, der, targets)
	}
}

func TestT43WrongPadding(t *testing.T) {
	for padding := range 3 {
		_, text := request(t, padded(padding))
		bare := strings.TrimRight(text, "=")
		requireNone(t, map[string]string{
			"===":            "/ocsp/" + bare + "===",
			"====":           "/ocsp/" + bare + "====",
			"one too many":   "/ocsp/" + text + "=",
			"escaped":        "/ocsp/" + url.QueryEscape(bare+"==="),
			"in the middle":  "/ocsp/" + text[:8] + "=" + text[8:],
			"after a group":  "/ocsp/" + text[:12] + "==" + text[12:],
			"before the end": "/ocsp/" + bare[:len(bare)-1] + "=" + bare[len(bare)-1:],
			"at the start":   "/ocsp/=" + text,
		})
	}
}

func TestT44LineBreaks(t *testing.T) {
	der, text := request(t, rich)
	targets := func(white string) map[string]string {
		return map[string]string{
			white + " at the start":       "/ocsp/" + white + text,
			white + " early":              "/ocsp/" + text[:2] + white + text[2:],
			white + " in the middle":      "/ocsp/" + text[:64] + white + text[64:],
			white + " before the padding": "/ocsp/" + strings.TrimRight(text, "=") + white + "==",
			white + " at the end":         "/ocsp/" + text + white,
			white + " and a slash":        "/ocsp/" + text + white + "/",
		}
	}
	for _, lineBreak := range []string{"%0A", "%0a", "%0D%0A", "%0D"} {
		requireLenient(t, der, false, targets(lineBreak))
		for _, letters := range []int{1, 64, 76} {
			name := fmt.Sprintf("%s, %d", lineBreak, letters)
			target := "/ocsp/" + lines(text, lineBreak, letters)
			requireLenient(t, der, false, map[string]string{name: target})
		}
	}
	for _, white := range []string{
		"%09", "%0B", "%0C", "%00", "%C2%85", "%C2%A0", "%E2%80%A8", "%0A%09", "%0A%20",
	} {
		requireNone(t, targets(white))
	}
	requireLenient(t, der, false, map[string]string{
		"more slashes": "//ocsp///" + lines(text, "%0A", 64),
	})
}

func TestT45EncodedTwice(t *testing.T) {
	der, text := request(t, rich)
	query, replace := url.QueryEscape(text), strings.ReplaceAll
	onePlus := strings.Replace(text, "+", "%252B", 1)
	replacer := func(list ...string) string { return strings.NewReplacer(list...).Replace(text) }
	requireLenient(t, der, true, map[string]string{
		"%252B":                  "/ocsp/" + replace(text, "+", "%252B"),
		"%252b":                  "/ocsp/" + replace(text, "+", "%252b"),
		"%252F":                  "/ocsp/" + replace(text, "/", "%252F"),
		"%253D":                  "/ocsp/" + replace(text, "=", "%253D"),
		"%2520":                  "/ocsp/" + replace(text, "+", "%2520"),
		"as a query":             "/ocsp/" + escapeAgain(query),
		"as a path":              "/ocsp/" + escapeAgain(url.PathEscape(text)),
		"every letter":           "/ocsp/" + escapeAgain(escapeAll(text)),
		"every letter thus":      "/ocsp/" + escapeAll(query),
		"%252B beside %2F":       "/ocsp/" + replacer("+", "%252B", "/", "%2F"),
		"%252F beside +":         "/ocsp/" + replacer("/", "%252F", "=", "%3D"),
		"%252B and %2B":          "/ocsp/" + replace(onePlus, "+", "%2B"),
		"one letter":             "/ocsp/" + onePlus,
		"URL-safe, padded":       "/ocsp/" + replacer("+", "-", "/", "_", "=", "%253D"),
		"not padded":             "/ocsp/" + replacer("/", "%252F", "=", ""),
		"the slash before too":   "/ocsp%252F" + escapeAgain(query),
		"slashes around":         "/ocsp///" + escapeAgain(query) + "//",
		"a slash behind too":     "/ocsp/" + escapeAgain(query) + "%252F",
		"lines":                  "/ocsp/" + replace(lines(text, "%0A", 64), "+", "%252B"),
		"line breaks too":        "/ocsp/" + escapeAgain(url.QueryEscape(lines(text, "\r\n", 64))),
		"a prefix with %25":      "/100%25/ocsp/" + escapeAgain(query),
		"a prefix that ends so":  "/100%25/" + replace(text, "+", "%252B"),
		"a prefix with %2525":    "/100%2525/" + escapeAgain(query),
		"a prefix with %25 and2": "/%252/%25zz/%25/" + escapeAgain(query),
		"at /":                   "/" + escapeAgain(query),
	})
	requireFound(t, der, map[string]string{"once, behind %25": "/100%25/ocsp/" + query})
	slashesTwice := replace(text, "/", "%252F")
	requireNone(t, map[string]string{
		"three times":      "/ocsp/" + escapeAgain(escapeAgain(query)),
		"one letter so":    "/ocsp/" + strings.Replace(slashesTwice, "+", "%25252B", 1),
		"a tab":            "/ocsp/" + text[:64] + "%2509" + text[64:],
		"a broken escape":  "/ocsp/" + replace(text, "+", "%252"),
		"cut short":        "/ocsp/" + escapeAgain(url.QueryEscape(text[:80])),
		"a letter too few": "/ocsp/" + replace(text[1:], "+", "%252B"),
		"garbage before":   "/ocsp/AAAA" + escapeAgain(query),
		"too much padding": "/ocsp/" + escapeAgain(url.QueryEscape(text+"=")),
	})
	// Slashes are not put back into what was decoded twice.
	_, double := request(t, func(text string) bool {
		return doubled(text) && strings.HasSuffix(text, "==") && strings.Contains(text, "+")
	})
	requireNone(t, map[string]string{
		"a slash lost": "/ocsp/" + replace(replace(double, "//", "/"), "+", "%252B"),
	})
}

// Of two candidates in a path that was encoded once the first counts. In a path that was encoded
// twice neither does.
func TestT45TwoCandidates(t *testing.T) {
	_, text := request(t, padded(0))
	inner, err := base64.StdEncoding.DecodeString(text)
	require.NoError(t, err)
	for fill := range 3 {
		value := slices.Concat(make([]byte, fill), []byte{0xff}, inner)
		outer := requestFor([]byte{1}, codec.Extension{OID: []byte{0x2a, 3, 4}, Value: value})
		if (len(outer)-len(inner))%3 != 0 {
			continue
		}
		text := base64.StdEncoding.EncodeToString(outer)
		require.True(t, strings.HasSuffix(text, "/"+base64.StdEncoding.EncodeToString(inner)))
		requireFound(t, outer, map[string]string{"once": "/ocsp/" + text})
		requireNone(t, map[string]string{"twice": "/ocsp/" + escapeAgain(escapeAll(text))})
		return
	}
	require.FailNow(t, "no fill is right")
}

func TestT48DotSegments(t *testing.T) {
	_, text := request(t, func(text string) bool { return !strings.Contains(text, "/M") })
	targets := map[string]string{"at the end": "/ocsp/" + text + "/."}
	for _, dots := range []string{"/./", "/../", ".", "..", "%2E%2E", "/%2e/"} {
		for _, at := range []int{1, 4, 40, len(text) - 8} {
			targets[fmt.Sprintf("%s at %d", dots, at)] = "/ocsp/" + text[:at] + dots + text[at:]
		}
	}
	requireNone(t, targets)
}

func TestT56NotDER(t *testing.T) {
	// Without a slash in the serial there is nothing to repair.
	der, _ := request(t, func(text string) bool {
		return strings.HasSuffix(text, "==") && !strings.Contains(text[fixed:], "/")
	})
	targets := map[string]string{}
	for name, octets := range map[string][]byte{
		"text":            []byte("not DER at all"),
		"zeros":           make([]byte, 60),
		"INTEGER":         {2, 1, 5},
		"empty SEQUENCE":  {0x30, 0},
		"NULLs":           {0x30, 4, 5, 0, 5, 0},
		"half a request":  der[:len(der)/2],
		"no last octet":   der[:len(der)-1],
		"one octet more":  append(bytes.Clone(der), 0),
		"two requests":    append(bytes.Clone(der), der...),
		"an error":        codec.ErrorResponse(codec.TryLater),
		"huge length":     {0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 1, 2},
		"no minimal form": append([]byte{0x30, 0x81, der[1]}, der[2:]...),
		"indefinite":      append(append([]byte{0x30, 0x80}, der[2:]...), 0, 0),
	} {
		text := base64.StdEncoding.EncodeToString(octets)
		targets[name] = "/ocsp/" + url.PathEscape(text)
		targets[name+", unpadded"] = "/ocsp/" + strings.TrimRight(text, "=")
	}
	requireNone(t, targets)
}

func TestT57GarbageBefore(t *testing.T) {
	_, text := request(t, func(text string) bool { return !strings.Contains(text, "/M") })
	targets := map[string]string{}
	for _, garbage := range []string{
		"A", "AA", "AAA", "AAAA", "=", "==", "M", "MM", "MAA", ".", "~",
	} {
		targets[garbage] = "/ocsp/" + garbage + text
		targets[garbage+" escaped"] = "/ocsp/" + url.QueryEscape(garbage+text)
	}
	requireNone(t, targets)
}

// A prefix may look like the header of a request that would be as long as the rest of the path.
func TestPrefixThatLooksLikeARequest(t *testing.T) {
	for octets := 1; octets <= 20; octets++ {
		serial := make([]byte, octets)
		serial[0] = 0x5a
		der := requestFor(serial)
		text := base64.StdEncoding.EncodeToString(der)
		for size := byte(0x40); size < 0x60; size++ {
			header := base64.StdEncoding.EncodeToString([]byte{0x30, size, 0x30})
			for _, end := range []string{"/", "/M/", "/MEww/"} {
				got, repaired := getpath.Find("/"+header+end+text, nil, accept)
				require.Equal(t, der, got)
				require.False(t, repaired)
			}
		}
	}
}
