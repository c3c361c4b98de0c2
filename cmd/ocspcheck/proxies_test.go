package main

import (
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
		[]string{"-p", "DIR", "-e", "DIR/log", "-c", "DIR/conf", "-g", "daemon off;"},
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
		[]string{"-f", "DIR/conf", "-DFOREGROUND"},
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
		[]string{"-f", "DIR/conf", "-db"},
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

// guard runs a program until its standard input ends, which it does when we are killed, too. $0 is the signal.
const guard = `exec 3<&0; "$@" 3<&- & pid=$!; { read -r _ <&3; kill "$0" $pid; } >/dev/null 2>&1 & wait $pid`

// startProxy starts a proxy, on a free port and as nobody, and returns its address.
func startProxy(t *testing.T, program, block, responder string) string {
	t.Helper()
	proxy := proxies[program]
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	if err != nil {
		if os.Getenv("OCSP_REQUIRE_TOOLS") == "1" {
			t.Fatalf("%s is not installed: apt-get install %s", program, program)
		}
		t.Skipf("%s is not installed: apt-get install %s", program, program)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())

	dir, err := os.MkdirTemp("", "ocspcheck")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	attributes := &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		nobody, err := user.Lookup("nobody")
		require.NoError(t, err)
		uid, err := strconv.Atoi(nobody.Uid)
		require.NoError(t, err)
		gid, err := strconv.Atoi(nobody.Gid)
		require.NoError(t, err)
		attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		require.NoError(t, os.Chown(dir, uid, gid))
	}
	fill := strings.NewReplacer("BLOCK", block, "DIR", dir).Replace
	place := strings.NewReplacer("127.0.0.1:8080", address, "127.0.0.1:8081", responder, "/var/cache/nginx", dir).Replace
	require.NoError(t, os.WriteFile(filepath.Join(dir, "conf"), []byte(place(fill(proxy.frame))), 0o644))
	args := []string{"-c", guard, "-TERM", path}
	for _, arg := range proxy.command {
		args = append(args, fill(arg))
	}
	cmd := exec.Command("/bin/sh", args...)
	cmd.SysProcAttr, cmd.Dir = attributes, dir
	output, err := os.Create(filepath.Join(dir, "output"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = output, output
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		assert.NoError(t, stdin.Close())
		<-ended
		assert.NoError(t, output.Close())
	})
	awaitListener(t, address, ended, output.Name())
	return address
}

// awaitListener waits until something listens.
func awaitListener(t *testing.T, address string, ended chan error, log string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(time.Minute)
	for {
		if conn, err := net.Dial("tcp", address); err == nil {
			require.NoError(t, conn.Close())
			return
		}
		select {
		case <-tick.C:
		case err := <-ended:
			ended <- err
			text, _ := os.ReadFile(log)
			t.Fatalf("it ended: %v\n%s", err, text)
		case <-timeout:
			t.Fatal("it does not listen")
		}
	}
}
