// Package config is the configuration of the example KMS, the file kms.toml.
package config

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/pelletier/go-toml/v2"

	"github.com/kmsocsp/ocsp/examples/kms/internal/inventory"
	"github.com/kmsocsp/ocsp/examples/kms/internal/keyfile"
	"github.com/kmsocsp/ocsp/ocspconfig"
)

// Config is the file. The comments in kms.toml.tmpl explain the keys.
type Config struct {
	Server   Server   `toml:"server"`
	CA       CA       `toml:"ca"`
	Store    Store    `toml:"store"`
	Replicas Replicas `toml:"replicas"`
	OCSP     OCSP     `toml:"ocsp"`
}

// Server is where the KMS listens.
type Server struct {
	Listen  string `toml:"listen"`
	OCSPURL string `toml:"ocsp_url"`
	Token   string `toml:"token"`
}

// CA is the certification authority.
type CA struct {
	KeyType   string `toml:"key_type"`
	Name      string `toml:"name"`
	Delegated bool   `toml:"delegated"`
}

// Store is where the certificates are. The URL may hold a password.
type Store struct {
	URL string `toml:"url"`
}

// Replicas is what several replicas share. A store in Redis needs the secret too. The URLs may hold
// passwords.
type Replicas struct {
	SharedCache string `toml:"shared_cache"`
	Changes     string `toml:"changes"`
	Secret      string `toml:"secret"`
}

// SecretBytes returns the octets of the secret, or nil if it is missing or invalid.
func (c Replicas) SecretBytes() []byte {
	secret, err := hex.DecodeString(c.Secret)
	if err != nil || len(secret) != inventory.SecretSize {
		return nil // validate refuses the configuration if it needs a secret
	}
	return secret
}

// Scheme returns the scheme of a URL.
func Scheme(url string) string {
	scheme, _, _ := strings.Cut(url, ":")
	return scheme
}

// OCSP is the block of the library, and a key of the KMS.
type OCSP struct {
	ocspconfig.Settings
	RequireAuth bool `toml:"require_auth"`
}

// File is the name of the file in the data directory.
const File = "kms.toml"

const minToken = 20

//go:embed kms.toml.tmpl
var configText string

var configTemplate = template.Must(template.New(File).Parse(configText))

// Default returns the configuration that the first start writes, with a new token.
func Default() Config {
	return Config{
		Server: Server{Listen: "127.0.0.1:8080", Token: rand.Text()},
		Store:  Store{URL: inventory.SQLite + ":" + inventory.DatabaseFile},
		CA:     CA{KeyType: "ecdsa-p256", Name: "Example KMS CA"},
		OCSP:   OCSP{Settings: ocspconfig.Settings{Enabled: true, CAUID: "ca", CacheTTLSecs: 86400, Nonce: "echo", Unissued: "unknown"}},
	}
}

// Write writes the configuration, with comments, to the data directory.
func (c Config) Write(dir string) error {
	var text bytes.Buffer
	if err := configTemplate.Execute(&text, c); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, File), text.Bytes(), 0o600)
}

// LoadOrCreate reads the configuration. It creates the directory and the default configuration if
// they are missing.
func LoadOrCreate(dir string) (Config, error) {
	cfg, err := Load(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return cfg, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Config{}, err
	}
	if err := Default().Write(dir); err != nil {
		return Config{}, err
	}
	return Load(dir)
}

// Load reads the configuration. If there is none, its error is fs.ErrNotExist.
func Load(dir string) (Config, error) {
	path := filepath.Join(dir, File)
	text, err := keyfile.Read(path)
	if err != nil {
		return Config{}, err
	}
	return parse(path, text)
}

// parse reads the text of the file at path.
func parse(path string, text []byte) (Config, error) {
	// Missing keys have their defaults, except for the token and the OCSP block.
	cfg := Default()
	cfg.Server.Token, cfg.OCSP = "", OCSP{}
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := decoder.Decode(&cfg); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, explainTOML(err))
	}
	if cfg.CA.Delegated && cfg.OCSP.ResponderUID == "" {
		cfg.OCSP.ResponderUID = cfg.OCSP.CAUID + "-responder"
	}
	if err := cfg.validate(); err != nil {
		return Config{}, fmt.Errorf("%s:\n%w", path, err)
	}
	return cfg, nil
}

