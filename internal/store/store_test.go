package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/store/storetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

type dish struct {
	Name  string `json:"name"`
	Price int    `json:"price"`
}

func name(_ string, d dish) string { return d.Name }

// kitchen is a store with one collection and an index of the names.
func kitchen(t testing.TB) (*store.Store, *store.Collection[dish], *store.Index[string]) {
	t.Helper()
	s := storetest.New(t)
	dishes := store.Define[dish](s, "dishes")
	names := store.NewIndex(dishes, name)
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, dishes, names
}

func commit(t testing.TB, s *store.Store, ops ...store.Op) {
	t.Helper()
	if err := s.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
}

func contents(names *store.Index[string], prefix, after string) map[string]string {
	return maps.Collect(names.Scan(prefix, after))
}

func TestCommit(t *testing.T) {
	s, dishes, names := kitchen(t)
	commit(t, s, dishes.Create("it/pasta", dish{"Pasta", 9}), dishes.Put("fr/soup", dish{"Soupe", 7}))

	tests := []struct {
		name string
		ops  []store.Op
		want error
		key  string
	}{
		{"create what exists", []store.Op{dishes.Put("a", dish{}), dishes.Create("it/pasta", dish{})}, store.ErrExists, "/podid/v1/dishes/it/pasta"},
		{"delete what is missing", []store.Op{dishes.Delete("it/pasta"), dishes.Delete("b")}, store.ErrNotFound, "/podid/v1/dishes/b"},
		{"the first is to blame", []store.Op{dishes.Delete("b"), dishes.Create("it/pasta", dish{})}, store.ErrNotFound, "/podid/v1/dishes/b"},
		{"twice the same key", []store.Op{dishes.Put("a", dish{}), dishes.Delete("a")}, nil, "/podid/v1/dishes/a"},
		{"empty key", []store.Op{dishes.Put("", dish{})}, nil, "/podid/v1/dishes/"},
		{"leading slash", []store.Op{dishes.Put("/a", dish{})}, nil, "/podid/v1/dishes//a"},
		{"closing slash", []store.Op{dishes.Put("a/", dish{})}, nil, "/podid/v1/dishes/a/"},
		{"long key", []store.Op{dishes.Put(strings.Repeat("k", 1025), dish{})}, nil, "/podid/v1/dishes/" + strings.Repeat("k", 1025)},
		{"large value", []store.Op{dishes.Put("a", dish{strings.Repeat("x", 1<<20), 1})}, nil, "/podid/v1/dishes/a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := s.Commit(t.Context(), tt.ops...)
			var which *store.OpError
			if !errors.As(err, &which) || which.Key != tt.key {
				t.Errorf("got %v, want an OpError for %s", err, tt.key)
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if got, want := contents(names, "", ""), map[string]string{"it/pasta": "Pasta", "fr/soup": "Soupe"}; !cmp.Equal(got, want) {
				t.Errorf("something was written: %s", cmp.Diff(want, got))
			}
		})
	}
	t.Run("too many", func(t *testing.T) {
		var ops []store.Op
		for i := range 129 {
			ops = append(ops, dishes.Put(fmt.Sprint(i), dish{}))
		}
		if err := s.Commit(t.Context(), ops...); err == nil {
			t.Error("129 operations were taken")
		}
		commit(t, s, ops[:128]...)
		if got := names.Len(""); got != 130 {
			t.Errorf("got %d entries, want 130", got)
		}
	})
	t.Run("nothing", func(t *testing.T) { commit(t, s) })
}

