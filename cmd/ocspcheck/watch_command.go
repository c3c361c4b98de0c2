package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp/ocsptest"
)

// command is a command line of the CA: words with placeholders. No shell reads it, so that a value
// stays one word whatever its letters.
type command struct {
	flag  string
	words []string
}

var (
	// issuePlaceholders are those that have a value before there is a certificate.
	issuePlaceholders  = []string{"{dir}", "{name}", "{cert}"}
	revokePlaceholders = append(issuePlaceholders, "{serial}", "{decimal}", "{colons}", "{output}")
	// placeholders also matches ${name}, which belongs to the user's shell.
	placeholders = regexp.MustCompile(`\$?\{[a-z]+\}`)
)

func parseCommand(flag, line string, allowed []string) (command, error) {
	words, err := splitWords(line)
	if err != nil {
		return command{}, fmt.Errorf("%s: %w", flag, err)
	}
	if len(words) == 0 {
		return command{}, fmt.Errorf("%s is required: give the CA's command line", flag)
	}
	for _, word := range words {
		for _, match := range placeholders.FindAllString(word, -1) {
			if match[0] != '$' && !slices.Contains(allowed, match) {
				const text = "%s: no placeholder is called %s; use %s"
				return command{}, fmt.Errorf(text, flag, match, strings.Join(allowed, ", "))
			}
		}
	}
	return command{flag, words}, nil
}

// uses reports whether the command has one of the placeholders.
func (c command) uses(names ...string) bool {
	return slices.ContainsFunc(c.words, func(word string) bool {
		return slices.ContainsFunc(placeholders.FindAllString(word, -1), func(match string) bool {
			return slices.Contains(names, match)
		})
	})
}

// fill returns the words with the values of their placeholders.
func (c command) fill(values map[string]string) []string {
	words := make([]string, len(c.words))
	for i, word := range c.words {
		words[i] = placeholders.ReplaceAllStringFunc(word, func(match string) string {
			if match[0] == '$' {
				return match
			}
			return values[match]
		})
	}
	return words
}

// splitWords splits a command line at white space. As in a POSIX shell, '…' has all letters as they
// are, and a backslash outside of it makes the next one ordinary; in "…" that holds for \" and \\.
func splitWords(line string) (words []string, err error) {
	var word strings.Builder
	var quote rune
	begun, escaped := false, false
	for _, r := range line {
		switch {
		case escaped:
			if quote == '"' && r != '"' && r != '\\' {
				word.WriteByte('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			begun, escaped = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			begun, quote = true, r
		case strings.ContainsRune(" \t\r\n", r):
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		default:
			begun = true
			word.WriteRune(r)
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote or backslash has no end")
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

// runCommand runs a command of the CA to its end and returns what it wrote to its output. It runs
// on when ctx is canceled, since nobody knows what a killed command has done.
func (o *watchOptions) runCommand(
	ctx context.Context, c command, values map[string]string,
) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.commandTimeout)
	defer cancel()
	words := c.fill(values)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.WaitDelay = time.Second // for the pipes, which a grandchild may hold
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return stdout.Bytes(), nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("it has not ended in %v: raise -command-timeout", o.commandTimeout)
	}
	// The arguments may have a password, so only the program is named.
	err = fmt.Errorf("%s: %s: %w", c.flag, c.words[0], err)
	if text := strings.TrimSpace(stderr.String()); text != "" {
		err = fmt.Errorf("%w\n%s", err, lastOf(redact(text, os.Environ())))
	}
	return nil, err
}

// lastOf returns the end of a long text, which has the reason.
func lastOf(text string) string {
	const most = 2000
	if len(text) > most {
		return "…" + strings.ToValidUTF8(text[len(text)-most:], "")
	}
	return text
}

var (
	secretName = regexp.MustCompile(`(?i)TOKEN|SECRET|PASS|PIN|KEY|CREDENTIAL|AUTH`)
	unsafe     = regexp.MustCompile(`[^\w.:/+=@%,-]`)
)

// redact replaces the values of secret variables of the environment.
func redact(text string, environ []string) string {
	const shortest = 4 // a shorter value would replace parts of words
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if len(value) >= shortest && secretName.MatchString(name) {
			text = strings.ReplaceAll(text, value, "["+name+"]")
		}
	}
	return text
}

// canary is a certificate that exists to be revoked.
type canary struct {
	cert    *x509.Certificate
	request []byte
	values  map[string]string // of the placeholders
}

// issueCanary runs -issue. With an error there is a canary nevertheless if a certificate was read,
// which must be revoked.
func (w *watch) issueCanary(ctx context.Context, dir string) (*canary, error) {
	name := "canary-" + strings.ToLower(rand.Text()[:12])
	file := filepath.Join(dir, name+".pem")
	c := &canary{values: map[string]string{"{dir}": dir, "{name}": name, "{cert}": file}}
	output, err := w.run(ctx, w.issue, c.values)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		data, err = output, nil
	}
	if err == nil {
		c.cert, err = parseCertificate(data)
	}
	if err != nil {
		const text = "-issue has written no certificate, in PEM or DER, to {cert} or its output: %w"
		return nil, fmt.Errorf(text, err)
	}
	serial := c.cert.SerialNumber
	c.values["{serial}"], c.values["{decimal}"] = serial.Text(16), serial.String()
	var pairs []string
	for _, octet := range serial.Bytes() {
		pairs = append(pairs, hex.EncodeToString([]byte{octet}))
	}
	c.values["{colons}"] = strings.Join(pairs, ":")
	if fields := strings.Fields(string(output)); len(fields) > 0 && !unsafe.MatchString(fields[0]) {
		c.values["{output}"] = fields[0] // harmless in a shell that the user names
	} else if w.revoke.uses("{output}") {
		const text = "-revoke uses {output}, and the output of -issue does not begin with a word " +
			"of letters, digits and ._:/+=@%,-"
		return nil, c.notRevoked(errors.New(text))
	}
	if c.cert.CheckSignatureFrom(w.issuer) != nil {
		const text = "the -issuer %q has not issued the certificate of -issue, %q: give its CA's"
		return c, fmt.Errorf(text, w.issuer.Subject, c.cert.Subject)
	}
	c.request = ocsptest.Client{}.Request(w.issuer, c.cert)
	return c, nil
}

// revokeCanary runs -revoke.
func (w *watch) revokeCanary(ctx context.Context, c *canary) error {
	_, err := w.run(ctx, w.revoke, c.values)
	if err != nil {
		return c.notRevoked(err)
	}
	return nil
}

// notRevoked adds to an error which certificate is left to be revoked by hand.
func (c *canary) notRevoked(err error) error {
	const text = "%w\nthe canary with the serial number %s is not revoked"
	return fmt.Errorf(text, err, c.values["{serial}"])
}
