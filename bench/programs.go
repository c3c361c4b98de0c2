package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// errAbsent is for a peer whose program is not on this machine.
var errAbsent = errors.New("not present")

// find returns the path of a program of Debian's.
func find(program string) (string, error) {
	for _, name := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: apt-get install %s", errAbsent, program)
}

// launchDeadline is how long a program may take until it serves.
const launchDeadline = 10 * time.Second

// launchProgram starts a server program, whose output goes to a file, and waits until it is ready.
func launchProgram(ctx context.Context, log string, ready func(printed string) (*server, error), name string, arguments ...string) (*server, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the program has its own
	cmd := exec.CommandContext(ctx, name, arguments...)
	cmd.Stdout, cmd.Stderr = file, file
	// nginx ends its workers when it is asked to end, and not when it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = launchDeadline
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := func() error {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		time.AfterFunc(launchDeadline, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // openssl has no other end than the signal
		return nil
	}
	for deadline := time.Now().Add(launchDeadline); ; {
		printed, err := os.ReadFile(log)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		s, err := ready(string(printed))
		if err == nil {
			s.pids, s.stop = append(s.pids, cmd.Process.Pid), stop
			return s, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("%s does not start: %w\n%s", name, err, printed), stop())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// launchNginx serves the answer as a file, with one worker.
func launchNginx(ctx context.Context, k *kit) (*server, error) {
	program, err := find("nginx")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	pidFile := k.file("nginx.pid")
	config := fmt.Sprintf(`
daemon off;
pid %[1]s/nginx.pid;
error_log stderr;
%[3]s
worker_processes 1;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	keepalive_requests 1000000000;
	server {
		listen %[2]s;
		root %[1]s;
		default_type application/ocsp-response;
	}
}
`, k.dir, address, asOwner())
	if err := os.WriteFile(k.file("nginx.conf"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return launchProgram(ctx, k.file("nginx.log"), func(string) (*server, error) {
		text, err := os.ReadFile(pidFile)
		if err != nil {
			return nil, err
		}
		workers, err := os.ReadFile(fmt.Sprintf("/proc/%[1]s/task/%[1]s/children", bytes.TrimSpace(text)))
		if err != nil {
			return nil, err
		}
		worker, err := strconv.Atoi(strings.TrimSpace(string(workers)))
		if err != nil {
			return nil, fmt.Errorf("no single worker, but %q", workers)
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return nil, err
		}
		return &server{address: address, pids: []int{worker}}, conn.Close()
	}, program, "-p", k.dir, "-c", k.file("nginx.conf"))
}

// asOwner lets nginx's worker read what root wrote, where root runs it.
func asOwner() string {
	if os.Getuid() == 0 {
		return "user root;"
	}
	return ""
}

// freeAddress returns an address that nothing listens on, for a program that cannot choose one.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// launchOpenSSL serves with OpenSSL's test responder, which answers one client at a time and closes the connection. It
// must not be connected to without a request: then OpenSSL 3.0 reads for ever.
func launchOpenSSL(ctx context.Context, k *kit) (*server, error) {
	program, err := find("openssl")
	if err != nil {
		return nil, err
	}
	var index bytes.Buffer
	for _, serial := range k.serials {
		fmt.Fprintf(&index, "V\t%s\t\t%X\tunknown\t/CN=leaf\n", k.ca.Certificate.NotAfter.UTC().Format("060102150405Z"), serial)
	}
	list := k.file("index.txt")
	if err := errors.Join(os.WriteFile(list, index.Bytes(), 0o600), os.WriteFile(list+".attr", []byte("unique_subject = no\n"), 0o600)); err != nil {
		return nil, err
	}
	accepts := regexp.MustCompile(`ACCEPT \S*:(\d+) `)
	return launchProgram(ctx, k.file("openssl.log"), func(printed string) (*server, error) {
		port := accepts.FindStringSubmatch(printed)
		if port == nil || !strings.Contains(printed, "waiting for") {
			return nil, errors.New("it is not waiting for clients")
		}
		return &server{address: net.JoinHostPort("127.0.0.1", port[1])}, nil
	}, program, "ocsp", "-port", "0", "-index", list, "-CA", k.file("ca.pem"), "-rsigner", k.file("ca.pem"), "-rkey", k.file("ca.key"),
		"-ndays", "1", "-resp_no_certs", "-resp_key_id")
}

// programVersion returns the name of a program with its version, "" if it is not there.
func programVersion(ctx context.Context, program, argument string) string {
	path, err := find(program)
	if err != nil {
		return ""
	}
	text, _ := exec.CommandContext(ctx, path, argument).CombinedOutput() // wrk -v exits with 1
	return program + " " + string(regexp.MustCompile(`\d+(\.\d+)+`).Find(text))
}
