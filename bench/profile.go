package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// profilePeer writes a CPU profile and an allocation profile of a peer under the load of wrk to a folder.
func profilePeer(ctx context.Context, o *options, name, dir string, stdout io.Writer) (err error) {
	p, err := findPeer(name)
	if err != nil {
		return err
	}
	if p.serve == nil || p.asks == closes {
		return fmt.Errorf("%s is not a Go program's, or not asked by wrk", name)
	}
	wrk, err := find("wrk")
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	s, err := p.start(ctx, o.kit, anywhere, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if _, _, err := s.measure(ctx, wrk, o); err != nil { // to warm up
		return err
	}
	var before string
	if err := s.child.ask("begin", &before); err != nil {
		return err
	}
	took, latency, err := s.measure(ctx, wrk, o)
	if err != nil {
		return err
	}
	var files [2]string
	if err := s.child.ask("end", &files); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s: %s µs of CPU time for each request, with the profiles' own, %s µs median latency\n", name, number(took), number(latency))
	fmt.Fprintf(stdout, "go tool pprof -top %s\ngo tool pprof -top -sample_index=alloc_objects -base %s %s\n", files[0], before, files[1])
	return nil
}

// profile writes what was allocated so far and a CPU profile, from the first thing that it is told to the second, and
// what was allocated then. It runs in the peer, and replies the names of the files.
func profile(dir string, talk *parent) error {
	var told string
	if err := talk.in.Decode(&told); err != nil {
		return err
	}
	before, err := allocations(dir, "allocs-before.pprof")
	if err != nil {
		return err
	}
	cpu, err := os.Create(filepath.Join(dir, "cpu.pprof"))
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	if err := talk.out.Encode(before); err != nil {
		return err
	}
	if err := talk.in.Decode(&told); err != nil {
		return err
	}
	pprof.StopCPUProfile()
	after, err := allocations(dir, "allocs.pprof")
	if err := errors.Join(err, cpu.Close()); err != nil {
		return err
	}
	return talk.out.Encode([]string{cpu.Name(), after})
}

// allocations writes what was allocated so far to a file.
func allocations(dir, name string) (string, error) {
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	return f.Name(), errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}
