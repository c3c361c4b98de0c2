package ocspfasthttp_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspfasthttp"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// pipes is a listener whose connections are net.Pipes, which know deadlines and live in a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	sets   atomic.Int64 // how often deadlines were set
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- countingConn{server, &p.sets}
	return client
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

type countingConn struct {
	net.Conn
	sets *atomic.Int64
}

func (c countingConn) SetReadDeadline(t time.Time) error {
	c.sets.Add(1)
	return c.Conn.SetReadDeadline(t)
}

func (c countingConn) SetWriteDeadline(t time.Time) error {
	c.sets.Add(1)
	return c.Conn.SetWriteDeadline(t)
}

// TestTimeouts shows that connections end when their time is up, in fake time, and that this costs no deadline for
// each request.
func TestTimeouts(t *testing.T) {
	ca, store, outside := newResponder(t, ocsptest.Ed25519)
	leaf := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, leaf)
	der := string(ocsptest.Client{}.Request(ca.Certificate, leaf))
	post := fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(der), der)
	_, _ = exchange(t, serve(t, outside), post) // fasthttp has a clock that must not begin in a bubble
	const read, write, idle = 10 * time.Second, 20 * time.Second, time.Minute
	for name, test := range map[string]struct {
		requests int           // that are answered first
		pause    time.Duration // between them
		send     string        // then
		silent   bool          // the client does not read the answer to it
		ends     time.Duration // after which the server ends the connection
	}{
		"nothing is sent":          {ends: read},
		"half a head":              {send: post[:20], ends: read},
		"half a body":              {send: post[:len(post)-10], ends: read},
		"half a head, kept alive":  {requests: 2, send: post[:20], ends: read},
		"half a body, after pause": {requests: 3, pause: idle - time.Second, send: post[:len(post)-10], ends: read},
		"idle":                     {requests: 5, ends: idle},
		"idle, after long use":     {requests: 50, pause: 7 * time.Second, ends: idle},
		"the answer is not read":   {requests: 1, send: post, silent: true, ends: write},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, err := ocsp.New(ocsp.Config{
					Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Now: func() time.Time { return leaf.NotBefore.Add(time.Hour) },
				})
				require.NoError(t, err)
				defer func() { require.NoError(t, r.Close()) }()
				server := ocspfasthttp.NewServer(r)
				server.ReadTimeout, server.WriteTimeout, server.IdleTimeout = read, write, idle
				l := newPipes()
				ended := make(chan error, 1)
				go func() { ended <- server.Serve(l) }()
				client := l.dial()
				defer func() {
					assert.NoError(t, client.Close())
					assert.NoError(t, server.Shutdown())
					assert.NoError(t, <-ended)
					time.Sleep(10 * time.Minute) // for what fasthttp leaves to end by itself
				}()
				reader := bufio.NewReader(client)
				for n := range test.requests {
					if n > 0 {
						time.Sleep(test.pause)
					}
					_, err := io.WriteString(client, post)
					require.NoError(t, err)
					response, err := http.ReadResponse(reader, nil)
					require.NoError(t, err)
					require.Equal(t, http.StatusOK, response.StatusCode)
					_, err = io.ReadAll(response.Body)
					require.NoError(t, err)
				}
				begun, sets := time.Now(), l.sets.Load()
				_, err = io.WriteString(client, test.send)
				require.NoError(t, err)
				if test.silent {
					synctest.Wait()
					time.Sleep(test.ends - time.Second)
					synctest.Wait()
					require.Equal(t, test.ends-time.Second, time.Since(begun))
					time.Sleep(time.Second + time.Nanosecond)
					synctest.Wait()
					_, err := io.WriteString(client, post) // to a server that has given up
					require.Error(t, err)
				} else {
					_, _ = io.Copy(io.Discard, reader) // a refusal, perhaps
					require.Equal(t, test.ends, time.Since(begun))
				}
				require.LessOrEqual(t, sets, int64(3)+int64(test.requests)*int64(test.pause)/int64(read/2))
			})
		})
	}
}
