package ocspfasthttp

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// listener makes connections whose deadlines cost little.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if _, ok := c.(interface{ ConnectionState() tls.ConnectionState }); ok {
		return c, nil // TLS does not go on after a write that timed out
	}
	p := &patientConn{Conn: c}
	p.read.set, p.write.set = c.SetReadDeadline, c.SetWriteDeadline
	return p, nil
}

// patientConn is a connection that puts off setting deadlines. fasthttp sets three for each request, and hardly one
// of them ever passes: so one that is later than that in force is only noted, and put into force when the other
// has passed.
type patientConn struct {
	net.Conn
	read, write deadline
}

// SetDeadline implements net.Conn.
func (c *patientConn) SetDeadline(t time.Time) error {
	return errors.Join(c.read.want(t), c.write.want(t))
}

// SetReadDeadline implements net.Conn.
func (c *patientConn) SetReadDeadline(t time.Time) error { return c.read.want(t) }

// SetWriteDeadline implements net.Conn.
func (c *patientConn) SetWriteDeadline(t time.Time) error { return c.write.want(t) }

// SetKeepAlive and SetKeepAlivePeriod are for fasthttp.Server's TCPKeepalive, which does nothing to other connections
// than TCP's.
func (c *patientConn) SetKeepAlive(on bool) error {
	if tcp, ok := c.Conn.(interface{ SetKeepAlive(on bool) error }); ok {
		return tcp.SetKeepAlive(on)
	}
	return nil
}

// SetKeepAlivePeriod belongs to SetKeepAlive.
func (c *patientConn) SetKeepAlivePeriod(d time.Duration) error {
	if tcp, ok := c.Conn.(interface{ SetKeepAlivePeriod(d time.Duration) error }); ok {
		return tcp.SetKeepAlivePeriod(d)
	}
	return nil
}

// Read implements net.Conn.
func (c *patientConn) Read(b []byte) (int, error) {
	for {
		sets := c.read.sets.Load()
		n, err := c.Conn.Read(b)
		switch {
		case err == nil || !c.read.early(sets, &err):
			return n, err
		case n > 0:
			return n, nil
		}
	}
}

// Write implements net.Conn.
func (c *patientConn) Write(b []byte) (int, error) {
	written := 0
	for {
		sets := c.write.sets.Load()
		n, err := c.Conn.Write(b[written:])
		written += n
		if err == nil || !c.write.early(sets, &err) {
			return written, err
		}
	}
}

// deadline is that of one direction.
type deadline struct {
	set  func(time.Time) error // of the connection
	sets atomic.Uint64         // how often that was called

	mu     sync.Mutex
	wanted time.Time
	force  time.Time // the connection's: never later than wanted, unless that is zero
}

// want notes a deadline; zero is none.
func (d *deadline) want(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if t.IsZero() || !d.force.IsZero() && !t.Before(d.force) {
		return nil
	}
	return d.enforce()
}

func (d *deadline) enforce() error {
	d.force = d.wanted
	defer d.sets.Add(1)
	return d.set(d.wanted)
}

// early reports whether a time-out came before the wanted deadline, which is in force then; sets is from before the
// call that timed out. Otherwise err is what to return.
func (d *deadline) early(sets uint64, err *error) bool {
	if !errors.Is(*err, os.ErrDeadlineExceeded) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !d.wanted.IsZero() && !time.Now().Before(d.wanted):
		return false
	case d.sets.Load() != sets: // by another call that timed out
		return true
	case d.force.Equal(d.wanted): // the connection is not one that goes on
		return false
	}
	if failed := d.enforce(); failed != nil {
		*err = failed
		return false
	}
	return true
}
