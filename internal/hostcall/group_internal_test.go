package hostcall

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// testCall runs f in the group, and waits until its worker is idle or has ended.
func (g *Group) testCall(t *testing.T, f func()) {
	t.Helper()
	require.True(t, g.Go(f))
	synctest.Wait()
}

// warm makes the group reuse goroutines from now on.
func (g *Group) warm(t *testing.T) {
	t.Helper()
	for range fewCalls {
		g.testCall(t, func() {})
		require.Zero(t, g.idle.Load(), "a group that did little leaves no goroutine")
	}
}

func TestGroupReusesGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine remains
		g := &Group{}
		g.warm(t)
		begin := make(chan struct{})
		var running, ended sync.WaitGroup
		for range 3 * maxIdle { // all at once, however many there are
			running.Add(1)
			ended.Add(1)
			require.True(t, g.Go(func() {
				running.Done()
				<-begin
				ended.Done()
			}))
		}
		running.Wait()
		close(begin)
		ended.Wait()
		synctest.Wait()
		require.EqualValues(t, maxIdle, g.idle.Load())
		for range 10 * maxIdle {
			g.testCall(t, func() {})
			require.EqualValues(t, maxIdle, g.idle.Load(), "an idle worker does it")
		}
		g.testCall(t, runtime.Goexit)
		require.EqualValues(t, maxIdle-1, g.idle.Load(), "a call that ends its goroutine costs a worker")

		time.Sleep(idleTime / 2)
		g.testCall(t, func() {})
		time.Sleep(idleTime/2 + time.Millisecond)
		require.EqualValues(t, 1, g.idle.Load(), "others were not needed for a while")
		time.Sleep(idleTime)
		require.Zero(t, g.idle.Load(), "none is left when there is nothing to do")
		require.True(t, g.Close(time.Minute), "no call is left")
	})
}

func TestCloseEndsIdleWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Group{}
		g.warm(t)
		g.testCall(t, func() {})
		require.EqualValues(t, 1, g.idle.Load())
		require.True(t, g.Close(time.Minute))
		synctest.Wait()
		require.Zero(t, g.idle.Load())
	})
}
