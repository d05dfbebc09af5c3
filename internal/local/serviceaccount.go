package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/store"
)

// maxServiceAccounts bounds the objects of one cluster.
const maxServiceAccounts = 10_000

// ServiceAccounts are the ServiceAccount objects of all built-in clusters. Pods and tokens do not need them: every service account
// exists. They are there for what they say, such as the role in an annotation.
type ServiceAccounts struct {
	objects *store.Collection[accountObject]
	held    *store.Index[*heldAccount]
}

// accountObject is how a ServiceAccount is stored.
type accountObject struct {
	Version int64           `json:"version"` // from 1, one more with each change
	Object  json.RawMessage `json:"object"`  // as the API has it, but for the resourceVersion
}

type heldAccount struct {
	accountObject
	annotations map[string]string
}

// DefineServiceAccounts defines them in a store that is not loaded yet.
func DefineServiceAccounts(s *store.Store) *ServiceAccounts {
	objects := store.Define[accountObject](s, "service-accounts")
	return &ServiceAccounts{objects, store.NewIndex(objects, func(_ string, o accountObject) *heldAccount {
		var fields struct {
			Metadata struct {
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
		}
		_ = json.Unmarshal(o.Object, &fields) // was checked before it was stored
		return &heldAccount{o, fields.Metadata.Annotations}
	})}
}

func accountKey(cluster string, account identity.ServiceAccount) string {
	return cluster + "/" + account.Namespace + "/" + account.Name
}

// Annotations are those of a service account. They are shared and must not be changed. If there is no object found is false.
func (a *ServiceAccounts) Annotations(cluster string, account identity.ServiceAccount) (annotations map[string]string, found bool) {
	held, ok := a.held.Get(accountKey(cluster, account))
	if !ok {
		return nil, false
	}
	return held.annotations, true
}

// answer is the object as the API has it.
func (o accountObject) answer(code int) (*answer, error) {
	fields, err := o.fields()
	if err != nil {
		return nil, err
	}
	return jsonAnswer(code, fields)
}

func (o accountObject) fields() (map[string]any, error) {
	fields, err := decodeObject(o.Object)
	if err != nil {
		return nil, fmt.Errorf("reading a stored service account: %w", err)
	}
	meta, err := object("ServiceAccount", fields, "metadata")
	if err != nil {
		return nil, fmt.Errorf("reading a stored service account: %w", err)
	}
	meta["resourceVersion"] = strconv.FormatInt(o.Version, 10)
	return fields, nil
}

// requestedAccount is the one in a request's path.
func requestedAccount(r *http.Request) (identity.ServiceAccount, error) {
	account := identity.ServiceAccount{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	if !identity.ValidNamespace(account.Namespace) || !identity.ValidServiceAccountName(account.Name) {
		return account, badRequest("the namespace or the service account in the path is not valid")
	}
	return account, nil
}

func (c *Cluster) getAccount(r *http.Request) (*answer, error) {
	account, err := requestedAccount(r)
	if err != nil {
		return nil, err
	}
	held, ok := c.cfg.ServiceAccounts.held.Get(accountKey(c.cfg.Name, account))
	if !ok {
		return nil, accountNotFound(account)
	}
	return held.answer(http.StatusOK)
}

// listAccounts lists those of a namespace, or of all.
func (c *Cluster) listAccounts(r *http.Request) (*answer, error) {
	if r.URL.Query().Get("watch") != "" {
		return nil, badRequest("this cluster has no watches")
	}
	prefix := c.cfg.Name + "/"
	if namespace := r.PathValue("namespace"); namespace != "" {
		if !identity.ValidNamespace(namespace) {
			return nil, badRequest("the namespace in the path is not valid")
		}
		prefix += namespace + "/"
	}
	items := []map[string]any{}
	for _, held := range c.cfg.ServiceAccounts.held.Scan(prefix, "") {
		fields, err := held.fields()
		if err != nil {
			return nil, err
		}
		items = append(items, fields)
	}
	return jsonAnswer(http.StatusOK, map[string]any{"kind": "ServiceAccountList", "apiVersion": "v1", "metadata": struct{}{}, "items": items})
}

func (c *Cluster) createAccount(r *http.Request) (*answer, error) {
	dry, err := dryRun(r)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := readJSON(r, maxAccountBytes, &fields); err != nil {
		return nil, err
	}
	return c.addAccount(r.Context(), r.PathValue("namespace"), fields, dry)
}

// addAccount stores a new object.
func (c *Cluster) addAccount(ctx context.Context, namespace string, fields map[string]any, dry bool) (*answer, error) {
	account, err := c.completeAccount(fields, namespace)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encoding service account: %w", err)
	}
	accounts, key, created := c.cfg.ServiceAccounts, accountKey(c.cfg.Name, account), accountObject{1, data}
	switch _, exists := accounts.held.Get(key); {
	case exists:
		return nil, accountExists(account)
	case accounts.held.Len(c.cfg.Name+"/") >= maxServiceAccounts:
		return nil, &statusError{http.StatusForbidden, "Forbidden", fmt.Sprintf("this cluster has room for %d service accounts", maxServiceAccounts)}
	case dry:
		return created.answer(http.StatusCreated)
	}
	err = c.cfg.Store.Commit(ctx, accounts.objects.Create(key, created))
	if errors.Is(err, store.ErrExists) {
		return nil, accountExists(account)
	}
	if err != nil {
		return nil, err
	}
	return created.answer(http.StatusCreated)
}

// completeAccount checks a new object and gives it what only the cluster can.
func (c *Cluster) completeAccount(fields map[string]any, namespace string) (identity.ServiceAccount, error) {
	account := identity.ServiceAccount{Namespace: namespace}
	const kind = "ServiceAccount"
	if err := checkType(fields, kind, namespace); err != nil {
		return account, err
	}
	meta, err := object(kind, fields, "metadata")
	if err != nil {
		return account, err
	}
	if version, ok := meta["resourceVersion"]; ok && version != "" {
		return account, badRequest("resourceVersion should not be set on objects to be created")
	}
	if err := c.completeName(kind, meta, namespace); err != nil {
		return account, err
	}
	account.Name, _ = meta["name"].(string) // it is one by now
	meta["uid"] = c.uid(account)
	meta["creationTimestamp"] = c.cfg.Now().UTC().Format(time.RFC3339)
	for _, field := range []string{"resourceVersion", "managedFields", "generation", "deletionTimestamp"} {
		delete(meta, field)
	}
	return account, checkTexts(meta)
}

// checkTexts wants labels and annotations to be what clients take them for.
func checkTexts(meta map[string]any) error {
	for _, field := range []string{"labels", "annotations"} {
		if meta[field] == nil {
			continue
		}
		values, ok := meta[field].(map[string]any)
		for _, value := range values {
			if _, text := value.(string); !text {
				ok = false
			}
		}
		if !ok {
			return badRequest("ServiceAccount in version \"v1\" cannot be handled: metadata." + field + " must have texts as values")
		}
	}
	return nil
}

func (c *Cluster) deleteAccount(r *http.Request) (*answer, error) {
	account, err := requestedAccount(r)
	if err != nil {
		return nil, err
	}
	dry, err := dryRun(r)
	if err != nil {
		return nil, err
	}
	accounts, key := c.cfg.ServiceAccounts, accountKey(c.cfg.Name, account)
	if dry {
		if _, ok := accounts.held.Get(key); !ok {
			err = store.ErrNotFound
		}
	} else {
		err = c.cfg.Store.Commit(r.Context(), accounts.objects.Delete(key))
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, accountNotFound(account)
	}
	if err != nil {
		return nil, err
	}
	return jsonAnswer(http.StatusOK, map[string]any{"kind": "Status", "apiVersion": "v1", "metadata": struct{}{}, "status": "Success"})
}
