package consumer

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	notInSlug = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
)

// Links between the documents lead to files and headings that exist.
func TestLinks(t *testing.T) {
	t.Chdir("../..")
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md", "examples/*/*.md"} {
		found, err := filepath.Glob(pattern)
		check(t, err)
		files = append(files, found...)
	}
	links := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(t, err)
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			links++
			path, anchor, _ := strings.Cut(match[1], "#")
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s leads nowhere", file, match[1])
			} else if anchor != "" && strings.HasSuffix(target, ".md") && !headings(t, target)[anchor] {
				t.Errorf("%s: %s has no such heading", file, match[1])
			}
		}
	}
	if links < 80 {
		t.Errorf("%d links in %d files: too few", links, len(files))
	}
}

// headings returns the anchors of a file's headings, as they are made on GitHub.
func headings(t *testing.T, file string) map[string]bool {
	text, err := os.ReadFile(file)
	check(t, err)
	anchors, code := map[string]bool{}, false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if title := strings.TrimLeft(line, "#"); title != line && !code {
			slug := notInSlug.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			anchors[strings.ReplaceAll(slug, " ", "-")] = true
		}
	}
	return anchors
}
