package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/webhook"
)

// createPod admits a pod: what creating it by dry run would answer, as far as it concerns identity. Where a real cluster would
// let a pod through although its webhook has failed, this one says so: whoever runs a pod here wants to see what it gets.
func (c *Cluster) createPod(r *http.Request) (*answer, error) {
	dry, err := dryRun(r)
	if err != nil {
		return nil, err
	}
	if !dry {
		return nil, errNoNodes
	}
	var pod map[string]any
	if err := readJSON(r, maxPodBytes, &pod); err != nil {
		return nil, err
	}
	namespace := r.PathValue("namespace")
	if err := c.complete(pod, namespace); err != nil {
		return nil, err
	}
	data, err := json.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("encoding pod: %w", err)
	}
	return c.mutate(r.Context(), namespace, data)
}

// dryRun tells whether a request is only to show what it would do.
func dryRun(r *http.Request) (bool, error) {
	values := r.URL.Query()["dryRun"]
	if len(values) > 1 || len(values) == 1 && values[0] != "All" {
		return false, badRequest(`dryRun: Invalid value: want "All"`)
	}
	return len(values) == 1, nil
}

func (c *Cluster) mutate(ctx context.Context, namespace string, data []byte) (*answer, error) {
	m, err := c.cfg.Webhook.Mutate(ctx, namespace, data)
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mistyped): // an API server checks all fields; here the webhook is the first to read some
		return nil, badRequest("the body cannot be handled as a Pod: " + mistyped.Field + " is of type " + mistyped.Value)
	case err != nil:
		return nil, fmt.Errorf("mutating pod: %w", err)
	}
	if data, err = patched(data, m.Patch); err != nil {
		return nil, err
	}
	return &answer{http.StatusCreated, "application/json", m.Warnings, data}, nil
}

// patched applies a patch, with the library that Kubernetes' API server applies it with.
func patched(data []byte, operations []webhook.Operation) ([]byte, error) {
	if len(operations) == 0 {
		return data, nil
	}
	encoded, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("encoding patch: %w", err)
	}
	patch, err := jsonpatch.DecodePatch(encoded)
	if err != nil {
		return nil, fmt.Errorf("reading patch: %w", err)
	}
	data, err = patch.Apply(data)
	if err != nil {
		return nil, fmt.Errorf("applying patch: %w", err)
	}
	return data, nil
}

// complete checks a pod and gives it the defaults that a process can tell the difference of.
func (c *Cluster) complete(pod map[string]any, namespace string) error {
	const kind = "Pod"
	if err := checkType(pod, kind, namespace); err != nil {
		return err
	}
	meta, err := object(kind, pod, "metadata")
	if err != nil {
		return err
	}
	spec, err := object(kind, pod, "spec")
	if err != nil {
		return err
	}
	if err := c.completeName(kind, meta, namespace); err != nil {
		return err
	}
	meta["uid"] = identity.NewUUID(c.cfg.Random)
	meta["creationTimestamp"] = c.cfg.Now().UTC().Format(time.RFC3339)

	account := "default"
	for _, field := range []string{"serviceAccount", "serviceAccountName"} { // the former is the deprecated alias
		if s, ok := spec[field].(string); ok && s != "" {
			account = s
		}
	}
	if !identity.ValidServiceAccountName(account) {
		return invalid("Pod", "spec.serviceAccountName", "not a DNS subdomain")
	}
	spec["serviceAccount"], spec["serviceAccountName"] = account, account
	spec["nodeName"] = NodeName // scheduled at once, and the same as in the pod's tokens
	return checkContainers(spec)
}

// checkType wants an object to be of a kind.
func checkType(fields map[string]any, kind, namespace string) error {
	switch {
	case !identity.ValidNamespace(namespace):
		return badRequest("the namespace in the path is not valid")
	case fields["kind"] != kind || fields["apiVersion"] != "v1":
		return badRequest("the body is not a " + kind + " of apiVersion v1")
	}
	return nil
}

// completeName puts an object into a namespace, and makes a name where only the beginning of one is given.
func (c *Cluster) completeName(kind string, meta map[string]any, namespace string) error {
	if given, ok := meta["namespace"]; ok && given != namespace && given != "" {
		return badRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	meta["namespace"] = namespace
	name, _ := meta["name"].(string)
	if prefix, _ := meta["generateName"].(string); name == "" && prefix != "" {
		const limit, digits = 63, 5 // as Kubernetes generates names
		suffix, err := randomSuffix(c.cfg.Random, digits)
		if err != nil {
			return err
		}
		name = prefix[:min(len(prefix), limit-digits)] + suffix
	}
	switch {
	case name == "":
		return invalid(kind, "metadata.name", "Required value: name or generateName is required")
	case !identity.ValidServiceAccountName(name): // pods are named by the same rule
		return invalid(kind, "metadata.name", "not a DNS subdomain")
	}
	meta["name"] = name
	return nil
}

func randomSuffix(random io.Reader, length int) (string, error) {
	// Without vowels, so that no words come out, and without what looks alike. That some are a little likelier does no harm.
	const alphabet = "bcdfghjklmnpqrstvwxz2456789"
	suffix := make([]byte, length)
	if _, err := io.ReadFull(random, suffix); err != nil {
		return "", fmt.Errorf("making a pod name: %w", err)
	}
	for i, b := range suffix {
		suffix[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(suffix), nil
}

func checkContainers(spec map[string]any) error {
	containers, _ := spec["containers"].([]any)
	if len(containers) == 0 {
		return invalid("Pod", "spec.containers", "Required value")
	}
	for i, container := range containers {
		fields, _ := container.(map[string]any)
		if name, _ := fields["name"].(string); strings.TrimSpace(name) == "" {
			return invalid("Pod", fmt.Sprintf("spec.containers[%d].name", i), "Required value")
		}
	}
	return nil
}

func object(kind string, fields map[string]any, field string) (map[string]any, error) {
	o, ok := fields[field].(map[string]any)
	if !ok {
		return nil, invalid(kind, field, "Required value")
	}
	return o, nil
}
