package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	pageSize   = 1000             // objects per request while listing
	pulse      = 2 * time.Second  // how often we make sure that we are up to date
	staleAfter = 10 * time.Second // of not being sure, the store is not fresh
	rewatch    = time.Second      // longest wait before a broken watch is begun again
)

// errBehind means that etcd no longer has, or never had, the revision from which to go on.
var errBehind = errors.New("the history since our revision is not to be had")

// feed is a collection as the watch sees it. Its methods are called by one goroutine at a time.
type feed interface {
	under() string // the prefix of its keys
	prepare(revision int64, kvs []*mvccpb.KeyValue, unread map[string]error) (install func())
	apply(event *clientv3.Event) error
}

func (c *Collection[T]) under() string { return c.prefix }

// prepare decodes the whole contents of the collection at a revision and derives all indexes from it. What does not decode goes into unread.
func (c *Collection[T]) prepare(revision int64, kvs []*mvccpb.KeyValue, unread map[string]error) (install func()) {
	objects := make([]object[T], len(kvs))
	for i, kv := range kvs {
		key := string(kv.Key[len(c.prefix):])
		value, err := c.decode(key, kv.Value)
		if err != nil {
			unread[string(kv.Key)] = err
		}
		objects[i] = object[T]{key, value, err != nil}
	}
	installs := make([]func(), len(c.indexes))
	for i, ix := range c.indexes {
		installs[i] = ix.prepare(revision, objects)
	}
	return func() {
		for _, install := range installs {
			install()
		}
	}
}

// apply takes one change into all indexes of the collection, or none if the value does not decode.
func (c *Collection[T]) apply(event *clientv3.Event) error {
	key := string(event.Kv.Key[len(c.prefix):])
	if event.Type == mvccpb.Event_DELETE {
		for _, ix := range c.indexes {
			ix.remove(event.Kv.ModRevision, key)
		}
		return nil
	}
	value, err := c.decode(key, event.Kv.Value)
	if err != nil {
		return err
	}
	for _, ix := range c.indexes {
		ix.put(event.Kv.ModRevision, key, value)
	}
	return nil
}

// Load fills all indexes with the state of one revision and from then on keeps them current until [Store.Close], by one watch in
// a goroutine of the store. Call it once, after all collections and indexes are defined. It fails, and nothing is filled, if any stored
// value cannot be decoded. ctx bounds the listing only.
func (s *Store) Load(ctx context.Context) error {
	s.mu.Lock()
	again := s.sealed
	s.sealed = true
	s.mu.Unlock()
	if again {
		return errors.New("store: Load was called before")
	}
	unread, err := s.list(ctx, true)
	if err != nil {
		return err
	}
	for _, err := range unread {
		return fmt.Errorf("loading the store: %w", err)
	}
	ctx, s.cancel = context.WithCancel(context.Background())
	// Without a leader, a member of an external cluster would keep a watch open that can tell nothing new.
	ctx = clientv3.WithRequireLeader(ctx)
	s.watching.Go(func() { s.keepWatching(ctx) })
	return nil
}

// list reads everything at one revision and puts it into the indexes. In the strict case nothing is put if a value cannot be
// decoded; else the index keeps the older value.
func (s *Store) list(ctx context.Context, strict bool) (unread map[string]error, err error) {
	at := s.now()
	contents, revision, err := s.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the store: %w", err)
	}
	unread = map[string]error{}
	var installs []func()
	for i, f := range s.feeds {
		installs = append(installs, f.prepare(revision, contents[i], unread))
	}
	if strict && len(unread) > 0 {
		return unread, nil
	}
	s.mu.Lock() // so that nobody sees the contents of one revision and the number of another
	defer s.mu.Unlock()
	for _, install := range installs {
		install()
	}
	s.loaded, s.unread, s.heard = true, unread, at
	s.advanceLocked(revision)
	return unread, nil
}

