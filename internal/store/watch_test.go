package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/store/storetest"
)

// open opens a store on an external etcd.
func open(t testing.TB, endpoint string, now func() time.Time) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Endpoints: []string{endpoint}, Now: now,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	s.SetPulse(20 * time.Millisecond)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func menu(t testing.TB, s *store.Store) (*store.Collection[dish], *store.Index[string]) {
	t.Helper()
	dishes := store.Define[dish](s, "dishes")
	names := store.NewIndex(dishes, name)
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dishes, names
}

// client speaks to etcd past the store.
func client(t testing.TB, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func put(t testing.TB, c *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := c.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what comes by watch; a test fails by its context only if it never comes.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestTwoStoresOnOneEtcd(t *testing.T) {
	endpoint := storetest.Etcd(t)
	s1, s2 := open(t, endpoint, nil), open(t, endpoint, nil)
	dishes1, names1 := menu(t, s1)
	dishes2, names2 := menu(t, s2)

	commit(t, s1, dishes1.Create("soup", dish{"Soupe", 7}))
	if err := s2.Commit(t.Context(), dishes2.Create("soup", dish{"Suppe", 7})); !errors.Is(err, store.ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	if got, err := dishes2.Get(t.Context(), "soup"); err != nil || got.Name != "Soupe" {
		t.Errorf("got %v, %v", got, err)
	}
	eventually(t, "the other store sees the object", func() bool { got, _ := names2.Get("soup"); return got == "Soupe" })

	var wg sync.WaitGroup
	for _, dishes := range []*store.Collection[dish]{dishes1, dishes2} {
		wg.Go(func() {
			for range 30 {
				if _, err := dishes.Update(t.Context(), "soup", func(d *dish) error { d.Price++; return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, err := dishes1.Get(t.Context(), "soup"); err != nil || got.Price != 67 {
		t.Errorf("got %v, %v, want 67", got, err)
	}
	commit(t, s2, dishes2.Delete("soup"))
	eventually(t, "the other store sees the removal", func() bool { return names1.Len("") == 0 })
	eventually(t, "the stores agree on the revision", func() bool { return s1.Revision() == s2.Revision() })
}

// link is a TCP connection to etcd that a test can cut.
type link struct {
	url    string
	mu     sync.Mutex // guards the following
	to     string
	cut    bool
	active []net.Conn
}

func newLink(t *testing.T, endpoint string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{url: "http://" + listener.Addr().String(), to: endpoint}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			l.mu.Lock()
			to := l.to
			l.mu.Unlock()
			out, err := net.Dial("tcp", strings.TrimPrefix(to, "http://"))
			if err != nil || !l.add(in, out) {
				_ = in.Close()
				continue
			}
			wg.Go(func() { pipe(in, out) })
			wg.Go(func() { pipe(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		l.set(true)
		wg.Wait()
	})
	return l
}

func pipe(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (l *link) add(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active = append(l.active, conns...)
	if l.cut {
		for _, c := range conns {
			_ = c.Close()
		}
	}
	return !l.cut
}

func (l *link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if cut {
		for _, c := range l.active {
			_ = c.Close()
		}
		l.active = nil
	}
}

// A store that was cut off goes on where it was, or lists anew if etcd has forgotten what happened meanwhile. Until then it serves
// what it has, and says that it is not fresh.
func TestReconnect(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		t.Run(fmt.Sprintf("compacted=%v", compacted), func(t *testing.T) {
			endpoint := storetest.Etcd(t)
			l := newLink(t, endpoint)
			var clock fakeTime
			s := open(t, l.url, clock.now)
			dishes, names := menu(t, s)
			commit(t, s, dishes.Put("kept", dish{Name: "kept"}), dishes.Put("changed", dish{Name: "old"}), dishes.Put("removed", dish{Name: "old"}))
			before := contents(names, "", "")

			l.set(true)
			clock.advance(store.StaleAfter + time.Second)
			if err := s.Fresh(); err == nil || !strings.Contains(err.Error(), "missed for 11s") {
				t.Errorf("cut off: got %v, want that changes may have been missed", err)
			}
			other := open(t, endpoint, nil)
			theirs, _ := menu(t, other)
			commit(t, other, theirs.Put("changed", dish{Name: "new"}), theirs.Delete("removed"), theirs.Put("added", dish{Name: "new"}))
			if compacted {
				if _, err := client(t, endpoint).Compact(t.Context(), other.Revision(), clientv3.WithCompactPhysical()); err != nil {
					t.Fatal(err)
				}
			}
			if got := contents(names, "", ""); !cmp.Equal(got, before) {
				t.Errorf("the index changed without a connection: %s", cmp.Diff(before, got))
			}

			l.set(false)
			want := map[string]string{"kept": "kept", "changed": "new", "added": "new"}
			eventually(t, "the index catches up", func() bool {
				if names.Len("") == 0 {
					t.Fatal("the index was emptied")
				}
				return cmp.Equal(contents(names, "", ""), want)
			})
			eventually(t, "the store is fresh", func() bool { return s.Fresh() == nil })
			commit(t, s, dishes.Put("kept", dish{Name: "again"}))
			if got, _ := names.Get("kept"); got != "again" {
				t.Errorf("got %q after reconnecting", got)
			}
		})
	}
}

// An etcd that was restored from a backup is behind us. The store goes back with it.
func TestRestoredEtcd(t *testing.T) {
	endpoint, restored := storetest.Etcd(t), storetest.Etcd(t)
	l := newLink(t, endpoint)
	s := open(t, l.url, nil)
	dishes, names := menu(t, s)
	for i := range 10 {
		commit(t, s, dishes.Put("soup", dish{Name: fmt.Sprint(i)}))
	}
	put(t, client(t, restored), "/podid/v1/dishes/soup", `{"v":1,"d":{"name":"restored"}}`)
	l.set(true)
	l.mu.Lock()
	l.to = restored
	l.mu.Unlock()
	l.set(false)
	eventually(t, "the store has gone back", func() bool { got, _ := names.Get("soup"); return got == "restored" })
	commit(t, s, dishes.Put("soup", dish{Name: "new"}))
	if got, _ := names.Get("soup"); got != "new" {
		t.Errorf("got %q, want new", got)
	}
}

// fakeTime begins at the real time and moves only by advance.
type fakeTime struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *fakeTime) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Unix(1_800_000_000, 0).Add(c.ahead)
}

func (c *fakeTime) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// Without any change, etcd's answers to our asking keep the store fresh, embedded or not.
func TestFreshWithoutChanges(t *testing.T) {
	for name, cfg := range map[string]store.Config{
		"embedded": {DataDir: t.TempDir(), UnsafeNoSync: true},
		"external": {Endpoints: []string{storetest.Etcd(t)}},
	} {
		var clock fakeTime
		cfg.Now = clock.now
		s, err := store.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.SetPulse(20 * time.Millisecond)
		menu(t, s)
		if err := s.Fresh(); err != nil {
			t.Errorf("%s: after loading: %v", name, err)
		}
		clock.advance(time.Hour)
		if err := s.Fresh(); err == nil {
			t.Errorf("%s: fresh after an hour of silence", name)
		}
		eventually(t, name+" is fresh again", func() bool { return s.Fresh() == nil })
	}
}

// Changes of keys that are not ours move the revision, without a word on the watch.
func TestFreshWithForeignChanges(t *testing.T) {
	endpoint := storetest.Etcd(t)
	var clock fakeTime
	s := open(t, endpoint, clock.now)
	menu(t, s)
	raw := client(t, endpoint)
	for range 3 {
		put(t, raw, "/other/app", "x")
	}
	before := s.Revision()
	clock.advance(time.Hour)
	eventually(t, "the store is fresh", func() bool { return s.Fresh() == nil })
	if got := s.Revision(); got != before+3 {
		t.Errorf("got revision %d, want %d", got, before+3)
	}
}

func TestLoadRefusesWhatItCannotRead(t *testing.T) {
	const key = "/podid/v1/dishes/soup"
	for _, tt := range []struct{ name, value, want string }{
		{"newer schema", `{"v":2,"d":{"name":"Soupe"}}`, "its schema number is 2, and this podid knows only 1"},
		{"no schema", `{"name":"Soupe"}`, "its schema number is 0"},
		{"not JSON", `soup`, "invalid character"},
		{"wrong type", `{"v":1,"d":{"name":7}}`, "cannot unmarshal"},
		{"no data", `{"v":1}`, "unexpected end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			endpoint := storetest.Etcd(t)
			put(t, client(t, endpoint), key, tt.value)
			s := open(t, endpoint, nil)
			dishes := store.Define[dish](s, "dishes")
			names := store.NewIndex(dishes, name)
			err := s.Load(t.Context())
			if err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s and %q", err, key, tt.want)
			}
			if s.Fresh() == nil || s.Revision() != 0 || names.Len("") != 0 {
				t.Error("the store claims to be loaded")
			}
			if _, err := dishes.Get(t.Context(), "soup"); err == nil || errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Get: got %v, want %q", err, tt.want)
			}
			if _, err := dishes.Update(t.Context(), "soup", func(*dish) error { return nil }); err == nil {
				t.Error("a value that cannot be read was updated")
			}
		})
	}
}

func TestWatchKeepsTheOlderValue(t *testing.T) {
	endpoint := storetest.Etcd(t)
	s := open(t, endpoint, nil)
	dishes, names := menu(t, s)
	commit(t, s, dishes.Put("soup", dish{Name: "old"}))
	raw := client(t, endpoint)

	if _, err := raw.Txn(t.Context()).Then(
		clientv3.OpPut("/podid/v1/others/x", "not ours to read"), clientv3.OpPut("/podid/v1/dishes/soup", `{"v":2}`),
	).Commit(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, dishes.Put("stew", dish{Name: "stew"}))
	if got, _ := names.Get("soup"); got != "old" {
		t.Errorf("got %q, want the older value", got)
	}
	err := s.Fresh()
	if err == nil || !strings.Contains(err.Error(), "/podid/v1/dishes/soup") || !strings.Contains(err.Error(), "schema number is 2") {
		t.Errorf("got %v, want the key and the reason", err)
	}

	put(t, raw, "/podid/v1/dishes/soup", `{"v":1,"d":{"name":"new"}}`)
	eventually(t, "the store is fresh", func() bool { return s.Fresh() == nil })
	if got, _ := names.Get("soup"); got != "new" {
		t.Errorf("got %q, want new", got)
	}
}

// The same when the value is met while listing anew.
func TestListKeepsTheOlderValue(t *testing.T) {
	endpoint := storetest.Etcd(t)
	l := newLink(t, endpoint)
	s := open(t, l.url, nil)
	dishes, names := menu(t, s)
	commit(t, s, dishes.Put("soup", dish{Name: "old"}))
	l.set(true)
	raw := client(t, endpoint)
	put(t, raw, "/podid/v1/dishes/soup", `{"v":2}`)
	put(t, raw, "/podid/v1/dishes/stew", `{"v":2}`)
	resp, err := raw.Put(t.Context(), "/podid/v1/dishes/pasta", `{"v":1,"d":{"name":"new"}}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Compact(t.Context(), resp.Header.Revision); err != nil {
		t.Fatal(err)
	}
	l.set(false)
	want := map[string]string{"soup": "old", "pasta": "new"}
	eventually(t, "the index has what can be read", func() bool { return cmp.Equal(contents(names, "", ""), want) })
	if err := s.Fresh(); err == nil || !strings.Contains(err.Error(), "2 in all") {
		t.Errorf("got %v, want that two values cannot be decoded", err)
	}
}

// What is written while the pages of the listing are read is neither lost nor shown by halves.
func TestLoadDuringWrites(t *testing.T) {
	endpoint := storetest.Etcd(t)
	raw := client(t, endpoint)
	keys := []string{"0999!"} // sorts right after the last key of the first page
	for i := range 1500 {
		keys = append(keys, fmt.Sprintf("%04d", i))
	}
	for _, key := range keys {
		put(t, raw, "/podid/v1/dishes/"+key, `{"v":1,"d":{"name":"old"}}`)
	}
	s := open(t, endpoint, nil)
	var once sync.Once
	s.AfterGet(func() {
		once.Do(func() {
			put(t, raw, "/podid/v1/dishes/0000", `{"v":1,"d":{"name":"new"}}`)
			put(t, raw, "/podid/v1/dishes/1400", `{"v":1,"d":{"name":"new"}}`)
		})
	})
	dishes, names := menu(t, s)
	if got := names.Len(""); got != len(keys) {
		t.Errorf("got %d entries, want %d", got, len(keys))
	}
	commit(t, s, dishes.Put("other", dish{}))
	for _, key := range []string{"0000", "1400"} {
		if got, _ := names.Get(key); got != "new" {
			t.Errorf("%s: got %q, want new", key, got)
		}
	}
}

// An open watch is no proof of being up to date.
func TestDeafWatch(t *testing.T) {
	endpoint := storetest.Etcd(t)
	var clock fakeTime
	s := open(t, endpoint, clock.now)
	s.Deafen()
	reads := make(chan struct{}, 1000)
	s.AfterGet(func() { reads <- struct{}{} })
	dishes, _ := menu(t, s)
	put(t, client(t, endpoint), "/podid/v1/dishes/soup", `{"v":1,"d":{}}`)
	clock.advance(store.StaleAfter + time.Second)
	for len(reads) > 0 {
		<-reads
	}
	<-reads
	for range 20 { // long enough for several questions, were they answered
		if err := s.Fresh(); err == nil {
			t.Fatal("fresh, but a change was missed")
		}
		time.Sleep(5 * time.Millisecond)
	}

	done := make(chan error)
	go func() { done <- s.Commit(context.Background(), dishes.Put("stew", dish{})) }()
	eventually(t, "the write took place", func() bool { _, err := dishes.Get(t.Context(), "stew"); return err == nil })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v, want that the store was closed", err)
	}
}

// A write that fails is a fault, whether it took place or not: it is not tried again, and no fact is made of it.
func TestWriteFaults(t *testing.T) {
	s, dishes, names := kitchen(t)
	broken := errors.New("connection broke")
	commit(t, s, dishes.Put("soup", dish{"Soupe", 1}), dishes.Put("stew", dish{}))
	writes := map[string]func() error{
		"create": func() error { return s.Commit(t.Context(), dishes.Create("new", dish{Name: "new"})) },
		"delete": func() error { return s.Commit(t.Context(), dishes.Delete("stew")) },
		"update": func() error {
			_, err := dishes.Update(t.Context(), "soup", func(d *dish) error { d.Price++; return nil })
			return err
		},
		"remove": func() error {
			_, err := dishes.Remove(t.Context(), "soup", func(*dish) ([]store.Op, error) { return nil, nil })
			return err
		},
	}
	check := func(when string) {
		t.Helper()
		for _, name := range []string{"create", "delete", "update", "remove"} {
			err := writes[name]()
			var op *store.OpError
			if !errors.Is(err, broken) || errors.As(err, &op) || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
				t.Errorf("%s, failing %s it took place: got %v, want the fault and nothing else", name, when, err)
			}
		}
	}
	s.FailBefore(broken)
	check("before")
	s.FailBefore(nil)
	if got, err := dishes.Get(t.Context(), "soup"); err != nil || got.Price != 1 || names.Len("") != 2 {
		t.Errorf("a write that failed took place: %v, %v, %v", got, err, contents(names, "", ""))
	}
	s.FailAfter(broken)
	check("after")
	s.FailAfter(nil)
	eventually(t, "the index has the writes all the same", func() bool {
		return cmp.Equal(contents(names, "", ""), map[string]string{"new": "new"})
	})
}

// Update gives up, with ErrConflict, on an object that is changed at every try.
func TestUpdateGivesUp(t *testing.T) {
	s, dishes, _ := kitchen(t)
	commit(t, s, dishes.Put("soup", dish{}))
	tries := 0
	_, err := dishes.Update(t.Context(), "soup", func(*dish) error {
		tries++
		return s.Commit(t.Context(), dishes.Put("soup", dish{Price: tries}))
	})
	if !errors.Is(err, store.ErrConflict) || tries != store.MaxTries {
		t.Errorf("got %v after %d tries, want ErrConflict after %d", err, tries, store.MaxTries)
	}
	if got, _ := dishes.Get(t.Context(), "soup"); got.Price != tries {
		t.Errorf("got %v, want the others' last write", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = dishes.Update(ctx, "soup", func(*dish) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the caller went away", err)
	}
}
