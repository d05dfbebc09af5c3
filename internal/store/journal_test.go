package store_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/store/storetest"
)

// diary is a store with one collection, an index of it and a journal of at least four changes.
func diary(t *testing.T, s *store.Store) (*store.Collection[dish], *store.Journal) {
	t.Helper()
	dishes := store.Define[dish](s, "dishes")
	store.NewIndex(dishes, name)
	journal := store.NewJournal(dishes, 4)
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dishes, journal
}

func TestJournal(t *testing.T) {
	s := storetest.New(t)
	dishes, journal := diary(t, s)
	commit := func(ops ...store.Op) {
		t.Helper()
		if err := s.Commit(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	begin := journal.Here()
	commit(dishes.Create("soup", dish{}), dishes.Create("bread", dish{}))
	middle := journal.Here()
	commit(dishes.Put("soup", dish{Price: 2}))
	commit(dishes.Delete("bread"))
	commit(dishes.Put("soup", dish{Price: 3}))

	for _, test := range []struct {
		what string
		from store.Position
		want []string
		ok   bool
	}{
		{"from the beginning, each once", begin, []string{"bread", "soup"}, true},
		{"from the middle", middle, []string{"bread", "soup"}, true},
		{"from here", journal.Here(), nil, true},
		{"from nowhere", store.Position{}, nil, false},
		{"from another epoch", store.Position{Epoch: "x", Revision: middle.Revision}, nil, false},
		{"from the future", store.Position{Epoch: begin.Epoch, Revision: begin.Revision + 1000}, nil, false},
	} {
		keys, here, ok := journal.Since(test.from)
		if diff := cmp.Diff(test.want, keys); diff != "" || ok != test.ok || here != journal.Here() {
			t.Errorf("%s: got %v, want %v, at %v (-want +got)\n%s", test.what, ok, test.ok, here, diff)
		}
	}
}

// TestJournalForgets checks that the journal says so when it does not know any more what changed.
func TestJournalForgets(t *testing.T) {
	s := storetest.New(t)
	dishes, journal := diary(t, s)
	positions := []store.Position{journal.Here()}
	for i := range 40 {
		if err := s.Commit(t.Context(), dishes.Put(fmt.Sprint(i), dish{}), dishes.Put("menu", dish{Price: i})); err != nil {
			t.Fatal(err)
		}
		positions = append(positions, journal.Here())
	}
	known := 0
	for i, p := range positions {
		keys, _, ok := journal.Since(p)
		if !ok {
			if known > 0 {
				t.Errorf("an older position is known and the %dth is not", i)
			}
			continue
		}
		known++
		want := 40 - i // one of each transaction, and the menu
		if want > 0 {
			want++
		}
		if len(keys) != want {
			t.Errorf("got %d keys since the %dth position, want %d", len(keys), i, want)
		}
	}
	if known < 2 || known > 6 {
		t.Errorf("%d of %d positions are known, want the latest few", known, len(positions))
	}
}

// TestJournalRestarts checks that a journal which may have missed changes does not claim to know them.
func TestJournalRestarts(t *testing.T) {
	endpoint := storetest.Etcd(t)
	l := newLink(t, endpoint)
	s := open(t, l.url, nil)
	dishes, journal := diary(t, s)
	commit(t, s, dishes.Put("soup", dish{}))
	before := journal.Here()
	l.set(true)
	other := open(t, endpoint, nil)
	theirs, _ := menu(t, other)
	commit(t, other, theirs.Put("soup", dish{Price: 1}))
	commit(t, other, theirs.Put("soup", dish{Price: 2}))
	if _, err := client(t, endpoint).Compact(t.Context(), other.Revision(), clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	l.set(false)
	eventually(t, "the store catches up", func() bool { return s.Revision() >= other.Revision() })
	if keys, here, ok := journal.Since(before); ok || here.Epoch == before.Epoch {
		t.Errorf("got %v, %v at %v after a new list; want another epoch than %v", keys, ok, here, before)
	}
	begin := journal.Here()
	commit(t, s, dishes.Put("bread", dish{}))
	if keys, _, ok := journal.Since(begin); !ok || !cmp.Equal(keys, []string{"bread"}) {
		t.Errorf("got %v, %v from the new beginning, want bread", keys, ok)
	}
}
