package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxReply     = 1 << 20
	continueWait = time.Second // how long Expect waits for 100 before it sends the body anyway, as clients do
)

// message is an HTTP request, as it goes over the wire. The zero value is a GET by HTTP/1.1.
type message struct {
	method  string
	path    string // behind the mount, as it is sent
	query   string
	version string
	lines   []string // of the header
	body    []byte
	chunked bool
	expect  bool
	noHost  bool
	noType  bool
}

// exchange is a message and what came back.
type exchange struct {
	method, path string
	line         string // in words
	status       int
	header       http.Header
	body         []byte
	err          error
	unconnected  bool // there was not even a connection
}

// roundTrip sends a message over a connection of its own. net/http's client would clean what this is about.
func (d *doctor) roundTrip(ctx context.Context, at *url.URL, m message) *exchange {
	if m.method == "" {
		m.method = http.MethodGet
	}
	if m.version == "" {
		m.version = "1.1"
	}
	target := strings.TrimRight(at.EscapedPath(), "/") + m.path
	if m.method == http.MethodPost {
		target = at.EscapedPath()
	}
	if target == "" {
		target = "/"
	}
	ex := &exchange{method: m.method, path: target}
	if m.query != "" {
		target += "?" + m.query
	}
	ex.line = m.method + " " + shorten(target)
	ctx, cancel := context.WithTimeout(ctx, d.checkTimeout)
	defer cancel()
	conn, err := dial(ctx, at)
	if err != nil {
		ex.err, ex.unconnected = err, true
		return ex
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	proceed, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		if _, err := io.WriteString(conn, d.head(at, m, target)); err != nil {
			return // a server may hang up on what it does not like, and still have answered
		}
		if m.expect {
			select {
			case <-proceed:
			case <-time.After(continueWait):
			case <-ctx.Done():
			}
		}
		_, _ = conn.Write(m.payload())
	}()
	ex.read(bufio.NewReader(io.LimitReader(conn, 2*maxReply)), proceed)
	if ex.err != nil && ctx.Err() != nil {
		ex.err = errors.New("nothing came in time")
	}
	cancel()
	_ = conn.Close()
	<-written
	return ex
}

func dial(ctx context.Context, at *url.URL) (net.Conn, error) {
	port := at.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[at.Scheme]
	}
	address := net.JoinHostPort(at.Hostname(), port)
	if at.Scheme == "https" {
		return (&tls.Dialer{Config: &tls.Config{NextProtos: []string{"http/1.1"}}}).DialContext(ctx, "tcp", address)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

// head is the request line and the header.
func (d *doctor) head(at *url.URL, m message, target string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/%s\r\n", m.method, target, m.version)
	if !m.noHost {
		fmt.Fprintf(&b, "Host: %s\r\n", at.Host)
	}
	_ = d.header.Write(&b)
	if m.method == http.MethodPost {
		if !m.noType {
			b.WriteString("Content-Type: application/ocsp-request\r\n")
		}
		if m.chunked {
			b.WriteString("Transfer-Encoding: chunked\r\n")
		} else {
			fmt.Fprintf(&b, "Content-Length: %d\r\n", len(m.body))
		}
		if m.expect {
			b.WriteString("Expect: 100-continue\r\n")
		}
	}
	for _, line := range m.lines {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("Connection: close\r\n\r\n")
	return b.String()
}

func (m *message) payload() []byte {
	if m.chunked {
		return fmt.Appendf(nil, "%x\r\n%s\r\n0\r\n\r\n", len(m.body), m.body)
	}
	return m.body
}

// read reads the reply behind interim ones. The first of those closes proceed.
func (ex *exchange) read(r *bufio.Reader, proceed chan struct{}) {
	const interim = 5
	for n := range interim {
		res, err := http.ReadResponse(r, &http.Request{Method: ex.method})
		if err != nil {
			ex.err = err
			return
		}
		if res.StatusCode/100 == 1 {
			if n == 0 {
				close(proceed)
			}
			continue
		}
		ex.status, ex.header = res.StatusCode, res.Header
		ex.body, ex.err = io.ReadAll(io.LimitReader(res.Body, maxReply))
		return
	}
	ex.err = errors.New("interim responses without end")
}
