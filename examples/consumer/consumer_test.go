// Package consumer tests what a user of the published module sees: a module outside this tree, without a
// workspace, that contains nothing but the documentation's code.
package consumer

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const program = `package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/asn1"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

type DB struct{ rows map[string]Row }

type Row struct {
	State     ocsp.State
	Reason    ocsp.Reason
	RevokedAt time.Time
}

func (db *DB) lookup(_ context.Context, issuerID string, serial *big.Int) (Row, error) {
	row, ok := db.rows[issuerID+serial.String()]
	if !ok {
		return row, sql.ErrNoRows
	}
	return row, nil
}

STORE

func stdlib(handler http.Handler) http.Handler {
	STDLIB
	return root
}

func withChi(handler http.Handler) http.Handler {
	CHI
	return root
}

func withGin(handler http.Handler) http.Handler {
	GIN
	return root
}

// tester stands for a testing.T.
type tester struct{}

func (tester) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func ownTest(t tester) {
	TEST
}

func delegate(serial *big.Int, now time.Time, caCert *x509.Certificate, key, caKey crypto.Signer) ([]byte, error) {
	DELEGATE
	return der, err
}

// checkDelegate reports whether New would accept what delegate makes, without a warning.
func checkDelegate() error {
	ca := ocsptest.NewCA(ocsptest.Options{})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := delegate(new(big.Int).SetBytes([]byte(rand.Text()[:16])), time.Now(), ca.Certificate, key, ca.Key)
	if err != nil {
		return err
	}
	issuer := ca.Issuer()
	if issuer.ResponderCertificate, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	issuer.Signer = key
	for _, finding := range ocsp.CheckDelegate(issuer, ocsp.ProfilePrivate) {
		return errors.New(finding.String())
	}
	return nil
}

func auth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func run(caCert *x509.Certificate, caKey crypto.Signer, store *DB, use func(http.Handler) error) error {
	EMBED
	return use(handler)
}

// Lookup is what the README calls.
func (db *DB) Lookup(ctx context.Context, ca string, serial *big.Int) (Row, error) {
	return db.lookup(ctx, ca, serial)
}

func first(db *DB, mux *http.ServeMux, caCert *x509.Certificate, caKey crypto.Signer) {
	FIRST
}

func main() {
	gin.SetMode(gin.ReleaseMode)
	ca := ocsptest.NewCA(ocsptest.Options{})
	db := &DB{rows: map[string]Row{}}
	// Serials enough that the base64 of some request contains two slashes in a row.
	var leaves []*x509.Certificate
	for i := range 300 {
		leaf := *ca.Certificate
		leaf.SerialNumber = new(big.Int).Add(big.NewInt(0xfffff000), big.NewInt(int64(i)))
		leaves = append(leaves, &leaf)
		db.rows["ca-uid"+leaf.SerialNumber.String()] = Row{State: ocsp.Active}
	}
	err := run(ca.Certificate, ca.Key, db, func(handler http.Handler) error {
		for name, root := range map[string]http.Handler{"stdlib": stdlib(handler), "chi": withChi(handler), "gin": withGin(handler)} {
			server := httptest.NewServer(root)
			defer server.Close()
			for _, leaf := range leaves {
				for _, client := range []ocsptest.Client{{Method: "GET"}, {}} {
					client.URL = server.URL + "/ocsp"
					client.Header = http.Header{"Authorization": {"Bearer secret"}}
					result, err := client.Query(context.Background(), ca.Certificate, leaf)
					if err != nil {
						return fmt.Errorf("%s: %w", name, err)
					}
					if result.Responses[0].Status != xocsp.Good {
						return errors.New(name + ": not good")
					}
				}
			}
			client := ocsptest.Client{URL: server.URL + "/ocsp"}
			if result, err := client.Query(context.Background(), ca.Certificate, leaves[0]); err == nil || result.StatusCode != http.StatusUnauthorized {
				return errors.New(name + ": the auth middleware was passed by")
			}
			fmt.Println(name, "good")
		}
		return nil
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	ownTest(tester{})
	fmt.Println("own test good")
	if err := checkDelegate(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("delegate good")
}
`

func TestDocumentationAsAConsumer(t *testing.T) {
	root, err := filepath.Abs("../..")
	check(t, err)
	var text []byte
	for _, file := range []string{"README.md", filepath.Join("docs", "EMBED.md")} {
		data, err := os.ReadFile(filepath.Join(root, file))
		check(t, err)
		text = append(text, data...)
	}
	source := program
	blocks := regexp.MustCompile("(?s)<!-- consumer: (\\w+) -->\n```go\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 8 {
		t.Fatalf("README.md and docs/EMBED.md have %d marked blocks of code, not 8", len(blocks))
	}
	for _, block := range blocks {
		source = strings.Replace(source, strings.ToUpper(block[1])+"\n", block[2], 1)
	}

	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
	sums, err := os.ReadFile(filepath.Join(root, "examples", "go.sum"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o600))
	run(t, dir, "mod", "init", "consumer.example/kms")
	edit := []string{"mod", "edit", "-require=github.com/kmsocsp/ocsp@v0.0.0", "-replace=github.com/kmsocsp/ocsp=" + root}
	for _, module := range []string{"github.com/go-chi/chi/v5", "github.com/gin-gonic/gin"} {
		version := strings.TrimSpace(run(t, filepath.Join(root, "examples"), "list", "-m", "-f", "{{.Version}}", module))
		edit = append(edit, "-require="+module+"@"+version)
	}
	run(t, dir, edit...)
	run(t, dir, "mod", "tidy")
	out := run(t, dir, "run", ".")
	for _, want := range []string{"stdlib good", "chi good", "gin good", "own test good", "delegate good"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs the go command in a folder, without the workspace.
func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
