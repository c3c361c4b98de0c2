package ocsp

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A process that stood still has not read what its stores answered: it listens for a moment before it takes one to be silent.
func TestSilenceAfterTheProcessStoodStill(t *testing.T) {
	c := Config{MaxStoreCalls: 1, Timeout: time.Minute, Cache: CacheOptions{StorePatience: 30 * time.Second}}
	l := newStoreLane(nil, &c)
	defer l.close()
	var call storeWait
	l.begin(&call, true)
	silent := func() bool {
		silent, _ := l.state()
		return silent
	}
	// It stops for ten minutes, right after the call began.
	call.begun, l.due = call.begun-10*time.Minute, l.due-10*time.Minute
	l.look()
	require.False(t, silent())
	require.InDelta(t, l.now()+silentPatience, l.due, float64(silentPatience/2))
	l.due = l.now()
	l.look()
	require.True(t, silent())
	l.end(&call, callAnswered)
	require.False(t, silent())
}
