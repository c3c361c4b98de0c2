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
	call.begun, l.due = call.begun.Add(-10*time.Minute), l.due.Add(-10*time.Minute)
	l.look()
	require.False(t, silent())
	require.WithinDuration(t, time.Now().Add(silentPatience), l.due, silentPatience/2)
	l.due = time.Now()
	l.look()
	require.True(t, silent())
	l.end(&call, true)
	require.False(t, silent())
}
