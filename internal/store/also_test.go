package store_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/store/storetest"
)

// Two objects that are changed together stay in step, whoever else changes either of them.
func TestAlso(t *testing.T) {
	s := storetest.New(t)
	objects, others := store.Define[int](s, "objects"), store.Define[int](s, "others")
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), objects.Create("a", 0), objects.Create("b", 0), others.Create("sum", 0)); err != nil {
		t.Fatal(err)
	}
	add := func(n *int) error { *n++; return nil }
	both := func(key string) error {
		_, err := objects.Change(t.Context(), key, func(n *int) ([]store.Op, error) {
			*n++
			op, err := others.Also(t.Context(), "sum", add)
			return []store.Op{op}, err
		})
		return err
	}
	var wg sync.WaitGroup
	for _, change := range []func() error{
		func() error { return both("a") }, func() error { return both("b") }, func() error { return both("b") },
		func() error { _, err := others.Update(t.Context(), "sum", add); return err },
	} {
		wg.Go(func() {
			for range 10 {
				if err := change(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for key, want := range map[string]int{"a": 10, "b": 20} {
		if got, err := objects.Get(t.Context(), key); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", key, got, err, want)
		}
	}
	if got, err := others.Get(t.Context(), "sum"); err != nil || got != 40 {
		t.Errorf("the sum is %d, %v, want 40", got, err)
	}

	if _, err := others.Also(t.Context(), "missing", add); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a missing object: %v", err)
	}
	refusal := errors.New("full")
	if _, err := others.Also(t.Context(), "sum", func(*int) error { return refusal }); err != refusal {
		t.Errorf("a refusal: %v", err)
	}
}
