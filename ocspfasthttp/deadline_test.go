package ocspfasthttp_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

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
	wrap   func(net.Conn) net.Conn
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	conn := net.Conn(countingConn{server, &p.sets})
	if p.wrap != nil {
		conn = p.wrap(conn)
	}
	p.conns <- conn
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

// bubble serves in fake time, from NewServer's server as adjust leaves it.
func bubble(t *testing.T, adjust func(*ocspfasthttp.Server), test func(t *testing.T, server *ocspfasthttp.Server, post string)) {
	ca, store, outside := newResponder(t, ocsptest.Ed25519)
	leaf := ca.Issue(ocsptest.Options{})
	store.Add(ca.ID, leaf)
	der := string(ocsptest.Client{}.Request(ca.Certificate, leaf))
	post := fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(der), der)
	_, _ = exchange(t, serve(t, outside), post) // fasthttp has a clock that must not begin in a bubble
	synctest.Test(t, func(t *testing.T) {
		r, err := ocsp.New(ocsp.Config{
			Issuers: []ocsp.Issuer{ca.Issuer()}, Store: store, Now: func() time.Time { return leaf.NotBefore.Add(time.Hour) },
		})
		require.NoError(t, err)
		defer func() { require.NoError(t, r.Close()) }()
		server := ocspfasthttp.NewServer(r)
		adjust(server)
		test(t, server, post)
	})
}

// listen has a server serve a listener until the function that it returns is called.
func listen(t *testing.T, server *ocspfasthttp.Server, l net.Listener) (stop func()) {
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	return func() {
		assert.NoError(t, server.Shutdown())
		assert.NoError(t, <-ended)
		time.Sleep(10 * time.Minute) // for what fasthttp leaves to end by itself
	}
}

// ask sends a request on a connection that is kept alive.
func ask(t *testing.T, client net.Conn, reader *bufio.Reader, post string) {
	_, err := io.WriteString(client, post)
	require.NoError(t, err)
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	_, err = io.ReadAll(response.Body)
	require.NoError(t, err)
}

