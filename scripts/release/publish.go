package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// publication is the published modules in a directory that has the form of a module proxy.
type publication struct {
	version string
	work    string // has the rest
	tree    string // a copy of the working tree, whose go.mod files require version
	proxy   string
}

// publish copies the working tree and publishes each module under that version.
func publish(version string) (_ *publication, err error) {
	work, err := os.MkdirTemp("", "release")
	if err != nil {
		return nil, err
	}
	p := &publication{
		version: version, work: work, tree: filepath.Join(work, "tree"),
		proxy: filepath.Join(work, "proxy"),
	}
	defer func() {
		if err != nil {
			_ = p.remove()
		}
	}()
	if err := copyTree(p.tree); err != nil {
		return nil, err
	}
	for _, dir := range published {
		if err := p.add(dir); err != nil {
			return nil, fmt.Errorf("%s: %w", modulePath(dir), err)
		}
	}
	return p, nil
}

// remove deletes the publication.
func (p *publication) remove() error { return os.RemoveAll(p.work) }

// copyTree copies the files that git tracks, or would.
func copyTree(to string) error {
	files, err := output("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return err
	}
	for file := range strings.SplitSeq(strings.TrimRight(files, "\x00"), "\x00") {
		data, err := os.ReadFile(file)
		if os.IsNotExist(err) { // deleted, and not committed
			continue
		}
		if err != nil {
			return err
		}
		target := filepath.Join(to, file)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// add publishes the module in that directory of the tree. The modules that it requires must have
// been published.
func (p *publication) add(dir string) error {
	module := filepath.Join(p.tree, dir)
	_, replaces, err := goMod(module)
	if err != nil {
		return err
	}
	if replaces > 0 {
		return fmt.Errorf("go.mod has a replace directive, which importers do not see: " +
			"remove it, since go.work replaces it here")
	}
	if _, err := p.require(module); err != nil {
		return err
	}
	if err := p.run(module, "mod", "tidy"); err != nil {
		return err
	}
	at := filepath.Join(p.proxy, filepath.FromSlash(modulePath(dir)), "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	mod, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		return err
	}
	archive, err := p.archive(dir)
	if err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": p.version, "Time": time.Now().UTC()})
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"list": []byte(p.version + "\n"), p.version + ".info": info,
		p.version + ".mod": mod, p.version + ".zip": archive,
	} {
		if err := os.WriteFile(filepath.Join(at, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// require makes the module in a folder require the version of those that are published, and reports
// whether it requires any.
func (p *publication) require(module string) (any bool, err error) {
	requires, _, err := goMod(module)
	edit := []string{"mod", "edit"}
	for _, other := range published {
		if slices.Contains(requires, modulePath(other)) {
			edit = append(edit, "-require="+modulePath(other)+"@"+p.version)
		}
	}
	if err != nil || len(edit) == 2 {
		return false, err
	}
	return true, p.run(module, edit...)
}

// fit makes the modules of the tree that are not published require the version, tidies and builds
// them, and returns their directories. What they replace requires the version too, so that the go
// command builds them only once they name it.
func (p *publication) fit() (dirs []string, err error) {
	err = filepath.WalkDir(p.tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "go.mod" {
			return err
		}
		module := filepath.Dir(path)
		dir, err := filepath.Rel(p.tree, module)
		if err != nil || slices.Contains(published, filepath.ToSlash(dir)) {
			return err
		}
		if fits, err := p.require(module); err != nil || !fits {
			return err
		}
		for _, args := range [][]string{{"mod", "tidy"}, {"build", "-o", os.DevNull, "./..."}} {
			// They replace all that is published here: the machine's own caches have the rest.
			cmd := exec.Command("go", args...)
			cmd.Dir, cmd.Env = module, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: go %s: %w\n%s", dir, strings.Join(args, " "), err, out)
			}
		}
		dirs = append(dirs, dir)
		return nil
	})
	return dirs, err
}

// goMod returns what the go.mod file of a directory requires, and how many replace directives it
// has.
func goMod(dir string) (requires []string, replaces int, err error) {
	var mod struct {
		Require []struct{ Path string }
		Replace []any
	}
	text, err := output("go", "mod", "edit", "-json", filepath.Join(dir, "go.mod"))
	if err == nil {
		err = json.Unmarshal([]byte(text), &mod)
	}
	for _, r := range mod.Require {
		requires = append(requires, r.Path)
	}
	return requires, len(mod.Replace), err
}

// archive returns a module as a zip file, which has the files of its directory except for those of
// other modules.
func (p *publication) archive(dir string) ([]byte, error) {
	module := filepath.Join(p.tree, dir)
	if _, err := os.Stat(filepath.Join(module, "LICENSE")); err != nil {
		return nil, fmt.Errorf("the module has no licence of its own: %w", err)
	}
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	prefix := modulePath(dir) + "@" + p.version + "/"
	err := filepath.WalkDir(module, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != module {
				return fs.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(module, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := w.Create(prefix + filepath.ToSlash(name))
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = w.Close()
	return buf.Bytes(), err
}

// run runs the go command in a directory, as a machine does that knows the modules from the
// publication alone. Other modules come from the machine's cache if they are there.
func (p *publication) run(dir string, args ...string) error {
	cache, err := output("go", "env", "GOMODCACHE")
	if err != nil {
		return err
	}
	proxy, err := output("go", "env", "GOPROXY")
	if err != nil {
		return err
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-modcacherw -trimpath", "GOSUMDB=off",
		"GOMODCACHE="+filepath.Join(p.work, "cache"), "GOBIN="+filepath.Join(p.work, "bin"),
		"GOPROXY="+fileURL(p.proxy)+","+fileURL(filepath.Join(cache, "cache", "download"))+","+proxy)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func fileURL(path string) string { return "file://" + filepath.ToSlash(path) }

// output returns what a command prints, without the space around it.
func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	if exit, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}
