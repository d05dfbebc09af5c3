package podrun

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
)

// spec is a pod's, in YAML's inline form, with a number that must stay what it is.
const spec = `{serviceAccountName: carts, containers: [{name: app, future: 12345678901234567890}]}`

func TestLoad(t *testing.T) {
	template := "{metadata: {name: no, labels: {app: carts}}, spec: " + spec + "}"
	of := func(kind string) string {
		return "kind: " + kind + "\nmetadata: {name: carts, namespace: shop}\nspec: {template: " + template + "}\n"
	}
	const generated = `{"generateName":"carts-","labels":{"app":"carts"},"namespace":"shop"}`
	for name, test := range map[string]struct {
		manifest, namespace string
		origin              string
		metadata            string
	}{
		"Pod": {manifest: "kind: Pod\nmetadata: {name: a, uid: u, resourceVersion: '1'}\nspec: " + spec,
			origin: "Pod a", metadata: `{"name":"a","namespace":"default"}`},
		"generated Pod": {manifest: "kind: Pod\nmetadata: {generateName: a-}\nspec: " + spec,
			origin: "Pod a-", metadata: `{"generateName":"a-","namespace":"default"}`},
		"Pod without metadata": {manifest: "kind: Pod\nspec: " + spec, origin: "Pod", metadata: `{"namespace":"default"}`},
		"JSON": {manifest: `{"kind":"Pod","metadata":{"name":"a"},"spec":{"serviceAccountName":"carts",` +
			`"containers":[{"name":"app","future":12345678901234567890}]}}`, origin: "Pod a", metadata: `{"name":"a","namespace":"default"}`},
		"given namespace": {manifest: "kind: Pod\nmetadata: {name: a}\nspec: " + spec, namespace: "shop",
			origin: "Pod a", metadata: `{"name":"a","namespace":"shop"}`},
		"same namespace": {manifest: of("Deployment"), namespace: "shop", origin: "Deployment carts", metadata: generated},
		"Deployment":     {manifest: of("Deployment"), origin: "Deployment carts", metadata: generated},
		"DaemonSet":      {manifest: of("DaemonSet"), origin: "DaemonSet carts", metadata: generated},
		"ReplicaSet":     {manifest: of("ReplicaSet"), origin: "ReplicaSet carts", metadata: generated},
		"Job":            {manifest: of("Job"), origin: "Job carts", metadata: generated},
		"StatefulSet": {manifest: of("StatefulSet"), origin: "StatefulSet carts",
			metadata: `{"labels":{"app":"carts"},"name":"carts-0","namespace":"shop"}`},
		"CronJob": {manifest: "kind: CronJob\nmetadata: {name: carts, namespace: shop}\nspec: {jobTemplate: {spec: {template: " + template + "}}}\n",
			origin: "CronJob carts", metadata: generated},
		"among others": {manifest: "# all\n---\nkind: Service\nmetadata: {name: s}\n---\n" + of("Deployment") + "---\n---\nkind: ConfigMap\n" +
			"data:\n  text: |\n    ---\n    x\n", origin: "Deployment carts", metadata: generated},
		"after a marker": {manifest: "--- {kind: Service}\n---\r\n" + of("Deployment"), origin: "Deployment carts", metadata: generated},
		"in a List": {manifest: "kind: List\nitems:\n- {kind: Service}\n- {kind: Pod, metadata: {name: a}, spec: " + spec + "}\n",
			origin: "Pod a", metadata: `{"name":"a","namespace":"default"}`},
	} {
		t.Run(name, func(t *testing.T) {
			pod, err := Load([]byte(test.manifest), test.namespace)
			if err != nil {
				t.Fatal(err)
			}
			want := `{"apiVersion":"v1","kind":"Pod","metadata":` + test.metadata +
				`,"spec":{"containers":[{"future":12345678901234567890,"name":"app"}],"serviceAccountName":"carts"}}`
			if strings.HasPrefix(test.manifest, "{") { // JSON's order of fields stays
				want = strings.Replace(want, `"containers":[{"future":12345678901234567890,"name":"app"}],"serviceAccountName":"carts"`,
					`"serviceAccountName":"carts","containers":[{"name":"app","future":12345678901234567890}]`, 1)
			}
			if diff := cmp.Diff(canonical(t, want), canonical(t, string(pod.JSON))); diff != "" {
				t.Errorf("pod (-want +got):\n%s", diff)
			}
			var meta struct{ Metadata struct{ Namespace string } }
			if err := json.Unmarshal(pod.JSON, &meta); err != nil || meta.Metadata.Namespace != pod.Namespace || pod.Origin != test.origin {
				t.Errorf("in namespace %s from %q, want %s from %q, %v", pod.Namespace, pod.Origin, meta.Metadata.Namespace, test.origin, err)
			}
		})
	}
}

