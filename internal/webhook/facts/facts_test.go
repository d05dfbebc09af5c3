package facts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/feed"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/kube/kubetest"
	"github.com/podid/podid/internal/webhook"
)

var (
	carts  = identity.ServiceAccount{Namespace: "carts", Name: "carts"}
	orders = identity.ServiceAccount{Namespace: "orders", Name: "api"}
)

func logger(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// running runs something until the test ends.
func running(t *testing.T, run func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() { defer close(ended); run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
}

// TestSet goes through more lists than the set can tell apart by their number.
func TestSet(t *testing.T) {
	s := newSet()
	s.add(orders)
	for i := range 600 {
		account := identity.ServiceAccount{Namespace: "n", Name: fmt.Sprint(i)}
		s.beginList()
		s.add(account)
		if i > 0 && s.len() < 2 {
			t.Fatalf("list %d: what was there is gone before the list has ended", i)
		}
		if i%3 == 0 {
			s.beginList() // the list was cut short and begins again
			s.add(account)
		}
		if s.endList(); s.len() != 1 || !s.has(account) {
			t.Fatalf("list %d: %d members, and has the new one: %v", i, s.len(), s.has(account))
		}
	}
	if !s.remove(identity.ServiceAccount{Namespace: "n", Name: "599"}) || s.remove(carts) || s.len() != 0 {
		t.Error("removing does not tell whether it was there")
	}
	if s.add(identity.ServiceAccount{Namespace: "a", Name: "b.c"}); s.has(identity.ServiceAccount{Namespace: "a.b", Name: "c"}) {
		t.Error("two service accounts are one")
	}
}

func TestCopy(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "copy")
	c := &diskCopy{header: header{Endpoint: "https://podid.example.com", Cluster: feed.Cluster{Name: "demo", Region: "us-west-2"}, Position: "a.7", Revision: 7}}
	for i := range 1000 {
		sum := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		c.members = append(c.members, digest(sum[:16]))
	}
	if err := c.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := readCopy(path)
	if err != nil || got.header != c.header || !slices.Equal(got.members, c.members) {
		t.Fatalf("got %+v with %d members, %v", got.header, len(got.members), err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	// What cannot be written leaves what is there.
	if err := c.write(filepath.Join(dir, "none", "copy")); err == nil {
		t.Error("written into a directory that does not exist")
	}
	whole, _ := os.ReadFile(path)
	for _, n := range []int{0, 1, 50, len(whole) - 33, len(whole) - 1} {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readCopy(path); err == nil {
			t.Errorf("a copy of %d out of %d bytes was read", n, len(whole))
		}
	}
	for _, at := range []int{10, 60, len(whole) - 100, len(whole) - 1} {
		damaged := slices.Clone(whole)
		damaged[at] ^= 4
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readCopy(path); err == nil {
			t.Errorf("a copy that is damaged at %d was read", at)
		}
	}
	if err := os.WriteFile(path, append(slices.Clone(whole), 0), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readCopy(path); err == nil {
		t.Error("a copy with something behind it was read")
	}
}

// TestCopyOfOthers checks that a copy is used for its own cluster and endpoint only.
func TestCopyOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "copy")
	c := &diskCopy{header: header{Endpoint: "https://podid.example.com", Cluster: feed.Cluster{Name: "demo"}}, members: []digest{digestOf(carts)}}
	if err := c.write(path); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		endpoint, cluster string
		want              bool
	}{{c.Endpoint, "demo", true}, {c.Endpoint, "other", false}, {"https://other.example.com", "demo", false}} {
		a := FollowFeed(FeedConfig{Endpoint: test.endpoint, Cluster: test.cluster, Copy: path, Logger: logger(t)})
		_, err := a.Ready()
		if a.Has(carts) != test.want || (err == nil) != test.want || a.Live() {
			t.Errorf("%v: has %v, ready %v, live %v", test, a.Has(carts), err, a.Live())
		}
	}
}

func TestAccounts(t *testing.T) {
	api := kubetest.New(t)
	annotated := func(name, value string) kubetest.Object {
		return kubetest.Object{"metadata": kubetest.Object{"annotations": kubetest.Object{name: value, "example.com/x": "y"}}}
	}
	const path = "/api/v1/namespaces/carts/serviceaccounts/"
	api.Put(path+"carts", annotated("eks.amazonaws.com/role-arn", "one"))
	api.Put(path+"plain", annotated("example.com/role-arn", "one"))
	a := FollowAccounts(api.Client(t), "eks.amazonaws.com", logger(t))
	running(t, a.Run)
	eventually(t, "all are known", a.Synced)
	got, ok := a.Find(carts)
	if diff := cmp.Diff(map[string]string{"eks.amazonaws.com/role-arn": "one"}, got); !ok || diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got, ok := a.Find(identity.ServiceAccount{Namespace: "carts", Name: "plain"}); !ok || got != nil || a.Len() != 2 || a.Annotated() != 1 {
		t.Errorf("got %v, %v; %d accounts, %d annotated", got, ok, a.Len(), a.Annotated())
	}
	api.Put(path+"carts", kubetest.Object{})
	eventually(t, "the annotation is gone", func() bool { got, ok := a.Find(carts); return ok && got == nil })
	api.Put(path+"carts", annotated("eks.amazonaws.com/role-arn", "two"))
	eventually(t, "it is back", func() bool { return a.Annotated() == 1 })

	// While the watch is cut, one is deleted and the API server forgets that it was.
	api.Down(true)
	api.Cut()
	api.Delete(path + "carts")
	api.Forget()
	api.Down(false)
	eventually(t, "the deleted one is gone", func() bool { _, ok := a.Find(carts); return !ok && a.Annotated() == 0 })
}

func TestMapping(t *testing.T) {
	api := kubetest.New(t)
	m := FollowMapping(api.Client(t), "eks", logger(t))
	running(t, m.Run)
	const path = "/api/v1/namespaces/eks/configmaps/" + MappingName
	put := func(config string) { api.Put(path, kubetest.Object{"data": kubetest.Object{"config": config}}) }
	role := func() string {
		if r := m.Find(carts); r != nil {
			return r.RoleARN
		}
		return ""
	}
	put(`{"carts/carts":{"RoleARN":"one"}}`)
	eventually(t, "the mapping is there", func() bool { return role() == "one" })
	put(`{"carts/carts":{"RoleARN":"two"},"nonsense":{"RoleARN":"x"}}`)
	eventually(t, "what makes sense of it counts", func() bool { return role() == "two" })
	put(`nonsense`)
	put(`{"*/carts":{"RoleARN":"three"}}`)
	eventually(t, "it goes on after nonsense", func() bool {
		if role() == "" {
			t.Fatal("nonsense has emptied the mapping")
		}
		return role() == "three"
	})
	api.Delete(path)
	eventually(t, "it is empty without the config map", func() bool { return role() == "" })
}

// TestLookup checks who is asked about what: nobody about what is known.
func TestLookup(t *testing.T) {
	const role = "eks.amazonaws.com/role-arn"
	fault := errors.New("no connection")
	for _, test := range []struct {
		what       string
		associated bool  // in memory
		live       bool  // the feed is up
		known      bool  // the service account, in memory
		exists     bool  // and at the API, with a role
		plain      bool  // there without a role
		down       bool  // the API
		answer     bool  // of podid
		fault      error // of podid
		want       webhook.ServiceAccountFacts
		asked      int // podid
		read       int // the API
		wantErr    string
	}{
		{what: "associated and known", associated: true, live: true, known: true, want: webhook.ServiceAccountFacts{Associated: true, Found: true}},
		{what: "known", live: true, known: true, want: webhook.ServiceAccountFacts{Found: true}},
		{what: "known, the feed is not up", known: true, answer: true, asked: 1, want: webhook.ServiceAccountFacts{Associated: true, Found: true}},
		{what: "known, podid is not up", known: true, fault: fault, asked: 1, want: webhook.ServiceAccountFacts{Found: true}},
		{what: "new, with a role", live: true, exists: true, asked: 1, read: 1,
			want: webhook.ServiceAccountFacts{Found: true, Annotations: map[string]string{role: "r"}}},
		{what: "new, with a new association", live: true, exists: true, answer: true, asked: 1, read: 1,
			want: webhook.ServiceAccountFacts{Associated: true, Found: true, Annotations: map[string]string{role: "r"}}},
		{what: "associated, and new", associated: true, live: true, exists: true, read: 1,
			want: webhook.ServiceAccountFacts{Associated: true, Found: true, Annotations: map[string]string{role: "r"}}},
		{what: "it does not exist", live: true, asked: 1, read: 1},
		{what: "new, the API is not up", live: true, down: true, asked: 1, read: 1, wantErr: "reading the service account"},
		{what: "new, with a role, podid is not up", live: true, exists: true, fault: fault, asked: 1, read: 1,
			want: webhook.ServiceAccountFacts{Found: true, Annotations: map[string]string{role: "r"}}},
		{what: "new, without a role, podid is not up", live: true, plain: true, fault: fault, asked: 1, read: 1, wantErr: "no connection"},
		{what: "associated and new, the API is not up", associated: true, live: true, down: true, read: 1,
			want: webhook.ServiceAccountFacts{Associated: true}},
	} {
		t.Run(test.what, func(t *testing.T) {
			api := kubetest.New(t)
			const path = "/api/v1/namespaces/carts/serviceaccounts/carts"
			if test.exists {
				api.Put(path, kubetest.Object{"metadata": kubetest.Object{"annotations": kubetest.Object{role: "r"}}})
			}
			if test.plain {
				api.Put(path, kubetest.Object{})
			}
			api.Down(test.down)
			associations := NoAssociations()
			if test.associated {
				associations.set.add(carts)
			}
			if !test.live {
				associations.lost = fault
			}
			accounts := FollowAccounts(api.Client(t), "eks.amazonaws.com", logger(t))
			if test.known {
				accounts.seen.add(carts)
			}
			asked := 0
			l := New(Config{Associations: associations, Accounts: accounts, Logger: logger(t),
				Ask: func(context.Context, identity.ServiceAccount) (bool, error) { asked++; return test.answer, test.fault }})
			got, err := l.Find(t.Context(), carts)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("got %v, want %q", err, test.wantErr)
				}
			} else if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got)\n%s", err, diff)
			}
			if read := api.Requests("GET", path); asked != test.asked || read != test.read {
				t.Errorf("podid was asked %d times and the API %d times, want %d and %d", asked, read, test.asked, test.read)
			}
		})
	}
}

// TestLookupIsLimited checks that many pods of unknown service accounts do not become as many questions, and that one who does not
// answer is not waited for.
func TestLookupIsLimited(t *testing.T) {
	api := kubetest.New(t)
	l := New(Config{Associations: NoAssociations(), Accounts: FollowAccounts(api.Client(t), "eks.amazonaws.com", logger(t)), Logger: logger(t)})
	refused := 0
	for i := range 100 {
		if _, err := l.Find(t.Context(), identity.ServiceAccount{Namespace: "n", Name: fmt.Sprint(i)}); errors.Is(err, errTooMany) {
			refused++
		}
	}
	if refused < 50 {
		t.Errorf("%d of 100 questions at once were refused", refused)
	}

	l = New(Config{Associations: NoAssociations(), Logger: logger(t), Ask: func(ctx context.Context, _ identity.ServiceAccount) (bool, error) {
		<-ctx.Done() // ends by itself, or this test never does
		return false, ctx.Err()
	}})
	l.Associations.lost = errors.New("not up")
	if got, err := l.Find(t.Context(), carts); err != nil || got.Associated {
		t.Errorf("got %+v, %v", got, err)
	}
}
