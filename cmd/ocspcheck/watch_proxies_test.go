package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/servers"
)

// Caches of a minute. BACKEND is the responder's address.
const (
	nginxCache = `pid DIR/pid;
events {}
http {
	access_log off;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
	proxy_cache_path DIR/cache keys_zone=ocsp:1m;
	server {
		listen ADDRESS;
		location /ocsp {
			proxy_pass http://BACKEND;
			proxy_cache ocsp;
			SETTINGS
		}
	}
}
`
	// This stores answers to POST as well.
	nginxMinute = `proxy_cache_methods GET HEAD POST;
			proxy_cache_key "$request_method$request_uri$request_body";
			proxy_cache_valid 200 60s;
			proxy_ignore_headers Cache-Control Expires;`
	varnishMinute = `vcl 4.1;
backend responder { .host = "127.0.0.1"; .port = "BACKPORT"; }
sub vcl_backend_response { set beresp.ttl = 60s; set beresp.grace = 0s; }
`
)

var (
	nginxArgs   = []string{"-p", "DIR", "-e", "DIR/log", "-c", "DIR/config", "-g", "daemon off;"}
	varnishArgs = []string{"-F", "-a", "ADDRESS", "-f", "DIR/config", "-n", "DIR/work", "-s", "malloc,16m"}
)

// startCache starts a cache before a responder and returns the URL of OCSP there.
func startCache(t *testing.T, program, config, settings, responder string, args ...string) string {
	t.Helper()
	address := strings.TrimPrefix(responder, "http://")
	_, port, _ := strings.Cut(address, ":")
	fill := strings.NewReplacer("BACKEND", address, "BACKPORT", port, "SETTINGS", settings)
	config = fill.Replace(config)
	s, err := servers.Configured(program, map[string]string{"config": config}, args...)
	if errors.Is(err, servers.ErrMissing) && os.Getenv("OCSP_REQUIRE_TOOLS") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Log())
		}
		assert.NoError(t, s.Remove())
	})
	return "http://" + s.Address() + "/ocsp"
}

// TestWatchFindsCaches: real caches of 60 s are reported when the bound is broken, with the first
// of two canaries, and a cache that obeys the responder's max-age of 1 s is within the bound.
func TestWatchFindsCaches(t *testing.T) {
	t.Parallel()
	f := newFiles(t, 2)
	server := httptest.NewServer(f.handler(t, time.Second))
	defer server.Close()
	direct := server.URL + "/ocsp"
	minute := startCache(t, "nginx", nginxCache, nginxMinute, server.URL, nginxArgs...)
	obeying := startCache(t, "nginx", nginxCache, "", server.URL, nginxArgs...)
	varnish := startCache(t, "varnishd", varnishMinute, "", server.URL, varnishArgs...)
	begun := time.Now()
	status, stdout, stderr := f.watch(t, f.args(issueLine, revokeLine,
		"-json", "-count", "2", "-within", "4s", "-stop", "-good-wait", "1m",
		"-url", direct, "-url", minute, "-url", obeying, "-url", varnish)...)
	assert.Equal(t, exitFailed, status)
	assert.Empty(t, stderr)
	assert.Less(t, time.Since(begun), 30*time.Second, "long before the caches expire")
	got := map[string]watchOutcome{}
	for line := range strings.Lines(stdout) {
		var m measureJSON
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		assert.Equal(t, 1, m.Canary)
		got[fmt.Sprint(m.Method, " ", m.URL)] = m.Outcome
		if m.Outcome == late {
			assert.Contains(t, m.Detail, " before the revocation", "it comes from a cache")
			assert.Nil(t, m.FirstRevoked)
			assert.Greater(t, *m.LastGood, 3.9)
		}
		t.Logf("%s", line)
	}
	assert.Equal(t, map[string]watchOutcome{
		"POST " + direct: showed, "GET " + direct: showed,
		"POST " + minute: late, "GET " + minute: late,
		"POST " + obeying: showed, "GET " + obeying: showed,
		"POST " + varnish: showed, "GET " + varnish: late,
	}, got)
}
