// Package kubetest is a Kubernetes API for tests: objects of any kind in memory, with lists in pages, watches that forget, resource
// versions and JSON patches. It checks nothing else; tests against a real API server are in test/kube.
package kubetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/client-go/rest"

	"github.com/podid/podid/internal/kube"
)

// Object is any object, by its JSON.
type Object = map[string]any

// API is the server.
type API struct {
	URL string

	mu       sync.Mutex // guards the following
	objects  map[string]Object
	version  int
	events   []event
	oldest   int           // the version after which all events are there
	changed  chan struct{} // closed and replaced at each event
	cut      chan struct{} // closed and replaced by Cut
	down     bool
	requests map[string]int
}

type event struct {
	version int
	kind    string
	path    string
	object  Object
}

// New starts a server that ends with the test.
func New(t testing.TB) *API {
	t.Helper()
	a := &API{objects: map[string]Object{}, changed: make(chan struct{}), cut: make(chan struct{}), requests: map[string]int{}}
	server := httptest.NewServer(a)
	a.URL = server.URL
	t.Cleanup(func() { a.Cut(); server.Close() })
	return a
}

// Client calls it.
func (a *API) Client(t testing.TB) *kube.Client {
	t.Helper()
	client, err := kube.New(&rest.Config{Host: a.URL})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Put writes an object at its path, /api/v1/namespaces/carts/serviceaccounts/carts, whose last part is its name.
func (a *API) Put(path string, object Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.putLocked(path, object)
}

func (a *API) putLocked(path string, object Object) Object {
	object = clone(object)
	parts := strings.Split(strings.Trim(path, "/"), "/")
	meta, _ := object["metadata"].(Object)
	if meta == nil {
		meta = Object{}
		object["metadata"] = meta
	}
	meta["name"] = parts[len(parts)-1]
	if i := slices.Index(parts, "namespaces"); i >= 0 {
		meta["namespace"] = parts[i+1]
	}
	kind := "ADDED"
	if _, there := a.objects[path]; there {
		kind = "MODIFIED"
	}
	a.happenLocked(kind, path, object)
	a.objects[path] = object
	return object
}

// Delete removes an object.
func (a *API) Delete(path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	object := clone(a.objects[path])
	delete(a.objects, path)
	a.happenLocked("DELETED", path, object)
}

func (a *API) happenLocked(kind, path string, object Object) {
	a.version++
	object["metadata"].(Object)["resourceVersion"] = strconv.Itoa(a.version)
	a.events = append(a.events, event{a.version, kind, path, object})
	close(a.changed)
	a.changed = make(chan struct{})
}

// Get returns an object; nil if there is none.
func (a *API) Get(path string) Object {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o, ok := a.objects[path]; ok {
		return clone(o)
	}
	return nil
}

// Forget drops the history, and Cut ends all watches: those who come back must list again, if both are called.
func (a *API) Forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++ // as if something else had happened
	a.events, a.oldest = nil, a.version
}

// Cut ends all watches.
func (a *API) Cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.cut)
	a.cut = make(chan struct{})
}

// Down makes it refuse everything.
func (a *API) Down(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
}

// Requests counts those of a method and a path; a watch's method is WATCH.
func (a *API) Requests(method, path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests[method+" "+path]
}

// ServeHTTP answers.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	watch := r.URL.Query().Get("watch") == "true"
	a.mu.Lock()
	method := r.Method
	if watch {
		method = "WATCH"
	}
	a.requests[method+" "+r.URL.Path]++
	down := a.down
	a.mu.Unlock()
	switch {
	case down:
		refuse(w, http.StatusServiceUnavailable, "ServiceUnavailable")
	case !acceptable(r, watch):
		refuse(w, http.StatusNotAcceptable, "NotAcceptable")
	case watch:
		a.watch(w, r)
	case isCollection(r.URL.Path) && r.Method == http.MethodGet:
		a.list(w, r)
	default:
		a.one(w, r)
	}
}

// acceptable tells whether what the client accepts is something that a real API server has.
func acceptable(r *http.Request, watch bool) bool {
	partial := "PartialObjectMetadata"
	if isCollection(r.URL.Path) && !watch {
		partial += "List"
	}
	accept := r.Header.Get("Accept")
	return accept == "application/json" || accept == "application/json;as="+partial+";g=meta.k8s.io;v=v1"
}

