package hostcall_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

func TestCloseWaits(t *testing.T) {
	for _, calls := range []int{0, 1000} { // in new goroutines and in reused ones
		synctest.Test(t, func(t *testing.T) {
			g := &hostcall.Group{}
			for range calls {
				require.True(t, g.Go(func() {}))
				synctest.Wait()
			}
			require.False(t, g.Closed())
			var ended atomic.Bool
			require.True(t, g.Go(func() {
				time.Sleep(2 * time.Second)
				ended.Store(true)
			}))
			require.True(t, g.Enter())
			go func() {
				time.Sleep(3 * time.Second)
				g.Leave()
			}()
			start := time.Now()
			require.False(t, g.Close(time.Second))
			require.Equal(t, time.Second, time.Since(start))
			require.True(t, g.Closed())
			require.False(t, g.Go(func() { t.Error("it runs after Close") }))
			require.False(t, g.Enter())
			require.True(t, g.Close(time.Minute), "closed again")
			require.Equal(t, 3*time.Second, time.Since(start))
			require.True(t, ended.Load())
		})
	}
}

// Calls that start while the group is closed either run, and Close waits for them, or do not.
func TestCloseDuringCalls(t *testing.T) {
	for range 20 {
		g := &hostcall.Group{}
		var running atomic.Int64
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				running.Add(1)
				if !g.Go(func() { running.Add(-1) }) {
					running.Add(-1)
					return
				}
			}
		}()
		time.Sleep(100 * time.Microsecond)
		require.True(t, g.Close(time.Minute))
		<-stopped
		require.Zero(t, running.Load())
	}
}

func BenchmarkGroup(b *testing.B) {
	g := &hostcall.Group{}
	defer g.Close(time.Minute)
	done := make(chan struct{}, 1)
	f := func() { deep(20, done) }
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			g.Go(f)
			<-done
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			done := make(chan struct{}, 1)
			f := func() { deep(20, done) }
			for pb.Next() {
				g.Go(f)
				<-done
			}
		})
	})
}

// deep needs more stack than a new goroutine has.
func deep(n int, done chan<- struct{}) byte {
	var frame [512]byte
	if n == 0 {
		done <- struct{}{}
		return frame[0]
	}
	frame[n] = deep(n-1, done)
	return frame[n]
}
