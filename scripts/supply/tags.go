package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kmsocsp/ocsp/internal/house"
)

// checkTags returns an error unless each published module has the tag of a version on the commit
// that is checked out, and requires the others in that version.
func checkTags(root, version string) error {
	head, err := revision(root, "HEAD")
	if err != nil {
		return err
	}
	for _, dir := range published {
		tag := strings.TrimPrefix(dir+"/"+version, "./")
		commit, err := revision(root, "refs/tags/"+tag+"^{commit}")
		if err != nil {
			return err
		}
		if commit != head {
			return fmt.Errorf("the tag %s is on another commit than the one that is checked out", tag)
		}
		requirements, err := ownRequirements(root, dir)
		if err != nil {
			return err
		}
		for path, required := range requirements {
			if required != version {
				return fmt.Errorf("%s requires %s %s, and not %s", modulePath(dir), path, required, version)
			}
		}
	}
	return nil
}

// revision returns the commit that a name of git means.
func revision(root, name string) (string, error) {
	cmd := exec.Command("git", "rev-parse", "--verify", "-q", name)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git has no %s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// ownRequirements returns the versions in which a published module requires others of this
// repository. It must not replace them.
func ownRequirements(root, dir string) (map[string]string, error) {
	out, err := house.Go(filepath.Join(root, dir), "mod", "edit", "-json")
	if err != nil {
		return nil, err
	}
	var mod struct {
		Require []struct{ Path, Version string }
		Replace []struct{ Old struct{ Path string } }
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		return nil, err
	}
	if len(mod.Replace) > 0 {
		return nil, fmt.Errorf("%s replaces %s", modulePath(dir), mod.Replace[0].Old.Path)
	}
	versions := map[string]string{}
	for _, r := range mod.Require {
		if own(r.Path) {
			versions[r.Path] = r.Version
		}
	}
	return versions, nil
}