// explainTOML names the lines and keys of a decoding error.
func explainTOML(err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var errs []error
		for _, e := range unknown.Errors {
			line, _ := e.Position()
			errs = append(errs, fmt.Errorf("line %d: there is no key %s: remove it, or correct its spelling", line, strings.Join(e.Key(), ".")))
		}
		return errors.Join(errs...)
	}
	var wrong *toml.DecodeError
	if errors.As(err, &wrong) {
		line, _ := wrong.Position()
		if key := strings.Join(wrong.Key(), "."); key != "" {
			return fmt.Errorf("line %d: %s: %w", line, key, err)
		}
		return fmt.Errorf("line %d: %w", line, err)
	}
	return err
}

// validate names each bad value.
func (c Config) validate() error {
	var bad []error
	refuse := func(section, key, value, hint string) {
		bad = append(bad, fmt.Errorf("[%s] %s = %q: %s", section, key, value, hint))
	}
	_, port, err := net.SplitHostPort(c.Server.Listen)
	if err == nil {
		_, err = url.Parse(c.URL()) // refuses a host such as ":"
	}
	if err != nil || !isPort(port) {
		refuse("server", "listen", c.Server.Listen, `use an address and a port from 1 to 65535, such as "127.0.0.1:8080"`)
	}
	if u, err := url.Parse(c.Server.OCSPURL); err != nil || c.Server.OCSPURL != "" && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		refuse("server", "ocsp_url", c.Server.OCSPURL, `use a URL such as "http://ocsp.example/ocsp", or leave it out`)
	}
	if len(c.Server.Token) < minToken {
		// The error does not repeat the value: it is a secret.
		bad = append(bad, fmt.Errorf("[server] token has %d characters: use %d or more", len(c.Server.Token), minToken))
	}
	if !slices.Contains(keyfile.Types(), c.CA.KeyType) {
		refuse("ca", "key_type", c.CA.KeyType, `use "`+strings.Join(keyfile.Types(), `", "`)+`"`)
	}
	// The errors do not repeat these values: they may hold passwords.
	store, cache, changes := Scheme(c.Store.URL), Scheme(c.Replicas.SharedCache), Scheme(c.Replicas.Changes)
	if store != inventory.SQLite && store != inventory.PostgreSQL && store != inventory.Redis {
		bad = append(bad, errors.New(`[store] url: use "sqlite:FILE", "postgres://USER:PASSWORD@HOST/DATABASE" or "redis://:PASSWORD@HOST/0"`))
	}
	if cache != "" && cache != inventory.Redis {
		bad = append(bad, errors.New(`[replicas] shared_cache: use "redis://:PASSWORD@HOST/0", or leave it out`))
	}
	if changes != "" && changes != inventory.Redis && changes != inventory.PostgreSQL {
		bad = append(bad, errors.New(`[replicas] changes: use "redis://:PASSWORD@HOST/0" or "postgres://USER:PASSWORD@HOST/DATABASE", or leave it out`))
	}
	if c.Replicas.SecretBytes() == nil && (c.Replicas.Secret != "" || store == inventory.Redis || changes == inventory.Redis) {
		bad = append(bad, fmt.Errorf("[replicas] secret has %d characters: use %d hexadecimal digits, such as openssl rand -hex %d makes", len(c.Replicas.Secret), 2*inventory.SecretSize, inventory.SecretSize))
	}
	if c.CA.Name == "" {
		refuse("ca", "name", c.CA.Name, "give the CA's common name")
	}
	if c.OCSP.CAUID == "" && !c.OCSP.Enabled {
		refuse("ocsp", "ca_uid", c.OCSP.CAUID, "give the CA's uid; the first start makes the CA under it")
	}
	if c.OCSP.ResponderUID != "" && c.OCSP.ResponderUID == c.OCSP.CAUID {
		refuse("ocsp", "responder_uid", c.OCSP.ResponderUID, "give the delegated responder a uid of its own, or leave it out")
	}
	if c.OCSP.Enabled { // otherwise its other keys are not used
		bad = append(bad, c.OCSP.Validate())
	}
	return errors.Join(bad...)
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// OCSPURL returns the URL that certificates carry.
func (c Config) OCSPURL() string {
	if c.Server.OCSPURL != "" {
		return c.Server.OCSPURL
	}
	return c.URL() + "/ocsp"
}

// URL returns the server's URL as a client on this machine reaches it.
func (c Config) URL() string {
	host, port, _ := net.SplitHostPort(c.Server.Listen) // validated
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
