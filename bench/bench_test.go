package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	static := &process{peer: peer{name: "static"}, costs: []float64{10, 20, 10}, latency: []float64{1, 2, 3}}
	other := &process{peer: peer{name: "other"}, costs: []float64{20, 20, 15}, latency: []float64{4, 4}}
	got := table([]*process{static, other})
	for _, want := range []string{"| static | 1.00 | 1.00 | 1.00 | 10.0 | 2 |", "| other | 1.50 | 1.00 | 2.00 | 20.0 | 4 |"} {
		if !strings.Contains(got, want) {
			t.Errorf("the table lacks %s:\n%s", want, got)
		}
	}
}

func TestWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.md")
	for _, test := range []struct{ before, after string }{
		{"a\n" + beginMark + "old" + endMark + "\nb", "a\n" + beginMark + "\n\nnew\n" + endMark + "\nb"},
		{"no marks", ""},
	} {
		if err := os.WriteFile(file, []byte(test.before), 0o600); err != nil {
			t.Fatal(err)
		}
		err := write(file, "new")
		if (err != nil) != (test.after == "") {
			t.Error(err)
		}
		if got, _ := os.ReadFile(file); test.after != "" && string(got) != test.after {
			t.Errorf("%q, want %q", got, test.after)
		}
	}
}

// Each responder answers good.
func TestPeers(t *testing.T) {
	for _, peer := range peers {
		p, err := start(t.Context(), peer, t.TempDir())
		if err != nil {
			t.Fatalf("%s: %v", peer.name, err)
		}
		if err := p.cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = p.cmd.Wait() // killed
	}
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-serve" {
		main()
		return
	}
	os.Exit(m.Run())
}
