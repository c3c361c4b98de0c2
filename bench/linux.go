//go:build linux

package main

import (
	"errors"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime returns the CPU time that all threads of a process have used.
func cpuTime(pid int) (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED: what clock_getcpuclockid(3) makes of a process
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &t); err != nil {
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}

// cores returns the cores that this process may use.
func cores() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	var list []int
	for i := range 64 * len(set) {
		if set.IsSet(i) {
			list = append(list, i)
		}
	}
	return list, nil
}

// onCore calls start, which starts a process, so that the process runs on one core only.
func onCore(core int, start func() error) (err error) {
	if core == anywhere {
		return start()
	}
	runtime.LockOSThread() // a process inherits from the thread that starts it
	defer runtime.UnlockOSThread()
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &before)) }()
	return start()
}

// polled are sockets that epoll tells about. Go's own poller would cost more than what is measured.
type polled struct {
	epoll int
	list  []int
	ready []int
	event []unix.EpollEvent
}

func newSockets() (sockets, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return &polled{epoll: epoll, event: make([]unix.EpollEvent, 128)}, err
}

func (p *polled) open(address string) (int, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0, err
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	p.list = append(p.list, socket)
	return socket, errors.Join(
		unix.Connect(socket, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}),
		unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetNonblock(socket, true),
		unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, socket, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(socket)}),
	)
}

func (p *polled) write(socket int, request []byte) error {
	n, err := unix.Write(socket, request)
	if err == nil && n < len(request) {
		err = io.ErrShortWrite
	}
	return err
}

func (p *polled) read(socket int, room []byte) ([]byte, error) {
	room = slices.Grow(room, 4096)
	n, err := unix.Read(socket, room[len(room):cap(room)])
	switch {
	case err == unix.EAGAIN:
		return room, nil
	case err == nil && n == 0:
		err = io.ErrUnexpectedEOF
	}
	return room[:len(room)+max(n, 0)], err
}

func (p *polled) wait(patient bool) ([]int, error) {
	milliseconds := 0
	if patient {
		milliseconds = 1
	}
	n, err := unix.EpollWait(p.epoll, p.event, milliseconds)
	if err == unix.EINTR {
		return nil, nil
	}
	p.ready = p.ready[:0]
	for i := range max(n, 0) {
		p.ready = append(p.ready, int(p.event[i].Fd))
	}
	return p.ready, err
}

func (p *polled) close() error {
	err := unix.Close(p.epoll)
	for _, socket := range p.list {
		err = errors.Join(err, unix.Close(socket))
	}
	return err
}
