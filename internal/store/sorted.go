package store

import (
	"slices"
	"sort"
	"strings"
)

// sorted is an immutable map from keys to values in key order. A change makes a new one that shares all but one block with
// the old, so readers need no lock and a scan sees one moment, while a change of a map of 100,000 entries copies about 10 KB.
type sorted[V any] struct {
	blocks [][]entry[V] // none empty; keys ascend within and across blocks
}

type entry[V any] struct {
	key   string
	value V
}

const maxBlock = 256 // entries

// newSorted builds a map from entries in key order.
func newSorted[V any](all []entry[V]) *sorted[V] {
	return &sorted[V]{slices.Collect(slices.Chunk(all, maxBlock/2))}
}

// find returns where a key is, or would be inserted: a block (0 of an empty map) and the position in it.
func (m *sorted[V]) find(key string) (block, at int, found bool) {
	if len(m.blocks) == 0 {
		return 0, 0, false
	}
	// The last block that begins at or before the key; the first if the key is before all.
	block = max(sort.Search(len(m.blocks), func(i int) bool { return m.blocks[i][0].key > key })-1, 0)
	at, found = slices.BinarySearchFunc(m.blocks[block], key, func(e entry[V], key string) int { return strings.Compare(e.key, key) })
	return block, at, found
}

func (m *sorted[V]) get(key string) (value V, ok bool) {
	block, at, found := m.find(key)
	if !found {
		return value, false
	}
	return m.blocks[block][at].value, true
}

// with returns the map with an entry set.
func (m *sorted[V]) with(key string, value V) *sorted[V] {
	if len(m.blocks) == 0 {
		return newSorted([]entry[V]{{key, value}})
	}
	block, at, found := m.find(key)
	changed := slices.Clone(m.blocks[block])
	if found {
		changed[at].value = value
	} else {
		changed = slices.Insert(changed, at, entry[V]{key, value})
	}
	if len(changed) <= maxBlock {
		return m.replace(block, changed)
	}
	half := len(changed) / 2
	return m.replace(block, changed[:half], changed[half:])
}

// without returns the map with a key removed.
func (m *sorted[V]) without(key string) *sorted[V] {
	block, at, found := m.find(key)
	switch {
	case !found:
		return m
	case len(m.blocks[block]) == 1:
		return m.replace(block)
	}
	return m.replace(block, slices.Delete(slices.Clone(m.blocks[block]), at, at+1))
}

func (m *sorted[V]) replace(block int, by ...[]entry[V]) *sorted[V] {
	return &sorted[V]{slices.Concat(m.blocks[:block], by, m.blocks[block+1:])}
}

// first returns the position of the first key that is at least prefix and greater than after.
func (m *sorted[V]) first(prefix, after string) (block, at int) {
	if after < prefix {
		block, at, _ = m.find(prefix)
		return block, at
	}
	block, at, found := m.find(after)
	if found {
		at++
	}
	return block, at
}

func (m *sorted[V]) scan(prefix, after string, yield func(string, V) bool) {
	block, at := m.first(prefix, after)
	for ; block < len(m.blocks); block, at = block+1, 0 {
		for _, e := range m.blocks[block][at:] {
			if !strings.HasPrefix(e.key, prefix) || !yield(e.key, e.value) {
				return
			}
		}
	}
}

func (m *sorted[V]) count(prefix string) (n int) {
	block, at := m.first(prefix, "")
	for ; block < len(m.blocks); block, at = block+1, 0 {
		rest := m.blocks[block][at:]
		within := sort.Search(len(rest), func(i int) bool { return !strings.HasPrefix(rest[i].key, prefix) })
		n += within
		if within < len(rest) {
			return n
		}
	}
	return n
}
