package podrun

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/podid/podid/internal/identity"
)

// maxManifestBytes bounds a manifest; more than one object's limit, since it may hold several.
const maxManifestBytes = 8 << 20

// Pod is a pod to be created.
type Pod struct {
	// Namespace it goes into.
	Namespace string
	// Origin says where it was found: "Deployment carts".
	Origin string
	// JSON is the pod as the Kubernetes API takes it.
	JSON []byte
	// ServiceAccount is the object of the pod's service account, as the Kubernetes API takes it, if the manifest has that too.
	ServiceAccount []byte
}

// templates tells where the kinds of objects that run pods keep the pod.
var templates = map[string][]string{
	"Pod":                   {},
	"Deployment":            {"spec", "template"},
	"StatefulSet":           {"spec", "template"},
	"DaemonSet":             {"spec", "template"},
	"ReplicaSet":            {"spec", "template"},
	"ReplicationController": {"spec", "template"},
	"Job":                   {"spec", "template"},
	"CronJob":               {"spec", "jobTemplate", "spec", "template"},
}

type fields = map[string]json.RawMessage

type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name         string `json:"name"`
		GenerateName string `json:"generateName"`
		Namespace    string `json:"namespace"`
	} `json:"metadata"`
	Items []json.RawMessage `json:"items"`

	raw json.RawMessage
}

func (o *object) String() string {
	switch {
	case o.Kind == "":
		return "something without a kind"
	case o.Metadata.Name != "":
		return o.Kind + " " + o.Metadata.Name
	}
	return strings.TrimSpace(o.Kind + " " + o.Metadata.GenerateName)
}

// Load finds the one pod of a manifest: YAML or JSON, of one or more documents, in which other objects do not matter, but for the
// ServiceAccount that the pod runs as. It is a Pod, or the template of a Deployment, StatefulSet, DaemonSet, ReplicaSet,
// ReplicationController, Job or CronJob, taken the way its controller would. namespace, if not empty, must not contradict the
// manifest's; if neither says, it is "default".
func Load(manifest []byte, namespace string) (Pod, error) {
	if len(manifest) > maxManifestBytes {
		return Pod{}, fmt.Errorf("the manifest is longer than %d bytes", maxManifestBytes)
	}
	objects, err := parse(manifest)
	if err != nil {
		return Pod{}, err
	}
	var found, running []string
	var chosen *object
	for _, o := range objects {
		found = append(found, o.String())
		if _, ok := templates[o.Kind]; ok {
			running = append(running, o.String())
			chosen = o
		}
	}
	switch {
	case len(found) == 0:
		return Pod{}, errors.New("the manifest is empty")
	case len(running) == 0:
		return Pod{}, fmt.Errorf("the manifest has no pod: found %s; want a Pod, Deployment, StatefulSet, DaemonSet, Job or CronJob",
			strings.Join(found, ", "))
	case len(running) > 1:
		return Pod{}, fmt.Errorf("the manifest has %d pods: %s; give one of them", len(running), strings.Join(running, ", "))
	}
	pod, err := chosen.pod(namespace)
	if err != nil {
		return Pod{}, err
	}
	pod.ServiceAccount, err = serviceAccount(objects, pod)
	return pod, err
}

// serviceAccount finds the ServiceAccount among the objects that a pod runs as; nil: there is none. One without a namespace is in
// the pod's.
func serviceAccount(objects []*object, pod Pod) ([]byte, error) {
	var p struct {
		Spec struct {
			ServiceAccountName string `json:"serviceAccountName"`
			ServiceAccount     string `json:"serviceAccount"` // its deprecated alias
		} `json:"spec"`
	}
	if err := json.Unmarshal(pod.JSON, &p); err != nil {
		return nil, nil // the cluster will say what is wrong with it
	}
	name := cmp.Or(p.Spec.ServiceAccountName, p.Spec.ServiceAccount, "default")
	var found []byte
	for _, o := range objects {
		if o.Kind != "ServiceAccount" || o.Metadata.Name != name || cmp.Or(o.Metadata.Namespace, pod.Namespace) != pod.Namespace {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("the manifest has two of %s", o)
		}
		var account struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Metadata   fields `json:"metadata"`
		}
		if err := json.Unmarshal(o.raw, &account); err != nil {
			return nil, fmt.Errorf("%s has no metadata", o)
		}
		account.Metadata = o.name(account.Metadata, pod.Namespace)
		var err error
		if found, err = json.Marshal(account); err != nil {
			return nil, fmt.Errorf("encoding service account: %w", err)
		}
	}
	return found, nil
}

