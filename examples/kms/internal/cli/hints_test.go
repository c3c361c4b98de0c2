package cli

import "testing"

func TestShellQuote(t *testing.T) {
	for path, want := range map[string]string{".kms/ca.pem": ".kms/ca.pem", "a b": "'a b'", "it's": `'it'\''s'`} {
		if got := shellQuote(path); got != want {
			t.Errorf("%s becomes %s, want %s", path, got, want)
		}
	}
}
