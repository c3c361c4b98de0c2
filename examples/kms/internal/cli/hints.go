package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/kmsocsp/ocsp/examples/kms/internal/ca"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
)

// PrintHints prints a link to the page and command lines to paste. The login is the path of the
// link, the UID that of a certificate.
func PrintHints(w io.Writer, dir string, cfg config.Config, login, uid string) {
	url := cfg.URL()
	fmt.Fprintf(w, "KMS at %s, data in %s\n", url, dir)
	fmt.Fprintf(w, "\nOpen it in a browser, once and within the hour with this link, later with the token in %s:\n  %s%s\n",
		shellQuote(filepath.Join(dir, config.File)), url, login)
	token := fmt.Sprintf(`$(sed -n 's/^token = "\(.*\)"$/\1/p' %s)`, shellQuote(filepath.Join(dir, config.File)))
	ca, leaf := shellQuote(filepath.Join(dir, ca.File)), filepath.Join(dir, ca.First+".pem")
	if _, err := os.Stat(leaf); err == nil && cfg.OCSP.Enabled {
		header := ""
		if cfg.OCSP.RequireAuth {
			header = fmt.Sprintf(` -header "Authorization=Bearer %s"`, token)
		}
		fmt.Fprintf(w, "\nAsk about the first certificate, with a nonce and without one, which the cache can answer:\n")
		line := fmt.Sprintf("openssl ocsp -issuer %s -cert %s -CAfile %s -url %s/ocsp/%s", ca, shellQuote(leaf), ca, url, header)
		fmt.Fprintf(w, "  %s\n  %s -no_nonce\n", line, line)
	}
	data := ""
	if dir != defaultData {
		data = " -data " + shellQuote(dir)
	}
	fmt.Fprintf(w, "\nChange it, and ask again:\n")
	for _, line := range []string{"list" + data, "certify" + data + " NAME", "revoke" + data + " -reason keyCompromise " + uid} {
		fmt.Fprintf(w, "  go run ./examples/kms %s\n", line)
	}
	fmt.Fprintf(w, "\nIts metrics, for Prometheus:\n  curl -H \"Authorization: Bearer %s\" %s/metrics\n", token, url)
}

// shellQuote quotes a path for a shell, if it needs to be.
func shellQuote(path string) string {
	safe := func(r rune) bool {
		return r == '/' || r == '.' || r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	}
	if strings.IndexFunc(path, func(r rune) bool { return !safe(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
