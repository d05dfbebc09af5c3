package s3front

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"strings"

	"github.com/rclone/gofakes3"
)

// checksumHeader begins the names under which the metadata holds checksums of the body.
const checksumHeader = "X-Amz-Checksum-"

// nvme is the table of CRC-64/NVME, the checksum that S3 gives an object whose sender gave none. See
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html.
var nvme = crc64.MakeTable(0x9a6c9329ac4bc9b5)

// GetObject implements [gofakes3.Backend].
func (d *disk) GetObject(_ context.Context, bucketName, key string, wanted *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	d.mu.RLock()
	defer d.mu.RUnlock() // held until the body is open: after that its removal does not matter
	b, o, err := d.findLocked(bucketName, key)
	if err != nil {
		return nil, err
	}
	part, err := wanted.Range(o.Size)
	if err != nil {
		return nil, err
	}
	f, err := d.root.Open(b.body(o.Body))
	if err != nil {
		return nil, fmt.Errorf("opening the body of %s/%s: %w", bucketName, key, err)
	}
	out := o.answer(f)
	if part != nil {
		out.Range = part
		out.Contents = section{io.NewSectionReader(f, part.Start, part.Length), f}
	}
	return out, nil
}

// section is a part of a file, which closing it closes.
type section struct {
	io.Reader
	io.Closer
}

// HeadObject implements [gofakes3.Backend].
func (d *disk) HeadObject(_ context.Context, bucketName, key string) (*gofakes3.Object, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, o, err := d.findLocked(bucketName, key)
	if err != nil {
		return nil, err
	}
	return o.answer(http.NoBody), nil
}

func (o *object) answer(contents io.ReadCloser) *gofakes3.Object {
	return &gofakes3.Object{Name: o.Key, Metadata: o.Metadata, Size: o.Size, Hash: o.MD5, Contents: contents}
}

func (d *disk) findLocked(bucketName, key string) (*bucket, *object, error) {
	b := d.buckets[bucketName]
	if b == nil {
		return nil, nil, gofakes3.BucketNotFound(bucketName)
	}
	o := b.objects[key]
	if o == nil {
		return nil, nil, gofakes3.KeyNotFound(key)
	}
	return b, o, nil
}

// tags returns the tags of an object. An object that is not there has none.
func (d *disk) tags(bucketName, key string) string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, o, err := d.findLocked(bucketName, key)
	if err != nil {
		return ""
	}
	return o.Metadata[gofakes3.TaggingMetadataKey]
}

// exists tells whether there is an object of that key. In a bucket that is not there is none.
func (d *disk) exists(bucketName, key string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	_, _, err := d.findLocked(bucketName, key)
	return err == nil
}

// PutObject implements [gofakes3.Backend].
func (d *disk) PutObject(ctx context.Context, bucketName, key string, meta map[string]string, in io.Reader, size int64,
) (gofakes3.PutObjectResult, error) {
	_, err := d.put(ctx, bucketName, key, meta, size, func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	})
	return gofakes3.PutObjectResult{}, err
}

