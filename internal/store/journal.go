package store

import (
	"crypto/rand"
	"slices"
	"sort"
	"sync"
)

// Journal remembers the latest changes of a collection, so that others can be told what changed since they last heard. It knows
// which keys changed, not how: that is what an index of the collection says, which has every change that the journal has.
//
// It is in memory, and begins when the store is loaded. It begins anew, with another epoch, when the watch had to be.
type Journal struct {
	store *Store
	keep  int

	mu      sync.Mutex // guards the following
	epoch   string
	begin   int64 // revision after which the journal has every change
	changes []change
}

type change struct {
	revision int64
	key      string
}

// Position is how far somebody has been told. The zero value is nowhere.
type Position struct {
	Epoch    string // of the journal; revisions of different epochs cannot be compared
	Revision int64
}

// NewJournal makes a journal of a collection that remembers at least the latest keep changes. Call it after all indexes of
// the collection are made and before [Store.Load]; it panics after.
func NewJournal[T any](c *Collection[T], keep int) *Journal {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if c.store.sealed {
		panic("store: journal of " + c.prefix + " made after Load")
	}
	j := &Journal{store: c.store, keep: keep, epoch: rand.Text()}
	c.indexes = append(c.indexes, &recorder[T]{j})
	return j
}

// Here is the position at which all changes that are being served have been told.
func (j *Journal) Here() Position {
	revision := j.lock()
	defer j.mu.Unlock()
	return Position{j.epoch, revision}
}

// Since returns the keys that changed after a position, each once, in the order of their latest changes, and the position that
// one is at after being told of them. It is false if the journal does not go back that far, or never was there: then one has
// to be told everything.
func (j *Journal) Since(p Position) (keys []string, here Position, ok bool) {
	revision := j.lock()
	defer j.mu.Unlock()
	here = Position{j.epoch, revision}
	if p.Epoch != j.epoch || p.Revision < j.begin || p.Revision > revision {
		return nil, here, false
	}
	after := func(revision int64) int {
		return sort.Search(len(j.changes), func(i int) bool { return j.changes[i].revision > revision })
	}
	// Newer changes may be there already, though maybe not all of their transaction.
	news := j.changes[after(p.Revision):after(revision)]
	seen := make(map[string]bool, len(news))
	for _, c := range slices.Backward(news) {
		if !seen[c.key] {
			seen[c.key] = true
			keys = append(keys, c.key)
		}
	}
	slices.Reverse(keys)
	return keys, here, true
}

// lock locks the journal and returns the revision that the indexes have reached, of the same epoch as the journal.
func (j *Journal) lock() (revision int64) {
	j.store.mu.Lock()
	defer j.store.mu.Unlock()
	j.mu.Lock()
	return j.store.applied
}

func (j *Journal) add(revision int64, key string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.changes) >= 2*j.keep { // half of them at once, so that this is done seldom
		j.begin = j.changes[j.keep-1].revision
		j.changes = slices.Clone(j.changes[j.keep:])
	}
	j.changes = append(j.changes, change{revision, key})
}

func (j *Journal) restart(revision int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.epoch, j.begin, j.changes = rand.Text(), revision, nil
}

// recorder is a journal as its collection sees it.
type recorder[T any] struct{ journal *Journal }

func (r *recorder[T]) put(revision int64, key string, _ T) { r.journal.add(revision, key) }

func (r *recorder[T]) remove(revision int64, key string) { r.journal.add(revision, key) }

func (r *recorder[T]) prepare(revision int64, _ []object[T]) (install func()) {
	return func() { r.journal.restart(revision) }
}

// Advanced returns the revision that all indexes have reached, and a channel that is closed when they have reached another.
func (s *Store) Advanced() (revision int64, next <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied, s.advanced
}