// read returns the contents of each feed, in key order, at one revision.
func (s *Store) read(ctx context.Context) (contents [][]*mvccpb.KeyValue, revision int64, err error) {
	contents = make([][]*mvccpb.KeyValue, len(s.feeds))
	from, end := root, clientv3.GetPrefixRangeEnd(root)
	for {
		page, err := s.page(ctx, from, end, revision)
		if err != nil {
			return nil, 0, err
		}
		if revision == 0 { // the first page decides; the others are read as of then
			revision = page.Header.Revision
		}
		for _, kv := range page.Kvs {
			if i := s.feedOf(kv.Key); i >= 0 {
				contents[i] = append(contents[i], kv)
			}
		}
		if !page.More {
			return contents, revision, nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

func (s *Store) page(ctx context.Context, from, end string, revision int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithLimit(pageSize))
}

// feedOf finds the collection of a key; -1 if it belongs to none that this program knows.
func (s *Store) feedOf(key []byte) int {
	for i, f := range s.feeds {
		if prefix := f.under(); len(key) > len(prefix) && strings.HasPrefix(string(key), prefix) {
			return i
		}
	}
	return -1
}

// keepWatching follows the changes, beginning anew where the watch broke, until ctx ends.
func (s *Store) keepWatching(ctx context.Context) {
	for {
		err := s.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("watch of the store broke", "err", err, "revision", s.Revision())
		if errors.Is(err, errBehind) || errors.Is(err, rpctypes.ErrCompacted) {
			if _, err := s.list(ctx, false); err != nil {
				s.log.Warn("store could not be listed", "err", err)
			}
		}
		select {
		case <-time.After(rand.N(rewatch)):
		case <-ctx.Done():
			return
		}
	}
}

// watch follows the changes from our revision on until the watch breaks.
func (s *Store) watch(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer stop(nil)
	changes := s.client.Watch(ctx, root, clientv3.WithPrefix(), clientv3.WithRev(s.Revision()+1))
	asking.Go(func() { s.keepAsking(ctx, stop) })
	for resp := range changes {
		if err := resp.Err(); err != nil {
			return err
		}
		s.apply(resp)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errors.New("the watch ended")
}

// keepAsking makes sure, again and again, that we have all that was written. It stops the watch if that cannot come by it.
func (s *Store) keepAsking(ctx context.Context, stop context.CancelCauseFunc) {
	tick := time.NewTicker(s.pulse)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			// Any other error means that etcd or the watch is not up. The silence that follows is what Fresh reports.
			if err := s.ask(ctx); errors.Is(err, errBehind) {
				stop(err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// ask finds out the newest revision and waits until the indexes have reached it. Progress notifications alone would not do: a
// watch that waits for a revision still to come gets none.
func (s *Store) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, staleAfter/2)
	defer cancel()
	at, ours := s.now(), s.Revision()
	resp, err := s.client.Get(ctx, root)
	switch {
	case err != nil:
		return err
	case resp.Header.Revision < ours:
		return fmt.Errorf("%w: etcd is at revision %d, we are at %d", errBehind, resp.Header.Revision, ours)
	case resp.Header.Revision > s.Revision():
		// Changes are under way, or were of keys that we do not watch. Of the latter only the notification tells.
		if err := s.client.RequestProgress(ctx); err != nil {
			return err
		}
	}
	if err := s.wait(ctx, resp.Header.Revision); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = at
	return nil
}

// apply takes the changes of one response into the indexes. A response holds all changes of each of its revisions.
func (s *Store) apply(resp clientv3.WatchResponse) {
	revision := s.Revision()
	if resp.IsProgressNotify() {
		revision = max(revision, resp.Header.Revision)
	}
	failed, read := map[string]error{}, []string{}
	for _, event := range resp.Events {
		revision = max(revision, event.Kv.ModRevision)
		i := s.feedOf(event.Kv.Key)
		if i < 0 {
			continue
		}
		if err := s.feeds[i].apply(event); err != nil {
			s.log.Error("change cannot be decoded; the older value is kept", "err", err)
			failed[string(event.Kv.Key)] = err
		} else {
			delete(failed, string(event.Kv.Key))
			read = append(read, string(event.Kv.Key))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range read {
		delete(s.unread, key)
	}
	for key, err := range failed {
		s.unread[key] = err
	}
	s.advanceLocked(revision)
}

// advanceLocked notes that the indexes are at a revision and wakes who waits for it.
func (s *Store) advanceLocked(revision int64) {
	if s.applied != revision {
		s.applied = revision
		close(s.advanced)
		s.advanced = make(chan struct{})
	}
}
