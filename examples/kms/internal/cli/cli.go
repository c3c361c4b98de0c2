// Package cli is the command line of the example KMS. All commands except serve, cluster and demo
// are clients of the server that runs.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/kmsocsp/ocsp/examples/kms/internal/cluster"
	"github.com/kmsocsp/ocsp/examples/kms/internal/demo"
)

const defaultData = ".kms"

// Serve serves the KMS from a data directory until ctx ends.
type Serve func(ctx context.Context, dir string, stdout, stderr io.Writer) error

// command is one of the program's commands.
type command struct {
	name, operand, help string
	run                 func(ctx context.Context, inv *invocation) error
	flags               func(inv *invocation, fs *flag.FlagSet) // nil: none but -data
}

// commands returns all commands in the order of the help text.
func commands(serve Serve) []command {
	return []command{
		{name: "serve", help: "serve the API and OCSP; the default", run: serveWith(serve)},
		{name: "certify", operand: "NAME", help: "issue a certificate, and write NAME.pem and NAME.key",
			run: certifyCommand, flags: certifyFlags},
		{name: "list", help: "list the certificates", run: listCommand},
		{name: "activate", operand: "UID", help: "make a PreActive certificate Active", run: activateCommand},
		{name: "revoke", operand: "UID", help: "revoke a certificate", run: revokeCommand, flags: revokeFlags},
		{name: "destroy", operand: "UID", help: "destroy a certificate that is not Active", run: destroyCommand},
		{name: "counters", help: "show how many answers, signatures and database reads there were", run: countersCommand},
		{name: "cluster", help: "start PostgreSQL, Redis and three replicas, break things, and show what clients see",
			run: func(ctx context.Context, inv *invocation) error { return cluster.Show(ctx, inv.stdout) }},
		{name: "demo", help: "show it all with openssl, in a temporary directory",
			run: func(ctx context.Context, inv *invocation) error { return demo.Run(ctx, inv.stdout) }},
	}
}

func serveWith(serve Serve) func(context.Context, *invocation) error {
	return func(ctx context.Context, inv *invocation) error {
		return serve(ctx, inv.data, inv.stdout, inv.stderr)
	}
}

// invocation is a parsed command line.
type invocation struct {
	commands       []command
	stdout, stderr io.Writer
	data           string // the data directory
	operand        string // a NAME or UID

	out           string // of certify
	preActive     bool   // of certify
	reason        string // of revoke
	compromisedAt string // of revoke
	direct        bool   // of revoke
}

var errUsage = errors.New("usage")

// Run executes a command line and returns the exit status: 1 for a failure, 2 for a wrong command
// line.
func Run(ctx context.Context, serve Serve, args []string, stdout, stderr io.Writer) int {
	inv := &invocation{commands: commands(serve), stdout: stdout, stderr: stderr}
	err := inv.execute(ctx, args)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return 2
	default:
		fmt.Fprintln(stderr, "kms:", err)
		return 1
	}
}

func (inv *invocation) execute(ctx context.Context, args []string) error {
	if len(args) > 0 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help") {
		inv.usage(inv.stdout)
		return nil
	}
	name := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	for _, cmd := range inv.commands {
		if cmd.name != name {
			continue
		}
		if err := inv.parse(cmd, args); errors.Is(err, flag.ErrHelp) {
			return nil
		} else if err != nil {
			return err
		}
		return cmd.run(ctx, inv)
	}
	fmt.Fprintf(inv.stderr, "kms: there is no command %q\n", name)
	inv.usage(inv.stderr)
	return errUsage
}

// parse reads flags, before and after the operand. It reports errors to the user itself, and
// returns errUsage.
func (inv *invocation) parse(cmd command, args []string) error {
	fs := flag.NewFlagSet("kms "+cmd.name, flag.ContinueOnError)
	fs.SetOutput(inv.stderr)
	fs.Usage = func() {
		fmt.Fprintf(inv.stderr, "usage: %s\n%s\n", strings.TrimSpace("kms "+cmd.name+" [flags] "+cmd.operand), cmd.help)
		fs.PrintDefaults()
	}
	fs.StringVar(&inv.data, "data", defaultData, "the data `directory`")
	if cmd.flags != nil {
		cmd.flags(inv, fs)
	}
	var operands []string
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			return err
		} else if err != nil {
			return errUsage
		}
		if fs.NArg() == 0 {
			break
		}
		operands, args = append(operands, fs.Arg(0)), fs.Args()[1:]
	}
	if wanted := len(strings.Fields(cmd.operand)); len(operands) != wanted {
		fmt.Fprintf(inv.stderr, "kms %s: got the arguments %q, want %d; a command stands before its flags\n", cmd.name, operands, wanted)
		fs.Usage()
		return errUsage
	}
	if len(operands) == 1 {
		inv.operand = operands[0]
	}
	return nil
}

func (inv *invocation) usage(w io.Writer) {
	fmt.Fprintln(w, "usage: kms [command] [flags]\n\ncommands:")
	for _, cmd := range inv.commands {
		fmt.Fprintf(w, "  %-13s %s\n", strings.TrimSpace(cmd.name+" "+cmd.operand), cmd.help)
	}
	fmt.Fprintf(w, "\nkms COMMAND -h shows the flags of a command. All have -data, the data directory (default %q).\n", defaultData)
}
