package hostcall_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// badError panics when it is inspected.
type badError struct{}

func (*badError) Error() string { return "bad" }
func (*badError) Unwrap() error { panic("inspected") }

type key struct{}

func TestDo(t *testing.T) {
	fault := errors.New("fault")
	for name, test := range map[string]struct {
		f     func(context.Context) (int, error)
		value int
		err   error
		panic any
	}{
		"value":  {f: func(context.Context) (int, error) { return 7, nil }, value: 7},
		"error":  {f: func(context.Context) (int, error) { return 7, fault }, value: 7, err: fault},
		"values": {f: func(ctx context.Context) (int, error) { return ctx.Value(key{}).(int), nil }, value: 9},
		"panic":  {f: func(context.Context) (int, error) { panic("oh") }, panic: "oh"},
		"a nil error that is not": {
			f: func(context.Context) (int, error) { return 0, &badError{} }, panic: "inspected",
		},
		"Goexit": {f: func(context.Context) (int, error) {
			runtime.Goexit()
			return 7, nil
		}, err: hostcall.ErrNoReturn},
		"hangs": {f: func(ctx context.Context) (int, error) {
			time.Sleep(time.Hour)
			return 7, ctx.Err()
		}, err: hostcall.ErrTimeout},
		"ends with its context": {f: func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 7, fault
		}, err: hostcall.ErrTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, l := &hostcall.Group{}, hostcall.NewLane(1, 0)
				ctx := context.WithValue(t.Context(), key{}, 9)
				value, err := hostcall.Do(ctx, g, l, time.Second, test.f)
				var p *hostcall.PanicError
				switch {
				case test.panic != nil:
					require.ErrorAs(t, err, &p)
					require.Equal(t, test.panic, p.Value)
					require.Contains(t, string(p.Stack), "hostcall_test")
				case name == "ends with its context": // the result may arrive in time
					require.Error(t, err)
				default:
					require.Equal(t, test.err, err)
					require.Equal(t, test.value, value)
				}
				if name == "hangs" {
					require.False(t, l.Idle(), "a call that hangs occupies its slot")
				}
				require.True(t, g.Close(2*time.Hour))
				require.True(t, l.Idle())
			})
		})
	}
}

// A caller that leaves does not stop the call, which others may need.
func TestDoOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, l := &hostcall.Group{}, hostcall.NewLane(1, 0)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		var inside error
		_, err := hostcall.Do(ctx, g, l, time.Minute, func(ctx context.Context) (int, error) {
			time.Sleep(2 * time.Second)
			inside = ctx.Err()
			return 0, nil
		})
		require.ErrorIs(t, err, context.Canceled)
		_, err = hostcall.Do[int](t.Context(), g, l, time.Minute, nil)
		require.ErrorIs(t, err, hostcall.ErrBusy)
		require.True(t, g.Close(time.Minute))
		require.NoError(t, inside)
		_, err = hostcall.Do[int](t.Context(), g, l, time.Minute, nil)
		require.ErrorIs(t, err, hostcall.ErrClosed)
		require.True(t, l.Idle())
	})
}

// A caller that has a result finds the slot of its call free.
func TestDoOneAfterTheOther(t *testing.T) {
	g, l := &hostcall.Group{}, hostcall.NewLane(1, 0)
	for i := range 3000 {
		value, err := hostcall.Do(t.Context(), g, l, time.Minute,
			func(context.Context) (int, error) { return i, nil })
		require.NoError(t, err)
		require.Equal(t, i, value)
	}
	require.True(t, g.Close(time.Minute))
}
