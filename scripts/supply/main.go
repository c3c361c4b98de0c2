// Command supply says what the published modules and ocspcheck are made of. It runs in the root
// folder of the tree.
//
//	supply sbom -version v0.1.0    writes CycloneDX bills of materials, also of ocspd, to dist/
//	supply build                   builds ocspcheck for all platforms, with checksums, into dist/
//	supply reproduce               builds ocspcheck twice, in two folders, and compares
//	supply licenses                writes docs/LICENSES.md
//	supply outdated                lists the direct dependencies that are behind, in all modules
//	supply vulns                   runs govulncheck if its database can be had
//	supply tags -version v0.1.0    checks that HEAD is that version of every module
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

const usage = "usage: supply sbom|build|reproduce|licenses|outdated|vulns|tags [flags]"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "supply:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	out := flags.String("out", "dist", "the `DIRECTORY` that files are written to")
	version := flags.String("version", "v0.0.0", "the `VERSION` of the published modules")
	database := flags.String("db", "https://vuln.go.dev", "the `URL` of the vulnerability database")
	require := flags.Bool("require", false, "fail if the vulnerability database cannot be had")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return errors.New(usage)
	}
	switch args[0] {
	case "sbom":
		return writeBOMs(*out, *version)
	case "build":
		return buildAll(*out)
	case "reproduce":
		return reproduce()
	case "licenses":
		return writeLicenses()
	case "outdated":
		return listOutdated()
	case "vulns":
		return findVulnerabilities(*database, *require)
	case "tags":
		return checkTags(".", *version)
	}
	return errors.New(usage)
}
