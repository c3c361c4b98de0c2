package config

import (
	"net/url"
	"testing"
)

// FuzzConfig: what is accepted of a file has an address, a URL and a store that can be used.
func FuzzConfig(f *testing.F) {
	f.Add(`[server]
listen = ":8080"
token = "12345678901234567890"
[ocsp]
enabled = true
ca_uid = "ca"`)
	f.Add(`[server]
listen = "[::1]:1"
ocsp_url = "https://ocsp.example"
token = "12345678901234567890"
[store]
url = "redis://:p@h/0"
[replicas]
secret = "0000000000000000000000000000000000000000000000000000000000000000"
[ca]
delegated = true
[ocsp]
ca_uid = "ca"`)
	f.Add("[ocsp]\nenabled = 1\nca = 2")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(File, []byte(text))
		if err != nil {
			return
		}
		for _, text := range []string{c.OCSPURL(), c.URL()} {
			if u, err := url.Parse(text); err != nil || u.Host == "" {
				t.Fatalf("%q: %v", text, err)
			}
		}
		if len(c.Server.Token) < minToken || Scheme(c.Store.URL) == "" || c.OCSP.CAUID == "" {
			t.Fatalf("%+v", c)
		}
		if c.OCSP.Enabled && c.OCSP.Validate() != nil {
			t.Fatalf("%+v", c.OCSP)
		}
	})
}
