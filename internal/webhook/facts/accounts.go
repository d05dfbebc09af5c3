package facts

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/kube"
)

// Accounts are the ServiceAccounts of a cluster: which there are, and the annotations of those that have any of ours. They are
// safe for concurrent use.
type Accounts struct {
	client *kube.Client
	prefix string // of our annotations, with the slash
	log    *slog.Logger

	seen *set

	mu        sync.RWMutex // guards the following
	annotated map[identity.ServiceAccount]map[string]string
	synced    bool
}

// FollowAccounts makes them. prefix is that of the annotations, without its slash.
func FollowAccounts(client *kube.Client, prefix string, logger *slog.Logger) *Accounts {
	return &Accounts{client: client, prefix: prefix + "/", log: logger, seen: newSet(), annotated: map[identity.ServiceAccount]map[string]string{}}
}

// Run keeps them current until ctx ends.
func (a *Accounts) Run(ctx context.Context) {
	a.client.Follow(ctx, kube.Resource{Path: "/api/v1/serviceaccounts", Metadata: true}, kube.Sink{
		List:   a.seen.beginList,
		Put:    func(m *kube.Metadata, _ []byte) { a.put(m) },
		Delete: a.remove,
		Synced: a.sweep,
		Lost:   func(err error) { a.log.Warn("service accounts cannot be followed", "err", err) },
	})
}

func (a *Accounts) put(m *kube.Metadata) {
	account := identity.ServiceAccount{Namespace: m.Namespace, Name: m.Name}
	a.seen.add(account)
	ours := a.ours(m.Annotations)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(ours) == 0 {
		delete(a.annotated, account)
	} else {
		a.annotated[account] = ours
	}
}

func (a *Accounts) remove(m *kube.Metadata) {
	account := identity.ServiceAccount{Namespace: m.Namespace, Name: m.Name}
	a.seen.remove(account)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.annotated, account)
}

// sweep removes what a list did not name.
func (a *Accounts) sweep() {
	a.seen.endList()
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.annotated, func(account identity.ServiceAccount, _ map[string]string) bool { return !a.seen.has(account) })
	if !a.synced {
		a.log.Info("service accounts are known", "count", a.seen.len(), "annotated", len(a.annotated))
	}
	a.synced = true
}

// ours copies the annotations that matter out of what was decoded.
func (a *Accounts) ours(all map[string]string) map[string]string {
	var ours map[string]string
	for name, value := range all {
		if strings.HasPrefix(name, a.prefix) {
			if ours == nil {
				ours = map[string]string{}
			}
			ours[strings.Clone(name)] = strings.Clone(value)
		}
	}
	return ours
}

// Synced tells whether all that there are have been seen.
func (a *Accounts) Synced() bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.synced
}

// Len is how many there are.
func (a *Accounts) Len() int { return a.seen.len() }

// Annotated is how many have annotations of ours.
func (a *Accounts) Annotated() int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return len(a.annotated)
}

// Annotations are those of ours that there are, by <namespace>/<name> of the service account.
func (a *Accounts) Annotations() map[string]map[string]string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	all := make(map[string]map[string]string, len(a.annotated))
	for account, annotations := range a.annotated { // which are replaced, but never changed
		all[account.Namespace+"/"+account.Name] = annotations
	}
	return all
}

// Find returns our annotations of a service account; false if it has not been seen.
func (a *Accounts) Find(account identity.ServiceAccount) (annotations map[string]string, ok bool) {
	if !a.seen.has(account) {
		return nil, false
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.annotated[account], true
}

// Read asks the API server; false if the service account does not exist.
func (a *Accounts) Read(ctx context.Context, account identity.ServiceAccount) (annotations map[string]string, ok bool, err error) {
	var object struct {
		Metadata kube.Metadata `json:"metadata"`
	}
	err = a.client.Do(ctx, http.MethodGet, "/api/v1/namespaces/"+account.Namespace+"/serviceaccounts/"+account.Name, nil, &object)
	if kube.IsCode(err, http.StatusNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return a.ours(object.Metadata.Annotations), true, nil
}
