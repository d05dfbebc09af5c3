package s3front

import (
	"io/fs"
	"testing"
)

// files returns the names of the files in a directory of the store.
func files(t *testing.T, d *disk, dir string) []string {
	t.Helper()
	entries, err := fs.ReadDir(d.root.FS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
