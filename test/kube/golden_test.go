package kube

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// What the webhook makes of a pod that Kubernetes takes is a pod that Kubernetes takes, in all of the webhook's own test cases.
func TestMutatedPodsAreValid(t *testing.T) {
	cases, err := filepath.Glob("../../internal/webhook/testdata/*/in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	namespace := newNamespace(t)
	var invalid []string
	for _, in := range cases {
		dir := filepath.Dir(in)
		if err := admit(t, namespace, in); err != nil {
			invalid = append(invalid, fmt.Sprintf("%s: %v", filepath.Base(dir), err)) // made to try what no API server sends
			continue
		}
		if err := admit(t, namespace, filepath.Join(dir, "out.yaml")); err != nil {
			t.Errorf("%s: %v", filepath.Base(dir), err)
		}
	}
	t.Logf("%d cases; %d are no pods for Kubernetes before the mutation:\n%s", len(cases), len(invalid), strings.Join(invalid, "\n"))
	if len(invalid) > len(cases)/4 {
		t.Error("these are too many: the test is wrong")
	}
}

// admit has the API server judge the pod in a file, the last document of it, and returns its refusal.
func admit(t *testing.T, namespace, path string) error {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(string(text), "\n---\n")
	var p map[string]any
	if err := yaml.Unmarshal([]byte(documents[len(documents)-1]), &p); err != nil {
		t.Fatal(err)
	}
	metadata, _ := p["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
		p["metadata"] = metadata
	}
	metadata["name"] = "judged"
	delete(metadata, "namespace")
	if spec, ok := p["spec"].(map[string]any); ok {
		delete(spec, "serviceAccountName") // there is only the default one
		spec["automountServiceAccountToken"] = false
		for _, list := range []string{"initContainers", "containers"} {
			containers, _ := spec[list].([]any)
			for _, c := range containers {
				if c, ok := c.(map[string]any); ok && c["image"] == nil {
					c["image"] = "example.com/app:1" // which is of no interest to the webhook, so many cases have none
				}
			}
		}
	}
	body, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return kube.Client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Param("dryRun", metav1.DryRunAll).
		SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error()
}