// TestTimeouts shows that connections end when their time is up, in fake time, and that this costs no deadline for
// each request.
func TestTimeouts(t *testing.T) {
	const read, write, idle = 10 * time.Second, 20 * time.Second, time.Minute
	for name, test := range map[string]struct {
		requests int           // that are answered first
		pause    time.Duration // between them
		sent     float64       // then, how much of another
		silent   bool          // the client does not read the answer to it
		ends     time.Duration // after which the server ends the connection
	}{
		"nothing is sent":          {ends: read},
		"half a head":              {sent: 0.1, ends: read},
		"half a body":              {sent: 0.9, ends: read},
		"half a head, kept alive":  {requests: 2, sent: 0.1, ends: read},
		"half a body, after pause": {requests: 3, pause: idle - time.Second, sent: 0.9, ends: read},
		"idle":                     {requests: 5, ends: idle},
		"idle, after long use":     {requests: 50, pause: 7 * time.Second, ends: idle},
		"the answer is not read":   {requests: 1, sent: 1, silent: true, ends: write},
	} {
		t.Run(name, func(t *testing.T) {
			adjust := func(s *ocspfasthttp.Server) { s.ReadTimeout, s.WriteTimeout, s.IdleTimeout = read, write, idle }
			bubble(t, adjust, func(t *testing.T, server *ocspfasthttp.Server, post string) {
				l := newPipes()
				stop := listen(t, server, l)
				client := l.dial()
				defer func() {
					assert.NoError(t, client.Close())
					stop()
				}()
				reader := bufio.NewReader(client)
				for n := range test.requests {
					if n > 0 {
						time.Sleep(test.pause)
					}
					ask(t, client, reader, post)
				}
				begun, sets := time.Now(), l.sets.Load()
				_, err := io.WriteString(client, post[:int(test.sent*float64(len(post)))])
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

// A TLS connection does not survive a write that timed out, so its deadlines are not put off.
func TestTLSListener(t *testing.T) {
	ca := ocsptest.NewCA(ocsptest.Options{})
	cert, key := ca.IssueKey(ocsptest.Options{})
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	now := func() time.Time { return cert.NotBefore.Add(time.Hour) }
	bubble(t, func(*ocspfasthttp.Server) {}, func(t *testing.T, server *ocspfasthttp.Server, post string) {
		l := newPipes()
		stop := listen(t, server, tls.NewListener(l, &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}, Time: now,
		}))
		defer stop()
		client := tls.Client(l.dial(), &tls.Config{RootCAs: roots, ServerName: "localhost", Time: now})
		defer func() { _ = client.Close() }()
		reader := bufio.NewReader(client)
		for range 5 {
			ask(t, client, reader, post)
			time.Sleep(server.IdleTimeout - time.Second) // longer than WriteTimeout
		}
	})
}

// mortalConn is a connection that a time-out ends, as it ends TLS's.
type mortalConn struct {
	net.Conn
	err error
}

func (c *mortalConn) Write(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.Conn.Write(b)
	c.err = err
	return n, err
}

// A connection that has nothing but time-outs to report is ended at once.
func TestMortalConnection(t *testing.T) {
	bubble(t, func(*ocspfasthttp.Server) {}, func(t *testing.T, server *ocspfasthttp.Server, post string) {
		l := newPipes()
		l.wrap = func(c net.Conn) net.Conn { return &mortalConn{Conn: c} }
		defer listen(t, server, l)()
		client := l.dial()
		defer func() { _ = client.Close() }()
		reader := bufio.NewReader(client)
		ask(t, client, reader, post)
		time.Sleep(server.IdleTimeout - time.Second)
		begun := time.Now()
		_, err := io.WriteString(client, post)
		require.NoError(t, err)
		_, err = reader.ReadByte()
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, begun, time.Now())
	})
}

// tunableConn has what a TCP connection has for fasthttp.Server's TCPKeepalive.
type tunableConn struct {
	net.Conn
	on     *atomic.Bool
	period *atomic.Int64
}

func (c tunableConn) SetKeepAlive(on bool) error {
	c.on.Store(on)
	return nil
}

func (c tunableConn) SetKeepAlivePeriod(d time.Duration) error {
	c.period.Store(int64(d))
	return nil
}

// The server's TCPKeepalive reaches the connection.
func TestKeepAlive(t *testing.T) {
	adjust := func(s *ocspfasthttp.Server) { s.TCPKeepalive, s.TCPKeepalivePeriod = true, time.Minute }
	for _, tunable := range []bool{true, false} {
		bubble(t, adjust, func(t *testing.T, server *ocspfasthttp.Server, post string) {
			l := newPipes()
			var on atomic.Bool
			var period atomic.Int64
			if tunable {
				l.wrap = func(c net.Conn) net.Conn { return tunableConn{c, &on, &period} }
			}
			defer listen(t, server, l)()
			client := l.dial()
			defer func() { assert.NoError(t, client.Close()) }()
			ask(t, client, bufio.NewReader(client), post)
			require.Equal(t, tunable, on.Load())
			require.Equal(t, tunable, period.Load() == int64(time.Minute))
		})
	}
}

// TestDeadlinesAsSet does the same to a connection of this server and to one of fasthttp's, and requires that reads
// and writes end the same way at the same time.
func TestDeadlinesAsSet(t *testing.T) {
	for seed := range uint64(20) {
		plain := func(s *ocspfasthttp.Server, l net.Listener) error { return s.Server.Serve(l) }
		require.Equal(t, deadlineStory(t, seed, plain), deadlineStory(t, seed, (*ocspfasthttp.Server).Serve), "seed %d", seed)
	}
}

// deadlineStory sets deadlines at random on a connection whose client is slow, and returns what became of each read
// and write.
func deadlineStory(t *testing.T, seed uint64, serve func(*ocspfasthttp.Server, net.Listener) error) (story []string) {
	const steps = 60
	random := rand.New(rand.NewPCG(seed, 1))
	bubble(t, func(*ocspfasthttp.Server) {}, func(t *testing.T, server *ocspfasthttp.Server, post string) {
		begun := time.Now()
		at := func() time.Duration { return time.Since(begun) }
		var mu sync.Mutex
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			story = append(story, fmt.Sprintf("%8v ", at())+fmt.Sprintf(format, args...))
		}
		var all sync.WaitGroup
		all.Add(1)
		server.Handler = func(ctx *fasthttp.RequestCtx) {
			ctx.HijackSetNoResponse(true)
			ctx.Hijack(func(c net.Conn) {
				defer all.Done()
				var calls sync.WaitGroup
				end := begun.Add(steps * time.Second)
				calls.Go(func() {
					time.Sleep(71_009 * time.Microsecond) // after the first deadline has been set
					for time.Now().Before(end) {
						n, err := c.Read(make([]byte, 4))
						note("read %d %v", n, err)
						time.Sleep(137_017 * time.Microsecond)
					}
				})
				calls.Go(func() {
					time.Sleep(31_013 * time.Microsecond)
					for time.Now().Before(end) {
						n, err := c.Write(make([]byte, 8))
						note("wrote %d %v", n, err)
						time.Sleep(211_033 * time.Microsecond)
					}
				})
				for range steps {
					when := time.Now().Add(time.Duration(random.IntN(80)-20) * 103_003 * time.Microsecond)
					if random.IntN(6) == 0 {
						when = time.Time{}
					}
					set := []func(time.Time) error{c.SetReadDeadline, c.SetWriteDeadline, c.SetDeadline}[random.IntN(3)]
					assert.NoError(t, set(when))
					time.Sleep(time.Second)
				}
				assert.NoError(t, c.SetDeadline(time.Now().Add(-time.Second)))
				calls.Wait()
			})
		}
		l := newPipes()
		ended := make(chan error, 1)
		go func() { ended <- serve(server, l) }()
		client := l.dial()
		_, err := io.WriteString(client, post)
		require.NoError(t, err)
		go func() {
			for at := 0; at < steps*4; at++ {
				time.Sleep(777_011 * time.Microsecond)
				if at%11 < 3 {
					_, _ = client.Write(make([]byte, 4))
				}
			}
		}()
		go func() {
			for {
				if _, err := client.Read(make([]byte, 2)); err != nil {
					return
				}
				time.Sleep(1333_019 * time.Microsecond)
			}
		}()
		all.Wait()
		assert.NoError(t, client.Close())
		assert.NoError(t, server.Shutdown())
		assert.NoError(t, <-ended)
		time.Sleep(10 * time.Minute)
	})
	slices.Sort(story)
	return story
}
