// Command bench compares what answers cost this responder and others, measures what the project has set itself as goals,
// and writes what it finds, with plots, to docs/PERFORMANCE.md. Its parts can be run alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// options are what the command line says, and what the parts need besides.
type options struct {
	rounds        int
	duration      time.Duration // of one measurement over loopback
	benchtime     time.Duration // of one in process
	entries       int           // of a large cache
	soak          time.Duration // how long
	parts         []part
	write, strict bool
	profile, peer string

	images   string // the folder for plots
	root     string // the folder of the module that is measured
	kit      *kit
	status   io.Writer
	terminal bool // that is what status is
}

// alone reports whether one part is run, and no other.
func (o *options) alone() bool { return len(o.parts) == 1 }

// progress tells whoever waits what is being done.
func (o *options) progress(format string, arguments ...any) {
	if o.terminal {
		fmt.Fprintf(o.status, "\r\033[K"+format, arguments...)
	}
}

// part measures something.
type part struct {
	name, heading string
	run           func(context.Context, *options) (*result, error)
}

var parts = []part{
	{"loopback", "Over loopback", loopback},
	{"inprocess", "In process", inProcess},
	{"latency", "Latency under load", load},
	{"signer", "A slow signer", slowSigner},
	{"flood", "A flood of nonces", nonceFlood},
	{"storage", "A million certificates", storages},
	{"sizing", "Sizing, computed and measured", sizing},
	{"soak", "Mixed requests", soak},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := error(nil)
	if len(os.Args) == 3 && os.Args[1] == childFlag {
		err = runChild(ctx, os.Args[2])
	} else {
		err = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// parse reads the command line.
func parse(arguments []string, stderr io.Writer) (*options, error) {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	o := &options{status: stderr}
	if f, ok := stderr.(*os.File); ok {
		info, err := f.Stat()
		o.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.rounds, "rounds", 5, "interleaved rounds")
	flags.DurationVar(&o.duration, "duration", 2*time.Second, "of one measurement over loopback, in whole seconds")
	flags.DurationVar(&o.benchtime, "benchtime", 300*time.Millisecond, "of one measurement in process")
	flags.IntVar(&o.entries, "entries", 1_000_000, "answers in a large cache")
	flags.DurationVar(&o.soak, "soak", time.Minute, "how long to serve mixed requests")
	only := flags.String("only", "", "run these `parts` alone: "+strings.Join(names, ","))
	flags.BoolVar(&o.write, "write", false, "write what was found, and plots, to docs/: for all parts, or for soak")
	flags.BoolVar(&o.strict, "strict", false, "fail if a goal is missed")
	flags.StringVar(&o.profile, "profile", "", "write profiles of the responder -peer under load to this `folder`, and do nothing else")
	flags.StringVar(&o.peer, "peer", handlerPost, "the `responder` to profile, by its name in the table")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	if o.write && *only != "" && *only != "soak" {
		return nil, errors.New("only all parts together are written, or soak")
	}
	if o.rounds < 1 || o.duration < time.Second || flags.NArg() > 0 {
		flags.Usage()
		return nil, errors.New("it wants a round or more, a second or more, and no arguments")
	}
	var err error
	o.parts, err = choose(*only)
	return o, err
}

// run measures what the arguments say.
func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(arguments, stderr)
	if err != nil {
		return err
	}
	if race() {
		return errors.New("the race detector is on, and makes everything slow")
	}
	root, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/kmsocsp/ocsp").Output()
	if err != nil {
		return fmt.Errorf("it must run in a checkout of the repository: %w", err)
	}
	o.root = strings.TrimSpace(string(root))
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.kit, err = newKit(dir, serials); err != nil {
		return err
	}
	if o.profile != "" {
		return profilePeer(ctx, o, o.peer, o.profile, stdout)
	}
	if o.images = filepath.Join(o.root, "docs", "images"); !o.write {
		if o.images, err = os.MkdirTemp("", "bench-images"); err != nil {
			return err
		}
		fmt.Fprintln(stderr, "plots go to", o.images)
	}
	text, missed, err := runParts(ctx, o)
	fmt.Fprint(stdout, text)
	if err != nil {
		return err
	}
	if o.write {
		section := "bench"
		if o.alone() {
			section = o.parts[0].name
		}
		if err := write(filepath.Join(o.root, "docs", "PERFORMANCE.md"), section, text); err != nil {
			return err
		}
	}
	if missed > 0 && o.strict {
		return fmt.Errorf("%d goals are missed", missed)
	}
	return nil
}

// choose returns the parts with those names, all for none.
func choose(only string) (chosen []part, err error) {
	if only == "" {
		return parts, nil
	}
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no part %q", name)
		}
		chosen = append(chosen, parts[i])
	}
	return chosen, nil
}

// runParts runs parts, and returns what they find and how many goals they miss. It goes on after one that fails.
func runParts(ctx context.Context, o *options) (text string, missed int, err error) {
	begin := time.Now()
	var sections strings.Builder
	var findings []finding
	var failed error
	for _, p := range o.parts {
		res, err := p.run(ctx, o)
		o.progress("")
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", p.name, err))
			continue
		}
		findings = append(findings, res.findings...)
		fmt.Fprintf(&sections, "\n### %s\n\n%s", p.heading, res.text)
	}
	for _, f := range findings {
		if f.missed() {
			missed++
		}
	}
	text = machine(ctx) + fmt.Sprintf(" It took %v.\n\n", time.Since(begin).Round(time.Second)) + goals(findings) + sections.String()
	return text, missed, failed
}

// race reports whether this program is built with the race detector.
func race() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