// canonical orders the fields of JSON text and leaves its numbers as they are written.
func canonical(t *testing.T, text string) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLoadServiceAccount(t *testing.T) {
	account := func(meta string) string { return "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: " + meta + "\n" }
	pod := "kind: Pod\nmetadata: {name: a, namespace: shop}\nspec: " + spec + "\n"
	bare := strings.Replace(pod, "serviceAccountName: carts, ", "", 1)
	for name, test := range map[string]struct{ manifest, want string }{
		"none":              {pod, ""},
		"its own":           {pod + account("{name: carts, annotations: {a: b}, uid: u}"), `{"annotations":{"a":"b"},"name":"carts","namespace":"shop"}`},
		"before it":         {account("{name: carts}") + "---\n" + pod, `{"name":"carts","namespace":"shop"}`},
		"another":           {pod + account("{name: other}"), ""},
		"another namespace": {pod + account("{name: carts, namespace: other}"), ""},
		"same namespace":    {pod + account("{name: carts, namespace: shop}"), `{"name":"carts","namespace":"shop"}`},
		"default":           {bare + account("{name: default}"), `{"name":"default","namespace":"shop"}`},
		"by its alias":      {strings.Replace(pod, "serviceAccountName", "serviceAccount", 1) + account("{name: carts}"), `{"name":"carts","namespace":"shop"}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Load([]byte(test.manifest), "")
			if err != nil {
				t.Fatal(err)
			}
			want := test.want
			if want != "" {
				want = `{"apiVersion":"v1","kind":"ServiceAccount","metadata":` + want + `}`
			}
			if diff := cmp.Diff(want, string(got.ServiceAccount)); diff != "" {
				t.Errorf("service account (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := Load([]byte(pod+account("{name: carts}")+account("{name: carts}")), ""); err == nil || !strings.Contains(err.Error(), "two of ServiceAccount carts") {
		t.Errorf("two: %v", err)
	}
}

func TestLoadErrors(t *testing.T) {
	const pod = "kind: Pod\nmetadata: {name: a, namespace: shop}\nspec: {containers: []}\n"
	for name, test := range map[string]struct{ manifest, namespace, want string }{
		"empty":         {"", "", "the manifest is empty"},
		"only comments": {"# nothing\n---\n", "", "the manifest is empty"},
		"not YAML":      {"kind: Pod\n---\nkind: [\n", "", "line 3"},
		"double key":    {"kind: Pod\nkind: Job\n", "", `key "kind" already set`},
		"text":          {"carts", "", "not a Kubernetes object"},
		"no pod": {"kind: Service\nmetadata: {name: s}\n---\nkind: ConfigMap\n---\na: b\n", "",
			"found Service s, ConfigMap, something without a kind; want a Pod"},
		"two pods":          {pod + "---\nkind: Job\nmetadata: {name: j}\n", "", "has 2 pods: Pod a, Job j"},
		"other namespace":   {pod, "carts", "Pod a is in namespace shop, not in carts"},
		"bad namespace":     {pod, "-", "not in -"},
		"bad own namespace": {strings.Replace(pod, "shop", "Shop", 1), "", `"Shop" is not the name of a namespace`},
		"no spec":           {"kind: Pod\nmetadata: {name: a}\n", "", "Pod a has no pod template with a spec"},
		"no template":       {"kind: Deployment\nmetadata: {name: a}\nspec: {}\n", "", "Deployment a has no pod template"},
		"spec of text":      {"kind: Deployment\nmetadata: {name: a}\nspec: text\n", "", "Deployment a has no pod template"},
		"bad metadata":      {"kind: Pod\nmetadata: []\nspec: {}\n", "", "not a Kubernetes object"},
		"too long":          {strings.Repeat(" ", maxManifestBytes+1), "", "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Load([]byte(test.manifest), test.namespace); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %s, %v; want an error with %q", got.JSON, err, test.want)
			}
		})
	}
}

func TestBare(t *testing.T) {
	pod, err := Bare(identity.ServiceAccount{Namespace: "carts", Name: "web.v1"})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"web.v1-","namespace":"carts"},` +
		`"spec":{"containers":[{"image":"podid.invalid/none","name":"main"}],"serviceAccountName":"web.v1"}}`
	if diff := cmp.Diff(Pod{Namespace: "carts", Origin: "ServiceAccount web.v1", JSON: []byte(want)}, pod); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
	if pod, err := Bare(identity.ServiceAccount{}); err != nil || pod.Namespace != "default" || pod.Origin != "ServiceAccount default" {
		t.Errorf("nothing given: %+v, %v", pod, err)
	}
	for _, account := range []identity.ServiceAccount{{Namespace: "Carts", Name: "web"}, {Namespace: "carts", Name: "../web"}} {
		if _, err := Bare(account); err == nil {
			t.Errorf("Bare(%v) succeeds", account)
		}
	}
}
