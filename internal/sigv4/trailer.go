package sigv4

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"net/http"
	"strings"
)

// checksums are the trailing checksums that are known.
// See https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html.
var checksums = map[string]func() hash.Hash{
	"x-amz-checksum-crc32":     func() hash.Hash { return crc32.NewIEEE() },
	"x-amz-checksum-crc32c":    func() hash.Hash { return crc32.New(castagnoli) },
	"x-amz-checksum-crc64nvme": func() hash.Hash { return crc64.New(nvme) },
	"x-amz-checksum-md5":       md5.New,
	"x-amz-checksum-sha1":      sha1.New,
	"x-amz-checksum-sha256":    sha256.New,
	"x-amz-checksum-sha512":    sha512.New,
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	nvme       = crc64.MakeTable(0x9a6c9329ac4bc9b5) // the polynomial of NVMe, reversed as Go wants it
)

// trailer is what x-amz-trailer announces: checksums over the decoded body. In a body whose chunks are not signed they are all
// that protects it, so each that is announced must come and be right, and no other may come.
type trailer struct {
	sums   map[string]hash.Hash // by the name announced
	header http.Header          // what came
	signed bytes.Buffer         // what came, as the trailer's signature covers it
}

func newTrailer(h http.Header) (*trailer, error) {
	t := &trailer{sums: make(map[string]hash.Hash), header: make(http.Header)}
	for name := range strings.SplitSeq(strings.Join(h["X-Amz-Trailer"], ","), ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		newHash := checksums[name]
		if newHash == nil {
			return nil, incomplete("x-amz-trailer must name a checksum that is supported: crc32, crc32c, crc64nvme, md5, sha1, sha256, sha512.")
		}
		t.sums[name] = newHash()
	}
	return t, nil
}

func (t *trailer) write(p []byte) {
	for _, h := range t.sums {
		h.Write(p)
	}
}

// add takes a name:value line.
func (t *trailer) add(line string) error {
	name, value, _ := strings.Cut(line, ":")
	name, value = strings.ToLower(name), strings.TrimSpace(value)
	if t.sums[name] == nil || t.header.Get(name) != "" || value == "" {
		return fmt.Errorf("%w: its trailer is not what x-amz-trailer announces", ErrFraming)
	}
	t.header.Set(name, value)
	t.signed.WriteString(name + ":" + value + "\n")
	return nil
}

// check compares what came, which is everything announced, with the body.
func (t *trailer) check() error {
	for name, h := range t.sums {
		if base64.StdEncoding.EncodeToString(h.Sum(nil)) != t.header.Get(name) {
			return fmt.Errorf("reading %s: %w", name, ErrDigest)
		}
	}
	return nil
}
