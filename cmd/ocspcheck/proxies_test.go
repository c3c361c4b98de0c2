package main

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/servers"
)

// proxies are the programs that docs/PROXIES.md has configurations of.
var proxies = map[string]struct {
	product string // as the doctor calls it; the program is also the package
	frame   string // around what the page has
	command []string
}{
	"nginx": {
		nginx,
		`pid DIR/pid;
events {}
http {
	access_log off;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
	BLOCK
}
`,
		[]string{"-p", "DIR", "-e", "DIR/log", "-c", "DIR/config", "-g", "daemon off;"},
	},
	"apache2": {
		apache,
		`ServerRoot DIR
ServerName localhost
PidFile DIR/pid
DefaultRuntimeDir DIR
ErrorLog DIR/log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
Listen 127.0.0.1:8080
BLOCK
`,
		[]string{"-f", "DIR/config", "-DFOREGROUND"},
	},
	"haproxy": {
		haproxy,
		`global
    expose-experimental-directives
defaults
    mode http
    timeout connect 10s
    timeout client 10s
    timeout server 10s
BLOCK
`,
		[]string{"-f", "DIR/config", "-db"},
	},
}

// pageBlock is a configuration on the page, and what is said of it.
var pageBlock = regexp.MustCompile("(?s)<!-- (\\w+) ([\\w-]+) -->\n```\\w+\n(.*?)```\n\n- this responder: (.*?)\n- one that repairs nothing: (.*?)\n")

// TestProxies examines real proxies with each configuration of docs/PROXIES.md.
func TestProxies(t *testing.T) {
	page, err := os.ReadFile("../../docs/PROXIES.md")
	require.NoError(t, err)
	blocks := pageBlock.FindAllStringSubmatch(string(page), -1)
	require.Len(t, blocks, strings.Count(string(page), "\n<!-- "), "a block without its two lines")
	seen := map[string]bool{}
	for _, block := range blocks {
		program, name, config, ours, strict := block[1], block[2], block[3], block[4], block[5]
		seen[program] = true
		t.Run(program+"/"+name, func(t *testing.T) {
			t.Parallel()
			for line, want := range map[string]string{"this responder": ours, "one that repairs nothing": strict} {
				s := newScene(t)
				handler := s.server.Config.Handler
				if want == strict && line != "this responder" {
					handler = fussy(handler)
				}
				responder := httptest.NewServer(handler)
				defer responder.Close()
				address := startProxy(t, program, config, strings.TrimPrefix(responder.URL, "http://"))
				code, d, stderr := s.doctor(t, "-direct", responder.URL+"/ocsp", "http://"+address+"/ocsp")
				require.Empty(t, stderr)
				assert.Equal(t, want, found(d), "docs/PROXIES.md, %s %s: %s", program, name, line)
				assert.Equal(t, strings.Contains(want, "**"), code == exitFailed, "the exit status is %d", code)
				if strings.HasSuffix(name, "cure") {
					assert.Equal(t, "nothing", found(d))
				}
				for _, p := range d.Problems {
					if strings.HasPrefix(p.Where, "the responder") {
						continue
					}
					assert.True(t, slices.ContainsFunc(p.Cures, func(c cure) bool { return c.Proxy == proxies[program].product }), "no cure for it: %v", p)
				}
			}
		})
	}
	require.Len(t, seen, len(proxies), "the page has something of each proxy")
}

// found says on one line what the doctor found, as docs/PROXIES.md has it.
func found(d diagnosis) string {
	var parts []string
	for _, p := range d.Problems {
		checks := strings.Join(p.Checks, ", ")
		if len(p.Checks) > 12 {
			checks = fmt.Sprintf("%d checks", len(p.Checks))
		}
		switch {
		case strings.HasPrefix(p.Where, "the responder"): // which is not what the page is about
		case p.Repaired:
			parts = append(parts, fmt.Sprintf("`%s` repaired (%s)", p.Fault, checks))
		case p.Normative:
			parts = append(parts, fmt.Sprintf("**`%s`** (%s)", p.Fault, checks))
		default:
			parts = append(parts, fmt.Sprintf("`%s` (%s)", p.Fault, checks))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, "; ")
}

// startProxy starts a proxy and returns its address.
func startProxy(t *testing.T, program, block, responder string) string {
	t.Helper()
	proxy := proxies[program]
	place := strings.NewReplacer("127.0.0.1:8080", "ADDRESS", "127.0.0.1:8081", responder, "/var/cache/nginx", "DIR").Replace
	config := place(strings.ReplaceAll(proxy.frame, "BLOCK", block))
	s, err := servers.Configured(program, map[string]string{"config": config}, proxy.command...)
	if errors.Is(err, servers.ErrMissing) && os.Getenv("OCSP_REQUIRE_TOOLS") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Remove()) })
	return s.Address()
}
