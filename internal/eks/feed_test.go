package eks

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/store/storetest"
)

// TestClusterIsDeleted checks how a feed ends with its cluster. There is no operation yet that deletes one.
func TestClusterIsDeleted(t *testing.T) {
	st := storetest.New(t)
	d := directory.New(st)
	if err := st.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.Commit(t.Context(), d.Clusters.Create("demo", identity.Cluster{Name: "demo"})); err != nil {
		t.Fatal(err)
	}
	s := New(Config{Store: st, Directory: d, Now: time.Now})
	lines := make(chan string, 10)
	go func() {
		defer close(lines)
		s.tell(t.Context(), "demo", store.Position{}, func(sent ...any) error {
			for _, l := range sent {
				text, _ := json.Marshal(l)
				lines <- string(text)
			}
			return nil
		})
	}()
	for range 3 { // CLUSTER, LIST, SYNCED
		<-lines
	}
	if err := st.Commit(context.WithoutCancel(t.Context()), d.Clusters.Delete("demo")); err != nil {
		t.Fatal(err)
	}
	const want = `{"type":"END","code":"ResourceNotFoundException","message":"No cluster found for name: demo."}`
	if got := <-lines; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if more, ok := <-lines; ok {
		t.Errorf("the feed went on: %s", more)
	}
}
