package facts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/podid/podid/internal/feed"
	"github.com/podid/podid/internal/identity"
)

// saveInterval is how long after a change the copy on disk has it.
const saveInterval = 2 * time.Second

var errNoAssociations = errors.New("associations are not known yet")

// Associations are the service accounts of a cluster that have an association, in memory: [FollowFeed] and [WatchFile] make them.
// They are safe for concurrent use.
type Associations struct {
	run func(ctx context.Context)
	set *set

	mu     sync.Mutex // guards the following
	source string     // where the set is from: "feed", "disk copy", "file"; empty: nothing is known
	lost   error      // why the source tells nothing at the moment; nil: it is up
	head   header     // of the copy on disk
}

// Has tells whether a service account has an association, as far as it is known.
func (a *Associations) Has(account identity.ServiceAccount) bool { return a.set.has(account) }

// Len is how many associations are known.
func (a *Associations) Len() int { return a.set.len() }

// Cluster is what the feed has told of the cluster, also in an earlier life; empty from a file.
func (a *Associations) Cluster() feed.Cluster {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.head.Cluster
}

// Revision of the server's state that is known here; 0 from a file.
func (a *Associations) Revision() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.head.Revision
}

// Live tells whether changes are being told as they happen.
func (a *Associations) Live() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.source != "" && a.source != fromDisk && a.lost == nil
}

// Ready says in a few words how current the associations are; an error says that nothing is known.
func (a *Associations) Ready() (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.source == "" && a.lost != nil:
		return "", fmt.Errorf("%w: %w", errNoAssociations, a.lost)
	case a.source == "":
		return "", errNoAssociations
	case a.lost != nil:
		return fmt.Sprintf("from the %s, revision %d; changes are not told at the moment: %v", a.source, a.head.Revision, a.lost), nil
	}
	return fmt.Sprintf("from the %s, revision %d", a.source, a.head.Revision), nil
}

// Run keeps them current until ctx ends.
func (a *Associations) Run(ctx context.Context) { a.run(ctx) }

const (
	fromFeed = "feed"
	fromDisk = "disk copy"
	fromFile = "file"
	// fromNowhere is of those that do not exist.
	fromNowhere = "command line: none"
)

// FeedConfig is for [FollowFeed].
type FeedConfig struct {
	Client   *feed.Client
	Endpoint string // of the client, and
	Cluster  string // its cluster: a copy of others is not taken
	Copy     string // path of the copy on disk; empty: none is kept
	Logger   *slog.Logger
}

// FollowFeed makes associations that follow the feed. Until it has told everything they are those of the copy on disk, if there is one
// that is whole and of the same cluster.
func FollowFeed(cfg FeedConfig) *Associations {
	a := &Associations{set: newSet()}
	f := &follower{a, cfg, make(chan struct{}, 1)}
	if cfg.Copy != "" {
		f.load()
	}
	a.run = f.run
	return a
}

// follower keeps associations by a feed.
type follower struct {
	*Associations
	cfg     FeedConfig
	changed chan struct{} // has one when the copy on disk is behind
}

func (f *follower) load() {
	c, err := readCopy(f.cfg.Copy)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil && (c.Endpoint != f.cfg.Endpoint || c.Cluster.Name != f.cfg.Cluster) {
		err = fmt.Errorf("it is of cluster %q at %s", c.Cluster.Name, c.Endpoint)
	}
	if err != nil {
		f.cfg.Logger.Warn("copy of the associations is not used", "file", f.cfg.Copy, "err", err)
		return
	}
	for _, d := range c.members {
		f.set.addDigest(d)
	}
	f.source, f.head = fromDisk, c.header
	f.cfg.Logger.Info("associations read from the copy on disk", "count", len(c.members), "revision", c.Revision)
}

func (f *follower) run(ctx context.Context) {
	var saving sync.WaitGroup
	defer saving.Wait()
	if f.cfg.Copy != "" {
		saving.Go(func() { f.keepSaving(ctx) })
	}
	f.cfg.Client.Follow(ctx, f.head.Position, feed.Sink{
		Cluster: func(c feed.Cluster) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.head.Cluster = c
		},
		List: f.set.beginList,
		Put: func(a feed.Association) {
			if f.set.add(a.ServiceAccount) {
				f.markChanged()
			}
		},
		Delete: func(account identity.ServiceAccount) {
			if f.set.remove(account) {
				f.markChanged()
			}
		},
		Mark: f.mark,
		Lost: func(err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.lost = err
		},
	})
}

func (f *follower) mark(m feed.Mark) {
	if m.Listed {
		f.set.endList()
		f.markChanged()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.source != fromFeed || m.Listed {
		f.cfg.Logger.Info("associations are current", "count", f.set.len(), "revision", m.Revision, "listed", m.Listed)
	}
	f.source, f.lost = fromFeed, nil
	f.head.Position, f.head.Revision = m.Position, m.Revision
}

func (f *follower) markChanged() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// keepSaving writes the copy a little after each change, and at the end.
func (f *follower) keepSaving(ctx context.Context) {
	for {
		select {
		case <-f.changed:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(saveInterval): // more may follow
		case <-ctx.Done():
		}
		f.save()
	}
}

// save writes the copy, unless not everything has been told. The position is read first: the members are at least as new.
func (f *follower) save() {
	f.mu.Lock()
	c := &diskCopy{header: f.head}
	complete := f.source != ""
	f.mu.Unlock()
	if !complete {
		return
	}
	c.Endpoint, c.members = f.cfg.Endpoint, f.set.digests()
	if err := c.write(f.cfg.Copy); err != nil {
		f.cfg.Logger.Error("copy of the associations could not be written", "file", f.cfg.Copy, "err", err)
	}
}

// NoAssociations are for a webhook that gives web identities only.
func NoAssociations() *Associations {
	return &Associations{set: newSet(), source: fromNowhere, run: func(ctx context.Context) { <-ctx.Done() }}
}
