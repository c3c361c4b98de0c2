package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"testing"
)

// TestTable checks that each fault can be planted.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	for i := range faults {
		f := &faults[i]
		if names[f.name] {
			t.Errorf("two faults are named %q", f.name)
		}
		names[f.name] = true
		text, err := os.ReadFile(filepath.Join("..", "..", f.file))
		if err != nil {
			t.Fatal(err)
		}
		changed, err := f.plant(string(text))
		if err != nil || changed == string(text) {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), f.file, changed, 0); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
	if len(names) < 30 {
		t.Errorf("%d faults, want 30", len(names))
	}
}
