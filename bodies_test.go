package ocsp_test

import (
	"bytes"
	"crypto"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// slowConnection is a connection's two sides as a handler sees them: what SetReadDeadline ends is Read.
type slowConnection struct {
	*httptest.ResponseRecorder
	after time.Duration // until the body's last octet
	body  *bytes.Reader

	once    sync.Once
	expired chan struct{}
	refuse  func() error // what SetReadDeadline does instead
}

func newSlowConnection(body []byte, after time.Duration) *slowConnection {
	return &slowConnection{ResponseRecorder: httptest.NewRecorder(), after: after, body: bytes.NewReader(body), expired: make(chan struct{})}
}

func (c *slowConnection) SetReadDeadline(t time.Time) error {
	if c.refuse != nil {
		return c.refuse()
	}
	if t.Before(time.Now()) {
		c.once.Do(func() { close(c.expired) })
	}
	return nil
}

func (c *slowConnection) Read(b []byte) (int, error) {
	select {
	case <-c.expired:
		return 0, os.ErrDeadlineExceeded
	case <-time.After(c.after):
		return c.body.Read(b)
	}
}

func (c *slowConnection) Close() error { return nil }

func TestBodyLimit(t *testing.T) {
	const timeout = 8 * time.Second
	ca, store := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519}), ocsptest.NewStore()
	leaf := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, leaf)
	request := ocsptest.Client{Hash: crypto.SHA256}.Request(ca.Certificate, leaf)
	unable := func() error { return http.ErrNotSupported }
	panics := func() error { panic("no deadlines here") }
	for name, test := range map[string]struct {
		after  time.Duration // a read; there are two, the second for the end
		refuse func() error
		code   int
	}{
		"at once":                 {0, nil, http.StatusOK},
		"in time":                 {timeout/2 - time.Second, nil, http.StatusOK},
		"never":                   {time.Hour, nil, http.StatusRequestTimeout},
		"too late":                {timeout, nil, http.StatusRequestTimeout},
		"slow, without deadlines": {timeout, unable, http.StatusOK},
		"slow, with a panic":      {timeout, panics, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Timeout: timeout, Now: func() time.Time { return leaf.NotBefore.Add(time.Hour) }})
				require.NoError(t, err)
				defer func() { require.NoError(t, r.Close()) }()
				handler := r.Handler()
				// Two at once, of which the second begins in the middle of an eighth.
				var all sync.WaitGroup
				for _, wait := range []time.Duration{0, timeout / 16} {
					all.Go(func() {
						time.Sleep(wait)
						c := newSlowConnection(request, test.after)
						c.refuse = test.refuse
						begun := time.Now()
						handler.ServeHTTP(c, &http.Request{Method: http.MethodPost, URL: httptest.NewRequest("POST", "/ocsp", nil).URL, Header: http.Header{}, Body: c, ContentLength: int64(len(request))})
						require.Equal(t, test.code, c.Code)
						if took := time.Since(begun); test.code == http.StatusRequestTimeout {
							require.GreaterOrEqual(t, took, timeout)
							require.LessOrEqual(t, took, timeout*9/8)
						}
					})
				}
				all.Wait()
				time.Sleep(2 * timeout) // fake: the bubble ends only if no timer is left behind
			})
		})
	}
}

// A body whose Read panics is not looked after any more.
func TestBodyLimitPanic(t *testing.T) {
	ca := ocsptest.NewCA(ocsptest.Options{})
	synctest.Test(t, func(t *testing.T) {
		const timeout = 8 * time.Second
		r, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: ocsptest.NewStore(), Timeout: timeout, Now: func() time.Time { return ca.Certificate.NotBefore.Add(time.Hour) }})
		require.NoError(t, err)
		defer func() { require.NoError(t, r.Close()) }()
		c := newSlowConnection(nil, 0)
		require.Panics(t, func() {
			r.Handler().ServeHTTP(c, &http.Request{Method: http.MethodPost, URL: httptest.NewRequest("POST", "/ocsp", nil).URL, Header: http.Header{}, Body: io.NopCloser(panicReader{}), ContentLength: 10})
		})
		time.Sleep(2 * timeout)
		select {
		case <-c.expired:
			t.Fatal("the connection was used after the handler had returned")
		default:
		}
	})
}

// A host's SetReadDeadline that does not return holds up the request that it is for, and no other.
func TestBodyLimitBlocked(t *testing.T) {
	ca, store := ocsptest.NewCA(ocsptest.Options{Key: ocsptest.Ed25519}), ocsptest.NewStore()
	leaf := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, leaf)
	request := ocsptest.Client{}.Request(ca.Certificate, leaf)
	synctest.Test(t, func(t *testing.T) {
		const timeout = 8 * time.Second
		r, err := ocsp.New(ocsp.Config{Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Timeout: timeout, Now: func() time.Time { return leaf.NotBefore.Add(time.Hour) }})
		require.NoError(t, err)
		defer func() { require.NoError(t, r.Close()) }()
		post := func(c *slowConnection) {
			r.Handler().ServeHTTP(c, &http.Request{Method: http.MethodPost, URL: httptest.NewRequest("POST", "/ocsp", nil).URL, Header: http.Header{}, Body: c, ContentLength: int64(len(request))})
		}
		release := make(chan struct{})
		stuck := newSlowConnection(request, 2*timeout)
		stuck.refuse = func() error {
			<-release
			return nil
		}
		var first, others sync.WaitGroup
		first.Go(func() { post(stuck) })
		time.Sleep(timeout * 5 / 4) // it hangs
		for i := range 100 {
			others.Go(func() {
				time.Sleep(time.Duration(i) * timeout / 100)
				c, code := newSlowConnection(request, timeout/3), http.StatusOK
				if i%2 == 0 {
					c, code = newSlowConnection(request, time.Hour), http.StatusRequestTimeout
				}
				begun := time.Now()
				post(c)
				require.Equal(t, code, c.Code)
				require.LessOrEqual(t, time.Since(begun), timeout*9/8)
			})
		}
		others.Wait()
		close(release)
		first.Wait()
		require.Equal(t, http.StatusRequestTimeout, stuck.Code)
	})
}

type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("the host's") }
