package servers

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServers(t *testing.T) {
	for name, start := range map[string]func() (*Server, error){"PostgreSQL": PostgreSQL, "MariaDB": MariaDB, "Redis": Redis} {
		t.Run(name, func(t *testing.T) {
			s, err := start()
			if errors.Is(err, ErrMissing) && os.Getenv("OCSP_REQUIRE_TOOLS") != "1" {
				t.Skip(err)
			}
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Remove()) }()
			require.NoError(t, s.ready())

			require.NoError(t, s.Pause())
			require.Error(t, s.ready(), "it is paused")
			require.NoError(t, s.Resume())
			require.NoError(t, s.ready())

			require.NoError(t, s.Stop())
			require.Error(t, s.ready(), "it is stopped")
			require.NoError(t, s.Stop())
			require.NoError(t, s.Start())
			require.NoError(t, s.ready())
			require.DirExists(t, s.dir)
		})
	}
}

func TestReserve(t *testing.T) {
	reserved := map[int]bool{}
	address := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	for range 200 {
		port, hold, err := reserve()
		require.NoError(t, err)
		defer func() { require.NoError(t, hold.Close()) }()
		require.False(t, reserved[port], "it is given away once")
		reserved[port] = true
	}
	for range 200 {
		other, err := net.Listen("tcp", address(0))
		require.NoError(t, err)
		defer func() { require.NoError(t, other.Close()) }()
		require.False(t, reserved[other.Addr().(*net.TCPAddr).Port], "nobody else gets it")
	}
	for port := range reserved {
		_, err := net.Dial("tcp", address(port))
		require.Error(t, err, "nobody answers there")
		for range 2 { // a server that is started again
			server, err := net.Listen("tcp", address(port))
			require.NoError(t, err, "who names it gets it")
			require.NoError(t, server.Close())
		}
	}
}

func TestConfigured(t *testing.T) {
	s, err := Configured("nginx", map[string]string{"page": "DIR", "config": `pid DIR/pid;
error_log DIR/log info;
events {}
http {
	access_log off;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
	server { listen ADDRESS; root DIR; }
}
`}, "-p", "DIR", "-e", "stderr", "-c", "DIR/config", "-g", "daemon off;")
	if errors.Is(err, ErrMissing) && os.Getenv("OCSP_REQUIRE_TOOLS") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	response, err := http.Get("http://" + s.Address() + "/page")
	require.NoError(t, err)
	page, err := io.ReadAll(response.Body)
	require.NoError(t, errors.Join(err, response.Body.Close()))
	require.Equal(t, "DIR", string(page), "as it was given")
	require.Contains(t, s.Log(), "start worker process")

	require.NoError(t, s.Remove())
	require.NoDirExists(t, s.Dir())
	_, err = http.Get("http://" + s.Address() + "/page")
	require.Error(t, err, "it has ended")

	_, err = Configured("nginx", map[string]string{"config": "nonsense;"}, "-p", "DIR", "-e", "stderr", "-c", "DIR/config")
	require.ErrorContains(t, err, "unknown directive", "what it says is told")
	_, err = Configured("no-such-program", nil)
	require.ErrorIs(t, err, ErrMissing)
}
