package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"sigs.k8s.io/yaml"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/store"
)

// maxAccountBytes bounds a ServiceAccount and a patch for one: Kubernetes' limit for all annotations of an object, and some more.
const maxAccountBytes = 256<<10 + 64<<10

// The kinds of patches. A strategic merge patch is taken as a merge patch, which it is as long as it has no directives and no lists
// that are merged. A server-side apply creates what is not there, and else makes the object what it says, whoever has set what is
// there: no account is kept of that.
// See https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply.
const (
	jsonPatch      = "application/json-patch+json"
	mergePatch     = "application/merge-patch+json"
	strategicPatch = "application/strategic-merge-patch+json"
	applyPatch     = "application/apply-patch+yaml"
)

// patchAccount changes a service account.
func (c *Cluster) patchAccount(r *http.Request) (*answer, error) {
	account, err := requestedAccount(r)
	if err != nil {
		return nil, err
	}
	dry, err := dryRun(r)
	if err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	patch, err := readPatch(r, kind)
	if err != nil {
		return nil, err
	}
	accounts, key := c.cfg.ServiceAccounts, accountKey(c.cfg.Name, account)
	change := func(o *accountObject) error { return o.patch(kind, patch, account) }
	var changed accountObject
	held, ok := accounts.held.Get(key)
	switch {
	case !ok:
		err = store.ErrNotFound
	case dry:
		changed = held.accountObject
		err = change(&changed)
	default:
		changed, err = accounts.objects.Update(r.Context(), key, change)
	}
	switch {
	case errors.Is(err, store.ErrNotFound) && kind == applyPatch:
		fields, err := decodeObject(patch)
		if err != nil {
			return nil, err
		}
		if meta, err := object("ServiceAccount", fields, "metadata"); err != nil || meta["name"] != account.Name {
			return nil, badRequest("the name of the object does not match the name on the URL")
		}
		return c.addAccount(r.Context(), account.Namespace, fields, dry)
	case errors.Is(err, store.ErrNotFound):
		return nil, accountNotFound(account)
	case errors.Is(err, store.ErrConflict):
		return nil, accountConflict(account)
	case err != nil:
		return nil, err
	}
	return changed.answer(http.StatusOK)
}

// readPatch reads a patch of one of the kinds, as JSON.
func readPatch(r *http.Request, kind string) ([]byte, error) {
	switch kind {
	case jsonPatch, mergePatch, strategicPatch, applyPatch:
	default:
		return nil, errPatchType
	}
	body, err := readBody(r, maxAccountBytes)
	if err != nil {
		return nil, err
	}
	if kind == applyPatch {
		if body, err = yaml.YAMLToJSONStrict(body); err != nil {
			return nil, badRequest("the body is not YAML")
		}
	}
	if kind == jsonPatch {
		return body, nil
	}
	fields, err := decodeObject(body)
	if err != nil {
		return nil, err
	}
	if kind == strategicPatch {
		for field := range fields {
			if strings.HasPrefix(field, "$") {
				return nil, badRequest("this cluster takes no directives in patches: " + field)
			}
		}
	}
	return body, nil
}

// patch changes the object. It may be called again with a newer one.
func (o *accountObject) patch(kind string, patch []byte, account identity.ServiceAccount) error {
	before, err := o.fields()
	if err != nil {
		return err
	}
	data, err := json.Marshal(before)
	if err != nil {
		return fmt.Errorf("encoding service account: %w", err)
	}
	switch kind {
	case applyPatch:
		data = patch
	case jsonPatch:
		var operations jsonpatch.Patch
		if operations, err = jsonpatch.DecodePatch(patch); err == nil {
			data, err = operations.Apply(data)
		}
	default:
		data, err = jsonpatch.MergePatch(data, patch)
	}
	if err != nil {
		return invalid("ServiceAccount", "patch", "it does not apply")
	}
	if len(data) > maxAccountBytes {
		return errTooLarge
	}
	after, err := decodeObject(data)
	if err != nil {
		return err
	}
	if err := keepIdentity(before, after, o.Version, account); err != nil {
		return err
	}
	if o.Object, err = json.Marshal(after); err != nil {
		return fmt.Errorf("encoding service account: %w", err)
	}
	o.Version++
	return nil
}

// keepIdentity checks that a changed object is still the same one, changed from the version that its author saw, and leaves out what is
// not stored.
func keepIdentity(before, after map[string]any, version int64, account identity.ServiceAccount) error {
	if err := checkType(after, "ServiceAccount", account.Namespace); err != nil {
		return err
	}
	was, err := object("ServiceAccount", before, "metadata")
	if err != nil {
		return err
	}
	meta, err := object("ServiceAccount", after, "metadata")
	if err != nil {
		return err
	}
	if meta["resourceVersion"] != nil && meta["resourceVersion"] != strconv.FormatInt(version, 10) {
		return accountConflict(account)
	}
	for _, field := range []string{"name", "namespace", "uid"} {
		if meta[field] == nil {
			meta[field] = was[field]
		}
		if meta[field] != was[field] {
			return invalid("ServiceAccount", "metadata."+field, "Invalid value: field is immutable")
		}
	}
	meta["creationTimestamp"] = was["creationTimestamp"]
	delete(meta, "resourceVersion")
	delete(meta, "managedFields")
	return checkTexts(meta)
}

// decodeObject decodes a JSON object, numbers as they are written.
func decodeObject(data []byte) (map[string]any, error) {
	var fields map[string]any
	if err := decodeJSON(data, &fields); err != nil {
		return nil, err
	}
	if fields == nil {
		return nil, badRequest("the body is not an object")
	}
	return fields, nil
}
