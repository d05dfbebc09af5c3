package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The map of an index behaves as an ordinary map with its keys sorted, and no version of it ever changes.
func TestSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &sorted[int]{}
		model := map[string]int{}
		key := rapid.StringMatching(`[ab]/[ab]{0,2}[0-9]{0,3}`)
		steps := rapid.IntRange(0, 1500).Draw(t, "steps")
		seed := rapid.SliceOfN(key, 1, 40).Draw(t, "keys")
		for i := range steps { // many keys, so that blocks split
			k := fmt.Sprintf("%s%d", seed[i%len(seed)], i*7919%1000)
			if i%5 == 4 {
				k = fmt.Sprintf("%s%d", seed[(i-2)%len(seed)], (i-2)*7919%1000)
				m = m.without(k)
				delete(model, k)
			} else {
				m = m.with(k, i)
				model[k] = i
			}
		}
		kept, keptModel := m, maps.Clone(model)
		for range rapid.IntRange(0, 20).Draw(t, "changes") {
			k := key.Draw(t, "key")
			m = m.with(k, -1)
			model[k] = -1
			k = rapid.SampledFrom(slices.Sorted(maps.Keys(model))).Draw(t, "removed")
			m = m.without(k)
			delete(model, k)
		}
		compare(t, kept, keptModel, key)
		compare(t, m, model, key)
	})
}

func compare(t *rapid.T, m *sorted[int], model map[string]int, key *rapid.Generator[string]) {
	t.Helper()
	prefix := rapid.SampledFrom([]string{"", "a", "a/", "a/b", "b/a1", "c", "zz"}).Draw(t, "prefix")
	after := rapid.OneOf(rapid.Just(""), key, rapid.SampledFrom(append(slices.Sorted(maps.Keys(model)), "a", "b/", "zz"))).Draw(t, "after")
	type entry struct {
		Key   string
		Value int
	}
	var got, want []entry
	m.scan(prefix, after, func(k string, v int) bool {
		got = append(got, entry{k, v})
		return true
	})
	count := 0
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if strings.HasPrefix(k, prefix) {
			count++
			if k > after {
				want = append(want, entry{k, model[k]})
			}
		}
		if v, ok := m.get(k); !ok || v != model[k] {
			t.Fatalf("%s: got %d, %t, want %d", k, v, ok, model[k])
		}
	}
	if !cmp.Equal(got, want) {
		t.Fatalf("scan of %q after %q: %s", prefix, after, cmp.Diff(want, got))
	}
	if n := m.count(prefix); n != count {
		t.Fatalf("count of %q: got %d, want %d", prefix, n, count)
	}
	if _, ok := m.get("not there"); ok {
		t.Fatal("a key that was never set is there")
	}
}

// Blocks split when they grow and go when they are empty.
func TestSortedBlocks(t *testing.T) {
	m := &sorted[int]{}
	const n = 10 * maxBlock
	for i := range n {
		m = m.with(fmt.Sprintf("%06d", i*7919%n), i)
	}
	if got := len(m.blocks); got < 10 || got > 21 {
		t.Errorf("got %d blocks for %d entries", got, n)
	}
	stopped := 0
	m.scan("", "", func(string, int) bool { stopped++; return stopped < 3 })
	if stopped != 3 {
		t.Errorf("a scan that was stopped at 3 went to %d", stopped)
	}
	for i := range n {
		m = m.without(fmt.Sprintf("%06d", i))
	}
	if got := len(m.blocks); got != 0 {
		t.Errorf("got %d blocks for nothing", got)
	}
}
