package store_test

import (
	"errors"
	"testing"

	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/store/storetest"
)

// What belongs to an object can be made only while the object is there.
func TestRequire(t *testing.T) {
	s := storetest.New(t)
	owners, parts := store.Define[int](s, "owners"), store.Define[int](s, "parts")
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	makePart := func(key string) error { return s.Commit(t.Context(), owners.Require("a"), parts.Create(key, 1)) }
	if err := makePart("early"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("without the owner: %v, want ErrNotFound", err)
	}
	if _, err := parts.Get(t.Context(), "early"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the part is there: %v", err)
	}
	if err := s.Commit(t.Context(), owners.Create("a", 7)); err != nil {
		t.Fatal(err)
	}
	if err := makePart("timely"); err != nil {
		t.Errorf("with the owner: %v", err)
	}
	if owner, err := owners.Get(t.Context(), "a"); owner != 7 || err != nil {
		t.Errorf("the owner has become %d, %v", owner, err)
	}
}
