package main

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/pelletier/go-toml/v2"

	"github.com/kmsocsp/ocsp"
)

// config is the file kms.toml.
type config struct {
	Server   serverConfig   `toml:"server"`
	CA       caConfig       `toml:"ca"`
	Store    storeConfig    `toml:"store"`
	Replicas replicasConfig `toml:"replicas"`
	OCSP     ocspConfig     `toml:"ocsp"`
}

type serverConfig struct {
	Listen  string `toml:"listen"`
	OCSPURL string `toml:"ocsp_url"`
	Token   string `toml:"token"`
}

type caConfig struct {
	KeyType   string `toml:"key_type"`
	Name      string `toml:"name"`
	Delegated bool   `toml:"delegated"`
}

// storeConfig says where the objects are. The URL may hold a password.
type storeConfig struct {
	URL string `toml:"url"`
}

// The schemes of storeConfig.URL.
const (
	schemeSQLite     = "sqlite"
	schemePostgreSQL = "postgres"
	schemeRedis      = "redis"
)

// replicasConfig is for several replicas, or for a store in Redis. The URLs may hold passwords.
type replicasConfig struct {
	SharedCache string `toml:"shared_cache"`
	Changes     string `toml:"changes"`
	Secret      string `toml:"secret"`
}

// secretSize is how many octets the secret has.
const secretSize = 32

// secret returns the octets of the secret, nil for none.
func (c replicasConfig) secret() []byte {
	secret, err := hex.DecodeString(c.Secret)
	if err != nil || len(secret) != secretSize {
		return nil // validate has refused it where it is needed
	}
	return secret
}

// scheme returns the scheme of a URL.
func scheme(url string) string {
	scheme, _, _ := strings.Cut(url, ":")
	return scheme
}

// ocspConfig is the library's block, with a key of the KMS's own beside it.
type ocspConfig struct {
	ocsp.Settings
	RequireAuth bool `toml:"require_auth"`
}

const (
	configFile = "kms.toml"
	minToken   = 20
)

//go:embed kms.toml.tmpl
var configText string

var configTemplate = template.Must(template.New(configFile).Parse(configText))

// defaultConfig returns what the first start writes, with a new token.
func defaultConfig() config {
	return config{
		Server: serverConfig{Listen: "127.0.0.1:8080", Token: rand.Text()},
		Store:  storeConfig{URL: schemeSQLite + ":" + databaseFile},
		CA:     caConfig{KeyType: "ecdsa-p256", Name: "Example KMS CA"},
		OCSP:   ocspConfig{Settings: ocsp.Settings{Enabled: true, CAUID: "ca", CacheTTLSecs: 86400, Nonce: "echo", Unissued: "unknown"}},
	}
}

// write puts the configuration, with comments, into the data directory.
func (c config) write(dir string) error {
	var text bytes.Buffer
	if err := configTemplate.Execute(&text, c); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, configFile), text.Bytes(), 0o600)
}

// loadConfig reads the configuration. Its error is os.ErrNotExist if there is none yet.
func loadConfig(dir string) (config, error) {
	path := filepath.Join(dir, configFile)
	text, err := readSecret(path)
	if err != nil {
		return config{}, err
	}
	// What the file leaves out keeps its default, except for the token and the OCSP block.
	cfg := defaultConfig()
	cfg.Server.Token, cfg.OCSP = "", ocspConfig{}
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := decoder.Decode(&cfg); err != nil {
		return config{}, fmt.Errorf("%s: %w", path, explainTOML(err))
	}
	if cfg.CA.Delegated && cfg.OCSP.ResponderUID == "" {
		cfg.OCSP.ResponderUID = cfg.OCSP.CAUID + "-responder"
	}
	if err := cfg.validate(); err != nil {
		return config{}, fmt.Errorf("%s:\n%w", path, err)
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
func (c config) validate() error {
	var bad []error
	refuse := func(section, key, value, cure string) {
		bad = append(bad, fmt.Errorf("[%s] %s = %q: %s", section, key, value, cure))
	}
	if _, port, err := net.SplitHostPort(c.Server.Listen); err != nil || !isPort(port) {
		refuse("server", "listen", c.Server.Listen, `use an address and a port from 1 to 65535, such as "127.0.0.1:8080"`)
	}
	if u, err := url.Parse(c.Server.OCSPURL); err != nil || c.Server.OCSPURL != "" && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		refuse("server", "ocsp_url", c.Server.OCSPURL, `use a URL such as "http://ocsp.example/ocsp", or leave it out`)
	}
	if len(c.Server.Token) < minToken {
		// The value stays out of the error: it is a secret, if a poor one.
		bad = append(bad, fmt.Errorf("[server] token has %d characters: use %d or more", len(c.Server.Token), minToken))
	}
	if !slices.Contains(keyTypes(), c.CA.KeyType) {
		refuse("ca", "key_type", c.CA.KeyType, `use "`+strings.Join(keyTypes(), `", "`)+`"`)
	}
	// These values stay out of errors: they may hold passwords.
	store, cache, changes := scheme(c.Store.URL), scheme(c.Replicas.SharedCache), scheme(c.Replicas.Changes)
	if store != schemeSQLite && store != schemePostgreSQL && store != schemeRedis {
		bad = append(bad, errors.New(`[store] url: use "sqlite:FILE", "postgres://USER:PASSWORD@HOST/DATABASE" or "redis://:PASSWORD@HOST/0"`))
	}
	if cache != "" && cache != schemeRedis {
		bad = append(bad, errors.New(`[replicas] shared_cache: use "redis://:PASSWORD@HOST/0", or leave it out`))
	}
	if changes != "" && changes != schemeRedis && changes != schemePostgreSQL {
		bad = append(bad, errors.New(`[replicas] changes: use "redis://:PASSWORD@HOST/0" or "postgres://USER:PASSWORD@HOST/DATABASE", or leave it out`))
	}
	if c.Replicas.secret() == nil && (c.Replicas.Secret != "" || store == schemeRedis || changes == schemeRedis) {
		bad = append(bad, fmt.Errorf("[replicas] secret has %d characters: use %d hexadecimal digits, such as openssl rand -hex %d makes", len(c.Replicas.Secret), 2*secretSize, secretSize))
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
	if c.OCSP.Enabled { // or else nothing in it matters
		bad = append(bad, c.OCSP.Validate())
	}
	return errors.Join(bad...)
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// ocspURL returns the URL that certificates carry.
func (c config) ocspURL() string {
	if c.Server.OCSPURL != "" {
		return c.Server.OCSPURL
	}
	return c.url() + "/ocsp"
}

// url returns the server's URL as a client on this machine reaches it.
func (c config) url() string {
	host, port, _ := net.SplitHostPort(c.Server.Listen) // validated
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
