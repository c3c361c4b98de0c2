package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"time"
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
	var found []error
	for _, dir := range published {
		fmt.Println("govulncheck:", modulePath(dir))
		found = append(found, check(dir, database))
	}
	return errors.Join(found...)
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

// check runs govulncheck in the module in a directory.
func check(dir, database string) error {
	v, err := newView(".", dir)
	if err != nil {
		return err
	}
	defer v.close()
	cmd := exec.Command("go", "run", govulncheck, "-db", database, "./...")
	cmd.Dir, cmd.Env = v.dir, v.env()
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: govulncheck: %w", modulePath(dir), err)
	}
	return nil
}