func TestGet(t *testing.T) {
	s, dishes, _ := kitchen(t)
	want := dish{"Soupe", 7}
	commit(t, s, dishes.Create("soup", want))
	if got, err := dishes.Get(t.Context(), "soup"); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	commit(t, s, dishes.Delete("soup"))
	for _, key := range []string{"soup", "sou", "soup/x"} {
		if _, err := dishes.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "/podid/v1/dishes/"+key) {
			t.Errorf("%s: got %v, want ErrNotFound with the key", key, err)
		}
	}
	if _, err := dishes.Get(t.Context(), ""); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("empty key: got %v, want an error that is not about the object", err)
	}
	if _, err := dishes.Get(canceled(), "soup"); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want a fault", err)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestUpdate(t *testing.T) {
	s, dishes, names := kitchen(t)
	commit(t, s, dishes.Create("soup", dish{"Soupe", 7}))

	got, err := dishes.Update(t.Context(), "soup", func(d *dish) error { d.Name += "!"; return nil })
	if want := (dish{"Soupe!", 7}); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, _ := names.Get("soup"); got != "Soupe!" {
		t.Errorf("index has %q", got)
	}

	no := errors.New("not today")
	if _, err := dishes.Update(t.Context(), "soup", func(d *dish) error { d.Price = 0; return no }); !errors.Is(err, no) {
		t.Errorf("got %v, want the function's error", err)
	}
	if got, _ := dishes.Get(t.Context(), "soup"); got.Price != 7 {
		t.Errorf("an update that failed was written: %v", got)
	}

	if _, err := dishes.Update(t.Context(), "stew", func(*dish) error { return nil }); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if _, ok := names.Get("stew"); ok {
		t.Error("an update created its object")
	}
}

