package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/store/storetest"
)

func TestRemove(t *testing.T) {
	s := storetest.New(t)
	objects := store.Define[int](s, "objects")
	others := store.Define[int](s, "others")
	index := store.NewIndex(objects, func(_ string, n int) int { return n })
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), objects.Create("a", 1), others.Create("b", 2)); err != nil {
		t.Fatal(err)
	}
	none := func(*int) ([]store.Op, error) { return nil, nil }
	if _, err := objects.Remove(t.Context(), "missing", none); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("removing what is not there: %v", err)
	}
	refusal := errors.New("still in use")
	if _, err := objects.Remove(t.Context(), "a", func(*int) ([]store.Op, error) { return nil, refusal }); err != refusal {
		t.Errorf("refused removal: %v", err)
	}
	var op *store.OpError
	_, err := objects.Remove(t.Context(), "a", func(*int) ([]store.Op, error) { return []store.Op{others.Delete("missing")}, nil })
	if !errors.As(err, &op) || op.Key != "/podid/v1/others/missing" {
		t.Errorf("impossible companion: %v", err)
	}
	if n, ok := index.Get("a"); !ok || n != 1 {
		t.Errorf("after failed removals the object is %d, %t", n, ok)
	}
	was, err := objects.Remove(t.Context(), "a", func(n *int) ([]store.Op, error) { return []store.Op{others.Delete("b")}, nil })
	if err != nil || was != 1 {
		t.Errorf("removal: %d, %v", was, err)
	}
	if _, ok := index.Get("a"); ok {
		t.Error("the index still has the object")
	}
	if _, err := others.Get(t.Context(), "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the companion: %v", err)
	}
}

// A removal that races with changes must see the last of them: nothing that was acknowledged may be lost unseen.
func TestRemoveSeesChanges(t *testing.T) {
	s := storetest.New(t)
	objects := store.Define[int](s, "objects")
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), objects.Create("a", 0)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var acknowledged atomic.Int64
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if _, err := objects.Update(t.Context(), "a", func(n *int) error { *n++; return nil }); err == nil {
					acknowledged.Add(1)
				} else if !errors.Is(err, store.ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	was, err := objects.Remove(t.Context(), "a", func(*int) ([]store.Op, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if int64(was) != acknowledged.Load() {
		t.Errorf("removed at %d, but %d changes were acknowledged", was, acknowledged.Load())
	}
}
