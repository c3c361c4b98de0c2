package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/kmsocsp/ocsp/internal/house"
)

// program is what is built for a release.
const program = "./cmd/ocspcheck"

// buildAll writes ocspcheck for all platforms, the notices of what it is linked with, and checksums.
func buildAll(out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, p := range platforms {
		file := filepath.Join(out, "ocspcheck-"+p.os+"-"+p.arch)
		if p.os == "windows" {
			file += ".exe"
		}
		if err := build(".", file, p.env()...); err != nil {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), filepath.Base(file))
	}
	text, err := notices(".")
	if err == nil {
		err = os.WriteFile(filepath.Join(out, "NOTICES.txt"), []byte(text), 0o644)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(sums.String()), 0o644)
	}
	fmt.Print(sums.String())
	return err
}

// build builds ocspcheck from the tree in root. The same source and the same version of Go give the
// same file: it has no paths, no time, no C and nothing of the version control.
func build(root, file string, env ...string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", file, program)
	cmd.Dir = root
	cmd.Env = append(append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}

// reproduce builds ocspcheck here, and again from a copy in another folder, with a module cache and
// a build cache of its own, and compares the files. What it is linked with must be in the bill of
// materials.
func reproduce() error {
	tmp, err := os.MkdirTemp("", "reproduce")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	first, second := filepath.Join(tmp, "1"), filepath.Join(tmp, "2")
	if err := build(".", first); err != nil {
		return err
	}
	cache, err := house.Go(".", "env", "GOMODCACHE")
	if err != nil {
		return err
	}
	proxy := "file://" + filepath.ToSlash(strings.TrimSpace(string(cache))) + "/cache/download"
	if runtime.GOOS == "windows" {
		proxy = strings.Replace(proxy, "file://", "file:///", 1)
	}
	tree := filepath.Join(tmp, "another", "folder")
	if err := copyTracked(".", tree); err != nil {
		return err
	}
	err = build(tree, second, "GOPATH="+filepath.Join(tmp, "gopath"), "GOMODCACHE=",
		"GOCACHE="+filepath.Join(tmp, "gocache"), "GOPROXY="+proxy, "GONOSUMDB=*", "GOFLAGS=-modcacherw")
	if err != nil {
		return err
	}
	if err := same(first, second); err != nil {
		return err
	}
	return inBill(first)
}

// copyTracked copies the files of the root module that git knows, as they are in the working tree.
func copyTracked(from, to string) error {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard",
		"--", "*.go", "go.mod", "go.sum", "*/testdata/*")
	cmd.Dir = from
	list, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for _, file := range strings.Split(strings.Trim(string(list), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join(from, file))
		if os.IsNotExist(err) {
			continue // removed, and not yet committed
		}
		target := filepath.Join(to, file)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(target), 0o755)
		}
		if err == nil {
			err = os.WriteFile(target, data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// same returns an error unless two files are equal.
func same(first, second string) error {
	a, err := os.ReadFile(first)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(second)
	if err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		at := 0
		for at < min(len(a), len(b)) && a[at] == b[at] {
			at++
		}
		return fmt.Errorf("two builds of ocspcheck differ: %d and %d octets, equal up to %d",
			len(a), len(b), at)
	}
	fmt.Printf("two builds of ocspcheck in two folders are equal: %x\n", sha256.Sum256(a))
	return nil
}

// inBill checks that the modules which a program names as its own are in the bill of materials of
// the root module.
func inBill(file string) error {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return err
	}
	bill, err := newBOM(".", ".", "v0.0.0")
	if err != nil {
		return err
	}
	for _, m := range info.Deps {
		if !slices.ContainsFunc(bill.Components, func(c bomComponent) bool {
			return c.Name == m.Path && c.Version == m.Version && c.Properties[0].Value == m.Sum
		}) {
			return fmt.Errorf("ocspcheck is linked with %s %s, which is not in the bill of materials",
				m.Path, m.Version)
		}
	}
	return nil
}

// notices returns the texts of the licences of what ocspcheck is linked with, and Go's own.
func notices(root string) (string, error) {
	v, err := newView(root, ".")
	if err != nil {
		return "", err
	}
	defer v.close()
	all, err := v.components(program)
	if err != nil {
		return "", err
	}
	goroot, err := house.Go(root, "env", "GOROOT")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	add := func(title, file string) error {
		text, err := os.ReadFile(file)
		fmt.Fprintf(&b, "== %s\n\n%s\n", title, bytes.TrimSpace(text))
		return err
	}
	for _, c := range sorted(all) {
		l, err := licenseOf(c)
		if err != nil {
			return "", err
		}
		for _, file := range l.files {
			err := add(strings.TrimSpace(c.path+" "+c.version)+", "+file, filepath.Join(c.dir, file))
			if err != nil {
				return "", err
			}
			b.WriteString("\n")
		}
	}
	err = add("Go "+runtime.Version(), filepath.Join(strings.TrimSpace(string(goroot)), "LICENSE"))
	return b.String(), err
}
