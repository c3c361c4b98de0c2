package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/kmsocsp/ocsp/examples/kms/internal/keyfile"
)

func TestConfigRoundTrip(t *testing.T) {
	dir, want := t.TempDir(), Default()
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, want %+v", got, want)
	}
	if other := Default(); other.Server.Token == want.Server.Token {
		t.Error("two configurations have the same token")
	}
	if _, err := Load(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v, want fs.ErrNotExist", err)
	}
}

func TestConfigErrors(t *testing.T) {
	for _, test := range []struct{ name, old, new, want string }{
		{"unknown key", `nonce =`, `nonces =`, "line 48: there is no key ocsp.nonces"},
		{"unknown block", `[ca]`, `[cert]`, "there is no key cert"},
		{"not TOML", `[ca]`, `[ca`, "line 13"},
		{"wrong type", `enabled = true`, `enabled = "yes"`, "line 39"},
		{"listen without port", `"127.0.0.1:8080"`, `"127.0.0.1"`, `[server] listen = "127.0.0.1"`},
		{"listen on a random port", `"127.0.0.1:8080"`, `"127.0.0.1:0"`, `[server] listen = "127.0.0.1:0"`},
		{"OCSP URL", `ocsp_url = ""`, `ocsp_url = "ocsp.example"`, `[server] ocsp_url = "ocsp.example"`},
		{"short token", `token = "`, "token = \"secret\" # ", "[server] token has 6 characters: use 20 or more"},
		{"no token", `token = "`, `# token = "`, "[server] token has 0 characters"},
		{"key type", `"ecdsa-p256"`, `"dsa"`, `[ca] key_type = "dsa": use "ecdsa-p256", `},
		{"name", `"Example KMS CA"`, `""`, `[ca] name = ""`},
		{"store", `"sqlite:kms.db"`, `"mysql://u:s3cret@h"`, "[store] url"},
		{"store in Redis", `"sqlite:kms.db"`, `"redis://:s3cret@h"`, "[replicas] secret has 0 characters: use 64"},
		{"short secret", `secret = ""`, `secret = "s3cret"`, "[replicas] secret has 6 characters"},
		{"remote cache", `shared_cache = ""`, `shared_cache = "s3cret"`, "[replicas] shared_cache"},
		{"changes", `changes = ""`, `changes = "s3cret"`, "[replicas] changes"},
		{"no uid", `ca_uid = "ca"`, ``, "ca_uid"},
		{"validity", `= 86400`, `= 1`, "cache_ttl_secs = 1"},
		{"nonce", `"echo"`, `"loud"`, `nonce = "loud"`},
		{"responder", `ca_uid = "ca"`, "ca_uid = \"ca\"\nresponder_uid = \"ca\"", "responder_uid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := Default().Write(dir); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, File)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			// Comments name values too, so the last occurrence is the one to change.
			before, after, found := cutLast(string(text), test.old)
			if !found {
				t.Fatalf("the configuration lacks %s", test.old)
			}
			if err := os.WriteFile(path, []byte(before+test.new+after), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = Load(dir)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want the path and %q", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), `"secret"`) || strings.Contains(err.Error(), "s3cret")) {
				t.Errorf("the error reveals the token: %v", err)
			}
		})
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func TestConfigNamesEveryBadValue(t *testing.T) {
	cfg := Default()
	cfg.Server.Listen, cfg.CA.KeyType, cfg.OCSP.Unissued = "nowhere", "dsa", "maybe"
	err := cfg.validate()
	for _, want := range []string{"listen", "key_type", "unissued"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}

// TestLooseModes requires that a file with a secret is not read if others may read it.
func TestLooseModes(t *testing.T) {
	dir := t.TempDir()
	if err := Default().Write(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, File)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("error %v, want a cure for the mode", err)
	}
	if _, err := keyfile.Load(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("error %v, want a cure for the mode", err)
	}
}

func TestConfigOCSPURL(t *testing.T) {
	cfg := Default()
	if got := cfg.OCSPURL(); got != "http://127.0.0.1:8080/ocsp" {
		t.Errorf("the default is %s", got)
	}
	cfg.Server.OCSPURL = "http://ocsp.example"
	if got := cfg.OCSPURL(); got != "http://ocsp.example" {
		t.Errorf("it became %s", got)
	}
}

func TestConfigURL(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8080":   "http://127.0.0.1:8080",
		":8080":            "http://127.0.0.1:8080",
		"0.0.0.0:80":       "http://127.0.0.1:80",
		"[::]:80":          "http://127.0.0.1:80",
		"[::1]:80":         "http://[::1]:80",
		"kms.example:8080": "http://kms.example:8080",
	} {
		if got := (Config{Server: Server{Listen: listen}}).URL(); got != want {
			t.Errorf("listen %s: %s, want %s", listen, got, want)
		}
	}
}
