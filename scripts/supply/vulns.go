package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kmsocsp/ocsp/internal/house"
)

const govulncheck = "golang.org/x/vuln/cmd/govulncheck@v1.9.0"

// findVulnerabilities runs govulncheck over the published modules. It returns an error if there are
// findings. If the database cannot be had it says so, and returns an error only if that is required.
func findVulnerabilities(database string, require bool) error {
	if err := reach(database); err != nil {
		err = fmt.Errorf("the vulnerability database cannot be had, nothing was checked: %w", err)
		if require {
			return err
		}
		fmt.Println("govulncheck:", err)
		return nil
	}
	return scan(database)
}

// reach returns an error unless the database answers.
func reach(database string) error {
	client := http.Client{Timeout: 15 * time.Second}
	response, err := client.Get(database + "/index/db.json")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", database, response.Status)
	}
	return nil
}

// scan runs govulncheck over the published modules alone: in go.work are others, whose requirements
// would change versions.
func scan(database string) error {
	tmp, err := os.MkdirTemp("", "govulncheck")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	install := exec.Command("go", "install", govulncheck)
	install.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOBIN="+tmp)
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("go install %s: %w: %s", govulncheck, err, out)
	}
	work := filepath.Join(tmp, "go.work")
	replaced := map[string]bool{}
	text := "go 1.26.0\n"
	args := []string{"-db", database}
	for _, dir := range published {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		text += fmt.Sprintf("use %q\n", abs)
		args = append(args, "./"+dir+"/...")
		// A version that is required is looked for, though the working tree takes its place.
		requirements, err := ownRequirements(".", dir)
		if err != nil {
			return err
		}
		for path, version := range requirements {
			at, err := filepath.Abs(strings.TrimPrefix(strings.TrimPrefix(path, house.Module), "/"))
			if err != nil {
				return err
			}
			replaced[fmt.Sprintf("replace %s %s => %q\n", path, version, at)] = true
		}
	}
	for line := range replaced {
		text += line
	}
	if err := os.WriteFile(work, []byte(text), 0o644); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(tmp, "govulncheck"), args...)
	cmd.Env = append(os.Environ(), "GOWORK="+work, "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("govulncheck: %w", err)
	}
	return nil
}
