// Command release makes the modules of this repository resolve for those who import them. A module
// that is published has no replace directive: importers would not see it. In this repository go.work
// takes its place.
//
//	release VERSION   writes VERSION into all go.mod files, checks that the published modules
//	                  resolve and that the others build, commits, and tags each published module.
//	                  It pushes nothing.
//	release -check    publishes the working tree into a directory, under a version and under a
//	                  pseudo-version, uses each module from there as its importers would, and
//	                  builds the modules that are not published
//	release -tidy     runs go mod tidy in every module; with -diff it only reports what is untidy
//	release -list     prints the directories of the published modules
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const root = "github.com/kmsocsp/ocsp"

// published has the directories of the modules that are published, each after those that it requires.
var published = []string{".", "ocspfasthttp", "ocspotel", "ocspredis", "ocspsql", "ocspsql/pgfeed"}

// modulePath returns the path of the module in that directory.
func modulePath(dir string) string {
	if dir == "." {
		return root
	}
	return root + "/" + dir
}

func main() {
	check := flag.Bool("check", false, "check that the modules of the working tree resolve")
	tidy := flag.Bool("tidy", false, "tidy all modules")
	diff := flag.Bool("diff", false, "with -tidy: change nothing, fail if a module is not tidy")
	list := flag.Bool("list", false, "print the directories of the published modules")
	flag.Parse()
	var err error
	switch {
	case *tidy && flag.NArg() == 0:
		err = tidyAll(*diff)
	case *check && flag.NArg() == 0:
		err = checkAll()
	case *list && flag.NArg() == 0:
		fmt.Println(strings.Join(published, "\n"))
	case flag.NArg() == 1 && flag.NFlag() == 0:
		err = release(flag.Arg(0))
	default:
		err = errors.New("usage: release VERSION, release -check, release -tidy [-diff] or release -list")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// checkAll publishes the working tree under a version and under a pseudo-version, and tries both.
// The modules that are not published are built once: they find the others in the tree, by replace.
func checkAll() error {
	for i, version := range []string{"v0.99.0", "v0.99.1-0.20260102030405-0123456789ab"} {
		p, err := publish(version)
		if err != nil {
			return err
		}
		err = p.try()
		if err == nil && i == 0 {
			_, err = p.fit()
		}
		if err := errors.Join(err, p.remove()); err != nil {
			return err
		}
	}
	return nil
}

var versions = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)

// release commits and tags a version.
func release(version string) error {
	if !versions.MatchString(version) {
		return fmt.Errorf("%q is not a version: use one such as v0.1.0", version)
	}
	if changed, err := output("git", "status", "--porcelain"); err != nil {
		return err
	} else if changed != "" {
		return fmt.Errorf("the working tree has changes: commit them first\n%s", changed)
	}
	var tags []string
	for _, dir := range published {
		tag := strings.TrimPrefix(dir+"/"+version, "./")
		if _, err := output("git", "rev-parse", "-q", "--verify", "refs/tags/"+tag); err == nil {
			return fmt.Errorf("the tag %s exists", tag)
		}
		tags = append(tags, tag)
	}
	changelog, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		return err
	}
	if !bytes.Contains(changelog, []byte("\n## "+version)) {
		return fmt.Errorf("CHANGELOG.md has no heading %q: give the unreleased changes that one",
			"## "+version)
	}
	p, err := publish(version)
	if err != nil {
		return err
	}
	defer func() { _ = p.remove() }()
	if err := p.try(); err != nil {
		return err
	}
	if err := p.commit(tags); err != nil {
		return err
	}
	fmt.Printf("committed and tagged %s; to publish:\n\t%s\n", version,
		strings.Join(pushes(tags), "\n\t"))
	return nil
}

// commit writes the version into the go.mod files of the working tree, commits and tags.
func (p *publication) commit(tags []string) error {
	others, err := p.fit()
	if err != nil {
		return err
	}
	for _, dir := range slices.Concat(published, others) {
		for _, name := range []string{"go.mod", "go.sum"} {
			file := filepath.Join(dir, name)
			data, err := os.ReadFile(filepath.Join(p.tree, file))
			if err == nil {
				err = os.WriteFile(file, data, 0o644)
			}
			if err != nil {
				return err
			}
		}
	}
	if changed, err := output("git", "status", "--porcelain"); err != nil {
		return err
	} else if changed != "" {
		if _, err := output("git", "commit", "-qam", "release: "+p.version); err != nil {
			return err
		}
	}
	for _, tag := range tags {
		if _, err := output("git", "tag", "-a", "-m", tag, tag); err != nil {
			return err
		}
	}
	return nil
}

// pushes returns the commands that push the tags. The root module's goes last and alone: it starts
// the release workflow, which looks for the others. GitHub starts no workflow for tags of which more
// than three are pushed at once.
func pushes(tags []string) []string {
	return []string{
		"git push --atomic origin HEAD " + strings.Join(tags[1:], " "),
		"git push origin " + tags[0],
	}
}
