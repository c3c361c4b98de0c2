package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// result is what a part has found.
type result struct {
	text     string    // for its section
	findings []finding // for the table of goals
}

// finding is something measured, one figure for each round, and the goal that its median is judged by.
type finding struct {
	what   string
	unit   string // "": a ratio
	values []float64
	goal   *goal
}

// goal is what must be reached, and what it is a stretch to reach.
type goal struct {
	must, stretch float64
	atLeast       bool // instead of at most
}

func (g *goal) reached(value, bound float64) bool {
	if g.atLeast {
		return value >= bound
	}
	return value <= bound
}

// verdict says how the median does.
func (f *finding) verdict() string {
	switch value := median(f.values); {
	case f.goal.reached(value, f.goal.stretch) && f.goal.stretch != f.goal.must:
		return "stretch"
	case f.goal.reached(value, f.goal.must):
		return "met"
	default:
		return "**missed**"
	}
}

func (f *finding) missed() bool { return !f.goal.reached(median(f.values), f.goal.must) }

// row is the line of a finding in the table of goals.
func (f *finding) row() string {
	relation, stretch := "≤", ""
	if f.goal.atLeast {
		relation = "≥"
	}
	if f.goal.stretch != f.goal.must {
		stretch = relation + " " + number(f.goal.stretch)
	}
	return fmt.Sprintf("| %s | %s %s | %s | %s | %s | %s | %s |\n", f.what, relation, strings.TrimSpace(number(f.goal.must)+" "+f.unit), stretch,
		number(median(f.values)), number(slices.Min(f.values)), number(slices.Max(f.values)), f.verdict())
}

// number writes a figure with three digits, or all before the point.
func number(v float64) string {
	switch {
	case v >= 100 || v <= -100 || v == float64(int(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// goals is the table of them all.
func goals(findings []finding) string {
	if len(findings) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("| what | must | stretch | median | from | to | |\n|---|---|---|---|---|---|---|\n")
	var missed []string
	rounds := 1
	for _, f := range findings {
		b.WriteString(f.row())
		rounds = max(rounds, len(f.values))
		if f.missed() {
			missed = append(missed, f.what)
		}
	}
	fmt.Fprintf(&b, "\n%d of %d goals are met.", len(findings)-len(missed), len(findings))
	if len(missed) > 0 {
		fmt.Fprintf(&b, " Missed: %s.", strings.Join(missed, "; "))
	}
	if rounds > 1 {
		fmt.Fprintf(&b, " Medians are of %d interleaved rounds.", rounds)
	}
	b.WriteString("\n")
	return b.String()
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// quantile returns the value below which that part of the values lies, between two if it must.
func quantile(values []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(values))
	at := q * float64(len(s)-1)
	i := int(at)
	if i+1 >= len(s) {
		return s[len(s)-1]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

// machine describes where the figures come from.
func machine(ctx context.Context) string {
	model := "an unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`model name\s*: (.*)`).FindSubmatch(text); m != nil {
			model = string(m[1])
		}
	}
	size := ""
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib float64
		if _, err := fmt.Sscanf(string(text), "MemTotal: %f kB", &kib); err == nil {
			size = fmt.Sprintf(", %.0f GiB", kib/(1<<20))
		}
	}
	parts := []string{fmt.Sprintf("%d cores of %s%s", runtime.NumCPU(), model, size)}
	if kernel, err := exec.CommandContext(ctx, "uname", "-sr").Output(); err == nil {
		parts = append(parts, strings.TrimSpace(string(kernel)))
	}
	parts = append(parts, runtime.Version())
	for _, version := range []string{
		programVersion(ctx, "wrk", "-v"), programVersion(ctx, "nginx", "-v"), programVersion(ctx, "openssl", "version"),
	} {
		if version != "" {
			parts = append(parts, version)
		}
	}
	return strings.Join(append(parts, time.Now().Format(time.DateOnly)), ", ") + "."
}

// A document has the marks of a section around what is written by a run.
func beginMark(section string) string { return "<!-- " + section + ":begin -->" }
func endMark(section string) string   { return "<!-- " + section + ":end -->" }

// write puts a text between the marks of a section in a file.
func write(file, section, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), beginMark(section))
	_, after, ok2 := strings.Cut(rest, endMark(section))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no lines %s and %s", file, beginMark(section), endMark(section))
	}
	return os.WriteFile(file, []byte(before+beginMark(section)+"\n\n"+strings.TrimSpace(text)+"\n\n"+endMark(section)+after), 0o644)
}
