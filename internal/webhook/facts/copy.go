package facts

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/podid/podid/internal/feed"
)

// diskCopy is what is kept on disk of a cluster's associations, so that a webhook that starts while podid cannot be reached still
// knows them. The file is a line of JSON, the digests of the service accounts, and the SHA-256 of both.
type diskCopy struct {
	header
	members []digest
}

type header struct {
	Schema   int          `json:"v"`
	Endpoint string       `json:"endpoint"` // of the server that told it
	Cluster  feed.Cluster `json:"cluster"`
	Position string       `json:"position"` // where the feed can go on
	Revision int64        `json:"revision"`
	Count    int          `json:"count"`
}

const (
	copySchema = 1
	maxHeader  = 4 << 10
	maxMembers = 10_000_000 // 160 MB; nobody has as many service accounts
)

// write replaces the file. A crash leaves the old one or the new one.
func (c *diskCopy) write(path string) (err error) {
	c.Schema, c.Count = copySchema, len(c.members)
	first, err := json.Marshal(c.header)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(file.Name())
		}
	}()
	sum := sha256.New()
	w := bufio.NewWriter(io.MultiWriter(file, sum))
	_, _ = w.Write(append(first, '\n'))
	for i := range c.members {
		_, _ = w.Write(c.members[i][:])
	}
	if err := w.Flush(); err != nil { // of any of the writes
		return err
	}
	if _, err := file.Write(sum.Sum(nil)); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readCopy reads the file and checks that it is whole.
func readCopy(path string) (*diskCopy, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sum := sha256.New()
	r := bufio.NewReaderSize(file, maxHeader)
	first, err := r.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("reading the first line: %w", err)
	}
	sum.Write(first)
	c := &diskCopy{}
	if err := json.Unmarshal(first, &c.header); err != nil {
		return nil, fmt.Errorf("reading the first line: %w", err)
	}
	switch {
	case c.Schema != copySchema:
		return nil, fmt.Errorf("its schema number is %d, and this podid knows only %d", c.Schema, copySchema)
	case c.Count < 0 || c.Count > maxMembers:
		return nil, fmt.Errorf("it claims to have %d members", c.Count)
	}
	c.members = make([]digest, 0, min(c.Count, 1<<17))
	var d digest
	for range c.Count {
		if _, err := io.ReadFull(r, d[:]); err != nil {
			return nil, fmt.Errorf("reading the members: %w", err)
		}
		sum.Write(d[:])
		c.members = append(c.members, d)
	}
	rest, err := io.ReadAll(io.LimitReader(r, sha256.Size+1))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(rest, sum.Sum(nil)) {
		return nil, errors.New("its checksum is wrong")
	}
	return c, nil
}
