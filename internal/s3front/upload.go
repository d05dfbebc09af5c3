package s3front

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"io"
	"path"
	"strings"
	"sync"

	"github.com/rclone/gofakes3"
)

// maxUploads is how many multipart uploads may be open at once. Those that nobody completes or aborts end with the process.
const maxUploads = 1000

// upload is a multipart upload that is neither completed nor aborted. Its parts are files of tmp.
type upload struct {
	bucket, key string
	meta        map[string]string

	mu    sync.Mutex // guards what follows; held while the parts are put together
	done  bool
	parts map[int]part
}

type part struct {
	file string
	size int64
	etag string // quoted, as clients send it back
}

// CreateMultipartUpload implements [gofakes3.MultipartBackend].
func (d *disk) CreateMultipartUpload(_ context.Context, bucketName, key string, meta map[string]string) (gofakes3.UploadID, error) {
	name, err := d.newName()
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.uploads) >= maxUploads {
		return "", gofakes3.ErrorMessage(gofakes3.ErrSlowDown, "Too many multipart uploads are open. Complete or abort some.")
	}
	id := gofakes3.UploadID(name)
	d.uploads[id] = &upload{bucket: bucketName, key: key, meta: meta, parts: make(map[int]part)}
	return id, nil
}

// find returns an open upload, locked.
func (d *disk) find(bucketName, key string, id gofakes3.UploadID) (*upload, error) {
	d.mu.RLock()
	u := d.uploads[id]
	d.mu.RUnlock()
	if u == nil || u.bucket != bucketName || u.key != key {
		return nil, gofakes3.ErrNoSuchUpload
	}
	u.mu.Lock()
	if u.done {
		u.mu.Unlock()
		return nil, gofakes3.ErrNoSuchUpload
	}
	return u, nil
}

// UploadPart implements [gofakes3.MultipartBackend].
func (d *disk) UploadPart(_ context.Context, bucketName, key string, id gofakes3.UploadID, number int, size int64, in io.Reader,
) (string, error) {
	digest := md5.New()
	file, err := d.create(func(w io.Writer) error {
		n, err := io.Copy(io.MultiWriter(w, digest), in)
		if err == nil && n != size {
			err = gofakes3.ErrIncompleteBody
		}
		return err
	})
	if err != nil {
		return "", err
	}
	u, err := d.find(bucketName, key, id)
	if err != nil {
		d.discard(file) // it was aborted meanwhile
		return "", err
	}
	defer u.mu.Unlock()
	if old, ok := u.parts[number]; ok {
		d.discard(old.file)
	}
	etag := `"` + hex.EncodeToString(digest.Sum(nil)) + `"`
	u.parts[number] = part{file, size, etag}
	return etag, nil
}

// CompleteMultipartUpload implements [gofakes3.MultipartBackend]. The ETag is the MD5 of the whole object.
func (d *disk) CompleteMultipartUpload(ctx context.Context, bucketName, key string, id gofakes3.UploadID,
	in *gofakes3.CompleteMultipartUploadRequest,
) (gofakes3.VersionID, string, error) {
	u, err := d.find(bucketName, key, id)
	if err != nil {
		return "", "", err
	}
	defer u.mu.Unlock()
	parts, size, err := u.choose(in.Parts)
	if err != nil {
		return "", "", err
	}
	o, err := d.put(ctx, bucketName, key, u.meta, size, func(w io.Writer) error {
		for _, p := range parts {
			if err := d.copyTmp(w, p.file); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", "", err
	}
	d.end(id, u)
	return "", `"` + hex.EncodeToString(o.MD5) + `"`, nil
}

// choose returns the parts that a request names, which must be there, in order, and those that the client believes them to be.
func (u *upload) choose(named []gofakes3.CompletedPart) (parts []part, size int64, err error) {
	if len(named) == 0 {
		return nil, 0, gofakes3.ErrorMessage(gofakes3.ErrMalformedXML, gofakes3.ErrMalformedXML.Message())
	}
	for i, n := range named {
		p, ok := u.parts[n.PartNumber]
		switch {
		case i > 0 && n.PartNumber <= named[i-1].PartNumber:
			return nil, 0, gofakes3.ErrorMessage(gofakes3.ErrInvalidPartOrder,
				"The list of parts was not in ascending order. Parts must be ordered by part number.")
		case !ok || strings.Trim(n.ETag, `"`) != strings.Trim(p.etag, `"`):
			return nil, 0, gofakes3.ErrorMessage(gofakes3.ErrInvalidPart, "One or more of the specified parts could not be found. "+
				"The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.")
		}
		parts = append(parts, p)
		size += p.size
	}
	return parts, size, nil
}

func (d *disk) copyTmp(w io.Writer, name string) error {
	f, err := d.root.Open(path.Join("tmp", name))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// AbortMultipartUpload implements [gofakes3.MultipartBackend].
func (d *disk) AbortMultipartUpload(_ context.Context, bucketName, key string, id gofakes3.UploadID) error {
	u, err := d.find(bucketName, key, id)
	if err != nil {
		return err
	}
	defer u.mu.Unlock()
	d.end(id, u)
	return nil
}

// end forgets an upload, whose lock is held, and removes its parts.
func (d *disk) end(id gofakes3.UploadID, u *upload) {
	u.done = true
	for _, p := range u.parts {
		d.discard(p.file)
	}
	d.mu.Lock()
	delete(d.uploads, id)
	d.mu.Unlock()
}