// put makes an object of the size bytes that body writes. Errors of body are returned as they are, since gofakes3 looks at the
// type of an error itself and not at what it wraps.
func (d *disk) put(ctx context.Context, bucketName, key string, meta map[string]string, size int64, body func(io.Writer) error,
) (*object, error) {
	if exists, _ := d.BucketExists(ctx, bucketName); !exists {
		return nil, gofakes3.BucketNotFound(bucketName)
	}
	digest, sum := md5.New(), crc64.New(nvme)
	var written counter
	tmp, err := d.create(func(w io.Writer) error {
		if err := body(io.MultiWriter(w, digest, sum, &written)); err != nil {
			return err
		}
		if int64(written) != size {
			return gofakes3.ErrIncompleteBody
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	o := &object{
		Schema: schema, Key: key, Body: tmp, Size: size, MD5: digest.Sum(nil), ChangedAt: d.now().UTC(), Metadata: maps.Clone(meta),
	}
	if o.Metadata == nil {
		o.Metadata = make(map[string]string)
	}
	o.Metadata["Last-Modified"] = o.ChangedAt.Format(http.TimeFormat)
	if !hasChecksum(o.Metadata) {
		o.Metadata[checksumHeader+"Crc64nvme"] = base64.StdEncoding.EncodeToString(sum.Sum(nil))
	}
	return o, d.commit(ctx, bucketName, o)
}

// counter is a writer that counts.
type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

func hasChecksum(meta map[string]string) bool {
	for name := range meta {
		if strings.HasPrefix(name, checksumHeader) {
			return true
		}
	}
	return false
}

// commit makes a new object the one of its key. Its body is in tmp, and gone from there afterwards whatever happens.
func (d *disk) commit(ctx context.Context, bucketName string, o *object) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.buckets[bucketName]
	if b == nil {
		d.discard(o.Body)
		return gofakes3.BucketNotFound(bucketName)
	}
	old := b.objects[o.Key]
	etag := ""
	if old != nil {
		etag = hex.EncodeToString(old.MD5)
	}
	if err := gofakes3.CheckWriteConditions(ctx, old != nil, etag); err != nil {
		d.discard(o.Body)
		return err
	}
	if err := d.move(o.Body, b.body(o.Body)); err != nil {
		return fmt.Errorf("storing the body of %s/%s: %w", bucketName, o.Key, err)
	}
	if err := d.writeJSON(b.record(o.Key), o); err != nil {
		return fmt.Errorf("storing %s/%s: %w", bucketName, o.Key, err)
	}
	b.set(o)
	if old != nil {
		_ = d.root.Remove(b.body(old.Body)) // nothing names it any more; the next start would remove it
	}
	return nil
}

// SetObjectTagging implements [gofakes3.ObjectTaggingBackend].
func (d *disk) SetObjectTagging(_ context.Context, bucketName, key, tagging string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, o, err := d.findLocked(bucketName, key)
	if err != nil {
		return err
	}
	tagged := *o
	tagged.Metadata = maps.Clone(o.Metadata)
	delete(tagged.Metadata, gofakes3.TaggingMetadataKey)
	if tagging != "" {
		tagged.Metadata[gofakes3.TaggingMetadataKey] = tagging
	}
	if err := d.writeJSON(b.record(key), &tagged); err != nil {
		return fmt.Errorf("tagging %s/%s: %w", bucketName, key, err)
	}
	b.set(&tagged)
	return nil
}

// CopyObject implements [gofakes3.Backend].
func (d *disk) CopyObject(ctx context.Context, fromBucket, fromKey, bucketName, key string, meta map[string]string,
) (gofakes3.CopyObjectResult, error) {
	from, err := d.GetObject(ctx, fromBucket, fromKey, nil)
	if err != nil {
		return gofakes3.CopyObjectResult{}, err
	}
	defer from.Contents.Close()
	o, err := d.put(ctx, bucketName, key, meta, from.Size, func(w io.Writer) error {
		_, err := io.Copy(w, from.Contents)
		return err
	})
	if err != nil {
		return gofakes3.CopyObjectResult{}, err
	}
	return gofakes3.CopyObjectResult{
		ETag: `"` + hex.EncodeToString(o.MD5) + `"`, LastModified: gofakes3.NewContentTime(o.ChangedAt),
	}, nil
}

// DeleteObject implements [gofakes3.Backend].
func (d *disk) DeleteObject(_ context.Context, bucketName, key string) (gofakes3.ObjectDeleteResult, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.buckets[bucketName]
	if b == nil {
		return gofakes3.ObjectDeleteResult{}, gofakes3.BucketNotFound(bucketName)
	}
	o := b.objects[key]
	if o == nil {
		return gofakes3.ObjectDeleteResult{}, nil
	}
	if err := d.remove(b.record(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return gofakes3.ObjectDeleteResult{}, fmt.Errorf("removing %s/%s: %w", bucketName, key, err)
	}
	b.unset(key)
	_ = d.root.Remove(b.body(o.Body)) // nothing names it any more; the next start would remove it
	return gofakes3.ObjectDeleteResult{}, nil
}

// DeleteMulti implements [gofakes3.Backend]. Every key is authorized on its own, by the guard that the context carries.
func (d *disk) DeleteMulti(ctx context.Context, bucketName string, keys ...string) (gofakes3.MultiDeleteResult, error) {
	var out gofakes3.MultiDeleteResult
	for _, key := range keys {
		denied, err := guardFrom(ctx)(ctx, key)
		if err != nil {
			return out, err
		}
		if denied != "" {
			out.Error = append(out.Error, gofakes3.ErrorResult{Key: key, Code: "AccessDenied", Message: denied})
			continue
		}
		if _, err := d.DeleteObject(ctx, bucketName, key); err != nil {
			return out, err
		}
		out.Deleted = append(out.Deleted, gofakes3.ObjectID{Key: key})
	}
	return out, nil
}