func isCollection(path string) bool {
	last := path[strings.LastIndexByte(path, '/')+1:]
	return slices.Contains([]string{"serviceaccounts", "secrets", "configmaps"}, last)
}

// within tells whether an object's path is in a collection, of one namespace or of all.
func within(path, collection string) bool {
	parent := path[:strings.LastIndexByte(path, '/')]
	kind := collection[strings.LastIndexByte(collection, '/')+1:]
	return parent == collection || !strings.Contains(collection, "/namespaces/") && strings.HasSuffix(parent, "/"+kind)
}

func (a *API) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	a.mu.Lock()
	defer a.mu.Unlock()
	var paths []string
	for path := range a.objects {
		if within(path, r.URL.Path) && path > q.Get("continue") && selected(path, q.Get("fieldSelector")) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	meta := Object{"resourceVersion": strconv.Itoa(a.version)}
	if limit > 0 && len(paths) > limit {
		paths = paths[:limit]
		meta["continue"] = paths[limit-1]
	}
	items := []any{}
	for _, path := range paths {
		items = append(items, shown(r, a.objects[path]))
	}
	write(w, Object{"metadata": meta, "items": items})
}

func selected(path, selector string) bool {
	name, ok := strings.CutPrefix(selector, "metadata.name=")
	return !ok || strings.HasSuffix(path, "/"+name)
}

func shown(r *http.Request, object Object) Object {
	if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata") {
		return Object{"kind": "PartialObjectMetadata", "metadata": object["metadata"]}
	}
	return object
}

func (a *API) watch(w http.ResponseWriter, r *http.Request) {
	at, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	encoder, control := json.NewEncoder(w), http.NewResponseController(w)
	for {
		a.mu.Lock()
		var news []event
		gone := at < a.oldest
		for _, e := range a.events {
			if e.version > at {
				news = append(news, e)
			}
		}
		changed, cut := a.changed, a.cut
		a.mu.Unlock()
		if gone {
			_ = encoder.Encode(Object{"type": "ERROR", "object": Object{"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}})
			return
		}
		for _, e := range news {
			at = e.version
			if within(e.path, r.URL.Path) && selected(e.path, r.URL.Query().Get("fieldSelector")) {
				_ = encoder.Encode(Object{"type": e.kind, "object": shown(r, e.object)})
			}
		}
		_ = encoder.Encode(Object{"type": "BOOKMARK", "object": Object{"metadata": Object{"resourceVersion": strconv.Itoa(at)}}})
		_ = control.Flush()
		select {
		case <-changed:
		case <-cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (a *API) one(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	path := r.URL.Path
	switch r.Method {
	case http.MethodPost:
		var object struct{ Metadata struct{ Name string } }
		_ = json.Unmarshal(body, &object)
		path += "/" + object.Metadata.Name
		if _, there := a.objects[path]; there {
			refuse(w, http.StatusConflict, "AlreadyExists")
			return
		}
		write(w, a.putLocked(path, decode(body)))
		return
	case http.MethodPatch:
		old, there := a.objects[path]
		if !there {
			break
		}
		patch, err := jsonpatch.DecodePatch(body)
		if err != nil {
			refuse(w, http.StatusBadRequest, "BadRequest")
			return
		}
		text, _ := json.Marshal(old)
		if text, err = patch.Apply(text); err != nil {
			refuse(w, http.StatusUnprocessableEntity, "Invalid")
			return
		}
		write(w, a.putLocked(path, decode(text)))
		return
	}
	if object, there := a.objects[path]; there && r.Method == http.MethodGet {
		write(w, object)
		return
	}
	refuse(w, http.StatusNotFound, "NotFound")
}

func decode(text []byte) (o Object) {
	_ = json.Unmarshal(text, &o)
	return o
}

func clone(o Object) Object {
	text, _ := json.Marshal(o)
	return decode(text)
}

func write(w http.ResponseWriter, o Object) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(o)
}

func refuse(w http.ResponseWriter, code int, reason string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(Object{"kind": "Status", "code": code, "reason": reason, "message": fmt.Sprintf("the API says %s", reason)})
}
