// Command model checks the freshness protocol with Spin: the models in this directory, in each
// configuration, and with each rule taken out.
//
//	go run ./model              all configurations
//	go run ./model -mutations   all mutations
//	go run ./model -ci          the smallest configurations, and the three cheapest mutations
//
// It needs spin and gcc. It runs two verifiers at a time, each with at most 2.5 GB of memory. The
// exit status is 1 if a model has an error, or if a mutation has none.
package main

import (
	"cmp"
	"context"
	"embed"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

//go:embed *.pml
var sources embed.FS

const parallel = 2

func main() {
	mutate := flag.Bool("mutations", false, "take out each rule, and look for the error")
	ci := flag.Bool("ci", false, "check the smallest configurations and the cheapest mutations")
	only := flag.String("only", "", "run what has a name that this `pattern` matches")
	write := flag.String("write", "", "write the tables into this `file` too, between their markers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *mutate, *ci, *only, *write); err != nil {
		fmt.Fprintln(os.Stderr, "model:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, mutate, ci bool, only, write string) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	for _, tool := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: apt-get install spin gcc libc6-dev", tool)
		}
	}
	var checks, faults []job
	for _, c := range configurations {
		if !mutate && (c.small || !ci) && pattern.MatchString(c.name) {
			checks = append(checks, job{configuration: c})
		}
	}
	for _, m := range mutations {
		if (mutate || ci && slices.Contains(cheap, m.define)) && pattern.MatchString(m.define) {
			faults = append(faults, job{configuration: m.of, mutation: &m})
		}
	}
	if len(checks)+len(faults) == 0 {
		return fmt.Errorf("no name matches %q", only)
	}
	begun := time.Now()
	results, err := verifyAll(ctx, append(checks, faults...))
	if err != nil {
		return err
	}
	failed := 0
	for _, r := range results {
		if !r.ok() {
			failed++
		}
	}
	if n := len(checks); n > 0 {
		err = report("configurations", configurationTable(results[:n]), write)
	}
	if n := len(checks); n < len(results) && err == nil {
		err = report("mutations", mutationTable(results[n:]), write)
	}
	fmt.Printf("%d configurations, %d mutations, %d failed, %d s\n",
		len(checks), len(faults), failed, int(time.Since(begun).Seconds()+0.5))
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d failed", failed, len(results))
	}
	return err
}

// report prints a table, and writes it between its markers in a file.
func report(name, table, file string) error {
	fmt.Println(table)
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin := "<!-- the model writes its " + name + " here -->\n"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, "<!-- end of the "+name+" -->")
	if !ok || !ended {
		return fmt.Errorf("%s has no markers for the %s", file, name)
	}
	after = "<!-- end of the " + name + " -->" + after
	return os.WriteFile(file, []byte(before+begin+table+after), 0o644)
}

func configurationTable(results []result) string {
	var b strings.Builder
	b.WriteString("| configuration | what is in it | claims | states | seconds | |\n")
	b.WriteString("|---|---|---|--:|--:|---|\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s: %s | %s | %s | %s | %.1f | %s |\n", r.model, r.name, r.what,
			cmp.Or(r.claims, claims[r.model]), thousands(r.states), r.seconds, r.verdict())
	}
	return b.String()
}

func mutationTable(results []result) string {
	var b strings.Builder
	b.WriteString("| invariant | mutation | claim that broke | model | states | seconds |\n")
	b.WriteString("|---|---|---|---|--:|--:|\n")
	for _, r := range results {
		broke := r.broke
		if broke == "" {
			broke = "**none**: " + r.verdict()
		}
		if slices.Contains(stated, r.mutation.define) {
			broke += " †"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s: %s | %s | %.1f |\n", r.mutation.invariant,
			r.mutation.what, broke, r.model, r.name, thousands(r.states), r.seconds)
	}
	return b.String()
}

// thousands formats a number with commas.
func thousands(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
