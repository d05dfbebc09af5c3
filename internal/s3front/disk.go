package s3front

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/rclone/gofakes3"

	"github.com/podid/podid/internal/policy"
)

// disk keeps buckets and objects in a directory. It implements [gofakes3.Backend], and with it tagging and multipart uploads.
//
//	tmp/                                    what is being written, parts of uploads; emptied at start
//	buckets/<bucket>/bucket.json            the bucket, with its policy
//	buckets/<bucket>/keys/<sha256>.json     an object: its key, metadata, and which body it has
//	buckets/<bucket>/bodies/<random>        the bytes of an object
//
// File names are never made from keys, so no key can lead out of the directory. An object appears, changes and disappears with
// the rename or removal of its one JSON file, written after its body is safely on the disk: a crash leaves the old object or the
// new one, never half of one, and at most a body that nothing names, which the next start removes.
// All JSON files are held in memory too; what is read from the disk later is bodies only.
type disk struct {
	root   *os.Root
	now    func() time.Time
	random io.Reader

	mu      sync.RWMutex // guards what follows, and the files named by it
	buckets map[string]*bucket
	uploads map[gofakes3.UploadID]*upload
}

// schema is the number of the form of the JSON files. Files with another one are not read but refused.
const schema = 1

type bucket struct {
	Schema    int       `json:"v"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"createdAt"`
	Policy    string    `json:"policy,omitempty"` // as it was put; empty if there is none

	// PolicyIDs are the unique ids of the users and roles that the policy names, by their ARNs in it, as they were when it was put.
	PolicyIDs map[string]string `json:"policyIds,omitempty"`

	keys      []string // of objects, sorted
	objects   map[string]*object
	compiled  *policy.Named // Policy
	policyErr error         // the stored policy does not compile: nothing can be decided about the bucket, and asking is a fault
}

// object is what is known of an object besides its bytes. It is never changed, only replaced.
type object struct {
	Schema    int               `json:"v"`
	Key       string            `json:"key"`
	Body      string            `json:"body"` // the name of the file in bodies
	Size      int64             `json:"size"`
	MD5       []byte            `json:"md5"` // also the ETag
	ChangedAt time.Time         `json:"changedAt"`
	Metadata  map[string]string `json:"metadata"` // response headers, and the tags
}

func (b *bucket) dir() string { return path.Join("buckets", b.Name) }

func (b *bucket) body(name string) string { return path.Join(b.dir(), "bodies", name) }

func (b *bucket) record(key string) string {
	sum := sha256.Sum256([]byte(key))
	return path.Join(b.dir(), "keys", hex.EncodeToString(sum[:])+".json")
}

// set puts o into the index and returns the object that had its key before, or nil.
func (b *bucket) set(o *object) (old *object) {
	old = b.objects[o.Key]
	b.objects[o.Key] = o
	if old == nil {
		i, _ := slices.BinarySearch(b.keys, o.Key)
		b.keys = slices.Insert(b.keys, i, o.Key)
	}
	return old
}

func (b *bucket) unset(key string) {
	if i, found := slices.BinarySearch(b.keys, key); found {
		b.keys = slices.Delete(b.keys, i, i+1)
		delete(b.objects, key)
	}
}

// openDisk opens the store in dir, which is made if it is not there. No other process may have it open.
func openDisk(dir string, now func() time.Time, random io.Reader) (_ *disk, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the S3 directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the S3 directory: %w", err)
	}
	defer func() {
		if err != nil {
			root.Close()
		}
	}()
	d := &disk{
		root: root, now: now, random: random,
		buckets: make(map[string]*bucket), uploads: make(map[gofakes3.UploadID]*upload),
	}
	if err := root.RemoveAll("tmp"); err != nil {
		return nil, fmt.Errorf("removing what was left half-written: %w", err)
	}
	for _, name := range []string{"tmp", "buckets"} {
		if err := root.MkdirAll(name, 0o700); err != nil {
			return nil, fmt.Errorf("making the S3 directory: %w", err)
		}
	}
	entries, err := fs.ReadDir(root.FS(), "buckets")
	if err != nil {
		return nil, fmt.Errorf("reading the buckets: %w", err)
	}
	for _, e := range entries {
		if err := d.load(e.Name()); err != nil {
			return nil, fmt.Errorf("reading bucket %s: %w", e.Name(), err)
		}
	}
	return d, nil
}