// Bare is a pod of which nothing is known but its service account. Its one container is called "main"; the command has to be
// given at the start. Namespace and service account may be empty, which means "default".
func Bare(account identity.ServiceAccount) (Pod, error) {
	if account.Namespace == "" {
		account.Namespace = "default"
	}
	if account.Name == "" {
		account.Name = "default"
	}
	switch {
	case !identity.ValidNamespace(account.Namespace):
		return Pod{}, fmt.Errorf("%q is not the name of a namespace", account.Namespace)
	case !identity.ValidServiceAccountName(account.Name):
		return Pod{}, fmt.Errorf("%q is not the name of a service account", account.Name)
	}
	data, err := json.Marshal(map[string]any{
		"apiVersion": "v1",
		"kind":       "Pod",
		"metadata":   map[string]string{"generateName": account.Name + "-", "namespace": account.Namespace},
		"spec": map[string]any{
			"serviceAccountName": account.Name,
			// Kubernetes wants an image; this one can never be pulled by mistake.
			"containers": []map[string]string{{"name": "main", "image": "podid.invalid/none"}},
		},
	})
	if err != nil {
		return Pod{}, fmt.Errorf("encoding pod: %w", err)
	}
	return Pod{Namespace: account.Namespace, Origin: "ServiceAccount " + account.Name, JSON: data}, nil
}

// pod takes the pod out of an object that runs one.
func (o *object) pod(namespace string) (Pod, error) {
	switch {
	case namespace == "" && o.Metadata.Namespace == "":
		namespace = "default"
	case namespace == "":
		namespace = o.Metadata.Namespace
	case o.Metadata.Namespace != "" && o.Metadata.Namespace != namespace:
		return Pod{}, fmt.Errorf("%s is in namespace %s, not in %s", o, o.Metadata.Namespace, namespace)
	}
	if !identity.ValidNamespace(namespace) {
		return Pod{}, fmt.Errorf("%q is not the name of a namespace", namespace)
	}
	raw := o.raw
	for _, step := range templates[o.Kind] {
		var outer fields
		if err := json.Unmarshal(raw, &outer); err != nil {
			return Pod{}, fmt.Errorf("%s has no pod template", o)
		}
		raw = outer[step]
	}
	var pod struct {
		APIVersion string          `json:"apiVersion"`
		Kind       string          `json:"kind"`
		Metadata   fields          `json:"metadata"`
		Spec       json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(raw, &pod); err != nil || pod.Spec == nil {
		return Pod{}, fmt.Errorf("%s has no pod template with a spec", o)
	}
	pod.APIVersion, pod.Kind, pod.Metadata = "v1", "Pod", o.name(pod.Metadata, namespace)
	data, err := json.Marshal(pod)
	if err != nil {
		return Pod{}, fmt.Errorf("encoding pod: %w", err)
	}
	return Pod{Namespace: namespace, Origin: o.String(), JSON: data}, nil
}

// name completes a pod's metadata as the controller of its kind would, and takes off what only existing pods have.
func (o *object) name(meta fields, namespace string) fields {
	m := fields{}
	maps.Copy(m, meta)
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields", "ownerReferences"} {
		delete(m, field)
	}
	m["namespace"] = quote(namespace)
	switch o.Kind {
	case "Pod", "ServiceAccount":
	case "StatefulSet":
		m["name"] = quote(o.Metadata.Name + "-0")
	default:
		delete(m, "name")
		m["generateName"] = quote(o.Metadata.Name + "-")
	}
	return m
}

func quote(s string) json.RawMessage {
	data, _ := json.Marshal(s) // strings always encode
	return data
}

// parse reads all objects of a manifest, those of lists included.
func parse(manifest []byte) ([]*object, error) {
	var objects []*object
	for _, document := range split(manifest) {
		data, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			return nil, fmt.Errorf("reading the manifest: %w", err)
		}
		if bytes.Equal(data, []byte("null")) {
			continue
		}
		o, err := parseObject(data)
		if err != nil {
			return nil, err
		}
		if o.Kind != "List" {
			objects = append(objects, o)
			continue
		}
		for _, item := range o.Items {
			o, err := parseObject(item)
			if err != nil {
				return nil, err
			}
			objects = append(objects, o)
		}
	}
	return objects, nil
}

func parseObject(data json.RawMessage) (*object, error) {
	o := &object{raw: data}
	if err := json.Unmarshal(data, o); err != nil {
		return nil, errors.New("the manifest has a document that is not a Kubernetes object")
	}
	return o, nil
}

// split cuts a YAML stream at its document markers. Each document keeps the lines before it as empty ones, so that the line
// numbers of errors are those of the manifest.
func split(manifest []byte) [][]byte {
	var documents [][]byte
	var document []byte
	lines := 0
	for line := range bytes.Lines(manifest) {
		rest, marker := bytes.CutPrefix(line, []byte("---"))
		if marker && (len(rest) == 0 || bytes.ContainsAny(rest[:1], " \t\r\n")) {
			documents = append(documents, document)
			document = bytes.Repeat([]byte("\n"), lines)
			line = rest
		}
		document = append(document, line...)
		lines++
	}
	return append(documents, document)
}
