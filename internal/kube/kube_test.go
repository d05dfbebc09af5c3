package kube_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/podid/podid/internal/kube"
	"github.com/podid/podid/internal/kube/kubetest"
)

const accounts = "/api/v1/namespaces/carts/serviceaccounts/"

// follow follows all service accounts and returns what is told.
func follow(t *testing.T, api *kubetest.API, r kube.Resource) <-chan string {
	t.Helper()
	told := make(chan string, 10000)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	client := api.Client(t)
	go func() {
		defer close(ended)
		client.Follow(ctx, r, kube.Sink{
			List: func() { told <- "list" },
			Put: func(m *kube.Metadata, _ []byte) {
				told <- "put " + m.Namespace + "/" + m.Name + " " + m.Annotations["a"]
			},
			Delete: func(m *kube.Metadata) { told <- "delete " + m.Namespace + "/" + m.Name },
			Synced: func() { told <- "synced" },
			Lost:   func(error) { told <- "lost" },
		})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return told
}

func want(t *testing.T, told <-chan string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		select {
		case got := <-told:
			if got != line {
				t.Fatalf("got %q, want %q", got, line)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%q never came", line)
		}
	}
}

func TestFollow(t *testing.T) {
	api := kubetest.New(t)
	api.Put(accounts+"carts", kubetest.Object{"metadata": kubetest.Object{"annotations": kubetest.Object{"a": "1"}}})
	api.Put("/api/v1/namespaces/orders/secrets/other", kubetest.Object{})
	told := follow(t, api, kube.Resource{Path: "/api/v1/serviceaccounts", Metadata: true})
	want(t, told, "list", "put carts/carts 1", "synced")
	api.Put(accounts+"api", kubetest.Object{})
	api.Put(accounts+"carts", kubetest.Object{})
	api.Delete(accounts + "carts")
	want(t, told, "put carts/api ", "put carts/carts ", "delete carts/carts")

	api.Cut()
	api.Put(accounts+"new", kubetest.Object{})
	want(t, told, "put carts/new ") // and no list: the watch goes on where it was

	api.Forget()
	api.Cut()
	want(t, told, "list", "put carts/api ", "put carts/new ", "synced")

	api.Down(true)
	api.Cut()
	want(t, told, "lost")
	api.Down(false)
	api.Put(accounts+"last", kubetest.Object{})
	for got := ""; got != "put carts/last "; {
		select {
		case got = <-told:
		case <-time.After(30 * time.Second):
			t.Fatal("it did not come back")
		}
	}
}

func TestFollowPages(t *testing.T) {
	api := kubetest.New(t)
	for i := range 1200 {
		api.Put(fmt.Sprintf("%s%04d", accounts, i), kubetest.Object{})
	}
	told := follow(t, api, kube.Resource{Path: "/api/v1/serviceaccounts", Metadata: true})
	want(t, told, "list")
	for i := range 1200 {
		want(t, told, fmt.Sprintf("put carts/%04d ", i))
	}
	want(t, told, "synced")
	if n := api.Requests("GET", "/api/v1/serviceaccounts"); n != 3 {
		t.Errorf("listed by %d requests, want 3", n)
	}
}

func TestFollowOne(t *testing.T) {
	api := kubetest.New(t)
	api.Put("/api/v1/namespaces/eks/configmaps/other", kubetest.Object{})
	told := follow(t, api, kube.Resource{Path: "/api/v1/namespaces/eks/configmaps", Name: "one"})
	want(t, told, "list", "synced")
	api.Put("/api/v1/namespaces/eks/configmaps/other", kubetest.Object{})
	api.Put("/api/v1/namespaces/eks/configmaps/one", kubetest.Object{})
	want(t, told, "put eks/one ")
}

func TestDo(t *testing.T) {
	api := kubetest.New(t)
	client := api.Client(t)
	err := client.Do(t.Context(), http.MethodGet, accounts+"carts", nil, nil)
	if !kube.IsCode(err, http.StatusNotFound) {
		t.Errorf("got %v, want 404", err)
	}
	if got, want := fmt.Sprint(err), "the API says NotFound (404 NotFound)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
