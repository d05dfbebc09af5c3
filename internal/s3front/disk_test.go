package s3front

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rclone/gofakes3"
	"pgregory.net/rapid"
)

func open(t *testing.T, dir string) *disk {
	t.Helper()
	d, err := openDisk(dir, time.Now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.close() })
	return d
}

// store puts an object into the bucket demo.
func store(t *testing.T, d *disk, key, body string) {
	t.Helper()
	_, err := d.PutObject(context.Background(), "demo", key, nil, strings.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
}

// TestListBucket compares pages of listings with what S3's documentation says a listing is, over small keys in which everything
// that matters happens often.
func TestListBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOfN(rapid.RuneFrom([]rune("ab/-")), 0, 4, -1)
		b := &bucket{Name: "demo", objects: make(map[string]*object)}
		for _, key := range rapid.SliceOfN(word.Filter(func(s string) bool { return s != "" }), 0, 20).Draw(t, "keys") {
			b.set(&object{Key: key})
		}
		d := &disk{buckets: map[string]*bucket{"demo": b}}
		prefix := word.Draw(t, "prefix")
		delimiter := rapid.SampledFrom([]string{"", "/", "-", "b/"}).Draw(t, "delimiter")
		size := rapid.Int64Range(1, 4).Draw(t, "page size")

		var want []string
		for _, key := range slices.Sorted(slices.Values(b.keys)) {
			rest, ok := strings.CutPrefix(key, prefix)
			if !ok {
				continue
			}
			entry := "key " + key
			if before, _, ok := strings.Cut(rest, delimiter); ok && delimiter != "" {
				entry = "prefix " + prefix + before + delimiter
			}
			if !slices.Contains(want, entry) {
				want = append(want, entry)
			}
		}
		var got []string
		page := gofakes3.ListBucketPage{MaxKeys: size}
		for more := true; more; {
			out, err := d.ListBucket(context.Background(), "demo", &gofakes3.Prefix{Prefix: prefix, Delimiter: delimiter}, page)
			if err != nil {
				t.Fatal(err)
			}
			n := len(got)
			for _, c := range out.Contents {
				got = append(got, "key "+c.Key)
			}
			for _, p := range out.CommonPrefixes {
				got = append(got, "prefix "+p.Prefix)
			}
			more = out.IsTruncated
			if more != (out.NextMarker != "") || more && int64(len(got)-n) != size {
				t.Fatalf("page of %d entries: truncated %v, next marker %q", len(got)-n, out.IsTruncated, out.NextMarker)
			}
			page.Marker, page.HasMarker = out.NextMarker, true
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestCrash opens what is left when the process ends between any two steps.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	if err := d.CreateBucket(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	store(t, d, "k", "kept")
	write := func(name string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("tmp/half-written")
	write("buckets/demo/bodies/nobody-names-it")
	write("buckets/half-made/bodies/x")

	d = open(t, dir)
	if got := files(t, d, "tmp"); len(got) != 0 {
		t.Errorf("left in tmp: %q", got)
	}
	if got := files(t, d, "buckets"); !slices.Equal(got, []string{"demo"}) {
		t.Errorf("got buckets %q, want demo", got)
	}
	if got := files(t, d, "buckets/demo/bodies"); len(got) != 1 {
		t.Errorf("got bodies %q, want one", got)
	}
	o, err := d.GetObject(t.Context(), "demo", "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Contents.Close()
	if body, err := io.ReadAll(o.Contents); string(body) != "kept" {
		t.Errorf("got %q, %v; want kept", body, err)
	}
}

// TestDamage makes sure that files which are not ours or not whole are not taken for an empty store.
func TestDamage(t *testing.T) {
	write := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	for _, test := range []struct {
		name, file string
		damage     func(path string) error
	}{
		{"no bucket", "bucket.json", os.Remove},
		{"other bucket", "bucket.json", write(`{"v":1,"name":"other"}`)},
		{"bucket of a later program", "bucket.json", write(`{"v":2,"name":"demo"}`)},
		{"not JSON", "keys/*.json", write(`{"v":1`)},
		{"object of a later program", "keys/*.json", write(`{"v":2,"key":"k","body":"."}`)},
		{"other object", "keys/*.json", write(`{"v":1,"key":"other","body":"."}`)},
		{"no body", "bodies/*", os.Remove},
		{"half a body", "bodies/*", func(path string) error { return os.Truncate(path, 1) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			d := open(t, dir)
			if err := d.CreateBucket(t.Context(), "demo"); err != nil {
				t.Fatal(err)
			}
			store(t, d, "k", "body")
			paths, err := filepath.Glob(filepath.Join(dir, "buckets/demo", test.file))
			if err != nil || len(paths) != 1 {
				t.Fatalf("got %q, %v; want one file", paths, err)
			}
			if err := test.damage(paths[0]); err != nil {
				t.Fatal(err)
			}
			if _, err := openDisk(dir, time.Now, rand.Reader); err == nil || !strings.Contains(err.Error(), "demo") {
				t.Errorf("got %v, want an error that names the bucket", err)
			}
		})
	}
}

func TestFailedWrite(t *testing.T) {
	d := open(t, t.TempDir())
	if err := d.CreateBucket(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	store(t, d, "k", "old")
	broken := errors.New("connection lost")
	for name, body := range map[string]io.Reader{
		"reader fails": io.MultiReader(strings.NewReader("ne"), failing{broken}),
		"too short":    strings.NewReader("ne"),
		"too long":     strings.NewReader("newer"),
	} {
		if _, err := d.PutObject(t.Context(), "demo", "k", nil, body, 3); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if got := files(t, d, "tmp"); len(got) != 0 {
		t.Errorf("left in tmp: %q", got)
	}
	o, err := d.HeadObject(t.Context(), "demo", "k")
	if err != nil || o.Size != 3 || fmt.Sprintf("%x", o.Hash) != "149603e6c03516362a8da23f624db945" {
		t.Errorf("got %v, %v; want the old object", o, err)
	}
	for _, name := range []string{"..", "../x", "a/b", "", "UPPER", "..."} {
		if err := d.CreateBucket(t.Context(), name); err == nil {
			t.Errorf("bucket %q was made", name)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestConcurrentWrites has many write and read one key. A reader sees one of the bodies, whole.
func TestConcurrentWrites(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	if err := d.CreateBucket(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	store(t, d, "k", strings.Repeat("0", 1000))
	var wg sync.WaitGroup
	for i := range 8 {
		body := bytes.Repeat([]byte{byte('0' + i)}, 1000)
		wg.Go(func() {
			for range 5 {
				if _, err := d.PutObject(context.Background(), "demo", "k", nil, bytes.NewReader(body), 1000); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				o, err := d.GetObject(context.Background(), "demo", "k", nil)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(o.Contents)
				o.Contents.Close()
				if err != nil || len(got) != 1000 || len(bytes.Trim(got, string(got[:1]))) != 0 {
					t.Errorf("got %d bytes, %v; want one body whole", len(got), err)
				}
			}
		})
	}
	wg.Wait()
	if got := files(t, d, "buckets/demo/bodies"); len(got) != 1 {
		t.Errorf("got %d bodies, want 1", len(got))
	}
	open(t, dir)
}
