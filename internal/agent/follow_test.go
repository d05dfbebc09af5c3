package agent

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podid/podid/internal/feed"
	"github.com/podid/podid/internal/identity"
)

var (
	cartsAccount  = identity.ServiceAccount{Namespace: "carts", Name: "carts"}
	ordersAccount = identity.ServiceAccount{Namespace: "orders", Name: "orders"}
)

// tokenFor is the token of a pod of another service account than carts.
func tokenFor(account identity.ServiceAccount, pod string) string {
	return tokenOf(map[string]any{
		"exp": tomorrow().Unix(),
		"kubernetes.io": map[string]any{
			"namespace": account.Namespace, "pod": map[string]string{"name": pod, "uid": "5a20f883-0000-4000-9000-" + pod},
			"serviceaccount": map[string]string{"name": account.Name, "uid": "1"},
		},
	}, "SIGNATURE-"+pod)
}

// A change renews the pods of that service account within seconds, and no others.
func TestAssociationChanges(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{life: 6 * time.Hour}
			c := w.cache(t, nil)
			carts, orders := token("web", 1, tomorrow()), tokenFor(ordersAccount, "api")
			wantKey(t, c, carts, "ASIA1")
			wantKey(t, c, orders, "ASIA2")
			sink := c.sink()
			sink.List()
			sink.Put(feed.Association{ServiceAccount: cartsAccount})
			sink.Put(feed.Association{ServiceAccount: ordersAccount})
			sink.Mark(feed.Mark{Revision: 5, Listed: true})
			time.Sleep(listSpread + 2*sweepInterval)
			if n := w.count(); n != 4 {
				t.Fatalf("%d exchanges after the list, want each pod once more", n)
			}
			if deleted {
				w.say(func(string) error { return &APIError{Status: 404, Code: "ResourceNotFoundException"} })
				sink.Delete(cartsAccount)
			} else {
				sink.Put(feed.Association{ServiceAccount: cartsAccount})
			}
			sink.Mark(feed.Mark{Revision: 6})
			time.Sleep(changeSpread + 2*sweepInterval)
			if cached(c, carts) == deleted || !cached(c, orders) {
				t.Errorf("deleted: %v; carts in the cache: %v, orders: %v", deleted, cached(c, carts), cached(c, orders))
			}
			if n := w.count(); n != 5 {
				t.Errorf("%d exchanges, want one more", n)
			}
			if now := c.state().news; !now.up || now.revision != 6 {
				t.Errorf("the metrics say %+v", now)
			}
		})
	}
}

// An exchange that was under way when the association changed may have been made of what was before.
func TestChangeDuringAnExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: 6 * time.Hour, delay: time.Second}
		c := w.cache(t, nil)
		text := token("web", 1, tomorrow())
		go func() {
			time.Sleep(500 * time.Millisecond)
			c.sink().Put(feed.Association{ServiceAccount: cartsAccount})
		}()
		wantKey(t, c, text, "ASIA1")
		time.Sleep(changeSpread + 3*sweepInterval)
		wantKey(t, c, text, "ASIA2")
		if w.count() != 2 {
			t.Errorf("%d exchanges, want 2", w.count())
		}
	})
}

// When the feed has lost its place, those whose association is not in the list are renewed at once; a list that is cut short, or a
// pod that came during the list, changes nothing.
func TestListOfAssociations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: 6 * time.Hour}
		c := w.cache(t, nil)
		for i := range 20 {
			wantKey(t, c, token(fmt.Sprintf("p%d", i), 1, tomorrow()), fmt.Sprintf("ASIA%d", i+1))
		}
		sink := c.sink()
		sink.List()
		sink.Mark(feed.Mark{Revision: 1})
		time.Sleep(time.Hour)
		if n := w.count(); n != 20 {
			t.Errorf("%d exchanges after a list that was cut short, want none more", n)
		}
		sink.List()
		wantKey(t, c, tokenFor(ordersAccount, "api"), "ASIA21")
		sink.Mark(feed.Mark{Revision: 2, Listed: true})
		time.Sleep(10 * time.Second) // 3 a second
		if n := w.count(); n != 41 {
			t.Errorf("%d exchanges, want one more for each pod whose association was not in the list", n)
		}
		sink.List()
		sink.Lost(nil)
		sink.Put(feed.Association{ServiceAccount: ordersAccount}) // a change that the next connection begins with
		time.Sleep(changeSpread + 2*sweepInterval)
		if n := w.count(); n != 42 {
			t.Errorf("%d exchanges, want one more for the change after a list that was cut off", n)
		}
	})
}
