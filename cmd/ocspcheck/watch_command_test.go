package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                             nil,
		"  kms\trevoke  {output}\n":    {"kms", "revoke", "{output}"},
		`sh -c 'a "b" \c'`:             {"sh", "-c", `a "b" \c`},
		`a "b 'c' \" \\ \d" e`:         {"a", `b 'c' " \ \d`, "e"},
		`a\ b '' "" c"d e"'f'`:         {"a b", "", "", "cd ef"},
		`curl -d '{"name": "{name}"}'`: {"curl", "-d", `{"name": "{name}"}`},
	} {
		words, err := splitWords(line)
		require.NoError(t, err)
		assert.Equal(t, want, words, line)
	}
	for _, line := range []string{`a 'b`, `a "b`, `a\`} {
		_, err := splitWords(line)
		assert.ErrorContains(t, err, "has no end", line)
	}
}

func TestFill(t *testing.T) {
	line := `ca '{"serial": "{serial}"}' "${home}/{name} x" {output}`
	c, err := parseCommand("-revoke", line, revokePlaceholders)
	require.NoError(t, err)
	words := c.fill(values{"{serial}": "1f", "{name}": "a 'b", "{output}": "{serial}"})
	// Values are neither split nor filled.
	assert.Equal(t, []string{"ca", `{"serial": "1f"}`, "${home}/a 'b x", "{serial}"}, words)
}

func TestRedact(t *testing.T) {
	environ := []string{"CA_TOKEN=abcd1234", "HOME=/root", "KEY=", "PIN=12", "malformed"}
	text := redact("401 for abcd1234 in /root, 12", environ)
	assert.Equal(t, "401 for [CA_TOKEN] in /root, 12", text)
	long := lastOf(strings.Repeat("é", 3000) + "the reason")
	assert.Regexp(t, "^…é+the reason$", long)
	assert.Less(t, len(long), 2100)
}

// files are a CA whose commands work on files: -issue moves a certificate, -revoke makes a file.
type files struct {
	ca  *ocsptest.CA
	dir string
}

func newFiles(t *testing.T, canaries int) *files {
	t.Helper()
	f := &files{ocsptest.NewCA(ocsptest.Options{}), t.TempDir()}
	write := func(name string, data []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(f.dir, name), data, 0o600))
	}
	write("ca.pem", pemOf(f.ca.Certificate))
	for i := range canaries {
		write(string(rune('a'+i))+".canary", pemOf(f.ca.Issue(ocsptest.Options{})))
	}
	return f
}

// handler is a responder that reads the files.
func (f *files) handler(t *testing.T, maxAge time.Duration) http.Handler {
	t.Helper()
	store := ocsp.CertStoreFunc(func(_ context.Context, _ string, serial *big.Int) (ocsp.Record, error) {
		if info, err := os.Stat(filepath.Join(f.dir, serial.Text(16))); err == nil {
			return ocsp.Record{State: ocsp.Deactivated, RevokedAt: info.ModTime()}, nil
		}
		return ocsp.Record{State: ocsp.Active}, nil
	})
	issuers := []ocsp.Issuer{f.ca.Issuer()}
	responder, err := ocsp.New(ocsp.Config{Issuers: issuers, Store: store, MaxAge: maxAge})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, responder.Close()) })
	return responder.Handler()
}

// Command lines with DIR for the directory. The first takes the next certificate.
const (
	issueLine  = `sh -c 'cd DIR && mv "$(ls *.canary | head -n 1)" {cert} && echo {name}: issued'`
	revokeLine = `touch DIR/{serial}`
)

// args is a command line with the commands.
func (f *files) args(issue, revoke string, more ...string) []string {
	fill := strings.NewReplacer("DIR", f.dir).Replace
	args := []string{"watch", "-issuer", fill("DIR/ca.pem"), "-issue", fill(issue), "-revoke", fill(revoke)}
	return append(args, more...)
}

// watch runs ocspcheck as a user does.
func (f *files) watch(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, &out, &errs)
	return status, out.String(), errs.String()
}

func TestWatchCommands(t *testing.T) {
	t.Parallel()
	f := newFiles(t, 3)
	server := httptest.NewServer(f.handler(t, 0))
	defer server.Close()
	for name, lines := range map[string][2]string{
		"a file, by serial number":         {issueLine, revokeLine},
		"a file, by the output":            {issueLine, `sh -c 'test "$0" = "$1:" && touch DIR/$2' {output} {name} {serial}`},
		"the output, by the serial number": {`sh -c 'cd DIR && cat c.canary'`, revokeLine},
	} {
		status, stdout, stderr := f.watch(t, f.args(lines[0], lines[1],
			"-settle", "1ms", "-interval", "1ms", "-url", server.URL+"/ocsp")...)
		assert.Equal(t, exitPassed, status, name)
		assert.Empty(t, stderr, name)
		assert.Regexp(t, `^canary 1, serial number [0-9a-f]+, revoked at .*\n`+
			`  ok         POST http://.*\n  ok         GET  http://.*\n\n`+
			`POST .* 1 ok; .*\nGET .* 1 ok; .*\n$`, stdout, name)
	}
}

