package ocsp

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// call has the crew run something, and waits for it.
func (c *crew) call(f func()) {
	done := make(chan struct{})
	c.do(func() {
		defer close(done)
		f()
	})
	<-done
	synctest.Wait()
}

// waiting returns how many goroutines wait for work.
func (c *crew) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.idle)
}

// A crew runs all there is to do at once, uses goroutines again where there is much to do, keeps no more than it may, and
// none for long.
func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine stays behind
		c := &crew{}
		for range crewBusy - 1 {
			c.call(func() {})
			require.Zero(t, c.waiting(), "there is little to do")
		}
		begin := make(chan struct{})
		var running, ended sync.WaitGroup
		for range 3 * crewIdle {
			running.Add(1)
			ended.Add(1)
			c.do(func() {
				running.Done()
				<-begin
				ended.Done()
			})
		}
		running.Wait()
		close(begin)
		ended.Wait()
		synctest.Wait()
		require.Equal(t, crewIdle, c.waiting())
		for range 10 * crewBusy {
			c.call(func() {})
			require.Equal(t, crewIdle, c.waiting(), "one of those that wait does it")
		}
		time.Sleep(crewPatience + time.Millisecond) // a look at all of them
		busy := make(chan struct{})
		for range crewBusy {
			c.do(func() { <-busy })
		}
		time.Sleep(crewPatience) // and one at none
		require.Zero(t, c.waiting())
		close(busy)
		synctest.Wait()
		require.Equal(t, crewIdle, c.waiting())
		c.call(runtime.Goexit)
		require.Equal(t, crewIdle-1, c.waiting(), "one that ends its goroutine takes nothing with it")

		for range 3 { // one is enough for what there is to do
			for range crewBusy {
				c.call(func() {})
			}
			time.Sleep(crewPatience)
			synctest.Wait()
		}
		require.Equal(t, 1, c.waiting())
		c.call(func() {})
		require.Equal(t, 1, c.waiting(), "it was busy lately")
		time.Sleep(3 * crewPatience)
		synctest.Wait()
		require.Zero(t, c.waiting())
		require.False(t, c.looking)
		c.call(func() {})
		require.Zero(t, c.waiting(), "there is little to do again")
	})
}

// A crew that is closed ends at once, and what is begun then has a goroutine to itself.
func TestCrewClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crew{}
		for range crewBusy {
			c.call(func() {})
		}
		require.Equal(t, 1, c.waiting())
		c.close()
		synctest.Wait()
		require.Zero(t, c.waiting())
		c.call(func() {})
		require.Zero(t, c.waiting())
	})
}
