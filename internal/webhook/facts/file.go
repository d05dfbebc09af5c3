package facts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/podid/podid/internal/identity"
)

const (
	fileInterval = time.Second // between looks whether a file has changed
	maxFile      = 64 << 20
)

// WatchFile makes associations that are those of a file as Amazon's webhook reads it with --watch-container-credentials-config:
// {"identities":[{"namespace":"carts","serviceAccount":"carts"}]}. One that is missing or empty names none; one that cannot be read
// or is not such JSON changes nothing.
func WatchFile(path string, logger *slog.Logger) *Associations {
	a := &Associations{set: newSet()}
	f := &identitiesFile{a, path, logger, fileStamp{}, false}
	f.look()
	a.run = func(ctx context.Context) {
		tick := time.NewTicker(fileInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f.look()
			case <-ctx.Done():
				return
			}
		}
	}
	return a
}

type identitiesFile struct {
	*Associations
	path   string
	log    *slog.Logger
	seen   fileStamp
	looked bool
}

// fileStamp is what differs when a file does.
type fileStamp struct {
	modified time.Time
	size     int64
	missing  bool
}

func (f *identitiesFile) look() {
	var stamp fileStamp
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		stamp.missing = true
	case err == nil:
		stamp.modified, stamp.size = info.ModTime(), info.Size()
	}
	if err == nil || stamp.missing {
		if f.looked && stamp == f.seen {
			return
		}
		err = f.read(stamp.missing)
	}
	f.seen, f.looked = stamp, true
	if err != nil && (f.lost == nil || f.lost.Error() != err.Error()) {
		f.log.Error("file of identities could not be read", "file", f.path, "err", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = err
	if err == nil {
		f.source = fromFile
	}
}

func (f *identitiesFile) read(missing bool) error {
	var in struct {
		Identities []struct {
			Namespace      string `json:"namespace"`
			ServiceAccount string `json:"serviceAccount"`
		} `json:"identities"`
	}
	if !missing {
		file, err := os.Open(f.path)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := json.NewDecoder(io.LimitReader(file, maxFile)).Decode(&in); err != nil && err != io.EOF { // EOF: it is empty
			return fmt.Errorf("decoding: %w", err)
		}
	}
	f.set.beginList()
	for _, i := range in.Identities {
		f.set.add(identity.ServiceAccount{Namespace: i.Namespace, Name: i.ServiceAccount})
	}
	removed := f.set.endList()
	f.log.Info("identities read", "file", f.path, "count", f.set.len(), "removed", removed)
	return nil
}
