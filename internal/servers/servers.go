// Package servers starts real servers on this machine, for tests and demonstrations: on free ports of the
// loopback interface, in temporary folders, as a user of their own where they refuse to be root. They end with
// the process that started them, however that ends.
package servers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrMissing is of a program that is not installed.
var ErrMissing = errors.New("the program is not installed")

const (
	startTime = time.Minute
	stopTime  = 20 * time.Second
	probeTime = 20 * time.Millisecond
)

// Server is a server process. Its methods are not for concurrent use.
type Server struct {
	Port int

	hold       io.Closer // of the port
	dir        string
	credential *syscall.Credential
	command    []string
	stop       string // the signal that ends it, as kill has it
	ready      func() error

	cmd   *exec.Cmd
	stdin io.Closer // whose end ends cmd
	ended chan error
	log   buffer
}

// Address returns the host and the port.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// prepare makes a folder that belongs to the account, if we are root, and reserves a port.
func prepare(account string) (*Server, error) {
	s := &Server{stop: "-INT"}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		u, err := user.Lookup(account)
		if err != nil {
			return nil, err
		}
		if uid, err = strconv.Atoi(u.Uid); err != nil {
			return nil, err
		}
		if gid, err = strconv.Atoi(u.Gid); err != nil {
			return nil, err
		}
		s.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "ocsp-server"); err != nil {
		return nil, err
	}
	if s.Port, s.hold, err = reserve(); err == nil && runtime.GOOS != "linux" { // elsewhere it would keep out the server too
		err, s.hold = s.hold.Close(), io.NopCloser(nil)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	if err := os.Chown(s.dir, uid, gid); err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// reserve finds a port and keeps it from everybody who asks for any port, or connects from one, until hold is closed. A
// server that names it gets it all the same, if it sets SO_REUSEADDR as servers do, since this socket does not listen.
// So who answers there is the server that was started, also when it is started again.
func reserve() (port int, hold io.Closer, err error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return 0, nil, err
	}
	file := os.NewFile(uintptr(fd), "reserved port")
	err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		var address syscall.Sockaddr
		if address, err = syscall.Getsockname(fd); err == nil {
			return address.(*syscall.SockaddrInet4).Port, file, nil
		}
	}
	return 0, nil, errors.Join(err, file.Close())
}

// find returns the path of a program.
func find(program, pattern, install string) (string, error) {
	if paths, err := filepath.Glob(pattern); err != nil || len(paths) > 0 {
		return slices.Max(append(paths, "")), err // the newest
	}
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("%w: %s: apt-get install %s", ErrMissing, program, install)
}

// run runs a program to its end.
func (s *Server) run(program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr, cmd.Dir = &syscall.SysProcAttr{Credential: s.credential}, s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return nil
}

// guard runs a server until its standard input ends, which it does when we are killed, too.
const guard = `exec 3<&0; "$@" 3<&- & pid=$!; { read -r _ <&3; kill "$0" $pid; } >/dev/null 2>&1 & wait $pid`

// Start starts a server that was stopped, on the same port and data, and returns when it answers.
func (s *Server) Start() error {
	// $0 is the signal.
	cmd := exec.Command("/bin/sh", append([]string{"-c", guard, s.stop}, s.command...)...)
	cmd.SysProcAttr, cmd.Dir = &syscall.SysProcAttr{Credential: s.credential, Setpgid: true}, s.dir
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir, "XDG_DATA_HOME="+s.dir) // they may write there
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.stdin, s.ended = cmd, stdin, make(chan error, 1)
	go func(ended chan error) { ended <- cmd.Wait() }(s.ended)
	tick := time.NewTicker(probeTime)
	defer tick.Stop()
	timeout := time.After(startTime)
	for {
		if err = s.ready(); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case ended := <-s.ended:
			s.cmd = nil
			return fmt.Errorf("%s ended: %w\n%s", s.command[0], ended, s.Log())
		case <-timeout:
			return fmt.Errorf("%s does not answer: %w\n%s", s.command[0], err, s.Log())
		}
	}
}

// Stop ends the server and keeps its data.
func (s *Server) Stop() error {
	if s.cmd == nil {
		return nil
	}
	s.cmd = nil
	if err := s.stdin.Close(); err != nil {
		return err
	}
	select {
	case <-s.ended:
		return nil
	case <-time.After(stopTime):
		return errors.New("the server does not end")
	}
}

// Remove ends the server and removes its data.
func (s *Server) Remove() error {
	return errors.Join(s.Resume(), s.Stop(), s.hold.Close(), os.RemoveAll(s.dir))
}

// Pause stops the server's processes as they are; connections stay open and nothing answers.
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT) }

// signal signals all processes that descend from the guard's.
func (s *Server) signal(signal syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	parents, err := parents()
	if err != nil {
		return err
	}
	var errs []error
	for queue := []int{s.cmd.Process.Pid}; len(queue) > 0; queue = queue[1:] {
		for pid, parent := range parents {
			if parent == queue[0] {
				queue = append(queue, pid)
				if err := syscall.Kill(pid, signal); err != nil && err != syscall.ESRCH {
					errs = append(errs, err)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// parents returns the parent of each process.
func parents() (map[int]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := map[int]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, may have anything in it.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		parent, err2 := strconv.Atoi(fields[1])
		if err := errors.Join(err, err2); err != nil {
			return nil, err
		}
		all[pid] = parent
	}
	return all, nil
}

// buffer is a bytes.Buffer that may be read while a process writes to it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
