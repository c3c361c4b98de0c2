package servers

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServers(t *testing.T) {
	for name, start := range map[string]func() (*Server, error){"PostgreSQL": PostgreSQL, "Redis": Redis} {
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
