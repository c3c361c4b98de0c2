package hostcall

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A process that was suspended has not read its answers. It waits for them for a moment.
func TestWatchAfterTheProcessWasSuspended(t *testing.T) {
	w := NewWatch(30*time.Second, time.Minute)
	defer w.Close()
	var call Call
	w.Begin(&call, true)
	silent := func() bool {
		silent, _ := w.State()
		return silent
	}
	// It is suspended for ten minutes, right after the call began.
	call.begun, w.due = call.begun-10*time.Minute, w.due-10*time.Minute
	w.look()
	require.False(t, silent())
	require.InDelta(t, w.now()+stall, w.due, float64(stall/2))
	w.due = w.now()
	w.look()
	require.True(t, silent())
	w.End(&call, Answered)
	require.False(t, silent())
}
