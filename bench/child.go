package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// child is this program in a process of its own, so that what is measured shares neither heap nor scheduler with what
// measures it. The two talk in JSON over the child's standard input and output.
type child struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	in     *json.Encoder
	out    *json.Decoder
	stderr bytes.Buffer
}

// parent is the other side of a child's talk.
type parent struct {
	in  *json.Decoder
	out *json.Encoder
}

// childFlag comes before the role on the command line of a child.
const childFlag = "-child"

// roles are what a child can be. It ends when its input does.
func roles() map[string]func(context.Context, *parent) error {
	return map[string]func(context.Context, *parent) error{
		"peer":    servePeer,
		"storage": serveStorage,
		"paced":   servePaced,
		"slow":    serveSlow,
		"flood":   serveFlood,
		"soak":    serveSoak,
		"sizing":  serveSizing,
	}
}

// runChild plays a role.
func runChild(ctx context.Context, role string) error {
	play, ok := roles()[role]
	if !ok {
		return fmt.Errorf("there is no role %q", role)
	}
	if err := play(ctx, &parent{json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// anywhere lets a child run on all cores.
const anywhere = -1

// startChild starts a child on one core, or anywhere, and reads its first reply.
func startChild(ctx context.Context, role string, core int, argument, reply any) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, childFlag, role)}
	c.cmd.Stderr = &c.stderr
	c.cmd.WaitDelay = 10 * time.Second
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.stdin, c.in, c.out = stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)
	if err := onCore(core, c.cmd.Start); err != nil {
		return nil, err
	}
	if err := c.ask(argument, reply); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// ask sends something and waits for the reply.
func (c *child) ask(what, reply any) error {
	if err := c.in.Encode(what); err != nil {
		return fmt.Errorf("%w\n%s", err, c.stderr.String())
	}
	if err := c.out.Decode(reply); err != nil {
		c.kill() // so that all it had to say is there
		return fmt.Errorf("a child process failed: %w\n%s", err, c.stderr.String())
	}
	return nil
}

// stop ends the child.
func (c *child) stop() error {
	if c.cmd.ProcessState != nil {
		return nil // killed
	}
	_ = c.stdin.Close() // that it is closed already is as good
	time.AfterFunc(10*time.Second, func() { _ = c.cmd.Process.Kill() })
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("a child process ended with %w\n%s", err, c.stderr.String())
	}
	return nil
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // killed
}
