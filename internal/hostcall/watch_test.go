package hostcall_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

const (
	patience = 3 * time.Second
	timeout  = 10 * time.Second
)

// watch runs a test of a Watch in a bubble.
func watch(t *testing.T, name string, f func(t *testing.T, w *hostcall.Watch)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := hostcall.NewWatch(patience, timeout)
			defer w.Close()
			require.Equal(t, patience, w.Patience())
			f(t, w)
		})
	})
}

func requireSilent(t *testing.T, w *hostcall.Watch, want bool) {
	t.Helper()
	synctest.Wait()
	silent, silence := w.State()
	require.Equal(t, want, silent)
	requireClosed(t, silence, want)
}

func requireClosed(t *testing.T, silence <-chan struct{}, want bool) {
	t.Helper()
	select {
	case <-silence:
		require.True(t, want)
	default:
		require.False(t, want)
	}
}

func TestWatch(t *testing.T) {
	watch(t, "silence begins after patience, and ends with an answer", func(t *testing.T, w *hostcall.Watch) {
		var a, b hostcall.Call
		silence := w.Begin(&a, true)
		time.Sleep(patience - 1)
		requireSilent(t, w, false)
		time.Sleep(time.Nanosecond)
		requireSilent(t, w, true)
		requireClosed(t, silence, true)
		w.Begin(&b, true)
		w.End(&b, hostcall.Failed)
		requireSilent(t, w, true)
		w.End(&a, hostcall.Answered)
		requireSilent(t, w, false)
	})
	watch(t, "it counts from the last answer", func(t *testing.T, w *hostcall.Watch) {
		var a, b hostcall.Call
		w.Begin(&a, true)
		w.Begin(&b, true)
		time.Sleep(patience - 1)
		w.Heard()
		w.End(&b, hostcall.Failed)
		time.Sleep(patience - 1)
		requireSilent(t, w, false)
		time.Sleep(time.Nanosecond)
		requireSilent(t, w, true)
		w.Heard()
		requireSilent(t, w, false)
		time.Sleep(patience)
		requireSilent(t, w, true)
	})
	watch(t, "a call that waited for its slot is no evidence", func(t *testing.T, w *hostcall.Watch) {
		var a hostcall.Call
		require.Nil(t, w.Begin(&a, false))
		time.Sleep(time.Hour)
		requireSilent(t, w, false)
		w.End(&a, hostcall.Overdue)
	})
	watch(t, "nor is one that is over time while others are answered", func(t *testing.T, w *hostcall.Watch) {
		var a hostcall.Call
		w.Begin(&a, true)
		for range 10 {
			time.Sleep(patience / 2)
			w.Heard()
		}
		time.Sleep(time.Hour)
		requireSilent(t, w, false)
		w.End(&a, hostcall.Failed)
	})
	watch(t, "where one ran out of time, others count from then", func(t *testing.T, w *hostcall.Watch) {
		for _, how := range []hostcall.End{hostcall.Overdue, hostcall.TimedOut} {
			var a, b hostcall.Call
			w.Heard()
			w.Begin(&a, true)
			w.Begin(&b, true)
			time.Sleep(patience - 1)
			w.End(&a, how)
			time.Sleep(patience - 1)
			requireSilent(t, w, false)
			time.Sleep(time.Nanosecond)
			requireSilent(t, w, true)
			w.End(&b, hostcall.Answered)
		}
	})
	watch(t, "timeouts of its own do not hide it for ever", func(t *testing.T, w *hostcall.Watch) {
		var hung, other hostcall.Call
		w.Heard()
		w.Begin(&hung, true)
		for range (timeout + patience) / time.Second {
			requireSilent(t, w, false)
			w.Begin(&other, true)
			time.Sleep(time.Second)
			w.End(&other, hostcall.TimedOut)
		}
		requireSilent(t, w, true)
		w.End(&hung, hostcall.Failed)
	})
	watch(t, "it is forgotten after patience without a call", func(t *testing.T, w *hostcall.Watch) {
		var a hostcall.Call
		w.Begin(&a, true)
		time.Sleep(patience)
		requireSilent(t, w, true)
		w.End(&a, hostcall.Failed)
		time.Sleep(patience - 1)
		w.Begin(&a, true)
		w.End(&a, hostcall.Failed)
		requireSilent(t, w, true)
		time.Sleep(patience)
		silence := w.Begin(&a, true)
		requireSilent(t, w, false)
		requireClosed(t, silence, false)
		time.Sleep(patience)
		requireSilent(t, w, true)
	})
	watch(t, "there is none after Close", func(t *testing.T, w *hostcall.Watch) {
		var a, b hostcall.Call
		w.Begin(&a, true)
		w.Close()
		w.Begin(&b, true)
		time.Sleep(time.Hour)
		requireSilent(t, w, false)
	})
}

func TestWatchJudges(t *testing.T) {
	judge := func(t *testing.T, w *hostcall.Watch, timedOut, atOnce bool, want hostcall.Verdict) {
		t.Helper()
		synctest.Wait()
		require.Equal(t, want, w.Judge(timedOut, atOnce))
	}
	watch(t, "other errors", func(t *testing.T, w *hostcall.Watch) {
		require.True(t, w.Quiet())
		judge(t, w, false, true, hostcall.Broken)
		w.Heard()
		require.False(t, w.Quiet())
		judge(t, w, false, true, hostcall.Busy)
		time.Sleep(patience)
		require.True(t, w.Quiet())
		judge(t, w, false, false, hostcall.Broken)
	})
	watch(t, "timeouts", func(t *testing.T, w *hostcall.Watch) {
		var a hostcall.Call
		judge(t, w, true, true, hostcall.Busy)
		judge(t, w, true, false, hostcall.Busy)
		w.Begin(&a, true)
		time.Sleep(patience)
		judge(t, w, true, true, hostcall.Silent)
		judge(t, w, true, false, hostcall.Busy)
		require.Equal(t, timeout-patience, w.StuckIn())
		time.Sleep(timeout - patience)
		judge(t, w, true, false, hostcall.Silent)
		w.End(&a, hostcall.Overdue)
		judge(t, w, true, false, hostcall.Silent)
		w.Begin(&a, false)
		w.End(&a, hostcall.Failed)
		judge(t, w, true, false, hostcall.Busy)
		require.Equal(t, timeout, w.StuckIn())
	})
	watch(t, "no slot was freed, but the component is not silent", func(t *testing.T, w *hostcall.Watch) {
		time.Sleep(timeout + time.Second)
		require.Equal(t, timeout, w.StuckIn())
		judge(t, w, true, false, hostcall.Busy)
	})
}
