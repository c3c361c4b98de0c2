package hostcall_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &hostcall.Deadlines{Limit: 8 * time.Second}
		defer d.Stop()
		first := d.Next()
		time.Sleep(time.Second - 1)
		require.Equal(t, first, d.Next(), "calls within an eighth of the limit share a context")
		time.Sleep(time.Nanosecond)
		start := time.Now()
		second := d.Next()
		<-first.Done()
		require.Equal(t, 7*time.Second, time.Since(start))
		require.NoError(t, second.Err())
		<-second.Done()
		require.Equal(t, 8*time.Second, time.Since(start))
	})
}

func TestDeadlinesStop(t *testing.T) {
	d := &hostcall.Deadlines{Limit: time.Hour}
	d.Stop()
	ctx := d.Next()
	d.Stop()
	require.ErrorIs(t, ctx.Err(), context.Canceled)
}

func TestWithValues(t *testing.T) {
	type other struct{}
	limit, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "limit"))
	values, leave := context.WithCancel(context.WithValue(context.Background(), other{}, "values"))
	ctx := hostcall.WithValues(limit, context.WithValue(values, key{}, "hidden"))
	require.Equal(t, "limit", ctx.Value(key{}))
	require.Equal(t, "values", ctx.Value(other{}))
	leave()
	require.NoError(t, ctx.Err())
	cancel()
	require.ErrorIs(t, ctx.Err(), context.Canceled)
}
