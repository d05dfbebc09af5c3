package store

import (
	"iter"
	"sync/atomic"
)

// Index is what is derived from the objects of a collection, held in memory in the order of their keys. It is filled by
// [Store.Load] and kept current by the store's watch. Reading it takes no lock and never waits.
type Index[V any] struct {
	entries atomic.Pointer[sorted[V]]
}

// NewIndex makes an index of a collection. derive turns an object into what is held, say a policy text into the compiled policy;
// it is called once per change, must be pure, and must not change the object. Call NewIndex before [Store.Load]; it panics after.
func NewIndex[T, V any](c *Collection[T], derive func(key string, value T) V) *Index[V] {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if c.store.sealed {
		panic("store: index of " + c.prefix + " made after Load")
	}
	ix := &Index[V]{}
	ix.entries.Store(&sorted[V]{})
	c.indexes = append(c.indexes, &filler[T, V]{ix, derive})
	return ix
}

// Get returns what the index holds for a key.
func (ix *Index[V]) Get(key string) (V, bool) { return ix.entries.Load().get(key) }

// Scan goes through the entries whose key begins with prefix, in the order of their bytes, beginning after the key "after" (empty:
// from the first). All entries are of one moment, that of the call of the iterator.
func (ix *Index[V]) Scan(prefix, after string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { ix.entries.Load().scan(prefix, after, yield) }
}

// Len counts the entries whose key begins with prefix.
func (ix *Index[V]) Len(prefix string) int { return ix.entries.Load().count(prefix) }

// follower is an index or a journal as its collection sees it. Its methods are called by one goroutine at a time.
type follower[T any] interface {
	put(revision int64, key string, value T)
	remove(revision int64, key string)
	prepare(revision int64, objects []object[T]) (install func()) // of the whole contents, objects in key order
}

// object is a stored object. One that could not be decoded is unread, and keeps what the index had for it.
type object[T any] struct {
	key    string
	value  T
	unread bool
}

type filler[T, V any] struct {
	index  *Index[V]
	derive func(key string, value T) V
}

func (f *filler[T, V]) put(_ int64, key string, value T) {
	f.index.entries.Store(f.index.entries.Load().with(key, f.derive(key, value)))
}

func (f *filler[T, V]) remove(_ int64, key string) {
	f.index.entries.Store(f.index.entries.Load().without(key))
}

func (f *filler[T, V]) prepare(_ int64, objects []object[T]) (install func()) {
	old := f.index.entries.Load()
	all := make([]entry[V], 0, len(objects))
	for _, o := range objects {
		if !o.unread {
			all = append(all, entry[V]{o.key, f.derive(o.key, o.value)})
		} else if value, ok := old.get(o.key); ok {
			all = append(all, entry[V]{o.key, value})
		}
	}
	entries := newSorted(all)
	return func() { f.index.entries.Store(entries) }
}
