package ocspfasthttp

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// listener makes connections whose deadlines cost little.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
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

// Read implements net.Conn.
func (c *patientConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if n > 0 || err == nil || !c.read.early(&err) {
			return n, err
		}
	}
}

// Write implements net.Conn.
func (c *patientConn) Write(b []byte) (int, error) {
	written := 0
	for {
		n, err := c.Conn.Write(b[written:])
		written += n
		if err == nil || !c.write.early(&err) {
			return written, err
		}
	}
}

// deadline is that of one direction.
type deadline struct {
	set func(time.Time) error // of the connection

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
	return d.set(d.wanted)
}

// early reports whether a time-out came before the wanted deadline, which is in force then. Otherwise err is what
// to return.
func (d *deadline) early(err *error) bool {
	if !errors.Is(*err, os.ErrDeadlineExceeded) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.wanted.IsZero() && !time.Now().Before(d.wanted) {
		return false
	}
	if failed := d.enforce(); failed != nil {
		*err = failed
		return false
	}
	return true
}
