package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsocsp/ocsp/examples/kms/internal/ca"
	"github.com/kmsocsp/ocsp/examples/kms/internal/cluster"
	"github.com/kmsocsp/ocsp/examples/kms/internal/config"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// TestOCSPCheck: the program ocspcheck, run as a user would, finds nothing wrong with the KMS,
// which is a process of its own, set up with its commands. No case fails, normative or decided, as
// docs/CONFORMANCE.md says.
func TestOCSPCheck(t *testing.T) {
	// Under the race detector each command would wait a second before it ends.
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	check := buildOCSPCheck(t)
	page := string(readDoc(t, "../../docs/CONFORMANCE.md"))
	for name, adjust := range map[string]func(*config.Config){
		"as it comes":                       func(*config.Config) {},
		"with a delegate, behind the token": func(cfg *config.Config) { cfg.CA.Delegated, cfg.OCSP.RequireAuth = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Default()
			adjust(&cfg)
			dir := startProcess(t, self, cfg)
			kms := func(args ...string) string {
				t.Helper()
				code, stdout, stderr := runIn(t, dir, self, append(args, "-data", ".")...)
				if code != 0 {
					t.Fatalf("kms %v: exit status %d: %s", args, code, stderr)
				}
				return stdout
			}
			uid, _, _ := strings.Cut(kms("certify", "revoked"), " ")
			kms("revoke", "-reason", "keyCompromise", uid)

			args := []string{"-json", "-issuer", ca.File, "-cert", ca.First + ".pem", "-revoked", "revoked.pem"} // the URL is in the certificate
			if cfg.OCSP.RequireAuth {
				args = append(args, "-header", "Authorization: Bearer "+cfg.Server.Token)
			}
			code, stdout, stderr := runIn(t, dir, check, args...)
			var report struct {
				Counts struct {
					Passed        int
					Normative     int `json:"failed_normative"`
					Decided       int `json:"failed_decided"`
					NotApplicable int `json:"not_applicable"`
				}
				Results []struct{ ID, Title, Verdict, Detail, Request, Response string }
			}
			if err := json.Unmarshal([]byte(stdout), &report); err != nil {
				t.Fatalf("exit status %d: %v\n%s%s", code, err, stdout, stderr)
			}
			if counts := report.Counts; code != 0 || stderr != "" || counts.Normative != 0 || counts.Decided != 0 {
				t.Errorf("exit status %d: %+v\n%s", code, counts, stderr)
			}
			for _, r := range report.Results {
				if r.Verdict != "pass" && r.Verdict != "n/a" {
					t.Errorf("%+v", r)
				}
			}
			if all := len(ocsptest.ConformanceCases()); len(report.Results) != all {
				t.Errorf("%d cases of %d", len(report.Results), all)
			}
			for what, n := range map[string]int{"passed": report.Counts.Passed, "not applicable": report.Counts.NotApplicable} {
				if row := fmt.Sprintf("| | %s | %d |", what, n); !strings.Contains(page, row) {
					t.Errorf("docs/CONFORMANCE.md does not say %q: run docs/conformance/run.sh again", row)
				}
			}
		})
	}
}

// TestOCSPCheckWatch: canaries of the KMS, issued and revoked with its commands, show at once.
func TestOCSPCheckWatch(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := startProcess(t, self, config.Default())
	code, stdout, stderr := runIn(t, dir, buildOCSPCheck(t), "watch", "-issuer", ca.File,
		"-issue", "'"+self+"' certify -data . -out {dir} {name}", "-revoke", "'"+self+"' revoke -data . {output}",
		"-count", "2", "-every", "1ms", "-settle", "100ms", "-interval", "10ms", "-json") // the URL is in the certificate
	if code != 0 || stderr != "" {
		t.Errorf("exit status %d: %s", code, stderr)
	}
	got := map[string]int{}
	for line := range strings.Lines(stdout) {
		var m struct {
			Method, Outcome string
			LastGood        *float64 `json:"last_good_seconds"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m.Outcome != "ok" || m.LastGood != nil {
			t.Errorf("a request after the revocation was answered good: %s", line)
		}
		got[m.Method]++
	}
	if got["GET"] != 2 || got["POST"] != 2 {
		t.Errorf("%v\n%s", got, stdout)
	}
}

func buildOCSPCheck(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "ocspcheck")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/kmsocsp/ocsp/cmd/ocspcheck")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// runIn runs a program in a directory.
func runIn(t *testing.T, dir, program string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// startProcess starts a KMS as a process of its own on a free port, and returns its data directory.
func startProcess(t *testing.T, program string, cfg config.Config) string {
	t.Helper()
	r, err := cluster.StartOne(t.Context(), program, t.TempDir(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r.Dir
}