func TestUpdateConcurrently(t *testing.T) {
	s, dishes, _ := kitchen(t)
	commit(t, s, dishes.Create("soup", dish{"Soupe", 0}))
	const writers, increments = 8, 25
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range increments {
				if _, err := dishes.Update(t.Context(), "soup", func(d *dish) error { d.Price++; return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, _ := dishes.Get(t.Context(), "soup"); got.Price != writers*increments {
		t.Errorf("got %d, want %d", got.Price, writers*increments)
	}
}

func TestCreateConcurrently(t *testing.T) {
	s, dishes, _ := kitchen(t)
	var wg sync.WaitGroup
	created := make(chan string, 16)
	for i := range 16 {
		wg.Go(func() {
			name := fmt.Sprint("chef ", i)
			err := s.Commit(t.Context(), dishes.Create("soup", dish{name, i}), dishes.Create(name, dish{}))
			switch {
			case err == nil:
				created <- name
			case !errors.Is(err, store.ErrExists):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(created)
	winners := slices.Collect(chanSeq(created))
	if got, err := dishes.Get(t.Context(), "soup"); err != nil || len(winners) != 1 || got.Name != winners[0] {
		t.Errorf("got %v, %v and winners %v, want one and the same", got, err, winners)
	}
}

func chanSeq[T any](c chan T) func(func(T) bool) {
	return func(yield func(T) bool) {
		for v := range c {
			if !yield(v) {
				return
			}
		}
	}
}

// Every write is visible in the index as soon as it returns.
func TestReadYourWrites(t *testing.T) {
	s, dishes, names := kitchen(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			key := fmt.Sprint("soup ", w)
			for i := range 100 {
				want := fmt.Sprint(i)
				if err := s.Commit(t.Context(), dishes.Put(key, dish{Name: want})); err != nil {
					t.Error(err)
				}
				if got, _ := names.Get(key); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			if err := s.Commit(t.Context(), dishes.Delete(key)); err != nil {
				t.Error(err)
			}
			if got, ok := names.Get(key); ok {
				t.Errorf("got %q after the removal", got)
			}
		})
	}
	wg.Wait()
	if err := s.Fresh(); err != nil {
		t.Error(err)
	}
}

// A scan sees one moment, whatever is written meanwhile.
func TestScanDuringWrites(t *testing.T) {
	s, dishes, names := kitchen(t)
	both := func(name string) { commit(t, s, dishes.Put("a", dish{Name: name}), dishes.Put("z", dish{Name: name})) }
	both("old")
	for key, got := range names.Scan("", "") {
		if key == "a" {
			both("new")
		}
		if got != "old" {
			t.Errorf("%s: got %q, want what was there when the scan began", key, got)
		}
	}
	if got, _ := names.Get("z"); got != "new" {
		t.Errorf("got %q, want new", got)
	}
}

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	open := func() (*store.Store, *store.Collection[dish], *store.Index[string]) {
		s, err := store.Open(t.Context(), store.Config{DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		dishes := store.Define[dish](s, "dishes")
		names := store.NewIndex(dishes, name)
		if err := s.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s, dishes, names
	}
	s, dishes, _ := open()
	// More than two pages, so that listing has to turn them.
	for i := range 20 {
		var ops []store.Op
		for j := range 128 {
			ops = append(ops, dishes.Create(fmt.Sprintf("%02d/%03d", i, j), dish{Name: fmt.Sprint(i, j)}))
		}
		commit(t, s, ops...)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: got %v, %v, want mode 0700", info.Mode(), err)
	}

	_, err := store.Open(t.Context(), store.Config{DataDir: dir})
	want := fmt.Sprintf("data directory %s is in use by another podid (process %d)", dir, os.Getpid())
	if !errors.Is(err, store.ErrLocked) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}

	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if err := s.Commit(t.Context(), dishes.Put("a", dish{})); err == nil {
		t.Error("a closed store took a write")
	}
	s, dishes, names := open()
	defer s.Close()
	if got := names.Len(""); got != 20*128 {
		t.Errorf("got %d entries, want %d", got, 20*128)
	}
	if got, _ := names.Get("19/127"); got != "19 127" {
		t.Errorf("got %q", got)
	}
	commit(t, s, dishes.Delete("19/127"))
	if got := names.Len("19/"); got != 127 {
		t.Errorf("got %d entries, want 127", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, cfg := range map[string]store.Config{
		"nothing":                 {},
		"both":                    {DataDir: t.TempDir(), Endpoints: []string{"http://127.0.0.1:1"}},
		"no sync of the external": {Endpoints: []string{"http://127.0.0.1:1"}, UnsafeNoSync: true},
	} {
		if _, err := store.Open(t.Context(), cfg); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := store.Open(ctx, store.Config{Endpoints: []string{"http://127.0.0.1:1"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

func TestDefineRefuses(t *testing.T) {
	s := storetest.New(t)
	dishes := store.Define[dish](s, "menu/dishes")
	refused := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s was taken", name)
			}
		}()
		f()
	}
	for _, name := range []string{"menu/dishes", "menu", "menu/dishes/hot", "", "a/"} {
		refused("name "+name, func() { store.Define[dish](s, name) })
	}
	store.Define[dish](s, "menu/dish")
	if err := s.Fresh(); err == nil {
		t.Error("fresh before it was loaded")
	}
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused("late collection", func() { store.Define[dish](s, "late") })
	refused("late index", func() { store.NewIndex(dishes, name) })
	if err := s.Load(t.Context()); err == nil {
		t.Error("loaded twice")
	}
}

func BenchmarkCommit(b *testing.B) {
	s, err := store.Open(b.Context(), store.Config{DataDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	dishes := store.Define[dish](s, "dishes")
	store.NewIndex(dishes, name)
	if err := s.Load(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		commit(b, s, dishes.Put("soup", dish{"Soupe", 7}))
	}
}

func BenchmarkIndexGet(b *testing.B) {
	s, dishes, names := kitchen(b)
	for i := 0; i < 100_000; i += 128 {
		var ops []store.Op
		for j := range 128 {
			ops = append(ops, dishes.Put(fmt.Sprintf("production/namespace-%03d/%06d", (i+j)%500, i+j), dish{"Soupe", 7}))
		}
		commit(b, s, ops...)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := names.Get("production/namespace-077/077077"); !ok {
			b.Fatal("not found")
		}
	}
}
