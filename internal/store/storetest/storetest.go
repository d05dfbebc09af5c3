// Package storetest gives tests a real store: an embedded etcd in a temporary directory. There is no fake one.
package storetest

import (
	"log/slog"
	"testing"

	"github.com/podid/podid/internal/store"
)

// New opens a store that is closed when the test ends. The caller defines its collections and indexes and loads it.
func New(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{
		DataDir:      t.TempDir(),
		UnsafeNoSync: true,
		Logger:       slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatalf("opening a store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}
