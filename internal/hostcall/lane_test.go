package hostcall_test

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

func TestLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := hostcall.NewLane(2, 2)
		require.Equal(t, 2, l.Concurrent())
		require.Equal(t, 2, l.Waiting())
		require.True(t, l.Idle())
		require.True(t, l.TryAcquire())
		require.NoError(t, l.Acquire(t.Context(), 0))
		require.False(t, l.TryAcquire())
		require.False(t, l.Idle())

		var order []int
		for i := range 2 {
			go func() {
				if l.Acquire(t.Context(), time.Minute) == nil {
					order = append(order, i)
				}
			}()
			synctest.Wait()
		}
		start := time.Now()
		require.Equal(t, hostcall.ErrBusy, l.Acquire(t.Context(), time.Minute))
		require.Zero(t, time.Since(start), "the queue is full")
		for i := range 2 {
			l.Release()
			require.False(t, l.TryAcquire(), "those that wait come first")
			synctest.Wait()
			require.Len(t, order, i+1)
		}
		require.Equal(t, []int{0, 1}, order)

		require.Equal(t, hostcall.ErrBusy, l.Acquire(t.Context(), time.Second))
		require.Equal(t, time.Second, time.Since(start))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, hostcall.ErrBusy, l.Acquire(ctx, time.Minute))
		require.Equal(t, 2*time.Second, time.Since(start))
		l.Release()
		l.Release()
		require.True(t, l.Idle())
		require.NoError(t, l.Acquire(ctx, 0), "a free slot is taken whatever the context")
	})
}

func TestLanePart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole := hostcall.NewLane(3, 10)
		a, b := whole.Part(2, 1), whole.Part(2, 1)
		require.True(t, a.TryAcquire())
		require.True(t, a.TryAcquire())
		require.False(t, a.TryAcquire(), "a part has its own bound")
		require.NoError(t, b.Acquire(t.Context(), 0))
		require.False(t, b.TryAcquire(), "and that of the whole")
		start := time.Now()
		require.Equal(t, hostcall.ErrBusy, b.Acquire(t.Context(), time.Second))
		require.Equal(t, time.Second, time.Since(start))
		a.Release()
		require.NoError(t, b.Acquire(t.Context(), 0), "a call in vain has returned its slot")
		a.Release()
		b.Release()
		b.Release()
		require.True(t, a.Idle())
		require.True(t, b.Idle())
		require.True(t, whole.Idle())

		// The limit is for both slots together.
		for range 2 {
			require.True(t, a.TryAcquire())
		}
		require.True(t, whole.TryAcquire())
		time.AfterFunc(2*time.Second, func() {
			a.Release()
			whole.TryAcquire() // so that a has a free slot, and the whole has none
		})
		start = time.Now()
		require.Equal(t, hostcall.ErrBusy, a.Acquire(t.Context(), 3*time.Second))
		require.Equal(t, 3*time.Second, time.Since(start))
	})
}

// A lane without a bound costs no memory.
func TestLaneWithoutBound(t *testing.T) {
	require.True(t, hostcall.NewLane(math.MaxInt, math.MaxInt).TryAcquire())
}
