package internal_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDecisionsAreWordedOnce wants what is said about a decision to come from package policy: elsewhere the same denial would soon be
// told in other words. The demonstration quotes what it expects.
func TestDecisionsAreWordedOnce(t *testing.T) {
	words := []string{"not authorized to perform: ", "explicit deny in", `"because no `, "based policy allows"}
	found := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(strings.TrimSpace(line), "//") {
				continue
			}
			for _, w := range words {
				if strings.Contains(line, w) {
					found[filepath.ToSlash(path)] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !found["../internal/policy/text.go"] {
		t.Error("the words are not where they belong")
	}
	for path := range found {
		if !strings.HasSuffix(path, "policy/text.go") && !strings.Contains(path, "/demo/") {
			t.Errorf("%s words a decision", path)
		}
	}
}