// load reads a bucket's files into memory.
func (d *disk) load(name string) error {
	b := &bucket{objects: make(map[string]*object)}
	dir := path.Join("buckets", name)
	records, err := fs.Glob(d.root.FS(), path.Join(dir, "keys", "*.json"))
	if err != nil {
		return err
	}
	err = d.readJSON(path.Join(dir, "bucket.json"), b)
	if errors.Is(err, fs.ErrNotExist) && len(records) == 0 {
		return d.root.RemoveAll(dir) // its making or its removal was cut short
	}
	if err != nil {
		return err
	}
	if b.Schema != schema || b.Name != name {
		return fmt.Errorf("bucket.json has schema %d and name %q; this program reads schema %d", b.Schema, b.Name, schema)
	}
	bodies := make(map[string]bool, len(records))
	for _, file := range records {
		var o object
		if err := d.readJSON(file, &o); err != nil {
			return err
		}
		if o.Schema != schema || b.record(o.Key) != file {
			return fmt.Errorf("%s has schema %d and is not in its place; this program reads schema %d", file, o.Schema, schema)
		}
		info, err := d.root.Stat(b.body(o.Body))
		if err != nil {
			return err
		}
		if info.Size() != o.Size {
			return fmt.Errorf("the body of %s has %d bytes, want %d", file, info.Size(), o.Size)
		}
		b.objects[o.Key] = &o
		b.keys = append(b.keys, o.Key)
		bodies[o.Body] = true
	}
	slices.Sort(b.keys)
	if b.Policy != "" {
		b.compiled, b.policyErr = compilePolicy(b)
	}
	d.buckets[name] = b
	return d.removeOrphans(b, bodies)
}

// removeOrphans removes the bodies that no object names.
func (d *disk) removeOrphans(b *bucket, named map[string]bool) error {
	entries, err := fs.ReadDir(d.root.FS(), path.Join(b.dir(), "bodies"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !named[e.Name()] {
			if err := d.root.Remove(b.body(e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *disk) close() error { return d.root.Close() }

// ListBuckets implements [gofakes3.Backend].
func (d *disk) ListBuckets(context.Context) ([]gofakes3.BucketInfo, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	infos := make([]gofakes3.BucketInfo, 0, len(d.buckets))
	for _, b := range d.buckets {
		infos = append(infos, gofakes3.BucketInfo{Name: b.Name, CreationDate: gofakes3.NewContentTime(b.CreatedAt)})
	}
	return infos, nil
}

// BucketExists implements [gofakes3.Backend].
func (d *disk) BucketExists(_ context.Context, name string) (bool, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.buckets[name] != nil, nil
}

// CreateBucket implements [gofakes3.Backend].
func (d *disk) CreateBucket(_ context.Context, name string) error {
	if err := gofakes3.ValidateBucketName(name); err != nil {
		return err // the name becomes a directory: it is checked here whoever calls
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.buckets[name] != nil {
		return gofakes3.ResourceError(gofakes3.ErrBucketAlreadyExists, name)
	}
	b := &bucket{Schema: schema, Name: name, CreatedAt: d.now().UTC(), objects: make(map[string]*object)}
	for _, sub := range []string{"keys", "bodies"} {
		if err := d.root.MkdirAll(path.Join(b.dir(), sub), 0o700); err != nil {
			return fmt.Errorf("making bucket %s: %w", name, err)
		}
	}
	if err := d.writeJSON(path.Join(b.dir(), "bucket.json"), b); err != nil {
		return fmt.Errorf("making bucket %s: %w", name, err)
	}
	if err := d.syncDir("buckets"); err != nil {
		return fmt.Errorf("making bucket %s: %w", name, err)
	}
	d.buckets[name] = b
	return nil
}

// DeleteBucket implements [gofakes3.Backend].
func (d *disk) DeleteBucket(_ context.Context, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.buckets[name]
	if b == nil {
		return gofakes3.BucketNotFound(name)
	}
	if len(b.keys) > 0 {
		return gofakes3.ResourceError(gofakes3.ErrBucketNotEmpty, name)
	}
	// Without bucket.json it is no bucket any more, should the rest stay behind.
	if err := d.remove(path.Join(b.dir(), "bucket.json")); err != nil {
		return fmt.Errorf("removing bucket %s: %w", name, err)
	}
	delete(d.buckets, name)
	if err := d.root.RemoveAll(b.dir()); err != nil {
		return fmt.Errorf("removing bucket %s: %w", name, err)
	}
	return nil
}

func (d *disk) readJSON(name string, v any) error {
	data, err := d.root.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}

// writeJSON writes a file that is there whole or not at all.
func (d *disk) writeJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp, err := d.create(func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return err
	}
	return d.move(tmp, name)
}

// create makes a new file in tmp with what write gives, and returns its name there when all of it is on the disk.
// An error of write is returned as it is.
func (d *disk) create(write func(io.Writer) error) (name string, err error) {
	name, err = d.newName()
	if err != nil {
		return "", err
	}
	f, err := d.root.OpenFile(path.Join("tmp", name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		d.discard(name)
		return "", err
	}
	return name, nil
}

// newName returns a name that no other file has.
func (d *disk) newName() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(d.random, b[:]); err != nil {
		return "", fmt.Errorf("naming a file: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// move gives a file of tmp its place, for good: the directory is synced too.
func (d *disk) move(tmp, name string) error {
	if err := d.root.Rename(path.Join("tmp", tmp), name); err != nil {
		d.discard(tmp)
		return err
	}
	return d.syncDir(path.Dir(name))
}

// discard removes a file of tmp. What cannot be removed now goes at the next start.
func (d *disk) discard(tmp string) { _ = d.root.Remove(path.Join("tmp", tmp)) }

// remove removes a file for good.
func (d *disk) remove(name string) error {
	if err := d.root.Remove(name); err != nil {
		return err
	}
	return d.syncDir(path.Dir(name))
}

func (d *disk) syncDir(name string) error {
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