func TestWatchCommandFailures(t *testing.T) {
	t.Setenv("CA_TOKEN", "abcd1234")
	server := httptest.NewServer(newFiles(t, 0).handler(t, 0))
	defer server.Close()
	for want, lines := range map[string][2]string{
		"ocspcheck watch: -issue: sh: exit status 3\nno such profile [CA_TOKEN]\n": {`sh -c 'echo no such profile $CA_TOKEN >&2; exit 3' abcd1234`, revokeLine},
		"-issue: no-such-program: exec: ":                                          {"no-such-program", revokeLine},
		"-issue: sleep: it has not ended in 50ms: raise":                           {"sleep 60", revokeLine},
		"-issue has written no certificate, in PEM or DER, to":                     {"true", revokeLine},
		"-revoke uses {output}, and the output of -issue":                          {`sh -c 'mv DIR/a.canary {cert}; echo "a;b"'`, "touch {output}"},
		"-revoke: false: exit status 1\nthe canary with the se":                    {`cat DIR/b.canary`, "false {serial}"},
		"give -url: there is none in the certificate":                              {`cat DIR/b.canary`, revokeLine},
	} {
		f := newFiles(t, 2)
		args := []string{"-command-timeout", "1m", "-url", server.URL + "/ocsp"}
		switch {
		case strings.HasPrefix(want, "-issue: sleep"):
			args[1] = "50ms"
		case strings.HasPrefix(want, "give -url"):
			args = args[:2]
		case strings.HasPrefix(want, "-revoke: false"):
			own := httptest.NewServer(f.handler(t, 0))
			defer own.Close()
			args[3] = own.URL + "/ocsp"
		}
		status, stdout, stderr := f.watch(t, f.args(lines[0], lines[1], args...)...)
		assert.Equal(t, exitUsage, status, want)
		assert.Empty(t, stdout, want)
		assert.Contains(t, stderr, want)
		assert.NotContains(t, stderr, "abcd1234")
	}
}

func TestWatchUsage(t *testing.T) {
	f := newFiles(t, 1)
	for want, args := range map[string][]string{
		"nothing else": {"http://a.test/ocsp"},
		"-issue: no placeholder is called {serial}; use {": {"-issue", "issue {serial}"},
		"-revoke: no placeholder is called {uid}; use {":   {"-revoke", "revoke {uid}"},
		"-revoke does not say which certificate: use one":  {"-revoke", "revoke"},
		"-revoke is required: give the CA's command line":  {"-revoke", " "},
		"-issue: a quote or backslash has no end":          {"-issue", "sh -c 'ca"},
		`-url: "ftp://a.test" is not an http or https URL`: {"-url", "ftp://a.test"},
		`-methods: "HEAD" is neither POST nor GET`:         {"-methods", "GET,HEAD"},
		"-count and -within must not be negative":          {"-count", "-1"},
		"every duration must be above zero":                {"-settle", "0s"},
		"-stop needs a bound: give -within":                {"-stop"},
		"-interval 1m0s is longer than -within 1s":         {"-within", "1s", "-interval", "1m"},
		"-max-wait 2m0s is not longer than -within 5m0s":   {"-within", "5m"},
		"no such file": {"-issuer", "missing.pem"},
		"-listen: listen tcp: address nonsense: ": {"-listen", "nonsense"},
		"want 'Name: value'":                      {"-header", "nonsense"},
	} {
		status, stdout, stderr := f.watch(t, f.args("issue {cert}", "revoke {serial}", args...)...)
		assert.Equal(t, exitUsage, status, want)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, want)
	}
	status, _, stderr := f.watch(t, "watch", "-h")
	assert.Equal(t, exitPassed, status)
	assert.Contains(t, stderr, "usage: ocspcheck watch")
	status, _, stderr = f.watch(t, "watch")
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr, "give -issuer, -issue and -revoke")
}

// The metrics are served while canaries are sent.
func TestWatchListens(t *testing.T) {
	f := newFiles(t, 1)
	server := httptest.NewServer(f.handler(t, 0))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe() // stderr, whose first line has the address
	ended := make(chan int)
	go func() {
		ended <- run(ctx, f.args(issueLine, revokeLine, "-url", server.URL+"/ocsp", "-methods", "GET",
			"-interval", "1ms", "-settle", "1ms", "-count", "0", "-listen", "127.0.0.1:0"), io.Discard, in)
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	address := regexp.MustCompile(`metrics at (http://\S+/metrics)\n$`).FindStringSubmatch(line)
	require.NotNil(t, address, line)
	shows := `_canaries_total{url="` + server.URL + `/ocsp",method="GET",outcome="ok"} 1`
	require.Eventually(t, func() bool {
		response, err := http.Get(address[1])
		if !assert.NoError(t, err) {
			return true
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		assert.NoError(t, err)
		assert.Contains(t, response.Header.Get("Content-Type"), "text/plain; version=0.0.4;")
		return strings.Contains(string(text), shows+"\n")
	}, 20*time.Second, 10*time.Millisecond)
	cancel()
	assert.Equal(t, exitPassed, <-ended)
	_, err = http.Get(address[1])
	assert.Error(t, err, "it is closed")
}
